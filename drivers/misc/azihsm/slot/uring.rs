// SPDX-License-Identifier: GPL-2.0

//! Slots of commands that come from a ring of io_uring.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
};

use super::{
    Entry,
    Outcome,
    State,
    Table,
    Times, //
};

use crate::wire::Cid;

impl<C: Copy, L, Q> Table<C, L, Q> {
    /// Notes that the command of an owned slot, which came from a ring, goes to the device.
    ///
    /// `sequence` tells it from others that have the slot later.
    pub(crate) fn submit_ring(
        &mut self,
        cid: Cid,
        times: Times,
        sequence: u32,
        left: L,
        target: Q,
    ) {
        if let Some(slot) = self.get_mut(cid) {
            *slot = State::Ring {
                times,
                sequence,
                left,
                target,
            };
            self.in_flight += 1;
            self.rings += 1;
        }
    }

    /// Takes the outcome of a ring's command; its slot is owned by the caller then.
    ///
    /// [`None`] if it did not end, or was taken already.
    pub(crate) fn take_ring(&mut self, cid: Cid, sequence: u32) -> Option<(Outcome<C>, L)> {
        let slot = self.get_mut(cid)?;
        if !matches!(slot, State::RingDone { sequence: s, .. } if *s == sequence) {
            return None;
        }
        match core::mem::replace(slot, State::Owned) {
            State::RingDone { outcome, left, .. } => Some((outcome, left)),
            _ => None,
        }
    }

    /// Takes a ring's command that ended, and whose submitter has not looked although its deadline
    /// is before `past`, if that is given; its slot is owned by the caller then.
    pub(crate) fn take_uncollected(
        &mut self,
        past: Option<Instant<Monotonic>>,
    ) -> Option<(Cid, Outcome<C>, L)> {
        let is_stale = |entry: &Entry<C, L, Q>| {
            matches!(entry.state, State::RingDone { deadline, .. }
                if past.is_none_or(|past| (deadline - past).is_negative()))
        };
        let index = self.slots.iter().position(is_stale)?;
        let cid = self.cids().nth(index)?;
        match core::mem::replace(self.get_mut(cid)?, State::Owned) {
            State::RingDone { outcome, left, .. } => Some((cid, outcome, left)),
            _ => None,
        }
    }
}

#[kunit_tests(azihsm_slot_uring)]
mod tests {
    use super::*;
    use crate::slot::Notify;
    use kernel::time::Delta;

    /// Times of a command that is overdue at once.
    fn now() -> Times {
        let now = Instant::now();
        Times {
            submitted: now,
            deadline: now,
        }
    }

    #[test]
    fn a_ring_is_told_once() -> Result {
        let mut t = Table::<u32, u32, &str>::new(2)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit_ring(c, now(), 5, 42, "ring");
        assert_eq!((t.in_flight, t.rings()), (1, 1));
        assert_eq!(t.overdue(Instant::now()), 1);
        // Nobody but the device ends it, and it is no caller's that waits.
        assert!(t.take(c).is_none());
        assert!(t.take_ring(c, 5).is_none());
        assert!(t.take_leftover().is_none());
        t.release(c);
        assert!(t.finish(c, Outcome::Completed(7)) == Notify::Ring("ring"));
        assert!(t.finish(c, Outcome::Completed(8)) == Notify::Stale);
        assert_eq!((t.in_flight, t.rings()), (0, 0));
        // The slot stays until the submitter's task has seen to it.
        assert_eq!(t.available(), 1);
        assert!(t.take_leftover().is_none());
        assert!(t.take_ring(c, 4).is_none());
        assert!(t.take_ring(c, 5) == Some((Outcome::Completed(7), 42)));
        assert!(t.take_ring(c, 5).is_none());
        t.release(c);
        assert_eq!(t.available(), 2);
        Ok(())
    }

    #[test]
    fn abort_tells_rings_too() -> Result {
        let mut t = Table::<u32, u32, u8>::new(3)?;
        let (a, b) = (t.acquire().ok_or(EINVAL)?, t.acquire().ok_or(EINVAL)?);
        t.submit_ring(a, now(), 0, 1, 10);
        t.submit_ring(b, now(), 1, 2, 20);
        t.finish(b, Outcome::Completed(0));
        let mut told = 0;
        t.abort_all(|n, _| {
            if let Notify::Ring(target) = n {
                told += target;
            }
        });
        assert_eq!(told, 10);
        assert!(t.take_ring(a, 0) == Some((Outcome::Aborted, 1)));
        assert!(t.take_ring(b, 1) == Some((Outcome::Completed(0), 2)));
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
            deadline: past + Delta::from_secs(2),
            ..first
        };
        t.submit_ring(a, first, 0, 1, ());
        t.submit_ring(b, later, 1, 2, ());
        t.submit_ring(c, first, 2, 3, ());
        t.finish(a, Outcome::Completed(7));
        t.finish(b, Outcome::Completed(8));
        let limit = past + Delta::from_secs(1);
        // The one that is late and finished; not the one at the device, nor the one in time.
        assert!(t.take_uncollected(Some(past)).is_none());
        assert!(t.take_uncollected(Some(limit)) == Some((a, Outcome::Completed(7), 1)));
        assert!(t.take_uncollected(Some(limit)).is_none());
        t.release(a);
        // Somebody else has the slot now.
        let a = t.acquire().ok_or(EINVAL)?;
        t.submit_ring(a, first, 9, 4, ());
        t.finish(a, Outcome::Completed(9));
        assert!(t.take_ring(a, 0).is_none());
        assert!(t.take_ring(a, 9) == Some((Outcome::Completed(9), 4)));
        // In the end, all that finished.
        assert!(t.take_uncollected(None) == Some((b, Outcome::Completed(8), 2)));
        assert!(t.take_uncollected(None).is_none());
        Ok(())
    }
}
