// SPDX-License-Identifier: GPL-2.0

//! Counters of a queue.
//!
//! They live under the lock of their queue, which whoever counts holds anyway: counting costs no
//! cache line that another CPU writes at the same time. Sums over queues are made when somebody
//! reads them.

use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// What the data of a command took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes copied between the caller and the slot, in both directions.
    pub(crate) bytes_copied: u32,
    /// Pages of the caller that were pinned.
    pub(crate) pages_pinned: u32,
    /// Data descriptors written to scatter-gather lists.
    pub(crate) descriptors: u32,
    /// Mappings for DMA.
    pub(crate) mappings: u32,
}

/// What the data of all commands took; see [`Usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) bytes_copied: u64,
    pub(crate) pages_pinned: u64,
    pub(crate) descriptors: u64,
    pub(crate) mappings: u64,
}

impl Totals {
    /// Adds what a command took.
    pub(crate) fn add(&mut self, usage: Usage) {
        self.bytes_copied += u64::from(usage.bytes_copied);
        self.descriptors += u64::from(usage.descriptors);
        if usage.mappings != 0 {
            self.mappings += u64::from(usage.mappings);
            self.pages_pinned += u64::from(usage.pages_pinned);
        }
    }
}

/// Time from submission to completion, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Latency {
    fn note(&mut self, time: Delta) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(0);
        if time < self.min || self.count == 0 {
            self.min = time;
        }
        self.max = self.max.max(time);
        self.sum = self.sum.saturating_add(time);
        self.count += 1;
    }

    /// Returns the shortest time, 0 if there was none.
    pub(crate) fn min(&self) -> u64 {
        self.min
    }

    /// Returns the longest time, 0 if there was none.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Returns the average time, 0 if there was none.
    pub(crate) fn average(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }
}

/// Counters of a queue, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Commands given to the device.
    pub(crate) submitted: u64,
    /// Commands completed by the device.
    pub(crate) completed: u64,
    /// Those of them that it completed with an error.
    pub(crate) failed: u64,
    /// Commands lost to a reset.
    pub(crate) aborted: u64,
    /// Those of them whose time was up.
    pub(crate) timed_out: u64,
    /// Resets of this queue alone.
    pub(crate) resets: u64,
    /// Completions that matched no command.
    pub(crate) stale: u64,
    /// Completions that reported an impossible submission queue head.
    pub(crate) bad_heads: u64,
    /// Completions that were found because no interrupt had told of them.
    pub(crate) missed: u64,
    /// From submission to completion.
    pub(crate) latency: Latency,
    /// What data took.
    pub(crate) usage: Totals,
}

impl Counters {
    /// Counts a command that the device completed `time` after it was submitted.
    pub(crate) fn note_completed(&mut self, time: Delta, failed: bool) {
        self.completed += 1;
        self.failed += u64::from(failed);
        self.latency.note(time);
    }

    /// Counts a command that was lost.
    pub(crate) fn note_aborted(&mut self, timed_out: bool) {
        self.aborted += 1;
        self.timed_out += u64::from(timed_out);
    }
}

/// Measures how often something happens, from one look to the next.
pub(crate) struct Rate {
    since: Instant<Monotonic>,
    count: u64,
}

impl Rate {
    /// Starts to measure.
    pub(crate) fn new(now: Instant<Monotonic>) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// Returns how often per second it happened since the last look, given how often it happened
    /// in all.
    pub(crate) fn look(&mut self, now: Instant<Monotonic>, count: u64) -> u64 {
        let passed = u64::try_from((now - self.since).as_nanos()).unwrap_or(0);
        let happened = count.saturating_sub(self.count);
        *self = Self { since: now, count };
        happened
            .saturating_mul(1_000_000_000)
            .checked_div(passed)
            .unwrap_or(0)
    }
}

#[kunit_tests(azihsm_stats)]
mod tests {
    use super::*;

    #[test]
    fn latency_has_minimum_maximum_and_average() {
        let mut latency = Latency::default();
        assert!((latency.min(), latency.max(), latency.average()) == (0, 0, 0));
        for ns in [20, 10, 60] {
            latency.note(Delta::from_nanos(ns));
        }
        assert!((latency.min(), latency.max(), latency.average()) == (10, 60, 30));
        // A clock that goes back does no harm.
        latency.note(Delta::from_nanos(-5));
        assert_eq!(latency.min(), 0);
    }

    #[test]
    fn errors_are_completions_too() {
        let mut counters = Counters::default();
        counters.note_completed(Delta::from_nanos(1), false);
        counters.note_completed(Delta::from_nanos(1), true);
        counters.note_aborted(true);
        counters.note_aborted(false);
        assert!((counters.completed, counters.failed) == (2, 1));
        assert!((counters.aborted, counters.timed_out) == (2, 1));
    }

    #[test]
    fn the_rate_is_that_since_the_last_look() {
        let start = Instant::<Monotonic>::now();
        let mut rate = Rate::new(start);
        assert_eq!(rate.look(start + Delta::from_secs(2), 100), 50);
        assert_eq!(rate.look(start + Delta::from_secs(3), 110), 10);
        // No time has passed.
        assert_eq!(rate.look(start + Delta::from_secs(3), 200), 0);
        assert_eq!(rate.look(start + Delta::from_secs(4), 200), 0);
    }

    #[test]
    fn usage_adds_up() {
        let one = Usage {
            bytes_copied: 1,
            pages_pinned: 2,
            descriptors: 3,
            mappings: 4,
        };
        let mut sum = Totals::default();
        sum.add(one);
        sum.add(one);
        let expected = Totals {
            bytes_copied: 2,
            pages_pinned: 4,
            descriptors: 6,
            mappings: 8,
        };
        assert!(sum == expected);
    }
}
