// SPDX-License-Identifier: GPL-2.0-or-later

//! Fast-path commands: data pointers, tails, status (sections 7 and 8).

use std::sync::Arc;

use azihsm_firmware::{Cipher, FastRequest};

use crate::firmware::{KEY_ERROR, KEY_INVERT, KEY_PANIC, KEY_SHORT, KEY_TAG, TestFirmware};
use crate::host::{Completion, Fp, Host, Queue, RAM, descriptor};

struct Fast {
    host: Host,
    firmware: Arc<TestFirmware>,
    fp: Queue,
    source: u64,
    destination: u64,
    list: u64,
}

fn start() -> Fast {
    let (mut host, firmware) = Host::ready();
    let fp = host.pair(256, 8);
    let (source, destination, list) = (host.page(8), host.page(8), host.page(8));
    let data: Vec<u8> = (0..8 * 4096u32).map(|i| (i % 251) as u8).collect();
    host.write(source, &data);
    Fast {
        host,
        firmware,
        fp,
        source,
        destination,
        list,
    }
}

impl Fast {
    fn sqe(&self, xts: bool, key: u32, len: u32) -> Fp {
        Fp::new(0x4321, xts, key, self.source, self.destination, len)
    }

    fn run(&mut self, sqe: &Fp) -> Completion {
        self.host.submit(&mut self.fp, &sqe.0);
        let completion = self.host.reap(&mut self.fp);
        assert_eq!(completion.cid(), 0x4321);
        assert_eq!(completion.0[..2], sqe.0[4..6], "attributes are echoed");
        completion
    }

    fn code(&mut self, sqe: &Fp) -> (u16, u16) {
        let completion = self.run(sqe);
        if completion.status() != 0 {
            assert_eq!(completion.u32(52), 0, "a failed command reports no output");
        }
        completion.code()
    }

    fn inverted(&self, at: u64, len: usize) -> Vec<u8> {
        self.host.read(at, len).iter().map(|b| !b).collect()
    }

    fn last(&self) -> FastRequest {
        self.firmware.fast.lock().last().unwrap().clone()
    }

    /// Writes a list and returns a pointer to it.
    fn list(&self, at: u64, kind: u8, entries: &[[u8; 16]]) -> [u8; 16] {
        self.host.write(self.list + at, &entries.concat());
        descriptor(self.list + at, entries.len() as u32 * 16, kind)
    }
}

#[test]
fn xts_fields() {
    let mut t = start();
    let sqe = t
        .sqe(true, 0, 512)
        .set(4, &[0x2d, 0x41])
        .set(8, &[7, 0, 9])
        .set(72, &[0x0a, 0x0b, 0, 0])
        .set(76, &[5; 16]);
    let completion = t.run(&sqe);
    assert_eq!(completion.code(), (0, 0));
    assert_eq!(completion.0[4..44], [0; 40]);
    assert_eq!(
        (completion.u32(44), completion.u32(48), completion.u32(52)),
        (0, 1, 512)
    );
    assert_eq!((completion.sq_head(), completion.sq_id()), (1, 256));
    let request = t.last();
    assert!(request.decrypt);
    assert_eq!((request.session_id, request.short_app_id), (7, 9));
    assert_eq!(
        request.cipher,
        Cipher::Xts {
            key1: 0,
            key2: 0x0b0a,
            tweak: [5; 16],
            data_unit: Some(512)
        }
    );
    assert_eq!(t.host.read(t.destination, 512), t.inverted(t.source, 512));
    assert_eq!(t.host.violations(), [""; 0]);
}

#[test]
fn data_units() {
    let mut t = start();
    for (bits, unit) in [
        (0u8, None),
        (1, Some(512)),
        (2, Some(4096)),
        (3, Some(8192)),
    ] {
        let sqe = t.sqe(true, 0, 16).set(5, &[1 | bits << 6]);
        assert_eq!(t.code(&sqe), (0, 0));
        assert!(matches!(t.last().cipher, Cipher::Xts { data_unit, .. } if data_unit == unit));
    }
}

