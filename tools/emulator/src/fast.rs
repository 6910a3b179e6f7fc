// SPDX-License-Identifier: GPL-2.0-or-later

//! Fast-path commands: decoding, data transfer, tails, completion (sections 7 and 8).
//!
//! What depends on keys and sessions is the firmware's. What is checked here is what the hardware and the alignment
//! work-around need to move the data.

use azihsm_firmware::{Cipher, FastRequest, FastResponse};

use crate::fields::{bytes_at, put, u8_at, u16_at, u32_at, u64_at};
use crate::function::{Cqe, DmaFailed, Function};
use crate::queue::{Closing, Sq};
use crate::sgl::{self, Block, Fault, Pointer};

/// Longest XTS transfer (section 8.2).
const XTS_MAX: usize = 16 << 20;
/// Longest transfer the emulator buffers. The device has no such limit; a host that asks for more gets "no memory".
const TRANSFER_MAX: usize = 1 << 30;

/// Attributes of the submission entry (section 7.1).
mod attributes {
    pub const DECRYPT: u16 = 1 << 0;
    pub const SGL: u16 = 1 << 2;
    pub const XTS: u16 = 1 << 8;

    pub fn command_type(attributes: u16) -> u16 {
        (attributes >> 3) & 7
    }

    pub fn data_unit(attributes: u16) -> Option<u32> {
        match attributes >> 14 {
            0 => None,
            1 => Some(512),
            2 => Some(4096),
            _ => Some(8192),
        }
    }
}

const TYPE_AES_FAST: u16 = 5;
const FRAME_AES: u8 = 1;

/// Status and error code (sections 7.3 and 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code {
    status: u16,
    error: u16,
}

impl Code {
    const fn new(status: u16, error: u16) -> Self {
        Code { status, error }
    }

    const XTS_LENGTH: Code = Code::new(1, 0x0b);
    const TAIL_SOURCE: Code = Code::new(2, 0x22);
    const TAIL_DESTINATION: Code = Code::new(2, 0x23);
    const NO_MEMORY: Code = Code::new(2, 0x25);
    const TAIL_IN: Code = Code::new(2, 0x26);
    const TAIL_OUT: Code = Code::new(2, 0x27);
    const TAIL_LENGTH: Code = Code::new(2, 0x2c);
    const OUTPUT_OVERRUN: Code = Code::new(3, 5);
    const OUTPUT_UNDERRUN: Code = Code::new(3, 6);
    const OUTPUT_WRITE: Code = Code::new(3, 8);
    const ENGINE: Code = Code::new(3, 0x0a);
    const DATA_BUFFER: Code = Code::new(3, 0x0e);
    const OPCODE: Code = Code::new(4, 8);
    const STRUCTURE: Code = Code::new(4, 9);
    const UNDERRUN: Code = Code::new(4, 0x0a);
    const OVERRUN: Code = Code::new(4, 0x0b);
    const QUEUE_DELETED: Code = Code::new(7, 0);

    fn source(fault: Fault) -> Self {
        match fault {
            Fault::Prp => Code::new(4, 3),
            Fault::ListFetch => Code::new(4, 4),
            Fault::Structure => Code::new(4, 6),
            Fault::Short => Code::UNDERRUN,
        }
    }

    fn destination(fault: Fault) -> Self {
        match fault {
            Fault::Prp => Code::new(4, 1),
            Fault::ListFetch => Code::new(4, 2),
            Fault::Structure => Code::new(4, 5),
            Fault::Short => Code::OVERRUN,
        }
    }
}

/// The tail of a GCM text that does not fill a block.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    len: usize,
    source: u64,
    destination: u64,
}

/// A decoded submission entry.
struct Sqe<'a> {
    raw: &'a [u8],
    attributes: u16,
    source_len: usize,
    source: Pointer,
    destination_len: usize,
    destination: Pointer,
}

impl<'a> Sqe<'a> {
    fn decode(raw: &'a [u8]) -> Result<Self, Code> {
        let attributes = u16_at(raw, 4);
        if attributes::command_type(attributes) != TYPE_AES_FAST {
            return Err(Code::OPCODE);
        }
        if u8_at(raw, 64) != FRAME_AES {
            return Err(Code::STRUCTURE);
        }
        let pointer = |at: usize| {
            if attributes & attributes::SGL != 0 {
                Pointer::Sgl(bytes_at(raw, at))
            } else {
                Pointer::Prp([u64_at(raw, at), u64_at(raw, at + 8)])
            }
        };
        Ok(Sqe {
            raw,
            attributes,
            source_len: u32_at(raw, 24) as usize,
            source: pointer(28),
            destination_len: u32_at(raw, 44) as usize,
            destination: pointer(48),
        })
    }

