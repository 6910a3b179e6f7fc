// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring: what a file does when it is named by an `IORING_OP_URING_CMD`.
//!
//! C header: [`include/linux/io_uring/cmd.h`](srctree/include/linux/io_uring/cmd.h)
//!
//! A command has one owner at a time, and the types say who:
//!
//! ```text
//!   Issue -- done() --> Issued                  it is complete
//!         -- retry() -> Issued                  io_uring issues it again, from where it may sleep
//!         -- queue() -> Issued + Queued<P>      the driver has it now
//!   Queued<P> -- complete() --> P::finish()     in the task that submitted it, or that polls
//! ```
//!
//! Each step consumes what it starts from. A handler has to return an [`Issued`], which only these
//! steps make, so that it cannot report an error for a command that it gave away; a [`Queued`]
//! completes its command when it is dropped, so that none can be lost; and only
//! [`Finish::finish`], called once, can answer, so that none can complete twice.
//!
//! What the driver keeps for a command under way is a small value of its own, `P`, that lies in
//! the command: nothing is allocated. `P` is `'static`: what borrows from a bound device cannot
//! be in it, and whoever finishes a command looks up what is left of the device.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

use super::mm::{
    Access,
    PinnedPages, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::{
        bindings,
        ffi::{
            c_int,
            c_uint,
            c_void, //
        },
    };

    unsafe extern "C" {
        pub(super) fn azihsm_uring_cmd_op(cmd: *const bindings::io_uring_cmd) -> u32;
        pub(super) fn azihsm_uring_cmd_flags(cmd: *const bindings::io_uring_cmd) -> u32;
        pub(super) fn azihsm_uring_cmd_file(
            cmd: *const bindings::io_uring_cmd,
        ) -> *mut bindings::file;
        pub(super) fn azihsm_uring_cmd_payload(cmd: *const bindings::io_uring_cmd)
            -> *const c_void;
        pub(super) fn azihsm_uring_cmd_pdu(cmd: *mut bindings::io_uring_cmd) -> *mut c_void;
        pub(super) fn azihsm_uring_cmd_is_foreign(cmd: *mut bindings::io_uring_cmd) -> bool;
        pub(super) safe fn azihsm_uring_task_flags() -> c_uint;
        pub(super) fn azihsm_uring_cmd_done(
            cmd: *mut bindings::io_uring_cmd,
            ret: i32,
            res2: u64,
            is_cqe32: bool,
            issue_flags: c_uint,
        );
        pub(super) fn azihsm_uring_cmd_import_fixed(
            cmd: *mut bindings::io_uring_cmd,
            ubuf: u64,
            len: usize,
            write: bool,
            iter: *mut bindings::iov_iter,
            issue_flags: c_uint,
        ) -> c_int;
        pub(super) fn azihsm_uring_cmd_complete_in_task(
            cmd: *mut bindings::io_uring_cmd,
            lazy: bool,
        );
    }
}

/// Flags of `enum io_uring_cmd_flags` that say how a command is issued.
mod flags {
    use kernel::ffi::c_uint;

    pub(super) const NONBLOCK: c_uint = 1 << 31;
    pub(super) const SQE128: c_uint = 1 << 8;
    pub(super) const CQE32: c_uint = 1 << 9;
    pub(super) const IOPOLL: c_uint = 1 << 10;
    pub(super) const CANCEL: c_uint = 1 << 11;
}

/// Flags that the submitter gives with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubmitFlags(u32);

impl SubmitFlags {
    /// None.
    pub(crate) const NONE: Self = Self(0);
    /// Buffers are registered ones.
    pub(crate) const FIXED: Self = Self(1 << 0);
    /// The command is to complete many times.
    pub(crate) const MULTISHOT: Self = Self(1 << 1);

    /// Returns whether `flag` is set.
    pub(crate) fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// Bytes of payload in an SQE of 128 bytes.
pub(crate) const PAYLOAD: usize = 80;

/// The payload of a command.
pub(crate) type Payload = [u64; PAYLOAD / 8];

/// Bytes of payload in an SQE of 64 bytes.
const SHORT_PAYLOAD: usize = 16;

/// What is posted to the completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The result, negative for an error.
    pub(crate) res: i32,
    /// Further information, for rings with entries of 32 bytes.
    pub(crate) res2: u64,
}

