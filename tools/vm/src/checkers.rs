// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether the debug kernel's checkers are alive: one mistake for each, made on purpose.

use std::time::Duration;

use anyhow::Result;

use crate::artifacts;
use crate::guest::{End, Guest, Limits};
use crate::initramfs::Initramfs;
use crate::job::Job;
use crate::judge::{self, Finding};
use crate::layout::{Kernel, Layout};
use crate::program::Programs;
use crate::qemu::Topology;
use crate::report::Suite;

/// The mistakes that show in the kernel log, with the kind of what is found. lockdep turns itself
/// off with its own report and with one of KASAN, so these come last, in this order.
const FAULTS: &[(&str, &str)] = &[
    ("atomic-sleep", "sleep in atomic context"),
    ("dma-api", "DMA API"),
    ("lockdep", "lockdep"),
    ("kasan", "KASAN"),
];

/// The mistakes that a search for leaks finds, with the name of the search and what its report tells
/// of the module: its name, or, when it is unloaded, an address above the kernel's own.
const LEAKS: &[(&str, &str, &str)] = &[
    ("kmemleak", "kmemleak-loaded", "[azihsm_faults]"),
    ("kmemleak-kept", "kmemleak-unloaded", "0xffffffff"),
];

/// Boots the debug kernel, makes all mistakes, and expects each to be reported, and nothing else.
pub fn run(layout: &Layout) -> Result<Suite> {
    artifacts::faults_module(layout)?;
    let dir = layout.run_dir("checkers")?;
    let mut job = Job::default();
    job.command(". /functions");
    let leaks = LEAKS.iter().map(|(name, ..)| *name);
    for name in leaks.clone().chain(FAULTS.iter().map(|(name, _)| *name)) {
        job.command(&format!("make_fault {name}"));
    }
    let mut initramfs = Initramfs::begin(layout, &dir)?;
    initramfs.text(job.text(), "job")?;
    initramfs.file(&layout.faults_module(), "lib/azihsm_faults.ko", 0o644)?;
    let initramfs = initramfs.pack()?;
    println!(
        "  GUEST   checkers: kernel {}, log {}",
        layout.release(Kernel::Debug)?,
        layout.shown(&dir)
    );

    let mut suite = Suite::new("checkers");
    let mut programs = Programs::new("checkers", false);
    let outcome = Guest {
        layout,
        dir: &dir,
        initramfs: &initramfs,
        kernel: Kernel::Debug,
        append: &[],
        memory: Kernel::Debug.memory(),
        topology: Topology::default(),
        device: None,
        counter: None,
        limits: Some(Limits {
            total: Duration::from_secs(300),
            silence: Duration::from_secs(120),
        }),
    }
    .run(&mut programs)?;

    let mut end = Vec::new();
    if let End::Failed(why) = &outcome.end {
        end.push(why.clone());
        end.extend(outcome.console_tail(20));
    }
    suite.check("the guest ran to its end", end);
    let sections = judge::sections(&outcome.kernel);
    let quiet = ["boot"].into_iter().chain(leaks).map(|name| (name, None));
    let faults = FAULTS.iter().map(|(name, kind)| (*name, Some(*kind)));
    for (name, kind) in quiet.chain(faults) {
        let lines = sections.iter().find(|(section, _)| *section == name);
        let found = lines.map(|(_, lines)| judge::findings(lines));
        suite.check(
            &format!("kernel log, {name}"),
            match found {
                Some(found) => complaints(kind, &found),
                None => vec!["it was not reached".to_owned()],
            },
        );
    }
    let searched = programs.finish();
    for (_, search, mark) in LEAKS {
        suite.check(search, leak_complaints(&searched, search, mark));
    }
    Ok(suite)
}

/// What speaks against `found` being one report of `kind`, or none.
fn complaints(kind: Option<&str>, found: &[Finding]) -> Vec<String> {
    let mut complaints = Vec::new();
    match (kind, found) {
        (None, []) => {}
        (Some(kind), [one]) if one.kind == kind => {}
        (Some(kind), []) => complaints.push(format!("no report of {kind}")),
        (kind, found) => {
            complaints.push(format!("expected: {}", kind.unwrap_or("nothing")));
            for finding in found {
                complaints.extend(finding.told());
            }
        }
    }
    complaints
}

/// The search for leaks must have failed, and tell `mark` of the module.
fn leak_complaints(searched: &Suite, search: &str, mark: &str) -> Vec<String> {
    let of_search = |name: &str| name.split(':').next() == Some(search);
    let mut failures = searched.failures.iter().filter(|f| of_search(&f.name));
    match (failures.next(), failures.next()) {
        (Some(failure), None) if failure.notes.iter().any(|note| note.contains(mark)) => Vec::new(),
        (Some(failure), None) => {
            let mut complaints = vec![format!("the report does not tell {mark}:")];
            complaints.extend(failure.notes.iter().cloned());
            complaints
        }
        (None, _) => vec!["the search found nothing".to_owned()],
        _ => vec!["the search failed more than once".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        judge::findings(&[text.to_owned()])
    }

    const KASAN: &str = "[ 2.1] BUG: KASAN: slab-out-of-bounds in x";

    #[test]
    fn the_expected_report_is_good() {
        assert!(complaints(Some("KASAN"), &found(KASAN)).is_empty());
        assert!(complaints(None, &[]).is_empty());
    }

    #[test]
    fn a_silent_checker_is_noticed() {
        let complaints = complaints(Some("lockdep"), &found("[ 3.1] nothing"));
        assert_eq!(complaints, ["no report of lockdep"]);
    }

    #[test]
    fn another_report_does_not_count() {
        assert!(!complaints(Some("lockdep"), &found(KASAN)).is_empty());
        assert!(!complaints(None, &found(KASAN)).is_empty());
    }
}
