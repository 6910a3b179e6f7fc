// SPDX-License-Identifier: MIT OR Apache-2.0

//! Firmware over a socket: the same flow, the example of the protocol description, and what goes wrong.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::host::*;
use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use azihsm_ddi::{AesKeySize, AesOp, Status};
use azihsm_firmware::{
    Cipher, ConnectError, ControlRequest, FastRequest, FastResponse, Firmware, Model, Remote,
    SessionInfo, SessionKind, StateChange, Undo, serve,
};

/// Serves a model on a new socket.
fn served(model: &Arc<Model>) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let model = model.clone();
    // The thread ends with the process.
    thread::spawn(move || serve(listener, model));
    (directory, path)
}

#[test]
fn flow_over_a_socket() {
    let model = Arc::new(test_model());
    let (_directory, path) = served(&model);
    let remote = Remote::connect(&path).unwrap();
    let mut ready = ready(&remote, FUNCTION);
    let session = ready.session.clone();

    let key = ready
        .client
        .generate_aes_key(session.id, AesKeySize::Aes256, b"cbc", false)
        .unwrap();
    let sealed = ready
        .client
        .aes_cbc(session.id, key.key_id, AesOp::Encrypt, [1; 16], &[2; 1008])
        .unwrap();
    let opened = ready
        .client
        .aes_cbc(
            session.id,
            key.key_id,
            AesOp::Decrypt,
            [1; 16],
            &sealed.text,
        )
        .unwrap();
    assert_eq!(*opened.text, [2; 1008]);

    let gcm_key = ready.bulk_key(AesKeySize::GcmBulk256Unapproved, b"gcm");
    let text = vec![7; (4 << 20) + 5];
    let (cipher, data) = gcm(gcm_key, [3; 12], [0; 16], b"aad", &text);
    let sealed = fast(&remote, cipher, false, session.id, &data);
    assert_eq!(sealed, fast(&*model, cipher, false, session.id, &data));
    let reference = Aes256Gcm::new(&labelled_key(b"gcm").into());
    let expected = reference
        .encrypt(
            &[3; 12].into(),
            Payload {
                msg: &text,
                aad: b"aad",
            },
        )
        .unwrap();
    assert!([&sealed.data[32..], &sealed.tag].concat() == expected);

    let [key1, key2] = [&b"1"[..], b"2"].map(|label| ready.bulk_key(AesKeySize::XtsBulk256, label));
    for data_unit in [None, Some(512)] {
        let cipher = Cipher::Xts {
            key1,
            key2,
            tweak: [5; 16],
            data_unit,
        };
        let sealed = fast(&remote, cipher, false, session.id, &text[..4096]);
        assert_eq!(
            sealed,
            fast(&*model, cipher, false, session.id, &text[..4096])
        );
        assert_eq!(
            fast(&remote, cipher, true, session.id, &sealed.data).data,
            text[..4096]
        );
    }

    reset(&remote, FUNCTION, StateChange::Nssr);
    let reserved = SessionInfo {
        id: session.id,
        needs_renegotiation: true,
    };
    assert_eq!(remote.sessions(FUNCTION), [reserved]);
    let partition = ready.partition.clone();
    ready
        .client
        .establish_again(&CREDENTIAL, &ready.owner, &partition)
        .unwrap();
    ready.client.reopen_session(&CREDENTIAL, &session).unwrap();
    assert_status(
        ready.client.delete_key(session.id, key.key_id),
        Status::KeyNotFound,
    );
    let (status, fields) = remote.flush(FUNCTION, session.id);
    assert_eq!((status, fields.kind, fields.safe_to_close), (0, 2, true));
    let other = ready.client.open_session(&CREDENTIAL).unwrap().id;
    remote.undo(FUNCTION, Undo::Session(other));
    assert!(remote.sessions(FUNCTION).is_empty());
}

#[test]
fn many_commands_at_once() {
    let model = Arc::new(test_model());
    let (_directory, path) = served(&model);
    let remote = Remote::connect(&path).unwrap();
    let mut ready = ready(&remote, FUNCTION);
    let [key1, key2] = [&b"1"[..], b"2"].map(|label| ready.bulk_key(AesKeySize::XtsBulk256, label));
    thread::scope(|scope| {
        for worker in 0..24u8 {
            let remote = &remote;
            let model = &model;
            scope.spawn(move || {
                for round in 0..20u8 {
                    let tweak = [worker ^ round; 16];
                    let cipher = Cipher::Xts {
                        key1,
                        key2,
                        tweak,
                        data_unit: None,
                    };
                    let text = vec![round; 16 * (1 + usize::from(worker) * 64)];
                    let sealed = fast(remote, cipher, false, 0, &text);
                    assert_eq!(sealed, fast(&**model, cipher, false, 0, &text));
                }
            });
        }
        let session = ready.session.id;
        for _ in 0..20 {
            let size = AesKeySize::Aes128;
            let key = ready
                .client
                .generate_aes_key(session, size, b"", false)
                .unwrap();
            ready.client.delete_key(session, key.key_id).unwrap();
        }
    });
}

