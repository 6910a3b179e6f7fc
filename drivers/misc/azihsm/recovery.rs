// SPDX-License-Identifier: GPL-2.0

//! Timeouts, resets and removal: who asks, and who acts.
//!
//! Everybody only *requests*: the watchdog that finds an overdue command or a controller in trouble,
//! the reset ioctl, the bus. One work item acts, one thing at a time: it resets the queues of overdue
//! commands, resets the controller, or holds it still for the bus. What comes next when that does
//! not help is decided by [`ladder`](crate::ladder).
//!
//! See [`Documentation/driver-api/azihsm-recovery.rst`](srctree/Documentation/driver-api/azihsm-recovery.rst).

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
        Delta,
        Instant, //
    }, //
};

use self::hurry::Hurry;
use crate::{
    controller::Controller,
    kapi::{
        wait::{
            self,
            Completion, //
        },
        work, //
    },
    ladder::{
        ControllerStep,
        History, //
    },
    lifecycle::State,
    log::{dev_err, dev_info, dev_warn},
    params,
    uapi::ResetKind, //
};

mod bus;
mod hurry;
mod levels;
mod removal;
mod watch;

/// Time the reset of queues may take, all of them together, before the controller is reset.
const QUEUE_RESETS: Delta = Delta::from_secs(5);

/// Somebody who waits for the end of a reset.
#[pin_data]
struct Ticket {
    #[pin]
    ended: Completion,
    succeeded: Atomic<bool>,
}

impl Ticket {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            ended <- Completion::new(),
            succeeded: Atomic::new(false),
        })
    }

    fn end(&self, succeeded: bool) {
        self.succeeded.store(succeeded, Release);
        self.ended.complete();
    }
}

/// What is to be done with the controller.
#[derive(Clone, Copy)]
enum Action {
    Reset(ResetKind),
    /// Stop it, and reset it after a pause of so many milliseconds.
    ResetAfter(u32),
    /// Stop it, and leave it so.
    GiveUp,
}

/// Whether the controller is held still, as the bus wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    No,
    /// It is to be held; `reachable` says whether its registers can be accessed.
    Wanted {
        reachable: bool,
    },
    Held,
}

/// What the work item is asked to do.
struct Wanted {
    hold: Hold,
    action: Option<Action>,
    /// Some command is overdue.
    overdue: bool,
    /// Those who wait for the end of the reset.
    waiting: KVec<Arc<Ticket>>,
    /// Whether the bus waits for it, too.
    bus_waits: bool,
    /// What was tried before.
    history: History,
}

/// What the work item does next.
enum Step {
    Hold { reachable: bool },
    Act(Action),
    Queues,
}

impl Wanted {
    fn next(&mut self) -> Option<Step> {
        match self.hold {
            Hold::Wanted { reachable } => return Some(Step::Hold { reachable }),
            Hold::Held => return None,
            Hold::No => (),
        }
        if let Some(action) = self.action.take() {
            self.overdue = false;
            return Some(Step::Act(action));
        }
        core::mem::take(&mut self.overdue).then_some(Step::Queues)
    }

    /// Returns whether something is to be done that cannot wait for the reset of queues.
    fn is_urgent(&self) -> bool {
        self.hold != Hold::No || self.action.is_some()
    }
}

/// Recovery of a controller.
#[pin_data]
pub(crate) struct Recovery {
    #[pin]
    act: work::Item,
    #[pin]
    watchdog: work::Item,
    #[pin]
    reaper: work::Item,
    #[pin]
    flusher: work::Item,
    #[pin]
    wanted: Mutex<Wanted>,
    /// How much of what runs is to come to its end.
    hurry: Hurry,
    /// Tells the bus that the controller is held.
    #[pin]
    held: Completion,
    /// Tells the bus that the controller was reset after that.
    #[pin]
    released: Ticket,
    /// Resets of the controller since probe.
    resets: Atomic<u64>,
    /// Completions that answered for another kind of session command.
    pub(crate) mismatches: Atomic<u64>,
}

