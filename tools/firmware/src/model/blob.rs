// SPDX-License-Identifier: MIT OR Apache-2.0

//! Secrets that leave the device encrypted and come back later.
//!
//! A blob is a version, a kind, a nonce, and AES-256-GCM ciphertext with its tag; version and kind are
//! authenticated. Only the device that made a blob can open it.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use azihsm_ddi::Status;
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 2;
const NONCE_LEN: usize = 12;

/// What is in a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// BK3 of a partition.
    Bk3 = 1,
    /// Masking key of a partition.
    PartitionKey = 2,
    /// Masking key of a session.
    SessionKey = 3,
    /// An AES key.
    Key = 4,
    /// Context of a function that moves to another device.
    Context = 5,
}

impl Kind {
    fn header(self) -> [u8; HEADER_LEN] {
        [VERSION, self as u8]
    }
}

/// Encrypts `secret`.
pub(super) fn seal(key: &[u8; 32], kind: Kind, secret: &[u8]) -> Result<Vec<u8>, Status> {
    let mut nonce = [0; NONCE_LEN];
    OsRng.fill_bytes(&mut nonce);
    let header = kind.header();
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(
            &nonce.into(),
            Payload {
                msg: secret,
                aad: &header,
            },
        )
        .map_err(|_| Status::InternalError)?;
    Ok([&header[..], &nonce, &sealed].concat())
}

/// Decrypts what [`seal`] made; anything else is an [`Status::InvalidArg`].
pub(super) fn open(key: &[u8; 32], kind: Kind, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Status> {
    let header = kind.header();
    let rest = blob.strip_prefix(&header).ok_or(Status::InvalidArg)?;
    let (nonce, sealed) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(Status::InvalidArg)?;
    Aes256Gcm::new(key.into())
        .decrypt(
            nonce.into(),
            Payload {
                msg: sealed,
                aad: &header,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| Status::InvalidArg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_untouched_blob_opens() {
        let key = [1; 32];
        let blob = seal(&key, Kind::Key, b"secret").unwrap();
        assert_eq!(**open(&key, Kind::Key, &blob).unwrap(), *b"secret");
        assert_eq!(open(&[2; 32], Kind::Key, &blob), Err(Status::InvalidArg));
        assert_eq!(open(&key, Kind::Bk3, &blob), Err(Status::InvalidArg));
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&key, Kind::Key, &damaged), Err(Status::InvalidArg));
            assert_eq!(open(&key, Kind::Key, &blob[..at]), Err(Status::InvalidArg));
        }
        assert_ne!(blob, seal(&key, Kind::Key, b"secret").unwrap());
    }
}