/// A command that is being issued to a file of the kind `F`.
///
/// # Invariants
///
/// `cmd` is a command for a file of kind `F` that io_uring is issuing with `flags`, and that nobody
/// else has.
pub(crate) struct Issue<'a, F> {
    cmd: NonNull<bindings::io_uring_cmd>,
    flags: c_uint,
    _issue: PhantomData<&'a F>,
}

/// Says what became of a command that was issued.
pub(crate) struct Issued(c_int);

/// What a driver keeps for a command under way.
///
/// [`Finish::finish`] runs in the task that submitted the command, or on its behalf if it is gone.
pub(crate) trait Finish: Send + Sized + 'static {
    /// The kind of file whose commands this is for.
    type File;

    /// Ends the command and says what to post.
    fn finish(self, completion: &Completion<'_, Self::File>) -> Reply;
}

/// The circumstances in which a command is finished.
///
/// # Invariants
///
/// `file` is a file of the kind `F`, and valid.
pub(crate) struct Completion<'a, F> {
    file: NonNull<bindings::file>,
    cancelled: bool,
    _command: PhantomData<&'a F>,
}

impl<F> Completion<'_, F> {
    /// Returns whether the submitter or its ring is going away, or somebody with other memory looks
    /// for the completion. User memory must not be accessed then.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Returns the file of the command, valid as long as `self`.
    pub(super) fn file(&self) -> *mut bindings::file {
        self.file.as_ptr()
    }
}

/// What lies in the `pdu` of a command under way.
#[repr(C)]
struct Pdu<P> {
    /// Runs [`Finish::finish`] of `payload`.
    run: unsafe fn(NonNull<bindings::io_uring_cmd>, c_uint, bool),
    /// Whether the ring takes entries of 32 bytes: it is known only when a command is issued.
    is_cqe32: bool,
    /// Whether the submitter looks for the completion itself. Task work is no use then: a task that
    /// exits looks, and does nothing else, until there is nothing to look for any more.
    is_iopoll: bool,
    /// Set when the driver is done with a command that the submitter looks for.
    ready: Atomic<bool>,
    payload: P,
}

/// Size of the `pdu` of a command, asserted by the C helpers.
const PDU_SIZE: usize = 32;

/// A command that the driver has.
///
/// # Invariants
///
/// `cmd` is a command under way for a file of kind `P::File`, whose `pdu` holds a `Pdu<P>`, and that
/// nobody else has.
pub(crate) struct Queued<P: Finish> {
    cmd: NonNull<bindings::io_uring_cmd>,
    _payload: PhantomData<P>,
}

// SAFETY: A command can be completed from any context, and `P` is `Send`.
unsafe impl<P: Finish> Send for Queued<P> {}

/// Returns the file of a command, valid as long as the command.
///
/// # Safety
///
/// `cmd` must be a valid command.
pub(super) unsafe fn file_of(cmd: NonNull<bindings::io_uring_cmd>) -> *mut bindings::file {
    // SAFETY: By the safety requirements.
    unsafe { ffi::azihsm_uring_cmd_file(cmd.as_ptr()) }
}

