// SPDX-License-Identifier: MIT OR Apache-2.0

//! AES-GCM on the fast path: published vectors, another implementation, every check with its code.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use azihsm_ddi::AesKeySize;
use azihsm_firmware::Cipher;

use crate::{fast::*, host::*};

const IV: [u8; 12] = [0x24; 12];

/// Key, IV, AAD, plaintext, ciphertext, tag: the AES-256 cases of the GCM specification, and two of NIST's CAVP.
const GCM_VECTORS: &[[&str; 6]] = &[
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ],
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ],
    [
        "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
        "516c33929df5a3284ff463d7",
        "",
        "",
        "",
        "bdc1ac884d332457a1d2664f168c76f0",
    ],
    [
        "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
        "0d18e06c7c725ac9e362e1ce",
        "",
        "2db5168e932556f8089a0622981d017d",
        "fa4362189661d163fcd6a56d8bf0405a",
        "d636ac1bbedd5cc3ee727dc2ab4a9489",
    ],
];

#[test]
fn gcm_vectors() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    for [key, iv, aad, plain, secret, tag] in GCM_VECTORS {
        let label = label_for(&unhex(key));
        let session = ready.session.id;
        let key = ready
            .client
            .generate_aes_key(session, AesKeySize::GcmBulk256Unapproved, &label, false)
            .unwrap();
        let id = key.bulk_key_id.unwrap().into();
        let (iv, tag) = (unhex(iv), unhex(tag));
        let [aad, plain, secret] = [aad, plain, secret].map(|hex| hex::decode(hex).unwrap());

        let (cipher, data) = gcm(id, iv, [0; 16], &aad, &plain);
        let sealed = fast(&model, cipher, false, session, &data);
        assert_eq!(
            (sealed.status, sealed.error, sealed.tag, sealed.iv),
            (0, 0, tag, iv)
        );
        assert!(sealed.data.ends_with(&secret));
        let (cipher, data) = gcm(id, iv, tag, &aad, &secret);
        let opened = fast(&model, cipher, true, session, &data);
        assert_eq!((opened.status, opened.error, opened.tag), (0, 0, tag));
        assert!(opened.data.ends_with(&plain));
        ready.client.delete_key(session, key.key_id).unwrap();
    }
}

#[test]
fn gcm_agrees_with_another_implementation_for_every_layout() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let id = keys(&mut ready).unapproved;
    let reference = Aes256Gcm::new(&labelled_key(b"unapproved").into());
    for aad_len in 0..=100 {
        for text_len in [1, 15, 16, 17, 32, 100, 4096] {
            let (aad, text) = (pattern(aad_len), pattern(text_len));
            let expected = reference
                .encrypt(
                    &IV.into(),
                    Payload {
                        msg: &text,
                        aad: &aad,
                    },
                )
                .unwrap();
            let (secret, expected_tag) = expected.split_at(text_len);
            // A stream without main source has no AAD; the host sends such text with an AAD unit.
            let (cipher, data) = gcm(id, IV, [0; 16], &aad, &text);
            let sealed = fast(&model, cipher, false, 0, &data);
            assert_eq!((sealed.status, sealed.error), (0, 0));
            assert_eq!(sealed.tag, expected_tag, "AAD {aad_len}, text {text_len}");
            let padded = data.len() - text_len;
            assert_eq!(sealed.data[padded..], *secret);
            assert_eq!(
                sealed.data[..padded],
                data[..padded],
                "the AAD is copied through"
            );
        }
    }
}

#[test]
fn gcm_text_in_the_tail_only_has_no_aad() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let key = keys(&mut ready).unapproved;
    let reference = Aes256Gcm::new(&labelled_key(b"unapproved").into());
    let expected = reference.encrypt(&IV.into(), &[7; 5][..]).unwrap();
    let cipher = Cipher::Gcm {
        key,
        iv: IV,
        tag: [0; 16],
        aad_len: 9,
        padded_aad_len: 32,
        tail_len: 5,
    };
    let sealed = fast(&model, cipher, false, 0, &[7; 5]);
    assert_eq!((sealed.status, sealed.error), (0, 0));
    assert_eq!([&sealed.data[..], &sealed.tag].concat(), expected);
}

#[test]
fn gcm_padding_counts_as_it_is() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let key = keys(&mut ready).unapproved;
    let (cipher, mut data) = gcm(key, IV, [0; 16], b"header", &[5; 40]);
    let good = fast(&model, cipher, false, 0, &data);
    data[31] = 1;
    let bad = fast(&model, cipher, false, 0, &data);
    assert_eq!(bad.status, 0);
    assert_eq!(bad.data[32..], good.data[32..]);
    assert_ne!(bad.tag, good.tag);
}

