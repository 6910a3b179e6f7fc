// SPDX-License-Identifier: GPL-2.0-or-later

//! Faults: a device that loses, delays, repeats and lies, as a script, a request or a seed says.
//!
//! The rest of the device asks at few places (the *sites* of [`rule::Site`]) whether something is to go wrong there;
//! what that is and how it is done is all in here. While no fault is armed a site costs one load of a flag.
//!
//! A host that was lied to may do what no correct host does, and it is not to blame. [`excuse::Excuse`] keeps track of
//! who was lied to: what follows is counted apart from the violations.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub mod chaos;
mod deceit;
pub mod excuse;
pub mod field;
pub(crate) mod hooks;
pub mod rule;

use self::chaos::Chaos;
use self::hooks::Held;
use self::rule::{Fault, Site, What};
use crate::fields::{u8_at, u16_at, u32_at};
use crate::queue::Class;
use crate::stats::Counter;

/// An event that a fault may be for.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    function: u16,
    queue: Option<(Class, u16)>,
    command: Option<Command>,
    /// Offset and length of a register read.
    read: Option<(usize, usize)>,
}

/// What is known of a command without its data.
#[derive(Clone, Copy, Debug)]
struct Command {
    opcode: u16,
    session_kind: u8,
    dw10: u32,
}

impl Moment {
    /// Something of the whole function.
    pub fn function(function: u16) -> Self {
        Moment {
            function,
            queue: None,
            command: None,
            read: None,
        }
    }

    /// A read of registers.
    pub fn read(function: u16, offset: usize, len: usize) -> Self {
        Moment {
            read: Some((offset, len)),
            ..Moment::function(function)
        }
    }

    /// Something of a queue.
    pub fn queue(function: u16, class: Class, queue: u16) -> Self {
        Moment {
            queue: Some((class, queue)),
            ..Moment::function(function)
        }
    }

    /// Something of a command; `sqe` is its submission entry.
    pub fn command(function: u16, class: Class, queue: u16, sqe: &[u8]) -> Self {
        let command = match class {
            Class::Admin => Command {
                opcode: u8_at(sqe, 0).into(),
                session_kind: 0,
                dw10: u32_at(sqe, 40),
            },
            Class::Cp => Command {
                opcode: u16_at(sqe, 0) & 0x3ff,
                session_kind: u8_at(sqe, 44) & 3,
                dw10: 0,
            },
            Class::Fp => Command {
                opcode: u16_at(sqe, 4) & 1,
                session_kind: 0,
                dw10: 0,
            },
        };
        Moment {
            command: Some(command),
            ..Moment::queue(function, class, queue)
        }
    }

    fn is_identify(&self) -> bool {
        let admin = self.queue.is_some_and(|(class, _)| class == Class::Admin);
        admin && self.command.is_some_and(|c| c.opcode == 0x06)
    }

    /// Returns whether a fault is for this event.
    fn fits(&self, fault: &Fault) -> bool {
        fn agree<T: PartialEq>(selector: Option<T>, value: Option<T>) -> bool {
            selector.is_none() || selector == value
        }
        let command = self.command;
        let selected = agree(fault.function, Some(self.function))
            && agree(fault.class, self.queue.map(|(class, _)| class))
            && agree(fault.queue, self.queue.map(|(_, id)| id))
            && agree(fault.opcode, command.map(|c| c.opcode))
            && agree(fault.session_kind, command.map(|c| c.session_kind))
            && agree(fault.dw10, command.map(|c| c.dw10));
        selected
            && match (&fault.what, self.read) {
                (What::Registers(words), Some((offset, len))) => {
                    words.keys().any(|word| word.is_read_by(offset, len))
                }
                (what, _) => !what.is_identify() || self.is_identify(),
            }
    }
}

/// A fault with its counts.
struct Armed {
    id: u64,
    fault: Fault,
    seen: u64,
    hits: u64,
    first: Option<Instant>,
}

impl Armed {
    /// Counts an event that the fault is for; returns whether it hits.
    fn hit(&mut self) -> bool {
        self.seen += 1;
        let fault = &self.fault;
        let due = self.seen > fault.after && (self.seen - fault.after - 1) % fault.every == 0;
        let left = fault.count.is_none_or(|count| self.hits < count);
        let in_time = match (fault.for_ms, self.first) {
            (Some(ms), Some(first)) => first.elapsed() < Duration::from_millis(ms),
            _ => true,
        };
        if !(due && left && in_time) {
            return false;
        }
        self.hits += 1;
        self.first.get_or_insert_with(Instant::now);
        true
    }
}

#[derive(Default)]
struct State {
    next_id: u64,
    armed: Vec<Armed>,
    chaos: Option<Chaos>,
    log: Option<File>,
}

