// SPDX-License-Identifier: GPL-2.0-or-later

//! `make check`: everything, cheap things first, one summary at the end.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::artifacts::{self, cargo};
use crate::checkers;
use crate::commands::run_tests;
use crate::interruption;
use crate::layout::{Kernel, Layout};
use crate::lints;
use crate::report::{Report, Suite};
use crate::runs::{self, Run, Verb};
use crate::step;
use crate::tap;

/// Arguments of `check` and `check-debug`.
#[derive(Args)]
pub struct CheckArgs {
    /// Only these suites; all if none is given.
    suites: Vec<String>,
}

/// Runs every lint and test. What fails does not keep the rest from being run.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let mut work = Work::new(Verb::Check, &["lint", "cargo", "interruptions"], args)?;
    work.suite("lint", lints::run);
    work.suite("cargo", cargo_test);
    work.guest_runs();
    work.suite("interruptions", interruption::run);
    Ok(work.report.finish())
}

/// Runs all tests in the debug kernel, after its checkers have shown that they are alive.
pub fn check_debug(args: &CheckArgs) -> Result<ExitCode> {
    let mut work = Work::new(Verb::CheckDebug, &["checkers"], args)?;
    work.suite("checkers", checkers::run);
    work.guest_runs();
    Ok(work.report.finish())
}

/// The suites of a verb that were asked for, and what came of them.
struct Work {
    layout: Layout,
    chosen: Vec<String>,
    runs: Vec<Run>,
    report: Report,
}

impl Work {
    fn new(verb: Verb, suites: &[&str], args: &CheckArgs) -> Result<Self> {
        let layout = Layout::find()?;
        let mut runs = runs::table(&layout)?;
        runs.retain(|run| run.verb == verb);
        let known = runs.iter().map(|run| run.name.as_str());
        let known: Vec<&str> = suites.iter().copied().chain(known).collect();
        for name in &args.suites {
            ensure!(
                known.contains(&name.as_str()),
                "there is no suite `{name}`; there are: {}",
                known.join(" ")
            );
        }
        let mut work = Self {
            layout,
            chosen: args.suites.clone(),
            runs: Vec::new(),
            report: Report::default(),
        };
        runs.retain(|run| work.wants(&run.name));
        work.runs = runs;
        Ok(work)
    }

    fn wants(&self, name: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|chosen| chosen == name)
    }

    fn suite(&mut self, name: &str, run: impl FnOnce(&Layout) -> Result<Suite>) {
        if self.wants(name) {
            self.report.add(guarded(name, || run(&self.layout)));
        }
    }

    /// Builds what the guest needs and boots it for each run.
    fn guest_runs(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let layout = &self.layout;
        let mut build = Suite::new("build");
        let mut part = |name: &str, result: Result<()>| {
            let complaints = result.err().map(|error| lines(&error)).unwrap_or_default();
            let good = complaints.is_empty();
            build.check(name, complaints);
            good
        };
        let mut built = Vec::new();
        for (name, kernel) in [("module", Kernel::Stock), ("debug module", Kernel::Debug)] {
            let needed = self.runs.iter().any(|run| run.kernel_image == kernel);
            if needed && part(name, artifacts::module(layout, kernel)) {
                built.push(kernel);
            }
        }
        let mut shims = Vec::new();
        for (name, kernel) in [
            ("SR-IOV shim", Kernel::Stock),
            ("debug SR-IOV shim", Kernel::Debug),
        ] {
            let needed = |run: &Run| run.vfs > 0 && run.kernel_image == kernel;
            if self.runs.iter().any(needed) && part(name, artifacts::sriov_shim(layout, kernel)) {
                shims.push(kernel);
            }
        }
        let mut ready = part("programs", artifacts::programs(layout));
        let mut tests = Vec::new();
        ready &= part(
            "guest tests",
            artifacts::selftests(layout).map(|names| tests = names),
        );
        self.report.add(build);

        for run in &self.runs {
            self.report.add(guarded(&run.name, || {
                ensure!(
                    ready
                        && built.contains(&run.kernel_image)
                        && (run.vfs == 0 || shims.contains(&run.kernel_image)),
                    "not run: something that it needs did not build"
                );
                run_tests(layout, run, &tests)
            }));
        }
    }
}

/// A suite that could not be run is one failure.
fn guarded(name: &str, run: impl FnOnce() -> Result<Suite>) -> Suite {
    let mut failed = Suite::new(name);
    run().unwrap_or_else(|error| {
        failed.check("could be run", lines(&error));
        failed
    })
}

fn lines(error: &anyhow::Error) -> Vec<String> {
    format!("{error:#}").lines().map(str::to_owned).collect()
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
