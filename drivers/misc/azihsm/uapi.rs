// SPDX-License-Identifier: GPL-2.0

//! Mirrors of the user-space interface.
//!
//! The structures and numbers are those of `include/uapi/linux/azihsm.h`; sizes, offsets and ioctl
//! numbers are asserted at compile time on both sides.

pub(crate) mod uring;

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    ioctl::_IOWR,
    prelude::*, //
};
use zerocopy_derive::Immutable;

mod query;

pub(crate) use query::{
    is_query,
    Query,
    State as QueryState, //
};

/// ioctl type of the HSM node.
// CAST: A character of ASCII.
pub(crate) const MAGIC: u32 = b'B' as u32;

/// Largest control command buffer in bytes, in each direction.
pub(crate) const CP_MAX_LEN: u32 = 8192;

/// Common header of the command ioctls.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Hdr {
    /// Size of the whole structure in bytes.
    pub(crate) size: u32,
    /// Chosen by the caller, echoed.
    pub(crate) cmd_id: u32,
    /// Ignored by the ioctls.
    pub(crate) timeout: u32,
    /// Ignored by the ioctls.
    pub(crate) flags: u32,
}

/// Control-path command.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct CpCmd {
    /// Common header.
    pub(crate) hdr: Hdr,
    /// Chosen by the caller.
    pub(crate) in_ctxt: u64,
    /// Must be 0.
    pub(crate) opc: u16,
    /// Must be 0.
    pub(crate) cmdset: u16,
    /// Ignored.
    pub(crate) psdt: u8,
    pad0: [u8; 3],
    /// Length of the request in bytes.
    pub(crate) src_len: u32,
    pad1: u32,
    /// Address of the request.
    pub(crate) src: u64,
    /// Length of the response buffer in bytes.
    pub(crate) dst_len: u32,
    pad2: u32,
    /// Address of the response buffer.
    pub(crate) dst: u64,
    /// Session control kind and "session id valid".
    pub(crate) session_flags: u8,
    rsvd0: u8,
    /// Session of the command.
    pub(crate) session_id: u16,
    rsvd1: [u8; 16],
    pad3: u32,
    /// Copy of `in_ctxt`.
    pub(crate) out_ctxt: u64,
    /// Device status.
    pub(crate) status: u32,
    /// Number of bytes written to `dst`.
    pub(crate) byte_count: u32,
    /// See [`Ext`].
    pub(crate) extended_status: u32,
    pad4: u32,
}

impl CpCmd {
    /// Session control kind in `session_flags`.
    pub(crate) const SESSION_KIND: u8 = 0x03;
    /// "Session id valid" in `session_flags`.
    pub(crate) const SESSION_ID_VALID: u8 = 0x04;

    /// Replaces what the caller left in the output fields by zeros and the echoed context.
    pub(crate) fn clear_output(&mut self) {
        self.out_ctxt = self.in_ctxt;
        self.status = 0;
        self.byte_count = 0;
        self.extended_status = 0;
        self.pad4 = 0;
    }

    /// Records why the command was not executed.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.extended_status = refusal.ext.0;
        self.byte_count = 0;
    }
}

/// Device information.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct DevInfo {
    /// Size of the structure in bytes.
    pub(crate) argsz: u32,
    /// Controller id.
    pub(crate) ctrl_id: u16,
    /// PCI address, NUL-padded.
    pub(crate) pci_info: [u8; 33],
    /// Serial number, NUL-terminated.
    pub(crate) serial_num: [u8; 33],
    /// Zeros.
    pub(crate) model_num: [u8; 5],
    /// Firmware revision, NUL-terminated.
    pub(crate) firmware_rev: [u8; 33],
    /// Driver version, NUL-padded.
    pub(crate) driver_rev: [u8; 16],
    rsvd: [u8; 17],
    /// Random bytes of this initialisation of the controller.
    pub(crate) device_entropy: [u8; 32],
    pad: u8,
}

