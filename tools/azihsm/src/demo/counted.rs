// SPDX-License-Identifier: GPL-2.0-or-later

//! An HSM whose commands are counted.

use std::sync::atomic::{AtomicU64, Ordering};

use azihsm_ddi::SessionKind;
use serde::Serialize;

use crate::hsm::{Aes, AesDone, Error, Hsm, Info, Limits};

/// Passes everything on, and counts it.
pub struct Counted<'a> {
    hsm: &'a dyn Hsm,
    control: AtomicU64,
    aes: AtomicU64,
}

/// Number of commands issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// On the control path.
    pub control: u64,
    /// On the fast path.
    pub aes: u64,
}

impl<'a> Counted<'a> {
    /// Starts to count at 0.
    pub fn new(hsm: &'a dyn Hsm) -> Self {
        Self {
            hsm,
            control: AtomicU64::new(0),
            aes: AtomicU64::new(0),
        }
    }

    /// Returns the numbers so far.
    pub fn commands(&self) -> Commands {
        Commands {
            control: self.control.load(Ordering::Relaxed),
            aes: self.aes.load(Ordering::Relaxed),
        }
    }
}

impl Hsm for Counted<'_> {
    fn info(&self) -> Result<Info, Error> {
        self.hsm.info()
    }

    fn query(&self) -> Result<Option<Limits>, Error> {
        self.hsm.query()
    }

    fn control(
        &self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.control.fetch_add(1, Ordering::Relaxed);
        self.hsm.control(kind, session_id, request)
    }

    fn aes(&self, command: &Aes, src: &[u8], dst: &mut [u8]) -> Result<AesDone, Error> {
        self.aes.fetch_add(1, Ordering::Relaxed);
        self.hsm.aes(command, src, dst)
    }

    fn reset(&self) -> Result<(), Error> {
        self.hsm.reset()
    }
}