#[test]
fn replies_come_in_any_order() {
    /// Firmware whose first command waits for the second.
    struct Slow(
        std::sync::Mutex<mpsc::Receiver<()>>,
        mpsc::Sender<()>,
        Model,
    );

    impl Firmware for Slow {
        fn control(
            &self,
            function: azihsm_firmware::FunctionId,
            request: ControlRequest,
        ) -> azihsm_firmware::ControlResponse {
            self.2.control(function, request)
        }
        fn undo(&self, _: azihsm_firmware::FunctionId, _: Undo) {}
        fn flush(
            &self,
            _: azihsm_firmware::FunctionId,
            session_id: u16,
        ) -> (u16, azihsm_firmware::SessionResult) {
            if session_id == 0 {
                self.0.lock().unwrap().recv().unwrap();
            } else {
                self.1.send(()).unwrap();
            }
            (session_id, azihsm_firmware::SessionResult::default())
        }
        fn fast(&self, _: azihsm_firmware::FunctionId, _: FastRequest) -> FastResponse {
            panic!("this firmware has a bug")
        }
        fn state(&self, _: azihsm_firmware::FunctionId, _: StateChange) {}
        fn sessions(&self, _: azihsm_firmware::FunctionId) -> Vec<SessionInfo> {
            Vec::new()
        }
        fn save(&self, _: azihsm_firmware::FunctionId) -> Option<Vec<u8>> {
            None
        }
        fn restore(&self, _: azihsm_firmware::FunctionId, _: &[u8]) -> bool {
            false
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, receiver) = mpsc::channel();
    let firmware = Slow(std::sync::Mutex::new(receiver), sender, Model::default());
    thread::spawn(move || serve(listener, firmware));
    let remote = Remote::connect(&path).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| remote.flush(FUNCTION, 0).0);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(remote.flush(FUNCTION, 1).0, 1);
        assert_eq!(first.join().unwrap(), 0);
    });
    // A panic ends the connection, not the server.
    let cipher = Cipher::Xts {
        key1: 0,
        key2: 1,
        tweak: [0; 16],
        data_unit: None,
    };
    let lost = fast(&remote, cipher, false, 0, &[]);
    assert_eq!((lost.status, lost.error), (3, 0xa));
    let again = Remote::connect(&path).unwrap();
    assert_eq!(again.flush(FUNCTION, 1).0, 1);
}

/// What a lost connection looks like to the queue hardware.
fn assert_lost(remote: &Remote) {
    let start = Instant::now();
    let request = ControlRequest {
        kind: SessionKind::None,
        session_id: None,
        request: vec![0],
    };
    let control = remote.control(FUNCTION, request);
    assert_eq!((control.status, control.response.len()), (7, 0));
    assert_eq!(remote.flush(FUNCTION, 0).0, 7);
    let cipher = Cipher::Xts {
        key1: 0,
        key2: 1,
        tweak: [0; 16],
        data_unit: None,
    };
    let lost = fast(remote, cipher, false, 0, &[0; 16]);
    assert_eq!((lost.status, lost.error, lost.data.len()), (3, 0xa, 0));
    remote.state(FUNCTION, StateChange::Enable);
    remote.undo(FUNCTION, Undo::Key(1));
    assert!(remote.sessions(FUNCTION).is_empty());
    assert!(start.elapsed() < Duration::from_secs(5));
}

const HELLO: [u8; 18] = [
    14, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, b'A', b'Z', b'H', b'F', 2, 0,
];

/// Connects to firmware that greets and then does `rest`.
fn odd_firmware(timeout: Duration, rest: impl FnOnce(UnixStream) + Send + 'static) -> Remote {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        theirs.read_exact(&mut [0; 18]).unwrap();
        theirs.write_all(&HELLO).unwrap();
        rest(theirs);
    });
    Remote::with_stream(ours, timeout).unwrap()
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn firmware_that_goes_away() {
    let remote = odd_firmware(LONG, drop);
    assert_lost(&remote);
    assert!(!remote.is_connected());
    // In the middle of a command, and of a reply.
    for partial in [&[][..], &[1], &[40, 0, 0, 0, 1, 0, 0]] {
        let remote = odd_firmware(LONG, move |mut stream| {
            stream.read_exact(&mut [0; 12]).unwrap();
            stream.write_all(partial).unwrap();
        });
        assert_lost(&remote);
    }
}