/// Reset request.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Reset {
    /// Common header.
    pub(crate) hdr: Hdr,
    ctxt: u64,
    /// See [`ResetKind`].
    pub(crate) abort_type: u32,
    rsvd0: [u8; 80],
    /// See [`ResetStatus`].
    pub(crate) abort_sts: u32,
    rsvd1: [u8; 160],
}

impl Reset {
    /// Returns the kind of reset, [`None`] if there is no such kind.
    pub(crate) fn kind(&self) -> Option<ResetKind> {
        match self.abort_type {
            1 => Some(ResetKind::Subsystem),
            2 => Some(ResetKind::Controller),
            _ => None,
        }
    }
}

/// Kinds of reset that a caller may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetKind {
    /// Subsystem reset of this function (NSSR).
    Subsystem,
    /// Controller disable and enable.
    Controller,
}

/// Results of a reset, as they stand in `abort_sts`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetStatus {
    /// The function was reset and works.
    Done = 0,
    /// Another reset is running.
    InProgress = 1,
    /// The controller is in no state to be reset.
    BadState = 2,
    /// The reset failed.
    Failed = 3,
    /// No such kind of reset.
    BadType = 4,
    /// The administrator does not allow resets of this function.
    NotSupported = 6,
}

/// AES-GCM parameters.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub(crate) struct GcmParams {
    /// Bulk key.
    pub(crate) key_id: u32,
    /// Expected tag.
    pub(crate) tag: [u8; 16],
    /// Initialisation vector.
    pub(crate) iv: [u8; 12],
    /// Length of the additional authenticated data in bytes.
    pub(crate) aad_len: u32,
    /// Length of the padded AAD at the start of the source.
    pub(crate) padded_aad_len: u32,
    /// Non-zero if the source carries padded AAD.
    pub(crate) workaround: u8,
    rsvd: [u8; 3],
}

/// AES-XTS parameters.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
pub(crate) struct XtsParams {
    /// Size of a data unit.
    pub(crate) data_unit: u16,
    rsvd0: u16,
    /// Bulk key of the data key.
    pub(crate) key_id1: u32,
    /// Bulk key of the tweak key.
    pub(crate) key_id2: u32,
    /// Number of the first data unit, little-endian.
    pub(crate) tweak: [u8; 16],
    rsvd1: [u8; 16],
}

/// Fast-path AES command.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Aes {
    /// Common header.
    pub(crate) hdr: Hdr,
    /// Chosen by the caller.
    pub(crate) in_ctxt: u64,
    /// Encrypt (0) or decrypt (1).
    pub(crate) op: u8,
    /// GCM (0) or XTS (1).
    pub(crate) cipher: u8,
    rsvd0: [u8; 2],
    pad0: u32,
    /// Address of the source.
    pub(crate) src: u64,
    /// Length of the source in bytes.
    pub(crate) src_len: u32,
    pad1: u32,
    /// Address of the destination.
    pub(crate) dst: u64,
    /// Length of the destination in bytes.
    pub(crate) dst_len: u32,
    pad2: u32,
    /// Must be 1.
    pub(crate) frame_type: u8,
    pad3: u8,
    /// Session of the file.
    pub(crate) session_id: u16,
    /// Short application id of that session.
    pub(crate) short_app_id: u8,
    pad4: [u8; 3],
    /// See [`gcm`](Self::gcm) and [`xts`](Self::xts).
    pub(crate) params: [u32; 11],
    rsvd1: [u8; 120],
    pad5: u32,
    /// Copy of `in_ctxt`.
    pub(crate) out_ctxt: u64,
    /// Device status.
    pub(crate) result: u32,
    /// Tag computed by GCM encryption.
    pub(crate) tag: [u8; 16],
    /// Number of bytes produced.
    pub(crate) byte_count: u32,
    /// Device error code or [`Ext`].
    pub(crate) extended_status: u32,
    /// 0 or 1.
    pub(crate) fips_approved: u8,
    rsvd2: [u8; 3],
    /// Initialisation vector used by GCM encryption.
    pub(crate) iv: [u8; 12],
    rsvd3: [u8; 104],
    pad6: u32,
}

