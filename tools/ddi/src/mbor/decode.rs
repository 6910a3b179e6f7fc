// SPDX-License-Identifier: MIT OR Apache-2.0

//! The decoder.

use super::{Bytes, marker};

/// A message cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside a value.
    #[error("message ends at byte {0}, inside a value")]
    Truncated(usize),
    /// A marker byte is not one of the type that is expected.
    #[error("byte {at}: marker {found:#04x} is not one of a {expected}")]
    Marker {
        /// Offset of the marker.
        at: usize,
        /// The marker.
        found: u8,
        /// What was expected.
        expected: &'static str,
    },
    /// A field id is not the one expected: unknown, out of order, or a field before it is missing.
    #[error("byte {at}: field {found} where field {expected} has to be")]
    Field {
        /// Offset of the field id.
        at: usize,
        /// The field id.
        found: u8,
        /// Id of the field that should be here.
        expected: u8,
    },
    /// A map ends before a mandatory field.
    #[error("map ends before field {0}")]
    Missing(u8),
    /// A map counts more fields than its structure has.
    #[error("map counts {0} fields more than it has")]
    Excess(u8),
    /// A byte string has a wrong length.
    #[error("byte {at}: byte string of {len} bytes, field takes {limit}")]
    Length {
        /// Offset of the marker.
        at: usize,
        /// Length in the message.
        len: usize,
        /// Length (of a fixed array) or limit (of a variable one).
        limit: usize,
    },
    /// Bytes are left over after the message.
    #[error("{0} bytes left over after the message")]
    Trailing(usize),
}

/// A value that can be decoded.
pub trait Decode: Sized {
    /// Takes the value from the front of the message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the message does not hold such a value here.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// A message being taken apart.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// Decodes a value that is the whole rest of the message.
    ///
    /// # Errors
    ///
    /// That of the value, or [`DecodeError::Trailing`].
    pub fn all<T: Decode>(mut self) -> Result<T, DecodeError> {
        let value = T::decode(&mut self)?;
        self.finish()?;
        Ok(value)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Trailing`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.message.len() - self.at {
            0 => Ok(()),
            n => Err(DecodeError::Trailing(n)),
        }
    }

    /// Starts a map.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if no map is here.
    pub fn map(&mut self) -> Result<MapDecoder<'_, 'a>, DecodeError> {
        let at = self.at;
        let [found] = self.take()?;
        if found & marker::MAP == marker::MAP {
            Ok(MapDecoder {
                left: found & marker::MAP_COUNT,
                decoder: self,
            })
        } else {
            Err(DecodeError::Marker {
                at,
                found,
                expected: "map",
            })
        }
    }

    fn take_slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.message.get(self.at..).unwrap_or_default();
        let data = rest
            .get(..len)
            .ok_or(DecodeError::Truncated(self.message.len()))?;
        self.at += len;
        Ok(data)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take_slice(N)?);
        Ok(bytes)
    }

    /// Takes the marker, the length and the padding of a byte string, and returns the length.
    fn byte_string(&mut self, max_pad: u8) -> Result<usize, DecodeError> {
        let at = self.at;
        let [found] = self.take()?;
        match found.checked_sub(marker::BYTES) {
            Some(pad) if pad <= max_pad => {
                let len = u16::from_be_bytes(self.take()?);
                self.take_slice(pad.into())?;
                Ok(len.into())
            }
            _ => Err(DecodeError::Marker {
                at,
                found,
                expected: "byte string",
            }),
        }
    }
}

/// A map being taken apart.
#[derive(Debug)]
pub struct MapDecoder<'d, 'a> {
    decoder: &'d mut Decoder<'a>,
    left: u8,
}

impl<'a> MapDecoder<'_, 'a> {
    /// Takes a mandatory field.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the next field is another one or its value does not decode.
    pub fn required<T: Decode>(&mut self, id: u8) -> Result<T, DecodeError> {
        self.enter(id)?;
        T::decode(self.decoder)
    }

    /// Takes an optional field.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the field is here and its value does not decode.
    pub fn optional<T: Decode>(&mut self, id: u8) -> Result<Option<T>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        let [_, found] = self.decoder.clone().take()?;
        if found == id {
            self.required(id).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes the id of a mandatory field, and leaves its value in the returned decoder.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the next field is another one.
    pub fn enter(&mut self, id: u8) -> Result<&mut Decoder<'a>, DecodeError> {
        self.left = self.left.checked_sub(1).ok_or(DecodeError::Missing(id))?;
        let at = self.decoder.at;
        // Integer markers are not checked, those of field ids neither.
        let [_, found] = self.decoder.take()?;
        if found == id {
            Ok(self.decoder)
        } else {
            Err(DecodeError::Field {
                at,
                found,
                expected: id,
            })
        }
    }

    /// Checks that the map has no further field.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Excess`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.left == 0 {
            Ok(())
        } else {
            Err(DecodeError::Excess(self.left))
        }
    }
}

impl Decode for bool {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = decoder.at;
        match decoder.take()? {
            [marker::FALSE] => Ok(false),
            [marker::TRUE] => Ok(true),
            [found] => Err(DecodeError::Marker {
                at,
                found,
                expected: "bool",
            }),
        }
    }
}

macro_rules! integer {
    ($($ty:ty)*) => {$(
        impl Decode for $ty {
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                // The device does not look at the marker of an integer.
                let [_] = decoder.take()?;
                decoder.take().map(<$ty>::from_be_bytes)
            }
        }
    )*};
}

integer!(u8 u16 u32 u64);

impl<const N: usize> Decode for [u8; N] {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = decoder.at;
        match decoder.byte_string(0)? {
            len if len == N => decoder.take(),
            len => Err(DecodeError::Length { at, len, limit: N }),
        }
    }
}

impl<const MAX: usize> Decode for Bytes<MAX> {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let at = decoder.at;
        let len = decoder.byte_string(marker::MAX_PAD)?;
        let limit = MAX;
        let wrong = DecodeError::Length { at, len, limit };
        if len > limit {
            return Err(wrong);
        }
        Bytes::new(decoder.take_slice(len)?).map_err(|_| wrong)
    }
}
