// SPDX-License-Identifier: GPL-2.0-or-later

//! The emulator's counters, as it writes them with `--stats`.

use anyhow::{Context, Result};
use serde::Deserialize;

/// The counters that are judged or shown.
#[derive(Clone, Debug, Deserialize)]
pub struct Statistics {
    commands_admin: u64,
    commands_cp: u64,
    commands_fp: u64,
    doorbell_writes_sq: u64,
    doorbell_writes_cq: u64,
    interrupts: u64,
    dma_bytes_read: u64,
    dma_bytes_written: u64,
    violations: u64,
    violation_list: Vec<String>,
    internal_errors: Vec<String>,
    private_guest_memory: bool,
    #[serde(default)]
    functions: Vec<Function>,
}

/// What is looked at of one function.
#[derive(Clone, Debug, Deserialize)]
struct Function {
    controller_id: u16,
    ready: bool,
    sessions: Vec<serde::de::IgnoredAny>,
}

impl Statistics {
    /// Reads the JSON text.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("reading the emulator's statistics")
    }

    /// What the device holds against the host, the machine or itself.
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.violations > 0 {
            lines.push(format!(
                "{} protocol violations by the driver:",
                self.violations
            ));
            lines.extend(self.violation_list.iter().map(|text| format!("  {text}")));
        }
        if !self.internal_errors.is_empty() {
            lines.push("errors inside the emulator:".to_owned());
            lines.extend(self.internal_errors.iter().map(|text| format!("  {text}")));
        }
        if self.private_guest_memory {
            lines.push("the guest's memory was not shared with the device".to_owned());
        }
        lines
    }

    /// What speaks against it that the driver left the device alone, having been at work before.
    pub fn left_at_work(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.commands_fp == 0 {
            lines.push("the driver was not at work".to_owned());
        }
        for function in &self.functions {
            let id = function.controller_id;
            if function.ready {
                lines.push(format!("controller {id} was left running"));
            }
            if !function.sessions.is_empty() {
                let count = function.sessions.len();
                lines.push(format!("controller {id} was left with {count} sessions"));
            }
        }
        lines
    }

    /// The device's side of the story, for people.
    pub fn story(&self) -> String {
        let doorbells = self.doorbell_writes_sq + self.doorbell_writes_cq;
        let commands = self.commands_admin + self.commands_cp + self.commands_fp;
        // CAST: a ratio for people.
        let each = |count: u64| count as f64 / commands.max(1) as f64;
        format!(
            "Seen by the device\n  \
             commands      {commands}: {} on the fast path, {} on the control path, {} admin\n  \
             doorbells     {doorbells}, {:.2} for each command\n  \
             interrupts    {}, {:.2} for each command\n  \
             DMA           {:.1} MiB read, {:.1} MiB written\n  \
             violations    {} of the protocol",
            self.commands_fp,
            self.commands_cp,
            self.commands_admin,
            each(doorbells),
            self.interrupts,
            each(self.interrupts),
            mib(self.dma_bytes_read),
            mib(self.dma_bytes_written),
            self.violations
        )
    }
}

fn mib(bytes: u64) -> f64 {
    // CAST: a size for people.
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"commands_admin": 20, "commands_cp": 5, "commands_fp": 10,
        "failed_admin": 0, "failed_cp": 0, "failed_fp": 0, "doorbell_writes_sq": 35,
        "doorbell_writes_cq": 5, "interrupts": 30, "dma_bytes_read": 1048576,
        "dma_bytes_written": 0, "violations": 1, "violation_list": ["SQ 3: tail 9 of 8"],
        "internal_errors": [], "private_guest_memory": false, "firmware": "model"}"#;

    #[test]
    fn violations_are_told() {
        let complaints = Statistics::parse(TEXT).unwrap().complaints();
        assert_eq!(complaints.len(), 2);
        assert!(complaints[1].contains("tail 9 of 8"));
    }

    #[test]
    fn what_was_left_running_is_told() {
        let functions = r#""functions": [{"controller_id": 1, "ready": true, "sessions": [{"id": 0}]},
            {"controller_id": 2, "ready": false, "sessions": []}], "commands_fp": 1"#;
        let text = TEXT.replace(r#""commands_fp": 10"#, functions);
        let lines = Statistics::parse(&text).unwrap().left_at_work();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.contains("controller 1")));
        assert!(Statistics::parse(TEXT).unwrap().left_at_work().is_empty());
        let text = TEXT.replace(r#""commands_fp": 10"#, r#""commands_fp": 0"#);
        assert_eq!(Statistics::parse(&text).unwrap().left_at_work().len(), 1);
    }

    #[test]
    fn the_story_has_sums_and_ratios() {
        let story = Statistics::parse(TEXT).unwrap().story();
        assert!(story.contains("35: 10 on the fast path"), "{story}");
        assert!(story.contains("40, 1.14 for each command"), "{story}");
        assert!(story.contains("30, 0.86 for each command"), "{story}");
        assert!(story.contains("1.0 MiB read"), "{story}");
    }

    #[test]
    fn cut_off_text_is_an_error() {
        assert!(Statistics::parse(&TEXT[..TEXT.len() / 2]).is_err());
    }
}
