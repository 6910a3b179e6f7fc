// SPDX-License-Identifier: GPL-2.0-or-later

//! Load against a device that fails and lies at random, reproducible from a seed.

mod explain;

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
use crate::job::{Device, Ending, Job};
use crate::judge;
use crate::layout::{Kernel, Layout};
use crate::program::Programs;
use crate::qemu::{Iommu, Topology};
use crate::report::{Report, Suite};

/// Commands for each seed, unless another number is given.
const COMMANDS: u64 = 250;

/// Arguments of `chaos`.
#[derive(Args)]
pub struct ChaosArgs {
    /// Seeds: one, or a range A..B with both ends.
    #[arg(long, default_value = "1..20")]
    seeds: Seeds,
    /// Share of the device's events that go wrong.
    #[arg(long, default_value_t = 0.002)]
    rate: f64,
    /// Commands for each seed.
    #[arg(long, default_value_t = COMMANDS)]
    commands: u64,
    /// Seeds for each boot.
    #[arg(long, default_value_t = 25)]
    batch: usize,
    /// Faults to arm in place of the random ones, as left by a failed run.
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Which kernel to boot.
    #[arg(long, value_enum, default_value_t = Kernel::Debug)]
    kernel: Kernel,
    /// An IOMMU: the emulator then sees each access to memory that is not mapped any more.
    #[arg(long, value_enum)]
    iommu: Option<Iommu>,
    /// Only tell the failing seeds, do not search for the faults that it takes.
    #[arg(long)]
    no_shrink: bool,
}

/// Arguments of `soak`.
#[derive(Args)]
pub struct SoakArgs {
    /// How long it may take.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// How many commands.
    #[arg(long, default_value_t = 1_000_000)]
    commands: u64,
    /// Share of the device's events that go wrong.
    #[arg(long, default_value_t = 0.001)]
    rate: f64,
    /// Which kernel to boot.
    #[arg(long, value_enum, default_value_t)]
    kernel: Kernel,
    /// An IOMMU: the emulator then sees each access to memory that is not mapped any more.
    #[arg(long, value_enum)]
    iommu: Option<Iommu>,
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
    name: String,
    kernel: Kernel,
    iommu: Option<Iommu>,
    threads: u32,
    commands: u64,
    time: Duration,
    /// Further arguments for a seed.
    more: fn(u64) -> &'static str,
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
    /// What the load says that it did.
    told: Vec<String>,
}

/// Runs the load under each seed and tells which fail, and by which faults.
pub fn chaos(args: &ChaosArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    build(&layout, args.kernel)?;
    let load = Load {
        // Calls for other seeds may run at the same time.
        name: format!("chaos-{}", args.seeds.0.start()),
        kernel: args.kernel,
        iommu: args.iommu,
        threads: 8,
        commands: args.commands,
        time: Duration::from_secs(120),
        // Every fourth probe meets the faults as well.
        more: |seed| if seed % 4 == 0 { " -B" } else { "" },
    };
    let given = args.faults.as_deref().map(fs::read_to_string).transpose()?;
    let given = given.map(|text| parse_log(&text)).transpose()?;
    let request = |seed| match &given {
        Some(faults) => arm(faults),
        // Faults that nobody can see through excuse wrong results: every other seed has none.
        None => json!({
            "cmd": "chaos", "seed": seed, "rate": args.rate, "honest": seed % 2 == 1,
        }),
    };

    let mut report = Report::default();
    let mut suite = Suite::new("chaos");
    let mut failed = BTreeMap::new();
    let mut faults = 0;
    let seeds: Vec<u64> = args.seeds.0.clone().collect();
    let mut queue: VecDeque<Vec<u64>> = seeds.chunks(args.batch.max(1)).map(Vec::from).collect();
    while let Some(batch) = queue.pop_front() {
        let outcome = load.boot(&layout, &load.name, &batch, &request)?;
        faults += outcome.faults.len();
        let (wrong, again) = attribute(&batch, outcome);
        failed.extend(wrong);
        for batch in again.into_iter().rev() {
            queue.push_front(batch);
        }
    }
    println!("  CHAOS   {faults} faults hit");
    for seed in args.seeds.0.clone() {
        suite.check(
            &format!("seed {seed}"),
            failed.get(&seed).cloned().unwrap_or_default(),
        );
    }
    report.add(suite);
    if !args.no_shrink && given.is_none() {
        for seed in failed.keys() {
            explain::explain(&layout, &load, *seed, &request)?;
        }
    }
    Ok(report.finish())
}

/// Runs a long load under few faults, and looks at what is left at the end.
pub fn soak(args: &SoakArgs) -> Result<ExitCode> {
    let layout = Layout::find()?;
    build(&layout, args.kernel)?;
    let load = Load {
        name: "soak".to_owned(),
        kernel: args.kernel,
        iommu: args.iommu,
        threads: 16,
        commands: args.commands,
        time: Duration::from_secs(60 * args.minutes),
        // The checkers need memory of their own, which comes and goes.
        more: match args.kernel {
            Kernel::Stock => |_| " -S",
            Kernel::Debug => |_| "",
        },
    };
    let request = |seed| json!({ "cmd": "chaos", "seed": seed, "rate": args.rate, "honest": true });
    let mut report = Report::default();
    let outcome = load.boot(&layout, &load.name, &[1], &request)?;
    for line in &outcome.told {
        println!("  SOAK    {line}");
    }
    let mut suite = Suite::new("soak");
    let hits = outcome.faults.len();
    suite.check("as much as was asked for", args.missing(&outcome));
    suite.check(
        "load, and what is left of it",
        attribute(&[1], outcome).0.remove(&1).unwrap_or_default(),
    );
    println!("  SOAK    {hits} faults hit");
    report.add(suite);
    Ok(report.finish())
}

