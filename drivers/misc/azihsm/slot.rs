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

mod story;
mod uring;

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
};

use zerocopy::FromZeros;

use crate::{
    dma::Dirty,
    wire::Cid, //
};

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<C> {
    /// The device completed it.
    Completed(C),
    /// The device lost it: the queue or the controller was reset first.
    Aborted,
}

impl<C> Outcome<C> {
    /// Applies `f` to what the device said, if it did.
    pub(crate) fn map<R>(self, f: impl FnOnce(C) -> R) -> Outcome<R> {
        match self {
            Self::Completed(cqe) => Outcome::Completed(f(cqe)),
            Self::Aborted => Outcome::Aborted,
        }
    }
}

impl<C: Copy> Outcome<C> {
    /// Returns a copy of an outcome that lies elsewhere.
    pub(crate) fn copied(outcome: Outcome<&C>) -> Self {
        outcome.map(|cqe| *cqe)
    }
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
///
/// What belongs to a state lies beside it and not in it, where each change of state would move it.
///
/// # Invariants
///
/// `left` is there in the states `Left`, `Leftover`, `Ring` and `RingDone`, `target` in the state
/// `Ring`, and neither in any other.
struct Entry<C, L, Q> {
    state: State,
    /// Which use of the slot this is, or the next one will be.
    generation: u8,
    /// Whether the device completed the command, if it ended.
    completed: bool,
    /// Tells the command of a ring from others that have the slot later.
    sequence: u32,
    /// Of a ring's command that ended: whether its submitter was found to be late for it.
    awaited: bool,
    /// What the memory of the slot holds.
    dirty: Dirty,
    /// Of the command at the device, or that ended.
    times: Times,
    /// The completion, if the device completed the command.
    cqe: C,
    left: Option<L>,
    target: Option<Q>,
}

/// State of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Owned by a caller (or the reaper) that has no command at the device.
    Owned,
    /// At the device, the caller waits.
    InFlight,
    /// At the device, the caller is gone.
    Left,
    /// Finished, the caller has not looked yet.
    Done,
    /// Finished after the caller went away.
    Leftover,
    /// At the device, a ring is to be told.
    Ring,
    /// Finished, the ring was told, and the submitter's task has not looked yet.
    RingDone,
}

impl State {
    /// Returns whether the device has the command.
    fn is_at_device(self) -> bool {
        matches!(self, Self::InFlight | Self::Left | Self::Ring)
    }
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
}

/// A finished command that nobody waits for, whose slot was taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<C, L> {
    /// The slot.
    pub(crate) cid: Cid,
    /// What its memory holds.
    pub(crate) dirty: Dirty,
    /// What became of the command.
    pub(crate) outcome: Outcome<C>,
    /// What its caller left.
    pub(crate) left: L,
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

impl<C: Copy, L, Q> Entry<C, L, Q> {
    /// Begins the next use of the slot, which is `cid`'s; returns the command id for that.
    fn renew(&mut self, cid: Cid) -> Cid {
        self.generation = self.generation.wrapping_add(1);
        // CAST: The low byte of a command id.
        Cid::new(cid.index() as u8, self.generation)
    }

    fn outcome(&self) -> Outcome<&C> {
        if self.completed {
            Outcome::Completed(&self.cqe)
        } else {
            Outcome::Aborted
        }
    }

    /// Takes the finished command out of a slot in state `Leftover` or `RingDone`.
    fn take(&mut self, index: u8) -> Option<Found<C, L>> {
        // INVARIANT: `left` is taken.
        self.state = State::Owned;
        Some(Found {
            cid: Cid::new(index, self.generation),
            dirty: self.dirty,
            outcome: Outcome::copied(self.outcome()),
            left: self.left.take()?,
        })
    }
}

