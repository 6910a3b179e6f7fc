// SPDX-License-Identifier: MIT OR Apache-2.0

//! The worked examples of the protocol specification, byte for byte and in both directions.

use azihsm_ddi::{
    AesKeySize, ApiRev, DeviceKind, Op, Operation, Request, RequestHeader, ResponseError,
    ResponseHeader, Status, decode_response, encode_error, encode_request, encode_response,
    mbor::{Bytes, Decode, Decoder, Encode, Encoder},
    message::{
        AesGenerateKey, ApiRevRange, CloseSession, DeviceInfo, Empty, GeneratedKey, GetApiRev,
        GetDeviceInfo, KeyMetadata, TargetKeyProperties,
    },
};

/// Header field of revision 1.0.
const REVISION: &str = "18 01 a2 18 01 1a 00 00 00 01 18 02 1a 00 00 00 00";

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn response_header(
    op: Op,
    revision: bool,
    session_id: Option<u16>,
    status: Status,
) -> ResponseHeader {
    ResponseHeader {
        revision: revision.then_some(ApiRev::V1),
        op,
        session_id,
        status,
        fips_approved: false,
    }
}

/// Checks that a request encodes to `hex` on the host and decodes to itself on the device.
fn check_request<T>(header: RequestHeader, body: T, hex: &str)
where
    T: Encode + Decode + PartialEq + std::fmt::Debug,
{
    let message = bytes(hex);
    assert_eq!(encode_request(&header, &body).unwrap(), message);
    let request = Request::parse(&message).unwrap();
    assert_eq!(request.header, header);
    assert_eq!(request.body::<T>().unwrap(), body);
}

/// Checks that a response encodes to `hex` on the device and decodes to itself on the host.
fn check_response<O: Operation>(header: ResponseHeader, body: O::Response, hex: &str)
where
    O::Response: PartialEq + std::fmt::Debug,
{
    let message = bytes(hex);
    assert_eq!(encode_response(&header, &body).unwrap(), message);
    assert_eq!(decode_response::<O>(&message).unwrap(), (header, body));
}

#[test]
fn get_api_rev() {
    check_request(
        RequestHeader::without_revision::<GetApiRev>(),
        GetApiRev {},
        "a2 18 00 a1 18 02 1a 00 00 03 ea 18 01 a0",
    );
    check_response::<GetApiRev>(
        response_header(Op::GetApiRev, false, None, Status::Success),
        ApiRevRange {
            min: ApiRev::V1,
            max: ApiRev::V1,
        },
        "a2 18 00 a3 18 02 1a 00 00 03 ea 18 04 1a 00 00 00 00 18 05 14
         18 01 a2 18 01 a2 18 01 1a 00 00 00 01 18 02 1a 00 00 00 00
                  18 02 a2 18 01 1a 00 00 00 01 18 02 1a 00 00 00 00",
    );
}

#[test]
fn get_device_info() {
    check_request(
        RequestHeader::new::<GetDeviceInfo>(None),
        GetDeviceInfo {},
        &format!("a2 18 00 a2 {REVISION} 18 02 1a 00 00 03 eb 18 01 a0"),
    );
    check_response::<GetDeviceInfo>(
        response_header(Op::GetDeviceInfo, true, None, Status::Success),
        DeviceInfo {
            kind: DeviceKind::Virtual,
            tables: 1,
            fips_approved: false,
        },
        &format!(
            "a2 18 00 a4 {REVISION} 18 02 1a 00 00 03 eb 18 04 1a 00 00 00 00 18 05 14
             18 01 a3 18 01 1a 00 00 00 01 18 02 18 01 18 03 14"
        ),
    );
}

#[test]
fn errors() {
    for (op, status, hex) in [
        (
            Op::GetDeviceInfo,
            Status::UnsupportedRevision,
            "a2 18 00 a3 18 02 1a 00 00 03 eb 18 04 1a 08 70 00 2a 18 05 14 18 01 a0",
        ),
        (
            Op::Invalid,
            Status::DdiDecodeFailed,
            "a2 18 00 a3 18 02 1a 00 00 03 e9 18 04 1a 08 68 00 02 18 05 14 18 01 a0",
        ),
    ] {
        let header = response_header(op, false, None, status);
        assert_eq!(encode_error(&header).unwrap(), bytes(hex));
        assert_eq!(
            decode_response::<GetDeviceInfo>(&bytes(hex)),
            Err(ResponseError::Status(header))
        );
    }
    assert!(Request::parse(&[0, 1, 2, 3]).is_err());
}

