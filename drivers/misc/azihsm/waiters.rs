// SPDX-License-Identifier: GPL-2.0

//! Those who wait for a slot, of all queues of a kind together.
//!
//! When every slot is taken, callers wait in the order they came, whatever queue will have a slot
//! first. Who gives a slot back hands it to the one who waits longest; as long as somebody waits,
//! nobody takes a slot past them.
//!
//! Nobody is missed: who wants to wait announces that *before* the last look at the queues, and who
//! gives a slot back looks for announcements *under the lock of the queue* that the other one takes
//! to look. So one of them sees the other.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    kapi::semaphore::Semaphore,
    patience::jiffies_until,
    wire::{
        Cid,
        QueueId, //
    }, //
};

/// What ends a wait before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// A signal that kills the process.
    Kill,
    /// Any signal. For the workers of io_uring, which get no others than those that kill the
    /// process and those that cancel what they do.
    Signal,
}

/// A slot on its way to somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Queue of the slot.
    pub(crate) queue: QueueId,
    /// The slot.
    pub(crate) cid: Cid,
}

/// How somebody who waited may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// At once.
    Free,
    /// After taking a grant, since there is one for each who still waits.
    Granted,
}

/// The bookkeeping.
///
/// # Invariants
///
/// Everybody who entered and has neither left nor taken a grant is in `waiting`, or has a grant in
/// `granted`.
struct Book {
    waiting: usize,
    granted: KVec<Grant>,
    /// Slots that there are: no more than this can be granted.
    slots: usize,
}

impl Book {
    fn new() -> Self {
        Self {
            waiting: 0,
            granted: KVec::new(),
            slots: 0,
        }
    }

    /// Makes `room`, which is empty and has place for as many grants as there are slots, the list
    /// of grants. Returns the old one.
    fn replace(&mut self, mut room: KVec<Grant>, slots: usize) -> KVec<Grant> {
        for grant in &self.granted {
            // There is room for all of them.
            let _ = room.push_within_capacity(*grant);
        }
        self.slots = slots;
        core::mem::replace(&mut self.granted, room)
    }

    /// Grants a slot to somebody who waits, if there is anybody.
    fn grant(&mut self, grant: Grant) -> bool {
        if self.waiting == 0 || self.granted.push_within_capacity(grant).is_err() {
            return false;
        }
        self.waiting -= 1;
        true
    }

    /// Ends a wait that found what it wanted elsewhere, or was given up.
    fn leave(&mut self) -> Leave {
        if self.waiting == 0 {
            return Leave::Granted;
        }
        self.waiting -= 1;
        Leave::Free
    }
}

/// Those who wait for a slot.
#[pin_data]
pub(crate) struct Waiters {
    /// Copy of `waiting`, for those who only want to know whether somebody is there. Written only
    /// while slots are short.
    present: Atomic<usize>,
    #[pin]
    book: SpinLockIrq<Book>,
    /// One unit for each grant. It hands them out in the order of arrival.
    #[pin]
    grants: Semaphore,
}

impl Waiters {
    /// Makes a place to wait for slots, of which there are none yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                present: Atomic::new(0),
                book <- new_spinlock_irq!(Book::new(), "azihsm_waiters"),
                grants <- Semaphore::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds `slots` to the number of slots that can be granted.
    ///
    /// Not to be called at the same time by several.
    pub(crate) fn add_slots(&self, slots: usize) -> Result {
        let slots = self.book.lock().slots + slots;
        let room = KVec::with_capacity(slots, GFP_KERNEL)?;
        let old = self.book.lock().replace(room, slots);
        drop(old);
        Ok(())
    }

    /// Returns whether somebody waits.
    pub(crate) fn any(&self) -> bool {
        self.present.load(Relaxed) != 0
    }

