// SPDX-License-Identifier: MIT OR Apache-2.0

//! State of one function and what changes it (section 9.3).

use std::sync::{Arc, PoisonError};

use azihsm_ddi::{SessionKind, Status};

use super::{
    Shared,
    access::Access,
    bulk,
    key::{Key, Keys},
    partition::Partition,
    session::{Sessions, State},
};
use crate::{FunctionId, SessionInfo, SessionResult, StateChange, Undo};

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) id: FunctionId,
    pub(super) shared: Arc<Shared>,
    pub(super) enabled: bool,
    /// Resources owned, bit i for resource i of the device.
    pub(super) owned: u128,
    /// Exists as long as the function owns resources.
    pub(super) partition: Option<Partition>,
    pub(super) access: Access,
    pub(super) sessions: Sessions,
    pub(super) keys: Keys,
}

impl Function {
    pub(super) fn new(id: FunctionId, shared: Arc<Shared>) -> Self {
        Self {
            id,
            shared,
            enabled: false,
            owned: 0,
            partition: None,
            access: Access::new(),
            sessions: Sessions::default(),
            keys: Keys::default(),
        }
    }

    /// Returns the partition, which every function with queues has.
    pub(super) fn partition(&mut self) -> Result<&mut Partition, Status> {
        self.partition
            .as_mut()
            .ok_or(Status::PartitionNotProvisioned)
    }

    /// Carries out a state change.
    pub(super) fn change(&mut self, change: StateChange) {
        match change {
            StateChange::Enable => self.enabled = true,
            StateChange::Disable | StateChange::Flr => self.reset(),
            StateChange::Nssr => {
                self.reset();
                if let Some(partition) = &mut self.partition {
                    partition.forget();
                }
            }
            StateChange::Resources { owned, guid } => self.set_resources(owned, guid),
        }
    }

    /// Erases keys and credential, and reserves the sessions.
    fn reset(&mut self) {
        self.enabled = false;
        self.erase_keys(|_| true);
        self.access = Access::new();
        self.sessions.reset();
    }

    fn set_resources(&mut self, owned: u128, guid: [u8; 16]) {
        // The keys in slots of resources that go are lost.
        self.erase_keys(|key| key.bulk_id.is_some_and(|id| !bulk::is_owned(owned, id)));
        self.owned = owned;
        if owned == 0 {
            self.erase_keys(|_| true);
            self.access = Access::new();
            self.sessions = Sessions::default();
            self.partition = None;
        } else if self.partition.is_none() {
            self.partition = Partition::new(guid).ok();
        }
    }

    /// Deletes the keys that `condition` holds for, and empties their slots.
    pub(super) fn erase_keys(&mut self, condition: impl Fn(&Key) -> bool) {
        let keys = self.keys.take(condition);
        self.empty_slots(keys.iter().filter_map(|key| key.bulk_id));
    }

    /// Takes the bulk keys out of slots.
    pub(super) fn empty_slots(&self, ids: impl Iterator<Item = u16>) {
        let mut slots = self
            .shared
            .slots
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        ids.for_each(|id| slots.remove(id));
    }

    /// Closes a session or gives up its reservation, and returns what it was.
    pub(super) fn close(&mut self, session_id: u16) -> Option<State> {
        self.erase_keys(|key| key.session_only == Some(session_id));
        self.sessions.free(session_id)
    }

    /// Flushes a session (section 6.6).
    pub(super) fn flush(&mut self, session_id: u16) -> (u16, SessionResult) {
        let live = self.close(session_id) == Some(State::Live);
        let kind = if live { SessionKind::Close as u8 } else { 0 };
        let (id_valid, safe_to_close) = (live, live);
        (
            0,
            SessionResult {
                kind,
                id_valid,
                safe_to_close,
                session_id,
                ..Default::default()
            },
        )
    }

    /// Rolls back a command whose response was lost.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Session(id) => drop(self.close(id)),
            Undo::Key(id) => {
                let key = self.keys.remove(id);
                self.empty_slots(key.and_then(|key| key.bulk_id).into_iter());
            }
        }
    }

    /// Returns the sessions that exist.
    pub(super) fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions.list()
    }
}