impl Recovery {
    /// Makes the recovery of a controller; it does nothing before [`Works::arm`].
    pub(crate) fn new(queue: Arc<work::Queue>) -> impl PinInit<Self> {
        let wanted = Wanted {
            hold: Hold::No,
            action: None,
            overdue: false,
            waiting: KVec::new(),
            bus_waits: false,
            history: History::new(),
        };
        pin_init!(Self {
            act <- work::new_item!(queue.clone(), "azihsm_recovery"),
            watchdog <- work::new_item!(queue.clone(), "azihsm_watchdog"),
            reaper <- work::new_item!(queue.clone(), "azihsm_reaper"),
            flusher <- work::new_item!(queue, "azihsm_flusher"),
            wanted <- new_mutex!(wanted, "azihsm_recovery"),
            hurry: Hurry::new(),
            held <- Completion::new(),
            released <- Ticket::new(),
            resets: Atomic::new(0),
            mismatches: Atomic::new(0),
        })
    }

    /// Has the work item look at what is wanted, now.
    fn act_now(&self) {
        self.act.requeue_after(0);
    }
}

impl Recovery {
    /// Returns the number of resets of the controller since probe.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Relaxed)
    }
}

/// Runs [`Controller::act`].
struct Act<'a>(&'a Controller<'a>);
/// Runs [`Controller::watch`].
struct Watchdog<'a>(&'a Controller<'a>);
/// Runs [`Controller::reap`].
struct Reaper<'a>(&'a Controller<'a>);
/// Runs [`Controller::flush_deferred`].
struct Flusher<'a>(&'a Controller<'a>);

impl work::Handler for Act<'_> {
    fn run(&self) {
        self.0.act();
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

impl work::Handler for Flusher<'_> {
    fn run(&self) {
        self.0.flush_deferred();
    }
}

/// The armed work items of a controller; dropping it waits for them.
pub(crate) struct Works<'bound> {
    _watchdog: work::Armed<'bound, Watchdog<'bound>>,
    _act: work::Armed<'bound, Act<'bound>>,
    _flusher: work::Armed<'bound, Flusher<'bound>>,
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
        let flusher = unsafe { work::Armed::new(&recovery.flusher, Flusher(controller))? };
        // SAFETY: As above.
        let act = unsafe { work::Armed::new(&recovery.act, Act(controller))? };
        // SAFETY: As above.
        let watchdog = unsafe { work::Armed::new(&recovery.watchdog, Watchdog(controller))? };
        recovery.watchdog.queue_after(watch::period());
        Ok(Self {
            _watchdog: watchdog,
            _act: act,
            _flusher: flusher,
            _reaper: reaper,
        })
    }
}

