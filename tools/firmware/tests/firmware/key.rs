// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys of the control path, and who may use them.

use aes::{Aes128, Aes192, Aes256};
use azihsm_ddi::{AesKeySize, AesOp, Bytes, Status, message::*};
use azihsm_firmware::Model;
use cbc::cipher::{BlockEncryptMut, KeyIvInit, block_padding::NoPadding};

use crate::host::*;

#[test]
fn keys_of_the_control_path() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let (session, text, iv) = (ready.session.id, [0x5a; 64], [3; 16]);
    for (size, label) in [
        (AesKeySize::Aes128, &b"one"[..]),
        (AesKeySize::Aes192, b"two"),
        (AesKeySize::Aes256, b""),
    ] {
        let key = ready
            .client
            .generate_aes_key(session, size, label, false)
            .unwrap();
        assert_eq!(key.bulk_key_id, None);
        let made = labelled_key(label);
        let expected = match size {
            AesKeySize::Aes128 => cbc::Encryptor::<Aes128>::new_from_slices(&made[..16], &iv)
                .unwrap()
                .encrypt_padded_vec_mut::<NoPadding>(&text),
            AesKeySize::Aes192 => cbc::Encryptor::<Aes192>::new_from_slices(&made[..24], &iv)
                .unwrap()
                .encrypt_padded_vec_mut::<NoPadding>(&text),
            _ => cbc::Encryptor::<Aes256>::new_from_slices(&made, &iv)
                .unwrap()
                .encrypt_padded_vec_mut::<NoPadding>(&text),
        };
        let key = key.key_id;
        let first = ready
            .client
            .aes_cbc(session, key, AesOp::Encrypt, iv, &text[..32])
            .unwrap();
        let chained = (&*first.iv).try_into().unwrap();
        let second = ready
            .client
            .aes_cbc(session, key, AesOp::Encrypt, chained, &text[32..])
            .unwrap();
        assert_eq!([&*first.text, &second.text].concat(), expected);
        let back = ready
            .client
            .aes_cbc(session, key, AesOp::Decrypt, iv, &expected)
            .unwrap();
        assert_eq!(*back.text, text);
        assert_eq!(*back.iv, expected[48..]);

        ready.client.delete_key(session, key).unwrap();
        assert_status(
            ready
                .client
                .aes_cbc(session, key, AesOp::Encrypt, iv, &text),
            Status::KeyNotFound,
        );
        assert_status(ready.client.delete_key(session, key), Status::KeyNotFound);
    }
}

#[test]
fn cbc_arguments_are_checked() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let session = ready.session.id;
    let key = ready
        .client
        .generate_aes_key(session, AesKeySize::Aes256, b"", false)
        .unwrap();
    let good = AesEncryptDecrypt {
        key_id: key.key_id,
        op: AesOp::Encrypt,
        text: [0; 16].into(),
        iv: [0; 16].into(),
    };
    ready.client.call(Some(session), &good).unwrap();
    for bad in [
        AesEncryptDecrypt {
            text: [0; 15].into(),
            ..good.clone()
        },
        AesEncryptDecrypt {
            text: Bytes::default(),
            ..good.clone()
        },
        AesEncryptDecrypt {
            iv: [0; 15].into(),
            ..good.clone()
        },
        AesEncryptDecrypt {
            op: AesOp(3),
            ..good.clone()
        },
    ] {
        assert_status(ready.client.call(Some(session), &bad), Status::InvalidArg);
    }
    let bulk = ready
        .client
        .generate_aes_key(session, AesKeySize::XtsBulk256, b"", false)
        .unwrap();
    let bad = AesEncryptDecrypt {
        key_id: bulk.key_id,
        ..good
    };
    assert_status(
        ready.client.call(Some(session), &bad),
        Status::InvalidKeyType,
    );
}

#[test]
fn key_properties_are_checked() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let session = Some(ready.session.id);
    let request = |flags, tag, size| AesGenerateKey {
        size,
        tag,
        properties: TargetKeyProperties {
            metadata: KeyMetadata::new(flags),
            label: Bytes::default(),
        },
    };
    let both = KeyMetadata::ENCRYPT | KeyMetadata::DECRYPT;
    for flags in [
        0,
        KeyMetadata::ENCRYPT,
        KeyMetadata::DECRYPT,
        both | KeyMetadata::SIGN,
        KeyMetadata::SIGN | KeyMetadata::VERIFY,
        KeyMetadata::UNWRAP,
        KeyMetadata::DERIVE,
    ] {
        let request = request(flags, None, AesKeySize::Aes256);
        assert_status(
            ready.client.call(session, &request),
            Status::InvalidPermissions,
        );
    }
    assert_status(
        ready
            .client
            .call(session, &request(both, None, AesKeySize(7))),
        Status::InvalidArg,
    );
    let tagged = request(both, Some(9), AesKeySize::Aes256);
    ready.client.call(session, &tagged).unwrap();
    assert_status(
        ready.client.call(session, &tagged),
        Status::KeyTagAlreadyExists,
    );
    assert_status(
        ready.client.call(
            session,
            &request(
                both | KeyMetadata::SESSION_ONLY,
                Some(8),
                AesKeySize::Aes256,
            ),
        ),
        Status::InvalidArg,
    );
}

#[test]
fn seven_bulk_keys_per_resource() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let session = ready.session.id;
    // The function owns resources 2 and 3.
    for expected in (0..7)
        .map(|slot| (2 << 3) | slot)
        .chain((0..7).map(|slot| (3 << 3) | slot))
    {
        let key = ready
            .client
            .generate_aes_key(session, AesKeySize::XtsBulk256, b"", false)
            .unwrap();
        assert_eq!(key.bulk_key_id, Some(expected));
    }
    assert_status(
        ready
            .client
            .generate_aes_key(session, AesKeySize::GcmBulk256, b"", false),
        Status::ReachedMaxAesBulkKeys,
    );
    // Other keys have room.
    ready
        .client
        .generate_aes_key(session, AesKeySize::Aes128, b"", false)
        .unwrap();
}

#[test]
fn session_only_keys_go_with_their_session() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let other = ready.client.open_session(&CREDENTIAL).unwrap().id;
    let mut make = |session_only| {
        let size = AesKeySize::Aes256;
        ready
            .client
            .generate_aes_key(ready.session.id, size, b"", session_only)
            .unwrap()
            .key_id
    };
    let (own, shared) = (make(true), make(false));
    let use_key = |ready: &mut Ready<'_, Model>, session, key| {
        ready
            .client
            .aes_cbc(session, key, AesOp::Encrypt, [0; 16], &[0; 16])
    };
    let session = ready.session.id;
    use_key(&mut ready, session, own).unwrap();
    use_key(&mut ready, other, shared).unwrap();
    assert_status(use_key(&mut ready, other, own), Status::KeyNotFound);
    ready.client.close_session(session).unwrap();
    use_key(&mut ready, other, shared).unwrap();
    // The id is free again, the key is not back.
    assert_eq!(ready.client.open_session(&CREDENTIAL).unwrap().id, session);
    assert_status(use_key(&mut ready, session, own), Status::KeyNotFound);
}
