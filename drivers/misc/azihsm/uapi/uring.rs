// SPDX-License-Identifier: GPL-2.0

//! Mirrors of the structures of io_uring commands, and what they have in common with the ioctls.
//!
//! A payload is turned into the structure of the ioctl that does the same, or looks like it to the
//! validation, so that there is one set of rules for both.

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    ioctl::_IOWR,
    prelude::*,
    time::Delta, //
};
use zerocopy_derive::Immutable;

use super::{
    Aes,
    CpCmd,
    MAGIC, //
};

use crate::{
    kapi::uring::{
        Payload,
        PAYLOAD, //
    },
    request::aes::{
        Asked,
        Params, //
    },
};

/// What does not fit into a completion queue entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes)]
pub(crate) struct UringResult {
    /// Device status.
    pub(crate) status: u32,
    /// Device error code or [`Ext`](super::Ext).
    pub(crate) extended_status: u32,
    /// Number of bytes produced.
    pub(crate) byte_count: u32,
    /// 0 or 1.
    pub(crate) fips_approved: u8,
    /// Zeros.
    pub(crate) rsvd0: [u8; 3],
    /// Tag computed by GCM encryption.
    pub(crate) tag: [u8; 16],
    /// Initialisation vector used by GCM encryption.
    pub(crate) iv: [u8; 12],
    /// Zeros.
    pub(crate) rsvd1: [u8; 20],
}

/// What all payloads begin with.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
struct Head {
    flags: u16,
    timeout_ms: u16,
    session_id: u16,
}

/// What all payloads end with.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
struct Buffers {
    src: u64,
    dst: u64,
    result: u64,
    src_len: u32,
    dst_len: u32,
}

/// Payload of a control-path command.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
struct Cp {
    head: Head,
    session_flags: u8,
    rsvd: [u8; 41],
    buffers: Buffers,
}

/// Payload of an AES-GCM command.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub(crate) struct Gcm {
    head: Head,
    short_app_id: u8,
    rsvd: u8,
    key_id: u32,
    iv: [u8; 12],
    tag: [u8; 16],
    aad_len: u32,
    padded_aad_len: u32,
    buffers: Buffers,
}

/// Payload of an AES-XTS command.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub(crate) struct Xts {
    head: Head,
    short_app_id: u8,
    data_unit: u8,
    key_id1: u32,
    key_id2: u32,
    tweak: [u8; 16],
    rsvd: [u8; 16],
    buffers: Buffers,
}

static_assert!(size_of::<UringResult>() == 64);
static_assert!(offset_of!(UringResult, tag) == 16);
static_assert!(offset_of!(UringResult, iv) == 32);
static_assert!(size_of::<Cp>() == PAYLOAD);
static_assert!(size_of::<Gcm>() == PAYLOAD);
static_assert!(size_of::<Xts>() == PAYLOAD);
static_assert!(offset_of!(Cp, session_flags) == 6);
static_assert!(offset_of!(Cp, buffers) == 48);
static_assert!(offset_of!(Gcm, key_id) == 8);
static_assert!(offset_of!(Gcm, iv) == 12);
static_assert!(offset_of!(Gcm, tag) == 24);
static_assert!(offset_of!(Gcm, aad_len) == 40);
static_assert!(offset_of!(Gcm, buffers) == 48);
static_assert!(offset_of!(Xts, data_unit) == 7);
static_assert!(offset_of!(Xts, tweak) == 16);
static_assert!(offset_of!(Xts, buffers) == 48);

// SAFETY: All fields are integers or arrays of integers, and there is no padding, as `IntoBytes` is
// derived.
unsafe impl kernel::transmute::AsBytes for UringResult {}

/// Executes a control-path command.
pub(crate) const CMD_CP: u32 = _IOWR::<Cp>(MAGIC, 0x21);
/// Executes an AES-GCM command.
pub(crate) const CMD_GCM: u32 = _IOWR::<Gcm>(MAGIC, 0x22);
/// Executes an AES-XTS command.
pub(crate) const CMD_XTS: u32 = _IOWR::<Xts>(MAGIC, 0x23);

static_assert!(CMD_CP == 0xc050_4221);
static_assert!(CMD_GCM == 0xc050_4222);
static_assert!(CMD_XTS == 0xc050_4223);

/// Decrypts instead of encrypting.
const DECRYPT: u16 = 1 << 0;
/// The source of GCM carries padded AAD.
const WORKAROUND: u16 = 1 << 1;

