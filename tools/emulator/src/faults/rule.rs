// SPDX-License-Identifier: GPL-2.0-or-later

//! The language of faults: which event, and what happens instead (described in README.md).

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::field::{Change, Field, IdentifyField, Register};
use crate::interrupts::VECTORS;
use crate::queue::Class;

/// Longest time a fault may hold a thread or a completion: longer than any time-out of a host.
pub const TIME_MAX_MS: u64 = 600_000;
/// Most interrupts or duplicates that one hit of a fault makes.
pub const TIMES_MAX: u32 = 1_000_000;

/// A fault: events that it is for, which of them it hits, and what happens then.
///
/// A selector that is not given fits everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    /// Controller id of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<u16>,
    /// Class of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Id of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u16>,
    /// Opcode: that of the class; on the fast path 0 is encrypt and 1 decrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opcode: Option<u16>,
    /// Session control kind of a control command: 0 none, 1 open, 2 close, 3 in session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_kind: Option<u8>,
    /// Dword 10 of an admin command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dw10: Option<u32>,
    /// Number of events to let pass.
    #[serde(default)]
    pub after: u64,
    /// Hits each `every`-th event from then on.
    #[serde(default = "one")]
    pub every: NonZeroU64,
    /// Number of hits, then no more; no limit if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Milliseconds after the first hit, then no more; no limit if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// What happens.
    pub what: What,
}

fn one() -> NonZeroU64 {
    NonZeroU64::MIN
}

/// Buffers of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buffers {
    /// What the command wrote.
    #[default]
    Destination,
    /// What the command read.
    Source,
}

/// What happens when a fault hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the members are described with their variants and in README.md"
)]
pub enum What {
    // Events: commands, after they were fetched.
    /// The command is forgotten: neither run nor completed.
    Ignore,
    /// The command is not run and completes with a status, on the fast path also with an error code.
    Refuse {
        status: u16,
        #[serde(default)]
        error: u16,
    },
    /// The device clears CC.EN of the function, as when its resources change.
    ClearEnable,
    /// CSTS.CFS becomes 1; the queues are served as before.
    Fatal,
    /// CSTS.CFS becomes 1, and no queue is served any more until the function is disabled.
    Crash,
    /// Messages of a vector without a completion, one in `every-us` microseconds.
    #[serde(rename_all = "kebab-case")]
    Interrupt {
        vector: u16,
        #[serde(default = "once")]
        times: u32,
        #[serde(default)]
        every_us: u64,
    },

    // Events: completions.
    /// The command runs and is not completed.
    Drop,
    /// The completion comes late, and the command is in flight until then.
    Delay { ms: u64 },
    /// The completion comes again.
    Duplicate {
        #[serde(default = "once")]
        times: u32,
    },
    /// The completion comes after `commands` later ones of its queue, or after `ms` milliseconds.
    Hold {
        #[serde(default = "once")]
        commands: u32,
        #[serde(default = "second")]
        ms: u64,
    },
    /// The completion comes `ms` milliseconds after Delete SQ was carried out, else never.
    Stale {
        #[serde(default)]
        ms: u64,
    },
    /// Fields of the completion are not what they should be.
    Completion(BTreeMap<Field, Change>),
    /// `ms` milliseconds after the completion the command's buffers are overwritten with `byte`.
    LateWrite {
        #[serde(default)]
        ms: u64,
        #[serde(default = "poison")]
        byte: u8,
        #[serde(default)]
        buffers: Buffers,
    },

    // Events: writes of a command to the host's memory, Identify data among them.
    /// A byte is changed, counted from the start of the write.
    Data { byte: u64, change: Change },
    /// Fields of the Identify structure are not what they should be.
    Identify(BTreeMap<IdentifyField, Change>),
    /// Each byte of the Identify structure is this one.
    IdentifyFill(u8),

    // Events: reads of registers.
    /// Words read differently than they should.
    Registers(BTreeMap<Register, Change>),
    /// All registers read as ones, as those of a device that is gone.
    RegistersGone,
    /// A read takes long, and the processor of the guest with it.
    SlowRegisters { us: u64 },

    // Events: MSI-X messages for completions.
    /// The message is lost.
    LostInterrupt,
    /// The message is sent again.
    RepeatInterrupt {
        #[serde(default = "once")]
        times: u32,
    },

    // Events: writes to the tail doorbell of a queue.
    /// The write is lost.
    LostDoorbell,

