// SPDX-License-Identifier: GPL-2.0

//! The session of an open file.
//!
//! A file has at most one session. The slot below is the driver's knowledge of it; the device keeps
//! its own table. A command that concerns the session is announced with [`Slot::begin`] before it
//! is submitted, and its end, whatever it was, is reported with [`Slot::complete`]. The slot
//! survives every reset of the controller: closing and reopening with the old id must reach the
//! device.
//!
//! The device reuses the ids of closed sessions, for other files too, and does not know files. A
//! close therefore waits until no other command of the session is outstanding, and no command
//! joins the session while it is being closed: nothing that was meant for the old session can meet
//! a new one with the same id.

mod story;
mod table;

use kernel::prelude::*;

use crate::{
    uapi::{
        Ext,
        Refusal, //
    },
    wire::{
        control::{
            Control,
            Kind,
            Reply, //
        },
        SessionId,
        ShortAppId, //
    },
};

/// A session that the device opened for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Id of the session.
    pub(crate) id: SessionId,
    /// Short application id, if the device gave one.
    pub(crate) app: Option<ShortAppId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No session.
    Empty,
    /// A command that opens one is outstanding.
    Opening,
    /// The device holds this session, and `users` commands are outstanding in it.
    Open { session: Session, users: u32 },
    /// A command that closes this session is outstanding.
    Closing { session: Session },
    /// The file is closed, and `users` commands that nobody waits for are outstanding. The
    /// session is to be flushed after them.
    Released {
        flush: Option<SessionId>,
        users: u32,
    },
}

/// The session slot of a file.
#[derive(Debug)]
pub(crate) struct Slot(State);

/// Why a command cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// It is refused.
    Refused(Refusal),
    /// Other commands of the file must end first; ask again when one has.
    Wait,
}

impl From<Refusal> for Blocked {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A command that was announced to a [`Slot`]; give it back with [`Slot::complete`].
#[must_use = "the slot counts the command as outstanding until it is completed"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(Kind);

impl Ticket {
    /// Returns a ticket of no command, whose end means nothing.
    pub(crate) const fn none() -> Self {
        Self(Kind::None)
    }

    /// Returns whether the command takes part in the session of the file, or is to.
    pub(crate) fn counts(&self) -> bool {
        self.0 != Kind::None
    }

    /// Returns whether the command opens a session.
    pub(crate) fn opens(&self) -> bool {
        self.0 == Kind::Open
    }
}

/// What the end of a command means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a session that must be flushed is lost otherwise"]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The file has a session now.
    Opened(Session),
    /// The file has no session any more.
    Closed(SessionId),
    /// The device opened this session but nobody can use it: it has to be flushed.
    Flush(SessionId),
    /// The device says success but answers for another kind of command; it is not believed.
    Mismatch,
}

impl Slot {
    /// Returns the slot of a newly opened file.
    pub(crate) const fn new() -> Self {
        Self(State::Empty)
    }

    /// Returns the session of the file, if it has one.
    pub(crate) fn session(&self) -> Option<Session> {
        match self.0 {
            State::Open { session, .. } | State::Closing { session } => Some(session),
            _ => None,
        }
    }

    /// Announces a control-path command.
    ///
    /// # Errors
    ///
    /// Returns [`Blocked::Refused`] if the command does not fit the session of the file, and
    /// [`Blocked::Wait`] if that depends on outstanding commands.
    pub(crate) fn begin(&mut self, control: &Control) -> Result<Ticket, Blocked> {
        let refuse = |ext| Err(Refusal::invalid(ext).into());
        self.0 = match (control.kind, self.0) {
            (Kind::None, state) => state,

            (Kind::Open, State::Empty) => State::Opening,
            (Kind::Open, _) => return refuse(Ext::SESSION_LIMIT),

            (_, State::Empty | State::Opening | State::Released { .. }) => {
                return refuse(Ext::NO_SESSION)
            }
            (_, State::Open { session, .. } | State::Closing { session })
                if !control.id_valid || control.id != session.id =>
            {
                return refuse(Ext::SESSION_MISMATCH)
            }
            (_, State::Closing { .. }) => return Err(Blocked::Wait),
            (Kind::InSession, State::Open { session, users }) => State::Open {
                session,
                users: users.checked_add(1).ok_or(Blocked::Wait)?,
            },
            (Kind::Close, State::Open { session, users: 0 }) => State::Closing { session },
            (Kind::Close, State::Open { .. }) => return Err(Blocked::Wait),
        };
        Ok(Ticket(control.kind))
    }

    /// Announces a fast-path command in the session of the file, if it is open, before it is
    /// validated.
    #[inline]
    pub(crate) fn enter_aes(&mut self) -> Option<(Session, Ticket)> {
        let State::Open { session, users } = &mut self.0 else {
            return None;
        };
        *users = users.checked_add(1)?;
        Some((*session, Ticket(Kind::InSession)))
    }

