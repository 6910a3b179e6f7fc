// SPDX-License-Identifier: GPL-2.0-or-later

//! An interrupted set-up leaves nothing that runs, and nothing that a later one takes for finished.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

/// A set-up whose first step never ends.
struct SetUp {
    folder: tempfile::TempDir,
    process: Child,
}

impl SetUp {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // Half a root, a child, and no end.
        let endless = format!(
            "mkdir -p {0}/cache/root-half.tmp; sleep 1000 &\n\
             echo $! >{0}/part; echo $$ >>{0}/part; mv {0}/part {0}/pids; wait",
            folder.path().display()
        );
        program(&bin.join("mmdebstrap"), &endless);
        // The tests run in a changed root, which cannot have mounts of its own.
        program(&bin.join("unshare"), "shift 3; exec \"$@\"");

        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("env.sh");
        let mut command = Command::new(script);
        // Whoever runs the tests in the background ignores this signal, and a shell cannot trap
        // what was ignored when it began.
        // SAFETY: sigaction is async-signal-safe, and no handler is replaced that anybody relies on.
        unsafe {
            command.pre_exec(|| Ok(signal(Signal::SIGINT, SigHandler::SigDfl).map(drop)?));
        }
        let process = command
            .env("PATH", path)
            .env("AZIHSM_CACHE", folder.path().join("cache"))
            .env_remove("AZIHSM_IN_ROOT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let set_up = Self { folder, process };
        wait("the step did not start", || set_up.pids().len() == 2);
        set_up
    }

    /// The step's processes.
    fn pids(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("cache")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
            .collect()
    }
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

#[test]
fn a_signal_ends_the_step_and_tidies_up() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut set_up = SetUp::start();
        assert_eq!(set_up.leftovers().len(), 1);
        set_up.signal(signal);
        assert_eq!(set_up.process.wait().unwrap().code(), Some(code));
        assert!(!set_up.pids().iter().any(|pid| runs(pid)), "{signal}");
        assert_eq!(set_up.leftovers(), Vec::<PathBuf>::new(), "{signal}");
    }
}

#[test]
fn a_step_without_its_set_up_keeps_the_lock() {
    let mut set_up = SetUp::start();
    set_up.signal(Signal::SIGKILL);
    set_up.process.wait().unwrap();
    // What it works on must not be taken away under it.
    let lock = set_up.folder.path().join("cache/build.lock");
    let free = || {
        let mut flock = Command::new("flock");
        flock.arg("--nonblock").arg(&lock).arg("true");
        flock.status().unwrap().success()
    };
    let pids = set_up.pids();
    if pids.iter().any(|pid| runs(pid)) {
        assert!(!free(), "the lock was given up although the step runs");
    }
    for pid in &pids {
        let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
    }
    wait("the lock was not given up", free);
}
