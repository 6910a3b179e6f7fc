// SPDX-License-Identifier: GPL-2.0-or-later

//! The SR-IOV extended capability of the PF (section 1; PCI Express Base Specification, "Single Root I/O Virtualization").
//!
//! It is not the first extended capability: QEMU takes it out of the list of those, but leaves its body readable and
//! writable, which it cannot do for the first.

use crate::fields::{put, u16_at, u32_at};
use crate::pci::{BAR_SIZE, DEVICE};

/// Where the capability is in the configuration space.
pub const OFFSET: usize = 0x140;
/// Distance in routing ids from the PF to the first VF, and from each VF to the next.
pub const STRIDE: u16 = 1;
/// Extended capability id 0x0010, version 1, last of the list.
const HEADER: u32 = 0x0001_0010;

const CONTROL: usize = OFFSET + 0x08;
const INITIAL_VFS: usize = OFFSET + 0x0c;
const TOTAL_VFS: usize = OFFSET + 0x0e;
const NUM_VFS: usize = OFFSET + 0x10;
const FIRST_VF_OFFSET: usize = OFFSET + 0x14;
const VF_STRIDE: usize = OFFSET + 0x16;
const VF_DEVICE_ID: usize = OFFSET + 0x1a;
const SUPPORTED_PAGE_SIZES: usize = OFFSET + 0x1c;
const SYSTEM_PAGE_SIZE: usize = OFFSET + 0x20;
const VF_BAR0: usize = OFFSET + 0x24;

const CONTROL_VF_ENABLE: u16 = 1 << 0;
const CONTROL_VF_MEMORY: u16 = 1 << 3;
/// VF Enable, VF Memory Space Enable, ARI Capable Hierarchy.
const CONTROL_WRITABLE: u16 = CONTROL_VF_ENABLE | CONTROL_VF_MEMORY | (1 << 4);
/// 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB, which the specification demands.
const PAGE_SIZES: u32 = 0x553;

/// Which VFs the PF has enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vfs {
    /// The first so many exist.
    pub enabled: u16,
    /// They answer accesses to their BARs.
    pub memory: bool,
}

impl Vfs {
    /// Returns whether VF `index` (0 is the first) exists.
    pub fn exists(self, index: u16) -> bool {
        index < self.enabled
    }

    /// Returns whether VF `index` answers accesses to its BARs.
    pub fn answers(self, index: u16) -> bool {
        self.exists(index) && self.memory
    }
}

/// Fills in the capability of a PF with `total` VFs: values and writable bits.
pub(crate) fn lay_out(bytes: &mut [u8], writable: &mut [u8], total: u16) {
    put(bytes, OFFSET, &HEADER.to_le_bytes());
    put(writable, CONTROL, &CONTROL_WRITABLE.to_le_bytes());
    put(bytes, INITIAL_VFS, &total.to_le_bytes());
    put(bytes, TOTAL_VFS, &total.to_le_bytes());
    put(writable, NUM_VFS, &u16::MAX.to_le_bytes());
    put(bytes, FIRST_VF_OFFSET, &STRIDE.to_le_bytes());
    put(bytes, VF_STRIDE, &STRIDE.to_le_bytes());
    put(bytes, VF_DEVICE_ID, &DEVICE.to_le_bytes());
    put(bytes, SUPPORTED_PAGE_SIZES, &PAGE_SIZES.to_le_bytes());
    put(bytes, SYSTEM_PAGE_SIZE, &1u32.to_le_bytes());
    put(writable, SYSTEM_PAGE_SIZE, &PAGE_SIZES.to_le_bytes());
    for bar in [0usize, 2, 4] {
        // 64-bit memory, not prefetchable.
        put(bytes, VF_BAR0 + bar * 4, &4u32.to_le_bytes());
    }
    size_bars(bytes, writable);
}

/// Makes the VF BARs as large as the System Page Size demands.
fn size_bars(bytes: &mut [u8], writable: &mut [u8]) {
    let pages = u64::from(u32_at(bytes, SYSTEM_PAGE_SIZE));
    let size = (BAR_SIZE as u64).max(pages.next_power_of_two() << 12);
    let mask = !(size - 1);
    for bar in [0usize, 2, 4] {
        let at = VF_BAR0 + bar * 4;
        put(writable, at, &mask.to_le_bytes());
        // What is not writable any more reads as zero again.
        let low = u32_at(bytes, at) & (mask as u32 | 0xf);
        put(bytes, at, &low.to_le_bytes());
    }
}

/// Returns which VFs are enabled.
pub(crate) fn vfs(bytes: &[u8]) -> Vfs {
    let control = u16_at(bytes, CONTROL);
    if control & CONTROL_VF_ENABLE == 0 {
        return Vfs::default();
    }
    Vfs {
        enabled: u16_at(bytes, NUM_VFS).min(u16_at(bytes, TOTAL_VFS)),
        memory: control & CONTROL_VF_MEMORY != 0,
    }
}

