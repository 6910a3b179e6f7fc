// SPDX-License-Identifier: GPL-2.0

//! Interrupts that are held back while there is plenty to do anyway.
//!
//! The device sends a message for each completion. When a queue has more commands of rings than the
//! device runs at a time, nobody gains from an interrupt for each: the device has the next ones, and
//! who submits looks for some completions at once. So the handler of such a queue masks its vector,
//! and a timer looks at all masked queues of the kind instead, at a pace at which it finds some
//! completions each time. When little is left to do, or what there is takes long, the vectors are
//! unmasked.
//!
//! Nothing is lost by that. A message that comes while its vector is masked leaves the pending bit
//! set and is sent when the vector is unmasked: the handler looks once more then. So each completion
//! is followed by a look, of the timer or of the handler, whenever it was written. If the timer
//! does not come, the watchdog finds what is overdue, as it does after a lost interrupt.
//!
//! Commands of ioctls do not count: their callers wait for each of them. One that shares its queue
//! with so many of rings waits for the next look, half a millisecond at most.

use core::ops::AddAssign;

use kernel::{
    irq::IrqRequest,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    controller::Controller,
    kapi::{
        irq::{
            Line,
            Masked, //
        },
        ticker::{
            Tick,
            Ticker, //
        }, //
    },
    vectors::{
        Serves,
        Split, //
    },
};

/// Fewest commands of rings that are left in a queue for which its interrupts are held back: one more
/// than the device runs of a fast-path queue at a time.
const BUSY: u32 = 5;
/// Fewest in all queues whose interrupts are held back, for it to go on.
const ENOUGH: u32 = 8;
/// What a look is to find: fewer, and the next one is later; more, and it is sooner.
const WANTED: core::ops::RangeInclusive<usize> = 4..=8;
/// Shortest and longest time between looks, in microseconds.
const PERIOD_US: core::ops::RangeInclusive<i64> = 25..=500;
/// So many looks in vain, one after the other, end it.
const IN_VAIN: u32 = 4;
/// For how long interrupts are not held back then.
const PAUSE: Delta = Delta::from_millis(50);

/// What a look at one or more completion queues has found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Looked {
    /// Completions.
    pub(crate) found: usize,
    /// Commands of rings that are still at the device.
    pub(crate) rings: u32,
}

impl AddAssign for Looked {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.rings += other.rings;
    }
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There is to be another one.
    Again,
    /// There is little to do.
    Idle,
    /// What there is to do takes long.
    Slow,
}

/// How often to look.
struct Pace {
    period_us: i64,
    in_vain: u32,
}

impl Pace {
    fn new() -> Self {
        Self {
            period_us: 100,
            in_vain: 0,
        }
    }

    /// Takes the result of a look into account.
    fn note(&mut self, looked: Looked) -> Verdict {
        self.in_vain = match looked.found {
            0 => self.in_vain + 1,
            _ => 0,
        };
        let period = match looked.found {
            few if few < *WANTED.start() => self.period_us * 2,
            many if many > *WANTED.end() => self.period_us / 2,
            _ => self.period_us,
        };
        self.period_us = period.clamp(*PERIOD_US.start(), *PERIOD_US.end());
        if looked.rings < ENOUGH {
            self.in_vain = 0;
            Verdict::Idle
        } else if self.in_vain >= IN_VAIN {
            self.in_vain = 0;
            Verdict::Slow
        } else {
            Verdict::Again
        }
    }
}

/// What the lock protects.
struct Group<'bound> {
    /// For each vector: that it is masked.
    masked: KVec<Option<Masked<'bound>>>,
    pace: Pace,
    /// Whether the timer is started.
    running: bool,
    /// When interrupts may be held back again.
    not_before: Instant<Monotonic>,
    /// Set when the vectors go.
    closed: bool,
}

/// The vectors of one kind of queues.
pub(crate) struct Moderation<'bound> {
    controller: &'bound Controller<'bound>,
    split: Split,
    /// Number of the first vector, and the vectors.
    first: usize,
    lines: KVec<Line<'bound>>,
    group: Pin<KBox<SpinLockIrq<Group<'bound>>>>,
}

/// [`Moderation`] with its timer.
pub(crate) struct Moderator<'bound>(Arc<Ticker<Moderation<'bound>>>);