/// The faults of a device.
pub struct Faults {
    active: AtomicBool,
    state: Mutex<State>,
    held: Mutex<Vec<Held>>,
    started: Instant,
    /// Hits, those of chaos included.
    pub hits: Counter,
    /// Those of the hits that may deceive a correct host.
    pub deceptions: Counter,
    /// Those after which the device may hold a session that a correct host cannot know of.
    pub hidden_sessions: Counter,
    /// Late writes that reached the host's memory.
    pub late_writes_landed: Counter,
    /// Late writes to memory that the host does not share any more.
    pub late_writes_refused: Counter,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            active: AtomicBool::new(false),
            state: Mutex::default(),
            held: Mutex::default(),
            started: Instant::now(),
            hits: Counter::default(),
            deceptions: Counter::default(),
            hidden_sessions: Counter::default(),
            late_writes_landed: Counter::default(),
            late_writes_refused: Counter::default(),
        }
    }
}

impl Faults {
    /// Returns whether anything may go wrong.
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Logs every hit to a file, as JSON lines that [`rule::load`] reads.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn log_to(&self, path: &Path) -> Result<()> {
        let file = File::create(path)
            .with_context(|| format!("cannot make the log of faults {}", path.display()))?;
        self.state.lock().log = Some(file);
        Ok(())
    }

    /// Arms a fault, which must have passed [`Fault::check`]; returns its id.
    pub(crate) fn arm(&self, fault: Fault) -> u64 {
        let mut state = self.state.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.armed.push(Armed {
            id,
            fault,
            seen: 0,
            hits: 0,
            first: None,
        });
        self.active.store(true, Relaxed);
        id
    }

    /// Removes a fault, or all of them; returns how many there were.
    pub(crate) fn clear(&self, id: Option<u64>) -> usize {
        let mut state = self.state.lock();
        let before = state.armed.len();
        state.armed.retain(|a| id.is_some_and(|id| a.id != id));
        self.update(&state);
        before - state.armed.len()
    }

    /// Starts chaos, in place of a chaos that was started before.
    pub fn start_chaos(&self, chaos: Chaos) {
        let mut state = self.state.lock();
        state.chaos = Some(chaos);
        self.update(&state);
    }

    /// Ends chaos; returns what it did.
    pub(crate) fn stop_chaos(&self) -> Option<Value> {
        let mut state = self.state.lock();
        let report = state.chaos.take().map(|chaos| chaos.report());
        self.update(&state);
        report
    }

    fn update(&self, state: &State) {
        let active = !state.armed.is_empty() || state.chaos.is_some();
        self.active.store(active, Relaxed);
    }

    /// Describes what is armed, and what it has done.
    pub fn report(&self) -> Value {
        let state = self.state.lock();
        let faults: Vec<Value> = state
            .armed
            .iter()
            .map(|a| json!({ "id": a.id, "seen": a.seen, "hits": a.hits, "fault": a.fault }))
            .collect();
        json!({
            "faults": faults, "chaos": state.chaos.as_ref().map(Chaos::report), "hits": self.hits.get(),
            "deceptions": self.deceptions.get(),
            "hidden_sessions": self.hidden_sessions.get(),
            "late_writes_landed": self.late_writes_landed.get(),
            "late_writes_refused": self.late_writes_refused.get(),
        })
    }

    /// Counts an event at a site; returns what is to go wrong, in the order in which it was armed.
    pub(crate) fn hits(&self, site: Site, moment: &Moment) -> Vec<What> {
        if !self.is_active() {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let State {
            armed, chaos, log, ..
        } = &mut *state;
        let mut hits = Vec::new();
        for armed in armed.iter_mut() {
            let fault = &armed.fault;
            if fault.what.site() != site || fault.is_immediate() || !moment.fits(fault) {
                continue;
            }
            let seen = armed.seen;
            if armed.hit() {
                // As it could be armed to hit this very event.
                let exact = Fault {
                    after: seen,
                    every: std::num::NonZeroU64::MIN,
                    count: Some(1),
                    ..armed.fault.clone()
                };
                self.record(log, Some(armed.id), moment, &exact);
                hits.push(exact.what);
            }
        }
        if let Some(fault) = chaos.as_mut().and_then(|chaos| chaos.draw(site, moment)) {
            self.record(log, None, moment, &fault);
            hits.push(fault.what);
        }
        hits
    }

    fn record(&self, log: &mut Option<File>, id: Option<u64>, moment: &Moment, fault: &Fault) {
        self.hits.inc();
        if fault.what.deceives(moment.queue.map(|(class, _)| class)) {
            self.deceptions.inc();
        }
        let control = moment.queue.is_some_and(|(class, _)| class == Class::Cp);
        if control && moment.command.is_some_and(|c| c.hides_session(&fault.what)) {
            self.hidden_sessions.inc();
        }
        tracing::debug!(?moment, ?fault, "fault");
        let mut line = BTreeMap::from([
            ("time_ms", json!(self.started.elapsed().as_millis() as u64)),
            ("fault", json!(fault)),
        ]);
        if let Some(id) = id {
            line.insert("id", json!(id));
        }
        let failed = log.as_mut().is_some_and(|file| {
            // One write for a line, so that a reader never sees half of one for long.
            file.write_all((json!(line).to_string() + "\n").as_bytes())
                .is_err()
        });
        if failed {
            tracing::warn!("the log of faults cannot be written, it ends here");
            *log = None;
        }
    }
}