    // Events: what the state machine is asked to do.
    /// CC.EN = 1 is not heard, for `ms` milliseconds if that is given: CSTS.RDY stays 0.
    IgnoreEnable {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// CC.EN = 0 is not heard, for `ms` milliseconds if that is given, and no subsystem reset: CSTS.RDY stays 1, and
    /// the queues are served.
    IgnoreDisable {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },

    // Events: what the state machine has done.
    /// CSTS.CFS is 1 when CSTS.RDY becomes 0, until the function is enabled.
    FatalDisabled,
}

fn once() -> u32 {
    1
}

fn second() -> u64 {
    1000
}

fn poison() -> u8 {
    0xdb
}

/// Where faults can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// A command was fetched.
    Command,
    /// A command is to be completed.
    Completion,
    /// The device writes data to the host.
    Data,
    /// The host reads registers.
    Register,
    /// A message follows a completion.
    Interrupt,
    /// The host writes a tail doorbell.
    Doorbell,
    /// The state machine is asked to enable.
    Enable,
    /// The state machine is asked to disable or reset.
    Disable,
    /// The state machine has disabled or reset.
    Disabled,
}

impl What {
    /// Returns where this hits.
    pub fn site(&self) -> Site {
        match self {
            What::Ignore
            | What::Refuse { .. }
            | What::ClearEnable
            | What::Fatal
            | What::Crash
            | What::Interrupt { .. } => Site::Command,
            What::Drop
            | What::Delay { .. }
            | What::Duplicate { .. }
            | What::Hold { .. }
            | What::Stale { .. }
            | What::Completion(_)
            | What::LateWrite { .. } => Site::Completion,
            What::Data { .. } | What::Identify(_) | What::IdentifyFill(_) => Site::Data,
            What::Registers(_) | What::RegistersGone | What::SlowRegisters { .. } => Site::Register,
            What::LostInterrupt | What::RepeatInterrupt { .. } => Site::Interrupt,
            What::LostDoorbell => Site::Doorbell,
            What::IgnoreEnable { .. } => Site::Enable,
            What::IgnoreDisable { .. } => Site::Disable,
            What::FatalDisabled => Site::Disabled,
        }
    }

    /// Returns whether it can be done at once, without waiting for an event.
    pub fn is_action(&self) -> bool {
        matches!(
            self,
            What::ClearEnable | What::Fatal | What::Crash | What::Interrupt { .. }
        )
    }

    /// Returns whether it hits only the Identify data.
    pub fn is_identify(&self) -> bool {
        matches!(self, What::Identify(_) | What::IdentifyFill(_))
    }

    /// Returns the longest time in milliseconds that is asked for, and the largest number.
    fn amounts(&self) -> (u64, u32) {
        match self {
            What::Delay { ms } | What::Stale { ms } | What::LateWrite { ms, .. } => (*ms, 0),
            What::Hold { commands, ms } => (*ms, *commands),
            What::SlowRegisters { us } => (us / 1000, 0),
            What::IgnoreEnable { ms } | What::IgnoreDisable { ms } => (ms.unwrap_or(0), 0),
            What::Interrupt {
                times, every_us, ..
            } => (every_us / 1000, *times),
            What::Duplicate { times } | What::RepeatInterrupt { times } => (0, *times),
            _ => (0, 0),
        }
    }
}

impl Fault {
    /// A fault that hits every event it is for.
    pub fn new(what: What) -> Self {
        Fault {
            function: None,
            class: None,
            queue: None,
            opcode: None,
            session_kind: None,
            dw10: None,
            after: 0,
            every: one(),
            count: None,
            for_ms: None,
            what,
        }
    }

