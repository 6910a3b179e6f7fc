// SPDX-License-Identifier: GPL-2.0-or-later

//! Load against a device that fails and lies at random, reproducible from a seed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::artifacts;
use crate::commands::{guest_files, verdicts};
use crate::emulator::Setup;
use crate::guest::{Guest, Limits};
use crate::job::{Device, Job};
use crate::judge;
use crate::layout::{Kernel, Layout};
use crate::program::Programs;
use crate::report::{Report, Suite};
use crate::shrink::shrink;

/// How many seeds one boot takes.
const BATCH: usize = 20;
/// How many boots the search for the smallest list of faults may take.
const SHRINK_BOOTS: usize = 24;

/// Arguments of `chaos`.
#[derive(Args)]
pub struct ChaosArgs {
    /// Seeds: one, or a range A..B with both ends.
    #[arg(long, default_value = "1..20")]
    seeds: Seeds,
    /// Share of the device's events that go wrong.
    #[arg(long, default_value_t = 0.001)]
    rate: f64,
    /// Commands for each seed.
    #[arg(long, default_value_t = 1000)]
    commands: u64,
    /// Faults to arm in place of the random ones, as left by a failed run.
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Which kernel to boot.
    #[arg(long, value_enum, default_value_t = Kernel::Debug)]
    kernel: Kernel,
    /// Only tell the failing seeds, do not search for the faults that it takes.
    #[arg(long)]
    no_shrink: bool,
}

/// Arguments of `soak`.
#[derive(Args)]
pub struct SoakArgs {
    /// How long, at most.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// How many commands, at most.
    #[arg(long, default_value_t = 1_000_000)]
    commands: u64,
    /// Share of the device's events that go wrong.
    #[arg(long, default_value_t = 0.001)]
    rate: f64,
    /// Which kernel to boot.
    #[arg(long, value_enum, default_value_t)]
    kernel: Kernel,
}

/// The seeds of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seeds(std::ops::RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| {
            text.parse()
                .with_context(|| format!("`{text}` is no seed: give a number, or A..B"))
        };
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last, "{first}..{last} is empty");
        Ok(Self(first..=last))
    }
}

/// What is asked of the load.
struct Load {
    kernel: Kernel,
    threads: u32,
    commands: u64,
    time: Duration,
}

/// What came of one boot.
#[derive(Default)]
struct Outcome {
    /// What went wrong under each seed.
    failed: BTreeMap<u64, Vec<String>>,
    /// What went wrong without telling under which.
    common: Vec<String>,
    /// How many of the seeds came to their end.
    done: usize,
    /// The faults that hit, as the emulator logged them.
    faults: Vec<Value>,
}

/// Runs the load under each seed and tells which fail, and by which faults.
pub fn chaos(args: &ChaosArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    build(&layout, args.kernel)?;
    let load = Load {
        kernel: args.kernel,
        threads: 8,
        commands: args.commands,
        time: Duration::from_secs(120),
    };
    let given = args.faults.as_deref().map(fs::read_to_string).transpose()?;
    let given = given.map(|text| parse_log(&text)).transpose()?;
    let request = |seed| match &given {
        Some(faults) => arm(faults),
        None => json!({ "cmd": "chaos", "seed": seed, "rate": args.rate }),
    };

    let mut suite = Suite::new("chaos");
    let mut failed = BTreeMap::new();
    let mut queue: VecDeque<u64> = args.seeds.0.clone().collect();
    while !queue.is_empty() {
        let batch: Vec<u64> = queue.drain(..queue.len().min(BATCH)).collect();
        let outcome = load.boot(&layout, "chaos", &batch, &request)?;
        let (wrong, again) = attribute(&batch, outcome);
        failed.extend(wrong);
        for seed in again.alone {
            let outcome = load.boot(&layout, "chaos", &[seed], &request)?;
            failed.extend(attribute(&[seed], outcome).0);
        }
        for seed in again.later.into_iter().rev() {
            queue.push_front(seed);
        }
    }
    for seed in args.seeds.0.clone() {
        suite.check(
            &format!("seed {seed}"),
            failed.get(&seed).cloned().unwrap_or_default(),
        );
    }
    let mut report = Report::default();
    report.add(suite);
    if !args.no_shrink && given.is_none() {
        for seed in failed.keys() {
            explain(&layout, &load, *seed, &request)?;
        }
    }
    Ok(report.finish())
}

