// SPDX-License-Identifier: GPL-2.0

//! Work items that borrow what they work on.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! [`kernel::workqueue`] needs work items that own everything they touch. Here the item and its
//! handler are apart: an [`Item`] is a plain field of a longer-lived structure that anybody may
//! queue at any time, and it does nothing until [`Armed`] ties a handler to it. The handler may
//! borrow, the structure with the item included, since dropping [`Armed`] cancels the work and
//! waits for it.

use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        LockClassKey, //
    },
    time::Jiffies,
    types::Opaque, //
};

/// An own workqueue.
///
/// Not bound to CPUs, runs any number of items at once (but one item never twice), and has a thread
/// in reserve so that its items make progress when memory is short.
///
/// # Invariants
///
/// `self.0` is a valid workqueue that `self` owns.
pub(crate) struct Queue(NonNull<bindings::workqueue_struct>);

// SAFETY: A workqueue is not tied to a task.
unsafe impl Send for Queue {}

// SAFETY: All operations on a workqueue may be called concurrently.
unsafe impl Sync for Queue {}

impl Queue {
    /// Allocates a workqueue. `name` is what the kernel's reports call it.
    ///
    /// Reference counted, since every [`Item`] keeps its queue.
    pub(crate) fn new(name: &CStr) -> Result<Arc<Self>> {
        // SAFETY: The format string takes one string, which `name` is; it is copied.
        let wq = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
                0,
                name.as_char_ptr(),
            )
        };

        // INVARIANT: `alloc_workqueue()` returns a new workqueue or null.
        let queue = Self(NonNull::new(wq).ok_or(ENOMEM)?);
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the workqueue. Every item that can be queued to it
        // holds a reference to `self`, so that none is left, and none can come.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// Makes an initialiser for an [`Item`] that runs on the given [`Queue`].
