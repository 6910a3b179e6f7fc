// SPDX-License-Identifier: GPL-2.0

//! Control-path (CP) queue entries: 64-byte commands, 16-byte completions.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::Immutable;

use super::{
    Cid,
    Class,
    Route,
    SessionId,
    ShortAppId, //
};

/// Opcode of a command for the firmware.
const OPCODE_GENERIC: u16 = 0;
/// Opcode of the command that drops a session.
const OPCODE_FLUSH: u16 = 1;

/// Largest buffer that two pages hold.
pub(crate) const MAX_LEN: u32 = 8192;

/// Sessions that the device keeps for a function.
pub(crate) const SESSIONS: u32 = 8;

/// Session control byte, the same in both entries.
mod flags {
    pub(super) const KIND: u8 = 0x03;
    pub(super) const ID_VALID: u8 = 0x04;
    pub(super) const APP_VALID: u8 = 0x08;
    pub(super) const SAFE_TO_CLOSE: u8 = 0x10;
}

/// What a command does to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, it needs none.
    None,
    /// Opens one.
    Open,
    /// Closes one.
    Close,
    /// Runs in one.
    InSession,
}

impl Kind {
    /// Reads the low two bits of a session control byte.
    pub(crate) fn from_flags(byte: u8) -> Self {
        match byte & flags::KIND {
            0 => Self::None,
            1 => Self::Open,
            2 => Self::Close,
            _ => Self::InSession,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Open => 1,
            Self::Close => 2,
            Self::InSession => 3,
        }
    }
}

/// The session part of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// What the command does to sessions.
    pub(crate) kind: Kind,
    /// Whether the caller says that `id` means something.
    pub(crate) id_valid: bool,
    /// Session, passed on to the device for every kind but [`Kind::None`].
    pub(crate) id: SessionId,
}

/// A buffer of up to two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    len: u32,
    prp1: u64,
    prp2: u64,
}

impl Buffer {
    /// No buffer.
    pub(crate) const NONE: Self = Self {
        len: 0,
        prp1: 0,
        prp2: 0,
    };

    /// Returns a buffer of `len` bytes in two pages that start at bus addresses `first` and
    /// `second`.
    ///
    /// Returns [`None`] if it does not fit the pages or one that is needed is not page-aligned.
    pub(crate) fn new(len: u32, first: u64, second: u64) -> Option<Self> {
        const PAGE: u32 = 4096;
        let (prp1, prp2) = match len {
            0 => (0, 0),
            1..=PAGE => (first, 0),
            _ => (first, second),
        };
        let aligned = (prp1 | prp2) % u64::from(PAGE) == 0;
        (len <= MAX_LEN && aligned).then_some(Self { len, prp1, prp2 })
    }
}

/// Submission entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Sqe {
    opcode: U16,
    cid: U16,
    src_len: U32,
    src_prp: [U64; 2],
    dst_len: U32,
    dst_prp: [U64; 2],
    flags: u8,
    rsvd0: [u8; 3],
    session: U16,
    rsvd1: [u8; 14],
}

static_assert!(core::mem::size_of::<Sqe>() == 64);
static_assert!(core::mem::offset_of!(Sqe, dst_prp) == 28);
static_assert!(core::mem::offset_of!(Sqe, flags) == 44);
static_assert!(core::mem::offset_of!(Sqe, session) == 48);

// SAFETY: All fields are integers or arrays of integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Sqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Sqe {}

impl Sqe {
    /// Returns a command for the firmware.
    pub(crate) fn generic(cid: Cid, src: &Buffer, dst: &Buffer, control: &Control) -> Self {
        let (flags, session) = match control.kind {
            Kind::None => (0, 0),
            kind => (
                kind.bits() | if control.id_valid { flags::ID_VALID } else { 0 },
                control.id.0,
            ),
        };
        Self {
            opcode: U16::new(OPCODE_GENERIC),
            cid: U16::new(cid.0),
            src_len: U32::new(src.len),
            src_prp: [U64::new(src.prp1), U64::new(src.prp2)],
            dst_len: U32::new(dst.len),
            dst_prp: [U64::new(dst.prp1), U64::new(dst.prp2)],
            flags,
            rsvd0: [0; 3],
            session: U16::new(session),
            rsvd1: [0; 14],
        }
    }

