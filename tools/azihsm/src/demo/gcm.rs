// SPDX-License-Identifier: GPL-2.0-or-later

//! A file in chunks, each encrypted with AES-GCM under its own IV.
//!
//! A chunk becomes a record: IV, tag, ciphertext. The AAD says which chunk of how many it is, so that no chunk can
//! be left out, doubled or moved.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::aad::PaddedAad;
use super::bulk::{self, Layout};
use super::ciphers::Fast;
use super::stop::Stop;
use crate::hsm::{AesDone, Cipher, Direction, Error};

const IV: usize = 12;
const TAG: usize = 16;
/// Bytes of a record in front of the ciphertext.
const HEAD: usize = IV + TAG;

/// Encrypts files with one key.
pub struct Gcm<'a> {
    /// Where to.
    pub fast: Fast<'a>,
    /// Bulk key id.
    pub key: u32,
    /// How the file is cut.
    pub layout: Layout,
    /// Whether to stop.
    pub stop: &'a Stop,
}

/// Source and destination of one command.
#[derive(Default)]
struct Buffers {
    src: Vec<u8>,
    dst: Vec<u8>,
}

/// A record, taken apart.
struct Record {
    iv: [u8; IV],
    tag: [u8; TAG],
    text: Vec<u8>,
}

impl Gcm<'_> {
    /// Encrypts `plain` to `sealed`.
    pub fn encrypt(&self, jobs: usize, plain: &File, sealed: &File) -> Result<Duration> {
        let step = |buffers: &mut Buffers, index| {
            let aad = self.aad(index);
            let text_at = aad.bytes.len();
            buffers.prepare(&aad, self.layout.len(index));
            plain
                .read_exact_at(&mut buffers.src[text_at..], self.layout.offset(index))
                .context("cannot read the file")?;
            let done = self.run(Direction::Encrypt, [0; IV], [0; TAG], &aad, buffers)?;
            // The text is too long for this to happen by chance.
            let text = &buffers.dst[text_at..];
            ensure!(
                text.len() < 16 || text != &buffers.src[text_at..],
                "the device returned the plaintext as ciphertext"
            );
            let at = self.record_offset(index);
            let head = [&done.iv[..], &done.tag].concat();
            sealed
                .write_all_at(&head, at)
                .and_then(|()| sealed.write_all_at(text, at + HEAD as u64))
                .context("cannot write the encrypted file")
        };
        let what = "AES-GCM encrypt";
        bulk::run(
            what,
            self.layout.count(),
            jobs,
            self.stop,
            Buffers::default,
            step,
        )
    }

    /// Decrypts `sealed` to `plain`.
    pub fn decrypt(&self, jobs: usize, sealed: &File, plain: &File) -> Result<Duration> {
        let step = |buffers: &mut Buffers, index| {
            let record = self.record(sealed, index)?;
            let aad = self.aad(index);
            self.open(&record, &aad, buffers)?;
            plain
                .write_all_at(&buffers.dst[aad.bytes.len()..], self.layout.offset(index))
                .context("cannot write the decrypted file")
        };
        let what = "AES-GCM decrypt";
        bulk::run(
            what,
            self.layout.count(),
            jobs,
            self.stop,
            Buffers::default,
            step,
        )
    }

    /// Checks that the first chunk, whose plaintext `plain` starts with, is refused after any change, and that
    /// nothing of the plaintext gets out. Returns what was changed.
    pub fn tamper(&self, sealed: &File, plain: &File) -> Result<Vec<&'static str>> {
        type Change = fn(&mut Record, &mut PaddedAad);
        const CHANGES: [(&str, Change); 4] = [
            ("tag", |record, _| record.tag[15] ^= 1),
            ("ciphertext", |record, _| record.text[0] ^= 0x80),
            ("AAD", |_, aad| {
                let middle = aad.bytes.len() / 2;
                aad.bytes[middle] ^= 1;
            }),
            ("IV", |record, _| record.iv[0] ^= 1),
        ];
        let mut text = vec![0; self.layout.len(0)];
        plain
            .read_exact_at(&mut text, 0)
            .context("cannot read the file")?;

        for (name, change) in CHANGES {
            let mut record = self.record(sealed, 0)?;
            let mut aad = self.aad(0);
            change(&mut record, &mut aad);
            let mut buffers = Buffers::default();
            match self.open(&record, &aad, &mut buffers) {
                Ok(_) => bail!("a changed {name} was accepted"),
                Err(e) if is_tag_mismatch(&e) => {}
                Err(e) => return Err(e.context(format!("decrypting with a changed {name}"))),
            }
            ensure!(
                !leaks(&buffers.dst[aad.bytes.len()..], &text),
                "plaintext got out although a changed {name} was refused"
            );
        }
        Ok(CHANGES.map(|(name, _)| name).to_vec())
    }

    /// Checks that the first two chunks, whose plaintext is the same, have different ciphertexts.
    pub fn distinct(&self, sealed: &File) -> Result<()> {
        let (a, b) = (self.record(sealed, 0)?, self.record(sealed, 1)?);
        ensure!(a.iv != b.iv, "the device used an IV twice");
        let len = a.text.len().min(b.text.len());
        ensure!(
            len < 16 || a.text[..len] != b.text[..len],
            "two chunks have the same ciphertext"
        );
        Ok(())
    }

    fn record_offset(&self, index: u64) -> u64 {
        self.layout.offset(index) + index * HEAD as u64
    }

    fn record(&self, sealed: &File, index: u64) -> Result<Record> {
        let mut bytes = vec![0; HEAD + self.layout.len(index)];
        sealed
            .read_exact_at(&mut bytes, self.record_offset(index))
            .context("cannot read the encrypted file")?;
        let (iv, rest) = bytes.split_first_chunk().context("short record")?;
        let (tag, text) = rest.split_first_chunk().context("short record")?;
        Ok(Record {
            iv: *iv,
            tag: *tag,
            text: text.to_vec(),
        })
    }

    fn open(&self, record: &Record, aad: &PaddedAad, buffers: &mut Buffers) -> Result<AesDone> {
        buffers.prepare(aad, record.text.len());
        buffers.src[aad.bytes.len()..].copy_from_slice(&record.text);
        self.run(Direction::Decrypt, record.iv, record.tag, aad, buffers)
    }

    fn run(
        &self,
        direction: Direction,
        iv: [u8; IV],
        tag: [u8; TAG],
        aad: &PaddedAad,
        buffers: &mut Buffers,
    ) -> Result<AesDone> {
        let cipher = Cipher::Gcm {
            key: self.key,
            iv,
            tag,
            aad_len: u32::try_from(aad.len)?,
            padded_aad_len: u32::try_from(aad.bytes.len())?,
        };
        self.fast
            .run(direction, cipher, &buffers.src, &mut buffers.dst)
    }

    /// AAD of chunk `index`.
    fn aad(&self, index: u64) -> PaddedAad {
        let count = self.layout.count();
        PaddedAad::new(format!("azihsm demo, chunk {index} of {count}").as_bytes())
    }
}

