// SPDX-License-Identifier: GPL-2.0

//! How long a caller waits.
//!
//! Every wait of a caller ends: for a slot when the time that a command may take is over, for the
//! command itself when the time that recovery may take is over as well. Normally recovery has ended
//! the command before; that nobody waits longer does not depend on it.

use kernel::time::{
    msecs_to_jiffies,
    Delta,
    Instant,
    Jiffies,
    Monotonic, //
};

/// The limits of one caller's waits, counted from when it was made.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// When it is too late to begin.
    pub(crate) begin: Instant<Monotonic>,
    /// When the caller goes, whatever became of the command.
    pub(crate) end: Instant<Monotonic>,
}

impl Patience {
    /// Returns the patience of a caller whose command may take `timeout`, with `recovery` for
    /// the driver to end a command that takes longer.
    pub(crate) fn new(timeout: Delta, recovery: Delta) -> Self {
        let begin = Instant::now() + timeout;
        Self {
            begin,
            end: begin + recovery,
        }
    }
}

/// Returns the time from now `until` then, rounded up; 0 if that is past.
pub(crate) fn jiffies_until(until: Instant<Monotonic>) -> Jiffies {
    let left = until - Instant::now();
    if left.is_negative() || left.is_zero() {
        return 0;
    }
    msecs_to_jiffies(u32::try_from(left.as_millis_ceil()).unwrap_or(u32::MAX)).max(1)
}
