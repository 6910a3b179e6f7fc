// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fast path: published vectors, another implementation, and every check with its code.

mod common;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use azihsm_ddi::AesKeySize;
use azihsm_firmware::{Cipher, FastRequest, FastResponse, Firmware, Model, StateChange};
use common::*;

const IV: [u8; 12] = [0x24; 12];

/// Keys of the tests: two of each kind, of the application.
struct Keys {
    xts: [u32; 2],
    approved: u32,
    unapproved: u32,
}

fn keys(ready: &mut Ready<'_, Model>) -> Keys {
    Keys {
        xts: [
            ready.bulk_key(AesKeySize::XtsBulk256, b"data"),
            ready.bulk_key(AesKeySize::XtsBulk256, b"tweak"),
        ],
        approved: ready.bulk_key(AesKeySize::GcmBulk256, b"approved"),
        unapproved: ready.bulk_key(AesKeySize::GcmBulk256Unapproved, b"unapproved"),
    }
}

fn xts(keys: [u32; 2], tweak: u128, data_unit: Option<u32>) -> Cipher {
    Cipher::Xts {
        key1: keys[0],
        key2: keys[1],
        tweak: tweak.to_le_bytes(),
        data_unit,
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

fn unhex<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

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

/// Vector 10 of IEEE 1619: keys, data unit number 0xff, plaintext 0, 1, .. 255 twice.
const XTS_KEY1: &str = "2718281828459045235360287471352662497757247093699959574966967627";
const XTS_KEY2: &str = "3141592653589793238462643383279502884197169399375105820974944592";
const XTS_CIPHERTEXT: &str = concat!(
    "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
    "5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd",
    "5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0",
    "c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca",
    "2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0",
    "b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f",
    "93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec",
    "583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a",
    "84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1",
    "505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae",
    "9be69a2ffeceb1bec9de244fbe15992b11b77c040f12bd8f6a975a44a0f90c29",
    "a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac",
    "6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f",
    "645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed4385",
    "1ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa",
    "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151",
);

#[test]
fn xts_vector() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let keys = [XTS_KEY1, XTS_KEY2]
        .map(|key| ready.bulk_key(AesKeySize::XtsBulk256, &label_for(&unhex(key))));
    let plain: Vec<u8> = (0..512).map(|i| i as u8).collect();
    let secret = hex::decode(XTS_CIPHERTEXT).unwrap();
    for data_unit in [None, Some(512), Some(4096)] {
        let cipher = xts(keys, 0xff, data_unit);
        let sealed = fast(&model, cipher, false, 0, &plain);
        assert_eq!((sealed.status, sealed.fips), (0, 1));
        assert_eq!((sealed.tag, sealed.iv), ([0; 16], [0; 12]));
        assert_eq!(sealed.data, secret);
        assert_eq!(fast(&model, cipher, true, 0, &secret).data, plain);
    }
    // As the second of two units, from the unit before; the text is one block short of two units.
    let two = [vec![0; 512], plain[..496].to_vec()].concat();
    let sealed = fast(&model, xts(keys, 0xfe, Some(512)), false, 0, &two);
    assert_eq!(sealed.data[512..], secret[..496]);
    let opened = fast(&model, xts(keys, 0xfe, Some(512)), true, 0, &sealed.data);
    assert_eq!(opened.data, two);
}

#[test]
fn xts_unit_number_wraps() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let keys = keys(&mut ready).xts;
    let sealed = fast(
        &model,
        xts(keys, u128::MAX, Some(512)),
        false,
        0,
        &pattern(1024),
    );
    let first = fast(
        &model,
        xts(keys, 0, Some(512)),
        false,
        0,
        &pattern(1024)[512..],
    );
    assert_eq!(sealed.data[512..], first.data);
    let empty = fast(&model, xts(keys, 0, None), false, 0, &[]);
    assert_eq!(
        empty,
        FastResponse {
            fips: 1,
            ..FastResponse::default()
        }
    );
}

/// Sends a command and returns status and error.
fn outcome(
    model: &Model,
    cipher: Cipher,
    session_id: u16,
    short_app_id: u8,
    len: usize,
) -> (u16, u16) {
    let request = FastRequest {
        cipher,
        decrypt: false,
        session_id,
        short_app_id,
        data: vec![0; len],
    };
    let response = model.fast(FUNCTION, request);
    if response.status != 0 {
        assert!(response.data.is_empty());
    }
    (response.status, response.error)
}

