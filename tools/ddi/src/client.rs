// SPDX-License-Identifier: MIT OR Apache-2.0

//! The host's side of the flow from a reset device to an open session.
//!
//! [`Client`] asks and decodes; how a request gets to a device is a [`Transport`], for which any closure with the
//! right arguments will do. After [`Client::establish`] the partition has a credential, with which
//! [`Client::open_session`] opens sessions. What both return has to be saved: [`Partition`] and [`Session`] are
//! what brings the same state back after a reset ([`Client::establish_again`], [`Client::reopen_session`]).

mod agreement;
mod error;
mod owner;

use rand_core::{OsRng, RngCore};

use crate::{
    AesKeySize, AesOp, Bytes, Op, Operation, RequestHeader, SessionKind, Status, decode_response,
    encode_request,
    message::{
        AesEncryptDecrypt, AesGenerateKey, AesResult, ApiRevRange, CloseSession, DeleteKey,
        DeviceInfo, EncryptedCredential, EncryptedSessionCredential, EncryptionKey,
        EstablishCredential, GeneratedKey, GetApiRev, GetCertChainInfo, GetCertificate,
        GetDeviceInfo, GetEstablishCredEncryptionKey, GetSealedBk3, GetSessionEncryptionKey,
        InitBk3, KeyMetadata, OpenSession, ReopenSession, SetSealedBk3, TargetKeyProperties,
    },
};

use agreement::Agreement;
pub use error::ClientError;
pub use owner::{InvalidOwnerKey, OwnerKey};

/// The only certificate chain.
const CERT_SLOT: u8 = 0;

/// How often a nonce may turn out to be used up by another client before an operation fails.
const NONCE_ATTEMPTS: usize = 64;

/// A way to a device.
pub trait Transport {
    /// What goes wrong on the way.
    type Error;

    /// Has a device carry out a control command, and returns its response.
    ///
    /// `session_id` is the session in which the command runs, or which it closes.
    ///
    /// # Errors
    ///
    /// That of the way, if the device gave no response.
    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Self::Error>;
}

impl<F, E> Transport for F
where
    F: FnMut(SessionKind, Option<u16>, &[u8]) -> Result<Vec<u8>, E>,
{
    type Error = E;

    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, E> {
        self(kind, session_id, request)
    }
}

/// Who opens sessions. Neither id nor PIN may be all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// Id.
    pub id: [u8; 16],
    /// PIN.
    pub pin: [u8; 16],
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What brings a provisioned partition back after a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// BK3 as the device masked it.
    pub masked_bk3: Bytes<1024>,
    /// Backup masking key.
    pub bmk: Bytes<1024>,
}

/// An open session, and what brings it back after a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Session id.
    pub id: u16,
    /// Short application id.
    pub short_app_id: u8,
    /// Seed the session was opened with.
    pub seed: [u8; 48],
    /// Backup masking key.
    pub bmk: Bytes<1024>,
}

/// A client of one device.
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
}

impl<T: Transport> Client<T> {
    /// Makes a client that reaches its device through `transport`.
    pub fn new(transport: T) -> Self {
        Self { transport }
    }

    /// Returns the transport.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Has the device carry out `request`, in a session if one is given.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the device cannot be reached or does not answer with success.
    pub fn call<O: Operation>(
        &mut self,
        session_id: Option<u16>,
        request: &O,
    ) -> Result<O::Response, ClientError<T::Error>> {
        let header = match O::OP {
            Op::GetApiRev => RequestHeader::without_revision::<O>(),
            _ => RequestHeader::new::<O>(session_id),
        };
        let request = encode_request(&header, request)?;
        let response = self
            .transport
            .exchange(O::OP.session_kind(), session_id, &request)
            .map_err(ClientError::Transport)?;
        let (_, body) = decode_response::<O>(&response)?;
        Ok(body)
    }

