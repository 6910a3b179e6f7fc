// SPDX-License-Identifier: GPL-2.0-or-later

//! Registers and the controller state machine (sections 1.1 and 2).
//!
//! A register write never changes CSTS itself. It sends an event to the one thread that serves all functions, which
//! then looks at the registers as they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use azihsm_firmware::{FunctionId, StateChange};

use crate::cq::Cq;
use crate::device::Core;
use crate::faults::hooks;
use crate::faults::rule::Site;
use crate::function::{Function, Role};
use crate::queue::{Class, Closing, Sq};
use crate::resources::{Exhausted, Resources};

/// Largest queue size, 0-based.
pub const MQES: u32 = 1023;
/// Version reported by register and Identify.
pub const VERSION: u32 = 0x0001_0400;

/// MQES, CQR, AMS (weighted round robin), TO (10 s), NSSRS, CSS (NVM command set).
const CAP: u64 = MQES as u64 | (1 << 16) | (1 << 17) | (20 << 24) | (1 << 36) | (1 << 37);
/// Offset of CC.
pub const CC: usize = 0x14;
const CC_EN: u32 = 1;
const CSTS_RDY: u32 = 1 << 0;
const CSTS_CFS: u32 = 1 << 1;
/// Live migration, and SVN present in Identify.
const FW_CAPABILITIES: u32 = 3;
const NSSR_SIGNATURE: u32 = 0x4e56_4d65;

/// What a register write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterEffect {
    /// Nothing.
    None,
    /// CC.EN changed.
    EnableChanged,
    /// The subsystem reset signature was written.
    SubsystemReset,
    /// The access is not an aligned 32-bit or 64-bit one; it was ignored.
    BadAccess,
}

/// The registers of BAR0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// CC.
    pub cc: u32,
    /// CSTS.RDY.
    pub ready: bool,
    /// CSTS.CFS.
    pub fatal: bool,
    /// AQA.
    pub aqa: u32,
    /// ASQ.
    pub asq: u64,
    /// ACQ.
    pub acq: u64,
    /// Resets of the function that have begun and are not over.
    resets: u32,
}

impl Registers {
    /// Returns CC.EN.
    pub fn enabled(&self) -> bool {
        self.cc & CC_EN != 0
    }

    /// Restores the values at power-up, as a reset of the function does at once. RDY reads as 0 from here on; what
    /// the state machine still believes of the function it finds out at [`Registers::end_reset`].
    pub fn begin_reset(&mut self) {
        *self = Registers {
            ready: self.ready,
            resets: self.resets + 1,
            ..Default::default()
        };
    }

    /// Ends a reset: the state machine has put the function down.
    fn end_reset(&mut self) {
        self.ready = false;
        self.fatal = false;
        self.resets = self.resets.saturating_sub(1);
    }

    /// Returns CSTS.
    fn status(&self) -> u32 {
        let ready = self.ready && self.resets == 0;
        (if ready { CSTS_RDY } else { 0 }) | (if self.fatal { CSTS_CFS } else { 0 })
    }

    fn word(&self, offset: usize) -> u32 {
        match offset {
            0x00 => CAP as u32,
            0x04 => (CAP >> 32) as u32,
            0x08 => VERSION,
            CC => self.cc,
            0x18 => FW_CAPABILITIES,
            0x1c => self.status(),
            0x24 => self.aqa,
            0x28 => self.asq as u32,
            0x2c => (self.asq >> 32) as u32,
            0x30 => self.acq as u32,
            0x34 => (self.acq >> 32) as u32,
            _ => 0,
        }
    }

