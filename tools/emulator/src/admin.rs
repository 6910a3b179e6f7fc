// SPDX-License-Identifier: GPL-2.0-or-later

//! Admin commands (section 4).

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use azihsm_firmware::FunctionId;

use crate::controller::{Event, MQES, VERSION};
use crate::cq::Cq;
use crate::faults::hooks;
use crate::fields::{bytes_at, put, u8_at, u16_at, u32_at, u64_at};
use crate::function::{Cqe, Function, Role};
use crate::migration;
use crate::pci;
use crate::queue::{Class, Closing, Place, Sq};
use crate::resources::{Exhausted, LAST_CONTROLLER, RESOURCES};

/// Length of the Identify structure.
pub const IDENTIFY_SIZE: usize = 102;

/// Status of an admin command: the 15-bit field of the completion (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Success.
    Success = 0x0000,
    /// Invalid opcode.
    InvalidOpcode = 0x4001,
    /// Invalid field.
    InvalidField = 0x4002,
    /// Data transfer error.
    DataTransfer = 0x4004,
    /// Internal error; also most refusals that have no status of their own.
    Internal = 0x4007,
    /// Completion queue invalid.
    CompletionQueueInvalid = 0x4100,
    /// Invalid queue id.
    InvalidQueueId = 0x4101,
    /// Invalid queue size.
    InvalidQueueSize = 0x4102,
    /// Invalid interrupt vector.
    InvalidVector = 0x4108,
    /// Invalid queue deletion.
    InvalidDeletion = 0x410c,
}

/// The command-specific dword of the completion, or the status of the failure.
pub(crate) type Outcome = Result<u32, Status>;

/// Runs an admin command; returns its completion.
pub fn execute(function: &Function, sq: &Sq, sqe: &[u8]) -> Cqe {
    let opcode = u8_at(sqe, 0);
    if sqe[..sq.class().sqe_size()].iter().all(|&byte| byte == 0) {
        // "Delete SQ 0" is never sent on purpose. With a private mapping of guest memory all entries look like this.
        function.stats().private_memory_seen();
    }
    let outcome = match opcode {
        0x00 => delete_sq(function, sqe),
        0x01 => create_sq(function, sqe),
        0x04 => delete_cq(function, sqe),
        0x05 => create_cq(function, sqe),
        0x06 => identify(function, sq, sqe),
        0x09 => features(function, sqe, true),
        0x0a => features(function, sqe, false),
        0xc3 => set_resource_count(function, sq, sqe),
        0xc4 => get_resource_count(function, sqe),
        0xc5..=0xc9 => migration::execute(function, sq, sqe),
        _ => Err(Status::InvalidOpcode),
    };
    let (dword, status) = match outcome {
        Ok(dword) => (dword, Status::Success),
        Err(status) => (0, status),
    };
    let (dw10, dw11) = (dw(sqe, 10), dw(sqe, 11));
    tracing::debug!(
        function = function.id().0,
        "admin command {opcode:#04x} dw10 {dw10:#x} dw11 {dw11:#x}: {status:?}, {dword:#x}"
    );
    let mut bytes = [0; 64];
    put(&mut bytes, 0, &dword.to_le_bytes());
    put(&mut bytes, 12, &u16_at(sqe, 2).to_le_bytes());
    put(&mut bytes, 14, &((status as u16) << 1).to_le_bytes());
    Cqe {
        bytes,
        failed: status != Status::Success,
    }
}

fn dw(sqe: &[u8], number: usize) -> u32 {
    u32_at(sqe, number * 4)
}

fn low(dword: u32) -> u16 {
    dword as u16
}

fn high(dword: u32) -> u16 {
    (dword >> 16) as u16
}

fn prp1(sqe: &[u8]) -> u64 {
    u64_at(sqe, 24)
}