impl Aes {
    /// The only value of `frame_type`.
    pub(crate) const FRAME: u8 = 1;

    /// Returns the parameters read as those of GCM.
    pub(crate) fn gcm(&self) -> &GcmParams {
        zerocopy::transmute_ref!(&self.params)
    }

    /// Returns the parameters read as those of XTS.
    pub(crate) fn xts(&self) -> &XtsParams {
        zerocopy::transmute_ref!(&self.params)
    }

    /// Replaces what the caller left in the output fields by zeros and the echoed context.
    pub(crate) fn clear_output(&mut self) {
        self.out_ctxt = self.in_ctxt;
        self.result = 0;
        self.tag = [0; 16];
        self.byte_count = 0;
        self.extended_status = 0;
        self.fips_approved = 0;
        self.rsvd2 = [0; 3];
        self.iv = [0; 12];
        self.rsvd3 = [0; 104];
        self.pad6 = 0;
    }

    /// Records what became of the command at the device.
    pub(crate) fn answer(&mut self, answer: &uring::UringResult) {
        self.result = answer.status;
        self.tag = answer.tag;
        self.byte_count = answer.byte_count;
        self.extended_status = answer.extended_status;
        self.fips_approved = answer.fips_approved;
        self.iv = answer.iv;
    }

    /// Records why the command was not executed.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.extended_status = refusal.ext.0;
        self.byte_count = 0;
    }
}

/// Implements the marker traits that user copies need.
macro_rules! user_struct {
    ($($name:ident: $size:literal,)*) => { $(
        static_assert!(size_of::<$name>() == $size);
        // SAFETY: All fields are integers or arrays of integers, for which all bit patterns are
        // valid.
        unsafe impl kernel::transmute::FromBytes for $name {}
        // SAFETY: `IntoBytes` is derived, so the structure has no padding.
        unsafe impl kernel::transmute::AsBytes for $name {}
    )* };
}

pub(crate) mod mgmt;

/// Lets what reads a structure get at the header, which all commands begin with.
macro_rules! has_header {
    ($($name:ident,)*) => { $(
        static_assert!(offset_of!($name, hdr) == 0);
        impl AsMut<Hdr> for $name {
            fn as_mut(&mut self) -> &mut Hdr {
                &mut self.hdr
            }
        }
    )* };
}

has_header! {
    CpCmd,
    Reset,
    Aes,
}

user_struct! {
    Hdr: 16,
    CpCmd: 112,
    DevInfo: 176,
    Reset: 272,
    GcmParams: 44,
    XtsParams: 44,
    Aes: 400,
}

static_assert!(offset_of!(CpCmd, src_len) == 32);
static_assert!(offset_of!(CpCmd, src) == 40);
static_assert!(offset_of!(CpCmd, dst) == 56);
static_assert!(offset_of!(CpCmd, session_flags) == 64);
static_assert!(offset_of!(CpCmd, session_id) == 66);
static_assert!(offset_of!(CpCmd, out_ctxt) == 88);
static_assert!(offset_of!(CpCmd, extended_status) == 104);
static_assert!(offset_of!(DevInfo, serial_num) == 39);
static_assert!(offset_of!(DevInfo, firmware_rev) == 77);
static_assert!(offset_of!(DevInfo, device_entropy) == 143);
static_assert!(offset_of!(Reset, abort_type) == 24);
static_assert!(offset_of!(Reset, abort_sts) == 108);
static_assert!(offset_of!(GcmParams, workaround) == 40);
static_assert!(offset_of!(XtsParams, tweak) == 12);
static_assert!(offset_of!(Aes, src) == 32);
static_assert!(offset_of!(Aes, dst) == 48);
static_assert!(offset_of!(Aes, frame_type) == 64);
static_assert!(offset_of!(Aes, params) == 72);
static_assert!(offset_of!(Aes, out_ctxt) == 240);
static_assert!(offset_of!(Aes, tag) == 252);
static_assert!(offset_of!(Aes, extended_status) == 272);
static_assert!(offset_of!(Aes, iv) == 280);

