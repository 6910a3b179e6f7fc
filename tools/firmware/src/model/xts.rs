// SPDX-License-Identifier: MIT OR Apache-2.0

//! AES-256-XTS over data units (section 8.3).

use aes::Aes256;
use xts_mode::Xts128;

/// Encrypts or decrypts `data` in place.
///
/// `tweak` is the little-endian number of the first unit and grows by one per unit. `data` has whole blocks; the
/// last unit may be shorter than `unit` bytes.
pub(super) fn run(
    data_key: &Aes256,
    tweak_key: &Aes256,
    decrypt: bool,
    tweak: [u8; 16],
    unit: usize,
    data: &mut [u8],
) {
    let xts = Xts128::new(data_key.clone(), tweak_key.clone());
    let mut number = u128::from_le_bytes(tweak);
    for unit in data.chunks_mut(unit.max(1)) {
        if decrypt {
            xts.decrypt_sector(unit, number.to_le_bytes());
        } else {
            xts.encrypt_sector(unit, number.to_le_bytes());
        }
        number = number.wrapping_add(1);
    }
}
