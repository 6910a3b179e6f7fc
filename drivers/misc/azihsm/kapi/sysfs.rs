// SPDX-License-Identifier: GPL-2.0

//! Folders of read-only attributes in sysfs.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)
//!
//! A folder announces nothing to user space (there is no uevent of its own). What is to be there
//! when a device is announced must have been registered before that.

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
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    types::Opaque, //
};

/// Kind of folder: which files it has.
pub(crate) trait Folder: Sized + 'static {
    /// What the files tell about. The lifetime is for data that borrows.
    type Data<'a>;

    /// The files.
    const ATTRIBUTES: &'static [Attribute<Self>];
}

/// Writes the content of a file.
///
/// May sleep, and may run on several CPUs at the same time.
pub(crate) type Show<F> = fn(&<F as Folder>::Data<'_>, &mut Page<'_>) -> fmt::Result;

/// A file that everybody may read and nobody may write.
#[repr(C)]
pub(crate) struct Attribute<F: Folder> {
    // The first field: a pointer to it is one to the whole.
    raw: bindings::attribute,
    show: Show<F>,
}

impl<F: Folder> Attribute<F> {
    /// Makes an attribute called `name`.
    #[allow(
        clippy::needless_update,
        reason = "with lock debugging there are more fields"
    )]
    #[allow(
        clippy::disallowed_methods,
        reason = "`as_char_ptr()` is not usable in constants"
    )]
    pub(crate) const fn new(name: &'static CStr, show: Show<F>) -> Self {
        Self {
            raw: bindings::attribute {
                name: name.as_ptr().cast(),
                mode: 0o444,
                ..pin_init::zeroed()
            },
            show,
        }
    }
}

/// Where the content of a file goes: a page of memory.
pub(crate) struct Page<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.room.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// A folder, in memory that its reference count governs.
///
/// # Invariants
///
/// - `kobj` is an initialised kobject of type `KTYPE`.
/// - `data` can be used as long as `kobj` is in sysfs.
#[pin_data]
struct Object<F: Folder> {
    #[pin]
    kobj: Opaque<bindings::kobject>,
    /// The lifetime is not the real one, which cannot be named here.
    data: NonNull<F::Data<'static>>,
}

impl<F: Folder> Object<F> {
    const OPERATIONS: bindings::sysfs_ops = bindings::sysfs_ops {
        show: Some(Self::show),
        store: None,
    };

    const KTYPE: bindings::kobj_type = bindings::kobj_type {
        release: Some(Self::release),
        sysfs_ops: &Self::OPERATIONS,
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called only by sysfs, for an attribute of a folder of this kind.
    unsafe extern "C" fn show(
        kobj: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
        buf: *mut c_char,
    ) -> isize {
        let kobj = Opaque::cast_from(kobj);
        // SAFETY: Kobjects of this type are the `kobj` of an `Object<F>`.
        let object = unsafe { kernel::container_of!(kobj, Self, kobj) };
        // SAFETY: The file is open, so that the folder is alive.
        let data = unsafe { (*object).data };
        // SAFETY: By the type invariants; sysfs takes the folder out only after this returned.
        let data: &F::Data<'_> = unsafe { data.cast().as_ref() };
        // SAFETY: The attributes of a folder of this kind are the `raw` of an `Attribute<F>`, which
        // is where that begins.
        let attribute = unsafe { &*attribute.cast::<Attribute<F>>() };
        // SAFETY: sysfs gives a page of zeroed memory that nobody else uses.
        let room = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), PAGE_SIZE) };

        let mut page = Page { room, len: 0 };
        match (attribute.show)(data, &mut page) {
            // CAST: At most a page.
            Ok(()) => page.len as isize,
            Err(_) => EIO.to_errno() as isize,
        }
    }

    /// Frees the folder.
    ///
    /// # Safety
    ///
    /// To be called only by the kobject code, as the release function of an `Object<F>`.
    unsafe extern "C" fn release(kobj: *mut bindings::kobject) {
        let kobj = Opaque::cast_from(kobj);
        // SAFETY: By the safety requirements.
        let object = unsafe { kernel::container_of!(kobj, Self, kobj) }.cast_mut();
        // SAFETY: `Registration::new` made the object as a box and gave it to the reference count,
        // which has come to its end.
        let object = unsafe { KBox::from_raw(object) };
        // It is never moved out of its box, so that it counts as pinned.
        drop(Pin::from(object));
    }
}

