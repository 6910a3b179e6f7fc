// SPDX-License-Identifier: GPL-2.0-or-later

//! Drives the emulated device through its register interface, as a host does.

mod admin;
mod control;
mod controller;
mod doorbells;
mod fast;
mod firmware;
mod functions;
mod host;
mod queues;
