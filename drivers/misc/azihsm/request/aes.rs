// SPDX-License-Identifier: GPL-2.0

//! Validation of fast-path AES commands.

use kernel::prelude::*;

use crate::{
    session::Session,
    uapi::{
        Aes,
        Ext,
        Refusal, //
    },
    wire::{
        aes::{
            Cipher,
            Command,
            DataUnit,
            Expectation,
            Op,
            Tail,
            Transfer,
            BLOCK, //
        },
        identify::Capabilities,
        sgl::Descriptor,
        KeyId,
        SessionId,
        ShortAppId, //
    },
};

/// Frame type of AES commands.
const FRAME_AES: u8 = 1;
/// Padded AAD is a multiple of this many bytes.
const AAD_GRANULE: u32 = 32;

/// The cipher that an ioctl is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// AES-GCM.
    Gcm,
    /// AES-XTS.
    Xts,
}

impl Mode {
    fn value(self) -> u8 {
        match self {
            Self::Gcm => 0,
            Self::Xts => 1,
        }
    }
}

/// What the validation of a command depends on besides the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The cipher that the ioctl is for.
    pub(crate) mode: Mode,
    /// The session of the file.
    pub(crate) session: Option<Session>,
    /// What the firmware can do.
    pub(crate) capabilities: Capabilities,
    /// Whether the function has fast-path queues.
    pub(crate) has_queues: bool,
}

/// An AES command with valid fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Direction.
    pub(crate) op: Op,
    /// Session.
    pub(crate) session: SessionId,
    /// Short application id.
    pub(crate) app: ShortAppId,
    /// Cipher.
    pub(crate) cipher: Cipher,
    /// User address of the source.
    pub(crate) src: u64,
    /// User address of the destination.
    pub(crate) dst: u64,
    /// Number of source bytes that go through the SGL. The tail follows them.
    pub(crate) src_len: u32,
    /// Number of destination bytes that go through the SGL. The tail goes to offset `src_len`.
    pub(crate) dst_len: u32,
    /// Number of bytes of the tail, 0 to 15.
    pub(crate) tail: u8,
}

impl Request {
    /// Validates the fields of a command, in the documented order.
    ///
    /// `access` tells whether a user range lies in the caller's address space.
    ///
    /// # Errors
    ///
    /// Returns the reason to refuse the command that takes precedence.
    pub(crate) fn validate(
        cmd: &Aes,
        context: &Context,
        access: impl Fn(u64, u32) -> bool,
    ) -> Result<Self, Refusal> {
        let queues = if context.has_queues {
            Ok(())
        } else {
            Err(Ext::AES_NO_QUEUE)
        };
        Self::check(cmd, context, access)
            .and_then(|request| queues.map(|()| request))
            .map_err(|ext| match (queues, ext) {
                // Only these take precedence over the lack of queues.
                (_, ext) if (107..=114).contains(&ext.0) => ext,
                (Err(ext), _) => ext,
                (Ok(()), ext) => ext,
            })
            .map_err(Refusal::invalid)
    }

