// SPDX-License-Identifier: GPL-2.0

//! Module parameters, as the driver uses them: with units and within bounds.

use kernel::time::Delta;

use crate::{
    kapi::params,
    queue::MAX_SLOTS, //
};

/// Shortest command timeout, in seconds.
const MIN_TIMEOUT_S: i64 = 6;
/// Longest command timeout, in seconds.
const MAX_TIMEOUT_S: i64 = 600;

/// Returns the time a command may take.
pub(crate) fn command_timeout() -> Delta {
    let seconds = i64::from(params::abort_timeout_in_sec());
    Delta::from_secs(seconds.clamp(MIN_TIMEOUT_S, MAX_TIMEOUT_S))
}

fn entries(value: i32) -> u32 {
    // One slot less than entries; at least one slot.
    u32::try_from(value)
        .unwrap_or(0)
        .clamp(2, u32::from(MAX_SLOTS) + 1)
}

/// Returns the number of entries of control-path rings.
pub(crate) fn control_entries() -> u32 {
    entries(params::num_hsm_slots())
}

/// Returns the number of entries of fast-path rings.
pub(crate) fn aes_entries() -> u32 {
    entries(params::num_aes_slots())
}
