// SPDX-License-Identifier: GPL-2.0-or-later

//! One life of a guest: started with its device, watched, and always brought to an end.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::child::{Child, Event, Interrupts, describe};
use crate::console::{Lines, Port, Record};
use crate::emulator::{Emulator, Setup, Verdict, tail};
use crate::layout::{Kernel, Layout};
use crate::qemu::{Counter, Machine, QEMU, Topology};

/// First word of the guest's lines that are for the runner.
pub const MARK: &str = "@azihsm ";

/// What the name of a folder for sockets begins with; the runner's process id follows.
const SOCKETS: &str = "azihsm-";

/// How long the guest may take to turn itself off after its job.
const OFF_LIMIT: Duration = Duration::from_secs(15);

/// How long the kernel may say nothing before its init begins. It usually boots in 5 s.
const BOOT_SILENCE: Duration = Duration::from_secs(60);

/// How long a run may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub total: Duration,
    /// Without a sign of life on either serial port.
    pub silence: Duration,
}

/// What is to be run.
pub struct Guest<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// Where the run leaves its logs.
    pub dir: &'a Path,
    /// The initial file system with the job.
    pub initramfs: &'a Path,
    /// The kernel to boot.
    pub kernel: Kernel,
    /// Words added to the kernel's command line.
    pub append: &'a [String],
    /// Size of the memory.
    pub memory: &'a str,
    /// How the device is connected.
    pub topology: Topology,
    /// The device; none for a machine without it.
    pub device: Option<&'a Setup>,
    /// QEMU's plugin that counts instructions, if they are to be counted.
    pub counter: Option<&'a Path>,
    /// How long it may take; an interactive guest has no limits.
    pub limits: Option<Limits>,
}

/// Who listens to the guest's job.
pub trait Listener {
    /// A line of the job, marks included.
    fn line(&mut self, line: &str);

    /// Bytes of the job as they come.
    fn bytes(&mut self, _bytes: &[u8]) {}

    /// The job begins; what is written to `input` is typed at its terminal.
    fn begin(&mut self, _input: Box<dyn Write + Send>) {}

    /// Whether the run is to end now.
    fn leave(&self) -> bool {
        false
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The job came to its end and the guest turned itself off.
    Complete,
    /// The listener asked for it.
    Left,
    /// Something died or took too long.
    Failed(String),
}

/// What is known after a run.
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// All kernel messages.
    pub kernel: Vec<String>,
    /// The kernel's taint flags at the end of the job.
    pub taint: Option<u64>,
    /// From QEMU's start to the job's.
    pub boot: Option<Duration>,
    /// Whether the kernel hung before its init began.
    hung_in_boot: bool,
    /// What the emulator said.
    pub emulator: Option<Verdict>,
    /// The file with all that the guest said.
    pub console: PathBuf,
}

impl Outcome {
    /// The last lines of the console file.
    pub fn console_tail(&self, count: usize) -> Vec<String> {
        tail(&self.console, count)
    }
}

