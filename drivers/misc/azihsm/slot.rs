// SPDX-License-Identifier: GPL-2.0

//! Command slots of one queue: who owns which, and what became of the command in it.
//!
//! The table is pure bookkeeping, called under the queue's lock. A slot is handed out once, and
//! comes back only when nobody can refer to its command any more: neither the caller nor the
//! device. The command id names the slot and which use of it this is: an id of an earlier use, from
//! whomever it comes, refers to nothing.
//!
//! ```text
//!   Free -> Owned -> InFlight -> Done -> (taken by the caller) Owned -> Free
//!                        |
//!                        +-> Left (caller gone) -> Leftover -> (taken by the reaper) Owned -> Free
//!
//!   Owned -> Ring -> RingDone -> (taken by the submitter's task) Owned -> Free
//! ```
//!
//! The caller of a command is a task that waits for it, or a ring that is told. What a ring's
//! command needs at its end lies in the slot, as for a command whose caller is gone.

mod uring;

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
};

use crate::wire::Cid;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<C> {
    /// The device completed it.
    Completed(C),
    /// The device lost it: the queue or the controller was reset first.
    Aborted,
}

/// Times of a command at the device.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// When it was submitted.
    pub(crate) submitted: Instant<Monotonic>,
    /// When it has to have ended.
    pub(crate) deadline: Instant<Monotonic>,
}

/// One slot.
struct Entry<C, L, Q> {
    state: State<C, L, Q>,
    /// Which use of the slot this is, or the next one will be.
    generation: u8,
}

/// State of one slot.
enum State<C, L, Q> {
    Free,
    /// Owned by a caller (or the reaper) that has no command at the device.
    Owned,
    /// At the device, the caller waits.
    InFlight(Times),
    /// At the device, the caller is gone.
    Left(Times, L),
    /// Finished, the caller has not looked yet.
    Done(Outcome<C>),
    /// Finished after the caller went away.
    Leftover(Outcome<C>, L),
    /// At the device, a ring is to be told.
    Ring {
        times: Times,
        sequence: u32,
        left: L,
        target: Q,
    },
    /// Finished, the ring was told, and the submitter's task has not looked yet.
    RingDone {
        deadline: Instant<Monotonic>,
        sequence: u32,
        outcome: Outcome<C>,
        left: L,
    },
}

/// Who has to be told about a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify<Q> {
    /// The caller that waits for the slot.
    Waiter(Cid),
    /// The ring that the command came from.
    Ring(Q),
    /// The reaper.
    Reaper,
    /// Nobody: no such command is at the device.
    Stale,
}

/// The slots of a queue.
///
/// `C` is a completion entry, `L` what a caller that goes away leaves in its slot, `Q` what tells a
/// ring.
pub(crate) struct Table<C, L, Q = ()> {
    slots: KVec<Entry<C, L, Q>>,
    /// Free slots; the one used last, whose memory is in the cache, goes out first.
    free: KVec<Cid>,
    /// Commands at the device.
    in_flight: usize,
    /// Those of them that came from rings.
    rings: u32,
    /// Slots in state `Leftover`.
    leftovers: usize,
}

impl<C: Copy, L, Q> Table<C, L, Q> {
    /// Makes a table of `count` free slots.
    pub(crate) fn new(count: u8) -> Result<Self> {
        let len = usize::from(count);
        let mut slots = KVec::with_capacity(len, GFP_KERNEL)?;
        let mut free = KVec::with_capacity(len, GFP_KERNEL)?;
        for index in (0..count).rev() {
            let entry = Entry {
                state: State::Free,
                generation: 0,
            };
            slots.push(entry, GFP_KERNEL)?;
            free.push(Cid::new(index, 0), GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            free,
            in_flight: 0,
            rings: 0,
            leftovers: 0,
        })
    }

    /// Returns the slot of `cid`, unless that is of an earlier use.
    fn get_mut(&mut self, cid: Cid) -> Option<&mut State<C, L, Q>> {
        let entry = self.slots.get_mut(cid.index())?;
        (entry.generation == cid.generation()).then_some(&mut entry.state)
    }

