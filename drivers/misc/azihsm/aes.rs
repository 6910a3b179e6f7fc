// SPDX-License-Identifier: GPL-2.0

//! Fast-path AES commands, from the caller's structure to the device and back.
//!
//! The order of the checks is part of the interface:
//! [`Documentation/userspace-api/azihsm.rst`](srctree/Documentation/userspace-api/azihsm.rst).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    command::{
        Slot,
        Waited, //
    },
    controller::Controller,
    dma::Layout,
    files::{
        Announced,
        FileSession, //
    },
    kapi::uaccess::access_ok,
    log::dev_dbg,
    params,
    placement::{
        self,
        Pinned, //
    },
    queue::{
        CqeOf,
        Kind, //
    },
    request::aes::{
        Context,
        Mode,
        Request, //
    },
    session::{
        self,
        Ticket, //
    },
    slot::Outcome,
    uapi::{
        Aes,
        Ext,
        Refusal, //
    },
    uring::{
        pin,
        submit,
        take_filled,
        Issue,
        Issued,
        Ring,
        Stop, //
    },
    wire::{
        aes::{
            self as wire,
            Op, //
        },
        QueueId, //
    },
};

/// Fast-path queues.
pub(crate) type Fast = wire::Entries;

/// What a fast-path command under way needs at its end, besides its slot, if no task waits for it.
pub(crate) struct Left {
    file: Arc<FileSession>,
    ticket: Ticket,
    request: Request,
    /// Pages that the device may still use.
    pinned: Option<KBox<Pinned>>,
    /// User address of the result of a ring's command, 0 if there is none.
    pub(crate) result: u64,
}

/// What became of a fast-path command that the device completed.
pub(crate) struct Done {
    /// Device status, 0 for success.
    pub(crate) status: u32,
    /// Error code of the device, or [`Ext`].
    pub(crate) code: u32,
    /// Number of bytes produced.
    pub(crate) byte_count: u32,
    /// Whether the operation was FIPS-approved.
    pub(crate) fips: bool,
    /// Tag and initialisation vector, of GCM encryption only.
    pub(crate) tag: Option<([u8; 16], [u8; 12])>,
}

impl Kind for Fast {
    type Left = Left;
    const LAYOUT: Layout = Layout::DataAndLists;
    const CREDIT: u32 = 4;

    fn queue_id(index: u16) -> Option<QueueId> {
        QueueId::aes(index)
    }
}

