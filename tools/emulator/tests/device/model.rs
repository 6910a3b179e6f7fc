// SPDX-License-Identifier: GPL-2.0-or-later

//! The firmware model behind the queues: provisioning, keys, published vectors, resets.

use std::sync::Arc;

use azihsm_ddi::client::{Client, Credential, OwnerKey, Session, Transport};
use azihsm_ddi::{AesKeySize, SessionKind};
use azihsm_emulator::config::Config;
use azihsm_firmware::Model;

use crate::host::{
    Completion, Cp, Fp, Host, NSSR, NSSR_SIGNATURE, Queue, descriptor, device, quick,
};

const CREDENTIAL: Credential = Credential {
    id: [0x11; 16],
    pin: [0x22; 16],
};
const TEST_KEY: [u8; 32] = [0xc3; 32];

/// Key, IV, AAD, text, cipher text, tag: cases 13 to 16 of the GCM specification.
const GCM: &[[&str; 6]] = &[
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
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ],
];

/// Vector 10 of IEEE 1619: data unit 0xff, text 00 01 .. ff twice.
const XTS_KEYS: [&str; 2] = [
    "2718281828459045235360287471352662497757247093699959574966967627",
    "3141592653589793238462643383279502884197169399375105820974944592",
];
const XTS_CIPHERTEXT_HEAD: &str =
    "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b";
const XTS_CIPHERTEXT_TAIL: &str = "4bb5e54c4f36ffda9fcea70b9c6e693e148c151";

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

/// A provisioned device with a session and queues.
pub struct Provisioned {
    pub host: Host,
    cp: Queue,
    fp: Queue,
    buffers: u64,
    /// Three areas of 16 pages: source, destination, tails.
    pub areas: [u64; 3],
    session: Session,
}

/// The way of control commands: through the control queue.
struct Wire<'h> {
    host: &'h Host,
    cp: &'h mut Queue,
    buffers: u64,
    last: Option<Completion>,
}

impl Transport for Wire<'_> {
    type Error = u16;

    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, u16> {
        self.host.write(self.buffers, request);
        let control = kind as u8 | if session_id.is_some() { 4 } else { 0 };
        let sqe = Cp::new(0, self.buffers, request.len() as u32, self.buffers + 4096)
            .set(44, &[control])
            .set(48, &session_id.unwrap_or(0).to_le_bytes());
        self.host.submit(self.cp, &sqe.0);
        let completion = self.host.reap(self.cp);
        self.last = Some(completion.clone());
        match completion.status() {
            0 => Ok(self
                .host
                .read(self.buffers + 4096, completion.u16(0).into())),
            status => Err(status),
        }
    }
}

impl Provisioned {
    pub fn new() -> Self {
        Self::with(quick())
    }

    fn with(config: Config) -> Self {
        let model = Model::builder()
            .test_key(TEST_KEY)
            .fips_approved(true)
            .build();
        let mut host = Host::attach(device(config, Arc::new(model), 2), 0);
        host.enable();
        let (mut cp, fp) = (host.pair(1, 8), host.pair(256, 16));
        let buffers = host.page(3);
        let areas = [host.page(16), host.page(16), host.page(16)];
        let mut client = Client::new(Wire {
            host: &host,
            cp: &mut cp,
            buffers,
            last: None,
        });
        client.establish(&CREDENTIAL, &OwnerKey::random()).unwrap();
        let session = client.open_session(&CREDENTIAL).unwrap();
        let completion = client.transport().last.clone().unwrap();
        assert_eq!(completion.0[2], 1 | 4 | 8);
        assert_eq!(completion.u16(4), session.id);
        Provisioned {
            host,
            cp,
            fp,
            buffers,
            areas,
            session,
        }
    }

