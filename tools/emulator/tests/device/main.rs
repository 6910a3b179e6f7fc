// SPDX-License-Identifier: GPL-2.0-or-later

//! Drives the emulated device through its register interface, as a host does.

#![expect(
    clippy::precedence,
    reason = "fields put together with | and << read better without parentheses"
)]

mod admin;
mod control;
mod controller;
mod doorbells;
mod fast;
mod fault_state;
mod faults;
mod firmware;
mod functions;
mod garbage;
mod host;
mod migration;
mod model;
mod queues;
mod wycheproof;
