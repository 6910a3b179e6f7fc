// SPDX-License-Identifier: MIT OR Apache-2.0

//! The key of the partition owner.

use p384::{
    PublicKey, SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer},
};
use rand_core::OsRng;
use x509_cert::{Certificate, der::Decode};

/// The P-384 key with which the owner of a partition authorises its credential.
#[derive(Clone)]
pub struct OwnerKey(SecretKey);

/// Bytes are not a P-384 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a private key of P-384: take a number of 48 bytes from 1 up to the order of the curve"
)]
pub struct InvalidOwnerKey;

impl OwnerKey {
    /// Makes a random key.
    pub fn random() -> Self {
        Self(SecretKey::random(&mut OsRng))
    }

    /// Takes the private scalar, big-endian.
    ///
    /// # Errors
    ///
    /// [`InvalidOwnerKey`] if the number is 0 or too big.
    pub fn from_bytes(scalar: &[u8; 48]) -> Result<Self, InvalidOwnerKey> {
        SecretKey::from_slice(scalar)
            .map(Self)
            .map_err(|_| InvalidOwnerKey)
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    /// Signs the public key point of a leaf certificate in DER; returns r || s.
    pub(super) fn sign_leaf(&self, certificate: &[u8]) -> Result<[u8; 96], &'static str> {
        let certificate = Certificate::from_der(certificate)
            .map_err(|_| "sent a leaf certificate that is not X.509 in DER")?;
        let point = certificate
            .tbs_certificate
            .subject_public_key_info
            .subject_public_key
            .as_bytes()
            .ok_or("sent a leaf certificate whose public key is no whole number of bytes")?;
        // The point that is signed has to be on the curve, uncompressed.
        PublicKey::from_sec1_bytes(point)
            .ok()
            .filter(|_| point.len() == 97)
            .ok_or("sent a leaf certificate without a P-384 key")?;
        let signature: Signature = SigningKey::from(&self.0).sign(point);
        let mut bytes = [0; 96];
        bytes.copy_from_slice(&signature.to_bytes());
        Ok(bytes)
    }
}

impl std::fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnerKey").finish_non_exhaustive()
    }
}
