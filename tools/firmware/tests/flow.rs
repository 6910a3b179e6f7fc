// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a fresh device to keys that work, as a host does it.

mod common;

use aes::{Aes128, Aes192, Aes256};
use azihsm_ddi::{
    AesKeySize, AesOp, Bytes, DeviceKind, Op, Request, RequestHeader, Status,
    client::{Credential, OwnerKey, Partition},
    encode_request,
    message::*,
};
use azihsm_firmware::{
    ControlRequest, Firmware, LoginPolicy, Model, SessionInfo, SessionKind, SessionResult,
    StateChange, Undo,
};
use cbc::cipher::{BlockEncryptMut, KeyIvInit, block_padding::NoPadding};
use common::*;
use x509_cert::der::{Decode, Encode, referenced::OwnedToRef};

#[test]
fn device_tells_what_it_is() {
    let model = Model::builder().fips_approved(true).build();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    let revisions = client.api_revisions().unwrap();
    assert_eq!(
        (revisions.min, revisions.max),
        (azihsm_ddi::ApiRev::V1, azihsm_ddi::ApiRev::V1)
    );
    let info = client.device_info().unwrap();
    assert_eq!(
        info,
        DeviceInfo {
            kind: DeviceKind::Virtual,
            tables: 2,
            fips_approved: true
        }
    );
}

#[test]
fn certificate_is_self_signed() {
    use p384::ecdsa::{DerSignature, VerifyingKey, signature::Verifier};

    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    let der = client.leaf_certificate().unwrap();
    let certificate = x509_cert::Certificate::from_der(&der).unwrap();
    let tbs = &certificate.tbs_certificate;
    assert_eq!(tbs.issuer, tbs.subject);
    let key = VerifyingKey::try_from(tbs.subject_public_key_info.owned_to_ref()).unwrap();
    let signature = DerSignature::from_bytes(certificate.signature.raw_bytes()).unwrap();
    key.verify(&tbs.to_der().unwrap(), &signature).unwrap();

    let chain = client.call(None, &GetCertChainInfo { slot: 0 }).unwrap();
    use sha2::Digest;
    assert_eq!(*chain.thumbprint, *sha2::Sha256::digest(&der));
    assert_status(
        client.call(None, &GetCertChainInfo { slot: 1 }),
        Status::InvalidArg,
    );
    assert_status(
        client.call(None, &GetCertificate { slot: 0, index: 1 }),
        Status::InvalidArg,
    );
}

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
fn session_table() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    for id in 1..8 {
        assert_eq!(ready.client.open_session(&CREDENTIAL).unwrap().id, id);
    }
    assert_status(
        ready.client.open_session(&CREDENTIAL),
        Status::VaultSessionLimitReached,
    );
    ready.client.close_session(3).unwrap();
    assert_status(ready.client.close_session(3), Status::SessionNotFound);
    assert_status(
        ready.client.close_session(8),
        Status::VaultSessionLimitReached,
    );
    assert_eq!(ready.client.open_session(&CREDENTIAL).unwrap().id, 3);
    assert_eq!(model.sessions(FUNCTION).len(), 8);
    assert!(model.sessions(OTHER_FUNCTION).is_empty());
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

#[test]
fn bk3_is_set_once() {
    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    assert_status(
        client.call(None, &GetSealedBk3 {}),
        Status::SealedBk3NotPresent,
    );
    assert_status(
        client.call(
            None,
            &InitBk3 {
                bk3: [1; 47].into(),
            },
        ),
        Status::InvalidArg,
    );
    let masked = client
        .call(
            None,
            &InitBk3 {
                bk3: [1; 48].into(),
            },
        )
        .unwrap();
    assert_eq!(masked.guid, [1; 16]);
    assert_status(
        client.call(
            None,
            &InitBk3 {
                bk3: [1; 48].into(),
            },
        ),
        Status::Bk3AlreadyInitialized,
    );
    let sealed = |len| SetSealedBk3 {
        sealed_bk3: vec![7; len].try_into().unwrap(),
    };
    assert_status(client.call(None, &sealed(513)), Status::InvalidArg);
    client.call(None, &sealed(512)).unwrap();
    assert_status(client.call(None, &sealed(512)), Status::SealedBk3AlreadySet);
    assert_eq!(
        *client.call(None, &GetSealedBk3 {}).unwrap().sealed_bk3,
        [7; 512]
    );
}