/// What a folder can be in.
pub(crate) trait Parent {
    /// Returns the kobject.
    fn kobj(&self) -> *mut bindings::kobject;
}

impl Parent for Device<Bound> {
    fn kobj(&self) -> *mut bindings::kobject {
        // CAST: `Device` is a transparent wrapper of `struct device`, which C code may change.
        let dev: *mut bindings::device = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: The device is valid.
        unsafe { &raw mut (*dev).kobj }
    }
}

impl<F: Folder> Parent for Registration<'_, F> {
    fn kobj(&self) -> *mut bindings::kobject {
        // SAFETY: By the type invariants the object is alive.
        Opaque::cast_into(unsafe { &raw const (*self.object.as_ptr()).kobj })
    }
}

/// A folder that is in sysfs.
///
/// Dropping it takes the folder out, and waits for those who read its files.
///
/// # Invariants
///
/// `object` is alive, and one reference to it belongs to `self`.
pub(crate) struct Registration<'a, F: Folder> {
    object: NonNull<Object<F>>,
    _data: PhantomData<&'a F::Data<'a>>,
}

// SAFETY: A folder is not tied to a task; its data is only shared, see `new`.
unsafe impl<F: Folder> Send for Registration<'_, F> {}

// SAFETY: As above.
unsafe impl<F: Folder> Sync for Registration<'_, F> {}

impl<'a, F: Folder> Registration<'a, F> {
    /// Adds a folder called `name` below `parent`, whose files tell about `data`.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: there is something of that name.
    /// - `ENOMEM` and others: the folder or one of its files could not be added.
    ///
    /// # Safety
    ///
    /// The value must not be leaked: its [`Drop`] must run before `'a` ends.
    pub(crate) unsafe fn new<'d: 'a>(
        parent: &impl Parent,
        name: &CStr,
        data: &'a F::Data<'d>,
    ) -> Result<Self>
    where
        F::Data<'d>: Sync,
    {
        let object = KBox::pin_init(
            pin_init!(Object::<F> {
                kobj: Opaque::zeroed(),
                data: NonNull::from(data).cast(),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The object is not moved: from here on it is the reference count's, which frees it
        // in place.
        let object = KBox::leak(unsafe { Pin::into_inner_unchecked(object) });
        let kobj = object.kobj.get();

        // SAFETY: The memory is zeroed and pinned, and the type is static.
        unsafe { bindings::kobject_init(kobj, &Object::<F>::KTYPE) };
        // INVARIANT: The reference is the one that `kobject_init()` made.
        let this = Self {
            object: NonNull::from(object),
            _data: PhantomData,
        };
        // SAFETY: The kobject is initialised, the parent is valid. The format string takes a string,
        // which is copied. A failure leaves the reference to be given up.
        to_result(unsafe {
            bindings::kobject_add(kobj, parent.kobj(), c"%s".as_char_ptr(), name.as_char_ptr())
        })?;
        for attribute in F::ATTRIBUTES {
            // SAFETY: The kobject is in sysfs, the attribute is static.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(kobj, &attribute.raw, core::ptr::null())
            })?;
        }
        Ok(this)
    }
}

impl<F: Folder> Drop for Registration<'_, F> {
    fn drop(&mut self) {
        let kobj = self.kobj();
        // SAFETY: The kobject is initialised; if it was not added this does nothing. After it nobody
        // reads the files any more.
        unsafe { bindings::kobject_del(kobj) };
        // SAFETY: By the type invariants this reference is ours.
        unsafe { bindings::kobject_put(kobj) };
    }
}
