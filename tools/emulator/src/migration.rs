// SPDX-License-Identifier: GPL-2.0-or-later

//! Live migration of a VF (section 4.9): the commands, and the context that Save writes and Restore reads.
//!
//! The specification names what is in a context, but not where. Ours is little-endian: "AZHM", version (2 bytes),
//! resources (2), length of everything (4); CC, AQA (4 each), ASQ, ACQ (8 each); numbers of completion and submission
//! queues (2 each) and the queues; the firmware's part; CRC-32 of all before it (4).

use std::sync::Arc;
use std::sync::mpsc;

use thiserror::Error;

use crate::admin::{Outcome, Status, ask};
use crate::controller::Event;
use crate::cq::CqState;
use crate::fields::{u8_at, u32_at, u64_at};
use crate::function::{Function, Role};
use crate::queue::{Class, Place, Sq, SqState};
use crate::resources::LAST_CONTROLLER;
use azihsm_firmware::FunctionId;

/// Longest context: what the host has to have room for.
pub const CONTEXT_MAX: usize = 32 << 10;

const MAGIC: [u8; 4] = *b"AZHM";
const VERSION: u16 = 1;
const HEADER: usize = 12;
const CRC: usize = 4;
/// Stands for a completion queue without interrupts.
const NO_VECTOR: u16 = 0xffff;

/// What moves with a VF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Resources that the VF owns.
    pub resources: u16,
    /// CC.
    pub cc: u32,
    /// AQA.
    pub aqa: u32,
    /// ASQ.
    pub asq: u64,
    /// ACQ.
    pub acq: u64,
    /// Completion queues, the admin queue among them.
    pub cqs: Vec<CqState>,
    /// Submission queues, the admin queue among them.
    pub sqs: Vec<SqState>,
    /// The firmware's part.
    pub firmware: Vec<u8>,
}

/// Why a context is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ContextError {
    /// It is none, or one of another version.
    #[error("not a context of this version")]
    Header,
    /// Its length is wrong.
    #[error("wrong length")]
    Length,
    /// It was damaged.
    #[error("wrong CRC")]
    Crc,
    /// Its queues cannot be those of a VF with so many resources.
    #[error("impossible queue {0}")]
    Queue(u16),
}

