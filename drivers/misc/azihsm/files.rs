// SPDX-License-Identifier: GPL-2.0

//! The sessions of open files, and the flush of those that nobody closes.
//!
//! Device sessions are scarce and survive a controller reset, so none may be forgotten: a session
//! is flushed when its file is closed, when the function is unbound while the file is open, and
//! when the device opened it for a caller that is gone. While the controller is being reset
//! flushes wait in a list. What the device may hold without anybody knowing is swept, see
//! [`ids`](crate::ids).

mod announced;

use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    command::Waited,
    control::Left,
    controller::Controller,
    ids::Ids,
    kapi::{
        task,
        wait::{
            self,
            Completion, //
        }, //
    },
    lifecycle::State,
    log::dev_warn,
    params,
    patience::{
        jiffies_until,
        Patience, //
    },
    pool::Run,
    session::{
        Blocked,
        Effect,
        Session,
        Slot,
        Ticket, //
    },
    slot::Outcome,
    uapi::{
        Ext,
        Refusal, //
    },
    waiters::Interrupt,
    wire::{
        control::{
            self,
            Reply, //
        },
        SessionId, //
    },
};

pub(crate) use announced::{
    Announced,
    Opening, //
};

/// How long a task waits for the flush of a session if it cannot be killed: one that exits, or that
/// closes a file for others.
const UNKILLABLE: Delta = Delta::from_millis(50);

/// How long the tasks of rings have to come for what ended, when the function goes away.
const COLLECTED: Delta = Delta::from_millis(100);

/// What the lock of a file's session protects.
struct Guarded {
    slot: Slot,
    /// Callers that wait for other commands of the file to end.
    waiting: u32,
}

/// The session of an open file.
///
/// Referenced by the file and by each command that outlives its caller.
#[pin_data]
pub(crate) struct FileSession {
    #[pin]
    guarded: SpinLock<Guarded>,
    #[pin]
    changed: Completion,
    /// Commands of the file that are submitted together.
    pub(crate) run: Run,
}

impl FileSession {
    /// Makes the session of a newly opened file.
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                guarded <- new_spinlock!(
                    Guarded { slot: Slot::new(), waiting: 0 },
                    "azihsm_file_session"
                ),
                changed <- Completion::new(),
                run: Run::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the session, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.guarded.lock().slot.session()
    }

    /// Announces a command, waiting for other commands of the file where `begin` says so.
    ///
    /// # Errors
    ///
    /// What `begin` says, [`EINTR`] if the caller was killed while it waited, or [`ETIMEDOUT`] if
    /// it ran out of `patience`.
    pub(crate) fn begin(
        &self,
        patience: Patience,
        mut begin: impl FnMut(&mut Slot) -> Result<Ticket, Blocked>,
    ) -> Result<Ticket, Refusal> {
        loop {
            {
                let mut guarded = self.guarded.lock();
                match begin(&mut guarded.slot) {
                    Ok(ticket) => return Ok(ticket),
                    Err(Blocked::Refused(refusal)) => return Err(refusal),
                    Err(Blocked::Wait) => guarded.waiting += 1,
                }
            }
            match self
                .changed
                .wait_killable_timeout(jiffies_until(patience.end))
            {
                Ok(true) => (),
                Ok(false) => return Err(Refusal::new(EAGAIN, Ext::ABORTED)),
                Err(e) => return Err(Refusal::new(e, Ext::OK)),
            }
        }
    }

    /// Announces a fast-path command if the file has a session that is open, and returns that; see
    /// [`Slot::enter_aes`].
    #[inline]
    fn enter_aes(&self) -> Option<(Session, Ticket)> {
        self.guarded.lock().slot.enter_aes()
    }

    /// Announces a command; see [`FileSession::begin`]. Does not wait.
    ///
    /// # Errors
    ///
    /// What `begin` says.
    pub(crate) fn try_begin(
        &self,
        begin: impl FnOnce(&mut Slot) -> Result<Ticket, Blocked>,
    ) -> Result<Ticket, Blocked> {
        begin(&mut self.guarded.lock().slot)
    }

    /// Takes back the announcement of a command; see [`Slot::complete`].
    pub(crate) fn complete(
        &self,
        ticket: Ticket,
        reply: Option<&Reply>,
        delivered: bool,
    ) -> Effect {
        self.complete_with(|slot| slot.complete(ticket, reply, delivered))
    }

    /// Takes back the announcement of a fast-path command.
    #[inline]
    pub(crate) fn complete_aes(&self) -> Effect {
        self.complete_with(Slot::complete_aes)
    }

    #[inline]
    fn complete_with(&self, complete: impl FnOnce(&mut Slot) -> Effect) -> Effect {
        let (effect, waiting) = {
            let mut guarded = self.guarded.lock();
            let effect = complete(&mut guarded.slot);
            (effect, core::mem::take(&mut guarded.waiting))
        };
        if waiting != 0 {
            self.wake(waiting);
        }
        effect
    }

    #[cold]
    fn wake(&self, waiting: u32) {
        for _ in 0..waiting {
            self.changed.complete();
        }
    }

    /// Returns whether a command of the file is outstanding that [`FileSession::release`] would leave
    /// the flush to.
    fn is_busy(&self) -> bool {
        self.guarded.lock().slot.is_busy()
    }

    /// Closes the file; returns the session to flush.
    fn release(&self) -> Option<SessionId> {
        self.guarded.lock().slot.release()
    }
}

