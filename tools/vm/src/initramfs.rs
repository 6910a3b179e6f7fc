// SPDX-License-Identifier: GPL-2.0-or-later

//! The guest's file system: busybox, init, the job, the module, tests and tools.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;

/// Folder in which the files are collected.
const STAGE: &str = "initramfs";

/// The archive that is packed in the folder `dir`.
pub fn archive(dir: &Path) -> PathBuf {
    dir.join(STAGE).with_extension("cpio")
}

/// Collects files in a folder and packs them.
pub struct Initramfs {
    stage: PathBuf,
    /// The archive that these files are added to.
    base: Option<PathBuf>,
    libraries: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Begins in the folder `dir` with what every guest has. It needs a job besides.
    pub fn begin(layout: &Layout, dir: &Path) -> Result<Self> {
        let stage = dir.join(STAGE);
        for folder in ["bin", "lib", "lib64", "usr/local/bin", "etc", "selftests"] {
            fs::create_dir_all(stage.join(folder))?;
        }
        for link in ["sbin", "usr/bin", "usr/sbin"] {
            symlink("/bin", stage.join(link))?;
        }
        let mut initramfs = Self {
            stage,
            base: None,
            libraries: BTreeSet::new(),
        };
        let guest = layout.repo.join("tools/vm/guest");
        initramfs.file(Path::new("/usr/bin/busybox"), "bin/busybox", 0o755)?;
        initramfs.file(&guest.join("init"), "init", 0o755)?;
        initramfs.file(&guest.join("functions"), "functions", 0o644)?;
        initramfs.text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
            "etc/passwd",
        )?;
        initramfs.text("root:x:0:\n", "etc/group")?;
        Ok(initramfs)
    }

    /// Begins in the folder `dir` with all that is in another archive.
    pub fn begin_with(base: &Path, dir: &Path) -> Result<Self> {
        let stage = dir.join(STAGE);
        fs::create_dir_all(&stage)?;
        Ok(Self {
            stage,
            base: Some(base.to_owned()),
            libraries: BTreeSet::new(),
        })
    }

    /// Adds a file.
    pub fn file(&mut self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let path = self.stage.join(to);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, &path)
            .with_context(|| format!("copying {} to the guest", from.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Adds a program without its debug information, and the shared libraries it needs.
    pub fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        self.file(from, to, 0o755)?;
        if is_elf(from)? {
            // What the guest must load and unpack is most of its boot.
            let path = self.stage.join(to);
            let status = Command::new("strip")
                .arg(&path)
                .status()
                .context("starting strip")?;
            ensure!(status.success(), "cannot strip {}", path.display());
        }
        for library in libraries(from)? {
            if self.libraries.insert(library.clone()) {
                let to = library.strip_prefix("/").unwrap_or(&library).to_owned();
                let to = to.to_str().context("library path is not text")?;
                self.file(&library, to, 0o755)?;
            }
        }
        Ok(())
    }

    /// Adds all files below a folder; the programs among them get their libraries.
    pub fn tree(&mut self, from: &Path, to: &str) -> Result<()> {
        for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let to = format!("{to}/{}", name.to_str().context("file name is not text")?);
            let metadata = fs::metadata(entry.path())?;
            if metadata.is_dir() {
                self.tree(&entry.path(), &to)?;
            } else if metadata.permissions().mode() & 0o100 != 0 {
                self.program(&entry.path(), &to)?;
            } else {
                self.file(&entry.path(), &to, 0o644)?;
            }
        }
        Ok(())
    }

    /// Packs everything and returns the archive's path.
    pub fn pack(self) -> Result<PathBuf> {
        let archive = archive(self.stage.parent().context("no folder")?);
        let file = fs::File::create(&archive)?;
        if let Some(base) = &self.base {
            // The kernel unpacks one archive behind the other.
            io::copy(&mut fs::File::open(base)?, &mut &file)?;
        }
        let mut names = Vec::new();
        list(&self.stage, Path::new(""), &mut names)?;
        // Not compressed: unpacking costs an emulated processor more than the larger file.
        let mut cpio = Command::new("cpio")
            .args([
                "--create",
                "--null",
                "--quiet",
                "--format=newc",
                "--owner=+0:+0",
            ])
            .current_dir(&self.stage)
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .context("starting cpio")?;
        let mut input = cpio.stdin.take().context("cpio takes no input")?;
        for name in names {
            input.write_all(name.as_os_str().as_encoded_bytes())?;
            input.write_all(b"\0")?;
        }
        drop(input);
        ensure!(
            cpio.wait()?.success(),
            "cpio could not pack {}",
            self.stage.display()
        );
        fs::remove_dir_all(&self.stage)?;
        Ok(archive)
    }

    /// Adds a file with the given text.
    pub fn text(&mut self, text: &str, to: &str) -> Result<()> {
        fs::write(self.stage.join(to), text)?;
        Ok(())
    }
}

fn is_elf(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let count = fs::File::open(path)?.read(&mut magic)?;
    Ok(magic.get(..count) == Some(b"\x7fELF"))
}

/// The shared libraries that a program needs, its loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("starting ldd")?;
    // Scripts and static programs: ldd says so and fails.
    if !output.status.success() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !text.contains("not found"),
        "{} needs libraries that are missing:\n{text}",
        program.display()
    );
    Ok(library_paths(&text))
}

fn library_paths(ldd: &str) -> Vec<PathBuf> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn list(stage: &Path, below: &Path, names: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(stage.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        names.push(name.clone());
        if entry.file_type()?.is_dir() {
            list(stage, &name, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_output_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = library_paths(text);
        assert_eq!(
            paths,
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
