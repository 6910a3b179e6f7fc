// SPDX-License-Identifier: GPL-2.0

//! Process identity, and the end of a task.
//!
//! C headers: [`include/linux/pid.h`](srctree/include/linux/pid.h),
//! [`include/linux/sched.h`](srctree/include/linux/sched.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*,
    task::Task, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) safe fn azihsm_current_tgid() -> *mut bindings::pid;
        pub(super) safe fn azihsm_current_unkillable() -> bool;
    }
}

/// Returns whether the current task is on its way out, by a signal or by itself, or one of the
/// kernel's own, which closes files for others.
///
/// No signal reaches it, so that it should not wait for long: it cannot be killed.
pub(crate) fn is_unkillable() -> bool {
    ffi::azihsm_current_unkillable()
}

/// The identity of a process (a thread group).
///
/// Comparing process numbers is fooled by their reuse, and comparing tasks by `execve()` from a
/// thread. This holds a reference to the thread group's `struct pid`, which stays with the process
/// for its whole life, `execve()` included, and whose address cannot be reused while the reference
/// is held. A child made by `fork()` is another process.
///
/// # Invariants
///
/// `self.0` points to a valid `struct pid` and owns one reference to it.
pub(crate) struct ProcessId(NonNull<bindings::pid>);

// SAFETY: References to a `struct pid` can be taken and put by any task.
unsafe impl Send for ProcessId {}

// SAFETY: A shared `ProcessId` only compares addresses.
unsafe impl Sync for ProcessId {}

impl ProcessId {
    /// Returns the identity of the process the current task belongs to.
    ///
    /// Threads that io_uring makes for a process belong to that process.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the current task has exited so far that it belongs to no process any more.
    pub(crate) fn current() -> Result<Self> {
        // SAFETY: The current task is valid as long as it runs, and `PIDTYPE_TGID` is a pid type.
        let pid =
            unsafe { bindings::get_task_pid(Task::current_raw(), bindings::pid_type_PIDTYPE_TGID) };

        // INVARIANT: `get_task_pid()` returns a new reference or null.
        Ok(Self(NonNull::new(pid).ok_or(ESRCH)?))
    }

    /// Returns whether the current task belongs to this process.
    pub(crate) fn is_current(&self) -> bool {
        core::ptr::eq(self.0.as_ptr(), ffi::azihsm_current_tgid())
    }
}

impl Drop for ProcessId {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference, which is given up here.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}
