// SPDX-License-Identifier: GPL-2.0-or-later

//! The device behind its functions: resources, firmware, settings, counters, and the thread of the state machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use azihsm_firmware::{Firmware, FunctionId};
use parking_lot::Mutex;

use crate::config::Config;
use crate::controller::{Event, Machine};
use crate::doorbells;
use crate::faults::Faults;
use crate::function::{Function, Role};
use crate::resources::Resources;
use crate::stats::{Counts, FunctionSnapshot, SessionSnapshot, Snapshot, Stats};

/// Longest time a reset by the client may take; QEMU gives up on its server after 5 s.
const RESET_LIMIT: Duration = Duration::from_secs(3);

/// What all functions share.
pub struct Core {
    pub(crate) config: Config,
    pub(crate) firmware: Arc<dyn Firmware>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) resources: Mutex<Resources>,
    pub(crate) faults: Faults,
    functions: OnceLock<Vec<Weak<Function>>>,
    events: Mutex<Sender<Event>>,
}

impl Core {
    /// Queues an event for the state machine.
    pub(crate) fn send(&self, event: Event) {
        // The receiver lives as long as the device; after that nobody is left to care.
        let _ = self.events.lock().send(event);
    }

    /// Returns the functions of the device.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Arc<Function>> + '_ {
        self.functions
            .get()
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
    }

    /// Returns a function by its controller id, if the device has it.
    pub(crate) fn function(&self, id: FunctionId) -> Option<Arc<Function>> {
        self.functions().find(|f| f.id() == id)
    }

    /// Calls the firmware; a panic there ends the command, not the queue.
    pub(crate) fn call<T>(&self, what: &str, call: impl FnOnce(&dyn Firmware) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| call(&*self.firmware)));
        if result.is_err() {
            self.stats
                .internal_error(format!("the firmware panicked in {what}"));
        }
        result.ok()
    }
}

/// A function to create.
#[derive(Clone, Copy, Debug)]
pub struct FunctionConfig {
    /// Controller id.
    pub id: FunctionId,
    /// PF or VF.
    pub role: Role,
    /// Resources assigned at power-up.
    pub resources: usize,
}

/// The emulated device.
pub struct Device {
    core: Arc<Core>,
    functions: Vec<Arc<Function>>,
    machine: Option<JoinHandle<()>>,
}

impl Device {
    /// Powers up a device with the given functions.
    ///
    /// VF n has controller id n + 1. If there is a PF it enables the VFs with its SR-IOV capability; if there is none
    /// they are there from the start.
    ///
    /// # Errors
    ///
    /// A thread, or the memory of its doorbells, cannot be had.
    pub fn new(
        config: Config,
        firmware: Arc<dyn Firmware>,
        stats: Arc<Stats>,
        functions: &[FunctionConfig],
    ) -> std::io::Result<Self> {
        let (events, receiver) = mpsc::channel();
        let core = Arc::new(Core {
            config,
            firmware,
            stats,
            resources: Mutex::default(),
            faults: Faults::default(),
            functions: OnceLock::new(),
            events: Mutex::new(events),
        });
        let has_pf = functions.iter().any(|f| f.role == Role::Pf);
        let vfs = functions.iter().filter(|f| f.role == Role::Vf).count() as u16;
        let functions: Vec<Arc<Function>> = functions
            .iter()
            .map(|&f| Function::new(f, has_pf, vfs, Arc::clone(&core)).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let _ = core
            .functions
            .set(functions.iter().map(Arc::downgrade).collect());
        if core.config.fast {
            functions.iter().try_for_each(doorbells::watch)?;
        }
        let machine = Machine::new(Arc::clone(&core), functions.clone());
        machine.power_up();
        let machine = thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || machine.run(&receiver))?;
        Ok(Device {
            core,
            functions,
            machine: Some(machine),
        })
    }

    /// Returns the functions in the order they were given.
    pub fn functions(&self) -> &[Arc<Function>] {
        &self.functions
    }

    /// Returns what the whole device records.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.core.stats
    }

    /// Returns the faults.
    pub fn faults(&self) -> &Faults {
        &self.core.faults
    }

    /// Has the state machine look at the registers of every function.
    pub(crate) fn look_again(&self) {
        for function in &self.functions {
            self.core.send(Event::Look(function.id()));
        }
    }

    /// Returns the sessions of each function, in the order of the functions.
    pub fn sessions(&self) -> Vec<Vec<SessionSnapshot>> {
        self.functions.iter().map(|f| f.sessions()).collect()
    }

    /// Takes a snapshot of all counters; what they do not know is told by the caller.
    pub fn snapshot(
        &self,
        sessions: &[Vec<SessionSnapshot>],
        firmware: &str,
        insecure_test_key: bool,
    ) -> Snapshot {
        let sessions_of = |index| sessions.get(index).cloned().unwrap_or_default();
        let functions: Vec<FunctionSnapshot> = (0..)
            .zip(&self.functions)
            .map(|(index, f)| f.snapshot(sessions_of(index)))
            .collect();
        let mut counts = Counts::default();
        functions.iter().for_each(|f| counts += f.counts);
        let stats = &self.core.stats;
        Snapshot {
            counts,
            sessions: functions.iter().map(|f| f.sessions.len() as u64).sum(),
            violation_list: stats.violation_list(),
            consequence_list: stats.consequence_list(),
            internal_errors: stats.internal_errors(),
            private_guest_memory: stats.has_private_memory(),
            firmware: firmware.to_owned(),
            insecure_test_key,
            strict: self.core.config.strict,
            functions,
        }
    }

    /// Resets a function, as the bus does, and waits until that is done: a VF alone, any other with everything, like
    /// a power cycle.
    ///
    /// # Errors
    ///
    /// The device does not come to rest in time.
    pub fn reset(&self, function: &Function) -> std::io::Result<()> {
        let (reply, done) = mpsc::channel();
        if function.is_of_pf() {
            function.begin_reset(|_| true);
            function.forgive_lost_queues();
            self.core.send(Event::VfReset(function.id(), Some(reply)));
        } else {
            for function in &self.functions {
                function.begin_device_reset();
            }
            self.core.send(Event::PowerCycle(reply));
        }
        done.recv_timeout(RESET_LIMIT).map_err(|_| {
            std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "the device does not finish its reset",
            )
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for function in &self.functions {
            function.silence(|_| true);
        }
        self.core.send(Event::Stop);
        if let Some(machine) = self.machine.take() {
            let _ = machine.join();
        }
        for function in &self.functions {
            function.silence(|_| true);
        }
    }
}
