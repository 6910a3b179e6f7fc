// SPDX-License-Identifier: GPL-2.0

//! Driver for the Azure Integrated HSM.
//!
//! The HSM is a PCIe security processor: keys live inside it, software only holds handles. The
//! layers of the driver, calls going down and completions coming up:
//!
//! ```text
//!   front doors   chardev  uring  mgmt  sysfs  pci
//!   requests      session  files  control  aes  query  request/
//!   engine        queue  slot  command  pool  waiters  dma  placement  spares
//!   controller    controller  lifecycle  admin  recovery  ladder  vectors  sriov
//!   hardware      regs  ring  wire/
//! ```
//!
//! `kapi` holds abstractions that the kernel crate lacks, and with them nearly all unsafe code.
//!
//! See [`Documentation/driver-api/azihsm.rst`](srctree/Documentation/driver-api/azihsm.rst).

use kernel::{
    driver,
    prelude::*,
    InPlaceModule, //
};

mod admin;
mod aes;
mod chardev;
mod command;
mod control;
mod controller;
mod devinfo;
mod dma;
mod files;
mod ids;
mod kapi;
mod ladder;
mod lifecycle;
mod log;
mod mgmt;
mod moderation;
mod params;
mod patience;
mod pci;
mod placement;
mod pool;
mod query;
mod queue;
mod recovery;
mod regs;
mod request;
mod ring;
mod session;
mod slot;
mod spares;
mod sriov;
mod stats;
mod sysfs;
mod uapi;
mod uring;
mod vectors;
mod waiters;
mod wire;

/// The loaded module.
///
/// Fields are dropped in this order: the driver unbinds from all functions before the classes of
/// their nodes go.
#[pin_data]
struct Module {
    #[pin]
    driver: driver::Registration<kapi::pci::Adapter<pci::Driver>>,
    nodes: kapi::chrdev::ClassGuard,
    mgmt_nodes: kapi::chrdev::ClassGuard,
}

impl InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: This is the only registration of the class; the guard is dropped after the
            // driver, whose devices are all that use the class.
            nodes: unsafe { chardev::NODES.register()? },
            // SAFETY: As above.
            mgmt_nodes: unsafe { mgmt::NODES.register()? },
            driver <- driver::Registration::new(
                <LocalModule as kernel::ModuleMetadata>::NAME,
                module
            ),
        })
    }
}

module! {
    type: Module,
    name: "azihsm",
    authors: ["azihsm developers"],
    description: "Azure Integrated HSM",
    license: "GPL",
}
