// SPDX-License-Identifier: GPL-2.0

//! DMA to and from user memory.
//!
//! C headers: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h),
//! [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    dma::{
        DataDirection,
        DmaAddress, //
    },
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};

use super::mm::PinnedPages;

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
        pub(super) fn azihsm_dma_get_max_seg_size(dev: *mut bindings::device) -> c_uint;
    }
}

/// The bits of an address or a length that are less than a page.
const PAGE_OFFSET: u32 = PAGE_SIZE as u32 - 1;

/// One piece of a mapping, contiguous for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The address the device uses.
    pub(crate) address: DmaAddress,
    /// The length in bytes.
    pub(crate) len: u32,
}

/// A range of user memory, mapped for DMA; or none, at first and when it was released.
///
/// As for [`kernel::dma::Coherent`], nothing but the driver sees to it that the mapping is gone
/// before the device is unbound: it holds a reference to the device, but not to the binding, so that
/// it can be kept with a command that outlives its caller.
///
/// The memory for the list of segments stays when the range is released; see [`PinnedPages`].
///
/// Releasing and dropping it unmaps and unpins the range. The device must have stopped using it by
/// then. Unpinning may sleep, so that a mapping must not be dropped in atomic context;
/// [`unmap`](Self::unmap) can be used there.
///
/// # Invariants
///
/// - If `segments` is not 0, the pieces of `pages` are mapped for `dev` in direction `dir`: that
///   many segments, described in the first entries.
/// - `max_segment` is whole pages, and not 0.
pub(crate) struct UserMapping {
    dev: ARef<Device>,
    max_segment: u32,
    dir: DataDirection,
    segments: u32,
    pages: PinnedPages,
}

impl UserMapping {
    /// Makes one for `dev`, without a range.
    pub(crate) fn new(dev: &Device<Bound>) -> Self {
        // SAFETY: `dev` is a valid device.
        let device_max = unsafe { ffi::azihsm_dma_get_max_seg_size(as_raw(dev)) };
        // SAFETY: `dev` is a valid device.
        let platform_max = unsafe { bindings::dma_max_mapping_size(as_raw(dev)) };
        let max_segment = device_max.min(u32::try_from(platform_max).unwrap_or(u32::MAX));
        let dev: &Device = dev;

        // INVARIANT: Nothing is mapped. `max_segment` is rounded down to whole pages, and up to one:
        // less is not possible.
        Self {
            dev: dev.into(),
            max_segment: (max_segment & !PAGE_OFFSET).max(PAGE_OFFSET + 1),
            dir: DataDirection::None,
            segments: 0,
            pages: PinnedPages::new(),
        }
    }

    /// Releases the range and maps another for DMA by `dev`, the device that this is for. May sleep.
    ///
    /// `pin` pins the range: it is told how long a piece may be.
    ///
    /// Physically contiguous pages become one segment, up to the length of segment that the device
    /// (see `dma_set_max_seg_size()`) and the platform take.
    ///
    /// # Errors
    ///
    /// There is no range then.
    ///
    /// - `EINVAL`: `dev` is another device, `dir` is not a direction, or it lets the device write to
    ///   pages pinned for reading.
    /// - `EIO` and others: `dma_map_sgtable()` could not map it.
    /// - What `pin` returns.
    pub(crate) fn map(
        &mut self,
        dev: &Device<Bound>,
        dir: DataDirection,
        pin: impl FnOnce(&mut PinnedPages, u32) -> Result,
    ) -> Result {
        self.release();
        if as_raw(dev) != as_raw(&self.dev) {
            return Err(EINVAL);
        }
        pin(&mut self.pages, self.max_segment)?;
        self.map_pages(dir).inspect_err(|_| self.pages.release())
    }

    fn map_pages(&mut self, dir: DataDirection) -> Result {
        match dir {
            DataDirection::ToDevice => {}
            DataDirection::FromDevice | DataDirection::Bidirectional
                if self.pages.is_writable() => {}
            _ => return Err(EINVAL),
        }
        let mut table = self.table()?;
        // SAFETY: The device is bound, as `map` was shown, and the entries are those of pinned pages.
        to_result(unsafe {
            bindings::dma_map_sgtable(as_raw(&self.dev), &mut table, dir.into(), 0)
        })
        // That is what it says if there is no room to bounce the data.
        .map_err(|e| if e == EIO { ENOMEM } else { e })?;

        // INVARIANT: Just mapped.
        self.dir = dir;
        self.segments = table.nents;
        Ok(())
    }

    /// Returns the pieces as a table, valid as long as the pages are pinned.
    fn table(&mut self) -> Result<bindings::sg_table> {
        let pieces = self.pages.pieces_mut();
        let count = u32::try_from(pieces.len())?;
        if count == 0 {
            return Err(EINVAL);
        }
        Ok(bindings::sg_table {
            sgl: pieces.as_mut_ptr(),
            nents: count,
            orig_nents: count,
        })
    }

    /// Returns the number of segments, 0 if there is no range.
    pub(crate) fn segment_count(&self) -> u32 {
        self.segments
    }

    /// Returns the segments, in the order of the bytes in the range.
    pub(crate) fn segments(&self) -> impl ExactSizeIterator<Item = Segment> + '_ {
        // CAST: A `u32` fits a `usize` on the 64-bit machines this runs on.
        let entries = self.pages.pieces().iter().take(self.segments as usize);
        entries.map(|entry| {
            let entry = core::ptr::from_ref(entry).cast_mut();
            Segment {
                // SAFETY: By the type invariants this is a mapped entry, which is only read.
                address: unsafe { bindings::sg_dma_address(entry) },
                // SAFETY: As above.
                len: unsafe { bindings::sg_dma_len(entry) },
            }
        })
    }

    /// Returns the number of bytes in the range, 0 if there is none.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Returns the number of pages that the range touches.
    pub(crate) fn page_count(&self) -> usize {
        self.pages.page_count()
    }

    /// Returns the size of the memory that is there for the list of segments, in bytes.
    pub(crate) fn list_size(&self) -> usize {
        self.pages.list_size()
    }

    /// Notes that the device wrote to the range, or may have; see [`PinnedPages::mark_written`].
    pub(crate) fn mark_written(&mut self) {
        self.pages.mark_written();
    }

    /// Undoes the mapping and returns the pages, still pinned.
    ///
    /// Does not sleep. The device must have stopped using the range. What it wrote is there to be
    /// read, and stays as it is or as it is overwritten: bounce buffers have been copied back.
    pub(crate) fn unmap(&mut self) -> &mut PinnedPages {
        if self.segments != 0 {
            if let Ok(mut table) = self.table() {
                // SAFETY: By the type invariants the table is mapped for this device in this
                // direction. The device is still bound by the contract of this type.
                unsafe {
                    bindings::dma_unmap_sgtable(as_raw(&self.dev), &mut table, self.dir.into(), 0)
                };
            }
        }
        // INVARIANT: Not mapped.
        self.segments = 0;
        &mut self.pages
    }

    /// Undoes the mapping and unpins the range: there is none then. May sleep.
    pub(crate) fn release(&mut self) {
        self.unmap().release();
    }
}

impl Drop for UserMapping {
    fn drop(&mut self) {
        // Before the pages are released, which they do themselves.
        self.unmap();
    }
}

/// Returns the C device.
fn as_raw(dev: &Device) -> *mut bindings::device {
    // CAST: `Device` is a transparent wrapper of `struct device`, which C code may change.
    core::ptr::from_ref(dev).cast_mut().cast()
}
