// SPDX-License-Identifier: GPL-2.0

//! Fast-path (FP) queue entries: 128-byte AES commands, 64-byte completions.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};

use super::{
    sgl::Descriptor,
    Cid,
    Class,
    KeyId,
    SessionId,
    ShortAppId, //
};

mod completion;

pub(crate) use completion::{
    check,
    Cqe,
    Expectation,
    Inconsistent,
    Outcome,
    Success, //
};

/// Frame type of AES commands.
const FRAME_AES: u8 = 1;

/// Fixed attributes: command type 5 (AES), data described by SGLs.
const ATTR_BASE: u16 = 5 << 3 | 1 << 2;
/// Attribute: decrypt.
const ATTR_DECRYPT: u16 = 1 << 0;
/// Attribute: XTS.
const ATTR_XTS: u16 = 1 << 8;
/// Position of the data unit in the attributes.
const ATTR_UNIT_SHIFT: u32 = 14;

/// Size of a cipher block in bytes.
pub(crate) const BLOCK: u32 = 16;

/// Largest transfer of an AES-XTS command in bytes.
pub(crate) const XTS_MAX_LEN: u32 = 16 << 20;

/// Direction of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Plaintext to ciphertext.
    Encrypt,
    /// Ciphertext to plaintext.
    Decrypt,
}

/// Size of an XTS data unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataUnit {
    /// The whole transfer is one unit.
    All,
    /// 512 bytes.
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
    /// 8192 bytes.
    Bytes8192,
}

impl DataUnit {
    /// Reads the field of a request.
    pub(crate) fn new(value: u16) -> Option<Self> {
        match value {
            0 => Some(Self::All),
            1 => Some(Self::Bytes512),
            2 => Some(Self::Bytes4096),
            3 => Some(Self::Bytes8192),
            _ => None,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Self::All => 0,
            Self::Bytes512 => 1,
            Self::Bytes4096 => 2,
            Self::Bytes8192 => 3,
        }
    }

    /// Returns the size of a unit in a transfer of `len` bytes.
    pub(crate) fn bytes(self, len: u32) -> u32 {
        match self {
            Self::All => len,
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
            Self::Bytes8192 => 8192,
        }
    }
}

/// The cipher of a command and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher<'a> {
    /// AES-GCM.
    Gcm {
        /// Key.
        key: KeyId,
        /// Initialisation vector.
        iv: &'a [u8; 12],
        /// Expected tag, for decryption.
        tag: &'a [u8; 16],
        /// Length of the additional authenticated data in bytes.
        aad_len: u32,
        /// Length of the padded AAD at the start of the source.
        padded_aad_len: u32,
    },
    /// AES-XTS.
    Xts {
        /// Data key.
        key1: KeyId,
        /// Tweak key.
        key2: KeyId,
        /// Number of the first data unit, little-endian.
        tweak: &'a [u8; 16],
        /// Size of a data unit.
        unit: DataUnit,
    },
}

/// The last bytes of GCM text, fewer than a block, in a buffer of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Number of bytes, 1 to 15.
    pub(crate) len: u8,
    /// Bus address of the buffer, both source and destination.
    pub(crate) addr: u64,
}

/// A transfer through an SGL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Number of bytes.
    pub(crate) len: u32,
    /// Points to the list, [`Descriptor::NONE`] if `len` is 0.
    pub(crate) sgl: Descriptor,
}

/// An AES command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command<'a> {
    /// Direction.
    pub(crate) op: Op,
    /// Session.
    pub(crate) session: SessionId,
    /// Short application id.
    pub(crate) app: ShortAppId,
    /// Cipher.
    pub(crate) cipher: Cipher<'a>,
    /// Where the data comes from.
    pub(crate) source: Transfer,
    /// Where the data goes.
    pub(crate) destination: Transfer,
    /// GCM: the rest that is not a whole block.
    pub(crate) tail: Option<Tail>,
}