    /// Returns the API revisions that the device knows.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn api_revisions(&mut self) -> Result<ApiRevRange, ClientError<T::Error>> {
        self.call(None, &GetApiRev {})
    }

    /// Returns what the device is.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn device_info(&mut self) -> Result<DeviceInfo, ClientError<T::Error>> {
        self.call(None, &GetDeviceInfo {})
    }

    /// Returns the leaf certificate of the partition, in DER.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; [`ClientError::Device`] if there is no certificate.
    pub fn leaf_certificate(&mut self) -> Result<Vec<u8>, ClientError<T::Error>> {
        let chain = self.call(None, &GetCertChainInfo { slot: CERT_SLOT })?;
        let index = chain.count.checked_sub(1).ok_or(ClientError::Device(
            "reports a certificate chain without certificates",
        ))?;
        let certificate = self.call(
            None,
            &GetCertificate {
                slot: CERT_SLOT,
                index,
            },
        )?;
        Ok(certificate.der.into_vec())
    }

    /// Returns the masked BK3 of the partition, which a fresh partition is given here.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn masked_bk3(&mut self) -> Result<Bytes<1024>, ClientError<T::Error>> {
        match self.call(None, &GetSealedBk3 {}) {
            Ok(response) => return Ok(response.sealed_bk3),
            Err(e) if e.status() == Some(Status::SealedBk3NotPresent) => {}
            Err(e) => return Err(e),
        }
        let mut bk3 = [0; 48];
        OsRng.fill_bytes(&mut bk3);
        let masked_bk3 = self.call(None, &InitBk3 { bk3: bk3.into() })?.masked_bk3;
        self.call(
            None,
            &SetSealedBk3 {
                sealed_bk3: masked_bk3.clone(),
            },
        )?;
        Ok(masked_bk3)
    }

    /// Provisions a partition that has no credential: gives it a BK3 if it has none, and establishes
    /// `credential`, authorised by `owner`.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; with status `VaultAppLimitReached` or `PartitionAlreadyProvisioned` if a credential
    /// was established since the last reset.
    pub fn establish(
        &mut self,
        credential: &Credential,
        owner: &OwnerKey,
    ) -> Result<Partition, ClientError<T::Error>> {
        let masked_bk3 = self.masked_bk3()?;
        self.establish_again(
            credential,
            owner,
            &Partition {
                masked_bk3,
                bmk: Bytes::default(),
            },
        )
    }

    /// Establishes the credential again after a reset; masked keys of before stay valid.
    ///
    /// # Errors
    ///
    /// As [`Client::establish`].
    pub fn establish_again(
        &mut self,
        credential: &Credential,
        owner: &OwnerKey,
        partition: &Partition,
    ) -> Result<Partition, ClientError<T::Error>> {
        let key = self.call(None, &GetEstablishCredEncryptionKey {})?;
        let agreement = agree(&key)?;
        let sealed = agreement.seal([&credential.id[..], &credential.pin], &key.nonce);
        let [id, pin] = sealed.texts;
        let credential = EncryptedCredential {
            id: id.try_into()?,
            pin: pin.try_into()?,
            iv: sealed.iv.into(),
            nonce: key.nonce,
            tag: sealed.tag,
        };
        let leaf = self.leaf_certificate()?;
        let request = EstablishCredential {
            credential,
            public_key: agreement.public_key()?,
            masked_bk3: partition.masked_bk3.clone(),
            bmk: partition.bmk.clone(),
            masked_unwrapping_key: Bytes::default(),
            pota_signature: owner.sign_leaf(&leaf).map_err(ClientError::Device)?.into(),
            pota_public_key: agreement::der_public_key(&owner.public_key())
                .map_err(ClientError::Device)?,
        };
        let bmk = self.call(None, &request)?.bmk;
        Ok(Partition {
            masked_bk3: partition.masked_bk3.clone(),
            bmk,
        })
    }

    /// Opens a session with a random seed.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn open_session(
        &mut self,
        credential: &Credential,
    ) -> Result<Session, ClientError<T::Error>> {
        let mut seed = [0; 48];
        OsRng.fill_bytes(&mut seed);
        let opened = self.with_fresh_nonce(|client| {
            let (credential, public_key) = client.session_credential(credential, &seed)?;
            client.call(
                None,
                &OpenSession {
                    credential,
                    public_key,
                },
            )
        })?;
        Ok(Session {
            id: opened.session_id,
            short_app_id: opened.short_app_id,
            seed,
            bmk: opened.bmk_session,
        })
    }

    /// Opens a session again after a reset.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn reopen_session(
        &mut self,
        credential: &Credential,
        session: &Session,
    ) -> Result<Session, ClientError<T::Error>> {
        let reopened = self.with_fresh_nonce(|client| {
            let (credential, public_key) = client.session_credential(credential, &session.seed)?;
            let bmk_session = session.bmk.clone();
            client.call(
                Some(session.id),
                &ReopenSession {
                    credential,
                    public_key,
                    bmk_session,
                },
            )
        })?;
        Ok(Session {
            id: reopened.session_id,
            short_app_id: reopened.short_app_id,
            seed: session.seed,
            bmk: reopened.bmk_session,
        })
    }

    /// Closes a session.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn close_session(&mut self, session_id: u16) -> Result<(), ClientError<T::Error>> {
        self.call(Some(session_id), &CloseSession {}).map(drop)
    }

    /// Makes an AES key for encryption and decryption. A key that is `session_only` goes with the session.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; [`ClientError::TooLong`] if the label has more than 128 bytes.
    pub fn generate_aes_key(
        &mut self,
        session_id: u16,
        size: AesKeySize,
        label: &[u8],
        session_only: bool,
    ) -> Result<GeneratedKey, ClientError<T::Error>> {
        let lifetime = if session_only {
            KeyMetadata::SESSION_ONLY
        } else {
            0
        };
        let usage = KeyMetadata::ENCRYPT | KeyMetadata::DECRYPT;
        let properties = TargetKeyProperties {
            metadata: KeyMetadata::new(usage | lifetime),
            label: label.try_into()?,
        };
        self.call(
            Some(session_id),
            &AesGenerateKey {
                size,
                tag: None,
                properties,
            },
        )
    }

    /// Deletes a key.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn delete_key(
        &mut self,
        session_id: u16,
        key_id: u16,
    ) -> Result<(), ClientError<T::Error>> {
        self.call(Some(session_id), &DeleteKey { key_id }).map(drop)
    }

    /// Encrypts or decrypts whole blocks with AES-CBC; the result has the IV to go on with.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; [`ClientError::TooLong`] if the text has more than 1024 bytes.
    pub fn aes_cbc(
        &mut self,
        session_id: u16,
        key_id: u16,
        op: AesOp,
        iv: [u8; 16],
        text: &[u8],
    ) -> Result<AesResult, ClientError<T::Error>> {
        let (text, iv) = (text.try_into()?, iv.into());
        self.call(
            Some(session_id),
            &AesEncryptDecrypt {
                key_id,
                op,
                text,
                iv,
            },
        )
    }

    /// Runs `attempt` until its nonce is not used up by another client in between.
    fn with_fresh_nonce<R>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<R, ClientError<T::Error>>,
    ) -> Result<R, ClientError<T::Error>> {
        for _ in 1..NONCE_ATTEMPTS {
            match attempt(self) {
                Err(error) if error.status() == Some(Status::NonceMismatch) => {}
                result => return result,
            }
        }
        attempt(self)
    }

    /// Encrypts what opening a session takes; returns the public key to send beside it, too.
    fn session_credential(
        &mut self,
        credential: &Credential,
        seed: &[u8; 48],
    ) -> Result<(EncryptedSessionCredential, crate::message::DerPublicKey), ClientError<T::Error>>
    {
        let key = self.call(None, &GetSessionEncryptionKey {})?;
        let agreement = agree(&key)?;
        let sealed = agreement.seal([&credential.id[..], &credential.pin, seed], &key.nonce);
        let [id, pin, seed] = sealed.texts;
        let encrypted = EncryptedSessionCredential {
            id: id.try_into()?,
            pin: pin.try_into()?,
            seed: seed.try_into()?,
            iv: sealed.iv.into(),
            nonce: key.nonce,
            tag: sealed.tag,
        };
        Ok((encrypted, agreement.public_key()?))
    }
}

fn agree<E>(key: &EncryptionKey) -> Result<Agreement, ClientError<E>> {
    Agreement::new(&key.public_key.der, &key.nonce).map_err(ClientError::Device)
}
