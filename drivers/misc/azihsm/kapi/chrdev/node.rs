// SPDX-License-Identifier: GPL-2.0

//! A character device and the gate to its driver's data.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Relaxed, //
        },
        srcu::{
            self,
            new_srcu, //
        },
        Srcu, //
    },
    types::Opaque, //
};

use crate::kapi::{
    plug::Plug,
    uring, //
};

use super::{
    class::{
        Class,
        Minor, //
    },
    CharDevice, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) fn azihsm_inode_cdev(inode: *const bindings::inode) -> *mut bindings::cdev;
    }
}

/// What open files and the registration share.
///
/// Lives until the last file is closed, in memory that the reference count of `dev` governs.
///
/// # Invariants
///
/// - `dev` is an initialised device with `device_release` as its release function, and `cdev` an
///   initialised character device.
/// - `data` points to the data that the node was registered with, and can be used in a read-side
///   critical section of `srcu` in which `live` was seen to be `true`.
#[pin_data]
struct Node<T: CharDevice> {
    #[pin]
    cdev: Opaque<bindings::cdev>,
    #[pin]
    dev: Opaque<bindings::device>,
    #[pin]
    srcu: Srcu,
    live: Atomic<bool>,
    /// The lifetime is not the real one, which cannot be named here.
    data: NonNull<T::Data<'static>>,
    class: &'static Class,
}

// SAFETY: A node is not tied to a task, and `data` may be shared between tasks.
unsafe impl<T: CharDevice> Send for Node<T> {}

// SAFETY: As above; all that changes is `live`, an atomic, and what C code locks.
unsafe impl<T: CharDevice> Sync for Node<T> {}

// SAFETY: `dev` has a reference count, and its release function frees the node.
unsafe impl<T: CharDevice> AlwaysRefCounted for Node<T> {
    fn inc_ref(&self) {
        // SAFETY: By the type invariants this is an initialised device, and a shared reference to it
        // says that its count is not 0.
        unsafe { bindings::get_device(self.dev.get()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, so that the node is alive.
        let dev = unsafe { &raw mut (*obj.as_ptr()).dev };
        // SAFETY: The caller gives its reference up.
        unsafe { bindings::put_device(Opaque::cast_into(dev)) };
    }
}

impl<T: CharDevice> Node<T> {
    /// Enters the gate: as long as the returned value lives, the registration does not go.
    ///
    /// `None` after it has gone.
    fn enter(&self) -> Option<Enter<'_, T>> {
        let guard = self.srcu.read_lock();

        // `Relaxed` is enough, since SRCU orders it: whoever enters after `synchronize()` began sees
        // what was stored before it, and whoever entered earlier is waited for.
        self.live.load(Relaxed).then_some(Enter {
            node: self,
            _guard: guard,
        })
    }

    /// Calls `f` with the data, or with `None` if the registration has gone.
    fn with<R>(&self, f: impl FnOnce(Option<&T::Data<'_>>) -> R) -> R {
        let enter = self.enter();
        f(enter.as_ref().map(Enter::data))
    }

    /// Frees the node.
    ///
    /// # Safety
    ///
    /// To be called only by the driver core, as the release function of the `dev` of a node.
    unsafe extern "C" fn device_release(dev: *mut bindings::device) {
        let dev = Opaque::cast_from(dev);
        // SAFETY: By the safety requirements.
        let node = unsafe { kernel::container_of!(dev, Self, dev) }.cast_mut();
        // SAFETY: `Registration::new` made the node as a box and gave it to the reference count,
        // which has come to its end.
        let node = unsafe { KBox::from_raw(node) };
        let class = node.class;
        // A node is never moved out of its box, so that it counts as pinned.
        drop(Pin::from(node));
        class.node_freed();
    }
}

/// A read-side critical section in which the data can be used.
///
/// # Invariants
///
/// `node.live` was seen to be `true` under `_guard`.
struct Enter<'a, T: CharDevice> {
    node: &'a Node<T>,
    _guard: srcu::Guard<'a>,
}

impl<T: CharDevice> Enter<'_, T> {
    /// Returns the data.
    ///
    /// Only for calling functions that are generic over the lifetime parameter of `Data`, as those
    /// of [`CharDevice`] are: for them, any lifetime is as good as the real one.
    fn data(&self) -> &T::Data<'_> {
        // SAFETY: By the type invariants of `Self` and `Node` the data is valid, and stays so until
        // `self` goes.
        unsafe { self.node.data.cast().as_ref() }
    }
}

