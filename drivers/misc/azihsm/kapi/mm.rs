// SPDX-License-Identifier: GPL-2.0

//! Pinned user memory.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

mod bytes;

use kernel::{
    alloc::flags::__GFP_NOWARN,
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
        ffi::c_uint, //
    };

    unsafe extern "C" {
        pub(super) fn azihsm_num_pages_contiguous(
            pages: *mut *mut bindings::page,
            count: usize,
        ) -> usize;
        pub(super) fn azihsm_page_follows_sg(
            page: *const bindings::page,
            sg: *const bindings::scatterlist,
        ) -> bool;
        pub(super) fn azihsm_sg_page(sg: *const bindings::scatterlist) -> *mut bindings::page;
        pub(super) fn azihsm_sg_set_page(
            sg: *mut bindings::scatterlist,
            page: *mut bindings::page,
            len: c_uint,
            offset: c_uint,
        );
        pub(super) fn azihsm_sg_mark_end(sg: *mut bindings::scatterlist);
        pub(super) fn azihsm_iov_iter_next(
            iter: *mut bindings::iov_iter,
            max: c_uint,
            next: *mut bindings::bio_vec,
        ) -> bool;
    }
}

/// The most pages in a [`PinnedPages`]: what fits an allocation for the list of them.
const MAX_PAGES: usize = i32::MAX as usize / size_of::<bindings::scatterlist>();

/// Size of a page in bytes.
const PAGE_LEN: u32 = PAGE_SIZE as u32;

/// Number of pages that are pinned at once: their addresses are on the stack meanwhile.
const AT_ONCE: usize = 32;

/// For a range of so many pages, those of 4 MiB wherever they begin, or fewer there is room for as many
/// pieces from the beginning: which pages are contiguous is different each time.
pub(crate) const ROOM: usize = 1025;

/// What pinned memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is only read.
    Read,
    /// It may be written too. Pinning breaks copy-on-write and refuses read-only mappings.
    Write,
}

/// A range of user memory that stays where it is; or none, at first and when it was released.
///
/// The pages belong to user space all the time: it may read and write them, unmap them or give them
/// away, and only their physical place is guaranteed. Bytes in them can change at any moment, so
/// they are only copied here, never borrowed.
///
/// The memory for the list of pages stays when the range is released, so that nothing is allocated
/// for the next one unless its list is longer.
///
/// The range is released on drop, which may sleep.
///
/// # Invariants
///
/// - `pieces` are entries of a scatter-gather list, none of them a link, for `len` bytes in all.
///   Each is contiguous in memory.
/// - `self` owns one pin of each page, taken with the rights that `access` says, and no two entries
///   have a page in common; or, if `borrowed`, somebody else owns the pins until the range is
///   released.
pub(crate) struct PinnedPages {
    pieces: KVVec<bindings::scatterlist>,
    len: usize,
    page_count: usize,
    access: Access,
    written: bool,
    borrowed: bool,
}

