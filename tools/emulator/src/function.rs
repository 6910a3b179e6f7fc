// SPDX-License-Identifier: GPL-2.0-or-later

//! One PCI function: its registers, queues, interrupts and guest memory, and the threads that serve its queues.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azihsm_firmware::FunctionId;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use crate::config::Config;
use crate::controller::{Event, RegisterEffect, Registers};
use crate::cq::{Cq, Posted};
use crate::device::{Core, FunctionConfig};
use crate::doorbells::Doorbells;
use crate::faults::Moment;
use crate::faults::excuse::Excuse;
use crate::faults::hooks::{self, Changes, Next};
use crate::fields::u16_at;
use crate::interrupts::Interrupts;
use crate::memory::{DmaError, GuestMemory, Refusal};
use crate::migration::Context;
use crate::pci::{BAR_SIZE, ConfigSpace, Shape};
use crate::queue::{Class, Closing, QUEUE_IDS, Sq};
use crate::stats::{Counter, Counters, FunctionSnapshot, SessionSnapshot, Stats};
use crate::{admin, control, fast};

/// Device serial number, the same for all functions.
const DEVICE_SERIAL: u64 = 0xa215_4800_0000_0001;

/// Whether a function is the PF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The physical function; it alone distributes resources.
    Pf,
    /// A virtual function, or a function that stands alone and cannot be told from one.
    Vf,
}

/// Why a transfer was not done; a violation by the host has been recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFailed;

/// The queues of a function.
#[derive(Default)]
pub struct Queues {
    /// Submission queues by id.
    pub sqs: BTreeMap<u16, Arc<Sq>>,
    /// Completion queues by id.
    pub cqs: BTreeMap<u16, Arc<Cq>>,
    /// Whether queues may be created.
    pub up: bool,
}

/// A completion entry of either format; SQ head, SQ id and phase are filled in when it is posted.
#[derive(Clone, Copy, Debug)]
pub struct Cqe {
    /// The entry; only the first bytes are used if the format is the short one.
    pub bytes: [u8; 64],
    /// Whether the status in it is not "success".
    pub failed: bool,
}

/// One PCI function of the device.
pub struct Function {
    id: FunctionId,
    role: Role,
    initial_resources: usize,
    pub(crate) core: Arc<Core>,
    /// Guest memory the function may reach.
    pub memory: GuestMemory,
    /// Interrupt vectors.
    pub interrupts: Interrupts,
    pub(crate) registers: Mutex<Registers>,
    pub(crate) queues: RwLock<Queues>,
    /// Whether the host was lied to about this function.
    pub(crate) excuse: Excuse,
    /// How often the state machine looked at CC.EN because it changed.
    pub(crate) looks: AtomicU64,
    /// What Start puts into effect.
    pub(crate) restored: Mutex<Option<Context>>,
    pub(crate) counters: Counters,
    /// Commands fetched, by id of the queue.
    queue_commands: Box<[Counter; QUEUE_IDS]>,
    pub(crate) config_space: Mutex<ConfigSpace>,
    /// Whether a PF decides about the function.
    pub(crate) of_pf: bool,
    /// Whether the function answers accesses to its BARs.
    pub(crate) visible: AtomicBool,
    /// Whether queues went away without the host's doing, and it has not written CC since.
    pub(crate) lost_queues: AtomicBool,
    /// BAR2, if the client maps it.
    doorbells: Option<Doorbells>,
    /// BAR4: the client emulates the MSI-X table, this only keeps what is written.
    pub(crate) msix_table: Mutex<Box<[u8; BAR_SIZE]>>,
}

impl Function {
    /// Creates a function of a device with a PF or without one, and with `vfs` VFs.
    pub(crate) fn new(
        function: FunctionConfig,
        has_pf: bool,
        vfs: u16,
        core: Arc<Core>,
    ) -> std::io::Result<Self> {
        let FunctionConfig {
            id,
            role,
            resources,
        } = function;
        let of_pf = has_pf && role == Role::Vf;
        let shape = Shape {
            serial: DEVICE_SERIAL,
            vectors: core.config.vectors,
            vfs: if role == Role::Pf { vfs } else { 0 },
        };
        let doorbells = core.config.fast.then(Doorbells::new).transpose()?;
        Ok(Function {
            id,
            role,
            initial_resources: resources,
            core,
            memory: GuestMemory::default(),
            interrupts: Interrupts::default(),
            registers: Mutex::default(),
            queues: RwLock::default(),
            excuse: Excuse::default(),
            looks: AtomicU64::new(0),
            restored: Mutex::default(),
            counters: Counters::default(),
            queue_commands: Box::new(std::array::from_fn(|_| Counter::default())),
            config_space: Mutex::new(ConfigSpace::new(shape)),
            of_pf,
            visible: AtomicBool::new(!of_pf),
            lost_queues: AtomicBool::new(false),
            doorbells,
            msix_table: Mutex::new(Box::new([0; BAR_SIZE])),
        })
    }