#[test]
fn credential_is_protected() {
    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    let owner = OwnerKey::random();
    assert_status(
        client.open_session(&CREDENTIAL),
        Status::CredentialsNotEstablished,
    );
    let masked_bk3 = client.masked_bk3().unwrap();

    let partition = |masked_bk3: &Bytes<1024>, bmk| Partition {
        masked_bk3: masked_bk3.clone(),
        bmk,
    };
    let mut damaged = masked_bk3.clone().into_vec();
    damaged[20] ^= 1;
    let damaged = damaged.try_into().unwrap();
    for bad in [
        partition(&damaged, Bytes::default()),
        partition(&masked_bk3, [1; 60].into()),
    ] {
        assert_status(
            client.establish_again(&CREDENTIAL, &owner, &bad),
            Status::InvalidArg,
        );
    }
    let zero = Credential {
        id: [0; 16],
        pin: [1; 16],
    };
    assert_status(
        client.establish(&zero, &owner),
        Status::InvalidAppCredentials,
    );
    assert_status(
        client.open_session(&CREDENTIAL),
        Status::CredentialsNotEstablished,
    );
    client.establish(&CREDENTIAL, &owner).unwrap();
    assert_status(
        client.establish(&CREDENTIAL, &owner),
        Status::VaultAppLimitReached,
    );
    let wrong = Credential {
        pin: [9; 16],
        ..CREDENTIAL
    };
    assert_status(client.open_session(&wrong), Status::InvalidAppCredentials);
    client.open_session(&CREDENTIAL).unwrap();
}

#[test]
fn messages_of_the_host_cannot_be_changed_or_replayed() {
    // What the client sends is caught, and sent again in variations.
    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut caught = None;
    {
        let mut client = azihsm_ddi::client::Client::new(|kind, session_id, request: &[u8]| {
            let command = ControlRequest {
                kind,
                session_id,
                request: request.to_vec(),
            };
            if Request::parse(request).unwrap().header.op == Op::EstablishCredential {
                caught = Some(
                    Request::parse(request)
                        .unwrap()
                        .body::<EstablishCredential>()
                        .unwrap(),
                );
            }
            let response = model.control(FUNCTION, command);
            if response.status == 0 {
                Ok(response.response)
            } else {
                Err(response.status)
            }
        });
        // Learn a request without its effect: the function is disabled after that.
        client.establish(&CREDENTIAL, &OwnerKey::random()).unwrap();
    }
    let good = caught.unwrap();
    let mut client = client(&model, FUNCTION);
    reset(&model, FUNCTION, StateChange::Disable);
    // Nonces change at each reset.
    assert_status(client.call(None, &good), Status::NonceMismatch);
    let nonce = client
        .call(None, &GetEstablishCredEncryptionKey {})
        .unwrap()
        .nonce;
    let with = |change: fn(&mut EncryptedCredential)| {
        let mut request = good.clone();
        request.credential.nonce = nonce;
        change(&mut request.credential);
        request
    };
    assert_status(
        client.call(None, &with(|_| ())),
        Status::PinDecryptionFailed,
    );
    assert_status(
        client.call(None, &with(|c| c.iv = [0; 15].into())),
        Status::InvalidArg,
    );
    assert_status(
        client.call(None, &with(|c| c.id = Bytes::default())),
        Status::InvalidArg,
    );
    let mut bad_key = with(|_| ());
    bad_key.public_key.der = [1; 120].into();
    assert_status(client.call(None, &bad_key), Status::InvalidArg);
    // A wrong tag does not use the nonce up.
    assert_eq!(
        client
            .call(None, &GetEstablishCredEncryptionKey {})
            .unwrap()
            .nonce,
        nonce
    );
}

