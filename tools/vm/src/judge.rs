// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads the guest's kernel messages for what a healthy kernel does not say.

/// At most this many lines are shown of one finding.
const SHOWN: usize = 30;

/// Taint flags of a healthy guest: out-of-tree module (12), unsigned module (13), and tests in the
/// kernel (18), which KUnit sets.
const ALLOWED_TAINT: u64 = (1 << 12) | (1 << 13) | (1 << 18);

/// Taint flag of a kernel that warned.
const WARNED: u64 = 1 << 9;

/// Letters of [`ALLOWED_TAINT`] and of "no proprietary module" in a splat's `Tainted:` line.
const ALLOWED_LETTERS: &str = "GOEN";

/// Texts that mean trouble wherever they stand in a message.
const TROUBLE: &[(&str, &str)] = &[
    ("Kernel panic - not syncing", "panic"),
    ("kernel BUG at ", "BUG"),
    ("BUG: sleeping function", "sleep in atomic context"),
    ("BUG: scheduling while atomic", "sleep in atomic context"),
    ("KASAN: ", "KASAN"),
    ("ODEBUG: ", "object life-time"),
    ("BUG: ", "BUG"),
    ("Oops: ", "oops"),
    ("Oops - ", "oops"),
    ("general protection fault", "oops"),
    ("Unable to handle kernel", "oops"),
    ("unable to handle page fault", "oops"),
    ("KFENCE: ", "KFENCE"),
    ("KCSAN: ", "KCSAN"),
    ("UBSAN: ", "UBSAN"),
    ("rust_kernel: panicked", "Rust panic"),
    ("rust_panic", "Rust panic"),
    ("INFO: task ", "hung task"),
    ("detected stall", "RCU stall"),
    ("self-detected stall", "RCU stall"),
    ("soft lockup", "lockup"),
    ("hard LOCKUP", "lockup"),
    ("workqueue lockup", "lockup"),
    ("possible circular locking dependency", "lockdep"),
    ("possible recursive locking", "lockdep"),
    ("possible irq lock inversion", "lockdep"),
    ("inconsistent lock state", "lockdep"),
    ("lock held when returning to user space", "lockdep"),
    ("Invalid wait context", "lockdep"),
    ("bad unlock balance", "lockdep"),
    ("held lock freed", "lockdep"),
    ("suspicious RCU usage", "lockdep"),
    ("turning off the locking correctness validator", "lockdep"),
    ("DEBUG_LOCKS_WARN_ON", "lockdep"),
    ("DMA-API: ", "DMA API"),
    ("kmemleak: ", "memory leak"),
    ("refcount_t: ", "refcount"),
    ("list_add corruption", "list corruption"),
    ("list_del corruption", "list corruption"),
    ("usercopy: Kernel memory", "usercopy"),
    ("Out of memory: ", "out of memory"),
    ("page allocation failure", "out of memory"),
    ("nobody cared", "interrupt"),
];

/// Messages that only look like trouble.
const HARMLESS: &[&str] = &[
    "kmemleak: Kernel memory leak detector initialized",
    "kmemleak: Automatic memory scanning thread started",
    "kmemleak: Early log",
    // It looks at more than it has to; where allocations are made to fail, its own do so, too.
    "kmemleak: Cannot allocate a scan area, scanning the full object",
    // Leaks that matter are looked for at the end of a run, by the module's name.
    "new suspected memory leaks",
    "DMA-API: preallocated",
    "DMA-API: debugging enabled",
    // A mapping of many pages is as many entries.
    "DMA-API: dma_debug_entry pool grown",
    // Follows a report that has been found already.
    "DMA-API: Mapped at:",
];

/// Name of the test that says that [`findings`] are none.
pub const CLEAN: &str = "the kernel log is clean";

/// What begins a test's messages.
const BEGIN: &str = "azihsm-test: begin ";

/// Reports of the kernel about itself that a run expects.
#[derive(Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Locks of the kernel's own, of which lockdep may report a cycle. It looks no further after it.
    pub locks: &'a [String],
    /// Warnings: the function that warns, and functions that it was called by, from there on.
    pub warnings: &'a [Vec<String>],
}

