// SPDX-License-Identifier: MIT OR Apache-2.0

//! The encoder.

use super::{Bytes, marker};

/// A message cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A map has more fields than its marker can count.
    #[error("a map of {0} fields cannot be encoded, the limit is 31")]
    TooManyFields(usize),
    /// A byte string has a length that does not fit in 16 bits.
    #[error("a byte string of {0} bytes cannot be encoded, the limit is 65535")]
    TooLong(usize),
}

/// A value that can be encoded.
pub trait Encode {
    /// Appends the value to the message.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the value has no encoding.
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;
}

/// A message being built. Padding counts from its first byte, so one encoder makes one whole message.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// Starts a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Starts a map of `fields` fields.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooManyFields`].
    pub fn map(&mut self, fields: usize) -> Result<(), EncodeError> {
        match u8::try_from(fields) {
            Ok(n) if n <= marker::MAP_COUNT => {
                self.out.push(marker::MAP + n);
                Ok(())
            }
            _ => Err(EncodeError::TooManyFields(fields)),
        }
    }

    /// Appends a field: its id, then its value.
    ///
    /// # Errors
    ///
    /// What encoding the value gives.
    pub fn field(&mut self, id: u8, value: &(impl Encode + ?Sized)) -> Result<(), EncodeError> {
        id.encode(self)?;
        value.encode(self)
    }

    /// Appends a byte string with `pad` bytes of padding.
    fn bytes(&mut self, pad: u8, data: &[u8]) -> Result<(), EncodeError> {
        let len = u16::try_from(data.len()).map_err(|_| EncodeError::TooLong(data.len()))?;
        self.out.push(marker::BYTES + pad);
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.resize(self.out.len() + usize::from(pad), 0);
        self.out.extend_from_slice(data);
        Ok(())
    }
}

impl Encode for bool {
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder
            .out
            .push(if *self { marker::TRUE } else { marker::FALSE });
        Ok(())
    }
}

macro_rules! integer {
    ($($ty:ty: $marker:expr,)*) => {$(
        impl Encode for $ty {
            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                encoder.out.push($marker);
                encoder.out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

integer! {
    u8: marker::U8,
    u16: marker::U16,
    u32: marker::U32,
    u64: marker::U64,
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.bytes(0, self)
    }
}

impl<const MAX: usize> Encode for Bytes<MAX> {
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        // The marker and the length take 3 bytes; the data starts at a multiple of 4.
        let pad = match (encoder.out.len() + 3) % 4 {
            1 => 3,
            2 => 2,
            3 => 1,
            _ => 0,
        };
        encoder.bytes(pad, self)
    }
}
