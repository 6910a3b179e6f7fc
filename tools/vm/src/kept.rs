// SPDX-License-Identifier: GPL-2.0-or-later

//! What was built, kept in the cache: another checkout, or this one after a detour, need not
//! build it again from the same files.
//!
//! Each is a folder, named by what it is and the hash of what it was built from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use tempfile::Builder;

use crate::origin::Origin;

/// How many builds of one thing are kept: the programs take 220 MB each time.
const NEWEST: usize = 4;

/// Begins the names of folders that are not complete.
const PART: &str = "part-";

/// How a thing came to be there.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// It was built before.
    Kept,
    /// It was built, from what is there now.
    Built,
    /// It was built while somebody changed what it is built from: nobody knows from what.
    Mixed,
}

/// What is kept.
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// What is kept in `folder`.
    pub fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Puts the `outputs` in place that are made from `origin`: those that are kept, or new ones.
    ///
    /// `build` tells whether all that it left was built now. What was there before it may be from
    /// files that changed under a make of somebody else's, so it is not kept.
    pub fn make(
        &self,
        name: &str,
        outputs: &[PathBuf],
        origin: impl Fn() -> Result<Origin>,
        build: impl FnOnce() -> Result<bool>,
    ) -> Result<Came> {
        let before = origin()?;
        let entry = format!("{name}-{}", before.name());
        if self.take(&entry, outputs)? {
            return Ok(Came::Kept);
        }
        let fresh = build()?;
        if !before.untouched(&origin()?) {
            return Ok(Came::Mixed);
        }
        if fresh {
            self.put(name, &entry, outputs)?;
        }
        Ok(Came::Built)
    }

    /// Copies what is kept, if it is; tells whether.
    fn take(&self, entry: &str, outputs: &[PathBuf]) -> Result<bool> {
        let _lock = self.lock(FlockArg::LockShared)?;
        let folder = self.folder.join(entry);
        if !folder.exists() {
            return Ok(false);
        }
        for output in outputs {
            replace(&folder.join(file_name(output)?), output)?;
        }
        // It is among the newest again.
        File::open(&folder)?.set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// Keeps what was built.
    fn put(&self, name: &str, entry: &str, outputs: &[PathBuf]) -> Result<()> {
        let _lock = self.lock(FlockArg::LockExclusive)?;
        let folder = self.folder.join(entry);
        if !folder.exists() {
            let part = Builder::new().prefix(PART).tempdir_in(&self.folder)?;
            for output in outputs {
                let copy = part.path().join(file_name(output)?);
                fs::copy(output, &copy).with_context(|| format!("copying {}", output.display()))?;
                // The name may be on the disk before the contents.
                File::open(&copy)?.sync_all()?;
            }
            fs::rename(part.path(), &folder)?;
        }
        self.prune(name)
    }

    /// Removes all but the newest, and what a command left that was killed.
    fn prune(&self, name: &str) -> Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let is_its = |(other, _): (&str, &str)| other == name;
            if file_name.starts_with(PART) {
                fs::remove_dir_all(entry.path())?;
            } else if file_name.rsplit_once('-').is_some_and(is_its) {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        for (_, path) in entries.iter().rev().skip(NEWEST) {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Who writes is alone, so that what is not complete is nobody's.
    fn lock(&self, how: FlockArg) -> Result<Flock<File>> {
        lock(&self.folder.join("lock"), how)
    }
}

/// Locks a file until the result is dropped.
pub fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, error)| anyhow!("locking {}: {error}", path.display()))
}

/// Makes `to` a copy of `from`, if it is not.
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // A running program cannot be written to, but replaced.
    let part = to.with_extension("new");
    fs::copy(from, &part).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&part, to)?;
    Ok(())
}

