// SPDX-License-Identifier: GPL-2.0-or-later

//! KUnit's results in the kernel's messages, against the suites that the source has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::judge;
use crate::report::Suite;
use crate::tap::{self, Parser};

/// Words for the command line of a kernel that shall run the suites of modules it loads.
pub const WORDS: &[&str] = &["kunit.enable=1", "kunit.autorun=1"];

/// What stands before a suite's name in the source.
const DECLARATION: &str = "#[kunit_tests(";

/// The names of all suites declared in the Rust files below `folder`.
pub fn declared(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                for name in suites(&text) {
                    ensure!(
                        names.insert(name.to_owned()),
                        "two KUnit suites are called `{name}`"
                    );
                }
            }
        }
    }
    Ok(names)
}

fn suites(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix(DECLARATION)?.split_once(')')?;
        Some(name)
    })
}

/// Adds each case that the kernel's messages tell of, and a failure for each declared suite
/// that was not run to its end.
pub fn collect(kernel: &[String], declared: &BTreeSet<String>, report: &mut Suite) {
    let mut missing = declared.clone();
    let mut current: Option<(String, Parser)> = None;
    for line in kernel.iter().map(|line| judge::text(line)) {
        if let Some(name) = line.strip_prefix("    # Subtest: ") {
            if let Some((name, _)) = current.take() {
                unfinished(&name, report);
            }
            current = Some((name.trim().to_owned(), Parser::default()));
            continue;
        }
        let Some((name, parser)) = &mut current else {
            continue;
        };
        match end_of_suite(line, name) {
            None => parser.line(line.strip_prefix("    ").unwrap_or(line)),
            Some(good) => {
                missing.remove(name.as_str());
                if let Some((name, parser)) = current.take() {
                    finished(&name, parser, good, report);
                }
            }
        }
    }
    if let Some((name, _)) = current {
        missing.remove(&name);
        unfinished(&name, report);
    }
    for name in missing {
        report.check(&name, vec!["the suite was not run".to_owned()]);
    }
}

/// Whether `line` sums up the suite `name`, and what it says.
fn end_of_suite(line: &str, name: &str) -> Option<bool> {
    let (good, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (_number, rest) = rest.split_once(' ')?;
    let rest = rest.strip_prefix(name)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(good)
}

fn finished(name: &str, parser: Parser, good: bool, report: &mut Suite) {
    let summary = parser.finish();
    let failed = |case: &tap::Case| case.result == tap::Result::Failed;
    let mut complaints = summary.complaints;
    if !good && !summary.cases.iter().any(failed) {
        complaints.push("the suite failed, though no case of it did".to_owned());
    }
    for case in summary.cases {
        report.add(&format!("{name}: {}", case.name), case.result, case.notes);
    }
    if !complaints.is_empty() {
        report.check(name, complaints);
    }
}

fn unfinished(name: &str, report: &mut Suite) {
    report.check(name, vec!["the suite did not come to its end".to_owned()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[    5.1] azihsm: loading out-of-tree module taints kernel.
[    5.2] KTAP version 1
[    5.2] 1..2
[    5.2]     KTAP version 1
[    5.2]     # Subtest: azihsm_ring
[    5.2]     # module: azihsm
[    5.2]     1..2
[    5.2]     ok 1 wraps
[    5.2] pci 0000:00:1f.0: a message between them
[    5.2]     # full: ASSERTION FAILED at drivers/misc/azihsm/ring.rs:230
[    5.2]     Expected a == b to be true, but is false
[    5.2]     not ok 2 full
[    5.2] # azihsm_ring: pass:1 fail:1 skip:0 total:2
[    5.2] # Totals: pass:1 fail:1 skip:0 total:2
[    5.2] not ok 1 azihsm_ring
[    5.3]     KTAP version 1
[    5.3]     # Subtest: azihsm_slot
[    5.3]     # module: azihsm
[    5.3]     1..1
[    5.3]     ok 1 azihsm_slot
[    5.3] ok 2 azihsm_slot";

    fn collected(log: &str, names: &[&str]) -> Suite {
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let mut suite = Suite::new("kunit");
        collect(&lines, &names, &mut suite);
        suite
    }

    fn failed(suite: &Suite) -> Vec<&str> {
        suite.failures.iter().map(|f| f.name.as_str()).collect()
    }

    #[test]
    fn each_case_is_a_result() {
        let suite = collected(LOG, &["azihsm_ring", "azihsm_slot"]);
        assert_eq!((suite.passed, suite.failed), (2, 1));
        assert_eq!(failed(&suite), ["azihsm_ring: full"]);
        assert!(
            suite.failures[0]
                .notes
                .iter()
                .any(|note| note.contains("ASSERTION FAILED"))
        );
    }

    #[test]
    fn an_absent_suite_fails() {
        let suite = collected(LOG, &["azihsm_regs", "azihsm_ring", "azihsm_slot"]);
        assert_eq!(failed(&suite), ["azihsm_ring: full", "azihsm_regs"]);
        let suite = collected("[    1.0] nothing of the kind", &["azihsm_ring"]);
        assert_eq!(failed(&suite), ["azihsm_ring"]);
    }

    #[test]
    fn a_suite_that_crashed_fails() {
        let log: Vec<&str> = LOG.lines().take(9).collect();
        let suite = collected(&log.join("\n"), &["azihsm_ring"]);
        assert_eq!(failed(&suite), ["azihsm_ring"]);
    }

    #[test]
    fn lost_cases_fail() {
        let log = LOG.replace("[    5.2]     ok 1 wraps\n", "");
        let suite = collected(&log, &["azihsm_ring", "azihsm_slot"]);
        assert_eq!(failed(&suite), ["azihsm_ring: full", "azihsm_ring"]);
    }

    #[test]
    fn suites_are_found_in_source() {
        let source = "#[kunit_tests(azihsm_ring)]\nmod tests {}\n// kunit_tests(no)\n";
        assert_eq!(suites(source).collect::<Vec<_>>(), ["azihsm_ring"]);
    }
}