/// Runs a long load under few faults, and looks at what is left at the end.
pub fn soak(args: &SoakArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    build(&layout, args.kernel)?;
    let load = Load {
        kernel: args.kernel,
        threads: 16,
        commands: args.commands,
        time: Duration::from_secs(60 * args.minutes),
    };
    let request = |seed| json!({ "cmd": "chaos", "seed": seed, "rate": args.rate });
    let outcome = load.boot(&layout, "soak", &[1], &request)?;
    let mut suite = Suite::new("soak");
    let hits = outcome.faults.len();
    suite.check(
        "load, and what is left of it",
        attribute(&[1], outcome).0.remove(&1).unwrap_or_default(),
    );
    println!("  SOAK    {hits} faults hit");
    let mut report = Report::default();
    report.add(suite);
    Ok(report.finish())
}

fn build(layout: &Layout, kernel: Kernel) -> Result<()> {
    artifacts::module(layout, kernel)?;
    artifacts::programs(layout)?;
    artifacts::selftests(layout)?;
    Ok(())
}

impl Load {
    /// Boots the guest, and puts it under the load with each seed.
    fn boot(
        &self,
        layout: &Layout,
        name: &str,
        seeds: &[u64],
        request: &dyn Fn(u64) -> Value,
    ) -> Result<Outcome> {
        let dir = layout.run_dir(name)?;
        let log = dir.join("faults.jsonl");
        let mut job = Job::with_module(Device::Bound, &[]);
        let seconds = self.time.as_secs();
        for seed in seeds {
            job.command(&format!(
                "run_chaos {seed} {} -t {} -c {} -s {seconds}",
                seconds + 60,
                self.threads,
                self.commands
            ));
        }
        job.end(self.kernel);
        let mut initramfs = guest_files(layout, self.kernel, &dir, &job)?;
        initramfs.tree(&layout.selftests(), "selftests")?;
        for seed in seeds {
            initramfs.text(&format!("{}\n", request(*seed)), &format!("chaos-{seed}"))?;
        }
        let initramfs = initramfs.pack()?;
        println!(
            "  GUEST   {name}: {}, log {}",
            self.kernel.name(),
            layout.shown(&dir)
        );
        let setup = Setup {
            args: vec!["--fault-log".to_owned(), log.display().to_string()],
            ..Setup::default()
        };
        let mut programs = Programs::new(name, true);
        let outcome = Guest {
            layout,
            dir: &dir,
            initramfs: &initramfs,
            kernel: self.kernel,
            append: &[],
            memory: self.kernel.memory(),
            iommu: None,
            device: Some(&setup),
            counter: None,
            limits: Some(Limits {
                total: (self.time + Duration::from_secs(180)) * u32::try_from(seeds.len())?
                    + Duration::from_secs(180),
                silence: self.time + Duration::from_secs(180),
            }),
        }
        .run(&mut programs)?;

        let mut result = Outcome {
            faults: parse_log(&fs::read_to_string(&log).unwrap_or_default())?,
            ..Outcome::default()
        };
        let mut failed = |name: &str, notes: Vec<String>| match seed_of(name) {
            Some(seed) => result.failed.entry(seed).or_default().extend(notes),
            None => {
                result.common.push(format!("{name}:"));
                result.common.extend(notes);
            }
        };
        for (test, lines) in judge::sections(&outcome.kernel) {
            for finding in judge::findings(lines) {
                failed(test, finding.told());
            }
        }
        let done = seeds
            .iter()
            .filter(|seed| programs.ended().contains(&format!("after-{seed}")))
            .count();
        for failure in programs.finish().failures {
            let (test, case) = failure
                .name
                .split_once(": ")
                .unwrap_or((&failure.name, "failed"));
            let mut notes = vec![case.to_owned()];
            notes.extend(failure.notes);
            failed(test, notes);
        }
        for (name, complaints) in verdicts(layout, &outcome) {
            // The kernel's messages have been looked through above.
            if !complaints.is_empty() && name != judge::CLEAN {
                failed(name, complaints);
            }
        }
        result.done = done;
        Ok(result)
    }
}

/// Seeds that have to be run again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Again {
    /// Each in a boot of its own: something went wrong under one of them.
    alone: Vec<u64>,
    /// They were not reached.
    later: Vec<u64>,
}

