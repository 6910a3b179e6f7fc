// SPDX-License-Identifier: MIT OR Apache-2.0

//! Byte strings of variable length.

use std::{fmt, ops::Deref};

/// A variable byte string of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

/// Data does not fit in a field of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes do not fit in a field of at most {max} bytes")]
pub struct TooLong {
    /// Length of the data.
    pub len: usize,
    /// Highest length of the field.
    pub max: usize,
}

impl<const MAX: usize> Bytes<MAX> {
    /// Highest length.
    pub const MAX: usize = MAX;

    /// Wraps `data`.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if `data` has more than `MAX` bytes.
    pub fn new(data: impl Into<Vec<u8>>) -> Result<Self, TooLong> {
        let data = data.into();
        let len = data.len();
        if len <= MAX {
            Ok(Self(data))
        } else {
            Err(TooLong { len, max: MAX })
        }
    }

    /// Returns the data.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> AsRef<[u8]> for Bytes<MAX> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Bytes<MAX> {
    type Error = TooLong;

    fn try_from(data: Vec<u8>) -> Result<Self, TooLong> {
        Self::new(data)
    }
}

impl<const MAX: usize> TryFrom<&[u8]> for Bytes<MAX> {
    type Error = TooLong;

    fn try_from(data: &[u8]) -> Result<Self, TooLong> {
        Self::new(data)
    }
}

impl<const MAX: usize, const N: usize> From<[u8; N]> for Bytes<MAX> {
    /// Wraps an array; one that is too long does not compile.
    fn from(data: [u8; N]) -> Self {
        const { assert!(N <= MAX, "array longer than the field") };
        Self(data.to_vec())
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes", self.0.len())?;
        for (i, byte) in self.0.iter().take(16).enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { ": " } else { "" })?;
        }
        f.write_str(if self.0.len() > 16 { "..]" } else { "]" })
    }
}
