// SPDX-License-Identifier: GPL-2.0-or-later

//! Rings: credit, order, phase, full queues, deletion (sections 3 and 4.5), interrupts (section 5).

use std::thread;
use std::time::{Duration, Instant};

use crate::firmware::{HOLD, KEY_ERROR, KEY_HOLD};
use crate::host::{Cp, Fp, Host, QUIET, eventually, quick};

#[test]
fn wrap_inverts_the_phase() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 3);
    let b = host.page(3);
    for cid in 0..20u16 {
        host.submit(&mut cp, &Cp::new(cid, b, 1, b + 4096).0);
        let completion = host.reap(&mut cp);
        assert_eq!((completion.cid(), completion.sq_id()), (cid, 1));
        assert_eq!(completion.sq_head(), (cid + 1) % 3);
    }
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn control_commands_run_one_at_a_time_in_order() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 8);
    let b = host.page(6);
    for i in 0..3 {
        host.write(b + i * 4096, &[HOLD, i as u8]);
        host.place(&mut cp, &Cp::new(i as u16, b + i * 4096, 2, b + 3 * 4096).0);
    }
    // One doorbell for all.
    host.doorbell(8, cp.tail);
    firmware.await_waiting(&[0]);
    firmware.open(2);
    firmware.open(1);
    thread::sleep(QUIET);
    assert_eq!(firmware.waiting(), [0], "the second waits for the first");
    firmware.open(0);
    for cid in 0..3 {
        assert_eq!(host.reap(&mut cp).cid(), cid);
    }
}

#[test]
fn control_queues_run_side_by_side() {
    let (mut host, firmware) = Host::ready();
    let mut first = host.pair(1, 4);
    let mut second = host.pair(2, 4);
    let b = host.page(4);
    host.write(b, &[HOLD, 1]);
    host.submit(&mut first, &Cp::new(1, b, 2, b + 8192).0);
    firmware.await_waiting(&[1]);
    host.submit(&mut second, &Cp::new(2, b + 4096, 1, b + 8192).0);
    assert_eq!(host.reap(&mut second).cid(), 2);
    host.quiet(&first);
    firmware.open(1);
    assert_eq!(host.reap(&mut first).cid(), 1);
}

#[test]
fn four_fast_commands_run_at_once_and_complete_out_of_order() {
    let (mut host, firmware) = Host::ready();
    let mut fp = host.pair(256, 16);
    let b = host.page(2);
    for gate in 0..6 {
        host.place(
            &mut fp,
            &Fp::new(gate as u16, true, KEY_HOLD + gate, b, b + 4096, 16).0,
        );
    }
    host.doorbell(0x800, fp.tail);
    firmware.await_waiting(&[0, 1, 2, 3]);
    thread::sleep(QUIET);
    assert_eq!(firmware.waiting(), [0, 1, 2, 3], "the credit is four");
    assert_eq!(host.function.sq(256).unwrap().indexes(), (16, 4, 6, 4));
    firmware.open(3);
    let completion = host.reap(&mut fp);
    assert_eq!(completion.cid(), 3);
    assert!(
        completion.sq_head() >= 4,
        "the SQ head runs ahead of the completion"
    );
    firmware.await_waiting(&[4]);
    firmware.open(4);
    assert_eq!(host.reap(&mut fp).cid(), 4);
    firmware.open(1);
    assert_eq!(host.reap(&mut fp).cid(), 1);
    for gate in [0, 2, 5] {
        firmware.open(gate);
    }
    let mut rest: Vec<u16> = (0..3).map(|_| host.reap(&mut fp).cid()).collect();
    rest.sort_unstable();
    assert_eq!(rest, [0, 2, 5]);
    eventually("interrupts", || {
        host.function.counters().interrupts.get() == 8
    });
    assert_eq!(host.interrupts(16), 6, "one message for each completion");
}

