// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the device asks for faults, and how those are done.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use azihsm_firmware::FunctionId;
use parking_lot::MutexGuard;

use super::field::{Bits, Change, Register};
use super::rule::{Buffers, Fault, Site, What};
use super::{Faults, Moment};
use crate::controller::Event;
use crate::fields::put;
use crate::function::{Cqe, Function};
use crate::queue::{Class, Closing, Sq};

/// How often a thread that delays something looks whether it is in the way.
const TICK: Duration = Duration::from_millis(2);
/// Transfers of one command that are remembered for late writes.
const TRANSFERS_MAX: usize = 1024;

/// What to do with a command that was fetched.
pub(crate) enum Next {
    /// Run it.
    Run,
    /// Forget it.
    Forget,
    /// Complete it without running it.
    Complete(Cqe),
}

/// A completion that is held back.
pub(crate) struct Held {
    function: u16,
    sq: Arc<Sq>,
    cqe: Cqe,
    until: Until,
}

enum Until {
    /// So many later completions were posted; or the time has come.
    Later { commands: u32, due: Instant },
    /// The queue was deleted.
    Deleted { ms: u64 },
}

/// Changes to a completion entry.
pub(crate) type Changes = Vec<(Bits, Change)>;

#[derive(Clone, Copy)]
struct Transfer {
    address: u64,
    len: usize,
    write: bool,
}

thread_local! {
    /// Transfers of the command that this thread runs.
    static TRANSFERS: RefCell<Vec<Transfer>> = const { RefCell::new(Vec::new()) };
}

/// Notes a transfer of the command that this thread runs.
pub(crate) fn note_transfer(faults: &Faults, address: u64, len: usize, write: bool) {
    if !faults.is_active() {
        return;
    }
    TRANSFERS.with_borrow_mut(|transfers| {
        if transfers.len() < TRANSFERS_MAX {
            transfers.push(Transfer {
                address,
                len,
                write,
            });
        }
    });
}

fn moment(function: &Function, sq: &Sq, sqe: &[u8]) -> Moment {
    Moment::command(function.id().0, sq.class(), sq.id(), sqe)
}

/// A command was fetched.
pub(crate) fn fetched(function: &Function, sq: &Sq, sqe: &[u8]) -> Next {
    let faults = &function.core.faults;
    if !faults.is_active() {
        return Next::Run;
    }
    TRANSFERS.with_borrow_mut(Vec::clear);
    let mut next = Next::Run;
    for what in faults.hits(Site::Command, &moment(function, sq, sqe)) {
        match what {
            What::Ignore => next = Next::Forget,
            What::Refuse { status, error } => {
                if status == 0 && sq.class() == Class::Admin {
                    function.excuse.until_enabled();
                }
                next = Next::Complete(refusal(sq.class(), sqe, status, error));
            }
            action => act(function, &action),
        }
    }
    next
}

fn refusal(class: Class, sqe: &[u8], status: u16, error: u16) -> Cqe {
    let mut bytes = [0; 64];
    let end = class.cqe_size();
    if class == Class::Fp {
        put(&mut bytes, 0, &sqe[4..8]);
        put(&mut bytes, 60, &error.to_le_bytes());
    } else {
        put(&mut bytes, 12, &sqe[2..4]);
    }
    put(&mut bytes, end - 2, &(status << 1).to_le_bytes());
    Cqe {
        bytes,
        failed: status != 0,
    }
}

/// Does what needs no event.
pub(crate) fn act(function: &Function, what: &What) {
    match *what {
        What::ClearEnable => function.core.send(Event::ClearEnable(function.id(), None)),
        What::Fatal => function.registers.lock().fatal = true,
        What::Crash => {
            function.registers.lock().fatal = true;
            for sq in function.queues.read().sqs.values() {
                sq.pause(true);
            }
        }
        What::Interrupt {
            vector,
            times,
            every_us,
        } => in_background(function, move |function| {
            for _ in 0..times {
                function.send_interrupt(vector);
                if every_us > 0 {
                    thread::sleep(Duration::from_micros(every_us));
                }
            }
        }),
        _ => {}
    }
}

/// A command is to be completed.
pub(crate) fn complete(function: &Function, sq: &Arc<Sq>, sqe: &[u8], cqe: Cqe) {
    let faults = &function.core.faults;
    let moment = moment(function, sq, sqe);
    let mut changes = Changes::new();
    let mut copies = 1;
    let mut held = None;
    let mut late = Vec::new();
    for what in faults.hits(Site::Completion, &moment) {
        match what {
            What::Drop => copies = 0,
            What::Delay { ms } => delay(sq, Duration::from_millis(ms)),
            What::Duplicate { times } => {
                sq.excuse.until_enabled();
                copies += times;
            }
            What::Hold { commands, ms } => {
                let due = Instant::now() + Duration::from_millis(ms);
                held = Some(Until::Later { commands, due });
            }
            What::Stale { ms } => held = Some(Until::Deleted { ms }),
            What::Completion(fields) => {
                for (field, change) in fields {
                    if let Some(bits) = field.bits(sq.class()) {
                        changes.push((bits, change));
                        excuse(function, sq, field.identifies());
                    }
                }
            }
            What::LateWrite { ms, byte, buffers } => late.push((ms, byte, buffers)),
            _ => {}
        }
    }
    match held {
        Some(until) => {
            hold(function, sq, cqe, until);
            copies = 0;
        }
        None => {
            for _ in 0..copies {
                function.post(sq, &moment, cqe, &changes);
            }
        }
    }
    for (ms, byte, buffers) in late {
        write_late(function, ms, byte, buffers);
    }
    release(function, sq, &moment, copies);
}

