// SPDX-License-Identifier: GPL-2.0

//! What travels between the driver and the device, byte for byte.
//!
//! Submission entries are built whole from typed values, completion entries are parsed into plain
//! structures. Nothing here touches a device; nothing here trusts one. All fields on the wire are
//! little-endian.

use kernel::prelude::*;

pub(crate) mod admin;
pub(crate) mod aes;
pub(crate) mod control;
pub(crate) mod identify;
pub(crate) mod sgl;

/// Number of doorbell pairs in BAR2, and so one more than the highest queue id.
pub(crate) const MAX_QUEUES: u16 = 512;

/// Id of the first fast-path queue.
const FIRST_AES: u16 = 256;

/// The kinds of queues, which differ in entry sizes, ids and vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The admin queue, id 0.
    Admin,
    /// Control-path (CP) queues, ids 1 to 255.
    Control,
    /// Fast-path (FP) queues, ids 256 to 511.
    Aes,
}

/// Id of a submission queue and of the completion queue with the same id.
///
/// # Invariants
///
/// The id is lower than [`MAX_QUEUES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueId(u16);

impl QueueId {
    /// The admin queue.
    // INVARIANT: 0 is lower than `MAX_QUEUES`.
    pub(crate) const ADMIN: Self = Self(0);

    /// Returns the id of control-path queue number `index`, counted from 0.
    pub(crate) fn control(index: u16) -> Option<Self> {
        if index < FIRST_AES - 1 {
            // INVARIANT: The id is at most 255.
            Some(Self(index + 1))
        } else {
            None
        }
    }

    /// Returns the id of fast-path queue number `index`, counted from 0.
    pub(crate) fn aes(index: u16) -> Option<Self> {
        if index < MAX_QUEUES - FIRST_AES {
            // INVARIANT: The id is at most 511.
            Some(Self(FIRST_AES + index))
        } else {
            None
        }
    }

    /// Returns the id as it stands on the wire.
    pub(crate) fn raw(self) -> u16 {
        self.0
    }
}

/// Command id: names one outstanding command of a queue.
///
/// The low byte is the number of a slot. The high byte changes whenever the slot is used again, so
/// that a late completion of a command that was given up is not taken for that of its successor.
///
/// In a completion it is what the device wrote, so it may be anything: look it up with `get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cid(pub(crate) u16);

impl Cid {
    /// Returns the command id of use number `generation`, modulo 256, of slot `index`.
    pub(crate) fn new(index: u8, generation: u8) -> Self {
        Self(u16::from_le_bytes([index, generation]))
    }

    /// Returns the number of the slot that this command id stands for.
    pub(crate) fn index(self) -> usize {
        let [index, _] = self.0.to_le_bytes();
        usize::from(index)
    }

    /// Returns which use of the slot this is.
    pub(crate) fn generation(self) -> u8 {
        let [_, generation] = self.0.to_le_bytes();
        generation
    }
}

/// Controller id: 0 for the physical function, n + 1 for virtual function n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CtrlId(pub(crate) u16);

/// Id of a session of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) u16);

/// Short id of the application that opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortAppId(pub(crate) u8);

/// Id of a bulk key, as the device handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(crate) u32);

/// A submission queue entry.
pub(crate) trait Sqe:
    Copy
    + zerocopy::FromBytes
    + zerocopy::IntoBytes
    + kernel::transmute::AsBytes
    + kernel::transmute::FromBytes
{
    /// Returns the command id of the entry.
    fn cid(&self) -> Cid;
}

/// The part of a completion queue entry that is common to all kinds of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Command that completed.
    pub(crate) cid: Cid,
    /// Number of submission entries fetched by the device, modulo the size of the queue.
    pub(crate) sq_head: u16,
    /// Id of the submission queue.
    pub(crate) sq_id: u16,
    /// Phase bit.
    pub(crate) phase: bool,
}

/// A completion queue entry, as copied from the ring.
///
/// The last field of every implementor is a plain `status: u16` with the phase in bit 0.
pub(crate) trait Cqe:
    Copy
    + zerocopy::FromBytes
    + zerocopy::IntoBytes
    + kernel::transmute::AsBytes
    + kernel::transmute::FromBytes
{
    /// The entry as it is copied from the ring: what consists of bytes is copied byte by byte.
    type Words: Copy
        + zerocopy::FromBytes
        + zerocopy::IntoBytes
        + kernel::transmute::AsBytes
        + kernel::transmute::FromBytes;

    /// Returns the entry that was copied.
    fn from_words(words: &Self::Words) -> &Self;

    /// Returns which command completed and how the rings moved.
    fn route(&self) -> Route;

    /// Returns whether the device reports anything but success.
    fn failed(&self) -> bool;
}

/// The entries of one class of queues.
pub(crate) trait Entries: 'static {
    /// Class of these queues.
    const CLASS: Class;
    /// Entry of the submission queue.
    type Sqe: Sqe;
    /// Entry of the completion queue.
    type Cqe: Cqe;
}

#[kunit_tests(azihsm_wire)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_device() {
        assert_eq!(QueueId::ADMIN.raw(), 0);
        assert_eq!(QueueId::control(0).map(QueueId::raw), Some(1));
        assert_eq!(QueueId::control(254).map(QueueId::raw), Some(255));
        assert_eq!(QueueId::aes(0).map(QueueId::raw), Some(256));
        assert_eq!(QueueId::aes(255).map(QueueId::raw), Some(511));
    }

    #[test]
    fn command_ids_name_slot_and_use() {
        let cid = Cid::new(254, 7);
        assert_eq!(cid.0, 0x07fe);
        assert_eq!(cid.index(), 254);
        assert_eq!(cid.generation(), 7);
        assert_eq!(Cid(u16::MAX).index(), 255);
    }

    #[test]
    fn ids_without_doorbell_do_not_exist() {
        assert!(QueueId::control(255).is_none());
        assert!(QueueId::control(u16::MAX).is_none());
        assert!(QueueId::aes(256).is_none());
        assert!(QueueId::aes(u16::MAX).is_none());
    }
}