impl Command<'_> {
    /// Makes `sqe`, which is zeroed or was made for the same kind of command, the submission entry
    /// of this command.
    #[inline]
    pub(crate) fn write(&self, cid: Cid, sqe: &mut Sqe) {
        let mut attributes = ATTR_BASE;
        if self.op == Op::Decrypt {
            attributes |= ATTR_DECRYPT;
        }
        match self.cipher {
            Cipher::Gcm {
                key,
                iv,
                tag,
                aad_len,
                padded_aad_len,
            } => {
                let (tail_len, tail_addr) = self.tail.map_or((0, 0), |tail| (tail.len, tail.addr));
                sqe.key = U32::new(key.0);
                sqe.aad_len_or_key2 = U32::new(aad_len);
                sqe.tag_or_tweak = *tag;
                sqe.iv = *iv;
                sqe.padded_aad_len = U32::new(padded_aad_len);
                sqe.src_tail_len = tail_len;
                sqe.dst_tail_len = tail_len;
                sqe.src_tail = U64::new(tail_addr);
                sqe.dst_tail = U64::new(tail_addr);
            }
            Cipher::Xts {
                key1,
                key2,
                tweak,
                unit,
            } => {
                attributes |= ATTR_XTS | unit.bits() << ATTR_UNIT_SHIFT;
                sqe.key = U32::new(key1.0);
                sqe.aad_len_or_key2 = U32::new(key2.0);
                sqe.tag_or_tweak = *tweak;
            }
        }
        sqe.attributes = U16::new(attributes);
        sqe.cid = U16::new(cid.0);
        sqe.session = U16::new(self.session.0);
        sqe.app = self.app.0;
        sqe.src_len = U32::new(self.source.len);
        sqe.src = self.source.sgl;
        sqe.dst_len = U32::new(self.destination.len);
        sqe.dst = self.destination.sgl;
        sqe.frame = FRAME_AES;
    }
}

/// Submission entry.
///
/// What comes behind `tag_or_tweak` is for GCM; zeros for XTS.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Sqe {
    rsvd0: U32,
    attributes: U16,
    cid: U16,
    session: U16,
    app: u8,
    rsvd1: [u8; 13],
    src_len: U32,
    src: Descriptor,
    dst_len: U32,
    dst: Descriptor,
    frame: u8,
    rsvd2: [u8; 3],
    key: U32,
    aad_len_or_key2: U32,
    tag_or_tweak: [u8; 16],
    iv: [u8; 12],
    padded_aad_len: U32,
    src_tail_len: u8,
    dst_tail_len: u8,
    rsvd3: [u8; 2],
    src_tail: U64,
    dst_tail: U64,
}

static_assert!(core::mem::size_of::<Sqe>() == 128);
static_assert!(core::mem::offset_of!(Sqe, src) == 28);
static_assert!(core::mem::offset_of!(Sqe, dst) == 48);
static_assert!(core::mem::offset_of!(Sqe, frame) == 64);
static_assert!(core::mem::offset_of!(Sqe, key) == 68);
static_assert!(core::mem::offset_of!(Sqe, iv) == 92);
static_assert!(core::mem::offset_of!(Sqe, src_tail) == 112);

// SAFETY: All fields are integers, arrays of integers or structures of these, for which all bit
// patterns are valid.
unsafe impl kernel::transmute::FromBytes for Sqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Sqe {}

impl super::Sqe for Sqe {
    fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }
}

/// The entries of fast-path queues.
pub(crate) struct Entries;

impl super::Entries for Entries {
    const CLASS: Class = Class::Aes;
    type Sqe = Sqe;
    type Cqe = Cqe;
}

#[kunit_tests(azihsm_wire_aes)]
mod tests {
    use super::*;

    use crate::wire;

    fn bytes(sqe: Sqe) -> [u8; 128] {
        zerocopy::transmute!(sqe)
    }

    fn sqe(command: &Command<'_>, cid: Cid) -> Sqe {
        let mut sqe = <Sqe as zerocopy::FromZeros>::new_zeroed();
        command.write(cid, &mut sqe);
        sqe
    }

