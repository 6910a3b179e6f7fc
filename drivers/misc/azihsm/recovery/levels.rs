// SPDX-License-Identifier: GPL-2.0

//! What is done to recover: queues are reset, or the whole controller.

use kernel::{
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::{
    Action,
    QUEUE_RESETS, //
};
use crate::{
    controller::Controller,
    kapi,
    ladder::{
        ControllerStep,
        Next,
        QueueStep, //
    },
    lifecycle::State,
    log::{dev_err, dev_info, dev_warn},
    params,
    pool::Pool,
    queue::{
        Kind,
        Queue, //
    },
    uapi::ResetKind, //
};

/// What came of a pass over the queues.
#[derive(Default)]
struct Pass {
    /// Queues that were reset.
    queues: usize,
    /// Commands lost by that.
    commands: u64,
}

impl Controller<'_> {
    /// Resets the queues of overdue commands; if that is not possible, or did not help before,
    /// requests a reset of the controller.
    pub(super) fn reset_queues(&self) {
        let until = Instant::now() + QUEUE_RESETS;
        let mut pass = Pass::default();
        let mut result = Ok(());
        if let Some(split) = self.vectors.as_ref() {
            result = self
                .reset_pool(&self.control, |i| split.control_vector(i), until, &mut pass)
                .and_then(|()| {
                    let vector = |i| self.aes_vector(split, i);
                    self.reset_pool(&self.fast, vector, until, &mut pass)
                });
        }
        if pass.queues != 0 {
            dev_warn!(
                self.pdev,
                "a command timed out: {} queues reset, {} commands lost\n",
                pass.queues,
                pass.commands
            );
        }
        if let Err(why) = result {
            self.trouble(why);
        }
    }

    fn reset_pool<K: Kind>(
        &self,
        pool: &Pool<K>,
        vector: impl Fn(u16) -> Option<u16>,
        until: Instant<Monotonic>,
        pass: &mut Pass,
    ) -> Result<(), &'static str> {
        for (index, queue) in (0u16..).zip(pool.iter()) {
            // It may have completed just now.
            queue.poll(self);
            if queue.overdue(Instant::now()) == 0 {
                continue;
            }
            if self.recovery.wanted.lock().is_urgent() {
                return Ok(());
            }
            if queue.timed_out() == QueueStep::Escalate {
                return Err("a queue does not recover");
            }
            match self.reset_queue(queue, vector(index), until) {
                Ok(commands) => {
                    pass.commands += commands;
                    pass.queues += 1;
                }
                // Something else comes next, which resets the controller.
                Err(_) if self.may_wait().is_err() => return Ok(()),
                Err(_) => return Err("a queue could not be reset"),
            }
        }
        Ok(())
    }

    /// Deletes a queue and creates it anew; returns the number of commands that were lost.
    ///
    /// Commands that complete until the queue is deleted are delivered.
    fn reset_queue<K: Kind>(
        &self,
        queue: &Queue<K>,
        vector: Option<u16>,
        until: Instant<Monotonic>,
    ) -> Result<u64> {
        self.delete_queue(queue, until)?;
        // From here on the device uses neither rings nor data of the queue. The lost callers are
        // told when the queue works again, so that those who wait for their slots find it so.
        let lost = queue.end_all(self);
        let count = lost.count;
        self.create_queue(queue, vector, until)?;
        queue.note_reset();
        Ok(count)
    }

    /// Tries to reset the controller.
    ///
    /// Returns the pause in milliseconds before the next attempt, if there has to be one.
    pub(super) fn try_reset(&self, kind: ResetKind) -> Option<u32> {
        let retry = self.recovery.wanted.lock().history.is_retry();
        let stronger = retry && self.has_subsystem_reset();
        let owned = self.resources_owned();
        let result = self.reset(if stronger { ResetKind::Subsystem } else { kind });
        let mut wanted = self.recovery.wanted.lock();
        let error = match result {
            Ok(()) => {
                wanted.history.attempt_succeeded();
                if self.resources_owned() != owned {
                    // There was no trouble: the device stops whom it gives other resources.
                    wanted.history.forget();
                }
                // Whoever asks for a reset must not be able to fill the log.
                let asked = !wanted.waiting.is_empty();
                drop(wanted);
                // The function may have been removed meanwhile; it stays so.
                let _ = self.life.change_from(State::Resetting, State::Live);
                self.recovery.resets.add(1, Relaxed);
                if !asked {
                    dev_info!(self.pdev, "controller was reset\n");
                }
                self.reset_ended(true);
                self.reap_soon();
                self.flush_soon();
                return None;
            }
            // It did not fail, it was to end. Who waits for it waits for the next one.
            Err(_) if self.may_wait().is_err() => return None,
            Err(e) => e,
        };
        let next = match error {
            // That is no failure of the function: the device gives it other resources.
            ECANCELED => {
                let timeout = params::command_timeout();
                match wanted.history.disabled(Instant::now(), timeout) {
                    ControllerStep::ResetAfter(pause) => Next::RetryAfter(pause),
                    ControllerStep::GiveUp => Next::GiveUp,
                }
            }
            _ => wanted.history.attempt_failed(),
        };
        match next {
            Next::RetryAfter(pause) => {
                wanted.action = Some(Action::Reset(kind));
                drop(wanted);
                dev_warn!(self.pdev, "reset failed: {:?}, trying again\n", error);
                Some(pause)
            }
            Next::GiveUp => {
                drop(wanted);
                self.give_up();
                None
            }
        }
    }

    /// Declares a stopped controller dead.
    pub(super) fn give_up(&self) {
        if self.life.change_from(State::Resetting, State::Dead) == Ok(true) {
            dev_err!(
                self.pdev,
                "controller is unusable until the function is reset or bound again\n"
            );
        }
        self.reset_ended(false);
        self.wake_opens();
        self.reap_soon();
    }

    /// Resets the controller: stops it, and brings it up again.
    ///
    /// # Errors
    ///
    /// [`ECANCELED`] if the device disabled the function meanwhile, or whatever else went wrong; it
    /// is stopped then.
    pub(super) fn reset(&self, kind: ResetKind) -> Result {
        self.quiesce(kind)?;
        if self.restore_lost() {
            self.recovery.wanted.lock().history.forget();
        }
        self.bring_up().map_err(|e| {
            let disabled = !self.is_enabled();
            self.cut_off();
            self.end_all();
            if disabled {
                ECANCELED
            } else {
                e
            }
        })
    }

    /// Stops the device and ends every command at it.
    ///
    /// # Errors
    ///
    /// The device did not stop; it was cut off from memory.
    pub(super) fn quiesce(&self, kind: ResetKind) -> Result {
        self.stop_queues();
        let stopped = self.stop(kind).inspect_err(|_| self.cut_off_from_memory());
        self.end_all();
        stopped
    }

    /// Stops a device of which no commands are awaited any more, or keeps it away from memory.
    pub(crate) fn cut_off(&self) {
        self.stop_queues();
        if self.disable().is_err() {
            self.cut_off_from_memory();
        }
    }

    /// Turns off bus mastering, and has writes that are on their way arrive.
    fn cut_off_from_memory(&self) {
        kapi::pci::clear_master(self.pdev);
        let _ = self.status();
    }
}
