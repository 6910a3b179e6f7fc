// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring: the second door, beside the ioctls of [`chardev`](crate::chardev).
//!
//! A command goes the same way as that of an ioctl, up to where the ioctl waits. What it needs at
//! its end lies in its slot, not with the ring, and so do the device's addresses: the ring keeps a
//! [`Ticket`], which says where to look. The interrupt handler has the ring told, and the task that
//! submitted the command looks, copies the output and gives the slot back. If the function is gone
//! by then there is nothing to look at, and the command fails.
//!
//! Whoever submits must not sleep. A command that would have to wait, for a slot or for other
//! commands of its file, is given back to io_uring, which issues it again from one of its workers.
//! Their number is bounded, and what is still with them can be cancelled.

use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    aes::{
        self,
        Verdict, //
    },
    chardev::Node,
    command::Slot,
    control::{
        self,
        Left, //
    },
    controller::Controller,
    files::FileSession,
    kapi::{
        mm::PinnedPages,
        plug,
        uring::{
            self,
            Completion,
            Finish,
            Queued,
            Reply,
            SubmitFlags, //
        },
        wait::fatal_signal_pending, //
    },
    lifecycle::State,
    params,
    placement::Pinned,
    pool::{
        Pool,
        Run, //
    },
    queue::Kind,
    request::aes::Data,
    slot::Outcome,
    uapi::{
        self,
        uring::{
            AesPayload,
            Extra,
            UringResult, //
        },
        Ext,
        Refusal, //
    },
    waiters::Interrupt,
    wire::{
        Cid,
        Class,
        Entries,
        QueueId, //
    },
};

pub(crate) use crate::kapi::uring::Issued;

/// A command that a ring issues.
pub(crate) type Issue<'a> = uring::Issue<'a, Node>;

/// Tells the ring of a command that it ended.
pub(crate) type Target = Queued<Ticket>;

/// Where a command of a ring is.
pub(crate) struct Ticket {
    class: Class,
    queue: QueueId,
    cid: Cid,
    /// Tells the command from others that have the slot later. Set when it is submitted.
    pub(crate) sequence: u32,
    /// Set if the command did not get to the device.
    lost: bool,
}

/// What a command brings along that those of ioctls have not.
pub(crate) struct Ring {
    /// User address of a [`UringResult`], 0 if there is none.
    pub(crate) result: u64,
    /// Longest time the command may take at the device.
    timeout: Delta,
}

impl Ring {
    fn new(extra: Extra) -> Self {
        let own = params::command_timeout();
        Self {
            result: extra.result,
            // A command that is late costs a reset, and with it the commands of others: nobody can
            // have that sooner than the driver would.
            timeout: extra.timeout.map_or(own, |timeout| timeout.max(own)),
        }
    }
}

