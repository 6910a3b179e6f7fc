// SPDX-License-Identifier: GPL-2.0

//! Fast-path AES commands, from the caller's structure to the device and back.
//!
//! The order of the checks is part of the interface:
//! [`Documentation/userspace-api/azihsm.rst`](srctree/Documentation/userspace-api/azihsm.rst).

use kernel::{
    prelude::*,
    sync::Arc, //
};
use zerocopy::FromZeros;

use crate::{
    command::{
        InFlight,
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
        Asked,
        Context,
        Data,
        Request, //
    },
    session::Session,
    slot::Outcome,
    uapi::{
        uring::UringResult,
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
    data: Data,
    /// Pages that the device may still use.
    pinned: Option<KBox<Pinned>>,
    /// User address of the result of a ring's command, 0 if there is none.
    pub(crate) result: u64,
}

/// What the end of a fast-path command means for its data.
pub(crate) enum Verdict {
    /// The device executed it.
    Done(wire::Success),
    /// The device refused it.
    Failed,
    /// The device says what cannot be.
    Inconsistent(wire::Inconsistent),
    /// The device lost it.
    Lost,
}

impl Kind for Fast {
    type Left = Left;
    const LAYOUT: Layout = Layout::DataAndLists;
    const CREDIT: u32 = 4;

    fn queue_id(index: u16) -> Option<QueueId> {
        QueueId::aes(index)
    }
}

impl Left {
    /// Judges the outcome of the command; see [`judge`].
    pub(crate) fn judge(
        &self,
        outcome: Outcome<&CqeOf<Fast>>,
        answer: &mut UringResult,
    ) -> Verdict {
        judge(outcome, &self.data, answer)
    }
}

impl Controller<'_> {
    /// Runs a fast-path command for `file`; fills in `answer`, which is all zeros.
    ///
    /// # Errors
    ///
    /// The refusal, for the caller to see in errno and extended status. What is in `answer` then is
    /// not for the caller.
    pub(crate) fn aes_command(
        &self,
        file: &Arc<FileSession>,
        asked: &impl Asked,
        answer: &mut UringResult,
    ) -> Result<(), Refusal> {
        self.refusal()?;
        let (mut announced, session) = Announced::enter_aes(self, file);
        let checked = self.check_aes(asked, session);
        let request = self.checked(&checked)?;
        if !announced.is_announced() {
            announced.begin_aes(self.patience(), request.session)?;
        }
        self.run_aes(announced, request, answer)
    }

    fn run_aes(
        &self,
        announced: Announced<'_>,
        request: &Request<'_>,
        answer: &mut UringResult,
    ) -> Result<(), Refusal> {
        let data = &request.data;
        let pinned = match Pinned::is_needed(data) {
            true => Some(Pinned::new(self.pdev.as_ref(), &self.spares, data)?),
            false => None,
        };
        let timeout = params::command_timeout();
        let (flight, end) = self.fast.send(
            self,
            timeout,
            || self.patience(),
            |e| self.not_accepted(e),
            || placement::fault_in(data, pinned.is_some()),
            |slot, sqe| placement::place(slot, request, pinned.as_deref(), sqe),
        )?;
        let until = match end {
            Some(end) => end,
            None => self.end_of_patience(flight.submitted(), timeout),
        };
        match flight.wait(until, |outcome| judge(outcome, data, answer)) {
            Waited::Ended(slot, verdict) => {
                self.conclude_aes(slot, data, pinned, verdict)?;
                announced.complete_aes();
                Ok(())
            }
            Waited::Interrupted(flight, e) => {
                self.leave_aes(flight, announced, data, pinned);
                Err(self.not_waited_for(e))
            }
        }
    }

    /// Leaves a command that is not waited for any longer to the reaper.
    #[cold]
    fn leave_aes(
        &self,
        flight: InFlight<'_, Fast, Controller<'_>>,
        announced: Announced<'_>,
        data: &Data,
        pinned: Option<KBox<Pinned>>,
    ) {
        let left = Left {
            file: announced.hand_over_aes(),
            data: *data,
            pinned,
            result: 0,
        };
        if let Err((slot, outcome, left)) = flight.leave(left) {
            drop(slot);
            reap(self, outcome, left);
        }
    }

    /// Sends a fast-path command of a ring to the device.
    ///
    /// # Errors
    ///
    /// Why it was not sent; `issue` is what to say that with.
    pub(crate) fn submit_aes<'i>(
        &self,
        file: &Arc<FileSession>,
        asked: &impl Asked,
        ring: &Ring,
        issue: Issue<'i>,
    ) -> Result<Issued, (Issue<'i>, Stop)> {
        let (mut announced, session) = Announced::enter_aes(self, file);
        let checked = self.check_aes(asked, session);
        let mut sqe = wire::Sqe::new_zeroed();
        let mut prepared = || -> Result<_, Stop> {
            self.refusal()?;
            let request = self.checked(&checked)?;
            if !announced.is_announced() {
                if issue.is_nonblocking() {
                    // It may have to wait.
                    return Err(Stop::Retry);
                }
                announced.begin_aes(self.patience(), request.session)?;
            }
            let data = &request.data;
            let pinned = pin(self, data, &issue)?;
            let slot = take_filled(
                self,
                &self.fast,
                &issue,
                &file.run,
                || placement::fault_in(data, pinned.is_some()),
                |slot| placement::place(slot, request, pinned.as_deref(), &mut sqe),
            )?;
            Ok((slot, data, pinned))
        };
        match prepared() {
            Ok((slot, data, pinned)) => {
                let left = move || Left {
                    file: announced.hand_over_aes(),
                    data: *data,
                    pinned,
                    result: ring.result,
                };
                Ok(submit(slot, &sqe, left, ring, issue))
            }
            Err(stop) => Err((issue, stop)),
        }
    }

    /// Ends a fast-path command of a ring that the submitter's task has taken over.
    pub(crate) fn finish_aes(
        &self,
        slot: Slot<'_, Fast, Controller<'_>>,
        verdict: Verdict,
        left: Left,
    ) -> Result<(), Refusal> {
        let done = self.conclude_aes(slot, &left.data, left.pinned, verdict);
        self.settle_later(left.file.complete_aes());
        done
    }

    fn check_aes<'r>(
        &self,
        asked: &'r impl Asked,
        session: Option<Session>,
    ) -> Result<Request<'r>, Ext> {
        let context = Context {
            session,
            capabilities: self.capabilities(),
        };
        Request::check(asked, &context, |addr, len| access_ok(addr, len as usize))
    }

    #[inline]
    fn checked<'r, 'c>(
        &self,
        checked: &'r Result<Request<'c>, Ext>,
    ) -> Result<&'r Request<'c>, Refusal> {
        Request::accepted(checked, self.fast.active() != 0)
    }

    /// Brings the output of a command that ended to the caller, whose task this is; gives the slot
    /// back.
    #[inline(always)]
    fn conclude_aes(
        &self,
        slot: Slot<'_, Fast, Controller<'_>>,
        data: &Data,
        pinned: Option<KBox<Pinned>>,
        verdict: Verdict,
    ) -> Result<(), Refusal> {
        match verdict {
            Verdict::Done(success) => placement::deliver(slot, data, pinned, success, &self.spares),
            Verdict::Failed => {
                placement::discard(pinned, &self.spares);
                Ok(())
            }
            Verdict::Inconsistent(inconsistent) => {
                dev_dbg!(self.pdev, "inconsistent completion: {:?}\n", inconsistent);
                placement::discard(pinned, &self.spares);
                Ok(())
            }
            Verdict::Lost => {
                placement::discard(pinned, &self.spares);
                Err(self.lost())
            }
        }
    }
}