impl<C: Copy + FromZeros, L, Q> Table<C, L, Q> {
    /// Makes a table of `count` free slots.
    pub(crate) fn new(count: u8) -> Result<Self> {
        let len = usize::from(count);
        let mut slots = KVec::with_capacity(len, GFP_KERNEL)?;
        let mut free = KVec::with_capacity(len, GFP_KERNEL)?;
        let now = Instant::now();
        for index in (0..count).rev() {
            // INVARIANT: The slot is free.
            let entry = Entry {
                state: State::Free,
                generation: 0,
                completed: false,
                sequence: 0,
                awaited: false,
                dirty: Dirty::default(),
                times: Times {
                    submitted: now,
                    deadline: now,
                },
                cqe: C::new_zeroed(),
                left: None,
                target: None,
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

    /// Returns the slot of `cid` if it is in `state`, unless `cid` is of an earlier use.
    fn in_state(&mut self, cid: Cid, state: State) -> Option<&mut Entry<C, L, Q>> {
        let entry = self.slots.get_mut(cid.index())?;
        (entry.generation == cid.generation() && entry.state == state).then_some(entry)
    }

    /// Returns the slots with their numbers.
    fn numbered(&mut self) -> impl Iterator<Item = (u8, &mut Entry<C, L, Q>)> + '_ {
        (0u8..=u8::MAX).zip(self.slots.iter_mut())
    }

    /// Returns the number of slots that a new caller could have at once.
    pub(crate) fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes a free slot.
    pub(crate) fn acquire(&mut self) -> Option<Cid> {
        let cid = self.free.pop()?;
        if let Some(entry) = self.in_state(cid, State::Free) {
            entry.state = State::Owned;
        }
        Some(cid)
    }

    /// Gives an owned slot back.
    pub(crate) fn release(&mut self, cid: Cid) {
        let Some(entry) = self.in_state(cid, State::Owned) else {
            return;
        };
        entry.state = State::Free;
        let next = entry.renew(cid);
        // The capacity is that of all slots, so this cannot fail.
        let _ = self.free.push_within_capacity(next);
    }

    /// Makes an owned slot ready for its next owner; returns the command id for that.
    pub(crate) fn renew(&mut self, cid: Cid) -> Option<Cid> {
        Some(self.in_state(cid, State::Owned)?.renew(cid))
    }

    /// Notes that the command of an owned slot, whose memory is `dirty`, goes to the device.
    pub(crate) fn submit(&mut self, cid: Cid, times: Times, dirty: Dirty) {
        if let Some(entry) = self.in_state(cid, State::Owned) {
            entry.state = State::InFlight;
            entry.times = times;
            entry.dirty = dirty;
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

    /// Notes that the command `cid` ended; returns who is to be told, and the times that it had.
    ///
    /// [`None`] if no such command is at the device.
    pub(crate) fn finish(&mut self, cid: Cid, outcome: Outcome<C>) -> Option<(Notify<Q>, Times)> {
        let entry = self.slots.get_mut(cid.index())?;
        if entry.generation != cid.generation() {
            return None;
        }
        let (state, notify) = match entry.state {
            State::InFlight => (State::Done, Notify::Waiter(cid)),
            State::Ring => {
                // INVARIANT: `target` is taken.
                let target = entry.target.take()?;
                self.rings -= 1;
                (State::RingDone, Notify::Ring(target))
            }
            State::Left => {
                self.leftovers += 1;
                (State::Leftover, Notify::Reaper)
            }
            _ => return None,
        };
        entry.state = state;
        entry.completed = match outcome {
            Outcome::Completed(cqe) => {
                entry.cqe = cqe;
                true
            }
            Outcome::Aborted => false,
        };
        self.in_flight -= 1;
        Some((notify, entry.times))
    }

    /// Passes the outcome of a command to `f` if it ended; its slot is owned by the caller again.
    ///
    /// Returns what the memory of the slot holds, and what `f` returned.
    pub(crate) fn take<R>(
        &mut self,
        cid: Cid,
        f: impl FnOnce(Outcome<&C>) -> R,
    ) -> Option<(Dirty, R)> {
        let entry = self.in_state(cid, State::Done)?;
        entry.state = State::Owned;
        Some((entry.dirty, f(entry.outcome())))
    }

    /// Leaves a command at the device, together with what must outlive it.
    ///
    /// If the command has ended already, gives back its outcome and `left`; the slot is owned by
    /// the caller again.
    pub(crate) fn leave(&mut self, cid: Cid, left: L) -> Option<Found<C, L>> {
        if let Some(entry) = self.in_state(cid, State::InFlight) {
            // INVARIANT: `left` is there.
            entry.state = State::Left;
            entry.left = Some(left);
            return None;
        }
        let (dirty, outcome) = self.take(cid, Outcome::copied)?;
        Some(Found {
            cid,
            dirty,
            outcome,
            left,
        })
    }

    /// Takes the next finished command whose caller is gone; its slot is owned by the reaper
    /// then.
    pub(crate) fn take_leftover(&mut self) -> Option<Found<C, L>> {
        if self.leftovers == 0 {
            return None;
        }
        let (index, entry) = self
            .numbered()
            .find(|(_, entry)| entry.state == State::Leftover)?;
        let found = entry.take(index);
        self.leftovers -= 1;
        found
    }

    /// Ends every command at the device as aborted and calls `notify` for each, with the times it
    /// had.
    pub(crate) fn abort_all(&mut self, mut notify: impl FnMut(Notify<Q>, Times)) {
        for index in 0..self.slots.len() {
            let Some(entry) = self.slots.get(index) else {
                return;
            };
            // CAST: A table has at most 255 slots.
            let cid = Cid::new(index as u8, entry.generation);
            if let Some((who, times)) = self.finish(cid, Outcome::Aborted) {
                notify(who, times);
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
            .filter(|entry| entry.state.is_at_device() && which(&entry.times))
            .count()
    }
}
