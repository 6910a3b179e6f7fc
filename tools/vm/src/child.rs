// SPDX-License-Identifier: GPL-2.0-or-later

//! Child processes that never outlive the runner.

use std::error::Error;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use anyhow::{Context, Result, bail};
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

/// The error of what was not done because a signal asked the runner to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

/// SIGINT, SIGTERM and SIGHUP: they end the runner at once, except while somebody holds them, when
/// they are noted so that what runs can be taken down in order.
pub struct Interrupts(());

/// What the handlers of the signals use.
struct Signals {
    /// One came while they were held.
    noted: Arc<AtomicBool>,
    /// Nobody holds them.
    at_once: Arc<AtomicBool>,
    /// How many hold them.
    holders: Mutex<usize>,
}

static SIGNALS: LazyLock<Signals> = LazyLock::new(|| Signals {
    noted: Arc::default(),
    at_once: Arc::new(AtomicBool::new(true)),
    holders: Mutex::new(0),
});

/// Whether the handlers are in place; an error is told each time.
static HANDLERS: LazyLock<io::Result<()>> = LazyLock::new(|| {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;

    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_default(signal, Arc::clone(&SIGNALS.at_once))?;
        flag::register(signal, Arc::clone(&SIGNALS.noted))?;
    }
    Ok(())
});

impl Interrupts {
    /// Notes signals from now on.
    pub fn hold() -> Result<Self> {
        if let Err(error) = &*HANDLERS {
            bail!("handling signals: {error}");
        }
        let mut holders = SIGNALS
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *holders += 1;
        SIGNALS.at_once.store(false, Ordering::SeqCst);
        Ok(Self(()))
    }

    /// Fails if a signal came.
    pub fn check(&self) -> Result<(), Interrupted> {
        if SIGNALS.noted.load(Ordering::SeqCst) {
            return Err(Interrupted);
        }
        Ok(())
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let mut holders = SIGNALS
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *holders -= 1;
        if *holders == 0 {
            SIGNALS.at_once.store(true, Ordering::SeqCst);
        }
    }
}
