// SPDX-License-Identifier: GPL-2.0-or-later

//! The lints: each is one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts::{cargo, make};
use crate::checked::{Checked, Entry};
use crate::coverage;
use crate::layout::Layout;
use crate::report::Suite;
use crate::step;

/// Types of checkpatch messages that do not apply, with the reason.
const CHECKPATCH_IGNORED: &[&str] = &[
    // The kernel's own word for these is in the file's place, which is not in a kernel tree here.
    "FILE_PATH_CHANGES",
];

/// What the kernel's checkpatch consists of.
const CHECKPATCH: &[&str] = &[
    "scripts/checkpatch.pl",
    "scripts/spelling.txt",
    "scripts/const_structs.checkpatch",
];

/// A lint that could be started.
struct Lint {
    name: &'static str,
    command: Command,
    /// What is remembered if it finds nothing.
    checked: Option<(Checked, Vec<Entry>)>,
}

/// Runs all lints.
pub fn run(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("lint");
    for Lint {
        name,
        command,
        checked,
    } in lints(layout)?
    {
        let log = layout.log(&format!("lint-{}", name.replace([' ', ','], "-")));
        let step = step::run("LINT", name, &command, log)?;
        if let (true, Some((checked, entries))) = (step.ok, checked) {
            checked.passed(&entries)?;
        }
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
    let mut add = |name, command| {
        lints.push(Lint {
            name,
            command,
            checked: None,
        });
    };

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
    lints.push(checkpatch(layout)?);
    Ok(lints)
}

/// The kernel's checkpatch, for what runs on the kernel or is part of it; QEMU's plugin is neither.
///
/// It takes a second for a long file: those that it has found nothing in are left out.
fn checkpatch(layout: &Layout) -> Result<Lint> {
    let mut c = Vec::new();
    for folder in ["drivers", "include", "selftests", "tools/vm/checkers"] {
        c.extend(files(&layout.repo.join(folder), &["c", "h"])?);
    }
    let parts: Vec<PathBuf> = CHECKPATCH
        .iter()
        .map(|part| layout.kernel_source().join(part))
        .collect();
    let ignored = CHECKPATCH_IGNORED.join(",");
    let arguments = [
        "--strict",
        "--no-tree",
        "--no-summary",
        "--show-types",
        "--ignore",
        &ignored,
        "--file",
    ];
    let checked = Checked::new(layout.checked(), &parts, &arguments)?;
    let entries = checked.remaining(c)?;
    let command = if entries.is_empty() {
        Command::new("true")
    } else {
        let mut command = Command::new("perl");
        command.arg(&parts[0]).args(arguments);
        command.args(entries.iter().map(|entry| &entry.file));
        command.current_dir(&layout.repo);
        command
    };
    Ok(Lint {
        name: "checkpatch, C files",
        command,
        checked: Some((checked, entries)),
    })
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