impl<F> Issue<'_, F> {
    /// Wraps a command that io_uring issues; `None` if it is not issued but to be cancelled.
    ///
    /// Commands are never marked as cancelable, so that this does not happen.
    ///
    /// # Safety
    ///
    /// To be called once, with the arguments of `struct file_operations.uring_cmd` of a file of kind
    /// `F`, and the result not to be used after the return from there.
    pub(super) unsafe fn from_raw(
        cmd: NonNull<bindings::io_uring_cmd>,
        flags: c_uint,
    ) -> Option<Self> {
        if flags & flags::CANCEL != 0 {
            return None;
        }
        // INVARIANT: By the safety requirements.
        Some(Self {
            cmd,
            flags,
            _issue: PhantomData,
        })
    }

    /// Returns the file of the command, valid as long as it is being issued.
    pub(super) fn file(&self) -> *mut bindings::file {
        // SAFETY: By the type invariant the command is valid.
        unsafe { file_of(self.cmd) }
    }

    /// Returns which command it is.
    pub(crate) fn op(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { ffi::azihsm_uring_cmd_op(self.cmd.as_ptr()) }
    }

    /// Returns the flags of the submitter.
    pub(crate) fn submit_flags(&self) -> SubmitFlags {
        // SAFETY: By the type invariant the command is valid.
        let raw = unsafe { ffi::azihsm_uring_cmd_flags(self.cmd.as_ptr()) };
        // The upper bits are for the kernel's own use.
        SubmitFlags(raw & 0x00ff_ffff)
    }

    /// Returns whether the command must not sleep for long: [`retry`](Self::retry) then.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.flags & flags::NONBLOCK != 0
    }

    /// Returns whether the submitter looks for the completion itself.
    pub(crate) fn is_iopoll(&self) -> bool {
        self.flags & flags::IOPOLL != 0
    }

    /// Copies the payload.
    ///
    /// The memory is the submitter's, who may change it at any time: this is the only copy to
    /// look at.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the entry is too small for it.
    #[inline]
    pub(crate) fn payload(&self) -> Result<Payload> {
        if self.flags & flags::SQE128 == 0 {
            const { assert!(SHORT_PAYLOAD < PAYLOAD) };
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant the command is valid, and being issued.
        let from = unsafe { ffi::azihsm_uring_cmd_payload(self.cmd.as_ptr()) };
        // SAFETY: An entry of 128 bytes, aligned to at least 8, has that many after its fixed
        // part. User space may write to it meanwhile, hence volatile: each byte is read once.
        Ok(unsafe { from.cast::<Payload>().read_volatile() })
    }

    /// Has `pages` refer to `len` bytes at `addr` of the registered buffer that the command names; see
    /// [`PinnedPages::borrow`].
    ///
    /// # Errors
    ///
    /// - `EFAULT`: there is no such buffer, or it does not have that range or allow the access.
    /// - `EINVAL`: `len` is 0, or the command does not name a buffer.
    /// - `ENOMEM`: no memory for the list of pages.
    ///
    /// # Safety
    ///
    /// The range must be released before the command completes.
    pub(crate) unsafe fn fixed_pages(
        &self,
        pages: &mut PinnedPages,
        addr: u64,
        len: usize,
        access: Access,
        max_piece: u32,
    ) -> Result {
        if !self.submit_flags().contains(SubmitFlags::FIXED) {
            return Err(EINVAL);
        }
        let mut iter = bindings::iov_iter::default();
        // SAFETY: By the type invariant the command is being issued with these flags; it names a
        // buffer. `iter` is valid for writes.
        to_result(unsafe {
            ffi::azihsm_uring_cmd_import_fixed(
                self.cmd.as_ptr(),
                addr,
                len,
                access == Access::Write,
                &mut iter,
                self.flags,
            )
        })?;
        // SAFETY: `iter` is over `len` bytes of the buffer. io_uring has pinned them for reading and
        // writing, and keeps them until the command completes.
        unsafe { pages.borrow(iter, len, access, max_piece) }
    }

    /// Completes the command.
    pub(crate) fn done(self, reply: Reply) -> Issued {
        // SAFETY: By the type invariant nobody else has the command, and `self` is consumed. The
        // flags are those of io_uring.
        unsafe {
            ffi::azihsm_uring_cmd_done(
                self.cmd.as_ptr(),
                reply.res,
                reply.res2,
                self.flags & flags::CQE32 != 0,
                self.flags,
            )
        };
        Issued(EIOCBQUEUED.to_errno())
    }

    /// Completes the command with `res`, and nothing that a ring with entries of 32 bytes could show
    /// besides.
    ///
    /// That a command of a polling ring is complete is otherwise noticed only by who polls. For one
    /// that a worker issues while the submitter exits, that may be nobody.
    pub(crate) fn done_inline(self, res: i32) -> Issued {
        if res == EAGAIN.to_errno() || res == EIOCBQUEUED.to_errno() {
            // These have a meaning of their own here.
            return self.done(Reply { res, res2: 0 });
        }
        Issued(res)
    }

    /// Has io_uring issue the command again, from where it may sleep.
    ///
    /// # Errors
    ///
    /// Gives the command back if it is there already.
    pub(crate) fn retry(self) -> Result<Issued, Self> {
        if self.is_nonblocking() {
            Ok(Issued(EAGAIN.to_errno()))
        } else {
            Err(self)
        }
    }

    /// Gives the command to the driver, which completes it later.
    ///
    /// `submit` may let go of the [`Queued`] at once, and have it completed by another CPU before
    /// it returns.
    pub(crate) fn queue<P: Finish<File = F>>(
        self,
        payload: P,
        submit: impl FnOnce(Queued<P>),
    ) -> Issued {
        const {
            assert!(size_of::<Pdu<P>>() <= PDU_SIZE);
            assert!(align_of::<Pdu<P>>() <= align_of::<u64>());
        }
        let pdu = Pdu {
            run: run::<P>,
            is_cqe32: self.flags & flags::CQE32 != 0,
            is_iopoll: self.is_iopoll(),
            ready: Atomic::new(false),
            payload,
        };
        // SAFETY: By the type invariant the command is valid.
        let to = unsafe { ffi::azihsm_uring_cmd_pdu(self.cmd.as_ptr()) };
        // SAFETY: The `pdu` is for the one who has the command. It is large enough and aligned, as
        // asserted above and in C.
        unsafe { to.cast::<Pdu<P>>().write(pdu) };
        // INVARIANT: Just written; `self` is consumed.
        submit(Queued {
            cmd: self.cmd,
            _payload: PhantomData,
        });
        Issued(EIOCBQUEUED.to_errno())
    }
}

