// SPDX-License-Identifier: GPL-2.0

//! Timeouts and resets.
//!
//! Everybody only *requests* a reset: the watchdog that finds an overdue command or a controller
//! in trouble, and the reset ioctl. One work item acts. It stops submissions, stops the device
//! (or cuts it off from memory), delivers what did complete, fails the rest exactly once and
//! brings the controller up again.
//!
//! The watchdog looks once a second, so a command ends at the latest one second after its timeout
//! plus the time the controller takes to stop.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Instant,
        Jiffies, //
    }, //
};

use crate::{
    aes,
    command::Slot,
    control,
    controller::Controller,
    kapi::{
        self,
        wait::Completion,
        work, //
    },
    lifecycle::State,
    pool::Pool,
    queue::{
        CqeOf,
        Kind, //
    },
    slot::Outcome,
    uapi::ResetKind, //
};

/// Time between two looks of the watchdog, in milliseconds.
const WATCHDOG_MS: u32 = 1_000;

/// Somebody who waits for the end of a reset.
#[pin_data]
struct Ticket {
    #[pin]
    ended: Completion,
    succeeded: Atomic<bool>,
}

/// What the work item is asked to do.
struct Wanted {
    /// Kind of reset, if one is wanted.
    reset: Option<ResetKind>,
    waiting: KVec<Arc<Ticket>>,
}

/// Recovery of a controller.
#[pin_data]
pub(crate) struct Recovery {
    #[pin]
    reset: work::Item,
    #[pin]
    watchdog: work::Item,
    #[pin]
    reaper: work::Item,
    #[pin]
    wanted: Mutex<Wanted>,
    /// Resets since probe.
    pub(crate) resets: Atomic<u64>,
    /// Completions that came without an interrupt.
    pub(crate) missed_interrupts: Atomic<u64>,
    /// Completions that answered for another kind of session command.
    pub(crate) mismatches: Atomic<u64>,
}

impl Recovery {
    /// Makes the recovery of a controller; it does nothing before [`Works::arm`].
    pub(crate) fn new(queue: Arc<work::Queue>) -> impl PinInit<Self> {
        pin_init!(Self {
            reset <- work::new_item!(queue.clone(), "azihsm_reset"),
            watchdog <- work::new_item!(queue.clone(), "azihsm_watchdog"),
            reaper <- work::new_item!(queue, "azihsm_reaper"),
            wanted <- new_mutex!(
                Wanted { reset: None, waiting: KVec::new() },
                "azihsm_recovery"
            ),
            resets: Atomic::new(0),
            missed_interrupts: Atomic::new(0),
            mismatches: Atomic::new(0),
        })
    }
}

/// Runs [`Controller::run_reset`].
struct Reset<'a>(&'a Controller<'a>);
/// Runs [`Controller::watch`].
struct Watchdog<'a>(&'a Controller<'a>);
/// Runs [`Controller::reap`].
struct Reaper<'a>(&'a Controller<'a>);

impl work::Handler for Reset<'_> {
    fn run(&self) {
        self.0.run_reset();
    }
}

impl work::Handler for Watchdog<'_> {
    fn run(&self) {
        self.0.watch();
    }
}

impl work::Handler for Reaper<'_> {
    fn run(&self) {
        self.0.reap();
    }
}

/// The armed work items of a controller; dropping it waits for them.
pub(crate) struct Works<'bound> {
    _watchdog: work::Armed<'bound, Watchdog<'bound>>,
    _reset: work::Armed<'bound, Reset<'bound>>,
    _reaper: work::Armed<'bound, Reaper<'bound>>,
}

impl<'bound> Works<'bound> {
    /// Arms the work items and starts the watchdog.
    ///
    /// # Safety
    ///
    /// The result must not be leaked.
    pub(crate) unsafe fn arm(controller: &'bound Controller<'bound>) -> Result<Self> {
        let recovery = &controller.recovery;
        // SAFETY: The caller does not leak `Self`, which owns the armed item.
        let reaper = unsafe { work::Armed::new(&recovery.reaper, Reaper(controller))? };
        // SAFETY: As above.
        let reset = unsafe { work::Armed::new(&recovery.reset, Reset(controller))? };
        // SAFETY: As above.
        let watchdog = unsafe { work::Armed::new(&recovery.watchdog, Watchdog(controller))? };
        recovery.watchdog.queue_after(watchdog_period());
        Ok(Self {
            _watchdog: watchdog,
            _reset: reset,
            _reaper: reaper,
        })
    }
}

fn watchdog_period() -> Jiffies {
    msecs_to_jiffies(WATCHDOG_MS)
}

