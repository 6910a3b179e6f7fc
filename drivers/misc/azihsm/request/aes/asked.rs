// SPDX-License-Identifier: GPL-2.0

//! What a caller asks for, as it came through one door or the other.

use crate::uapi::Aes;

use super::Mode;

/// What a caller asks for, whichever door it comes through: nothing is checked.
///
/// What implements it is the driver's own copy, which the caller cannot change any more.
pub(crate) trait Asked {
    /// Returns the operation.
    fn op(&self) -> u8;
    /// Returns the cipher that the caller says it is for.
    fn cipher(&self) -> u8;
    /// Returns the type of the frame.
    fn frame_type(&self) -> u8;
    /// Returns the session.
    fn session_id(&self) -> u16;
    /// Returns the short application id.
    fn short_app_id(&self) -> u8;
    /// Returns the user address and the length of the source.
    fn source(&self) -> (u64, u32);
    /// Returns the user address and the length of the destination.
    fn destination(&self) -> (u64, u32);
    /// Returns the parameters of the cipher that the door is for.
    fn params(&self) -> Params<'_>;
}

/// Parameters of a cipher: nothing is checked.
pub(crate) enum Params<'a> {
    /// AES-GCM.
    Gcm {
        /// Bulk key.
        key_id: u32,
        /// Initialisation vector.
        iv: &'a [u8; 12],
        /// Expected tag.
        tag: &'a [u8; 16],
        /// Length of the additional authenticated data in bytes.
        aad_len: u32,
        /// Length of the padded AAD at the start of the source.
        padded_aad_len: u32,
        /// Whether the source carries padded AAD.
        workaround: bool,
    },
    /// AES-XTS.
    Xts {
        /// Size of a data unit.
        data_unit: u16,
        /// Bulk key of the data key.
        key_id1: u32,
        /// Bulk key of the tweak key.
        key_id2: u32,
        /// Number of the first data unit, little-endian.
        tweak: &'a [u8; 16],
    },
}

/// The structure of an ioctl, which is for one cipher.
pub(crate) struct Ioctl<'a> {
    /// The cipher.
    pub(crate) mode: Mode,
    /// The structure.
    pub(crate) cmd: &'a Aes,
}

impl Asked for Ioctl<'_> {
    fn op(&self) -> u8 {
        self.cmd.op
    }

    fn cipher(&self) -> u8 {
        self.cmd.cipher
    }

    fn frame_type(&self) -> u8 {
        self.cmd.frame_type
    }

    fn session_id(&self) -> u16 {
        self.cmd.session_id
    }

    fn short_app_id(&self) -> u8 {
        self.cmd.short_app_id
    }

    fn source(&self) -> (u64, u32) {
        (self.cmd.src, self.cmd.src_len)
    }

    fn destination(&self) -> (u64, u32) {
        (self.cmd.dst, self.cmd.dst_len)
    }

    fn params(&self) -> Params<'_> {
        match self.mode {
            Mode::Gcm => {
                let params = self.cmd.gcm();
                Params::Gcm {
                    key_id: params.key_id,
                    iv: &params.iv,
                    tag: &params.tag,
                    aad_len: params.aad_len,
                    padded_aad_len: params.padded_aad_len,
                    workaround: params.workaround != 0,
                }
            }
            Mode::Xts => {
                let params = self.cmd.xts();
                Params::Xts {
                    data_unit: params.data_unit,
                    key_id1: params.key_id1,
                    key_id2: params.key_id2,
                    tweak: &params.tweak,
                }
            }
        }
    }
}