#[test]
fn owner_has_to_sign_the_leaf() {
    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut client = azihsm_ddi::client::Client::new(|kind, session_id, request: &[u8]| {
        let parsed = Request::parse(request).unwrap();
        let mut request = request.to_vec();
        if parsed.header.op == Op::EstablishCredential {
            let mut body = parsed.body::<EstablishCredential>().unwrap();
            let mut signature = body.pota_signature.into_vec();
            signature[95] ^= 1;
            body.pota_signature = signature.try_into().unwrap();
            request = encode_request(&parsed.header, &body).unwrap();
        }
        let response = model.control(
            FUNCTION,
            ControlRequest {
                kind,
                session_id,
                request,
            },
        );
        if response.status == 0 {
            Ok(response.response)
        } else {
            Err(response.status)
        }
    });
    assert_status(
        client.establish(&CREDENTIAL, &OwnerKey::random()),
        Status::InvalidArg,
    );
}

#[test]
fn failed_logins_are_delayed() {
    let delay = std::time::Duration::from_millis(400);
    let model = Model::builder()
        .login_policy(LoginPolicy {
            allowed_failures: 3,
            delay,
        })
        .build();
    let mut ready = ready(&model, FUNCTION);
    let wrong = Credential {
        pin: [9; 16],
        ..CREDENTIAL
    };
    for _ in 0..3 {
        assert_status(
            ready.client.open_session(&wrong),
            Status::InvalidAppCredentials,
        );
    }
    assert_status(ready.client.open_session(&CREDENTIAL), Status::LoginFailed);
    std::thread::sleep(delay);
    ready.client.open_session(&CREDENTIAL).unwrap();
    // The success has cleared the count.
    assert_status(
        ready.client.open_session(&wrong),
        Status::InvalidAppCredentials,
    );
    ready.client.open_session(&CREDENTIAL).unwrap();
}

#[test]
fn session_fields_of_the_completion() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let id = ready.client.open_session(&CREDENTIAL).unwrap().id;
    assert_ne!(id, 0);
    let last = |ready: &mut Ready<'_, Model>| ready.client.transport().last.clone();
    let fields = |kind, id_valid, app_valid, safe_to_close, session_id| SessionResult {
        kind,
        id_valid,
        app_valid,
        safe_to_close,
        session_id,
        short_app_id: 0,
    };

    let opened = last(&mut ready);
    assert_eq!(opened.session, fields(1, true, true, false, id));
    assert_eq!(opened.undo, Some(Undo::Session(id)));

    ready.client.device_info().unwrap();
    assert_eq!(last(&mut ready).session, fields(0, false, false, false, 0));

    let key = ready
        .client
        .generate_aes_key(id, AesKeySize::Aes128, b"", false)
        .unwrap()
        .key_id;
    assert_eq!(last(&mut ready).session, fields(3, false, false, false, 0));
    assert_eq!(last(&mut ready).undo, Some(Undo::Key(key)));

    ready.client.delete_key(id, key + 1).unwrap_err();
    assert_eq!(last(&mut ready).session, fields(3, true, false, false, id));

    // Refused before it executes.
    ready.client.delete_key(7, key).unwrap_err();
    assert_eq!(last(&mut ready).session, fields(3, false, false, false, 0));

    let wrong = Credential {
        pin: [9; 16],
        ..CREDENTIAL
    };
    ready.client.open_session(&wrong).unwrap_err();
    assert_eq!(last(&mut ready).session, fields(1, false, false, false, 0));

    ready.client.close_session(id).unwrap();
    assert_eq!(last(&mut ready).session, fields(2, true, false, true, id));

    // Flush: a live session, then a free one.
    let session = ready.session.id;
    assert_eq!(
        model.flush(FUNCTION, session),
        (0, fields(2, true, false, true, session))
    );
    assert_eq!(
        model.flush(FUNCTION, session),
        (0, fields(0, false, false, false, session))
    );
}

