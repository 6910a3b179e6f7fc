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