    /// Announces a fast-path command in the session that its validation saw.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), with the fast path's status codes.
    pub(crate) fn begin_aes(&mut self, id: SessionId) -> Result<Ticket, Blocked> {
        let control = Control {
            kind: Kind::InSession,
            id_valid: true,
            id,
        };
        self.begin(&control).map_err(|blocked| match blocked {
            Blocked::Refused(refusal) => {
                let ext = if refusal.ext == Ext::SESSION_MISMATCH {
                    Ext::AES_SESSION_ID
                } else {
                    Ext::AES_NO_SESSION
                };
                Refusal::invalid(ext).into()
            }
            Blocked::Wait => Blocked::Wait,
        })
    }

    /// Takes back the announcement of a fast-path command; see [`complete`](Self::complete).
    #[inline]
    pub(crate) fn complete_aes(&mut self) -> Effect {
        match &mut self.0 {
            State::Open { users, .. } => {
                *users = users.saturating_sub(1);
                Effect::None
            }
            _ => self.complete_released(),
        }
    }

    /// Takes back the announcement of a command.
    ///
    /// `reply` is what the device answered, [`None`] if the command did not reach its end there or
    /// was one of the fast path. `delivered` says whether somebody still waits for the answer.
    pub(crate) fn complete(
        &mut self,
        ticket: Ticket,
        reply: Option<&Reply>,
        delivered: bool,
    ) -> Effect {
        match ticket.0 {
            Kind::None => Effect::None,
            Kind::InSession => self.complete_aes(),
            Kind::Open => self.complete_open(reply, delivered),
            Kind::Close => self.complete_close(reply),
        }
    }

    fn complete_open(&mut self, reply: Option<&Reply>, delivered: bool) -> Effect {
        let vacant = self.0 == State::Opening;
        if vacant {
            self.0 = State::Empty;
        }
        let Some(reply) = reply.filter(|reply| reply.status == 0) else {
            return Effect::None;
        };
        if reply.kind != Kind::Open {
            return Effect::Mismatch;
        }
        let Some(id) = reply.session else {
            return Effect::None;
        };
        if !vacant || !delivered {
            return Effect::Flush(id);
        }
        let session = Session { id, app: reply.app };
        self.0 = State::Open { session, users: 0 };
        Effect::Opened(session)
    }

    fn complete_close(&mut self, reply: Option<&Reply>) -> Effect {
        let id = match self.0 {
            State::Closing { session } => {
                self.0 = State::Open { session, users: 0 };
                session.id
            }
            State::Released {
                flush: Some(id), ..
            } => id,
            _ => return Effect::None,
        };
        if let Some(reply) = reply {
            // A failed command may have closed the session all the same, and then says so.
            if reply.status == 0 && reply.kind != Kind::Close {
                return match self.complete_released() {
                    Effect::None => Effect::Mismatch,
                    effect => effect,
                };
            }
            if reply.session == Some(id) && reply.safe_to_close {
                self.0 = match self.0 {
                    State::Released { users, .. } => State::Released {
                        flush: None,
                        users: users.saturating_sub(1),
                    },
                    _ => State::Empty,
                };
                return Effect::Closed(id);
            }
        }
        self.complete_released()
    }

    /// Counts the end of a command of a closed file; the last one has the session flushed.
    fn complete_released(&mut self) -> Effect {
        let State::Released { flush, users } = &mut self.0 else {
            return Effect::None;
        };
        *users = users.saturating_sub(1);
        match flush.take_if(|_| *users == 0) {
            Some(id) => Effect::Flush(id),
            None => Effect::None,
        }
    }

    /// Closes the file: returns the session that has to be flushed at once, if any.
    ///
    /// While commands are outstanding in the session, their last one results in
    /// [`Effect::Flush`] instead; so does an open that is outstanding.
    pub(crate) fn release(&mut self) -> Option<SessionId> {
        let (flush, users) = match self.0 {
            State::Open { session, users } => (Some(session.id), users),
            State::Closing { session } => (Some(session.id), 1),
            State::Empty | State::Opening | State::Released { .. } => (None, 0),
        };
        if users == 0 {
            self.0 = State::Released {
                flush: None,
                users: 0,
            };
            return flush;
        }
        self.0 = State::Released { flush, users };
        None
    }

    /// Returns whether a command is outstanding that may change what [`Slot::release`] returns.
    pub(crate) fn is_busy(&self) -> bool {
        match self.0 {
            State::Open { users, .. } => users != 0,
            State::Opening | State::Closing { .. } => true,
            State::Empty | State::Released { .. } => false,
        }
    }

    /// Notes that the device has given session `id` to another file: it holds it no longer for this
    /// one. Returns whether this one had it.
    ///
    /// While a close is outstanding it may be that of the session before, whose end is just coming.
    pub(crate) fn displace(&mut self, id: SessionId) -> bool {
        let had = matches!(self.0, State::Open { session, .. } if session.id == id);
        if had {
            self.forget();
        }
        had
    }

    /// Forgets the session of the file: the device holds it no longer.
    ///
    /// Commands that are at the device fail there. Their ends may still be reported.
    pub(crate) fn forget(&mut self) {
        self.0 = match self.0 {
            State::Open { .. } | State::Closing { .. } => State::Empty,
            State::Released { users, .. } => State::Released { flush: None, users },
            state @ (State::Empty | State::Opening) => state,
        };
    }
}
