// SPDX-License-Identifier: GPL-2.0-or-later

//! Doorbell writes that no correct host does (section 1.2): ignored, recorded, never fatal.

use crate::firmware::HOLD;
use crate::host::{Cp, Host};

/// Does a write, and checks that it is recorded with the text and changes nothing.
fn refused(host: &mut Host, offset: usize, value: u32, text: &str) {
    let before = host.violations().len();
    host.doorbell(offset, value);
    let violations = host.violations();
    assert_eq!(violations.len(), before + 1, "{text}");
    assert!(
        violations[before].contains(text),
        "{:?} lacks {text:?}",
        violations[before]
    );
    // The queues work on.
    assert_eq!(host.admin(0xa, 0, &[7]).0, 0);
}

#[test]
fn unmapped() {
    let (mut host, _) = Host::ready();
    refused(&mut host, 8, 1, "SQ 1 does not exist");
    refused(&mut host, 12, 1, "CQ 1 does not exist");
    refused(&mut host, 0xff8, 1, "SQ 511 does not exist");
    refused(&mut host, 2, 1, "not aligned");
    host.pair(1, 4);
    host.admin(0, 0, &[1]);
    refused(&mut host, 8, 1, "SQ 1 does not exist");
    host.function.doorbell_write(0, &[1]);
    assert!(
        host.violations()
            .last()
            .unwrap()
            .contains("access of 1 bytes")
    );
    assert_eq!(host.function.counters().violations.get(), 6);
}

#[test]
fn before_enable() {
    let (host, _) = Host::new();
    host.doorbell(0, 1);
    assert_eq!(host.violations().len(), 1);
}

#[test]
fn submission_tail() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 4);
    refused(&mut host, 8, 4, "out of range");
    refused(&mut host, 8, u32::MAX, "out of range");
    refused(&mut host, 8, 0, "is the current tail");
    let buffers = host.page(3);
    host.write(buffers, &[HOLD, 1]);
    let sqe = Cp::new(1, buffers, 2, buffers + 4096).0;
    // One is fetched and held, three more fill the ring.
    host.submit(&mut cp, &sqe);
    firmware.await_waiting(&[1]);
    for _ in 0..3 {
        host.submit(&mut cp, &sqe);
    }
    refused(&mut host, 8, 1, "overfills");
    firmware.open(1);
    for _ in 0..4 {
        assert_eq!(host.reap(&mut cp).status(), 0);
    }
    assert_eq!(host.function.counters().commands_cp.get(), 4);
}

#[test]
fn completion_head() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 4);
    refused(&mut host, 12, 4, "out of range");
    refused(&mut host, 12, 0, "is the current head");
    refused(&mut host, 12, 1, "passes the tail");
    let buffers = host.page(3);
    host.submit(&mut cp, &Cp::new(1, buffers, 1, buffers + 4096).0);
    assert_eq!(host.reap(&mut cp).cid(), 1);
    refused(&mut host, 12, 2, "passes the tail");
}

#[test]
fn counted() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 4);
    let buffers = host.page(3);
    let (sq, cq) = (
        host.function.counters().doorbell_writes_sq.get(),
        host.function.counters().doorbell_writes_cq.get(),
    );
    host.submit(&mut cp, &Cp::new(1, buffers, 1, buffers + 4096).0);
    host.reap(&mut cp);
    assert_eq!(host.function.counters().doorbell_writes_sq.get(), sq + 1);
    assert_eq!(host.function.counters().doorbell_writes_cq.get(), cq + 1);
    assert_eq!(host.violations(), [""; 0]);
}
