// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a function keeps as long as it owns resources: identity, certificate, BK3 (section 9.3).

use std::{str::FromStr, time::Duration};

use azihsm_ddi::{Bytes, Status};
use hkdf::Hkdf;
use p384::{
    PublicKey, SecretKey,
    ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey, signature::Verifier},
    elliptic_curve::sec1::ToEncodedPoint,
};
use rand_core::OsRng;
use sha2::{Digest, Sha256, Sha384};
use x509_cert::{
    builder::{Builder, CertificateBuilder, Profile},
    der::{Encode, asn1::GeneralizedTime},
    name::Name,
    serial_number::SerialNumber,
    spki::SubjectPublicKeyInfoOwned,
    time::{Time, Validity},
};
use zeroize::Zeroizing;

use super::{
    access::random,
    blob::{self, Kind},
    migration::Carried,
};

/// Length of a BK3.
pub(super) const BK3_LEN: usize = 48;

/// Highest length of a sealed BK3 that the device stores.
const SEALED_BK3_MAX: usize = 512;

/// The certificate is valid from 2024-01-01.
const VALID_FROM: Duration = Duration::from_secs(1_704_067_200);

/// Identity of a partition and what was stored in it.
pub(super) struct Partition {
    guid: [u8; 16],
    public_key: PublicKey,
    certificate: Vec<u8>,
    /// Wraps the BK3, and goes into every other key that wraps.
    root: Zeroizing<[u8; 32]>,
    bk3_initialized: bool,
    sealed_bk3: Option<Bytes<1024>>,
    /// BK3 of the established credential.
    bk3: Option<Zeroizing<[u8; BK3_LEN]>>,
    /// Masks the keys of the partition.
    masking_key: Option<Zeroizing<[u8; 32]>>,
}

impl Partition {
    /// Makes a partition with a new identity.
    pub(super) fn new(guid: [u8; 16]) -> Result<Self, Status> {
        let key = SecretKey::random(&mut OsRng);
        let certificate = certificate(&key).map_err(|error| {
            tracing::error!(%error, "cannot make the certificate of a partition");
            Status::InternalError
        })?;
        Ok(Self {
            guid,
            public_key: key.public_key(),
            certificate,
            root: Zeroizing::new(random()),
            bk3_initialized: false,
            sealed_bk3: None,
            bk3: None,
            masking_key: None,
        })
    }

    pub(super) fn guid(&self) -> [u8; 16] {
        self.guid
    }

    /// Returns the certificate, in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Returns the hash over the certificate chain.
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// Takes the BK3 and returns it masked.
    pub(super) fn init_bk3(&mut self, bk3: &[u8]) -> Result<Vec<u8>, Status> {
        if bk3.len() != BK3_LEN {
            return Err(Status::InvalidArg);
        }
        if self.bk3_initialized {
            return Err(Status::Bk3AlreadyInitialized);
        }
        let masked = blob::seal(&self.root, Kind::Bk3, bk3)?;
        self.bk3_initialized = true;
        Ok(masked)
    }

    /// Stores the sealed BK3.
    pub(super) fn set_sealed_bk3(&mut self, sealed: Bytes<1024>) -> Result<(), Status> {
        if sealed.is_empty() || sealed.len() > SEALED_BK3_MAX {
            return Err(Status::InvalidArg);
        }
        if self.sealed_bk3.is_some() {
            return Err(Status::SealedBk3AlreadySet);
        }
        self.sealed_bk3 = Some(sealed);
        Ok(())
    }

    /// Returns the sealed BK3.
    pub(super) fn sealed_bk3(&self) -> Result<Bytes<1024>, Status> {
        self.sealed_bk3.clone().ok_or(Status::SealedBk3NotPresent)
    }

    /// Checks the owner's signature over the public key of the certificate.
    pub(super) fn check_owner(&self, owner: &PublicKey, signature: &[u8]) -> Result<(), Status> {
        let signature = Signature::from_slice(signature).map_err(|_| Status::InvalidArg)?;
        VerifyingKey::from(owner)
            .verify(
                self.public_key.to_encoded_point(false).as_bytes(),
                &signature,
            )
            .map_err(|_| Status::InvalidArg)
    }

    /// Takes the masked BK3, and the masking key from its backup (a new one if there is none); returns what is to
    /// be committed with [`Partition::adopt`] and the backup.
    pub(super) fn unmask(
        &self,
        masked_bk3: &[u8],
        bmk: &[u8],
    ) -> Result<(Secrets, Vec<u8>), Status> {
        let bk3 = blob::open(&self.root, Kind::Bk3, masked_bk3)?;
        let bk3: [u8; BK3_LEN] = bk3.as_slice().try_into().map_err(|_| Status::InvalidArg)?;
        let bk3 = Zeroizing::new(bk3);
        let backup_key = self.derive(&*bk3, b"partition backup", &[])?;
        let masking_key = if bmk.is_empty() {
            self.masking_key
                .clone()
                .unwrap_or_else(|| Zeroizing::new(random()))
        } else {
            key_from_blob(&backup_key, Kind::PartitionKey, bmk)?
        };
        let bmk = blob::seal(&backup_key, Kind::PartitionKey, &*masking_key)?;
        Ok((Secrets { bk3, masking_key }, bmk))
    }