    /// Returns whether the fault waits for no event, but is done when it is armed.
    pub fn is_immediate(&self) -> bool {
        let waits = self.class.is_some()
            || self.queue.is_some()
            || self.opcode.is_some()
            || self.session_kind.is_some()
            || self.dw10.is_some()
            || self.after > 0
            || self.every > one();
        self.what.is_action() && !waits
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    ///
    /// Something is asked for that cannot be.
    pub fn check(&self) -> Result<()> {
        let (ms, times) = self.what.amounts();
        if ms > TIME_MAX_MS || self.for_ms.is_some_and(|ms| ms > TIME_MAX_MS) {
            bail!("a time of more than {TIME_MAX_MS} ms");
        }
        if times > TIMES_MAX {
            bail!("a number of more than {TIMES_MAX}");
        }
        match &self.what {
            What::Interrupt { vector, .. } if usize::from(*vector) >= VECTORS => {
                bail!("vector {vector}: there are {VECTORS}");
            }
            What::Completion(fields) => {
                let classes = [Class::Admin, Class::Cp, Class::Fp];
                for field in fields.keys() {
                    let has = |class: &Class| field.bits(*class).is_some();
                    if self.class.is_some_and(|class| !has(&class)) || !classes.iter().any(has) {
                        bail!("a completion of that class has no field {field:?}");
                    }
                }
            }
            What::Refuse { status, .. } if *status > 0x7fff => {
                bail!("status {status:#x}: the field has 15 bits");
            }
            _ => {}
        }
        let of_queue = self.class.is_some() || self.queue.is_some();
        let site = self.what.site();
        let of_function = matches!(
            site,
            Site::Register | Site::Enable | Site::Disable | Site::Disabled
        );
        if of_queue && of_function {
            bail!("this has no queue: leave out \"class\" and \"queue\"");
        }
        let of_command =
            self.opcode.is_some() || self.session_kind.is_some() || self.dw10.is_some();
        let has_command = matches!(
            site,
            Site::Command | Site::Completion | Site::Data | Site::Interrupt
        );
        if of_command && !has_command {
            bail!("this has no command: leave out \"opcode\", \"session-kind\" and \"dw10\"");
        }
        Ok(())
    }
}

/// A file of faults in TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Fault>,
}

/// A line of the log of faults; other members are for people.
#[derive(Deserialize)]
struct Line {
    fault: Fault,
}

/// Reads the faults of a file: TOML, or a log of faults if its name ends in `.jsonl`.
///
/// # Errors
///
/// The file cannot be read, or does not describe faults.
pub fn load(path: &Path) -> Result<Vec<Fault>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let faults = if path.extension().is_some_and(|e| e == "jsonl") {
        parse_log(&text)
    } else {
        parse_toml(&text)
    };
    faults.with_context(|| format!("{}: not a list of faults", path.display()))
}

fn parse_toml(text: &str) -> Result<Vec<Fault>> {
    let file: File = toml::from_str(text)?;
    for (i, fault) in file.fault.iter().enumerate() {
        fault
            .check()
            .with_context(|| format!("[[fault]] number {}", i + 1))?;
    }
    Ok(file.fault)
}

fn parse_log(text: &str) -> Result<Vec<Fault>> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty());
    lines
        .map(|(i, line)| {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("line {}", i + 1))?;
            line.fault
                .check()
                .with_context(|| format!("line {}", i + 1))?;
            Ok(line.fault)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = r#"
            [[fault]]
            class = "fp"
            queue = 257
            after = 10
            every = 5
            count = 3
            what = "drop"

            [[fault]]
            class = "cp"
            session-kind = 1
            what = { completion = { cid = { xor = 1 }, status = { set = 7 } } }

            [[fault]]
            what = { registers = { csts = { set = 0xffffffff } } }
            for-ms = 500

            [[fault]]
            what = { interrupt = { vector = 16, times = 1000, every-us = 10 } }
        "#;
        let faults = parse_toml(toml).unwrap();
        assert_eq!(faults.len(), 4);
        let log: String = faults
            .iter()
            .map(|f| serde_json::json!({ "time_ms": 1, "fault": f }).to_string() + "\n")
            .collect();
        assert_eq!(parse_log(&log).unwrap(), faults);
        assert!(!faults[0].is_immediate());
        assert!(faults[3].is_immediate());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "what = \"explode\"",
            "what = \"drop\"\nevery = 0",
            "what = \"drop\"\nqueu = 1",
            "what = \"drop\"\nclass = \"slow\"",
            "what = { delay = { ms = 600001 } }",
            "what = { delay = { s = 6 } }",
            "what = { interrupt = { vector = 32 } }",
            "what = { refuse = { status = 0x8000 } }",
            "class = \"cp\"\nwhat = { completion = { tag = { xor = 1 } } }",
            "queue = 1\nwhat = \"registers-gone\"",
            "opcode = 1\nwhat = \"lost-doorbell\"",
            "after = 3",
        ] {
            let result = parse_toml(&format!("[[fault]]\n{text}"));
            assert!(result.is_err(), "{text}: {result:?}");
        }
        assert!(parse_toml("[[faults]]\nwhat = \"drop\"").is_err());
        assert!(parse_log("{\"what\":\"drop\"}").is_err());
        assert_eq!(parse_toml("").unwrap(), []);
    }
}
