// SPDX-License-Identifier: MIT OR Apache-2.0

//! Key agreement with a client and decryption of its credentials (protocol section 4.5).

use aes::Aes256;
use azihsm_ddi::{Bytes, KeyKind, Status, message::DerPublicKey};
use cbc::cipher::{BlockDecryptMut, KeyIvInit, block_padding::NoPadding};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p384::{
    PublicKey, SecretKey,
    ecdh::diffie_hellman,
    pkcs8::{DecodePublicKey, EncodePublicKey},
};
use sha2::Sha384;
use zeroize::Zeroizing;

/// What a client sent to authenticate.
pub(super) struct Sent<'a> {
    pub(super) public_key: &'a DerPublicKey,
    /// Parts of the credential, which are one encrypted stream.
    pub(super) parts: &'a [&'a [u8]],
    pub(super) iv: &'a [u8],
    pub(super) nonce: &'a [u8; 32],
    pub(super) tag: &'a [u8; 48],
}

/// Agrees with the client, checks the tag and returns the decrypted stream.
pub(super) fn open(own: &SecretKey, sent: &Sent<'_>) -> Result<Zeroizing<Vec<u8>>, Status> {
    let client = public_key(sent.public_key)?;
    let shared = diffie_hellman(own.to_nonzero_scalar(), client.as_affine());
    let mut keys = Zeroizing::new([0; 80]);
    Hkdf::<Sha384>::new(None, shared.raw_secret_bytes())
        .expand(sent.nonce, &mut *keys)
        .map_err(|_| Status::InternalError)?;
    let (cipher_key, mac_key) = keys.split_at(32);

    let mut stream = Zeroizing::new(sent.parts.concat());
    Hmac::<Sha384>::new_from_slice(mac_key)
        .map_err(|_| Status::InternalError)?
        .chain_update(&*stream)
        .chain_update(sent.iv)
        .chain_update(sent.nonce)
        .verify_slice(sent.tag)
        .map_err(|_| Status::PinDecryptionFailed)?;
    cbc::Decryptor::<Aes256>::new_from_slices(cipher_key, sent.iv)
        .map_err(|_| Status::InvalidArg)?
        .decrypt_padded_mut::<NoPadding>(&mut stream)
        .map_err(|_| Status::InvalidArg)?;
    Ok(stream)
}

/// Takes a P-384 key as the protocol carries it.
pub(super) fn public_key(key: &DerPublicKey) -> Result<PublicKey, Status> {
    if key.kind != KeyKind::Ecc384Public {
        return Err(Status::InvalidArg);
    }
    PublicKey::from_public_key_der(&key.der).map_err(|_| Status::InvalidArg)
}

/// Wraps a P-384 key as the protocol carries it.
pub(super) fn der_public_key(key: &PublicKey) -> Result<DerPublicKey, Status> {
    let der = key.to_public_key_der().map_err(|_| Status::InternalError)?;
    let der = Bytes::new(der.as_bytes()).map_err(|_| Status::InternalError)?;
    Ok(DerPublicKey {
        der,
        kind: KeyKind::Ecc384Public,
    })
}
