// SPDX-License-Identifier: GPL-2.0-or-later

//! What the demo says while it runs.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// Width of the names in front of facts.
const NAME: usize = 14;

/// Writes headings and facts.
pub struct Story<'a> {
    out: &'a mut dyn Write,
    /// Whether something was written before.
    begun: bool,
}

impl<'a> Story<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, begun: false }
    }

    /// Begins a part.
    pub fn part(&mut self, heading: impl Display) -> io::Result<()> {
        let gap = if self.begun { "\n" } else { "" };
        self.begun = true;
        writeln!(self.out, "{gap}{heading}")?;
        self.out.flush()
    }

    /// Tells a fact.
    pub fn fact(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.out, "  {name:NAME$}{value}")?;
        self.out.flush()
    }
}

/// How fast something went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Bytes of the file.
    pub bytes: u64,
    /// Seconds it took, from reading the first byte to writing the last.
    pub seconds: f64,
    /// MiB per second.
    pub mib_per_second: f64,
}

impl Speed {
    /// Computes the speed.
    pub fn new(bytes: u64, taken: std::time::Duration) -> Self {
        let seconds = taken.as_secs_f64().max(1e-9);
        Self {
            bytes,
            seconds,
            mib_per_second: bytes as f64 / f64::from(1 << 20) / seconds,
        }
    }
}

impl Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} in {:.2} s, {:.1} MiB/s",
            Size(self.bytes),
            self.seconds,
            self.mib_per_second
        )
    }
}

/// A number of bytes for people.
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (unit, name) in UNITS {
            if self.0 >= unit {
                return if self.0 % unit == 0 {
                    write!(f, "{} {name}", self.0 / unit)
                } else {
                    write!(f, "{:.1} {name}", self.0 as f64 / unit as f64)
                };
            }
        }
        f.write_str(&count(self.0, "byte", "bytes"))
    }
}

/// A number with the word it counts.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn layout() {
        let mut out = Vec::new();
        let mut story = Story::new(&mut out);
        story.part("One").unwrap();
        story.fact("name", 7).unwrap();
        story.part("Two").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "One\n  name          7\n\nTwo\n"
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(Size(1).to_string(), "1 byte");
        assert_eq!(Size(16 << 20).to_string(), "16 MiB");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(3 << 30).to_string(), "3 GiB");
        assert_eq!(count(1, "chunk", "chunks"), "1 chunk");
        assert_eq!(count(2, "chunk", "chunks"), "2 chunks");
    }

    #[test]
    fn speed() {
        let speed = Speed::new(16 << 20, Duration::from_secs(2));
        assert_eq!(speed.to_string(), "16 MiB in 2.00 s, 8.0 MiB/s");
        // A clock too coarse must not divide by zero.
        assert!(Speed::new(1, Duration::ZERO).mib_per_second.is_finite());
    }
}