/// Executes a control-path command.
pub(crate) const IOC_CP_CMD: u32 = _IOWR::<CpCmd>(MAGIC, 0x03);
/// Returns device information.
pub(crate) const IOC_DEV_INFO: u32 = _IOWR::<DevInfo>(MAGIC, 0x04);
/// Resets the function.
pub(crate) const IOC_RESET: u32 = _IOWR::<Reset>(MAGIC, 0x06);
/// Executes an AES-XTS command.
pub(crate) const IOC_AES_XTS: u32 = _IOWR::<Aes>(MAGIC, 0x0b);
/// Executes an AES-GCM command.
pub(crate) const IOC_AES_GCM: u32 = _IOWR::<Aes>(MAGIC, 0x0c);

static_assert!(IOC_CP_CMD == 0xc070_4203);
static_assert!(IOC_DEV_INFO == 0xc0b0_4204);
static_assert!(IOC_RESET == 0xc110_4206);
static_assert!(IOC_AES_XTS == 0xc190_420b);
static_assert!(IOC_AES_GCM == 0xc190_420c);

/// Extended status: why the driver refused a command, or lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ext(pub(crate) u32);

impl Ext {
    /// Success.
    pub(crate) const OK: Self = Self(0);

    /// CP: unknown command set.
    pub(crate) const CMDSET: Self = Self(2);
    /// CP: source too long.
    pub(crate) const SRC_LEN: Self = Self(3);
    /// CP: destination too long.
    pub(crate) const DST_LEN: Self = Self(4);
    /// CP: bad source buffer, or the opcode is not 0.
    pub(crate) const SRC_BUF: Self = Self(5);
    /// CP: bad destination buffer.
    pub(crate) const DST_BUF: Self = Self(7);
    /// Both: the controller is not ready, dead or gone.
    pub(crate) const NOT_READY: Self = Self(10);
    /// CP: the file has a session already.
    pub(crate) const SESSION_LIMIT: Self = Self(11);
    /// CP: the file has no session.
    pub(crate) const NO_SESSION: Self = Self(12);
    /// CP: not the session of the file.
    pub(crate) const SESSION_MISMATCH: Self = Self(14);

    /// AES: out of memory, or a buffer cannot be read or written.
    pub(crate) const AES_NO_MEMORY: Self = Self(100);
    /// AES: bad source buffer.
    pub(crate) const AES_SRC: Self = Self(101);
    /// AES: bad destination buffer.
    pub(crate) const AES_DST: Self = Self(103);
    /// AES: the device's answer makes no sense.
    pub(crate) const AES_INCONSISTENT: Self = Self(106);
    /// AES: not the session of the file.
    pub(crate) const AES_SESSION_ID: Self = Self(107);
    /// AES: not the short application id of the file.
    pub(crate) const AES_SHORT_APP_ID: Self = Self(108);
    /// AES: the file has no session.
    pub(crate) const AES_NO_SESSION: Self = Self(109);
    /// AES: the session has no short application id.
    pub(crate) const AES_NO_APP_ID: Self = Self(110);
    /// AES: the function has no fast-path queues.
    pub(crate) const AES_NO_QUEUE: Self = Self(111);
    /// AES: unknown cipher, or not that of the ioctl.
    pub(crate) const AES_CIPHER: Self = Self(112);
    /// AES: unknown frame type.
    pub(crate) const AES_FRAME_TYPE: Self = Self(113);
    /// AES: unknown operation.
    pub(crate) const AES_OP: Self = Self(114);
    /// AES: bad GCM lengths.
    pub(crate) const AES_GCM: Self = Self(117);
    /// AES: bad XTS lengths.
    pub(crate) const AES_XTS: Self = Self(118);

