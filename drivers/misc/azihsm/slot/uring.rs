// SPDX-License-Identifier: GPL-2.0

//! Slots of commands that come from a ring of io_uring.

use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

use zerocopy::FromZeros;

use super::{
    Entry,
    Found,
    Outcome,
    State,
    Table,
    Times, //
};

use crate::{
    dma::Dirty,
    wire::Cid, //
};

/// Time for which the output of a command that ended late waits for the submitter.
const PATIENCE: Delta = Delta::from_secs(2);

impl<C: Copy + FromZeros, L, Q> Table<C, L, Q> {
    /// Notes that the command of an owned slot, which came from a ring, goes to the device.
    ///
    /// `sequence` tells it from others that have the slot later.
    pub(crate) fn submit_ring(
        &mut self,
        cid: Cid,
        times: Times,
        dirty: Dirty,
        sequence: u32,
        left: L,
        target: Q,
    ) {
        if let Some(entry) = self.in_state(cid, State::Owned) {
            // INVARIANT: `left` and `target` are there.
            entry.state = State::Ring;
            entry.times = times;
            entry.dirty = dirty;
            entry.sequence = sequence;
            entry.awaited = false;
            entry.left = Some(left);
            entry.target = Some(target);
            self.in_flight += 1;
            self.rings += 1;
        }
    }

    /// Takes what was left with a ring's command that ended, and passes that and the outcome to
    /// `f`; its slot is owned by the caller then.
    ///
    /// Returns what the memory of the slot holds, and what `f` returned. [`None`] if the command
    /// did not end, or was taken already.
    pub(crate) fn take_ring<R>(
        &mut self,
        cid: Cid,
        sequence: u32,
        f: impl FnOnce(Outcome<&C>, L) -> R,
    ) -> Option<(Dirty, R)> {
        let entry = self.in_state(cid, State::RingDone)?;
        if entry.sequence != sequence {
            return None;
        }
        // INVARIANT: `left` is taken.
        entry.state = State::Owned;
        let left = entry.left.take()?;
        Some((entry.dirty, f(entry.outcome(), left)))
    }

    /// Takes a ring's command that ended, and whose submitter has not come for it in time; its slot
    /// is owned by the caller then.
    ///
    /// A submitter has until the deadline, and [`PATIENCE`] from the first call after that which
    /// finds the command ended: it may have ended late. Without `now` time is up.
    pub(crate) fn take_uncollected(
        &mut self,
        now: Option<Instant<Monotonic>>,
    ) -> Option<Found<C, L>> {
        for (index, entry) in self.numbered() {
            if entry.state == State::RingDone && entry.time_is_up(now) {
                return entry.take(index);
            }
        }
        None
    }
}

impl<C, L, Q> Entry<C, L, Q> {
    /// Returns whether the submitter of a command that ended has had its time.
    fn time_is_up(&mut self, now: Option<Instant<Monotonic>>) -> bool {
        let Some(now) = now else {
            return true;
        };
        let late = now - self.times.deadline;
        if late.is_negative() {
            false
        } else if self.awaited {
            !(late - PATIENCE).is_negative()
        } else {
            self.awaited = true;
            self.times.deadline = now;
            false
        }
    }
}

#[kunit_tests(azihsm_slot_uring)]
mod tests {
    use super::*;
    use crate::slot::Notify;

    /// Times of a command that is overdue at once.
    fn now() -> Times {
        let now = Instant::now();
        Times {
            submitted: now,
            deadline: now,
        }
    }

    fn take<L, Q>(t: &mut Table<u32, L, Q>, cid: Cid, sequence: u32) -> Option<(Outcome<u32>, L)> {
        t.take_ring(cid, sequence, |outcome, left| {
            (Outcome::copied(outcome), left)
        })
        .map(|(_, taken)| taken)
    }

    fn found<L>(found: Found<u32, L>) -> (Cid, Outcome<u32>, L) {
        (found.cid, found.outcome, found.left)
    }

