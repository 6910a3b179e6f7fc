// SPDX-License-Identifier: GPL-2.0-or-later

//! How additional authenticated data is laid out in front of GCM text.
//!
//! The device works on units of 32 bytes. It corrects the tag for shorter AAD if the padding has the one form
//! that keeps the hash: an AAD whose last unit is no more than half full gets 16 zero bytes in front, which do not
//! change a GHASH that starts at zero; the rest is filled with zeros at the end.

/// Size of an AAD unit.
const UNIT: usize = 32;

/// AAD with its padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedAad {
    /// Padded bytes, as they go in front of the text.
    pub bytes: Vec<u8>,
    /// Length without padding.
    pub len: usize,
}

impl PaddedAad {
    /// Pads `aad`.
    pub fn new(aad: &[u8]) -> Self {
        let front = match aad.len() % UNIT {
            1..=16 => UNIT / 2,
            _ => 0,
        };
        let mut bytes = vec![0; front];
        bytes.extend_from_slice(aad);
        bytes.resize(bytes.len().next_multiple_of(UNIT), 0);
        Self {
            bytes,
            len: aad.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        for (len, front, padded) in [
            (0, 0, 0),
            (1, 16, 32),
            (16, 16, 32),
            (17, 0, 32),
            (31, 0, 32),
            (32, 0, 32),
            (33, 16, 64),
            (48, 16, 64),
            (49, 0, 64),
        ] {
            let aad = vec![0xaa; len];
            let result = PaddedAad::new(&aad);
            assert_eq!(result.len, len);
            assert_eq!(result.bytes.len(), padded, "AAD of {len} bytes");
            assert_eq!(result.bytes[front..front + len], aad, "AAD of {len} bytes");
            assert_eq!(
                result.bytes.iter().filter(|&&byte| byte == 0).count(),
                padded - len
            );
        }
    }
}
