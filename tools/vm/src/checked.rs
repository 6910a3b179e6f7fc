// SPDX-License-Identifier: GPL-2.0-or-later

//! What a lint has found nothing in, so that it need not look again.
//!
//! What is remembered is a hash of all that the verdict depends on: the lint, its arguments, the
//! files. It lies in the cache, one empty file for each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::origin::Origin;

/// Something that a lint has to look at.
pub struct Subject<'a> {
    origin: Origin,
    again: Box<dyn Fn() -> Result<Origin> + 'a>,
    mark: PathBuf,
}

impl<'a> Subject<'a> {
    /// What the lint has to look at, unless nothing was found in just that before; remembered in
    /// `folder`. `origin` is all that the verdict depends on.
    pub fn new(
        folder: &Path,
        origin: impl Fn() -> Result<Origin> + 'a,
    ) -> Result<Option<Subject<'a>>> {
        let now = origin()?;
        let mark = folder.join(now.name());
        let subject = Self {
            origin: now,
            again: Box::new(origin),
            mark,
        };
        Ok((!subject.mark.exists()).then_some(subject))
    }

    /// Remembers that nothing was found, if nothing has changed meanwhile; tells whether.
    pub fn passed(&self) -> Result<bool> {
        if !self.origin.untouched(&(self.again)()?) {
            return Ok(false);
        }
        if let Some(folder) = self.mark.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(&self.mark)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_changed_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("lint"), "1").unwrap();
        fs::write(path("a.c"), "a").unwrap();
        fs::write(path("b.c"), "b").unwrap();
        let remaining = |argument: &'static str| -> Vec<(&str, Subject)> {
            let subject = |name| {
                let origin = move || {
                    let lint = Origin::new("lint").word(argument);
                    lint.file(&path("lint"))?.file(&path(name))
                };
                let subject = Subject::new(&path("seen"), origin).unwrap();
                subject.map(|subject| (name, subject))
            };
            ["a.c", "b.c"].into_iter().filter_map(subject).collect()
        };
        let names = |argument| -> Vec<&str> {
            let remaining = remaining(argument);
            remaining.into_iter().map(|(name, _)| name).collect()
        };
        let all = remaining("-x");
        assert_eq!(all.len(), 2);
        all.iter()
            .for_each(|(_, subject)| assert!(subject.passed().unwrap()));
        assert!(names("-x").is_empty());
        assert_eq!(names("-y"), ["a.c", "b.c"]);
        fs::write(path("b.c"), "c").unwrap();
        assert_eq!(names("-x"), ["b.c"]);
        fs::write(path("lint"), "2").unwrap();
        assert_eq!(names("-x"), ["a.c", "b.c"]);
    }

    #[test]
    fn what_changes_meanwhile_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.c");
        fs::write(&file, "a").unwrap();
        let seen = dir.path().join("seen");
        let subject = || Subject::new(&seen, || Origin::new("lint").file(&file)).unwrap();
        let before = subject().unwrap();
        thread::sleep(Duration::from_millis(20));
        fs::write(&file, "b").unwrap();
        assert!(!before.passed().unwrap());
        assert!(subject().is_some());
        fs::write(&file, "a").unwrap();
        assert!(subject().is_some());
    }
}