impl Guest<'_> {
    /// Runs the guest to its end. A signal ends it early, with the error [`Interrupted`].
    ///
    /// If its kernel hangs before any of the project's code is in it, a second one is started: once
    /// in some thousand boots the emulated processors do not get on with each other.
    ///
    /// [`Interrupted`]: crate::child::Interrupted
    pub fn run(&self, listener: &mut dyn Listener) -> Result<Outcome> {
        let outcome = self.live(listener)?;
        if !outcome.hung_in_boot {
            return Ok(outcome);
        }
        let hung = outcome.console.with_file_name("console-hung.log");
        fs::rename(&outcome.console, &hung)?;
        println!(
            "  AGAIN   the kernel hung before its init began, see {}",
            self.layout.shown(&hung)
        );
        self.live(listener)
    }

    /// Runs one guest to its end.
    fn live(&self, listener: &mut dyn Listener) -> Result<Outcome> {
        let interrupts = Interrupts::hold()?;
        let (sender, events) = mpsc::channel();
        let sockets = sockets_folder(&std::env::temp_dir())?;

        let emulator = self
            .device
            .map(|setup| Emulator::start(self.layout, setup, sockets.path(), self.dir, &sender))
            .transpose()?;
        let image = self.layout.image(self.kernel)?;
        let mut append: Vec<String> = self.append.to_vec();
        append.extend(self.kernel.words().iter().map(|&word| word.to_owned()));
        let counter_socket = sockets.path().join("counter");
        let machine = Machine {
            kernel: &image,
            initramfs: self.initramfs,
            append: &append,
            memory: self.memory,
            topology: self.topology,
            device: emulator.as_ref().map(Emulator::device),
            counter: self.counter.map(|plugin| Counter {
                plugin,
                socket: &counter_socket,
            }),
        };
        let (mut command, ports) = machine.command()?;
        let qemu_log = self.dir.join("qemu.log");
        let log = fs::File::create(&qemu_log)?;
        command.stdout(log.try_clone()?).stderr(log);
        let console = self.dir.join("console.log");
        let start = Instant::now();
        let mut life = Life {
            record: Record::create(&console, start)?,
            start,
            heard: start,
            kernel: Vec::new(),
            kernel_lines: Lines::default(),
            job_lines: Lines::default(),
            taint: None,
            boot: None,
            ended: None,
        };
        let input = ports.job.try_clone()?;
        read_port(ports.kernel, sender.clone(), Event::Kernel);
        read_port(ports.job, sender.clone(), Event::Job);
        let qemu = Child::spawn(QEMU, &mut command, sender)?;
        // The far ends of the serial ports are QEMU's alone from now on.
        drop(command);

        let mut input = Some(input);
        let mut end = loop {
            match events.recv_timeout(Duration::from_millis(100)) {
                Ok(Event::Kernel(bytes)) => life.kernel(&bytes)?,
                Ok(Event::Job(bytes)) => {
                    listener.bytes(&bytes);
                    life.job(&bytes, listener)?;
                    if life.boot.is_some() {
                        if let Some(input) = input.take() {
                            listener.begin(Box::new(input));
                        }
                    }
                }
                Ok(Event::Exit(name)) => tracing::debug!("{name} ended"),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            // What was started is taken down with its owners.
            interrupts.check()?;
            if let Some(end) = self.verdict(&life, &qemu, emulator.as_ref()) {
                break end;
            }
            if listener.leave() {
                break End::Left;
            }
        };

        let hung_in_boot = life.boot.is_none()
            && matches!(end, End::Failed(_))
            && qemu.status().is_none()
            && emulator.as_ref().and_then(Emulator::failure).is_none();
        qemu.end();
        // What was still on its way when QEMU ended.
        while let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
            match event {
                Event::Kernel(bytes) => life.kernel(&bytes)?,
                Event::Job(bytes) => {
                    listener.bytes(&bytes);
                    life.job(&bytes, listener)?;
                }
                Event::Exit(_) => {}
            }
        }
        life.finish(listener)?;
        if life.ended.is_some() && matches!(end, End::Failed(_)) && qemu_succeeded(&qemu) {
            // The last words were read only now.
            end = End::Complete;
        }
        if let End::Failed(why) = &mut end {
            let said = tail(&qemu_log, 5);
            if !said.is_empty() {
                why.push_str(&format!("\nQEMU said:\n{}", said.join("\n")));
            }
        }
        Ok(Outcome {
            end,
            kernel: life.kernel,
            taint: life.taint,
            boot: life.boot,
            hung_in_boot,
            emulator: emulator.map(Emulator::finish),
            console,
        })
    }

    /// Whether and how the run is over.
    fn verdict(&self, life: &Life, qemu: &Child, emulator: Option<&Emulator>) -> Option<End> {
        if let Some(status) = qemu.status() {
            return Some(match life.ended {
                Some(_) if status.success() => End::Complete,
                _ => End::Failed(format!(
                    "the guest ended before its job did: {}",
                    describe(status)
                )),
            });
        }
        if let Some(ended) = life.ended {
            return (ended.elapsed() > OFF_LIMIT)
                .then(|| End::Failed("the guest did not turn itself off".to_owned()));
        }
        if let Some(why) = emulator.and_then(Emulator::failure) {
            // The emulator also ends when QEMU does; then it is not the one to blame.
            if qemu.wait(Duration::from_millis(300)).is_some() {
                return None;
            }
            return Some(End::Failed(why));
        }
        let limits = self.limits?;
        if life.start.elapsed() > limits.total {
            let limit = limits.total.as_secs();
            return Some(End::Failed(format!(
                "the guest was not done after {limit} s"
            )));
        }
        let silence = match life.boot {
            Some(_) => limits.silence,
            None => limits.silence.min(BOOT_SILENCE),
        };
        if life.heard.elapsed() > silence {
            let limit = silence.as_secs();
            return Some(End::Failed(format!(
                "the guest said nothing for {limit} s: it hangs"
            )));
        }
        None
    }
}