impl Clone for Moderator<'_> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<'bound> Moderator<'bound> {
    /// Prepares to hold back the interrupts of `requests`, which are those of the vectors from
    /// number `first` on.
    ///
    /// # Safety
    ///
    /// Neither the result nor a clone of it must be leaked.
    pub(crate) unsafe fn new(
        controller: &'bound Controller<'bound>,
        split: Split,
        first: usize,
        requests: impl Iterator<Item = IrqRequest<'bound>>,
    ) -> Result<Self> {
        let mut lines = KVec::new();
        let mut masked = KVec::new();
        for request in requests {
            lines.push(Line::new(&request), GFP_KERNEL)?;
            masked.push(None, GFP_KERNEL)?;
        }
        let group = Group {
            masked,
            pace: Pace::new(),
            running: false,
            not_before: Instant::now(),
            closed: false,
        };
        let group = new_spinlock_irq!(group, "azihsm_moderation");
        let moderation = Moderation {
            controller,
            split,
            first,
            lines,
            group: KBox::pin_init(group, GFP_KERNEL)?,
        };
        // SAFETY: By the safety requirements.
        let ticker = unsafe { Ticker::new(moderation) };
        Ok(Self(Arc::pin_init(ticker, GFP_KERNEL)?))
    }

    /// Tells what the handler of vector number `vector` has found.
    pub(crate) fn note(&self, vector: usize, looked: Looked) {
        if looked.rings >= BUSY {
            self.hold_back(vector);
        }
    }

    fn hold_back(&self, vector: usize) {
        let this = self.0.target();
        let Some(index) = vector.checked_sub(this.first) else {
            return;
        };
        let mut guard = this.group.lock();
        let group = &mut *guard;
        if group.closed || (Instant::now() - group.not_before).is_negative() {
            return;
        }
        let (Some(line), Some(masked)) = (this.lines.get(index), group.masked.get_mut(index))
        else {
            return;
        };
        masked.get_or_insert_with(|| line.mask());
        if !group.running {
            group.running = true;
            self.0.start(Delta::from_micros(group.pace.period_us));
        }
    }

    /// Lets all interrupts through, from now on for good.
    pub(crate) fn close(&self) {
        {
            let mut group = self.0.target().group.lock();
            group.closed = true;
            group.unmask();
        }
        // It may be started for the last time right now, but finds nothing that is masked.
        self.0.cancel();
    }
}

impl Group<'_> {
    fn unmask(&mut self) {
        for masked in &mut self.masked {
            *masked = None;
        }
    }

    /// Returns the numbers of the masked vectors, as bits; there are at most 16.
    fn set(&self) -> u32 {
        let bit =
            |(index, masked): (usize, &Option<Masked<'_>>)| u32::from(masked.is_some()) << index;
        self.masked.iter().enumerate().map(bit).sum()
    }
}

impl Tick for Moderation<'_> {
    fn tick(&self) -> Option<Delta> {
        let mut set = self.group.lock().set();
        let mut looked = Looked::default();
        while set != 0 {
            // CAST: At most 31.
            let vector = self.first + set.trailing_zeros() as usize;
            set &= set - 1;
            // CAST: At most 31.
            let serves = Serves::of(vector as u16);
            looked += serves.look(self.controller, self.split);
        }
        let mut group = self.group.lock();
        let verdict = group.pace.note(looked);
        if verdict == Verdict::Again && !group.closed {
            return Some(Delta::from_micros(group.pace.period_us));
        }
        if verdict == Verdict::Slow {
            group.not_before = Instant::now() + PAUSE;
        }
        group.unmask();
        group.running = false;
        None
    }
}

#[kunit_tests(azihsm_moderation)]
mod tests {
    use super::*;

    fn looked(found: usize, rings: u32) -> Looked {
        Looked { found, rings }
    }

    #[test]
    fn the_pace_follows_the_completions() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            assert_eq!(pace.note(looked(20, 64)), Verdict::Again);
        }
        assert_eq!(pace.period_us, *PERIOD_US.start());
        assert_eq!(pace.note(looked(6, 64)), Verdict::Again);
        assert_eq!(pace.period_us, *PERIOD_US.start());
        for _ in 0..10 {
            assert_eq!(pace.note(looked(1, 64)), Verdict::Again);
        }
        assert_eq!(pace.period_us, *PERIOD_US.end());
    }

    #[test]
    fn it_ends_when_there_is_little_to_do() {
        let mut pace = Pace::new();
        assert_eq!(pace.note(looked(4, ENOUGH)), Verdict::Again);
        assert_eq!(pace.note(looked(4, ENOUGH - 1)), Verdict::Idle);
        assert_eq!(pace.note(looked(0, 0)), Verdict::Idle);
    }

    #[test]
    fn it_ends_when_nothing_comes() {
        let mut pace = Pace::new();
        for _ in 0..IN_VAIN - 1 {
            assert_eq!(pace.note(looked(0, 64)), Verdict::Again);
        }
        assert_eq!(pace.note(looked(0, 64)), Verdict::Slow);
        // Any completion starts the count anew.
        for _ in 0..IN_VAIN - 1 {
            assert_eq!(pace.note(looked(0, 64)), Verdict::Again);
        }
        assert_eq!(pace.note(looked(1, 64)), Verdict::Again);
        assert_eq!(pace.note(looked(0, 64)), Verdict::Again);
    }
}
