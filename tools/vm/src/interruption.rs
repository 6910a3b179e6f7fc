// SPDX-License-Identifier: GPL-2.0-or-later

//! What happens when a part of a running demo is killed: the command ends, with an error, soon,
//! and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::{Child, describe};
use crate::layout::Layout;
use crate::report::Suite;

/// How long the demo may take until it is in the middle of its work.
const BEGIN_LIMIT: Duration = Duration::from_secs(180);
/// How long the command may take to end after the kill.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long processes may take to be gone after that.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// What the demo says when it is in the middle of its work.
const MIDDLE: &str = "Provisioning";

/// Who is killed.
#[derive(Clone, Copy)]
enum Victim {
    /// A child, by the name of its program.
    Child(&'static str),
    /// The runner itself.
    Runner,
}

/// Kills each part of a demo once.
pub fn run(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("interruptions");
    for (name, victim) in [
        ("QEMU is killed", Victim::Child("qemu-system-x86")),
        ("the emulator is killed", Victim::Child("azihsm-emulator")),
        ("the runner is killed", Victim::Runner),
    ] {
        let start = Instant::now();
        suite.check(name, interrupt(layout, victim)?);
        println!(
            "  KILL    {name}: done ({:.1} s)",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(suite)
}

/// Starts a demo, kills the victim in the middle; what is wrong with how it ends.
fn interrupt(layout: &Layout, victim: Victim) -> Result<Vec<String>> {
    let log = layout.log("interrupted");
    let output = fs::File::create(&log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["demo", "--name", "interrupted"])
        .stdout(output.try_clone()?)
        .stderr(output);
    let (events, _ends) = mpsc::channel();
    let runner = Child::spawn("demo", &mut command, events)?;
    wait_for(&log, &runner)?;

    let children = descendants(runner.pid())?;
    let target = match victim {
        Victim::Runner => runner.pid(),
        Victim::Child(program) => children
            .iter()
            .find(|process| process.program == program)
            .map(|process| process.pid)
            .with_context(|| format!("the demo runs no {program}"))?,
    };
    kill(target, Signal::SIGKILL)?;

    let mut complaints = Vec::new();
    match (runner.wait(END_LIMIT), victim) {
        (None, _) => complaints.push(format!(
            "the command had not ended {} s later",
            END_LIMIT.as_secs()
        )),
        (Some(_), Victim::Runner) => {}
        (Some(status), Victim::Child(_)) => {
            if status.code() != Some(1) {
                complaints.push(format!("the command ended with {}", describe(status)));
            }
            if !fs::read_to_string(&log)?.contains("azihsm: error: ") {
                complaints.push("the command told no error".to_owned());
            }
        }
    }
    runner.end();
    complaints.extend(survivors(&children));
    Ok(complaints)
}

fn wait_for(log: &Path, runner: &Child) -> Result<()> {
    let until = Instant::now() + BEGIN_LIMIT;
    loop {
        let text = fs::read_to_string(log)?;
        if text.contains(MIDDLE) {
            return Ok(());
        }
        ensure!(
            runner.status().is_none() && Instant::now() < until,
            "the demo did not get to its middle:\n{text}"
        );
        thread::sleep(Duration::from_millis(20));
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