/// Something that the kernel should not have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of trouble it is.
    pub kind: &'static str,
    /// The lines that say so.
    pub lines: Vec<String>,
}

impl Finding {
    /// In lines for the report.
    pub fn told(&self) -> Vec<String> {
        let mut lines = vec![format!("{}:", self.kind)];
        lines.extend(self.lines.iter().map(|line| format!("  {line}")));
        lines
    }
}

/// The messages test by test; those before the first belong to "boot".
pub fn sections(lines: &[String]) -> Vec<(&str, &[String])> {
    let mut sections = Vec::new();
    let (mut name, mut from) = ("boot", 0);
    for (at, line) in lines.iter().enumerate() {
        if let Some((_, begun)) = line.split_once(BEGIN) {
            sections.push((name, &lines[from..at]));
            (name, from) = (begun.trim(), at + 1);
        }
    }
    sections.push((name, &lines[from..]));
    sections
}

/// Looks through all kernel messages of a run.
pub fn findings(lines: &[String]) -> Vec<Finding> {
    findings_beyond(lines, Expected::default())
}

/// The same without what is expected.
pub fn findings_beyond(lines: &[String], expected: Expected) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(kind) = lines[at..].first().and_then(|line| trouble(line)) else {
            at += 1;
            continue;
        };
        // The line that announces the report belongs to it.
        let from = match at.checked_sub(1) {
            Some(before) if lines[before].contains("[ cut here ]") => before,
            Some(before) if is_rule(&lines[before]) => before,
            _ => at,
        };
        let to = report_end(lines, at);
        let report = &lines[from..to];
        if !is_cycle_of(expected.locks, report) && !is_warning_of(expected.warnings, report) {
            findings.push(Finding {
                kind,
                lines: lines[from..to.min(from + SHOWN)].to_vec(),
            });
        }
        at = to;
    }
    findings
}

/// Whether something that is expected is there.
pub fn has_any_of(expected: Expected, lines: &[String]) -> bool {
    findings(lines).len() > findings_beyond(lines, expected).len()
}

/// Whether a report is lockdep's of a cycle of locks, all of them among `cores`, that came about
/// without this module.
fn is_cycle_of(cores: &[String], report: &[String]) -> bool {
    let says = |text: &str| report.iter().any(|line| line.contains(text));
    let links: Vec<&str> = report.iter().filter_map(|line| link(line)).collect();
    says("possible circular locking dependency")
        && says("stack backtrace:")
        && !says("azihsm_")
        && !says("[azihsm]")
        && links.len() > 1
        && links
            .iter()
            .all(|lock| cores.iter().any(|core| core == lock))
}

/// Whether a report is one of the `warnings`.
fn is_warning_of(warnings: &[Vec<String>], report: &[String]) -> bool {
    let mut warned = report
        .iter()
        .map(|line| message(line))
        .skip_while(|line| !is_warning(line));
    let Some(at) = warned.next() else {
        return false;
    };
    let trace: Vec<&str> = warned
        .skip_while(|line| *line != "<TASK>")
        .take_while(|line| *line != "</TASK>")
        .filter_map(|line| line.split_once('+'))
        .map(|(function, _)| function)
        .collect();
    warnings.iter().any(|chain| match &chain[..] {
        [function, callers @ ..] => {
            let mut trace = trace.iter();
            at.contains(&format!(" at {function}+"))
                && callers
                    .iter()
                    .all(|caller| trace.any(|function| function == caller))
        }
        [] => false,
    })
}

/// The lock of a line that begins a link of lockdep's chain: `-> #1 (lock){+.+.}-{4:4}:`.
fn link(line: &str) -> Option<&str> {
    let (_, rest) = message(line).strip_prefix("-> #")?.split_once('(')?;
    Some(rest.split_once("){")?.0)
}

/// What is wrong with the kernel's taint flags, if anything. It may have `warned` if that was expected.
pub fn taint_trouble(taint: u64, warned: bool) -> Option<String> {
    let bad = taint & !ALLOWED_TAINT & !(if warned { WARNED } else { 0 });
    (bad != 0).then(|| {
        let bits: Vec<String> = (0..u64::BITS)
            .filter(|bit| (bad >> bit) & 1 != 0)
            .map(|bit| bit.to_string())
            .collect();
        format!(
            "the kernel is tainted ({taint}): flag {} should not be set",
            bits.join(", flag ")
        )
    })
}

