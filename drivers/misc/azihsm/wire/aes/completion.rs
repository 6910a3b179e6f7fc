// SPDX-License-Identifier: GPL-2.0

//! Fast-path completions and what they may claim.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32, //
};
use zerocopy_derive::Immutable;

use super::BLOCK;
use crate::wire::{
    self,
    Cid,
    Route, //
};

/// Completion entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
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

impl Cqe {
    /// Returns whether the operation was FIPS-approved; of a command that succeeded.
    pub(crate) fn is_fips(&self) -> bool {
        self.fips.get() != 0
    }

    /// Returns the tag; of GCM encryption that succeeded.
    pub(crate) fn tag(&self) -> &[u8; 16] {
        &self.tag
    }

    /// Returns the initialisation vector that was used; of GCM encryption that succeeded.
    pub(crate) fn iv(&self) -> &[u8; 12] {
        &self.iv
    }
}

impl wire::Cqe for Cqe {
    type Words = [u64; 8];

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
    }))
}

#[kunit_tests(azihsm_wire_aes_completion)]
mod tests {
    use super::*;

    /// Returns a completion with the given lengths, error code and status.
    fn cqe(len: u32, tail: u32, code: u16, status: u16) -> Cqe {
        let mut raw = [0u8; 64];
        raw[2] = 0x33;
        raw[4..20].fill(0x11);
        raw[20..32].fill(0x22);
        raw[44..48].copy_from_slice(&tail.to_le_bytes());
        raw[48] = 0x80;
        raw[52..56].copy_from_slice(&len.to_le_bytes());
        raw[56] = 0x44;
        raw[59] = 0x01;
        raw[60..62].copy_from_slice(&code.to_le_bytes());
        raw[62..64].copy_from_slice(&(status << 1 | 1).to_le_bytes());
        zerocopy::transmute!(raw)
    }

    #[test]
    fn completion_is_routed() {
        let cqe = cqe(0, 0, 0, 0);
        assert_eq!(
            wire::Cqe::route(&cqe),
            Route {
                cid: Cid(0x33),
                sq_head: 0x44,
                sq_id: 0x0100,
                phase: true,
            }
        );
        assert!(!wire::Cqe::failed(&cqe));
    }

    #[test]
    fn success_is_reported() {
        let expected = Expectation { len: 64, tail: 5 };
        let success = Success { len: 64, tail: 5 };
        let full = cqe(64, 5, 0, 0);
        assert_eq!(success.byte_count(), 69);
        assert_eq!(check(&full, &expected), Ok(Outcome::Done(success)));
        assert!(full.is_fips());
        assert_eq!((full.tag(), full.iv()), (&[0x11; 16], &[0x22; 12]));
        // Less is fine.
        let short = Success { len: 0, tail: 1 };
        assert_eq!(check(&cqe(0, 1, 0, 0), &expected), Ok(Outcome::Done(short)));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let bad = |len, tail, expected: &Expectation| {
            check(&cqe(len, tail, 0, 0), expected) == Err(Inconsistent { len, tail })
        };
        let none = Expectation { len: 64, tail: 0 };
        assert!(bad(65, 0, &none));
        assert!(bad(u32::MAX, 0, &none));
        assert!(bad(64, 1, &none));
        assert!(bad(64, 256, &none));
        let some = Expectation { len: 64, tail: 5 };
        assert!(bad(64, 0, &some));
        assert!(bad(64, 6, &some));
        assert!(bad(64, 256 + 5, &some));
        assert!(bad(64, u32::MAX, &some));
        // No tail is as long as a block, whatever was expected.
        assert!(bad(64, 16, &Expectation { len: 64, tail: 16 }));
    }

    #[test]
    fn failure_is_reported_whatever_the_lengths() {
        let expected = Expectation { len: 64, tail: 0 };
        let failed = |status, code| Ok(Outcome::Failed { status, code });
        assert_eq!(check(&cqe(99, 99, 9, 3), &expected), failed(3, 9));
        // The status has 15 bits, and a code alone is a failure too.
        assert_eq!(check(&cqe(0, 0, 0, 0x7fff), &expected), failed(0x7fff, 0));
        assert_eq!(check(&cqe(64, 0, 1, 0), &expected), failed(0, 1));
        assert!(wire::Cqe::failed(&cqe(64, 0, 1, 0)));
        assert!(wire::Cqe::failed(&cqe(64, 0, 0, 0x4000)));
    }
}