impl Issued {
    /// Returns what `struct file_operations.uring_cmd` is to return.
    pub(super) fn into_raw(self) -> c_int {
        self.0
    }
}

impl<P: Finish> Queued<P> {
    /// Has the command finished by the task that submitted it, or that looks for the completion.
    /// Callable in any context.
    ///
    /// A task that waits for some completions at a time may be left asleep until there are so many:
    /// nothing that those depend on may wait for this one to be finished. See
    /// [`complete_now`](Self::complete_now).
    pub(crate) fn complete(self) {
        self.hand_over(true);
    }

    /// Does what [`complete`](Self::complete) does and wakes the task up.
    pub(crate) fn complete_now(self) {
        // What dropping does.
        drop(self);
    }

    fn hand_over(self, lazy: bool) {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant nobody else has the command, and as `this` is not dropped
        // we give it away once.
        unsafe { hand_over::<P>(this.cmd, lazy) };
    }

    /// Changes what [`Finish::finish`] will get.
    pub(crate) fn update(&mut self, f: impl FnOnce(&mut P)) {
        // SAFETY: By the type invariant the command is valid.
        let pdu = unsafe { ffi::azihsm_uring_cmd_pdu(self.cmd.as_ptr()) };
        // SAFETY: By the type invariant it holds a `Pdu<P>`, which nobody else accesses.
        f(unsafe { &mut (*pdu.cast::<Pdu<P>>()).payload });
    }
}

impl<P: Finish> Drop for Queued<P> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant nobody else has the command, and now we have not either.
        unsafe { hand_over::<P>(self.cmd, false) };
    }
}

/// Gives a command to who finishes it.
///
/// # Safety
///
/// `cmd` must be a command under way for a file of kind `P::File`, whose `pdu` holds a `Pdu<P>`, and
/// that nobody else has; nor has the caller from here on.
unsafe fn hand_over<P: Finish>(cmd: NonNull<bindings::io_uring_cmd>, lazy: bool) {
    // SAFETY: By the safety requirements the command is valid.
    let pdu = unsafe { ffi::azihsm_uring_cmd_pdu(cmd.as_ptr()) };
    // SAFETY: By the safety requirements it holds a `Pdu<P>`. Who looks for the completion reads
    // `is_iopoll` and `ready` at the same time, and no more before `ready` is set.
    let (is_iopoll, ready) = unsafe {
        let pdu = pdu.cast::<Pdu<P>>();
        ((*pdu).is_iopoll, &(*pdu).ready)
    };
    if is_iopoll {
        // ORDERING: Pairs with the `Acquire` in `finish_polled`, which has the command then.
        ready.store(true, Release);
    } else {
        // SAFETY: By the safety requirements. `azihsm_uring_cmd_run` is called for it once.
        unsafe { ffi::azihsm_uring_cmd_complete_in_task(cmd.as_ptr(), lazy) };
    }
}

