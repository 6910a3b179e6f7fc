// SPDX-License-Identifier: MIT OR Apache-2.0

//! BK3, the credential, and what protects them.

use std::{thread, time::Duration};

use azihsm_ddi::{
    Bytes, Op, Request, Status,
    client::{Client, Credential, OwnerKey, Partition},
    encode_request,
    message::*,
};
use azihsm_firmware::{ControlRequest, Firmware, LoginPolicy, Model, StateChange};

use crate::host::*;

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
        let mut client = Client::new(|kind, session_id, request: &[u8]| {
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
        // What this establishes is taken back by the reset below.
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
    let mut client = Client::new(|kind, session_id, request: &[u8]| {
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
    let hour = Duration::from_secs(3600);
    let delayed = |delay| {
        let model = Model::builder()
            .login_policy(LoginPolicy {
                allowed_failures: 3,
                delay,
            })
            .build();
        let wrong = Credential {
            pin: [9; 16],
            ..CREDENTIAL
        };
        let mut ready = ready(&model, FUNCTION);
        for _ in 0..2 {
            assert_status(
                ready.client.open_session(&wrong),
                Status::InvalidAppCredentials,
            );
        }
        // A success clears the count.
        ready.client.open_session(&CREDENTIAL).unwrap();
        for _ in 0..3 {
            assert_status(
                ready.client.open_session(&wrong),
                Status::InvalidAppCredentials,
            );
        }
        thread::sleep(delay.min(Duration::from_millis(10)));
        ready.client.open_session(&CREDENTIAL)
    };
    assert_status(delayed(hour), Status::LoginFailed);
    delayed(Duration::from_millis(10)).unwrap();
}