/// Finishes a write that went through the write masks: `before` is what the space held then.
///
/// Returns what is wrong with the write, if something is.
pub(crate) fn written(
    before: &[u8],
    bytes: &mut [u8],
    writable: &mut [u8],
) -> Option<&'static str> {
    let on = |space: &[u8]| u16_at(space, CONTROL) & CONTROL_VF_ENABLE != 0;
    let mut wrong = None;
    if on(before) {
        // Fixed as long as VFs exist.
        for (at, len, what) in [
            (NUM_VFS, 2, "NumVFs written while VF Enable is set"),
            (
                SYSTEM_PAGE_SIZE,
                4,
                "System Page Size written while VF Enable is set",
            ),
        ] {
            if bytes[at..at + len] != before[at..at + len] {
                bytes[at..at + len].copy_from_slice(&before[at..at + len]);
                wrong = Some(what);
            }
        }
    } else if on(bytes) && u16_at(bytes, NUM_VFS) > u16_at(bytes, TOTAL_VFS) {
        wrong = Some("VF Enable set with NumVFs above TotalVFs");
    }
    if u32_at(bytes, SYSTEM_PAGE_SIZE) != u32_at(before, SYSTEM_PAGE_SIZE) {
        if !u32_at(bytes, SYSTEM_PAGE_SIZE).is_power_of_two() {
            wrong = Some("System Page Size is not exactly one size");
        }
        size_bars(bytes, writable);
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{CONFIG_SIZE, ConfigSpace, Effect, Shape};

    fn space(total: u16) -> ConfigSpace {
        ConfigSpace::new(Shape {
            vfs: total,
            ..Shape::default()
        })
    }

    fn dword(space: &ConfigSpace, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        space.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn set16(space: &mut ConfigSpace, offset: usize, value: u16) -> Effect {
        space.write(offset, &value.to_le_bytes())
    }

    #[test]
    fn chain_and_constants() {
        let space = space(4);
        let first = dword(&space, 0x100);
        assert_eq!(first & 0xffff, 3, "device serial number comes first");
        assert_eq!((first >> 20) as usize, OFFSET);
        assert_eq!(dword(&space, OFFSET), HEADER);
        assert_eq!(dword(&space, INITIAL_VFS), 0x0004_0004);
        assert_eq!(dword(&space, FIRST_VF_OFFSET), 0x0001_0001);
        assert_eq!(dword(&space, OFFSET + 0x18) >> 16, 0xc003);
        assert_eq!(dword(&space, SYSTEM_PAGE_SIZE), 1);
        assert_eq!(space.vfs(), Vfs::default());
    }

    #[test]
    fn none_without_vfs() {
        let space = space(0);
        assert_eq!(dword(&space, 0x100) >> 20, 0);
        let mut all = [0; CONFIG_SIZE - OFFSET];
        space.read(OFFSET, &mut all);
        assert!(all.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn enabling() {
        let mut space = space(4);
        assert_eq!(set16(&mut space, NUM_VFS, 3), Effect::None);
        assert_eq!(space.vfs().enabled, 0, "VF Enable is not set");
        assert_eq!(set16(&mut space, CONTROL, 0x0001), Effect::None);
        let vfs = space.vfs();
        assert!(vfs.exists(2) && !vfs.exists(3) && !vfs.answers(0));
        assert_eq!(set16(&mut space, CONTROL, 0xffff), Effect::None);
        assert_eq!(dword(&space, CONTROL) & 0xffff, 0x0019);
        assert!(space.vfs().answers(2) && !space.vfs().answers(3));
        assert!(matches!(set16(&mut space, NUM_VFS, 4), Effect::Refused(_)));
        assert!(matches!(
            space.write(SYSTEM_PAGE_SIZE, &2u32.to_le_bytes()),
            Effect::Refused(_)
        ));
        assert_eq!(space.vfs().enabled, 3);
        assert_eq!(set16(&mut space, CONTROL, 0), Effect::None);
        assert_eq!(space.vfs(), Vfs::default());
        assert_eq!(set16(&mut space, NUM_VFS, 5), Effect::None);
        assert!(matches!(set16(&mut space, CONTROL, 9), Effect::Refused(_)));
        assert_eq!(space.vfs().enabled, 4, "no more than there are");
        space.reset();
        assert_eq!(space.vfs(), Vfs::default());
    }

    #[test]
    fn read_only_stays() {
        let mut space = space(4);
        let mut before = [0; 0x40];
        space.read(OFFSET, &mut before);
        for at in [0x00, 0x04, 0x0c, 0x14, 0x18, 0x1c, 0x3c] {
            space.write(OFFSET + at, &[0xff; 4]);
        }
        let mut after = [0; 0x40];
        space.read(OFFSET, &mut after);
        assert_eq!(before, after);
    }

    #[test]
    fn vf_bars_size_with_the_page_size() {
        let mut space = space(4);
        for (pages, size) in [
            (1u32, 0x1000u32),
            (2, 0x2000),
            (0x10, 0x1_0000),
            (1, 0x1000),
        ] {
            space.write(SYSTEM_PAGE_SIZE, &pages.to_le_bytes());
            for bar in [0, 2, 4] {
                let at = VF_BAR0 + 4 * bar;
                space.write(at, &[0xff; 8]);
                assert_eq!(dword(&space, at), !(size - 1) | 4);
                assert_eq!(dword(&space, at + 4), u32::MAX);
            }
        }
        // What was the lowest bit of a small BAR does not survive in a larger one.
        space.write(SYSTEM_PAGE_SIZE, &0x10u32.to_le_bytes());
        assert_eq!(dword(&space, VF_BAR0), 0xffff_0004);
        assert!(matches!(
            space.write(SYSTEM_PAGE_SIZE, &3u32.to_le_bytes()),
            Effect::Refused(_)
        ));
    }
}