#[test]
fn gcm_wrong_tag_has_two_codes() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let key = keys(&mut ready).unapproved;
    for (aad, text, code) in [
        (&[][..], &[1; 32][..], (3, 9)),
        (&[2; 32], &[1; 32], (3, 9)),
        (&[], &[1; 33], (2, 0x2a)),
        (&[2; 31], &[1; 32], (2, 0x2a)),
    ] {
        let (cipher, data) = gcm(key, IV, [0; 16], aad, text);
        let sealed = fast(&model, cipher, false, 0, &data);
        let mut tag = sealed.tag;
        let (cipher, _) = gcm(key, IV, tag, aad, text);
        let opened = fast(&model, cipher, true, 0, &sealed.data);
        assert_eq!((opened.status, opened.error), (0, 0));
        assert_eq!(opened.data, data);
        tag[15] ^= 0x80;
        let (cipher, _) = gcm(key, IV, tag, aad, text);
        let refused = fast(&model, cipher, true, 0, &sealed.data);
        assert_eq!((refused.status, refused.error), code);
        // The device has written the text by then.
        assert_eq!(refused.data, data);
    }
}

#[test]
fn gcm_approved_key_draws_its_iv() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let keys = keys(&mut ready);
    let (cipher, data) = gcm(keys.approved, IV, [0; 16], b"aad", &[9; 50]);
    let [one, two] = [0; 2].map(|_| fast(&model, cipher, false, 0, &data));
    assert_ne!(one.iv, two.iv);
    assert_ne!(one.iv, IV);
    assert_eq!((one.fips, two.fips), (1, 1));
    let reference = Aes256Gcm::new(&labelled_key(b"approved").into());
    let expected = reference
        .encrypt(
            &one.iv.into(),
            Payload {
                msg: &[9; 50],
                aad: b"aad",
            },
        )
        .unwrap();
    assert_eq!([&one.data[32..], &one.tag].concat(), expected);
    // Decryption takes the host's.
    let (cipher, _) = gcm(keys.approved, one.iv, one.tag, b"aad", &[9; 50]);
    let opened = fast(&model, cipher, true, 0, &one.data);
    assert_eq!(
        (opened.status, opened.iv, opened.data),
        (0, one.iv, data.clone())
    );

    let (cipher, data) = gcm(keys.unapproved, IV, [0; 16], b"aad", &[9; 50]);
    let sealed = fast(&model, cipher, false, 0, &data);
    assert_eq!((sealed.iv, sealed.fips), (IV, 0));
}

#[test]
fn gcm_checks() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let app = keys(&mut ready);
    let session = ready.session.id;
    let size = AesKeySize::GcmBulk256Unapproved;
    let own = ready
        .client
        .generate_aes_key(session, size, b"own", true)
        .unwrap();
    let own: u32 = own.bulk_key_id.unwrap().into();
    let mut other = crate::host::ready(&model, OTHER_FUNCTION);
    let foreign = other.bulk_key(size, b"foreign");
    let none = 1000;

    for (row, key, padded_aad_len, tail_len, session_id, app_id, len, code) in [
        ("type", app.xts[0], 31, 16, 9, 1, 15, (2, 8)),
        ("padded AAD", none, 31, 16, 9, 1, 15, (2, 5)),
        ("index", none, 32, 16, 9, 1, 15, (2, 1)),
        ("owner", foreign, 32, 16, 9, 1, 15, (2, 2)),
        ("application", own, 32, 0, 9, 1, 15, (2, 4)),
        ("session", own, 32, 0, 9, 0, 15, (2, 3)),
        ("length", app.approved, 32, 16, 9, 0, 47, (2, 6)),
        ("tail", app.approved, 32, 16, 9, 0, 48, (2, 0x2c)),
        (
            "less than the tail",
            app.approved,
            32,
            15,
            9,
            0,
            14,
            (4, 0xa),
        ),
        ("less than the AAD", app.approved, 64, 0, 9, 0, 48, (4, 0xa)),
        ("nothing wrong", app.approved, 32, 0, 9, 0, 48, (0, 0)),
    ] {
        let cipher = Cipher::Gcm {
            key,
            iv: IV,
            tag: [0; 16],
            aad_len: 20,
            padded_aad_len,
            tail_len,
        };
        assert_eq!(
            outcome(&model, cipher, session_id, app_id, len),
            code,
            "{row}"
        );
    }
}
