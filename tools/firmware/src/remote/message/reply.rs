// SPDX-License-Identifier: MIT OR Apache-2.0

//! Replies: from the firmware to the queue hardware.

use super::{MAGIC, MessageError, Reader, Writer, kind};
use crate::{ControlResponse, FastResponse, SessionInfo, SessionResult};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) enum Reply {
    /// Version of the protocol that the firmware speaks.
    Hello(u16),
    /// Outcome of a control command.
    Control(ControlResponse),
    /// The command is rolled back.
    Undo,
    /// Status and session fields of a flush.
    Flush(u16, SessionResult),
    /// Outcome of a fast-path command.
    Fast(FastResponse),
    /// The state is changed.
    State,
    /// The sessions.
    Sessions(Vec<SessionInfo>),
    /// The context of a function, if it can be had.
    Save(Option<Vec<u8>>),
    /// Whether the context was taken.
    Restore(bool),
}

impl Reply {
    /// Returns the type of message and the body.
    pub(in crate::remote) fn encode(&self) -> (u8, Vec<u8>) {
        let w = Writer::new(match self {
            Self::Control(outcome) => outcome.response.len(),
            Self::Fast(outcome) => outcome.data.len(),
            Self::Save(Some(context)) => context.len(),
            _ => 0,
        });
        let (kind, w) = match self {
            Self::Hello(version) => (kind::HELLO, w.bytes(&MAGIC).u16(*version)),
            Self::Control(outcome) => {
                let w = w
                    .u16(outcome.status)
                    .session(&outcome.session)
                    .undo(outcome.undo);
                (kind::CONTROL, w.bytes(&outcome.response))
            }
            Self::Undo => (kind::UNDO, w),
            Self::Flush(status, session) => (kind::FLUSH, w.u16(*status).session(session)),
            Self::Fast(outcome) => {
                let w = w.u16(outcome.status).u16(outcome.error).u32(outcome.fips);
                (
                    kind::FAST,
                    w.bytes(&outcome.tag)
                        .bytes(&outcome.iv)
                        .bytes(&outcome.data),
                )
            }
            Self::State => (kind::STATE, w),
            Self::Sessions(sessions) => {
                let entry = |w: Writer, session: &SessionInfo| {
                    w.u16(session.id)
                        .u8(session.needs_renegotiation.into())
                        .u8(0)
                };
                (kind::SESSIONS, sessions.iter().fold(w, entry))
            }
            Self::Save(context) => {
                let w = w.u8(context.is_some().into());
                (kind::SAVE, w.bytes(context.as_deref().unwrap_or_default()))
            }
            Self::Restore(taken) => (kind::RESTORE, w.u8((*taken).into())),
        };
        (kind | kind::REPLY, w.finish())
    }

    /// Decodes a reply.
    pub(in crate::remote) fn decode(kind: u8, body: Vec<u8>) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let reply = match kind.checked_sub(kind::REPLY) {
            Some(kind::HELLO) => {
                let magic = r.bytes()?;
                if magic != MAGIC {
                    let value = u32::from_le_bytes(magic);
                    return Err(MessageError::Value {
                        field: "magic",
                        value,
                    });
                }
                Self::Hello(r.u16()?)
            }
            Some(kind::CONTROL) => {
                let (status, session, undo) = (r.u16()?, r.session()?, r.undo()?);
                let response = r.rest();
                return Ok(Self::Control(ControlResponse {
                    status,
                    session,
                    response,
                    undo,
                }));
            }
            Some(kind::UNDO) => Self::Undo,
            Some(kind::FLUSH) => Self::Flush(r.u16()?, r.session()?),
            Some(kind::FAST) => {
                let (status, error, fips) = (r.u16()?, r.u16()?, r.u32()?);
                let (tag, iv) = (r.bytes()?, r.bytes()?);
                return Ok(Self::Fast(FastResponse {
                    status,
                    error,
                    tag,
                    iv,
                    fips,
                    data: r.rest(),
                }));
            }
            Some(kind::STATE) => Self::State,
            Some(kind::SESSIONS) => {
                let mut sessions = Vec::new();
                while !r.is_empty() {
                    let (id, needs_renegotiation) = (r.u16()?, r.bool("needs renegotiation")?);
                    r.reserved::<1>()?;
                    sessions.push(SessionInfo {
                        id,
                        needs_renegotiation,
                    });
                }
                Self::Sessions(sessions)
            }
            Some(kind::SAVE) if r.bool("context present")? => {
                return Ok(Self::Save(Some(r.rest())));
            }
            Some(kind::SAVE) => Self::Save(None),
            Some(kind::RESTORE) => Self::Restore(r.bool("context taken")?),
            _ => return Err(MessageError::Kind(kind)),
        };
        r.finish()?;
        Ok(reply)
    }
}
