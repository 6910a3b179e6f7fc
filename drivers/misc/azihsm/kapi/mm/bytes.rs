// SPDX-License-Identifier: GPL-2.0

//! Bytes of pinned memory: copies, and zeros.
//!
//! C header: [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    first_page,
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
        ffi::c_void, //
    };

    unsafe extern "C" {
        pub(super) fn azihsm_memzero_page(page: *mut bindings::page, offset: usize, len: usize);
        pub(super) fn azihsm_memcpy_from_page(
            to: *mut c_void,
            page: *mut bindings::page,
            offset: usize,
            len: usize,
        );
        pub(super) fn azihsm_memcpy_to_page(
            page: *mut bindings::page,
            offset: usize,
            from: *const c_void,
            len: usize,
        );
    }
}

impl PinnedPages {
    /// Overwrites `len` bytes of the range, starting at `start`, with zeros.
    ///
    /// Not to be called while the range is mapped for DMA. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if these bytes are not all in the range, `EACCES` if it was not pinned for writing.
    pub(crate) fn zero_range(&mut self, start: usize, len: usize) -> Result {
        self.check(start, len, Access::Write)?;
        self.mark_written();
        self.for_each_part(start, len, |page, offset, _, len| {
            // SAFETY: The part lies in a page that is pinned.
            unsafe { ffi::azihsm_memzero_page(page, offset, len) };
        });
        Ok(())
    }

    /// Copies `from` into the range, starting at `start`.
    ///
    /// Not to be called while the range is mapped for DMA. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if these bytes are not all in the range, `EACCES` if it was not pinned for writing.
    pub(crate) fn write(&mut self, start: usize, from: &[u8]) -> Result {
        self.check(start, from.len(), Access::Write)?;
        self.mark_written();
        self.for_each_part(start, from.len(), |page, offset, at, len| {
            let Some(from) = from.get(at..at + len) else {
                return;
            };
            // SAFETY: The part lies in a page that is pinned, and `from` has as many bytes.
            unsafe { ffi::azihsm_memcpy_to_page(page, offset, from.as_ptr().cast(), from.len()) };
        });
        Ok(())
    }

    /// Copies bytes of the range, starting at `start`, to `to`.
    ///
    /// Not to be called while the range is mapped for DMA. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if these bytes are not all in the range.
    pub(crate) fn read(&self, start: usize, to: &mut [u8]) -> Result {
        self.check(start, to.len(), Access::Read)?;
        self.for_each_part(start, to.len(), |page, offset, at, len| {
            let Some(to) = to.get_mut(at..at + len) else {
                return;
            };
            // SAFETY: The part lies in a page that is pinned, and `to` has room for as many bytes.
            unsafe { ffi::azihsm_memcpy_from_page(to.as_mut_ptr().cast(), page, offset, to.len()) };
        });
        Ok(())
    }

    /// Checks that bytes are in the range and may be accessed.
    fn check(&self, start: usize, len: usize, access: Access) -> Result {
        if access == Access::Write && !self.is_writable() {
            return Err(EACCES);
        }
        match start.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Calls `f` for each part of a page that the bytes from `start` on lie in, with a page, the
    /// part's offset from there, the number of bytes before the part, and its length.
    fn for_each_part(
        &self,
        start: usize,
        len: usize,
        mut f: impl FnMut(*mut bindings::page, usize, usize, usize),
    ) {
        let (mut skip, mut at) = (start, 0);

        for piece in self.pieces() {
            // CAST: 32 bits.
            let (first, length) = (piece.offset as usize, piece.length as usize);
            // SAFETY: By the type invariants this is an entry.
            let page = unsafe { first_page(piece) };

            while skip < length && at < len {
                let offset = first + skip;
                let part = (PAGE_SIZE - offset % PAGE_SIZE)
                    .min(length - skip)
                    .min(len - at);
                f(page, offset, at, part);
                skip += part;
                at += part;
            }
            skip -= length.min(skip);
        }
    }
}
