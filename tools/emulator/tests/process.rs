// SPDX-License-Identifier: GPL-2.0-or-later

//! The program as it is started: sockets, counters, signals, exit codes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vfio_user::Client;

const LIMIT: Duration = Duration::from_secs(10);
const CONFIG_REGION: u32 = 7;
const MSIX: u32 = 2;
/// Event descriptors that are triggered.
const SET_EVENTS: u32 = 4 | (1 << 5);

struct Emulator {
    child: Child,
    folder: TempDir,
}

impl Emulator {
    /// Starts the program in a folder of its own and waits for its socket.
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = command(&folder, arguments).spawn().unwrap();
        let emulator = Emulator { child, folder };
        let limit = Instant::now() + LIMIT;
        while !emulator.path("socket").exists() {
            assert!(Instant::now() < limit, "no socket");
            thread::sleep(Duration::from_millis(2));
        }
        emulator
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connect(&self) -> Client {
        let limit = Instant::now() + LIMIT;
        loop {
            match Client::new(&self.path("socket")) {
                // It is made, and does not take clients yet.
                Err(vfio_user::Error::Connect(error))
                    if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < limit =>
                {
                    thread::sleep(Duration::from_millis(2));
                }
                client => return client.unwrap(),
            }
        }
    }

    /// Waits for the end; returns exit code, standard error and counters.
    fn finish(mut self) -> (i32, String, Value) {
        let limit = Instant::now() + LIMIT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < limit, "the emulator does not end");
            thread::sleep(Duration::from_millis(2));
        }
        for socket in ["socket", "socket.vf0", "socket.vf1"] {
            assert!(!self.path(socket).exists(), "{socket} is removed");
        }
        assert!(
            !self.path("control").exists(),
            "the control socket is removed"
        );
        let stats = std::fs::read(self.path("stats")).unwrap();
        let mut error = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        (code, error, serde_json::from_slice(&stats).unwrap())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azihsm-emulator"));
    command
        .current_dir(folder.path())
        .args([
            "--socket",
            "socket",
            "--stats",
            "stats",
            "--control",
            "control",
        ])
        .args(arguments)
        .stderr(Stdio::piped());
    command
}

/// Starts the program where it must fail.
fn fails(folder: &TempDir, arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = command(folder, arguments).output().unwrap();
    assert_ne!(status.code(), Some(0));
    String::from_utf8(stderr).unwrap()
}

fn reg(client: &mut Client, offset: u64) -> u32 {
    let mut data = [0; 4];
    client.region_read(0, offset, &mut data).unwrap();
    u32::from_le_bytes(data)
}

