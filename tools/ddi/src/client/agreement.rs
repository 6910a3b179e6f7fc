// SPDX-License-Identifier: MIT OR Apache-2.0

//! Key agreement with the device, and encryption of credentials under the agreed keys.
//!
//! ECDH on P-384, then HKDF-SHA384 without salt and with the device's nonce as info: a key for AES-256-CBC and one
//! for HMAC-SHA384. The parts of a credential are encrypted as one CBC stream, and the tag covers all of them, the
//! IV and the nonce.

use aes::Aes256;
use cbc::cipher::{BlockEncryptMut, KeyIvInit, generic_array::GenericArray};
use hmac::{Hmac, Mac};
use p384::{
    PublicKey, SecretKey,
    ecdh::diffie_hellman,
    pkcs8::{DecodePublicKey, EncodePublicKey},
};
use rand_core::{OsRng, RngCore};
use sha2::Sha384;

use super::ClientError;
use crate::{KeyKind, message::DerPublicKey};

const BLOCK: usize = 16;

/// Keys that client and device agreed on.
pub(super) struct Agreement {
    public_key: PublicKey,
    cipher_key: [u8; 32],
    mac_key: [u8; 48],
}

/// `N` texts, encrypted and authenticated together.
pub(super) struct Sealed<const N: usize> {
    pub(super) texts: [Vec<u8>; N],
    pub(super) iv: [u8; BLOCK],
    pub(super) tag: [u8; 48],
}

impl Agreement {
    /// Agrees with the device whose public key in DER is `device`, using a key pair made for this.
    pub(super) fn new(device: &[u8], nonce: &[u8; 32]) -> Result<Self, &'static str> {
        Self::with_key(&SecretKey::random(&mut OsRng), device, nonce)
    }

    fn with_key(own: &SecretKey, device: &[u8], nonce: &[u8; 32]) -> Result<Self, &'static str> {
        let device = PublicKey::from_public_key_der(device)
            .map_err(|_| "sent an encryption key that is not a P-384 key in DER")?;
        let shared = diffie_hellman(own.to_nonzero_scalar(), device.as_affine());
        let mut keys = [0; 80];
        shared
            .extract::<Sha384>(None)
            .expand(nonce, &mut keys)
            .map_err(|_| "takes keys longer than HKDF gives")?;
        let (mut cipher_key, mut mac_key) = ([0; 32], [0; 48]);
        cipher_key.copy_from_slice(&keys[..32]);
        mac_key.copy_from_slice(&keys[32..]);
        Ok(Self {
            public_key: own.public_key(),
            cipher_key,
            mac_key,
        })
    }

    /// Returns the public key that the device has to be given.
    pub(super) fn public_key<E>(&self) -> Result<DerPublicKey, ClientError<E>> {
        der_public_key(&self.public_key).map_err(ClientError::Device)
    }

    /// Encrypts `texts`, each of whole blocks, as one stream.
    pub(super) fn seal<const N: usize>(&self, texts: [&[u8]; N], nonce: &[u8; 32]) -> Sealed<N> {
        let mut iv = [0; BLOCK];
        OsRng.fill_bytes(&mut iv);
        self.seal_with_iv(texts, nonce, iv)
    }

    fn seal_with_iv<const N: usize>(
        &self,
        texts: [&[u8]; N],
        nonce: &[u8; 32],
        iv: [u8; BLOCK],
    ) -> Sealed<N> {
        let mut cipher = cbc::Encryptor::<Aes256>::new(&self.cipher_key.into(), &iv.into());
        let mut mac =
            Hmac::<Sha384>::new_from_slice(&self.mac_key).expect("HMAC takes keys of any length");
        let texts = texts.map(|text| {
            let mut text = text.to_vec();
            for block in text.chunks_exact_mut(BLOCK) {
                cipher.encrypt_block_mut(GenericArray::from_mut_slice(block));
            }
            mac.update(&text);
            text
        });
        mac.update(&iv);
        mac.update(nonce);
        Sealed {
            texts,
            iv,
            tag: mac.finalize().into_bytes().into(),
        }
    }
}

/// Wraps a public key as the protocol carries it.
pub(super) fn der_public_key(key: &PublicKey) -> Result<DerPublicKey, &'static str> {
    let der = key
        .to_public_key_der()
        .map_err(|_| "takes keys that cannot be encoded")?;
    let der = der
        .as_bytes()
        .try_into()
        .map_err(|_| "takes keys that do not fit")?;
    Ok(DerPublicKey {
        der,
        kind: KeyKind::Ecc384Public,
    })
}

#[cfg(test)]
mod tests {
    use cbc::cipher::BlockDecryptMut;

    use super::*;

    #[test]
    fn both_sides_agree() {
        let (host, device) = (SecretKey::random(&mut OsRng), SecretKey::random(&mut OsRng));
        let der = |key: &SecretKey| der_public_key(&key.public_key()).unwrap().der.into_vec();
        let nonce = [7; 32];
        let one = Agreement::with_key(&host, &der(&device), &nonce).unwrap();
        let other = Agreement::with_key(&device, &der(&host), &nonce).unwrap();
        assert_eq!(one.cipher_key, other.cipher_key);
        assert_eq!(one.mac_key, other.mac_key);
        let third = Agreement::with_key(&device, &der(&host), &[8; 32]).unwrap();
        assert_ne!(one.cipher_key, third.cipher_key);
        assert!(Agreement::new(&[1, 2, 3], &nonce).is_err());
    }

    #[test]
    fn parts_are_one_stream() {
        let agreement = Agreement::with_key(
            &SecretKey::random(&mut OsRng),
            &{
                let key = SecretKey::random(&mut OsRng);
                der_public_key(&key.public_key()).unwrap().der.into_vec()
            },
            &[0; 32],
        )
        .unwrap();
        let sealed = agreement.seal([&[1; 16][..], &[2; 16], &[3; 48]], &[9; 32]);
        let mut text = sealed.texts.concat();
        let mut cipher =
            cbc::Decryptor::<Aes256>::new(&agreement.cipher_key.into(), &sealed.iv.into());
        for block in text.chunks_exact_mut(BLOCK) {
            cipher.decrypt_block_mut(GenericArray::from_mut_slice(block));
        }
        assert_eq!(text, [[1; 16].as_slice(), &[2; 16], &[3; 48]].concat());
        let mut mac = Hmac::<Sha384>::new_from_slice(&agreement.mac_key).unwrap();
        mac.update(&[sealed.texts.concat().as_slice(), &sealed.iv, &[9; 32]].concat());
        mac.verify_slice(&sealed.tag).unwrap();
    }
}
