// SPDX-License-Identifier: MIT OR Apache-2.0

//! The firmware model: what the HSM does, in software, with real cryptography.
//!
//! Section numbers in this module refer to the device model.
//!
//! # Locks
//!
//! Every function has a lock that a control command or a state change holds while it runs; commands of different
//! functions do not meet. Bulk keys live in one table for the whole device, behind a lock that is held only to look
//! a key up or to change a slot: bulk cryptography runs with no lock at all. Order: function, then bulk keys.

mod access;
mod agreement;
mod blob;
mod bulk;
mod config;
mod control;
mod fast;
mod function;
mod gcm;
mod handlers;
mod key;
mod migration;
mod partition;
mod session;
mod xts;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use crate::{
    ControlRequest, ControlResponse, FastRequest, FastResponse, Firmware, FunctionId, SessionInfo,
    SessionResult, StateChange, Undo,
};

use bulk::Slots;
use config::Config;
pub use config::{Builder, LoginPolicy};
use function::Function;

/// Firmware that runs in this process.
///
/// A function starts without resources and disabled: tell it its resources, then enable it.
///
/// ```
/// use azihsm_firmware::{Firmware, FunctionId, Model, StateChange};
///
/// let model = Model::builder().build();
/// model.state(FunctionId(1), StateChange::Resources { owned: 0b1111, guid: [0; 16] });
/// model.state(FunctionId(1), StateChange::Enable);
/// assert!(model.sessions(FunctionId(1)).is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Model {
    shared: Arc<Shared>,
    functions: Mutex<HashMap<FunctionId, Arc<Mutex<Function>>>>,
}

/// What all functions share.
#[derive(Debug, Default)]
struct Shared {
    config: Config,
    slots: RwLock<Slots>,
}

impl Model {
    /// Starts to configure a model.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(config: Config) -> Self {
        let shared = Shared {
            config,
            slots: RwLock::default(),
        };
        Self {
            shared: Arc::new(shared),
            functions: Mutex::default(),
        }
    }

    /// Runs `f` on a function, which is created when it is named for the first time.
    fn with<R>(&self, id: FunctionId, f: impl FnOnce(&mut Function) -> R) -> R {
        let function = lock(&self.functions)
            .entry(id)
            .or_insert_with(|| Arc::new(Mutex::new(Function::new(id, self.shared.clone()))))
            .clone();
        f(&mut lock(&function))
    }
}

/// Locks `mutex`; a panic elsewhere while it was held does not take the rest of the device down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Firmware for Model {
    fn control(&self, function: FunctionId, request: ControlRequest) -> ControlResponse {
        self.with(function, |function| function.control(&request))
    }

    fn undo(&self, function: FunctionId, undo: Undo) {
        self.with(function, |function| function.undo(undo));
    }

    fn flush(&self, function: FunctionId, session_id: u16) -> (u16, SessionResult) {
        self.with(function, |function| function.flush(session_id))
    }

    fn fast(&self, function: FunctionId, request: FastRequest) -> FastResponse {
        fast::run(&self.shared, function, request)
    }

    fn state(&self, function: FunctionId, change: StateChange) {
        tracing::debug!(function = function.0, ?change, "state change");
        self.with(function, |function| function.change(change));
    }

    fn sessions(&self, function: FunctionId) -> Vec<SessionInfo> {
        self.with(function, |function| function.sessions())
    }

    fn save(&self, function: FunctionId) -> Option<Vec<u8>> {
        let saved = self.with(function, |function| migration::save(function));
        saved
            .inspect_err(|status| tracing::warn!(function = function.0, ?status, "no context"))
            .ok()
    }

    fn restore(&self, function: FunctionId, context: &[u8]) -> bool {
        let restored = self.with(function, |function| migration::restore(function, context));
        restored
            .inspect_err(|status| tracing::warn!(function = function.0, ?status, "bad context"))
            .is_ok()
    }
}
