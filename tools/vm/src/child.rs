// SPDX-License-Identifier: GPL-2.0-or-later

//! Child processes that never outlive the runner.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the event loop is told.
pub enum Event {
    /// Bytes from the kernel's console.
    Kernel(Vec<u8>),
    /// Bytes from the job's terminal.
    Job(Vec<u8>),
    /// A child ended: its name says which.
    Exit(&'static str),
}

/// A running child in a process group of its own.
///
/// The group keeps a Ctrl-C on the terminal from reaching the child directly: the runner ends its
/// children in the right order. Should the runner itself be killed, so is the child.
pub struct Child {
    name: &'static str,
    pid: Pid,
    status: Arc<Mutex<Option<ExitStatus>>>,
}

impl Child {
    /// Starts `command`; its end is told to `events`.
    ///
    /// Call this from a thread that lives as long as the child shall.
    pub fn spawn(name: &'static str, command: &mut Command, events: Sender<Event>) -> Result<Self> {
        command.process_group(0);
        // SAFETY: prctl and the error's conversion are async-signal-safe and allocate nothing.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        tracing::debug!(?command, "starting {name}");
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;

        let pid = Pid::from_raw(i32::try_from(child.id()).context("pid out of range")?);
        let status = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&status);
        thread::spawn(move || {
            let ended = child.wait().ok();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) =
                ended.or(Some(ExitStatus::from_raw(0xff00)));
            // Nobody listens any more when the runner gave up waiting.
            let _ = events.send(Event::Exit(name));
        });
        Ok(Self { name, pid, status })
    }

    /// The child's process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How the child ended; `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the child to end by itself.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.status() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the child: kindly, then for sure.
    pub fn end(&self) {
        for (signal, limit) in [(Signal::SIGTERM, 3), (Signal::SIGKILL, 5)] {
            if self.status().is_some() {
                return;
            }
            tracing::debug!("sending {signal} to {}", self.name);
            let _ = kill(self.pid, signal);
            self.wait(Duration::from_secs(limit));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says in words how a process ended.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => "unknown end".to_owned(),
    }
}

/// SIGINT, SIGTERM and SIGHUP: they end the runner at once, except while a guest runs, when they
/// are noted so that the run can be taken down in order.
pub struct Interrupts {
    noted: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
}

impl Interrupts {
    /// Notes signals from now on.
    pub fn hold() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use signal_hook::flag;

        let noted = Arc::new(AtomicBool::new(false));
        let at_once = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_default(signal, Arc::clone(&at_once))?;
            flag::register(signal, Arc::clone(&noted))?;
        }
        Ok(Self { noted, at_once })
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.at_once.store(true, Ordering::Relaxed);
    }
}