fn file_name(path: &Path) -> Result<&std::ffi::OsStr> {
    path.file_name().context("what is built has a name")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A file to build from, the one that is built, and the folder of what is kept.
    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, text: &str) {
            fs::write(self.path("source"), text).unwrap();
        }

        fn origin(&self) -> Result<Origin> {
            Origin::new("thing").below(self.dir.path(), &["source"])
        }

        /// Makes the thing; tells how it came and what it is.
        fn make_with(&self, build: impl FnOnce() -> Result<bool>) -> (Came, String) {
            let kept = Kept::new(self.path("kept")).unwrap();
            let outputs = [self.path("out/thing")];
            let came = kept.make("thing", &outputs, || self.origin(), build);
            let text = fs::read_to_string(&outputs[0]).unwrap();
            (came.unwrap(), text)
        }

        fn build(&self) -> Result<bool> {
            replace(&self.path("source"), &self.path("out/thing"))?;
            Ok(true)
        }

        fn make(&self) -> (Came, String) {
            self.make_with(|| self.build())
        }

        fn entries(&self) -> Vec<String> {
            let entries = fs::read_dir(self.path("kept")).unwrap();
            let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let names = entries.map(|entry| name(entry).into_string().unwrap());
            names.filter(|name| name != "lock").collect()
        }
    }

    #[test]
    fn what_has_changed_is_built_again() {
        let place = Place::new();
        let made = |came, text: &str| (came, text.to_owned());
        place.write("1");
        assert_eq!(place.make(), made(Came::Built, "1"));
        assert_eq!(place.make(), made(Came::Kept, "1"));
        place.write("2");
        assert_eq!(place.make(), made(Came::Built, "2"));
        // Back again: what is kept replaces what was built last.
        place.write("1");
        assert_eq!(place.make(), made(Came::Kept, "1"));
        place.write("2");
        assert_eq!(place.make(), made(Came::Kept, "2"));
    }

    #[test]
    fn nothing_is_kept_that_may_be_from_other_files() {
        let place = Place::new();
        place.write("1");
        let (came, _) = place.make_with(|| {
            place.build()?;
            std::thread::sleep(Duration::from_millis(20));
            place.write("2");
            Ok(true)
        });
        assert_eq!(came, Came::Mixed);
        let (came, _) = place.make_with(|| place.build().map(|_| false));
        assert_eq!(came, Came::Built);
        assert!(place.entries().is_empty());
    }

    #[test]
    fn what_failed_or_is_not_complete_is_not_taken() {
        let place = Place::new();
        place.write("1");
        let kept = Kept::new(place.path("kept")).unwrap();
        let failed = kept.make(
            "thing",
            &[],
            || place.origin(),
            || Err(anyhow!("does not build")),
        );
        assert!(failed.is_err());
        assert!(place.entries().is_empty());
        // An output that is not there: the folder was begun, and is gone.
        let outputs = [place.path("source"), place.path("missing")];
        let failed = kept.make("thing", &outputs, || place.origin(), || Ok(true));
        assert!(failed.is_err());
        assert!(place.entries().is_empty());
        // A command was killed meanwhile.
        let part = place.path("kept").join(format!("{PART}x"));
        fs::create_dir(&part).unwrap();
        fs::write(part.join("thing"), "half").unwrap();
        assert_eq!(place.make(), (Came::Built, "1".to_owned()));
        assert!(!part.exists());
        assert_eq!(place.entries().len(), 1);
    }

    #[test]
    fn the_newest_are_kept() {
        let place = Place::new();
        let other = place.path("kept/other-thing-0");
        fs::create_dir_all(&other).unwrap();
        let make = |number: usize| {
            place.write(&number.to_string());
            std::thread::sleep(Duration::from_millis(20));
            place.make().0
        };
        for number in 0..NEWEST {
            assert_eq!(make(number), Came::Built);
        }
        // The oldest is used again, so that the second goes when there is one more.
        assert_eq!(make(0), Came::Kept);
        assert_eq!(make(NEWEST), Came::Built);
        assert_eq!(place.entries().len(), NEWEST + 1);
        assert!(other.exists());
        assert_eq!(make(0), Came::Kept);
        assert_eq!(make(1), Came::Built);
    }
}