/// What the lock of a function's session ids protects.
struct GuardedIds {
    ids: Ids,
    /// Opens that wait for a sweep to end.
    waiting: u32,
}

/// Sessions of a function.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    open: Mutex<KVec<Arc<FileSession>>>,
    /// Sessions to flush as soon as the controller takes commands again.
    #[pin]
    unflushed: Mutex<KVec<SessionId>>,
    #[pin]
    ids: SpinLock<GuardedIds>,
    #[pin]
    swept: Completion,
}

impl Files {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            open <- new_mutex!(KVec::new(), "azihsm_files"),
            unflushed <- new_mutex!(KVec::new(), "azihsm_unflushed"),
            ids <- new_spinlock!(GuardedIds { ids: Ids::new(), waiting: 0 }, "azihsm_ids"),
            swept <- Completion::new(),
        })
    }

    /// Forgets all sessions: the device holds none of them any more, and will give their ids to
    /// others.
    pub(crate) fn forget_sessions(&self) {
        for file in self.open.lock().iter() {
            file.guarded.lock().slot.forget();
        }
        self.unflushed.lock().clear();
        self.let_open(|ids| ids.forget());
    }

    /// Ends what opens wait for, and wakes them.
    fn let_open(&self, end: impl FnOnce(&mut Ids)) {
        let waiting = {
            let mut guarded = self.ids.lock();
            end(&mut guarded.ids);
            core::mem::take(&mut guarded.waiting)
        };
        for _ in 0..waiting {
            self.swept.complete();
        }
    }

    /// Notes which sessions are accounted for after a command of `file`, one that opens or another.
    /// May sleep.
    pub(crate) fn note(&self, file: &Arc<FileSession>, opens: bool, effect: Effect) {
        if let Effect::Opened(session) = effect {
            self.displace(session.id, file);
        }
        let mut guarded = self.ids.lock();
        match effect {
            Effect::Opened(session) => guarded.ids.hold(session.id),
            Effect::Flush(id) if opens => guarded.ids.hold(id),
            Effect::Closed(id) => guarded.ids.release(id),
            Effect::Flush(_) | Effect::Mismatch | Effect::None => (),
        }
    }

    /// Has other files than `file` forget session `id`, which the device has just given to that one:
    /// it has lost theirs, as a device does that was without power.
    fn displace(&self, id: SessionId, file: &Arc<FileSession>) {
        for other in self.open.lock().iter() {
            if !Arc::ptr_eq(other, file) && other.guarded.lock().slot.displace(id) {
                self.ids.lock().ids.release(id);
            }
        }
    }

    /// Returns whether some file has session `id`.
    fn has_session(&self, id: SessionId) -> bool {
        let open = self.open.lock();
        open.iter()
            .any(|file| file.session().is_some_and(|session| session.id == id))
    }

    /// Notes that a session was flushed.
    pub(crate) fn flushed(&self, id: SessionId) {
        self.ids.lock().ids.release(id);
    }
}

