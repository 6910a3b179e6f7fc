// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's two serial ports, line by line, and the file that keeps them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

/// Longest line that is kept whole; a guest that never ends its line must not fill the memory.
const LONGEST: usize = 64 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and returns the lines that they complete, without line ends.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => lines.extend(self.flush_always()),
                b'\r' => {}
                _ if self.partial.len() >= LONGEST => {
                    lines.extend(self.flush_always());
                    self.partial.push(byte);
                }
                _ => self.partial.push(byte),
            }
        }
        lines
    }

    /// Returns what came after the last line end, if anything.
    pub fn flush(&mut self) -> Option<String> {
        if self.partial.is_empty() {
            None
        } else {
            self.flush_always()
        }
    }

    fn flush_always(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        Some(line)
    }
}

/// Which serial port a line came from.
#[derive(Clone, Copy)]
pub enum Port {
    /// Kernel messages.
    Kernel,
    /// The job's terminal.
    Job,
}

/// The file with all that the guest said, with the time since the start of the machine.
pub struct Record {
    file: BufWriter<File>,
    start: Instant,
}

impl Record {
    /// Starts a new file.
    pub fn create(path: &Path, start: Instant) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self {
            file: BufWriter::new(file),
            start,
        })
    }

    /// Adds a line.
    pub fn line(&mut self, port: Port, line: &str) -> Result<()> {
        let port = match port {
            Port::Kernel => 'K',
            Port::Job => ' ',
        };
        let time = self.start.elapsed().as_secs_f64();
        writeln!(self.file, "{time:8.3} {port} {line}")?;
        self.file.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_over_reads() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"ab"), Vec::<String>::new());
        assert_eq!(lines.feed(b"c\r\n\nd"), ["abc", ""]);
        assert_eq!(lines.flush().as_deref(), Some("d"));
        assert_eq!(lines.flush(), None);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        let cut = lines.feed(&vec![b'x'; LONGEST + 1]);
        assert_eq!(cut.len(), 1);
        assert_eq!(lines.flush().as_deref(), Some("x"));
    }

    #[test]
    fn bad_utf8_is_kept_readable() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"a\xffb\n"), ["a\u{fffd}b"]);
    }
}
