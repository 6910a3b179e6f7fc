// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rules of the encoding, and properties that hold for any input.

use azihsm_ddi::{
    AesKeySize, ApiRev, DeviceKind, KeyKind, Op, Request, RequestHeader, ResponseHeader, Status,
    decode_response, encode_request, encode_response,
    mbor::{Bytes, Decode, DecodeError, Decoder, Encode, EncodeError, Encoder},
    message::*,
};
use proptest::{collection::vec, prelude::*};

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut encoder = Encoder::new();
    value.encode(&mut encoder).unwrap();
    encoder.finish()
}

fn decoded<T: Decode>(message: &[u8]) -> Result<T, DecodeError> {
    Decoder::new(message).all()
}

#[test]
fn scalars() {
    assert_eq!(encoded(&true), [0x15]);
    assert_eq!(encoded(&false), [0x14]);
    assert_eq!(encoded(&0x12u8), [0x18, 0x12]);
    assert_eq!(encoded(&0x1234u16), [0x19, 0x12, 0x34]);
    assert_eq!(encoded(&0x1234_5678u32), [0x1a, 0x12, 0x34, 0x56, 0x78]);
    assert_eq!(
        encoded(&0x0102_0304_0506_0708u64),
        [0x1b, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn integer_marker_is_not_checked_but_bool_is() {
    assert_eq!(decoded::<u16>(&[0xff, 0x12, 0x34]), Ok(0x1234));
    assert_eq!(
        decoded::<bool>(&[0x16]),
        Err(DecodeError::Marker {
            at: 0,
            found: 0x16,
            expected: "bool"
        })
    );
    assert!(matches!(
        decoded::<Empty>(&[0x18]),
        Err(DecodeError::Marker { .. })
    ));
    assert!(matches!(
        decoded::<Bytes<4>>(&[0x18, 0, 0]),
        Err(DecodeError::Marker { .. })
    ));
}

#[test]
fn byte_strings() {
    // At offset 0 the data of a variable array would start at 3, so it has one byte of padding.
    assert_eq!(encoded(&Bytes::<8>::from([7])), [0x81, 0, 1, 0, 7]);
    assert_eq!(encoded(&Bytes::<8>::default()), [0x81, 0, 0, 0]);
    assert_eq!(encoded(&[7u8; 2]), [0x80, 0, 2, 7, 7]);
    for pad in 0..=3u8 {
        let mut message = vec![0x80 + pad, 0, 1];
        message.resize(3 + usize::from(pad), 0xee);
        message.push(9);
        assert_eq!(decoded::<Bytes<1>>(&message), Ok(Bytes::from([9])));
        assert_eq!(decoded::<[u8; 1]>(&message).is_ok(), pad == 0);
    }
    assert!(matches!(
        decoded::<Bytes<1>>(&[0x84, 0, 1, 0, 0, 0, 0, 9]),
        Err(DecodeError::Marker { found: 0x84, .. })
    ));
    assert_eq!(
        decoded::<Bytes<1>>(&[0x80, 0, 2, 9, 9]),
        Err(DecodeError::Length {
            at: 0,
            len: 2,
            limit: 1
        })
    );
    assert_eq!(
        decoded::<[u8; 2]>(&[0x80, 0, 1, 9]),
        Err(DecodeError::Length {
            at: 0,
            len: 1,
            limit: 2
        })
    );
    assert_eq!(
        decoded::<Bytes<8>>(&[0x80, 0, 2, 9]),
        Err(DecodeError::Truncated(4))
    );
    assert!(Bytes::<2>::new(vec![0; 3]).is_err());
}

#[test]
fn maps() {
    let revision = encoded(&ApiRev { major: 1, minor: 2 });
    assert_eq!(
        decoded::<ApiRev>(&revision),
        Ok(ApiRev { major: 1, minor: 2 })
    );

    // Order of fields.
    let swapped = [0xa2, 0x18, 2, 0x1a, 0, 0, 0, 2, 0x18, 1, 0x1a, 0, 0, 0, 1];
    assert_eq!(
        decoded::<ApiRev>(&swapped),
        Err(DecodeError::Field {
            at: 1,
            found: 2,
            expected: 1
        })
    );
    // A count that is too low or too high, a field that nobody knows, and bytes left over.
    assert_eq!(
        decoded::<ApiRev>(&revision_with(0, 0xa1)),
        Err(DecodeError::Missing(2))
    );
    assert_eq!(
        decoded::<ApiRev>(&revision_with(0, 0xa3)),
        Err(DecodeError::Excess(1))
    );
    assert!(matches!(
        decoded::<ApiRev>(&revision_with(2, 3)),
        Err(DecodeError::Field { found: 3, .. })
    ));
    let mut long = revision.clone();
    long.push(0);
    assert_eq!(decoded::<ApiRev>(&long), Err(DecodeError::Trailing(1)));
    assert_eq!(Encoder::new().map(31), Ok(()));
    assert_eq!(Encoder::new().map(32), Err(EncodeError::TooManyFields(32)));

    fn revision_with(at: usize, value: u8) -> Vec<u8> {
        let mut message = encoded(&ApiRev { major: 1, minor: 2 });
        message[at] = value;
        message
    }
}

#[test]
fn absent_last_field_does_not_take_the_field_of_the_outer_map() {
    // The header ends with the absent field 3; what follows is field 1 of the envelope, and in this message
    // the same bytes could be read as a session id if the count were not looked at.
    let message = [
        0xa2, 0x18, 0, 0xa1, 0x18, 2, 0x1a, 0, 0, 3, 0xea, 0x18, 3, 0x19, 0, 0,
    ];
    assert_eq!(
        Request::parse(&message).unwrap_err(),
        DecodeError::Field {
            at: 11,
            found: 3,
            expected: 1
        }
    );
}

#[test]
fn extension_field_is_refused() {
    let mut message = encode_request(
        &RequestHeader::without_revision::<GetApiRev>(),
        &GetApiRev {},
    )
    .unwrap();
    message[0] = 0xa3;
    message.extend([0x18, 2, 0xa0]);
    assert_eq!(
        Request::parse(&message).unwrap_err(),
        DecodeError::Excess(1)
    );
}

#[test]
fn body_has_to_be_all_of_the_rest() {
    let mut message = encode_request(
        &RequestHeader::new::<GetDeviceInfo>(None),
        &GetDeviceInfo {},
    )
    .unwrap();
    message.push(0);
    let request = Request::parse(&message).unwrap();
    assert_eq!(
        request.body::<GetDeviceInfo>(),
        Err(DecodeError::Trailing(1))
    );
}

fn byte_string<const MAX: usize>() -> impl Strategy<Value = Bytes<MAX>> {
    vec(any::<u8>(), 0..=MAX).prop_map(|data| data.try_into().unwrap())
}

fn public_key() -> impl Strategy<Value = DerPublicKey> {
    (byte_string(), any::<u32>()).prop_map(|(der, kind)| DerPublicKey {
        der,
        kind: KeyKind(kind),
    })
}

fn session_credential() -> impl Strategy<Value = EncryptedSessionCredential> {
    (
        byte_string(),
        byte_string(),
        byte_string(),
        byte_string(),
        any::<[u8; 32]>(),
        any::<u8>(),
    )
        .prop_map(
            |(id, pin, seed, iv, nonce, tag)| EncryptedSessionCredential {
                id,
                pin,
                seed,
                iv,
                nonce,
                tag: [tag; 48],
            },
        )
}

/// Every variable array of a whole message starts at a multiple of 4, wherever it stands.
fn check_alignment(message: &[u8], data: &[u8]) {
    if data.len() >= 12 {
        let at = message
            .windows(data.len())
            .position(|window| window == data)
            .unwrap();
        assert_eq!(at % 4, 0);
    }
}

proptest! {
    #[test]
    fn header_round_trip(
        op in any::<u32>(),
        revision in proptest::option::of((any::<u32>(), any::<u32>())),
        session_id in any::<Option<u16>>(),
        status in any::<u32>(),
        fips_approved in any::<bool>(),
    ) {
        let op = Op(op);
        let revision = revision.map(|(major, minor)| ApiRev { major, minor });
        let request = RequestHeader { revision, op, session_id };
        prop_assert_eq!(decoded::<RequestHeader>(&encoded(&request)), Ok(request));
        let response =
            ResponseHeader { revision, op, session_id, status: Status(status), fips_approved };
        prop_assert_eq!(decoded::<ResponseHeader>(&encoded(&response)), Ok(response));
    }

    #[test]
    fn key_round_trip(
        size in any::<u32>(),
        tag in any::<Option<u16>>(),
        bits in any::<[u8; 16]>(),
        label in byte_string(),
        session_id in any::<Option<u16>>(),
    ) {
        let metadata = KeyMetadata { bits };
        let properties = TargetKeyProperties { metadata, label };
        let request = AesGenerateKey { size: AesKeySize(size), tag, properties };
        let header = RequestHeader::new::<AesGenerateKey>(session_id);
        let message = encode_request(&header, &request).unwrap();
        check_alignment(&message, &request.properties.label);
        let parsed = Request::parse(&message).unwrap();
        prop_assert_eq!(parsed.header, header);
        prop_assert_eq!(parsed.body::<AesGenerateKey>().unwrap(), request);
    }

    #[test]
    fn session_round_trip(
        credential in session_credential(),
        public_key in public_key(),
        bmk_session in byte_string(),
    ) {
        let request = ReopenSession { credential, public_key, bmk_session };
        let header = RequestHeader::new::<ReopenSession>(Some(3));
        let message = encode_request(&header, &request).unwrap();
        check_alignment(&message, &request.bmk_session);
        check_alignment(&message, &request.public_key.der);
        let parsed = Request::parse(&message).unwrap();
        prop_assert_eq!(parsed.body::<ReopenSession>().unwrap(), request);
    }

    #[test]
    fn response_round_trip(kind in any::<u32>(), tables in any::<u8>(), fips_approved in any::<bool>()) {
        let header = ResponseHeader {
            revision: Some(ApiRev::V1),
            op: Op::GetDeviceInfo,
            session_id: None,
            status: Status::Success,
            fips_approved,
        };
        let body = DeviceInfo { kind: DeviceKind(kind), tables, fips_approved };
        let message = encode_response(&header, &body).unwrap();
        prop_assert_eq!(decode_response::<GetDeviceInfo>(&message), Ok((header, body)));
    }

    #[test]
    fn random_bytes_do_not_panic(message in vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::parse(&message) {
            let _ = request.body::<EstablishCredential>();
        }
        let _ = decoded::<EstablishCredential>(&message);
        let _ = decode_response::<OpenSession>(&message);
    }

    /// Damage to a valid message gets further into the decoder than random bytes do.
    #[test]
    fn damaged_messages_do_not_panic(
        credential in session_credential(),
        public_key in public_key(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let header = RequestHeader::new::<OpenSession>(None);
        let mut message = encode_request(&header, &OpenSession { credential, public_key }).unwrap();
        let cut = cut.index(message.len());
        prop_assert!(
            Request::parse(&message[..cut]).and_then(|r| r.body::<OpenSession>()).is_err()
        );
        let at = at.index(message.len());
        message[at] = value;
        let _ = Request::parse(&message).and_then(|r| r.body::<OpenSession>());
    }
}
