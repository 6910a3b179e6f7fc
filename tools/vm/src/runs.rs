// SPDX-License-Identifier: GPL-2.0-or-later

//! The table of guest runs, `runs.toml`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::emulator::{Firmware, Setup};
use crate::guest::Limits;
use crate::job::{Device, Ending};
use crate::judge;
use crate::layout::{Kernel, Layout};
use crate::qemu::{Iommu, Topology};

/// One boot of the guest and what it is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the run and of the folder of its logs.
    pub name: String,
    /// Who answers the commands.
    #[serde(default)]
    pub firmware: Firmware,
    /// Whether the machine has the device.
    #[serde(default = "yes")]
    pub device: bool,
    /// Whether the driver binds to the device; if not it must have refused it.
    #[serde(default = "yes")]
    pub bound: bool,
    /// Whether nothing else may run beside it.
    #[serde(default)]
    pub alone: bool,
    /// Seconds that it usually takes.
    #[serde(default = "usual")]
    pub usual: u64,
    /// Which kernel boots.
    #[serde(default)]
    pub kernel_image: Kernel,
    /// Which verb has it among its runs.
    #[serde(default)]
    pub verb: Verb,
    /// Whether the module's unit tests run, which takes the debug kernel.
    #[serde(default)]
    pub kunit: bool,
    /// How many virtual functions the device has; with any, its first function is a physical one.
    #[serde(default)]
    pub vfs: usize,
    /// The IOMMU of the machine.
    iommu: Option<Iommu>,
    /// Whether the device can be pulled out and plugged in.
    #[serde(default = "yes")]
    hotplug: bool,
    /// Size of the guest's memory in QEMU's notation.
    memory: Option<String>,
    /// Further arguments of the emulator.
    #[serde(default)]
    pub emulator: Vec<String>,
    /// Words added to the kernel's command line.
    #[serde(default)]
    pub kernel: Vec<String>,
    /// Parameters of the module.
    #[serde(default)]
    pub module: Vec<String>,
    /// How the job ends.
    #[serde(default)]
    pub end: Ending,
    /// Which tests; all if there is no list.
    pub tests: Option<Vec<String>>,
    /// Which of them not.
    #[serde(default)]
    without: Vec<String>,
    /// Why tests may be skipped.
    #[serde(default)]
    skips: Vec<String>,
    /// Whether tests may be skipped for other reasons, too.
    #[serde(skip)]
    may_skip_all: bool,
    /// Locks of the kernel's own, of which lockdep may report a cycle.
    #[serde(default)]
    core_locks: Vec<String>,
    /// Warnings of the kernel's own: the function that warns, and functions that it was called by.
    #[serde(default)]
    core_warnings: Vec<Vec<String>>,
    /// Seconds that one test program may take.
    #[serde(default = "test_limit")]
    pub test_limit: u64,
    /// Seconds that the run may take.
    #[serde(default = "total_limit")]
    pub total_limit: u64,
}

/// The verbs that have runs of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// `make check`.
    #[default]
    Check,
    /// `make check-debug`.
    CheckDebug,
    /// None but `make test RUN=NAME`.
    Test,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Why each run that has all tests may skip some.
    #[serde(default)]
    skips: Vec<String>,
    run: Vec<Run>,
}

fn yes() -> bool {
    true
}

fn usual() -> u64 {
    20
}

fn test_limit() -> u64 {
    240
}

fn total_limit() -> u64 {
    1800
}

impl Run {
    /// The device of the run.
    pub fn setup(&self) -> Option<Setup> {
        self.device.then(|| Setup {
            firmware: self.firmware,
            vfs: self.vfs,
            args: self.emulator.clone(),
            ends: self.end == Ending::PullOut,
        })
    }

    /// Reports of the kernel about itself that are none of the driver's.
    pub fn expected_reports(&self) -> judge::Expected<'_> {
        judge::Expected {
            locks: &self.core_locks,
            warnings: &self.core_warnings,
        }
    }

    /// What comes of the device when the module is loaded.
    pub fn expected(&self) -> Device {
        match (self.device, self.bound) {
            (false, _) => Device::Absent,
            (true, true) => Device::Bound,
            (true, false) => Device::Refused,
        }
    }

    /// How the device is connected.
    pub fn topology(&self) -> Topology {
        Topology {
            iommu: self.iommu,
            fixed: !self.hotplug,
        }
    }

    /// Size of the guest's memory.
    pub fn memory(&self) -> &str {
        match &self.memory {
            Some(memory) => memory,
            None => self.kernel_image.memory(),
        }
    }

    /// How long the run may take. A silent test is ended by its own limit first.
    pub fn limits(&self) -> Limits {
        Limits {
            total: Duration::from_secs(self.total_limit),
            silence: Duration::from_secs(self.test_limit + 30),
        }
    }

    /// Has these tests and no others, also if they are usually left out.
    pub fn only(&mut self, tests: &[String]) {
        self.tests = Some(tests.to_vec());
        self.without.clear();
        self.may_skip_all = true;
    }

    /// Whether a test may be skipped that says that this is why.
    pub fn may_skip(&self, why: &str) -> bool {
        self.may_skip_all || self.skips.iter().any(|known| known == why)
    }

    /// The tests of the run, out of those that there are.
    pub fn choose(&self, all: &[String]) -> Result<Vec<String>> {
        let chosen = self.tests.as_deref().unwrap_or(all);
        for name in chosen.iter().chain(&self.without) {
            ensure!(
                all.contains(name),
                "run `{}` of runs.toml names the test `{name}`; there are: {}",
                self.name,
                all.join(" ")
            );
        }
        Ok(chosen
            .iter()
            .filter(|name| !self.without.contains(name))
            .cloned()
            .collect())
    }
}

