// SPDX-License-Identifier: GPL-2.0-or-later

//! The verbs that boot a guest: test, demo, shell.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::artifacts;
use crate::boot::{self, Boot};
use crate::emulator::Setup;
use crate::guest::{End, Guest, Limits, Listener, MARK, Outcome};
use crate::initramfs::Initramfs;
use crate::job::{Device, Job};
use crate::judge;
use crate::layout::{Kernel, Layout};
use crate::qemu::Topology;
use crate::report::Report;
use crate::runs;
use crate::terminal::{self, Relay};

/// Arguments of `test`.
#[derive(Args)]
pub struct TestArgs {
    /// Which tests; all if none is given.
    tests: Vec<String>,
    /// Which run of runs.toml.
    #[arg(long, default_value = "guest")]
    run: String,
}

/// Arguments of `demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// Use what is built.
    #[arg(long, hide = true)]
    built: bool,
}

/// Arguments of `shell`.
#[derive(Args)]
pub struct ShellArgs {
    /// Boot a machine without the device.
    #[arg(long)]
    no_device: bool,
    /// Which kernel to boot.
    #[arg(long, value_enum, default_value_t)]
    kernel: Kernel,
}

/// Runs chosen tests in the guest.
pub fn test(args: &TestArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    let mut run = runs::find(&layout, &args.run)?;
    if !args.tests.is_empty() {
        run.only(&args.tests);
    }
    artifacts::module(&layout, run.kernel_image)?;
    if run.vfs > 0 {
        artifacts::sriov_shim(&layout, run.kernel_image)?;
    }
    artifacts::programs(&layout)?;
    let tests = artifacts::selftests(&layout)?;
    let shared = boot::pack_shared(&layout, run.kernel_image)?;
    let boot = Boot {
        layout: &layout,
        run: &run,
        tests: &tests,
        shared: &shared,
        beside_others: false,
    };
    let mut report = Report::default();
    report.add(boot.run()?);
    Ok(report.finish())
}

