// SPDX-License-Identifier: GPL-2.0

//! The sessions of open files, and the flush of those that nobody closes.
//!
//! Device sessions are scarce and survive a controller reset, so none may be forgotten: a session
//! is flushed when its file is closed, when the function is unbound while the file is open, and
//! when the device opened it for a caller that is gone. While the controller is being reset
//! flushes wait in a list.

use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    }, //
};

use crate::{
    command::Waited,
    control::Left,
    controller::Controller,
    kapi::wait::Completion,
    lifecycle::State,
    params,
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
    wire::{
        control::{
            self,
            Reply, //
        },
        SessionId, //
    },
};

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
    /// What `begin` says, or [`EINTR`] if the caller was killed while it waited.
    pub(crate) fn begin(
        &self,
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
            self.changed
                .wait_killable()
                .map_err(|e| Refusal::new(e, Ext::OK))?;
        }
    }

    /// Takes back the announcement of a command; see [`Slot::complete`].
    pub(crate) fn complete(
        &self,
        ticket: Ticket,
        reply: Option<&Reply>,
        delivered: bool,
    ) -> Effect {
        let (effect, waiting) = {
            let mut guarded = self.guarded.lock();
            let effect = guarded.slot.complete(ticket, reply, delivered);
            (effect, core::mem::take(&mut guarded.waiting))
        };
        for _ in 0..waiting {
            self.changed.complete();
        }
        effect
    }

    /// Closes the file; returns the session to flush.
    fn release(&self) -> Option<SessionId> {
        self.guarded.lock().slot.release()
    }
}

/// Sessions of a function.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    open: Mutex<KVec<Arc<FileSession>>>,
    /// Sessions to flush as soon as the controller takes commands again.
    #[pin]
    unflushed: Mutex<KVec<SessionId>>,
}

impl Files {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            open <- new_mutex!(KVec::new(), "azihsm_files"),
            unflushed <- new_mutex!(KVec::new(), "azihsm_unflushed"),
        })
    }

    /// Forgets all sessions: the device holds none of them any more, and will give their ids to
    /// others.
    pub(crate) fn forget_sessions(&self) {
        for file in self.open.lock().iter() {
            file.guarded.lock().slot.forget();
        }
        self.unflushed.lock().clear();
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

    /// Flushes the sessions of all files, for a function that is going away.
    pub(crate) fn flush_all(&self) {
        let mut open = self.files.open.lock();
        while let Some(file) = open.pop() {
            let Some(id) = file.release() else {
                continue;
            };
            if let Err(e) = self.flush(id) {
                dev_warn!(self.pdev, "session {} was not flushed: {:?}\n", id.0, e);
                return;
            }
        }
    }

    /// Acts on what the end of a command means for sessions.
    pub(crate) fn settle(&self, effect: Effect) {
        match effect {
            Effect::Flush(id) => self.flush_or_defer(id),
            Effect::Mismatch => {
                self.recovery
                    .mismatches
                    .add(1, kernel::sync::atomic::Relaxed);
            }
            Effect::None | Effect::Opened(_) | Effect::Closed(_) => (),
        }
    }

    /// Flushes a session, now or as soon as the controller can.
    pub(crate) fn flush_or_defer(&self, id: SessionId) {
        if self.flush(id).is_ok() {
            return;
        }
        match self.life.get() {
            State::Live | State::Resetting => {
                if self.files.unflushed.lock().push(id, GFP_KERNEL).is_err() {
                    dev_warn!(self.pdev, "session {} was not flushed\n", id.0);
                }
                self.reap_soon();
            }
            // A controller that is gone holds no session that could be flushed.
            _ => (),
        }
    }

    /// Flushes what had to wait for a reset.
    pub(crate) fn flush_deferred(&self) {
        while self.life.get() == State::Live {
            let Some(id) = self.files.unflushed.lock().pop() else {
                return;
            };
            if self.flush(id).is_err() {
                let _ = self.files.unflushed.lock().push(id, GFP_KERNEL);
                return;
            }
        }
    }

    /// Makes the device drop session `id`.
    ///
    /// A caller that is killed meanwhile leaves the command at the device.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] or [`EINTR`] if the command did not get to the device, or was lost to a reset.
    fn flush(&self, id: SessionId) -> Result {
        let slot = self.control.take(self)?;
        let sqe = control::Sqe::flush(slot.cid(), id);
        let flight = slot.submit(sqe, params::command_timeout())?;
        match flight.wait(None) {
            Waited::Ended(_slot, Outcome::Completed(_)) => Ok(()),
            Waited::Ended(_slot, Outcome::Aborted) => Err(EAGAIN),
            Waited::Interrupted(flight, _) => match flight.leave(Left::Flush(id)) {
                Err((_slot, Outcome::Aborted, _)) => Err(EAGAIN),
                _ => Ok(()),
            },
        }
    }
}

/// A command of a file that was announced to its session.
///
/// Dropping it takes the announcement back, for a command that did not get to its end.
pub(crate) struct Announced<'a> {
    controller: &'a Controller<'a>,
    file: &'a Arc<FileSession>,
    ticket: Option<Ticket>,
}

impl<'a> Announced<'a> {
    /// Announces a command; see [`FileSession::begin`].
    pub(crate) fn begin(
        controller: &'a Controller<'a>,
        file: &'a Arc<FileSession>,
        begin: impl FnMut(&mut Slot) -> Result<Ticket, Blocked>,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            controller,
            file,
            ticket: Some(file.begin(begin)?),
        })
    }

    /// Reports the end of the command.
    pub(crate) fn complete(mut self, reply: Option<&Reply>, delivered: bool) {
        self.finish(reply, delivered);
    }

    /// Hands the announcement over to whoever deals with a command that is left behind.
    pub(crate) fn hand_over(mut self) -> Option<(Arc<FileSession>, Ticket)> {
        Some((self.file.clone(), self.ticket.take()?))
    }

    fn finish(&mut self, reply: Option<&Reply>, delivered: bool) {
        if let Some(ticket) = self.ticket.take() {
            let effect = self.file.complete(ticket, reply, delivered);
            self.controller.settle(effect);
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.finish(None, false);
    }
}