/// A kernel message without its time stamp.
pub fn text(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((time, rest)) if time.trim().starts_with(|c: char| c.is_ascii_digit()) => {
            rest.strip_prefix(' ').unwrap_or(rest)
        }
        _ => line,
    }
}

/// The same without what it is indented by.
fn message(line: &str) -> &str {
    text(line.trim_start()).trim_start()
}

fn trouble(line: &str) -> Option<&'static str> {
    let message = message(line);
    if HARMLESS.iter().any(|text| message.contains(text)) {
        return None;
    }
    if is_warning(message) {
        return Some(
            if message.contains("locking") || message.contains("RCU usage") {
                "lockdep"
            } else {
                "WARN"
            },
        );
    }
    if let Some(letters) = tainted(message) {
        if letters
            .chars()
            .any(|letter| !ALLOWED_LETTERS.contains(letter))
        {
            return Some("taint");
        }
    }
    TROUBLE
        .iter()
        .find(|(text, _)| message.contains(text))
        .map(|(_, kind)| *kind)
}

/// WARN() and its relatives, not drivers that print the word.
fn is_warning(message: &str) -> bool {
    message.strip_prefix("WARNING: ").is_some_and(|rest| {
        rest.starts_with("CPU: ")
            || rest.starts_with("possible ")
            || rest.starts_with("suspicious ")
            || rest.starts_with("inconsistent ")
            || rest.starts_with("bad unlock")
            || rest.starts_with("held lock")
            || rest.starts_with("lock held")
            || rest.starts_with("Nested lock")
            || rest.contains(" at ")
    })
}

/// The letters of a `Tainted:` note.
fn tainted(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("Tainted: ")?;
    // "Tainted: G           OE      7.3.4" or "Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE".
    if rest.starts_with('[') {
        return Some(
            rest.split('[')
                .filter_map(|part| part.split_once(']'))
                .map(|(letter, _)| letter)
                .collect(),
        );
    }
    Some(
        rest.split_whitespace()
            .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()))
            .collect(),
    )
}

/// A line of equal signs, as before lockdep's and KASAN's reports.
fn is_rule(line: &str) -> bool {
    let message = message(line);
    message.len() >= 20 && message.chars().all(|c| c == '=')
}

/// First line after the report that begins at `at`.
fn report_end(lines: &[String], at: usize) -> usize {
    for (offset, line) in lines[at..].iter().enumerate().take(200) {
        let message = message(line);
        if message.starts_with("---[ end ") {
            // A panic's end comes after the trace's; both are one report.
            return at + offset + 1;
        }
        if offset > 0 && is_rule(line) {
            return at + offset + 1;
        }
        if offset > 0 && line.contains(BEGIN) {
            return at + offset;
        }
    }
    // No end mark: the report goes to the end of its call trace, if it has one.
    let near = |text: &str, within: usize| {
        let mut lines = lines[at..].iter().take(within);
        lines.position(|line| line.contains(text))
    };
    // lockdep tells a lot before it; it begins below a rule.
    let ruled = at
        .checked_sub(1)
        .is_some_and(|before| is_rule(&lines[before]));
    let head = if ruled { 100 } else { 20 };
    if let (Some(trace), Some(end)) = (near("Call Trace:", head), near("</TASK>", head + 100)) {
        if trace < end {
            return at + end + 1;
        }
    }
    // Otherwise it is what looks like a report.
    let body = lines[at + 1..]
        .iter()
        .take_while(|line| looks_like_report(line))
        .count();
    at + 1 + body
}

fn looks_like_report(line: &str) -> bool {
    let message = message(line);
    message.starts_with(' ')
        || line.contains("]  ")
        || [
            "Call Trace:",
            "<TASK>",
            "</TASK>",
            "RIP:",
            "RSP:",
            "R",
            "CPU:",
            "Hardware name:",
            "Code:",
        ]
        .iter()
        .any(|start| message.trim_start().starts_with(start))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
