// SPDX-License-Identifier: GPL-2.0-or-later

//! The emulated Azure Integrated HSM: everything of the device but its firmware.
//!
//! A [`device::Device`] is the silicon: resources, firmware and the one state machine that serves all functions. A
//! [`function::Function`] is what a host sees as one PCI function: configuration space, registers, doorbells, queues,
//! interrupts and the guest memory it may reach. [`transport`] connects one function to one vfio-user client.
//!
//! Section numbers in the comments refer to the device model, the specification this crate is written from.

pub mod admin;
pub mod config;
pub mod control;
pub mod control_socket;
pub mod controller;
pub mod cq;
pub mod device;
pub mod doorbells;
pub mod fast;
pub mod faults;
pub mod fields;
pub mod function;
pub mod interrupts;
pub mod memory;
pub mod migration;
pub mod pci;
mod presence;
pub mod queue;
pub mod quiet;
pub mod resources;
pub mod sgl;
pub mod sriov;
pub mod stats;
pub mod transport;
