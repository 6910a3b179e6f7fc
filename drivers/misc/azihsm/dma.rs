// SPDX-License-Identifier: GPL-2.0

//! The memory of a command slot: where the data of a command lies for the device.
//!
//! ```text
//!   data   | source, 8 KiB | destination, 8 KiB |     every slot of an I/O queue
//!   lists  | source, 4 KiB | destination, 4 KiB |     fast-path slots: one SGL segment each
//! ```
//!
//! Every command owns the full 8 KiB of destination, whatever its caller asked for: the device
//! does not check the length of a control response. What a command used is wiped before the slot
//! is given to somebody else.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    kapi::coherent,
    wire::sgl, //
};

/// Size of a slot's source and of its destination area, in bytes.
pub(crate) const AREA: usize = 8192;

/// Page size of the device, in bytes.
pub(crate) const DEVICE_PAGE: usize = 4096;

/// What memory the slots of a queue have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// None.
    Empty,
    /// Data areas.
    Data,
    /// Data areas and a segment for each of the two scatter-gather lists.
    DataAndLists,
}

/// Direction of the data, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// Read by the device.
    Source,
    /// Written by the device.
    Destination,
}

impl Area {
    fn offset(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => AREA,
        }
    }

    fn list(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => sgl::PER_SEGMENT,
        }
    }
}

/// A piece of output for the caller.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// Where it lies in the destination area.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// Where it goes.
    pub(crate) to: UserPtr,
}

impl Piece {
    /// Returns where the piece lies in the data areas, if it is all in the destination area.
    fn checked_offset(&self) -> Result<usize> {
        match self.offset.checked_add(self.len) {
            Some(end) if end <= AREA => Ok(Area::Destination.offset() + self.offset),
            _ => Err(ERANGE),
        }
    }
}

/// Bytes at the start of each area of a slot that may hold data of the present command.
///
/// Whoever owns the slot keeps it: there is no other who could write to the slot's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    source: u16,
    destination: u16,
}

impl Dirty {
    /// Notes that the first `len` bytes of `area` will hold data.
    pub(crate) fn claim(&mut self, area: Area, len: usize) {
        const { assert!(AREA <= u16::MAX as usize) };
        // CAST: Just asserted.
        let len = len.min(AREA) as u16;
        let dirty = match area {
            Area::Source => &mut self.source,
            Area::Destination => &mut self.destination,
        };
        *dirty = len.max(*dirty);
    }
}

/// Memory of one slot, which the slot owns for life.
///
/// Holds DMA memory of a bound device: lives only inside the function's data.
pub(crate) struct SlotMemory {
    data: Coherent<[u8]>,
    lists: Option<Coherent<[sgl::Descriptor]>>,
}

impl SlotMemory {
    /// Allocates the memory of a slot.
    pub(crate) fn new(dev: &Device<Bound>, layout: Layout) -> Result<Self> {
        let lists = match layout {
            Layout::DataAndLists => Some(Coherent::zeroed_slice(
                dev,
                2 * sgl::PER_SEGMENT,
                GFP_KERNEL,
            )?),
            _ => None,
        };
        Ok(Self {
            data: Coherent::zeroed_slice(dev, 2 * AREA, GFP_KERNEL)?,
            lists,
        })
    }

    /// Returns the DMA address of `area`.
    pub(crate) fn address(&self, area: Area) -> u64 {
        // The offset lies inside the allocation.
        self.data.dma_address() + area.offset() as u64
    }

    /// Copies `len` bytes from user space to `offset` of `area`, without a page fault, and notes
    /// in `dirty` that they are there.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if the area is too small, [`EFAULT`] if the user memory is not there.
    pub(crate) fn copy_from_user(
        &self,
        dirty: &mut Dirty,
        area: Area,
        offset: usize,
        src: UserPtr,
        len: usize,
    ) -> Result {
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= AREA)
            .ok_or(ERANGE)?;
        dirty.claim(area, end);
        coherent::copy_from_user_nofault(&self.data, area.offset() + offset, src, len)
    }

    /// Copies a piece of the destination area to the caller, without a page fault.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if the area is too small, [`EFAULT`] if the user memory is not there.
    pub(crate) fn copy_to_user(&self, piece: &Piece) -> Result {
        let offset = piece.checked_offset()?;
        coherent::copy_to_user_nofault(&self.data, offset, piece.to, piece.len)
    }

    /// Copies a piece of the destination area to the caller; sleeps as long as its memory takes to
    /// become present.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if the area is too small, [`EFAULT`] if the user memory cannot be written.
    pub(crate) fn copy_to_user_sleeping(&self, piece: &Piece) -> Result {
        let offset = piece.checked_offset()?;
        UserSlice::new(piece.to, piece.len)
            .writer()
            .write_dma(&self.data, offset, piece.len)
    }

    /// Copies a piece of the destination area to `out`, from where it goes to the caller.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if the area is too small, or `out` is not as long as the piece.
    pub(crate) fn read(&self, piece: &Piece, out: &mut [u8]) -> Result {
        let offset = piece.checked_offset()?;
        if out.len() != piece.len {
            return Err(ERANGE);
        }
        coherent::read(&self.data, offset, out)
    }

    /// Returns the slot's list segments.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for a slot without lists.
    pub(crate) fn lists(&self) -> Result<Lists<'_>> {
        self.lists.as_ref().map(Lists).ok_or(EINVAL)
    }

    /// Clears what a command left in the data areas.
    pub(crate) fn wipe(&self, dirty: Dirty) {
        for (area, len) in [
            (Area::Source, dirty.source),
            (Area::Destination, dirty.destination),
        ] {
            if len != 0 {
                // The range lies in the allocation, so this cannot fail.
                let _ = coherent::clear(&self.data, area.offset(), usize::from(len));
            }
        }
    }
}

/// The list segments of a slot, one for each area.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a>(&'a Coherent<[sgl::Descriptor]>);

impl Lists<'_> {
    /// Returns the DMA address of the segment for `area`.
    pub(crate) fn address(&self, area: Area) -> u64 {
        // The offset lies inside the allocation.
        self.0.dma_address() + (area.list() * size_of::<sgl::Descriptor>()) as u64
    }

    /// Writes entry `index` of the segment for `area`.
    ///
    /// # Errors
    ///
    /// [`ERANGE`] if a segment does not have that entry.
    pub(crate) fn write(&self, area: Area, index: usize, entry: sgl::Descriptor) -> Result {
        if index >= sgl::PER_SEGMENT {
            return Err(ERANGE);
        }
        io_project!(self.0, [try: area.list() + index]).copy_write(entry);
        Ok(())
    }
}

#[kunit_tests(azihsm_dma)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dirty_only_grows() {
        let mut dirty = Dirty::default();
        dirty.claim(Area::Source, 5);
        dirty.claim(Area::Source, 3);
        assert_eq!((dirty.source, dirty.destination), (5, 0));
        dirty.claim(Area::Destination, usize::MAX);
        assert_eq!(usize::from(dirty.destination), AREA);
    }
}