    fn client(&mut self) -> Client<Wire<'_>> {
        Client::new(Wire {
            host: &self.host,
            cp: &mut self.cp,
            buffers: self.buffers,
            last: None,
        })
    }

    /// Makes a key of that value and returns its bulk key id.
    fn key(&mut self, size: AesKeySize, key: &[u8]) -> u32 {
        self.make_key(size, key).0
    }

    /// Makes a key of that value and returns its bulk key id, and the id to delete it by.
    pub fn make_key(&mut self, size: AesKeySize, key: &[u8]) -> (u32, u16) {
        let label: Vec<u8> = TEST_KEY.iter().zip(key).map(|(a, b)| a ^ b).collect();
        let session = self.session.id;
        let made = self
            .client()
            .generate_aes_key(session, size, &label, false)
            .unwrap();
        (made.bulk_key_id.unwrap().into(), made.key_id)
    }

    pub fn delete_key(&mut self, id: u16) {
        let session = self.session.id;
        self.client().delete_key(session, id).unwrap();
    }

    pub fn run(&mut self, sqe: &Fp) -> Completion {
        self.host.submit(&mut self.fp, &sqe.0);
        self.host.reap(&mut self.fp)
    }

    /// Places AAD, text and tail as a host does, runs GCM, and returns completion and output text.
    pub fn gcm(
        &mut self,
        key: u32,
        decrypt: bool,
        iv: &[u8],
        tag: &[u8],
        aad: &[u8],
        text: &[u8],
    ) -> (Completion, Vec<u8>) {
        let [source, destination, tails] = self.areas;
        let mut stream = vec![
            0;
            if matches!(aad.len() % 32, 1..=16) {
                16
            } else {
                0
            }
        ];
        stream.extend_from_slice(aad);
        stream.resize(stream.len().next_multiple_of(32), 0);
        let padded = stream.len();
        let (aligned, tail) = text.split_at(text.len() / 16 * 16);
        stream.extend_from_slice(aligned);
        self.host.write(source, &stream);
        self.host.write(destination, &vec![0; stream.len() + 1]);
        self.host.write(tails, tail);
        let mut sqe = Fp::new(1, false, key, source, destination, stream.len() as u32)
            .set(4, &[0x2c | u8::from(decrypt)])
            .set(8, &self.session.id.to_le_bytes())
            .set(72, &(aad.len() as u32).to_le_bytes())
            .set(76, tag)
            .set(92, iv)
            .set(104, &(padded as u32).to_le_bytes());
        if !tail.is_empty() {
            sqe = sqe.tail(tail.len() as u8, tails, tails);
        }
        let completion = self.run(&sqe);
        let mut out = self.host.read(destination + padded as u64, aligned.len());
        out.extend(self.host.read(tails, tail.len()));
        if completion.status() == 0 {
            assert_eq!(
                (completion.u32(44), completion.u32(52)),
                (tail.len() as u32, stream.len() as u32)
            );
            assert_eq!(self.host.read(destination + stream.len() as u64, 1), [0]);
        }
        (completion, out)
    }

    pub fn xts(&self, keys: [u32; 2], decrypt: bool, unit: u8, tweak: u64, len: u32) -> Fp {
        let mut sqe = Fp::new(1, true, keys[0], self.areas[0], self.areas[1], len)
            .set(4, &[0x2c | u8::from(decrypt), 1 | unit << 6])
            .set(8, &self.session.id.to_le_bytes())
            .set(72, &keys[1].to_le_bytes())
            .set(76, &tweak.to_le_bytes());
        if decrypt {
            // Back the way it came.
            sqe = sqe
                .set(28, &descriptor(self.areas[1], len, 0))
                .set(48, &descriptor(self.areas[2], len, 0));
        }
        sqe
    }
}

#[test]
fn gcm_vectors() {
    let mut p = Provisioned::new();
    for (number, [key, iv, aad, text, cipher, tag]) in GCM.iter().enumerate() {
        let [key, iv, aad, text, cipher, tag] = [key, iv, aad, text, cipher, tag].map(|h| bytes(h));
        // The device chooses the initialisation vector itself with an approved key.
        let key = p.key(AesKeySize::GcmBulk256Unapproved, &key);
        let (completion, out) = p.gcm(key, false, &iv, &[0; 16], &aad, &text);
        assert_eq!(completion.code(), (0, 0), "vector {number}");
        assert_eq!(completion.0[4..20], tag, "vector {number}");
        assert_eq!(completion.0[20..32], iv, "vector {number}");
        assert_eq!(out, cipher, "vector {number}");
        let (completion, out) = p.gcm(key, true, &iv, &tag, &aad, &cipher);
        assert_eq!(
            (completion.code(), out),
            ((0, 0), text.clone()),
            "vector {number}"
        );
        let mut wrong = tag;
        wrong[15] ^= 1;
        let (completion, _) = p.gcm(key, true, &iv, &wrong, &aad, &cipher);
        let corrected = text.is_empty() || text.len() % 16 != 0 || !aad.is_empty();
        assert_eq!(
            completion.code(),
            if corrected { (2, 0x2a) } else { (3, 9) },
            "vector {number}"
        );
    }
    assert_eq!(p.host.violations(), [""; 0]);
}