    /// Both: the controller is being reset.
    pub(crate) const ABORT_IN_PROGRESS: Self = Self(0x0400_0001);
    /// Both: the command was lost to a reset.
    pub(crate) const ABORTED: Self = Self(0x0400_0002);
}

/// Why a command was refused: what the ioctl returns and what it writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Error of the ioctl.
    pub(crate) errno: Error,
    /// Extended status.
    pub(crate) ext: Ext,
}

impl Refusal {
    /// Returns a refusal.
    pub(crate) fn new(errno: Error, ext: Ext) -> Self {
        Self { errno, ext }
    }

    /// Returns the refusal of a bad field.
    pub(crate) fn invalid(ext: Ext) -> Self {
        Self::new(EINVAL, ext)
    }
}

#[kunit_tests(azihsm_uapi)]
mod tests {
    use super::*;

    fn aes(byte: u8) -> Aes {
        zerocopy::transmute!([byte; 400])
    }

    #[test]
    fn output_is_cleared() {
        let mut cmd: CpCmd = zerocopy::transmute!([0xa5u8; 112]);
        cmd.clear_output();
        let bytes: [u8; 112] = zerocopy::transmute!(cmd);
        assert!(bytes[..96].iter().all(|byte| *byte == 0xa5));
        assert!(bytes[96..].iter().all(|byte| *byte == 0));

        let mut cmd = aes(0xa5);
        cmd.clear_output();
        let bytes: [u8; 400] = zerocopy::transmute!(cmd);
        assert!(bytes[..248].iter().all(|byte| *byte == 0xa5));
        assert!(bytes[248..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn refusal_is_recorded() {
        let mut cmd: CpCmd = zerocopy::transmute!([0xffu8; 112]);
        cmd.refuse(&Refusal::invalid(Ext::SESSION_LIMIT));
        assert_eq!((cmd.extended_status, cmd.byte_count), (11, 0));
        let mut cmd = aes(0xff);
        cmd.refuse(&Refusal::new(EAGAIN, Ext::ABORTED));
        assert_eq!((cmd.extended_status, cmd.byte_count), (0x0400_0002, 0));
    }

    #[test]
    fn parameters_depend_on_the_cipher() {
        let mut bytes = [0u8; 400];
        bytes[72..76].copy_from_slice(&0x1122_3344u32.to_le_bytes());
        bytes[76] = 0x55;
        bytes[84] = 0x66;
        bytes[92] = 0x77;
        bytes[104] = 0x88;
        bytes[108] = 0x99;
        bytes[112] = 0xaa;
        let cmd: Aes = zerocopy::transmute!(bytes);
        let gcm = cmd.gcm();
        assert_eq!(gcm.key_id, 0x1122_3344);
        assert_eq!((gcm.tag[0], gcm.iv[0]), (0x55, 0x77));
        assert_eq!((gcm.aad_len, gcm.padded_aad_len), (0x88, 0x99));
        assert_eq!(gcm.workaround, 0xaa);
        let xts = cmd.xts();
        assert_eq!(xts.data_unit, 0x3344);
        assert_eq!((xts.key_id1, xts.key_id2), (0x55, 0));
        assert_eq!(xts.tweak[0], 0x66);
    }

    #[test]
    fn resets_have_kinds() {
        let kind = |abort_type| {
            let mut reset: Reset = zerocopy::transmute!([0u8; 272]);
            reset.abort_type = abort_type;
            reset.kind()
        };
        assert_eq!(kind(0), None);
        assert_eq!(kind(1), Some(ResetKind::Subsystem));
        assert_eq!(kind(2), Some(ResetKind::Controller));
        assert_eq!(kind(3), None);
        assert_eq!(kind(u32::MAX), None);
    }
}
