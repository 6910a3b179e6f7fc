// SPDX-License-Identifier: GPL-2.0-or-later

//! Build steps: one line each, the output in a log, shown only if the step fails.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::Interrupts;
use crate::supervise::supervised;

/// How many of the last lines of a failed step's output are shown.
const TAIL: usize = 40;

/// Whether steps and guests run beside each other: a line is then written at a time.
static BESIDE: AtomicBool = AtomicBool::new(false);

/// What a step did.
pub struct Finished {
    /// Whether the command succeeded.
    pub ok: bool,
    /// All that it printed.
    pub output: String,
    /// How long it took.
    pub time: Duration,
    /// Where the output was kept.
    pub log: PathBuf,
}

impl Finished {
    /// The last lines of the output.
    pub fn tail(&self) -> Vec<String> {
        let lines: Vec<&str> = self.output.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        lines.into_iter().skip(from).map(str::to_owned).collect()
    }
}

/// Whether commands and their output are to be shown (`V=1`).
pub fn verbose() -> bool {
    env::var("V").is_ok_and(|v| v == "1")
}

/// From now on steps have others beside them: each is shown when it is done, not when it begins.
pub fn beside_others() {
    BESIDE.store(true, Ordering::Relaxed);
}

/// Tells that nothing is done for `what`, since it was done before.
pub fn cached(what: &str) {
    println!("  {:<7} {what}", "CACHED");
}

/// Runs `command`, announced as `verb what`, with its output in `log`.
pub fn run(verb: &str, what: &str, command: &Command, log: PathBuf) -> Result<Finished> {
    let interrupts = Interrupts::hold()?;
    let start = Instant::now();
    let beside = BESIDE.load(Ordering::Relaxed);
    let mut line = format!("  {verb:<7} {what} ... ");
    if verbose() {
        line.push_str(&format!("\n  + {command:?}\n"));
    }
    if !beside {
        print!("{line}");
        io::stdout().flush()?;
        line.clear();
    }

    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let child = supervised(command)?
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let status = wait(child, &interrupts)?;
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if verbose() {
        line.push_str(&output);
    }

    let time = start.elapsed();
    let word = if status.success() { "done" } else { "FAILED" };
    println!("{line}{word} ({:.1} s)", time.as_secs_f64());
    Ok(Finished {
        ok: status.success(),
        output,
        time,
        log,
    })
}

/// Waits for a supervised command; ends it and all that it started when a signal came.
fn wait(mut child: Child, interrupts: &Interrupts) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Err(interrupted) = interrupts.check() {
            // The supervisor ends the whole group.
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
            child.wait()?;
            return Err(interrupted.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
