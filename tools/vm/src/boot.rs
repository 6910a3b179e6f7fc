// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of runs.toml: the guest is booted for it, its results are collected and judged.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::commands::{module_files, verdicts};
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::job::{Device, Ending, Job};
use crate::judge;
use crate::kunit;
use crate::layout::{self, Kernel, Layout};
use crate::program::Programs;
use crate::report::Suite;
use crate::runs::Run;
use crate::tap;

/// What a run needs.
pub struct Boot<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// The run.
    pub run: &'a Run,
    /// The tests that there are.
    pub tests: &'a [String],
    /// What [`pack_shared`] made for the run's kernel.
    pub shared: &'a Path,
    /// Whether other suites write to the terminal meanwhile.
    pub beside_others: bool,
}

/// Packs what all runs of a kernel have: the module, the tests, the tool.
pub fn pack_shared(layout: &Layout, kernel: Kernel) -> Result<PathBuf> {
    let dir = layout::empty(layout.shared(kernel))?;
    let mut initramfs = module_files(layout, kernel, &dir)?;
    initramfs.tree(&layout.selftests(), "selftests")?;
    initramfs.pack()
}

impl Boot<'_> {
    /// Boots the guest and collects the results.
    pub fn run(&self) -> Result<Suite> {
        let Self { layout, run, .. } = *self;
        let dir = layout.run_dir(&run.name)?;
        let initramfs = self.initramfs(&dir)?;
        println!(
            "  GUEST   {}: kernel {}, log {}",
            run.name,
            layout.release(run.kernel_image)?,
            layout.shown(&dir)
        );
        let mut append = run.kernel.clone();
        if run.end == Ending::NextKernel {
            // The next one gets the initial file system of the first.
            append.push("retain_initrd".to_owned());
        }
        if run.kunit {
            append.extend(kunit::WORDS.iter().map(|&word| word.to_owned()));
        }
        let mut programs = Programs::new(&run.name, true).named(self.beside_others);
        let outcome = Guest {
            layout,
            dir: &dir,
            initramfs: &initramfs,
            kernel: run.kernel_image,
            append: &append,
            memory: run.memory(),
            topology: run.topology(),
            device: run.setup().as_ref(),
            counter: None,
            limits: Some(run.limits()),
        }
        .run(&mut programs)?;

        let mut suite = programs.finish();
        if run.expected() != Device::Bound {
            // To say that there is no node is what the tests have to do there.
            suite.expect_skips();
        }
        suite.check(
            "no test was skipped that runs.toml wants done",
            suite.wrongly_skipped(|why| run.may_skip(why)),
        );
        if run.kunit {
            let declared = kunit::declared(&layout.repo.join("drivers"))?;
            kunit::collect(&outcome.kernel, &declared, &mut suite);
        }
        let expected = run.expected_reports();
        for (name, complaints) in verdicts(layout, &outcome, expected) {
            suite.check(name, complaints);
        }
        let cycles = judge::Expected {
            warnings: &[],
            ..expected
        };
        if judge::has_any_of(cycles, &outcome.kernel) {
            let why = "lockdep stops at a cycle of the kernel's own locks".to_owned();
            suite.add("lockdep to the end", tap::Result::Skipped, vec![why]);
        }
        if run.end == Ending::TurnOff {
            let statistics = outcome.emulator.and_then(|verdict| verdict.statistics);
            let left = statistics.map(|statistics| statistics.left_at_work());
            suite.check(
                "the driver stopped the device",
                left.unwrap_or_else(|| vec!["the emulator left no statistics".to_owned()]),
            );
        }
        Ok(suite)
    }

    /// The shared files, and what this run has for itself.
    fn initramfs(&self, dir: &Path) -> Result<PathBuf> {
        let run = self.run;
        let mut initramfs = Initramfs::begin_with(self.shared, dir)?;
        let mut job = Job::with_module(run.expected(), &run.module);
        let (mut name, mut ending) = ("job", run.end);
        if ending == Ending::NextKernel {
            job.end(run.kernel_image, ending);
            initramfs.text(job.text(), name)?;
            let image = self.layout.image(run.kernel_image)?;
            initramfs.file(&image, "boot/kernel", 0o644)?;
            // The tests are for that one.
            job = Job::in_next_kernel(run.expected(), &run.module);
            (name, ending) = ("job.next", Ending::Unload);
        }
        for test in &run.choose(self.tests)? {
            job.test(test, run.test_limit);
        }
        job.end(run.kernel_image, ending);
        initramfs.text(job.text(), name)?;
        if run.vfs > 0 {
            let shim = self.layout.sriov_shim(run.kernel_image);
            initramfs.file(&shim, "lib/sriov_shim.ko", 0o644)?;
        }
        initramfs.pack()
    }
}