    /// Returns the command that makes the device drop session `id`.
    pub(crate) fn flush(cid: Cid, id: SessionId) -> Self {
        let mut sqe = Self::generic(
            cid,
            &Buffer::NONE,
            &Buffer::NONE,
            &Control {
                kind: Kind::Close,
                id_valid: true,
                id,
            },
        );
        sqe.opcode = U16::new(OPCODE_FLUSH);
        sqe
    }
}

impl super::Sqe for Sqe {
    fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }
}

/// Completion entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub(crate) struct Cqe {
    byte_count: U16,
    flags: u8,
    rsvd0: u8,
    session: U16,
    app: u8,
    rsvd1: u8,
    sq_head: U16,
    sq_id: U16,
    cid: U16,
    /// Phase in bit 0, status in bits 11:1. Little-endian.
    pub(crate) status: u16,
}

static_assert!(core::mem::size_of::<Cqe>() == 16);

// SAFETY: All fields are integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Cqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Cqe {}

/// What a completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Status, 0 if a response was delivered.
    pub(crate) status: u16,
    /// Length of the response in bytes, as the device claims.
    pub(crate) byte_count: u16,
    /// What the device took the command for.
    pub(crate) kind: Kind,
    /// Session, if the device names one.
    pub(crate) session: Option<SessionId>,
    /// Short application id, if the device names one.
    pub(crate) app: Option<ShortAppId>,
    /// The device no longer holds the session.
    pub(crate) safe_to_close: bool,
}

impl Reply {
    /// Returns the number of bytes of the response that a caller with room for `room` bytes gets.
    pub(crate) fn len(&self, room: u32) -> u32 {
        u32::from(self.byte_count).min(room).min(MAX_LEN)
    }
}

impl Cqe {
    /// Returns what the completion says.
    pub(crate) fn reply(&self) -> Reply {
        let flag = |bit| self.flags & bit != 0;
        Reply {
            status: u16::from_le(self.status) >> 1 & 0x07ff,
            byte_count: self.byte_count.get(),
            kind: Kind::from_flags(self.flags),
            session: flag(flags::ID_VALID).then_some(SessionId(self.session.get())),
            app: flag(flags::APP_VALID).then_some(ShortAppId(self.app)),
            safe_to_close: flag(flags::SAFE_TO_CLOSE),
        }
    }
}

impl super::Cqe for Cqe {
    type Words = [u64; 2];

    fn from_words(words: &Self::Words) -> &Self {
        zerocopy::transmute_ref!(words)
    }

    fn route(&self) -> Route {
        Route {
            cid: Cid(self.cid.get()),
            sq_head: self.sq_head.get(),
            sq_id: self.sq_id.get(),
            phase: u16::from_le(self.status) & 1 != 0,
        }
    }

    fn failed(&self) -> bool {
        self.reply().status != 0
    }
}

/// The entries of control-path queues.
pub(crate) struct Entries;

impl super::Entries for Entries {
    const CLASS: Class = Class::Control;
    type Sqe = Sqe;
    type Cqe = Cqe;
}

#[kunit_tests(azihsm_wire_control)]
mod tests {
    use super::*;

    use crate::wire;

    fn bytes(sqe: Sqe) -> [u8; 64] {
        zerocopy::transmute!(sqe)
    }

    const FIRST: u64 = 0x1111_1111_1111_1000;
    const SECOND: u64 = 0x2222_2222_2222_2000;

    fn control(kind: Kind, id_valid: bool) -> Control {
        Control {
            kind,
            id_valid,
            id: SessionId(0x0504),
        }
    }

    #[test]
    fn buffers_use_the_pages_they_need() {
        let buffer = |len, prp1, prp2| Some(Buffer { len, prp1, prp2 });
        assert_eq!(Buffer::new(0, FIRST, SECOND), Some(Buffer::NONE));
        assert_eq!(Buffer::new(1, FIRST, SECOND), buffer(1, FIRST, 0));
        assert_eq!(Buffer::new(4096, FIRST, SECOND), buffer(4096, FIRST, 0));
        assert_eq!(
            Buffer::new(4097, FIRST, SECOND),
            buffer(4097, FIRST, SECOND)
        );
        assert_eq!(
            Buffer::new(8192, FIRST, SECOND),
            buffer(8192, FIRST, SECOND)
        );
        assert_eq!(Buffer::new(8193, FIRST, SECOND), None);
        assert_eq!(Buffer::new(1, FIRST + 8, SECOND), None);
        assert_eq!(Buffer::new(8192, FIRST, SECOND + 1), None);
        // A page that is not needed is not looked at.
        assert_eq!(Buffer::new(1, FIRST, 1), buffer(1, FIRST, 0));
    }