    /// Waits for a slot.
    ///
    /// `look` is called once to look at all queues, `release` gives a slot back.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was interrupted, [`ETIMEDOUT`] if there was no slot `until` then.
    pub(crate) fn wait(
        &self,
        look: impl FnOnce() -> Option<Grant>,
        release: impl FnOnce(Grant),
        until: Instant<Monotonic>,
        interrupt: Interrupt,
    ) -> Result<Grant> {
        {
            let mut book = self.book.lock();
            book.waiting += 1;
            self.present.store(book.waiting, Relaxed);
        }
        let down = || match interrupt {
            Interrupt::Kill => self.grants.down_killable_timeout(jiffies_until(until)),
            Interrupt::Signal => self.grants.down_interruptible_timeout(jiffies_until(until)),
        };
        let result = match look() {
            Some(found) => Ok(found),
            None => match down() {
                Ok(true) => return self.take().ok_or(EAGAIN),
                Ok(false) => Err(ETIMEDOUT),
                Err(e) => Err(e),
            },
        };
        if let Some(grant) = self.leave() {
            release(grant);
        }
        result
    }

    /// Grants a slot to the one who waits longest; returns whether there was anybody.
    pub(crate) fn grant(&self, grant: Grant) -> bool {
        let granted = {
            let mut book = self.book.lock();
            let granted = book.grant(grant);
            self.present.store(book.waiting, Relaxed);
            granted
        };
        if granted {
            self.grants.up();
        }
        granted
    }

    /// Takes a grant, for who has taken its unit. There is one.
    fn take(&self) -> Option<Grant> {
        self.book.lock().granted.pop()
    }

    /// Stops to wait; returns the slot that was granted meanwhile, if one was.
    fn leave(&self) -> Option<Grant> {
        {
            let mut book = self.book.lock();
            let leave = book.leave();
            self.present.store(book.waiting, Relaxed);
            if leave == Leave::Free {
                return None;
            }
        }
        // Who granted it is about to add the unit, if it is not there already.
        self.grants.down();
        self.take()
    }
}

#[kunit_tests(azihsm_waiters)]
mod tests {
    use super::*;

    fn slot(n: u16) -> Grant {
        Grant {
            queue: QueueId::ADMIN,
            cid: Cid(n),
        }
    }

    fn book(slots: usize) -> Result<Book> {
        let mut book = Book::new();
        book.replace(KVec::with_capacity(slots, GFP_KERNEL)?, slots);
        Ok(book)
    }

    #[test]
    fn nobody_waits_nobody_gets() -> Result {
        let mut book = book(2)?;
        assert!(!book.grant(slot(0)));
        assert!(book.granted.is_empty());
        Ok(())
    }

    #[test]
    fn each_who_waits_gets_one() -> Result {
        let mut book = book(3)?;
        book.waiting = 2;
        assert!(book.grant(slot(0)));
        assert!(book.grant(slot(1)));
        assert!(!book.grant(slot(2)));
        assert_eq!(book.granted.len(), 2);
        assert_eq!(book.waiting, 0);
        Ok(())
    }

    #[test]
    fn who_leaves_takes_a_grant_only_if_all_have_one() -> Result {
        let mut book = book(2)?;
        book.waiting = 2;
        assert!(book.grant(slot(0)));
        assert!(book.leave() == Leave::Free);
        assert!(book.leave() == Leave::Granted);
        assert_eq!(book.granted.len(), 1);
        Ok(())
    }

    #[test]
    fn grants_survive_the_arrival_of_slots() -> Result {
        let mut book = book(1)?;
        book.waiting = 2;
        assert!(book.grant(slot(0)));
        // There is only one slot, so that this is not for granting.
        assert!(!book.grant(slot(1)));
        book.replace(KVec::with_capacity(2, GFP_KERNEL)?, 2);
        assert!(book.grant(slot(1)));
        assert!(book.granted.pop() == Some(slot(1)));
        assert!(book.granted.pop() == Some(slot(0)));
        Ok(())
    }
}
