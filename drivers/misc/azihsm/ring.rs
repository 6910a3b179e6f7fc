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

    /// Corrects the head: all but the last `unfinished` entries have been fetched.
    ///
    /// For a device that does not report how far it got, although it completes commands.
    pub(crate) fn resync(&mut self, unfinished: u16) {
        if unfinished < self.pending() {
            // INVARIANT: The distance from a valid index to another is lower than the size.
            self.head = self.size.distance(unfinished, self.tail);
        }
    }

    /// Takes over the head that a completion reports.
    ///
    /// # Errors
    ///
    /// Returns [`BadHead`], and changes nothing, if the device cannot have fetched that far or
    /// went backwards.
    #[inline]
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

#[kunit_tests(azihsm_ring)]
mod tests {
    use super::*;

    #[test]
    fn size_has_a_minimum() {
        assert!(Size::new(0).is_none());
        assert!(Size::new(1).is_none());
        assert_eq!(Size::new(2).map(Size::slots), Some(1));
        assert_eq!(Size::new(16).map(Size::zero_based), Some(15));
        assert_eq!(Size::new(u16::MAX).map(Size::slots), Some(u16::MAX - 1));
    }

    #[test]
    fn size_is_clamped() {
        let clamped = |wanted, mqes| Size::clamped(wanted, mqes).map(Size::entries);
        assert_eq!(clamped(16, 1023), Some(16));
        assert_eq!(clamped(4096, 1023), Some(1024));
        assert_eq!(clamped(0, 1023), Some(2));
        assert_eq!(clamped(u32::MAX, u16::MAX), Some(u16::MAX));
        assert_eq!(clamped(16, 1), Some(2));
        // A ring of one entry holds no command.
        assert_eq!(clamped(16, 0), None);
    }

    #[test]
    fn submission_fills_up() -> Result {
        let mut sq = Submission::new(Size::new(4).ok_or(EINVAL)?);
        assert_eq!(sq.pending(), 0);
        assert_eq!(sq.push(), Some(0));
        assert_eq!(sq.push(), Some(1));
        assert!(!sq.is_full());
        assert_eq!(sq.push(), Some(2));
        assert!(sq.is_full());
        assert_eq!(sq.push(), None);
        assert_eq!(sq.tail(), 3);
        assert_eq!(sq.pending(), 3);
        Ok(())
    }

    #[test]
    fn submission_wraps() -> Result {
        let mut sq = Submission::new(Size::new(4).ok_or(EINVAL)?);
        for round in 0..9u16 {
            assert_eq!(sq.push(), Some(round % 4));
            assert_eq!(sq.tail(), (round + 1) % 4);
            assert_eq!(sq.fetched((round + 1) % 4), Ok(()));
            assert_eq!(sq.pending(), 0);
        }
        Ok(())
    }

    #[test]
    fn smallest_ring_works() -> Result {
        let mut sq = Submission::new(Size::new(2).ok_or(EINVAL)?);
        for round in 0..5u16 {
            assert_eq!(sq.push(), Some(round % 2));
            assert_eq!(sq.push(), None);
            assert_eq!(sq.fetched(sq.tail()), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn largest_ring_wraps() -> Result {
        let size = Size::new(u16::MAX).ok_or(EINVAL)?;
        assert_eq!(size.after(u16::MAX - 2), u16::MAX - 1);
        assert_eq!(size.after(u16::MAX - 1), 0);
        assert_eq!(size.distance(u16::MAX - 1, 0), 1);
        assert_eq!(size.distance(1, 0), u16::MAX - 1);
        Ok(())
    }

    #[test]
    fn head_of_the_device_is_checked() -> Result {
        let mut sq = Submission::new(Size::new(8).ok_or(EINVAL)?);
        let bad = |reported, known| Err(BadHead { reported, known });
        // Nothing was submitted, so nothing can have been fetched.
        assert_eq!(sq.fetched(1), bad(1, 0));
        for _ in 0..6 {
            sq.push().ok_or(EINVAL)?;
        }
        assert_eq!(sq.fetched(4), Ok(()));
        // The same head again is fine: several commands may be fetched at once.
        assert_eq!(sq.fetched(4), Ok(()));
        // Backwards, past the tail, outside the ring.
        assert_eq!(sq.fetched(3), bad(3, 4));
        assert_eq!(sq.fetched(7), bad(7, 4));
        assert_eq!(sq.fetched(8), bad(8, 4));
        assert_eq!(sq.fetched(u16::MAX), bad(u16::MAX, 4));
        assert_eq!(sq.pending(), 2);
        // Across the end of the ring.
        for _ in 0..5 {
            sq.push().ok_or(EINVAL)?;
        }
        assert!(sq.is_full());
        assert_eq!(sq.tail(), 3);
        assert_eq!(sq.fetched(1), Ok(()));
        assert_eq!(sq.fetched(7), bad(7, 1));
        assert_eq!(sq.fetched(3), Ok(()));
        Ok(())
    }

    #[test]
    fn head_is_corrected_by_what_completed() -> Result {
        let mut sq = Submission::new(Size::new(4).ok_or(EINVAL)?);
        for _ in 0..3 {
            sq.push().ok_or(EINVAL)?;
        }
        assert!(sq.is_full());
        // Nothing completed: it is full.
        sq.resync(3);
        assert!(sq.is_full());
        sq.resync(2);
        assert_eq!(sq.pending(), 2);
        assert_eq!(sq.push(), Some(3));
        assert_eq!(sq.tail(), 0);
        sq.resync(1);
        assert_eq!(sq.pending(), 1);
        // Never backwards.
        sq.resync(3);
        assert_eq!(sq.pending(), 1);
        sq.resync(0);
        assert_eq!(sq.pending(), 0);
        Ok(())
    }

    #[test]
    fn completion_phase_inverts_on_wrap() -> Result {
        let mut cq = Completion::new(Size::new(3).ok_or(EINVAL)?);
        for round in 0..12u16 {
            // A zeroed ring has no new entry in the first round.
            let phase = (round / 3) % 2 == 0;
            assert_eq!(cq.head(), round % 3);
            assert!(cq.is_new(phase));
            assert!(!cq.is_new(!phase));
            cq.advance();
        }
        Ok(())
    }
}
