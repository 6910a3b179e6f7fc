// SPDX-License-Identifier: GPL-2.0

//! Kernel abstractions that the `kernel` crate does not have yet.
//!
//! A staging area: each file covers one subsystem, knows nothing about the driver and is written to
//! move to `rust/kernel/` as it is, with its C helpers moving to `rust/helpers/`. All of the
//! driver's use of `bindings` and all of its `extern "C"` declarations are below this module.

#![allow(
    dead_code,
    reason = "an abstraction is made whole, whatever the driver uses of it"
)]

pub(crate) mod chrdev;
pub(crate) mod coherent;
pub(crate) mod dma;
pub(crate) mod irq;
pub(crate) mod log;
pub(crate) mod mm;
pub(crate) mod params;
pub(crate) mod pci;
pub(crate) mod plug;
pub(crate) mod random;
pub(crate) mod semaphore;
pub(crate) mod sysfs;
pub(crate) mod task;
pub(crate) mod ticker;
pub(crate) mod uaccess;
pub(crate) mod uring;
pub(crate) mod wait;
pub(crate) mod work;
