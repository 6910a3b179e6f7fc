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
    command::Waited,
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
    session::Ticket,
    slot::Outcome,
    uapi::{
        Aes,
        Ext,
        Refusal, //
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

/// What a fast-path command leaves behind when nobody waits for it any more.
pub(crate) struct Left {
    file: Arc<FileSession>,
    ticket: Ticket,
    /// Pages that the device may still use.
    pinned: Option<KBox<Pinned>>,
    /// Set if output in those pages must not be seen unless the command succeeds.
    decrypts: bool,
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
        self.refusal()?;
        let patience = self.patience();
        let context = Context {
            mode,
            session: file.session(),
            capabilities: self.capabilities(),
            has_queues: self.fast.active() != 0,
        };
        let request = Request::validate(cmd, &context, |addr, len| access_ok(addr, len as usize))?;
        let announced =
            Announced::begin(self, file, patience, |slot| slot.begin_aes(request.session))?;

        let pinned = Pinned::new(self.pdev.as_ref(), &request)?;
        let (slot, placed, patience) = self.fast.take_filled(
            self,
            || self.patience(),
            |e| self.not_accepted(e),
            || placement::fault_in(&request, pinned.is_some()),
            |slot| {
                let memory = slot.memory().map_err(|e| Refusal::new(e, Ext::OK))?;
                placement::place(memory, &request, pinned.as_deref())
            },
        )?;
        let sqe = request
            .command(placed.source, placed.destination, placed.tail)
            .sqe(slot.cid());
        let flight = slot
            .submit(sqe, params::command_timeout())
            .map_err(|e| self.not_accepted(e))?;

        let (slot, outcome) = match flight.wait(patience.end) {
            Waited::Ended(slot, outcome) => (slot, outcome),
            Waited::Interrupted(flight, e) => {
                if let Some((file, ticket)) = announced.hand_over() {
                    let left = Left {
                        file,
                        ticket,
                        pinned,
                        decrypts: request.op == Op::Decrypt,
                    };
                    if let Err((slot, outcome, left)) = flight.leave(left) {
                        drop(slot);
                        reap(self, outcome, left);
                    }
                }
                return Err(self.not_waited_for(e));
            }
        };

        let Outcome::Completed(cqe) = outcome else {
            placement::discard(pinned);
            return Err(self.lost());
        };
        match wire::check(&cqe, &request.expectation()) {
            Ok(wire::Outcome::Done(done)) => {
                placement::deliver(slot, &request, pinned, done.len, done.tail)?;
                cmd.byte_count = done.byte_count();
                cmd.fips_approved = done.fips.into();
                if request.returns_tag() {
                    cmd.tag = done.tag;
                    cmd.iv = done.iv;
                }
            }
            Ok(wire::Outcome::Failed { status, code }) => {
                placement::discard(pinned);
                cmd.result = u32::from(status);
                cmd.extended_status = u32::from(code);
            }
            Err(inconsistent) => {
                dev_dbg!(self.pdev, "inconsistent completion: {:?}\n", inconsistent);
                placement::discard(pinned);
                cmd.extended_status = Ext::AES_INCONSISTENT.0;
            }
        }
        announced.complete(None, true);
        Ok(())
    }
}

/// Deals with the end of a command that nobody waits for any more.
pub(crate) fn reap(controller: &Controller<'_>, outcome: Outcome<CqeOf<Fast>>, left: Left) {
    use crate::wire::Cqe as _;

    let failed = match &outcome {
        Outcome::Completed(cqe) => cqe.failed(),
        Outcome::Aborted => true,
    };
    if failed && left.decrypts {
        placement::discard(left.pinned);
    } else {
        drop(left.pinned);
    }
    let effect = left.file.complete(left.ticket, None, false);
    controller.settle_later(effect);
}
