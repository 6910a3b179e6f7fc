// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the device is: revisions, kind, certificates.

use super::operations;
use crate::{ApiRev, Bytes, DeviceKind, mbor::message};

message! {
    /// Asks for the range of API revisions. Its header has no revision.
    pub struct GetApiRev {
    }
}

message! {
    /// Answers [`GetApiRev`].
    pub struct ApiRevRange {
        /// Lowest revision.
        1 required min: ApiRev,
        /// Highest revision.
        2 required max: ApiRev,
    }
}

message! {
    /// Asks for the kind of device.
    pub struct GetDeviceInfo {
    }
}

message! {
    /// Answers [`GetDeviceInfo`].
    pub struct DeviceInfo {
        /// Format of big numbers.
        1 required kind: DeviceKind,
        /// Resources of the function.
        2 required tables: u8,
        /// Whether the device runs FIPS approved.
        3 required fips_approved: bool,
    }
}

message! {
    /// Asks for the size of the certificate chain.
    pub struct GetCertChainInfo {
        /// Chain; only 0 exists.
        1 required slot: u8,
    }
}

message! {
    /// Answers [`GetCertChainInfo`].
    pub struct CertChainInfo {
        /// Number of certificates.
        1 required count: u8,
        /// Hash over the chain.
        2 required thumbprint: Bytes<32>,
    }
}

message! {
    /// Asks for a certificate.
    pub struct GetCertificate {
        /// Chain; only 0 exists.
        1 required slot: u8,
        /// Index; the last is the leaf.
        2 required index: u8,
    }
}

message! {
    /// Answers [`GetCertificate`].
    pub struct Certificate {
        /// X.509 in DER.
        1 required der: Bytes<2048>,
    }
}

operations! {
    GetApiRev -> ApiRevRange,
    GetDeviceInfo -> DeviceInfo,
    GetCertChainInfo -> CertChainInfo,
    GetCertificate -> Certificate,
}
