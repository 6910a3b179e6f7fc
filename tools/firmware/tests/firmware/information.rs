// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the device tells about itself.

use azihsm_ddi::{ApiRev, DeviceKind, Status, message::*};
use azihsm_firmware::Model;
use p384::ecdsa::{DerSignature, VerifyingKey, signature::Verifier};
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, Encode, referenced::OwnedToRef};

use crate::host::*;

#[test]
fn device_tells_what_it_is() {
    let model = Model::builder().fips_approved(true).build();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    let revisions = client.api_revisions().unwrap();
    assert_eq!((revisions.min, revisions.max), (ApiRev::V1, ApiRev::V1));
    let info = client.device_info().unwrap();
    assert_eq!(
        info,
        DeviceInfo {
            kind: DeviceKind::Virtual,
            tables: 2,
            fips_approved: true
        }
    );
}

#[test]
fn certificate_is_self_signed() {
    let model = Model::default();
    power_up(&model, FUNCTION);
    let mut client = client(&model, FUNCTION);
    let der = client.leaf_certificate().unwrap();
    let certificate = x509_cert::Certificate::from_der(&der).unwrap();
    let tbs = &certificate.tbs_certificate;
    assert_eq!(tbs.issuer, tbs.subject);
    let key = VerifyingKey::try_from(tbs.subject_public_key_info.owned_to_ref()).unwrap();
    let signature = DerSignature::from_bytes(certificate.signature.raw_bytes()).unwrap();
    key.verify(&tbs.to_der().unwrap(), &signature).unwrap();

    let chain = client.call(None, &GetCertChainInfo { slot: 0 }).unwrap();
    assert_eq!(*chain.thumbprint, *Sha256::digest(&der));
    assert_status(
        client.call(None, &GetCertChainInfo { slot: 1 }),
        Status::InvalidArg,
    );
    assert_status(
        client.call(None, &GetCertificate { slot: 0, index: 1 }),
        Status::InvalidArg,
    );
}
