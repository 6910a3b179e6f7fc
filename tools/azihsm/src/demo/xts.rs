// SPDX-License-Identifier: GPL-2.0-or-later

//! A file as a disk: sectors of 4096 bytes, encrypted with AES-XTS under their number.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bulk::{self, Layout};
use super::ciphers::Fast;
use super::stop::Stop;
use crate::hsm::{Cipher, Direction};

/// Size of a data unit in bytes.
pub const UNIT: usize = 4096;

/// Encrypts files with one pair of keys.
pub struct Xts<'a> {
    /// Where to.
    pub fast: Fast<'a>,
    /// Bulk key id of the data key.
    pub data_key: u32,
    /// Bulk key id of the tweak key.
    pub tweak_key: u32,
    /// How the file is cut; chunks are whole data units.
    pub layout: Layout,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl Xts<'_> {
    /// Encrypts `plain` to `disk`, whose last data unit is filled up with zeros before encryption.
    pub fn encrypt(&self, jobs: usize, plain: &File, disk: &File) -> Result<Duration> {
        let step = |(src, dst): &mut (Vec<u8>, Vec<u8>), index| {
            let len = self.layout.len(index);
            src.clear();
            src.resize(len.next_multiple_of(UNIT), 0);
            dst.resize(src.len(), 0);
            plain
                .read_exact_at(&mut src[..len], self.layout.offset(index))
                .context("cannot read the file")?;
            self.run(Direction::Encrypt, index, src, dst)?;
            ensure!(
                src != dst,
                "the device returned the plaintext as ciphertext"
            );
            disk.write_all_at(dst, self.layout.offset(index))
                .context("cannot write the encrypted file")
        };
        let what = "AES-XTS encrypt";
        bulk::run(
            what,
            self.layout.count(),
            jobs,
            self.stop,
            Default::default,
            step,
        )
    }

    /// Decrypts `disk` to `plain`, without what was filled up.
    pub fn decrypt(&self, jobs: usize, disk: &File, plain: &File) -> Result<Duration> {
        let step = |(src, dst): &mut (Vec<u8>, Vec<u8>), index| {
            let len = self.layout.len(index);
            src.resize(len.next_multiple_of(UNIT), 0);
            dst.resize(src.len(), 0);
            disk.read_exact_at(src, self.layout.offset(index))
                .context("cannot read the encrypted file")?;
            self.run(Direction::Decrypt, index, src, dst)?;
            plain
                .write_all_at(&dst[..len], self.layout.offset(index))
                .context("cannot write the decrypted file")
        };
        let what = "AES-XTS decrypt";
        bulk::run(
            what,
            self.layout.count(),
            jobs,
            self.stop,
            Default::default,
            step,
        )
    }

    /// Checks that the first two chunks, whose plaintext is the same, have different ciphertexts.
    pub fn distinct(&self, disk: &File) -> Result<()> {
        let mut units = [[0; UNIT]; 2];
        for (index, unit) in (0..).zip(&mut units) {
            disk.read_exact_at(unit, self.layout.offset(index))
                .context("cannot read the encrypted file")?;
        }
        ensure!(
            units[0] != units[1],
            "two data units have the same ciphertext"
        );
        Ok(())
    }

    fn run(&self, direction: Direction, index: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        let cipher = Cipher::Xts {
            data_key: self.data_key,
            tweak_key: self.tweak_key,
            unit: self.layout.offset(index) / UNIT as u64,
        };
        self.fast.run(direction, cipher, src, dst).map(drop)
    }
}