impl SoakArgs {
    /// What a soak came short of.
    fn missing(&self, outcome: &Outcome) -> Vec<String> {
        let mut missing = Vec::new();
        let done = commands(&outcome.told);
        if done < self.commands {
            let (wanted, minutes) = (self.commands, self.minutes);
            missing.push(format!(
                "{done} of {wanted} commands in {minutes} minutes: it takes more of them (MINUTES=N), \
                 or fewer commands (COMMANDS=N)"
            ));
        }
        if outcome.faults.is_empty() && self.rate > 0.0 {
            missing.push("no fault hit".to_owned());
        }
        missing
    }
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
                "run_chaos {seed} {} -t {} -c {} -s {seconds}{}",
                seconds + 240,
                self.threads,
                self.commands,
                (self.more)(*seed)
            ));
        }
        job.end(self.kernel, Ending::Unload);
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
            topology: Topology {
                iommu: self.iommu,
                ..Topology::default()
            },
            device: Some(&setup),
            counter: None,
            limits: Some(Limits {
                total: (self.time + Duration::from_secs(240)) * u32::try_from(seeds.len())?
                    + Duration::from_secs(240),
                silence: self.time + Duration::from_secs(300),
            }),
        }
        .run(&mut programs)?;

        let mut result = Outcome {
            faults: parse_log(&fs::read_to_string(&log).unwrap_or_default())?,
            told: told(&fs::read_to_string(dir.join("console.log"))?),
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
            .filter(|seed| programs.ended().contains(&format!("seed-{seed}")))
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
        for (name, complaints) in verdicts(layout, &outcome, judge::Expected::default()) {
            // The kernel's messages have been looked through above.
            if !complaints.is_empty() && name != judge::CLEAN {
                failed(name, complaints);
            }
        }
        result.done = done;
        Ok(result)
    }
}

/// What went wrong under which seed of a boot, and the boots that are to follow: for seeds that were
/// not reached, or one of which did something that only showed at the end.
fn attribute(batch: &[u64], outcome: Outcome) -> (BTreeMap<u64, Vec<String>>, Vec<Vec<u64>>) {
    let mut failed = outcome.failed;
    let mut again = Vec::new();
    if let Some(seed) = batch.get(outcome.done) {
        // The guest came to its end under this one.
        let notes = failed.entry(*seed).or_default();
        notes.extend(outcome.common);
        again.push(batch.get(outcome.done + 1..).unwrap_or_default().to_vec());
    } else if !outcome.common.is_empty() {
        let unknown = batch.iter().filter(|seed| !failed.contains_key(seed));
        let unknown: Vec<u64> = unknown.copied().collect();
        match unknown.as_slice() {
            [seed] => failed.entry(*seed).or_default().extend(outcome.common),
            seeds => again.extend(seeds.chunks(seeds.len().div_ceil(2).max(1)).map(Vec::from)),
        }
    }
    again.retain(|batch| !batch.is_empty());
    (failed, again)
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

/// What the load tells of itself, and of the kernel's slabs.
fn told(console: &str) -> Vec<String> {
    let marks = ["load: ", "# slabs: "];
    let lines = console.lines().filter_map(|line| {
        let at = marks.iter().find_map(|mark| line.find(mark))?;
        Some(line[at..].trim_start_matches("# ").to_owned())
    });
    lines.collect()
}

/// How many commands the load says that it did.
fn commands(told: &[String]) -> u64 {
    let counts = told.iter().filter_map(|line| {
        let (count, _) = line.strip_prefix("load: ")?.split_once(" commands")?;
        count.parse::<u64>().ok()
    });
    counts.sum()
}

/// The seed in the name of a test program.
fn seed_of(name: &str) -> Option<u64> {
    name.strip_prefix("seed-")?.parse().ok()
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
        assert_eq!(again, [[6]]);
    }

    #[test]
    fn trouble_of_a_whole_boot_is_looked_for_in_halves() {
        let outcome = |seeds: usize| Outcome {
            done: seeds,
            common: vec!["leak".to_owned()],
            ..Outcome::default()
        };
        let (failed, again) = attribute(&[4, 5, 6], outcome(3));
        assert!(failed.is_empty());
        assert_eq!(again, [vec![4, 5], vec![6]]);
        let (failed, again) = attribute(&[4], outcome(1));
        assert_eq!(failed[&4], ["leak"]);
        assert!(again.is_empty());
        let (failed, again) = attribute(
            &[4, 5],
            Outcome {
                failed,
                ..outcome(2)
            },
        );
        assert_eq!(failed[&5], ["leak"]);
        assert!(again.is_empty());
    }

    #[test]
    fn the_load_is_quoted() {
        let console =
            " 61.1   1..3\n 62.2   ok 2 load: 9 commands\n 62.3   # slabs: 2 pages more\n";
        assert_eq!(told(console), ["load: 9 commands", "slabs: 2 pages more"]);
    }

    #[test]
    fn a_soak_does_what_was_asked_for() {
        let args = SoakArgs {
            minutes: 1,
            commands: 9,
            rate: 0.001,
            kernel: Kernel::Stock,
            iommu: None,
        };
        let missing = |commands: u64, faults: usize| {
            args.missing(&Outcome {
                told: vec![format!("load: {commands} commands in 7 ms: 1 good")],
                faults: vec![Value::Null; faults],
                ..Outcome::default()
            })
            .len()
        };
        assert_eq!(missing(9, 1), 0);
        assert_eq!(missing(8, 1), 1);
        assert_eq!(missing(8, 0), 2);
        assert_eq!(args.missing(&Outcome::default()).len(), 2);
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
