// SPDX-License-Identifier: GPL-2.0-or-later

//! Faults of commands, completions, data and messages, each seen from the host.

use std::time::{Duration, Instant};

use azihsm_emulator::faults::rule::Fault;
use serde_json::{Value, json};

use crate::firmware::{KEY_INVERT, OPEN, STATUS};
use crate::host::{Cp, Fp, Host, QUIET, Queue, eventually};

/// Arms one fault; returns its id.
pub fn arm(host: &Host, fault: Value) -> u64 {
    let fault: Fault = serde_json::from_value(fault).unwrap();
    host.device.arm(vec![fault]).unwrap()[0]
}

/// Returns how often the fault with that id has hit.
pub fn hits(host: &Host, id: u64) -> u64 {
    let report = host.device.faults().report();
    let faults = report["faults"].as_array().unwrap();
    let fault = faults.iter().find(|f| f["id"] == id).unwrap();
    fault["hits"].as_u64().unwrap()
}

/// A host with one control queue and some memory.
fn control() -> (Host, Queue, u64) {
    let (mut host, _) = Host::ready();
    let cp = host.pair(1, 16);
    let buffers = host.page(8);
    (host, cp, buffers)
}

/// A host with one fast-path queue and some memory.
fn fast() -> (Host, Queue, u64) {
    let (mut host, _) = Host::ready();
    let fp = host.pair(256, 16);
    let buffers = host.page(8);
    (host, fp, buffers)
}

fn echo(cid: u16, buffers: u64) -> [u8; 64] {
    Cp::new(cid, buffers, 4, buffers + 4096).0
}

fn invert(cid: u16, buffers: u64) -> [u8; 128] {
    Fp::new(cid, true, KEY_INVERT, buffers, buffers + 4096, 16).0
}

#[test]
fn selectors_and_counts() {
    let (host, mut cp, b) = control();
    let wrong = [
        json!({ "class": "fp", "what": "drop" }),
        json!({ "queue": 2, "what": "drop" }),
        json!({ "function": 2, "what": "drop" }),
        json!({ "opcode": 1, "what": "drop" }),
        json!({ "session-kind": 2, "what": "drop" }),
        json!({ "dw10": 1, "what": "drop" }),
        json!({ "count": 0, "what": "drop" }),
    ];
    for fault in wrong {
        arm(&host, fault);
    }
    // The third of four, then every other one, twice.
    let id = arm(
        &host,
        json!({ "function": 1, "class": "cp", "queue": 1, "opcode": 0, "session-kind": 0, "after": 2, "every": 2,
                "count": 2, "what": "drop" }),
    );
    for cid in 0..10 {
        host.submit(&mut cp, &echo(cid, b));
    }
    let seen: Vec<u16> = (0..8).map(|_| host.reap(&mut cp).cid()).collect();
    assert_eq!(seen, [0, 1, 3, 5, 6, 7, 8, 9]);
    host.quiet(&cp);
    assert_eq!(hits(&host, id), 2);
    assert_eq!(host.device.faults().hits.get(), 2);
    assert_eq!(host.device.clear_faults(Some(id)), 1);
    assert_eq!(host.device.clear_faults(Some(id)), 0);
    assert_eq!(host.device.clear_faults(None), 7);
    assert!(!host.device.faults().is_active());
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn a_time_limit_starts_with_the_first_hit() {
    let (host, mut cp, b) = control();
    arm(&host, json!({ "class": "cp", "for-ms": 1, "what": "drop" }));
    std::thread::sleep(Duration::from_millis(5));
    host.submit(&mut cp, &echo(1, b));
    host.quiet(&cp);
    host.submit(&mut cp, &echo(2, b));
    assert_eq!(host.reap(&mut cp).cid(), 2);
}

#[test]
fn drop_runs_and_ignore_does_not() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 16);
    let b = host.page(2);
    arm(&host, json!({ "class": "cp", "count": 1, "what": "drop" }));
    host.submit(&mut cp, &echo(1, b));
    eventually("run", || firmware.control.lock().len() == 1);
    host.quiet(&cp);
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": "ignore" }),
    );
    host.submit(&mut cp, &echo(2, b));
    host.submit(&mut cp, &echo(3, b));
    assert_eq!(host.reap(&mut cp).cid(), 3);
    assert_eq!(firmware.control.lock().len(), 2);
    // Nothing is left that a Delete SQ would wait for.
    assert_eq!(host.admin(0, 0, &[1]).0, 0);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn refuse_in_each_class() {
    let (mut host, firmware) = Host::ready();
    let (mut cp, mut fp) = (host.pair(1, 4), host.pair(256, 4));
    let b = host.page(2);
    arm(
        &host,
        json!({ "class": "admin", "opcode": 6, "count": 1, "what": { "refuse": { "status": 0x4007 } } }),
    );
    assert_eq!(host.admin(6, b, &[]).0, 0x4007);
    assert_eq!(host.read(b, 4), [0; 4]);
    assert_eq!(host.admin(6, b, &[]).0, 0);
    arm(
        &host,
        json!({ "class": "cp", "what": { "refuse": { "status": 0xc6 } } }),
    );
    host.submit(&mut cp, &echo(7, b));
    let completion = host.reap(&mut cp);
    assert_eq!((completion.cid(), completion.status()), (7, 0xc6));
    arm(
        &host,
        json!({ "class": "fp", "what": { "refuse": { "status": 3, "error": 9 } } }),
    );
    host.submit(&mut fp, &invert(8, b));
    let completion = host.reap(&mut fp);
    assert_eq!((completion.cid(), completion.code()), (8, (3, 9)));
    assert_eq!(completion.u16(0), 5 << 3 | 1 << 2 | 1 << 8);
    assert!(firmware.control.lock().is_empty() && firmware.fast.lock().is_empty());
}