#[test]
fn xts_checks() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let app = keys(&mut ready);
    let session = ready.client.open_session(&CREDENTIAL).unwrap().id;
    let mut of_session = |label: &[u8]| -> u32 {
        let size = AesKeySize::XtsBulk256;
        let key = ready
            .client
            .generate_aes_key(session, size, label, true)
            .unwrap();
        key.bulk_key_id.unwrap().into()
    };
    let own = [of_session(b"own 1"), of_session(b"own 2")];
    let same = ready.bulk_key(AesKeySize::XtsBulk256, b"data");
    let [good1, good2] = app.xts;
    let gcm_key = app.approved;
    // Another function's key, and a slot whose key was deleted.
    let mut other = common::ready(&model, OTHER_FUNCTION);
    let foreign = other.bulk_key(AesKeySize::XtsBulk256, b"foreign");
    let deleted = ready
        .client
        .generate_aes_key(ready.session.id, AesKeySize::XtsBulk256, b"deleted", false)
        .unwrap();
    ready
        .client
        .delete_key(ready.session.id, deleted.key_id)
        .unwrap();
    let deleted = deleted.bulk_key_id.unwrap().into();
    let none = 1000;

    // Each row breaks the check it is named for and, where it can, those that come after it.
    for (row, key1, key2, session_id, app_id, len, code) in [
        ("type of key 1", gcm_key, gcm_key, session, 1, 15, 0xe),
        ("type of key 2", good1, gcm_key, session, 1, 15, 0xf),
        (
            "type of key 2 before index of key 1",
            none,
            gcm_key,
            session,
            1,
            15,
            0xf,
        ),
        ("index of key 1", none, none, session, 1, 15, 1),
        ("index of key 2", foreign, none, session, 1, 15, 2),
        ("slot 7", good1, 7, session, 0, 16, 2),
        ("same id", foreign, foreign, session, 1, 15, 5),
        ("owner of key 1", foreign, own[0], session, 1, 15, 3),
        ("owner of key 2", own[0], foreign, session, 1, 15, 3),
        ("deleted key", good1, deleted, session, 1, 15, 3),
        (
            "session-only and application key",
            good1,
            own[0],
            session,
            1,
            15,
            4,
        ),
        ("same bytes", good1, same, session, 1, 15, 6),
        ("application of key 1", good1, good2, session, 1, 15, 9),
        ("session of key 1", own[0], own[1], session + 1, 0, 15, 7),
        ("length", good1, good2, session, 0, 15, 0xc),
        (
            "length of too much",
            good1,
            good2,
            session,
            0,
            (16 << 20) + 1,
            0xc,
        ),
        ("too much", good1, good2, session, 0, (16 << 20) + 16, 0xb),
    ] {
        let cipher = xts([key1, key2], 0, None);
        assert_eq!(
            outcome(&model, cipher, session_id, app_id, len),
            (1, code),
            "{row}"
        );
    }
    assert_eq!(outcome(&model, xts(own, 0, None), session, 0, 32), (0, 0));
    // Keys of the application serve every session, even one that is not open.
    assert_eq!(outcome(&model, xts(app.xts, 0, None), 7, 0, 32), (0, 0));
    assert_eq!(
        outcome(&model, xts(app.xts, 0, None), 7, 0, 16 << 20),
        (0, 0)
    );
    ready.client.close_session(session).unwrap();
    assert_eq!(outcome(&model, xts(own, 0, None), session, 0, 32), (1, 3));
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
    let mut other = common::ready(&model, OTHER_FUNCTION);
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

#[test]
fn resets_erase_bulk_keys() {
    for change in [
        StateChange::Disable,
        StateChange::Nssr,
        StateChange::Flr,
        // Resource 2 goes, and with it the keys in its slots.
        StateChange::Resources {
            owned: 0b1000,
            guid: [0; 16],
        },
    ] {
        let model = test_model();
        let mut ready = ready(&model, FUNCTION);
        let keys = keys(&mut ready);
        assert_eq!(outcome(&model, xts(keys.xts, 0, None), 0, 0, 16), (0, 0));
        model.state(FUNCTION, change);
        assert_eq!(
            outcome(&model, xts(keys.xts, 0, None), 0, 0, 16),
            (1, 3),
            "{change:?}"
        );
        let (cipher, _) = gcm(keys.approved, IV, [0; 16], b"", &[0; 16]);
        assert_eq!(outcome(&model, cipher, 0, 0, 16), (2, 2), "{change:?}");
    }
}

#[test]
fn commands_run_while_keys_come_and_go() {
    let model = test_model();
    let mut ready = ready(&model, FUNCTION);
    let keys = keys(&mut ready);
    let data = pattern(64 << 10);
    let expected = fast(&model, xts(keys.xts, 5, Some(4096)), false, 0, &data).data;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sealed = fast(&model, xts(keys.xts, 5, Some(4096)), false, 0, &data);
                        assert_eq!(sealed.data, expected);
                    }
                })
            })
            .collect();
        let session = ready.session.id;
        while workers.iter().any(|worker| !worker.is_finished()) {
            let size = AesKeySize::GcmBulk256;
            let key = ready
                .client
                .generate_aes_key(session, size, b"", false)
                .unwrap();
            ready.client.delete_key(session, key.key_id).unwrap();
        }
    });
}
