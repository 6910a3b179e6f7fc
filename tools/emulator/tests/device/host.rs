// SPDX-License-Identifier: GPL-2.0-or-later

//! A small host: owns memory, programs registers, makes queues, submits and reaps.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use azihsm_emulator::config::Config;
use azihsm_emulator::device::{Device, FunctionConfig};
use azihsm_emulator::function::{Function, Role};
use azihsm_emulator::interrupts::VECTORS;
use azihsm_emulator::stats::Stats;
use azihsm_firmware::{Firmware, FunctionId};

use crate::firmware::TestFirmware;

/// Where the host's memory begins on the bus.
pub const RAM: u64 = 0x1_0000_0000;
const RAM_SIZE: u64 = 80 << 20;
/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long something that must not happen is waited for.
pub const QUIET: Duration = Duration::from_millis(40);

pub const CC: usize = 0x14;
pub const CSTS: usize = 0x1c;
pub const NSSR: usize = 0x20;
pub const NSSR_SIGNATURE: u32 = 0x4e56_4d65;

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < limit, "not in time: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// One function as a host drives it.
pub struct Host {
    pub device: Arc<Device>,
    pub function: Arc<Function>,
    ram: File,
    next: u64,
    events: Vec<UnixStream>,
    pub admin: Queue,
}

/// The host's side of a queue pair.
pub struct Queue {
    pub id: u16,
    pub size: u32,
    pub sq_base: u64,
    pub cq_base: u64,
    pub tail: u32,
    pub head: u32,
    phase: u8,
    sqe_size: usize,
    cqe_size: usize,
}

/// A completion as it lies in the ring.
#[derive(Clone, Debug)]
pub struct Completion(pub Vec<u8>);

impl Completion {
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    /// Status without the phase.
    pub fn status(&self) -> u16 {
        self.u16(self.0.len() - 2) >> 1
    }

    pub fn sq_head(&self) -> u16 {
        self.u16(self.0.len() - 8)
    }

    pub fn sq_id(&self) -> u16 {
        self.u16(self.0.len() - 6)
    }

    /// Command id of a short or a long entry.
    pub fn cid(&self) -> u16 {
        self.u16(if self.0.len() == 16 { 12 } else { 2 })
    }

    /// Status and error code of a long entry.
    pub fn code(&self) -> (u16, u16) {
        (self.status(), self.u16(60))
    }
}

/// Settings of tests: fast.
pub fn quick() -> Config {
    Config {
        ready_delay: Duration::from_millis(1),
        disable_delay: Duration::from_millis(1),
        ..Config::default()
    }
}

/// A device with one function, as the command line makes it.
pub fn device(config: Config, firmware: Arc<dyn Firmware>, resources: usize) -> Arc<Device> {
    let function = FunctionConfig {
        id: FunctionId(1),
        role: Role::Vf,
        resources,
    };
    Arc::new(Device::new(config, firmware, Arc::new(Stats::default()), &[function]).unwrap())
}

impl Host {
    /// A host with a device of 2 resources, and the firmware of that device.
    pub fn new() -> (Self, Arc<TestFirmware>) {
        Self::with(quick(), 2)
    }

    /// A host with a device of the given settings.
    pub fn with(config: Config, resources: usize) -> (Self, Arc<TestFirmware>) {
        let firmware = Arc::new(TestFirmware::default());
        let device = device(config, Arc::clone(&firmware) as _, resources);
        (Self::attach(device, 0), firmware)
    }

    /// A host for the function of a device with that index.
    pub fn attach(device: Arc<Device>, index: usize) -> Self {
        let function = Arc::clone(&device.functions()[index]);
        let ram = tempfile::tempfile().unwrap();
        ram.set_len(RAM_SIZE).unwrap();
        function
            .memory
            .map(
                RAM,
                RAM_SIZE,
                true,
                true,
                Some((ram.try_clone().unwrap(), 0)),
            )
            .unwrap();
        let mut events = Vec::new();
        for vector in 0..VECTORS {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            // An event descriptor takes any number of messages, a socket does not: some get lost.
            theirs.set_nonblocking(true).unwrap();
            function
                .interrupts
                .set(vector, Some(OwnedFd::from(theirs).into()));
            events.push(ours);
        }
        let mut host = Host {
            device,
            function,
            ram,
            next: RAM,
            events,
            admin: Queue::new(0, 16, 0, 0),
        };
        let (sq, cq) = (host.page(1), host.page(1));
        host.admin = Queue::new(0, 16, sq, cq);
        host
    }

    /// A host whose controller is ready.
    pub fn ready() -> (Self, Arc<TestFirmware>) {
        let (mut host, firmware) = Self::new();
        host.enable();
        (host, firmware)
    }