    #[test]
    fn a_ring_is_told_once() -> Result {
        let mut t = Table::<u32, u32, &str>::new(2)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit_ring(c, now(), Dirty::default(), 5, 42, "ring");
        assert_eq!((t.in_flight, t.rings()), (1, 1));
        assert_eq!(t.overdue(Instant::now()), 1);
        // Nobody but the device ends it, and it is no caller's that waits.
        assert!(t.take(c, |_| ()).is_none());
        assert!(take(&mut t, c, 5).is_none());
        assert!(t.take_leftover().is_none());
        t.release(c);
        let told = t.finish(c, Outcome::Completed(7)).map(|(notify, _)| notify);
        assert!(told == Some(Notify::Ring("ring")));
        assert!(t.finish(c, Outcome::Completed(8)).is_none());
        assert_eq!((t.in_flight, t.rings()), (0, 0));
        // The slot stays until the submitter's task has seen to it.
        assert_eq!(t.available(), 1);
        assert!(t.take_leftover().is_none());
        assert!(take(&mut t, c, 4).is_none());
        assert!(take(&mut t, c, 5) == Some((Outcome::Completed(7), 42)));
        assert!(take(&mut t, c, 5).is_none());
        t.release(c);
        assert_eq!(t.available(), 2);
        Ok(())
    }

    #[test]
    fn abort_tells_rings_too() -> Result {
        let mut t = Table::<u32, u32, u8>::new(3)?;
        let (a, b) = (t.acquire().ok_or(EINVAL)?, t.acquire().ok_or(EINVAL)?);
        t.submit_ring(a, now(), Dirty::default(), 0, 1, 10);
        t.submit_ring(b, now(), Dirty::default(), 1, 2, 20);
        t.finish(b, Outcome::Completed(0));
        let mut told = 0;
        t.abort_all(|n, _| {
            if let Notify::Ring(target) = n {
                told += target;
            }
        });
        assert_eq!(told, 10);
        assert!(take(&mut t, a, 0) == Some((Outcome::Aborted, 1)));
        assert!(take(&mut t, b, 1) == Some((Outcome::Completed(0), 2)));
        Ok(())
    }
    #[test]
    fn what_nobody_collects_is_taken_back() -> Result {
        let mut t = Table::<u32, u32, ()>::new(3)?;
        let (a, b, c) = (t.acquire(), t.acquire(), t.acquire());
        let (a, b, c) = (a.ok_or(EINVAL)?, b.ok_or(EINVAL)?, c.ok_or(EINVAL)?);
        let first = now();
        let past = first.deadline;
        let later = Times {
            deadline: past + Delta::from_millis(2500),
            ..first
        };
        t.submit_ring(a, first, Dirty::default(), 0, 1, ());
        t.submit_ring(b, later, Dirty::default(), 1, 2, ());
        t.submit_ring(c, first, Dirty::default(), 2, 3, ());
        t.finish(a, Outcome::Completed(7));
        t.finish(b, Outcome::Completed(8));
        // It ended long after its deadline; still its submitter has the time to come.
        let seen = past + Delta::from_secs(1);
        let at = |ms| Some(seen + Delta::from_millis(ms));
        assert!(t.take_uncollected(at(0)).is_none());
        assert!(t.take_uncollected(at(1900)).is_none());
        // Not the one at the device, nor the one that is awaited for a shorter time.
        assert!(t.take_uncollected(at(2000)).map(found) == Some((a, Outcome::Completed(7), 1)));
        assert!(t.take_uncollected(at(2000)).is_none());
        t.release(a);
        // Somebody else has the slot now.
        let a = t.acquire().ok_or(EINVAL)?;
        t.submit_ring(a, first, Dirty::default(), 9, 4, ());
        t.finish(a, Outcome::Completed(9));
        assert!(take(&mut t, a, 0).is_none());
        assert!(take(&mut t, a, 9) == Some((Outcome::Completed(9), 4)));
        // In the end, all that finished.
        assert!(t.take_uncollected(None).map(found) == Some((b, Outcome::Completed(8), 2)));
        assert!(t.take_uncollected(None).is_none());
        Ok(())
    }
}
