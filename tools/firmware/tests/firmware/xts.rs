// SPDX-License-Identifier: MIT OR Apache-2.0

//! AES-XTS on the fast path: a published vector, data units, every check with its code.

use azihsm_ddi::AesKeySize;
use azihsm_firmware::FastResponse;

use crate::{fast::*, host::*};

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
    let mut other = crate::host::ready(&model, OTHER_FUNCTION);
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