/// Checks the 0-based size of a queue and returns the number of entries.
fn queue_size(function: &Function, field: u16) -> Result<u32, Status> {
    let field = u32::from(field);
    // The firmware has no upper limit; section 3.1 leaves it to strict mode.
    if field == 0 || (function.config().strict && field > MQES) {
        return Err(Status::InvalidQueueSize);
    }
    Ok(field + 1)
}

/// Checks that a resource of the function provides the queue.
fn provided(function: &Function, id: u16) -> Result<Class, Status> {
    match Class::of(id) {
        Place::Invalid(_) => Err(Status::InvalidQueueId),
        Place::Valid(_, resource) if resource >= function.resource_count() => Err(Status::Internal),
        Place::Valid(class, _) => Ok(class),
    }
}

fn create_cq(function: &Function, sqe: &[u8]) -> Outcome {
    let (id, flags, vector) = (low(dw(sqe, 10)), low(dw(sqe, 11)), high(dw(sqe, 11)));
    let (contiguous, interrupts) = (flags & 1 != 0, flags & 2 != 0);
    if !contiguous {
        return Err(Status::Internal);
    }
    let size = queue_size(function, high(dw(sqe, 10)))?;
    if id == 0 {
        return Err(Status::InvalidQueueId);
    }
    let (Place::Valid(class, _) | Place::Invalid(class)) = Class::of(id);
    if interrupts && !class.vectors().contains(&vector) {
        return Err(Status::InvalidVector);
    }
    let class = provided(function, id)?;
    if interrupts && vector >= function.config().vectors {
        // The device does not look; its messages go nowhere.
        function.violation(
            None,
            format!(
                "Create CQ {id} with vector {vector}: the MSI-X table ends at {}",
                function.config().vectors - 1
            ),
        );
    }
    let cq = Cq::new(
        id,
        size,
        prp1(sqe),
        class.cqe_size(),
        interrupts.then_some(vector),
    );
    let mut queues = function.queues.write();
    if !queues.up || queues.cqs.contains_key(&id) {
        return Err(Status::Internal);
    }
    function.add_cq(&mut queues, cq);
    Ok(0)
}

fn create_sq(function: &Function, sqe: &[u8]) -> Outcome {
    let (id, flags, cq_id) = (low(dw(sqe, 10)), low(dw(sqe, 11)), high(dw(sqe, 11)));
    if flags & 1 == 0 {
        return Err(Status::Internal);
    }
    let size = queue_size(function, high(dw(sqe, 10)))?;
    if cq_id == 0 {
        return Err(Status::CompletionQueueInvalid);
    }
    if id == 0 {
        return Err(Status::InvalidQueueId);
    }
    provided(function, cq_id)?;
    if function.cq(cq_id).is_none() {
        return Err(Status::Internal);
    }
    let class = provided(function, id)?;
    let sq = Arc::new(Sq::new(id, class, size, prp1(sqe)));
    {
        let mut queues = function.queues.write();
        if !queues.up || queues.sqs.contains_key(&id) {
            return Err(Status::Internal);
        }
        function.add_sq(&mut queues, &sq);
    }
    let served = function
        .core
        .function(function.id())
        .is_some_and(|f| f.serve(&sq).is_ok());
    if !served {
        function.queues.write().sqs.remove(&id);
        return Err(Status::Internal);
    }
    Ok(0)
}

/// Deletes a queue; its running commands retire first, what was not fetched is dropped (section 4.5).
fn delete_sq(function: &Function, sqe: &[u8]) -> Outcome {
    let id = low(dw(sqe, 10));
    if id == 0 {
        return Err(Status::InvalidQueueId);
    }
    let sq = function.sq(id).ok_or(Status::Internal)?;
    sq.close(Closing::Delete);
    sq.drained();
    function.queues.write().sqs.remove(&id);
    hooks::queue_deleted(function, &sq);
    Ok(0)
}