    /// Reads any number of bytes.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.word(at & !3).to_le_bytes()[at & 3];
        }
    }

    /// Writes one or two words.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> RegisterEffect {
        if !matches!(data.len(), 4 | 8) || offset % 4 != 0 {
            return RegisterEffect::BadAccess;
        }
        let mut effect = RegisterEffect::None;
        for (at, word) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            match self.write_word(at, value) {
                RegisterEffect::None => {}
                other => effect = other,
            }
        }
        effect
    }

    fn write_word(&mut self, offset: usize, value: u32) -> RegisterEffect {
        let low = |register: u64| register & !0xffff_ffff | u64::from(value & !0xfff);
        let high = |register: u64| register & 0xffff_ffff | (u64::from(value) << 32);
        match offset {
            CC => {
                let changed = (self.cc ^ value) & CC_EN != 0;
                self.cc = value;
                if changed {
                    return RegisterEffect::EnableChanged;
                }
            }
            0x20 if value == NSSR_SIGNATURE => return RegisterEffect::SubsystemReset,
            0x24 => self.aqa = value & 0x0fff_0fff,
            0x28 => self.asq = low(self.asq),
            0x2c => self.asq = high(self.asq),
            0x30 => self.acq = low(self.acq),
            0x34 => self.acq = high(self.acq),
            _ => {}
        }
        RegisterEffect::None
    }
}

/// An event for the state machine.
pub enum Event {
    /// CC.EN of a function changed.
    Look(FunctionId),
    /// A function hears the change of CC.EN with this number, to which it was deaf; nothing if another one came since.
    Hear(FunctionId, u64),
    /// The device clears CC.EN of a function; tells when that is done.
    ClearEnable(FunctionId, Option<Sender<()>>),
    /// The subsystem reset signature was written.
    SubsystemReset(FunctionId),
    /// Function level reset, which [`Registers::begin_reset`] began; of the PF: of everything.
    FunctionReset(FunctionId),
    /// Any other reset of a VF: it was disabled, or its client asked for it. Tells when it is done.
    VfReset(FunctionId, Option<Sender<()>>),
    /// Power cycle, PERST; tells when it is done.
    PowerCycle(Sender<()>),
    /// Set Resource Count; answers whether the count changed.
    SetResources {
        /// Function to give the resources to.
        target: FunctionId,
        /// New count.
        count: usize,
        /// VM launch GUID.
        guid: [u8; 16],
        /// Where the answer goes.
        reply: Sender<Result<bool, Exhausted>>,
    },
    /// Lets a VF go on after it was stopped, or with the context it was given; answers whether it does.
    Start {
        /// The VF.
        target: FunctionId,
        /// Where the answer goes.
        reply: Sender<bool>,
    },
    /// The device goes away.
    Stop,
}

/// The state machine of all functions.
pub struct Machine {
    core: Arc<Core>,
    functions: Vec<Arc<Function>>,
}

impl Machine {
    /// Creates the state machine.
    pub fn new(core: Arc<Core>, functions: Vec<Arc<Function>>) -> Self {
        Machine { core, functions }
    }

    /// Handles events, one at a time, until the device goes away.
    pub fn run(&self, events: &Receiver<Event>) {
        for event in events {
            match event {
                Event::Look(id) => self.with(id, |f| {
                    f.looks.fetch_add(1, Ordering::Relaxed);
                    self.look(f, hooks::is_deaf);
                }),
                Event::Hear(id, number) => self.with(id, |f| {
                    if f.looks.load(Ordering::Relaxed) == number {
                        self.look(f, |_, _| false);
                    }
                }),
                Event::ClearEnable(id, reply) => {
                    self.with(id, |f| self.clear_enable(f));
                    if let Some(reply) = reply {
                        let _ = reply.send(());
                    }
                }
                Event::SubsystemReset(id) => self.with(id, |f| self.subsystem_reset(f)),
                Event::FunctionReset(id) => self.with(id, |f| self.function_reset(f)),
                Event::VfReset(id, reply) => {
                    self.with(id, |f| self.put_down(f));
                    if let Some(reply) = reply {
                        let _ = reply.send(());
                    }
                }
                Event::PowerCycle(reply) => {
                    self.power_down();
                    self.power_up();
                    let _ = reply.send(());
                }
                Event::SetResources {
                    target,
                    count,
                    guid,
                    reply,
                } => {
                    let _ = reply.send(self.set_resources(target, count, guid));
                }
                Event::Start { target, reply } => {
                    self.with(target, |f| {
                        let _ = reply.send(self.start(f));
                    });
                }
                Event::Stop => break,
            }
        }
    }

    /// Gives every function the resources it has from the start.
    pub fn power_up(&self) {
        for function in self.functions.iter().filter(|f| f.initial_resources() > 0) {
            if self
                .change_resources(function.id(), function.initial_resources(), [0; 16])
                .is_err()
            {
                self.core
                    .stats
                    .internal_error("more resources configured than the device has".to_owned());
            }
        }
    }

