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

/// Descriptor types, in the high nibble of the last byte; what is below is reserved.
mod kind {
    pub(super) const DATA: u32 = 0x00 << 24;
    pub(super) const SEGMENT: u32 = 0x20 << 24;
    pub(super) const LAST_SEGMENT: u32 = 0x30 << 24;
}

/// A descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes)]
pub(crate) struct Descriptor {
    addr: U64,
    len: U32,
    kind: U32,
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
        kind: U32::new(kind::DATA),
    };

    fn new(kind: u32, addr: u64, len: u32) -> Self {
        Self {
            addr: U64::new(addr),
            len: U32::new(len),
            kind: U32::new(kind),
        }
    }

    /// Returns a descriptor of `len` bytes at bus address `addr`.
    pub(crate) fn data(addr: u64, len: u32) -> Self {
        Self::new(kind::DATA, addr, len)
    }

    /// Returns the descriptor for the submission entry of a list of `count` data descriptors that
    /// begins at bus address `addr`.
    pub(crate) fn list(addr: u64, count: usize) -> Self {
        match count {
            0 => Self::NONE,
            _ => Self::link(addr, count),
        }
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
pub(crate) struct Plan<A> {
    count: usize,
    address: A,
}

impl<A: Fn(usize) -> u64> Plan<A> {
    /// Plans a list of `count` data descriptors; `address` returns the bus address of each of the
    /// segments that it needs.
    pub(crate) fn new(count: usize, address: A) -> Self {
        Self { count, address }
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
        let segments = segments_needed(self.count);
        for segment in 0..segments {
            let here = remaining.min(DATA_PER_SEGMENT);
            remaining -= here;
            let next = segment + 1;
            let links = usize::from(next < segments);
            for place in 0..here + links {
                let descriptor = if place < here {
                    let (addr, len) = data.next().ok_or(EINVAL)?;
                    if len == 0 {
                        return Err(EINVAL);
                    }
                    bytes = bytes.checked_add(len).ok_or(EINVAL)?;
                    Descriptor::data(addr, len)
                } else {
                    Descriptor::link((self.address)(next), remaining)
                };
                put(segment, place, descriptor)?;
            }
        }
        if data.next().is_some() {
            return Err(EINVAL);
        }
        Ok(bytes)
    }
}

#[kunit_tests(azihsm_wire_sgl)]
mod tests {
    use super::*;

    fn bytes(descriptor: Descriptor) -> [u8; 16] {
        zerocopy::transmute!(descriptor)
    }

    const BASE: [u64; 5] = [0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000, 0x50_0000];

    #[test]
    fn descriptor_is_encoded() {
        let mut want = [0u8; 16];
        want[0..8].copy_from_slice(&0x1122_3344_5566_7788u64.to_le_bytes());
        want[8..12].copy_from_slice(&0x0001_0203u32.to_le_bytes());
        let data = Descriptor::data(0x1122_3344_5566_7788, 0x0001_0203);
        assert_eq!(bytes(data), want);
        want[15] = 0x30;
        want[8..12].copy_from_slice(&32u32.to_le_bytes());
        let last = Descriptor::link(0x1122_3344_5566_7788, 2);
        assert_eq!(bytes(last), want);
        assert_eq!(bytes(Descriptor::NONE), [0u8; 16]);
    }

    #[test]
    fn links_tell_whether_more_follow() {
        let new = Descriptor::new;
        let new = |kind: u32, addr, len| new(kind << 24, addr, len);
        assert_eq!(Descriptor::link(0x1000, 1), new(0x30, 0x1000, 16));
        assert_eq!(Descriptor::link(0x1000, 255), new(0x30, 0x1000, 4080));
        assert_eq!(Descriptor::link(0x1000, 256), new(0x20, 0x1000, 4096));
        assert_eq!(
            Descriptor::link(0x1000, usize::MAX),
            new(0x20, 0x1000, 4096)
        );
    }

    #[test]
    fn segments_are_counted() {
        assert_eq!(segments_needed(0), 0);
        assert_eq!(segments_needed(1), 1);
        assert_eq!(segments_needed(255), 1);
        assert_eq!(segments_needed(256), 2);
        assert_eq!(segments_needed(510), 2);
        assert_eq!(segments_needed(511), 3);
        assert_eq!(segments_needed(1025), 5);
    }

    /// Walks a list of `count` descriptors as the device does and compares it with what went in.
    fn walk(count: usize) -> Result {
        let item = |n: usize| (0x1_0000 * n as u64 + 3, n as u32 + 1);
        let plan = Plan::new(count, |segment| BASE[segment]);
        let mut pages = KVec::from_elem(Descriptor::NONE, BASE.len() * PER_SEGMENT, GFP_KERNEL)?;
        let mut written = 0;
        let bytes = plan.write((0..count).map(item), |segment, place, descriptor| {
            let index = segment * PER_SEGMENT + place;
            *pages.get_mut(index).ok_or(EINVAL)? = descriptor;
            written += 1;
            Ok(())
        })?;

        let mut link = Descriptor::list(BASE[0], count);
        let mut seen = 0;
        let mut sum = 0;
        let mut visited = 0;
        loop {
            let segment = BASE
                .iter()
                .position(|base| *base == link.addr.get())
                .ok_or(EFAULT)?;
            let here = usize::try_from(link.len.get() / DESCRIPTOR_LEN)?;
            let start = segment * PER_SEGMENT;
            let page = pages.get(start..start + here).ok_or(EFAULT)?;
            visited += here;
            let (data, next) = match link.kind.get() {
                kind::LAST_SEGMENT => (page, None),
                kind::SEGMENT => {
                    let (next, data) = page.split_last().ok_or(EFAULT)?;
                    (data, Some(*next))
                }
                _ => return Err(EBADMSG),
            };
            for descriptor in data {
                let (addr, len) = item(seen);
                if *descriptor != Descriptor::data(addr, len) {
                    return Err(EBADMSG);
                }
                seen += 1;
                sum += len;
            }
            match next {
                Some(next) => link = next,
                None => break,
            }
        }
        if (seen, visited, sum) == (count, written, bytes) {
            Ok(())
        } else {
            Err(ERANGE)
        }
    }

    #[test]
    fn lists_read_back() -> Result {
        for count in [
            1, 2, 254, 255, 256, 257, 509, 510, 511, 765, 766, 1025, 1275,
        ] {
            walk(count)?;
        }
        Ok(())
    }

    #[test]
    fn empty_list_has_no_segment() -> Result {
        let plan = Plan::new(0, |_| BASE[0]);
        assert_eq!(Descriptor::list(BASE[0], 0), Descriptor::NONE);
        assert_eq!(plan.write([], |_, _, _| Err(EIO)), Ok(0));
        Ok(())
    }

    #[test]
    fn data_must_match_the_plan() -> Result {
        let plan = Plan::new(2, |segment| BASE[segment]);
        let put = |_, _, _| Ok(());
        assert_eq!(plan.write([(0, 1)], put), Err(EINVAL));
        assert_eq!(plan.write([(0, 1), (0, 1), (0, 1)], put), Err(EINVAL));
        assert_eq!(plan.write([(0, 1), (0, 0)], put), Err(EINVAL));
        assert_eq!(plan.write([(0, u32::MAX), (0, 1)], put), Err(EINVAL));
        assert_eq!(plan.write([(0, u32::MAX - 1), (0, 1)], put), Ok(u32::MAX));
        assert_eq!(plan.write([(0, 1), (0, 1)], |_, _, _| Err(EIO)), Err(EIO));
        Ok(())
    }
}
