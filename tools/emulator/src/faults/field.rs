// SPDX-License-Identifier: GPL-2.0-or-later

//! What a fault can change: fields of completions, of Identify, and registers (sections 1.1, 4.1, 4.8, 6.3 and 7.2).

use serde::{Deserialize, Serialize};

use crate::queue::Class;

/// How a value is changed. Only the bits of the field are; the rest of a wider value is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Replaces the value.
    Set(u64),
    /// Adds to the value; it wraps around within the field.
    Add(i64),
    /// Inverts bits.
    Xor(u64),
}

impl Change {
    /// Returns the changed value.
    pub fn apply(self, value: u64) -> u64 {
        match self {
            Change::Set(new) => new,
            Change::Add(difference) => value.wrapping_add_signed(difference),
            Change::Xor(bits) => value ^ bits,
        }
    }
}

/// Bits of a little-endian structure: the first one and how many, at most 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Number of the first bit.
    pub first: usize,
    /// Number of bits.
    pub width: u32,
}

impl Bits {
    const fn new(first: usize, width: u32) -> Self {
        Bits { first, width }
    }

    /// Returns the largest value the bits can hold.
    pub fn max(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// Changes the bits of `data`; those past its end are left alone.
    pub fn change(self, data: &mut [u8], change: Change) {
        let places = self.first..self.first + self.width as usize;
        let old = places
            .clone()
            .rev()
            .fold(0, |value, bit| (value << 1) | u64::from(bit_at(data, bit)));
        let new = change.apply(old);
        for (i, bit) in places.enumerate() {
            if let Some(byte) = data.get_mut(bit / 8) {
                let mask = 1 << (bit % 8);
                *byte = if (new >> i) & 1 == 0 {
                    *byte & !mask
                } else {
                    *byte | mask
                };
            }
        }
    }
}

fn bit_at(data: &[u8], bit: usize) -> bool {
    data.get(bit / 8)
        .is_some_and(|byte| (byte >> (bit % 8)) & 1 != 0)
}

/// A field of a completion entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Command-specific dword of an admin command.
    Result,
    /// Byte count.
    Bytes,
    /// Session control kind with its flags: id valid, app id valid, safe to close.
    SessionFlags,
    /// Session id.
    SessionId,
    /// Short app id.
    AppId,
    /// Attributes, echoed from the submission entry.
    Attributes,
    /// First 8 bytes of the tag.
    Tag,
    /// First 8 bytes of the IV.
    Iv,
    /// Unaligned destination length.
    TailLength,
    /// FIPS indicator.
    Fips,
    /// Head of the submission queue.
    SqHead,
    /// Id of the submission queue.
    SqId,
    /// Command id.
    Cid,
    /// Error code.
    Error,
    /// Phase.
    Phase,
    /// Status.
    Status,
}

impl Field {
    /// All fields.
    pub const ALL: [Field; 16] = [
        Field::Result,
        Field::Bytes,
        Field::SessionFlags,
        Field::SessionId,
        Field::AppId,
        Field::Attributes,
        Field::Tag,
        Field::Iv,
        Field::TailLength,
        Field::Fips,
        Field::SqHead,
        Field::SqId,
        Field::Cid,
        Field::Error,
        Field::Phase,
        Field::Status,
    ];