    /// Returns the controller id.
    pub fn id(&self) -> FunctionId {
        self.id
    }

    /// Returns whether this is the PF or a VF.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns whether this is a VF of a PF.
    pub fn is_of_pf(&self) -> bool {
        self.of_pf
    }

    /// Returns the number of resources the function has at power-up.
    pub fn initial_resources(&self) -> usize {
        self.initial_resources
    }

    /// Returns the device's settings.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Returns what the whole device records.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Returns the function's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a snapshot of the counters; the sessions are told by the caller, who has asked the firmware.
    pub fn snapshot(&self, sessions: Vec<SessionSnapshot>) -> FunctionSnapshot {
        let exists = |id| self.queues.read().sqs.contains_key(&id);
        let queues = (0..)
            .zip(self.queue_commands.iter().map(Counter::get))
            .filter(|&(id, commands)| commands > 0 || exists(id));
        FunctionSnapshot {
            controller_id: self.id.0,
            resources: self.resource_count(),
            ready: self.registers.lock().ready,
            sessions,
            counts: self.counters.read(),
            queues: queues.collect(),
        }
    }

    /// Returns the sessions the function holds.
    pub fn sessions(&self) -> Vec<SessionSnapshot> {
        let sessions = self.core.firmware.sessions(self.id);
        sessions.iter().map(SessionSnapshot::from).collect()
    }

    /// Returns how many resources the function owns.
    pub fn resource_count(&self) -> usize {
        self.core.resources.lock().count(self.id)
    }

    /// Returns whether the function answers accesses to its BARs: a VF does if its PF has enabled it.
    pub fn is_visible(&self) -> bool {
        self.visible.load(Ordering::SeqCst)
    }

    /// Reads BAR0.
    pub fn register_read(&self, offset: usize, data: &mut [u8]) {
        if self.is_visible() {
            self.registers.lock().read(offset, data);
            hooks::registers_read(self, offset, data);
        } else {
            data.fill(0xff);
        }
    }

    /// Writes BAR0.
    pub fn register_write(&self, offset: usize, data: &[u8]) {
        if !self.is_visible() {
            return;
        }
        let effect = self.registers.lock().write(offset, data);
        match effect {
            RegisterEffect::None => {}
            RegisterEffect::EnableChanged => {
                // Who enables the function knows that it was not.
                self.lost_queues.store(false, Ordering::SeqCst);
                self.core.send(Event::Look(self.id));
            }
            RegisterEffect::SubsystemReset => self.core.send(Event::SubsystemReset(self.id)),
            RegisterEffect::BadAccess => self.violation(None, format!(
                "write of {} bytes at offset {offset:#x} of BAR0: registers are accessed in aligned words of 4 or 8 \
                 bytes",
                data.len()
            )),
        }
    }

