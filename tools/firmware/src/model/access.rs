// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may open sessions: the credential of a partition, and what protects it on the way and against guessing.
//!
//! All of this is lost in a reset.

use std::time::{Duration, Instant};

use azihsm_ddi::{Status, message::EncryptionKey};
use p384::SecretKey;
use rand_core::{OsRng, RngCore};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    agreement::{self, Sent},
    config::LoginPolicy,
};

/// Id and PIN.
const CREDENTIAL_LEN: usize = 32;

/// Access control of a partition.
pub(super) struct Access {
    nonce: [u8; 32],
    establish_key: SecretKey,
    session_key: SecretKey,
    credential: Option<Zeroizing<[u8; CREDENTIAL_LEN]>>,
    failures: u32,
    locked: Option<(Instant, Duration)>,
}

/// Which key a client encrypted its credential for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// EstablishCredential.
    Establish,
    /// OpenSession and ReopenSession.
    Session,
}

impl Access {
    pub(super) fn new() -> Self {
        Self {
            nonce: random(),
            establish_key: SecretKey::random(&mut OsRng),
            session_key: SecretKey::random(&mut OsRng),
            credential: None,
            failures: 0,
            locked: None,
        }
    }

    fn key(&self, purpose: Purpose) -> &SecretKey {
        match purpose {
            Purpose::Establish => &self.establish_key,
            Purpose::Session => &self.session_key,
        }
    }

    /// Returns the key and the nonce to encrypt a credential with.
    pub(super) fn encryption_key(&self, purpose: Purpose) -> Result<EncryptionKey, Status> {
        Ok(EncryptionKey {
            public_key: agreement::der_public_key(&self.key(purpose).public_key())?,
            nonce: self.nonce,
            signature: Default::default(),
        })
    }

    /// Authenticates and decrypts what a client sent; renews the nonce if the tag is right.
    pub(super) fn open(
        &mut self,
        purpose: Purpose,
        sent: &Sent<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Status> {
        if *sent.nonce != self.nonce {
            return Err(Status::NonceMismatch);
        }
        let stream = agreement::open(self.key(purpose), sent)?;
        self.nonce = random();
        Ok(stream)
    }

    /// Whether a credential is established.
    pub(super) fn is_established(&self) -> bool {
        self.credential.is_some()
    }

    /// Takes id and PIN, the first 32 bytes of `stream`; neither may be all zero.
    pub(super) fn credential(stream: &[u8]) -> Result<Zeroizing<[u8; CREDENTIAL_LEN]>, Status> {
        let credential = stream
            .first_chunk::<CREDENTIAL_LEN>()
            .ok_or(Status::InvalidArg)?;
        let (id, pin) = credential.split_at(CREDENTIAL_LEN / 2);
        if id.iter().all(|byte| *byte == 0) || pin.iter().all(|byte| *byte == 0) {
            return Err(Status::InvalidAppCredentials);
        }
        Ok(Zeroizing::new(*credential))
    }

    /// Sets the credential.
    pub(super) fn establish(&mut self, credential: Zeroizing<[u8; CREDENTIAL_LEN]>) {
        self.credential = Some(credential);
    }

    /// Refuses logins before a credential is established and while they are delayed.
    pub(super) fn admit(&mut self) -> Result<(), Status> {
        if self.credential.is_none() {
            return Err(Status::CredentialsNotEstablished);
        }
        match self.locked {
            Some((since, delay)) if since.elapsed() < delay => Err(Status::LoginFailed),
            _ => Ok(()),
        }
    }

    /// Compares id and PIN, the first 32 bytes of `stream`, with the credential.
    pub(super) fn login(&mut self, stream: &[u8], policy: LoginPolicy) -> Result<(), Status> {
        let credential = self
            .credential
            .as_ref()
            .ok_or(Status::CredentialsNotEstablished)?;
        let given = stream.get(..CREDENTIAL_LEN).ok_or(Status::InvalidArg)?;
        if bool::from(given.ct_eq(&credential[..])) {
            self.failures = 0;
            self.locked = None;
            return Ok(());
        }
        self.failures = self.failures.saturating_add(1);
        // Once past the allowance every failure locks, the longer the more there were.
        let factor = self
            .failures
            .checked_div(policy.allowed_failures)
            .unwrap_or(self.failures);
        if factor > 0 {
            self.locked = Some((Instant::now(), policy.delay.saturating_mul(factor)));
        }
        Err(Status::InvalidAppCredentials)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("established", &self.is_established())
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// Returns random bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