#[test]
fn delay_holds_the_command() {
    let (mut host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "delay": { "ms": 60 } } }),
    );
    let start = Instant::now();
    host.submit(&mut cp, &echo(1, b));
    host.submit(&mut cp, &echo(2, b));
    assert_eq!(host.reap(&mut cp).cid(), 1);
    assert!(start.elapsed() >= Duration::from_millis(60));
    assert_eq!(host.reap(&mut cp).cid(), 2);
    // Delete SQ comes late the same way.
    arm(
        &host,
        json!({ "class": "admin", "opcode": 0, "dw10": 1, "what": { "delay": { "ms": 60 } } }),
    );
    let start = Instant::now();
    assert_eq!(host.admin(0, 0, &[1]).0, 0);
    assert!(start.elapsed() >= Duration::from_millis(60));
    // A controller reset is not held up by it.
    arm(
        &host,
        json!({ "class": "admin", "what": { "delay": { "ms": 600000 } } }),
    );
    host.admin_start(6, b, &[]);
    host.disable();
}

#[test]
fn duplicates_are_entries_of_their_own() {
    let (host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "duplicate": { "times": 2 } } }),
    );
    host.submit(&mut cp, &echo(1, b));
    host.submit(&mut cp, &echo(2, b));
    let seen: Vec<u16> = (0..4).map(|_| host.reap(&mut cp).cid()).collect();
    assert_eq!(seen, [1, 1, 1, 2]);
    assert_eq!(host.interrupts(1), 4);
    // The heads that the host wrote were right.
    assert_eq!(host.function.counters().consequences.get(), 0);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn hold_reorders() {
    let (host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "hold": { "commands": 2, "ms": 10000 } } }),
    );
    for cid in 1..=4 {
        host.submit(&mut cp, &echo(cid, b));
    }
    let seen: Vec<u16> = (0..4).map(|_| host.reap(&mut cp).cid()).collect();
    assert_eq!(seen, [2, 3, 1, 4]);
    // Nothing follows: the time ends it.
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "hold": { "ms": 50 } } }),
    );
    let start = Instant::now();
    host.submit(&mut cp, &echo(5, b));
    assert_eq!(host.reap(&mut cp).cid(), 5);
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn stale_completions_come_after_the_queue_was_deleted() {
    let (mut host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "count": 2, "what": { "stale": { "ms": 30 } } }),
    );
    host.submit(&mut cp, &echo(1, b));
    host.submit(&mut cp, &echo(2, b));
    host.quiet(&cp);
    assert_eq!(host.admin(0, 0, &[1]).0, 0, "nothing holds Delete SQ up");
    assert!(host.peek(&cp).is_none());
    let mut stale = [host.reap(&mut cp).cid(), host.reap(&mut cp).cid()];
    stale.sort_unstable();
    assert_eq!(stale, [1, 2]);
    // The queue can be made again on the same completion queue.
    assert_eq!(host.admin(1, cp.sq_base, &[1 | 15 << 16, 1 | 1 << 16]).0, 0);
    cp.tail = 0;
    host.submit(&mut cp, &echo(3, b));
    assert_eq!(host.reap(&mut cp).cid(), 3);
    // A reset forgets them.
    arm(&host, json!({ "class": "cp", "what": { "stale": {} } }));
    host.submit(&mut cp, &echo(4, b));
    host.quiet(&cp);
    host.disable();
    host.quiet(&cp);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn completion_fields_of_each_class() {
    let (mut host, _) = Host::ready();
    let (mut cp, mut fp) = (host.pair(1, 4), host.pair(256, 4));
    let b = host.page(2);
    let change = |class: &str, fields: Value| json!({ "class": class, "count": 1, "what": { "completion": fields } });
    arm(
        &host,
        change(
            "cp",
            json!({ "bytes": { "set": 0xffff }, "session-flags": { "set": 0x1f }, "session-id": { "set": 9 },
                    "app-id": { "add": -1 }, "sq-head": { "set": 77 }, "sq-id": { "xor": 0xff }, "cid": { "add": 1 },
                    "status": { "set": 0x7 } }),
        ),
    );
    host.write(b, &[OPEN]);
    host.submit(&mut cp, &echo(1, b));
    let c = host.reap(&mut cp);
    assert_eq!((c.u16(0), c.0[2], c.u16(4), c.0[6]), (0xffff, 0x1f, 9, 8));
    assert_eq!(
        (c.sq_head(), c.sq_id(), c.cid(), c.status()),
        (77, 0xfe, 2, 7)
    );

    arm(
        &host,
        change(
            "fp",
            json!({ "attributes": { "set": 0 }, "cid": { "xor": 0x8000 }, "tag": { "set": 1 }, "iv": { "set": 2 },
                    "tail-length": { "set": 0xffff_ffffu32 }, "fips": { "set": 3 }, "bytes": { "add": 1 },
                    "error": { "set": 4 }, "status": { "set": 0x7fff }, "sq-head": { "set": 0xffff } }),
        ),
    );
    host.submit(&mut fp, &invert(5, b));
    let c = host.reap(&mut fp);
    assert_eq!((c.u16(0), c.cid(), c.0[4], c.0[20]), (0, 0x8005, 1, 2));
    assert_eq!((c.u32(44), c.u32(48), c.u32(52)), (u32::MAX, 3, 17));
    assert_eq!((c.code(), c.sq_head()), ((0x7fff, 4), 0xffff));

    arm(
        &host,
        change("admin", json!({ "result": { "set": 0xdead_beefu32 } })),
    );
    assert_eq!(host.admin(0x0a, 0, &[7]), (0, 0xdead_beef));
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn a_wrong_phase_is_an_entry_that_nobody_sees() {
    let (host, mut fp, b) = fast();
    arm(
        &host,
        json!({ "class": "fp", "count": 1, "what": { "completion": { "phase": { "xor": 1 } } } }),
    );
    host.submit(&mut fp, &invert(1, b));
    host.quiet(&fp);
    assert_ne!(host.read(fp.cq_base, 64), [0; 64]);
    assert_eq!(host.function.cq(256).unwrap().indexes().2, 1);
    host.submit(&mut fp, &invert(2, b));
    host.quiet(&fp);
}

#[test]
fn late_writes_and_where_they_end() {
    let (host, mut fp, b) = fast();
    let late = |ms: u64, buffers: &str| {
        json!({ "class": "fp", "count": 1,
                "what": { "late-write": { "ms": ms, "byte": 0x77, "buffers": buffers } } })
    };
    arm(&host, late(20, "destination"));
    host.submit(&mut fp, &invert(1, b));
    host.reap(&mut fp);
    assert_eq!(host.read(b + 4096, 17)[..16], [0xff; 16]);
    eventually("late write", || host.read(b + 4096, 1) == [0x77]);
    assert_eq!(host.read(b + 4096, 17)[15..], [0x77, 0]);
    assert_eq!(host.read(b, 16), [0; 16]);
    arm(&host, late(0, "source"));
    host.submit(&mut fp, &invert(2, b));
    host.reap(&mut fp);
    eventually("late write", || host.read(b, 1) == [0x77]);
    let faults = host.device.faults();
    assert_eq!(faults.late_writes_landed.get(), 2);
    // The host has unmapped its memory: that is its right, and the write ends nowhere.
    arm(&host, late(30, "destination"));
    host.submit(&mut fp, &invert(3, b));
    host.reap(&mut fp);
    host.function.memory.unmap_all();
    eventually("refusal", || faults.late_writes_refused.get() == 1);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn data_and_identify() {
    let (mut host, mut cp, b) = control();
    host.write(b, &[0, 1, 2, 3]);
    arm(
        &host,
        json!({ "class": "cp", "what": { "data": { "byte": 2, "change": { "xor": 0xff } } } }),
    );
    arm(
        &host,
        json!({ "class": "cp", "what": { "data": { "byte": 4, "change": { "set": 1 } } } }),
    );
    host.submit(&mut cp, &echo(1, b));
    assert_eq!(host.reap(&mut cp).u16(0), 4);
    assert_eq!(host.read(b + 4096, 5), [0, 1, 0xfd, 3, 0]);

    arm(
        &host,
        json!({ "count": 1, "what": { "identify": { "cp-mdts": { "set": 0 }, "controller-id": { "set": 0x1234 },
                "fp-sqes": { "xor": 0xff }, "svn": { "set": u64::MAX }, "serial-number": { "set": 0 } } } }),
    );
    assert_eq!(host.admin(6, b, &[]).0, 0);
    let data = host.read(b, 102);
    assert_eq!(
        (data[72], &data[74..76], data[83]),
        (0, &[0x34, 0x12][..], 0x88)
    );
    assert_eq!((data[4], data[12], data[88]), (0, b'-', 0xff));
    arm(
        &host,
        json!({ "count": 1, "what": { "identify-fill": 0xff } }),
    );
    assert_eq!(host.admin(6, b, &[]).0, 0);
    assert_eq!(host.read(b, 103), [&[0xff; 102][..], &[0]].concat());
}

#[test]
fn messages_lost_repeated_spurious() {
    let (host, mut cp, b) = control();
    host.interrupts(1);
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": "lost-interrupt" }),
    );
    host.submit(&mut cp, &echo(1, b));
    host.reap(&mut cp);
    std::thread::sleep(QUIET);
    assert_eq!(host.interrupts(1), 0);
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "repeat-interrupt": { "times": 4 } } }),
    );
    host.submit(&mut cp, &echo(2, b));
    host.reap(&mut cp);
    std::thread::sleep(QUIET);
    assert_eq!(host.interrupts(1), 5);
    // At once, without a command.
    arm(
        &host,
        json!({ "what": { "interrupt": { "vector": 1, "times": 30, "every-us": 10 } } }),
    );
    std::thread::sleep(2 * QUIET);
    assert_eq!(host.interrupts(1), 30);
    host.quiet(&cp);
    // With a command.
    arm(
        &host,
        json!({ "class": "cp", "what": { "interrupt": { "vector": 31 } } }),
    );
    host.submit(&mut cp, &echo(3, b));
    host.reap(&mut cp);
    eventually("message", || host.interrupts(31) == 1);
}

