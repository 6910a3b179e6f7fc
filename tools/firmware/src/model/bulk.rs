// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device's table of bulk keys, which the fast path uses (section 8.1).

use std::sync::Arc;

use aes::{Aes256, cipher::KeyInit};
use azihsm_ddi::AesKeySize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::FunctionId;

/// Resources of the device.
const RESOURCES: u16 = 65;

/// Bulk keys per resource.
const SLOTS: u16 = 7;

/// Bits of a bulk key id below the resource.
const SLOT_BITS: u32 = 3;

/// What a bulk key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BulkKind {
    /// XTS; also the type that a slot shows before it is used for the first time.
    #[default]
    Xts,
    /// GCM, the device draws the IV.
    GcmApproved,
    /// GCM, the host gives the IV.
    GcmUnapproved,
}

impl BulkKind {
    /// Returns the kind that keys of `size` have, if they are bulk keys.
    pub(super) fn of(size: AesKeySize) -> Option<Self> {
        match size {
            AesKeySize::XtsBulk256 => Some(Self::Xts),
            AesKeySize::GcmBulk256 => Some(Self::GcmApproved),
            AesKeySize::GcmBulk256Unapproved => Some(Self::GcmUnapproved),
            _ => None,
        }
    }
}

/// A bulk key, with what a command has to match.
pub(super) struct BulkKey {
    /// Function that owns the key.
    pub(super) owner: FunctionId,
    /// Session that made the key.
    pub(super) session_id: u16,
    /// Application of that session.
    pub(super) short_app_id: u8,
    /// Whether only that session may use the key.
    pub(super) session_only: bool,
    /// The cipher, ready to use.
    pub(super) cipher: Aes256,
    bytes: Zeroizing<[u8; 32]>,
}

impl BulkKey {
    pub(super) fn new(
        owner: FunctionId,
        session_id: u16,
        short_app_id: u8,
        session_only: bool,
        bytes: Zeroizing<[u8; 32]>,
    ) -> Self {
        let cipher = Aes256::new((&*bytes).into());
        Self {
            owner,
            session_id,
            short_app_id,
            session_only,
            cipher,
            bytes,
        }
    }

    /// Whether both keys have the same bytes.
    pub(super) fn same_bytes(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }
}

impl std::fmt::Debug for BulkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkKey")
            .field("owner", &self.owner)
            .field("session_id", &self.session_id)
            .field("session_only", &self.session_only)
            .finish_non_exhaustive()
    }
}

/// A slot. Deleting a key takes the owner and the key, but leaves the type.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// Type of the key that is or was in the slot.
    pub(super) kind: BulkKind,
    /// The key.
    pub(super) key: Option<Arc<BulkKey>>,
}

/// All slots of the device.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

impl Default for Slots {
    fn default() -> Self {
        Self(vec![Slot::default(); usize::from(RESOURCES * SLOTS)])
    }
}

/// Returns the index of a bulk key id, if there is such a slot.
fn index(id: u32) -> Option<usize> {
    let (resource, slot) = (id >> SLOT_BITS, id & ((1 << SLOT_BITS) - 1));
    let valid = resource < RESOURCES.into() && slot < SLOTS.into();
    usize::try_from(resource * u32::from(SLOTS) + slot)
        .ok()
        .filter(|_| valid)
}

impl Slots {
    /// Looks a slot up.
    pub(super) fn get(&self, id: u32) -> Option<&Slot> {
        self.0.get(index(id)?)
    }

    /// Puts a key in the lowest free slot of the resources `owned`, and returns its id.
    pub(super) fn insert(&mut self, owned: u128, kind: BulkKind, key: BulkKey) -> Option<u16> {
        let (id, slot) = ids(owned).find_map(|id| {
            let index = index(id.into())?;
            self.0
                .get(index)
                .is_some_and(|slot| slot.key.is_none())
                .then_some((id, index))
        })?;
        *self.0.get_mut(slot)? = Slot {
            kind,
            key: Some(Arc::new(key)),
        };
        Some(id)
    }

    /// Takes the key out of a slot. Commands that run finish with it.
    pub(super) fn remove(&mut self, id: u16) {
        if let Some(slot) = index(id.into()).and_then(|index| self.0.get_mut(index)) {
            slot.key = None;
        }
    }
}

/// Returns the bulk key ids of the resources `owned`.
fn ids(owned: u128) -> impl Iterator<Item = u16> {
    (0..RESOURCES)
        .filter(move |resource| (owned >> resource) & 1 == 1)
        .flat_map(|resource| (0..SLOTS).map(move |slot| (resource << SLOT_BITS) | slot))
}

/// Whether a bulk key id belongs to one of the resources `owned`.
pub(super) fn is_owned(owned: u128, id: u16) -> bool {
    (owned >> (id >> SLOT_BITS)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> BulkKey {
        BulkKey::new(FunctionId(1), 0, 0, false, Zeroizing::new([byte; 32]))
    }

    #[test]
    fn ids_are_slot_and_resource() {
        let mut slots = Slots::default();
        let owned = 0b1010;
        let ids: Vec<_> = (0..15)
            .map(|byte| slots.insert(owned, BulkKind::Xts, key(byte)))
            .collect();
        let mut expected: Vec<_> = (0..7).map(|slot| Some((1 << 3) | slot)).collect();
        expected.extend((0..7).map(|slot| Some((3 << 3) | slot)));
        expected.push(None);
        assert_eq!(ids, expected);
        slots.remove((1 << 3) | 4);
        assert_eq!(
            slots.insert(owned, BulkKind::Xts, key(99)),
            Some((1 << 3) | 4)
        );
    }

    #[test]
    fn ids_out_of_range_have_no_slot() {
        let slots = Slots::default();
        assert!(slots.get((64 << 3) | 6).is_some());
        for id in [7, 65 << 3, 0x3ff, 0x400, u32::MAX] {
            assert!(slots.get(id).is_none(), "{id}");
        }
    }

    #[test]
    fn deleted_key_leaves_its_type() {
        let mut slots = Slots::default();
        let id = slots.insert(1, BulkKind::GcmApproved, key(1)).unwrap();
        slots.remove(id);
        let slot = slots.get(id.into()).unwrap();
        assert!(slot.key.is_none());
        assert_eq!(slot.kind, BulkKind::GcmApproved);
    }
}
