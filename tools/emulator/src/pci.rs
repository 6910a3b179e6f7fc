// SPDX-License-Identifier: GPL-2.0-or-later

//! PCI configuration space of one function (section 1).

use crate::fields::{put, u16_at};
use crate::interrupts::VECTORS;
use crate::sriov::{self, Vfs};

/// Size of the configuration space.
pub const CONFIG_SIZE: usize = 4096;
/// Size of each of BAR0, BAR2 and BAR4.
pub const BAR_SIZE: usize = 4096;

/// Vendor id.
pub const VENDOR: u16 = 0x1414;
/// Device id, for PF and VF.
pub const DEVICE: u16 = 0xc003;

const COMMAND: usize = 0x04;
const COMMAND_MASTER: u16 = 1 << 2;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const PM: usize = 0x40;
const MSIX: usize = 0x50;
const PCIE: usize = 0x60;
const DEVICE_SERIAL: usize = 0x100;

const DEVCAP_ROLE_BASED_ERRORS: u32 = 1 << 15;
const DEVCAP_FLR: u32 = 1 << 28;
const DEVCTL: usize = PCIE + 8;
const DEVCTL_FLR: u16 = 1 << 15;

/// What a write to the configuration space asks the device to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing beyond storing the value.
    None,
    /// A function level reset.
    FunctionReset,
    /// Nothing, since the write is not allowed at this moment; says why.
    Refused(&'static str),
}

/// What makes the configuration spaces of functions differ.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Device serial number.
    pub serial: u64,
    /// Size of the MSI-X table.
    pub vectors: u16,
    /// TotalVFs of a PF; 0 for a function without SR-IOV capability.
    pub vfs: u16,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            serial: 0,
            vectors: VECTORS as u16,
            vfs: 0,
        }
    }
}

/// The configuration space with its write masks.
pub struct ConfigSpace {
    bytes: Box<[u8; CONFIG_SIZE]>,
    /// Bits that a write changes.
    writable: Box<[u8; CONFIG_SIZE]>,
    /// Bits that a write of 1 clears.
    write_clears: Box<[u8; CONFIG_SIZE]>,
    shape: Shape,
}

impl ConfigSpace {
    /// Creates the space with power-up values.
    pub fn new(shape: Shape) -> Self {
        let mut space = ConfigSpace {
            bytes: Box::new([0; CONFIG_SIZE]),
            writable: Box::new([0; CONFIG_SIZE]),
            write_clears: Box::new([0; CONFIG_SIZE]),
            shape,
        };
        space.reset();
        space
    }

    /// Restores the power-up values, as every kind of reset does.
    pub fn reset(&mut self) {
        self.bytes.fill(0);
        self.writable.fill(0);
        self.write_clears.fill(0);
        self.header();
        self.power_management();
        self.msix();
        self.pcie();
        self.device_serial();
        if self.shape.vfs > 0 {
            sriov::lay_out(&mut self.bytes[..], &mut self.writable[..], self.shape.vfs);
        }
    }

    /// Returns whether the function may master the bus: transfer data and send interrupts.
    pub fn bus_master(&self) -> bool {
        u16_at(&self.bytes[..], COMMAND) & COMMAND_MASTER != 0
    }

    /// Returns which VFs are enabled.
    pub fn vfs(&self) -> Vfs {
        if self.shape.vfs > 0 {
            sriov::vfs(&self.bytes[..])
        } else {
            Vfs::default()
        }
    }