#[test]
fn undo_takes_back() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let session = ready.session.id;
    let size = AesKeySize::XtsBulk256;
    let key = ready
        .client
        .generate_aes_key(session, size, b"", false)
        .unwrap();
    model.undo(FUNCTION, Undo::Key(key.key_id));
    assert_status(
        ready.client.delete_key(session, key.key_id),
        Status::KeyNotFound,
    );
    let again = ready
        .client
        .generate_aes_key(session, size, b"", false)
        .unwrap();
    assert_eq!(again.bulk_key_id, key.bulk_key_id);
    model.undo(FUNCTION, Undo::Session(session));
    assert!(model.sessions(FUNCTION).is_empty());
}

#[test]
fn resets_reserve_sessions_and_erase_keys() {
    for change in [StateChange::Disable, StateChange::Nssr, StateChange::Flr] {
        let model = Model::default();
        let mut ready = ready(&model, FUNCTION);
        let abandoned = ready.client.open_session(&CREDENTIAL).unwrap();
        let (session, seed) = (ready.session.clone(), ready.session.seed);
        let key = ready
            .client
            .generate_aes_key(session.id, AesKeySize::Aes256, b"", false)
            .unwrap();
        let leaf = ready.client.leaf_certificate().unwrap();

        model.state(FUNCTION, change);
        assert_status(ready.client.device_info(), Status::FunctionNotEnabled);
        model.state(FUNCTION, StateChange::Enable);
        let reserved = |id| SessionInfo {
            id,
            needs_renegotiation: true,
        };
        assert_eq!(
            model.sessions(FUNCTION),
            [reserved(session.id), reserved(abandoned.id)],
            "{change:?}"
        );
        assert_eq!(ready.client.leaf_certificate().unwrap(), leaf);
        assert_eq!(
            ready.client.masked_bk3().unwrap(),
            ready.partition.masked_bk3
        );

        assert_status(
            ready.client.delete_key(session.id, key.key_id),
            Status::SessionNeedsRenegotiation,
        );
        assert_status(
            ready.client.reopen_session(&CREDENTIAL, &session),
            Status::PartitionNotProvisioned,
        );
        assert_status(
            ready.client.open_session(&CREDENTIAL),
            Status::CredentialsNotEstablished,
        );
        let again = ready
            .client
            .establish_again(&CREDENTIAL, &ready.owner, &ready.partition)
            .unwrap();
        assert_eq!(again.masked_bk3, ready.partition.masked_bk3);

        // The slots are not free until the sessions are closed.
        assert_eq!(ready.client.open_session(&CREDENTIAL).unwrap().id, 2);

        let mut other_seed = session.clone();
        other_seed.seed[0] ^= 1;
        assert_status(
            ready.client.reopen_session(&CREDENTIAL, &other_seed),
            Status::InvalidArg,
        );
        let reopened = ready.client.reopen_session(&CREDENTIAL, &session).unwrap();
        assert_eq!((reopened.id, reopened.seed), (session.id, seed));
        let fields = ready.client.transport().last.session;
        assert_eq!(
            (fields.kind, fields.id_valid, fields.app_valid),
            (3, true, true)
        );
        assert_status(
            ready.client.reopen_session(&CREDENTIAL, &session),
            Status::InvalidArg,
        );
        assert_status(
            ready.client.delete_key(session.id, key.key_id),
            Status::KeyNotFound,
        );

        // A reserved session can be closed, or flushed.
        ready.client.close_session(abandoned.id).unwrap();
        assert!(ready.client.transport().last.session.safe_to_close);
        assert_status(
            ready.client.close_session(abandoned.id),
            Status::SessionNotFound,
        );
    }
}