/// An open file.
///
/// It lies in a box from which it is moved only when it is closed.
struct OpenFile<T: CharDevice> {
    node: ARef<Node<T>>,
    file: Pin<KBox<T::File>>,
    /// Commands that were submitted together.
    plug: Plug,
}

/// The C side of [`CharDevice`].
struct VTable<T: CharDevice>(PhantomData<T>);

impl<T: CharDevice> VTable<T> {
    const FILE_OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<T::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        uring_cmd: if T::HAS_URING_CMD {
            Some(Self::uring_cmd)
        } else {
            None
        },
        uring_cmd_iopoll: if T::HAS_URING_CMD_IOPOLL {
            Some(Self::uring_cmd_iopoll)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// Opens a file of the node.
    fn open_node(node: &Node<T>) -> Result<KBox<OpenFile<T>>> {
        let enter = node.enter().ok_or(ENODEV)?;
        // Allocated first: a file that the driver has opened must not fail to open.
        let open = KBox::<OpenFile<T>>::new_uninit(GFP_KERNEL)?;
        let file = T::open(enter.data())?;

        Ok(KBox::write(
            open,
            OpenFile {
                node: node.into(),
                file,
                // SAFETY: The callback expects the plug of an open file. A batch in which that
                // takes part has a command of the file, which completes, and lets go of the file,
                // only in the same task and after the batch.
                plug: unsafe { Plug::new(Self::unplug) },
            },
        ))
    }

    /// # Safety
    ///
    /// To be called only by the VFS, as `struct file_operations.open`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The inode is valid, and is one of a character device.
        let cdev = unsafe { ffi::azihsm_inode_cdev(inode) };
        let cdev = Opaque::cast_from(cdev);
        // SAFETY: Character devices with these file operations are the `cdev` of a node.
        let node = unsafe { kernel::container_of!(cdev, Node<T>, cdev) };
        // SAFETY: The VFS holds a reference to the character device, which in turn holds one to its
        // parent, the `dev` of the node.
        let node = unsafe { &*node };

        match Self::open_node(node) {
            Ok(open) => {
                // SAFETY: The file is valid, and `private_data` is for the one who opens it.
                unsafe { (*file).private_data = KBox::into_raw(open).cast() };
                // SAFETY: Both are valid.
                unsafe { bindings::nonseekable_open(inode, file) }
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called only by the VFS, as `struct file_operations.unlocked_ioctl`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The file is valid.
        let open = unsafe { (*file).private_data }.cast::<OpenFile<T>>();
        // SAFETY: Set by `open`, and valid until `release`, which comes after the last `ioctl`.
        let open = unsafe { &*open };

        match open
            .node
            .with(|data| T::ioctl(data, open.file.as_ref(), cmd, arg))
        {
            Ok(ret) => ret,
            // CAST: From an `int` to a `long`.
            Err(e) => e.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// To be called only by io_uring, as `struct file_operations.uring_cmd`.
    unsafe extern "C" fn uring_cmd(cmd: *mut bindings::io_uring_cmd, flags: c_uint) -> c_int {
        let Some(cmd) = NonNull::new(cmd) else {
            return EINVAL.to_errno();
        };
        // SAFETY: The command is valid, and for a file with these operations.
        let file = unsafe { uring::file_of(cmd) };
        // SAFETY: The arguments are those that this function was called with.
        let Some(issue) = (unsafe { uring::Issue::<T>::from_raw(cmd, flags) }) else {
            return 0;
        };
        // SAFETY: The file is valid.
        let open = unsafe { (*file).private_data }.cast::<OpenFile<T>>();
        // SAFETY: Set by `open`, and valid until `release`; io_uring holds the file.
        let open = unsafe { &*open };

        open.node
            .with(|data| T::uring_cmd(data, open.file.as_ref(), issue))
            .into_raw()
    }

    /// # Safety
    ///
    /// To be called only at the end of a batch, as the callback of the plug of an open file.
    unsafe extern "C" fn unplug(cb: *mut bindings::blk_plug_cb, _from_schedule: bool) {
        let Some(cb) = NonNull::new(cb) else {
            return;
        };
        // SAFETY: By the safety requirements.
        let plug = unsafe { Plug::from_callback(cb) };
        // SAFETY: By the safety requirements it is the plug of an open file.
        let open = unsafe { kernel::container_of!(plug, OpenFile<T>, plug) };
        // SAFETY: As above; the file is open as long as it takes part in a batch.
        let open = unsafe { &*open };
        let marks = open.plug.take();

        if T::HAS_URING_UNPLUG {
            open.node
                .with(|data| T::uring_unplug(data, open.file.as_ref(), &marks));
        }
    }

    /// # Safety
    ///
    /// To be called only by io_uring, as `struct file_operations.uring_cmd_iopoll`.
    unsafe extern "C" fn uring_cmd_iopoll(
        cmd: *mut bindings::io_uring_cmd,
        _batch: *mut bindings::io_comp_batch,
        _flags: c_uint,
    ) -> c_int {
        let Some(cmd) = NonNull::new(cmd) else {
            return 0;
        };
        // One look finds the ends of many commands: those that follow need none.
        //
        // SAFETY: The command is what this function was called with.
        if unsafe { uring::finish_polled(cmd) } {
            return 1;
        }
        // SAFETY: The command is valid, and for a file with these operations.
        let file = unsafe { uring::file_of(cmd) };
        // SAFETY: The file is valid.
        let open = unsafe { (*file).private_data }.cast::<OpenFile<T>>();
        // SAFETY: Set by `open`, and valid until `release`; io_uring holds the file.
        let open = unsafe { &*open };

        let found = open
            .node
            .with(|data| T::uring_cmd_iopoll(data, open.file.as_ref()));
        // SAFETY: The command is what this function was called with, and was not finished above.
        unsafe { uring::finish_polled(cmd) };
        i32::try_from(found).unwrap_or(i32::MAX)
    }

    /// # Safety
    ///
    /// To be called only by the VFS, as `struct file_operations.release`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file is valid.
        let open = unsafe { (*file).private_data }.cast::<OpenFile<T>>();
        // SAFETY: Set by `open`, and nobody uses it any more.
        let open = unsafe { KBox::from_raw(open) };
        let OpenFile { node, file, .. } = KBox::into_inner(open);

        node.with(|data| T::release(data, file));
        0
    }
}

impl<'a, T: CharDevice> uring::Issue<'a, T> {
    /// Returns what notes things to be done at the end of the submitter's batch of commands.
    pub(crate) fn batch(&self) -> &'a Plug {
        // SAFETY: The file of a command that is being issued is valid.
        let open = unsafe { (*self.file()).private_data }.cast::<OpenFile<T>>();
        // SAFETY: By the type invariant it is a file with the operations of `T`, whose `open` set
        // this. It is valid until `release`, and io_uring holds the file while it issues the
        // command.
        let open = unsafe { &*open };

        &open.plug
    }
}

impl<T: CharDevice> uring::Completion<'_, T> {
    /// Calls `f` with the device's data, `None` if it is gone, and the open file.
    pub(crate) fn with<R>(&self, f: impl FnOnce(Option<&T::Data<'_>>, Pin<&T::File>) -> R) -> R {
        // SAFETY: By the type invariant the file is valid.
        let open = unsafe { (*self.file()).private_data }.cast::<OpenFile<T>>();
        // SAFETY: By the type invariant it is a file with the operations of `T`, whose `open` set
        // this. It is valid until `release`.
        let open = unsafe { &*open };

        open.node.with(|data| f(data, open.file.as_ref()))
    }
}

/// A registered character device.
///
/// Dropping it removes the node, makes all operations that begin from then on do so without the
/// data, and waits for those that have it.
///
/// The node's number is free again at once, for the next device or the same one if it comes back,
/// even if files are still open. (A device file of the administrator's own making, not one that
/// devtmpfs made and removes, opens the old device as long as any file of that is open: `ENODEV`.)
pub(crate) struct Registration<'a, T: CharDevice> {
    node: ARef<Node<T>>,
    minor: Minor,
    _parent: PhantomData<&'a Device<Bound>>,
}

impl<'a, T: CharDevice> Registration<'a, T> {
    /// Adds a node to `class` for `data`, as a child of `parent`.
    ///
    /// From here on user space can use it, that is, before this returns.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the class is not registered.
    /// - `ENOSPC`: all the numbers of the class are in use.
    /// - `ENOMEM` and others: the device could not be added.
    ///
    /// # Safety
    ///
    /// The value must not be leaked: its [`Drop`] must run before `'a` ends.
    pub(crate) unsafe fn new<'d: 'a>(
        parent: &'a Device<Bound>,
        class: &'static Class,
        data: &'a T::Data<'d>,
    ) -> Result<Self> {
        let minor = Minor::new(class)?;
        let raw_class = class.as_raw()?;

        let node = KBox::pin_init(
            try_pin_init!(Node::<T> {
                cdev: Opaque::zeroed(),
                dev: Opaque::zeroed(),
                srcu <- new_srcu!(),
                live: Atomic::new(true),
                data: NonNull::from(data).cast(),
                class,
            }? Error),
            GFP_KERNEL,
        )?;
        class.node_made();
        // SAFETY: The node is not moved: from here on it is the reference count's, which frees it in
        // place.
        let node = KBox::leak(unsafe { Pin::into_inner_unchecked(node) });
        let (cdev, dev) = (node.cdev.get(), node.dev.get());

        // SAFETY: The memory is zeroed, as this function wants it, and pinned.
        unsafe { bindings::device_initialize(dev) };
        // SAFETY: The device is initialised and not added, so that nobody else accesses it.
        let fields = unsafe { &mut *dev };
        fields.class = raw_class;
        fields.devt = minor.devt();
        // CAST: `Device` is a transparent wrapper of `struct device`.
        fields.parent = core::ptr::from_ref(parent).cast_mut().cast();
        fields.release = Some(Node::<T>::device_release);
        // INVARIANT: The device is initialised.
        // SAFETY: The reference is the one that `device_initialize()` made.
        let node = unsafe { ARef::from_raw(NonNull::from(node)) };

        // SAFETY: The device is initialised. The format string takes a string, which is copied, and
        // an unsigned integer.
        to_result(unsafe {
            bindings::dev_set_name(
                dev,
                c"%s%u".as_char_ptr(),
                class.prefix().as_char_ptr(),
                minor.number(),
            )
        })?;
        // SAFETY: The memory is zeroed and pinned, and the file operations are static.
        unsafe { bindings::cdev_init(cdev, &VTable::<T>::FILE_OPERATIONS) };
        // SAFETY: The character device is initialised, and only we know it.
        unsafe { (*cdev).owner = VTable::<T>::FILE_OPERATIONS.owner };
        // SAFETY: Both are initialised. On failure nothing was added.
        to_result(unsafe { bindings::cdev_device_add(cdev, dev) })?;

        Ok(Self {
            node,
            minor,
            _parent: PhantomData,
        })
    }

    /// Returns the number of the node within its class.
    pub(crate) fn minor(&self) -> u32 {
        self.minor.number()
    }
}

impl<T: CharDevice> Drop for Registration<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Added by `new`.
        unsafe { bindings::cdev_device_del(self.node.cdev.get(), self.node.dev.get()) };
        // `Relaxed`, see `Node::enter`.
        self.node.live.store(false, Relaxed);
        // After this nobody uses the data, so that it may go.
        self.node.srcu.synchronize();
    }
}
