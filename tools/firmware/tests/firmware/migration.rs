// SPDX-License-Identifier: MIT OR Apache-2.0

//! A function moves to another device (section 4.9).

use azihsm_ddi::{Status, message::GetSealedBk3};
use azihsm_firmware::{Firmware, Model, SessionInfo, StateChange};

use crate::host::*;

/// Gives a function resources, but does not enable it.
fn prepare(model: &Model) {
    power_up(model, OTHER_FUNCTION);
    model.state(OTHER_FUNCTION, StateChange::Disable);
}

#[test]
fn sessions_and_bk3_arrive() {
    let (here, there) = (Model::default(), Model::default());
    let mut ready = ready(&here, FUNCTION);
    let other = ready.client.open_session(&CREDENTIAL).unwrap();
    let context = here.save(FUNCTION).unwrap();
    here.state(FUNCTION, StateChange::Disable);

    prepare(&there);
    assert!(there.restore(OTHER_FUNCTION, &context));
    there.state(OTHER_FUNCTION, StateChange::Enable);
    let reserved = |id| SessionInfo {
        id,
        needs_renegotiation: true,
    };
    assert_eq!(
        there.sessions(OTHER_FUNCTION),
        [reserved(ready.session.id), reserved(other.id)]
    );
    let mut client = client(&there, OTHER_FUNCTION);
    assert_eq!(client.masked_bk3().unwrap(), ready.partition.masked_bk3);
    assert_status(
        client.reopen_session(&CREDENTIAL, &ready.session),
        Status::PartitionNotProvisioned,
    );
    let again = client
        .establish_again(&CREDENTIAL, &ready.owner, &ready.partition)
        .unwrap();
    assert_eq!(again.masked_bk3, ready.partition.masked_bk3);
    let session = client.reopen_session(&CREDENTIAL, &ready.session).unwrap();
    assert_eq!(session.id, ready.session.id);
    client.close_session(other.id).unwrap();
}

#[test]
fn a_damaged_context_changes_nothing() {
    let (here, there) = (Model::default(), Model::default());
    ready(&here, FUNCTION);
    let context = here.save(FUNCTION).unwrap();
    prepare(&there);
    for at in [0, 1, 2, 20, context.len() - 1] {
        let mut damaged = context.clone();
        damaged[at] ^= 1;
        assert!(!there.restore(OTHER_FUNCTION, &damaged), "byte {at}");
        assert!(
            !there.restore(OTHER_FUNCTION, &context[..at]),
            "cut at {at}"
        );
    }
    assert!(there.sessions(OTHER_FUNCTION).is_empty());
    there.state(OTHER_FUNCTION, StateChange::Enable);
    assert_status(
        client(&there, OTHER_FUNCTION).call(None, &GetSealedBk3 {}),
        Status::SealedBk3NotPresent,
    );
    assert!(
        !there.restore(OTHER_FUNCTION, &context),
        "not while it is enabled"
    );
}

#[test]
fn without_resources_there_is_nothing_to_move() {
    let (here, there) = (Model::default(), Model::default());
    assert_eq!(here.save(FUNCTION), None);
    ready(&here, FUNCTION);
    let context = here.save(FUNCTION).unwrap();
    assert!(!there.restore(OTHER_FUNCTION, &context));
}