#[test]
fn session_survives_two_resets() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let (mut partition, mut session) = (ready.partition.clone(), ready.session.clone());
    for change in [StateChange::Nssr, StateChange::Disable, StateChange::Nssr] {
        reset(&model, FUNCTION, change);
        partition = ready
            .client
            .establish_again(&CREDENTIAL, &ready.owner, &partition)
            .unwrap();
        session = ready.client.reopen_session(&CREDENTIAL, &session).unwrap();
    }
    reset(&model, FUNCTION, StateChange::Nssr);
    let (status, fields) = model.flush(FUNCTION, session.id);
    assert_eq!((status, fields.kind, fields.safe_to_close), (0, 0, false));
    assert!(model.sessions(FUNCTION).is_empty());
}

#[test]
fn losing_all_resources_erases_the_partition() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let leaf = ready.client.leaf_certificate().unwrap();
    model.state(FUNCTION, StateChange::Disable);
    model.state(
        FUNCTION,
        StateChange::Resources {
            owned: 0,
            guid: [0; 16],
        },
    );
    assert!(model.sessions(FUNCTION).is_empty());
    power_up(&model, FUNCTION);
    assert_ne!(ready.client.leaf_certificate().unwrap(), leaf);
    assert_status(
        ready.client.call(None, &GetSealedBk3 {}),
        Status::SealedBk3NotPresent,
    );
    // Nothing of the old partition is of use to the new one.
    let partition = ready.partition.clone();
    assert_status(
        ready
            .client
            .establish_again(&CREDENTIAL, &ready.owner, &partition),
        Status::InvalidArg,
    );
}

#[test]
fn functions_do_not_share() {
    let model = Model::default();
    let mut one = ready(&model, FUNCTION);
    let two = ready(&model, OTHER_FUNCTION);
    assert_eq!(one.session.id, two.session.id);
    let key = one
        .client
        .generate_aes_key(0, AesKeySize::Aes128, b"", false)
        .unwrap()
        .key_id;
    let mut two = two;
    assert_status(two.client.delete_key(0, key), Status::KeyNotFound);
    model.state(OTHER_FUNCTION, StateChange::Nssr);
    one.client.delete_key(0, key).unwrap();
    assert!(!model.sessions(FUNCTION)[0].needs_renegotiation);
}

