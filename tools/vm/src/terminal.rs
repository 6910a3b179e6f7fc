// SPDX-License-Identifier: GPL-2.0-or-later

//! The person's terminal, connected to the guest's.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::guest::{Listener, MARK};

/// Ctrl-], which telnet made the key for leaving.
const LEAVE: u8 = 0x1d;
/// What is typed when standard input ends; Ctrl-D would be lost while a command runs.
const EXIT: &[u8] = b"\nexit\n";

/// Whether standard input is a terminal, and of which size.
pub fn size() -> Option<(u16, u16)> {
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open for the whole life of the process and `size` is valid.
    unsafe { window_size(nix::libc::STDIN_FILENO, &raw mut size) }.ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Relays between standard input and output and the guest's job.
#[derive(Default)]
pub struct Relay {
    leave: Arc<AtomicBool>,
    raw: Option<Raw>,
    /// Whether the job's output is for the person already.
    open: bool,
    /// The line that the job is printing, as far as it could be a mark.
    held: Vec<u8>,
}

impl Relay {
    /// Whether the person asked to leave.
    pub fn left(&self) -> bool {
        self.leave.load(Ordering::Relaxed)
    }

    /// Passes bytes on, except marks.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for &byte in bytes {
            self.held.push(byte);
            let mark = MARK.as_bytes();
            let maybe = self.held.len() < mark.len() && mark.starts_with(&self.held);
            if self.held.starts_with(mark) {
                if byte == b'\n' {
                    let word = &self.held[mark.len()..];
                    if word.starts_with(b"shell") {
                        self.open = true;
                    } else if word.starts_with(b"taint") {
                        self.open = false;
                    }
                    self.held.clear();
                }
            } else if !maybe {
                if self.open {
                    out.write_all(&self.held)?;
                }
                // Only the beginning of a line can be a mark.
                self.held.clear();
            }
        }
        out.flush()
    }
}

impl Listener for Relay {
    fn line(&mut self, _line: &str) {}

    fn bytes(&mut self, bytes: &[u8]) {
        // A terminal that is gone is noticed by its hang-up signal.
        let _ = self.pass(bytes);
    }

    fn begin(&mut self, mut input: Box<dyn Write + Send>) {
        self.raw = Raw::enter();
        let raw = self.raw.is_some();
        let leave = Arc::clone(&self.leave);
        thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(count @ 1..) = io::stdin().read(&mut buffer) {
                let bytes = &buffer[..count];
                if raw && bytes.contains(&LEAVE) {
                    leave.store(true, Ordering::Relaxed);
                    return;
                }
                if input.write_all(bytes).is_err() {
                    return;
                }
            }
            let _ = input.write_all(EXIT);
        });
    }

    fn leave(&self) -> bool {
        self.left()
    }
}

/// The terminal in raw mode, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin().as_fd()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
