// SPDX-License-Identifier: GPL-2.0-or-later

//! The whole demo against the firmware model, without driver and queues: that it works, that it leaves the
//! partition as it was, and that each of its checks can fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use azihsm_ddi::SessionKind;
use azihsm_ddi::client::{Client, Credential, OwnerKey};
use azihsm_firmware::{
    Cipher as FastCipher, ControlRequest, FastRequest, Firmware, FunctionId, Model, StateChange,
};

use super::*;
use crate::hsm::{Aes, AesDone, Cipher, Direction, Error, Limits};

const FUNCTION: FunctionId = FunctionId(1);

/// What an HSM does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Answers with the plaintext.
    NoEncryption,
    /// Flips a bit when it decrypts chunk 1.
    BadDecryption,
    /// Takes any tag.
    AnyTag,
    /// Refuses a wrong tag, but lets the plaintext out.
    LeaksPlaintext,
    /// Reports fewer bytes than asked for.
    Short,
    /// Fails one AES command.
    Fails,
    /// Somebody presses Ctrl-C meanwhile.
    Interrupted,
}

/// An HSM: the model, behind what the driver does to buffers.
struct Fake {
    model: Model,
    fault: Fault,
    commands: AtomicUsize,
    resets: AtomicUsize,
    stop: Stop,
}

impl Fake {
    fn new(fault: Fault) -> Self {
        let model = Model::builder().build();
        let resources = StateChange::Resources {
            owned: 0b1111,
            guid: [0; 16],
        };
        model.state(FUNCTION, resources);
        model.state(FUNCTION, StateChange::Enable);
        Self {
            model,
            fault,
            commands: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            stop: Stop::never(),
        }
    }

    fn request(command: &Aes, src: &[u8]) -> FastRequest {
        let cipher = match command.cipher {
            Cipher::Gcm {
                key,
                iv,
                tag,
                aad_len,
                padded_aad_len,
            } => FastCipher::Gcm {
                key,
                iv,
                tag,
                aad_len,
                padded_aad_len,
                tail_len: (src.len() % 16) as u8,
            },
            Cipher::Xts {
                data_key,
                tweak_key,
                unit,
            } => {
                let mut tweak = [0; 16];
                tweak[..8].copy_from_slice(&unit.to_le_bytes());
                FastCipher::Xts {
                    key1: data_key,
                    key2: tweak_key,
                    tweak,
                    data_unit: Some(4096),
                }
            }
        };
        FastRequest {
            cipher,
            decrypt: command.direction == Direction::Decrypt,
            session_id: command.session_id,
            short_app_id: command.short_app_id,
            data: src.to_vec(),
        }
    }
}

impl Hsm for Fake {
    fn info(&self) -> Result<Info, Error> {
        Ok(Info {
            pci_address: "0000:99:00.0".into(),
            ..Info::default()
        })
    }

    fn query(&self) -> Result<Option<Limits>, Error> {
        Ok(None)
    }

    fn control(
        &self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let request = ControlRequest {
            kind,
            session_id,
            request: request.to_vec(),
        };
        let response = self.model.control(FUNCTION, request);
        match response.status {
            0 => Ok(response.response),
            status => Err(Error::Control(status.into())),
        }
    }

    fn aes(&self, command: &Aes, src: &[u8], dst: &mut [u8]) -> Result<AesDone, Error> {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let done = self.model.fast(FUNCTION, Self::request(command, src));
        let (status, code) = (u32::from(done.status), u32::from(done.error));
        let decrypts = command.direction == Direction::Decrypt;
        let mut bytes = src.len();
        if status == 0 {
            dst.copy_from_slice(&done.data);
        }
        match self.fault {
            Fault::NoEncryption if !decrypts => dst.copy_from_slice(src),
            Fault::BadDecryption if decrypts && status == 0 => dst[dst.len() - 1] ^= 1,
            Fault::AnyTag if status != 0 => {
                return Ok(AesDone {
                    bytes,
                    ..AesDone::default()
                });
            }
            Fault::LeaksPlaintext if status != 0 => dst.copy_from_slice(&done.data),
            Fault::Short => bytes -= 1,
            Fault::Fails if number == 2 => return Err(Error::Aes { status: 5, code: 0 }),
            Fault::Interrupted if number == 2 => self.stop.set(),
            _ => (),
        }
        if status != 0 {
            return Err(Error::Aes { status, code });
        }
        Ok(AesDone {
            bytes,
            tag: done.tag,
            iv: done.iv,
            fips_approved: done.fips != 0,
        })
    }

    fn reset(&self) -> Result<(), Error> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.model.state(FUNCTION, StateChange::Nssr);
        self.model.state(FUNCTION, StateChange::Enable);
        Ok(())
    }
}