/// Tells which kernel a run boots, for the Makefile.
pub fn kernel(args: &TestArgs) -> Result<ExitCode> {
    let run = runs::find(&Layout::find()?, &args.run)?;
    match run.kernel_image {
        Kernel::Stock => println!("stock"),
        Kernel::Debug => println!("debug"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the driver at work.
pub fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    let start = Instant::now();
    if !args.built {
        artifacts::module(&layout, Kernel::Stock)?;
        artifacts::programs(&layout)?;
    }
    let built = start.elapsed();

    let dir = layout.run_dir("demo")?;
    let mut job = Job::with_module(Device::Bound, &[]);
    job.command("echo '@azihsm test demo'");
    job.command("azihsm demo; status=$?");
    job.command("echo \"@azihsm exit demo $status 0\"");
    job.command("unload_module");
    let initramfs = guest_files(&layout, Kernel::Stock, &dir, &job)?.pack()?;
    println!(
        "  GUEST   kernel {}, unmodified; log {}\n",
        layout.release(Kernel::Stock)?,
        layout.shown(&dir)
    );

    let setup = Setup::default();
    let mut story = Story::default();
    let outcome = Guest {
        layout: &layout,
        dir: &dir,
        initramfs: &initramfs,
        kernel: Kernel::Stock,
        append: &[],
        memory: Kernel::Stock.memory(),
        topology: Topology::default(),
        device: Some(&setup),
        counter: None,
        limits: Some(Limits {
            total: Duration::from_secs(600),
            silence: Duration::from_secs(60),
        }),
    }
    .run(&mut story)?;

    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    let statistics = outcome
        .emulator
        .as_ref()
        .and_then(|e| e.statistics.as_ref());
    if let (End::Complete, Some(statistics)) = (&outcome.end, statistics) {
        println!("\n{}", statistics.story());
        println!(
            "\nTime\n  in all        {:.1} s: {:.1} s to build, {:.1} s to boot, {:.1} s for the demo",
            start.elapsed().as_secs_f64(),
            built.as_secs_f64(),
            seconds(outcome.boot),
            seconds(story.time)
        );
    }
    let mut good = story.status == Some(0);
    if !good && outcome.end == End::Complete {
        println!("azihsm: error: `azihsm demo` failed in the guest");
    }
    good &= complain(&layout, &outcome);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Opens a shell in the guest.
pub fn shell(args: &ShellArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    artifacts::module(&layout, args.kernel)?;
    artifacts::programs(&layout)?;
    let tests = artifacts::selftests(&layout).inspect_err(|error| {
        println!("  (no guest tests in the guest: {error:#})");
    });

    let dir = layout.run_dir("shell")?;
    let device = if args.no_device {
        Device::Absent
    } else {
        Device::Bound
    };
    let mut job = Job::with_module(device, &[]);
    job.command("export PATH=$PATH:/selftests PS1='guest:\\w\\$ '");
    let size = terminal::size();
    let (rows, columns) = size.unwrap_or((24, 80));
    // Without a person's terminal nothing shall come back that was only sent.
    let echo = if size.is_some() { "" } else { "-echo" };
    job.command(&format!("stty sane rows {rows} cols {columns} {echo}"));
    job.command("echo '@azihsm shell'; cd /root");
    job.command("setsid -c sh -i </dev/ttyS1 >/dev/ttyS1 2>&1");
    // The end of a session hangs its terminal up: open it anew.
    job.command("exec </dev/ttyS1 >/dev/ttyS1 2>&1; stty raw -echo");
    let mut initramfs = guest_files(&layout, args.kernel, &dir, &job)?;
    if tests.is_ok() {
        initramfs.tree(&layout.selftests(), "selftests")?;
    }
    let initramfs = initramfs.pack()?;
    println!(
        "  GUEST   kernel {}; module loaded, tools and tests on PATH\n  \
         kernel messages: dmesg there, {} here\n  leave with `exit`, or with Ctrl-] at any time\n",
        layout.release(args.kernel)?,
        layout.shown(&dir.join("console.log"))
    );

    let setup = Setup::default();
    let mut relay = Relay::default();
    let outcome = Guest {
        layout: &layout,
        dir: &dir,
        initramfs: &initramfs,
        kernel: args.kernel,
        append: &[],
        memory: args.kernel.memory(),
        topology: Topology::default(),
        device: (!args.no_device).then_some(&setup),
        counter: None,
        limits: None,
    }
    .run(&mut relay)?;
    drop(relay);
    println!();
    let mut good = true;
    if outcome.end != End::Left {
        good = complain(&layout, &outcome);
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The guest's file system with the module and the tool.
pub fn guest_files(layout: &Layout, kernel: Kernel, dir: &Path, job: &Job) -> Result<Initramfs> {
    let mut initramfs = module_files(layout, kernel, dir)?;
    initramfs.text(job.text(), "job")?;
    Ok(initramfs)
}

/// The same without a job.
pub fn module_files(layout: &Layout, kernel: Kernel, dir: &Path) -> Result<Initramfs> {
    let module = layout.module(kernel);
    ensure!(
        module.exists(),
        "the module is not built: {} is missing",
        layout.shown(&module)
    );
    let mut initramfs = Initramfs::begin(layout, dir)?;
    initramfs.file(&module, "lib/azihsm.ko", 0o644)?;
    let injector = layout.error_injector()?;
    if kernel == Kernel::Stock && injector.exists() {
        initramfs.file(&injector, "lib/aer_inject.ko.xz", 0o644)?;
    }
    initramfs.program(&layout.program("azihsm"), "usr/local/bin/azihsm")?;
    Ok(initramfs)
}

/// What must be true of every run, with what speaks against it. Of the kernel's own locks `cores`
/// lockdep may have found a cycle.
pub fn verdicts(
    layout: &Layout,
    outcome: &Outcome,
    expected: judge::Expected,
) -> Vec<(&'static str, Vec<String>)> {
    let mut end = Vec::new();
    if let End::Failed(why) = &outcome.end {
        end.extend(why.lines().map(str::to_owned));
        end.push(format!("the end of {}:", layout.shown(&outcome.console)));
        end.extend(outcome.console_tail(20));
    }
    let mut kernel: Vec<String> = Vec::new();
    for finding in judge::findings_beyond(&outcome.kernel, expected) {
        kernel.extend(finding.told());
    }
    match outcome.taint {
        Some(taint) => {
            let warnings = judge::Expected {
                locks: &[],
                ..expected
            };
            let warned = judge::has_any_of(warnings, &outcome.kernel);
            kernel.extend(judge::taint_trouble(taint, warned));
        }
        None if outcome.end == End::Complete => {
            kernel.push("the guest did not tell its taint flags".to_owned());
        }
        None => {}
    }
    let mut verdicts = vec![("the guest ran to its end", end), (judge::CLEAN, kernel)];
    if let Some(emulator) = &outcome.emulator {
        verdicts.push(("the device saw no violation", emulator.complaints()));
    }
    verdicts
}

/// Says what speaks against a run; returns whether nothing does.
pub fn complain(layout: &Layout, outcome: &Outcome) -> bool {
    let mut good = true;
    for (_, complaints) in verdicts(layout, outcome, judge::Expected::default()) {
        if !complaints.is_empty() {
            good = false;
            println!("azihsm: error: {}", complaints.join("\n  "));
        }
    }
    good
}

/// Shows the demo's own lines as they come.
#[derive(Default)]
struct Story {
    telling: bool,
    started: Option<Instant>,
    time: Option<Duration>,
    status: Option<i32>,
}

impl Listener for Story {
    fn line(&mut self, line: &str) {
        let Some(mark) = line.strip_prefix(MARK) else {
            let trouble = line.starts_with("not ok") || line.starts_with("insmod:");
            if self.telling || trouble {
                println!("{line}");
            }
            return;
        };
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words.as_slice() {
            ["test", "demo"] => {
                self.telling = true;
                self.started = Some(Instant::now());
            }
            ["exit", "demo", status, _] => {
                self.telling = false;
                self.time = self.started.map(|started| started.elapsed());
                self.status = status.parse().ok();
            }
            _ => {}
        }
    }
}
