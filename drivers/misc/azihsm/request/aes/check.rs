// SPDX-License-Identifier: GPL-2.0

//! Validation of fast-path AES commands, in the documented order.

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
            DataUnit,
            Op,
            BLOCK, //
        },
        identify::Capabilities,
        KeyId, //
    },
};

use super::{
    Asked,
    Data,
    Mode,
    Params,
    Request, //
};

/// Padded AAD is a multiple of this many bytes.
const AAD_GRANULE: u32 = 32;

/// What the validation of a command depends on besides the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The session of the file.
    pub(crate) session: Option<Session>,
    /// What the firmware can do.
    pub(crate) capabilities: Capabilities,
}

impl<'a> Request<'a> {
    /// Validates the fields of a command, in the documented order.
    ///
    /// `access` tells whether a user range lies in the caller's address space.
    ///
    /// # Errors
    ///
    /// Returns the first reason to refuse the command, which is not yet the one that counts; see
    /// [`accepted`](Self::accepted).
    pub(crate) fn check<A: Asked>(
        cmd: &'a A,
        context: &Context,
        access: impl Fn(u64, u32) -> bool,
    ) -> Result<Self, Ext> {
        let session = context.session.ok_or(Ext::AES_NO_SESSION)?;
        let app = session.app.ok_or(Ext::AES_NO_APP_ID)?;
        if cmd.session_id() != session.id.0 {
            return Err(Ext::AES_SESSION_ID);
        }
        if cmd.short_app_id() != app.0 {
            return Err(Ext::AES_SHORT_APP_ID);
        }
        let op = match cmd.op() {
            0 => Op::Encrypt,
            1 => Op::Decrypt,
            _ => return Err(Ext::AES_OP),
        };
        let params = cmd.params();
        let mode = params.mode();
        if cmd.cipher() != mode.value() {
            return Err(Ext::AES_CIPHER);
        }

        let (src, src_len) = cmd.source();
        let (dst, dst_len) = cmd.destination();
        let (cipher, tail) = params.check(src_len, dst_len, context.capabilities)?;

        // A range outside the address space takes precedence over what is wrong before it.
        if !access(dst, dst_len) {
            return Err(Ext::AES_DST);
        }
        if !access(src, src_len) {
            return Err(Ext::AES_SRC);
        }
        if cmd.frame_type() != Aes::FRAME {
            return Err(Ext::AES_FRAME_TYPE);
        }
        if src == 0 || src_len == 0 {
            return Err(Ext::AES_SRC);
        }
        if dst == 0 || dst_len == 0 {
            return Err(Ext::AES_DST);
        }
        // The device writes as many bytes as it reads: it need not see more room than that.
        let dst_len = dst_len.min(src_len);
        if overlap((src, src_len), (dst, dst_len)) {
            return Err(Ext::AES_DST);
        }

        let tail_len = u32::from(tail);
        Ok(Self {
            session: session.id,
            app,
            cipher,
            data: Data {
                src,
                dst,
                src_len: src_len.saturating_sub(tail_len),
                dst_len: dst_len.saturating_sub(tail_len),
                tail,
                op,
                mode,
            },
        })
    }

    /// Returns a command that was checked, if it is accepted; `has_queues` tells whether the function
    /// has fast-path queues.
    ///
    /// # Errors
    ///
    /// Returns the reason to refuse the command that takes precedence.
    #[inline]
    pub(crate) fn accepted(
        checked: &Result<Self, Ext>,
        has_queues: bool,
    ) -> Result<&Self, Refusal> {
        let ext = match checked {
            Ok(request) if has_queues => return Ok(request),
            // Not all reasons take precedence over the lack of queues.
            Err(ext) if has_queues || (107..=114).contains(&ext.0) => *ext,
            _ => Ext::AES_NO_QUEUE,
        };
        Err(Refusal::invalid(ext))
    }
}

impl Mode {
    /// Returns how the user-space interface names the cipher.
    const fn value(self) -> u8 {
        match self {
            Self::Gcm => 0,
            Self::Xts => 1,
        }
    }
}

impl<'a> Params<'a> {
    /// Returns the cipher that the parameters are for.
    fn mode(&self) -> Mode {
        match self {
            Self::Gcm { .. } => Mode::Gcm,
            Self::Xts { .. } => Mode::Xts,
        }
    }

    /// Returns the cipher and the length of the tail.
    #[inline(always)]
    fn check(
        self,
        src_len: u32,
        dst_len: u32,
        capabilities: Capabilities,
    ) -> Result<(Cipher<'a>, u8), Ext> {
        match self {
            Self::Gcm {
                key_id,
                iv,
                tag,
                aad_len,
                padded_aad_len,
                workaround,
            } => {
                let workaround = workaround && capabilities.gcm_workaround;
                let text_len = src_len
                    .checked_sub(aad_len)
                    .filter(|len| *len > 0)
                    .ok_or(Ext::AES_GCM)?;
                let room = if workaround { src_len } else { text_len };
                if dst_len < room {
                    return Err(Ext::AES_GCM);
                }
                let mut tail = 0;
                if workaround {
                    let padded = padded_aad_len;
                    if padded < aad_len || padded % AAD_GRANULE != 0 || padded > src_len {
                        return Err(Ext::AES_GCM);
                    }
                    // CAST: Less than a block.
                    tail = (src_len % BLOCK) as u8;
                }
                let cipher = Cipher::Gcm {
                    key: KeyId(key_id),
                    iv,
                    tag,
                    aad_len,
                    padded_aad_len,
                };
                Ok((cipher, tail))
            }
            Self::Xts {
                data_unit,
                key_id1,
                key_id2,
                tweak,
            } => {
                let unit = DataUnit::new(data_unit).ok_or(Ext::AES_XTS)?;
                let bytes = unit.bytes(src_len);
                if dst_len < src_len || bytes == 0 || src_len % bytes != 0 {
                    return Err(Ext::AES_XTS);
                }
                let cipher = Cipher::Xts {
                    key1: KeyId(key_id1),
                    key2: KeyId(key_id2),
                    tweak,
                    unit,
                };
                Ok((cipher, 0))
            }
        }
    }
}

/// Returns whether one of two ranges begins inside the other and not where that begins.
///
/// The device reads and writes in pieces and in no order that it promises. It can work in place,
/// but not a little beside.
fn overlap((src, src_len): (u64, u32), (dst, dst_len): (u64, u32)) -> bool {
    // The distance tells all: both ranges lie in the address space.
    match dst.wrapping_sub(src) {
        0 => false,
        ahead if dst > src => ahead < u64::from(src_len),
        behind => behind.wrapping_neg() < u64::from(dst_len),
    }
}
