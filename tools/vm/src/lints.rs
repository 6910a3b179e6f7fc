// SPDX-License-Identifier: GPL-2.0-or-later

//! The lints: each is one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts::{MODULE_SOURCES, Objects, cargo, kernel_origin, make};
use crate::checked::Subject;
use crate::coverage;
use crate::layout::{Kernel, Layout};
use crate::origin::Origin;
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

/// What the tools' lints depend on: all of them, and the files that are included from elsewhere.
const TOOL_SOURCES: &[&str] = &[".cargo", "include", "selftests/Makefile", "tools"];

/// A lint that could be started.
struct Lint<'a> {
    name: &'static str,
    /// None if it has found nothing before, and nothing has changed.
    command: Option<Command>,
    /// What is remembered if it finds nothing.
    subjects: Vec<Subject<'a>>,
    /// What Kbuild makes for it.
    objects: Option<Objects>,
}

/// Runs all lints.
pub fn run(layout: &Layout) -> Result<Suite> {
    let mut suite = Suite::new("lint");
    for Lint {
        name,
        command,
        subjects,
        objects,
    } in lints(layout)?
    {
        let Some(command) = command else {
            step::cached(name);
            suite.check(name, Vec::new());
            continue;
        };
        if let Some(objects) = &objects {
            objects.begin()?;
        }
        let log = layout.log(&format!("lint-{}", name.replace([' ', ','], "-")));
        let step = step::run("LINT", name, &command, log)?;
        if step.ok {
            let mut untouched = true;
            for subject in &subjects {
                untouched &= subject.passed()?;
            }
            if let (true, Some(objects)) = (untouched, &objects) {
                objects.sure()?;
            }
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

fn lints(layout: &Layout) -> Result<Vec<Lint<'_>>> {
    let repo = &layout.repo;
    let mut lints = Vec::new();
    let mut add = |name, command| {
        lints.push(Lint {
            name,
            command: Some(command),
            subjects: Vec::new(),
            objects: None,
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
    let name = "clippy, tools";
    let base = Origin::new(name).command(&clippy, repo);
    lints.push(Lint::of_all(layout, name, clippy, base, TOOL_SOURCES)?);

    // In a folder of its own: the module that is tested and shipped has no lint flags.
    let mut module = make(layout);
    let objects = layout.build.join("lint");
    module
        .arg("modules")
        .arg(format!("MO={}", objects.display()));
    module.args([
        "CLIPPY=1",
        "KRUSTFLAGS=-Dwarnings",
        "KCFLAGS=-Werror",
        "W=1",
    ]);
    let name = "clippy, module";
    let base = kernel_origin(layout, name, Kernel::Stock)?.command(&module, repo);
    lints.push(Lint {
        objects: Some(Objects(objects)),
        ..Lint::of_all(layout, name, module, base, MODULE_SOURCES)?
    });
    lints.push(checkpatch(layout)?);
    Ok(lints)
}

impl<'a> Lint<'a> {
    /// A lint that looks at all of its `sources` together; `base` is what else it depends on.
    fn of_all(
        layout: &'a Layout,
        name: &'static str,
        command: Command,
        base: Origin,
        sources: &'a [&'a str],
    ) -> Result<Self> {
        let origin = move || base.clone().below(&layout.repo, sources);
        let subject = Subject::new(&layout.checked(), origin)?;
        Ok(Self {
            name,
            command: subject.is_some().then_some(command),
            subjects: subject.into_iter().collect(),
            objects: None,
        })
    }
}

/// The kernel's checkpatch, for what runs on the kernel or is part of it; QEMU's plugin is neither.
///
/// It takes a second for a long file: those that it has found nothing in are left out.
fn checkpatch(layout: &Layout) -> Result<Lint<'_>> {
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
    let mut lint = Origin::new("checkpatch");
    for part in &parts {
        lint = lint.file(part)?;
    }
    for argument in arguments {
        lint = lint.word(argument);
    }
    let mut command = Command::new("perl");
    command.arg(&parts[0]).args(arguments);
    command.current_dir(&layout.repo);
    let mut subjects = Vec::new();
    for file in c {
        let (lint, path) = (lint.clone(), file.clone());
        // Its name matters, too: some checks depend on it.
        let origin = move || lint.clone().file(&path);
        if let Some(subject) = Subject::new(&layout.checked(), origin)? {
            subjects.push(subject);
            command.arg(file);
        }
    }
    Ok(Lint {
        name: "checkpatch, C files",
        command: (!subjects.is_empty()).then_some(command),
        subjects,
        objects: None,
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
