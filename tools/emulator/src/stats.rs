// SPDX-License-Identifier: GPL-2.0-or-later

//! Counters of what the device did, by function, and the list of protocol violations by the host.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use azihsm_firmware::SessionInfo;
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

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        /// What a function counts; the names are those of the JSON output.
        #[derive(Debug, Default)]
        #[allow(
            missing_docs,
            reason = "documented once, with the JSON output in README.md"
        )]
        pub struct Counters {
            $(pub $name: Counter,)+
        }

        impl Counters {
            /// Returns the values.
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.get(),)+ }
            }
        }

        /// Values of [`Counters`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[allow(
            missing_docs,
            reason = "documented once, with the JSON output in README.md"
        )]
        pub struct Counts {
            $(pub $name: u64,)+
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    commands_admin,
    commands_cp,
    commands_fp,
    failed_admin,
    failed_cp,
    failed_fp,
    service_ns_cp,
    service_ns_fp,
    doorbell_writes_sq,
    doorbell_writes_cq,
    interrupts,
    cq_stalls,
    dma_bytes_read,
    dma_bytes_written,
    enables,
    disables,
    subsystem_resets,
    function_resets,
    violations,
    consequences,
}

/// What the whole device records: everything that needs words.
#[derive(Debug, Default)]
pub struct Stats {
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
    /// The sums over all functions.
    #[serde(flatten)]
    pub counts: Counts,
    pub sessions: u64,
    pub violation_list: Vec<String>,
    pub consequence_list: Vec<String>,
    pub internal_errors: Vec<String>,
    pub private_guest_memory: bool,
    pub firmware: String,
    pub insecure_test_key: bool,
    pub strict: bool,
    pub functions: Vec<FunctionSnapshot>,
}

/// The part of the JSON output that is about one function.
#[derive(Clone, Debug, Serialize)]
#[allow(
    missing_docs,
    reason = "documented once, with the JSON output in README.md"
)]
pub struct FunctionSnapshot {
    pub controller_id: u16,
    pub resources: usize,
    pub ready: bool,
    pub sessions: Vec<SessionSnapshot>,
    #[serde(flatten)]
    pub counts: Counts,
    pub queues: BTreeMap<u16, u64>,
}

/// A session in the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(
    missing_docs,
    reason = "documented once, with the JSON output in README.md"
)]
pub struct SessionSnapshot {
    pub id: u16,
    pub needs_renegotiation: bool,
}

impl From<&SessionInfo> for SessionSnapshot {
    fn from(session: &SessionInfo) -> Self {
        SessionSnapshot {
            id: session.id,
            needs_renegotiation: session.needs_renegotiation,
        }
    }
}

impl Stats {
    /// Describes a violation of the protocol by the host; who counts them is the function.
    pub(crate) fn violation(&self, text: String) {
        tracing::warn!("violation: {text}");
        let mut list = self.violation_list.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Describes what the host did wrong because the device had lied to it; who counts them is the function.
    pub(crate) fn consequence(&self, text: String) {
        tracing::info!("consequence of a fault: {text}");
        let mut list = self.consequence_list.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Returns the descriptions of the violations so far.
    pub fn violation_list(&self) -> Vec<String> {
        self.violation_list.lock().clone()
    }

    /// Returns the descriptions of the consequences so far.
    pub fn consequence_list(&self) -> Vec<String> {
        self.consequence_list.lock().clone()
    }

    /// Records a failure of the emulator or its firmware, never the host's fault.
    pub fn internal_error(&self, text: String) {
        tracing::error!("internal error: {text}");
        let mut list = self.internal_errors.lock();
        if list.len() < VIOLATION_LIST_MAX {
            list.push(text);
        }
    }

    /// Returns the descriptions of the failures so far.
    pub fn internal_errors(&self) -> Vec<String> {
        self.internal_errors.lock().clone()
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
