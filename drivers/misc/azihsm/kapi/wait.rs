// SPDX-License-Identifier: GPL-2.0

//! Killable waiting.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)
//!
//! The killable waits end early only for a signal that kills the process, and then return `EINTR`
//! where C has `-ERESTARTSYS`: no system call is ever restarted in a task that is about to die, so
//! there is nobody to tell the two apart, and `EINTR` is the one that may leave the kernel.

use kernel::{
    bindings,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) fn azihsm_reinit_completion(x: *mut bindings::completion);
        pub(super) safe fn azihsm_fatal_signal_pending() -> bool;
    }
}

/// Returns whether the current task has been told to die.
pub(crate) fn fatal_signal_pending() -> bool {
    ffi::azihsm_fatal_signal_pending()
}

/// An event that one side signals and the other waits for.
///
/// What [`kernel::sync::Completion`] is, plus waking a single waiter, killable waits, time limits
/// and reuse. Each [`complete`](Self::complete) lets one wait pass, whether it began before or
/// after.
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A `struct completion` is not tied to a task.
unsafe impl Send for Completion {}

// SAFETY: All operations on a `struct completion` lock it.
unsafe impl Sync for Completion {}

impl Completion {
    /// Returns an initialiser for an event that has not happened.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: `init_completion()` initialises `inner`.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Lets one waiter pass.
    ///
    /// Callable from any context. Everything done before is visible to the waiter.
    pub(crate) fn complete(&self) {
        // SAFETY: By the type invariant `inner` is initialised.
        unsafe { bindings::complete(self.inner.get()) };
    }

    /// Lets all present and future waiters pass, until [`reinit`](Self::reinit).
    ///
    /// Callable from any context.
    pub(crate) fn complete_all(&self) {
        // SAFETY: By the type invariant `inner` is initialised.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits, uninterruptibly and without limit.
    pub(crate) fn wait(&self) {
        // SAFETY: By the type invariant `inner` is initialised.
        unsafe { bindings::wait_for_completion(self.inner.get()) };
    }

    /// Waits uninterruptibly for at most `timeout`; returns whether the event happened.
    pub(crate) fn wait_timeout(&self, timeout: Jiffies) -> bool {
        // SAFETY: By the type invariant `inner` is initialised.
        unsafe { bindings::wait_for_completion_timeout(self.inner.get(), timeout) != 0 }
    }

    /// Waits until the event happens or the task is killed.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is being killed. The event was not consumed.
    pub(crate) fn wait_killable(&self) -> Result {
        // SAFETY: By the type invariant `inner` is initialised.
        match unsafe { bindings::wait_for_completion_killable(self.inner.get()) } {
            0 => Ok(()),
            _ => Err(EINTR),
        }
    }

    /// Waits until the event happens, `timeout` is over, or the task is killed; returns whether the
    /// event happened.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is being killed. The event was not consumed.
    pub(crate) fn wait_killable_timeout(&self, timeout: Jiffies) -> Result<bool> {
        // SAFETY: By the type invariant `inner` is initialised.
        match unsafe { bindings::wait_for_completion_killable_timeout(self.inner.get(), timeout) } {
            0 => Ok(false),
            left if left > 0 => Ok(true),
            _ => Err(EINTR),
        }
    }

    /// Waits until the event happens, `timeout` is over, or the task has any signal; returns whether
    /// the event happened.
    ///
    /// # Errors
    ///
    /// `EINTR` if there is a signal. The event was not consumed.
    pub(crate) fn wait_interruptible_timeout(&self, timeout: Jiffies) -> Result<bool> {
        // SAFETY: By the type invariant `inner` is initialised.
        match unsafe {
            bindings::wait_for_completion_interruptible_timeout(self.inner.get(), timeout)
        } {
            0 => Ok(false),
            left if left > 0 => Ok(true),
            _ => Err(EINTR),
        }
    }

    /// Returns whether a wait would pass at once.
    ///
    /// Once this has returned `true`, the [`complete`](Self::complete) that made it so no longer
    /// touches `self`. Callable from any context.
    pub(crate) fn is_done(&self) -> bool {
        // SAFETY: By the type invariant `inner` is initialised.
        unsafe { bindings::completion_done(self.inner.get()) }
    }

    /// Makes the event one that has not happened.
    ///
    /// To be called when nobody waits and nobody is about to complete: a wait or completion at the
    /// same time may be lost or pass wrongly (which confuses the caller, but not memory).
    pub(crate) fn reinit(&self) {
        // SAFETY: By the type invariant `inner` is initialised. The helper is a single store to an
        // integer that the other operations access under the lock; it cannot corrupt the list of
        // waiters.
        unsafe { ffi::azihsm_reinit_completion(self.inner.get()) };
    }
}