#[test]
fn a_full_completion_queue_stalls() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 2);
    let b = host.page(3);
    host.submit(&mut cp, &Cp::new(1, b, 1, b + 4096).0);
    eventually("first completion", || host.peek(&cp).is_some());
    // A queue of two holds one; the second completion waits for the head.
    host.submit(&mut cp, &Cp::new(2, b, 1, b + 4096).0);
    eventually("stall", || host.function.counters().cq_stalls.get() == 1);
    thread::sleep(QUIET);
    assert_eq!(
        host.read(cp.cq_base + 16, 16),
        [0; 16],
        "nothing is overwritten, nothing is added"
    );
    assert_eq!(host.interrupts(1), 1);
    assert_eq!(host.reap(&mut cp).cid(), 1);
    assert_eq!(host.reap(&mut cp).cid(), 2);
    assert_eq!(host.function.counters().cq_stalls.get(), 1);
}

#[test]
fn fast_completions_survive_a_full_queue() {
    let (mut host, _) = Host::ready();
    let mut fp = host.pair(256, 4);
    let b = host.page(2);
    let mut seen = Vec::new();
    for round in 0..10u16 {
        for i in 0..3 {
            host.submit(&mut fp, &Fp::new(round * 3 + i, true, 0, b, b + 4096, 16).0);
        }
        // Three fill the queue; it is emptied only now.
        for _ in 0..3 {
            seen.push(host.reap(&mut fp).cid());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<u16>>());
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn delete_waits_for_a_control_command() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 8);
    let b = host.page(3);
    host.write(b, &[HOLD, 1]);
    let sqe = Cp::new(1, b, 2, b + 4096).0;
    host.submit(&mut cp, &sqe);
    firmware.await_waiting(&[1]);
    // Not fetched: dropped.
    host.submit(&mut cp, &sqe);
    host.admin_start(0, 0, &[1]);
    let admin = crate::host::Queue::new(0, 16, host.admin.sq_base, host.admin.cq_base);
    let before = host.read(admin.cq_base + u64::from(host.admin.head) * 16, 16);
    thread::sleep(QUIET);
    assert_eq!(
        host.read(admin.cq_base + u64::from(host.admin.head) * 16, 16),
        before,
        "the delete is deferred"
    );
    firmware.open(1);
    eventually("delete", || host.peek(&host.admin).is_some());
    assert_eq!(host.peek(&host.admin).unwrap().status(), 0);
    let completion = host.peek(&cp).expect("the command completed first");
    assert_eq!((completion.cid(), completion.status()), (1, 0));
    assert_eq!(host.function.counters().commands_cp.get(), 1);
    assert_eq!(firmware.control.lock().len(), 1);
}

/// Runs one held fast-path command into a Delete SQ and returns the status of its completion.
fn deleted_under(sqe: impl Fn(u64) -> Fp) -> (u16, u16) {
    let (mut host, firmware) = Host::ready();
    let mut fp = host.pair(256, 8);
    let b = host.page(3);
    host.submit(&mut fp, &sqe(b).0);
    firmware.await_waiting(&[1]);
    host.admin_start(0, 0, &[256]);
    eventually("closing", || {
        host.function
            .sq(256)
            .is_some_and(|sq| sq.closing() == azihsm_emulator::queue::Closing::Delete)
    });
    firmware.open(1);
    eventually("delete", || host.peek(&host.admin).is_some());
    assert_eq!(host.peek(&host.admin).unwrap().status(), 0);
    host.peek(&fp)
        .expect("a completion before that of the delete")
        .code()
}

#[test]
fn delete_under_fast_commands() {
    // A command that ends well is completed as it is.
    assert_eq!(
        deleted_under(|b| Fp::new(1, true, KEY_HOLD + 1, b, b + 4096, 32)),
        (0, 0)
    );
    // One with tag correction is not.
    let gcm = |b: u64| Fp::new(1, false, KEY_HOLD + 1, b, b + 4096, 32);
    assert_eq!(deleted_under(gcm), (0, 0));
    assert_eq!(
        deleted_under(|b| gcm(b).tail(3, b + 8192, b + 8192)),
        (7, 0)
    );
}

