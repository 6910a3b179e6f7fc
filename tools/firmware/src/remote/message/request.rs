// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests: from the queue hardware to the firmware.

use super::{MAGIC, MessageError, Reader, Writer, kind};
use crate::{Cipher, ControlRequest, FastRequest, SessionKind, StateChange, Undo};

const GCM: u8 = 0;
const XTS: u8 = 1;

const ENABLE: u8 = 0;
const DISABLE: u8 = 1;
const NSSR: u8 = 2;
const FLR: u8 = 3;
const RESOURCES: u8 = 4;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) enum Request {
    /// First message: version of the protocol.
    Hello(u16),
    /// Control command.
    Control(ControlRequest),
    /// Rolls a control command back.
    Undo(Undo),
    /// Flushes a session.
    Flush(u16),
    /// Fast-path command.
    Fast(FastRequest),
    /// State change.
    State(StateChange),
    /// Asks for the sessions.
    Sessions,
    /// Asks for the context of a function that moves to another device.
    Save,
    /// Gives such a context.
    Restore(Vec<u8>),
}

impl Request {
    /// Returns the type of message and the body.
    pub(in crate::remote) fn encode(&self) -> (u8, Vec<u8>) {
        let w = Writer::new(match self {
            Self::Control(command) => command.request.len(),
            Self::Fast(command) => command.data.len(),
            Self::Restore(context) => context.len(),
            _ => 0,
        });
        let (kind, w) = match self {
            Self::Hello(version) => (kind::HELLO, w.bytes(&MAGIC).u16(*version)),
            Self::Control(command) => {
                let valid = u8::from(command.session_id.is_some());
                let session_id = command.session_id.unwrap_or(0);
                let w = w.u8(command.kind as u8).u8(valid).u16(session_id);
                (kind::CONTROL, w.bytes(&command.request))
            }
            Self::Undo(undo) => (kind::UNDO, w.undo(Some(*undo))),
            Self::Flush(session_id) => (kind::FLUSH, w.u16(*session_id)),
            Self::Fast(command) => (kind::FAST, encode_fast(w, command)),
            Self::State(change) => (kind::STATE, encode_state(w, change)),
            Self::Sessions => (kind::SESSIONS, w),
            Self::Save => (kind::SAVE, w),
            Self::Restore(context) => (kind::RESTORE, w.bytes(context)),
        };
        (kind, w.finish())
    }

    /// Decodes a request.
    pub(in crate::remote) fn decode(kind: u8, body: Vec<u8>) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let request = match kind {
            kind::HELLO => {
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
            kind::CONTROL => {
                let kind = session_kind(r.u8()?)?;
                let valid = r.bool("session id valid")?;
                let session_id = r.u16()?;
                let session_id = valid.then_some(session_id);
                return Ok(Self::Control(ControlRequest {
                    kind,
                    session_id,
                    request: r.rest(),
                }));
            }
            kind::UNDO => {
                let undo = r.undo()?;
                Self::Undo(undo.ok_or(MessageError::Value {
                    field: "undo kind",
                    value: 0,
                })?)
            }
            kind::FLUSH => Self::Flush(r.u16()?),
            kind::FAST => return decode_fast(r).map(Self::Fast),
            kind::STATE => Self::State(decode_state(&mut r)?),
            kind::SESSIONS => Self::Sessions,
            kind::SAVE => Self::Save,
            kind::RESTORE => return Ok(Self::Restore(r.rest())),
            kind => return Err(MessageError::Kind(kind)),
        };
        r.finish()?;
        Ok(request)
    }
}

fn session_kind(value: u8) -> Result<SessionKind, MessageError> {
    match value {
        0 => Ok(SessionKind::None),
        1 => Ok(SessionKind::Open),
        2 => Ok(SessionKind::Close),
        3 => Ok(SessionKind::InSession),
        value => Err(MessageError::Value {
            field: "session kind",
            value: value.into(),
        }),
    }
}

fn encode_fast(w: Writer, command: &FastRequest) -> Writer {
    let (cipher, tail) = match command.cipher {
        Cipher::Gcm { tail_len, .. } => (GCM, tail_len),
        Cipher::Xts { .. } => (XTS, 0),
    };
    let w = w
        .u8(cipher)
        .u8(command.decrypt.into())
        .u16(command.session_id);
    let w = w.u8(command.short_app_id).u8(tail).u16(0);
    let w = match command.cipher {
        Cipher::Gcm {
            key,
            iv,
            tag,
            aad_len,
            padded_aad_len,
            ..
        } => w
            .u32(key)
            .bytes(&iv)
            .bytes(&tag)
            .u32(aad_len)
            .u32(padded_aad_len),
        Cipher::Xts {
            key1,
            key2,
            tweak,
            data_unit,
        } => w
            .u32(key1)
            .u32(key2)
            .bytes(&tweak)
            .u32(data_unit.unwrap_or(0)),
    };
    w.bytes(&command.data)
}

fn decode_fast(mut r: Reader) -> Result<FastRequest, MessageError> {
    let cipher = r.u8()?;
    let decrypt = r.bool("direction")?;
    let (session_id, short_app_id, tail_len) = (r.u16()?, r.u8()?, r.u8()?);
    r.reserved::<2>()?;
    let cipher = match cipher {
        GCM => Cipher::Gcm {
            key: r.u32()?,
            iv: r.bytes()?,
            tag: r.bytes()?,
            aad_len: r.u32()?,
            padded_aad_len: r.u32()?,
            tail_len,
        },
        XTS => Cipher::Xts {
            key1: r.u32()?,
            key2: r.u32()?,
            tweak: r.bytes()?,
            data_unit: Some(r.u32()?).filter(|unit| *unit != 0),
        },
        value => {
            return Err(MessageError::Value {
                field: "cipher",
                value: value.into(),
            });
        }
    };
    Ok(FastRequest {
        cipher,
        decrypt,
        session_id,
        short_app_id,
        data: r.rest(),
    })
}

fn encode_state(w: Writer, change: &StateChange) -> Writer {
    let kind = match change {
        StateChange::Enable => ENABLE,
        StateChange::Disable => DISABLE,
        StateChange::Nssr => NSSR,
        StateChange::Flr => FLR,
        StateChange::Resources { .. } => RESOURCES,
    };
    let w = w.u8(kind).bytes(&[0; 3]);
    match change {
        StateChange::Resources { owned, guid } => w.bytes(&owned.to_le_bytes()).bytes(guid),
        _ => w,
    }
}

fn decode_state(r: &mut Reader) -> Result<StateChange, MessageError> {
    let kind = r.u8()?;
    r.reserved::<3>()?;
    Ok(match kind {
        ENABLE => StateChange::Enable,
        DISABLE => StateChange::Disable,
        NSSR => StateChange::Nssr,
        FLR => StateChange::Flr,
        RESOURCES => StateChange::Resources {
            owned: u128::from_le_bytes(r.bytes()?),
            guid: r.bytes()?,
        },
        value => {
            return Err(MessageError::Value {
                field: "state change",
                value: value.into(),
            });
        }
    })
}
