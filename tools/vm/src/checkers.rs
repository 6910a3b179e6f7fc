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
use crate::report::Suite;

/// The mistakes that show in the kernel log, with the kind of what is found. lockdep turns itself
/// off with its own report and with one of KASAN, so these come last, in this order.
const FAULTS: &[(&str, &str)] = &[
    ("atomic-sleep", "sleep in atomic context"),
    ("dma-api", "DMA API"),
    ("lockdep", "lockdep"),
    ("kasan", "KASAN"),
];

/// The mistake that a search for leaks finds.
const LEAK: &str = "kmemleak";

/// Boots the debug kernel, makes all mistakes, and expects each to be reported, and nothing else.
pub fn run(layout: &Layout) -> Result<Suite> {
    artifacts::faults_module(layout)?;
    let dir = layout.run_dir("checkers")?;
    let mut job = Job::default();
    job.command(". /functions");
    for name in [LEAK]
        .into_iter()
        .chain(FAULTS.iter().map(|(name, _)| *name))
    {
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
        iommu: None,
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
    let quiet = [("boot", None), (LEAK, None)];
    let faults = FAULTS.iter().map(|(name, kind)| (*name, Some(*kind)));
    for (name, kind) in quiet.into_iter().chain(faults) {
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
    suite.check(LEAK, leak_complaints(&programs.finish()));
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

/// The search for leaks must have failed, and name the module.
fn leak_complaints(searched: &Suite) -> Vec<String> {
    match searched.failures.as_slice() {
        [failure]
            if failure
                .notes
                .iter()
                .any(|note| note.contains("[azihsm_faults]")) =>
        {
            Vec::new()
        }
        [failure] => {
            let mut complaints = vec!["the report does not name the module:".to_owned()];
            complaints.extend(failure.notes.iter().cloned());
            complaints
        }
        failures => vec![format!(
            "one failed search for leaks expected, {} seen",
            failures.len()
        )],
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
