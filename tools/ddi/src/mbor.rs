// SPDX-License-Identifier: MIT OR Apache-2.0

//! MBOR, the encoding of DDI messages: a fixed subset of what CBOR looks like.
//!
//! Integers are big-endian behind a marker byte. A structure is a map whose keys are ascending field ids; an
//! optional field that is absent is left out. Byte strings come in two flavours: *fixed* (`[u8; N]`, no padding)
//! and *variable* ([`Bytes`], padded so that the data is aligned to 4 bytes in the whole message).

mod bytes;
mod decode;
mod encode;
#[macro_use]
mod macros;

pub use bytes::{Bytes, TooLong};
pub use decode::{Decode, DecodeError, Decoder, MapDecoder};
pub use encode::{Encode, EncodeError, Encoder};
pub(crate) use macros::{message, open_enum};

/// Markers in front of values.
mod marker {
    pub(super) const FALSE: u8 = 0x14;
    pub(super) const TRUE: u8 = 0x15;
    pub(super) const U8: u8 = 0x18;
    pub(super) const U16: u8 = 0x19;
    pub(super) const U32: u8 = 0x1a;
    pub(super) const U64: u8 = 0x1b;
    /// Plus the number of padding bytes.
    pub(super) const BYTES: u8 = 0x80;
    /// Plus the number of fields.
    pub(super) const MAP: u8 = 0xa0;
    /// Bits of a map marker that hold the number of fields.
    pub(super) const MAP_COUNT: u8 = 0x1f;
    /// Highest number of padding bytes.
    pub(super) const MAX_PAD: u8 = 3;
}
