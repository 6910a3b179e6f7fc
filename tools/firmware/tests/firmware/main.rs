// SPDX-License-Identifier: MIT OR Apache-2.0

//! The firmware as the queue hardware and a host see it.

mod credential;
mod fast;
mod gcm;
mod host;
mod information;
mod key;
mod migration;
mod remote;
mod reset;
mod session;
mod validation;
mod xts;