#[test]
fn gcm_fields_and_tail() {
    let mut t = start();
    let tails = t.host.page(1);
    t.host.write(tails, b"tail!");
    let sqe = t
        .sqe(false, 0, 96)
        .set(72, &20u32.to_le_bytes())
        .set(76, &[3; 16])
        .set(92, &[4; 12])
        .set(104, &32u32.to_le_bytes())
        .tail(5, tails, tails + 64);
    let completion = t.run(&sqe);
    assert_eq!(completion.code(), (0, 0));
    assert_eq!(completion.0[4..20], [0x77; 16]);
    assert_eq!(completion.0[20..32], [4; 12]);
    assert_eq!((completion.u32(44), completion.u32(52)), (5, 96));
    let request = t.last();
    assert!(!request.decrypt);
    assert_eq!(
        request.cipher,
        Cipher::Gcm {
            key: 0,
            iv: [4; 12],
            tag: [3; 16],
            aad_len: 20,
            padded_aad_len: 32,
            tail_len: 5
        }
    );
    assert_eq!(request.data.len(), 101);
    assert_eq!(&request.data[96..], b"tail!");
    assert_eq!(
        t.host.read(t.destination, 97),
        [&t.inverted(t.source, 96)[..], &[0]].concat()
    );
    assert_eq!(
        t.host.read(tails + 64, 6),
        [&t.inverted(tails, 5)[..], &[0]].concat()
    );
}

#[test]
fn tail_only_in_place() {
    let mut t = start();
    let tails = t.host.page(1);
    t.host.write(tails, b"abc");
    let empty = t
        .sqe(false, 0, 0)
        .set(28, &[0; 16])
        .set(48, &[0; 16])
        .tail(3, tails, tails);
    let completion = t.run(&empty);
    assert_eq!(completion.code(), (0, 0));
    assert_eq!((completion.u32(44), completion.u32(52)), (3, 0));
    assert_eq!(t.host.read(tails, 3), [!b'a', !b'b', !b'c']);
}

#[test]
fn tail_errors() {
    let mut t = start();
    let (s, d) = (t.source, t.destination);
    let sqe = t.sqe(false, 0, 16);
    assert_eq!(t.code(&sqe.clone().tail(16, s, d)), (2, 0x2c));
    assert_eq!(t.code(&sqe.clone().tail(3, 0, d)), (2, 0x22));
    assert_eq!(t.code(&sqe.clone().tail(3, s, 0)), (2, 0x23));
    assert_eq!(t.code(&sqe.clone().tail(3, s, d).set(109, &[4])), (2, 0x23));
    assert_eq!(t.host.violations(), [""; 0]);
    assert_eq!(t.code(&sqe.clone().tail(3, RAM - 64, d)), (2, 0x26));
    assert_eq!(t.code(&sqe.tail(3, s, RAM - 64)), (2, 0x27));
    assert_eq!(t.host.violations().len(), 2);
}

#[test]
fn entry_errors() {
    let mut t = start();
    let sqe = t.sqe(true, 0, 16);
    assert_eq!(t.code(&sqe.clone().set(4, &[0x24])), (4, 8), "command type");
    assert_eq!(t.code(&sqe.set(64, &[2])), (4, 9), "frame type");
    assert!(t.firmware.fast.lock().is_empty());
}

#[test]
fn scattered_lists() {
    let mut t = start();
    let (s, d) = (t.source, t.destination);
    // Source: a chain of three segments with blocks of odd sizes; destination: a last segment cut otherwise.
    let third = t.list(4096, 3, &[descriptor(s + 2101, 1995, 0)]);
    let second = t.list(2048, 2, &[descriptor(s + 101, 2000, 0), third]);
    let first = t.list(
        0,
        2,
        &[descriptor(s, 1, 0), descriptor(s + 1, 100, 0), second],
    );
    let out = t.list(
        8192,
        3,
        &[descriptor(d + 7, 4000, 0), descriptor(d + 8192, 96, 0)],
    );
    let sqe = t.sqe(true, 0, 4096).set(28, &first).set(48, &out);
    assert_eq!(t.code(&sqe), (0, 0));
    assert_eq!(t.last().data, t.host.read(s, 4096));
    let expected = t.inverted(s, 4096);
    assert_eq!(t.host.read(d + 7, 4001), [&expected[..4000], &[0]].concat());
    assert_eq!(
        t.host.read(d + 8192, 97),
        [&expected[4000..], &[0]].concat()
    );
    assert_eq!(t.host.violations(), [""; 0]);
}

