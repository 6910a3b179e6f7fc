// SPDX-License-Identifier: GPL-2.0-or-later

//! Build steps: one line each, the output in a log, shown only if the step fails.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::supervise::supervised;

/// How many of the last lines of a failed step's output are shown.
const TAIL: usize = 40;

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

/// Runs `command`, announced as `verb what`, with its output in `log`.
pub fn run(verb: &str, what: &str, command: &Command, log: PathBuf) -> Result<Finished> {
    let start = Instant::now();
    print!("  {verb:<7} {what} ... ");
    io::stdout().flush()?;
    if verbose() {
        println!("\n  + {command:?}");
    }

    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let status = supervised(command)?
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if verbose() {
        print!("{output}");
    }

    let time = start.elapsed();
    let word = if status.success() { "done" } else { "FAILED" };
    println!("{word} ({:.1} s)", time.as_secs_f64());
    Ok(Finished {
        ok: status.success(),
        output,
        time,
        log,
    })
}
