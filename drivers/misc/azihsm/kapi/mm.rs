// SPDX-License-Identifier: GPL-2.0

//! Pinned user memory.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
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

/// The most pages in a [`PinnedPages`]: what fits an allocation for the list of them.
const MAX_PAGES: usize = i32::MAX as usize / size_of::<NonNull<bindings::page>>();

/// What pinned memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is only read.
    Read,
    /// It may be written too. Pinning breaks copy-on-write and refuses read-only mappings.
    Write,
}

/// A range of user memory that stays where it is.
///
/// The pages belong to user space all the time: it may read and write them, unmap them or give them
/// away, and only their physical place is guaranteed. Bytes in them can change at any moment, so
/// they are only copied here, never borrowed.
///
/// The pages are unpinned on drop, which may sleep.
///
/// # Invariants
///
/// - `pages` are the pages that cover `len` bytes starting `offset` bytes into the first one.
/// - `self` owns one pin of each page, taken with the rights that `access` says; or, if `borrowed`,
///   somebody else does, for as long as `self` lives.
/// - `offset` is less than a page, and `len` is not 0.
pub(crate) struct PinnedPages {
    pages: KVVec<NonNull<bindings::page>>,
    offset: usize,
    len: usize,
    access: Access,
    written: bool,
    borrowed: bool,
}

// SAFETY: Pins can be given up, and pages be accessed, by any task.
unsafe impl Send for PinnedPages {}

// SAFETY: A shared `PinnedPages` only allows copies out of the pages, which nobody has exclusive
// access to anyway.
unsafe impl Sync for PinnedPages {}

impl PinnedPages {
    /// Pins the `len` bytes of the current process at `addr`.
    ///
    /// The pins are meant to be held for the time of one transfer: they do not count against the
    /// process's limit of locked memory, and may hinder the kernel from moving pages. May sleep.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `len` is 0.
    /// - `EFAULT`: the range is not (all) there, does not allow the access or is too long.
    /// - `ENOMEM`: no memory for the list of pages.
    /// - `EINTR`: the task is being killed.
    pub(crate) fn new(addr: u64, len: usize, access: Access) -> Result<Self> {
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        let offset = addr % PAGE_SIZE;
        let count = offset.checked_add(len).ok_or(EFAULT)?.div_ceil(PAGE_SIZE);

        if len == 0 {
            return Err(EINVAL);
        }
        if count > MAX_PAGES || addr.checked_add(len).is_none() {
            return Err(EFAULT);
        }
        // Kernel threads have no user memory, and pinning does not check for that.
        if current!().mm().is_none() {
            return Err(EFAULT);
        }

        // INVARIANT: No page is pinned yet. If pinning fails halfway, dropping `this` unpins those
        // that are in `pages`.
        let mut this = Self {
            pages: KVVec::with_capacity(count, GFP_KERNEL)?,
            offset,
            len,
            access,
            written: false,
            borrowed: false,
        };
        let flags = match access {
            Access::Read => 0,
            Access::Write => bindings::FOLL_WRITE,
        };

        while this.pages.len() < count {
            let done = this.pages.len();
            let room = this.pages.spare_capacity_mut();
            // CAST: `MAX_PAGES` fits an `i32`, and so does any part of it.
            let wanted = (count - done) as c_int;

            // SAFETY: There is room for `count - done` more pointers, and `NonNull` is a pointer.
            // The current task has a user address space.
            let ret = unsafe {
                bindings::pin_user_pages_fast(
                    addr - offset + done * PAGE_SIZE,
                    wanted,
                    flags,
                    room.as_mut_ptr().cast(),
                )
            };
            match usize::try_from(ret) {
                Ok(0) => return Err(EFAULT),
                // SAFETY: The function pinned `pinned` pages and stored that many pointers, which are
                // not null. It stores no more than it was asked for.
                Ok(pinned) => unsafe { this.pages.inc_len(pinned) },
                Err(_) => return Err(pin_error(Error::from_errno(ret))),
            }
        }

        Ok(this)
    }