    fn gcm() -> Command<'static> {
        Command {
            op: Op::Encrypt,
            session: SessionId(0x0201),
            app: ShortAppId(0x03),
            cipher: Cipher::Gcm {
                key: KeyId(0x0706_0504),
                iv: &[0x22; 12],
                tag: &[0x11; 16],
                aad_len: 20,
                padded_aad_len: 32,
            },
            source: Transfer {
                len: 64,
                sgl: Descriptor::data(0x1111_1111_1111_1110, 64),
            },
            destination: Transfer {
                len: 48,
                sgl: Descriptor::data(0x2222_2222_2222_2220, 48),
            },
            tail: Some(Tail {
                len: 5,
                addr: 0x3333_3333_4444_4444,
            }),
        }
    }

    fn xts(unit: DataUnit) -> Command<'static> {
        Command {
            cipher: Cipher::Xts {
                key1: KeyId(0x0706_0504),
                key2: KeyId(0x0b0a_0908),
                tweak: &[0x33; 16],
                unit,
            },
            tail: None,
            ..gcm()
        }
    }

    /// The part of the entry of [`gcm`] that does not depend on the cipher.
    fn common(attributes: u16) -> [u8; 128] {
        let mut want = [0u8; 128];
        want[4..6].copy_from_slice(&attributes.to_le_bytes());
        want[6..8].copy_from_slice(&[0x07, 0x08]);
        want[8..11].copy_from_slice(&[0x01, 0x02, 0x03]);
        want[24] = 64;
        want[28..36].copy_from_slice(&0x1111_1111_1111_1110u64.to_le_bytes());
        want[36] = 64;
        want[44] = 48;
        want[48..56].copy_from_slice(&0x2222_2222_2222_2220u64.to_le_bytes());
        want[56] = 48;
        want[64] = 1;
        want[68..72].copy_from_slice(&[4, 5, 6, 7]);
        want
    }

    #[test]
    fn gcm_is_encoded() {
        let mut want = common(0x002c);
        want[72] = 20;
        want[76..92].fill(0x11);
        want[92..104].fill(0x22);
        want[104] = 32;
        want[108] = 5;
        want[109] = 5;
        want[112..116].fill(0x44);
        want[116..120].fill(0x33);
        want[120..124].fill(0x44);
        want[124..128].fill(0x33);
        assert_eq!(bytes(sqe(&gcm(), Cid(0x0807))), want);

        let no_tail = Command {
            tail: None,
            ..gcm()
        };
        want[108..128].fill(0);
        assert_eq!(bytes(sqe(&no_tail, Cid(0x0807))), want);
        assert_eq!(wire::Sqe::cid(&sqe(&no_tail, Cid(0x0807))), Cid(0x0807));
    }

    #[test]
    fn xts_is_encoded() {
        let mut want = common(0x412c);
        want[72..76].copy_from_slice(&[8, 9, 10, 11]);
        want[76..92].fill(0x33);
        let entry = sqe(&xts(DataUnit::Bytes512), Cid(0x0807));
        assert_eq!(bytes(entry), want);
    }

    #[test]
    fn attributes_tell_direction_and_unit() {
        let attributes = |op, command| sqe(&Command { op, ..command }, Cid(0)).attributes.get();
        assert_eq!(attributes(Op::Encrypt, gcm()), 0x002c);
        assert_eq!(attributes(Op::Decrypt, gcm()), 0x002d);
        assert_eq!(attributes(Op::Encrypt, xts(DataUnit::All)), 0x012c);
        assert_eq!(attributes(Op::Decrypt, xts(DataUnit::All)), 0x012d);
        assert_eq!(attributes(Op::Decrypt, xts(DataUnit::Bytes4096)), 0x812d);
        assert_eq!(attributes(Op::Encrypt, xts(DataUnit::Bytes8192)), 0xc12c);
    }

    #[test]
    fn data_units_have_sizes() {
        let bytes = |value| DataUnit::new(value).map(|unit| unit.bytes(48));
        assert_eq!(bytes(0), Some(48));
        assert_eq!(bytes(1), Some(512));
        assert_eq!(bytes(2), Some(4096));
        assert_eq!(bytes(3), Some(8192));
        assert_eq!(bytes(4), None);
        assert_eq!(bytes(u16::MAX), None);
    }
}
