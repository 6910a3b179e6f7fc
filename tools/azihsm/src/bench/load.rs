// SPDX-License-Identifier: GPL-2.0-or-later

//! What is measured: commands that can be repeated as often as one likes.

use anyhow::{Context, Result};
use azihsm_ddi::client::{Client, Session, Transport};
use azihsm_ddi::{AesKeySize, SessionKind};
use serde::Serialize;

use crate::demo::Partition;
use crate::hsm::{Aes, Cipher, Direction, Error, Hsm};

/// A kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A control command that needs no session: the interface revisions.
    Control,
    /// AES-GCM encryption.
    Gcm,
    /// AES-XTS encryption.
    Xts,
}

/// A kind of command and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Kind of command.
    pub op: Op,
    /// Bytes of text, of the request for a control command.
    pub bytes: usize,
}

/// What all commands of a bench need.
pub struct Keys {
    /// The session of the file.
    pub session: Session,
    /// Bulk key for GCM.
    pub gcm: u32,
    /// Bulk keys for XTS.
    pub xts: [u32; 2],
    /// Control command: kind of session and request.
    pub control: (SessionKind, Vec<u8>),
}

impl Keys {
    /// Opens a session in `partition` and makes keys.
    pub fn make(hsm: &dyn Hsm, partition: &mut Partition<'_>) -> Result<Self> {
        Ok(Self {
            control: record(hsm)?,
            session: partition.open_session()?,
            gcm: partition.bulk_key(AesKeySize::GcmBulk256, "bench-gcm")?,
            xts: [
                partition.bulk_key(AesKeySize::XtsBulk256, "bench-xts-data")?,
                partition.bulk_key(AesKeySize::XtsBulk256, "bench-xts-tweak")?,
            ],
        })
    }

    /// Returns the fast-path command of a load, `None` for a control command.
    pub fn aes(&self, load: Load) -> Option<Aes> {
        let cipher = match load.op {
            Op::Control => return None,
            Op::Gcm => Cipher::Gcm {
                key: self.gcm,
                iv: [0; 12],
                tag: [0; 16],
                aad_len: 0,
                padded_aad_len: 0,
            },
            Op::Xts => Cipher::Xts {
                data_key: self.xts[0],
                tweak_key: self.xts[1],
                unit: 0,
            },
        };
        Some(Aes {
            direction: Direction::Encrypt,
            session_id: self.session.id,
            short_app_id: self.session.short_app_id,
            cipher,
        })
    }
}

/// Passes commands on and keeps the last one.
struct Recorder<'a> {
    hsm: &'a dyn Hsm,
    last: Option<(SessionKind, Vec<u8>)>,
}

impl Transport for Recorder<'_> {
    type Error = Error;

    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.last = Some((kind, request.to_vec()));
        self.hsm.control(kind, session_id, request)
    }
}

/// Returns the control command to repeat.
fn record(hsm: &dyn Hsm) -> Result<(SessionKind, Vec<u8>)> {
    let mut client = Client::new(Recorder { hsm, last: None });
    client
        .api_revisions()
        .context("cannot ask for the interface revisions")?;
    client.transport().last.take().context("nothing was sent")
}

impl Load {
    /// Returns how many commands are enough, if `commands` are for small ones.
    pub fn commands(self, commands: u64) -> u64 {
        let large = ((self.bytes as u64) >> 16).max(1);
        (commands / large).max(commands.min(50))
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.op {
            Op::Control => f.write_str("control"),
            Op::Gcm => write!(f, "gcm-{}", Size(self.bytes)),
            Op::Xts => write!(f, "xts-{}", Size(self.bytes)),
        }
    }
}

/// A size with its unit, without a space.
struct Size(usize);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// The loads of a short bench: one of each kind of way that data takes.
pub const QUICK: [Load; 3] = [ALL[0], gcm(4 << 10), gcm(1 << 20)];

/// The loads of a whole bench.
pub const ALL: [Load; 7] = [
    Load {
        op: Op::Control,
        bytes: 0,
    },
    gcm(64),
    gcm(4 << 10),
    gcm(64 << 10),
    gcm(1 << 20),
    xts(4 << 10),
    xts(1 << 20),
];

const fn gcm(bytes: usize) -> Load {
    Load { op: Op::Gcm, bytes }
}

const fn xts(bytes: usize) -> Load {
    Load { op: Op::Xts, bytes }
}

/// Reads the name of a load.
pub fn parse(name: &str) -> Result<Load> {
    ALL.into_iter()
        .find(|load| load.to_string() == name)
        .with_context(|| {
            let names: Vec<String> = ALL.iter().map(Load::to_string).collect();
            format!("no such load; there are: {}", names.join(" "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for load in ALL {
            assert_eq!(parse(&load.to_string()).unwrap(), load);
        }
        assert_eq!(parse("gcm-4KiB").unwrap(), gcm(4096));
        assert!(parse("gcm-5KiB").is_err());
    }

    #[test]
    fn large_commands_are_fewer() {
        assert_eq!(gcm(4096).commands(2000), 2000);
        assert_eq!(gcm(1 << 20).commands(2000), 125);
        assert_eq!(gcm(1 << 20).commands(10), 10);
    }
}