#[test]
fn aes_generate_key() {
    let flags = KeyMetadata::ENCRYPT | KeyMetadata::DECRYPT;
    check_request(
        RequestHeader::new::<AesGenerateKey>(Some(0)),
        AesGenerateKey {
            size: AesKeySize::XtsBulk256,
            tag: None,
            properties: TargetKeyProperties {
                metadata: KeyMetadata::new(flags),
                label: Bytes::default(),
            },
        },
        &format!(
            "a2 18 00 a3 {REVISION} 18 02 1a 00 00 04 2f 18 03 19 00 00
             18 01 a2 18 01 1a 00 00 00 04
                      18 03 a2 18 01 a1 18 01 80 00 10 0c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
                               18 02 81 00 00 00"
        ),
    );

    // The specification shows the first bytes of the masked key only.
    let mut masked_key = bytes("01 00 01 00 10");
    masked_key.resize(0xdc, 0x5a);
    let tail = " 5a".repeat(0xdc - 5);
    check_response::<AesGenerateKey>(
        response_header(Op::AesGenerateKey, true, Some(0), Status::Success),
        GeneratedKey {
            key_id: 7,
            bulk_key_id: Some(7),
            masked_key: masked_key.try_into().unwrap(),
        },
        &format!(
            "a2 18 00 a5 {REVISION} 18 02 1a 00 00 04 2f 18 03 19 00 00
             18 04 1a 00 00 00 00 18 05 14
             18 01 a3 18 01 19 00 07 18 02 19 00 07 18 03 83 00 dc 00 00 00 01 00 01 00 10 {tail}"
        ),
    );
}

#[test]
fn ecc_sign() {
    // The crate has no message for it; the example is about the alignment of the digest.
    let hex = format!(
        "a2 18 00 a3 {REVISION} 18 02 1a 00 00 04 26 18 03 19 00 00
         18 01 a3 18 01 19 00 05
                  18 02 82 00 14 00 00 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01
                  18 03 1a 00 00 00 02"
    );
    let message = bytes(&hex);
    let header = RequestHeader {
        revision: Some(ApiRev::V1),
        op: Op::EccSign,
        session_id: Some(0),
    };
    assert_eq!(Request::parse(&message).unwrap().header, header);

    let mut encoder = Encoder::new();
    encoder.map(2).unwrap();
    encoder.field(0, &header).unwrap();
    1u8.encode(&mut encoder).unwrap();
    encoder.map(3).unwrap();
    encoder.field(1, &5u16).unwrap();
    encoder.field(2, &Bytes::<96>::from([1; 20])).unwrap();
    encoder.field(3, &2u32).unwrap();
    assert_eq!(encoder.finish(), message);

    let mut decoder = Decoder::new(&message);
    let mut frame = decoder.map().unwrap();
    assert_eq!(frame.required::<RequestHeader>(0).unwrap(), header);
    let mut body = frame.enter(1).unwrap().map().unwrap();
    assert_eq!(body.required::<u16>(1).unwrap(), 5);
    assert_eq!(&*body.required::<Bytes<96>>(2).unwrap(), [1; 20]);
    assert_eq!(body.required::<u32>(3).unwrap(), 2);
    body.finish().unwrap();
    decoder.finish().unwrap();

    assert_eq!(
        encode_error(&response_header(
            Op::EccSign,
            true,
            Some(0),
            Status::InvalidPermissions
        ))
        .unwrap(),
        bytes(&format!(
            "a2 18 00 a5 {REVISION} 18 02 1a 00 00 04 26 18 03 19 00 00
             18 04 1a 08 70 00 22 18 05 14 18 01 a0"
        )),
    );
}

#[test]
fn close_session() {
    check_request(
        RequestHeader::new::<CloseSession>(Some(0)),
        CloseSession {},
        &format!("a2 18 00 a3 {REVISION} 18 02 1a 00 00 04 51 18 03 19 00 00 18 01 a0"),
    );
    check_response::<CloseSession>(
        response_header(Op::CloseSession, true, Some(0), Status::Success),
        Empty {},
        &format!(
            "a2 18 00 a5 {REVISION} 18 02 1a 00 00 04 51
             18 03 19 00 00 18 04 1a 00 00 00 00 18 05 14 18 01 a0"
        ),
    );
}