/// A field of a completion was falsified.
fn excuse(function: &Function, sq: &Sq, identifies: bool) {
    if sq.class() == Class::Admin {
        // The host is wrong about queues or the outcome of its commands now.
        function.excuse.until_enabled();
    } else if identifies {
        sq.excuse.until_enabled();
    }
}

/// Waits, but not longer than the command has a host.
fn delay(sq: &Sq, time: Duration) {
    let due = Instant::now() + time;
    while sq.permit().is_some() && !(sq.class() == Class::Admin && sq.closing() != Closing::Open) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(TICK));
    }
}

fn hold(function: &Function, sq: &Arc<Sq>, cqe: Cqe, until: Until) {
    let due = match until {
        Until::Later { due, .. } => Some(due),
        Until::Deleted { .. } => None,
    };
    let held = Held {
        function: function.id().0,
        sq: Arc::clone(sq),
        cqe,
        until,
    };
    function.core.faults.held.lock().push(held);
    if let Some(due) = due {
        let sq = Arc::clone(sq);
        in_background(function, move |function| {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let overdue = |held: &Held| matches!(held.until, Until::Later { due, .. } if due <= Instant::now());
            let moment = Moment::queue(function.id().0, sq.class(), sq.id());
            post_held(function, &sq, &moment, overdue);
        });
    }
}

/// Completions were posted: posts those that waited for them.
fn release(function: &Function, sq: &Arc<Sq>, moment: &Moment, posted: u32) {
    let mine = |held: &Held| Arc::ptr_eq(&held.sq, sq);
    for held in function
        .core
        .faults
        .held
        .lock()
        .iter_mut()
        .filter(|h| mine(h))
    {
        if let Until::Later { commands, .. } = &mut held.until {
            *commands = commands.saturating_sub(posted);
        }
    }
    let ripe = |held: &Held| matches!(held.until, Until::Later { commands: 0, .. });
    post_held(function, sq, moment, ripe);
}

fn post_held(function: &Function, sq: &Arc<Sq>, moment: &Moment, which: impl Fn(&Held) -> bool) {
    for held in take(function.core.faults.held.lock(), |held| {
        Arc::ptr_eq(&held.sq, sq) && which(held)
    }) {
        // The host may have given up on the command meanwhile, and have used its id again.
        if let Some(sq) = function.sq(sq.id()) {
            sq.excuse.until_enabled();
        }
        function.post(&held.sq, moment, held.cqe, &Changes::new());
    }
}

fn take(mut held: MutexGuard<'_, Vec<Held>>, which: impl Fn(&Held) -> bool) -> Vec<Held> {
    let (taken, kept) = std::mem::take(&mut *held).into_iter().partition(which);
    *held = kept;
    taken
}

/// A queue was deleted by command: what is stale comes now.
pub(crate) fn queue_deleted(function: &Function, sq: &Arc<Sq>) {
    let of_queue =
        |held: &Held| Arc::ptr_eq(&held.sq, sq) && matches!(held.until, Until::Deleted { .. });
    for held in take(function.core.faults.held.lock(), of_queue) {
        let Until::Deleted { ms } = held.until else {
            continue;
        };
        in_background(function, move |function| {
            thread::sleep(Duration::from_millis(ms));
            let sq = &held.sq;
            if let Some(now) = function.sq(sq.id()) {
                now.excuse.until_enabled();
            }
            let moment = Moment::queue(held.function, sq.class(), sq.id());
            function.post(sq, &moment, held.cqe, &Changes::new());
        });
    }
}

/// The function was disabled or reset: nobody waits for what is held back.
pub(crate) fn taken_down(function: &Function) {
    let id = function.id().0;
    take(function.core.faults.held.lock(), |held| held.function == id);
}

fn write_late(function: &Function, ms: u64, byte: u8, buffers: Buffers) {
    let write = buffers == Buffers::Destination;
    let ranges: Vec<Transfer> = TRANSFERS.with_borrow(|transfers| {
        let wanted = |t: &&Transfer| t.write == write;
        transfers.iter().filter(wanted).copied().collect()
    });
    in_background(function, move |function| {
        thread::sleep(Duration::from_millis(ms));
        let faults = &function.core.faults;
        for range in ranges {
            match function.memory.write(range.address, &vec![byte; range.len]) {
                Ok(()) => faults.late_writes_landed.inc(),
                Err(error) => {
                    tracing::debug!("late write: {error}");
                    faults.late_writes_refused.inc();
                }
            }
        }
    });
}