macro_rules! new_item {
    ($queue:expr, $name:literal) => {
        $crate::kapi::work::Item::new(
            $queue,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
            ::kernel::c_str!(::core::concat!($name, "_timer")),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_item;

/// What an [`Armed`] item runs.
pub(crate) trait Handler: Sync {
    /// Does the work.
    ///
    /// Runs in a kernel thread and may sleep. Never runs twice at the same time for one item, and
    /// may queue the item again.
    fn run(&self);
}

/// The handler of an armed item, type-erased.
#[derive(Clone, Copy)]
struct Target {
    handler: NonNull<c_void>,
    /// Calls [`Handler::run`] of the handler.
    ///
    /// # Safety
    ///
    /// The argument must be the `handler` this was stored with, and that must be alive.
    run: unsafe fn(NonNull<c_void>),
}

/// A piece of work that can be queued, at once or after a delay.
///
/// Queueing has no effect as long as the item is not [`Armed`]. The last item of a [`Queue`] must
/// not be dropped by a handler on that queue, which would wait for itself.
///
/// # Invariants
///
/// - `dwork` is an initialised `struct delayed_work` with `trampoline` as its function.
/// - As long as `armed` is `false`, `dwork` is disabled and idle.
/// - `target` is written only by the one who changed `armed` from `false` to `true`, and only while
///   `dwork` is disabled and idle. While `dwork` is enabled, `target` is `Some` and its handler is
///   alive.
#[pin_data]
pub(crate) struct Item {
    #[pin]
    dwork: Opaque<bindings::delayed_work>,
    target: UnsafeCell<Option<Target>>,
    armed: Atomic<bool>,
    queue: Arc<Queue>,
}

// SAFETY: A work item is not tied to a task, and `target` only holds a pointer to a handler that may
// be shared between tasks.
unsafe impl Send for Item {}

// SAFETY: Queueing may be done concurrently; by the type invariants `target` is not written while
// somebody may read it.
unsafe impl Sync for Item {}

impl Item {
    /// Returns an initialiser for an item that runs on `queue`; see [`new_item!`].
    pub(crate) fn new(
        queue: Arc<Queue>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
        timer_name: &'static CStr,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        let init_dwork = move |slot: *mut bindings::delayed_work| {
            // SAFETY: `slot` is valid for writes.
            let work = unsafe { &raw mut (*slot).work };
            // SAFETY: `slot` is valid for writes.
            let timer = unsafe { &raw mut (*slot).timer };

            // SAFETY: `work` is valid for writes and pinned; the name and the key are static.
            unsafe {
                bindings::init_work_with_key(
                    work,
                    Some(Self::trampoline),
                    false,
                    name.as_char_ptr(),
                    key.as_ptr(),
                )
            };
            // SAFETY: As above. `delayed_work_timer_fn` fits, since the timer is part of a `struct
            // delayed_work`, is only started by the workqueue code, and is irqsafe.
            unsafe {
                bindings::timer_init_key(
                    timer,
                    Some(bindings::delayed_work_timer_fn),
                    bindings::TIMER_IRQSAFE,
                    timer_name.as_char_ptr(),
                    timer_key.as_ptr(),
                )
            };
            // SAFETY: The work and the timer, all there is to initialise in it, were initialised.
            unsafe { bindings::disable_delayed_work(slot) };
        };

        // INVARIANT: `dwork` is initialised, idle and disabled, `armed` is `false`.
        pin_init!(Self {
            dwork <- Opaque::ffi_init(init_dwork),
            target: UnsafeCell::new(None),
            armed: Atomic::new(false),
            queue,
        })
    }

    /// Queues the work to run as soon as possible.
    ///
    /// Returns `false` if that changes nothing, as the item is queued or waits for its delay to
    /// pass (which [`requeue_after`](Self::requeue_after) can shorten), or is not armed. A handler
    /// that is running right now runs once more. Callable from any context.
    pub(crate) fn queue(&self) -> bool {
        self.queue_after(0)
    }

    /// Queues the work to run after `delay`.
    ///
    /// Returns `false` if that changes nothing, see [`queue`](Self::queue). Callable from any
    /// context.
    pub(crate) fn queue_after(&self, delay: Jiffies) -> bool {
        // SAFETY: By the type invariants the work is initialised, and whoever makes `target` stop
        // being valid disables the work and waits first. The queue lives as long as `self`.
        unsafe {
            bindings::queue_delayed_work_on(
                // CAST: A small positive constant.
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue.0.as_ptr(),
                self.dwork.get(),
                delay,
            )
        }
    }

    /// Makes the work run after `delay` from now, be it queued already or not.
    ///
    /// Has no effect if the item is not armed. Returns whether the item was queued before.
    /// Callable from any context.
    pub(crate) fn requeue_after(&self, delay: Jiffies) -> bool {
        // SAFETY: As in `queue_after`.
        unsafe {
            bindings::mod_delayed_work_on(
                // CAST: A small positive constant.
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue.0.as_ptr(),
                self.dwork.get(),
                delay,
            )
        }
    }

    /// Cancels the work, waits for the handler if it runs, and makes queueing the item without
    /// effect for good. May sleep, and must not be called by the handler itself.
    pub(crate) fn retire(&self) {
        // SAFETY: By the type invariants the work is initialised. Nothing ever undoes this, so that
        // the work stays disabled if it is armed once more.
        unsafe { bindings::disable_delayed_work_sync(self.dwork.get()) };
    }

    /// Runs the handler.
    ///
    /// # Safety
    ///
    /// To be called only by the workqueue, with the work of an [`Item`].
    unsafe extern "C" fn trampoline(work: *mut bindings::work_struct) {
        // SAFETY: The work is part of a `struct delayed_work`, see `new`.
        let dwork = unsafe { kernel::container_of!(work, bindings::delayed_work, work) };
        let dwork = Opaque::cast_from(dwork);
        // SAFETY: Which in turn is the `dwork` of an `Item`.
        let this = unsafe { kernel::container_of!(dwork, Self, dwork) };
        // SAFETY: By the type invariants the work is disabled and idle when the item goes, so that
        // the item is alive.
        let this = unsafe { &*this };
        // SAFETY: By the type invariants nobody writes `target` while the work runs.
        let target = unsafe { *this.target.get() };

        if let Some(target) = target {
            // SAFETY: By the type invariants the handler is alive while the work runs.
            unsafe { (target.run)(target.handler) };
        }
    }
}

/// An [`Item`] that has a handler.
///
/// Dropping it cancels the work, waits for the handler if it runs, and makes queueing the item
/// without effect again. It may sleep, and must not be done by the handler itself.
///
/// # Invariants
///
/// `self` set `item.armed`, and `item.target` points to `_handler`.
pub(crate) struct Armed<'a, H: Handler + 'a> {
    item: &'a Item,
    _handler: KBox<H>,
}

impl<'a, H: Handler + 'a> Armed<'a, H> {
    /// Ties `handler` to `item`. From here on, queueing `item` runs it.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the item is armed already, `ENOMEM` without memory.
    ///
    /// # Safety
    ///
    /// The value must not be leaked: its [`Drop`] must run before `'a` ends.
    pub(crate) unsafe fn new(item: &'a Item, handler: H) -> Result<Self> {
        let handler = KBox::new(handler, GFP_KERNEL)?;
        let target = Target {
            handler: NonNull::from(&*handler).cast(),
            run: Self::run,
        };

        // `Acquire` pairs with the `Release` in `drop`: what the previous owner did to `target` came
        // before.
        if item.armed.cmpxchg(false, true, Acquire).is_err() {
            return Err(EBUSY);
        }

        // SAFETY: We changed `armed` from `false` to `true`, so that nobody else writes, and by the
        // type invariants the work, the only reader, is disabled and idle.
        unsafe { *item.target.get() = Some(target) };
        // SAFETY: By the type invariants the work is initialised, and it was disabled once. From
        // here on it may run; `target` was written before, and the workqueue orders that before
        // the run.
        unsafe { bindings::enable_delayed_work(item.dwork.get()) };

        // INVARIANT: As set above. The box keeps the handler at its address.
        Ok(Self {
            item,
            _handler: handler,
        })
    }

    /// Calls the handler.
    ///
    /// # Safety
    ///
    /// `handler` must point to an `H` that is alive.
    unsafe fn run(handler: NonNull<c_void>) {
        // SAFETY: By the safety requirements.
        let handler: &H = unsafe { handler.cast().as_ref() };
        handler.run();
    }
}

impl<'a, H: Handler + 'a> Drop for Armed<'a, H> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the work is initialised. This waits for it and keeps it
        // from being queued, so that it is disabled and idle.
        unsafe { bindings::disable_delayed_work_sync(self.item.dwork.get()) };
        // SAFETY: `self` armed the item, and the work is disabled and idle: nobody else accesses
        // `target`.
        unsafe { *self.item.target.get() = None };
        // INVARIANT: The work is disabled and idle.
        // `Release` orders the write to `target` before the next one who arms the item.
        self.item.armed.store(false, Release);
    }
}