#[test]
fn requests_are_validated_in_order() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let id = ready.session.id;
    let revision = Some(azihsm_ddi::ApiRev::V1);
    let wrong = Some(azihsm_ddi::ApiRev { major: 2, minor: 0 });
    let header = |op, revision, session_id| RequestHeader {
        revision,
        op,
        session_id,
    };
    let unknown = Op(4711);
    use SessionKind::{Close, InSession, None as NoSession, Open};
    for (kind, sqe_id, header, status, echoed) in [
        // Session fields.
        (
            Open,
            None,
            header(Op::GetDeviceInfo, revision, None),
            Status::InvalidArg,
            None,
        ),
        (
            NoSession,
            None,
            header(unknown, revision, None),
            Status::InvalidArg,
            None,
        ),
        (
            NoSession,
            Some(id),
            header(Op::GetDeviceInfo, revision, None),
            Status::InvalidArg,
            None,
        ),
        (
            Open,
            Some(id),
            header(Op::OpenSession, revision, None),
            Status::SessionNotExpected,
            None,
        ),
        (
            Close,
            None,
            header(Op::CloseSession, revision, Some(id)),
            Status::InvalidArg,
            Some(id),
        ),
        (
            InSession,
            None,
            header(Op::DeleteKey, revision, None),
            Status::InvalidArg,
            None,
        ),
        (
            InSession,
            Some(id),
            header(Op::DeleteKey, revision, Some(9)),
            Status::InvalidArg,
            Some(9),
        ),
        (
            InSession,
            Some(id),
            header(Op::DeleteKey, revision, None),
            Status::InvalidArg,
            None,
        ),
        (
            NoSession,
            None,
            header(Op::GetDeviceInfo, revision, Some(id)),
            Status::InvalidArg,
            Some(id),
        ),
        // Revision and session.
        (
            NoSession,
            None,
            header(Op::GetDeviceInfo, None, None),
            Status::UnsupportedRevision,
            None,
        ),
        (
            NoSession,
            None,
            header(Op::GetDeviceInfo, wrong, None),
            Status::UnsupportedRevision,
            None,
        ),
        (
            NoSession,
            None,
            header(Op::GetApiRev, revision, None),
            Status::UnsupportedRevision,
            None,
        ),
        (
            InSession,
            Some(id),
            header(Op::DeleteKey, wrong, Some(id)),
            Status::UnsupportedRevision,
            Some(id),
        ),
        (
            InSession,
            Some(5),
            header(Op::DeleteKey, wrong, Some(5)),
            Status::SessionNotFound,
            Some(5),
        ),
        (
            InSession,
            Some(8),
            header(Op::DeleteKey, wrong, Some(8)),
            Status::VaultSessionLimitReached,
            Some(8),
        ),
        // Operations that are unknown or not there.
        (
            InSession,
            Some(id),
            header(unknown, revision, Some(id)),
            Status::UnsupportedCmd,
            None,
        ),
        (
            InSession,
            Some(5),
            header(unknown, revision, Some(5)),
            Status::SessionNotFound,
            Some(5),
        ),
        (
            InSession,
            Some(id),
            header(Op::EccSign, revision, Some(id)),
            Status::UnsupportedCmd,
            None,
        ),
        // A body that does not decode.
        (
            InSession,
            Some(id),
            header(Op::DeleteKey, revision, Some(id)),
            Status::DdiDecodeFailed,
            None,
        ),
    ] {
        let request = encode_request(&header, &Empty {}).unwrap();
        let response = model.control(
            FUNCTION,
            ControlRequest {
                kind,
                session_id: sqe_id,
                request,
            },
        );
        let error = azihsm_ddi::decode_response::<GetDeviceInfo>(&response.response).unwrap_err();
        let azihsm_ddi::ResponseError::Status(answer) = error else {
            panic!("{error}")
        };
        assert_eq!(answer.status, status, "{kind:?} {sqe_id:?} {header:?}");
        assert_eq!(answer.session_id, echoed, "{kind:?} {sqe_id:?} {header:?}");
        assert_eq!((answer.op, answer.revision), (header.op, header.revision));
        let expected = SessionResult {
            kind: header.op.session_kind() as u8,
            ..SessionResult::default()
        };
        assert_eq!(response.session, expected);
        assert_eq!((response.status, response.undo), (0, None));
    }
    ready.client.close_session(id).unwrap();
}

#[test]
fn worked_examples_of_errors() {
    let model = Model::default();
    power_up(&model, FUNCTION);
    let send = |request: &[u8]| {
        let request = request.to_vec();
        let command = ControlRequest {
            kind: SessionKind::None,
            session_id: None,
            request,
        };
        model.control(FUNCTION, command)
    };
    let undecodable = send(&[0, 1, 2, 3]);
    assert_eq!(undecodable.session, SessionResult::default());
    assert_eq!(
        undecodable.response,
        [
            0xa2, 0x18, 0, 0xa3, 0x18, 2, 0x1a, 0, 0, 3, 0xe9, 0x18, 4, 0x1a, 8, 0x68, 0, 2, 0x18,
            5, 0x14, 0x18, 1, 0xa0
        ]
    );
    let no_revision = send(&[
        0xa2, 0x18, 0, 0xa1, 0x18, 2, 0x1a, 0, 0, 3, 0xeb, 0x18, 1, 0xa0,
    ]);
    assert_eq!(
        no_revision.response,
        [
            0xa2, 0x18, 0, 0xa3, 0x18, 2, 0x1a, 0, 0, 3, 0xeb, 0x18, 4, 0x1a, 8, 0x70, 0, 0x2a,
            0x18, 5, 0x14, 0x18, 1, 0xa0
        ]
    );
    let api_rev = send(&[
        0xa2, 0x18, 0, 0xa1, 0x18, 2, 0x1a, 0, 0, 3, 0xea, 0x18, 1, 0xa0,
    ]);
    assert_eq!(api_rev.response.len(), 58);
}