    /// Returns where the field is in a completion of the class; `None` if it has no such field.
    pub fn bits(self, class: Class) -> Option<Bits> {
        let fast = class == Class::Fp;
        // Both formats end alike, but the fast path has the command id at its start.
        let end = class.cqe_size() * 8;
        Some(match (self, class) {
            (Field::Result, Class::Admin) => Bits::new(0, 32),
            (Field::Bytes, Class::Cp) => Bits::new(0, 16),
            (Field::SessionFlags, Class::Cp) => Bits::new(16, 8),
            (Field::SessionId, Class::Cp) => Bits::new(32, 16),
            (Field::AppId, Class::Cp) => Bits::new(48, 8),
            (Field::Attributes, Class::Fp) => Bits::new(0, 16),
            (Field::Tag, Class::Fp) => Bits::new(32, 64),
            (Field::Iv, Class::Fp) => Bits::new(160, 64),
            (Field::TailLength, Class::Fp) => Bits::new(352, 32),
            (Field::Fips, Class::Fp) => Bits::new(384, 32),
            (Field::Bytes, Class::Fp) => Bits::new(416, 32),
            (Field::Error, Class::Fp) => Bits::new(480, 16),
            (Field::SqHead, _) => Bits::new(end - 64, 16),
            (Field::SqId, _) => Bits::new(end - 48, 16),
            (Field::Cid, _) => Bits::new(if fast { 16 } else { end - 32 }, 16),
            (Field::Phase, _) => Bits::new(end - 16, 1),
            (Field::Status, _) => Bits::new(end - 15, 15),
            _ => return None,
        })
    }

    /// Returns whether a lie about the field makes a correct host lose track of the commands of the queue.
    pub fn identifies(self) -> bool {
        matches!(
            self,
            Field::SqHead | Field::SqId | Field::Cid | Field::Phase
        )
    }
}

/// A field of the Identify structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the structure")]
pub enum IdentifyField {
    Vendor,
    SubsystemVendor,
    /// Its first 8 characters.
    SerialNumber,
    /// Its first 8 characters.
    FirmwareRevision,
    CpMdts,
    ControllerId,
    AbortLimit,
    CpSqes,
    CpCqes,
    CpMaxCmd,
    FpMdts,
    FpSqes,
    FpCqes,
    FpMaxCmd,
    Svn,
    Version,
    ControllerType,
    FirmwareUpdates,
}

impl IdentifyField {
    /// All fields.
    pub const ALL: [IdentifyField; 18] = [
        IdentifyField::Vendor,
        IdentifyField::SubsystemVendor,
        IdentifyField::SerialNumber,
        IdentifyField::FirmwareRevision,
        IdentifyField::CpMdts,
        IdentifyField::ControllerId,
        IdentifyField::AbortLimit,
        IdentifyField::CpSqes,
        IdentifyField::CpCqes,
        IdentifyField::CpMaxCmd,
        IdentifyField::FpMdts,
        IdentifyField::FpSqes,
        IdentifyField::FpCqes,
        IdentifyField::FpMaxCmd,
        IdentifyField::Svn,
        IdentifyField::Version,
        IdentifyField::ControllerType,
        IdentifyField::FirmwareUpdates,
    ];

    /// Returns where the field is.
    pub fn bits(self) -> Bits {
        let (byte, bytes) = match self {
            IdentifyField::Vendor => (0, 2),
            IdentifyField::SubsystemVendor => (2, 2),
            IdentifyField::SerialNumber => (4, 8),
            IdentifyField::FirmwareRevision => (36, 8),
            IdentifyField::CpMdts => (72, 1),
            IdentifyField::ControllerId => (74, 2),
            IdentifyField::AbortLimit => (76, 1),
            IdentifyField::CpSqes => (77, 1),
            IdentifyField::CpCqes => (78, 1),
            IdentifyField::CpMaxCmd => (80, 2),
            IdentifyField::FpMdts => (82, 1),
            IdentifyField::FpSqes => (83, 1),
            IdentifyField::FpCqes => (84, 1),
            IdentifyField::FpMaxCmd => (86, 2),
            IdentifyField::Svn => (88, 8),
            IdentifyField::Version => (96, 4),
            IdentifyField::ControllerType => (100, 1),
            IdentifyField::FirmwareUpdates => (101, 1),
        };
        Bits::new(byte * 8, bytes * 8)
    }
}

/// A 32-bit word of BAR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the registers")]
pub enum Register {
    CapLow,
    CapHigh,
    Vs,
    Cc,
    FwCapabilities,
    Csts,
    Aqa,
    AsqLow,
    AsqHigh,
    AcqLow,
    AcqHigh,
}

