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

/// Number of bytes that Identify returns.
pub(crate) const LEN: usize = 102;

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

static_assert!(core::mem::size_of::<Data>() == LEN);
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
    /// What the driver may use, at least 1.
    pub(crate) usable: u16,
}

impl QueueCount {
    /// Reads the reply `value` to a queue count feature of `class`.
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
