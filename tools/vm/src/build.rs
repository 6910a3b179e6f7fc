// SPDX-License-Identifier: GPL-2.0-or-later

//! All that guest runs need, built: what does not build keeps only those from being run that need
//! it.

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Error, Result, anyhow, ensure};

use crate::artifacts;
use crate::boot::pack_shared;
use crate::child::Interrupted;
use crate::initramfs::archive;
use crate::layout::{Kernel, Layout};
use crate::report::Suite;
use crate::runs::Run;

/// What there is after a build.
#[derive(Default)]
pub struct Built {
    /// The tests that there are.
    pub tests: Vec<String>,
    /// The files of the guests with a kernel.
    shared: Vec<(Kernel, PathBuf)>,
    /// The kernels that have the SR-IOV shim.
    shims: Vec<Kernel>,
}

/// A part of a build, and what came of it.
struct Part {
    name: String,
    result: Result<()>,
}

/// What make and Kbuild made.
#[derive(Default)]
struct Made {
    parts: Vec<Part>,
    modules: Vec<Kernel>,
    shims: Vec<Kernel>,
    tests: Option<Vec<String>>,
}

impl Built {
    /// Builds what the runs need, and the programs; cargo is beside make if `beside`.
    ///
    /// The only error is that a signal came: a part that does not build is a failure of the suite.
    pub fn build(layout: &Layout, runs: &[Run], beside: bool) -> Result<(Self, Suite)> {
        let mut suite = Suite::new("build");
        let programs = || artifacts::programs(layout);
        let (programs, made) = if beside {
            thread::scope(|scope| {
                let programs = scope.spawn(programs);
                let made = Made::make(layout, runs);
                let died = |_| Err(anyhow!("the runner failed: see above"));
                (programs.join().unwrap_or_else(died), made)
            })
        } else {
            (programs(), Made::make(layout, runs))
        };
        let ready = programs.is_ok();
        let mut check = |part: Part| match part.result {
            Err(error) if error.is::<Interrupted>() => Err(error),
            result => {
                let complaints = result.err().map(|error| lines(&error)).unwrap_or_default();
                suite.check(&part.name, complaints);
                Ok(())
            }
        };
        check(Part::new("programs", programs))?;
        made.parts.into_iter().try_for_each(&mut check)?;

        let mut built = Self {
            shims: made.shims,
            ..Self::default()
        };
        if let (true, Some(tests)) = (ready, made.tests) {
            built.tests = tests;
            for kernel in made.modules {
                let packed = pack_shared(layout, kernel);
                let packed = packed.map(|path| built.shared.push((kernel, path)));
                let name = format!("files of guests with the {}", kernel.name());
                check(Part::new(&name, packed))?;
            }
        }
        Ok((built, suite))
    }

    /// What an earlier build for the stock kernel left.
    pub fn found(layout: &Layout) -> Result<Self> {
        Ok(Self {
            tests: artifacts::test_names(layout)?,
            shared: vec![(Kernel::Stock, archive(&layout.shared(Kernel::Stock)))],
            shims: Vec::new(),
        })
    }

    /// The files of the guest that a run boots, if all is there that it needs.
    pub fn shared(&self, run: &Run) -> Result<&Path> {
        let kernel = run.kernel_image;
        let shared = self.shared.iter().find(|(other, _)| *other == kernel);
        let (_, path) = shared.context(MISSING)?;
        ensure!(run.vfs == 0 || self.shims.contains(&kernel), MISSING);
        Ok(path)
    }
}

/// Why a run is not even tried.
const MISSING: &str = "not run: something that it needs did not build";

impl Part {
    fn new(name: &str, result: Result<()>) -> Self {
        Self {
            name: name.to_owned(),
            result,
        }
    }
}

impl Made {
    fn make(layout: &Layout, runs: &[Run]) -> Self {
        let mut made = Self::default();
        for kernel in [Kernel::Stock, Kernel::Debug] {
            let needed = |vfs| {
                let mut runs = runs.iter();
                runs.any(|run| run.kernel_image == kernel && run.vfs >= vfs)
            };
            if needed(0) && made.part("module", kernel, artifacts::module(layout, kernel)) {
                made.modules.push(kernel);
            }
            if needed(1) && made.part("SR-IOV shim", kernel, artifacts::sriov_shim(layout, kernel))
            {
                made.shims.push(kernel);
            }
        }
        if !runs.is_empty() {
            let tests = artifacts::selftests(layout).map(|tests| made.tests = Some(tests));
            made.parts.push(Part::new("guest tests", tests));
        }
        made
    }

    /// Notes what came of a part for a kernel; tells whether it is there.
    fn part(&mut self, what: &str, kernel: Kernel, result: Result<()>) -> bool {
        let good = result.is_ok();
        let name = format!("{what} for the {}", kernel.name());
        self.parts.push(Part::new(&name, result));
        good
    }
}

/// An error in lines for the report.
pub fn lines(error: &Error) -> Vec<String> {
    format!("{error:#}").lines().map(str::to_owned).collect()
}
