// SPDX-License-Identifier: GPL-2.0-or-later

//! What was run and what came of it: suites, their failures, the table at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::tap::Result;

/// Something that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The test's name.
    pub name: String,
    /// The lines that say what was wrong.
    pub notes: Vec<String>,
}

/// The tests of one kind.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// How many tests passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many could not run.
    pub skipped: usize,
    /// The failed ones.
    pub failures: Vec<Failure>,
    /// Why tests could not run, with how often.
    pub skips: Vec<(String, usize)>,
    /// How long it took.
    pub time: Duration,
    started: Instant,
}

impl Suite {
    /// An empty suite; its time counts from now.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            passed: 0,
            failed: 0,
            skipped: 0,
            failures: Vec::new(),
            skips: Vec::new(),
            time: Duration::ZERO,
            started: Instant::now(),
        }
    }

    /// Adds one result.
    pub fn add(&mut self, name: &str, result: Result, notes: Vec<String>) {
        match result {
            Result::Passed => self.passed += 1,
            Result::Skipped => {
                self.skipped += 1;
                let why = notes.join(" ");
                match self.skips.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, count)) => *count += 1,
                    None => self.skips.push((why, 1)),
                }
            }
            Result::Failed => {
                self.failed += 1;
                self.failures.push(Failure {
                    name: name.to_owned(),
                    notes,
                });
            }
        }
        self.time = self.started.elapsed();
    }

    /// Takes all that was skipped so far for passed.
    pub fn expect_skips(&mut self) {
        self.passed += std::mem::take(&mut self.skipped);
        self.skips.clear();
    }

    /// Says what was skipped so far that should not have been.
    pub fn wrongly_skipped(&self, may_skip: impl Fn(&str) -> bool) -> Vec<String> {
        let wrong = self.skips.iter().filter(|(why, _)| !may_skip(why));
        wrong
            .map(|(why, count)| format!("{count} skipped: {}", told(why)))
            .collect()
    }

    /// Shows what failed, as one piece.
    pub fn show_failures(&self) {
        let mut text = String::new();
        for failure in &self.failures {
            text.push_str(&format!("  FAIL    {}: {}\n", self.name, failure.name));
            for line in &failure.notes {
                text.push_str(&format!("            {line}\n"));
            }
        }
        print!("{text}");
    }

    /// Counts and time in words.
    pub fn told(&self) -> String {
        let mut text = format!("{} passed", self.passed);
        for (count, word) in [(self.failed, "FAILED"), (self.skipped, "skipped")] {
            if count > 0 {
                text.push_str(&format!(", {count} {word}"));
            }
        }
        format!("{text} ({:.1} s)", self.time.as_secs_f64())
    }

    /// Adds a result that is either good or not.
    pub fn check(&mut self, name: &str, complaints: Vec<String>) {
        let result = if complaints.is_empty() {
            Result::Passed
        } else {
            Result::Failed
        };
        self.add(name, result, complaints);
    }
}

/// Why something was skipped, in words.
fn told(why: &str) -> &str {
    if why.is_empty() {
        "no reason given"
    } else {
        why
    }
}

/// The suites of a run.
pub struct Report {
    suites: Vec<Suite>,
    started: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            suites: Vec::new(),
            started: Instant::now(),
        }
    }
}

impl Report {
    /// Adds a suite and shows what failed in it at once.
    pub fn add(&mut self, suite: Suite) {
        suite.show_failures();
        self.suites.push(suite);
    }

    /// Adds suites whose failures have been shown.
    pub fn extend(&mut self, suites: Vec<Suite>) {
        self.suites.extend(suites);
    }

    /// Prints the table and returns the exit code of the run.
    pub fn finish(&self) -> ExitCode {
        println!("\n{}", self.table());
        let passed: usize = self.suites.iter().map(|suite| suite.passed).sum();
        let failed: usize = self.suites.iter().map(|suite| suite.failed).sum();
        let skipped: usize = self.suites.iter().map(|suite| suite.skipped).sum();
        if passed + failed == 0 {
            println!("azihsm: error: nothing was run");
        }
        let seconds = self.started.elapsed().as_secs();
        println!(
            "{passed} passed, {failed} failed, {skipped} skipped in {} min {} s",
            seconds / 60,
            seconds % 60
        );
        if failed == 0 && passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn table(&self) -> String {
        let width = self
            .suites
            .iter()
            .map(|suite| suite.name.len())
            .max()
            .unwrap_or(0)
            .max(5);
        let mut text = format!(
            "{:<width$} {:>7} {:>7} {:>8} {:>9}",
            "suite", "passed", "failed", "skipped", "time"
        );
        for suite in &self.suites {
            text.push_str(&format!(
                "\n{:<width$} {:>7} {:>7} {:>8} {:>7.1} s",
                suite.name,
                suite.passed,
                suite.failed,
                suite.skipped,
                suite.time.as_secs_f64()
            ));
        }
        for suite in &self.suites {
            for failure in &suite.failures {
                text.push_str(&format!("\n  failed  {}: {}", suite.name, failure.name));
            }
        }
        for suite in &self.suites {
            for (why, count) in &suite.skips {
                let (name, why) = (&suite.name, told(why));
                text.push_str(&format!("\n  skipped {name}: {count} x {why}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_skips_are_told_once() {
        let mut suite = Suite::new("s");
        for _ in 0..2 {
            suite.add("t", Result::Skipped, vec!["no device".to_owned()]);
        }
        assert_eq!(suite.skips, [("no device".to_owned(), 2)]);
    }

    #[test]
    fn expected_skips_count_as_passed() {
        let mut suite = Suite::new("s");
        suite.add("t", Result::Skipped, vec!["no device".to_owned()]);
        suite.expect_skips();
        assert_eq!((suite.passed, suite.skipped), (1, 0));
    }

    #[test]
    fn what_should_not_be_skipped_is_told() {
        let mut suite = Suite::new("s");
        for why in ["known", "new", "new", ""] {
            suite.add("t", Result::Skipped, vec![why.to_owned()]);
        }
        let wrong = suite.wrongly_skipped(|why| why == "known");
        assert_eq!(wrong, ["2 skipped: new", "1 skipped: no reason given"]);
    }

    #[test]
    fn nothing_run_is_a_failure() {
        let code = format!("{:?}", Report::default().finish());
        assert_eq!(code, format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn the_table_names_what_failed() {
        let mut suite = Suite::new("lint");
        suite.check("clean", Vec::new());
        suite.check("dirty", vec!["why".to_owned()]);
        let mut report = Report::default();
        report.add(suite);
        let table = report.table();
        assert!(table.contains("failed  lint: dirty"), "{table}");
        assert!(table.lines().nth(1).unwrap().starts_with("lint"), "{table}");
    }
}