/// What is collected while the guest runs.
struct Life {
    record: Record,
    start: Instant,
    heard: Instant,
    kernel: Vec<String>,
    kernel_lines: Lines,
    job_lines: Lines,
    taint: Option<u64>,
    boot: Option<Duration>,
    ended: Option<Instant>,
}

impl Life {
    fn kernel(&mut self, bytes: &[u8]) -> Result<()> {
        self.heard = Instant::now();
        for line in self.kernel_lines.feed(bytes) {
            self.record.line(Port::Kernel, &line)?;
            self.kernel.push(line);
        }
        Ok(())
    }

    fn job(&mut self, bytes: &[u8], listener: &mut dyn Listener) -> Result<()> {
        self.heard = Instant::now();
        for line in self.job_lines.feed(bytes) {
            self.job_line(&line, listener)?;
        }
        Ok(())
    }

    fn job_line(&mut self, line: &str, listener: &mut dyn Listener) -> Result<()> {
        self.record.line(Port::Job, line)?;
        if let Some(mark) = line.strip_prefix(MARK) {
            let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
            match word {
                "boot" => self.boot = Some(self.start.elapsed()),
                "taint" => self.taint = rest.trim().parse().ok(),
                "end" => self.ended = Some(Instant::now()),
                _ => {}
            }
        }
        listener.line(line);
        Ok(())
    }

    fn finish(&mut self, listener: &mut dyn Listener) -> Result<()> {
        if let Some(line) = self.kernel_lines.flush() {
            self.record.line(Port::Kernel, &line)?;
            self.kernel.push(line);
        }
        if let Some(line) = self.job_lines.flush() {
            self.job_line(&line, listener)?;
        }
        Ok(())
    }
}

/// A folder for sockets, whose paths must be short; removes those of runners that were killed.
fn sockets_folder(parent: &Path) -> Result<TempDir> {
    for entry in fs::read_dir(parent)?.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(SOCKETS)?.split_once('-'))
            .filter(|(pid, _)| pid.parse::<u32>().is_ok());
        if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            // Another runner may be at it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{SOCKETS}{}-", std::process::id()))
        .tempdir_in(parent)
        .context("making a folder for the sockets")
}

fn qemu_succeeded(qemu: &Child) -> bool {
    qemu.status().is_some_and(|status| status.success())
}

fn read_port(
    mut port: impl Read + Send + 'static,
    events: Sender<Event>,
    event: fn(Vec<u8>) -> Event,
) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = port.read(&mut buffer) {
            if events.send(event(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_killed_runners_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // No process has so large a number.
        let dead = make("azihsm-4194305-a");
        let alive = make(&format!("azihsm-{}-a", std::process::id()));
        let other = make("azihsm-a");
        let mine = sockets_folder(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(alive.exists() && other.exists() && mine.path().exists());
    }
}
