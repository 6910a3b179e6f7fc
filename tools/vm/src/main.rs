// SPDX-License-Identifier: GPL-2.0-or-later

//! Boots a kernel in QEMU with the emulated HSM and judges the run.
//!
//! Runs inside the Debian root that `tools/vm/env.sh` builds; the Makefile's verbs start it
//! there.

mod artifacts;
mod bench;
mod boot;
mod build;
mod chaos;
mod check;
mod checked;
mod checkers;
mod child;
mod commands;
mod console;
mod coverage;
mod emulator;
mod guest;
mod initramfs;
mod interruption;
mod job;
mod judge;
mod kept;
mod kunit;
mod layout;
mod lints;
mod origin;
mod program;
mod qemu;
mod report;
mod runs;
mod schedule;
mod shrink;
mod statistics;
mod step;
mod supervise;
mod tap;
mod terminal;

use std::process::ExitCode;

use child::Interrupted;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Boots a kernel in QEMU with the emulated HSM and judges the run.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every lint and test and prints one summary.
    Check(check::CheckArgs),
    /// Runs the tests in the debug kernel, and shows that its checkers are alive.
    CheckDebug(check::CheckArgs),
    /// Runs load under random faults, seed by seed.
    Chaos(chaos::ChaosArgs),
    /// Runs load under few random faults for long.
    Soak(chaos::SoakArgs),
    /// Tells which kernel a run boots.
    #[command(hide = true)]
    Kernel(commands::TestArgs),
    /// Runs tests in the guest.
    Test(commands::TestArgs),
    /// Shows the driver at work.
    Demo(commands::DemoArgs),
    /// Measures what commands cost.
    Bench(bench::BenchArgs),
    /// Runs a command that does not outlive its parent.
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
    /// Opens a shell in the guest.
    Shell(commands::ShellArgs),
    /// Renews the table of rules and tests in the documentation of the interface.
    Coverage,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(tracing::Level::WARN.into())
                .from_env_lossy(),
        )
        .with_writer(std::io::stderr)
        .init();

    let done = match Cli::parse().command {
        Command::Check(args) => check::check(&args),
        Command::CheckDebug(args) => check::check_debug(&args),
        Command::Chaos(args) => chaos::chaos(&args),
        Command::Soak(args) => chaos::soak(&args),
        Command::Kernel(args) => commands::kernel(&args),
        Command::Test(args) => commands::test(&args),
        Command::Demo(args) => commands::demo(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Supervise(args) => supervise::supervise(&args),
        Command::Shell(args) => commands::shell(&args),
        Command::Coverage => layout::Layout::find()
            .and_then(|layout| coverage::renew(&layout))
            .map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("\nazihsm: interrupted; all that was started was ended");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("azihsm: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
