// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the device is.

use azihsm_ddi::{
    ApiRev, Bytes, DeviceKind, Status,
    message::{
        ApiRevRange, CertChainInfo, Certificate, DeviceInfo, GetApiRev, GetCertChainInfo,
        GetCertificate, GetDeviceInfo,
    },
};

use super::{Outcome, plain};
use crate::model::{control::Call, function::Function};

/// The only certificate chain, and the number of its certificates.
const CHAIN: u8 = 0;
const CHAIN_LEN: u8 = 1;

impl Function {
    pub(in crate::model) fn get_api_rev(
        &mut self,
        _: &Call<'_>,
        _: GetApiRev,
    ) -> Outcome<ApiRevRange> {
        plain(ApiRevRange {
            min: ApiRev::V1,
            max: ApiRev::V1,
        })
    }

    pub(in crate::model) fn get_device_info(
        &mut self,
        _: &Call<'_>,
        _: GetDeviceInfo,
    ) -> Outcome<DeviceInfo> {
        plain(DeviceInfo {
            kind: DeviceKind::Virtual,
            tables: u8::try_from(self.owned.count_ones()).unwrap_or(u8::MAX),
            fips_approved: self.shared.config.fips_approved,
        })
    }

    pub(in crate::model) fn get_cert_chain_info(
        &mut self,
        _: &Call<'_>,
        request: GetCertChainInfo,
    ) -> Outcome<CertChainInfo> {
        if request.slot != CHAIN {
            return Err(Status::InvalidArg);
        }
        let thumbprint = self.partition()?.thumbprint().into();
        plain(CertChainInfo {
            count: CHAIN_LEN,
            thumbprint,
        })
    }

    pub(in crate::model) fn get_certificate(
        &mut self,
        _: &Call<'_>,
        request: GetCertificate,
    ) -> Outcome<Certificate> {
        if request.slot != CHAIN || request.index >= CHAIN_LEN {
            return Err(Status::InvalidArg);
        }
        let der = Bytes::new(self.partition()?.certificate());
        plain(Certificate {
            der: der.map_err(|_| Status::InternalError)?,
        })
    }
}
