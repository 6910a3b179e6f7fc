// SPDX-License-Identifier: GPL-2.0-or-later

//! Files that a lint has found nothing in, so that it need not look again.
//!
//! What is remembered is a hash of all that the verdict depends on: the lint, its arguments, the
//! file. It lies in the cache, one empty file for each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What one lint has looked at.
pub struct Checked {
    folder: PathBuf,
    /// Hash of the lint and its arguments.
    lint: Sha256,
}

/// A file with what its verdict depends on.
pub struct Entry {
    /// The file.
    pub file: PathBuf,
    mark: PathBuf,
}

impl Checked {
    /// What a lint that consists of `parts` has looked at with `arguments`; remembered in `folder`.
    pub fn new(folder: PathBuf, parts: &[PathBuf], arguments: &[&str]) -> Result<Self> {
        let mut lint = Sha256::new();
        for part in parts {
            lint.update(read(part)?);
        }
        for argument in arguments {
            lint.update(argument);
            lint.update([0]);
        }
        Ok(Self { folder, lint })
    }

    /// The files that it has to look at.
    pub fn remaining(&self, files: Vec<PathBuf>) -> Result<Vec<Entry>> {
        let entry = |file: PathBuf| -> Result<Entry> {
            let mut hash = self.lint.clone();
            // Its name matters, too: some checks depend on it.
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update([0]);
            hash.update(read(&file)?);
            let mark = self.folder.join(format!("{:x}", hash.finalize()));
            Ok(Entry { file, mark })
        };
        let entries: Result<Vec<Entry>> = files.into_iter().map(entry).collect();
        Ok(entries?
            .into_iter()
            .filter(|entry| !entry.mark.exists())
            .collect())
    }

    /// Remembers that nothing was found in these.
    pub fn passed(&self, entries: &[Entry]) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in entries {
            File::create(&entry.mark)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("lint"), "1").unwrap();
        fs::write(path("a.c"), "a").unwrap();
        fs::write(path("b.c"), "b").unwrap();
        let files = || vec![path("a.c"), path("b.c")];
        let checked = |argument| Checked::new(path("seen"), &[path("lint")], &[argument]).unwrap();
        let names = |argument| -> Vec<String> {
            let entries = checked(argument).remaining(files()).unwrap();
            let name = |entry: &Entry| entry.file.file_name().unwrap().to_str().unwrap().to_owned();
            entries.iter().map(name).collect()
        };
        let all = checked("-x").remaining(files()).unwrap();
        assert_eq!(all.len(), 2);
        checked("-x").passed(&all).unwrap();
        assert!(names("-x").is_empty());
        assert_eq!(names("-y"), ["a.c", "b.c"]);
        fs::write(path("b.c"), "c").unwrap();
        assert_eq!(names("-x"), ["b.c"]);
        fs::write(path("lint"), "2").unwrap();
        assert_eq!(names("-x"), ["a.c", "b.c"]);
    }
}
