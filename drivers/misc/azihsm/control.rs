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
use zerocopy::FromZeros;

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
    session::{
        self,
        Ticket, //
    },
    slot::Outcome,
    uapi::{
        CpCmd,
        Ext,
        Refusal, //
    },
    uring::{
        submit,
        take_filled,
        Issue,
        Issued,
        Ring,
        Stop, //
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
    Command(Command),
    /// Flush of a session.
    Flush(SessionId),
}

/// What a command of a file needs at its end.
pub(crate) struct Command {
    file: Arc<FileSession>,
    ticket: Ticket,
    request: Request,
    /// User address of the result of a ring's command, 0 if there is none.
    pub(crate) result: u64,
}

/// What became of a control command that the device completed.
pub(crate) struct Done {
    /// Device status, 0 for success.
    pub(crate) status: u32,
    /// Number of bytes of the response that the caller got.
    pub(crate) byte_count: u32,
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
        let patience = self.patience();
        let request = self.validate_control(cmd)?;
        let mut opening = match request.control.kind {
            wire::Kind::Open => Some(Opening::begin(self, patience)?),
            _ => None,
        };
        let announced =
            Announced::begin(self, file, patience, |slot| slot.begin(&request.control))?;
        check_buffers(&request)?;

        let src = UserPtr::from_addr(request.src as usize);
        let timeout = params::command_timeout();
        let (flight, end) = self.control.send(
            self,
            timeout,
            || self.patience(),
            |e| self.not_accepted(e),
            || {
                fault_in_readable(src, request.src_len as usize)
                    .map_err(|e| Refusal::new(e, Ext::SRC_BUF))
            },
            |slot, sqe| place(slot, &request, sqe),
        )?;
        let until = end.unwrap_or_else(|| self.end_of_patience(flight.submitted(), timeout));
        let (slot, outcome) = match flight.wait(until, Outcome::copied) {
            Waited::Ended(slot, outcome) => (slot, outcome),
            Waited::Interrupted(flight, e) => {
                if let Some(opening) = opening {
                    opening.hand_over();
                }
                let (file, ticket) = announced.hand_over();
                let left = Left::Command(Command {
                    file,
                    ticket,
                    request,
                    result: 0,
                });
                if let Err((slot, outcome, left)) = flight.leave(left) {
                    drop(slot);
                    reap(self, outcome, left);
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

    /// Sends a control command of a ring to the device.
    ///
    /// # Errors
    ///
    /// Why it was not sent; `issue` is what to say that with.
    pub(crate) fn submit_control<'i>(
        &self,
        file: &Arc<FileSession>,
        cmd: &CpCmd,
        ring: &Ring,
        issue: Issue<'i>,
    ) -> Result<Issued, (Issue<'i>, Stop)> {
        let prepared = || -> Result<_, Stop> {
            let request = self.validate_control(cmd)?;
            let opening = match request.control.kind {
                // It may have to wait.
                wire::Kind::Open if issue.is_nonblocking() => return Err(Stop::Retry),
                wire::Kind::Open => Some(Opening::begin(self, self.patience())?),
                _ => None,
            };
            let begin = |slot: &mut session::Slot| slot.begin(&request.control);
            let announced = match issue.is_nonblocking() {
                true => Announced::try_begin(self, file, begin)?.ok_or(Stop::Retry)?,
                false => Announced::begin(self, file, self.patience(), begin)?,
            };
            check_buffers(&request)?;
            // CAST: User addresses of a 64-bit kernel.
            let src = UserPtr::from_addr(request.src as usize);
            let mut sqe = wire::Sqe::new_zeroed();
            let slot = take_filled(
                self,
                &self.control,
                &issue,
                &file.run,
                || {
                    fault_in_readable(src, request.src_len as usize)
                        .map_err(|e| Refusal::new(e, Ext::SRC_BUF))
                },
                |slot| place(slot, &request, &mut sqe),
            )?;
            Ok((slot, sqe, request, announced, opening))
        };
        match prepared() {
            Ok((slot, sqe, request, announced, opening)) => {
                let left = move || {
                    let (file, ticket) = announced.hand_over();
                    if let Some(opening) = opening {
                        opening.hand_over();
                    }
                    Left::Command(Command {
                        file,
                        ticket,
                        request,
                        result: ring.result,
                    })
                };
                Ok(submit(slot, &sqe, left, ring, issue))
            }
            Err(stop) => Err((issue, stop)),
        }
    }

    /// Ends a control command of a ring that the submitter's task has taken over, which `tell`
    /// tells of it.
    pub(crate) fn finish_control<T>(
        &self,
        slot: Slot<'_, Control, Controller<'_>>,
        outcome: Outcome<CqeOf<Control>>,
        command: Command,
        tell: impl FnOnce(Done) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let Outcome::Completed(cqe) = outcome else {
            drop(slot);
            reap(self, outcome, Left::Command(command));
            return Err(self.lost());
        };
        let reply = cqe.reply();
        let byte_count = reply.len(command.request.dst_len);
        let response = Piece {
            offset: 0,
            len: byte_count as usize,
            to: UserPtr::from_addr(command.request.dst as usize),
        };
        let told = slot
            .deliver(&[response])
            .map_err(|e| Refusal::new(e, Ext::DST_BUF))
            .and_then(|()| {
                tell(Done {
                    status: u32::from(reply.status),
                    byte_count,
                })
            });
        let opens = command.ticket.opens();
        let effect = command
            .file
            .complete(command.ticket, Some(&reply), told.is_ok());
        self.files.note(&command.file, opens, effect);
        self.settle_later(effect);
        if opens {
            self.end_open(false);
        }
        told
    }

    fn validate_control(&self, cmd: &CpCmd) -> Result<Request, Refusal> {
        self.refusal()?;
        Request::validate(cmd)
    }
}

/// Checks that the buffers lie in the caller's address space.
fn check_buffers(request: &Request) -> Result<(), Refusal> {
    if !access_ok(request.src, request.src_len as usize) {
        return Err(Refusal::invalid(Ext::SRC_BUF));
    }
    if !access_ok(request.dst, request.dst_len as usize) {
        return Err(Refusal::invalid(Ext::DST_BUF));
    }
    Ok(())
}

/// Puts the request into the slot's memory and fills in the submission entry; returns whether the
/// caller's memory is there.
fn place(
    slot: &mut Slot<'_, Control, Controller<'_>>,
    request: &Request,
    sqe: &mut wire::Sqe,
) -> Result<bool, Refusal> {
    let memory = slot.memory().map_err(|e| Refusal::new(e, Ext::OK))?;
    let buffer = |len, area| {
        let first = memory.address(area);
        Buffer::new(len, first, first + DEVICE_PAGE as u64).ok_or(Refusal::new(EINVAL, Ext::OK))
    };
    let copied = slot.copy_in(
        Area::Source,
        0,
        UserPtr::from_addr(request.src as usize),
        request.src_len as usize,
    );
    if copied.is_err() {
        return Ok(false);
    }
    // The device does not look at the room for its response: it always gets the whole area.
    slot.claim(Area::Destination, AREA);
    *sqe = wire::Sqe::generic(
        slot.cid(),
        &buffer(request.src_len, Area::Source)?,
        // CAST: 8 KiB.
        &buffer(AREA as u32, Area::Destination)?,
        &request.control,
    );
    Ok(true)
}

/// Deals with the end of a command that nobody waits for any more.
pub(crate) fn reap(controller: &Controller<'_>, outcome: Outcome<CqeOf<Control>>, left: Left) {
    let reply: Option<Reply> = match &outcome {
        Outcome::Completed(cqe) => Some(cqe.reply()),
        Outcome::Aborted => None,
    };
    match left {
        Left::Command(command) => {
            let opens = command.ticket.opens();
            let effect = command.file.complete(command.ticket, reply.as_ref(), false);
            controller.files.note(&command.file, opens, effect);
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
