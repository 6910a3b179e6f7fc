// SPDX-License-Identifier: GPL-2.0-or-later

//! Where things are: in the checkout, in the build folder, in the root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

/// A kernel that a guest can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// The distribution's, unmodified.
    #[default]
    Stock,
    /// One from the same source with the checkers on.
    Debug,
}

impl Kernel {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock kernel",
            Self::Debug => "debug kernel",
        }
    }

    /// The verb that builds what this kernel needs.
    fn verb(self) -> &'static str {
        match self {
            Self::Stock => "make env",
            Self::Debug => "make env-debug",
        }
    }

    /// Memory of a guest that needs no more, in QEMU's notation.
    pub fn memory(self) -> &'static str {
        match self {
            Self::Stock => "512M",
            // What the checkers remember takes a lot of it.
            Self::Debug => "1G",
        }
    }

    /// Words for its command line.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &[],
            // With five levels KASAN makes a false report early on, which turns lockdep off.
            Self::Debug => &["no5lvl"],
        }
    }
}

/// Variable of the environment that names another folder for the logs of guest runs.
pub const RUNS: &str = "AZIHSM_RUNS";

/// The folders that a run works with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The checkout.
    pub repo: PathBuf,
    /// What is built for this checkout.
    pub build: PathBuf,
    /// Where guest runs leave their logs.
    runs: PathBuf,
    /// Cargo's artifacts.
    pub target: PathBuf,
    /// The kernel that `kernel.sh` prepared.
    kernel: PathBuf,
    /// The kernel that `debug-kernel.sh` built, if it did.
    debug_kernel: PathBuf,
}

impl Layout {
    /// Finds the folders from what `enter.sh` put into the environment.
    pub fn find() -> Result<Self> {
        let repo = PathBuf::from(
            env::var_os("AZIHSM_REPO")
                .context("AZIHSM_REPO is not set: start this with `make demo`, `make check`, ..")?,
        );
        let target = env::var_os("CARGO_TARGET_DIR").context("CARGO_TARGET_DIR is not set")?;
        let build = repo.join("build");
        let layout = Self {
            runs: env::var_os(RUNS).map_or_else(|| build.join("run"), PathBuf::from),
            build,
            target: PathBuf::from(target),
            kernel: PathBuf::from("/opt/kernel"),
            debug_kernel: PathBuf::from("/opt/kernel-debug"),
            repo,
        };
        layout.release(Kernel::Stock)?;
        fs::create_dir_all(layout.build.join("log"))?;
        fs::create_dir_all(layout.build.join("bin"))?;
        Ok(layout)
    }

    /// Where it is remembered in which files lints have found nothing: beside the artifacts of
    /// all checkouts.
    pub fn checked(&self) -> PathBuf {
        self.target.with_file_name("checked")
    }

    /// Where it is kept what was built, for all checkouts.
    pub fn kept(&self) -> PathBuf {
        self.target.with_file_name("kept")
    }

    /// Builds modules for a kernel as it was built.
    pub fn kbuild(&self, kernel: Kernel) -> PathBuf {
        self.folder(kernel).join("kbuild")
    }

    /// Files that are others when modules for a kernel come out otherwise: its configuration,
    /// which names the compilers, its symbols, and its headers and crate as Rust sees them.
    pub fn kernel_identity(&self, kernel: Kernel) -> Vec<PathBuf> {
        let files = [
            "release",
            "kbuild",
            "build/.config",
            "build/Module.symvers",
            "build/rust/libbindings.rmeta",
            "build/rust/libkernel.rmeta",
        ];
        files.map(|file| self.folder(kernel).join(file)).into()
    }

    fn folder(&self, kernel: Kernel) -> &Path {
        match kernel {
            Kernel::Stock => &self.kernel,
            Kernel::Debug => &self.debug_kernel,
        }
    }

    /// Whether a kernel is there.
    pub fn has(&self, kernel: Kernel) -> bool {
        self.folder(kernel).join("release").exists()
    }

    /// Release of a kernel.
    pub fn release(&self, kernel: Kernel) -> Result<String> {
        ensure!(
            self.has(kernel),
            "the {} is not built: type `{}`",
            kernel.name(),
            kernel.verb()
        );
        let path = self.folder(kernel).join("release");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The kernel's own module that injects errors of PCI Express links; it may be built in, or not be there.
    pub fn error_injector(&self) -> Result<PathBuf> {
        let release = self.release(Kernel::Stock)?;
        Ok(self
            .kernel
            .join("image/usr/lib/modules")
            .join(release)
            .join("kernel/drivers/pci/pcie/aer_inject.ko.xz"))
    }

    /// Image of a kernel.
    pub fn image(&self, kernel: Kernel) -> Result<PathBuf> {
        let release = self.release(kernel)?;
        let folder = self.folder(kernel);
        [
            format!("image/usr/lib/modules/{release}/vmlinuz"),
            format!("image/boot/vmlinuz-{release}"),
            "build/arch/x86/boot/bzImage".to_owned(),
        ]
        .into_iter()
        .map(|path| folder.join(path))
        .find(|path| path.exists())
        .with_context(|| format!("no image of kernel {release} below {}", folder.display()))
    }

    /// Source of both kernels.
    pub fn kernel_source(&self) -> PathBuf {
        self.kernel.join("source")
    }

    /// A program of the workspace, once built.
    pub fn program(&self, name: &str) -> PathBuf {
        self.build.join("bin").join(name)
    }

    /// Folder in which the module is built for a kernel.
    pub fn module_build(&self, kernel: Kernel) -> PathBuf {
        self.build.join(match kernel {
            Kernel::Stock => "module",
            Kernel::Debug => "module-debug",
        })
    }

    /// The module for a kernel; for the stock kernel it is as it is shipped.
    pub fn module(&self, kernel: Kernel) -> PathBuf {
        self.modules(kernel).join("azihsm.ko")
    }

    /// The module that makes mistakes on purpose, for the debug kernel.
    pub fn faults_module(&self) -> PathBuf {
        self.modules(Kernel::Debug).join("azihsm_faults.ko")
    }

    /// The module that makes virtual functions out of plain ones.
    pub fn sriov_shim(&self, kernel: Kernel) -> PathBuf {
        self.modules(kernel).join("sriov_shim.ko")
    }

    /// Where the modules for a kernel are put that were built, or built before.
    fn modules(&self, kernel: Kernel) -> PathBuf {
        self.build.join(match kernel {
            Kernel::Stock => "ko",
            Kernel::Debug => "ko-debug",
        })
    }

    /// Where what all guests with a kernel have is packed.
    pub fn shared(&self, kernel: Kernel) -> PathBuf {
        self.build.join(match kernel {
            Kernel::Stock => "guest",
            Kernel::Debug => "guest-debug",
        })
    }

    /// Where the guest tests are installed.
    pub fn selftests(&self) -> PathBuf {
        self.build.join("selftests")
    }

    /// Log of a build step.
    pub fn log(&self, name: &str) -> PathBuf {
        self.build.join("log").join(format!("{name}.log"))
    }

    /// An empty folder for what one guest run leaves behind.
    pub fn run_dir(&self, name: &str) -> Result<PathBuf> {
        empty(self.runs.join(name))
    }

    /// A path as it is best shown to people: relative to the checkout where possible.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.repo)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Makes a folder, or empties it.
pub fn empty(dir: PathBuf) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}
