// SPDX-License-Identifier: GPL-2.0

//! User space addresses, and structures in user space.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use core::mem::size_of;

use kernel::{
    bindings,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

mod ffi {
    use kernel::ffi::{
        c_ulong,
        c_void, //
    };

    unsafe extern "C" {
        pub(super) fn azihsm_memzero_explicit(bytes: *mut c_void, len: usize);
        pub(super) safe fn azihsm_access_ok(addr: c_ulong, len: c_ulong) -> bool;
    }
}

/// Returns whether `addr .. addr + len` lies in the part of the address space that belongs to user
/// space.
///
/// It says nothing about whether anything is mapped there: a copy can still fault. What it is good
/// for is refusing an impossible range early, before a request with many ranges is half done.
pub(crate) fn access_ok(addr: u64, len: usize) -> bool {
    let Ok(addr) = usize::try_from(addr) else {
        return false;
    };
    ffi::azihsm_access_ok(addr, len)
}

/// Makes `len` bytes of user memory at `addr` present for reading. May sleep for as long as it takes.
///
/// Nothing keeps the memory from going again at once: this is to be followed by an access without
/// page faults, and repeated if that fails.
///
/// # Errors
///
/// [`EFAULT`] if the memory cannot be read.
pub(crate) fn fault_in_readable(addr: UserPtr, len: usize) -> Result {
    // SAFETY: Any user address is allowed.
    match unsafe { bindings::fault_in_readable(addr.as_const_ptr().cast(), len) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Overwrites `bytes` with zeros, even if nobody looks at them any more.
pub(crate) fn wipe(bytes: &mut [u8]) {
    // SAFETY: The slice is valid for writes.
    unsafe { ffi::azihsm_memzero_explicit(bytes.as_mut_ptr().cast(), bytes.len()) };
}

/// Copies a structure that grows at its end from user space, as `copy_struct_from_user()` does.
///
/// `len` is the size of the caller's structure, which may be less than that of `T`: the rest is 0
/// then. It may be more, if the bytes that `T` does not have are all 0.
///
/// # Errors
///
/// [`EFAULT`], or [`E2BIG`] if a byte that `T` does not have is not 0.
pub(crate) fn read_struct<T: FromBytes + IntoBytes>(user: UserPtr, len: usize) -> Result<T> {
    let mut value = T::new_zeroed();
    let mut reader = UserSlice::new(user, len).reader();
    let known = len.min(size_of::<T>());
    let bytes = value.as_mut_bytes().get_mut(..known).ok_or(EINVAL)?;
    reader.read_slice(bytes)?;

    let mut chunk = [0u8; 64];
    while !reader.is_empty() {
        let count = reader.len().min(chunk.len());
        let bytes = chunk.get_mut(..count).ok_or(EINVAL)?;
        reader.read_slice(bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Copies a structure that grows at its end to user space: as much of it as the caller's structure
/// of `len` bytes has room for.
///
/// # Errors
///
/// [`EFAULT`].
pub(crate) fn write_struct<T: FromBytes + IntoBytes>(
    user: UserPtr,
    len: usize,
    mut value: T,
) -> Result {
    let known = len.min(size_of::<T>());
    let bytes = value.as_mut_bytes().get(..known).ok_or(EINVAL)?;
    UserSlice::new(user, known).writer().write_slice(bytes)
}
