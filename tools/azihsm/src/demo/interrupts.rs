// SPDX-License-Identifier: GPL-2.0-or-later

//! How many interrupts a function raised, from `/proc/interrupts`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Interrupts of one function so far, by what they are for ("cp", "fp", "admin").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Reads the counts of the function at `pci_address`; `None` if they cannot be told.
    pub fn read(pci_address: &str) -> Option<Self> {
        let folder = Path::new("/sys/bus/pci/devices")
            .join(pci_address)
            .join("msi_irqs");
        let vectors = fs::read_dir(folder).ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse().ok()
        });
        let text = fs::read_to_string("/proc/interrupts").ok()?;
        Some(Self::parse(&text, &vectors.collect()))
    }

    /// Takes the counts of the interrupts in `vectors` from the text of `/proc/interrupts`.
    fn parse(text: &str, vectors: &BTreeSet<u32>) -> Self {
        let mut counts = BTreeMap::new();
        let mut lines = text.lines();
        let cpus = lines
            .next()
            .map_or(0, |header| header.split_whitespace().count());
        for line in lines {
            let mut words = line.split_whitespace();
            let number = words.next().and_then(|word| word.strip_suffix(':'));
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            if !vectors.contains(&number) {
                continue;
            }
            let sum: u64 = words
                .clone()
                .take(cpus)
                .filter_map(|word| word.parse::<u64>().ok())
                .sum();
            let name = words.next_back().unwrap_or_default();
            *counts.entry(purpose(name).to_owned()).or_default() += sum;
        }
        Self(counts)
    }

    /// Returns what was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        self.0
            .iter()
            .map(|(name, count)| {
                let before = earlier.0.get(name).copied().unwrap_or(0);
                // A reset between the two starts the counts anew.
                (name.clone(), count.checked_sub(before).unwrap_or(*count))
            })
            .collect()
    }
}

/// What an interrupt is for: its name without the driver's and without a number.
fn purpose(name: &str) -> &str {
    let name = name.rsplit('-').next().unwrap_or(name);
    let short = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if short.is_empty() { "other" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
            CPU0       CPU1
  1:          9          0   IO-APIC   1-edge      i8042
 24:          5          1  PCI-MSIX-0000:01:00.0   0-edge      azihsm-admin
 25:         10          2  PCI-MSIX-0000:01:00.0   1-edge      azihsm-cp1
 26:          1          0  PCI-MSIX-0000:01:00.0   2-edge      azihsm-cp2
 27:          0        300  PCI-MSIX-0000:01:00.0  16-edge      azihsm-fp16
 28:          7          7  PCI-MSIX-0000:02:00.0   1-edge      azihsm-cp1
NMI:          0          0   Non-maskable interrupts
";

    #[test]
    fn counts_are_summed_by_purpose() {
        let counts = Counts::parse(TEXT, &(24..=27).collect());
        let expected = [("admin", 6), ("cp", 13), ("fp", 300)];
        assert_eq!(
            counts.0,
            expected.map(|(name, n)| (name.to_owned(), n)).into()
        );
    }

    #[test]
    fn difference() {
        let before = Counts::parse(TEXT, &(24..=27).collect());
        let later = TEXT.replace(" 300 ", " 345 ").replace(" 5  ", " 2  ");
        let after = Counts::parse(&later, &(24..=27).collect());
        let delta = after.since(&before);
        assert_eq!((delta["fp"], delta["cp"]), (45, 0));
        // The count fell: the interrupt was given back and taken anew.
        assert_eq!(delta["admin"], 3);
    }

    #[test]
    fn nonsense_is_ignored() {
        assert_eq!(Counts::parse("", &[1].into()), Counts::default());
        assert_eq!(Counts::parse("x\ny\n:::\n", &[1].into()), Counts::default());
        assert_eq!(purpose("17"), "other");
    }
}
