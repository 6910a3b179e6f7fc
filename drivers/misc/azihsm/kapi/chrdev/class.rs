// SPDX-License-Identifier: GPL-2.0

//! Device classes and device numbers.

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) fn azihsm_ida_init(ida: *mut bindings::ida);
    }
}

/// What a class has once it is registered.
#[derive(Clone, Copy)]
struct Registered {
    class: *mut bindings::class,
    first: bindings::dev_t,
}

// SAFETY: A class is not tied to a task, and is only passed to functions that may be called
// concurrently.
unsafe impl Send for Registered {}

// SAFETY: As above.
unsafe impl Sync for Registered {}

/// A class of character devices with device numbers of its own.
///
/// To be made a `static`:
///
/// ```ignore
/// static NODES: Class = Class::new(c"example-class", c"example", 16);
/// ```
///
/// # Invariants
///
/// If `registered` is set, `ids` is initialised; and until the [`ClassGuard`] goes, `class` is a
/// registered class, and `minors` device numbers from `first` on are reserved for it.
pub(crate) struct Class {
    name: &'static CStr,
    prefix: &'static CStr,
    minors: u32,
    ids: Opaque<bindings::ida>,
    registered: SetOnce<Registered>,
    /// Nodes whose memory is not free yet.
    nodes: Atomic<u32>,
}

// SAFETY: A `struct ida` may be used concurrently once initialised, and is initialised only by
// `register`, before anything else uses it.
unsafe impl Sync for Class {}

impl Class {
    /// Returns a class called `name` for up to `minors` devices at a time, which are called `prefix`
    /// followed by their number.
    ///
    /// The kernel puts the devices of a class into a folder of that name below their parent, so it
    /// must not be the name of anything else there.
    pub(crate) const fn new(name: &'static CStr, prefix: &'static CStr, minors: u32) -> Self {
        Self {
            name,
            prefix,
            minors,
            ids: Opaque::uninit(),
            registered: SetOnce::new(),
            nodes: Atomic::new(0),
        }
    }

    /// Registers the class and reserves its device numbers, until the returned guard is dropped.
    ///
    /// # Errors
    ///
    /// Those of `alloc_chrdev_region()` and `class_create()`.
    ///
    /// # Safety
    ///
    /// - Must be called only once for a class.
    /// - The guard must not be leaked, and must not be dropped before all
    ///   [`Registration`](super::Registration)s made with the class are.
    pub(crate) unsafe fn register(&'static self) -> Result<ClassGuard> {
        let mut first = 0;

        // SAFETY: The memory is valid, and by the safety requirements nobody uses it yet.
        unsafe { ffi::azihsm_ida_init(self.ids.get()) };
        // SAFETY: `first` is valid for writes, and the name is a static string.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, self.minors, self.name.as_char_ptr())
        })?;
        // SAFETY: The name is a static string.
        let class = from_err_ptr(unsafe { bindings::class_create(self.name.as_char_ptr()) })
            .inspect_err(|_| {
                // SAFETY: Allocated above.
                unsafe { bindings::unregister_chrdev_region(first, self.minors) }
            })?;

        // INVARIANT: All of it was set up above.
        let registered = Registered { class, first };
        self.registered.populate(registered);
        Ok(ClassGuard {
            class: self,
            registered,
        })
    }

    /// Returns the C class, if it is registered.
    pub(super) fn as_raw(&self) -> Result<*mut bindings::class> {
        Ok(self.registered.as_ref().ok_or(ENODEV)?.class)
    }

    /// Notes that there is one more node of the class.
    pub(super) fn node_made(&self) {
        self.nodes.fetch_add(1, Relaxed);
    }

    /// Notes that the memory of a node is free; the last thing that its release function does.
    pub(super) fn node_freed(&self) {
        self.nodes.fetch_sub(1, Release);
    }

    /// Waits until all nodes are freed: their release function is part of the module, which is about
    /// to go.
    ///
    /// No file is open any more, since files hold the module. What may hold a node is in the kernel,
    /// and for a moment only, or for seconds with `CONFIG_DEBUG_KOBJECT_RELEASE`, which exists to
    /// show who does not wait here.
    fn wait_for_nodes(&self) {
        while self.nodes.load(Acquire) != 0 {
            fsleep(Delta::from_millis(10));
        }
    }

    /// Returns what the names of the devices begin with.
    pub(super) fn prefix(&self) -> &'static CStr {
        self.prefix
    }
}

/// Undoes the registration of a [`Class`] when dropped.
pub(crate) struct ClassGuard {
    class: &'static Class,
    registered: Registered,
}

impl Drop for ClassGuard {
    fn drop(&mut self) {
        self.class.wait_for_nodes();
        // SAFETY: Registered by `Class::register`, and by its safety requirements nobody uses the
        // class any more.
        unsafe { bindings::class_destroy(self.registered.class) };
        // SAFETY: Allocated by `Class::register`, and all devices in it are gone.
        unsafe { bindings::unregister_chrdev_region(self.registered.first, self.class.minors) };
        // SAFETY: Initialised by `Class::register`, and nobody uses it any more.
        unsafe { bindings::ida_destroy(self.class.ids.get()) };
    }
}

/// A device number of a [`Class`], free again when dropped.
///
/// # Invariants
///
/// `number` was allocated from `class.ids`, and `class` is registered.
pub(super) struct Minor {
    class: &'static Class,
    number: u32,
    devt: bindings::dev_t,
}

impl Minor {
    /// Takes the lowest free number.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the class is not registered, `ENOSPC` if all numbers are in use.
    pub(super) fn new(class: &'static Class) -> Result<Self> {
        let registered = class.registered.as_ref().ok_or(ENODEV)?;
        let last = class.minors.checked_sub(1).ok_or(ENOSPC)?;

        // SAFETY: By the invariants of `Class` the `ida` is initialised.
        let id =
            unsafe { bindings::ida_alloc_range(class.ids.get(), 0, last, bindings::GFP_KERNEL) };
        let number = u32::try_from(id).map_err(|_| Error::from_errno(id))?;

        // INVARIANT: Just allocated.
        Ok(Self {
            class,
            number,
            // The numbers of a region are consecutive.
            devt: registered.first + number,
        })
    }

    /// Returns the number within the class.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the device number.
    pub(super) fn devt(&self) -> bindings::dev_t {
        self.devt
    }
}

impl Drop for Minor {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the number was allocated from this `ida`.
        unsafe { bindings::ida_free(self.class.ids.get(), self.number) };
    }
}
