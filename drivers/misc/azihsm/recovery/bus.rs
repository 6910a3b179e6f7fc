// SPDX-License-Identifier: GPL-2.0

//! What the bus wants of a controller: to be still while the function is reset or the machine sleeps,
//! and to come back afterwards.
//!
//! The callers hold the device lock, so that none of them runs during probe, unbind or another of
//! them. They wait for the work item, which never takes that lock.

use kernel::sync::atomic::Acquire;

use super::{
    Action,
    Hold, //
};
use crate::{
    controller::Controller,
    kapi,
    lifecycle::State,
    uapi::ResetKind, //
};

impl Controller<'_> {
    /// Stops the controller until [`Controller::release`], and waits until it is still. Commands at
    /// it are lost, new ones refused.
    ///
    /// What the work item does ends early. The controller may take [`Controller::ready_timeout`] to
    /// stop; if the caller is killed meanwhile, or it is not `reachable`, it is cut off from memory
    /// instead. In the latter case its registers are not accessed.
    pub(crate) fn hold(&self, reachable: bool) {
        if self.life.get() == State::Removed {
            return;
        }
        self.recovery.held.reinit();
        // In this order: what is to end is not the hold itself.
        self.recovery.hurry.end_step();
        self.recovery.wanted.lock().hold = Hold::Wanted { reachable };
        self.recovery.act_now();
        if self.recovery.held.wait_killable().is_err() {
            self.recovery.hurry.end_all();
            self.recovery.held.wait();
        }
        self.recovery.hurry.done();
    }

    /// Holds a controller that was reset with its link, unless it is held: its registers are not what
    /// they were.
    pub(crate) fn hold_unless_held(&self) {
        let held = self.recovery.wanted.lock().hold == Hold::Held;
        if !held {
            self.hold(false);
        }
    }

    /// Carries out [`Controller::hold`].
    pub(super) fn hold_still(&self, reachable: bool) {
        self.recovery.hurry.step_begins();
        for state in [State::Live, State::Dead] {
            let _ = self.life.change_from(state, State::Resetting);
        }
        if reachable {
            // Whoever holds it is about to reset it; what does not stop is cut off.
            let _ = self.quiesce(ResetKind::Controller);
        } else {
            self.stop_queues();
            // Without the read that has writes on their way arrive: the link is blocked.
            kapi::pci::clear_master(self.pdev);
            self.end_all();
        }
        self.recovery.wanted.lock().hold = Hold::Held;
        self.recovery.held.complete();
    }

    /// Brings a controller up that was held, and waits for that; returns whether it works. If not,
    /// it is dead, or the caller was killed: then it is brought up all the same.
    pub(crate) fn release(&self) -> bool {
        if self.life.get() == State::Removed {
            return false;
        }
        self.recovery.released.ended.reinit();
        {
            let mut wanted = self.recovery.wanted.lock();
            wanted.hold = Hold::No;
            wanted.action = Some(Action::Reset(ResetKind::Controller));
            wanted.bus_waits = true;
            // It was reset from outside, or had its power turned off: a new beginning.
            wanted.history.forget();
        }
        self.recovery.act_now();
        self.recovery.released.ended.wait_killable().is_ok()
            && self.recovery.released.succeeded.load(Acquire)
    }

    /// Gives the controller up, since the bus does.
    pub(crate) fn lose(&self) {
        if self.life.get() == State::Dead {
            return;
        }
        self.hold(false);
        {
            let mut wanted = self.recovery.wanted.lock();
            wanted.hold = Hold::No;
            wanted.action = None;
        }
        self.give_up();
    }

    /// Returns whether an error on the link needs no reset of the link: the controller works, or
    /// its own recovery is under way.
    pub(crate) fn survived(&self) -> bool {
        match self.status() {
            Ok(csts) => self.life.get() != State::Live || (csts.rdy() && !csts.cfs()),
            Err(_) => false,
        }
    }
}