/// Why a command does not go to the device.
pub(crate) enum Stop {
    /// It is refused.
    Refused(Refusal),
    /// It would have to wait.
    Retry,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Takes a slot, without waiting unless `issue` may.
fn take_slot<'a, 'b, K: Kind>(
    controller: &'a Controller<'b>,
    pool: &'a Pool<K>,
    issue: &Issue<'_>,
    run: &Run,
) -> Result<Slot<'a, K, Controller<'b>>, Stop> {
    let polling = issue.is_iopoll();
    let taken = if plug::is_open() {
        pool.try_take_batched(controller, polling, run)
    } else if issue.is_nonblocking() {
        pool.try_take(controller, polling)
    } else {
        // A worker is signalled when what it does is to be cancelled.
        let until = || controller.patience().begin;
        pool.take(controller, until, Interrupt::Signal).map(Some)
    };
    match taken {
        Ok(Some(slot)) => Ok(slot),
        Ok(None) => Err(Stop::Retry),
        Err(e) if e == EINTR => Err(Refusal::new(ECANCELED, Ext::OK).into()),
        Err(e) => Err(controller.not_accepted(e).into()),
    }
}

/// Takes a slot, as [`take_slot`] does, and has `fill` put the submitter's data into it; see
/// [`Pool::send`].
#[inline]
pub(crate) fn take_filled<'a, 'b, K: Kind>(
    controller: &'a Controller<'b>,
    pool: &'a Pool<K>,
    issue: &Issue<'_>,
    run: &Run,
    fault_in: impl Fn() -> Result<(), Refusal>,
    mut fill: impl FnMut(&mut Slot<'a, K, Controller<'b>>) -> Result<bool, Refusal>,
) -> Result<Slot<'a, K, Controller<'b>>, Stop> {
    loop {
        fault_in()?;
        let mut slot = take_slot(controller, pool, issue, run)?;
        if fill(&mut slot)? {
            return Ok(slot);
        }
        drop(slot);
        if fatal_signal_pending() {
            return Err(Refusal::new(ECANCELED, Ext::OK).into());
        }
    }
}

/// Pins and maps the data of a fast-path command, if it is not to be copied.
///
/// Not if the command would have to wait for a slot and must not.
#[inline]
pub(crate) fn pin(
    controller: &Controller<'_>,
    data: &Data,
    issue: &Issue<'_>,
) -> Result<Option<KBox<Pinned>>, Stop> {
    let is_fixed = issue.submit_flags() == SubmitFlags::FIXED;
    if !is_fixed && !Pinned::is_needed(data) {
        return Ok(None);
    }
    if issue.is_nonblocking() && !controller.fast.has_room() {
        return Err(Stop::Retry);
    }
    let (dev, spares) = (controller.pdev.as_ref(), &controller.spares);
    if !is_fixed {
        return Ok(Some(Pinned::new(dev, spares, data)?));
    }
    let fixed = |pages: &mut PinnedPages, address, len, access, max| {
        // SAFETY: The pages go to the slot of the command. They are released when the output is
        // brought to the submitter, by the task that completes the command after that; or by whoever
        // takes the slot back under the lock `rings`, which that task waits for if it comes too
        // late; or before the command is known to anybody else, if it cannot be sent.
        unsafe { issue.fixed_pages(pages, address, len, access, max) }
    };
    Ok(Some(Pinned::with(dev, spares, data, fixed)?))
}

/// Sends a command to the device.
///
/// `left` returns what it needs at its end; it is called under the lock of the queue, or dropped if
/// the command cannot be sent.
#[inline]
pub(crate) fn submit<K: Kind>(
    slot: Slot<'_, K, Controller<'_>>,
    sqe: &K::Sqe,
    left: impl FnOnce() -> K::Left,
    ring: &Ring,
    issue: Issue<'_>,
) -> Issued {
    let (host, queue) = (slot.host(), slot.queue());
    let ticket = Ticket {
        class: <K as Entries>::CLASS,
        queue: queue.id(),
        cid: slot.cid(),
        sequence: 0,
        lost: false,
    };
    let (plug, polling) = (issue.batch(), issue.is_iopoll());
    let batch = plug::is_open();
    let issued = issue.queue(ticket, |target| {
        let sent = slot.submit_ring(sqe, ring.timeout, left, target, batch);
        if let Err(mut target) = sent {
            target.update(|ticket| ticket.lost = true);
            target.complete_now();
        }
    });
    // If the batch cannot be joined, the device is told now; it is told in any case.
    if batch && !plug.mark(usize::from(queue.id().raw())) {
        queue.flush(host);
    }
    if queue.is_polled() && !polling {
        host.poll_soon();
    }
    issued
}

/// Returns what to post for a command that was refused or failed in the driver.
fn refused(refusal: &Refusal) -> Reply {
    reply(refusal.errno.to_errno(), 0, refusal.ext.0)
}

fn reply(res: i32, status: u32, ext: u32) -> Reply {
    Reply {
        res,
        res2: u64::from(status) | u64::from(ext) << 32,
    }
}

/// Returns what to post for a command that the device completed.
fn completed(result: &UringResult) -> Reply {
    let res = match (result.status, result.extended_status) {
        // CAST: The device takes no transfers of 2 GiB.
        (0, 0) => i32::try_from(result.byte_count).unwrap_or(i32::MAX),
        // The two ways in which the device says that a tag does not match.
        (3, 9) | (2, 0x2a) => EBADMSG.to_errno(),
        _ => EIO.to_errno(),
    };
    reply(res, result.status, result.extended_status)
}

/// Issues a command for `file`, which belongs to the caller.
pub(crate) fn issue(
    controller: Option<&Controller<'_>>,
    file: &Arc<FileSession>,
    issue: Issue<'_>,
) -> Issued {
    let run = match issue.op() {
        uapi::uring::CMD_CP => control,
        uapi::uring::CMD_GCM => gcm,
        uapi::uring::CMD_XTS => xts,
        _ => return refuse(issue, Refusal::new(ENOTTY, Ext::OK)),
    };
    let flags = issue.submit_flags();
    let fixed = flags == SubmitFlags::FIXED && issue.op() != uapi::uring::CMD_CP;
    if flags != SubmitFlags::NONE && !fixed {
        return refuse(issue, Refusal::new(EINVAL, Ext::OK));
    }
    let Some(controller) = controller else {
        return refuse(issue, Refusal::new(ENODEV, Ext::NOT_READY));
    };
    match run(controller, file, issue) {
        Ok(issued) => issued,
        Err((issue, Stop::Refused(refusal))) => refuse(issue, refusal),
        Err((issue, Stop::Retry)) => issue.retry().unwrap_or_else(|issue| {
            // Where it may wait, it does.
            refuse(issue, Refusal::new(EBUSY, Ext::OK))
        }),
    }
}

/// Completes a command that is refused.
pub(crate) fn refuse(issue: Issue<'_>, refusal: Refusal) -> Issued {
    let reply = refused(&refusal);
    if must_finish(&issue) {
        issue.done_inline(reply.res)
    } else {
        issue.done(reply)
    }
}

type Attempt<'a> = Result<Issued, (Issue<'a>, Stop)>;

