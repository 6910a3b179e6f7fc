// SPDX-License-Identifier: GPL-2.0

//! Commands that were announced to the session of their file, and opens.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    controller::Controller,
    lifecycle::State,
    patience::{
        jiffies_until,
        Patience, //
    },
    session::{
        Blocked,
        Effect,
        Session,
        Slot,
        Ticket, //
    },
    uapi::{
        Ext,
        Refusal, //
    },
    wire::{
        control::Reply,
        SessionId, //
    },
};

use super::FileSession;

/// A command of a file that was announced to its session.
///
/// Dropping it takes the announcement back, for a command that did not get to its end.
pub(crate) struct Announced<'a> {
    controller: &'a Controller<'a>,
    file: &'a Arc<FileSession>,
    ticket: Ticket,
}

impl<'a> Announced<'a> {
    /// Announces a command; see [`FileSession::begin`].
    pub(crate) fn begin(
        controller: &'a Controller<'a>,
        file: &'a Arc<FileSession>,
        patience: Patience,
        begin: impl FnMut(&mut Slot) -> Result<Ticket, Blocked>,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            controller,
            file,
            ticket: file.begin(patience, begin)?,
        })
    }

    /// Announces a command if it need not wait for others of the file, [`None`] otherwise.
    pub(crate) fn try_begin(
        controller: &'a Controller<'a>,
        file: &'a Arc<FileSession>,
        begin: impl FnOnce(&mut Slot) -> Result<Ticket, Blocked>,
    ) -> Result<Option<Self>, Refusal> {
        match file.try_begin(begin) {
            Ok(ticket) => Ok(Some(Self {
                controller,
                file,
                ticket,
            })),
            Err(Blocked::Wait) => Ok(None),
            Err(Blocked::Refused(refusal)) => Err(refusal),
        }
    }

    /// Announces a fast-path command before it is validated, if the file has a session that is open;
    /// returns that, or what there is.
    #[inline(always)]
    pub(crate) fn enter_aes(
        controller: &'a Controller<'a>,
        file: &'a Arc<FileSession>,
    ) -> (Self, Option<Session>) {
        let (session, ticket) = match file.enter_aes() {
            Some((session, ticket)) => (Some(session), ticket),
            // It may be about to close, which is not for the validation to know.
            None => (file.session(), Ticket::none()),
        };
        let announced = Self {
            controller,
            file,
            ticket,
        };
        (announced, session)
    }

    /// Announces a fast-path command that is not yet, in the session that its validation saw; see
    /// [`FileSession::begin`].
    #[cold]
    pub(crate) fn begin_aes(&mut self, patience: Patience, id: SessionId) -> Result<(), Refusal> {
        self.ticket = self.file.begin(patience, |slot| slot.begin_aes(id))?;
        Ok(())
    }

    /// Returns whether the command is announced.
    pub(crate) fn is_announced(&self) -> bool {
        self.ticket.counts()
    }

    /// Reports the end of the command.
    pub(crate) fn complete(mut self, reply: Option<&Reply>, delivered: bool) {
        self.finish(reply, delivered);
    }

    /// Reports the end of a fast-path command that got there.
    #[inline]
    pub(crate) fn complete_aes(self) {
        match self.file.complete_aes() {
            Effect::None => (),
            effect => self.settle(false, effect),
        }
        // There is nothing to take back any more.
        core::mem::forget(self);
    }

    /// Hands the announcement over to whoever deals with a command that is left behind.
    pub(crate) fn hand_over(mut self) -> (Arc<FileSession>, Ticket) {
        let ticket = core::mem::replace(&mut self.ticket, Ticket::none());
        (self.file.clone(), ticket)
    }

    /// Hands the announcement of a fast-path command over.
    #[inline]
    pub(crate) fn hand_over_aes(self) -> Arc<FileSession> {
        let file = self.file.clone();
        core::mem::forget(self);
        file
    }

    fn finish(&mut self, reply: Option<&Reply>, delivered: bool) {
        let ticket = core::mem::replace(&mut self.ticket, Ticket::none());
        if !ticket.counts() {
            return;
        }
        let opens = ticket.opens();
        let effect = self.file.complete(ticket, reply, delivered);
        if effect != Effect::None {
            self.settle(opens, effect);
        }
    }

    #[cold]
    fn settle(&self, opens: bool, effect: Effect) {
        self.controller.files.note(self.file, opens, effect);
        self.controller.settle(effect);
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.finish(None, false);
    }
}

/// An open that is outstanding, which no sweep may meet.
///
/// Dropping it takes the announcement back; that comes after the session learned of the end.
pub(crate) struct Opening<'a> {
    controller: &'a Controller<'a>,
    lost: bool,
}

impl<'a> Opening<'a> {
    /// Announces an open, waiting for a sweep to end.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was killed while it waited, [`EAGAIN`] if it ran out of `patience` or
    /// there are no queues to sweep with, [`EIO`] or [`ENODEV`] if there will be none.
    pub(crate) fn begin(
        controller: &'a Controller<'a>,
        patience: Patience,
    ) -> Result<Self, Refusal> {
        let files = &controller.files;
        loop {
            {
                let mut guarded = files.ids.lock();
                if guarded.ids.begin_open().is_ok() {
                    return Ok(Self {
                        controller,
                        lost: false,
                    });
                }
                guarded.waiting += 1;
            }
            match controller.life.get() {
                State::Dead | State::Removed => controller.refusal()?,
                _ if controller.control.active() == 0 => {
                    return Err(controller.not_accepted(EAGAIN))
                }
                _ => (),
            }
            controller.flush_soon();
            match files
                .swept
                .wait_killable_timeout(jiffies_until(patience.begin))
            {
                Ok(true) => (),
                Ok(false) => return Err(Refusal::new(EAGAIN, Ext::ABORTED)),
                Err(e) => return Err(Refusal::new(e, Ext::OK)),
            }
        }
    }

    /// Notes that the device may have opened a session without telling.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Leaves it to whoever deals with the command to take the announcement back.
    pub(crate) fn hand_over(self) {
        core::mem::forget(self);
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.controller.end_open(self.lost);
    }
}
