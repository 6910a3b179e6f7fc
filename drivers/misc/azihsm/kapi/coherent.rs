// SPDX-License-Identifier: GPL-2.0

//! Bulk access to coherent DMA memory: copies from user space and to the kernel, and wiping.
//!
//! The counterpart of [`UserSliceWriter::write_dma`]; meant as further methods of
//! [`kernel::dma::Coherent`] and [`kernel::uaccess::UserSliceReader`]. The memory is accessed
//! through raw pointers only: a device may change it at any time, so no reference to it may
//! exist.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)
//!
//! [`UserSliceWriter::write_dma`]: kernel::uaccess::UserSliceWriter::write_dma

use kernel::{
    bindings,
    dma::Coherent,
    prelude::*,
    uaccess::UserPtr, //
};

/// Returns a pointer to `count` bytes of `memory` at `offset`.
///
/// # Errors
///
/// [`ERANGE`] if the memory does not have that range.
fn range(memory: &Coherent<[u8]>, offset: usize, count: usize) -> Result<*mut u8> {
    let end = offset.checked_add(count).ok_or(EOVERFLOW)?;
    if end > memory.size() {
        return Err(ERANGE);
    }
    Ok(memory.as_mut_ptr().cast::<u8>().wrapping_add(offset))
}

/// Copies `count` bytes from user space into `memory` at `offset`, without a page fault: the user
/// memory has to be there. Does not sleep.
///
/// # Errors
///
/// [`ERANGE`] if the range does not lie in `memory`, [`EFAULT`] if the user memory is not there or
/// cannot be read; part of the range may have been written then.
pub(crate) fn copy_from_user_nofault(
    memory: &Coherent<[u8]>,
    offset: usize,
    src: UserPtr,
    count: usize,
) -> Result {
    let dst = range(memory, offset, count)?;
    // SAFETY: `range` checked that `dst` is valid for writes of `count` bytes; any user address
    // is allowed.
    match unsafe { bindings::copy_from_user_nofault(dst.cast(), src.as_const_ptr(), count) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Copies `count` bytes of `memory` at `offset` to user space, without a page fault: the user memory
/// has to be there. Does not sleep.
///
/// # Errors
///
/// [`ERANGE`] if the range does not lie in `memory`, [`EFAULT`] if the user memory is not there or
/// cannot be written; part of it may have been written then.
pub(crate) fn copy_to_user_nofault(
    memory: &Coherent<[u8]>,
    offset: usize,
    dst: UserPtr,
    count: usize,
) -> Result {
    let src = range(memory, offset, count)?;
    // SAFETY: `range` checked that `src` is valid for reads of `count` bytes; any user address is
    // allowed. What a device writes meanwhile gets to user space or does not.
    match unsafe { bindings::copy_to_user_nofault(dst.as_mut_ptr(), src.cast(), count) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Copies `out.len()` bytes of `memory` at `offset` to `out`.
///
/// # Errors
///
/// [`ERANGE`] if the range does not lie in `memory`.
pub(crate) fn read(memory: &Coherent<[u8]>, offset: usize, out: &mut [u8]) -> Result {
    let src = range(memory, offset, out.len())?;
    for (i, byte) in out.iter_mut().enumerate() {
        // SAFETY: `range` checked that `src` is valid for reads of `out.len()` bytes. The read is
        // volatile because a device may write the memory meanwhile.
        *byte = unsafe { src.add(i).read_volatile() };
    }
    Ok(())
}

/// Clears `count` bytes of `memory` at `offset`.
///
/// # Errors
///
/// [`ERANGE`] if the range does not lie in `memory`.
pub(crate) fn clear(memory: &Coherent<[u8]>, offset: usize, count: usize) -> Result {
    let dst = range(memory, offset, count)?;
    // SAFETY: `range` checked that `dst` is valid for writes of `count` bytes.
    unsafe { core::ptr::write_bytes(dst, 0, count) };
    Ok(())
}
