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
    Route,
    SessionId,
    ShortAppId, //
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
pub(crate) enum Cipher {
    /// AES-GCM.
    Gcm {
        /// Key.
        key: KeyId,
        /// Initialisation vector.
        iv: [u8; 12],
        /// Expected tag, for decryption.
        tag: [u8; 16],
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
        tweak: [u8; 16],
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
pub(crate) struct Command {
    /// Direction.
    pub(crate) op: Op,
    /// Session.
    pub(crate) session: SessionId,
    /// Short application id.
    pub(crate) app: ShortAppId,
    /// Cipher.
    pub(crate) cipher: Cipher,
    /// Where the data comes from.
    pub(crate) source: Transfer,
    /// Where the data goes.
    pub(crate) destination: Transfer,
    /// GCM: the rest that is not a whole block.
    pub(crate) tail: Option<Tail>,
}

impl Command {
    /// Returns the submission entry of this command.
    pub(crate) fn sqe(&self, cid: Cid) -> Sqe {
        let mut attributes = ATTR_BASE;
        if self.op == Op::Decrypt {
            attributes |= ATTR_DECRYPT;
        }
        let specific = match self.cipher {
            Cipher::Gcm {
                key,
                iv,
                tag,
                aad_len,
                padded_aad_len,
            } => {
                let (tail_len, tail_addr) = self.tail.map_or((0, 0), |tail| (tail.len, tail.addr));
                zerocopy::transmute!(Gcm {
                    key: U32::new(key.0),
                    aad_len: U32::new(aad_len),
                    tag,
                    iv,
                    padded_aad_len: U32::new(padded_aad_len),
                    src_tail_len: tail_len,
                    dst_tail_len: tail_len,
                    rsvd: [0; 2],
                    src_tail: U64::new(tail_addr),
                    dst_tail: U64::new(tail_addr),
                })
            }
            Cipher::Xts {
                key1,
                key2,
                tweak,
                unit,
            } => {
                attributes |= ATTR_XTS | unit.bits() << ATTR_UNIT_SHIFT;
                zerocopy::transmute!(Xts {
                    key1: U32::new(key1.0),
                    key2: U32::new(key2.0),
                    tweak,
                    rsvd: [0; 36],
                })
            }
        };
        Sqe {
            rsvd0: U32::new(0),
            attributes: U16::new(attributes),
            cid: U16::new(cid.0),
            session: U16::new(self.session.0),
            app: self.app.0,
            rsvd1: [0; 13],
            src_len: U32::new(self.source.len),
            src: self.source.sgl,
            dst_len: U32::new(self.destination.len),
            dst: self.destination.sgl,
            frame: FRAME_AES,
            rsvd2: [0; 3],
            specific,
        }
    }
}

/// The GCM part of a submission entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
struct Gcm {
    key: U32,
    aad_len: U32,
    tag: [u8; 16],
    iv: [u8; 12],
    padded_aad_len: U32,
    src_tail_len: u8,
    dst_tail_len: u8,
    rsvd: [u8; 2],
    src_tail: U64,
    dst_tail: U64,
}

/// The XTS part of a submission entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
struct Xts {
    key1: U32,
    key2: U32,
    tweak: [u8; 16],
    rsvd: [u8; 36],
}

/// Submission entry.
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
    specific: [u8; 60],
}

static_assert!(core::mem::size_of::<Sqe>() == 128);
static_assert!(core::mem::offset_of!(Sqe, src) == 28);
static_assert!(core::mem::offset_of!(Sqe, dst) == 48);
static_assert!(core::mem::offset_of!(Sqe, frame) == 64);
static_assert!(core::mem::offset_of!(Sqe, specific) == 68);

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

/// Completion entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Cqe {
    attributes: U16,
    cid: U16,
    tag: [u8; 16],
    iv: [u8; 12],
    rsvd: [u8; 12],
    tail_len: U32,
    fips: U32,
    len: U32,
    sq_head: U16,
    sq_id: U16,
    code: U16,
    /// Phase in bit 0, status in bits 15:1. Little-endian.
    pub(crate) status: u16,
}

static_assert!(core::mem::size_of::<Cqe>() == 64);
static_assert!(core::mem::offset_of!(Cqe, tail_len) == 44);
static_assert!(core::mem::offset_of!(Cqe, sq_head) == 56);

// SAFETY: All fields are integers or arrays of integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Cqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Cqe {}

impl super::Cqe for Cqe {
    fn route(&self) -> Route {
        Route {
            cid: Cid(self.cid.get()),
            sq_head: self.sq_head.get(),
            sq_id: self.sq_id.get(),
            phase: u16::from_le(self.status) & 1 != 0,
        }
    }

    fn failed(&self) -> bool {
        u16::from_le(self.status) >> 1 != 0 || self.code.get() != 0
    }
}

/// What a completion may report at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expectation {
    /// Length of the destination that the SGL describes, in bytes.
    pub(crate) len: u32,
    /// Length of the tail buffer in bytes, 0 if there is none.
    pub(crate) tail: u8,
}

/// A command that the device executed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Success {
    /// Number of bytes written through the SGL.
    pub(crate) len: u32,
    /// Number of bytes written to the tail buffer.
    pub(crate) tail: u8,
    /// Whether the operation was FIPS-approved.
    pub(crate) fips: bool,
    /// GCM encryption: the tag.
    pub(crate) tag: [u8; 16],
    /// GCM encryption: the initialisation vector that was used.
    pub(crate) iv: [u8; 12],
}

impl Success {
    /// Returns the number of bytes produced.
    pub(crate) fn byte_count(&self) -> u32 {
        self.len.saturating_add(u32::from(self.tail))
    }
}

/// What became of a command that the device completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was executed.
    Done(Success),
    /// It failed. Whatever is in the destination must not reach the caller.
    Failed {
        /// Status, 15 bits.
        status: u16,
        /// Error code, its meaning depends on the status.
        code: u16,
    },
}

/// A completion that claims something impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inconsistent {
    /// Reported number of bytes written through the SGL.
    pub(crate) len: u32,
    /// Reported number of bytes written to the tail buffer.
    pub(crate) tail: u32,
}

/// Checks a completion against what its command asked for.
///
/// # Errors
///
/// Returns [`Inconsistent`] if the device reports success but more bytes than there is room for,
/// or a tail where there is none, or none where there is one.
pub(crate) fn check(cqe: &Cqe, expected: &Expectation) -> Result<Outcome, Inconsistent> {
    let status = u16::from_le(cqe.status) >> 1;
    let code = cqe.code.get();
    if status != 0 || code != 0 {
        return Ok(Outcome::Failed { status, code });
    }
    let inconsistent = Inconsistent {
        len: cqe.len.get(),
        tail: cqe.tail_len.get(),
    };
    let tail = match u8::try_from(inconsistent.tail) {
        Ok(tail) if tail <= expected.tail && (tail == 0) == (expected.tail == 0) => tail,
        _ => return Err(inconsistent),
    };
    if inconsistent.len > expected.len || u32::from(tail) >= BLOCK {
        return Err(inconsistent);
    }
    Ok(Outcome::Done(Success {
        len: inconsistent.len,
        tail,
        fips: cqe.fips.get() != 0,
        tag: cqe.tag,
        iv: cqe.iv,
    }))
}

/// The entries of fast-path queues.
pub(crate) struct Entries;

impl super::Entries for Entries {
    const CLASS: Class = Class::Aes;
    type Sqe = Sqe;
    type Cqe = Cqe;
}