impl Buffers {
    /// Makes room for a text of `len` bytes behind `aad`, which is put in place.
    fn prepare(&mut self, aad: &PaddedAad, len: usize) {
        self.src.resize(aad.bytes.len() + len, 0);
        self.src[..aad.bytes.len()].copy_from_slice(&aad.bytes);
        self.dst.resize(self.src.len(), 0);
    }
}

/// Whether `got` has so much of `text` that it cannot be chance.
///
/// Text with one bit changed counts, too. Zeros do not: a wiped buffer is full of them.
fn leaks(got: &[u8], text: &[u8]) -> bool {
    let telling = || got.iter().zip(text).filter(|(_, text)| **text != 0);
    let same = telling().filter(|(got, text)| got == text).count();
    let all = telling().count();
    all >= 64 && same > all / 2
}

/// Whether the device refused the tag.
fn is_tag_mismatch(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Error>()
        .is_some_and(Error::is_tag_mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_are_seen() {
        let text: Vec<u8> = (0..=255).collect();
        let mut got = text.clone();
        assert!(leaks(&got, &text));
        got[7] ^= 1;
        assert!(leaks(&got, &text));
        assert!(!leaks(&[0; 256], &text));
        assert!(!leaks(&[0; 256], &[0; 256]));
        got.reverse();
        assert!(!leaks(&got, &text));
    }
}