#[test]
fn a_lost_doorbell_is_made_good_by_the_next() {
    let (host, mut cp, b) = control();
    arm(
        &host,
        json!({ "queue": 1, "count": 1, "what": "lost-doorbell" }),
    );
    host.submit(&mut cp, &echo(1, b));
    host.quiet(&cp);
    host.submit(&mut cp, &echo(2, b));
    assert_eq!(host.reap(&mut cp).cid(), 1);
    assert_eq!(host.reap(&mut cp).cid(), 2);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn only_a_host_that_was_lied_to_is_excused() {
    let (host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "count": 1, "what": { "completion": { "sq-head": { "add": 5 } } } }),
    );
    host.submit(&mut cp, &echo(1, b));
    host.reap(&mut cp);
    let stats = host.function.counters();
    host.doorbell(8, cp.tail);
    assert_eq!((stats.violations.get(), stats.consequences.get()), (0, 1));
    // Another queue, and a queue that is not there.
    host.doorbell(0x800, 1);
    assert_eq!((stats.violations.get(), stats.consequences.get()), (1, 1));
    // A lie about what a command did is no excuse.
    let (host, mut cp, b) = control();
    arm(
        &host,
        json!({ "class": "cp", "what": { "completion": { "bytes": { "set": 9 }, "status": { "set": 7 } } } }),
    );
    host.write(b, &[STATUS, 1, 0]);
    host.submit(&mut cp, &echo(1, b));
    host.reap(&mut cp);
    host.doorbell(8, cp.tail);
    assert_eq!(host.function.counters().violations.get(), 1);
}

#[test]
fn what_cannot_be_is_refused_as_a_whole() {
    let (host, _) = Host::ready();
    let faults = [
        json!({ "what": "drop" }),
        json!({ "class": "cp", "what": { "completion": { "tag": { "set": 0 } } } }),
    ];
    let faults = faults.map(|fault| serde_json::from_value::<Fault>(fault).unwrap());
    assert!(host.device.arm(faults.to_vec()).is_err());
    assert!(!host.device.faults().is_active());
}
