// SPDX-License-Identifier: GPL-2.0-or-later

//! What something is made from, as a hash: equal origins give equal results.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A hash over words, and over names and contents of files.
#[derive(Clone)]
pub struct Origin {
    hash: Sha256,
    /// When the last of the files changed, by the clock that nobody sets back.
    changed: (i64, i64),
}

impl Origin {
    /// The origin of `what`, of nothing yet.
    pub fn new(what: &str) -> Self {
        let origin = Self {
            hash: Sha256::new(),
            changed: (0, 0),
        };
        origin.word(what)
    }

    /// With a word.
    pub fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        self.add(word.as_ref().as_encoded_bytes());
        self
    }

    /// With a command, wherever the checkout is, and with what cargo takes from the environment.
    pub fn command(mut self, command: &Command, repo: &Path) -> Self {
        let repo = repo.to_string_lossy();
        for word in std::iter::once(command.get_program()).chain(command.get_args()) {
            self = self.word(word.to_string_lossy().replace(repo.as_ref(), ""));
        }
        let mut settings: Vec<_> = env::vars_os()
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CARGO_BUILD_"))
            .collect();
        settings.sort();
        for (name, value) in settings {
            self = self.word(name).word(value);
        }
        self
    }

    /// With a file, whose folder does not matter.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let name = path.file_name().unwrap_or_default();
        self.add(name.as_encoded_bytes());
        self.note(&fs::metadata(path).with_context(reading)?);
        self.add(&fs::read(path).with_context(reading)?);
        Ok(self)
    }

    /// With all files of a folder that have one of the names, or are below a folder that has one.
    /// None need be there.
    pub fn below(mut self, folder: &Path, names: &[&str]) -> Result<Self> {
        let mut found = Vec::new();
        for name in names {
            find(&folder.join(name), &mut found)?;
        }
        found.sort();
        for path in found {
            let name = path.strip_prefix(folder)?;
            self.add(name.as_os_str().as_encoded_bytes());
            let reading = || format!("reading {}", path.display());
            let metadata = fs::symlink_metadata(&path).with_context(reading)?;
            self.note(&metadata);
            if metadata.is_symlink() {
                // An editor's lock leads nowhere.
                self.add(fs::read_link(&path)?.as_os_str().as_encoded_bytes());
                self.add(&fs::read(&path).unwrap_or_default());
            } else {
                self.add(&fs::read(&path).with_context(reading)?);
            }
        }
        Ok(self)
    }

    /// The hash, as it is part of a file's name.
    pub fn name(&self) -> String {
        format!("{:x}", self.hash.clone().finalize())
    }

    /// Whether nothing has changed between the two, not even there and back.
    pub fn untouched(&self, later: &Self) -> bool {
        self.changed == later.changed && self.name() == later.name()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn note(&mut self, metadata: &Metadata) {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        self.changed = self.changed.max(changed);
    }
}

fn find(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
        find(&entry?.path(), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn origin(folder: &Path) -> Origin {
        Origin::new("x").below(folder, &["a", "b", "c"]).unwrap()
    }

    #[test]
    fn names_and_contents_count_and_the_place_does_not() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] = dirs.each_ref().map(|dir| dir.path());
        for dir in [one, two] {
            fs::create_dir(dir.join("a")).unwrap();
            fs::write(dir.join("a/1"), "1").unwrap();
            fs::write(dir.join("b"), "2").unwrap();
            fs::write(dir.join("other"), dir.to_str().unwrap()).unwrap();
        }
        assert_eq!(origin(one).name(), origin(two).name());
        fs::write(two.join("b"), "3").unwrap();
        assert_ne!(origin(one).name(), origin(two).name());
        fs::write(two.join("b"), "2").unwrap();
        fs::rename(two.join("a/1"), two.join("a/2")).unwrap();
        assert_ne!(origin(one).name(), origin(two).name());

        let command = |dir: &Path, option| {
            let mut command = Command::new("make");
            command.arg("-C").arg(dir).arg(option);
            Origin::new("x").command(&command, dir).name()
        };
        assert_eq!(command(one, "-k"), command(two, "-k"));
        assert_ne!(command(one, "-k"), command(one, "-n"));
    }

    #[test]
    fn there_and_back_is_not_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "2").unwrap();
        let before = origin(dir.path());
        assert!(before.untouched(&origin(dir.path())));
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(dir.path().join("b"), "3").unwrap();
        fs::write(dir.path().join("b"), "2").unwrap();
        let after = origin(dir.path());
        assert_eq!(before.name(), after.name());
        assert!(!before.untouched(&after));
    }

    #[test]
    fn links_that_lead_nowhere_are_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let before = origin(dir.path()).name();
        symlink("nobody@nowhere.1", dir.path().join("c")).unwrap();
        assert_ne!(before, origin(dir.path()).name());
    }
}