impl Controller<'_> {
    /// Runs a fast-path command for `file`; fills in the output fields of `cmd`.
    ///
    /// # Errors
    ///
    /// The refusal, for the caller to see in errno and extended status.
    pub(crate) fn aes_command(
        &self,
        file: &Arc<FileSession>,
        mode: Mode,
        cmd: &mut Aes,
    ) -> Result<(), Refusal> {
        let patience = self.patience();
        let request = self.validate_aes(file, mode, cmd)?;
        let announced =
            Announced::begin(self, file, patience, |slot| slot.begin_aes(request.session))?;

        let pinned = Pinned::new(self.pdev.as_ref(), &request)?;
        let (slot, sqe, patience) = self.fast.take_filled(
            self,
            || self.patience(),
            |e| self.not_accepted(e),
            || placement::fault_in(&request, pinned.is_some()),
            |slot| prepare(slot, &request, pinned.as_deref()),
        )?;
        let flight = slot
            .submit(&sqe, params::command_timeout())
            .map_err(|e| self.not_accepted(e))?;

        let (slot, outcome) = match flight.wait(patience.end, Outcome::copied) {
            Waited::Ended(slot, outcome) => (slot, outcome),
            Waited::Interrupted(flight, e) => {
                if let Some((file, ticket)) = announced.hand_over() {
                    let left = Left {
                        file,
                        ticket,
                        request,
                        pinned,
                        result: 0,
                    };
                    if let Err((slot, outcome, left)) = flight.leave(left) {
                        drop(slot);
                        reap(self, outcome, left);
                    }
                }
                return Err(self.not_waited_for(e));
            }
        };

        let done = self.conclude_aes(slot, &request, pinned, outcome)?;
        announced.complete(None, true);
        cmd.result = done.status;
        cmd.extended_status = done.code;
        cmd.byte_count = done.byte_count;
        cmd.fips_approved = done.fips.into();
        if let Some((tag, iv)) = done.tag {
            cmd.tag = tag;
            cmd.iv = iv;
        }
        Ok(())
    }

    /// Sends a fast-path command of a ring to the device.
    ///
    /// # Errors
    ///
    /// Why it was not sent; `issue` is what to say that with.
    pub(crate) fn submit_aes<'i>(
        &self,
        file: &Arc<FileSession>,
        mode: Mode,
        cmd: &Aes,
        ring: &Ring,
        issue: Issue<'i>,
    ) -> Result<Issued, (Issue<'i>, Stop)> {
        let prepared = || -> Result<_, Stop> {
            let request = self.validate_aes(file, mode, cmd)?;
            let begin = |slot: &mut session::Slot| slot.begin_aes(request.session);
            let announced = match issue.is_nonblocking() {
                true => Announced::try_begin(self, file, begin)?.ok_or(Stop::Retry)?,
                false => Announced::begin(self, file, self.patience(), begin)?,
            };
            if issue.is_nonblocking() && !self.fast.has_room() {
                return Err(Stop::Retry);
            }
            let pinned = pin(self, &request, &issue)?;
            let (slot, sqe) = take_filled(
                self,
                &self.fast,
                &issue,
                &file.run,
                || placement::fault_in(&request, pinned.is_some()),
                |slot| prepare(slot, &request, pinned.as_deref()),
            )?;
            let (file, ticket) = announced.hand_over().ok_or(Stop::Retry)?;
            let left = Left {
                file,
                ticket,
                request,
                pinned,
                result: ring.result,
            };
            Ok((slot, sqe, left))
        };
        match prepared() {
            Ok((slot, sqe, left)) => Ok(submit(slot, &sqe, left, ring, issue, reap)),
            Err(stop) => Err((issue, stop)),
        }
    }

    /// Ends a fast-path command of a ring that the submitter's task has taken over.
    pub(crate) fn finish_aes(
        &self,
        slot: Slot<'_, Fast, Controller<'_>>,
        outcome: Outcome<CqeOf<Fast>>,
        left: Left,
    ) -> Result<Done, Refusal> {
        let done = self.conclude_aes(slot, &left.request, left.pinned, outcome);
        let effect = left.file.complete(left.ticket, None, done.is_ok());
        self.settle_later(effect);
        done
    }

    fn validate_aes(&self, file: &FileSession, mode: Mode, cmd: &Aes) -> Result<Request, Refusal> {
        self.refusal()?;
        let context = Context {
            mode,
            session: file.session(),
            capabilities: self.capabilities(),
            has_queues: self.fast.active() != 0,
        };
        Request::validate(cmd, &context, |addr, len| access_ok(addr, len as usize))
    }

    /// Brings the output of a command that ended to the caller, whose task this is; gives the slot
    /// back.
    fn conclude_aes(
        &self,
        slot: Slot<'_, Fast, Controller<'_>>,
        request: &Request,
        pinned: Option<KBox<Pinned>>,
        outcome: Outcome<CqeOf<Fast>>,
    ) -> Result<Done, Refusal> {
        let Outcome::Completed(cqe) = outcome else {
            placement::discard(pinned);
            return Err(self.lost());
        };
        let failed = |status, code| Done {
            status,
            code,
            byte_count: 0,
            fips: false,
            tag: None,
        };
        match wire::check(&cqe, &request.expectation()) {
            Ok(wire::Outcome::Done(done)) => {
                placement::deliver(slot, request, pinned, done.len, done.tail)?;
                Ok(Done {
                    byte_count: done.byte_count(),
                    fips: done.fips,
                    tag: request.returns_tag().then_some((done.tag, done.iv)),
                    ..failed(0, 0)
                })
            }
            Ok(wire::Outcome::Failed { status, code }) => {
                placement::discard(pinned);
                Ok(failed(u32::from(status), u32::from(code)))
            }
            Err(inconsistent) => {
                dev_dbg!(self.pdev, "inconsistent completion: {:?}\n", inconsistent);
                placement::discard(pinned);
                Ok(failed(0, Ext::AES_INCONSISTENT.0))
            }
        }
    }
}

/// Puts the data where the device finds it and returns the submission entry, [`None`] if the
/// caller's memory is not there.
fn prepare(
    slot: &mut Slot<'_, Fast, Controller<'_>>,
    request: &Request,
    pinned: Option<&Pinned>,
) -> Result<Option<wire::Sqe>, Refusal> {
    let placed = placement::place(slot, request, pinned)?;
    Ok(placed.map(|placed| {
        request
            .command(placed.source, placed.destination, placed.tail)
            .sqe(slot.cid())
    }))
}

/// Deals with the end of a command that nobody waits for any more.
pub(crate) fn reap(controller: &Controller<'_>, outcome: Outcome<CqeOf<Fast>>, left: Left) {
    use crate::wire::Cqe as _;

    let failed = match &outcome {
        Outcome::Completed(cqe) => cqe.failed(),
        Outcome::Aborted => true,
    };
    // Nothing of a decryption that failed may be seen.
    if failed && left.request.op == Op::Decrypt {
        placement::discard(left.pinned);
    } else {
        drop(left.pinned);
    }
    let effect = left.file.complete(left.ticket, None, false);
    controller.settle_later(effect);
}