    fn with(&self, id: FunctionId, handle: impl FnOnce(&Arc<Function>)) {
        if let Some(function) = self.functions.iter().find(|f| f.id() == id) {
            handle(function);
        }
    }

    fn look(&self, function: &Arc<Function>, is_deaf: impl Fn(&Function, Site) -> bool) {
        let (ready, enabled) = {
            let registers = function.registers.lock();
            (registers.ready, registers.enabled())
        };
        match (ready, enabled) {
            (false, true) if !is_deaf(function, Site::Enable) => self.enable(function),
            (true, false) if !is_deaf(function, Site::Disable) => self.disable(function),
            _ => {}
        }
    }

    fn enable(&self, function: &Arc<Function>) {
        *function.restored.lock() = None;
        self.tell(function.id(), StateChange::Enable);
        thread::sleep(self.core.config.ready_delay);
        let registers = *function.registers.lock();
        let cq_size = (registers.aqa >> 16) + 1;
        let sq_size = (registers.aqa & 0xfff) + 1;
        let cq = Cq::new(0, cq_size, registers.acq, Class::Admin.cqe_size(), Some(0));
        let sq = Arc::new(Sq::new(0, Class::Admin, sq_size, registers.asq));
        {
            let mut queues = function.queues.write();
            function.add_cq(&mut queues, cq);
            function.add_sq(&mut queues, &sq);
            queues.up = true;
        }
        if let Err(error) = function.serve(&sq) {
            // Section 2: if queue creation fails, RDY stays 0.
            self.core
                .stats
                .internal_error(format!("cannot start the admin queue: {error}"));
            *function.queues.write() = Default::default();
            return;
        }
        function.counters().enables.inc();
        function.excuse.enabled();
        let mut registers = function.registers.lock();
        registers.ready = true;
        registers.fatal = false;
        tracing::info!(
            function = function.id().0,
            sq_size,
            cq_size,
            "controller ready"
        );
    }

    fn disable(&self, function: &Arc<Function>) {
        self.take_down(function, StateChange::Disable);
        function.counters().disables.inc();
        self.not_ready(function);
    }

    fn subsystem_reset(&self, function: &Arc<Function>) {
        if !function.registers.lock().ready || hooks::is_deaf(function, Site::Disable) {
            return;
        }
        self.take_down(function, StateChange::Nssr);
        function.counters().subsystem_resets.inc();
        if self.core.config.nssr_clears_enable {
            function.registers.lock().cc &= !CC_EN;
        }
        self.not_ready(function);
    }

    fn function_reset(&self, function: &Arc<Function>) {
        function.counters().function_resets.inc();
        if function.role() == Role::Pf {
            self.power_down();
        } else {
            self.put_down(function);
        }
    }

    /// Ends a reset of one function, which keeps its resources.
    fn put_down(&self, function: &Arc<Function>) {
        if function.registers.lock().ready {
            self.take_down(function, StateChange::Flr);
        }
        function.registers.lock().end_reset();
    }

    /// Ends a reset of every function and takes all resources back.
    fn power_down(&self) {
        for function in &self.functions {
            function.silence(|_| true);
            self.take_down(function, StateChange::Flr);
            function.registers.lock().end_reset();
        }
        *self.core.resources.lock() = Resources::default();
        for function in &self.functions {
            self.tell(
                function.id(),
                StateChange::Resources {
                    owned: 0,
                    guid: [0; 16],
                },
            );
        }
    }

    fn not_ready(&self, function: &Arc<Function>) {
        thread::sleep(self.core.config.disable_delay);
        let fatal = hooks::is_fatal_when_disabled(function);
        let mut registers = function.registers.lock();
        registers.ready = false;
        registers.fatal = fatal;
        tracing::info!(function = function.id().0, "controller not ready");
    }