    fn is_xts(&self) -> bool {
        self.attributes & attributes::XTS != 0
    }

    /// Decodes and checks the tail.
    fn tail(&self) -> Result<Tail, Code> {
        if self.is_xts() {
            return Ok(Tail::default());
        }
        let (source_len, destination_len) = (u8_at(self.raw, 108), u8_at(self.raw, 109));
        let tail = Tail {
            len: source_len.into(),
            source: u64_at(self.raw, 112),
            destination: u64_at(self.raw, 120),
        };
        if source_len >= 16 {
            return Err(Code::TAIL_LENGTH);
        }
        if tail.len > 0 && tail.source == 0 {
            return Err(Code::TAIL_SOURCE);
        }
        if source_len != destination_len || (tail.len > 0 && tail.destination == 0) {
            return Err(Code::TAIL_DESTINATION);
        }
        Ok(tail)
    }

    fn cipher(&self, tail: &Tail) -> Cipher {
        if self.is_xts() {
            Cipher::Xts {
                key1: u32_at(self.raw, 68),
                key2: u32_at(self.raw, 72),
                tweak: bytes_at(self.raw, 76),
                data_unit: attributes::data_unit(self.attributes),
            }
        } else {
            Cipher::Gcm {
                key: u32_at(self.raw, 68),
                aad_len: u32_at(self.raw, 72),
                tag: bytes_at(self.raw, 76),
                iv: bytes_at(self.raw, 92),
                padded_aad_len: u32_at(self.raw, 104),
                tail_len: tail.len as u8,
            }
        }
    }

    /// Returns whether the firmware corrects the result of the hardware (section 8.4).
    fn needs_correction(&self) -> bool {
        !self.is_xts()
            && (u32_at(self.raw, 72) < u32_at(self.raw, 104)
                || u8_at(self.raw, 108) > 0
                || self.source_len == 0)
    }
}

/// What goes into the completion.
#[derive(Default)]
struct Outcome {
    status: u16,
    error: u16,
    tag: [u8; 16],
    iv: [u8; 12],
    fips: u32,
    output_len: u32,
    tail_len: u32,
}

impl From<Code> for Outcome {
    fn from(code: Code) -> Self {
        Outcome {
            status: code.status,
            error: code.error,
            ..Default::default()
        }
    }
}

/// Runs a fast-path command; returns its completion.
pub fn execute(function: &Function, sq: &Sq, raw: &[u8]) -> Cqe {
    let (outcome, corrected) = match Sqe::decode(raw) {
        Ok(sqe) => (
            transfer(function, sq, &sqe).unwrap_or_else(Outcome::from),
            sqe.needs_correction(),
        ),
        Err(code) => (code.into(), false),
    };
    // Section 4.5: what a Delete SQ overtakes ends well only if it was done without a correction.
    let deleted = sq.closing() == Closing::Delete && (outcome.status != 0 || corrected);
    let outcome = if deleted {
        Code::QUEUE_DELETED.into()
    } else {
        outcome
    };
    tracing::trace!(
        function = function.id().0,
        queue = sq.id(),
        status = outcome.status,
        error = outcome.error,
        bytes = outcome.output_len,
        "FP command"
    );
    completion(raw, &outcome)
}

