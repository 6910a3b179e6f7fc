// SPDX-License-Identifier: GPL-2.0

//! The watchdog, and the reaper of commands whose callers are gone.

use kernel::time::{
    msecs_to_jiffies,
    Delta,
    Instant,
    Jiffies, //
};

use crate::{
    aes,
    command::Slot,
    control,
    controller::Controller,
    lifecycle::State,
    pool::Pool,
    queue::{
        CqeOf,
        Kind, //
    },
    slot::Outcome, //
};

/// Time between two looks of the watchdog, in milliseconds.
pub(super) const PERIOD_MS: u32 = 500;

/// Returns the time between two looks of the watchdog.
pub(super) fn period() -> Jiffies {
    msecs_to_jiffies(PERIOD_MS)
}

impl Controller<'_> {
    /// Looks after commands and controller, once in a while.
    pub(super) fn watch(&self) {
        self.reclaim_rings(Some(Instant::now()));
        match self.life.get() {
            State::Live => self.check(),
            State::Removed => return,
            _ => (),
        }
        self.recovery.watchdog.queue_after(period());
    }

    fn check(&self) {
        match self.status() {
            Err(_) => return self.trouble("function does not answer"),
            Ok(csts) if csts.cfs() => return self.trouble("controller reports a fatal error"),
            Ok(csts) if csts.rdy() => (),
            Ok(_) if !self.is_enabled() => return self.disabled(),
            Ok(_) => return self.trouble("controller is not ready any more"),
        }
        self.rescue();
        let now = Instant::now();
        if self.admin.overdue(now) != 0 {
            self.trouble("an admin command timed out");
            return;
        }
        let overdue = self.control.iter().any(|queue| queue.overdue(now) != 0)
            || self.fast.iter().any(|queue| queue.overdue(now) != 0);
        if overdue {
            self.recovery.wanted.lock().overdue = true;
            self.recovery.act.queue();
        }
        // A flush may have found its queue being reset.
        if self.has_deferred() {
            self.flush_soon();
        }
    }

    /// Delivers completions that have been waiting for an interrupt.
    fn rescue(&self) {
        let when = Instant::now() - Delta::from_millis(i64::from(PERIOD_MS));
        self.control.iter().for_each(|q| q.rescue(self, when));
        self.fast.iter().for_each(|q| q.rescue(self, when));
        self.admin.rescue(self, when);
    }

    /// Deals with finished commands whose callers are gone.
    pub(super) fn reap(&self) {
        self.reap_pool(&self.control, control::reap);
        self.reap_pool(&self.fast, aes::reap);
        while Slot::leftover(self, &*self.admin).is_some() {}
        if self.fast.polled_busy() {
            self.poll_rings();
            self.poll_soon();
        }
    }

    fn reap_pool<K: Kind>(&self, pool: &Pool<K>, reap: impl Fn(&Self, Outcome<CqeOf<K>>, K::Left)) {
        for queue in pool.all() {
            while let Some((slot, outcome, left)) = Slot::leftover(self, queue) {
                // The slot goes first: what is reaped may need one itself.
                drop(slot);
                reap(self, outcome, left);
            }
        }
    }
}