    /// Reads BAR4.
    pub fn msix_read(&self, offset: usize, data: &mut [u8]) {
        if !self.is_visible() {
            return data.fill(0xff);
        }
        let table = self.msix_table.lock();
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = table.get(offset + i).copied().unwrap_or(0);
        }
    }

    /// Writes BAR4.
    pub fn msix_write(&self, offset: usize, data: &[u8]) {
        if !self.is_visible() {
            return;
        }
        let mut table = self.msix_table.lock();
        for (at, &byte) in (offset..BAR_SIZE).zip(data) {
            table[at] = byte;
        }
    }

    /// Returns the doorbells that the client may map.
    pub fn doorbells(&self) -> Option<&Doorbells> {
        self.doorbells.as_ref()
    }

    /// Records that the host broke the protocol, on a queue if it has to do with one.
    ///
    /// What follows from a lie of the device is recorded, but not held against the host.
    pub(crate) fn violation(&self, sq: Option<&Sq>, text: impl Display) {
        if self.excuse.holds() || sq.is_some_and(|sq| sq.excuse.holds()) {
            self.consequence(text);
        } else {
            self.counters.violations.inc();
            self.stats()
                .violation(format!("function {}: {text}", self.id.0));
        }
    }

    /// Records that the host did wrong, but is not to blame.
    pub(crate) fn consequence(&self, text: impl Display) {
        self.counters.consequences.inc();
        self.stats()
            .consequence(format!("function {}: {text}", self.id.0));
    }

    /// Returns a submission queue.
    pub fn sq(&self, id: u16) -> Option<Arc<Sq>> {
        self.queues.read().sqs.get(&id).cloned()
    }

    /// Returns a completion queue.
    pub fn cq(&self, id: u16) -> Option<Arc<Cq>> {
        self.queues.read().cqs.get(&id).cloned()
    }

    /// Starts the threads that serve a queue: as many as the class has credit.
    pub(crate) fn serve(self: &Arc<Self>, sq: &Arc<Sq>) -> std::io::Result<()> {
        for worker in 0..sq.class().credit() {
            let (function, queue) = (Arc::clone(self), Arc::clone(sq));
            let name = format!("f{}q{}w{worker}", self.id.0, sq.id());
            if let Err(error) = thread::Builder::new()
                .name(name)
                .spawn(move || function.work(&queue))
            {
                sq.close(Closing::Teardown);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Serves a queue until it is closed.
    fn work(&self, sq: &Arc<Sq>) {
        while let Some(fetched) = sq.fetch(&self.memory) {
            match fetched {
                Ok(entry) => self.run(sq, &entry),
                Err(error) => self.ring_violation(sq, "fetch of a command", &error),
            }
            sq.retire();
        }
    }

    fn run(&self, sq: &Arc<Sq>, entry: &[u8; crate::queue::SQE_MAX]) {
        let stats = &self.counters;
        let config = self.config();
        let service_time = match sq.class() {
            Class::Admin => Duration::ZERO,
            Class::Cp => config.service_time,
            Class::Fp => config.fp_service_time,
        };
        let began = Instant::now();
        let due = began + service_time;
        stats.dma_bytes_read.add(sq.class().sqe_size() as u64);
        let (commands, failed, cqe) = match sq.class() {
            Class::Admin => (
                &stats.commands_admin,
                &stats.failed_admin,
                admin::execute as fn(&Self, &Sq, &[u8]) -> _,
            ),
            Class::Cp => (&stats.commands_cp, &stats.failed_cp, control::execute as _),
            Class::Fp => (&stats.commands_fp, &stats.failed_fp, fast::execute as _),
        };
        commands.inc();
        if let Some(counter) = self.queue_commands.get(usize::from(sq.id())) {
            counter.inc();
        }
        let cqe: Cqe = match hooks::fetched(self, sq, entry) {
            Next::Run => cqe(self, sq, entry),
            Next::Complete(cqe) => cqe,
            Next::Forget => return,
        };
        if cqe.failed {
            failed.inc();
        }
        let left = due.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            thread::sleep(left);
        }
        let served = began.elapsed().as_nanos() as u64;
        match sq.class() {
            Class::Admin => {}
            Class::Cp => stats.service_ns_cp.add(served),
            Class::Fp => stats.service_ns_fp.add(served),
        }
        hooks::complete(self, sq, entry, cqe);
    }

    /// Posts a completion and sends its interrupt. It goes to the CQ with the id of the SQ (section 3.1).
    ///
    /// `changes` are what a fault does to the entry.
    pub(crate) fn post(&self, sq: &Sq, moment: &Moment, mut cqe: Cqe, changes: &Changes) {
        let Some(_permit) = sq.permit() else { return };
        let Some(cq) = self.cq(sq.id()) else {
            tracing::debug!(
                function = self.id.0,
                "{}: completion lost, there is no such CQ",
                Self::name(sq)
            );
            return;
        };
        let entry = &mut cqe.bytes[..cq.entry_size()];
        match cq.post(
            &self.memory,
            entry,
            || sq.head(),
            sq.id(),
            || self.counters.cq_stalls.inc(),
            |entry| {
                for &(bits, change) in changes {
                    bits.change(entry, change);
                }
            },
        ) {
            Posted::Written => {
                self.counters.dma_bytes_written.add(entry.len() as u64);
                if let Some(vector) = cq.vector() {
                    for _ in 0..hooks::interrupts(self, moment) {
                        self.send_interrupt(vector);
                    }
                }
            }
            Posted::Dropped => {
                tracing::debug!(
                    function = self.id.0,
                    "{}: completion dropped, the queue is gone",
                    Self::name(sq)
                )
            }
            Posted::Failed(error) => {
                self.ring_violation(sq, "write of a completion", &error);
            }
        }
    }

    /// Sends the message of a vector.
    pub(crate) fn send_interrupt(&self, vector: u16) {
        if self.interrupts.fire(vector) {
            self.counters.interrupts.inc();
        }
    }

    fn name(sq: &Sq) -> String {
        format!("{} queue {}", sq.class(), sq.id())
    }

    /// Reads host memory for a command of `sq`; `what` says for what.
    pub(crate) fn dma_read(
        &self,
        sq: &Sq,
        sqe: &[u8],
        what: &str,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<(), DmaFailed> {
        let _permit = sq.permit().ok_or(DmaFailed)?;
        hooks::note_transfer(&self.core.faults, address, buffer.len(), false);
        self.memory
            .read(address, buffer)
            .map_err(|error| self.dma_violation(sq, sqe, what, &error))?;
        self.counters.dma_bytes_read.add(buffer.len() as u64);
        Ok(())
    }

    /// Writes host memory for a command of `sq`; `what` says what.
    pub(crate) fn dma_write(
        &self,
        sq: &Sq,
        sqe: &[u8],
        what: &str,
        address: u64,
        data: &[u8],
    ) -> Result<(), DmaFailed> {
        let _permit = sq.permit().ok_or(DmaFailed)?;
        hooks::note_transfer(&self.core.faults, address, data.len(), true);
        let data = &*hooks::data(self, sq, sqe, data);
        self.memory
            .write(address, data)
            .map_err(|error| self.dma_violation(sq, sqe, what, &error))?;
        self.counters.dma_bytes_written.add(data.len() as u64);
        Ok(())
    }

    fn ring_violation(&self, sq: &Sq, what: &str, error: &DmaError) {
        if error.reason == Refusal::NotMaster {
            tracing::debug!(function = self.id.0, "{}: {what}: {error}", Self::name(sq));
        } else {
            let text = format!("{}: {what}: {error}", Self::name(sq));
            self.violation(Some(sq), text);
        }
    }

    fn dma_violation(&self, sq: &Sq, sqe: &[u8], what: &str, error: &DmaError) -> DmaFailed {
        if error.reason == Refusal::NotMaster {
            // A host may take the bus away from a device that it cannot stop otherwise.
            tracing::debug!(function = self.id.0, "{}: {what}: {error}", Self::name(sq));
            return DmaFailed;
        }
        let cid = u16_at(sqe, if sq.class() == Class::Fp { 6 } else { 2 });
        let text = format!("{}, command {cid}: {what}: {error}", Self::name(sq));
        self.violation(Some(sq), text);
        DmaFailed
    }

    /// Describes registers, sessions and queues, for people who look for a fault.
    pub fn describe(&self) -> Value {
        let registers = *self.registers.lock();
        let sessions = self.sessions();
        let queues = self.queues.read();
        let sqs: Vec<Value> = queues
            .sqs
            .values()
            .map(|sq| {
                let (size, head, tail, in_flight) = sq.indexes();
                json!({ "id": sq.id(), "size": size, "head": head, "tail": tail, "in_flight": in_flight })
            })
            .collect();
        let cqs: Vec<Value> = queues
            .cqs
            .values()
            .map(|cq| {
                let (size, head, tail, phase) = cq.indexes();
                json!({
                    "id": cq.id(), "size": size, "head": head, "tail": tail, "phase": u8::from(phase),
                    "vector": cq.vector(),
                })
            })
            .collect();
        json!({
            "controller_id": self.id.0, "resources": self.resource_count(), "cc": registers.cc,
            "ready": registers.ready, "fatal": registers.fatal, "sessions": sessions, "sqs": sqs, "cqs": cqs,
        })
    }
}
