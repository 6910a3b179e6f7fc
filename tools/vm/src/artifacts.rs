// SPDX-License-Identifier: GPL-2.0-or-later

//! What a guest run needs to have built: the module, the tests, the programs.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use nix::fcntl::FlockArg;

use crate::kept::{Came, Kept, lock, replace};
use crate::layout::{Kernel, Layout};
use crate::origin::Origin;
use crate::step::{self, Finished};

/// Programs of the workspace that a guest run uses: package, kind of target, program.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("azihsm-emulator", "--bin", "azihsm-emulator"),
    ("azihsm-firmware", "--example", "firmware-server"),
    ("azihsm", "--bin", "azihsm"),
];

/// What the programs are built from.
const PROGRAM_SOURCES: &[&str] = &[
    ".cargo",
    "include",
    "tools/.cargo",
    "tools/Cargo.lock",
    "tools/Cargo.toml",
    "tools/azihsm",
    "tools/ddi",
    "tools/emulator",
    "tools/firmware",
];

/// What the module is built from.
pub const MODULE_SOURCES: &[&str] = &["Kbuild", "Makefile", "drivers", "include"];

/// A module to build for a kernel.
struct Module<'a> {
    kernel: Kernel,
    /// Without spaces, for the log and what is kept.
    name: &'static str,
    what: &'static str,
    /// Where Kbuild leaves it.
    built: PathBuf,
    /// Folder that Kbuild has for itself.
    objects: PathBuf,
    /// Where it is put.
    module: PathBuf,
    sources: &'a [&'a str],
}

/// Builds the module for a kernel.
pub fn module(layout: &Layout, kernel: Kernel) -> Result<()> {
    let objects = layout.module_build(kernel);
    let mut make = make(layout);
    make.arg("modules");
    if kernel == Kernel::Debug {
        make.arg("KERNEL=debug");
    }
    make.arg(format!("MO={}", objects.display()));
    let (what, name) = match kernel {
        Kernel::Stock => ("azihsm.ko", "module"),
        Kernel::Debug => ("azihsm.ko for the debug kernel", "module-debug"),
    };
    Module {
        kernel,
        name,
        what,
        built: objects.join("drivers/misc/azihsm/azihsm.ko"),
        objects,
        module: layout.module(kernel),
        sources: MODULE_SOURCES,
    }
    .make(layout, &make)
}

/// Builds the module that shows whether the debug kernel's checkers are alive.
pub fn faults_module(layout: &Layout) -> Result<()> {
    let source = "tools/vm/checkers";
    let objects = layout.build.join("checkers");
    let kbuild = kbuild(layout, Kernel::Debug, source, &objects)?;
    Module {
        kernel: Kernel::Debug,
        name: "checkers",
        what: "deliberate mistakes for the debug kernel's checkers",
        built: objects.join("azihsm_faults.ko"),
        objects,
        module: layout.faults_module(),
        sources: &[source],
    }
    .make(layout, &kbuild)
}

/// Builds the module that makes virtual functions out of those that QEMU shows as plain ones.
pub fn sriov_shim(layout: &Layout, kernel: Kernel) -> Result<()> {
    let source = "selftests/sriov_shim";
    let (what, name) = match kernel {
        Kernel::Stock => ("sriov_shim.ko", "sriov-shim"),
        Kernel::Debug => ("sriov_shim.ko for the debug kernel", "sriov-shim-debug"),
    };
    let objects = layout.build.join(name);
    let kbuild = kbuild(layout, kernel, source, &objects)?;
    Module {
        kernel,
        name,
        what,
        built: objects.join("sriov_shim.ko"),
        objects,
        module: layout.sriov_shim(kernel),
        sources: &[source],
    }
    .make(layout, &kbuild)
}

impl Module<'_> {
    /// Takes the module that is kept, or lets `command` build it.
    ///
    /// It is not put where Kbuild leaves it, which would take it for the one of its objects.
    fn make(&self, layout: &Layout, command: &Command) -> Result<()> {
        let base = kernel_origin(layout, self.name, self.kernel)?.command(command, &layout.repo);
        let kept = Kept::new(layout.kept())?;
        let objects = Objects(self.objects.clone());
        let came = kept.make(
            self.name,
            std::slice::from_ref(&self.module),
            || base.clone().below(&layout.repo, self.sources),
            || {
                objects.begin()?;
                let before = modified(&self.built);
                let log = layout.log(self.name);
                done(step::run("MODULE", self.what, command, log)?)?;
                replace(&self.built, &self.module)?;
                Ok(modified(&self.built) != before)
            },
        )?;
        match came {
            Came::Kept => step::cached(self.what),
            Came::Built => objects.sure()?,
            Came::Mixed => {}
        }
        Ok(())
    }
}

/// What Kbuild made in a folder of its own.
///
/// It takes an object for newer than a source that changed while it was made. So it begins anew
/// where it is not sure that none did: after such a change, an error, a signal.
pub struct Objects(pub PathBuf);

impl Objects {
    /// Before something is made.
    pub fn begin(&self) -> Result<()> {
        if self.doubt().exists() {
            fs::remove_dir_all(&self.0)?;
        }
        fs::create_dir_all(&self.0)?;
        fs::write(self.doubt(), "")?;
        Ok(())
    }

    /// No source changed meanwhile.
    pub fn sure(&self) -> Result<()> {
        fs::remove_file(self.doubt())?;
        Ok(())
    }

