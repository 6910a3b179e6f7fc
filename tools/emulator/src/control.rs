// SPDX-License-Identifier: GPL-2.0-or-later

//! Control-path commands: SQE checks, DMA in and out, roll-back, completion (section 6).

use azihsm_firmware::{ControlRequest, ControlResponse, SessionKind, SessionResult};

use crate::fields::{put, u8_at, u16_at, u32_at, u64_at};
use crate::function::{Cqe, DmaFailed, Function};
use crate::queue::Sq;

/// Size of a page, the unit of a PRP.
const PAGE: u64 = 4096;
/// Longest source a command may have.
const SOURCE_MAX: u32 = 4096;
/// Longest destination a command may have.
const DESTINATION_MAX: u32 = 8192;
/// Longest request that fits the device's internal buffers.
const BUFFER_MAX: u32 = 3584;

const OPCODE_GENERIC: u16 = 0;
const OPCODE_FLUSH: u16 = 1;
const KIND_CLOSE: u8 = 2;

/// Status of the transport: the 11-bit field of the completion (section 6.2).
pub mod status {
    /// Unknown opcode.
    pub const INVALID_OPCODE: u16 = 0x001;
    /// Everything without a status of its own.
    pub const INTERNAL: u16 = 0x007;
    /// The command does not use PRPs.
    pub const PSDT: u16 = 0x0c0;
    /// Source length.
    pub const SOURCE_LENGTH: u16 = 0x0c1;
    /// Destination length.
    pub const DESTINATION_LENGTH: u16 = 0x0c2;
    /// Source PRP not aligned.
    pub const SOURCE_PRP: u16 = 0x0c3;
    /// Destination PRP not aligned.
    pub const DESTINATION_PRP: u16 = 0x0c4;
    /// The transfer failed.
    pub const DMA: u16 = 0x0c6;
}

/// A decoded submission entry (section 6.1).
struct Sqe<'a> {
    raw: &'a [u8],
    opcode: u16,
    psdt: u8,
    source_len: u32,
    source: [u64; 2],
    destination_len: u32,
    destination: [u64; 2],
    kind: u8,
    session_id: Option<u16>,
}

impl<'a> Sqe<'a> {
    fn decode(raw: &'a [u8]) -> Self {
        let head = u16_at(raw, 0);
        let control = u8_at(raw, 44);
        Sqe {
            raw,
            opcode: head & 0x3ff,
            psdt: (head >> 14) as u8,
            source_len: u32_at(raw, 4),
            source: [u64_at(raw, 8), u64_at(raw, 16)],
            destination_len: u32_at(raw, 24),
            destination: [u64_at(raw, 28), u64_at(raw, 36)],
            kind: control & 3,
            session_id: (control & 4 != 0).then(|| u16_at(raw, 48)),
        }
    }

    /// The checks of section 6.2, in their order.
    fn check(&self) -> Result<(), u16> {
        if self.psdt != 0 {
            return Err(status::PSDT);
        }
        match self.opcode {
            OPCODE_GENERIC => {
                if !(1..=SOURCE_MAX).contains(&self.source_len) {
                    return Err(status::SOURCE_LENGTH);
                }
                if !(1..=DESTINATION_MAX).contains(&self.destination_len) {
                    return Err(status::DESTINATION_LENGTH);
                }
                if self.source.iter().any(|prp| prp % PAGE != 0) {
                    return Err(status::SOURCE_PRP);
                }
                if self.destination.iter().any(|prp| prp % PAGE != 0) {
                    return Err(status::DESTINATION_PRP);
                }
                if self.source_len > BUFFER_MAX {
                    return Err(status::INTERNAL);
                }
            }
            OPCODE_FLUSH => {
                if self.kind != KIND_CLOSE || self.session_id.is_none() {
                    return Err(status::INTERNAL);
                }
            }
            _ => return Err(status::INVALID_OPCODE),
        }
        Ok(())
    }

    fn session_kind(&self) -> SessionKind {
        match self.kind {
            0 => SessionKind::None,
            1 => SessionKind::Open,
            2 => SessionKind::Close,
            _ => SessionKind::InSession,
        }
    }
}

/// What goes into the completion.
#[derive(Default)]
struct Outcome {
    status: u16,
    bytes: u16,
    session: SessionResult,
}

impl Outcome {
    fn failed(status: u16) -> Self {
        Outcome {
            status,
            ..Default::default()
        }
    }
}

