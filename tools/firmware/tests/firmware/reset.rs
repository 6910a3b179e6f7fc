// SPDX-License-Identifier: MIT OR Apache-2.0

//! What resets and changes of resources take, and what they leave.

use azihsm_ddi::{AesKeySize, Status, message::GetSealedBk3};
use azihsm_firmware::{Firmware, Model, SessionInfo, StateChange};

use crate::host::*;

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