    fn doubt(&self) -> PathBuf {
        self.0.join("doubt")
    }
}

/// The kernel that something named `name` is built for.
pub fn kernel_origin(layout: &Layout, name: &str, kernel: Kernel) -> Result<Origin> {
    layout.release(kernel)?;
    let origin = Origin::new(name);
    layout
        .kernel_identity(kernel)
        .iter()
        .try_fold(origin, |origin, file| origin.file(file))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// Kbuild for the module of a folder of the checkout.
fn kbuild(layout: &Layout, kernel: Kernel, source: &str, objects: &Path) -> Result<Command> {
    layout.release(kernel)?;
    let mut kbuild = Command::new(layout.kbuild(kernel));
    kbuild
        .arg(format!("M={}", layout.repo.join(source).display()))
        .arg(format!("MO={}", objects.display()))
        .arg("modules")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS");
    Ok(kbuild)
}

/// Builds the programs and puts them into the build folder.
pub fn programs(layout: &Layout) -> Result<()> {
    // One command at a time builds and takes what it built.
    let _lock = lock(&layout.target.join("azihsm.lock"), FlockArg::LockExclusive)?;
    let mut cargo = cargo(layout, "build");
    for (package, kind, program) in PROGRAMS {
        cargo.args(["--package", package, kind, program]);
    }
    let what = "emulator, firmware server and tool";
    let base = Origin::new("programs").command(&cargo, &layout.repo);
    let outputs: Vec<PathBuf> = PROGRAMS.iter().map(|(.., it)| layout.program(it)).collect();
    let came = Kept::new(layout.kept())?.make(
        "programs",
        &outputs,
        || base.clone().below(&layout.repo, PROGRAM_SOURCES),
        || {
            done(step::run("CARGO", what, &cargo, layout.log("programs"))?)?;
            for (_, kind, program) in PROGRAMS {
                let folder = if *kind == "--example" {
                    "debug/examples"
                } else {
                    "debug"
                };
                let built = layout.target.join(folder).join(program);
                replace(&built, &layout.program(program))?;
            }
            // Cargo compares with the time at which it began.
            Ok(true)
        },
    )?;
    if came == Came::Kept {
        step::cached(what);
    }
    Ok(())
}

/// Builds QEMU's plugin that counts instructions; returns its path.
pub fn plugin(layout: &Layout) -> Result<PathBuf> {
    let source = layout.repo.join("tools/vm/plugin/count.c");
    let plugin = layout.program("count.so");
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o",
    ])
    .arg(&plugin)
    .arg(&source);
    done(step::run(
        "PLUGIN",
        "instruction counter",
        &gcc,
        layout.log("plugin"),
    )?)?;
    Ok(plugin)
}

/// Builds and installs the guest tests; returns their names.
pub fn selftests(layout: &Layout) -> Result<Vec<String>> {
    let installed = layout.selftests();
    if installed.exists() {
        fs::remove_dir_all(&installed)?;
    }
    fs::create_dir_all(layout.build.join("selftests-objects"))?;
    let mut make = selftests_make(layout);
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    make.arg(format!("-j{jobs}"))
        .arg("install")
        .arg(format!("INSTALL_PATH={}", installed.display()));
    done(step::run(
        "TESTS",
        "guest tests",
        &make,
        layout.log("selftests"),
    )?)?;

    let names = test_names(layout)?;
    for name in &names {
        if !installed.join(name).exists() {
            bail!("the guest test `{name}` is listed but `make -C selftests install` left it out");
        }
    }
    Ok(names)
}

/// The names of the guest tests.
pub fn test_names(layout: &Layout) -> Result<Vec<String>> {
    let output = selftests_make(layout)
        .arg("list")
        .output()
        .context("starting make")?;
    if !output.status.success() {
        bail!(
            "`make -C selftests list` failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

/// A cargo command in the workspace.
pub fn cargo(layout: &Layout, command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .arg(command)
        .arg("--manifest-path")
        .arg(layout.repo.join("tools/Cargo.toml"));
    cargo
}

/// The project's own make, in the root.
pub fn make(layout: &Layout) -> Command {
    let mut make = Command::new("make");
    make.arg("--no-print-directory").arg("-C").arg(&layout.repo);
    // Not those of the make that started the runner.
    make.env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS");
    make
}

fn selftests_make(layout: &Layout) -> Command {
    let mut make = make(layout);
    make.args(["-s", "-C", "selftests"]);
    make.arg(format!("KSRC={}", layout.kernel_source().display()));
    // Shared libraries make the guest's file system, and so its boot, much smaller.
    make.arg("STATIC=");
    make.arg(format!(
        "OUTPUT={}",
        layout.build.join("selftests-objects").display()
    ));
    make
}

/// Turns a failed step into an error that shows the end of its output.
fn done(step: Finished) -> Result<()> {
    if step.ok {
        return Ok(());
    }
    bail!(
        "the step failed; the end of its output ({}):\n{}",
        step.log.display(),
        step.tail().join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_made_anew_in_doubt() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects(dir.path().join("objects"));
        let object = objects.0.join("a.o");
        objects.begin().unwrap();
        fs::write(&object, "").unwrap();
        objects.sure().unwrap();
        objects.begin().unwrap();
        assert!(object.exists());
        objects.begin().unwrap();
        assert!(!object.exists());
    }
}