/// Judges the outcome of a command and fills in `answer`, which is all zeros.
///
/// Runs under the lock of the queue.
#[inline]
fn judge(outcome: Outcome<&CqeOf<Fast>>, data: &Data, answer: &mut UringResult) -> Verdict {
    let Outcome::Completed(cqe) = outcome else {
        return Verdict::Lost;
    };
    match wire::check(cqe, &data.expectation()) {
        Ok(wire::Outcome::Done(success)) => {
            answer.byte_count = success.byte_count();
            answer.fips_approved = cqe.is_fips().into();
            if data.returns_tag() {
                answer.tag = *cqe.tag();
                answer.iv = *cqe.iv();
            }
            Verdict::Done(success)
        }
        Ok(wire::Outcome::Failed { status, code }) => {
            answer.status = status.into();
            answer.extended_status = code.into();
            Verdict::Failed
        }
        Err(inconsistent) => {
            answer.extended_status = Ext::AES_INCONSISTENT.0;
            Verdict::Inconsistent(inconsistent)
        }
    }
}

/// Deals with the end of a command that nobody waits for any more.
pub(crate) fn reap(controller: &Controller<'_>, outcome: Outcome<CqeOf<Fast>>, left: Left) {
    use crate::wire::Cqe as _;

    let failed = match &outcome {
        Outcome::Completed(cqe) => cqe.failed(),
        Outcome::Aborted => true,
    };
    abandon(controller, failed, left);
}

/// Deals with the end of a command whose output nobody wants; `failed` says whether it did.
pub(crate) fn abandon(controller: &Controller<'_>, failed: bool, left: Left) {
    // Nothing of a decryption that failed may be seen.
    if failed && left.data.op == Op::Decrypt {
        placement::discard(left.pinned, &controller.spares);
    } else if let Some(pinned) = left.pinned {
        Pinned::keep(pinned, &controller.spares);
    }
    controller.settle_later(left.file.complete_aes());
}
