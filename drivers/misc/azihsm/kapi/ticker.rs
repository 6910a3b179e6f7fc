// SPDX-License-Identifier: GPL-2.0

//! A timer that calls back again and again, as long as the callback wants that.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)
//!
//! [`kernel::time::hrtimer`] needs a handle for each start, and whoever starts it to keep that. This
//! timer is started by anybody, an interrupt handler for instance, and what it calls may borrow:
//! dropping a [`Ticker`] cancels it and waits for the callback.

use kernel::{
    bindings,
    prelude::*,
    time::Delta,
    types::Opaque, //
};

/// What a [`Ticker`] calls.
pub(crate) trait Tick: Sync {
    /// Called in hard interrupt context, never twice at the same time.
    ///
    /// Returns the time after which it is to be called again, [`None`] for not before somebody
    /// starts the timer.
    fn tick(&self) -> Option<Delta>;
}

/// A timer with what it calls.
///
/// # Invariants
///
/// `self` is pinned, and `timer` an initialised `struct hrtimer` with `Self::trampoline` as its
/// function.
#[pin_data(PinnedDrop)]
pub(crate) struct Ticker<T: Tick> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    target: T,
}

// SAFETY: A timer is not tied to a task.
unsafe impl<T: Tick + Send> Send for Ticker<T> {}

// SAFETY: Starting and cancelling a timer may be done concurrently, and `T` is `Sync`.
unsafe impl<T: Tick> Sync for Ticker<T> {}

impl<T: Tick> Ticker<T> {
    /// Returns an initialiser for a timer that is not started.
    ///
    /// # Safety
    ///
    /// The timer must not be leaked: it has to be dropped before what `target` borrows ends.
    pub(crate) unsafe fn new(target: T) -> impl PinInit<Self> {
        // INVARIANT: Initialised here, and only in place.
        pin_init!(Self {
            timer <- Opaque::ffi_init(|slot: *mut bindings::hrtimer| {
                // SAFETY: `slot` is valid for writes.
                unsafe {
                    bindings::hrtimer_setup(
                        slot,
                        Some(Self::trampoline),
                        // CAST: A small constant.
                        bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                        bindings::hrtimer_mode_HRTIMER_MODE_REL,
                    )
                }
            }),
            target,
        })
    }

    /// Returns what the timer calls.
    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Has the timer call back after `delay`, and not when it would have otherwise. Callable in any
    /// context.
    pub(crate) fn start(&self, delay: Delta) {
        // SAFETY: By the type invariants the timer is initialised, and it is cancelled before
        // `self`, which is pinned, goes.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.timer.get(),
                delay.as_nanos(),
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_REL,
            )
        };
    }

    /// Cancels the timer and waits for the callback if it runs. It may be started again.
    ///
    /// Must not be called by the callback, nor with a lock held that it takes.
    pub(crate) fn cancel(&self) {
        // SAFETY: By the type invariants the timer is initialised.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }

    /// Calls back.
    ///
    /// # Safety
    ///
    /// To be called only for the timer of a `Self`.
    unsafe extern "C" fn trampoline(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        let timer = Opaque::cast_from(timer);
        // SAFETY: The timer is part of a `Self`.
        let this = unsafe { kernel::container_of!(timer, Self, timer) };
        // SAFETY: It is alive, since dropping it waits for this function.
        let this = unsafe { &*this };
        if let Some(delay) = this.target.tick() {
            this.start(delay);
        }
        // What was just started, here or elsewhere, stays so.
        bindings::hrtimer_restart::HRTIMER_NORESTART
    }
}

#[pinned_drop]
impl<T: Tick> PinnedDrop for Ticker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}
