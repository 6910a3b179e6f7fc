// SPDX-License-Identifier: GPL-2.0-or-later

//! Command-line tool for the Azure Integrated HSM.
//!
//! It talks to the driver only through the interface in `include/uapi/linux/azihsm.h`.

mod bench;
mod cli;
mod demo;
mod device;
mod exit;
mod hsm;
mod info;
mod list;
mod mgmt;
mod nodes;
mod open;
mod uapi;
mod vf;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
