// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs a command so that nothing of it outlives whoever asked for it.
//!
//! A build step has children of its own (make's compilers, cargo's rustc), and a parent-death
//! signal reaches only the first of them. So the runner starts itself once more in between, as
//! the leader of a process group that holds all of them: when the runner ends, however it does,
//! the kernel tells the leader, and the leader kills the group.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgrp, getppid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Arguments of `supervise`.
#[derive(Args)]
pub struct SuperviseArgs {
    /// Process that must not be outlived.
    #[arg(long)]
    parent: i32,
    /// The command.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The same command under supervision by a second process of this program.
pub fn supervised(command: &Command) -> Result<Command> {
    let mut supervisor = Command::new(env::current_exe().context("finding this program")?);
    supervisor
        .args(["supervise", "--parent", &std::process::id().to_string()])
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .process_group(0);
    if let Some(folder) = command.get_current_dir() {
        supervisor.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => supervisor.env(name, value),
            None => supervisor.env_remove(name),
        };
    }
    Ok(supervisor)
}

/// Runs the command and ends as it did.
pub fn supervise(args: &SuperviseArgs) -> Result<ExitCode> {
    let group = getpgrp();
    ensure!(
        group == Pid::this(),
        "`supervise` must lead a process group of its own"
    );
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // This process is one of them.
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    ensure!(
        getppid() == Pid::from_raw(args.parent),
        "the parent ended before the command was started"
    );

    let (program, arguments) = args.command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("starting {}", program.to_string_lossy()))?;
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
