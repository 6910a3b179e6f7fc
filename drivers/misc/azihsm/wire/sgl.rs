// SPDX-License-Identifier: GPL-2.0

//! Scatter-gather lists of the fast path.
//!
//! The descriptor in a submission entry always points to a list. A list is a chain of segments of
//! one page each: up to [`DATA_PER_SEGMENT`] data descriptors, and a link in the last place if more
//! follow.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U32,
    U64, //
};

/// Size of a segment in bytes.
pub(crate) const SEGMENT_LEN: u32 = 4096;
/// Number of descriptors that a segment holds.
pub(crate) const PER_SEGMENT: usize = 256;
/// Number of data descriptors that a segment holds; its last place is for the link.
pub(crate) const DATA_PER_SEGMENT: usize = PER_SEGMENT - 1;

/// Size of a descriptor in bytes.
const DESCRIPTOR_LEN: u32 = 16;

/// Descriptor types, in the high nibble of the last byte.
mod kind {
    pub(super) const DATA: u8 = 0x00;
    pub(super) const SEGMENT: u8 = 0x20;
    pub(super) const LAST_SEGMENT: u8 = 0x30;
}

/// A descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes)]
pub(crate) struct Descriptor {
    addr: U64,
    len: U32,
    rsvd: [u8; 3],
    kind: u8,
}

static_assert!(core::mem::size_of::<Descriptor>() == 16);

// SAFETY: All fields are integers or arrays of integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Descriptor {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Descriptor {}

impl Descriptor {
    /// Describes nothing, for transfers of no bytes.
    pub(crate) const NONE: Self = Self {
        addr: U64::ZERO,
        len: U32::ZERO,
        rsvd: [0; 3],
        kind: kind::DATA,
    };

    fn new(kind: u8, addr: u64, len: u32) -> Self {
        Self {
            addr: U64::new(addr),
            len: U32::new(len),
            rsvd: [0; 3],
            kind,
        }
    }

    /// Returns a descriptor of `len` bytes at bus address `addr`.
    pub(crate) fn data(addr: u64, len: u32) -> Self {
        Self::new(kind::DATA, addr, len)
    }

    /// Returns the link to a segment at bus address `addr`, where `remaining` data descriptors
    /// begin.
    fn link(addr: u64, remaining: usize) -> Self {
        match u32::try_from(remaining) {
            Ok(count) if remaining <= DATA_PER_SEGMENT => {
                Self::new(kind::LAST_SEGMENT, addr, count * DESCRIPTOR_LEN)
            }
            _ => Self::new(kind::SEGMENT, addr, SEGMENT_LEN),
        }
    }
}

/// Returns the number of segments that a list of `count` data descriptors takes.
pub(crate) const fn segments_needed(count: usize) -> usize {
    count.div_ceil(DATA_PER_SEGMENT)
}

/// Where a list of a known number of data descriptors goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    count: usize,
    segments: &'a [u64],
}

impl<'a> Plan<'a> {
    /// Plans a list of `count` data descriptors in segments at the bus addresses `segments`.
    ///
    /// Returns [`None`] if there are too few segments.
    pub(crate) fn new(count: usize, segments: &'a [u64]) -> Option<Self> {
        let segments = segments.get(..segments_needed(count))?;
        Some(Self { count, segments })
    }

    /// Returns the descriptor for the submission entry.
    pub(crate) fn head(&self) -> Descriptor {
        match self.segments.first() {
            Some(addr) => Descriptor::link(*addr, self.count),
            None => Descriptor::NONE,
        }
    }

    /// Passes every descriptor of the list to `put(segment, place, descriptor)`, in order.
    ///
    /// Returns the number of bytes that the data descriptors describe.
    ///
    /// # Errors
    ///
    /// Returns [`EINVAL`] if `data` does not yield exactly the planned number of items, yields one
    /// of no bytes or more than `u32::MAX` bytes in all, and whatever `put` returns.
    pub(crate) fn write(
        &self,
        data: impl IntoIterator<Item = (u64, u32)>,
        mut put: impl FnMut(usize, usize, Descriptor) -> Result,
    ) -> Result<u32> {
        let mut data = data.into_iter();
        let mut remaining = self.count;
        let mut bytes = 0u32;
        for segment in 0..self.segments.len() {
            let here = remaining.min(DATA_PER_SEGMENT);
            for place in 0..here {
                let (addr, len) = data.next().ok_or(EINVAL)?;
                if len == 0 {
                    return Err(EINVAL);
                }
                bytes = bytes.checked_add(len).ok_or(EINVAL)?;
                put(segment, place, Descriptor::data(addr, len))?;
            }
            remaining -= here;
            if let Some(next) = self.segments.get(segment + 1) {
                put(segment, here, Descriptor::link(*next, remaining))?;
            }
        }
        if data.next().is_some() {
            return Err(EINVAL);
        }
        Ok(bytes)
    }
}
