// SPDX-License-Identifier: GPL-2.0-or-later

//! The test programs of a guest run: whose output is whose, and what it comes to.

use std::time::Duration;

use crate::guest::{Listener, MARK};
use crate::report::Suite;
use crate::tap::{Case, Parser, Result, Summary};

/// Exit code of a kselftest that could not run.
const SKIP: i32 = 4;

/// Collects the results of the programs that the job runs one after the other.
pub struct Programs {
    suite: Suite,
    current: Option<(String, Parser)>,
    ended: Vec<String>,
    /// Whether each program is shown when it ends.
    show: bool,
    /// Whether it is shown with the suite's name.
    named: bool,
}

impl Programs {
    /// Collects into a suite of the given name.
    pub fn new(suite: &str, show: bool) -> Self {
        Self {
            suite: Suite::new(suite),
            current: None,
            ended: Vec::new(),
            show,
            named: false,
        }
    }

    /// Shows the suite's name with each program: there are others beside it.
    pub fn named(self, named: bool) -> Self {
        Self { named, ..self }
    }

    /// The programs that came to their end.
    pub fn ended(&self) -> &[String] {
        &self.ended
    }

    /// Ends the collection.
    pub fn finish(mut self) -> Suite {
        if let Some((name, parser)) = self.current.take() {
            self.add(&name, parser.finish(), None, Duration::ZERO);
        }
        self.suite
    }

    fn add(&mut self, name: &str, summary: Summary, exit: Option<i32>, time: Duration) {
        let cases = judge(summary, exit);
        if self.show {
            let suite = if self.named {
                format!("{}: ", self.suite.name)
            } else {
                String::new()
            };
            println!(
                "  TEST    {suite}{name}: {} ({:.1} s)",
                counts(&cases),
                time.as_secs_f64()
            );
        }
        for case in cases {
            self.suite
                .add(&format!("{name}: {}", case.name), case.result, case.notes);
        }
    }
}

impl Listener for Programs {
    fn line(&mut self, line: &str) {
        let Some(mark) = line.strip_prefix(MARK) else {
            if let Some((_, parser)) = &mut self.current {
                parser.line(line);
            }
            return;
        };
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words.as_slice() {
            ["test", name] => self.current = Some(((*name).to_owned(), Parser::default())),
            ["exit", name, status, time] => {
                if let Some((_, parser)) = self.current.take() {
                    let time = Duration::from_millis(10 * time.parse().unwrap_or(0));
                    self.add(name, parser.finish(), status.parse().ok(), time);
                    self.ended.push((*name).to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Brings what a program printed and how it ended together.
fn judge(summary: Summary, exit: Option<i32>) -> Vec<Case> {
    let mut cases = summary.cases;
    let some = !cases.is_empty();
    let failed = cases.iter().any(|case| case.result == Result::Failed);
    let mut add = |name: &str, result, notes| {
        cases.push(Case {
            name: name.to_owned(),
            result,
            notes,
        });
    };
    match exit {
        None => {
            let mut notes = vec!["the guest ended first".to_owned()];
            notes.extend(summary.complaints);
            add("the program did not end", Result::Failed, notes);
        }
        // busybox says 143 after SIGTERM and 137 after SIGKILL, coreutils say 124.
        Some(124 | 137 | 143) => {
            add(
                "the program exceeded its time limit",
                Result::Failed,
                summary.complaints,
            );
        }
        Some(SKIP) if !failed => {
            if !some {
                let why = summary
                    .skipped
                    .into_iter()
                    .chain(summary.complaints)
                    .collect();
                add("all", Result::Skipped, why);
            }
        }
        Some(0) => match summary.skipped {
            Some(reason) if !some => add("all", Result::Skipped, vec![reason]),
            _ if !summary.complaints.is_empty() => {
                add("the program's output", Result::Failed, summary.complaints);
            }
            _ => {}
        },
        Some(_) if failed => {}
        Some(code) => {
            let mut notes = vec![format!(
                "exit code {code}, though no result says that it failed"
            )];
            notes.extend(summary.complaints);
            add("the program failed", Result::Failed, notes);
        }
    }
    cases
}

fn counts(cases: &[Case]) -> String {
    let count = |result| cases.iter().filter(|case| case.result == result).count();
    let mut text = format!("{} passed", count(Result::Passed));
    for (result, word) in [(Result::Failed, "FAILED"), (Result::Skipped, "skipped")] {
        if count(result) > 0 {
            text.push_str(&format!(", {} {word}", count(result)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(lines: &[&str]) -> Suite {
        let mut programs = Programs::new("guest", false);
        for line in lines {
            programs.line(line);
        }
        programs.finish()
    }

    fn counted(lines: &[&str]) -> (usize, usize, usize) {
        let suite = suite(lines);
        (suite.passed, suite.failed, suite.skipped)
    }

    #[test]
    fn results_belong_to_their_programs() {
        let suite = suite(&[
            "ok 1 stray line before any program",
            "@azihsm test a",
            "TAP version 13",
            "1..1",
            "ok 1 x",
            "@azihsm exit a 0 12",
            "@azihsm test b",
            "1..1",
            "# why",
            "not ok 1 y",
            "@azihsm exit b 1 3",
        ]);
        assert_eq!((suite.passed, suite.failed, suite.skipped), (1, 1, 0));
        assert_eq!(suite.failures[0].name, "b: y");
        assert_eq!(suite.failures[0].notes, ["# why"]);
    }

    #[test]
    fn a_program_without_results_fails() {
        assert_eq!(
            counted(&["@azihsm test a", "hello", "@azihsm exit a 0 1"]),
            (0, 1, 0)
        );
    }

    #[test]
    fn a_crash_fails_even_when_all_results_passed() {
        assert_eq!(
            counted(&["@azihsm test a", "1..1", "ok 1 x", "@azihsm exit a 139 1"]),
            (1, 1, 0)
        );
    }

    #[test]
    fn missing_results_fail() {
        assert_eq!(
            counted(&["@azihsm test a", "1..2", "ok 1 x", "@azihsm exit a 0 1"]),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_program_cut_off_fails() {
        assert_eq!(counted(&["@azihsm test a", "1..2", "ok 1 x"]), (1, 1, 0));
    }

    #[test]
    fn skipping_programs_are_counted_once() {
        assert_eq!(
            counted(&[
                "@azihsm test a",
                "1..0 # SKIP no device",
                "@azihsm exit a 4 1"
            ]),
            (0, 0, 1)
        );
        assert_eq!(
            counted(&["@azihsm test a", "SKIP: no device", "@azihsm exit a 4 1"]),
            (0, 0, 1)
        );
        assert_eq!(
            counted(&["@azihsm test a", "1..0 # SKIP x", "@azihsm exit a 0 1"]),
            (0, 0, 1)
        );
    }

    #[test]
    fn timeouts_fail() {
        assert_eq!(
            counted(&["@azihsm test a", "1..1", "@azihsm exit a 143 1"]),
            (0, 1, 0)
        );
    }
}
