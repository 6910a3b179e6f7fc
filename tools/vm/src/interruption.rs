// SPDX-License-Identifier: GPL-2.0-or-later

//! What happens when a part of a running demo is killed, or what runs guests beside each other: the
//! command ends, with an error, soon, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::{Child, Interrupts, describe};
use crate::layout::{self, Layout};
use crate::report::Suite;

/// How long a command may take until it is in the middle of its work.
const BEGIN_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to end after the kill.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long processes may take to be gone after that.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A command that is killed.
struct Subject {
    args: &'static [&'static str],
    middle: Middle,
}

/// When a command is in the middle of its work.
enum Middle {
    /// It has said this.
    Said(&'static str),
    /// The kernels of these guests have said something.
    Booting([&'static str; 2]),
}

const DEMO: Subject = Subject {
    args: &["demo", "--built"],
    middle: Middle::Said("Provisioning"),
};

/// Two guests at once.
const GUESTS: Subject = Subject {
    args: &[
        "check",
        "--built",
        "--jobs",
        "2",
        "guest-8-vectors",
        "guest-17-vectors",
    ],
    middle: Middle::Booting(["guest-8-vectors", "guest-17-vectors"]),
};

/// Who is killed.
#[derive(Clone, Copy)]
enum Victim {
    /// A child, by the name of its program.
    Child(&'static str),
    /// The runner itself, by a signal.
    Runner(Signal),
}

/// Kills each part of a demo once, and the runner of several guests.
pub fn run(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("interruptions");
    let interrupts = Interrupts::hold()?;
    let qemu = Victim::Child("qemu-system-x86");
    let emulator = Victim::Child("azihsm-emulator");
    for (name, subject, victim) in [
        ("QEMU is killed", DEMO, qemu),
        ("the emulator is killed", DEMO, emulator),
        (
            "the runner is killed",
            GUESTS,
            Victim::Runner(Signal::SIGKILL),
        ),
        (
            "the runner is interrupted",
            GUESTS,
            Victim::Runner(Signal::SIGINT),
        ),
        (
            "the runner is terminated",
            GUESTS,
            Victim::Runner(Signal::SIGTERM),
        ),
    ] {
        let case = Case {
            layout,
            interrupts: &interrupts,
            subject,
            victim,
        };
        let (complaints, time) = case.run()?;
        suite.check(name, complaints);
        println!("  KILL    {name}: all ended in {:.1} s", time.as_secs_f64());
    }
    Ok(suite)
}

/// One command and one victim.
struct Case<'a> {
    layout: &'a Layout,
    interrupts: &'a Interrupts,
    subject: Subject,
    victim: Victim,
}

impl Case<'_> {
    /// Starts the command, kills the victim in the middle; what is wrong with how it ends, and how
    /// long that took.
    fn run(&self) -> Result<(Vec<String>, Duration)> {
        let log = self.layout.log("interrupted");
        let runs = layout::empty(self.layout.build.join("interrupted"))?;
        let output = fs::File::create(&log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(self.subject.args)
            .env(layout::RUNS, &runs)
            .stdout(output.try_clone()?)
            .stderr(output);
        let (events, _ends) = mpsc::channel();
        let runner = Child::spawn("command", &mut command, events)?;
        self.wait_for_middle(&log, &runs, &runner)?;

        let children = descendants(runner.pid())?;
        let (target, signal) = match self.victim {
            Victim::Runner(signal) => (runner.pid(), signal),
            Victim::Child(program) => children
                .iter()
                .find(|process| process.program == program)
                .map(|process| (process.pid, Signal::SIGKILL))
                .with_context(|| format!("it runs no {program}"))?,
        };
        kill(target, signal)?;

        let start = Instant::now();
        let mut complaints = match runner.wait(END_LIMIT) {
            None => vec![format!(
                "the command had not ended {} s later",
                END_LIMIT.as_secs()
            )],
            Some(status) => self.complaints(status, &fs::read_to_string(&log)?),
        };
        runner.end();
        complaints.extend(survivors(&children));
        Ok((complaints, start.elapsed()))
    }

    /// What speaks against how the command ended.
    fn complaints(&self, status: ExitStatus, said: &str) -> Vec<String> {
        let (code, text) = match self.victim {
            Victim::Runner(Signal::SIGKILL) => return Vec::new(),
            Victim::Runner(_) => (130, "azihsm: interrupted"),
            Victim::Child(_) => (1, "azihsm: error: "),
        };
        let mut complaints = Vec::new();
        if status.code() != Some(code) {
            complaints.push(format!("the command ended with {}", describe(status)));
        }
        if !said.contains(text) {
            complaints.push(format!("the command did not say `{text}`"));
        }
        complaints
    }

    fn wait_for_middle(&self, log: &Path, runs: &Path, runner: &Child) -> Result<()> {
        let until = Instant::now() + BEGIN_LIMIT;
        loop {
            let text = fs::read_to_string(log)?;
            let reached = match self.subject.middle {
                Middle::Said(line) => text.contains(line),
                Middle::Booting(guests) => guests.iter().all(|guest| {
                    let console = runs.join(guest).join("console.log");
                    fs::metadata(console).is_ok_and(|file| file.len() > 0)
                }),
            };
            if reached {
                return Ok(());
            }
            self.interrupts.check()?;
            ensure!(
                runner.status().is_none() && Instant::now() < until,
                "the command did not get to its middle:\n{text}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits for the processes to be gone; kills and names those that are not.
fn survivors(processes: &[Process]) -> Vec<String> {
    let until = Instant::now() + GONE_LIMIT;
    loop {
        let alive: Vec<&Process> = processes.iter().filter(|p| p.is_alive()).collect();
        if alive.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= until {
            return alive
                .iter()
                .map(|process| {
                    let _ = kill(process.pid, Signal::SIGKILL);
                    format!("{} was left behind", process.program)
                })
                .collect();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: Pid,
    parent: Pid,
    program: String,
    state: char,
    /// Tells it from a later one with the same number.
    started: u64,
}

impl Process {
    fn is_alive(&self) -> bool {
        read_process(&self.pid.to_string())
            .is_some_and(|now| now.started == self.started && now.state != 'Z')
    }
}

fn read_process(number: &str) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`. The program's name may hold anything.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (program, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Process {
        pid: Pid::from_raw(pid.parse().ok()?),
        parent: Pid::from_raw(fields.get(1)?.parse().ok()?),
        program: program.to_owned(),
        state: fields.first()?.chars().next()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// All processes below `ancestor`.
fn descendants(ancestor: Pid) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // Those that end meanwhile cannot be read any more.
        all.extend(name.to_str().and_then(read_process));
    }
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_strange_name_is_understood() {
        let stat = "42 (a) b ( c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 0 0";
        let process = parse_stat(stat).unwrap();
        assert_eq!(process.program, "a) b ( c");
        assert_eq!(process.parent, Pid::from_raw(7));
        assert_eq!((process.state, process.started), ('S', 9876));
    }

    #[test]
    fn a_child_is_found_and_missed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let found = descendants(Pid::this()).unwrap();
        let process = found
            .iter()
            .find(|process| process.pid == Pid::from_raw(child.id().try_into().unwrap()))
            .unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
    }
}
