// SPDX-License-Identifier: GPL-2.0-or-later

//! Where things are: in the checkout, in the build folder, in the root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The folders that a run works with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The checkout.
    pub repo: PathBuf,
    /// What is built for this checkout.
    pub build: PathBuf,
    /// Cargo's artifacts.
    pub target: PathBuf,
    /// The kernel that `kernel.sh` prepared.
    pub kernel: PathBuf,
}

impl Layout {
    /// Finds the folders from what `enter.sh` put into the environment.
    pub fn find() -> Result<Self> {
        let repo = PathBuf::from(
            env::var_os("AZIHSM_REPO")
                .context("AZIHSM_REPO is not set: start this with `make demo`, `make check`, ..")?,
        );
        let target = env::var_os("CARGO_TARGET_DIR").context("CARGO_TARGET_DIR is not set")?;
        let layout = Self {
            build: repo.join("build"),
            target: PathBuf::from(target),
            kernel: PathBuf::from("/opt/kernel"),
            repo,
        };
        ensure!(
            layout.kernel.join("release").exists(),
            "no prepared kernel at {}: type `make env`",
            layout.kernel.display()
        );
        fs::create_dir_all(layout.build.join("log"))?;
        fs::create_dir_all(layout.build.join("bin"))?;
        Ok(layout)
    }

    /// Release of the guest's kernel.
    pub fn release(&self) -> Result<String> {
        let path = self.kernel.join("release");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Image of the guest's kernel.
    pub fn vmlinuz(&self) -> Result<PathBuf> {
        let release = self.release()?;
        let image = self.kernel.join("image");
        [
            image.join("usr/lib/modules").join(&release).join("vmlinuz"),
            image.join(format!("boot/vmlinuz-{release}")),
        ]
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("no image of kernel {release} below {}", image.display()))
    }

    /// Source of the guest's kernel.
    pub fn kernel_source(&self) -> PathBuf {
        self.kernel.join("source")
    }

    /// A program of the workspace, once built.
    pub fn program(&self, name: &str) -> PathBuf {
        self.build.join("bin").join(name)
    }

    /// The module as it is shipped.
    pub fn module(&self) -> PathBuf {
        self.build.join("module/drivers/misc/azihsm/azihsm.ko")
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
        let dir = self.build.join("run").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }

    /// A path as it is best shown to people: relative to the checkout where possible.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.repo)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