impl PinnedPages {
    /// Makes one without a range.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There are no pages.
        Self {
            pieces: KVVec::new(),
            len: 0,
            page_count: 0,
            access: Access::Read,
            written: false,
            borrowed: false,
        }
    }

    /// Releases the range and pins the `len` bytes of the current process at `addr`.
    ///
    /// Contiguous pages become one piece, of up to `max_piece` bytes, which are whole pages.
    ///
    /// The pins are meant to be held for the time of one transfer: they do not count against the
    /// process's limit of locked memory, and may hinder the kernel from moving pages. May sleep.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `len` is 0, or `max_piece` no whole pages.
    /// - `EFAULT`: the range is not (all) there, does not allow the access or is too long.
    /// - `ENOMEM`: no memory for the list of pages.
    /// - `EINTR`: the task is being killed.
    pub(crate) fn pin(&mut self, addr: u64, len: usize, access: Access, max_piece: u32) -> Result {
        self.begin(len, access, max_piece)?;
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        let count = (addr % PAGE_SIZE).checked_add(len).ok_or(EFAULT)?;
        let count = count.div_ceil(PAGE_SIZE);
        if count > MAX_PAGES || addr.checked_add(len).is_none() {
            return Err(EFAULT);
        }
        // Kernel threads have no user memory, and pinning does not check for that.
        if current!().mm().is_none() {
            return Err(EFAULT);
        }
        self.reserve(count.min(ROOM))?;
        // INVARIANT: There are no pages.
        self.borrowed = false;
        let result = self.pin_pieces(addr, len, max_piece);
        self.end(result)
    }

    /// Pins the `len` bytes at `addr`, or fewer if there is an error.
    fn pin_pieces(&mut self, addr: usize, len: usize, max_piece: u32) -> Result {
        let mut pages = [core::ptr::null_mut(); AT_ONCE];
        let flags = match self.access {
            Access::Read => 0,
            Access::Write => bindings::FOLL_WRITE,
        };

        while self.len < len {
            let at = addr + self.len;
            let left = (at % PAGE_SIZE + (len - self.len)).div_ceil(PAGE_SIZE);
            let wanted = left.min(AT_ONCE);
            self.reserve(wanted)?;
            // SAFETY: There is room for `wanted` pointers. The current task has a user address
            // space.
            let ret = unsafe {
                bindings::pin_user_pages_fast(
                    at - at % PAGE_SIZE,
                    // CAST: At most `AT_ONCE`.
                    wanted as c_int,
                    flags,
                    pages.as_mut_ptr(),
                )
            };
            let pinned = match usize::try_from(ret) {
                Ok(0) => return Err(EFAULT),
                Ok(pinned) => pinned,
                Err(_) => return Err(pin_error(Error::from_errno(ret))),
            };
            // SAFETY: These pages were pinned for this, and are those of these bytes. There is room
            // for as many pieces as pages were wanted.
            unsafe { self.add_pages(&mut pages[..pinned.min(wanted)], at, len, max_piece)? };
        }
        Ok(())
    }

    /// Adds the bytes from user address `at` on, of a range of `len` bytes, as far as they are in
    /// `pages`. There must be room for as many pieces.
    ///
    /// # Safety
    ///
    /// These bytes are in these pages, which are pinned for the range, and of which it has no bytes
    /// yet.
    unsafe fn add_pages(
        &mut self,
        pages: &mut [*mut bindings::page],
        at: usize,
        len: usize,
        max_piece: u32,
    ) -> Result {
        // CAST: 32 bits, and less than a page.
        let (most, mut offset) = (max_piece as usize / PAGE_SIZE, (at % PAGE_SIZE) as u32);
        let mut rest = pages;
        let mut is_first = true;

        while let Some(&page) = rest.first() {
            let count = rest.len().min(most);
            // SAFETY: There are so many pages, one at least.
            let count = unsafe { ffi::azihsm_num_pages_contiguous(rest.as_mut_ptr(), count) };
            // CAST: No more than a piece may have. Less than a page is before the bytes.
            let here = ((count * PAGE_SIZE) as u32 - offset) as usize;
            // CAST: As above.
            let here = here.min(len - self.len) as u32;
            // What is not the first was not contiguous, or too much, for the piece before.
            //
            // SAFETY: By the safety requirements: `count` pages are contiguous.
            unsafe {
                if is_first {
                    self.add(page, offset, here, max_piece)?;
                } else {
                    self.push(page, offset, here)?;
                }
            }
            (offset, is_first) = (0, false);
            rest = &mut rest[count..];
        }
        Ok(())
    }

    /// Releases the range and refers to the next `len` bytes of `iter`, whose pages somebody else
    /// has pinned.
    ///
    /// What is contiguous becomes one piece, as for [`pin`](Self::pin).
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `len` is 0, `max_piece` no whole pages, or there are not so many bytes in
    ///   `bio_vec`s.
    /// - `ENOMEM`: no memory for the list of pages.
    ///
    /// # Safety
    ///
    /// - `iter` is valid.
    /// - The pages stay pinned, with the rights that `access` says, until the range is released.
    pub(super) unsafe fn borrow(
        &mut self,
        iter: bindings::iov_iter,
        len: usize,
        access: Access,
        max_piece: u32,
    ) -> Result {
        self.begin(len, access, max_piece)?;
        self.reserve((len.div_ceil(PAGE_SIZE) + 1).min(ROOM))?;
        // INVARIANT: There are no pages. By the safety requirements somebody else owns the pins of
        // those that come.
        self.borrowed = true;
        // SAFETY: By the safety requirements.
        let result = unsafe { self.borrow_pieces(iter, len, max_piece) };
        self.end(result)
    }

    /// Refers to the next `len` bytes of `iter`, or to fewer if there is an error.
    ///
    /// # Safety
    ///
    /// As for [`borrow`](Self::borrow).
    unsafe fn borrow_pieces(
        &mut self,
        mut iter: bindings::iov_iter,
        len: usize,
        max_piece: u32,
    ) -> Result {
        let mut next = bindings::bio_vec::default();

        while self.len < len {
            // SAFETY: `iter` is valid by the safety requirements, and `next` is valid for writes.
            if !unsafe { ffi::azihsm_iov_iter_next(&mut iter, max_piece, &mut next) } {
                return Err(EINVAL);
            }
            // CAST: No more than 32 bits.
            let here = (next.bv_len as usize).min(len - self.len) as u32;
            self.reserve(1)?;
            // SAFETY: This memory is contiguous, no more than a piece may have, and stays by the
            // safety requirements. There is room.
            unsafe { self.push(next.bv_page, next.bv_offset, here)? };
        }
        Ok(())
    }

    /// Releases the range before there is another of `len` bytes.
    fn begin(&mut self, len: usize, access: Access, max_piece: u32) -> Result {
        self.release();
        // CAST: 32 bits.
        let max_piece = max_piece as usize;
        if len == 0 || max_piece == 0 || max_piece % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        // INVARIANT: There are no pages.
        self.access = access;
        Ok(())
    }

    /// Makes a list of the pieces if they are all there.
    fn end(&mut self, result: Result) -> Result {
        match (result, self.pieces.last_mut()) {
            (Ok(()), Some(last)) => {
                // SAFETY: By the type invariants this is an entry.
                unsafe { ffi::azihsm_sg_mark_end(last) };
                Ok(())
            }
            (result, _) => {
                self.release();
                result
            }
        }
    }

    /// Makes room for `count` more pieces.
    fn reserve(&mut self, count: usize) -> Result {
        // User space chooses how many there are: more than there can be is no bug.
        Ok(self.pieces.reserve(count, GFP_KERNEL | __GFP_NOWARN)?)
    }

    /// Adds `len` bytes at `offset` of `page`, and of those behind it, to the range: to its last piece
    /// if they can be. There must be room for a piece.
    ///
    /// # Safety
    ///
    /// These bytes are contiguous in memory, no more than a piece may have, and pinned for the range,
    /// by whom `borrowed` says. Unless that is somebody else, the range has no bytes yet of the pages
    /// that they are in.
    #[inline]
    unsafe fn add(
        &mut self,
        page: *mut bindings::page,
        offset: u32,
        len: u32,
        max_piece: u32,
    ) -> Result {
        match self.pieces.last_mut() {
            // SAFETY: By the type invariants this is an entry. The page is valid by the safety
            // requirements.
            Some(last) if offset == 0 && unsafe { goes_on(last, page, len, max_piece) } => {
                // INVARIANT: The entry is contiguous.
                last.length += len;
                self.count(offset, len);
                Ok(())
            }
            // SAFETY: By the safety requirements.
            _ => unsafe { self.push(page, offset, len) },
        }
    }

    /// Adds bytes as [`add`](Self::add) does, but as a piece of their own.
    ///
    /// # Safety
    ///
    /// As for [`add`](Self::add).
    #[inline(always)]
    unsafe fn push(&mut self, page: *mut bindings::page, offset: u32, len: u32) -> Result {
        let mut piece = bindings::scatterlist::default();
        // SAFETY: `piece` is valid for writes, and `page` by the safety requirements.
        unsafe { ffi::azihsm_sg_set_page(&mut piece, page, len, offset) };
        self.pieces
            .push_within_capacity(piece)
            .map_err(|_| ENOMEM)?;
        self.count(offset, len);
        Ok(())
    }

    /// Counts bytes that were added.
    #[inline(always)]
    fn count(&mut self, offset: u32, len: u32) {
        // CAST: 32 bits.
        let (offset, len) = (offset as usize, len as usize);
        self.len += len;
        self.page_count += (offset % PAGE_SIZE + len).div_ceil(PAGE_SIZE);
    }

    /// Gives the pins up, unless they are borrowed: there is no range then. May sleep.
    pub(crate) fn release(&mut self) {
        let own = if self.borrowed { &[] } else { &self.pieces[..] };
        for piece in own {
            // CAST: 32 bits.
            let end = piece.offset as usize + piece.length as usize;
            // SAFETY: By the type invariants this is an entry.
            let page = unsafe { first_page(piece) };
            // SAFETY: By the type invariants these pages are contiguous, and we own one pin of each,
            // given up here.
            unsafe {
                bindings::unpin_user_page_range_dirty_lock(
                    page,
                    end.div_ceil(PAGE_SIZE),
                    self.written,
                )
            };
        }
        // INVARIANT: There are no pages.
        self.pieces.clear();
        self.len = 0;
        self.page_count = 0;
        self.written = false;
    }

    /// Returns the size of the memory that is there for the list of pages, in bytes.
    pub(crate) fn list_size(&self) -> usize {
        self.pieces.capacity() * size_of::<bindings::scatterlist>()
    }

    /// Returns the number of bytes in the range, 0 if there is none.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of pages that the range touches.
    pub(crate) fn page_count(&self) -> usize {
        self.page_count
    }

    /// Returns whether the range may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    /// Returns the pieces, for functions that want a scatter-gather list.
    pub(super) fn pieces(&self) -> &[bindings::scatterlist] {
        &self.pieces
    }

    /// As [`pieces`](Self::pieces); what they refer to is not to be changed.
    pub(super) fn pieces_mut(&mut self) -> &mut [bindings::scatterlist] {
        &mut self.pieces
    }

    /// Notes that a device wrote to the range, or may have.
    ///
    /// Without it, what was written can be lost when the pages belong to a file or are swapped out.
    /// No effect on a range that is only read.
    pub(crate) fn mark_written(&mut self) {
        self.written = self.is_writable();
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        self.release();
    }
}

/// Returns the page that an entry of a list begins in.
///
/// # Safety
///
/// `piece` is an entry with pages, and not a link.
unsafe fn first_page(piece: &bindings::scatterlist) -> *mut bindings::page {
    // SAFETY: By the safety requirements.
    unsafe { ffi::azihsm_sg_page(piece) }
}

/// Returns whether an entry of a list can have `len` more bytes, those at the beginning of `page`.
///
/// # Safety
///
/// `last` is an entry with pages, and not a link; `page` is a page.
#[inline]
unsafe fn goes_on(
    last: &bindings::scatterlist,
    page: *mut bindings::page,
    len: u32,
    max_piece: u32,
) -> bool {
    last.offset.wrapping_add(last.length) % PAGE_LEN == 0
        && last.length <= max_piece - len.min(max_piece)
        // SAFETY: By the safety requirements.
        && unsafe { ffi::azihsm_page_follows_sg(page, last) }
}

/// Turns what pinning reports into what [`PinnedPages::pin`] promises.
fn pin_error(e: Error) -> Error {
    if e == ENOMEM || e == EINTR {
        e
    } else if e == EAGAIN || e == ERESTARTSYS {
        EINTR
    } else {
        EFAULT
    }
}
