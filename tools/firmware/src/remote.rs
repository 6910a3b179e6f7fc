// SPDX-License-Identifier: MIT OR Apache-2.0

//! Firmware in another process, over a UNIX stream socket.
//!
//! The protocol is described in `PROTOCOL.md` beside this crate. [`Remote`] is the side of the queue hardware,
//! [`serve`] the side of the firmware.

mod client;
mod frame;
mod message;
mod server;

pub use client::{ConnectError, Remote};
pub use server::serve;

/// Version of the protocol.
const VERSION: u16 = 2;