#[test]
fn full_segments_as_a_driver_makes_them() {
    let mut t = start();
    // 600 blocks of 16 bytes: two full pages of 255 blocks and a link, and a last segment of 90.
    let block = |i: u64| descriptor(t.source + i * 16, 16, 0);
    let mut pages: Vec<[u8; 16]> = Vec::new();
    for (from, to, link) in [
        (0, 255, Some((4096u64, 4096u32, 2))),
        (255, 510, Some((8192, 1440, 3))),
        (510, 600, None),
    ] {
        pages.extend((from..to).map(block));
        pages.extend(link.map(|(at, len, kind)| descriptor(t.list + at, len, kind)));
    }
    t.host.write(t.list, &pages.concat());
    let sqe = t.sqe(true, 0, 9600).set(28, &descriptor(t.list, 4096, 2));
    assert_eq!(t.code(&sqe), (0, 0));
    assert_eq!(t.host.read(t.destination, 9600), t.inverted(t.source, 9600));
}

#[test]
fn malformed_lists() {
    let mut t = start();
    let s = t.source;
    let good = |at| descriptor(at, 64, 0);
    let sqe = t.sqe(true, 0, 64);
    // (list, status of it as source, as destination)
    let short = t.list(0, 3, &[descriptor(s, 63, 0)]);
    let no_link = t.list(256, 2, &[good(s), good(s)]);
    let early_link = t.list(
        512,
        2,
        &[descriptor(t.list, 16, 3), descriptor(t.list, 16, 3)],
    );
    let bit_bucket = t.list(768, 3, &[descriptor(s, 64, 1)]);
    let cases = [
        (short, (4, 0xa), (4, 0xb)),
        (descriptor(s, 63, 0), (4, 0xa), (4, 0xb)),
        // The first block covers the length: what follows is not looked at.
        (no_link, (0, 0), (0, 0)),
        (early_link, (4, 6), (4, 5)),
        (bit_bucket, (4, 6), (4, 5)),
        (descriptor(t.list, 0, 3), (4, 6), (4, 5)),
        (descriptor(t.list, 17, 3), (4, 6), (4, 5)),
        (descriptor(t.list, 64, 4), (4, 6), (4, 5)),
    ];
    for (i, (pointer, source, destination)) in cases.into_iter().enumerate() {
        assert_eq!(t.code(&sqe.clone().set(28, &pointer)), source, "source {i}");
        assert_eq!(
            t.code(&sqe.clone().set(48, &pointer)),
            destination,
            "destination {i}"
        );
    }
    assert_eq!(t.host.violations(), [""; 0]);
    assert_eq!(
        t.code(&sqe.clone().set(28, &descriptor(RAM - 4096, 64, 3))),
        (4, 4)
    );
    assert_eq!(
        t.code(&sqe.clone().set(48, &descriptor(RAM - 4096, 64, 3))),
        (4, 2)
    );
    assert_eq!(t.code(&sqe.clone().set(28, &good(RAM - 4096))), (3, 0xe));
    assert_eq!(t.code(&sqe.clone().set(48, &good(RAM - 4096))), (3, 8));
    let violations = t.host.violations();
    assert_eq!(violations.len(), 4);
    assert!(
        violations[0].contains("FP queue 256, command 17185: source SGL"),
        "{violations:?}"
    );
    assert!(violations[3].contains("destination data"), "{violations:?}");
    assert_eq!(
        t.code(&sqe.set(44, &63u32.to_le_bytes())),
        (4, 0xb),
        "destination length"
    );
}