    #[test]
    fn generic_command_is_encoded() -> Result {
        let src = Buffer::new(100, FIRST, 0).ok_or(EINVAL)?;
        let dst = Buffer::new(8192, FIRST, SECOND).ok_or(EINVAL)?;
        let sqe = Sqe::generic(Cid(0x0807), &src, &dst, &control(Kind::InSession, true));
        let mut want = [0u8; 64];
        want[2..4].copy_from_slice(&[0x07, 0x08]);
        want[4] = 100;
        want[8..16].copy_from_slice(&FIRST.to_le_bytes());
        want[24..28].copy_from_slice(&8192u32.to_le_bytes());
        want[28..36].copy_from_slice(&FIRST.to_le_bytes());
        want[36..44].copy_from_slice(&SECOND.to_le_bytes());
        want[44] = 0x07;
        want[48..50].copy_from_slice(&[0x04, 0x05]);
        assert_eq!(bytes(sqe), want);
        assert_eq!(wire::Sqe::cid(&sqe), Cid(0x0807));
        Ok(())
    }

    #[test]
    fn session_part_follows_the_kind() {
        let part = |kind, id_valid| {
            let sqe = Sqe::generic(
                Cid(0),
                &Buffer::NONE,
                &Buffer::NONE,
                &control(kind, id_valid),
            );
            (sqe.flags, sqe.session.get())
        };
        // Without a session nothing is passed on.
        assert_eq!(part(Kind::None, true), (0x00, 0));
        // Opening with an id passes it on, valid or not.
        assert_eq!(part(Kind::Open, false), (0x01, 0x0504));
        assert_eq!(part(Kind::Open, true), (0x05, 0x0504));
        assert_eq!(part(Kind::Close, true), (0x06, 0x0504));
        assert_eq!(part(Kind::InSession, true), (0x07, 0x0504));
    }

    #[test]
    fn flush_is_encoded() {
        let mut want = [0u8; 64];
        want[0] = 1;
        want[2] = 9;
        want[44] = 0x06;
        want[48] = 5;
        assert_eq!(bytes(Sqe::flush(Cid(9), SessionId(5))), want);
    }

    fn cqe(flags: u8, status: u16) -> Cqe {
        let [low, high] = status.to_le_bytes();
        zerocopy::transmute!([
            0x34u8, 0x12, flags, 0, 0x03, 0x01, 0x55, 0, 0x11, 0, 0x22, 0, 0x33, 0, low, high
        ])
    }

    #[test]
    fn completion_is_parsed() {
        let cqe = cqe(0x0d, 0x0001);
        assert_eq!(
            cqe.reply(),
            Reply {
                status: 0,
                byte_count: 0x1234,
                kind: Kind::Open,
                session: Some(SessionId(0x0103)),
                app: Some(ShortAppId(0x55)),
                safe_to_close: false,
            }
        );
        assert_eq!(
            wire::Cqe::route(&cqe),
            Route {
                cid: Cid(0x33),
                sq_head: 0x11,
                sq_id: 0x22,
                phase: true,
            }
        );
        assert!(!wire::Cqe::failed(&cqe));
    }

    #[test]
    fn ids_without_valid_bit_do_not_exist() {
        let reply = cqe(0xe2, 0x0001).reply();
        assert_eq!(reply.kind, Kind::Close);
        assert_eq!(reply.session, None);
        assert_eq!(reply.app, None);
        assert!(!reply.safe_to_close);
        assert!(cqe(0x16, 0).reply().safe_to_close);
    }

    #[test]
    fn status_has_eleven_bits() {
        assert_eq!(cqe(0, 0x0c6 << 1).reply().status, 0x0c6);
        assert_eq!(cqe(0, 0xffff).reply().status, 0x07ff);
        // The reserved bits above are no failure.
        assert!(!wire::Cqe::failed(&cqe(0, 0xf001)));
        assert!(wire::Cqe::failed(&cqe(0, 0x0002)));
    }

    #[test]
    fn byte_count_is_bounded() {
        let mut reply = cqe(0, 1).reply();
        assert_eq!(reply.len(8192), 0x1234);
        assert_eq!(reply.len(16), 16);
        assert_eq!(reply.len(0), 0);
        reply.byte_count = u16::MAX;
        assert_eq!(reply.len(u32::MAX), MAX_LEN);
    }
}
