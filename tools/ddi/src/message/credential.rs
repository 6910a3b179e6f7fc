// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a fresh partition to a session: BK3, credential, sessions.

use super::{DerPublicKey, Empty, operations};
use crate::{Bytes, mbor::message};

message! {
    /// Asks for the key that encrypts the credential to establish.
    pub struct GetEstablishCredEncryptionKey {
    }
}

message! {
    /// Asks for the key that encrypts the credential of a session.
    pub struct GetSessionEncryptionKey {
    }
}

message! {
    /// Answers [`GetEstablishCredEncryptionKey`] and [`GetSessionEncryptionKey`].
    pub struct EncryptionKey {
        /// P-384 key of the device.
        1 required public_key: DerPublicKey,
        /// Nonce to use with it.
        2 required nonce: [u8; 32],
        /// Signature over the key; empty on a virtual device.
        3 required signature: Bytes<192>,
    }
}

message! {
    /// Id and PIN, encrypted.
    pub struct EncryptedCredential {
        /// Id.
        1 required id: Bytes<16>,
        /// PIN; its encryption continues that of the id.
        2 required pin: Bytes<16>,
        /// Initialisation vector.
        3 required iv: Bytes<16>,
        /// Nonce of the device.
        4 required nonce: [u8; 32],
        /// HMAC over id, PIN, IV and nonce.
        5 required tag: [u8; 48],
    }
}

message! {
    /// Establishes the credential of the partition.
    pub struct EstablishCredential {
        /// The credential.
        1 required credential: EncryptedCredential,
        /// P-384 key of the client for the key agreement.
        2 required public_key: DerPublicKey,
        /// BK3 as InitBk3 masked it.
        3 required masked_bk3: Bytes<1024>,
        /// Backup masking key that an earlier call returned; empty for the first time.
        4 required bmk: Bytes<1024>,
        /// Masked unwrapping key, or empty.
        5 required masked_unwrapping_key: Bytes<1024>,
        /// Signature (r || s) of the partition owner over the public key of the leaf certificate.
        6 required pota_signature: Bytes<1024>,
        /// P-384 key of the partition owner.
        7 required pota_public_key: DerPublicKey,
    }
}

message! {
    /// Answers [`EstablishCredential`].
    pub struct EstablishedCredential {
        /// Backup masking key, to be given back after a reset.
        1 required bmk: Bytes<1024>,
    }
}

message! {
    /// Id, PIN and seed, encrypted.
    pub struct EncryptedSessionCredential {
        /// Id.
        1 required id: Bytes<16>,
        /// PIN; its encryption continues that of the id.
        2 required pin: Bytes<16>,
        /// Seed of the session; its encryption continues that of the PIN.
        3 required seed: Bytes<48>,
        /// Initialisation vector.
        4 required iv: Bytes<16>,
        /// Nonce of the device.
        5 required nonce: [u8; 32],
        /// HMAC over id, PIN, seed, IV and nonce.
        6 required tag: [u8; 48],
    }
}

message! {
    /// Opens a session.
    pub struct OpenSession {
        /// The credential.
        1 required credential: EncryptedSessionCredential,
        /// P-384 key of the client for the key agreement.
        2 required public_key: DerPublicKey,
    }
}

message! {
    /// Opens a session again after a reset.
    pub struct ReopenSession {
        /// The credential.
        1 required credential: EncryptedSessionCredential,
        /// P-384 key of the client for the key agreement.
        2 required public_key: DerPublicKey,
        /// Backup masking key that opening the session returned.
        3 required bmk_session: Bytes<1024>,
    }
}

message! {
    /// Answers [`OpenSession`] and [`ReopenSession`].
    pub struct OpenedSession {
        /// Session id.
        1 required session_id: u16,
        /// Short application id.
        2 required short_app_id: u8,
        /// Backup masking key of the session, to be given back after a reset.
        3 required bmk_session: Bytes<1024>,
    }
}

message! {
    /// Closes the session.
    pub struct CloseSession {
    }
}

message! {
    /// Sets the BK3 of a fresh partition.
    pub struct InitBk3 {
        /// 48 random bytes.
        1 required bk3: Bytes<48>,
    }
}

message! {
    /// Answers [`InitBk3`].
    pub struct MaskedBk3 {
        /// The BK3, masked.
        1 required masked_bk3: Bytes<1024>,
        /// Launch GUID of the VM.
        2 required guid: [u8; 16],
    }
}

message! {
    /// Stores the sealed BK3.
    pub struct SetSealedBk3 {
        /// What to store; the device takes up to 512 bytes.
        1 required sealed_bk3: Bytes<1024>,
    }
}

message! {
    /// Reads the sealed BK3.
    pub struct GetSealedBk3 {
    }
}

message! {
    /// Answers [`GetSealedBk3`].
    pub struct SealedBk3 {
        /// What was stored.
        1 required sealed_bk3: Bytes<1024>,
    }
}

operations! {
    GetEstablishCredEncryptionKey -> EncryptionKey,
    GetSessionEncryptionKey -> EncryptionKey,
    EstablishCredential -> EstablishedCredential,
    OpenSession -> OpenedSession,
    ReopenSession -> OpenedSession,
    CloseSession -> Empty,
    InitBk3 -> MaskedBk3,
    SetSealedBk3 -> Empty,
    GetSealedBk3 -> SealedBk3,
}