fn transfer(function: &Function, sq: &Sq, sqe: &Sqe<'_>) -> Result<Outcome, Code> {
    let tail = sqe.tail()?;
    let len = sqe.source_len;
    let too_long = sqe.is_xts() && len > XTS_MAX;
    if len > TRANSFER_MAX && !too_long {
        return Err(Code::NO_MEMORY);
    }
    if !sqe.is_xts() && u32_at(sqe.raw, 104) as usize > len {
        return Err(Code::UNDERRUN);
    }
    let (data, destination) = if too_long {
        // The firmware has the last word, since a wrong key goes before a wrong length. It sees a stream that is too
        // long by the same remainder; none of it is transferred.
        (vec![0; XTS_MAX + 16 + len % 16], Vec::new())
    } else {
        if sqe.destination_len < len {
            return Err(Code::OVERRUN);
        }
        let source =
            sgl::resolve(function, sq, sqe.raw, "source", sqe.source, len).map_err(Code::source)?;
        let destination = sgl::resolve(function, sq, sqe.raw, "destination", sqe.destination, len)
            .map_err(Code::destination)?;
        (gather(function, sq, sqe, &source, &tail)?, destination)
    };
    let expected = data.len();
    let request = FastRequest {
        cipher: sqe.cipher(&tail),
        decrypt: sqe.attributes & attributes::DECRYPT != 0,
        session_id: u16_at(sqe.raw, 8),
        short_app_id: u8_at(sqe.raw, 10),
        data,
    };
    let response = function.core.call("a fast-path command", |firmware| {
        firmware.fast(function.id(), request)
    });
    let response = response.ok_or(Code::ENGINE)?;
    if too_long && response.status == 0 {
        return Err(Code::XTS_LENGTH);
    }
    if !too_long {
        deliver(function, sq, sqe, &response, expected, &destination, &tail)?;
    }
    let ok = response.status == 0;
    Ok(Outcome {
        status: response.status,
        error: response.error,
        tag: response.tag,
        iv: response.iv,
        fips: response.fips,
        output_len: if ok { len as u32 } else { 0 },
        tail_len: if ok { tail.len as u32 } else { 0 },
    })
}

/// Reads source and tail into one stream.
fn gather(
    function: &Function,
    sq: &Sq,
    sqe: &Sqe<'_>,
    source: &[Block],
    tail: &Tail,
) -> Result<Vec<u8>, Code> {
    let mut data = Vec::new();
    data.try_reserve_exact(sqe.source_len + tail.len)
        .map_err(|_| Code::NO_MEMORY)?;
    for block in source {
        let start = data.len();
        data.resize(start + block.len, 0);
        function
            .dma_read(
                sq,
                sqe.raw,
                "source data",
                block.address,
                &mut data[start..],
            )
            .map_err(|DmaFailed| Code::DATA_BUFFER)?;
    }
    if tail.len > 0 {
        let start = data.len();
        data.resize(start + tail.len, 0);
        function
            .dma_read(sq, sqe.raw, "source tail", tail.source, &mut data[start..])
            .map_err(|DmaFailed| Code::TAIL_IN)?;
    }
    Ok(data)
}

/// Writes the output stream to destination and tail. A failed command may have output, too: the device finds a wrong
/// tag only after the transfer.
fn deliver(
    function: &Function,
    sq: &Sq,
    sqe: &Sqe<'_>,
    response: &FastResponse,
    expected: usize,
    destination: &[Block],
    tail: &Tail,
) -> Result<(), Code> {
    let ok = response.status == 0;
    let mut rest = &response.data[..];
    if rest.len() > expected {
        return Err(Code::OUTPUT_OVERRUN);
    }
    if ok && rest.len() < expected {
        return Err(Code::OUTPUT_UNDERRUN);
    }
    for block in destination {
        let (now, later) = rest.split_at(block.len.min(rest.len()));
        if !now.is_empty() {
            function
                .dma_write(sq, sqe.raw, "destination data", block.address, now)
                .map_err(|DmaFailed| Code::OUTPUT_WRITE)?;
        }
        rest = later;
    }
    if tail.len > 0 && !rest.is_empty() {
        function
            .dma_write(sq, sqe.raw, "destination tail", tail.destination, rest)
            .map_err(|DmaFailed| Code::TAIL_OUT)?;
    }
    Ok(())
}

fn completion(raw: &[u8], outcome: &Outcome) -> Cqe {
    let mut bytes = [0; 64];
    put(&mut bytes, 0, &raw[4..6]);
    put(&mut bytes, 2, &raw[6..8]);
    put(&mut bytes, 4, &outcome.tag);
    put(&mut bytes, 20, &outcome.iv);
    put(&mut bytes, 44, &outcome.tail_len.to_le_bytes());
    put(&mut bytes, 48, &outcome.fips.to_le_bytes());
    put(&mut bytes, 52, &outcome.output_len.to_le_bytes());
    put(&mut bytes, 60, &outcome.error.to_le_bytes());
    put(&mut bytes, 62, &(outcome.status << 1).to_le_bytes());
    Cqe {
        bytes,
        failed: outcome.status != 0,
    }
}
