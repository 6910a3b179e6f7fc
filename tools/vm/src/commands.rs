// SPDX-License-Identifier: GPL-2.0-or-later

//! The verbs that boot a guest: test, demo, shell.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::artifacts;
use crate::emulator::Setup;
use crate::guest::{End, Guest, Limits, Listener, MARK, Outcome};
use crate::initramfs::Initramfs;
use crate::job::{Device, Job};
use crate::judge;
use crate::kunit;
use crate::layout::{Kernel, Layout};
use crate::program::Programs;
use crate::report::{Report, Suite};
use crate::runs::{self, Run};
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
    /// Name of the folder for the logs, below `build/run`.
    #[arg(long, default_value = "demo", hide = true)]
    name: String,
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
        run.tests = Some(args.tests.clone());
    }
    artifacts::module(&layout, run.kernel_image)?;
    if run.vfs > 0 {
        artifacts::sriov_shim(&layout, run.kernel_image)?;
    }
    artifacts::programs(&layout)?;
    let tests = artifacts::selftests(&layout)?;
    let mut report = Report::default();
    report.add(run_tests(&layout, &run, &tests)?);
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

/// Boots the guest for one run of the table and collects the results.
pub fn run_tests(layout: &Layout, run: &Run, all: &[String]) -> Result<Suite> {
    let tests = run.choose(all)?;
    let dir = layout.run_dir(&run.name)?;
    let mut job = Job::with_module(run.expected(), &run.module);
    for test in &tests {
        job.test(test, run.test_limit);
    }
    job.end(run.kernel_image);

    let mut initramfs = guest_files(layout, run.kernel_image, &dir, &job)?;
    initramfs.tree(&layout.selftests(), "selftests")?;
    if run.vfs > 0 {
        let shim = layout.sriov_shim(run.kernel_image);
        initramfs.file(&shim, "lib/sriov_shim.ko", 0o644)?;
    }
    let initramfs = initramfs.pack()?;
    println!(
        "  GUEST   {}: kernel {}, log {}",
        run.name,
        layout.release(run.kernel_image)?,
        layout.shown(&dir)
    );
    let mut append = run.kernel.clone();
    if run.kunit {
        append.extend(kunit::WORDS.iter().map(|&word| word.to_owned()));
    }
    let mut programs = Programs::new(&run.name, true);
    let outcome = Guest {
        layout,
        dir: &dir,
        initramfs: &initramfs,
        kernel: run.kernel_image,
        append: &append,
        memory: run.memory(),
        iommu: run.iommu,
        device: run.setup().as_ref(),
        counter: None,
        limits: Some(run.limits()),
    }
    .run(&mut programs)?;
    exit_if_interrupted(&outcome);

    let mut suite = programs.finish();
    if run.expected() != Device::Bound {
        // To say that there is no node is what the tests have to do there.
        suite.expect_skips();
    }
    if run.kunit {
        let declared = kunit::declared(&layout.repo.join("drivers"))?;
        kunit::collect(&outcome.kernel, &declared, &mut suite);
    }
    for (name, complaints) in verdicts(layout, &outcome) {
        suite.check(name, complaints);
    }
    Ok(suite)
}

/// Shows the driver at work.
pub fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    let start = Instant::now();
    artifacts::module(&layout, Kernel::Stock)?;
    artifacts::programs(&layout)?;
    let built = start.elapsed();

    let dir = layout.run_dir(&args.name)?;
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
        iommu: None,
        device: Some(&setup),
        counter: None,
        limits: Some(Limits {
            total: Duration::from_secs(600),
            silence: Duration::from_secs(60),
        }),
    }
    .run(&mut story)?;
    exit_if_interrupted(&outcome);

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
        iommu: None,
        device: (!args.no_device).then_some(&setup),
        counter: None,
        limits: None,
    }
    .run(&mut relay)?;
    drop(relay);
    println!();
    exit_if_interrupted(&outcome);
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
    let module = layout.module(kernel);
    ensure!(
        module.exists(),
        "the module is not built: {} is missing",
        layout.shown(&module)
    );
    let mut initramfs = Initramfs::begin(layout, dir, job.text())?;
    initramfs.file(&module, "lib/azihsm.ko", 0o644)?;
    let injector = layout.error_injector()?;
    if kernel == Kernel::Stock && injector.exists() {
        initramfs.file(&injector, "lib/aer_inject.ko.xz", 0o644)?;
    }
    initramfs.program(&layout.program("azihsm"), "usr/local/bin/azihsm")?;
    Ok(initramfs)
}

/// What must be true of every run, with what speaks against it.
pub fn verdicts(layout: &Layout, outcome: &Outcome) -> Vec<(&'static str, Vec<String>)> {
    let mut end = Vec::new();
    if let End::Failed(why) = &outcome.end {
        end.extend(why.lines().map(str::to_owned));
        end.push(format!("the end of {}:", layout.shown(&outcome.console)));
        end.extend(outcome.console_tail(20));
    }
    let mut kernel: Vec<String> = Vec::new();
    for finding in judge::findings(&outcome.kernel) {
        kernel.extend(finding.told());
    }
    match outcome.taint {
        Some(taint) => kernel.extend(judge::taint_trouble(taint)),
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
    for (_, complaints) in verdicts(layout, outcome) {
        if !complaints.is_empty() {
            good = false;
            println!("azihsm: error: {}", complaints.join("\n  "));
        }
    }
    good
}

/// After Ctrl-C there is nothing to report; everything has been taken down.
pub fn exit_if_interrupted(outcome: &Outcome) {
    if outcome.end == End::Interrupted {
        eprintln!("\nazihsm: interrupted; the guest and the emulator were ended");
        std::process::exit(130);
    }
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
