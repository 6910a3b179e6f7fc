// SPDX-License-Identifier: GPL-2.0-or-later

//! The files the demo reads and writes.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::bulk::Layout;

/// Where files are made.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the folder for temporary files, without a name: they are gone when the demo ends, whatever ends it.
    Temporary,
    /// In a folder, to be kept.
    Keep(PathBuf),
}

impl Place {
    /// Makes a file. A file that is there is not overwritten.
    pub fn create(&self, name: &str) -> Result<File> {
        match self {
            Self::Temporary => tempfile::tempfile().with_context(|| {
                format!(
                    "cannot make a temporary file in {}; set TMPDIR to another folder",
                    std::env::temp_dir().display()
                )
            }),
            Self::Keep(folder) => {
                let path = folder.join(name);
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .with_context(|| format!("cannot make {}", path.display()))
            }
        }
    }
}

/// Opens the file at `path` for reading, and returns its size.
pub fn open_input(path: &Path) -> Result<(File, u64)> {
    let context = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    ensure!(
        metadata.is_file(),
        "{} is not a regular file",
        path.display()
    );
    ensure!(metadata.len() > 0, "{} is empty", path.display());
    Ok((file, metadata.len()))
}

/// Fills `file` with `layout.size` bytes: one chunk of random bytes, repeated.
///
/// That all chunks are the same is on purpose: encrypted, no two may be.
pub fn fill(file: &File, layout: Layout) -> Result<()> {
    let mut chunk = vec![0; layout.len(0)];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut chunk))
        .context("cannot read /dev/urandom")?;
    for index in 0..layout.count() {
        file.write_all_at(&chunk[..layout.len(index)], layout.offset(index))
            .context("cannot write the file to encrypt")?;
    }
    Ok(())
}

/// Checks that `size` bytes of both files are the same, and that `copy` ends there.
pub fn compare(original: &File, copy: &File, layout: Layout) -> Result<()> {
    let size = copy.metadata().context("cannot read the copy")?.len();
    ensure!(
        size == layout.size,
        "the decrypted file has {size} bytes, the original has {}",
        layout.size
    );
    let (mut a, mut b) = (vec![0; layout.chunk], vec![0; layout.chunk]);
    for index in 0..layout.count() {
        let (len, offset) = (layout.len(index), layout.offset(index));
        let (a, b) = (&mut a[..len], &mut b[..len]);
        original
            .read_exact_at(a, offset)
            .context("cannot read the original")?;
        copy.read_exact_at(b, offset)
            .context("cannot read the decrypted file")?;
        if let Some(position) = a.iter().zip(b.iter()).position(|(a, b)| a != b) {
            anyhow::bail!(
                "the decrypted file differs from the original at byte {}",
                offset + position as u64
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        size: 2500,
        chunk: 1000,
    };

    #[test]
    fn content_repeats() {
        let file = Place::Temporary.create("x").unwrap();
        fill(&file, LAYOUT).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2500);
        let mut data = vec![0; 2500];
        file.read_exact_at(&mut data, 0).unwrap();
        assert_eq!(data[..1000], data[1000..2000]);
        assert_eq!(data[..500], data[2000..]);
        assert_ne!(data[..500], data[500..1000]);
    }

    #[test]
    fn differences_are_found() {
        let (a, b) = (
            Place::Temporary.create("a").unwrap(),
            Place::Temporary.create("b").unwrap(),
        );
        a.write_all_at(&[7; 2500], 0).unwrap();
        b.write_all_at(&[7; 2500], 0).unwrap();
        compare(&a, &b, LAYOUT).unwrap();

        b.write_all_at(&[8], 2499).unwrap();
        let error = compare(&a, &b, LAYOUT).unwrap_err().to_string();
        assert!(error.ends_with("at byte 2499"), "{error}");

        b.set_len(2499).unwrap();
        let error = compare(&a, &b, LAYOUT).unwrap_err().to_string();
        assert!(error.contains("2499 bytes"), "{error}");
    }

    #[test]
    fn kept_files_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Keep(folder.path().to_path_buf());
        place.create("a").unwrap();
        assert!(folder.path().join("a").exists());
        let error = format!("{:#}", place.create("a").unwrap_err());
        assert!(error.contains("exists"), "{error}");
    }

    #[test]
    fn input_has_to_be_a_file_with_content() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open_input(folder.path()).is_err());
        let path = folder.path().join("a");
        assert!(open_input(&path).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(open_input(&path).unwrap_err().to_string().contains("empty"));
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(open_input(&path).unwrap().1, 3);
    }
}
