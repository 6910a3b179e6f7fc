// SPDX-License-Identifier: GPL-2.0

//! What the controller says about itself: Identify data, queue counts, firmware capabilities.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};

use super::{
    Class,
    CtrlId, //
};

/// Highest number of control-path queues that the driver uses.
pub(crate) const MAX_CONTROL_QUEUES: u16 = 65;
/// Highest number of fast-path queues that the driver uses.
pub(crate) const MAX_AES_QUEUES: u16 = 130;

/// Number of queues to ask for, of either class. Firmware ignores it.
pub(crate) const WANTED_QUEUES: u16 = 128;

/// Identify data, as the device writes it.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Data {
    vid: U16,
    ssvid: U16,
    serial: [u8; 32],
    firmware: [u8; 32],
    rsvd0: [u8; 4],
    cp_mdts: u8,
    rsvd1: u8,
    ctrl_id: U16,
    acl: u8,
    cp_sqes: u8,
    cp_cqes: u8,
    rsvd2: u8,
    cp_max_cmd: U16,
    fp_mdts: u8,
    fp_sqes: u8,
    fp_cqes: u8,
    rsvd3: u8,
    fp_max_cmd: U16,
    svn: U64,
    version: U32,
    kind: u8,
    firmware_updates: u8,
}

static_assert!(core::mem::size_of::<Data>() == 102);
static_assert!(core::mem::offset_of!(Data, cp_mdts) == 0x48);
static_assert!(core::mem::offset_of!(Data, fp_mdts) == 0x52);
static_assert!(core::mem::offset_of!(Data, version) == 0x60);

// SAFETY: All fields are integers or arrays of integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Data {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Data {}

/// A text of the device with everything but printable ASCII replaced, NUL-padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text([u8; 32]);

impl Text {
    fn new(mut raw: [u8; 32]) -> Self {
        for byte in &mut raw {
            if !matches!(*byte, 0 | b' '..=b'~') {
                *byte = b'?';
            }
        }
        Self(raw)
    }

    /// Returns all 32 bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the text up to its first NUL, without trailing spaces.
    pub(crate) fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(text.trim_ascii_end()).unwrap_or_default()
    }
}

/// The validated identity of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Controller id.
    pub(crate) ctrl: CtrlId,
    /// Serial number.
    pub(crate) serial: Text,
    /// Firmware revision.
    pub(crate) firmware: Text,
    /// Version of the register interface.
    pub(crate) version: u32,
    /// Largest control-path transfer in bytes, [`None`] if the device does not say.
    pub(crate) control_max: Option<u32>,
    /// Largest fast-path transfer without an SGL in bytes, [`None`] if the device does not say.
    pub(crate) aes_max: Option<u32>,
    /// Security version number, of firmware that says it has one.
    pub(crate) svn: u64,
}

/// An entry size that the driver cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEntrySize {
    /// Name of the Identify field.
    pub(crate) field: &'static str,
    /// Value of its low nibble.
    pub(crate) found: u8,
    /// Value that it should have.
    pub(crate) expected: u8,
}

impl Identity {
    /// Validates Identify data.
    ///
    /// # Errors
    ///
    /// Returns the first entry size that is not what the driver works with.
    pub(crate) fn new(data: &Data) -> Result<Self, BadEntrySize> {
        for (field, value, expected) in [
            ("CP SQES", data.cp_sqes, 6),
            ("CP CQES", data.cp_cqes, 4),
            ("FP SQES", data.fp_sqes, 7),
            ("FP CQES", data.fp_cqes, 6),
        ] {
            let found = value & 0x0f;
            if found != expected {
                return Err(BadEntrySize {
                    field,
                    found,
                    expected,
                });
            }
        }
        Ok(Self {
            ctrl: CtrlId(data.ctrl_id.get()),
            serial: Text::new(data.serial),
            firmware: Text::new(data.firmware),
            version: data.version.get(),
            control_max: Self::max_transfer(data.cp_mdts),
            aes_max: Self::max_transfer(data.fp_mdts),
            svn: data.svn.get(),
        })
    }

    /// Converts a transfer size, which is log2 of a number of bytes, 0 if unlimited.
    fn max_transfer(mdts: u8) -> Option<u32> {
        match mdts {
            0 => None,
            _ => 1u32.checked_shl(u32::from(mdts)),
        }
    }
}

/// Number of queues of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueCount {
    /// What the device grants.
    pub(crate) granted: u32,
    /// What the driver may use.
    pub(crate) usable: u16,
}

impl QueueCount {
    /// What a function has that owns no resources. The device cannot say so in the reply.
    pub(crate) const NONE: Self = Self {
        granted: 0,
        usable: 0,
    };

    /// Reads the reply `value` to a queue count feature of `class`. There is at least one.
    pub(crate) fn new(class: Class, value: u32) -> Self {
        let max = match class {
            Class::Admin => 1,
            Class::Control => MAX_CONTROL_QUEUES,
            Class::Aes => MAX_AES_QUEUES,
        };
        // Both numbers are 0-based.
        let granted = (value & 0xffff).min(value >> 16) + 1;
        Self {
            granted,
            usable: u16::try_from(granted).unwrap_or(max).min(max),
        }
    }

    /// Returns whether the driver leaves queues unused.
    pub(crate) fn clamped(&self) -> bool {
        u32::from(self.usable) < self.granted
    }
}