    /// Replaces the host's memory by that of another one, which goes on to use it.
    pub fn take_ram(&mut self, other: &Host) {
        self.function.memory.unmap_all();
        self.ram = other.ram.try_clone().unwrap();
        let ram = other.ram.try_clone().unwrap();
        self.function
            .memory
            .map(RAM, RAM_SIZE, true, true, Some((ram, 0)))
            .unwrap();
    }

    /// Sets what a reset of the function has cleared: Memory Space Enable, Bus Master Enable.
    pub fn set_master(&self) {
        self.function.config_write(4, &6u16.to_le_bytes());
    }

    /// Reads the configuration space.
    pub fn config16(&self, offset: usize) -> u16 {
        let mut data = [0; 2];
        self.function.config_read(offset, &mut data);
        u16::from_le_bytes(data)
    }

    /// Writes the configuration space.
    pub fn set_config16(&self, offset: usize, value: u16) {
        self.function.config_write(offset, &value.to_le_bytes());
    }

    /// Allocates pages of zeros.
    pub fn page(&mut self, pages: u64) -> u64 {
        let address = self.next;
        self.next += pages * 4096;
        assert!(self.next <= RAM + RAM_SIZE);
        self.write(address, &vec![0; (pages * 4096) as usize]);
        address
    }

    pub fn write(&self, address: u64, data: &[u8]) {
        self.ram.write_all_at(data, address - RAM).unwrap();
    }

    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.ram.read_exact_at(&mut data, address - RAM).unwrap();
        data
    }

    pub fn reg(&self, offset: usize) -> u32 {
        let mut data = [0; 4];
        self.function.register_read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub fn set_reg(&self, offset: usize, value: u32) {
        self.function.register_write(offset, &value.to_le_bytes());
    }

    pub fn set_reg64(&self, offset: usize, value: u64) {
        self.function.register_write(offset, &value.to_le_bytes());
    }

    pub fn doorbell(&self, offset: usize, value: u32) {
        self.function.doorbell_write(offset, &value.to_le_bytes());
    }

    pub fn wait_ready(&self, ready: bool) {
        eventually("RDY", || (self.reg(CSTS) & 1 != 0) == ready);
    }

    /// Masters the bus, programs the admin queue and enables the controller.
    pub fn enable(&mut self) {
        let admin = Queue::new(0, 16, self.admin.sq_base, self.admin.cq_base);
        self.write(admin.cq_base, &[0; 4096]);
        self.set_reg(0x24, (admin.size - 1) << 16 | (admin.size - 1));
        self.set_reg64(0x28, admin.sq_base);
        self.set_reg64(0x30, admin.cq_base);
        self.admin = admin;
        self.set_master();
        self.set_reg(CC, 0x6746_0001);
        self.wait_ready(true);
    }

    pub fn disable(&self) {
        self.set_reg(CC, 0x6746_0000);
        self.wait_ready(false);
    }

    /// Returns and forgets the messages of a vector.
    pub fn interrupts(&self, vector: usize) -> usize {
        let mut buffer = [0; 4096];
        match (&self.events[vector]).read(&mut buffer) {
            Ok(bytes) => bytes / 8,
            Err(_) => 0,
        }
    }

    pub fn violations(&self) -> Vec<String> {
        self.device.stats().violation_list()
    }

    /// Runs an admin command: opcode, PRP1, dw10 and so on; returns status and dw0.
    pub fn admin(&mut self, opcode: u8, prp1: u64, dwords: &[u32]) -> (u16, u32) {
        self.admin_start(opcode, prp1, dwords);
        let mut admin = std::mem::replace(&mut self.admin, Queue::new(0, 16, 0, 0));
        let completion = self.reap(&mut admin);
        self.admin = admin;
        assert_eq!(completion.sq_id(), 0);
        (completion.status(), completion.u32(0))
    }

    /// Submits an admin command.
    pub fn admin_start(&mut self, opcode: u8, prp1: u64, dwords: &[u32]) {
        let mut sqe = [0; 64];
        sqe[0] = opcode;
        sqe[24..32].copy_from_slice(&prp1.to_le_bytes());
        for (i, dword) in dwords.iter().enumerate() {
            sqe[40 + 4 * i..44 + 4 * i].copy_from_slice(&dword.to_le_bytes());
        }
        let mut admin = std::mem::replace(&mut self.admin, Queue::new(0, 16, 0, 0));
        self.submit(&mut admin, &sqe);
        self.admin = admin;
    }

    /// Creates a CQ and an SQ of the same id; the vector is the first of the class.
    pub fn pair(&mut self, id: u16, size: u32) -> Queue {
        let (sq, cq) = (
            self.page(u64::from(size).div_ceil(32)),
            self.page(u64::from(size).div_ceil(64)),
        );
        let vector = if id < 256 { 1 } else { 16 };
        assert_eq!(
            self.admin(5, cq, &[u32::from(id) | (size - 1) << 16, 3 | vector << 16])
                .0,
            0
        );
        assert_eq!(
            self.admin(
                1,
                sq,
                &[u32::from(id) | (size - 1) << 16, 1 | u32::from(id) << 16]
            )
            .0,
            0
        );
        Queue::new(id, size, sq, cq)
    }

    /// Writes entries into the ring without telling the device.
    pub fn place(&self, queue: &mut Queue, sqe: &[u8]) {
        let address = queue.sq_base + u64::from(queue.tail) * queue.sqe_size as u64;
        self.write(address, &sqe[..queue.sqe_size]);
        queue.tail = (queue.tail + 1) % queue.size;
    }

    /// Submits a command.
    pub fn submit(&self, queue: &mut Queue, sqe: &[u8]) {
        self.place(queue, sqe);
        self.doorbell(usize::from(queue.id) * 8, queue.tail);
    }

    /// Returns the next completion if it is there, without moving the head.
    pub fn peek(&self, queue: &Queue) -> Option<Completion> {
        let address = queue.cq_base + u64::from(queue.head) * queue.cqe_size as u64;
        let entry = self.read(address, queue.cqe_size);
        (entry[queue.cqe_size - 2] & 1 == queue.phase).then_some(Completion(entry))
    }

    /// Waits for the next completion and moves the head past it.
    pub fn reap(&self, queue: &mut Queue) -> Completion {
        eventually("completion", || self.peek(queue).is_some());
        let completion = self.peek(queue).unwrap();
        queue.head += 1;
        if queue.head == queue.size {
            queue.head = 0;
            queue.phase ^= 1;
        }
        self.doorbell(usize::from(queue.id) * 8 + 4, queue.head);
        completion
    }

    /// Asserts that no completion comes.
    pub fn quiet(&self, queue: &Queue) {
        thread::sleep(QUIET);
        assert!(
            self.peek(queue).is_none(),
            "unexpected completion in queue {}",
            queue.id
        );
    }
}

