// SPDX-License-Identifier: MIT OR Apache-2.0

//! Operations and what they mean for sessions.

use crate::mbor::{Decode, Encode, open_enum};

open_enum! {
    /// An operation.
    pub struct Op(u32) {
        /// What a device answers as if the header of a request does not decode.
        Invalid = 1001,
        /// Range of API revisions.
        GetApiRev = 1002,
        /// Kind of device.
        GetDeviceInfo = 1003,
        /// Deletes a key.
        DeleteKey = 1014,
        /// Finds a key by its tag.
        OpenKey = 1015,
        /// Attests a key.
        AttestKey = 1016,
        /// RSA private-key operation.
        RsaModExp = 1031,
        /// Imports a wrapped key.
        RsaUnwrap = 1035,
        /// Key that wraps keys to import.
        GetUnwrappingKey = 1051,
        /// Makes an ECC key pair.
        EccGenerateKeyPair = 1061,
        /// ECDSA signature.
        EccSign = 1062,
        /// Makes an AES key.
        AesGenerateKey = 1071,
        /// AES-CBC.
        AesEncryptDecrypt = 1072,
        /// ECDH.
        EcdhKeyExchange = 1074,
        /// HKDF.
        HkdfDerive = 1075,
        /// KBKDF in counter mode with HMAC.
        KbkdfCounterHmacDerive = 1076,
        /// HMAC.
        Hmac = 1077,
        /// Key that encrypts the credential to establish.
        GetEstablishCredEncryptionKey = 1101,
        /// Establishes the credential of the partition.
        EstablishCredential = 1102,
        /// Key that encrypts the credential of a session to open.
        GetSessionEncryptionKey = 1103,
        /// Opens a session.
        OpenSession = 1104,
        /// Closes a session.
        CloseSession = 1105,
        /// Changes the PIN.
        ChangePin = 1106,
        /// Brings a masked key back.
        UnmaskKey = 1107,
        /// Size and thumbprint of the certificate chain.
        GetCertChainInfo = 1108,
        /// One certificate.
        GetCertificate = 1109,
        /// Opens a session again after a reset.
        ReopenSession = 1110,
        /// Sets the BK3.
        InitBk3 = 1111,
        /// Reads the sealed BK3.
        GetSealedBk3 = 1112,
        /// Stores the sealed BK3.
        SetSealedBk3 = 1113,
    }
}

/// What an operation means for sessions; a control command carries it beside the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionKind {
    /// Outside of any session.
    None = 0,
    /// Opens a session.
    Open = 1,
    /// Closes a session.
    Close = 2,
    /// Runs in a session.
    InSession = 3,
}

impl Op {
    /// Returns the kind of the operation; operations that nobody knows count as in-session.
    pub const fn session_kind(self) -> SessionKind {
        match self {
            Self::GetApiRev
            | Self::GetDeviceInfo
            | Self::GetEstablishCredEncryptionKey
            | Self::EstablishCredential
            | Self::GetSessionEncryptionKey
            | Self::GetCertChainInfo
            | Self::GetCertificate
            | Self::InitBk3
            | Self::GetSealedBk3
            | Self::SetSealedBk3 => SessionKind::None,
            Self::OpenSession => SessionKind::Open,
            Self::CloseSession => SessionKind::Close,
            _ => SessionKind::InSession,
        }
    }
}

/// Body of a request.
pub trait Operation: Encode + Decode {
    /// The operation.
    const OP: Op;
    /// Body of the response.
    type Response: Encode + Decode;
}
