// SPDX-License-Identifier: GPL-2.0-or-later

//! Why a seed fails: the few faults that it takes.

use std::{fs, mem};

use anyhow::Result;
use serde_json::Value;

use super::{COMMANDS, Load, Outcome, arm};
use crate::layout::Layout;
use crate::qemu::Iommu;
use crate::shrink::shrink;

/// How many boots the search for the smallest list of faults may take.
const SHRINK_BOOTS: usize = 24;

/// Searches for the faults that make a seed fail, and says how to see it fail again.
pub fn explain(
    layout: &Layout,
    load: &Load,
    seed: u64,
    request: &dyn Fn(u64) -> Value,
) -> Result<()> {
    let dir = format!("{}-shrink", load.name);
    println!("  SHRINK  seed {seed}: once more, alone");
    let outcome = load.boot(layout, &dir, &[seed], request)?;
    let Some(mut complaint) = outcome.complaint() else {
        println!("  SHRINK  seed {seed} does not fail alone: it takes the timing of the whole run");
        return Ok(());
    };
    let all = counted(outcome.faults.len());
    let mut boots = 0;
    let faults = shrink(&outcome.faults, SHRINK_BOOTS, |faults| {
        boots += 1;
        println!("  SHRINK  seed {seed}: with {} of {all}", faults.len());
        let outcome = load.boot(layout, &dir, &[seed], &|_| arm(faults))?;
        let found = outcome.complaint();
        let fails = found.is_some();
        complaint = found.unwrap_or_else(|| mem::take(&mut complaint));
        Ok(fails)
    })?;
    let path = layout.build.join("run").join(format!("seed-{seed}.jsonl"));
    let lines: Vec<String> = faults.iter().map(|fault| format!("{fault}\n")).collect();
    fs::write(&path, lines.concat())?;
    let takes = match (faults.len(), boots < SHRINK_BOOTS) {
        (0, _) => "it fails without any fault".to_owned(),
        (count, true) => format!("it takes {}", counted(count)),
        (count, false) => format!("it takes {} at most", counted(count)),
    };
    println!("  SHRINK  seed {seed}: {takes}: {complaint}");
    for line in &lines {
        print!("            {line}");
    }
    let commands = match load.commands {
        COMMANDS => String::new(),
        other => format!(" COMMANDS={other}"),
    };
    let iommu = load.iommu.map_or("", |Iommu::Intel| " IOMMU=intel");
    println!(
        "            again: make chaos SEEDS={seed}{commands}{iommu} FAULTS={}",
        layout.shown(&path)
    );
    Ok(())
}

fn counted(faults: usize) -> String {
    format!("{faults} fault{}", if faults == 1 { "" } else { "s" })
}

impl Outcome {
    /// The first thing that went wrong, if anything did.
    fn complaint(&self) -> Option<String> {
        // The kind of trouble or the name of a test comes first, and then what it says.
        let first = |lines: &Vec<String>| {
            let telling = lines.iter().filter(|line| !line.contains("[ cut here ]"));
            telling.take(2).cloned().collect::<Vec<_>>().join(" ")
        };
        let failed = self.failed.values().chain([&self.common]);
        let first = failed.filter(|lines| !lines.is_empty()).map(first).next();
        first.or_else(|| (self.done == 0).then(|| "the guest did not get through it".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_says_what_happened() {
        let lines = [
            "WARN:",
            "[1.2] ---[ cut here ]---",
            "[1.2] WARNING: at look.rs",
        ];
        let outcome = Outcome {
            common: lines.map(str::to_owned).to_vec(),
            done: 1,
            ..Outcome::default()
        };
        let complaint = outcome.complaint().unwrap();
        assert_eq!(complaint, "WARN: [1.2] WARNING: at look.rs");
        let good = Outcome {
            done: 1,
            ..Outcome::default()
        };
        assert_eq!(good.complaint(), None);
        assert!(Outcome::default().complaint().is_some());
    }
}
