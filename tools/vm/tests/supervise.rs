// SPDX-License-Identifier: GPL-2.0-or-later

//! Build steps end with the runner, however it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const RUNNER: &str = env!("CARGO_BIN_EXE_azihsm-vm");

/// Waits until `done` says so.
fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The numbers in a file, once it has two lines.
fn pids(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pids: Vec<String> = text.lines().map(str::to_owned).collect();
    if pids.len() == 2 { pids } else { Vec::new() }
}

fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

#[test]
fn a_step_with_children_dies_with_a_killed_parent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // The stand-in for the runner is this shell; setsid makes the supervisor lead a group.
    let step = format!(
        "sleep 1000 & echo $! >{0}.part; echo $$ >>{0}.part; mv {0}.part {0}; wait",
        file.display()
    );
    let mut parent = Command::new("sh")
        .args([
            "-c",
            "setsid \"$0\" supervise --parent $$ -- sh -c \"$1\" & wait",
        ])
        .arg(RUNNER)
        .arg(&step)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait("the step did not start", || !pids(&file).is_empty());
    let pids = pids(&file);
    assert!(pids.iter().all(|pid| runs(pid)));

    parent.kill().unwrap();
    parent.wait().unwrap();
    wait("the step outlived its parent", || {
        !pids.iter().any(|pid| runs(pid))
    });
}

#[test]
fn the_exit_code_is_the_commands() {
    let step = format!("setsid {RUNNER} supervise --parent $$ -- sh -c 'exit 7' & wait $!");
    let status = Command::new("sh").args(["-c", &step]).status().unwrap();
    assert_eq!(status.code(), Some(7));
}
