// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys and what the control path does with them.

use super::{Empty, operations};
use crate::{AesKeySize, AesOp, Bytes, mbor::message};

message! {
    /// What a key may be used for.
    #[derive(Copy, Default)]
    pub struct KeyMetadata {
        /// Bits, least significant first from byte 0: the constants of this type.
        1 required bits: [u8; 16],
    }
}

impl KeyMetadata {
    /// The key is deleted with its session.
    pub const SESSION_ONLY: u16 = 1 << 0;
    /// The key may be modified.
    pub const MODIFIABLE: u16 = 1 << 1;
    /// Encrypt.
    pub const ENCRYPT: u16 = 1 << 2;
    /// Decrypt.
    pub const DECRYPT: u16 = 1 << 3;
    /// Sign.
    pub const SIGN: u16 = 1 << 4;
    /// Verify.
    pub const VERIFY: u16 = 1 << 5;
    /// Derive other keys.
    pub const DERIVE: u16 = 1 << 6;
    /// Wrap other keys.
    pub const WRAP: u16 = 1 << 7;
    /// Unwrap other keys.
    pub const UNWRAP: u16 = 1 << 8;
    /// All bits that say what the key does.
    pub const USAGE: u16 = Self::ENCRYPT
        | Self::DECRYPT
        | Self::SIGN
        | Self::VERIFY
        | Self::DERIVE
        | Self::WRAP
        | Self::UNWRAP;

    /// Makes metadata of the bits that have a meaning.
    pub fn new(flags: u16) -> Self {
        let mut bits = [0; 16];
        bits[..2].copy_from_slice(&flags.to_le_bytes());
        Self { bits }
    }

    /// Returns the bits that have a meaning.
    pub fn flags(&self) -> u16 {
        u16::from_le_bytes([self.bits[0], self.bits[1]])
    }
}

message! {
    /// Properties of a key to make.
    pub struct TargetKeyProperties {
        /// What the key may be used for.
        1 required metadata: KeyMetadata,
        /// Label.
        2 required label: Bytes<128>,
    }
}

message! {
    /// Makes an AES key.
    pub struct AesGenerateKey {
        /// What to make.
        1 required size: AesKeySize,
        /// Tag to find the key by.
        2 optional tag: u16,
        /// Properties.
        3 required properties: TargetKeyProperties,
    }
}

message! {
    /// Answers [`AesGenerateKey`].
    pub struct GeneratedKey {
        /// Key id on the control path.
        1 required key_id: u16,
        /// Key id on the fast path, of keys made for it.
        2 optional bulk_key_id: u16,
        /// The key, encrypted by the device, to bring it back later.
        3 required masked_key: Bytes<3072>,
    }
}

message! {
    /// Deletes a key.
    pub struct DeleteKey {
        /// The key.
        1 required key_id: u16,
    }
}

message! {
    /// AES-CBC without padding.
    pub struct AesEncryptDecrypt {
        /// The key.
        1 required key_id: u16,
        /// Direction.
        2 required op: AesOp,
        /// Text, whole blocks.
        3 required text: Bytes<1024>,
        /// Initialisation vector.
        4 required iv: Bytes<16>,
    }
}

message! {
    /// Answers [`AesEncryptDecrypt`].
    pub struct AesResult {
        /// Text.
        1 required text: Bytes<1024>,
        /// Initialisation vector to go on with.
        2 required iv: Bytes<16>,
    }
}

operations! {
    AesGenerateKey -> GeneratedKey,
    DeleteKey -> Empty,
    AesEncryptDecrypt -> AesResult,
}
