// SPDX-License-Identifier: GPL-2.0-or-later

//! What a guest run needs to have built: the module, the tests, the programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::layout::{Kernel, Layout};
use crate::step::{self, Finished};

/// Programs of the workspace that a guest run uses: package, kind of target, program.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("azihsm-emulator", "--bin", "azihsm-emulator"),
    ("azihsm-firmware", "--example", "firmware-server"),
    ("azihsm", "--bin", "azihsm"),
];

/// Builds the module for a kernel.
pub fn module(layout: &Layout, kernel: Kernel) -> Result<()> {
    let (what, log) = match kernel {
        Kernel::Stock => ("azihsm.ko", "module"),
        Kernel::Debug => ("azihsm.ko for the debug kernel", "module-debug"),
    };
    layout.release(kernel)?;
    let mut make = make(layout);
    make.arg("modules");
    if kernel == Kernel::Debug {
        make.arg("KERNEL=debug");
    }
    make.arg(format!("MO={}", layout.module_build(kernel).display()));
    done(step::run("MODULE", what, &make, layout.log(log))?)
}

/// Builds the module that shows whether the debug kernel's checkers are alive.
pub fn faults_module(layout: &Layout) -> Result<()> {
    test_module(
        layout,
        Kernel::Debug,
        "tools/vm/checkers",
        &layout.faults_module(),
        "deliberate mistakes for the debug kernel's checkers",
        "checkers",
    )
}

/// Builds the module that makes virtual functions out of those that QEMU shows as plain ones.
pub fn sriov_shim(layout: &Layout, kernel: Kernel) -> Result<()> {
    test_module(
        layout,
        kernel,
        "selftests/sriov_shim",
        &layout.sriov_shim(kernel),
        match kernel {
            Kernel::Stock => "sriov_shim.ko",
            Kernel::Debug => "sriov_shim.ko for the debug kernel",
        },
        match kernel {
            Kernel::Stock => "sriov-shim",
            Kernel::Debug => "sriov-shim-debug",
        },
    )
}

/// Builds the `module` of a folder of the checkout for a kernel.
fn test_module(
    layout: &Layout,
    kernel: Kernel,
    source: &str,
    module: &Path,
    what: &str,
    log: &str,
) -> Result<()> {
    layout.release(kernel)?;
    let folder = module.parent().context("the module has a folder")?;
    fs::create_dir_all(folder)?;
    let mut kbuild = Command::new(layout.kbuild(kernel));
    kbuild
        .arg(format!("M={}", layout.repo.join(source).display()))
        .arg(format!("MO={}", folder.display()))
        .arg("modules")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS");
    done(step::run("MODULE", what, &kbuild, layout.log(log))?)
}

/// Builds the programs and puts them into the build folder.
pub fn programs(layout: &Layout) -> Result<()> {
    let _lock = lock_target(layout)?;
    let mut cargo = cargo(layout, "build");
    for (package, kind, program) in PROGRAMS {
        cargo.args(["--package", package, kind, program]);
    }
    let what = "emulator, firmware server and tool";
    done(step::run("CARGO", what, &cargo, layout.log("programs"))?)?;
    for (_, kind, program) in PROGRAMS {
        let folder = if *kind == "--example" {
            "debug/examples"
        } else {
            "debug"
        };
        take(
            &layout.target.join(folder).join(program),
            &layout.program(program),
        )?;
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
    make.arg("install")
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

/// One command at a time builds and takes what it built.
fn lock_target(layout: &Layout) -> Result<Flock<File>> {
    let path = layout.target.join("azihsm.lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("locking {}: {error}", path.display()))
}

/// Takes a copy of a program, if it changed.
fn take(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    // A running program cannot be written to, but replaced.
    let part = to.with_extension("new");
    fs::copy(from, &part).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&part, to)?;
    Ok(())
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