#[test]
fn prps() {
    let mut t = start();
    let (s, d) = (t.source, t.destination);
    let prp = |t: &Fast, len: u32, source: [u64; 2], destination: [u64; 2]| {
        let bytes = |p: [u64; 2]| [p[0].to_le_bytes(), p[1].to_le_bytes()].concat();
        t.sqe(true, 0, len)
            .set(4, &[0x28])
            .set(28, &bytes(source))
            .set(48, &bytes(destination))
    };
    let sqe = prp(&t, 8192, [s + 8192, s], [d, d + 8192]);
    assert_eq!(t.code(&sqe), (0, 0));
    assert_eq!(t.host.read(d, 4096), t.inverted(s + 8192, 4096));
    assert_eq!(t.host.read(d + 8192, 4096), t.inverted(s, 4096));
    let sqe = prp(&t, 4128, [s + 4080, s + 8192], [d, d + 4096]);
    assert_eq!(t.code(&sqe), (4, 3), "16 bytes and a page do not make 4128");
    let sqe = prp(&t, 4112, [s, s + 4096], [d, d + 8]);
    assert_eq!(t.code(&sqe), (4, 1), "PRP2 not aligned");
    let sqe = prp(&t, 32, [s + 4080, s + 8192], [d, 0]);
    assert_eq!(t.code(&sqe), (0, 0));
}

#[test]
fn status_of_the_firmware() {
    let mut t = start();
    let sqe = t.sqe(false, KEY_ERROR, 16);
    assert_eq!(t.code(&sqe), (2, 1));
    assert_eq!(t.host.read(t.destination, 16), [0; 16]);
    // A wrong tag is found after the transfer.
    let sqe = t.sqe(false, KEY_TAG, 16);
    assert_eq!(t.code(&sqe), (3, 9));
    assert_eq!(t.host.read(t.destination, 16), t.inverted(t.source, 16));
    let sqe = t.sqe(false, KEY_SHORT, 16);
    assert_eq!(t.code(&sqe), (3, 6));
    let sqe = t.sqe(false, KEY_PANIC, 16);
    assert_eq!(t.code(&sqe), (3, 0xa));
    assert!(t.host.device.stats().has_internal_errors());
    let sqe = t.sqe(false, KEY_INVERT, 16);
    assert_eq!(t.code(&sqe), (0, 0));
    assert_eq!(t.host.function.counters().failed_fp.get(), 4);
}

#[test]
fn lengths_at_the_limits() {
    let mut t = start();
    let sqe = t.sqe(true, 0, 0);
    assert_eq!(t.code(&sqe), (0, 0));
    // Longer than any XTS transfer: the firmware sees the remainder, nothing is transferred.
    let sqe = t.sqe(true, 0, (16 << 20) + 19);
    assert_eq!(t.code(&sqe), (1, 0xb));
    assert_eq!(t.last().data.len() % 16, 3);
    assert!(t.last().data.len() > 16 << 20);
    let sqe = t.sqe(true, KEY_ERROR, u32::MAX);
    assert_eq!(t.code(&sqe), (2, 1), "the firmware's refusal goes first");
    let sqe = t.sqe(false, 0, u32::MAX & !15);
    assert_eq!(t.code(&sqe), (2, 0x25));
    let sqe = t.sqe(false, 0, 32).set(104, &64u32.to_le_bytes());
    assert_eq!(t.code(&sqe), (4, 0xa), "AAD longer than the stream");
    assert_eq!(t.host.violations(), [""; 0]);
}

#[test]
fn sixteen_megabytes() {
    let mut t = start();
    let (source, destination) = (t.host.page(4096), t.host.page(4096));
    t.host.write(source + (8 << 20), b"middle");
    let sqe = Fp::new(0x4321, true, 0, source, destination, 16 << 20);
    assert_eq!(t.code(&sqe), (0, 0));
    assert_eq!(
        t.host.read(destination + (8 << 20), 6),
        b"middle".map(|b| !b)
    );
    assert_eq!(t.host.read(destination + (16 << 20) - 1, 1), [0xff]);
}
