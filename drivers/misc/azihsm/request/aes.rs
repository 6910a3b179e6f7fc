// SPDX-License-Identifier: GPL-2.0

//! Fast-path AES commands: what a caller asks for, and what the device is told to do.

mod asked;
mod cases;
mod check;

use crate::wire::{
    aes::{
        Cipher,
        Command,
        Expectation,
        Op,
        Tail,
        Transfer, //
    },
    sgl::Descriptor,
    SessionId,
    ShortAppId, //
};

pub(crate) use asked::{
    Asked,
    Ioctl,
    Params, //
};
pub(crate) use check::Context;

/// The cipher that a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// AES-GCM.
    Gcm,
    /// AES-XTS.
    Xts,
}

/// The data of a command with valid fields: all that its end depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
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
    /// Direction.
    pub(crate) op: Op,
    /// Cipher.
    pub(crate) mode: Mode,
}

/// An AES command with valid fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Session.
    pub(crate) session: SessionId,
    /// Short application id.
    pub(crate) app: ShortAppId,
    /// Cipher.
    pub(crate) cipher: Cipher<'a>,
    /// Data.
    pub(crate) data: Data,
}

impl Data {
    /// Returns whether the completion carries a tag and an initialisation vector for the caller.
    pub(crate) fn returns_tag(&self) -> bool {
        self.op == Op::Encrypt && self.mode == Mode::Gcm
    }

    /// Returns what the completion may report at most.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            len: self.dst_len,
            tail: self.tail,
        }
    }
}

impl<'a> Request<'a> {
    /// Returns the command for the device, given where its data lies.
    ///
    /// `source` and `destination` point to the lists for `src_len` and `dst_len` bytes, and are
    /// [`Descriptor::NONE`] if that is 0; `tail` is the bus address of the tail buffer, which is used
    /// only if there is a tail.
    #[inline]
    pub(crate) fn command(
        &self,
        source: Descriptor,
        destination: Descriptor,
        tail: u64,
    ) -> Command<'a> {
        let data = &self.data;
        let transfer = |len, sgl| Transfer { len, sgl };
        Command {
            op: data.op,
            session: self.session,
            app: self.app,
            cipher: self.cipher,
            source: transfer(data.src_len, source),
            destination: transfer(data.dst_len, destination),
            tail: (data.tail != 0).then_some(Tail {
                len: data.tail,
                addr: tail,
            }),
        }
    }
}