/// A file of 2 and a bit chunks, that ends in the middle of everything.
fn options() -> Options {
    Options {
        file: None,
        size: 2 * 16384 + 4099,
        chunk: 16384,
        jobs: 2,
        keep: None,
        reset: false,
    }
}

fn run_with(hsm: &Fake, options: &Options) -> (Result<Report>, String) {
    let mut out = Vec::new();
    let result = run("/dev/fake", hsm, options, &hsm.stop, &mut out);
    (result, String::from_utf8(out).unwrap())
}

/// Provisions the partition as another program would, and returns what it needs to use it.
fn provision(hsm: &Fake) -> Credential {
    let credential = Credential {
        id: [1; 16],
        pin: [2; 16],
    };
    Client::new(Control(hsm))
        .establish(&credential, &OwnerKey::random())
        .unwrap();
    credential
}

#[test]
fn story_is_told() {
    let hsm = Fake::new(Fault::None);
    let (report, story) = run_with(&hsm, &options());
    let report = report.unwrap();
    assert_eq!(report.file_bytes, 2 * 16384 + 4099);
    assert_eq!(report.tampering_refused.len(), 4);
    // Three chunks, two directions, two ciphers, and what was tampered with.
    assert_eq!(report.commands.aes, 3 * 2 * 2 + 4);
    assert_eq!(
        report.commands.aes,
        hsm.commands.load(Ordering::Relaxed) as u64
    );
    assert!(report.gcm.encrypt.mib_per_second > 0.0);
    for text in [
        "/dev/fake",
        "AES-GCM",
        "AES-XTS",
        "byte for byte",
        "tag, ciphertext, AAD, IV",
        "4 control, 8 fast-path",
    ] {
        assert!(story.contains(text), "'{text}' is missing in:\n{story}");
    }
    serde_json::to_string(&report).unwrap();
}

#[test]
fn partition_is_left_as_it_was() {
    let hsm = Fake::new(Fault::None);
    for _ in 0..2 {
        run_with(&hsm, &options()).0.unwrap();
        assert!(hsm.model.sessions(FUNCTION).is_empty());
    }
    // Nobody has a credential: somebody can establish one.
    provision(&hsm);
}

#[test]
fn partition_is_left_as_it_was_after_a_failure() {
    for (fault, text) in [
        (Fault::Fails, "timed out"),
        (Fault::Interrupted, "interrupted"),
    ] {
        let hsm = Fake::new(fault);
        let error = run_with(&hsm, &options()).0.unwrap_err();
        assert!(format!("{error:#}").contains(text), "{error:#}");
        assert!(hsm.model.sessions(FUNCTION).is_empty());
        provision(&hsm);
    }
}

#[test]
fn somebody_elses_partition_is_not_touched() {
    let hsm = Fake::new(Fault::None);
    let credential = provision(&hsm);
    let error = run_with(&hsm, &options()).0.unwrap_err();
    assert!(error.is::<InUse>(), "{error:#}");
    assert_eq!(hsm.resets.load(Ordering::Relaxed), 0);
    // The other program goes on.
    Client::new(Control(&hsm))
        .open_session(&credential)
        .unwrap();
}

#[test]
fn reset_is_done_if_asked_for() {
    let hsm = Fake::new(Fault::None);
    let credential = provision(&hsm);
    let options = Options {
        reset: true,
        ..options()
    };
    run_with(&hsm, &options).0.unwrap();
    assert_eq!(hsm.resets.load(Ordering::Relaxed), 2);
    assert!(
        Client::new(Control(&hsm))
            .open_session(&credential)
            .is_err()
    );
}

#[test]
fn own_file_is_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let content: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let options = Options {
        file: Some(path.clone()),
        keep: Some(folder.path().to_path_buf()),
        ..options()
    };
    run_with(&Fake::new(Fault::None), &options).0.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let kept = |name| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(kept("demo.gcm.plain"), content);
    assert_eq!(kept("demo.xts.plain"), content);
    assert_eq!(kept("demo.gcm").len(), 40_000 + 3 * 28);
    assert_eq!(kept("demo.xts").len(), 40_960);
}

#[test]
fn tiny_files_work() {
    for size in [1, 15, 16, 17] {
        let options = Options { size, ..options() };
        let (result, story) = run_with(&Fake::new(Fault::None), &options);
        assert!(result.is_ok(), "{size} bytes: {result:?}\n{story}");
    }
}

#[test]
fn every_check_can_fail() {
    for (fault, text) in [
        (Fault::NoEncryption, "returned the plaintext"),
        (Fault::BadDecryption, "differs from the original at byte"),
        (Fault::AnyTag, "a changed tag was accepted"),
        (Fault::LeaksPlaintext, "plaintext got out although"),
        (Fault::Short, "the device processed"),
    ] {
        let error = run_with(&Fake::new(fault), &options()).0.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(text), "{fault:?}: {error}");
    }
}