impl Queue {
    pub fn new(id: u16, size: u32, sq_base: u64, cq_base: u64) -> Self {
        let (sqe_size, cqe_size) = if id < 256 { (64, 16) } else { (128, 64) };
        Queue {
            id,
            size,
            sq_base,
            cq_base,
            tail: 0,
            head: 0,
            phase: 1,
            sqe_size,
            cqe_size,
        }
    }
}

/// Builds a submission entry of the control path.
#[derive(Clone)]
pub struct Cp(pub [u8; 64]);

impl Cp {
    /// A generic command.
    pub fn new(cid: u16, source: u64, source_len: u32, destination: u64) -> Self {
        let mut sqe = [0; 64];
        sqe[2..4].copy_from_slice(&cid.to_le_bytes());
        sqe[4..8].copy_from_slice(&source_len.to_le_bytes());
        sqe[8..16].copy_from_slice(&source.to_le_bytes());
        sqe[24..28].copy_from_slice(&8192u32.to_le_bytes());
        sqe[28..36].copy_from_slice(&destination.to_le_bytes());
        sqe[36..44].copy_from_slice(&(destination + 4096).to_le_bytes());
        Cp(sqe)
    }

    pub fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// Builds a submission entry of the fast path.
#[derive(Clone)]
pub struct Fp(pub [u8; 128]);

impl Fp {
    /// A command in SGL mode with one data block in each entry; cipher GCM or XTS.
    pub fn new(cid: u16, xts: bool, key: u32, source: u64, destination: u64, len: u32) -> Self {
        let mut sqe = [0; 128];
        let attributes: u16 = 5 << 3 | 1 << 2 | u16::from(xts) << 8;
        sqe[4..6].copy_from_slice(&attributes.to_le_bytes());
        sqe[6..8].copy_from_slice(&cid.to_le_bytes());
        sqe[24..28].copy_from_slice(&len.to_le_bytes());
        sqe[28..44].copy_from_slice(&descriptor(source, len, 0));
        sqe[44..48].copy_from_slice(&len.to_le_bytes());
        sqe[48..64].copy_from_slice(&descriptor(destination, len, 0));
        sqe[64] = 1;
        sqe[68..72].copy_from_slice(&key.to_le_bytes());
        Fp(sqe)
    }

    pub fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn tail(self, len: u8, source: u64, destination: u64) -> Self {
        self.set(108, &[len, len])
            .set(112, &source.to_le_bytes())
            .set(120, &destination.to_le_bytes())
    }
}

/// An SGL descriptor.
pub fn descriptor(address: u64, len: u32, kind: u8) -> [u8; 16] {
    let mut d = [0; 16];
    d[..8].copy_from_slice(&address.to_le_bytes());
    d[8..12].copy_from_slice(&len.to_le_bytes());
    d[15] = kind << 4;
    d
}
