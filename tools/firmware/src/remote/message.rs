// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages in frames: one type of request and one of reply for each call of the firmware interface.

mod encoding;
mod reply;
mod request;

use encoding::{Reader, Writer};

pub(super) use reply::Reply;
pub(super) use request::Request;

/// Types of messages. A reply has the type of its request plus [`kind::REPLY`].
mod kind {
    pub(super) const HELLO: u8 = 0;
    pub(super) const CONTROL: u8 = 1;
    pub(super) const UNDO: u8 = 2;
    pub(super) const FLUSH: u8 = 3;
    pub(super) const FAST: u8 = 4;
    pub(super) const STATE: u8 = 5;
    pub(super) const SESSIONS: u8 = 6;
    pub(super) const SAVE: u8 = 7;
    pub(super) const RESTORE: u8 = 8;
    pub(super) const REPLY: u8 = 0x80;
}

/// First bytes of a hello.
const MAGIC: [u8; 4] = *b"AZHF";

/// A message does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// Type that is not known.
    #[error("message type {0:#04x} is unknown")]
    Kind(u8),
    /// Body that ends too early.
    #[error("message body is too short")]
    Short,
    /// Body that goes on.
    #[error("message body is {0} bytes too long")]
    Long(usize),
    /// Value that has no meaning.
    #[error("{field} has the value {value}, which has no meaning")]
    Value {
        /// What has the value.
        field: &'static str,
        /// The value.
        value: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    const CIPHERS: [Cipher; 3] = [
        Cipher::Gcm {
            key: 1,
            iv: [2; 12],
            tag: [3; 16],
            aad_len: 4,
            padded_aad_len: 32,
            tail_len: 5,
        },
        Cipher::Xts {
            key1: 1,
            key2: 2,
            tweak: [3; 16],
            data_unit: Some(512),
        },
        Cipher::Xts {
            key1: 1,
            key2: 2,
            tweak: [3; 16],
            data_unit: None,
        },
    ];

    fn requests() -> Vec<Request> {
        let control = |kind, session_id| {
            Request::Control(ControlRequest {
                kind,
                session_id,
                request: vec![1, 2, 3],
            })
        };
        let mut requests = vec![
            Request::Hello(7),
            control(SessionKind::None, None),
            control(SessionKind::Open, None),
            control(SessionKind::Close, Some(0)),
            control(SessionKind::InSession, Some(0xfffe)),
            Request::Undo(Undo::Session(3)),
            Request::Undo(Undo::Key(4)),
            Request::Flush(5),
            Request::State(StateChange::Enable),
            Request::State(StateChange::Disable),
            Request::State(StateChange::Nssr),
            Request::State(StateChange::Flr),
            Request::State(StateChange::Resources {
                owned: u128::MAX - 5,
                guid: [9; 16],
            }),
            Request::Sessions,
            Request::Save,
            Request::Restore(vec![1, 2, 3]),
        ];
        requests.extend(CIPHERS.map(|cipher| {
            let data = vec![9; 33];
            Request::Fast(FastRequest {
                cipher,
                decrypt: true,
                session_id: 6,
                short_app_id: 7,
                data,
            })
        }));
        requests
    }

    fn replies() -> Vec<Reply> {
        let session = SessionResult {
            kind: 3,
            id_valid: true,
            app_valid: false,
            safe_to_close: true,
            session_id: 4,
            short_app_id: 5,
        };
        let control = |undo| {
            let response = vec![1, 2];
            Reply::Control(ControlResponse {
                status: 0x7ff,
                session,
                response,
                undo,
            })
        };
        vec![
            Reply::Hello(1),
            control(None),
            control(Some(Undo::Session(1))),
            control(Some(Undo::Key(2))),
            Reply::Undo,
            Reply::Flush(7, session),
            Reply::Fast(FastResponse {
                status: 1,
                error: 2,
                tag: [3; 16],
                iv: [4; 12],
                fips: 5,
                data: vec![6; 7],
            }),
            Reply::State,
            Reply::Sessions(vec![
                SessionInfo {
                    id: 0,
                    needs_renegotiation: true,
                },
                SessionInfo {
                    id: 7,
                    needs_renegotiation: false,
                },
            ]),
            Reply::Sessions(vec![]),
            Reply::Save(None),
            Reply::Save(Some(vec![1, 2, 3])),
            Reply::Restore(true),
            Reply::Restore(false),
        ]
    }

    #[test]
    fn requests_round_trip() {
        for request in requests() {
            let (kind, body) = request.encode();
            assert_eq!(Request::decode(kind, body.clone()), Ok(request.clone()));
            damage(&body, |body| drop(Request::decode(kind, body)));
        }
    }

    #[test]
    fn replies_round_trip() {
        for reply in replies() {
            let (kind, body) = reply.encode();
            assert_eq!(Reply::decode(kind, body.clone()), Ok(reply));
            damage(&body, |body| drop(Reply::decode(kind, body)));
        }
    }

    /// Bodies that are cut or changed do not panic.
    fn damage(body: &[u8], decode: impl Fn(Vec<u8>)) {
        for at in 0..body.len() {
            decode(body[..at].to_vec());
            for value in [0, 1, 0x7f, 0xff] {
                let mut body = body.to_vec();
                body[at] = value;
                decode(body);
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Request::decode(9, vec![]), Err(MessageError::Kind(9)));
        assert_eq!(Request::decode(0x81, vec![]), Err(MessageError::Kind(0x81)));
        assert_eq!(Reply::decode(1, vec![]), Err(MessageError::Kind(1)));
        assert_eq!(
            Request::decode(kind::FLUSH, vec![1]),
            Err(MessageError::Short)
        );
        assert_eq!(
            Request::decode(kind::FLUSH, vec![1, 2, 3]),
            Err(MessageError::Long(1))
        );
        assert!(matches!(
            Request::decode(kind::CONTROL, vec![4, 0, 0, 0]),
            Err(MessageError::Value {
                field: "session kind",
                value: 4
            })
        ));
        assert!(matches!(
            Request::decode(kind::HELLO, b"HTTP\x01\0".to_vec()),
            Err(MessageError::Value { field: "magic", .. })
        ));
    }
}
