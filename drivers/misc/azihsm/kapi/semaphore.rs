// SPDX-License-Identifier: GPL-2.0

//! A counting semaphore whose waits are killable and end in time.
//!
//! `struct semaphore` has killable waits and waits with a time limit, but not both at once.

use core::{
    cell::UnsafeCell,
    ptr, //
};

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq,
    time::Jiffies, //
};

use super::wait::Completion;

/// Place of a waiter in the line.
struct Link {
    next: *mut Waiter,
    prev: *mut Waiter,
    /// Set when the waiter was handed a unit and taken off the line.
    granted: bool,
}

/// Somebody who waits, on the stack of [`Semaphore::down_with`].
#[pin_data]
struct Waiter {
    #[pin]
    woken: Completion,
    /// Accessed only with the lock of the semaphore held.
    link: UnsafeCell<Link>,
}

/// What the lock protects.
///
/// # Invariants
///
/// `head` and `tail` are the ends of a list of the waiters that wait, each of which is valid until
/// it is off the list; both are null if it is empty. `units` is 0 unless it is.
struct Line {
    units: usize,
    head: *mut Waiter,
    tail: *mut Waiter,
}

// SAFETY: The waiters on the line may be accessed by whoever holds the lock.
unsafe impl Send for Line {}

impl Line {
    /// Puts a waiter at the end of the line.
    ///
    /// # Safety
    ///
    /// `waiter` must be valid until it is off the line, and not be on it.
    unsafe fn push(&mut self, waiter: &Waiter) {
        let raw = ptr::from_ref(waiter).cast_mut();
        // SAFETY: The lock is held, as `self` shows.
        let link = unsafe { &mut *waiter.link.get() };
        link.prev = self.tail;
        if self.tail.is_null() {
            self.head = raw;
        } else {
            // SAFETY: By the type invariants the waiter is valid, and the lock is held.
            unsafe { (*(*self.tail).link.get()).next = raw };
        }
        // INVARIANT: The waiter is valid by the safety requirements.
        self.tail = raw;
    }

    /// Takes a waiter off the line.
    ///
    /// # Safety
    ///
    /// `waiter` must be on the line.
    unsafe fn remove(&mut self, waiter: &Waiter) {
        // SAFETY: The lock is held, as `self` shows.
        let link = unsafe { &mut *waiter.link.get() };
        if link.prev.is_null() {
            self.head = link.next;
        } else {
            // SAFETY: By the type invariants the neighbour is valid, and the lock is held.
            unsafe { (*(*link.prev).link.get()).next = link.next };
        }
        if link.next.is_null() {
            self.tail = link.prev;
        } else {
            // SAFETY: As above.
            unsafe { (*(*link.next).link.get()).prev = link.prev };
        }
        link.next = ptr::null_mut();
        link.prev = ptr::null_mut();
    }
}

/// A counting semaphore.
///
/// Waiters are served in the order they came, and [`up`](Self::up) hands the unit to the first of
/// them directly: it never becomes visible as free in between, so that a late comer cannot
/// overtake.
///
/// There is no guard type, as what a unit stands for usually outlives the scope that took it.
#[pin_data]
pub(crate) struct Semaphore {
    #[pin]
    line: SpinLockIrq<Line>,
}

impl Semaphore {
    /// Returns an initialiser for a semaphore with `units` free units.
    pub(crate) fn new(units: usize) -> impl PinInit<Self> {
        // INVARIANT: The line is empty.
        let line = Line {
            units,
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
        };
        pin_init!(Self {
            line <- new_spinlock_irq!(line, "azihsm_semaphore"),
        })
    }

    /// Takes a unit, waiting for at most `timeout` if there is none; returns whether it did.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is being killed. No unit was taken.
    pub(crate) fn down_killable_timeout(&self, timeout: Jiffies) -> Result<bool> {
        self.down_with(|woken| woken.wait_killable_timeout(timeout))
    }

    /// Takes a unit, waiting for at most `timeout` if there is none; returns whether it did.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task has a signal. No unit was taken.
    pub(crate) fn down_interruptible_timeout(&self, timeout: Jiffies) -> Result<bool> {
        self.down_with(|woken| woken.wait_interruptible_timeout(timeout))
    }

