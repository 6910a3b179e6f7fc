// SPDX-License-Identifier: GPL-2.0-or-later

//! `make bench`: the bench of the command-line tool in the guest, with everything that can be counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::artifacts;
use crate::commands::{complain, guest_files};
use crate::emulator::Setup;
use crate::guest::{End, Guest, Limits, Listener, MARK};
use crate::job::{Device, Job, quote};
use crate::layout::{Kernel, Layout};
use crate::qemu::Topology;

/// Parameters of the module: half of the eight fast-path queues are for rings that poll, and either half has slots for
/// the deepest ring that is measured.
const MODULE: [&str; 2] = ["poll_queues=4", "num_aes_slots=72"];

/// Memory of the guest: the deepest ring of the largest commands takes half a gigabyte for their data.
const MEMORY: &str = "2G";

/// Arguments of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Arguments of `azihsm bench`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
    /// An argument of the emulator; may be given several times.
    #[arg(long, allow_hyphen_values = true)]
    emulator: Vec<String>,
}

/// Runs the bench.
pub fn bench(args: &BenchArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    artifacts::module(&layout, Kernel::Stock)?;
    artifacts::programs(&layout)?;
    let plugin = artifacts::plugin(&layout)?;

    let dir = layout.run_dir("bench")?;
    let mut job = Job::with_module(Device::Bound, &MODULE.map(str::to_owned));
    job.command("export AZIHSM_COUNTER=/dev/ttyS3");
    job.command("echo '@azihsm test bench'");
    let words: Vec<String> = args.args.iter().map(|word| quote(word)).collect();
    job.command(&format!("azihsm bench --json {}", words.join(" ")));
    job.command("echo \"@azihsm exit bench $? 0\"");
    job.command("unload_module");
    let initramfs = guest_files(&layout, Kernel::Stock, &dir, &job)?.pack()?;
    println!(
        "  GUEST   kernel {}; log {}\n",
        layout.release(Kernel::Stock)?,
        layout.shown(&dir)
    );

    let setup = Setup {
        args: args.emulator.clone(),
        ..Setup::default()
    };
    let mut table = Table::default();
    let outcome = Guest {
        layout: &layout,
        dir: &dir,
        initramfs: &initramfs,
        kernel: Kernel::Stock,
        append: &[],
        memory: MEMORY,
        topology: Topology::default(),
        device: Some(&setup),
        counter: Some(&plugin),
        limits: Some(Limits {
            total: Duration::from_secs(3600),
            silence: Duration::from_secs(300),
        }),
    }
    .run(&mut table)?;

    let mut good = table.status == Some(0);
    if !good && outcome.end == End::Complete {
        println!("azihsm: error: `azihsm bench` failed in the guest");
    }
    good &= complain(&layout, &outcome);
    if good {
        let (report, picture) = keep(&layout, &dir, table.report.as_deref())?;
        println!(
            "\n  report  {}\n  picture {}",
            layout.shown(&report),
            layout.shown(&picture)
        );
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes the report and the picture of it.
fn keep(layout: &Layout, dir: &Path, report: Option<&str>) -> Result<(PathBuf, PathBuf)> {
    let report = report.context("the bench wrote no report")?;
    let path = dir.join("report.json");
    fs::write(&path, format!("{report}\n"))?;
    let output = Command::new(layout.program("azihsm"))
        .args(["bench", "--draw"])
        .arg(&path)
        .output()
        .context("starting azihsm")?;
    ensure!(
        output.status.success(),
        "the report was not drawn: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let picture = dir.join("report.svg");
    fs::write(&picture, output.stdout)?;
    Ok((path, picture))
}

/// Shows the table as it grows and keeps the report.
#[derive(Default)]
struct Table {
    telling: bool,
    report: Option<String>,
    status: Option<i32>,
}

impl Listener for Table {
    fn line(&mut self, line: &str) {
        let Some(mark) = line.strip_prefix(MARK) else {
            if self.telling && line.starts_with('{') {
                self.report = Some(line.to_owned());
            } else if self.telling || line.starts_with("not ok") {
                println!("{line}");
            }
            return;
        };
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words.as_slice() {
            ["test", "bench"] => self.telling = true,
            ["exit", "bench", status, _] => {
                self.telling = false;
                self.status = status.parse().ok();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_taken_out_of_the_output() {
        let mut table = Table::default();
        for line in [
            "{before}",
            "@azihsm test bench",
            "load door",
            r#"{"measurements":[]}"#,
            "@azihsm exit bench 0 0",
            "{after}",
        ] {
            table.line(line);
        }
        assert_eq!(table.report.as_deref(), Some(r#"{"measurements":[]}"#));
        assert_eq!(table.status, Some(0));
    }
}