/// Runs a control-path command; returns its completion.
pub fn execute(function: &Function, sq: &Sq, raw: &[u8]) -> Cqe {
    let sqe = Sqe::decode(raw);
    let outcome = match sqe.check() {
        Err(status) => Outcome::failed(status),
        Ok(()) if sqe.opcode == OPCODE_FLUSH => flush(function, &sqe),
        Ok(()) => generic(function, sq, &sqe),
    };
    tracing::trace!(
        function = function.id().0,
        queue = sq.id(),
        opcode = sqe.opcode,
        status = outcome.status,
        bytes = outcome.bytes,
        "CP command"
    );
    completion(u16_at(raw, 2), &outcome)
}

fn flush(function: &Function, sqe: &Sqe<'_>) -> Outcome {
    let session_id = sqe.session_id.unwrap_or_default();
    let flushed = function.core.call("a session flush", |firmware| {
        firmware.flush(function.id(), session_id)
    });
    match flushed {
        Some((status, session)) => Outcome {
            status,
            bytes: 0,
            session,
        },
        None => Outcome::failed(status::INTERNAL),
    }
}

fn generic(function: &Function, sq: &Sq, sqe: &Sqe<'_>) -> Outcome {
    let mut request = vec![0; sqe.source_len as usize];
    if function
        .dma_read(sq, sqe.raw, "request", sqe.source[0], &mut request)
        .is_err()
    {
        return Outcome::failed(status::DMA);
    }
    let request = ControlRequest {
        kind: sqe.session_kind(),
        session_id: sqe.session_id,
        request,
    };
    let response = function.core.call("a control command", |firmware| {
        firmware.control(function.id(), request)
    });
    let Some(response) = response else {
        return Outcome::failed(status::INTERNAL);
    };
    if response.status != 0 {
        return Outcome {
            status: response.status,
            bytes: 0,
            session: response.session,
        };
    }
    let Ok(bytes) = u16::try_from(response.response.len()) else {
        function.stats().internal_error(format!(
            "the firmware answered {} bytes",
            response.response.len()
        ));
        return Outcome::failed(status::INTERNAL);
    };
    if u32::from(bytes) > sqe.destination_len {
        // Section 6.2: the device does not check this, it overruns the buffer.
        let text = format!(
            "CP queue {}, command {}: the response has {bytes} bytes, the destination only {}: a host gives 8 KiB to \
             every command",
            sq.id(),
            u16_at(sqe.raw, 2),
            sqe.destination_len
        );
        function.violation(Some(sq), text);
    }
    match deliver(function, sq, sqe, &response.response) {
        Ok(()) => Outcome {
            status: 0,
            bytes,
            session: response.session,
        },
        Err(DmaFailed) => undelivered(function, response),
    }
}

/// Writes the response to the destination: its first page to PRP1, the rest to PRP2.
fn deliver(function: &Function, sq: &Sq, sqe: &Sqe<'_>, response: &[u8]) -> Result<(), DmaFailed> {
    let (first, second) = response.split_at(response.len().min(PAGE as usize));
    function.dma_write(sq, sqe.raw, "response", sqe.destination[0], first)?;
    if !second.is_empty() {
        function.dma_write(
            sq,
            sqe.raw,
            "response past its first page",
            sqe.destination[1],
            second,
        )?;
    }
    Ok(())
}

/// Rolls a command back whose response did not reach the host.
fn undelivered(function: &Function, response: ControlResponse) -> Outcome {
    if let Some(undo) = response.undo {
        function
            .core
            .call("a roll-back", |firmware| firmware.undo(function.id(), undo));
    }
    // A close is not rolled back: the host is told that the session is gone (section 6.3).
    let session = if response.session.safe_to_close {
        response.session
    } else {
        SessionResult {
            kind: response.session.kind,
            ..Default::default()
        }
    };
    Outcome {
        status: status::DMA,
        bytes: 0,
        session,
    }
}

fn completion(cid: u16, outcome: &Outcome) -> Cqe {
    let session = &outcome.session;
    let flags = session.kind & 3
        | (u8::from(session.id_valid) << 2)
        | (u8::from(session.app_valid) << 3)
        | (u8::from(session.safe_to_close) << 4);
    let mut bytes = [0; 64];
    put(&mut bytes, 0, &outcome.bytes.to_le_bytes());
    bytes[2] = flags;
    put(&mut bytes, 4, &session.session_id.to_le_bytes());
    bytes[6] = session.short_app_id;
    put(&mut bytes, 12, &cid.to_le_bytes());
    put(
        &mut bytes,
        14,
        &((outcome.status & 0x7ff) << 1).to_le_bytes(),
    );
    Cqe {
        bytes,
        failed: outcome.status != 0,
    }
}
