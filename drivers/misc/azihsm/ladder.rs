// SPDX-License-Identifier: GPL-2.0

//! What to do next about a device in trouble, given what was tried before.
//!
//! The rungs, from the one that disturbs least:
//!
//! 1. A completion that raised no interrupt is delivered.
//! 2. The queue of a command that timed out is deleted and created anew. Only its commands are
//!    lost.
//! 3. The controller is disabled and enabled. All commands and all keys are lost.
//! 4. The same with a subsystem reset, if the controller did not come back.
//! 5. The controller is given up.
//!
//! Pure decisions: time and counters come in as values.

use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Resets of a queue in a row, none of its commands completing in between, before the controller is
/// reset.
const MAX_QUEUE_RESETS: u8 = 3;

/// Attempts to bring the controller back before it is given up.
const MAX_ATTEMPTS: u8 = 3;

/// Resets in a row that trouble made necessary before the controller is given up.
const MAX_TROUBLES: u8 = 5;

/// Times in a row that the device may disable the function by itself, with the resources of the
/// function as they were, before it is given up.
const MAX_DISABLED: u8 = 10;

/// Pause before the second and the third attempt to bring the controller back, in milliseconds. The
/// same before the second and the later resets in a row.
const PAUSES_MS: [u32; MAX_ATTEMPTS as usize - 1] = [100, 1_000];

/// The shortest time without trouble that shows that the controller works.
const QUIET: Delta = Delta::from_secs(60);

/// What to do about a queue whose command timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueStep {
    /// Reset the queue.
    Reset,
    /// That did not help: reset the controller.
    Escalate,
}

/// What was tried with a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueHistory {
    in_a_row: u8,
    /// Completed commands of the queue at its last reset.
    completed: u64,
}

impl QueueHistory {
    /// Notes that a command timed out, after `completed` commands of the queue since probe; returns
    /// what to do.
    pub(crate) fn timed_out(&mut self, completed: u64) -> QueueStep {
        if completed != self.completed {
            self.in_a_row = 0;
        }
        self.completed = completed;
        if self.in_a_row >= MAX_QUEUE_RESETS {
            self.in_a_row = 0;
            return QueueStep::Escalate;
        }
        self.in_a_row += 1;
        QueueStep::Reset
    }
}

/// What to do about a controller in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControllerStep {
    /// Reset it, after a pause of so many milliseconds.
    ResetAfter(u32),
    /// Resets do not help: give it up.
    GiveUp,
}

/// What to do when an attempt to bring the controller back failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again, after a pause of so many milliseconds.
    RetryAfter(u32),
    /// Give it up.
    GiveUp,
}

/// What was tried with the controller.
#[derive(Clone, Copy)]
pub(crate) struct History {
    /// Attempts that failed since the controller worked last.
    failed: u8,
    /// Resets in a row because of trouble.
    troubles: u8,
    /// When the last one was decided, and how many commands had completed since probe.
    last: Option<(Instant<Monotonic>, u64)>,
    /// Times in a row that the device disabled the function.
    disabled: u8,
    /// When that was noticed last.
    last_disabled: Option<Instant<Monotonic>>,
}

impl History {
    /// Returns the history of a controller that never was in trouble.
    pub(crate) const fn new() -> Self {
        Self {
            failed: 0,
            troubles: 0,
            last: None,
            disabled: 0,
            last_disabled: None,
        }
    }

    /// Notes at time `now` that the controller is in trouble, after `completed` commands since
    /// probe; returns what to do.
    ///
    /// Troubles are in a row if no command completed between them, and neither [`QUIET`] nor twice
    /// the command timeout passed.
    pub(crate) fn trouble(
        &mut self,
        now: Instant<Monotonic>,
        completed: u64,
        timeout: Delta,
    ) -> ControllerStep {
        let in_a_row = self.last.is_some_and(|(when, before)| {
            before == completed && (now - when).as_nanos() <= quiet(timeout)
        });
        if !in_a_row {
            self.troubles = 0;
        }
        self.last = Some((now, completed));
        next_in_row(&mut self.troubles, MAX_TROUBLES)
    }

    /// Notes at time `now` that the device disabled the function; returns what to do.
    ///
    /// That is no trouble if the function was given other resources, which shows when it is back:
    /// see [`History::forget`]. If it was not, commands that complete in between prove nothing, and
    /// only time does.
    pub(crate) fn disabled(&mut self, now: Instant<Monotonic>, timeout: Delta) -> ControllerStep {
        let in_a_row = self
            .last_disabled
            .is_some_and(|when| (now - when).as_nanos() <= quiet(timeout));
        if !in_a_row {
            self.disabled = 0;
        }
        self.last_disabled = Some(now);
        next_in_row(&mut self.disabled, MAX_DISABLED)
    }

    /// Notes that the controller could not be brought back; returns what to do.
    pub(crate) fn attempt_failed(&mut self) -> Next {
        let pause = PAUSES_MS.get(usize::from(self.failed));
        self.failed = self.failed.saturating_add(1);
        pause.map_or(Next::GiveUp, |ms| Next::RetryAfter(*ms))
    }