fn invalid(issue: Issue<'_>, errno: Error) -> (Issue<'_>, Stop) {
    (issue, Refusal::new(errno, Ext::OK).into())
}

fn control<'a>(
    controller: &Controller<'_>,
    file: &Arc<FileSession>,
    issue: Issue<'a>,
) -> Attempt<'a> {
    let (mut cmd, extra) = match issue.payload().and_then(|p| uapi::uring::control(&p)) {
        Ok(read) => read,
        Err(e) => return Err(invalid(issue, e)),
    };
    if !must_finish(&issue) {
        return controller.submit_control(file, &cmd, &Ring::new(extra), issue);
    }
    let mut result = UringResult::default();
    let told = match controller.control_command(file, &mut cmd) {
        Ok(answered) => {
            result.status = cmd.status;
            result.byte_count = cmd.byte_count;
            let told = tell(extra.result, &mut result, Ok(()));
            answered.end(told.is_ok());
            told
        }
        Err(refusal) => tell(extra.result, &mut result, Err(refusal)),
    };
    Ok(finish_here(issue, told))
}

fn gcm<'a>(controller: &Controller<'_>, file: &Arc<FileSession>, issue: Issue<'a>) -> Attempt<'a> {
    let payload = issue.payload();
    match payload.as_ref().map_err(|e| *e).and_then(uapi::uring::gcm) {
        Ok(cmd) => aes(controller, file, cmd, issue),
        Err(e) => Err(invalid(issue, e)),
    }
}

fn xts<'a>(controller: &Controller<'_>, file: &Arc<FileSession>, issue: Issue<'a>) -> Attempt<'a> {
    let payload = issue.payload();
    match payload.as_ref().map_err(|e| *e).and_then(uapi::uring::xts) {
        Ok(cmd) => aes(controller, file, cmd, issue),
        Err(e) => Err(invalid(issue, e)),
    }
}

fn aes<'a>(
    controller: &Controller<'_>,
    file: &Arc<FileSession>,
    cmd: &impl AesPayload,
    issue: Issue<'a>,
) -> Attempt<'a> {
    let extra = cmd.extra();
    if !must_finish(&issue) {
        return controller.submit_aes(file, cmd, &Ring::new(extra), issue);
    }
    let mut result = UringResult::default();
    let done = controller.aes_command(file, cmd, &mut result);
    Ok(finish_here(issue, tell(extra.result, &mut result, done)))
}

/// Returns whether the command is to be finished where it is issued: one of a polling ring by a
/// worker, see [`uring::Issue::done_inline`].
fn must_finish(issue: &Issue<'_>) -> bool {
    issue.is_iopoll() && !issue.is_nonblocking()
}

fn finish_here(issue: Issue<'_>, told: Result<Reply, Refusal>) -> Issued {
    let reply = told.unwrap_or_else(|refusal| refused(&refusal));
    issue.done_inline(reply.res)
}

impl Finish for Ticket {
    type File = Node;

    fn finish(self, completion: &Completion<'_, Node>) -> Reply {
        let cancelled = completion.is_cancelled();
        let gone = Refusal::new(ENODEV, Ext::NOT_READY);
        completion.with(|controller, _| match controller {
            Some(controller) => controller
                .finish_ring(&self, cancelled)
                .unwrap_or_else(|refusal| refused(&refusal)),
            None => refused(&gone),
        })
    }
}