/// Reads the table.
pub fn table(layout: &Layout) -> Result<Vec<Run>> {
    let path = layout.repo.join("tools/vm/runs.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// One run of the table.
pub fn find(layout: &Layout, name: &str) -> Result<Run> {
    let runs = table(layout)?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let missing = format!(
        "runs.toml has no run `{name}`; there are: {}",
        names.join(" ")
    );
    runs.into_iter()
        .find(|run| run.name == name)
        .context(missing)
}

fn parse(text: &str) -> Result<Vec<Run>> {
    let Table { skips, mut run } = toml::from_str(text)?;
    let runs = &mut run;
    for run in runs.iter_mut().filter(|run| run.tests.is_none()) {
        run.skips.extend_from_slice(&skips);
    }
    for run in runs {
        ensure!(
            !run.kunit || run.kernel_image == Kernel::Debug,
            "run `{}`: only the debug kernel has KUnit",
            run.name
        );
        ensure!(
            run.device || run.bound,
            "run `{}`: what is not there cannot be refused",
            run.name
        );
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_tree_is_good() {
        let runs = parse(include_str!("../runs.toml")).unwrap();
        let mut names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs.len(), "run names must differ");
        assert!(runs.iter().any(|run| run.firmware == Firmware::Remote));
    }

    /// The names in the makefile of the guest tests.
    fn guest_tests() -> Vec<String> {
        let makefile = include_str!("../../../selftests/Makefile").replace("\\\n", " ");
        let names = makefile
            .lines()
            .find_map(|line| line.strip_prefix("TESTS :="));
        names
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_tests_of_all_runs_exist() {
        for run in parse(include_str!("../runs.toml")).unwrap() {
            run.choose(&guest_tests()).unwrap();
        }
    }

    #[test]
    fn what_a_run_leaves_out_is_in_another_one_of_its_verb() {
        let runs = parse(include_str!("../runs.toml")).unwrap();
        for run in &runs {
            for name in &run.without {
                // With no list it would only be the same again.
                let has = |other: &&Run| {
                    let names = other.tests.as_deref().unwrap_or_default();
                    other.verb == run.verb && other.device && names.contains(name)
                };
                assert!(runs.iter().any(|other| has(&other)), "{}: {name}", run.name);
            }
        }
    }

    #[test]
    fn misspelt_keys_are_refused() {
        assert!(parse("[[run]]\nname = 'a'\nfirmwares = 'model'\n").is_err());
    }

    #[test]
    fn kunit_takes_the_debug_kernel() {
        assert!(parse("[[run]]\nname = 'a'\nkunit = true\n").is_err());
        let runs = parse("[[run]]\nname = 'a'\nkunit = true\nkernel_image = 'debug'\n").unwrap();
        assert_eq!(runs[0].memory(), "1G");
    }

    #[test]
    fn a_device_is_bound_refused_or_absent() {
        let expected = |keys| {
            let runs = parse(&format!("[[run]]\nname = 'a'\n{keys}\n"))?;
            anyhow::Ok(runs[0].expected())
        };
        assert_eq!(expected("").unwrap(), Device::Bound);
        assert_eq!(expected("bound = false").unwrap(), Device::Refused);
        assert_eq!(expected("device = false").unwrap(), Device::Absent);
        assert!(expected("device = false\nbound = false").is_err());
    }

    #[test]
    fn tests_are_skipped_for_known_reasons() {
        let text = "skips = ['all']\n[[run]]\nname = 'a'\nskips = ['own']\n\
                    [[run]]\nname = 'b'\ntests = ['x']\nskips = ['own']\n";
        let mut runs = parse(text).unwrap();
        let may_skip = |run: &Run| ["all", "own", "other"].map(|why| run.may_skip(why));
        assert_eq!(may_skip(&runs[0]), [true, true, false]);
        assert_eq!(may_skip(&runs[1]), [false, true, false]);
        runs[0].only(&["x".to_owned()]);
        assert_eq!(may_skip(&runs[0]), [true; 3]);
    }

    #[test]
    fn unknown_tests_are_refused() {
        let run = &parse("[[run]]\nname = 'a'\ntests = ['x']\n").unwrap()[0];
        assert!(run.choose(&["y".to_owned()]).is_err());
        assert_eq!(
            run.choose(&["x".to_owned(), "y".to_owned()]).unwrap(),
            ["x"]
        );
    }

    #[test]
    fn tests_may_be_left_out() {
        let all = ["x".to_owned(), "y".to_owned()];
        let run = &parse("[[run]]\nname = 'a'\nwithout = ['x']\n").unwrap()[0];
        assert_eq!(run.choose(&all).unwrap(), ["y"]);
        assert!(run.choose(&all[1..]).is_err());
        let mut run = run.clone();
        run.only(&all[..1]);
        assert_eq!(run.choose(&all).unwrap(), ["x"]);
    }
}