    /// Notes that the controller works again.
    pub(crate) fn attempt_succeeded(&mut self) {
        self.failed = 0;
    }

    /// Returns whether the last attempt failed, so that the next should do more.
    pub(crate) fn is_retry(&self) -> bool {
        self.failed != 0
    }

    /// Forgets everything: the function was reset from outside, or given other resources.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }
}

/// Returns how many nanoseconds without trouble end a row.
fn quiet(timeout: Delta) -> i64 {
    (timeout * 2).as_nanos().max(QUIET.as_nanos())
}

/// Counts one more of something of which there may be `max` in a row.
fn next_in_row(count: &mut u8, max: u8) -> ControllerStep {
    if *count >= max {
        return ControllerStep::GiveUp;
    }
    *count += 1;
    let pause = match usize::from(*count).checked_sub(2) {
        Some(later) => PAUSES_MS[later.min(PAUSES_MS.len() - 1)],
        None => 0,
    };
    ControllerStep::ResetAfter(pause)
}

#[kunit_tests(azihsm_ladder)]
mod tests {
    use super::*;

    const TIMEOUT: Delta = Delta::from_secs(6);

    #[test]
    fn a_queue_that_stays_stuck_escalates() {
        let mut queue = QueueHistory::default();
        for _ in 0..2 {
            for _ in 0..MAX_QUEUE_RESETS {
                assert!(queue.timed_out(0) == QueueStep::Reset);
            }
            assert!(queue.timed_out(0) == QueueStep::Escalate);
        }
    }

    #[test]
    fn a_queue_that_works_in_between_does_not_escalate() {
        let mut queue = QueueHistory::default();
        for completed in 0..100 {
            assert!(queue.timed_out(completed) == QueueStep::Reset);
        }
    }

    #[test]
    fn attempts_pause_longer_and_end() {
        let mut history = History::new();
        assert!(!history.is_retry());
        assert!(history.attempt_failed() == Next::RetryAfter(100));
        assert!(history.is_retry());
        assert!(history.attempt_failed() == Next::RetryAfter(1_000));
        assert!(history.attempt_failed() == Next::GiveUp);
        // Given up is given up, until something changes.
        assert!(history.attempt_failed() == Next::GiveUp);
        history.attempt_succeeded();
        assert!(!history.is_retry());
        assert!(history.attempt_failed() == Next::RetryAfter(100));
    }

    #[test]
    fn trouble_in_a_row_ends() {
        let mut history = History::new();
        let mut now = Instant::now();
        for pause in [0, 100, 1_000, 1_000, 1_000] {
            assert!(history.trouble(now, 7, TIMEOUT) == ControllerStep::ResetAfter(pause));
            history.attempt_succeeded();
            now = now + Delta::from_secs(10);
        }
        assert!(history.trouble(now, 7, TIMEOUT) == ControllerStep::GiveUp);
        history.forget();
        assert!(history.trouble(now, 7, TIMEOUT) == ControllerStep::ResetAfter(0));
    }

    #[test]
    fn a_function_disabled_again_and_again_is_given_up() {
        let mut history = History::new();
        let mut now = Instant::now();
        for i in 0..MAX_DISABLED {
            let pause = [0, 100, 1_000][usize::from(i).min(2)];
            assert!(history.disabled(now, TIMEOUT) == ControllerStep::ResetAfter(pause));
            history.attempt_succeeded();
            now = now + Delta::from_secs(60);
        }
        // It has a row of its own.
        assert!(history.trouble(now, 7, TIMEOUT) == ControllerStep::ResetAfter(0));
        assert!(history.disabled(now, TIMEOUT) == ControllerStep::GiveUp);
        // Given other resources.
        history.forget();
        assert!(history.disabled(now, TIMEOUT) == ControllerStep::ResetAfter(0));
        // With time enough in between.
        for _ in 0..100 {
            now = now + Delta::from_secs(61);
            assert!(history.disabled(now, TIMEOUT) == ControllerStep::ResetAfter(0));
        }
    }

    #[test]
    fn a_command_that_completes_ends_the_row() {
        let mut history = History::new();
        let now = Instant::now();
        for completed in 0..100 {
            assert!(history.trouble(now, completed, TIMEOUT) == ControllerStep::ResetAfter(0));
        }
    }

    #[test]
    fn quiet_time_ends_the_row() {
        for (timeout, quiet_s) in [(TIMEOUT, 60), (Delta::from_secs(600), 1_200)] {
            let mut history = History::new();
            let mut now = Instant::now();
            for _ in 0..100 {
                assert!(history.trouble(now, 0, timeout) == ControllerStep::ResetAfter(0));
                now = now + Delta::from_secs(quiet_s) + Delta::from_nanos(1);
            }
            let mut history = History::new();
            let mut steps = 0;
            while history.trouble(now, 0, timeout) != ControllerStep::GiveUp {
                now = now + Delta::from_secs(quiet_s);
                steps += 1;
            }
            assert_eq!(steps, MAX_TROUBLES);
        }
    }
}
