// SPDX-License-Identifier: GPL-2.0

//! The slots of a queue through the lives that a command can have.

use kernel::prelude::*;

#[kunit_tests(azihsm_slot)]
mod tests {
    use super::super::*;
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

    /// Ends a command; returns who is to be told.
    fn told(t: &mut Slots, cid: Cid, outcome: Outcome<u32>) -> Option<Notify<()>> {
        t.finish(cid, outcome).map(|(notify, _)| notify)
    }

    /// Takes the outcome of a command.
    fn take(t: &mut Slots, cid: Cid) -> Option<Outcome<u32>> {
        t.take(cid, Outcome::copied).map(|(_, outcome)| outcome)
    }

    fn found<L>(found: Found<u32, L>) -> (Cid, Outcome<u32>, L) {
        (found.cid, found.outcome, found.left)
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
        assert!(t.finish(c, Outcome::Completed(1)).is_none());
        t.submit(c, now(), Dirty::default());
        assert_eq!(t.in_flight(), 1);
        assert!(take(&mut t, c).is_none());
        assert!(told(&mut t, c, Outcome::Completed(7)) == Some(Notify::Waiter(c)));
        assert!(t.finish(c, Outcome::Completed(8)).is_none());
        assert!(take(&mut t, c) == Some(Outcome::Completed(7)));
        assert!(take(&mut t, c).is_none());
        assert_eq!(t.in_flight(), 0);
        Ok(())
    }

    #[test]
    fn ids_outside_the_table_are_stale() -> Result {
        let mut t = Slots::new(2)?;
        assert!(t.finish(cid(2), Outcome::Completed(0)).is_none());
        assert!(t.finish(Cid(0xffff), Outcome::Completed(0)).is_none());
        Ok(())
    }

    #[test]
    fn a_late_completion_does_not_end_the_next_command() -> Result {
        let mut t = Slots::new(1)?;
        let lost = t.acquire().ok_or(EINVAL)?;
        t.submit(lost, now(), Dirty::default());
        t.abort_all(|_, _| ());
        assert!(take(&mut t, lost) == Some(Outcome::Aborted));
        t.release(lost);
        // All the uses of the slot until the id comes round again.
        for _ in 0..255 {
            let c = t.acquire().ok_or(EINVAL)?;
            assert!(c.index() == lost.index());
            t.submit(c, now(), Dirty::default());
            assert!(t.finish(lost, Outcome::Completed(1)).is_none());
            assert!(told(&mut t, c, Outcome::Completed(2)) == Some(Notify::Waiter(c)));
            assert!(take(&mut t, c) == Some(Outcome::Completed(2)));
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
        t.submit(second, now(), Dirty::default());
        assert!(t.finish(first, Outcome::Completed(1)).is_none());
        assert!(told(&mut t, second, Outcome::Completed(2)) == Some(Notify::Waiter(second)));
        assert!(t.renew(second).is_none());
        Ok(())
    }

    #[test]
    fn a_left_command_keeps_its_slot_until_reaped() -> Result {
        let mut t = Slots::new(1)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit(c, now(), Dirty::default());
        assert!(t.leave(c, 42).is_none());
        t.release(c);
        assert!(t.acquire().is_none());
        assert!(t.take_leftover().is_none());
        assert!(told(&mut t, c, Outcome::Aborted) == Some(Notify::Reaper));
        assert!(t.take_leftover().map(found) == Some((c, Outcome::Aborted, 42)));
        t.release(c);
        assert!(t.acquire() == Some(Cid::new(0, 1)));
        Ok(())
    }

    #[test]
    fn leaving_a_finished_command_returns_it() -> Result {
        let mut t = Slots::new(1)?;
        let c = t.acquire().ok_or(EINVAL)?;
        t.submit(c, now(), Dirty::default());
        t.finish(c, Outcome::Completed(5));
        assert!(t.leave(c, 42).map(found) == Some((c, Outcome::Completed(5), 42)));
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
        t.submit(cid(0), now(), Dirty::default());
        t.submit(cid(1), now(), Dirty::default());
        t.leave(cid(1), 9);
        let (mut waiters, mut left) = (0, 0);
        t.abort_all(|n, _| match n {
            Notify::Waiter(_) => waiters += 1,
            Notify::Reaper => left += 1,
            Notify::Ring(()) => (),
        });
        assert!((waiters, left) == (1, 1));
        assert!(take(&mut t, cid(0)) == Some(Outcome::Aborted));
        assert!(take(&mut t, cid(2)).is_none());
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
        t.submit(a.ok_or(EINVAL)?, past, Dirty::default());
        t.submit(b.ok_or(EINVAL)?, past, Dirty::default());
        t.submit(c.ok_or(EINVAL)?, long, Dirty::default());
        t.leave(b.ok_or(EINVAL)?, 0);
        assert_eq!(t.overdue(past.deadline), 2);
        assert_eq!(t.overdue(past.deadline - Delta::from_nanos(1)), 0);
        assert_eq!(t.since(past.submitted), 3);
        assert_eq!(t.since(past.submitted - Delta::from_nanos(1)), 0);
        Ok(())
    }
}