#[test]
fn an_approved_key_chooses_its_vector() {
    let mut p = Provisioned::new();
    let key = p.key(AesKeySize::GcmBulk256, &[9; 32]);
    let text = b"forty-one bytes, two blocks and a tail ..";
    let (first, cipher) = p.gcm(key, false, &[1; 12], &[0; 16], b"aad", text);
    let (second, _) = p.gcm(key, false, &[1; 12], &[0; 16], b"aad", text);
    assert_eq!((first.status(), second.status()), (0, 0));
    assert_ne!(first.0[20..32], [1; 12]);
    assert_ne!(first.0[20..32], second.0[20..32]);
    assert_eq!(first.u32(48), 1, "approved");
    let (completion, out) = p.gcm(
        key,
        true,
        &first.0[20..32],
        &first.0[4..20],
        b"aad",
        &cipher,
    );
    assert_eq!((completion.code(), &out[..]), ((0, 0), &text[..]));
}

#[test]
fn xts_vector() {
    let mut p = Provisioned::new();
    let keys = XTS_KEYS.map(|k| p.key(AesKeySize::XtsBulk256, &bytes(k)));
    let text: Vec<u8> = (0..512u32).map(|i| i as u8).collect();
    p.host.write(p.areas[0], &text);
    let sqe = p.xts(keys, false, 0, 0xff, 512);
    assert_eq!(p.run(&sqe).code(), (0, 0));
    let cipher = hex::encode(p.host.read(p.areas[1], 512));
    assert!(cipher.starts_with(XTS_CIPHERTEXT_HEAD), "{cipher}");
    assert!(cipher.ends_with(XTS_CIPHERTEXT_TAIL), "{cipher}");
    let sqe = p.xts(keys, true, 0, 0xff, 512);
    assert_eq!(p.run(&sqe).code(), (0, 0));
    assert_eq!(p.host.read(p.areas[2], 512), text);
    // In units of 512 bytes, the second unit has the next number.
    p.host.write(p.areas[0], &[&text[..], &text[..]].concat());
    let sqe = p.xts(keys, false, 1, 0xfe, 1024);
    assert_eq!(p.run(&sqe).code(), (0, 0));
    assert_eq!(hex::encode(p.host.read(p.areas[1] + 512, 512)), cipher);
    // The same key twice, and a length that is no multiple of 16.
    let sqe = p.xts([keys[0]; 2], false, 0, 0, 512);
    assert_eq!(p.run(&sqe).code(), (1, 5));
    let sqe = p.xts(keys, false, 0, 0, 520);
    assert_eq!(p.run(&sqe).code(), (1, 0xc));
    let sqe = p.xts(keys, false, 0, 0, (16 << 20) + 16);
    assert_eq!(p.run(&sqe).code(), (1, 0xb));
    assert_eq!(p.host.violations(), [""; 0]);
}

#[test]
fn many_commands_in_flight() {
    many_commands(Provisioned::new());
}

#[test]
fn many_commands_with_polled_doorbells() {
    let p = Provisioned::with(Config {
        fast: true,
        ..quick()
    });
    let function = Arc::clone(&p.host.function);
    let doorbells = function.doorbells().expect("a page to map");
    assert!(doorbells.descriptor() >= 0);
    many_commands(p);
}