impl Controller<'_> {
    /// Has the reaper look at finished commands whose callers are gone. Callable in any context.
    pub(crate) fn reap_soon(&self) {
        self.recovery.reaper.queue();
    }

    /// Requests a reset; from now on commands are refused. May sleep.
    fn request_reset(
        &self,
        kind: ResetKind,
        ticket: Option<&Arc<Ticket>>,
    ) -> Result<(), ResetError> {
        {
            let mut wanted = self.recovery.wanted.lock();
            if let Some(ticket) = ticket {
                wanted.waiting.push(ticket.clone(), GFP_KERNEL)?;
            }
            if let Err(state) = self.life.change(State::Resetting) {
                if ticket.is_some() {
                    wanted.waiting.pop();
                }
                return Err(ResetError::State(state));
            }
            wanted.reset = Some(kind);
        }
        self.recovery.reset.queue();
        Ok(())
    }

    /// Resets the controller and waits until it works again.
    pub(crate) fn reset_and_wait(&self, kind: ResetKind) -> Result<(), ResetError> {
        let ticket = Arc::pin_init(
            pin_init!(Ticket {
                ended <- Completion::new(),
                succeeded: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        self.request_reset(kind, Some(&ticket))?;
        ticket.ended.wait_killable()?;
        if ticket.succeeded.load(Acquire) {
            Ok(())
        } else {
            Err(ResetError::Failed)
        }
    }

    /// Carries out the reset that was requested.
    fn run_reset(&self) {
        let Some(kind) = self.recovery.wanted.lock().reset.take() else {
            return;
        };
        let result = self.reset(kind);
        let state = match result {
            Ok(()) => State::Live,
            Err(_) => State::Dead,
        };
        // The function may have been removed meanwhile; it stays so.
        let _ = self.life.change(state);
        self.recovery.resets.add(1, Relaxed);

        let waiting = core::mem::take(&mut self.recovery.wanted.lock().waiting);
        match result {
            // Whoever asks for a reset must not be able to fill the log.
            Ok(()) if waiting.is_empty() => dev_info!(self.pdev, "controller was reset\n"),
            Ok(()) => (),
            Err(e) => dev_err!(self.pdev, "reset failed, controller is unusable: {:?}\n", e),
        }
        for ticket in waiting {
            ticket.succeeded.store(result.is_ok(), Release);
            ticket.ended.complete();
        }
        self.reap_soon();
    }

    fn reset(&self, kind: ResetKind) -> Result {
        self.quiesce(kind)?;
        if !self.may_reset() {
            dev_err!(
                self.pdev,
                "the driver may not reset the physical function (pf_lvl2_abort_enabled)\n"
            );
            return Err(EPERM);
        }
        self.bring_up().inspect_err(|_| {
            self.cut_off();
            self.end_all();
        })
    }

    /// Stops the device and ends every command at it.
    fn quiesce(&self, kind: ResetKind) -> Result {
        self.stop_queues();
        let stopped = self.stop(kind);
        if stopped.is_err() {
            self.cut_off();
        }
        self.end_all();
        stopped
    }

    /// Keeps a device that cannot be stopped away from memory.
    pub(crate) fn cut_off(&self) {
        self.stop_queues();
        if self.disable().is_err() {
            kapi::pci::clear_master(self.pdev);
        }
    }

    /// Looks after commands and controller, once in a while.
    fn watch(&self) {
        match self.life.get() {
            State::Live => {
                if let Some(why) = self.trouble() {
                    dev_warn!(self.pdev, "{}: resetting the controller\n", why);
                    let _ = self.request_reset(ResetKind::Controller, None);
                }
            }
            State::Removed => return,
            _ => (),
        }
        self.recovery.watchdog.queue_after(watchdog_period());
    }

    /// Returns why the controller has to be reset, if it has to.
    fn trouble(&self) -> Option<&'static str> {
        match self.status() {
            Err(_) => return Some("function does not answer"),
            Ok(csts) if csts.cfs() => return Some("controller reports a fatal error"),
            Ok(csts) if !csts.rdy() => return Some("controller is not ready any more"),
            Ok(_) => (),
        }
        let missed = self.poll_all();
        if missed != 0 {
            self.recovery.missed_interrupts.add(missed as u64, Relaxed);
        }
        let now = Instant::now();
        let overdue: usize = self.control.iter().map(|q| q.overdue(now)).sum::<usize>()
            + self.fast.iter().map(|q| q.overdue(now)).sum::<usize>();
        (overdue != 0).then_some("a command timed out")
    }

    /// Deals with finished commands whose callers are gone, and with deferred flushes.
    pub(crate) fn reap(&self) {
        self.reap_pool(&self.control, control::reap);
        self.reap_pool(&self.fast, aes::reap);
        while Slot::leftover(self, &*self.admin).is_some() {}
        self.flush_deferred();
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

    /// Lets go of the device for good: sessions are flushed, the device is stopped, and every
    /// command ends. Called once, when the function is unbound.
    pub(crate) fn remove(&self) {
        let from = self.life.change(State::Removed);
        // From here on no work item runs.
        self.recovery.watchdog.retire();
        self.recovery.reset.retire();
        if from == Ok(State::Live) {
            self.flush_all();
            self.delete_queues();
        }
        if self.quiesce(ResetKind::Controller).is_err() {
            dev_warn!(
                self.pdev,
                "device was not stopped, it is cut off from memory\n"
            );
        }
        self.recovery.reaper.retire();
        self.reap();
        self.release_reset_waiters();
    }

    fn release_reset_waiters(&self) {
        let waiting = core::mem::take(&mut self.recovery.wanted.lock().waiting);
        for ticket in waiting {
            ticket.ended.complete();
        }
    }
}

/// Why a reset did not happen or failed.
#[derive(Debug)]
pub(crate) enum ResetError {
    /// The controller is in a state that forbids it.
    State(State),
    /// The controller did not come back.
    Failed,
    /// The caller was killed, or there is no memory.
    Errno(Error),
}

impl<E: Into<Error>> From<E> for ResetError {
    fn from(errno: E) -> Self {
        Self::Errno(errno.into())
    }
}
