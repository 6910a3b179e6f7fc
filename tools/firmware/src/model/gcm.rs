// SPDX-License-Identifier: MIT OR Apache-2.0

//! AES-256-GCM over the source stream of the device (section 8.4).
//!
//! The stream has the AAD padded to 32 bytes, in front or behind. GHASH runs over the padded AAD as it is, which
//! gives the same tag as standard GCM if the padding is right and a wrong one if it is not.

use aes::{
    Aes256,
    cipher::{
        BlockEncrypt, InnerIvInit, StreamCipher, StreamCipherSeek, generic_array::GenericArray,
    },
};
use ctr::{Ctr32BE, CtrCore, flavors::Ctr32BE as Flavor};
use ghash::{
    GHash,
    universal_hash::{KeyInit, UniversalHash},
};

/// Encrypts or decrypts `text` in place and returns the tag computed.
///
/// `aad` is the padded AAD; `aad_len` is the length that counts for the tag, in bytes.
pub(super) fn run(
    cipher: &Aes256,
    decrypt: bool,
    iv: &[u8; 12],
    aad: &[u8],
    aad_len: u64,
    text: &mut [u8],
) -> [u8; 16] {
    let mut hash_key = GenericArray::default();
    cipher.encrypt_block(&mut hash_key);
    let mut ghash = GHash::new(&hash_key);
    ghash.update_padded(aad);

    let mut counter = [0; 16];
    counter[..12].copy_from_slice(iv);
    counter[15] = 1;
    let core = CtrCore::<Aes256, Flavor>::inner_iv_init(cipher.clone(), &counter.into());
    let mut stream = Ctr32BE::<Aes256>::from_core(core);
    let mut tag_mask = [0; 16];
    stream.apply_keystream(&mut tag_mask);
    debug_assert_eq!(
        stream.current_pos::<u64>(),
        16,
        "the text starts at counter 2"
    );

    let text_len = text.len() as u64;
    if decrypt {
        ghash.update_padded(text);
        stream.apply_keystream(text);
    } else {
        stream.apply_keystream(text);
        ghash.update_padded(text);
    }

    let mut lengths = [0; 16];
    lengths[..8].copy_from_slice(&aad_len.wrapping_mul(8).to_be_bytes());
    lengths[8..].copy_from_slice(&text_len.wrapping_mul(8).to_be_bytes());
    ghash.update(&[lengths.into()]);
    let mut tag: [u8; 16] = ghash.finalize().into();
    tag.iter_mut()
        .zip(tag_mask)
        .for_each(|(tag, mask)| *tag ^= mask);
    tag
}