#[test]
fn deleted_queue_is_recreated_from_the_start() {
    let (mut host, _) = Host::ready();
    let mut fp = host.pair(257, 8);
    let b = host.page(2);
    host.submit(&mut fp, &Fp::new(1, true, KEY_ERROR, b, b + 4096, 16).0);
    assert_eq!(host.reap(&mut fp).status(), 2);
    assert_eq!(host.admin(0, 0, &[257]).0, 0);
    assert_eq!(host.admin(4, 0, &[257]).0, 0);
    let mut fp = host.pair(257, 8);
    host.submit(&mut fp, &Fp::new(2, true, 0, b, b + 4096, 16).0);
    let completion = host.reap(&mut fp);
    assert_eq!(
        (completion.cid(), completion.sq_head(), completion.status()),
        (2, 1, 0)
    );
}

#[test]
fn a_message_waits_for_its_descriptor() {
    let (mut host, _) = Host::ready();
    host.function.interrupts.set(0, None);
    host.admin(0xa, 0, &[7]);
    host.admin(0xa, 0, &[7]);
    let sent = || host.function.counters().interrupts.get();
    assert_eq!(sent(), 0);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(
        host.function
            .interrupts
            .set(0, Some(std::os::fd::OwnedFd::from(theirs).into()))
    );
    ours.set_nonblocking(true).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(
        std::io::Read::read(&mut &ours, &mut buffer).unwrap(),
        8,
        "one message, as for a masked vector"
    );
}

#[test]
fn service_time() {
    let mut config = quick();
    config.service_time = Duration::from_millis(30);
    config.fp_service_time = Duration::from_millis(60);
    let (mut host, _) = Host::with(config, 1);
    host.enable();
    let (mut cp, mut fp) = (host.pair(1, 4), host.pair(256, 4));
    let b = host.page(3);
    let before = Instant::now();
    host.submit(&mut cp, &Cp::new(1, b, 1, b + 4096).0);
    host.reap(&mut cp);
    assert!(before.elapsed() >= Duration::from_millis(30));
    let before = Instant::now();
    host.submit(&mut fp, &Fp::new(1, true, 0, b, b + 4096, 16).0);
    host.reap(&mut fp);
    assert!(before.elapsed() >= Duration::from_millis(60));
}

#[test]
fn admin_commands_take_no_service_time() {
    let mut config = quick();
    config.service_time = Duration::from_secs(3600);
    let (mut host, _) = Host::with(config, 1);
    host.enable();
    assert_eq!(host.admin(0xa, 0, &[7]).0, 0);
}

#[test]
fn doorbell_to_a_ring_outside_of_memory() {
    let (mut host, _) = Host::ready();
    let page = host.page(1);
    assert_eq!(host.admin(5, page, &[1 | 3 << 16, 1]).0, 0);
    assert_eq!(host.admin(1, 0xdead_0000, &[1 | 3 << 16, 1 | 1 << 16]).0, 0);
    host.doorbell(8, 1);
    eventually("violation", || host.violations().len() == 1);
    assert!(
        host.violations()[0].contains("CP queue 1: fetch of a command"),
        "{:?}",
        host.violations()
    );
    // The same for the completion ring.
    assert_eq!(host.admin(5, 0xdead_0000, &[2 | 3 << 16, 3 | 1 << 16]).0, 0);
    assert_eq!(host.admin(1, page, &[2 | 3 << 16, 1 | 2 << 16]).0, 0);
    host.doorbell(16, 1);
    eventually("violation", || host.violations().len() == 2);
    assert!(
        host.violations()[1].contains("CP queue 2: write of a completion"),
        "{:?}",
        host.violations()
    );
    assert_eq!(host.interrupts(1), 0);
}
