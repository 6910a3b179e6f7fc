// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions: the table, the fields of completions, rolling back.

use azihsm_ddi::{AesKeySize, Status, client::Credential};
use azihsm_firmware::{Firmware, Model, SessionResult, Undo};

use crate::host::*;

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
fn clients_that_race_for_the_nonce() {
    let model = Model::default();
    let ready = ready(&model, FUNCTION);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = client(&model, FUNCTION);
                for _ in 0..10 {
                    let session = client.open_session(&CREDENTIAL).unwrap();
                    client.close_session(session.id).unwrap();
                }
            });
        }
    });
    let left: Vec<_> = model
        .sessions(FUNCTION)
        .iter()
        .map(|session| session.id)
        .collect();
    assert_eq!(left, [ready.session.id]);
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