impl Context {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.resources.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.cc.to_le_bytes());
        bytes.extend(self.aqa.to_le_bytes());
        bytes.extend(self.asq.to_le_bytes());
        bytes.extend(self.acq.to_le_bytes());
        bytes.extend((self.cqs.len() as u16).to_le_bytes());
        bytes.extend((self.sqs.len() as u16).to_le_bytes());
        for cq in &self.cqs {
            bytes.extend(cq.id.to_le_bytes());
            bytes.extend(cq.vector.unwrap_or(NO_VECTOR).to_le_bytes());
            bytes.extend(cq.base.to_le_bytes());
            for value in [cq.size, cq.head, cq.tail, cq.phase.into()] {
                bytes.extend(value.to_le_bytes());
            }
        }
        for sq in &self.sqs {
            bytes.extend(sq.id.to_le_bytes());
            bytes.extend(sq.base.to_le_bytes());
            for value in [sq.size, sq.head, sq.tail] {
                bytes.extend(value.to_le_bytes());
            }
        }
        bytes.extend(&self.firmware);
        let length = (bytes.len() + CRC) as u32;
        bytes[HEADER - 4..HEADER].copy_from_slice(&length.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Returns the length of the context that begins with this header.
    fn length(header: &[u8]) -> Result<usize, ContextError> {
        if header[..4] != MAGIC || header[4..6] != VERSION.to_le_bytes() {
            return Err(ContextError::Header);
        }
        let length = u32_at(header, 8) as usize;
        if (HEADER + CRC..=CONTEXT_MAX).contains(&length) {
            Ok(length)
        } else {
            Err(ContextError::Length)
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, ContextError> {
        if bytes.len() < HEADER || Self::length(bytes)? != bytes.len() {
            return Err(ContextError::Length);
        }
        let (bytes, crc) = bytes.split_at(bytes.len() - CRC);
        if crc32fast::hash(bytes).to_le_bytes() != crc {
            return Err(ContextError::Crc);
        }
        let mut fields = Fields(&bytes[6..]);
        let resources = fields.u16()?;
        fields.u32()?;
        let (cc, aqa) = (fields.u32()?, fields.u32()?);
        let (asq, acq) = (fields.u64()?, fields.u64()?);
        let (cqs, sqs) = (fields.u16()?, fields.u16()?);
        let mut context = Context {
            resources,
            cc,
            aqa,
            asq,
            acq,
            ..Context::default()
        };
        for _ in 0..cqs {
            let id = fields.u16()?;
            let vector = Some(fields.u16()?).filter(|&vector| vector != NO_VECTOR);
            let base = fields.u64()?;
            let (size, head, tail) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let phase = fields.u32()? != 0;
            context.cqs.push(CqState {
                id,
                vector,
                base,
                size,
                head,
                tail,
                phase,
            });
        }
        for _ in 0..sqs {
            let (id, base) = (fields.u16()?, fields.u64()?);
            let (size, head, tail) = (fields.u32()?, fields.u32()?, fields.u32()?);
            context.sqs.push(SqState {
                id,
                base,
                size,
                head,
                tail,
            });
        }
        context.firmware = fields.0.to_vec();
        context.check()?;
        Ok(context)
    }

    /// A CRC is no proof of honesty: what comes back from the host may be anything.
    fn check(&self) -> Result<(), ContextError> {
        let mut seen = [std::collections::BTreeSet::new(), Default::default()];
        let cqs = self.cqs.iter().map(|q| (0, q.id, q.size, q.head, q.tail));
        let sqs = self.sqs.iter().map(|q| (1, q.id, q.size, q.head, q.tail));
        for (kind, id, size, head, tail) in cqs.chain(sqs) {
            let provided = match Class::of(id) {
                Place::Valid(_, resource) => resource < usize::from(self.resources),
                Place::Invalid(class) => class == Class::Admin,
            };
            let sound = (1..=0x1_0000).contains(&size) && head < size && tail < size;
            if !provided || !sound || !seen[kind].insert(id) {
                return Err(ContextError::Queue(id));
            }
        }
        Ok(())
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ContextError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ContextError::Length)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, ContextError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ContextError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ContextError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Runs a migration command, which only the PF may give, and only for a VF.
pub(crate) fn execute(function: &Function, sq: &Sq, sqe: &[u8]) -> Outcome {
    let target = u32_at(sqe, 40);
    if function.role() != Role::Pf || target == 0 || target > u32::from(LAST_CONTROLLER) {
        return Err(Status::InvalidField);
    }
    let vf = function
        .core
        .function(FunctionId(target as u16))
        .ok_or(Status::InvalidField)?;
    match u8_at(sqe, 0) {
        0xc5 => Ok(0),
        0xc6 => stop(&vf),
        0xc7 => start(function, sq, &vf),
        0xc8 => save(function, sq, sqe, &vf),
        _ => restore(function, sq, sqe, &vf),
    }
}

/// Stops fetching for the VF, and waits for its running commands.
fn stop(vf: &Function) -> Outcome {
    let sqs: Vec<Arc<Sq>> = vf.queues.read().sqs.values().cloned().collect();
    sqs.iter().for_each(|sq| sq.pause(true));
    sqs.iter().for_each(|sq| sq.drained());
    Ok(0)
}

fn start(function: &Function, sq: &Sq, vf: &Function) -> Outcome {
    let (reply, answer) = mpsc::channel();
    let target = vf.id();
    function.core.send(Event::Start { target, reply });
    if ask(sq, &answer)? {
        Ok(0)
    } else {
        Err(Status::Internal)
    }
}

/// Writes the context of a stopped VF, and disables it. Returns the length of the context.
fn save(function: &Function, sq: &Sq, sqe: &[u8], vf: &Function) -> Outcome {
    let registers = *vf.registers.lock();
    let mut context = Context {
        resources: vf.resource_count() as u16,
        cc: registers.cc,
        aqa: registers.aqa,
        asq: registers.asq,
        acq: registers.acq,
        ..Context::default()
    };
    {
        let queues = vf.queues.read();
        let stopped = queues.sqs.values().all(|sq| sq.is_stopped());
        if !registers.ready || !registers.enabled() || !stopped {
            return Err(Status::Internal);
        }
        context.cqs = queues.cqs.values().map(|cq| cq.state()).collect();
        context.sqs = queues.sqs.values().map(|sq| sq.state()).collect();
    }
    let saved = function
        .core
        .call("a save", |firmware| firmware.save(vf.id()));
    context.firmware = saved.flatten().ok_or(Status::Internal)?;
    let bytes = context.encode();
    if bytes.len() > CONTEXT_MAX {
        return Err(Status::Internal);
    }
    function
        .dma_write(sq, sqe, "VF context", u64_at(sqe, 24), &bytes)
        .map_err(|_| Status::DataTransfer)?;
    let (reply, answer) = mpsc::channel();
    function.core.send(Event::ClearEnable(vf.id(), Some(reply)));
    ask(sq, &answer)?;
    Ok(bytes.len() as u32)
}

/// Reads a context for a VF that is disabled; Start puts it into effect.
fn restore(function: &Function, sq: &Sq, sqe: &[u8], vf: &Function) -> Outcome {
    let address = u64_at(sqe, 24);
    let read = |buffer: &mut [u8]| {
        function
            .dma_read(sq, sqe, "VF context", address, buffer)
            .map_err(|_| Status::DataTransfer)
    };
    let refused = |error| {
        tracing::debug!(function = vf.id().0, "context refused: {error}");
        Status::Internal
    };
    let mut header = [0; HEADER];
    read(&mut header)?;
    let mut bytes = vec![0; Context::length(&header).map_err(refused)?];
    read(&mut bytes)?;
    let context = Context::decode(&bytes).map_err(refused)?;
    let registers = *vf.registers.lock();
    if registers.ready
        || registers.enabled()
        || usize::from(context.resources) != vf.resource_count()
    {
        return Err(Status::Internal);
    }
    let restored = function.core.call("a restore", |firmware| {
        firmware.restore(vf.id(), &context.firmware)
    });
    if restored != Some(true) {
        return Err(Status::Internal);
    }
    *vf.restored.lock() = Some(context);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let cq = |id, vector| CqState {
            id,
            vector,
            base: 0x1000,
            size: 4,
            head: 1,
            tail: 3,
            phase: false,
        };
        let sq = |id| SqState {
            id,
            base: 0x2000,
            size: 4,
            head: 2,
            tail: 2,
        };
        Context {
            resources: 1,
            cc: 2,
            aqa: 3,
            asq: 4,
            acq: 5,
            cqs: vec![cq(0, Some(0)), cq(1, Some(1)), cq(257, None)],
            sqs: vec![sq(0), sq(1), sq(257)],
            firmware: vec![7; 33],
        }
    }

    #[test]
    fn round_trip() {
        let bytes = context().encode();
        assert_eq!(Context::decode(&bytes), Ok(context()));
        let mut all: Context = context();
        all.resources = 65;
        all.cqs = (0..=65)
            .chain(256..=385)
            .map(|id| CqState { id, ..all.cqs[0] })
            .collect();
        all.sqs = (0..=65)
            .chain(256..=385)
            .map(|id| SqState { id, ..all.sqs[0] })
            .collect();
        let bytes = all.encode();
        assert_eq!(Context::decode(&bytes), Ok(all));
        assert!(
            bytes.len() < CONTEXT_MAX / 2,
            "leaves room for the firmware"
        );
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = context().encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Context::decode(&damaged).is_err(), "byte {at}");
            assert!(Context::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn impossible_queues() {
        let refused = |change: fn(&mut Context)| {
            let mut context = context();
            change(&mut context);
            matches!(
                Context::decode(&context.encode()),
                Err(ContextError::Queue(_))
            )
        };
        assert!(refused(|c| c.resources = 0));
        assert!(refused(|c| c.cqs[1].id = 66));
        assert!(refused(|c| c.cqs[1].id = 0));
        assert!(refused(|c| c.sqs[2].id = 258));
        assert!(refused(|c| c.sqs[2].size = 0));
        assert!(refused(|c| c.sqs[2].head = 4));
        assert!(refused(|c| c.cqs[2].tail = 4));
    }
}
