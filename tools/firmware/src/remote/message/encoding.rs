// SPDX-License-Identifier: MIT OR Apache-2.0

//! Values in message bodies: little-endian, without markers.

use super::MessageError;
use crate::{SessionResult, Undo};

/// Bits of the session flags.
const ID_VALID: u8 = 1 << 0;
const APP_VALID: u8 = 1 << 1;
const SAFE_TO_CLOSE: u8 = 1 << 2;

/// Values of an undo kind.
const UNDO_NONE: u8 = 0;
const UNDO_SESSION: u8 = 1;
const UNDO_KEY: u8 = 2;

/// A body being built.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Starts a body that will end with `data` bytes of data.
    pub(super) fn new(data: usize) -> Self {
        Self(Vec::with_capacity(data + 80))
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn undo(self, undo: Option<Undo>) -> Self {
        let (kind, id) = match undo {
            None => (UNDO_NONE, 0),
            Some(Undo::Session(id)) => (UNDO_SESSION, id),
            Some(Undo::Key(id)) => (UNDO_KEY, id),
        };
        self.u8(kind).u8(0).u16(id)
    }

    pub(super) fn session(self, session: &SessionResult) -> Self {
        let flag = |value, bit| if value { bit } else { 0 };
        let flags = flag(session.id_valid, ID_VALID)
            | flag(session.app_valid, APP_VALID)
            | flag(session.safe_to_close, SAFE_TO_CLOSE);
        self.u8(session.kind)
            .u8(flags)
            .u16(session.session_id)
            .u8(session.short_app_id)
            .u8(0)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A body being taken apart.
#[derive(Debug)]
pub(super) struct Reader {
    body: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(super) fn new(body: Vec<u8>) -> Self {
        Self { body, at: 0 }
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let bytes = rest.first_chunk().copied().ok_or(MessageError::Short)?;
        self.at += N;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, MessageError> {
        self.bytes().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, MessageError> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, MessageError> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// Takes a byte that is 0 or 1.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, MessageError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(MessageError::Value {
                field,
                value: value.into(),
            }),
        }
    }

    /// Takes `N` bytes that have to be 0.
    pub(super) fn reserved<const N: usize>(&mut self) -> Result<(), MessageError> {
        match self.bytes::<N>()?.into_iter().find(|byte| *byte != 0) {
            None => Ok(()),
            Some(value) => Err(MessageError::Value {
                field: "reserved byte",
                value: value.into(),
            }),
        }
    }

    pub(super) fn undo(&mut self) -> Result<Option<Undo>, MessageError> {
        let kind = self.u8()?;
        self.reserved::<1>()?;
        let id = self.u16()?;
        match kind {
            UNDO_NONE => Ok(None),
            UNDO_SESSION => Ok(Some(Undo::Session(id))),
            UNDO_KEY => Ok(Some(Undo::Key(id))),
            value => Err(MessageError::Value {
                field: "undo kind",
                value: value.into(),
            }),
        }
    }

    pub(super) fn session(&mut self) -> Result<SessionResult, MessageError> {
        let kind = self.u8()?;
        if kind > 3 {
            return Err(MessageError::Value {
                field: "session kind",
                value: kind.into(),
            });
        }
        let flags = self.u8()?;
        if flags & !(ID_VALID | APP_VALID | SAFE_TO_CLOSE) != 0 {
            return Err(MessageError::Value {
                field: "session flags",
                value: flags.into(),
            });
        }
        let (session_id, short_app_id) = (self.u16()?, self.u8()?);
        self.reserved::<1>()?;
        Ok(SessionResult {
            kind,
            id_valid: flags & ID_VALID != 0,
            app_valid: flags & APP_VALID != 0,
            safe_to_close: flags & SAFE_TO_CLOSE != 0,
            session_id,
            short_app_id,
        })
    }

    /// Takes all that is left.
    pub(super) fn rest(mut self) -> Vec<u8> {
        self.body.drain(..self.at.min(self.body.len()));
        self.body
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.body.len()
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), MessageError> {
        match self.body.len() - self.at {
            0 => Ok(()),
            left => Err(MessageError::Long(left)),
        }
    }
}
