// SPDX-License-Identifier: MIT OR Apache-2.0

//! Firmware of the emulated HSM.
//!
//! [`Firmware`] is the line between the two halves of the emulated device: the queue hardware (crate
//! `azihsm-emulator`: registers, rings, DMA, interrupts) on one side, what the HSM *does* on the other. There are
//! two implementations: [`Model`] does it here, with real cryptography; [`Remote`] has another process do it.

mod interface;
mod model;
mod remote;

pub use interface::*;
pub use model::{Builder, LoginPolicy, Model};
pub use remote::{ConnectError, Remote, serve};
