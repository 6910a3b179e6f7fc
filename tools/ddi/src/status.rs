// SPDX-License-Identifier: MIT OR Apache-2.0

//! Status of a response.

use std::fmt;

use crate::mbor::open_enum;

open_enum! {
    /// Status of a response.
    pub struct Status(u32) {
        /// The operation succeeded.
        Success = 0,
        /// An argument or the session fields do not fit the operation.
        InvalidArg = 0x0800_0003,
        /// The device failed.
        InternalError = 0x0800_0008,
        /// The device does not know the operation.
        UnsupportedCmd = 0x0800_0009,
        /// The device could not encode its response.
        DdiEncodeFailed = 0x0868_0001,
        /// The request does not decode.
        DdiDecodeFailed = 0x0868_0002,
        /// All sessions are in use.
        VaultSessionLimitReached = 0x0870_0001,
        /// The operation takes no session.
        SessionNotExpected = 0x0870_0002,
        /// The operation needs a session.
        SessionExpected = 0x0870_0003,
        /// No such session.
        SessionNotFound = 0x0870_0004,
        /// The id or the PIN is wrong.
        InvalidAppCredentials = 0x0870_0007,
        /// No such key.
        KeyNotFound = 0x0870_000e,
        /// The key is of another type.
        InvalidKeyType = 0x0870_000f,
        /// The file has a session already (made by the host).
        FileHandleSessionLimitReached = 0x0870_001e,
        /// The file has no session (made by the host).
        FileHandleNoExistingSession = 0x0870_001f,
        /// The file has another session (made by the host).
        FileHandleSessionIdDoesNotMatch = 0x0870_0020,
        /// Another key has the tag.
        KeyTagAlreadyExists = 0x0870_0021,
        /// The key may not be used so.
        InvalidPermissions = 0x0870_0022,
        /// Signing failed.
        EccSignFailed = 0x0870_0023,
        /// Encryption failed.
        AesEncryptFailed = 0x0870_0025,
        /// Decryption failed.
        AesDecryptFailed = 0x0870_0026,
        /// The function is disabled.
        FunctionNotEnabled = 0x0870_0027,
        /// The revision is missing, not expected or not supported.
        UnsupportedRevision = 0x0870_002a,
        /// The credential was established before.
        VaultAppLimitReached = 0x0870_002c,
        /// No room for the key.
        NotEnoughSpace = 0x0870_002d,
        /// No room for another key.
        ReachedMaxKeys = 0x0870_002e,
        /// Wrong short application id.
        InvalidShortAppId = 0x0870_0049,
        /// Wrong size of GCM data.
        AesGcmInvalidBufferSize = 0x0870_004c,
        /// Wrong GCM tag.
        AesGcmDecryptTagDoesNotMatch = 0x0870_004d,
        /// Wrong size of XTS data.
        AesXtsInvalidBufferSize = 0x0870_004e,
        /// Wrong XTS data unit.
        AesXtsInvalidDul = 0x0870_004f,
        /// The credential does not authenticate.
        PinDecryptionFailed = 0x0870_0057,
        /// No bulk key slot is free.
        ReachedMaxAesBulkKeys = 0x0870_0058,
        /// The nonce is not the current one.
        NonceMismatch = 0x0870_005b,
        /// Too many failed logins; try again later.
        LoginFailed = 0x0870_005f,
        /// An engine of the device took too long.
        IoTimedOut = 0x0870_009a,
        /// The session was lost in a reset and has to be opened again.
        SessionNeedsRenegotiation = 0x0870_00c7,
        /// The credential was established before.
        PartitionAlreadyProvisioned = 0x0870_00cf,
        /// No sealed BK3 is stored.
        SealedBk3NotPresent = 0x0870_00d0,
        /// No credential is established.
        CredentialsNotEstablished = 0x0870_00d1,
        /// The partition has no credential.
        PartitionNotProvisioned = 0x0870_00d5,
        /// The BK3 is set already.
        Bk3AlreadyInitialized = 0x0870_00d6,
        /// A sealed BK3 is stored already.
        SealedBk3AlreadySet = 0x0870_00d7,
    }
}

impl Status {
    /// Whether the operation succeeded.
    pub const fn is_success(self) -> bool {
        self.0 == Self::Success.0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010x})", self.0),
            None => write!(f, "status {:#010x}", self.0),
        }
    }
}
