// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys of a function, as the control path knows them.

use std::collections::BTreeMap;

use azihsm_ddi::{AesKeySize, Status};
use zeroize::Zeroizing;

/// Keys that a function can hold.
const MAX_KEYS: usize = 256;

/// A key.
pub(super) struct Key {
    pub(super) size: AesKeySize,
    pub(super) tag: Option<u16>,
    /// Session that the key goes with.
    pub(super) session_only: Option<u16>,
    /// Slot of a key for the fast path.
    pub(super) bulk_id: Option<u16>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("size", &self.size)
            .field("session_only", &self.session_only)
            .field("bulk_id", &self.bulk_id)
            .finish_non_exhaustive()
    }
}

/// Returns the length in bytes of keys of `size`.
pub(super) fn length(size: AesKeySize) -> Option<usize> {
    match size {
        AesKeySize::Aes128 => Some(16),
        AesKeySize::Aes192 => Some(24),
        AesKeySize::Aes256
        | AesKeySize::XtsBulk256
        | AesKeySize::GcmBulk256
        | AesKeySize::GcmBulk256Unapproved => Some(32),
        _ => None,
    }
}

/// The keys of a function.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<u16, Key>);

impl Keys {
    /// Checks that a key with `tag` can be added, and returns its id.
    pub(super) fn free_id(&self, tag: Option<u16>) -> Result<u16, Status> {
        if tag.is_some() && self.0.values().any(|key| key.tag == tag) {
            return Err(Status::KeyTagAlreadyExists);
        }
        if self.0.len() >= MAX_KEYS {
            return Err(Status::ReachedMaxKeys);
        }
        (0..=u16::MAX)
            .find(|id| !self.0.contains_key(id))
            .ok_or(Status::ReachedMaxKeys)
    }

    pub(super) fn insert(&mut self, id: u16, key: Key) {
        self.0.insert(id, key);
    }

    /// Looks up a key that `session` may use: its own ones and those of the application.
    pub(super) fn get(&self, id: u16, session: u16) -> Result<&Key, Status> {
        self.0
            .get(&id)
            .filter(|key| key.session_only.is_none_or(|owner| owner == session))
            .ok_or(Status::KeyNotFound)
    }

    pub(super) fn remove(&mut self, id: u16) -> Option<Key> {
        self.0.remove(&id)
    }

    /// Takes out the keys that `condition` holds for.
    pub(super) fn take(&mut self, condition: impl Fn(&Key) -> bool) -> Vec<Key> {
        let ids: Vec<u16> = self
            .0
            .iter()
            .filter(|(_, key)| condition(key))
            .map(|(id, _)| *id)
            .collect();
        ids.iter().filter_map(|id| self.0.remove(id)).collect()
    }
}
