// SPDX-License-Identifier: GPL-2.0

//! Module parameters, as the driver uses them: with units and within bounds.

use kernel::time::Delta;

use crate::{
    dma::AREA,
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

/// Most resources that the driver asks for on behalf of the physical function.
const MAX_PF_RESOURCES: u8 = 64;

/// Returns the number of resources that the physical function takes, [`None`] to leave it as it is.
pub(crate) fn pf_resources() -> Option<u16> {
    match params::pf_res_cnt() {
        0 => None,
        count => Some(u16::from(count.min(MAX_PF_RESOURCES))),
    }
}

/// Returns whether the driver may reset the controller of the physical function.
pub(crate) fn pf_reset_allowed() -> bool {
    params::pf_lvl2_abort_enabled()
}

/// Returns the length of the largest AES data to copy, in bytes. It may change at any time.
pub(crate) fn bounce_limit() -> usize {
    // CAST: A `u32` fits a `usize` here.
    (params::bounce_limit() as usize).min(AREA)
}

/// Returns the number of fast-path queues that are to raise no interrupts.
pub(crate) fn poll_queues() -> u16 {
    u16::try_from(params::poll_queues()).unwrap_or(0)
}