    /// Stops a function's queues, tells the firmware, and deletes the queues.
    fn take_down(&self, function: &Arc<Function>, change: StateChange) {
        let (sqs, cqs) = {
            let mut queues = function.queues.write();
            queues.up = false;
            (queues.sqs.clone(), queues.cqs.clone())
        };
        let class_of_cq = |id: u16| sqs.get(&id).map(|sq| sq.class());
        for sq in sqs.values() {
            sq.close(Closing::Teardown);
        }
        for (&id, cq) in &cqs {
            // FP commands end without a completion. Others are still completed, if the host leaves room.
            if class_of_cq(id) == Some(Class::Fp) {
                cq.close()
            } else {
                cq.drain()
            }
        }
        for sq in sqs.values().filter(|sq| sq.class() == Class::Fp) {
            sq.revoke();
            sq.drained();
        }
        // Section 2: the partition is dropped while CP commands may still run, except for NSSR.
        if change != StateChange::Nssr {
            self.tell(function.id(), change);
        }
        for sq in sqs.values().filter(|sq| sq.class() != Class::Fp) {
            sq.drained();
        }
        for (id, sq) in &sqs {
            if let Some(cq) = cqs.get(id) {
                cq.close();
            }
            sq.revoke();
        }
        if change == StateChange::Nssr {
            self.tell(function.id(), change);
        }
        hooks::taken_down(function);
        let mut queues = function.queues.write();
        queues.sqs.clear();
        queues.cqs.clear();
    }

    fn set_resources(
        &self,
        target: FunctionId,
        count: usize,
        guid: [u8; 16],
    ) -> Result<bool, Exhausted> {
        self.core.resources.lock().check(target, count)?;
        let vf = self
            .functions
            .iter()
            .find(|f| f.id() == target && f.role() == Role::Vf);
        if let Some(function) = vf {
            self.clear_enable(function);
            *function.restored.lock() = None;
        }
        self.change_resources(target, count, guid)
    }

    /// Clears CC.EN of a function that is enabled and ready, and disables it.
    fn clear_enable(&self, function: &Arc<Function>) {
        let running = {
            let mut registers = function.registers.lock();
            let running = registers.enabled() && registers.ready;
            if running {
                registers.cc &= !CC_EN;
            }
            running
        };
        if running {
            // Nothing tells the host, which goes on ringing doorbells until it looks.
            function.forgive_lost_queues();
            self.disable(function);
        }
    }

    /// Lets a function go on (section 4.9).
    fn start(&self, function: &Arc<Function>) -> bool {
        let Some(context) = function.restored.lock().take() else {
            function
                .queues
                .read()
                .sqs
                .values()
                .for_each(|sq| sq.pause(false));
            return true;
        };
        {
            let registers = function.registers.lock();
            if registers.ready || registers.enabled() || registers.resets > 0 {
                return false;
            }
        }
        self.tell(function.id(), StateChange::Enable);
        let sqs: Vec<Arc<Sq>> = context
            .sqs
            .iter()
            .map(|&sq| Arc::new(Sq::resume(sq)))
            .collect();
        {
            let mut queues = function.queues.write();
            for &cq in &context.cqs {
                function.add_cq(&mut queues, Cq::resume(cq));
            }
            for sq in &sqs {
                function.add_sq(&mut queues, sq);
            }
            queues.up = true;
        }
        if let Some(error) = sqs.iter().find_map(|sq| function.serve(sq).err()) {
            self.core
                .stats
                .internal_error(format!("cannot start a queue: {error}"));
            self.take_down(function, StateChange::Disable);
            return false;
        }
        {
            let mut registers = function.registers.lock();
            registers.cc = context.cc | CC_EN;
            (registers.aqa, registers.asq, registers.acq) = (context.aqa, context.asq, context.acq);
            (registers.ready, registers.fatal) = (true, false);
        }
        function.counters().enables.inc();
        sqs.iter().for_each(|sq| sq.pause(false));
        true
    }

    fn change_resources(
        &self,
        target: FunctionId,
        count: usize,
        guid: [u8; 16],
    ) -> Result<bool, Exhausted> {
        let (changed, owned) = {
            let mut resources = self.core.resources.lock();
            (resources.set_count(target, count)?, resources.owned(target))
        };
        if changed {
            self.tell(target, StateChange::Resources { owned, guid });
        }
        Ok(changed)
    }

    fn tell(&self, function: FunctionId, change: StateChange) {
        tracing::debug!(function = function.0, ?change, "state change");
        self.core.call("a state change", |firmware| {
            firmware.state(function, change)
        });
    }
}
