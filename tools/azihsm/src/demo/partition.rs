// SPDX-License-Identifier: GPL-2.0-or-later

//! Provisions the partition for the demo, and leaves it as it was.

use anyhow::{Context, Result};
use azihsm_ddi::client::{Client, ClientError, Credential, OwnerKey, Session, Transport};
use azihsm_ddi::{AesKeySize, SessionKind, Status};
use std::fs::File;
use std::io::Read;

use crate::hsm::{Error, Hsm};

/// The partition has the credential of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the partition is provisioned already: another program uses this HSM, or an earlier demo was killed\n\
     The demo does not touch it. If nobody needs it any more, run the demo with --reset: this ends all sessions,\n\
     and deletes all keys and the credential."
)]
pub struct InUse;

/// Control commands of an HSM, for a client.
#[derive(Clone, Copy)]
pub struct Control<'a>(pub &'a dyn Hsm);

impl Transport for Control<'_> {
    type Error = Error;

    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.0.control(kind, session_id, request)
    }
}

/// A partition that the demo provisioned, with its session.
pub struct Partition<'a> {
    hsm: &'a dyn Hsm,
    client: Client<Control<'a>>,
    credential: Credential,
    session: Option<Session>,
}

impl<'a> Partition<'a> {
    /// Establishes a random credential in a partition that has none.
    ///
    /// # Errors
    ///
    /// [`InUse`] if the partition has one.
    pub fn provision(hsm: &'a dyn Hsm) -> Result<Self> {
        let credential = random_credential()?;
        let mut client = Client::new(Control(hsm));
        match client.establish(&credential, &OwnerKey::random()) {
            Ok(_) => Ok(Self {
                hsm,
                client,
                credential,
                session: None,
            }),
            Err(e) if is_provisioned(&e) => Err(InUse.into()),
            Err(e) => Err(e).context("cannot provision the partition"),
        }
    }

    /// Opens the session.
    pub fn open_session(&mut self) -> Result<Session> {
        let session = self
            .client
            .open_session(&self.credential)
            .context("cannot open a session")?;
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Makes a bulk key that lives as long as the session, and returns its id on the fast path.
    pub fn bulk_key(&mut self, size: AesKeySize, label: &str) -> Result<u32> {
        let session = self.session.as_ref().context("no session is open")?;
        let key = self
            .client
            .generate_aes_key(session.id, size, label.as_bytes(), true)
            .with_context(|| format!("cannot make the {label} key"))?;
        key.bulk_key_id
            .map(u32::from)
            .with_context(|| format!("the device gave the {label} key no bulk key id"))
    }

    /// Closes the session, if one is open; its keys are deleted with it.
    pub fn close_session(&mut self) -> Result<()> {
        match self.session.take() {
            Some(session) => self
                .client
                .close_session(session.id)
                .context("cannot close the session"),
            None => Ok(()),
        }
    }

    /// Takes the credential away again. Nobody else can have a session: nobody else knows the credential.
    pub fn unprovision(mut self) -> Result<()> {
        let closed = self.close_session();
        self.hsm
            .reset()
            .context("cannot reset the partition to leave it as it was")?;
        closed
    }
}

/// Whether the device refused a credential because it has one.
fn is_provisioned<E>(error: &ClientError<E>) -> bool {
    matches!(
        error.status(),
        Some(Status::VaultAppLimitReached | Status::PartitionAlreadyProvisioned)
    )
}

/// A credential that nobody else knows.
fn random_credential() -> Result<Credential> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let (mut id, mut pin) = ([0; 16], [0; 16]);
    id.copy_from_slice(&bytes[..16]);
    pin.copy_from_slice(&bytes[16..]);
    Ok(Credential { id, pin })
}
