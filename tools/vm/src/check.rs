// SPDX-License-Identifier: GPL-2.0-or-later

//! `make check`: everything, one summary at the end.

use std::fs;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use crate::artifacts::cargo;
use crate::boot::Boot;
use crate::build::{Built, lines};
use crate::checkers;
use crate::child::{Interrupted, Interrupts};
use crate::interruption;
use crate::layout::Layout;
use crate::lints;
use crate::report::{Report, Suite};
use crate::runs::{self, Run, Verb};
use crate::schedule::{self, Beside, Task};
use crate::step;
use crate::tap;

/// Arguments of `check` and `check-debug`.
#[derive(Args)]
pub struct CheckArgs {
    /// Only these suites; all if none is given.
    suites: Vec<String>,
    /// How many guests run at once; if it is not given the number of processors and one more, as
    /// far as there is 1 GiB of memory for each.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Use what is built.
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs every lint and test. What fails does not keep the rest from being run.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let work = Work::new(
        Verb::Check,
        &[
            ("lint", Beside::Anything, lints::run),
            ("cargo", Beside::Anything, cargo_test),
            ("interruptions", Beside::Others, interruption::run),
        ],
        args,
    )?;
    work.run()
}

/// Runs all tests in the debug kernel, after its checkers have shown that they are alive.
pub fn check_debug(args: &CheckArgs) -> Result<ExitCode> {
    let checkers = ("checkers", Beside::Others, checkers::run as Suites);
    Work::new(Verb::CheckDebug, &[checkers], args)?.run()
}

/// Runs one of the suites that are no guest runs.
type Suites = fn(&Layout) -> Result<Suite>;

/// The suites of a verb that were asked for.
struct Work {
    layout: Layout,
    others: Vec<(&'static str, Beside, Suites)>,
    runs: Vec<Run>,
    /// How many suites may run at once.
    places: usize,
    /// Whether everything is built.
    built: bool,
}

impl Work {
    fn new(
        verb: Verb,
        others: &[(&'static str, Beside, Suites)],
        args: &CheckArgs,
    ) -> Result<Self> {
        let layout = Layout::find()?;
        let mut runs = runs::table(&layout)?;
        runs.retain(|run| run.verb == verb);
        let mut others = others.to_vec();
        let known = runs.iter().map(|run| run.name.as_str());
        let known: Vec<&str> = others.iter().map(|other| other.0).chain(known).collect();
        for name in &args.suites {
            ensure!(
                known.contains(&name.as_str()),
                "there is no suite `{name}`; there are: {}",
                known.join(" ")
            );
        }
        let wanted =
            |name: &str| args.suites.is_empty() || args.suites.iter().any(|suite| suite == name);
        others.retain(|(name, ..)| wanted(name));
        runs.retain(|run| wanted(&run.name));
        Ok(Self {
            layout,
            others,
            runs,
            places: args.jobs.map_or_else(usual_places, |jobs| Ok(jobs.get()))?,
            built: args.built,
        })
    }

    /// Builds what the guests need, and runs the suites.
    fn run(&self) -> Result<ExitCode> {
        let interrupts = Interrupts::hold()?;
        let mut report = Report::default();
        if self.places > 1 {
            step::beside_others();
        }
        let mut built = Built::default();
        // The demo that is interrupted needs the programs as well.
        let demo = self
            .others
            .iter()
            .any(|(name, ..)| *name == "interruptions");
        if self.built {
            built = Built::found(&self.layout)?;
        } else if !self.runs.is_empty() || demo {
            let suite;
            (built, suite) = Built::build(&self.layout, &self.runs, self.places > 1)?;
            report.add(suite);
        }
        interrupts.check()?;

        let mut tasks = Vec::new();
        for (name, beside, run) in &self.others {
            let work = move || guarded(name, || run(&self.layout));
            tasks.push(Task {
                // Alone it is done in its turn.
                beside: if self.places > 1 {
                    *beside
                } else {
                    Beside::Others
                },
                usual: u64::MAX,
                work: Box::new(work),
            });
        }
        for run in &self.runs {
            let built = &built;
            tasks.push(Task {
                beside: if run.alone {
                    Beside::Nothing
                } else {
                    Beside::Others
                },
                usual: run.usual,
                work: Box::new(move || guarded(&run.name, || self.boot(run, built))),
            });
        }
        let (all, mut done) = (tasks.len(), 0);
        let suites = schedule::run(tasks, self.places, |suite| {
            suite.show_failures();
            done += 1;
            println!(
                "  DONE    {}: {}, {done} of {all}",
                suite.name,
                suite.told()
            );
        })?;
        report.extend(suites);
        Ok(report.finish())
    }

    fn boot(&self, run: &Run, built: &Built) -> Result<Suite> {
        let shared = built.shared(run)?;
        Boot {
            layout: &self.layout,
            run,
            tests: &built.tests,
            shared,
            beside_others: self.places > 1,
        }
        .run()
    }
}

/// As many places as the machine has use for. Guests wait most of the time.
fn usual_places() -> Result<usize> {
    let processors = thread::available_parallelism()?.get();
    let memory =
        free_gib(&fs::read_to_string("/proc/meminfo")?).context("reading /proc/meminfo")?;
    Ok((processors + 1).min(memory).max(1))
}

/// How much memory is free, in GiB, out of `/proc/meminfo`.
fn free_gib(meminfo: &str) -> Option<usize> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kib >> 20)
}

/// A suite that could not be run is one failure. The only error is that a signal came.
fn guarded(name: &str, run: impl FnOnce() -> Result<Suite>) -> Result<Suite> {
    let mut failed = Suite::new(name);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    match result.unwrap_or_else(|_| Err(anyhow!("the runner failed: see above"))) {
        Ok(suite) => Ok(suite),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            failed.check("could be run", lines(&error));
            Ok(failed)
        }
    }
}