fn many_commands(mut p: Provisioned) {
    let keys = XTS_KEYS.map(|k| p.key(AesKeySize::XtsBulk256, &bytes(k)));
    let mut queues = [
        p.host.pair(257, 8),
        p.host.pair(258, 8),
        p.host.pair(259, 8),
    ];
    let (source, cipher, back) = (p.host.page(24), p.host.page(24), p.host.page(24));
    let text: Vec<u8> = (0..24 * 4096u32).map(|i| (i * 7 >> 3) as u8).collect();
    p.host.write(source, &text);
    for round in 0..5u32 {
        for (decrypt, from, to) in [(false, source, cipher), (true, cipher, back)] {
            for page in 0..21u64 {
                let queue = &mut queues[(page % 3) as usize];
                let (from, to) = (from + page * 4096, to + page * 4096);
                let sqe = Fp::new(page as u16, true, keys[0], from, to, 4096)
                    .set(4, &[0x2c | u8::from(decrypt), 0x41])
                    .set(8, &p.session.id.to_le_bytes())
                    .set(72, &keys[1].to_le_bytes())
                    .set(76, &(u64::from(round) << 32 | page << 3).to_le_bytes());
                p.host.submit(queue, &sqe.0);
            }
            let mut seen = Vec::new();
            for queue in &mut queues {
                for _ in 0..7 {
                    let completion = p.host.reap(queue);
                    assert_eq!(completion.code(), (0, 0));
                    seen.push(completion.cid());
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..21).collect::<Vec<u16>>());
        }
        assert_ne!(p.host.read(cipher, 4096), text[..4096]);
        assert_eq!(p.host.read(back, 21 * 4096), text[..21 * 4096]);
        p.host.write(back, &vec![0; 21 * 4096]);
    }
    assert_eq!(p.host.violations(), [""; 0]);
}

#[test]
fn resets_erase_keys_and_keep_session_ids() {
    for subsystem in [false, true] {
        let mut p = Provisioned::new();
        let keys = XTS_KEYS.map(|k| p.key(AesKeySize::XtsBulk256, &bytes(k)));
        let session = p.session.id;
        assert_eq!(p.host.function.sessions().len(), 1);
        if subsystem {
            p.host.set_reg(NSSR, NSSR_SIGNATURE);
            p.host.wait_ready(false);
            p.host.set_reg(crate::host::CC, 0);
        } else {
            p.host.disable();
        }
        p.host.enable();
        p.cp = p.host.pair(1, 8);
        p.fp = p.host.pair(256, 16);
        let sqe = p.xts(keys, false, 0, 0, 512);
        assert_ne!(p.run(&sqe).status(), 0, "the keys are gone");
        let held = p.host.function.sessions();
        assert_eq!(held.len(), 1);
        assert!(held[0].id == session && held[0].needs_renegotiation);
        // Flush of such a session: kind 0, no flags, the id (section 6.3).
        let flush = Cp::new(3, 0, 0, 0)
            .set(0, &[1])
            .set(24, &[0; 20])
            .set(44, &[2 | 4])
            .set(48, &session.to_le_bytes());
        p.host.submit(&mut p.cp, &flush.0);
        let completion = p.host.reap(&mut p.cp);
        assert_eq!(completion.status(), 0);
        assert_eq!(completion.0[..8], [0, 0, 0, 0, session as u8, 0, 0, 0]);
        assert_eq!(p.host.function.sessions().len(), 0);
    }
}

#[test]
fn a_session_whose_response_is_lost_is_closed_again() {
    let mut p = Provisioned::new();
    let buffers = p.buffers;
    // Leave the address of the response unmapped while a second session is opened.
    let mut open = Vec::new();
    {
        /// Keeps the last request and passes it on.
        struct Tap<'a, 'h>(Wire<'h>, &'a mut Vec<u8>);
        impl Transport for Tap<'_, '_> {
            type Error = u16;
            fn exchange(
                &mut self,
                kind: SessionKind,
                id: Option<u16>,
                request: &[u8],
            ) -> Result<Vec<u8>, u16> {
                if kind == SessionKind::Open {
                    *self.1 = request.to_vec();
                    return Err(0x7ff);
                }
                self.0.exchange(kind, id, request)
            }
        }
        let wire = Wire {
            host: &p.host,
            cp: &mut p.cp,
            buffers,
            last: None,
        };
        assert!(
            Client::new(Tap(wire, &mut open))
                .open_session(&CREDENTIAL)
                .is_err()
        );
    }
    p.host.write(buffers, &open);
    let sqe = Cp::new(1, buffers, open.len() as u32, 0x1000).set(44, &[1]);
    p.host.submit(&mut p.cp, &sqe.0);
    let completion = p.host.reap(&mut p.cp);
    assert_eq!(completion.status(), 0x0c6);
    assert_eq!(completion.0[..8], [0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(
        p.host.function.sessions().len(),
        1,
        "only the first is left"
    );
}