/// What a payload says besides the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    /// User address of a [`UringResult`], 0 if there is none.
    pub(crate) result: u64,
    /// Longest time the command may take at the device, if the caller has one in mind.
    pub(crate) timeout: Option<Delta>,
}

impl Extra {
    fn new(head: &Head, buffers: &Buffers) -> Self {
        let timeout = Delta::from_millis(i64::from(head.timeout_ms));
        Self {
            result: buffers.result,
            timeout: (head.timeout_ms != 0).then_some(timeout),
        }
    }
}

/// Returns a structure of zeros.
fn zeroed<T: zerocopy::FromZeros>() -> T {
    T::new_zeroed()
}

/// Reads the payload of a control-path command.
///
/// # Errors
///
/// [`EINVAL`] if something is set that has no meaning.
pub(crate) fn control(payload: &Payload) -> Result<(CpCmd, Extra)> {
    let Cp {
        head,
        session_flags,
        rsvd,
        buffers,
    } = zerocopy::transmute_ref!(payload);
    let known = CpCmd::SESSION_KIND | CpCmd::SESSION_ID_VALID;
    if head.flags != 0 || *session_flags & !known != 0 || *rsvd != [0; 41] {
        return Err(EINVAL);
    }
    let mut cmd: CpCmd = zeroed();
    cmd.session_flags = *session_flags;
    cmd.session_id = head.session_id;
    cmd.src = buffers.src;
    cmd.src_len = buffers.src_len;
    cmd.dst = buffers.dst;
    cmd.dst_len = buffers.dst_len;
    Ok((cmd, Extra::new(head, buffers)))
}

/// Reads the payload of an AES-GCM command.
///
/// # Errors
///
/// [`EINVAL`] if something is set that has no meaning.
#[inline]
pub(crate) fn gcm(payload: &Payload) -> Result<&Gcm> {
    let gcm: &Gcm = zerocopy::transmute_ref!(payload);
    if gcm.head.flags & !(DECRYPT | WORKAROUND) != 0 || gcm.rsvd != 0 {
        return Err(EINVAL);
    }
    Ok(gcm)
}

/// Reads the payload of an AES-XTS command.
///
/// # Errors
///
/// [`EINVAL`] if something is set that has no meaning.
#[inline]
pub(crate) fn xts(payload: &Payload) -> Result<&Xts> {
    let xts: &Xts = zerocopy::transmute_ref!(payload);
    if xts.head.flags & !DECRYPT != 0 || xts.rsvd != [0; 16] {
        return Err(EINVAL);
    }
    Ok(xts)
}

/// What the payloads of both ciphers tell besides the command.
pub(crate) trait AesPayload: Asked {
    /// Returns that.
    fn extra(&self) -> Extra;
}

/// Implements what is the same for both ciphers.
macro_rules! aes_payload {
    ($name:ident, $cipher:literal, $params:expr) => {
        impl AesPayload for $name {
            fn extra(&self) -> Extra {
                Extra::new(&self.head, &self.buffers)
            }
        }

        impl Asked for $name {
            fn op(&self) -> u8 {
                // CAST: A single bit.
                (self.head.flags & DECRYPT) as u8
            }

            fn cipher(&self) -> u8 {
                $cipher
            }

            fn frame_type(&self) -> u8 {
                Aes::FRAME
            }

            fn session_id(&self) -> u16 {
                self.head.session_id
            }

            fn short_app_id(&self) -> u8 {
                self.short_app_id
            }

            fn source(&self) -> (u64, u32) {
                (self.buffers.src, self.buffers.src_len)
            }

            fn destination(&self) -> (u64, u32) {
                (self.buffers.dst, self.buffers.dst_len)
            }

            fn params(&self) -> Params<'_> {
                let params: fn(&Self) -> Params<'_> = $params;
                params(self)
            }
        }
    };
}

aes_payload!(Gcm, 0, |gcm| Params::Gcm {
    key_id: gcm.key_id,
    iv: &gcm.iv,
    tag: &gcm.tag,
    aad_len: gcm.aad_len,
    padded_aad_len: gcm.padded_aad_len,
    workaround: gcm.head.flags & WORKAROUND != 0,
});

aes_payload!(Xts, 1, |xts| Params::Xts {
    data_unit: xts.data_unit.into(),
    key_id1: xts.key_id1,
    key_id2: xts.key_id2,
    tweak: &xts.tweak,
});

