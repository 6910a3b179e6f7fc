// SPDX-License-Identifier: GPL-2.0-or-later

//! The artifacts of checkouts that are gone do not stay in the cache.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

/// A cache that has a root and a kernel.
struct Cache {
    folder: tempfile::TempDir,
    artifacts: PathBuf,
}

impl Cache {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // The tests run in a changed root, which cannot have mounts of its own.
        let unshare = bin.join("unshare");
        fs::write(&unshare, "#!/bin/sh\nshift 3; exec \"$@\"\n").unwrap();
        fs::set_permissions(&unshare, fs::Permissions::from_mode(0o755)).unwrap();
        let mut cache = Self {
            folder,
            artifacts: PathBuf::new(),
        };
        let made = cache
            .command("bash")
            .args(["-euc", ". \"$0\"; find_paths; mkdir -p \"$root_path\" \"$kernel_path\"; echo \"$artifacts_path\""])
            .arg(vm("lib.sh"))
            .output()
            .unwrap();
        assert!(made.status.success());
        cache.artifacts = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        cache
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .env(
                "PATH",
                format!("{}/bin:{path}", self.folder.path().display()),
            )
            .env("AZIHSM_CACHE", self.folder.path())
            .env_remove("AZIHSM_IN_ROOT");
        command
    }

    /// The artifacts of a checkout.
    fn add(&self, name: &str, checkout: &Path) -> PathBuf {
        let dir = self.artifacts.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("azihsm.lock"), "").unwrap();
        fs::write(dir.join("checkout"), format!("{}\n", checkout.display())).unwrap();
        dir
    }

    fn set_up(&self) {
        let mut env = self.command(vm("env.sh"));
        let output = env.arg("--quiet").output().unwrap();
        assert!(output.status.success());
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
}

fn vm(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn what_belongs_to_nobody_is_removed() {
    let cache = Cache::new();
    let gone = Path::new("/nonexistent/checkout");
    let orphan = cache.add("orphan", gone);
    let owned = cache.add("owned", cache.folder.path());
    cache.set_up();
    assert!(!orphan.exists());
    assert!(owned.exists());
}

#[test]
fn what_a_new_checkout_starts_with_stays() {
    let cache = Cache::new();
    let orphan = cache.add("orphan", Path::new("/nonexistent/checkout"));
    fs::create_dir(orphan.join("debug")).unwrap();
    fs::write(orphan.join("debug/azihsm-emulator"), "").unwrap();
    cache.set_up();
    assert!(orphan.exists());
}

#[test]
fn what_is_used_stays() {
    let cache = Cache::new();
    let orphan = cache.add("orphan", Path::new("/nonexistent/checkout"));
    let file = File::open(orphan.join("azihsm.lock")).unwrap();
    let lock = Flock::lock(file, FlockArg::LockShared).unwrap();
    cache.set_up();
    assert!(orphan.exists());
    drop(lock);
    cache.set_up();
    assert!(!orphan.exists());
}