impl Controller<'_> {
    /// Tells the device of the commands of a batch that has come to its end.
    pub(crate) fn flush_rings(&self, marks: &plug::Marks) {
        marks.for_each(|id| {
            // CAST: At most 511.
            let id = id as u16;
            if let Some(queue) = self.fast.of_raw_id(id) {
                queue.flush(self);
            } else if let Some(queue) = self.control.of_raw_id(id) {
                queue.flush(self);
            }
        });
    }

    /// Looks for completions that raise no interrupts, as a ring asks for.
    pub(crate) fn poll_rings(&self) -> usize {
        self.fast.poll_polled(self) + self.control.poll_polled(self)
    }

    /// Gives back the slots of finished commands whose submitters do not come for the output: a
    /// task that does not enter the kernel must not keep others from the device.
    ///
    /// Takes those whose submitters have had their time, all without `now`.
    pub(crate) fn reclaim_rings(&self, now: Option<Instant<Monotonic>>) {
        let _rings = self.rings.lock();
        for queue in self.control.all() {
            while let Some((slot, outcome, left)) = Slot::uncollected(self, queue, now) {
                drop(slot);
                control::reap(self, outcome, left);
            }
        }
        for queue in self.fast.all() {
            while let Some((slot, outcome, left)) = Slot::uncollected(self, queue, now) {
                drop(slot);
                aes::reap(self, outcome, left);
            }
        }
    }

    /// Returns what becomes of a command whose slot was taken back, after that is done.
    fn too_late(&self) -> Refusal {
        drop(self.rings.lock());
        match self.life.get() {
            State::Removed => Refusal::new(ENODEV, Ext::NOT_READY),
            _ => Refusal::new(ETIMEDOUT, Ext::OK),
        }
    }

    /// Ends a command of a ring, in the task that submitted it.
    fn finish_ring(&self, ticket: &Ticket, cancelled: bool) -> Result<Reply, Refusal> {
        if ticket.lost {
            return Err(self.lost());
        }
        let gone = Refusal::new(ENODEV, Ext::NOT_READY);
        match ticket.class {
            Class::Control => {
                let queue = self.control.of_id(ticket.queue).ok_or(gone)?;
                let (slot, (outcome, left)) =
                    Slot::of_ring(self, queue, ticket.cid, ticket.sequence, |outcome, left| {
                        (Outcome::copied(outcome), left)
                    })
                    .ok_or_else(|| self.too_late())?;
                let Left::Command(command) = left else {
                    return Err(gone);
                };
                if cancelled {
                    drop(slot);
                    control::reap(self, outcome, Left::Command(command));
                    return Err(Refusal::new(ECANCELED, Ext::OK));
                }
                let result = command.result;
                let mut told = UringResult::default();
                self.finish_control(slot, outcome, command, |done| {
                    let mut told = UringResult {
                        status: done.status,
                        byte_count: done.byte_count,
                        ..UringResult::default()
                    };
                    tell(result, &mut told, Ok(()))
                })
                .or_else(|refusal| tell(result, &mut told, Err(refusal)))
            }
            Class::Aes => {
                let queue = self.fast.of_id(ticket.queue).ok_or(gone)?;
                let mut told = UringResult::default();
                let (slot, (verdict, left)) =
                    Slot::of_ring(self, queue, ticket.cid, ticket.sequence, |outcome, left| {
                        (left.judge(outcome, &mut told), left)
                    })
                    .ok_or_else(|| self.too_late())?;
                if cancelled {
                    drop(slot);
                    let failed = !matches!(verdict, Verdict::Done(_));
                    aes::abandon(self, failed, left);
                    return Err(Refusal::new(ECANCELED, Ext::OK));
                }
                let result = left.result;
                let done = self.finish_aes(slot, verdict, left);
                tell(result, &mut told, done)
            }
            // Rings have no admin commands.
            Class::Admin => Err(gone),
        }
    }
}

/// Writes the result of a command to `address`, unless that is 0, and returns what to post.
///
/// A command that was `done` has its result in `result`.
fn tell(
    address: u64,
    result: &mut UringResult,
    done: Result<(), Refusal>,
) -> Result<Reply, Refusal> {
    if let Err(refusal) = &done {
        *result = UringResult {
            extended_status: refusal.ext.0,
            ..UringResult::default()
        };
    }
    if address != 0 {
        // CAST: User addresses of a 64-bit kernel.
        let user = UserPtr::from_addr(address as usize);
        UserSlice::new(user, size_of::<UringResult>())
            .writer()
            .write(result)
            .map_err(|e| Refusal::new(e, done.err().map_or(Ext::OK, |refusal| refusal.ext)))?;
    }
    done.map(|()| completed(result))
}

#[kunit_tests(azihsm_uring)]
mod tests {
    use super::*;

    #[test]
    fn completions_say_what_the_device_says() {
        let result = |status, extended_status, byte_count| UringResult {
            status,
            extended_status,
            byte_count,
            ..UringResult::default()
        };
        assert_eq!(completed(&result(0, 0, 4096)), reply(4096, 0, 0));
        assert_eq!(
            completed(&result(3, 9, 0)),
            Reply {
                res: EBADMSG.to_errno(),
                res2: 0x9_0000_0003
            }
        );
        assert_eq!(completed(&result(2, 0x2a, 0)).res, EBADMSG.to_errno());
        assert_eq!(completed(&result(1, 2, 0)).res, EIO.to_errno());
        assert_eq!(completed(&result(0, 106, 0)).res, EIO.to_errno());
        // A control command may return data together with an error.
        assert_eq!(completed(&result(5, 0, 16)).res, EIO.to_errno());
    }

    #[test]
    fn refusals_keep_their_extended_status() {
        let refusal = Refusal::new(EAGAIN, Ext::ABORTED);
        assert_eq!(refused(&refusal), reply(-11, 0, 0x0400_0002));
    }
}
