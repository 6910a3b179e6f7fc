// SPDX-License-Identifier: GPL-2.0

//! Control-path (CP) commands, from the caller's structure to the device and back.
//!
//! The order of the checks is part of the interface:
//! [`Documentation/userspace-api/azihsm.rst`](srctree/Documentation/userspace-api/azihsm.rst).

use kernel::{
    prelude::*,
    sync::Arc,
    uaccess::UserPtr, //
};

use crate::{
    command::{
        Slot,
        Waited, //
    },
    controller::Controller,
    dma::{
        Area,
        Layout,
        Piece,
        AREA,
        DEVICE_PAGE, //
    },
    files::{
        Announced,
        FileSession,
        Opening, //
    },
    kapi::uaccess::{
        access_ok,
        fault_in_readable, //
    },
    params,
    queue::{
        CqeOf,
        Kind, //
    },
    request::control::Request,
    session::Ticket,
    slot::Outcome,
    uapi::{
        CpCmd,
        Ext,
        Refusal, //
    },
    wire::{
        control::{
            self as wire,
            Buffer,
            Reply, //
        },
        QueueId,
        SessionId, //
    },
};

/// Control-path queues.
pub(crate) type Control = wire::Entries;

/// What a control command leaves behind when nobody waits for it any more.
pub(crate) enum Left {
    /// Command of a file, whose session has to learn of the end.
    Command(Arc<FileSession>, Ticket),
    /// Flush of a session.
    Flush(SessionId),
}

impl Kind for Control {
    type Left = Left;
    const LAYOUT: Layout = Layout::Data;
    const CREDIT: u32 = 1;

    fn queue_id(index: u16) -> Option<QueueId> {
        QueueId::control(index)
    }
}

/// A command that the device completed, whose caller has the response but not yet the structure.
#[must_use = "the session of the file has to learn whether the caller was told"]
pub(crate) struct Answered<'a> {
    announced: Announced<'a>,
    reply: Reply,
    _opening: Option<Opening<'a>>,
}

impl Answered<'_> {
    /// Ends the command; `delivered` says whether the caller was told all of it.
    pub(crate) fn end(self, delivered: bool) {
        self.announced.complete(Some(&self.reply), delivered);
    }
}

impl<'a> Controller<'a> {
    /// Runs a control command for `file`; fills in the output fields of `cmd`.
    ///
    /// # Errors
    ///
    /// The refusal, for the caller to see in errno and extended status.
    pub(crate) fn control_command(
        &'a self,
        file: &'a Arc<FileSession>,
        cmd: &mut CpCmd,
    ) -> Result<Answered<'a>, Refusal> {
        self.refusal()?;
        let patience = self.patience();
        let request = Request::validate(cmd)?;
        let mut opening = match request.control.kind {
            wire::Kind::Open => Some(Opening::begin(self, patience)?),
            _ => None,
        };
        let announced =
            Announced::begin(self, file, patience, |slot| slot.begin(&request.control))?;
        if !access_ok(request.src, request.src_len as usize) {
            return Err(Refusal::invalid(Ext::SRC_BUF));
        }
        if !access_ok(request.dst, request.dst_len as usize) {
            return Err(Refusal::invalid(Ext::DST_BUF));
        }

        let src = UserPtr::from_addr(request.src as usize);
        let (slot, sqe, patience) = self.control.take_filled(
            self,
            || self.patience(),
            |e| self.not_accepted(e),
            || {
                fault_in_readable(src, request.src_len as usize)
                    .map_err(|e| Refusal::new(e, Ext::SRC_BUF))
            },
            |slot| place(slot, &request),
        )?;
        let flight = slot
            .submit(sqe, params::command_timeout())
            .map_err(|e| self.not_accepted(e))?;
        let (slot, outcome) = match flight.wait(patience.end) {
            Waited::Ended(slot, outcome) => (slot, outcome),
            Waited::Interrupted(flight, e) => {
                if let Some(opening) = opening {
                    opening.hand_over();
                }
                if let Some((file, ticket)) = announced.hand_over() {
                    if let Err((slot, outcome, left)) = flight.leave(Left::Command(file, ticket)) {
                        drop(slot);
                        reap(self, outcome, left);
                    }
                }
                return Err(self.not_waited_for(e));
            }
        };

        let Outcome::Completed(cqe) = outcome else {
            if let Some(opening) = &mut opening {
                opening.lose();
            }
            return Err(self.lost());
        };
        let reply = cqe.reply();
        let len = reply.len(request.dst_len);
        cmd.status = u32::from(reply.status);
        let response = Piece {
            offset: 0,
            len: len as usize,
            to: UserPtr::from_addr(request.dst as usize),
        };
        let copied = slot.deliver(&[response]);
        let answered = Answered {
            announced,
            reply,
            _opening: opening,
        };
        if let Err(e) = copied {
            answered.end(false);
            return Err(Refusal::new(e, Ext::DST_BUF));
        }
        cmd.byte_count = len;
        Ok(answered)
    }
}

/// Puts the request into the slot's memory and returns the submission entry, [`None`] if the
/// caller's memory is not there.
fn place(
    slot: &Slot<'_, Control, Controller<'_>>,
    request: &Request,
) -> Result<Option<wire::Sqe>, Refusal> {
    let memory = slot.memory().map_err(|e| Refusal::new(e, Ext::OK))?;
    let buffer = |len, area| {
        let first = memory.address(area);
        Buffer::new(len, first, first + DEVICE_PAGE as u64).ok_or(Refusal::new(EINVAL, Ext::OK))
    };
    let copied = memory.copy_from_user(
        Area::Source,
        0,
        UserPtr::from_addr(request.src as usize),
        request.src_len as usize,
    );
    if copied.is_err() {
        return Ok(None);
    }
    // The device does not look at the room for its response: it always gets the whole area.
    memory.claim(Area::Destination, AREA);
    Ok(Some(wire::Sqe::generic(
        slot.cid(),
        &buffer(request.src_len, Area::Source)?,
        // CAST: 8 KiB.
        &buffer(AREA as u32, Area::Destination)?,
        &request.control,
    )))
}

/// Deals with the end of a command that nobody waits for any more.
pub(crate) fn reap(controller: &Controller<'_>, outcome: Outcome<CqeOf<Control>>, left: Left) {
    let reply: Option<Reply> = match &outcome {
        Outcome::Completed(cqe) => Some(cqe.reply()),
        Outcome::Aborted => None,
    };
    match left {
        Left::Command(file, ticket) => {
            let opens = ticket.opens();
            let effect = file.complete(ticket, reply.as_ref(), false);
            controller.files.note(opens, effect);
            controller.settle_later(effect);
            if opens {
                controller.end_open(reply.is_none());
            }
        }
        Left::Flush(id) => {
            if reply.is_none() {
                controller.defer_flush(id);
            } else {
                controller.files.flushed(id);
            }
        }
    }
}