    /// Takes a unit, waiting for one if there is none.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is being killed. No unit was taken.
    pub(crate) fn down_killable(&self) -> Result {
        self.down_with(|woken| woken.wait_killable().map(|()| true))
            .map(drop)
    }

    /// Takes a unit, waiting uninterruptibly for one if there is none.
    pub(crate) fn down(&self) {
        let _ = self.down_with(|woken| {
            woken.wait();
            Ok(true)
        });
    }

    /// Takes a unit; if there is none, gets in line and calls `wait` until it returns. Returns
    /// whether it took one.
    fn down_with(&self, wait: impl FnOnce(&Completion) -> Result<bool>) -> Result<bool> {
        pin_init::stack_pin_init!(let waiter = pin_init!(Waiter {
            woken <- Completion::new(),
            link: UnsafeCell::new(Link {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
                granted: false,
            }),
        }));
        let waiter = waiter.as_ref().get_ref();
        {
            let mut line = self.line.lock();
            if line.units > 0 {
                line.units -= 1;
                return Ok(true);
            }
            // SAFETY: The waiter is pinned, new, and taken off the line below if it was not granted
            // a unit, which takes it off as well.
            unsafe { line.push(waiter) };
        }
        let waited = wait(&waiter.woken);

        let mut line = self.line.lock();
        // SAFETY: The lock is held. Who granted has signalled before it gave up the lock, so that
        // it does not touch the waiter any more.
        if unsafe { (*waiter.link.get()).granted } {
            return Ok(true);
        }
        // SAFETY: The waiter is on the line, since it was not granted a unit.
        unsafe { line.remove(waiter) };
        waited.map(|_| false)
    }

    /// Gives a unit back, to the longest waiter if there is one.
    ///
    /// Callable from any context, and by others than the one who took the unit.
    pub(crate) fn up(&self) {
        let mut line = self.line.lock();
        if line.head.is_null() {
            line.units += 1;
            return;
        }
        // SAFETY: By the type invariants the waiter is valid; it stays so as long as the lock is
        // held, which it needs to leave.
        let waiter = unsafe { &*line.head };
        // SAFETY: It is the first on the line.
        unsafe { line.remove(waiter) };
        // SAFETY: The lock is held.
        unsafe { (*waiter.link.get()).granted = true };
        waiter.woken.complete();
    }
}

#[kunit_tests(azihsm_semaphore)]
mod tests {
    use super::*;

    #[test]
    fn units_are_taken_and_given_back() -> Result {
        let semaphore = KBox::pin_init(Semaphore::new(2), GFP_KERNEL)?;
        assert_eq!(semaphore.down_killable_timeout(1), Ok(true));
        assert_eq!(semaphore.down_killable_timeout(1), Ok(true));
        // Who waits in vain leaves the line.
        assert_eq!(semaphore.down_killable_timeout(1), Ok(false));
        assert_eq!(semaphore.down_killable_timeout(0), Ok(false));
        semaphore.up();
        assert_eq!(semaphore.down_killable_timeout(1), Ok(true));
        Ok(())
    }

    #[test]
    fn the_line_keeps_its_order() -> Result {
        let waiter = || {
            KBox::pin_init(
                pin_init!(Waiter {
                    woken <- Completion::new(),
                    link: UnsafeCell::new(Link {
                        next: ptr::null_mut(),
                        prev: ptr::null_mut(),
                        granted: false,
                    }),
                }),
                GFP_KERNEL,
            )
        };
        let (a, b, c) = (waiter()?, waiter()?, waiter()?);
        let semaphore = KBox::pin_init(Semaphore::new(0), GFP_KERNEL)?;
        {
            let mut line = semaphore.line.lock();
            for w in [&a, &b, &c] {
                // SAFETY: The waiter lives until the end of the test, and is off the line before.
                unsafe { line.push(w) };
            }
            // SAFETY: The waiter is on the line.
            unsafe { line.remove(&b) };
        }
        semaphore.up();
        assert!(a.woken.is_done() && !c.woken.is_done());
        semaphore.up();
        assert!(c.woken.is_done() && !b.woken.is_done());
        semaphore.up();
        assert_eq!(semaphore.down_killable_timeout(0), Ok(true));
        Ok(())
    }
}
