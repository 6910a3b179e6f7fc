// SPDX-License-Identifier: MIT OR Apache-2.0

//! Firmware of the emulated HSM.
//!
//! [`Firmware`] is the line between the two halves of the emulated device: the queue hardware (crate
//! `azihsm-emulator`: registers, rings, DMA, interrupts) on one side, what the HSM *does* on the other. There is
//! two implementations: [`Model`] does it here, with real cryptography.

mod interface;
mod model;

pub use interface::*;
pub use model::{Builder, LoginPolicy, Model};
