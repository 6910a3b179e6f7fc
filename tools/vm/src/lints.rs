// SPDX-License-Identifier: GPL-2.0-or-later

//! The lints: each is one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts::{cargo, make};
use crate::coverage;
use crate::layout::Layout;
use crate::report::Suite;
use crate::step;

/// Types of checkpatch messages that do not apply, with the reason.
const CHECKPATCH_IGNORED: &[&str] = &[
    // The kernel's own word for these is in the file's place, which is not in a kernel tree here.
    "FILE_PATH_CHANGES",
];

/// A lint that could be started.
struct Lint {
    name: &'static str,
    command: Command,
}

/// Runs all lints.
pub fn run(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("lint");
    for Lint { name, command } in lints(layout)? {
        let log = layout.log(&format!("lint-{}", name.replace([' ', ','], "-")));
        let step = step::run("LINT", name, &command, log)?;
        suite.check(name, if step.ok { Vec::new() } else { step.tail() });
    }
    let rules = coverage::check(layout);
    suite.check(
        "rules of the interface and their tests",
        rules.unwrap_or_else(|error| vec![format!("{error:#}")]),
    );
    Ok(suite)
}

fn lints(layout: &Layout) -> Result<Vec<Lint>> {
    let repo = &layout.repo;
    let mut lints = Vec::new();
    let mut add = |name, command| lints.push(Lint { name, command });

    let mut fmt = cargo(layout, "fmt");
    fmt.args(["--all", "--check"]);
    add("rustfmt, tools", fmt);

    let rust = files(&repo.join("drivers"), &["rs"])?;
    if !rust.is_empty() {
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.arg("--check").arg("--config-path");
        rustfmt
            .arg(layout.kernel_source().join(".rustfmt.toml"))
            .args(rust);
        add("rustfmt, module", rustfmt);
    }

    // What runs on the kernel, or is part of it; QEMU's plugin is neither.
    let mut c = Vec::new();
    for folder in ["drivers", "include", "selftests", "tools/vm/checkers"] {
        c.extend(files(&repo.join(folder), &["c", "h"])?);
    }
    if !c.is_empty() {
        let mut checkpatch = Command::new("perl");
        checkpatch.arg(layout.kernel_source().join("scripts/checkpatch.pl"));
        checkpatch.args(["--strict", "--no-tree", "--no-summary", "--show-types"]);
        checkpatch.arg("--ignore").arg(CHECKPATCH_IGNORED.join(","));
        checkpatch.arg("--file").args(c).current_dir(repo);
        add("checkpatch, C files", checkpatch);
    }

    let mut scripts = files(&repo.join("tools/vm"), &["sh"])?;
    scripts.extend(files(&repo.join("selftests"), &["sh"])?);
    scripts.push(repo.join(".ci/run"));
    let mut shellcheck = Command::new("shellcheck");
    shellcheck
        .args(["--external-sources", "--source-path"])
        .arg(repo);
    shellcheck.args(scripts).current_dir(repo);
    add("shellcheck, scripts", shellcheck);
    let mut guest = Command::new("shellcheck");
    guest.args([
        "--shell",
        "busybox",
        "tools/vm/guest/init",
        "tools/vm/guest/functions",
    ]);
    guest.current_dir(repo);
    add("shellcheck, guest", guest);

    let mut clippy = cargo(layout, "clippy");
    clippy.args(["--workspace", "--all-targets", "--", "-Dwarnings"]);
    add("clippy, tools", clippy);

    // In a folder of its own: the module that is tested and shipped has no lint flags.
    let mut module = make(layout);
    module
        .arg("modules")
        .arg(format!("MO={}", layout.build.join("lint").display()));
    module.args([
        "CLIPPY=1",
        "KRUSTFLAGS=-Dwarnings",
        "KCFLAGS=-Werror",
        "W=1",
    ]);
    add("clippy, module", module);
    Ok(lints)
}

/// All files below `folder` with one of the extensions, sorted.
pub fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for entry in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|have| extensions.iter().any(|want| have == *want))
                && !path.to_string_lossy().ends_with(".mod.c")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
