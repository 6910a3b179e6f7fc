// SPDX-License-Identifier: GPL-2.0

//! How those who wait for the work item make it come to its end.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Nobody is in a hurry.
const NO: u32 = 0;
/// What is under way is of no use any more, as the controller is to be held or removed.
const NEXT: u32 = 1;
/// Whoever wants the controller held was killed: that has to be done without waiting for it.
const KILLED: u32 = 2;

/// Whether waits for the device are to end. Only a hint: a wait that misses it takes its time.
pub(super) struct Hurry(Atomic<u32>);

impl Hurry {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(NO))
    }

    /// Returns whether waits for the device are to end.
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Relaxed) != NO
    }

    /// Has what is under way end.
    pub(super) fn end_step(&self) {
        self.0.store(NEXT, Relaxed);
    }

    /// What was asked for begins, and may take its time; if the one who asked was not killed.
    pub(super) fn step_begins(&self) {
        let _ = self.0.cmpxchg(NEXT, NO, Relaxed);
    }

    /// Has everything end.
    pub(super) fn end_all(&self) {
        self.0.store(KILLED, Relaxed);
    }

    /// What was asked for is done.
    pub(super) fn done(&self) {
        self.0.store(NO, Relaxed);
    }
}