#[kunit_tests(azihsm_uapi_uring)]
mod tests {
    use super::*;

    /// A payload whose bytes all differ, with the flags given.
    fn payload(flags: u8) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        for (value, byte) in (0u8..).zip(payload.iter_mut()) {
            *byte = value;
        }
        payload[0] = flags;
        payload[1] = 0;
        payload
    }

    #[test]
    fn gcm_is_the_ioctl() -> Result {
        let mut bytes = payload(3);
        bytes[7] = 0;
        let words: Payload = zerocopy::transmute!(bytes);
        let cmd = gcm(&words)?;
        assert_eq!((cmd.op(), cmd.cipher(), cmd.frame_type()), (1, 0, 1));
        assert_eq!((cmd.session_id(), cmd.short_app_id()), (0x0504, 6));
        assert_eq!(cmd.source(), (0x3736_3534_3332_3130, 0x4b4a_4948));
        assert_eq!(cmd.destination(), (0x3f3e_3d3c_3b3a_3938, 0x4f4e_4d4c));
        let Params::Gcm {
            key_id,
            iv,
            tag,
            aad_len,
            padded_aad_len,
            workaround,
        } = cmd.params()
        else {
            return Err(EINVAL);
        };
        assert_eq!(key_id, 0x0b0a_0908);
        assert_eq!((iv[0], iv[11]), (12, 23));
        assert_eq!((tag[0], tag[15]), (24, 39));
        assert_eq!((aad_len, padded_aad_len), (0x2b2a_2928, 0x2f2e_2d2c));
        assert!(workaround);
        let extra = cmd.extra();
        assert_eq!(extra.result, 0x4746_4544_4342_4140);
        assert!(extra.timeout == Some(Delta::from_millis(0x0302)));
        Ok(())
    }

    #[test]
    fn xts_is_the_ioctl() -> Result {
        let mut bytes = payload(0);
        bytes[2..4].fill(0);
        bytes[32..48].fill(0);
        let words: Payload = zerocopy::transmute!(bytes);
        let cmd = xts(&words)?;
        assert_eq!((cmd.op(), cmd.cipher(), cmd.frame_type()), (0, 1, 1));
        let Params::Xts {
            data_unit,
            key_id1,
            key_id2,
            tweak,
        } = cmd.params()
        else {
            return Err(EINVAL);
        };
        assert_eq!(data_unit, 7);
        assert_eq!((key_id1, key_id2), (0x0b0a_0908, 0x0f0e_0d0c));
        assert_eq!((tweak[0], tweak[15]), (16, 31));
        assert_eq!(cmd.extra().timeout, None);
        Ok(())
    }

    #[test]
    fn control_is_the_ioctl() -> Result {
        let mut bytes = payload(0);
        bytes[7..48].fill(0);
        let (cmd, _) = control(&zerocopy::transmute!(bytes))?;
        assert_eq!((cmd.session_flags, cmd.session_id), (6, 0x0504));
        assert_eq!((cmd.opc, cmd.cmdset, cmd.psdt), (0, 0, 0));
        assert_eq!(cmd.src, 0x3736_3534_3332_3130);
        assert_eq!((cmd.src_len, cmd.dst_len), (0x4b4a_4948, 0x4f4e_4d4c));
        Ok(())
    }

    #[test]
    fn what_is_reserved_must_be_zero() {
        let set = |at: usize, value: u8| {
            let mut payload = [0; PAYLOAD];
            payload[at] = value;
            let words: Payload = zerocopy::transmute!(payload);
            words
        };
        for bit in 0..16 {
            let flags = set(bit / 8, 1 << (bit % 8));
            assert_eq!(control(&flags).is_ok(), false);
            assert_eq!(gcm(&flags).is_ok(), bit < 2);
            assert_eq!(xts(&flags).is_ok(), bit < 1);
        }
        for at in 7..48 {
            assert!(control(&set(at, 1)).is_err());
        }
        assert!(control(&set(6, 7)).is_ok());
        assert!(control(&set(6, 8)).is_err());
        assert!(gcm(&set(7, 1)).is_err());
        for at in 32..48 {
            assert!(xts(&set(at, 1)).is_err());
        }
        for at in 48..PAYLOAD {
            assert!(control(&set(at, 1)).is_ok());
            assert!(gcm(&set(at, 1)).is_ok());
            assert!(xts(&set(at, 1)).is_ok());
        }
    }
}