/// What went wrong under which seed of a boot.
fn attribute(batch: &[u64], outcome: Outcome) -> (BTreeMap<u64, Vec<String>>, Again) {
    let mut failed = outcome.failed;
    let mut again = Again::default();
    if let Some(seed) = batch.get(outcome.done) {
        // The guest came to its end under this one.
        let notes = failed.entry(*seed).or_default();
        notes.extend(outcome.common);
        again.later = batch.get(outcome.done + 1..).unwrap_or_default().to_vec();
    } else if !outcome.common.is_empty() {
        match batch {
            [seed] => failed.entry(*seed).or_default().extend(outcome.common),
            seeds => {
                let unknown = seeds.iter().filter(|seed| !failed.contains_key(seed));
                again.alone = unknown.copied().collect();
            }
        }
    }
    (failed, again)
}

/// Searches for the faults that make a seed fail.
fn explain(layout: &Layout, load: &Load, seed: u64, request: &dyn Fn(u64) -> Value) -> Result<()> {
    let fails = |outcome: &Outcome| {
        !outcome.failed.is_empty() || !outcome.common.is_empty() || outcome.done == 0
    };
    println!("  SHRINK  seed {seed}: once more, alone");
    let outcome = load.boot(layout, "chaos-shrink", &[seed], request)?;
    if !fails(&outcome) {
        println!("  SHRINK  seed {seed} does not fail alone: it takes the timing of the whole run");
        return Ok(());
    }
    let faults = shrink(&outcome.faults, SHRINK_BOOTS, |faults| {
        let outcome = load.boot(layout, "chaos-shrink", &[seed], &|_| arm(faults))?;
        Ok(fails(&outcome))
    })?;
    let path = layout.build.join("run").join(format!("seed-{seed}.jsonl"));
    let lines: Vec<String> = faults.iter().map(Value::to_string).collect();
    fs::write(&path, lines.join("\n") + "\n")?;
    println!("  SHRINK  seed {seed}: it takes {} faults:", faults.len());
    for line in &lines {
        println!("            {line}");
    }
    println!(
        "            again: make chaos SEEDS={seed} FAULTS={}",
        layout.shown(&path)
    );
    Ok(())
}

/// The request that arms the faults of a log.
fn arm(log: &[Value]) -> Value {
    let faults: Vec<&Value> = log.iter().filter_map(|line| line.get("fault")).collect();
    json!({ "cmd": "arm", "faults": faults })
}

fn parse_log(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).context("reading a log of faults"))
        .collect()
}

/// The seed in the name of a test program.
fn seed_of(name: &str) -> Option<u64> {
    let number = name
        .strip_prefix("seed-")
        .or_else(|| name.strip_prefix("after-"))?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_or_a_range() {
        assert_eq!("7".parse::<Seeds>().unwrap(), Seeds(7..=7));
        assert_eq!("3..5".parse::<Seeds>().unwrap(), Seeds(3..=5));
        for bad in ["", "5..3", "a..b", "1.."] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guest_that_dies_blames_the_seed_it_ran() {
        let outcome = Outcome {
            done: 1,
            common: vec!["panic".to_owned()],
            ..Outcome::default()
        };
        let (failed, again) = attribute(&[4, 5, 6], outcome);
        assert_eq!(failed[&5], ["panic"]);
        assert_eq!(again.later, [6]);
        assert!(again.alone.is_empty());
    }

    #[test]
    fn trouble_of_a_whole_boot_is_looked_for_seed_by_seed() {
        let outcome = |seeds: usize| Outcome {
            done: seeds,
            common: vec!["leak".to_owned()],
            ..Outcome::default()
        };
        let (failed, again) = attribute(&[4, 5], outcome(2));
        assert!(failed.is_empty());
        assert_eq!(again.alone, [4, 5]);
        let (failed, again) = attribute(&[4], outcome(1));
        assert_eq!(failed[&4], ["leak"]);
        assert_eq!(again, Again::default());
    }

    #[test]
    fn logged_faults_can_be_armed() {
        let log = "{\"time_ms\":3,\"fault\":{\"what\":\"drop\"}}\n\n";
        let request = arm(&parse_log(log).unwrap());
        assert_eq!(
            request,
            json!({ "cmd": "arm", "faults": [{ "what": "drop" }] })
        );
    }
}
