// SPDX-License-Identifier: GPL-2.0

//! Arithmetic of submission and completion rings: indices, wrap, phase.
//!
//! Values that come from the device are checked against what it can have done; the rest of the
//! driver sees only indices that lie inside the ring.

use kernel::prelude::*;

/// Number of entries of a ring.
///
/// # Invariants
///
/// At least 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(u16);

impl Size {
    /// Returns a size of `entries` entries if a ring may have that many.
    pub(crate) const fn new(entries: u16) -> Option<Self> {
        if entries >= 2 {
            // INVARIANT: Just checked.
            Some(Self(entries))
        } else {
            None
        }
    }

    /// Returns the size closest to `wanted` that the driver and the device allow.
    ///
    /// `mqes` is the 0-based maximum that the device reports. Returns [`None`] if the device
    /// does not allow any ring.
    pub(crate) fn clamped(wanted: u32, mqes: u16) -> Option<Self> {
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX).max(2);
        Self::new(wanted.min(mqes.saturating_add(1)))
    }

    /// Returns the number of entries.
    pub(crate) const fn entries(self) -> u16 {
        self.0
    }

    /// Returns the number of commands that may be outstanding.
    pub(crate) const fn slots(self) -> u16 {
        // The invariant makes this positive.
        self.0 - 1
    }

    /// Returns the size as it stands on the wire.
    pub(crate) const fn zero_based(self) -> u16 {
        self.0 - 1
    }

    /// Returns the index after `index`.
    const fn after(self, index: u16) -> u16 {
        // An index is lower than the size, so it is not `u16::MAX`.
        let next = index.wrapping_add(1);
        if next >= self.0 {
            0
        } else {
            next
        }
    }

    /// Returns the number of steps from index `from` to index `to`.
    const fn distance(self, from: u16, to: u16) -> u16 {
        if to >= from {
            to - from
        } else {
            // `to < from < size`, so this neither underflows nor overflows.
            self.0 - from + to
        }
    }
}

/// The driver's side of a submission ring.
///
/// # Invariants
///
/// `head` and `tail` are lower than the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submission {
    size: Size,
    head: u16,
    tail: u16,
}

/// A submission head that the device cannot have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead {
    /// What the device reported.
    pub(crate) reported: u16,
    /// What it reported before.
    pub(crate) known: u16,
}

impl Submission {
    /// Returns the state of a new ring.
    pub(crate) const fn new(size: Size) -> Self {
        // INVARIANT: 0 is lower than any size.
        Self {
            size,
            head: 0,
            tail: 0,
        }
    }

    /// Returns the value for the tail doorbell.
    pub(crate) fn tail(&self) -> u16 {
        self.tail
    }

    /// Returns the number of entries that the device has not fetched, as far as it said.
    pub(crate) fn pending(&self) -> u16 {
        self.size.distance(self.head, self.tail)
    }

    /// Returns whether no entry can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.size.after(self.tail) == self.head
    }

    /// Takes the next free entry and returns its index, [`None`] if the ring is full.
    ///
    /// The entry is offered to the device when the new [`tail`](Self::tail) is written to the
    /// doorbell.
    pub(crate) fn push(&mut self) -> Option<u16> {
        if self.is_full() {
            return None;
        }
        let index = self.tail;
        // INVARIANT: `after` returns a valid index.
        self.tail = self.size.after(index);
        Some(index)
    }

    /// Takes over the head that a completion reports.
    ///
    /// # Errors
    ///
    /// Returns [`BadHead`], and changes nothing, if the device cannot have fetched that far or
    /// went backwards.
    pub(crate) fn fetched(&mut self, reported: u16) -> Result<(), BadHead> {
        if reported >= self.size.entries()
            || self.size.distance(self.head, reported) > self.pending()
        {
            return Err(BadHead {
                reported,
                known: self.head,
            });
        }
        // INVARIANT: `reported` was checked above.
        self.head = reported;
        Ok(())
    }
}

/// The driver's side of a completion ring.
///
/// # Invariants
///
/// `head` is lower than the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    size: Size,
    head: u16,
    phase: bool,
}

impl Completion {
    /// Returns the state of a new, zeroed ring.
    pub(crate) const fn new(size: Size) -> Self {
        // INVARIANT: 0 is lower than any size.
        Self {
            size,
            head: 0,
            phase: true,
        }
    }

    /// Returns the index of the entry to look at next, also the value for the head doorbell.
    pub(crate) fn head(&self) -> u16 {
        self.head
    }

    /// Returns whether an entry at the head with phase bit `phase` is new.
    pub(crate) fn is_new(&self, phase: bool) -> bool {
        phase == self.phase
    }

    /// Steps past the entry at the head.
    pub(crate) fn advance(&mut self) {
        // INVARIANT: `after` returns a valid index.
        self.head = self.size.after(self.head);
        if self.head == 0 {
            self.phase = !self.phase;
        }
    }
}
