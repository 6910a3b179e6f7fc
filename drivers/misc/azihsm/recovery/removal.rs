// SPDX-License-Identifier: GPL-2.0

//! Letting go of the device.

use crate::{
    controller::Controller,
    lifecycle::State,
    log::dev_warn,
    uapi::ResetKind, //
};

impl Controller<'_> {
    /// Lets go of the device for good: sessions are flushed, the device is stopped, and every
    /// command ends. Called when the function is unbound, or the machine goes down.
    pub(crate) fn remove(&self) {
        let Ok(from) = self.life.change(State::Removed) else {
            return;
        };
        self.wake_opens();
        // From here on none of the work items runs, but the reaper.
        self.recovery.watchdog.retire();
        self.recovery.hurry.end_step();
        self.recovery.act.retire();
        self.recovery.hurry.done();
        self.recovery.flusher.retire();
        let works = match from {
            State::Live => self.status().is_ok_and(|csts| csts.rdy() && !csts.cfs()),
            // Sessions survive the reset that was under way, so they must not be forgotten.
            State::Resetting => self.has_sessions() && self.reset(ResetKind::Controller).is_ok(),
            State::New | State::Dead | State::Removed => false,
        };
        // A device that does not flush will not delete either.
        if works && self.flush_all() {
            self.delete_queues();
        }
        if self.quiesce(ResetKind::Controller).is_err() && self.status().is_ok() {
            dev_warn!(
                self.pdev,
                "device was not stopped, it is cut off from memory\n"
            );
        }
        self.recovery.reaper.retire();
        self.reap();
        // Nobody can submit any more, and who comes for output finds nothing from here on.
        self.reclaim_rings(None);
        self.reset_ended(false);
    }
}
