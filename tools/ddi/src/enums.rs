// SPDX-License-Identifier: MIT OR Apache-2.0

//! Enumerations in message bodies.

use crate::mbor::open_enum;

open_enum! {
    /// Kind of a device: how it wants big numbers.
    pub struct DeviceKind(u32) {
        /// Standard formats, big-endian.
        Virtual = 1,
        /// Raw little-endian numbers.
        Physical = 2,
    }
}

open_enum! {
    /// Direction of AesEncryptDecrypt.
    pub struct AesOp(u32) {
        /// Encrypt.
        Encrypt = 1,
        /// Decrypt.
        Decrypt = 2,
    }
}

open_enum! {
    /// What AesGenerateKey makes.
    pub struct AesKeySize(u32) {
        /// AES-128, control path.
        Aes128 = 1,
        /// AES-192, control path.
        Aes192 = 2,
        /// AES-256, control path.
        Aes256 = 3,
        /// AES-256 for XTS on the fast path; XTS takes two such keys.
        XtsBulk256 = 4,
        /// AES-256 for GCM on the fast path; the device draws the IV.
        GcmBulk256 = 5,
        /// AES-256 for GCM on the fast path; the host gives the IV.
        GcmBulk256Unapproved = 6,
    }
}

open_enum! {
    /// Type of a key.
    pub struct KeyKind(u32) {
        /// RSA-2048 private.
        Rsa2kPrivate = 1,
        /// RSA-3072 private.
        Rsa3kPrivate = 2,
        /// RSA-4096 private.
        Rsa4kPrivate = 3,
        /// RSA-2048 private with CRT.
        Rsa2kPrivateCrt = 4,
        /// RSA-3072 private with CRT.
        Rsa3kPrivateCrt = 5,
        /// RSA-4096 private with CRT.
        Rsa4kPrivateCrt = 6,
        /// P-256 private.
        Ecc256Private = 7,
        /// P-384 private.
        Ecc384Private = 8,
        /// P-521 private.
        Ecc521Private = 9,
        /// AES-128.
        Aes128 = 10,
        /// AES-192.
        Aes192 = 11,
        /// AES-256.
        Aes256 = 12,
        /// XTS on the fast path.
        AesXtsBulk256 = 13,
        /// GCM on the fast path.
        AesGcmBulk256 = 14,
        /// GCM on the fast path, IV given by the host.
        AesGcmBulk256Unapproved = 15,
        /// Secret of 256 bits.
        Secret256 = 16,
        /// Secret of 384 bits.
        Secret384 = 17,
        /// Secret of 521 bits.
        Secret521 = 18,
        /// RSA-2048 public.
        Rsa2kPublic = 19,
        /// RSA-3072 public.
        Rsa3kPublic = 20,
        /// RSA-4096 public.
        Rsa4kPublic = 21,
        /// P-256 public.
        Ecc256Public = 22,
        /// P-384 public.
        Ecc384Public = 23,
        /// P-521 public.
        Ecc521Public = 24,
        /// HMAC key of 256 bits.
        Hmac256 = 25,
        /// HMAC key of 384 bits.
        Hmac384 = 26,
        /// HMAC key of 512 bits.
        Hmac512 = 27,
        /// AES-256 for CBC, with an HMAC-SHA384 key.
        AesCbc256Hmac384 = 28,
        /// Secret to derive from with KBKDF.
        KbkdfSecret = 29,
        /// HMAC-SHA256 key of any length.
        HmacVariable256 = 30,
        /// HMAC-SHA384 key of any length.
        HmacVariable384 = 31,
        /// HMAC-SHA512 key of any length.
        HmacVariable512 = 32,
    }
}