impl Controller<'_> {
    /// Returns how long after its timeout a command has ended at the latest, if it timed out: the
    /// watchdog has to notice, one reset of queues may have to end, another be tried, and the
    /// controller be stopped.
    pub(crate) fn recovery_bound(&self) -> Delta {
        Delta::from_millis(i64::from(watch::PERIOD_MS)) + QUEUE_RESETS * 2 + self.ready_timeout()
    }

    /// Returns whether the caller may go on waiting for the device.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if it was killed, or what the work item does is to come to its end.
    pub(crate) fn may_wait(&self) -> Result {
        if wait::fatal_signal_pending() || self.recovery.hurry.is_on() {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Has the reaper look at finished commands whose callers are gone. Callable in any context.
    pub(crate) fn reap_soon(&self) {
        self.recovery.reaper.queue();
    }

    /// Has somebody look for completions that raise no interrupt and that nobody waits for, once in
    /// a jiffy as long as there are commands. Callable in any context.
    pub(crate) fn poll_soon(&self) {
        self.recovery.reaper.queue_after(1);
    }

    /// Has sessions flushed whose flush was put off. Callable in any context.
    pub(crate) fn flush_soon(&self) {
        self.recovery.flusher.queue();
    }

    /// Resets the controller and waits until it works again, or is given up.
    pub(crate) fn reset_and_wait(&self, kind: ResetKind) -> Result<(), ResetError> {
        let ticket = Arc::pin_init(Ticket::new(), GFP_KERNEL)?;
        {
            let mut wanted = self.recovery.wanted.lock();
            wanted.waiting.push(ticket.clone(), GFP_KERNEL)?;
            if self.life.change_from(State::Live, State::Resetting) != Ok(true) {
                wanted.waiting.pop();
                return Err(ResetError::State(self.life.get()));
            }
            wanted.action = Some(Action::Reset(kind));
        }
        self.recovery.act_now();
        ticket.ended.wait_killable()?;
        if ticket.succeeded.load(Acquire) {
            return Ok(());
        }
        match self.life.get() {
            State::Removed => Err(ResetError::State(State::Removed)),
            _ => Err(ResetError::Failed),
        }
    }

    /// Requests that something is done about a live controller in trouble.
    fn trouble(&self, why: &str) {
        let completed = self.completed();
        let timeout = params::command_timeout();
        self.request(|wanted| {
            if !self.may_reset() {
                dev_err!(
                    self.pdev,
                    "{}: the driver may not reset the physical function (pf_lvl2_abort_enabled)\n",
                    why
                );
                return Action::GiveUp;
            }
            match wanted.history.trouble(Instant::now(), completed, timeout) {
                ControllerStep::ResetAfter(pause) => {
                    dev_warn!(self.pdev, "{}: resetting the controller\n", why);
                    Action::ResetAfter(pause)
                }
                ControllerStep::GiveUp => {
                    dev_err!(self.pdev, "{}: resets do not help\n", why);
                    Action::GiveUp
                }
            }
        });
    }

    /// Requests that a live controller that the device has disabled is brought up again. It does so
    /// when the physical function changes the resources of a virtual function; one that does it
    /// again and again for no reason is given up.
    fn disabled(&self) {
        let timeout = params::command_timeout();
        self.request(
            |wanted| match wanted.history.disabled(Instant::now(), timeout) {
                ControllerStep::ResetAfter(pause) => {
                    dev_info!(self.pdev, "the device disabled the function\n");
                    Action::ResetAfter(pause)
                }
                ControllerStep::GiveUp => {
                    dev_err!(
                        self.pdev,
                        "the device disabled the function again and again\n"
                    );
                    Action::GiveUp
                }
            },
        );
    }

    /// Requests what `decide` says, if the controller is live.
    fn request(&self, decide: impl FnOnce(&mut Wanted) -> Action) {
        {
            let mut wanted = self.recovery.wanted.lock();
            if self.life.change_from(State::Live, State::Resetting) != Ok(true) {
                return;
            }
            wanted.action = Some(decide(&mut wanted));
        }
        self.recovery.act_now();
    }

    /// Returns the number of commands that I/O queues completed since probe.
    fn completed(&self) -> u64 {
        let control: u64 = self.control.all().map(|q| q.counters().completed).sum();
        let fast: u64 = self.fast.all().map(|q| q.counters().completed).sum();
        control + fast
    }

    /// Does what is wanted, one thing at a time.
    fn act(&self) {
        let step = self.recovery.wanted.lock().next();
        let pause = match step {
            _ if self.life.get() == State::Removed => return,
            None => return,
            Some(Step::Hold { reachable }) => {
                self.hold_still(reachable);
                None
            }
            Some(Step::Act(Action::Reset(kind))) => self.try_reset(kind),
            Some(Step::Act(Action::ResetAfter(0))) => self.try_reset(ResetKind::Controller),
            Some(Step::Act(Action::ResetAfter(pause))) => {
                // Nobody waits for the end of the pause; what does not stop is cut off.
                let _ = self.quiesce(ResetKind::Controller);
                self.recovery.wanted.lock().action = Some(Action::Reset(ResetKind::Controller));
                Some(pause)
            }
            Some(Step::Act(Action::GiveUp)) => {
                // What cannot be stopped is cut off; it was said why.
                let _ = self.quiesce(ResetKind::Controller);
                self.give_up();
                None
            }
            Some(Step::Queues) => {
                self.reset_queues();
                None
            }
        };
        self.recovery
            .act
            .queue_after(msecs_to_jiffies(pause.unwrap_or(0)));
    }

    /// Tells everybody who waits how a reset ended.
    fn reset_ended(&self, succeeded: bool) {
        let (waiting, bus_waits) = {
            let mut wanted = self.recovery.wanted.lock();
            (
                core::mem::take(&mut wanted.waiting),
                core::mem::take(&mut wanted.bus_waits),
            )
        };
        for ticket in waiting {
            ticket.end(succeeded);
        }
        if bus_waits {
            self.recovery.released.end(succeeded);
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
