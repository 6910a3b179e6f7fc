// SPDX-License-Identifier: GPL-2.0

//! DMA to and from user memory.
//!
//! C headers: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h),
//! [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use core::ptr::NonNull;

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

/// One piece of a mapping, contiguous for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The address the device uses.
    pub(crate) address: DmaAddress,
    /// The length in bytes.
    pub(crate) len: u32,
}

/// A scatter-gather table for pinned pages.
///
/// # Invariants
///
/// `self.0` was initialised by `sg_alloc_table_from_pages_segment()`.
struct Table(bindings::sg_table);

impl Table {
    /// Lists `pages`, as few entries as `max_segment` allows.
    fn new(pages: &mut PinnedPages, max_segment: u32) -> Result<Self> {
        let offset = u32::try_from(pages.offset())?;
        let len = pages.len();
        let pages = pages.pages_mut();
        let mut table: bindings::sg_table = pin_init::zeroed();

        // SAFETY: `table` is valid for writes. `pages` is an array of valid pages, not empty, that
        // covers `len` bytes from `offset` on, by the invariants of `PinnedPages`. It is only read.
        to_result(unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                &mut table,
                pages.as_mut_ptr().cast(),
                u32::try_from(pages.len())?,
                offset,
                len,
                max_segment,
                bindings::GFP_KERNEL,
            )
        })?;

        // INVARIANT: Just initialised.
        Ok(Self(table))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the table is initialised.
        unsafe { bindings::sg_free_table(&mut self.0) };
    }
}

/// The mapping of a scatter-gather table.
///
/// # Invariants
///
/// `table` is mapped for `dev` in direction `dir`.
struct Mapped {
    dev: ARef<Device>,
    dir: DataDirection,
    table: Table,
}

// SAFETY: A mapping can be undone by any task.
unsafe impl Send for Mapped {}

// SAFETY: A shared `Mapped` is only read.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `table`.
    fn new(dev: &Device<Bound>, mut table: Table, dir: DataDirection) -> Result<Self> {
        // SAFETY: The device is bound, and by its type invariant the table is initialised.
        to_result(unsafe { bindings::dma_map_sgtable(as_raw(dev), &mut table.0, dir.into(), 0) })
            // That is what it says if there is no room to bounce the data.
            .map_err(|e| if e == EIO { ENOMEM } else { e })?;

        // INVARIANT: Just mapped.
        let dev: &Device = dev;
        Ok(Self {
            dev: dev.into(),
            dir,
            table,
        })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the table is mapped for this device in this direction. The
        // device is still bound by the contract of `UserMapping`.
        unsafe {
            bindings::dma_unmap_sgtable(as_raw(&self.dev), &mut self.table.0, self.dir.into(), 0)
        };
    }
}

/// A range of user memory, mapped for DMA.
///
/// As for [`kernel::dma::Coherent`], nothing but the driver sees to it that the mapping is gone
/// before the device is unbound: it holds a reference to the device, but not to the binding, so that
/// it can be kept with a command that outlives its caller.
///
/// Dropping it unmaps and unpins the range. The device must have stopped using it by then. Unpinning
/// may sleep, so that a mapping must not be dropped in atomic context;
/// [`unmap`](Self::unmap) can be used there.
pub(crate) struct UserMapping {
    // Field order: unmapped before it is unpinned.
    mapped: Mapped,
    pages: PinnedPages,
}

impl UserMapping {
    /// Maps `pages` for DMA by `dev`. May sleep.
    ///
    /// Physically contiguous pages become one segment, up to the length of segment that the device
    /// (see `dma_set_max_seg_size()`) and the platform take.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `dir` is not a direction, or lets the device write to pages pinned for reading.
    /// - `ENOMEM`: no memory for the table.
    /// - `EIO` and others: `dma_map_sgtable()` could not map it.
    pub(crate) fn new(
        dev: &Device<Bound>,
        mut pages: PinnedPages,
        dir: DataDirection,
    ) -> Result<Self> {
        match dir {
            DataDirection::ToDevice => {}
            DataDirection::FromDevice | DataDirection::Bidirectional if pages.is_writable() => {}
            _ => return Err(EINVAL),
        }

        // SAFETY: `dev` is a valid device.
        let device_max = unsafe { ffi::azihsm_dma_get_max_seg_size(as_raw(dev)) };
        // SAFETY: `dev` is a valid device.
        let platform_max = unsafe { bindings::dma_max_mapping_size(as_raw(dev)) };
        let max_segment = device_max.min(u32::try_from(platform_max).unwrap_or(u32::MAX));

        let table = Table::new(&mut pages, max_segment)?;
        let mapped = Mapped::new(dev, table, dir)?;

        Ok(Self { mapped, pages })
    }

    /// Returns the number of segments.
    pub(crate) fn segment_count(&self) -> u32 {
        self.mapped.table.0.nents
    }

    /// Returns the segments, in the order of the bytes in the range.
    pub(crate) fn segments(&self) -> Segments<'_> {
        Segments {
            next: NonNull::new(self.mapped.table.0.sgl),
            left: self.mapped.table.0.nents,
            _table: &self.mapped.table,
        }
    }

    /// Returns the number of bytes in the range.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Returns the number of pages that the range touches.
    pub(crate) fn page_count(&self) -> usize {
        self.pages.page_count()
    }

    /// Notes that the device wrote to the range, or may have; see [`PinnedPages::mark_written`].
    pub(crate) fn mark_written(&mut self) {
        self.pages.mark_written();
    }

    /// Undoes the mapping and returns the pages, still pinned.
    ///
    /// Does not sleep. The device must have stopped using the range. What it wrote is there to be
    /// read, and stays as it is or as it is overwritten: bounce buffers have been copied back.
    pub(crate) fn unmap(self) -> PinnedPages {
        let Self { mapped, pages } = self;

        drop(mapped);
        pages
    }
}

/// Iterator over the segments of a [`UserMapping`].
///
/// # Invariants
///
/// `next` and what follows it are `left` mapped entries of `_table`; it is `Some` if `left` is not 0.
pub(crate) struct Segments<'a> {
    next: Option<NonNull<bindings::scatterlist>>,
    left: u32,
    _table: &'a Table,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.next?.as_ptr();

        // SAFETY: By the type invariants this is a mapped entry of a table that is borrowed.
        let address = unsafe { bindings::sg_dma_address(entry) };
        // SAFETY: As above.
        let len = unsafe { bindings::sg_dma_len(entry) };
        // SAFETY: As above. For the last entry of the list the function returns null.
        self.next = NonNull::new(unsafe { bindings::sg_next(entry) });

        Some(Segment { address, len })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // CAST: A `u32` fits a `usize` on the 64-bit machines this runs on.
        let left = self.left as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Segments<'_> {}

/// Returns the C device.
fn as_raw(dev: &Device) -> *mut bindings::device {
    // CAST: `Device` is a transparent wrapper of `struct device`, which C code may change.
    core::ptr::from_ref(dev).cast_mut().cast()
}