    /// Commits what [`Partition::unmask`] returned.
    pub(super) fn adopt(&mut self, secrets: Secrets) {
        self.bk3 = Some(secrets.bk3);
        self.masking_key = Some(secrets.masking_key);
    }

    /// Makes the masking key of a new session and its backup, bound to the seed of the session.
    pub(super) fn new_session_key(&self, seed: &[u8]) -> Result<SessionKey, Status> {
        self.back_up_session_key(seed, Zeroizing::new(random()))
    }

    /// Takes the masking key of a session from its backup.
    pub(super) fn session_key(&self, seed: &[u8], bmk: &[u8]) -> Result<SessionKey, Status> {
        let backup_key = self.session_backup_key(seed)?;
        self.back_up_session_key(seed, key_from_blob(&backup_key, Kind::SessionKey, bmk)?)
    }

    fn back_up_session_key(
        &self,
        seed: &[u8],
        key: Zeroizing<[u8; 32]>,
    ) -> Result<SessionKey, Status> {
        let backup = blob::seal(&*self.session_backup_key(seed)?, Kind::SessionKey, &*key)?;
        Ok(SessionKey { key, backup })
    }

    fn session_backup_key(&self, seed: &[u8]) -> Result<Zeroizing<[u8; 32]>, Status> {
        let bk3 = self.bk3.as_ref().ok_or(Status::CredentialsNotEstablished)?;
        self.derive(&**bk3, b"session backup", seed)
    }

    /// Returns the key that masks the keys of the partition.
    pub(super) fn masking_key(&self) -> Result<&[u8; 32], Status> {
        self.masking_key
            .as_deref()
            .ok_or(Status::PartitionNotProvisioned)
    }

    /// Returns what moves to another device with the function.
    pub(super) fn carry(&self) -> Carried {
        Carried {
            root: self.root.clone(),
            bk3_initialized: self.bk3_initialized,
            sealed_bk3: self.sealed_bk3.clone(),
        }
    }

    /// Takes what came from another device.
    pub(super) fn take_over(&mut self, carried: Carried) {
        self.forget();
        self.root = carried.root;
        self.bk3_initialized = carried.bk3_initialized;
        self.sealed_bk3 = carried.sealed_bk3;
    }

    /// Forgets what only lives until the next subsystem reset.
    pub(super) fn forget(&mut self) {
        self.bk3 = None;
        self.masking_key = None;
    }

    fn derive(&self, bk3: &[u8], use_: &[u8], seed: &[u8]) -> Result<Zeroizing<[u8; 32]>, Status> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha384>::new(Some(&self.root[..]), bk3)
            .expand_multi_info(&[use_, seed], &mut *key)
            .map_err(|_| Status::InternalError)?;
        Ok(key)
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("guid", &self.guid)
            .finish_non_exhaustive()
    }
}

/// Secrets of an established partition.
pub(super) struct Secrets {
    bk3: Zeroizing<[u8; BK3_LEN]>,
    masking_key: Zeroizing<[u8; 32]>,
}

/// Masking key of a session and its backup.
pub(super) struct SessionKey {
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) backup: Vec<u8>,
}

fn key_from_blob(key: &[u8; 32], kind: Kind, blob: &[u8]) -> Result<Zeroizing<[u8; 32]>, Status> {
    let secret = blob::open(key, kind, blob)?;
    secret
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| Status::InvalidArg)
}

/// Makes a self-signed certificate of `key`, without a date on which it expires.
fn certificate(key: &SecretKey) -> Result<Vec<u8>, x509_cert::builder::Error> {
    let not_before = GeneralizedTime::from_unix_duration(VALID_FROM)?;
    let validity = Validity {
        not_before: Time::GeneralTime(not_before),
        not_after: Time::INFINITY,
    };
    let name = Name::from_str("CN=Emulated HSM partition,O=azihsm")?;
    let profile = Profile::Leaf {
        issuer: name.clone(),
        enable_key_agreement: false,
        enable_key_encipherment: false,
    };
    // A serial number is positive, so its first bit is not set.
    let mut serial: [u8; 16] = random();
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let serial = SerialNumber::new(&serial)?;
    let signer = SigningKey::from(key);
    let public_key = SubjectPublicKeyInfoOwned::from_key(*signer.verifying_key())?;
    CertificateBuilder::new(profile, serial, validity, name, public_key, &signer)?
        .build::<DerSignature>()?
        .to_der()
        .map_err(Into::into)
}
