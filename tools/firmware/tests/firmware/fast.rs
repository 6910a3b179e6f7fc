// SPDX-License-Identifier: MIT OR Apache-2.0

//! What both ciphers of the fast path have in common.

use azihsm_ddi::AesKeySize;
use azihsm_firmware::{Cipher, FastRequest, Firmware, Model, StateChange};

use crate::host::*;

/// Keys of the tests: two of each kind, of the application.
pub struct Keys {
    pub xts: [u32; 2],
    pub approved: u32,
    pub unapproved: u32,
}

pub fn keys(ready: &mut Ready<'_, Model>) -> Keys {
    Keys {
        xts: [
            ready.bulk_key(AesKeySize::XtsBulk256, b"data"),
            ready.bulk_key(AesKeySize::XtsBulk256, b"tweak"),
        ],
        approved: ready.bulk_key(AesKeySize::GcmBulk256, b"approved"),
        unapproved: ready.bulk_key(AesKeySize::GcmBulk256Unapproved, b"unapproved"),
    }
}

pub fn xts(keys: [u32; 2], tweak: u128, data_unit: Option<u32>) -> Cipher {
    Cipher::Xts {
        key1: keys[0],
        key2: keys[1],
        tweak: tweak.to_le_bytes(),
        data_unit,
    }
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

pub fn unhex<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// Sends a command and returns status and error.
pub fn outcome(
    model: &Model,
    cipher: Cipher,
    session_id: u16,
    short_app_id: u8,
    len: usize,
) -> (u16, u16) {
    let request = FastRequest {
        cipher,
        decrypt: false,
        session_id,
        short_app_id,
        data: vec![0; len],
    };
    let response = model.fast(FUNCTION, request);
    if response.status != 0 {
        assert!(response.data.is_empty());
    }
    (response.status, response.error)
}

#[test]
fn resets_erase_bulk_keys() {
    for change in [
        StateChange::Disable,
        StateChange::Nssr,
        StateChange::Flr,
        // Resource 2 goes, and with it the keys in its slots.
        StateChange::Resources {
            owned: 0b1000,
            guid: [0; 16],
        },
    ] {
        let model = test_model();
        let mut ready = ready(&model, FUNCTION);
        let keys = keys(&mut ready);
        assert_eq!(outcome(&model, xts(keys.xts, 0, None), 0, 0, 16), (0, 0));
        model.state(FUNCTION, change);
        assert_eq!(
            outcome(&model, xts(keys.xts, 0, None), 0, 0, 16),
            (1, 3),
            "{change:?}"
        );
        let (cipher, _) = gcm(keys.approved, [0; 12], [0; 16], b"", &[0; 16]);
        assert_eq!(outcome(&model, cipher, 0, 0, 16), (2, 2), "{change:?}");
    }
}

#[test]
fn commands_run_while_keys_come_and_go() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let keys = keys(&mut ready);
    let data = pattern(64 << 10);
    let expected = fast(&model, xts(keys.xts, 5, Some(4096)), false, 0, &data).data;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sealed = fast(&model, xts(keys.xts, 5, Some(4096)), false, 0, &data);
                        assert_eq!(sealed.data, expected);
                    }
                })
            })
            .collect();
        let session = ready.session.id;
        while workers.iter().any(|worker| !worker.is_finished()) {
            let size = AesKeySize::GcmBulk256;
            let key = ready
                .client
                .generate_aes_key(session, size, b"", false)
                .unwrap();
            ready.client.delete_key(session, key.key_id).unwrap();
        }
    });
}