fn delete_cq(function: &Function, sqe: &[u8]) -> Outcome {
    let id = low(dw(sqe, 10));
    if id == 0 {
        return Err(Status::InvalidQueueId);
    }
    let mut queues = function.queues.write();
    if !queues.cqs.contains_key(&id) {
        return Err(Status::Internal);
    }
    if queues.sqs.contains_key(&id) {
        return Err(Status::InvalidDeletion);
    }
    queues.cqs.remove(&id);
    Ok(0)
}

fn identify(function: &Function, sq: &Sq, sqe: &[u8]) -> Outcome {
    let config = function.config();
    let mut data = [0; IDENTIFY_SIZE];
    put(&mut data, 0, &pci::VENDOR.to_le_bytes());
    put(&mut data, 2, &pci::VENDOR.to_le_bytes());
    put(&mut data, 4, &padded(&config.serial));
    put(&mut data, 36, &padded(&config.firmware_revision));
    data[72] = 13;
    put(&mut data, 74, &function.id().0.to_le_bytes());
    data[77] = 0x66;
    data[78] = 0x44;
    put(&mut data, 80, &2u16.to_le_bytes());
    data[82] = 13;
    data[83] = 0x77;
    data[84] = 0x66;
    put(&mut data, 86, &4u16.to_le_bytes());
    put(&mut data, 88, &config.svn.to_le_bytes());
    put(&mut data, 96, &VERSION.to_le_bytes());
    data[100] = 1;
    function
        .dma_write(sq, sqe, "Identify data", prp1(sqe), &data)
        .map_err(|_| Status::DataTransfer)?;
    Ok(0)
}

/// Returns a text field of Identify: padded with spaces, not terminated.
fn padded(text: &str) -> [u8; 32] {
    let mut field = [b' '; 32];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    field
}

fn features(function: &Function, sqe: &[u8], set: bool) -> Outcome {
    let resources = function.resource_count() as u32;
    if resources == 0 {
        return Err(Status::InvalidField);
    }
    let both = |queues: u32| {
        let last = function.config().grant.unwrap_or(queues) - 1;
        (last << 16) | (last & 0xffff)
    };
    match (dw(sqe, 10) as u8, set) {
        (7, _) => Ok(both(resources)),
        (193, _) => Ok(both(2 * resources)),
        // The alignment work-around for AES-GCM.
        (194, false) => Ok(1),
        _ => Err(Status::InvalidOpcode),
    }
}

fn set_resource_count(function: &Function, sq: &Sq, sqe: &[u8]) -> Outcome {
    if function.role() != Role::Pf {
        return Err(Status::InvalidOpcode);
    }
    let (target, count) = (dw(sqe, 10), dw(sqe, 11));
    if count as usize > RESOURCES || target > u32::from(LAST_CONTROLLER) {
        return Err(Status::InvalidField);
    }
    let (reply, answer) = mpsc::channel();
    function.core.send(Event::SetResources {
        target: FunctionId(low(target)),
        count: count as usize,
        guid: bytes_at(sqe, 48),
        reply,
    });
    match ask(sq, &answer)? {
        // Section 4.6: the count is reported only if it stays what it is.
        Ok(changed) => Ok(if changed { 0 } else { count }),
        Err(Exhausted) => Err(Status::Internal),
    }
}

/// Waits for the answer of the state machine to a command of `sq`.
pub(crate) fn ask<T>(sq: &Sq, answer: &Receiver<T>) -> Result<T, Status> {
    loop {
        match answer.recv_timeout(Duration::from_millis(20)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(Status::Internal),
            // The state machine may be waiting for this very command to end.
            Err(RecvTimeoutError::Timeout) if sq.closing() != Closing::Open => {
                return Err(Status::Internal);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn get_resource_count(function: &Function, sqe: &[u8]) -> Outcome {
    let target = dw(sqe, 10);
    if target > u32::from(LAST_CONTROLLER) {
        return Err(Status::InvalidField);
    }
    Ok(function
        .core
        .resources
        .lock()
        .count(FunctionId(low(target))) as u32)
}
