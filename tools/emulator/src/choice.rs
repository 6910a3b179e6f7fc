// SPDX-License-Identifier: GPL-2.0-or-later

//! The choice of the firmware on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use azihsm_firmware::{Firmware, Model, Remote};

/// The 32 bytes of an insecure test key.
pub type TestKey = [u8; 32];

/// Which firmware runs behind the queues.
#[derive(Clone, Debug)]
pub enum Choice {
    /// The model that is part of the emulator.
    Model,
    /// Another process, behind a UNIX socket.
    Remote(PathBuf),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            _ if text == "model" => Ok(Choice::Model),
            Some(path) if !path.is_empty() => Ok(Choice::Remote(path.into())),
            _ => Err(
                "give \"model\", or \"unix:\" and the path of a socket on which a firmware listens"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Model => f.write_str("model"),
            Choice::Remote(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Choice {
    /// Starts or connects the firmware.
    pub fn start(&self, test_key: Option<TestKey>) -> Result<Arc<dyn Firmware>> {
        match self {
            Choice::Model => {
                let builder = Model::builder();
                let builder = match test_key {
                    Some(key) => builder.test_key(key),
                    None => builder,
                };
                Ok(Arc::new(builder.build()))
            }
            Choice::Remote(path) => {
                if test_key.is_some() {
                    tracing::warn!(
                        "--test-key does not reach the firmware at {self}: start that with the key, too"
                    );
                }
                let remote = Remote::connect(path).with_context(|| {
                    format!(
                        "cannot use the firmware at {}: start the process that serves it first",
                        path.display()
                    )
                })?;
                Ok(Arc::new(remote))
            }
        }
    }
}

/// Parses `--test-key`.
pub fn parse_test_key(text: &str) -> Result<TestKey, String> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|error| {
        format!("{error}; give 64 hexadecimal digits, the 32 bytes of an AES-256 key")
    })?;
    Ok(key)
}