impl Register {
    /// All words.
    pub const ALL: [Register; 11] = [
        Register::CapLow,
        Register::CapHigh,
        Register::Vs,
        Register::Cc,
        Register::FwCapabilities,
        Register::Csts,
        Register::Aqa,
        Register::AsqLow,
        Register::AsqHigh,
        Register::AcqLow,
        Register::AcqHigh,
    ];

    /// Returns the offset in BAR0.
    pub fn offset(self) -> usize {
        match self {
            Register::CapLow => 0x00,
            Register::CapHigh => 0x04,
            Register::Vs => 0x08,
            Register::Cc => 0x14,
            Register::FwCapabilities => 0x18,
            Register::Csts => 0x1c,
            Register::Aqa => 0x24,
            Register::AsqLow => 0x28,
            Register::AsqHigh => 0x2c,
            Register::AcqLow => 0x30,
            Register::AcqHigh => 0x34,
        }
    }

    /// Returns whether the word tells what a host relies on from its probe on, not what is now.
    pub fn is_constant(self) -> bool {
        matches!(
            self,
            Register::CapLow | Register::CapHigh | Register::Vs | Register::FwCapabilities
        )
    }

    /// Returns whether a read of `len` bytes at `offset` touches the word.
    pub fn is_read_by(self, offset: usize, len: usize) -> bool {
        offset < self.offset() + 4 && self.offset() < offset + len
    }

    /// Changes the word in `data`, which was read at `offset`.
    pub fn change(self, offset: usize, data: &mut [u8], change: Change) {
        let bytes = |at: usize| (at..at + 4).map(|at| at.checked_sub(offset));
        let mut word = [0; 4];
        for (byte, at) in word.iter_mut().zip(bytes(self.offset())) {
            *byte = at.and_then(|at| data.get(at).copied()).unwrap_or(0);
        }
        Bits::new(0, 32).change(&mut word, change);
        for (byte, at) in word.iter().zip(bytes(self.offset())) {
            if let Some(to) = at.and_then(|at| data.get_mut(at)) {
                *to = *byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_keep_their_neighbours() {
        let mut data = [0xff, 0xff, 0xff];
        Bits::new(4, 8).change(&mut data, Change::Set(0));
        assert_eq!(data, [0x0f, 0xf0, 0xff]);
        Bits::new(4, 8).change(&mut data, Change::Add(-1));
        assert_eq!(data, [0xff, 0xff, 0xff]);
        Bits::new(23, 1).change(&mut data, Change::Xor(u64::MAX));
        assert_eq!(data, [0xff, 0xff, 0x7f]);
        // Past the end: nothing to change.
        Bits::new(20, 16).change(&mut data, Change::Set(0));
        assert_eq!(data, [0xff, 0xff, 0x0f]);
        assert_eq!(Bits::new(0, 64).max(), u64::MAX);
        assert_eq!(Bits::new(0, 1).max(), 1);
    }

    #[test]
    fn every_class_has_what_identifies() {
        for class in [Class::Admin, Class::Cp, Class::Fp] {
            for field in Field::ALL.into_iter().filter(|f| f.identifies()) {
                assert!(field.bits(class).is_some(), "{field:?} of {class}");
            }
        }
        assert_eq!(Field::Tag.bits(Class::Cp), None);
        assert_eq!(Field::Cid.bits(Class::Fp), Some(Bits::new(16, 16)));
        assert_eq!(Field::Status.bits(Class::Cp), Some(Bits::new(113, 15)));
    }

    #[test]
    fn registers_in_reads_of_any_size() {
        let mut data = [0; 8];
        Register::CapHigh.change(0, &mut data, Change::Set(0x1122_3344));
        assert_eq!(data, [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);
        let mut byte = [0];
        Register::Csts.change(0x1d, &mut byte, Change::Set(0xaabb));
        assert_eq!(byte, [0xaa]);
        assert!(Register::Csts.is_read_by(0x18, 8));
        assert!(!Register::Csts.is_read_by(0x18, 4));
        assert!(!Register::Csts.is_read_by(0x20, 4));
    }
}