    /// Returns the command id of the present use of each slot.
    fn cids(&self) -> impl Iterator<Item = Cid> + '_ {
        (0u8..=u8::MAX)
            .zip(self.slots.iter())
            .map(|(index, entry)| Cid::new(index, entry.generation))
    }

    /// Returns the number of slots that a new caller could have at once.
    pub(crate) fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes a free slot.
    pub(crate) fn acquire(&mut self) -> Option<Cid> {
        let cid = self.free.pop()?;
        if let Some(slot) = self.get_mut(cid) {
            *slot = State::Owned;
        }
        Some(cid)
    }

    /// Gives an owned slot back.
    pub(crate) fn release(&mut self, cid: Cid) {
        let Some(next) = self.renew(cid) else {
            return;
        };
        if let Some(slot) = self.get_mut(next) {
            *slot = State::Free;
            // The capacity is that of all slots, so this cannot fail.
            let _ = self.free.push_within_capacity(next);
        }
    }

    /// Makes an owned slot ready for its next owner; returns the command id for that.
    pub(crate) fn renew(&mut self, cid: Cid) -> Option<Cid> {
        if !matches!(self.get_mut(cid), Some(State::Owned)) {
            return None;
        }
        let entry = self.slots.get_mut(cid.index())?;
        entry.generation = entry.generation.wrapping_add(1);
        // CAST: The low byte of a command id.
        Some(Cid::new(cid.index() as u8, entry.generation))
    }

    /// Notes that the command of an owned slot goes to the device.
    pub(crate) fn submit(&mut self, cid: Cid, times: Times) {
        if let Some(slot) = self.get_mut(cid) {
            *slot = State::InFlight(times);
            self.in_flight += 1;
        }
    }

    /// Returns the number of commands at the device.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of commands at the device that came from rings.
    pub(crate) fn rings(&self) -> u32 {
        self.rings
    }

    /// Returns the times of a command that is at the device.
    pub(crate) fn times(&self, cid: Cid) -> Option<Times> {
        let entry = self.slots.get(cid.index())?;
        match &entry.state {
            _ if entry.generation != cid.generation() => None,
            State::InFlight(times) | State::Left(times, _) | State::Ring { times, .. } => {
                Some(*times)
            }
            _ => None,
        }
    }

    /// Notes that the command `cid` ended.
    pub(crate) fn finish(&mut self, cid: Cid, outcome: Outcome<C>) -> Notify<Q> {
        let Some(entry) = self.slots.get_mut(cid.index()) else {
            return Notify::Stale;
        };
        if entry.generation != cid.generation() {
            return Notify::Stale;
        }
        let slot = &mut entry.state;
        // What a caller that waits does not need is not even moved.
        match slot {
            State::InFlight(_) => {
                *slot = State::Done(outcome);
                self.in_flight -= 1;
                return Notify::Waiter(cid);
            }
            State::Left(..) | State::Ring { .. } => (),
            _ => return Notify::Stale,
        }
        self.in_flight -= 1;
        match core::mem::replace(slot, State::Owned) {
            State::Left(_, left) => {
                *slot = State::Leftover(outcome, left);
                self.leftovers += 1;
                Notify::Reaper
            }
            State::Ring {
                times,
                sequence,
                left,
                target,
            } => {
                self.rings -= 1;
                *slot = State::RingDone {
                    deadline: times.deadline,
                    sequence,
                    outcome,
                    left,
                };
                Notify::Ring(target)
            }
            _ => Notify::Stale,
        }
    }

    /// Takes the outcome of a command if it ended; its slot is owned by the caller again.
    pub(crate) fn take(&mut self, cid: Cid) -> Option<Outcome<C>> {
        let slot = self.get_mut(cid)?;
        let State::Done(outcome) = slot else {
            return None;
        };
        let outcome = *outcome;
        *slot = State::Owned;
        Some(outcome)
    }

    /// Leaves a command at the device, together with what must outlive it.
    ///
    /// If the command has ended already, gives back its outcome and `left`; the slot is owned by
    /// the caller again.
    pub(crate) fn leave(&mut self, cid: Cid, left: L) -> Option<(Outcome<C>, L)> {
        let slot = self.get_mut(cid)?;
        match core::mem::replace(slot, State::Owned) {
            State::InFlight(times) => {
                *slot = State::Left(times, left);
                None
            }
            State::Done(outcome) => Some((outcome, left)),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Takes the next finished command whose caller is gone; its slot is owned by the reaper
    /// then.
    pub(crate) fn take_leftover(&mut self) -> Option<(Cid, Outcome<C>, L)> {
        if self.leftovers == 0 {
            return None;
        }
        let is_leftover = |entry: &Entry<C, L, Q>| matches!(entry.state, State::Leftover(..));
        let index = self.slots.iter().position(is_leftover)?;
        let cid = self.cids().nth(index)?;
        match core::mem::replace(self.get_mut(cid)?, State::Owned) {
            State::Leftover(outcome, left) => {
                self.leftovers -= 1;
                Some((cid, outcome, left))
            }
            _ => None,
        }
    }

    /// Ends every command at the device as aborted and calls `notify` for each, with the times it
    /// had.
    pub(crate) fn abort_all(&mut self, mut notify: impl FnMut(Notify<Q>, Times)) {
        for index in 0..self.slots.len() {
            let Some(cid) = self.cids().nth(index) else {
                return;
            };
            if let Some(times) = self.times(cid) {
                notify(self.finish(cid, Outcome::Aborted), times);
            }
        }
    }

    /// Returns the number of commands at the device whose deadline is past.
    pub(crate) fn overdue(&self, now: Instant<Monotonic>) -> usize {
        self.at_device(|times| !(now - times.deadline).is_negative())
    }

    /// Returns the number of commands that are at the device since `when` or earlier.
    pub(crate) fn since(&self, when: Instant<Monotonic>) -> usize {
        self.at_device(|times| !(when - times.submitted).is_negative())
    }

    fn at_device(&self, which: impl Fn(&Times) -> bool) -> usize {
        if self.in_flight == 0 {
            return 0;
        }
        self.slots
            .iter()
            .filter(|entry| match &entry.state {
                State::InFlight(times) | State::Left(times, _) | State::Ring { times, .. } => {
                    which(times)
                }
                _ => false,
            })
            .count()
    }
}

#[kunit_tests(azihsm_slot)]
mod tests {
    use super::*;
    use kernel::time::Delta;

    type Slots = Table<u32, u32>;

    /// The first use of a slot.
    fn cid(index: u8) -> Cid {
        Cid::new(index, 0)
    }

    /// Times of a command that is overdue at once.
    fn now() -> Times {
        let now = Instant::now();
        Times {
            submitted: now,
            deadline: now,
        }
    }

    #[test]
    fn every_slot_is_handed_out_once() -> Result {
        let mut t = Slots::new(3)?;
        assert!(t.acquire() == Some(cid(0)));
        assert!(t.acquire() == Some(cid(1)));
        assert!(t.acquire() == Some(cid(2)));
        assert!(t.acquire().is_none());
        t.release(cid(1));
        assert!(t.acquire() == Some(Cid::new(1, 1)));
        Ok(())
    }

    #[test]
    fn a_slot_cannot_be_released_twice() -> Result {
        let mut t = Slots::new(2)?;
        assert!(t.acquire() == Some(cid(0)));
        t.release(cid(0));
        t.release(cid(0));
        t.release(Cid::new(0, 1));
        assert_eq!(t.available(), 2);
        Ok(())
    }

    #[test]
    fn a_command_completes_once() -> Result {
        let mut t = Slots::new(2)?;
        let c = t.acquire().ok_or(EINVAL)?;
        assert!(t.finish(c, Outcome::Completed(1)) == Notify::Stale);
        t.submit(c, now());
        assert_eq!(t.in_flight(), 1);
        assert!(t.take(c).is_none());
        assert!(t.finish(c, Outcome::Completed(7)) == Notify::Waiter(c));
        assert!(t.finish(c, Outcome::Completed(8)) == Notify::Stale);
        assert!(t.take(c) == Some(Outcome::Completed(7)));
        assert!(t.take(c).is_none());
        assert_eq!(t.in_flight(), 0);
        Ok(())
    }

    #[test]
    fn ids_outside_the_table_are_stale() -> Result {
        let mut t = Slots::new(2)?;
        assert!(t.finish(cid(2), Outcome::Completed(0)) == Notify::Stale);
        assert!(t.finish(Cid(0xffff), Outcome::Completed(0)) == Notify::Stale);
        Ok(())
    }

    #[test]
    fn a_late_completion_does_not_end_the_next_command() -> Result {
        let mut t = Slots::new(1)?;
        let lost = t.acquire().ok_or(EINVAL)?;
        t.submit(lost, now());
        t.abort_all(|_, _| ());
        assert!(t.take(lost) == Some(Outcome::Aborted));
        t.release(lost);
        // All the uses of the slot until the id comes round again.
        for _ in 0..255 {
            let c = t.acquire().ok_or(EINVAL)?;
            assert!(c.index() == lost.index());
            t.submit(c, now());
            assert!(t.finish(lost, Outcome::Completed(1)) == Notify::Stale);
            assert!(t.finish(c, Outcome::Completed(2)) == Notify::Waiter(c));
            assert!(t.take(c) == Some(Outcome::Completed(2)));
            t.release(c);
        }
        assert!(t.acquire() == Some(lost));
        Ok(())
    }

    #[test]
    fn a_slot_that_is_passed_on_has_a_new_id() -> Result {
        let mut t = Slots::new(1)?;
        let first = t.acquire().ok_or(EINVAL)?;
        let second = t.renew(first).ok_or(EINVAL)?;
        assert!(second == Cid::new(0, 1));
        // It is not the first owner's any more.
        assert!(t.renew(first).is_none());
        t.release(first);
        assert_eq!(t.available(), 0);
        t.submit(second, now());
        assert!(t.finish(first, Outcome::Completed(1)) == Notify::Stale);
        assert!(t.finish(second, Outcome::Completed(2)) == Notify::Waiter(second));
        assert!(t.renew(second).is_none());
        Ok(())
    }

    #[test]
    fn a_left_command_keeps_its_slot_until_reaped() -> Result {
        let mut t = Slots::new(1)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit(c, now());
        assert!(t.leave(c, 42).is_none());
        t.release(c);
        assert!(t.acquire().is_none());
        assert!(t.take_leftover().is_none());
        assert!(t.finish(c, Outcome::Aborted) == Notify::Reaper);
        assert!(t.take_leftover() == Some((c, Outcome::Aborted, 42)));
        t.release(c);
        assert!(t.acquire() == Some(Cid::new(0, 1)));
        Ok(())
    }

    #[test]
    fn leaving_a_finished_command_returns_it() -> Result {
        let mut t = Slots::new(1)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit(c, now());
        t.finish(c, Outcome::Completed(5));
        assert!(t.leave(c, 42) == Some((Outcome::Completed(5), 42)));
        t.release(c);
        assert_eq!(t.available(), 1);
        Ok(())
    }

    #[test]
    fn abort_ends_what_is_at_the_device() -> Result {
        let mut t = Slots::new(4)?;
        for _ in 0..3 {
            t.acquire();
        }
        t.submit(cid(0), now());
        t.submit(cid(1), now());
        t.leave(cid(1), 9);
        let (mut waiters, mut left) = (0, 0);
        t.abort_all(|n, _| match n {
            Notify::Waiter(_) => waiters += 1,
            Notify::Reaper => left += 1,
            Notify::Ring(()) | Notify::Stale => (),
        });
        assert!((waiters, left) == (1, 1));
        assert!(t.take(cid(0)) == Some(Outcome::Aborted));
        assert!(t.take(cid(2)).is_none());
        assert_eq!(t.in_flight(), 0);
        Ok(())
    }

    #[test]
    fn overdue_counts_left_commands_too() -> Result {
        let mut t = Slots::new(3)?;
        let (a, b, c) = (t.acquire(), t.acquire(), t.acquire());
        let past = now();
        let long = Times {
            deadline: past.submitted + Delta::from_secs(60),
            ..past
        };
        t.submit(a.ok_or(EINVAL)?, past);
        t.submit(b.ok_or(EINVAL)?, past);
        t.submit(c.ok_or(EINVAL)?, long);
        t.leave(b.ok_or(EINVAL)?, 0);
        assert_eq!(t.overdue(past.deadline), 2);
        assert_eq!(t.overdue(past.deadline - Delta::from_nanos(1)), 0);
        assert_eq!(t.since(past.submitted), 3);
        assert_eq!(t.since(past.submitted - Delta::from_nanos(1)), 0);
        Ok(())
    }
}