#[test]
fn firmware_that_sends_nonsense() {
    for nonsense in [
        // A length that is too short, one that is too long, a type that is not known, a body that is too short.
        &[0, 0, 0, 0][..],
        &[0xff, 0xff, 0xff, 0xff],
        &[8, 0, 0, 0, 1, 0, 0, 0, 0xff, 0, 0, 0],
        &[9, 0, 0, 0, 1, 0, 0, 0, 0x81, 0, 0, 0, 0],
    ] {
        let remote = odd_firmware(LONG, move |mut stream| {
            stream.write_all(nonsense).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        assert_lost(&remote);
        assert!(!remote.is_connected());
    }
    // A reply to another request type than was asked.
    let remote = odd_firmware(LONG, |mut stream| {
        stream.read_exact(&mut [0; 14]).unwrap();
        stream
            .write_all(&[8, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 0, 0])
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(remote.flush(FUNCTION, 0).0, 7);
}

#[test]
fn firmware_that_does_not_answer() {
    let timeout = Duration::from_secs(1);
    let (given_up, wait) = mpsc::channel();
    let remote = odd_firmware(timeout, move |mut stream| {
        // It reads, and answers the first request after that was given up.
        stream.read_exact(&mut [0; 14]).unwrap();
        wait.recv().unwrap();
        let mut late = vec![16, 0, 0, 0, 1, 0, 0, 0, 0x83, 0, 0, 0];
        late.extend([0; 8]);
        stream.write_all(&late).unwrap();
        stream.read_exact(&mut [0; 14]).unwrap();
        late[4] = 2;
        stream.write_all(&late).unwrap();
        let _ = wait.recv();
    });
    assert_eq!(remote.flush(FUNCTION, 0).0, 7);
    given_up.send(()).unwrap();
    assert!(remote.is_connected());
    assert_eq!(remote.flush(FUNCTION, 0).0, 0);

    // One that does not even read.
    let (_keep, wait) = mpsc::channel::<()>();
    let remote = odd_firmware(timeout, move |stream| {
        let _ = wait.recv();
        drop(stream);
    });
    let cipher = Cipher::Xts {
        key1: 0,
        key2: 1,
        tweak: [0; 16],
        data_unit: None,
    };
    assert_eq!(fast(&remote, cipher, false, 0, &vec![0; 8 << 20]).status, 3);
    assert!(!remote.is_connected());
}

#[test]
fn too_long_a_command_is_not_sent() {
    let model = Arc::new(test_model());
    let (_directory, path) = served(&model);
    let remote = Remote::connect(&path).unwrap();
    let cipher = Cipher::Xts {
        key1: 0,
        key2: 1,
        tweak: [0; 16],
        data_unit: None,
    };
    assert_eq!(
        fast(&remote, cipher, false, 0, &vec![0; 64 << 20]).status,
        3
    );
    assert!(remote.is_connected());
    assert!(remote.sessions(FUNCTION).is_empty());
}

#[test]
fn something_else_at_the_other_end() {
    let missing = tempfile::tempdir().unwrap().path().join("none");
    let error = Remote::connect(missing).unwrap_err();
    assert!(
        error.to_string().contains("is a server listening"),
        "{error}"
    );

    let answer = |bytes: &'static [u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            theirs.read_exact(&mut [0; 18]).unwrap();
            theirs.write_all(bytes).unwrap();
        });
        Remote::with_stream(ours, LONG).unwrap_err()
    };
    assert!(matches!(
        answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ConnectError::Protocol
    ));
    let mut hello = HELLO;
    hello[16] = 3;
    assert!(matches!(
        answer(Box::leak(Box::new(hello))),
        ConnectError::Version(3)
    ));
}

#[test]
fn server_survives_bad_emulators() {
    let model = Arc::new(test_model());
    let (_directory, path) = served(&model);
    let mut hello = HELLO;
    hello[8] = 0;
    for (greets, nonsense) in [
        (false, &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (false, &[8, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]),
        (true, &[0xff, 0xff, 0xff, 0xff]),
        (true, &[8, 0, 0, 0, 1, 0, 0, 0, 0x77, 0, 0, 0]),
        (true, &[9, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0]),
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        if greets {
            stream.write_all(&hello).unwrap();
            let mut reply = [0; 18];
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(reply, HELLO);
        }
        stream.write_all(nonsense).unwrap();
        // The connection is closed without an answer; unread input may show as a reset.
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "{nonsense:?}");
    }
    // One that leaves in the middle of a frame.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&hello[..7]).unwrap();
    drop(stream);
    assert!(
        Remote::connect(&path)
            .unwrap()
            .sessions(FUNCTION)
            .is_empty()
    );
}

/// Takes the example out of the protocol description: what is sent, then what has to come back.
fn example() -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = include_str!("../../PROTOCOL.md");
    let (_, example) = text.split_once("```example\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let mut steps: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in example
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (direction, hex) = line.split_at(1);
        let bytes = hex::decode(hex.replace(' ', "")).unwrap();
        if direction == ">" {
            if steps.last().is_none_or(|(_, reply)| !reply.is_empty()) {
                steps.push(Default::default());
            }
            steps.last_mut().unwrap().0.extend(bytes);
        } else {
            assert_eq!(direction, "<");
            steps.last_mut().unwrap().1.extend(bytes);
        }
    }
    steps
}

#[test]
fn example_of_the_protocol_description() {
    let model = Arc::new(Model::default());
    let (_directory, path) = served(&model);
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let steps = example();
    assert_eq!(steps.len(), 6);
    for (request, reply) in steps {
        stream.write_all(&request).unwrap();
        let mut found = vec![0; reply.len()];
        stream.read_exact(&mut found).unwrap();
        assert_eq!(found, reply);
    }
}