/// A command writes to the host's memory: returns what it really writes.
pub(crate) fn data<'a>(function: &Function, sq: &Sq, sqe: &[u8], data: &'a [u8]) -> Cow<'a, [u8]> {
    let faults = &function.core.faults;
    if !faults.is_active() {
        return Cow::Borrowed(data);
    }
    let mut data = Cow::Borrowed(data);
    for what in faults.hits(Site::Data, &moment(function, sq, sqe)) {
        match what {
            What::Data { byte, change } => {
                let byte = usize::try_from(byte).ok();
                if let Some(byte) = byte.and_then(|byte| data.to_mut().get_mut(byte)) {
                    *byte = change.apply((*byte).into()) as u8;
                }
            }
            What::Identify(fields) => {
                for (field, change) in fields {
                    field.bits().change(data.to_mut(), change);
                }
            }
            What::IdentifyFill(byte) => data.to_mut().fill(byte),
            _ => {}
        }
    }
    data
}

/// Registers were read: changes what the host sees.
pub(crate) fn registers_read(function: &Function, offset: usize, data: &mut [u8]) {
    let faults = &function.core.faults;
    if !faults.is_active() {
        return;
    }
    let moment = Moment::read(function.id().0, offset, data.len());
    for what in faults.hits(Site::Register, &moment) {
        match what {
            What::Registers(words) => {
                for (word, change) in words {
                    word.change(offset, data, change);
                    if word.is_constant() {
                        function.excuse.for_good();
                    } else if word == Register::Csts {
                        function.excuse.until_enabled();
                    }
                }
            }
            What::RegistersGone => data.fill(0xff),
            What::SlowRegisters { us } => thread::sleep(Duration::from_micros(us)),
            _ => {}
        }
    }
}

/// Returns how many messages follow a completion.
pub(crate) fn interrupts(function: &Function, moment: &Moment) -> u32 {
    let hits = function.core.faults.hits(Site::Interrupt, moment);
    hits.iter().fold(1, |times, what| match what {
        What::LostInterrupt => 0,
        What::RepeatInterrupt { times: more } => times + more,
        _ => times,
    })
}

/// Returns whether a write to the tail doorbell of a queue is lost.
pub(crate) fn loses_doorbell(function: &Function, sq: &Sq) -> bool {
    let moment = Moment::queue(function.id().0, sq.class(), sq.id());
    let hits = function.core.faults.hits(Site::Doorbell, &moment);
    hits.contains(&What::LostDoorbell)
}

/// Returns whether the state machine does not hear what it is asked; it may hear it later.
pub(crate) fn is_deaf(function: &Function, site: Site) -> bool {
    let faults = &function.core.faults;
    let hits = faults.hits(site, &Moment::function(function.id().0));
    for what in &hits {
        if let What::IgnoreEnable { ms: Some(ms) } | What::IgnoreDisable { ms: Some(ms) } = *what {
            let number = function.looks.load(Ordering::Relaxed);
            in_background(function, move |function| {
                thread::sleep(Duration::from_millis(ms));
                function.core.send(Event::Hear(function.id(), number));
            });
        }
    }
    !hits.is_empty()
}

/// Returns whether a function reports a fatal error as soon as it is not ready.
pub(crate) fn is_fatal_when_disabled(function: &Function) -> bool {
    let moment = Moment::function(function.id().0);
    let hits = function.core.faults.hits(Site::Disabled, &moment);
    hits.contains(&What::FatalDisabled)
}

fn in_background(function: &Function, work: impl FnOnce(&Function) + Send + 'static) {
    let Some(function) = function.core.function(function.id()) else {
        return;
    };
    let spawned = thread::Builder::new()
        .name("fault".to_owned())
        .spawn(move || work(&function));
    if let Err(error) = spawned {
        tracing::warn!("a fault is not carried out: {error}");
    }
}

impl crate::device::Device {
    /// Arms faults; those that wait for no event are carried out, too. Returns their ids.
    ///
    /// # Errors
    ///
    /// One of them cannot be: none is armed then.
    pub fn arm(&self, faults: Vec<Fault>) -> anyhow::Result<Vec<u64>> {
        for fault in &faults {
            fault.check()?;
        }
        let armed = faults.into_iter().map(|fault| {
            if fault.is_immediate() {
                let chosen =
                    |f: &&Arc<Function>| fault.function.is_none_or(|id| f.id() == FunctionId(id));
                for function in self.functions().iter().filter(chosen) {
                    self.faults().hits.inc();
                    act(function, &fault.what);
                }
            }
            self.faults().arm(fault)
        });
        Ok(armed.collect())
    }

    /// Removes a fault, or all of them, and lets the state machine hear what it did not; returns how many there were.
    pub fn clear_faults(&self, id: Option<u64>) -> usize {
        let cleared = self.faults().clear(id);
        self.look_again();
        cleared
    }

    /// Ends chaos; returns what it did, `None` if there was none.
    pub fn stop_chaos(&self) -> Option<serde_json::Value> {
        let report = self.faults().stop_chaos();
        self.look_again();
        report
    }
}
