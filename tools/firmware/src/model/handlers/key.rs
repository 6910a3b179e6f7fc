// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys and AES-CBC.

use std::sync::PoisonError;

use aes::{Aes128, Aes192, Aes256};
use azihsm_ddi::{
    AesOp, Bytes, Status,
    message::{
        AesEncryptDecrypt, AesGenerateKey, AesResult, DeleteKey, Empty, GeneratedKey, KeyMetadata,
    },
};
use cbc::cipher::{
    BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit,
    block_padding::NoPadding, consts::U16,
};
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::{Outcome, plain};
use crate::model::{
    blob::{self, Kind},
    bulk::{BulkKey, BulkKind},
    control::{Call, Effect},
    function::Function,
    key::{self, Key},
    session::SHORT_APP_ID,
};

const BLOCK: usize = 16;

impl Function {
    pub(in crate::model) fn aes_generate_key(
        &mut self,
        call: &Call<'_>,
        request: AesGenerateKey,
    ) -> Outcome<GeneratedKey> {
        let size = request.size;
        let len = key::length(size).ok_or(Status::InvalidArg)?;
        let flags = request.properties.metadata.flags();
        if flags & KeyMetadata::USAGE != KeyMetadata::ENCRYPT | KeyMetadata::DECRYPT {
            return Err(Status::InvalidPermissions);
        }
        let session_only = flags & KeyMetadata::SESSION_ONLY != 0;
        if session_only && request.tag.is_some() {
            return Err(Status::InvalidArg);
        }
        let key_id = self.keys.free_id(request.tag)?;
        let bytes = self.key_material(len, &request.properties.label);
        let masked_key = self.mask(call, session_only, size.0, &bytes)?;
        let bulk_key_id = match BulkKind::of(size) {
            Some(kind) => Some(self.insert_bulk(kind, call.session_id, session_only, &bytes)?),
            None => None,
        };
        self.keys.insert(
            key_id,
            Key {
                size,
                tag: request.tag,
                session_only: session_only.then_some(call.session_id),
                bulk_id: bulk_key_id,
                bytes,
            },
        );
        Ok((
            GeneratedKey {
                key_id,
                bulk_key_id,
                masked_key,
            },
            Effect::MadeKey(key_id),
        ))
    }

    /// Returns random bytes, or what the test key says.
    fn key_material(&self, len: usize, label: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        match &self.shared.config.test_key {
            None => OsRng.fill_bytes(&mut bytes),
            Some(test_key) => {
                bytes.copy_from_slice(&test_key[..len]);
                bytes
                    .iter_mut()
                    .zip(label.iter().cycle())
                    .for_each(|(byte, label)| *byte ^= label);
            }
        }
        bytes
    }

    /// Encrypts a key for its owner to keep: session-only keys for the session, others for the partition.
    fn mask(
        &mut self,
        call: &Call<'_>,
        session_only: bool,
        size: u32,
        bytes: &[u8],
    ) -> Result<Bytes<3072>, Status> {
        let secret = Zeroizing::new([&size.to_be_bytes()[..], bytes].concat());
        let masking_key = if session_only {
            self.sessions.masking_key(call.session_id)?
        } else {
            self.partition
                .as_ref()
                .ok_or(Status::PartitionNotProvisioned)?
                .masking_key()?
        };
        let masked = blob::seal(masking_key, Kind::Key, &secret)?;
        Bytes::new(masked).map_err(|_| Status::InternalError)
    }

    fn insert_bulk(
        &self,
        kind: BulkKind,
        session_id: u16,
        session_only: bool,
        bytes: &[u8],
    ) -> Result<u16, Status> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| Status::InternalError)?;
        let bytes = Zeroizing::new(bytes);
        let key = BulkKey::new(self.id, session_id, SHORT_APP_ID, session_only, bytes);
        self.shared
            .slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.owned, kind, key)
            .ok_or(Status::ReachedMaxAesBulkKeys)
    }

    pub(in crate::model) fn delete_key(
        &mut self,
        call: &Call<'_>,
        request: DeleteKey,
    ) -> Outcome<Empty> {
        self.keys.get(request.key_id, call.session_id)?;
        let key = self
            .keys
            .remove(request.key_id)
            .ok_or(Status::KeyNotFound)?;
        self.empty_slots(key.bulk_id.into_iter());
        plain(Empty {})
    }

    pub(in crate::model) fn aes_encrypt_decrypt(
        &mut self,
        call: &Call<'_>,
        request: AesEncryptDecrypt,
    ) -> Outcome<AesResult> {
        let key = self.keys.get(request.key_id, call.session_id)?;
        if key.bulk_id.is_some() {
            return Err(Status::InvalidKeyType);
        }
        let iv: [u8; BLOCK] = (&*request.iv).try_into().map_err(|_| Status::InvalidArg)?;
        let input = request.text.into_vec();
        if input.is_empty() || input.len() % BLOCK != 0 {
            return Err(Status::InvalidArg);
        }
        let decrypt = match request.op {
            AesOp::Encrypt => false,
            AesOp::Decrypt => true,
            _ => return Err(Status::InvalidArg),
        };
        let output = match key.bytes.len() {
            16 => cbc::<Aes128>(&key.bytes, &iv, &input, decrypt),
            24 => cbc::<Aes192>(&key.bytes, &iv, &input, decrypt),
            _ => cbc::<Aes256>(&key.bytes, &iv, &input, decrypt),
        }
        .ok_or(if decrypt {
            Status::AesDecryptFailed
        } else {
            Status::AesEncryptFailed
        })?;
        // The stream goes on from the last block of ciphertext.
        let ciphertext = if decrypt { &input } else { &output };
        let next: [u8; BLOCK] = *ciphertext.last_chunk().ok_or(Status::InternalError)?;
        let text = Bytes::new(output).map_err(|_| Status::InternalError)?;
        plain(AesResult {
            text,
            iv: next.into(),
        })
    }
}

/// AES-CBC without padding.
fn cbc<C>(key: &[u8], iv: &[u8; BLOCK], text: &[u8], decrypt: bool) -> Option<Vec<u8>>
where
    C: BlockCipher<BlockSize = U16> + BlockEncrypt + BlockDecrypt + KeyInit + Clone,
    C: BlockEncryptMut + BlockDecryptMut,
{
    if decrypt {
        let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
        cipher.decrypt_padded_vec_mut::<NoPadding>(text).ok()
    } else {
        let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).ok()?;
        Some(cipher.encrypt_padded_vec_mut::<NoPadding>(text))
    }
}
