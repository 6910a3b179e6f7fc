// SPDX-License-Identifier: GPL-2.0-or-later

//! Counters of what the device did, and the list of protocol violations by the host.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

/// Number of violations whose description is kept; later ones are only counted.
pub const VIOLATION_LIST_MAX: usize = 100;

/// A counter that many threads increment.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // Relaxed: a counter orders nothing.
        self.0.fetch_add(n, Relaxed);
    }

    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What the device counts; the names are those of the JSON output.
#[derive(Debug, Default)]
#[allow(
    missing_docs,
    reason = "documented once, with the JSON output in README.md"
)]
pub struct Stats {
    pub commands_admin: Counter,
    pub commands_cp: Counter,
    pub commands_fp: Counter,
    pub failed_admin: Counter,
    pub failed_cp: Counter,
    pub failed_fp: Counter,
    pub doorbell_writes_sq: Counter,
    pub doorbell_writes_cq: Counter,
    pub interrupts: Counter,
    pub cq_stalls: Counter,
    pub dma_bytes_read: Counter,
    pub dma_bytes_written: Counter,
    pub enables: Counter,
    pub disables: Counter,
    pub subsystem_resets: Counter,
    pub function_resets: Counter,
    pub violations: Counter,
    pub consequences: Counter,
    violation_list: Mutex<Vec<String>>,
    consequence_list: Mutex<Vec<String>>,
    internal_errors: Mutex<Vec<String>>,
    private_memory: AtomicBool,
}

/// The JSON output; see README.md for the meaning of each member.
#[derive(Clone, Debug, Serialize)]
#[allow(
    missing_docs,
    reason = "documented once, with the JSON output in README.md"
)]
pub struct Snapshot {
    pub commands_admin: u64,
    pub commands_cp: u64,
    pub commands_fp: u64,
    pub failed_admin: u64,
    pub failed_cp: u64,
    pub failed_fp: u64,
    pub doorbell_writes_sq: u64,
    pub doorbell_writes_cq: u64,
    pub interrupts: u64,
    pub cq_stalls: u64,
    pub dma_bytes_read: u64,
    pub dma_bytes_written: u64,
    pub enables: u64,
    pub disables: u64,
    pub subsystem_resets: u64,
    pub function_resets: u64,
    pub sessions: u64,
    pub violations: u64,
    pub violation_list: Vec<String>,
    pub consequences: u64,
    pub consequence_list: Vec<String>,
    pub internal_errors: Vec<String>,
    pub private_guest_memory: bool,
    pub firmware: String,
    pub insecure_test_key: bool,
    pub strict: bool,
}

impl Stats {
    /// Records that the host broke the protocol.
    pub fn violation(&self, text: String) {
        tracing::warn!("violation: {text}");
        self.violations.inc();
        let mut list = self.violation_list.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Records that the host did what it should not because the device had lied to it.
    pub fn consequence(&self, text: String) {
        tracing::info!("consequence of a fault: {text}");
        self.consequences.inc();
        let mut list = self.consequence_list.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Returns the descriptions of the violations so far.
    pub fn violation_list(&self) -> Vec<String> {
        self.violation_list.lock().clone()
    }

    /// Records a failure of the emulator or its firmware, never the host's fault.
    pub fn internal_error(&self, text: String) {
        tracing::error!("internal error: {text}");
        let mut list = self.internal_errors.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Returns whether the emulator or its firmware failed.
    pub fn has_internal_errors(&self) -> bool {
        !self.internal_errors.lock().is_empty()
    }

    /// Records that guest memory seems to be a private mapping, and says so once.
    pub fn private_memory_seen(&self) {
        if !self.private_memory.swap(true, Relaxed) {
            tracing::error!(
                "an admin command is all zeros: guest memory seems not to be shared with the emulator. Give QEMU's \
                 memory backend the option share=on. (If it has that, the host rang a doorbell before it wrote the \
                 command.)"
            );
        }
    }

    /// Returns whether guest memory seems to be a private mapping.
    pub fn has_private_memory(&self) -> bool {
        self.private_memory.load(Relaxed)
    }

    /// Takes a snapshot; what the counters do not know is filled in by the caller.
    pub fn snapshot(
        &self,
        sessions: u64,
        firmware: &str,
        insecure_test_key: bool,
        strict: bool,
    ) -> Snapshot {
        Snapshot {
            commands_admin: self.commands_admin.get(),
            commands_cp: self.commands_cp.get(),
            commands_fp: self.commands_fp.get(),
            failed_admin: self.failed_admin.get(),
            failed_cp: self.failed_cp.get(),
            failed_fp: self.failed_fp.get(),
            doorbell_writes_sq: self.doorbell_writes_sq.get(),
            doorbell_writes_cq: self.doorbell_writes_cq.get(),
            interrupts: self.interrupts.get(),
            cq_stalls: self.cq_stalls.get(),
            dma_bytes_read: self.dma_bytes_read.get(),
            dma_bytes_written: self.dma_bytes_written.get(),
            enables: self.enables.get(),
            disables: self.disables.get(),
            subsystem_resets: self.subsystem_resets.get(),
            function_resets: self.function_resets.get(),
            sessions,
            violations: self.violations.get(),
            violation_list: self.violation_list(),
            consequences: self.consequences.get(),
            consequence_list: self.consequence_list.lock().clone(),
            internal_errors: self.internal_errors.lock().clone(),
            private_guest_memory: self.has_private_memory(),
            firmware: firmware.to_owned(),
            insecure_test_key,
            strict,
        }
    }
}

impl Snapshot {
    /// Writes the snapshot to `path` as JSON; a reader sees the old or the new content, never a part.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&temporary, text)?;
        fs::rename(&temporary, path)
    }
}
