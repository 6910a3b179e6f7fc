// SPDX-License-Identifier: GPL-2.0-or-later

//! The part of the demo in which data is encrypted.

use std::fs::File;

use anyhow::{Result, ensure};
use azihsm_ddi::AesKeySize;
use azihsm_ddi::client::Session;
use serde::Serialize;

use super::bulk::Layout;
use super::gcm::Gcm;
use super::partition::Partition;
use super::stop::Stop;
use super::story::{Size, Speed, Story};
use super::xts::{self, Xts};
use super::{Options, place};
use crate::hsm::{Aes, AesDone, Cipher, Direction, Hsm};

/// What came out of one cipher. That there is one means that the decrypted file is the original.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CipherReport {
    /// Encryption.
    pub encrypt: Speed,
    /// Decryption.
    pub decrypt: Speed,
}

/// Fast-path commands in a session.
#[derive(Clone, Copy)]
pub struct Fast<'a> {
    /// The function.
    pub hsm: &'a dyn Hsm,
    /// Session id.
    pub session_id: u16,
    /// Short application id of the session.
    pub short_app_id: u8,
}

impl Fast<'_> {
    /// Runs one command, which has to fill `dst`.
    pub fn run(
        &self,
        direction: Direction,
        cipher: Cipher,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<AesDone> {
        let command = Aes {
            direction,
            session_id: self.session_id,
            short_app_id: self.short_app_id,
            cipher,
        };
        let done = self.hsm.aes(&command, src, dst)?;
        ensure!(
            done.bytes == src.len(),
            "the device processed {} of {} bytes",
            done.bytes,
            src.len()
        );
        Ok(done)
    }
}

/// What came out of both ciphers.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// AES-GCM.
    pub gcm: CipherReport,
    /// AES-XTS.
    pub xts: CipherReport,
    /// What was changed, one at a time, each refused.
    pub refused: Vec<&'static str>,
}

/// What both ciphers work on.
pub struct Ciphers<'a> {
    /// The function.
    pub hsm: &'a dyn Hsm,
    /// What to do.
    pub options: &'a Options,
    /// The file to encrypt.
    pub plain: &'a File,
    /// How it is cut.
    pub layout: Layout,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl Ciphers<'_> {
    /// Opens a session, makes keys, and encrypts and decrypts the file with both ciphers.
    pub fn run(&self, partition: &mut Partition<'_>, story: &mut Story<'_>) -> Result<Outcome> {
        let session = partition.open_session()?;
        story.fact(
            "session",
            format_args!("{}, application {}", session.id, session.short_app_id),
        )?;
        let gcm_key = partition.bulk_key(AesKeySize::GcmBulk256, "GCM")?;
        let data_key = partition.bulk_key(AesKeySize::XtsBulk256, "XTS data")?;
        let tweak_key = partition.bulk_key(AesKeySize::XtsBulk256, "XTS tweak")?;

        story.part("Keys, made inside the HSM for this session; nobody outside ever sees them")?;
        story.fact("AES-GCM", format_args!("AES-256, bulk key {gcm_key}"))?;
        story.fact(
            "AES-XTS",
            format_args!("AES-256 twice, bulk keys {data_key} (data) and {tweak_key} (tweak)"),
        )?;

        let (gcm, refused) = self.gcm(self.fast(&session), gcm_key, story)?;
        let xts = self.xts(self.fast(&session), (data_key, tweak_key), story)?;
        Ok(Outcome { gcm, xts, refused })
    }

    fn gcm(
        &self,
        fast: Fast<'_>,
        key: u32,
        story: &mut Story<'_>,
    ) -> Result<(CipherReport, Vec<&'static str>)> {
        let (layout, stop) = (self.layout, self.stop);
        let jobs = self.options.jobs;
        let gcm = Gcm {
            fast,
            key,
            layout,
            stop,
        };
        story.part("AES-GCM: each chunk has its own IV, drawn by the HSM, its own tag, and AAD")?;

        let sealed = place(self.options).create("demo.gcm")?;
        let encrypt = Speed::new(layout.size, gcm.encrypt(jobs, self.plain, &sealed)?);
        story.fact("encrypt", encrypt)?;
        if self.has_equal_chunks() {
            gcm.distinct(&sealed)?;
            story.fact(
                "ciphertext",
                "differs from chunk to chunk, the text does not",
            )?;
        }
        let refused = gcm.tamper(&sealed, self.plain)?;
        story.fact(
            "tampering",
            format_args!("refused, for one bit in {}", refused.join(", ")),
        )?;

        let opened = place(self.options).create("demo.gcm.plain")?;
        let decrypt = Speed::new(layout.size, gcm.decrypt(jobs, &sealed, &opened)?);
        story.fact("decrypt", decrypt)?;
        self.compare(&opened, story)?;
        let report = CipherReport { encrypt, decrypt };
        Ok((report, refused))
    }

    fn xts(&self, fast: Fast<'_>, keys: (u32, u32), story: &mut Story<'_>) -> Result<CipherReport> {
        let (layout, stop) = (self.layout, self.stop);
        let jobs = self.options.jobs;
        let (data_key, tweak_key) = keys;
        let xts = Xts {
            fast,
            data_key,
            tweak_key,
            layout,
            stop,
        };
        story.part(format_args!(
            "AES-XTS: a disk of {} sectors, each encrypted under its number",
            Size(xts::UNIT as u64)
        ))?;

        let disk = place(self.options).create("demo.xts")?;
        let encrypt = Speed::new(layout.size, xts.encrypt(jobs, self.plain, &disk)?);
        story.fact("encrypt", encrypt)?;
        if self.has_equal_chunks() {
            xts.distinct(&disk)?;
            story.fact(
                "ciphertext",
                "differs from chunk to chunk, the text does not",
            )?;
        }
        let opened = place(self.options).create("demo.xts.plain")?;
        let decrypt = Speed::new(layout.size, xts.decrypt(jobs, &disk, &opened)?);
        story.fact("decrypt", decrypt)?;
        self.compare(&opened, story)?;
        Ok(CipherReport { encrypt, decrypt })
    }

    fn compare(&self, opened: &File, story: &mut Story<'_>) -> Result<()> {
        super::files::compare(self.plain, opened, self.layout)?;
        Ok(story.fact(
            "compare",
            "the decrypted file is the original, byte for byte",
        )?)
    }

    fn fast(&self, session: &Session) -> Fast<'_> {
        Fast {
            hsm: self.hsm,
            session_id: session.id,
            short_app_id: session.short_app_id,
        }
    }

    /// Whether the file is one of ours with at least two chunks of the same text.
    fn has_equal_chunks(&self) -> bool {
        self.options.file.is_none() && self.layout.count() > 1 && self.layout.len(1) >= xts::UNIT
    }
}