fn cargo_test(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("cargo test");
    let mut cargo = cargo(layout, "test");
    cargo.args(["--workspace", "--no-fail-fast"]);
    let step = step::run(
        "TEST",
        "tools and emulator",
        &cargo,
        layout.log("cargo-test"),
    )?;
    let results = libtest_results(&step.output);
    let failed = results
        .iter()
        .any(|(_, result)| *result == tap::Result::Failed);
    for (name, result) in results {
        let notes = match result {
            tap::Result::Failed => libtest_notes(&step.output, &name),
            tap::Result::Skipped => vec!["marked #[ignore]".to_owned()],
            tap::Result::Passed => Vec::new(),
        };
        suite.add(&name, result, notes);
    }
    if !step.ok && !failed {
        suite.check("everything builds and runs", step.tail());
    }
    suite.time = step.time;
    Ok(suite)
}

/// The results in the output of test programs made by `cargo test`.
fn libtest_results(output: &str) -> Vec<(String, tap::Result)> {
    output
        .lines()
        .filter_map(|line| {
            let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
            let result = match word.split([',', ' ']).next()? {
                "ok" => tap::Result::Passed,
                "FAILED" => tap::Result::Failed,
                "ignored" => tap::Result::Skipped,
                _ => return None,
            };
            Some((name.to_owned(), result))
        })
        .collect()
}

/// What a failed test printed.
fn libtest_notes(output: &str, name: &str) -> Vec<String> {
    let head = format!("---- {name} stdout ----");
    output
        .lines()
        .skip_while(|line| *line != head)
        .skip(1)
        .take_while(|line| !line.starts_with("---- ") && *line != "failures:")
        .filter(|line| !line.is_empty())
        .take(30)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a::good ... ok
test a::bad ... FAILED
test slow ... ignored, needs a device
test src/lib.rs - doc (line 3) ... ok

failures:

---- a::bad stdout ----
thread 'a::bad' panicked at src/lib.rs:9:9:
assertion failed

failures:
    a::bad

test result: FAILED. 1 passed; 1 failed; 1 ignored
";

    #[test]
    fn libtest_output_is_understood() {
        let results = libtest_results(OUTPUT);
        let results: Vec<_> = results
            .iter()
            .map(|(name, result)| (name.as_str(), *result))
            .collect();
        assert_eq!(
            results,
            [
                ("a::good", tap::Result::Passed),
                ("a::bad", tap::Result::Failed),
                ("slow", tap::Result::Skipped),
                ("src/lib.rs - doc (line 3)", tap::Result::Passed),
            ]
        );
    }

    #[test]
    fn free_memory_is_understood() {
        let meminfo = "MemTotal:  8000000 kB\nMemAvailable:    3500000 kB\nBuffers: 1 kB\n";
        assert_eq!(free_gib(meminfo), Some(3));
        assert_eq!(free_gib("MemTotal:  8000000 kB\n"), None);
    }

    #[test]
    fn a_failed_test_brings_its_output() {
        let notes = libtest_notes(OUTPUT, "a::bad");
        assert_eq!(
            notes,
            [
                "thread 'a::bad' panicked at src/lib.rs:9:9:",
                "assertion failed"
            ]
        );
    }
}
