// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each operation does.

mod credential;
mod information;
mod key;

use azihsm_ddi::Status;

use super::control::Effect;

/// Response and effect of an operation, or the status with which it fails.
type Outcome<R> = Result<(R, Effect), Status>;

/// Wraps the response of an operation without effect.
fn plain<R>(response: R) -> Outcome<R> {
    Ok((response, Effect::None))
}