    fn check(cmd: &Aes, context: &Context, access: impl Fn(u64, u32) -> bool) -> Result<Self, Ext> {
        let session = context.session.ok_or(Ext::AES_NO_SESSION)?;
        let app = session.app.ok_or(Ext::AES_NO_APP_ID)?;
        if cmd.session_id != session.id.0 {
            return Err(Ext::AES_SESSION_ID);
        }
        if cmd.short_app_id != app.0 {
            return Err(Ext::AES_SHORT_APP_ID);
        }
        let op = match cmd.op {
            0 => Op::Encrypt,
            1 => Op::Decrypt,
            _ => return Err(Ext::AES_OP),
        };
        if cmd.cipher != context.mode.value() {
            return Err(Ext::AES_CIPHER);
        }

        let (cipher, tail) = match context.mode {
            Mode::Gcm => Self::check_gcm(cmd, context.capabilities)?,
            Mode::Xts => (Self::check_xts(cmd)?, 0),
        };

        // A range outside the address space takes precedence over what is wrong before it.
        if !access(cmd.dst, cmd.dst_len) {
            return Err(Ext::AES_DST);
        }
        if !access(cmd.src, cmd.src_len) {
            return Err(Ext::AES_SRC);
        }
        if cmd.frame_type != FRAME_AES {
            return Err(Ext::AES_FRAME_TYPE);
        }
        if cmd.src == 0 || cmd.src_len == 0 {
            return Err(Ext::AES_SRC);
        }
        if cmd.dst == 0 || cmd.dst_len == 0 {
            return Err(Ext::AES_DST);
        }

        // The device writes as many bytes as it reads: it need not see more room than that.
        let tail_len = u32::from(tail);
        Ok(Self {
            op,
            session: session.id,
            app,
            cipher,
            src: cmd.src,
            dst: cmd.dst,
            src_len: cmd.src_len - tail_len,
            dst_len: cmd.dst_len.min(cmd.src_len) - tail_len,
            tail,
        })
    }

    /// Returns the cipher and the length of the tail.
    fn check_gcm(cmd: &Aes, capabilities: Capabilities) -> Result<(Cipher, u8), Ext> {
        let params = cmd.gcm();
        let workaround = capabilities.gcm_workaround && params.workaround != 0;
        let text_len = cmd
            .src_len
            .checked_sub(params.aad_len)
            .filter(|len| *len > 0)
            .ok_or(Ext::AES_GCM)?;
        let room = if workaround { cmd.src_len } else { text_len };
        if cmd.dst_len < room {
            return Err(Ext::AES_GCM);
        }
        let mut tail = 0;
        if workaround {
            let padded = params.padded_aad_len;
            if padded < params.aad_len || padded % AAD_GRANULE != 0 || padded > cmd.src_len {
                return Err(Ext::AES_GCM);
            }
            // CAST: Less than a block.
            tail = (cmd.src_len % BLOCK) as u8;
        }
        Ok((
            Cipher::Gcm {
                key: KeyId(params.key_id),
                iv: params.iv,
                tag: params.tag,
                aad_len: params.aad_len,
                padded_aad_len: params.padded_aad_len,
            },
            tail,
        ))
    }

    fn check_xts(cmd: &Aes) -> Result<Cipher, Ext> {
        let params = cmd.xts();
        let unit = DataUnit::new(params.data_unit).ok_or(Ext::AES_XTS)?;
        let bytes = unit.bytes(cmd.src_len);
        if cmd.dst_len < cmd.src_len || bytes == 0 || cmd.src_len % bytes != 0 {
            return Err(Ext::AES_XTS);
        }
        Ok(Cipher::Xts {
            key1: KeyId(params.key_id1),
            key2: KeyId(params.key_id2),
            tweak: params.tweak,
            unit,
        })
    }

    /// Returns whether the completion carries a tag and an initialisation vector for the caller.
    pub(crate) fn returns_tag(&self) -> bool {
        self.op == Op::Encrypt && matches!(self.cipher, Cipher::Gcm { .. })
    }

    /// Returns what the completion may report at most.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            len: self.dst_len,
            tail: self.tail,
        }
    }

    /// Returns the command for the device, given where its data lies.
    ///
    /// `source` and `destination` point to the lists for `src_len` and `dst_len` bytes, `tail` is
    /// the bus address of the tail buffer, which is used only if there is a tail.
    pub(crate) fn command(
        &self,
        source: Descriptor,
        destination: Descriptor,
        tail: u64,
    ) -> Command {
        let transfer = |len, sgl| Transfer {
            len,
            sgl: if len == 0 { Descriptor::NONE } else { sgl },
        };
        Command {
            op: self.op,
            session: self.session,
            app: self.app,
            cipher: self.cipher,
            source: transfer(self.src_len, source),
            destination: transfer(self.dst_len, destination),
            tail: (self.tail != 0).then_some(Tail {
                len: self.tail,
                addr: tail,
            }),
        }
    }
}