    /// Returns the `len` bytes that `iter` iterates over, whose pages somebody else has pinned.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `len` is 0, or the bytes are not contiguous in whole pages.
    /// - `ENOMEM`: no memory for the list of pages.
    ///
    /// # Safety
    ///
    /// - `iter` is an iterator over `len` bytes of `bio_vec`s.
    /// - The pages stay pinned, with the rights that `access` says, as long as the result lives.
    pub(super) unsafe fn borrow(
        mut iter: bindings::iov_iter,
        len: usize,
        access: Access,
    ) -> Result<Self> {
        if len == 0 {
            return Err(EINVAL);
        }
        // One more, as the first page may begin in the middle.
        let count = len.div_ceil(PAGE_SIZE) + 1;
        // INVARIANT: `pages` is empty, and filled below before `this` is returned. Dropping it does
        // not unpin.
        let mut this = Self {
            pages: KVVec::with_capacity(count, GFP_KERNEL)?,
            offset: 0,
            len,
            access,
            written: false,
            borrowed: true,
        };
        let mut left = len;
        while left != 0 {
            let done = this.pages.len();
            let room = this.pages.spare_capacity_mut();
            let max = u32::try_from(room.len())?;
            let mut to = room.as_mut_ptr().cast();
            let mut offset = 0;
            // SAFETY: The iterator is valid, and `to` has room for `max` pointers. Extracting from
            // `bio_vec`s takes no pins.
            let ret = unsafe {
                bindings::iov_iter_extract_pages(&mut iter, &mut to, left, max, 0, &mut offset)
            };
            let got = usize::try_from(ret).map_err(|_| EINVAL)?;
            let starts_well = if done == 0 {
                this.offset = offset;
                true
            } else {
                offset == 0 && (this.offset + (len - left)) % PAGE_SIZE == 0
            };
            if got == 0 || got > left || !starts_well {
                return Err(EINVAL);
            }
            // SAFETY: The function stored a pointer, which is not null, for each page of the bytes.
            unsafe { this.pages.inc_len((offset + got).div_ceil(PAGE_SIZE)) };
            left -= got;
        }
        Ok(this)
    }

    /// Returns the number of bytes in the range. It is never 0.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of pages that the range touches.
    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Returns where the range starts in its first page.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Returns whether the range may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    /// Returns the pages, for functions that want an array of them.
    pub(super) fn pages_mut(&mut self) -> &mut [NonNull<bindings::page>] {
        &mut self.pages
    }

    /// Notes that a device wrote to the range, or may have.
    ///
    /// Without it, what was written can be lost when the pages belong to a file or are swapped out.
    /// No effect on a range that is only read.
    pub(crate) fn mark_written(&mut self) {
        self.written = self.is_writable();
    }

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
        self.for_each_piece(start, len, |page, offset, _, len| {
            // SAFETY: The page is pinned, and the piece lies in it.
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
        self.for_each_piece(start, from.len(), |page, offset, at, len| {
            let Some(from) = from.get(at..at + len) else {
                return;
            };
            // SAFETY: The page is pinned, the piece lies in it, and `from` has `len` bytes.
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
        self.for_each_piece(start, to.len(), |page, offset, at, len| {
            let Some(to) = to.get_mut(at..at + len) else {
                return;
            };
            // SAFETY: The page is pinned, the piece lies in it, and `to` has room for `len` bytes.
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

    /// Calls `f` for each piece of a page that the bytes from `start` on lie in, with the page, the
    /// piece's offset in it, the number of bytes before the piece, and its length.
    fn for_each_piece(
        &self,
        start: usize,
        len: usize,
        mut f: impl FnMut(*mut bindings::page, usize, usize, usize),
    ) {
        let mut at = 0;

        while at < len {
            let pos = self.offset + start + at;
            let offset = pos % PAGE_SIZE;
            let piece = (PAGE_SIZE - offset).min(len - at);
            let Some(page) = self.pages.get(pos / PAGE_SIZE) else {
                return;
            };

            f(page.as_ptr(), offset, at, piece);
            at += piece;
        }
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        if self.borrowed {
            return;
        }
        // SAFETY: By the type invariants we own one pin of each page, given up here. A `NonNull` is a
        // pointer, and the function only reads the array.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(
                self.pages.as_mut_ptr().cast(),
                self.pages.len(),
                self.written,
            )
        };
    }
}

/// Turns what pinning reports into what [`PinnedPages::new`] promises.
fn pin_error(e: Error) -> Error {
    if e == ENOMEM || e == EINTR {
        e
    } else if e == EAGAIN || e == ERESTARTSYS {
        EINTR
    } else {
        EFAULT
    }
}