#[test]
fn a_client_enables_and_identifies() {
    let emulator = Emulator::start(&["--strict", "--resources", "3"]);
    let mut client = emulator.connect();
    let mut id = [0; 4];
    client.region_read(CONFIG_REGION, 0, &mut id).unwrap();
    assert_eq!(id, [0x14, 0x14, 0x03, 0xc0]);
    for (index, size) in [
        (0, 4096),
        (1, 0),
        (2, 4096),
        (3, 0),
        (4, 4096),
        (5, 0),
        (7, 4096),
    ] {
        assert_eq!(
            client.region(index).map_or(0, |r| r.size),
            size,
            "region {index}"
        );
    }
    assert_eq!(client.get_irq_info(MSIX).unwrap().count, 32);

    let ram = tempfile::tempfile().unwrap();
    ram.set_len(0x4000).unwrap();
    client
        .dma_map(0, 0x10_0000, 0x4000, ram.as_raw_fd())
        .unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    client
        .set_irqs(MSIX, SET_EVENTS, 0, 1, &[theirs.as_raw_fd()])
        .unwrap();
    // Memory Space Enable, Bus Master Enable.
    set_config(&mut client, 4, 6);
    client
        .region_write(0, 0x24, &0x000f_000fu32.to_le_bytes())
        .unwrap();
    client
        .region_write(0, 0x28, &0x10_0000u64.to_le_bytes())
        .unwrap();
    client
        .region_write(0, 0x30, &0x10_1000u64.to_le_bytes())
        .unwrap();
    client.region_write(0, 0x14, &1u32.to_le_bytes()).unwrap();
    let limit = Instant::now() + LIMIT;
    while reg(&mut client, 0x1c) != 1 {
        assert!(Instant::now() < limit, "not ready");
    }
    // Get Features 7.
    let mut sqe = [0; 64];
    sqe[0] = 0xa;
    sqe[40] = 7;
    ram.write_all_at(&sqe, 0).unwrap();
    client.region_write(2, 0, &1u32.to_le_bytes()).unwrap();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    (&ours).read_exact(&mut [0; 8]).expect("an interrupt");
    let mut cqe = [0; 16];
    ram.read_exact_at(&mut cqe, 0x1000).unwrap();
    assert_eq!(cqe, [2, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
    client.region_write(2, 4, &1u32.to_le_bytes()).unwrap();

    // After a reset by the client everything is as in the beginning.
    client.reset().unwrap();
    assert_eq!((reg(&mut client, 0x14), reg(&mut client, 0x1c)), (0, 0));
    client.dma_unmap(0x10_0000, 0x4000).unwrap();
    drop(client);
    let (code, error, stats) = emulator.finish();
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(stats["commands_admin"], 1);
    assert_eq!(stats["interrupts"], 1);
    assert_eq!(stats["doorbell_writes_sq"], 1);
    assert_eq!(stats["doorbell_writes_cq"], 1);
    assert_eq!(stats["violations"], 0);
    assert_eq!(stats["strict"], true);
    assert_eq!(stats["firmware"], "model");
    assert_eq!(stats["insecure_test_key"], false);
}

/// Writes two bytes of the configuration space.
fn set_config(client: &mut Client, offset: u64, value: u16) {
    client
        .region_write(CONFIG_REGION, offset, &value.to_le_bytes())
        .unwrap();
}

#[test]
fn a_pf_and_its_vfs() {
    let emulator = Emulator::start(&["--strict", "--vfs", "2", "--vectors", "17"]);
    let mut pf = emulator.connect();
    let [mut vf0, mut vf1] =
        ["socket.vf0", "socket.vf1"].map(|name| Client::new(&emulator.path(name)).unwrap());
    assert!(!emulator.path("socket.vf2").exists());
    assert_eq!(pf.get_irq_info(MSIX).unwrap().count, 17);
    let mut capability = [0; 4];
    for (client, expected) in [(&mut pf, 0x10), (&mut vf0, 0), (&mut vf1, 0)] {
        client
            .region_read(CONFIG_REGION, 0x140, &mut capability)
            .unwrap();
        assert_eq!(capability[0], expected);
    }
    assert_eq!(reg(&mut pf, 8), 0x0001_0400);
    assert_eq!(reg(&mut vf1, 8), u32::MAX);
    // NumVFs, VF Enable and VF Memory Space Enable.
    set_config(&mut pf, 0x150, 2);
    set_config(&mut pf, 0x148, 9);
    assert_eq!(reg(&mut vf0, 8), 0x0001_0400);
    assert_eq!(reg(&mut vf1, 8), 0x0001_0400);
    // Each VF is enabled by itself.
    vf1.region_write(0, 0x14, &1u32.to_le_bytes()).unwrap();
    let limit = Instant::now() + LIMIT;
    while reg(&mut vf1, 0x1c) != 1 {
        assert!(Instant::now() < limit, "not ready");
    }
    assert_eq!((reg(&mut pf, 0x1c), reg(&mut vf0, 0x1c)), (0, 0));
    // A VF's client may go, the others stay.
    drop(vf0);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(reg(&mut vf1, 0x1c), 1);
    pf.reset().unwrap();
    assert_eq!(reg(&mut vf1, 0x1c), u32::MAX);
    drop(pf);
    let (code, error, stats) = emulator.finish();
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(stats["enables"], 1);
}

#[test]
fn doorbells_that_the_guest_maps() {
    let emulator = Emulator::start(&["--strict", "--fast"]);
    let mut client = emulator.connect();
    assert!(client.region(0).unwrap().file_offset.is_none());
    let region = client.region(2).unwrap();
    let area = &region.sparse_areas[0];
    assert_eq!((area.offset, area.size), (0, 4096));
    let page = region
        .file_offset
        .as_ref()
        .unwrap()
        .file()
        .try_clone()
        .unwrap();
    let ram = tempfile::tempfile().unwrap();
    ram.set_len(0x4000).unwrap();
    client
        .dma_map(0, 0x10_0000, 0x4000, ram.as_raw_fd())
        .unwrap();
    set_config(&mut client, 4, 6);
    for (offset, value) in [(0x24, 0x000f_000fu64), (0x28, 0x10_0000), (0x30, 0x10_1000)] {
        let value = value.to_le_bytes();
        let len = if offset == 0x24 { 4 } else { 8 };
        client.region_write(0, offset, &value[..len]).unwrap();
    }
    client.region_write(0, 0x14, &1u32.to_le_bytes()).unwrap();
    let limit = Instant::now() + LIMIT;
    while reg(&mut client, 0x1c) != 1 {
        assert!(Instant::now() < limit, "not ready");
    }
    // Get Features 7.
    let mut sqe = [0; 64];
    sqe[0] = 0xa;
    sqe[40] = 7;
    ram.write_all_at(&sqe, 0).unwrap();
    page.write_all_at(&1u32.to_le_bytes(), 0).unwrap();
    let mut cqe = [0; 16];
    while cqe[14] & 1 == 0 {
        assert!(Instant::now() < limit, "no completion");
        ram.read_exact_at(&mut cqe, 0x1000).unwrap();
    }
    assert_eq!(cqe[..4], [3, 0, 3, 0]);
    drop(client);
    let (code, error, stats) = emulator.finish();
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(stats["doorbell_writes_sq"], 1);
}

#[test]
fn vfs_have_no_resources_at_power_up() {
    let folder = tempfile::tempdir().unwrap();
    let error = fails(&folder, &["--vfs", "1", "--resources", "4"]);
    assert!(error.contains("leave it out"), "{error}");
    let error = fails(&folder, &["--vfs", "65"]);
    assert!(error.contains("0..=64"), "{error}");
    let error = fails(&folder, &["--vectors", "0"]);
    assert!(error.contains("1..=32"), "{error}");
}

#[test]
fn violations_fail_the_run_only_in_strict_mode() {
    for (arguments, expected) in [(&["--strict"][..], 3), (&[], 0)] {
        let emulator = Emulator::start(arguments);
        let mut client = emulator.connect();
        client.region_write(2, 8, &1u32.to_le_bytes()).unwrap();
        // The run goes on.
        assert_eq!(reg(&mut client, 8), 0x0001_0400);
        drop(client);
        let (code, error, stats) = emulator.finish();
        assert_eq!(code, expected);
        assert!(error.contains("SQ 1 does not exist"), "{error}");
        assert_eq!(stats["violations"], 1);
        assert_eq!(stats["violation_list"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_an_error() {
    let emulator = Emulator::start(&[]);
    let mut stream = UnixStream::connect(emulator.path("socket")).unwrap();
    // A version message whose text is not a C string.
    let mut message = vec![0; 24];
    message[2] = 1;
    message[4] = 24;
    message[20..].copy_from_slice(b"\0\0\0x");
    stream.write_all(&message).unwrap();
    let (code, error, _) = emulator.finish();
    assert_eq!(code, 1);
    assert!(error.contains("does not follow the protocol"), "{error}");
}

#[test]
fn a_client_that_dies_is_none() {
    let emulator = Emulator::start(&[]);
    let mut stream = UnixStream::connect(emulator.path("socket")).unwrap();
    // Device info, twice, but nobody waits for the answers.
    let mut message = vec![0; 32];
    message[2] = 4;
    message[4] = 32;
    stream.write_all(&message).unwrap();
    stream.write_all(&message).unwrap();
    drop(stream);
    let (code, error, _) = emulator.finish();
    assert_eq!(code, 0);
    assert!(!error.contains("azihsm-emulator: "), "{error}");
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let emulator = Emulator::start(&[]);
        let _client = (signal == libc::SIGINT).then(|| emulator.connect());
        // SAFETY: The process is a child that was not waited for, so its id is its own.
        unsafe { libc::kill(emulator.child.id() as i32, signal) };
        let (code, _, stats) = emulator.finish();
        assert_eq!(code, 0);
        assert_eq!(stats["commands_admin"], 0);
    }
}

#[test]
fn ends_on_request_when_its_clients_are_quiet() {
    const BUSY: Duration = Duration::from_millis(500);
    for functions in [&[][..], &["--vfs", "1"]] {
        let emulator = Emulator::start(functions);
        let mut first = emulator.connect();
        let mut second =
            (!functions.is_empty()).then(|| Client::new(&emulator.path("socket.vf0")).unwrap());
        assert_eq!(reg(&mut first, 8), 0x0001_0400);
        let mut control = UnixStream::connect(emulator.path("control")).unwrap();
        control.write_all(b"{\"cmd\":\"end\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(&control).read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), r#"{"ending":true}"#);
        let busy = Instant::now();
        let mut data = [0; 4];
        while busy.elapsed() < BUSY {
            let client = second.as_mut().unwrap_or(&mut first);
            client.region_read(CONFIG_REGION, 0, &mut data).unwrap();
        }
        let limit = Instant::now() + LIMIT;
        while first.region_read(0, 8, &mut data).is_ok() {
            assert!(Instant::now() < limit, "still there");
            thread::sleep(2 * Duration::from_millis(100));
        }
        assert!(emulator.path("stats").exists());
        let (code, error, _) = emulator.finish();
        assert_eq!((code, error.as_str()), (0, ""));
    }
}

#[test]
fn control_socket() {
    let emulator = Emulator::start(&["--test-key", &"5a".repeat(32)]);
    let stream = UnixStream::connect(emulator.path("control")).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let mut ask = |request: &str| -> Value {
        (&stream).write_all(request.as_bytes()).unwrap();
        (&stream).write_all(b"\n").unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    let stats = ask(r#"{"cmd":"stats"}"#);
    assert_eq!(stats["commands_cp"], 0);
    assert_eq!(stats["insecure_test_key"], true);
    let state = ask(r#"{"cmd":"state"}"#);
    assert_eq!(state["functions"][0]["resources"], 4);
    assert_eq!(state["functions"][0]["ready"], false);
    let armed = ask(
        r#"{"cmd":"arm","faults":[{"class":"fp","what":"drop"},{"what":{"registers":{"vs":{"set":7}}}}]}"#,
    );
    assert_eq!(armed, json!({ "armed": [1, 2] }));
    let error = ask(r#"{"cmd":"arm","faults":[{"queue":1,"what":"registers-gone"}]}"#);
    assert!(error["error"].as_str().unwrap().contains("no queue"));
    let mut client = emulator.connect();
    assert_eq!(reg(&mut client, 8), 7);
    let faults = ask(r#"{"cmd":"faults"}"#);
    assert_eq!(faults["faults"][1]["hits"], 1);
    assert_eq!(faults["faults"][0]["fault"]["what"], "drop");
    assert_eq!(faults["chaos"], Value::Null);
    assert_eq!(ask(r#"{"cmd":"clear","id":2}"#), json!({ "cleared": 1 }));
    assert_eq!(reg(&mut client, 8), 0x0001_0400);
    assert_eq!(ask(r#"{"cmd":"clear"}"#), json!({ "cleared": 1 }));
    assert_eq!(
        ask(r#"{"cmd":"chaos","seed":3}"#),
        json!({ "started": 3, "rate": 0.001 })
    );
    assert!(ask(r#"{"cmd":"chaos","seed":3,"rate":2}"#)["error"].is_string());
    assert_eq!(ask(r#"{"cmd":"chaos-stop"}"#)["stopped"]["seed"], 3);
    assert_eq!(ask(r#"{"cmd":"chaos-stop"}"#)["stopped"], Value::Null);
    for bad in [
        "",
        "{",
        "{}",
        r#"{"cmd":"dance"}"#,
        r#"{"cmd":"clear","ids":[1]}"#,
        r#"{"cmd":"stats","x":1}"#,
    ] {
        assert!(
            ask(bad)["error"].as_str().unwrap().contains("requests are"),
            "{bad}"
        );
    }
    drop(client);
    let (code, error, _) = emulator.finish();
    assert_eq!(code, 0);
    assert!(error.contains("INSECURE"), "{error}");
}

#[test]
fn faults_from_a_file_and_from_a_log() {
    const VERSION: u32 = 0x0001_0400;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (script, log) = (path("faults.toml"), path("log.jsonl"));
    std::fs::write(
        &script,
        "[[fault]]\nafter = 1\nevery = 2\ncount = 2\nwhat = { registers = { vs = { set = 7 } } }\n",
    )
    .unwrap();
    let seen = |arguments: &[&str]| {
        let emulator = Emulator::start(arguments);
        let mut client = emulator.connect();
        let seen: Vec<u32> = (0..6).map(|_| reg(&mut client, 8)).collect();
        drop(client);
        let (code, error, stats) = emulator.finish();
        assert_eq!((code, error.as_str()), (0, ""));
        assert_eq!(stats["consequences"], 0);
        seen
    };
    let spoiled = [VERSION, 7, VERSION, 7, VERSION, VERSION];
    assert_eq!(seen(&["--faults", &script, "--fault-log", &log]), spoiled);
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert_eq!(seen(&["--faults", &log]), spoiled);
    // At a rate of 1 no read is right.
    let spoiled = seen(&["--chaos", "1,1", "--fault-log", &log]);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 6);
    assert_eq!(seen(&["--chaos", "1,1"]), spoiled);
    assert_eq!(seen(&["--faults", &log]), spoiled);
}

#[test]
fn remote_firmware() {
    use azihsm_firmware::{Model, serve};
    use std::os::unix::net::UnixListener;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("firmware");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || serve(listener, Model::default()));
    let choice = format!("unix:{}", path.display());
    let emulator = Emulator::start(&["--firmware", &choice]);
    let mut client = emulator.connect();
    client.region_write(0, 0x14, &1u32.to_le_bytes()).unwrap();
    let limit = Instant::now() + LIMIT;
    while reg(&mut client, 0x1c) != 1 {
        assert!(Instant::now() < limit, "not ready");
    }
    drop(client);
    let (code, _, stats) = emulator.finish();
    assert_eq!(code, 0);
    assert_eq!(stats["firmware"], choice);
    assert_eq!(stats["enables"], 1);
    assert_eq!(stats["sessions"], 0);
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let expect = |arguments: &[&str], texts: &[&str]| {
        let error = fails(&folder, arguments);
        for text in texts {
            assert!(
                error.contains(text),
                "{arguments:?}: {error:?} lacks {text:?}"
            );
        }
    };
    expect(
        &["--test-key", "abc"],
        &["--test-key", "64 hexadecimal digits"],
    );
    expect(
        &["--test-key", &"0g".repeat(32)],
        &["64 hexadecimal digits"],
    );
    expect(&["--resources", "66"], &["0..=65"]);
    expect(&["--firmware", "nvme"], &["\"model\"", "unix:"]);
    expect(
        &["--firmware", "unix:nowhere"],
        &["firmware at nowhere", "start the process"],
    );
    expect(&["--log", "a=b=c"], &["--log", "try"]);
    expect(&["--chaos", "1,2"], &["--chaos", "from 0 to 1"]);
    expect(&["--chaos", "x"], &["no seed: x"]);
    expect(&["--grant", "0"], &["1..=65536"]);
    expect(&["--faults", "none.toml"], &["cannot read none.toml"]);
    std::fs::write(
        folder.path().join("bad.toml"),
        "[[fault]]\nwhat = \"explode\"\n",
    )
    .unwrap();
    expect(
        &["--faults", "bad.toml"],
        &["bad.toml", "explode", "`drop`"],
    );
    // Given twice, clap takes neither: these replace the defaults.
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_azihsm-emulator"))
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run(&["--socket", "taken"]);
    assert!(
        error.contains("taken exists already") && error.contains("remove the file"),
        "{error}"
    );
    let error = run(&["--socket", "no/socket"]);
    assert!(error.contains("must exist and be writable"), "{error}");
    let error = run(&["--socket", "socket", "--stats", "no/stats"]);
    assert!(
        error.contains("no/stats") && error.contains("must exist"),
        "{error}"
    );
    let error = run(&["--socket", "socket", "--control", "taken"]);
    assert!(error.contains("taken exists already"), "{error}");
    assert!(!folder.path().join("socket").exists());
}
