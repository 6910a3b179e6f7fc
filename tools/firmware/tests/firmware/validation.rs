// SPDX-License-Identifier: MIT OR Apache-2.0

//! Validation of requests, in its order.

use azihsm_ddi::{
    ApiRev, Op, RequestHeader, ResponseError, Status, decode_response, encode_request, message::*,
};
use azihsm_firmware::{ControlRequest, Firmware, Model, SessionKind, SessionResult};

use crate::host::*;

#[test]
fn requests_are_validated_in_order() {
    let model = Model::default();
    let mut ready = ready(&model, FUNCTION);
    let id = ready.session.id;
    let revision = Some(ApiRev::V1);
    let wrong = Some(ApiRev { major: 2, minor: 0 });
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
        let error = decode_response::<GetDeviceInfo>(&response.response).unwrap_err();
        let ResponseError::Status(answer) = error else {
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
