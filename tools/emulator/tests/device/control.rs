// SPDX-License-Identifier: GPL-2.0-or-later

//! Control-path commands (section 6).

use azihsm_firmware::{SessionKind, Undo};

use crate::firmware::{CLOSE, LENGTH, OPEN, PANIC, STATUS};
use crate::host::{Completion, Cp, Host, Queue, RAM};

/// A host with a CP queue and buffers: source, then 8 KiB of destination.
fn start() -> (
    Host,
    std::sync::Arc<crate::firmware::TestFirmware>,
    Queue,
    u64,
) {
    let (mut host, firmware) = Host::ready();
    let cp = host.pair(1, 8);
    let buffers = host.page(3);
    (host, firmware, cp, buffers)
}

fn run(host: &Host, cp: &mut Queue, sqe: Cp) -> Completion {
    host.submit(cp, &sqe.0);
    let completion = host.reap(cp);
    assert_eq!(completion.cid(), u16::from_le_bytes([sqe.0[2], sqe.0[3]]));
    completion
}

#[test]
fn request_and_response() {
    let (host, firmware, mut cp, buffers) = start();
    let request: Vec<u8> = std::iter::once(0).chain(1..=200).collect();
    host.write(buffers, &request);
    let sqe = Cp::new(0x1234, buffers, 201, buffers + 4096)
        .set(44, &[3 | 4])
        .set(48, &[6, 0]);
    let completion = run(&host, &mut cp, sqe);
    assert_eq!(
        completion.0,
        [201, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0x34, 0x12, 1, 0]
    );
    assert_eq!(
        host.read(buffers + 4096, 202),
        [&request[..], &[0]].concat()
    );
    let seen = firmware.control.lock();
    assert_eq!(
        (seen[0].kind, seen[0].session_id),
        (SessionKind::InSession, Some(6))
    );
    assert_eq!(host.interrupts(1), 1);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn the_session_id_counts_only_if_marked_valid() {
    let (host, firmware, mut cp, buffers) = start();
    for (kind, expected) in [
        SessionKind::None,
        SessionKind::Open,
        SessionKind::Close,
        SessionKind::InSession,
    ]
    .into_iter()
    .enumerate()
    {
        let sqe = Cp::new(1, buffers, 1, buffers + 4096)
            .set(44, &[kind as u8])
            .set(48, &[6, 0]);
        run(&host, &mut cp, sqe);
        let seen = firmware.control.lock();
        assert_eq!((seen[kind].kind, seen[kind].session_id), (expected, None));
    }
}

#[test]
fn checks_in_order() {
    let (host, firmware, mut cp, b) = start();
    // A command that breaks every rule, mended one rule after the other.
    let broken = Cp::new(1, b + 1, 0, b + 4097)
        .set(0, &[2, 0x40])
        .set(24, &[0; 4]);
    let mut expect = |sqe: &Cp, status: u16| {
        let completion = run(&host, &mut cp, sqe.clone());
        assert_eq!(completion.status(), status);
        assert_eq!(
            completion.0[..8],
            [0; 8],
            "a refused command has no session fields"
        );
    };
    expect(&broken, 0x0c0);
    let sqe = broken.set(0, &[2, 0]);
    expect(&sqe, 0x001);
    let sqe = sqe.set(0, &[0, 0]);
    expect(&sqe, 0x0c1);
    let sqe = sqe.set(4, &4097u32.to_le_bytes());
    expect(&sqe, 0x0c1);
    let sqe = sqe.set(4, &4096u32.to_le_bytes());
    expect(&sqe, 0x0c2);
    let sqe = sqe.set(24, &8193u32.to_le_bytes());
    expect(&sqe, 0x0c2);
    let sqe = sqe.set(24, &8192u32.to_le_bytes());
    expect(&sqe, 0x0c3);
    let sqe = sqe.set(8, &b.to_le_bytes()).set(16, &(b + 8).to_le_bytes());
    expect(&sqe, 0x0c3);
    let sqe = sqe.set(16, &[0; 8]);
    expect(&sqe, 0x0c4);
    let sqe = sqe.set(28, &(b + 4096).to_le_bytes()).set(36, &[4]);
    expect(&sqe, 0x0c4);
    let sqe = sqe.set(36, &[0; 8]);
    expect(&sqe, 0x007);
    let sqe = sqe.set(4, &3585u32.to_le_bytes());
    expect(&sqe, 0x007);
    assert!(
        firmware.control.lock().is_empty(),
        "no refused command reaches the firmware"
    );
    let sqe = sqe.set(4, &3584u32.to_le_bytes());
    assert_eq!(run(&host, &mut cp, sqe).status(), 0);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn the_command_set_is_ignored() {
    let (host, _, mut cp, b) = start();
    assert_eq!(
        run(&host, &mut cp, Cp::new(1, b, 1, b + 4096).set(1, &[0x3c])).status(),
        0
    );
}

#[test]
fn flush() {
    let (host, _, mut cp, _) = start();
    let flush = Cp::new(9, 0, 0, 0).set(0, &[1]).set(24, &[0; 20]);
    for control in [0, 4, 1 | 4, 2, 3 | 4] {
        assert_eq!(
            run(&host, &mut cp, flush.clone().set(44, &[control])).status(),
            0x007,
            "control {control}"
        );
    }
    let completion = run(&host, &mut cp, flush.set(44, &[2 | 4]).set(48, &[3, 0]));
    assert_eq!(completion.status(), 0);
    assert_eq!(completion.0[..8], [0, 0, 2 | 4 | 0x10, 0, 3, 0, 0, 0]);
}

#[test]
fn session_fields() {
    let (host, _, mut cp, b) = start();
    host.write(b, &[OPEN]);
    let completion = run(&host, &mut cp, Cp::new(1, b, 1, b + 4096).set(44, &[1]));
    assert_eq!(completion.0[..8], [1, 0, 1 | 4 | 8, 0, 5, 0, 9, 0]);
}

#[test]
fn transport_errors_of_the_firmware() {
    let (host, _, mut cp, b) = start();
    host.write(b, &[STATUS, 0xc5, 0]);
    let completion = run(&host, &mut cp, Cp::new(1, b, 3, b + 4096));
    assert_eq!((completion.status(), completion.u16(0)), (0x0c5, 0));
    assert_eq!(host.read(b + 4096, 16), [0; 16]);
}

#[test]
fn a_panic_of_the_firmware_ends_the_command_only() {
    let (host, _, mut cp, b) = start();
    host.write(b, &[PANIC]);
    assert_eq!(
        run(&host, &mut cp, Cp::new(1, b, 1, b + 4096)).status(),
        0x007
    );
    assert!(host.device.stats().has_internal_errors());
    host.write(b, &[0]);
    assert_eq!(run(&host, &mut cp, Cp::new(2, b, 1, b + 4096)).status(), 0);
}

#[test]
fn in_dma_failure() {
    let (host, firmware, mut cp, b) = start();
    let completion = run(&host, &mut cp, Cp::new(1, RAM - 4096, 1, b));
    assert_eq!(completion.status(), 0x0c6);
    assert!(firmware.control.lock().is_empty());
    assert!(
        host.violations()[0].contains("CP queue 1, command 1: request"),
        "{:?}",
        host.violations()
    );
}

#[test]
fn out_dma_failure_rolls_back() {
    let (host, firmware, mut cp, b) = start();
    host.write(b, &[OPEN]);
    let completion = run(&host, &mut cp, Cp::new(1, b, 1, RAM - 8192).set(44, &[1]));
    assert_eq!(completion.status(), 0x0c6);
    assert_eq!(completion.0[..8], [0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(*firmware.undone.lock(), [Undo::Session(5)]);
    assert_eq!(host.violations().len(), 1);
}

#[test]
fn out_dma_failure_of_a_close_still_says_that_it_is_closed() {
    let (host, firmware, mut cp, b) = start();
    host.write(b, &[CLOSE]);
    let completion = run(
        &host,
        &mut cp,
        Cp::new(1, b, 1, RAM - 8192).set(44, &[2 | 4]).set(48, &[5]),
    );
    assert_eq!(completion.status(), 0x0c6);
    assert_eq!(completion.0[..8], [0, 0, 2 | 4 | 0x10, 0, 5, 0, 0, 0]);
    assert!(firmware.undone.lock().is_empty());
}

#[test]
fn a_long_response_goes_on_at_prp2() {
    let (mut host, _, mut cp, b) = start();
    let second = host.page(1);
    host.write(b, &[LENGTH, 0x02, 0x10]);
    let sqe = Cp::new(1, b, 3, b + 4096).set(36, &second.to_le_bytes());
    assert_eq!(run(&host, &mut cp, sqe).u16(0), 0x1002);
    assert_eq!(host.read(b + 4096, 4096), [0xa5; 4096]);
    assert_eq!(host.read(b + 8192, 1), [0]);
    assert_eq!(host.read(second, 4), [0xa5, 0xa5, 0, 0]);
}

#[test]
fn a_response_longer_than_the_destination_is_recorded() {
    let (host, _, mut cp, b) = start();
    host.write(b, &[LENGTH, 17, 0]);
    let completion = run(
        &host,
        &mut cp,
        Cp::new(1, b, 3, b + 4096).set(24, &16u32.to_le_bytes()),
    );
    assert_eq!(
        (completion.status(), completion.u16(0)),
        (0, 17),
        "the device does not check"
    );
    assert!(
        host.violations()[0].contains("17 bytes, the destination only 16"),
        "{:?}",
        host.violations()
    );
}