// The queue ids of all usable queues exist.
static_assert!(MAX_CONTROL_QUEUES <= 255);
static_assert!(MAX_AES_QUEUES <= 256);

/// What the firmware can do beyond the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The firmware corrects AES-GCM for unaligned AAD and text.
    pub(crate) gcm_workaround: bool,
}

impl Capabilities {
    /// Reads the reply `value` to the capabilities feature.
    pub(crate) fn new(value: u32) -> Self {
        Self {
            gcm_workaround: value & 1 != 0,
        }
    }
}

#[kunit_tests(azihsm_wire_identify)]
mod tests {
    use super::*;

    /// What the device says, with `edits` applied.
    fn data(edits: &[(usize, u8)]) -> Data {
        let mut raw = [0u8; 102];
        raw[0..2].copy_from_slice(&[0x14, 0x14]);
        raw[4..12].copy_from_slice(b"SOC-0123");
        raw[36..46].copy_from_slice(b"1.2.3-4   ");
        raw[72] = 13;
        raw[74] = 1;
        raw[77] = 0x66;
        raw[78] = 0x44;
        raw[82] = 13;
        raw[83] = 0x77;
        raw[84] = 0x66;
        raw[88..96].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
        raw[96..100].copy_from_slice(&[0, 4, 1, 0]);
        raw[100] = 1;
        for (offset, value) in edits {
            raw[*offset] = *value;
        }
        zerocopy::transmute!(raw)
    }

    #[test]
    fn good_data_is_accepted() -> Result {
        let identity = Identity::new(&data(&[])).map_err(|_| EINVAL)?;
        assert_eq!(identity.ctrl, CtrlId(1));
        assert_eq!(identity.serial.as_str(), "SOC-0123");
        assert_eq!(identity.serial.bytes().len(), 32);
        assert_eq!(identity.firmware.as_str(), "1.2.3-4");
        assert_eq!(identity.version, 0x0001_0400);
        assert_eq!(identity.control_max, Some(8192));
        assert_eq!(identity.aes_max, Some(8192));
        assert_eq!(identity.svn, 0x0102_0304_0506_0708);
        Ok(())
    }

    #[test]
    fn entry_sizes_are_checked() {
        let bad = |offset, value| Identity::new(&data(&[(offset, value)])).err();
        for (offset, field, expected) in [
            (77, "CP SQES", 6),
            (78, "CP CQES", 4),
            (83, "FP SQES", 7),
            (84, "FP CQES", 6),
        ] {
            // Only the low nibble counts.
            assert_eq!(bad(offset, 0xf0 | expected), None);
            let found = 0;
            assert_eq!(
                bad(offset, expected << 4),
                Some(BadEntrySize {
                    field,
                    found,
                    expected
                })
            );
        }
    }

    #[test]
    fn texts_are_printable() -> Result {
        let edits = [(4, 0xff), (5, b'\n'), (6, 0x1b), (7, 0x7f)];
        let identity = Identity::new(&data(&edits)).map_err(|_| EINVAL)?;
        assert_eq!(identity.serial.as_str(), "????0123");
        // Neither terminated nor empty texts are a problem.
        assert_eq!(Text::new([b'x'; 32]).as_str().len(), 32);
        assert_eq!(Text::new([0; 32]).as_str(), "");
        assert_eq!(Text::new([b' '; 32]).as_str(), "");
        Ok(())
    }

    #[test]
    fn transfer_sizes_do_not_overflow() {
        assert_eq!(Identity::max_transfer(0), None);
        assert_eq!(Identity::max_transfer(12), Some(4096));
        assert_eq!(Identity::max_transfer(31), Some(1 << 31));
        assert_eq!(Identity::max_transfer(32), None);
        assert_eq!(Identity::max_transfer(255), None);
    }

    #[test]
    fn queue_counts_are_zero_based_and_clamped() {
        let count = |class, value| {
            let count = QueueCount::new(class, value);
            (count.granted, count.usable, count.clamped())
        };
        // Four resources.
        assert_eq!(count(Class::Control, 0x0003_0003), (4, 4, false));
        assert_eq!(count(Class::Aes, 0x0007_0007), (8, 8, false));
        assert_eq!(count(Class::Control, 0), (1, 1, false));
        // The smaller number counts.
        assert_eq!(count(Class::Control, 0x0003_0009), (4, 4, false));
        assert_eq!(count(Class::Control, 0x0009_0003), (4, 4, false));
        // All resources of a device.
        assert_eq!(count(Class::Control, 0x0040_0040), (65, 65, false));
        assert_eq!(count(Class::Aes, 0x0081_0081), (130, 130, false));
        // More than there can be.
        assert_eq!(count(Class::Control, 0x0041_0041), (66, 65, true));
        assert_eq!(count(Class::Aes, 0x0082_0082), (131, 130, true));
        assert_eq!(count(Class::Control, u32::MAX), (65536, 65, true));
        assert_eq!(count(Class::Aes, u32::MAX), (65536, 130, true));
    }

    #[test]
    fn capabilities_are_bits() {
        assert!(Capabilities::new(1).gcm_workaround);
        assert!(Capabilities::new(u32::MAX).gcm_workaround);
        assert!(!Capabilities::new(0xffff_fffe).gcm_workaround);
        assert!(!Capabilities::default().gcm_workaround);
    }
}
