// SPDX-License-Identifier: GPL-2.0

//! Validation of control-path commands.

use kernel::prelude::*;

use crate::{
    uapi::{
        CpCmd,
        Ext,
        Refusal,
        CP_MAX_LEN, //
    },
    wire::{
        control::{
            Control,
            Kind, //
        },
        SessionId, //
    },
};

/// A control-path command with valid fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// User address of the request, 0 if there is none.
    pub(crate) src: u64,
    /// Length of the request in bytes.
    pub(crate) src_len: u32,
    /// User address of the response buffer, 0 if there is none.
    pub(crate) dst: u64,
    /// Length of the response buffer in bytes.
    pub(crate) dst_len: u32,
    /// Session part.
    pub(crate) control: Control,
}

impl Request {
    /// Validates the fields of a command, in the documented order.
    ///
    /// The session part is checked by [`Slot::begin`](crate::session::Slot::begin).
    ///
    /// # Errors
    ///
    /// Returns the first reason to refuse the command.
    pub(crate) fn validate(cmd: &CpCmd) -> Result<Self, Refusal> {
        let ext = if cmd.cmdset != 0 {
            Ext::CMDSET
        } else if cmd.opc != 0 {
            Ext::SRC_BUF
        } else if cmd.src_len > CP_MAX_LEN {
            Ext::SRC_LEN
        } else if cmd.dst_len > CP_MAX_LEN {
            Ext::DST_LEN
        } else if (cmd.src_len == 0) != (cmd.src == 0) {
            Ext::SRC_BUF
        } else if (cmd.dst_len == 0) != (cmd.dst == 0) {
            Ext::DST_BUF
        } else {
            return Ok(Self {
                src: cmd.src,
                src_len: cmd.src_len,
                dst: cmd.dst,
                dst_len: cmd.dst_len,
                control: Control {
                    kind: Kind::from_flags(cmd.session_flags & CpCmd::SESSION_KIND),
                    id_valid: cmd.session_flags & CpCmd::SESSION_ID_VALID != 0,
                    id: SessionId(cmd.session_id),
                },
            });
        };
        Err(Refusal::invalid(ext))
    }
}

#[kunit_tests(azihsm_request_control)]
mod tests {
    use super::*;

    fn good() -> CpCmd {
        let mut cmd: CpCmd = zerocopy::transmute!([0u8; 112]);
        cmd.src = 0x1000;
        cmd.src_len = 16;
        cmd.dst = 0x2000;
        cmd.dst_len = 8192;
        cmd.session_flags = 0x07;
        cmd.session_id = 5;
        cmd
    }

    fn refused(edit: impl FnOnce(&mut CpCmd)) -> Option<Refusal> {
        let mut cmd = good();
        edit(&mut cmd);
        Request::validate(&cmd).err()
    }

    fn with(ext: Ext) -> Option<Refusal> {
        Some(Refusal::invalid(ext))
    }

    #[test]
    fn good_command_passes() {
        assert_eq!(
            Request::validate(&good()),
            Ok(Request {
                src: 0x1000,
                src_len: 16,
                dst: 0x2000,
                dst_len: 8192,
                control: Control {
                    kind: Kind::InSession,
                    id_valid: true,
                    id: SessionId(5),
                },
            })
        );
    }

    #[test]
    fn ignored_fields_are_ignored() {
        assert_eq!(refused(|cmd| cmd.psdt = 0xff), None);
        assert_eq!(refused(|cmd| cmd.session_flags = 0xf8), None);
        assert_eq!(refused(|cmd| cmd.hdr.flags = u32::MAX), None);
        assert_eq!(refused(|cmd| cmd.hdr.timeout = u32::MAX), None);
    }

    #[test]
    fn empty_buffers_pass() {
        assert_eq!(refused(|cmd| (cmd.src, cmd.src_len) = (0, 0)), None);
        assert_eq!(refused(|cmd| (cmd.dst, cmd.dst_len) = (0, 0)), None);
    }

    #[test]
    fn bad_fields_are_refused() {
        assert_eq!(refused(|cmd| cmd.cmdset = 1), with(Ext::CMDSET));
        assert_eq!(refused(|cmd| cmd.opc = 1), with(Ext::SRC_BUF));
        assert_eq!(refused(|cmd| cmd.opc = 0x400), with(Ext::SRC_BUF));
        assert_eq!(refused(|cmd| cmd.src_len = 8192), None);
        assert_eq!(refused(|cmd| cmd.src_len = 8193), with(Ext::SRC_LEN));
        assert_eq!(refused(|cmd| cmd.dst_len = 8193), with(Ext::DST_LEN));
        assert_eq!(refused(|cmd| cmd.src_len = u32::MAX), with(Ext::SRC_LEN));
        assert_eq!(refused(|cmd| cmd.src_len = 0), with(Ext::SRC_BUF));
        assert_eq!(refused(|cmd| cmd.src = 0), with(Ext::SRC_BUF));
        assert_eq!(refused(|cmd| cmd.dst_len = 0), with(Ext::DST_BUF));
        assert_eq!(refused(|cmd| cmd.dst = 0), with(Ext::DST_BUF));
    }

    #[test]
    fn first_reason_counts() {
        let mut cmd: CpCmd = zerocopy::transmute!([0xffu8; 112]);
        let mut next = |ext, fix: fn(&mut CpCmd)| {
            let found = Request::validate(&cmd).err();
            fix(&mut cmd);
            found == with(ext)
        };
        assert!(next(Ext::CMDSET, |cmd| cmd.cmdset = 0));
        assert!(next(Ext::SRC_BUF, |cmd| cmd.opc = 0));
        assert!(next(Ext::SRC_LEN, |cmd| cmd.src_len = 0));
        assert!(next(Ext::DST_LEN, |cmd| cmd.dst_len = 0));
        assert!(next(Ext::SRC_BUF, |cmd| cmd.src = 0));
        assert!(next(Ext::DST_BUF, |cmd| cmd.dst = 0));
        assert!(Request::validate(&cmd).is_ok());
    }
}
