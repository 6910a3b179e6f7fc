// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads the results that test programs print: TAP and the kernel's dialect of it, KTAP.

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It did what it should.
    Passed,
    /// It did not.
    Failed,
    /// It could not be run here.
    Skipped,
}

/// One result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The test's name.
    pub name: String,
    /// How it ended.
    pub result: Result,
    /// Why it was skipped, or what was printed before it failed.
    pub notes: Vec<String>,
}

/// Reads the output of one program, line by line.
///
/// Of nested results only the innermost are counted; the line that sums them up is used only when
/// it says "not ok" although nothing inside failed.
#[derive(Default)]
pub struct Parser {
    cases: Vec<Case>,
    /// One for each level of nesting that is open.
    levels: Vec<Level>,
    notes: Vec<String>,
    bail: Option<String>,
}

#[derive(Default)]
struct Level {
    plan: Option<usize>,
    seen: usize,
    skip_all: Option<String>,
    /// Cases counted before this level began.
    before: usize,
}

/// What a program's output says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All results.
    pub cases: Vec<Case>,
    /// What is wrong with the output itself.
    pub complaints: Vec<String>,
    /// The whole program skipped itself, and why.
    pub skipped: Option<String>,
}

/// At most this many lines before a failure are kept as its notes.
const NOTES: usize = 40;

impl Parser {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let depth = (line.len() - text.len()) / 4;
        // KTAP indents nested results with four spaces or, in the kernel log, "# ".
        if text.starts_with("TAP version ") || text.starts_with("KTAP version ") {
            self.open(depth);
        } else if let Some(plan) = plan(text) {
            self.open(depth);
            let level = self.levels.last_mut();
            if let Some(level) = level {
                level.plan = Some(plan.0);
                level.skip_all = plan.1;
            }
        } else if let Some(reason) = text.strip_prefix("Bail out!") {
            self.bail = Some(reason.trim().to_owned());
        } else if let Some((ok, rest)) = result_line(text) {
            self.result(depth, ok, rest);
        } else if !text.is_empty() {
            if self.notes.len() == NOTES {
                self.notes.remove(0);
            }
            self.notes.push(line.to_owned());
        }
    }

    /// The level at `depth`, opened if it is not; deeper ones must be closed by a result line.
    fn open(&mut self, depth: usize) {
        while self.levels.len() <= depth {
            self.levels.push(Level {
                before: self.cases.len(),
                ..Level::default()
            });
        }
    }

    fn result(&mut self, depth: usize, ok: bool, rest: &str) {
        let (name, directive) = name_and_directive(rest);
        let mut result = if ok { Result::Passed } else { Result::Failed };
        let mut notes = std::mem::take(&mut self.notes);
        match directive {
            Some(("SKIP", reason)) => {
                result = Result::Skipped;
                notes = vec![reason.to_owned()];
            }
            // An expected failure that happened.
            Some(("XFAIL" | "TODO", _)) => result = Result::Passed,
            Some(("TIMEOUT" | "ERROR", _)) => result = Result::Failed,
            _ => {}
        }
        if result == Result::Passed {
            notes.clear();
        }

        let inner = self.close(depth + 1);
        self.open(depth);
        if let Some(level) = self.levels.last_mut() {
            level.seen += 1;
        }
        if let Some(before) = inner {
            let failed = self.cases[before..]
                .iter()
                .any(|case| case.result == Result::Failed);
            if result != Result::Failed || failed {
                return;
            }
        }
        self.cases.push(Case {
            name: name.to_owned(),
            result,
            notes,
        });
    }

    /// Closes the levels from `depth` on and returns how many cases were there before them.
    fn close(&mut self, depth: usize) -> Option<usize> {
        let mut before = None;
        while self.levels.len() > depth {
            if let Some(level) = self.levels.pop() {
                before = Some(level.before);
                if let Some(short) = level.shortfall() {
                    self.cases.push(Case {
                        name: "plan".to_owned(),
                        result: Result::Failed,
                        notes: vec![short],
                    });
                }
            }
        }
        before
    }

    /// The end of the output.
    pub fn finish(mut self) -> Summary {
        self.close(1);
        let mut complaints = Vec::new();
        let mut skipped = None;
        if let Some(reason) = self.bail {
            complaints.push(format!("the program bailed out: {reason}"));
        }
        match self.levels.first() {
            None => complaints.push("the program printed no results".to_owned()),
            Some(level) => {
                complaints.extend(level.shortfall());
                if level.plan == Some(0) {
                    skipped = Some(level.skip_all.clone().unwrap_or_default());
                }
            }
        }
        if !complaints.is_empty() {
            complaints.extend(self.notes);
        }
        Summary {
            cases: self.cases,
            complaints,
            skipped,
        }
    }
}

impl Level {
    fn shortfall(&self) -> Option<String> {
        let plan = self.plan?;
        (plan != self.seen).then(|| format!("{plan} results announced, {} seen", self.seen))
    }
}

fn plan(text: &str) -> Option<(usize, Option<String>)> {
    let rest = text.strip_prefix("1..")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let count = rest.get(..digits)?.parse().ok()?;
    let note = rest.get(digits..)?.trim().trim_start_matches('#').trim();
    let reason = note
        .strip_prefix("SKIP")
        .or_else(|| note.strip_prefix("Skipped"));
    Some((
        count,
        reason.map(|reason| reason.trim_start_matches(':').trim().to_owned()),
    ))
}

fn result_line(text: &str) -> Option<(bool, &str)> {
    for (word, ok) in [("ok", true), ("not ok", false)] {
        if let Some(rest) = text.strip_prefix(word) {
            if rest.is_empty() || rest.starts_with(' ') {
                return Some((ok, rest.trim_start()));
            }
        }
    }
    None
}

/// Splits "3 - name # SKIP reason".
fn name_and_directive(rest: &str) -> (&str, Option<(&str, &str)>) {
    let rest = rest
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    match rest.split_once('#') {
        None => (rest.trim(), None),
        Some((name, directive)) => {
            let directive = directive.trim();
            let (word, reason) = directive.split_once([' ', ':']).unwrap_or((directive, ""));
            (name.trim(), Some((word, reason.trim())))
        }
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