impl Controller<'_> {
    /// Makes the session of a file that is being opened.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the function is going away, [`ENOMEM`].
    pub(crate) fn open_file(&self) -> Result<Arc<FileSession>> {
        let file = FileSession::new()?;
        let mut open = self.files.open.lock();
        if self.life.get() == State::Removed {
            return Err(ENODEV);
        }
        // Closing the file must not fail for lack of memory.
        let mut unflushed = self.files.unflushed.lock();
        let room = open.len() + 1;
        unflushed.reserve(room, GFP_KERNEL)?;
        open.push(file.clone(), GFP_KERNEL)?;
        Ok(file)
    }

    /// Closes a file: its session is flushed, now or as soon as the controller can.
    pub(crate) fn close_file(&self, file: &Arc<FileSession>) {
        {
            let mut open = self.files.open.lock();
            if let Some(i) = open.iter().position(|other| Arc::ptr_eq(other, file)) {
                let last = open.len() - 1;
                open.swap(i, last);
                open.pop();
            }
        }
        if let Some(id) = file.release() {
            self.flush_or_defer(id);
        }
    }

    /// Returns whether some session is to be flushed before the function goes away.
    pub(crate) fn has_sessions(&self) -> bool {
        let open = self.files.open.lock();
        open.iter().any(|file| file.session().is_some()) || !self.files.unflushed.lock().is_empty()
    }

    /// Returns whether the flush of some session was put off, or somebody waits for a sweep that is
    /// due.
    pub(crate) fn has_deferred(&self) -> bool {
        if !self.files.unflushed.lock().is_empty() {
            return true;
        }
        let guarded = self.files.ids.lock();
        guarded.waiting != 0 && guarded.ids.is_sweep_due()
    }

    /// Flushes the sessions of all files, for a function that is going away; returns whether the
    /// device did so.
    pub(crate) fn flush_all(&self) -> bool {
        let patience = Patience::new(params::command_timeout(), Delta::ZERO);
        loop {
            // Files are closed meanwhile, which must not wait for this.
            let file = self.files.open.lock().pop();
            let deferred = self.files.unflushed.lock().pop();
            if file.is_none() && deferred.is_none() {
                return true;
            }
            if let Some(file) = &file {
                if !self.wait_idle(file, patience) {
                    dev_warn!(self.pdev, "a session in use was not flushed\n");
                    return false;
                }
            }
            let id = file.and_then(|file| file.release());
            for id in [id, deferred].into_iter().flatten() {
                if self.flush(id, patience) != Ok(true) {
                    dev_warn!(self.pdev, "session {} was not flushed\n", id.0);
                    return false;
                }
            }
        }
    }

    /// Waits until no command of a file is outstanding any more; returns whether none is. A caller
    /// that is killed waits no longer.
    fn wait_idle(&self, file: &FileSession, patience: Patience) -> bool {
        let collected = Instant::<Monotonic>::now() + COLLECTED;
        while file.is_busy() {
            if jiffies_until(patience.end) == 0 || wait::fatal_signal_pending() {
                return false;
            }
            fsleep(Delta::from_millis(1));
            if !(Instant::now() - collected).is_negative() {
                // Nobody comes for what a ring has if its task is the one that waits here.
                self.reclaim_rings(None);
            }
        }
        true
    }

    /// Acts on what the end of a command means for sessions.
    pub(crate) fn settle(&self, effect: Effect) {
        match effect {
            Effect::Flush(id) => self.flush_or_defer(id),
            other => self.settle_later(other),
        }
    }

    /// The same, for those who must not wait for the device.
    #[inline]
    pub(crate) fn settle_later(&self, effect: Effect) {
        match effect {
            Effect::Flush(id) => self.defer_flush(id),
            Effect::Mismatch => {
                self.recovery
                    .mismatches
                    .add(1, kernel::sync::atomic::Relaxed);
            }
            Effect::None | Effect::Opened(_) | Effect::Closed(_) => (),
        }
    }

    /// Flushes a session, now or as soon as the controller can.
    ///
    /// The caller waits for the end as for that of any command, and one that cannot be killed only
    /// for as long as a flush usually takes.
    fn flush_or_defer(&self, id: SessionId) {
        let patience = if task::is_unkillable() {
            Patience::new(UNKILLABLE, Delta::ZERO)
        } else {
            self.patience()
        };
        if self.flush(id, patience).is_err() {
            self.defer_flush(id);
        }
    }

    /// Has a session flushed as soon as the controller can.
    pub(crate) fn defer_flush(&self, id: SessionId) {
        match self.life.get() {
            State::Live | State::Resetting => {
                if self.files.unflushed.lock().push(id, GFP_KERNEL).is_err() {
                    // No memory: the next sweep finds it.
                    self.files.ids.lock().ids.abandon(id);
                }
                self.flush_soon();
            }
            // Nothing can be flushed now, but the controller may come back with its sessions.
            _ => self.files.ids.lock().ids.abandon(id),
        }
    }

    /// Flushes what was put off.
    pub(crate) fn flush_deferred(&self) {
        while self.life.get() == State::Live {
            let Some(id) = self.files.unflushed.lock().pop() else {
                return self.sweep();
            };
            if self.files.has_session(id) {
                // The device has given it to another file, so that it is gone.
                self.files.flushed(id);
                continue;
            }
            if self.flush(id, self.patience()).is_err() {
                // For lack of a queue, which is being reset: try again when it is back.
                let _ = self.files.unflushed.lock().push(id, GFP_KERNEL);
                return;
            }
        }
    }

    /// Flushes the sessions that nobody can know of, if an open was lost.
    fn sweep(&self) {
        let Some(mut orphans) = self.files.ids.lock().ids.begin_sweep() else {
            return;
        };
        let complete = orphans.all(|id| {
            self.life.get() == State::Live && self.flush(id, self.patience()) == Ok(true)
        });
        if complete {
            self.files.let_open(|ids| ids.end_sweep(true));
        } else {
            // Who waits for it waits for the next one, which the watchdog asks for.
            self.files.ids.lock().ids.end_sweep(false);
        }
    }

    /// Has those who wait for a sweep look again.
    pub(crate) fn wake_opens(&self) {
        self.files.let_open(|_| ());
    }

    /// Takes back the announcement of an open; see [`Ids::end_open`].
    pub(crate) fn end_open(&self, lost: bool) {
        let due = self.files.ids.lock().ids.end_open(lost);
        if due {
            self.flush_soon();
        }
    }

    /// Makes the device drop session `id`; returns whether it has.
    ///
    /// If not, the caller was killed or ran out of patience, and left the command at the device.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`], [`EINTR`] or [`ETIMEDOUT`] if the command did not get to the device, or was lost
    /// to a reset.
    fn flush(&self, id: SessionId, patience: Patience) -> Result<bool> {
        let slot = self
            .control
            .take(self, || patience.begin, Interrupt::Kill)?;
        let sqe = control::Sqe::flush(slot.cid(), id);
        let flight = slot.submit(&sqe, params::command_timeout())?;
        match flight.wait(patience.end, Outcome::copied) {
            Waited::Ended(_slot, Outcome::Completed(_)) => {
                self.files.flushed(id);
                Ok(true)
            }
            Waited::Ended(_slot, Outcome::Aborted) => Err(EAGAIN),
            Waited::Interrupted(flight, _) => match flight.leave(Left::Flush(id)) {
                Ok(()) => Ok(false),
                Err((_slot, Outcome::Completed(_), _)) => {
                    self.files.flushed(id);
                    Ok(true)
                }
                Err((_slot, Outcome::Aborted, _)) => Err(EAGAIN),
            },
        }
    }
}