/// Finishes a command.
///
/// # Safety
///
/// `cmd` must be a command for a file of kind `P::File` whose `pdu` holds a `Pdu<P>`, and that nobody
/// else has; `flags` must be those of task work.
unsafe fn run<P: Finish>(cmd: NonNull<bindings::io_uring_cmd>, flags: c_uint, cancelled: bool) {
    // SAFETY: By the safety requirements the command is valid.
    let pdu = unsafe { ffi::azihsm_uring_cmd_pdu(cmd.as_ptr()) };
    // SAFETY: By the safety requirements. It is moved out once, as nobody reads it after this.
    let Pdu {
        is_cqe32, payload, ..
    } = unsafe { pdu.cast::<Pdu<P>>().read() };
    // SAFETY: By the safety requirements the command is valid.
    let file = unsafe { file_of(cmd) };
    let reply = match NonNull::new(file) {
        // INVARIANT: The command holds its file, which is of that kind.
        Some(file) => payload.finish(&Completion {
            file,
            cancelled,
            _command: PhantomData,
        }),
        // A command under way has a file.
        None => Reply {
            res: EBADF.to_errno(),
            res2: 0,
        },
    };
    // SAFETY: By the safety requirements nobody else has the command, and it is not used after
    // this.
    unsafe { ffi::azihsm_uring_cmd_done(cmd.as_ptr(), reply.res, reply.res2, is_cqe32, flags) };
}

/// Finishes a command that its submitter looks for, if the driver is done with it; returns whether
/// it was.
///
/// # Safety
///
/// `cmd` must be the argument of `struct file_operations.uring_cmd_iopoll`, and not be finished.
pub(super) unsafe fn finish_polled(cmd: NonNull<bindings::io_uring_cmd>) -> bool {
    // SAFETY: The command is valid.
    let pdu = unsafe { ffi::azihsm_uring_cmd_pdu(cmd.as_ptr()) }.cast::<Pdu<()>>();
    // SAFETY: io_uring looks only for commands that were issued and are not complete: the `pdu`
    // holds a `Pdu<P>`. What comes before `payload` is the same whatever `P` is: see below.
    let (is_iopoll, ready) = unsafe { ((*pdu).is_iopoll, &(*pdu).ready) };
    // ORDERING: Pairs with the `Release` of who was done with the command.
    if !is_iopoll || !ready.load(Acquire) {
        return false;
    }
    // SAFETY: As above.
    let run = unsafe { (*pdu).run };
    // SAFETY: The command is valid.
    let cancelled = unsafe { ffi::azihsm_uring_cmd_is_foreign(cmd.as_ptr()) };
    // SAFETY: `run` was stored for the `P` that the `pdu` holds, and the `Queued<P>` that owned the
    // command is gone. It is not looked for any more after this. io_uring has its lock, as for task
    // work.
    unsafe { run(cmd, ffi::azihsm_uring_task_flags(), cancelled) };
    true
}

// The members before `payload` lie where they do for any `P`: they are in the order of `repr(C)`,
// and `P` is aligned to at most 8, to which `run` is.
const _: () =
    assert!(core::mem::offset_of!(Pdu<u64>, ready) == core::mem::offset_of!(Pdu<()>, ready));

/// Runs as task work of the task that submitted a command, or on its behalf.
///
/// # Safety
///
/// To be called only by the C helper, once after `azihsm_uring_cmd_complete_in_task()`.
#[no_mangle]
unsafe extern "C" fn azihsm_uring_cmd_run(
    cmd: *mut bindings::io_uring_cmd,
    issue_flags: c_uint,
    cancelled: bool,
) {
    let Some(cmd) = NonNull::new(cmd) else {
        return;
    };
    // SAFETY: The command is valid.
    let pdu = unsafe { ffi::azihsm_uring_cmd_pdu(cmd.as_ptr()) };
    // SAFETY: It holds a `Pdu<P>`: only commands of a `Queued<P>` get here. The function pointer is
    // its first member, whatever `P` is.
    let run = unsafe { (*pdu.cast::<Pdu<()>>()).run };
    // SAFETY: `run` was stored for the `P` that the `pdu` holds, and the `Queued<P>` that owned the
    // command is gone.
    unsafe { run(cmd, issue_flags, cancelled) };
}