    /// Reads `data.len()` bytes at `offset`; what lies outside reads as zero.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(offset + i).copied().unwrap_or(0);
        }
    }

    /// Writes `data` at `offset` through the write masks.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Effect {
        let before = (self.shape.vfs > 0).then(|| self.bytes.clone());
        for (at, &value) in (offset..CONFIG_SIZE).zip(data) {
            let kept = self.bytes[at] & !self.writable[at];
            self.bytes[at] =
                (kept & !(value & self.write_clears[at])) | (value & self.writable[at]);
        }
        // The reset bit reads as zero, hence is not writable above: it is looked for in what was written.
        let flr_byte = DEVCTL + 1;
        let asks_reset = (offset..offset + data.len()).contains(&flr_byte)
            && data[flr_byte - offset] & DEVCTL_FLR.to_le_bytes()[1] != 0;
        let refused = before.and_then(|before| {
            sriov::written(&before[..], &mut self.bytes[..], &mut self.writable[..])
        });
        match (asks_reset, refused) {
            (true, _) => Effect::FunctionReset,
            (false, Some(why)) => Effect::Refused(why),
            (false, None) => Effect::None,
        }
    }

    fn set(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.bytes[..], offset, bytes);
    }

    fn allow(&mut self, offset: usize, mask: &[u8]) {
        put(&mut self.writable[..], offset, mask);
    }

    fn header(&mut self) {
        self.set(0x00, &VENDOR.to_le_bytes());
        self.set(0x02, &DEVICE.to_le_bytes());
        // Memory space, bus master, parity error response, SERR#, INTx disable.
        self.allow(COMMAND, &0x0546u16.to_le_bytes());
        // Capabilities list.
        self.set(0x06, &0x0010u16.to_le_bytes());
        put(&mut self.write_clears[..], 0x06, &0xf900u16.to_le_bytes());
        self.set(0x08, &[1]);
        // Encryption controller, other.
        self.set(0x09, &[0x00, 0x80, 0x10]);
        self.allow(0x0c, &[0xff]);
        for bar in [0usize, 2, 4] {
            let at = BAR0 + bar * 4;
            // 64-bit memory, not prefetchable.
            self.set(at, &4u32.to_le_bytes());
            let mask = !(BAR_SIZE as u64 - 1);
            self.allow(at, &mask.to_le_bytes());
        }
        self.set(0x2c, &VENDOR.to_le_bytes());
        self.set(0x2e, &DEVICE.to_le_bytes());
        self.set(CAPABILITIES, &[PM as u8]);
        self.allow(0x3c, &[0xff]);
    }

    fn power_management(&mut self) {
        self.set(PM, &[0x01, MSIX as u8]);
        // Version 3, no PME, no D1 and D2.
        self.set(PM + 2, &0x0003u16.to_le_bytes());
        // No soft reset: the state survives D3hot.
        self.set(PM + 4, &0x0008u16.to_le_bytes());
        self.allow(PM + 4, &0x0003u16.to_le_bytes());
    }

    fn msix(&mut self) {
        self.set(MSIX, &[0x11, PCIE as u8]);
        let last_vector = self.shape.vectors - 1;
        self.set(MSIX + 2, &last_vector.to_le_bytes());
        // Enable and function mask.
        self.allow(MSIX + 2, &0xc000u16.to_le_bytes());
        // Table at offset 0 and pending bits at 0x800 of BAR4.
        self.set(MSIX + 4, &4u32.to_le_bytes());
        self.set(MSIX + 8, &(0x800u32 | 4).to_le_bytes());
    }

    fn pcie(&mut self) {
        self.set(PCIE, &[0x10, 0]);
        // Version 2, endpoint.
        self.set(PCIE + 2, &0x0002u16.to_le_bytes());
        self.set(
            PCIE + 4,
            &(DEVCAP_ROLE_BASED_ERRORS | DEVCAP_FLR).to_le_bytes(),
        );
        // All of Device Control but the reset bit; relaxed ordering and no-snoop come up enabled.
        self.set(DEVCTL, &0x2810u16.to_le_bytes());
        self.allow(DEVCTL, &0x7eff_u16.to_le_bytes());
        put(
            &mut self.write_clears[..],
            DEVCTL + 2,
            &0x000fu16.to_le_bytes(),
        );
        // 16 GT/s, 8 lanes, in capabilities and status.
        self.set(PCIE + 0x0c, &0x0000_0084u32.to_le_bytes());
        self.allow(PCIE + 0x10, &0x00c3u16.to_le_bytes());
        self.set(PCIE + 0x12, &0x0084u16.to_le_bytes());
        // Supported speeds up to 16 GT/s, target speed 16 GT/s.
        self.set(PCIE + 0x2c, &0x0000_001eu32.to_le_bytes());
        self.set(PCIE + 0x30, &0x0004u16.to_le_bytes());
    }

    fn device_serial(&mut self) {
        let next = if self.shape.vfs > 0 {
            sriov::OFFSET as u32
        } else {
            0
        };
        // Version 1.
        self.set(DEVICE_SERIAL, &(0x0001_0003 | (next << 20)).to_le_bytes());
        let serial = self.shape.serial;
        self.set(DEVICE_SERIAL + 4, &serial.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dword(space: &ConfigSpace, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        space.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn identity() {
        let space = ConfigSpace::new(Shape {
            serial: 0x1122_3344_5566_7788,
            ..Shape::default()
        });
        assert_eq!(dword(&space, 0), 0xc003_1414);
        assert_eq!(dword(&space, 0x100), 0x0001_0003);
        assert_eq!(dword(&space, 0x104), 0x5566_7788);
        assert_eq!(dword(&space, 0x108), 0x1122_3344);
    }

    #[test]
    fn bars_size_as_4_kib() {
        let mut space = ConfigSpace::new(Shape::default());
        for bar in [0x10, 0x18, 0x20] {
            space.write(bar, &[0xff; 8]);
            assert_eq!(dword(&space, bar), 0xffff_f004);
            assert_eq!(dword(&space, bar + 4), 0xffff_ffff);
        }
    }

    #[test]
    fn capability_chain() {
        let space = ConfigSpace::new(Shape::default());
        let mut seen = Vec::new();
        let mut at = dword(&space, CAPABILITIES) as usize & 0xff;
        while at != 0 {
            let header = dword(&space, at);
            seen.push(header as u8);
            at = (header >> 8) as usize & 0xff;
        }
        assert_eq!(seen, [0x01, 0x11, 0x10]);
        assert_eq!((dword(&space, MSIX) >> 16) & 0x7ff, 31);
        assert_eq!(dword(&space, MSIX + 4) & 7, 4);
        assert_ne!(dword(&space, PCIE + 4) & DEVCAP_FLR, 0);
    }

    #[test]
    fn flr_bit_is_seen_in_any_access_size_and_reads_zero() {
        let mut space = ConfigSpace::new(Shape::default());
        assert_eq!(
            space.write(DEVCTL, &0x8000u16.to_le_bytes()),
            Effect::FunctionReset
        );
        assert_eq!(space.write(DEVCTL + 1, &[0x80]), Effect::FunctionReset);
        assert_eq!(
            space.write(DEVCTL, &0x0000_8000u32.to_le_bytes()),
            Effect::FunctionReset
        );
        assert_eq!(space.write(DEVCTL, &0x2810u16.to_le_bytes()), Effect::None);
        assert_eq!(dword(&space, DEVCTL) & 0x8000, 0);
    }

    #[test]
    fn read_only_stays() {
        let mut space = ConfigSpace::new(Shape::default());
        space.write(0, &[0xff; 4]);
        space.write(0x34, &[0xff]);
        assert_eq!(dword(&space, 0), 0xc003_1414);
        assert_eq!(dword(&space, 0x34) & 0xff, PM as u32);
        // Past the end: ignored and read as zero.
        space.write(CONFIG_SIZE - 1, &[1, 2]);
        let mut end = [0xaa; 2];
        space.read(CONFIG_SIZE - 1, &mut end);
        assert_eq!(end, [0, 0]);
    }
}
