// SPDX-License-Identifier: GPL-2.0-or-later

//! Faults of registers and of the state machine; chaos and its log.

use std::thread;
use std::time::{Duration, Instant};

use azihsm_emulator::config::Config;
use azihsm_emulator::faults::chaos::Chaos;
use azihsm_emulator::faults::rule;
use serde_json::json;

use crate::faults::{arm, hits};
use crate::host::{CC, CSTS, Cp, Host, NSSR, NSSR_SIGNATURE, QUIET, eventually, quick};

#[test]
fn registers_lie_and_vanish() {
    let (host, _) = Host::ready();
    let cap = host.reg(0);
    arm(
        &host,
        json!({ "what": { "registers": { "cap-low": { "xor": 1 }, "csts": { "set": 0 } } }, "count": 2 }),
    );
    assert_eq!(host.reg(0), cap ^ 1);
    assert_eq!(host.reg(8), 0x0001_0400, "no event of this fault");
    assert_eq!(host.reg(CSTS), 0);
    assert_eq!((host.reg(0), host.reg(CSTS)), (cap, 1));
    let id = arm(&host, json!({ "what": "registers-gone" }));
    assert_eq!((host.reg(CSTS), host.reg(CC)), (u32::MAX, u32::MAX));
    let mut both = [0; 8];
    host.function.register_read(0, &mut both);
    assert_eq!(both, [0xff; 8]);
    assert_eq!(host.device.clear_faults(Some(id)), 1);
    assert_eq!(host.reg(CSTS), 1);
    arm(
        &host,
        json!({ "count": 1, "what": { "slow-registers": { "us": 30000 } } }),
    );
    let start = Instant::now();
    host.reg(CSTS);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn never_ready_until_it_is_cleared() {
    let (mut host, _) = Host::new();
    let id = arm(&host, json!({ "what": { "ignore-enable": {} } }));
    let (sq, cq) = (host.admin.sq_base, host.admin.cq_base);
    host.set_master();
    host.set_reg(0x24, 15 << 16 | 15);
    host.set_reg64(0x28, sq);
    host.set_reg64(0x30, cq);
    host.set_reg(CC, 1);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 0);
    assert_eq!(hits(&host, id), 1);
    host.device.clear_faults(None);
    host.wait_ready(true);
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
    // For a time.
    host.disable();
    arm(
        &host,
        json!({ "count": 1, "what": { "ignore-enable": { "ms": 60 } } }),
    );
    let start = Instant::now();
    host.enable();
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn never_disabled_and_still_at_work() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 4);
    let b = host.page(2);
    arm(&host, json!({ "what": { "ignore-disable": {} } }));
    host.set_reg(CC, 0);
    host.set_reg(NSSR, NSSR_SIGNATURE);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 1);
    host.submit(&mut cp, &Cp::new(1, b, 4, b + 4096).0);
    assert_eq!(host.reap(&mut cp).cid(), 1);
    host.device.clear_faults(None);
    host.wait_ready(false);
    assert_eq!(host.function.counters().subsystem_resets.get(), 0);
    assert_eq!(host.violations(), [""; 0]);
}

#[test]
fn what_was_not_heard_in_time_is_forgotten() {
    let (mut host, _) = Host::ready();
    arm(
        &host,
        json!({ "count": 1, "what": { "ignore-disable": { "ms": 150 } } }),
    );
    host.set_reg(CC, 0);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 1);
    // The host does not wait: a subsystem reset is heard.
    host.set_reg(NSSR, NSSR_SIGNATURE);
    host.wait_ready(false);
    host.enable();
    arm(&host, json!({ "what": { "ignore-disable": {} } }));
    host.set_reg(CC, 0);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(host.reg(CSTS), 1);
    host.device.clear_faults(None);
    host.wait_ready(false);
}

#[test]
fn fatal_goes_on_and_crash_does_not() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 4);
    let b = host.page(2);
    arm(&host, json!({ "what": "fatal" }));
    assert_eq!(host.reg(CSTS), 3);
    host.submit(&mut cp, &Cp::new(1, b, 4, b + 4096).0);
    assert_eq!(host.reap(&mut cp).cid(), 1);
    // The next command of the control path is the last.
    arm(&host, json!({ "class": "cp", "what": "crash" }));
    host.submit(&mut cp, &Cp::new(2, b, 4, b + 4096).0);
    assert_eq!(host.reap(&mut cp).cid(), 2);
    host.submit(&mut cp, &Cp::new(3, b, 4, b + 4096).0);
    host.quiet(&cp);
    assert_eq!(host.reg(CSTS), 3);
    host.device.clear_faults(None);
    host.disable();
    host.enable();
    assert_eq!(host.reg(CSTS), 1);
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
}

#[test]
fn fatal_until_it_is_enabled() {
    let (mut host, _) = Host::ready();
    let id = arm(&host, json!({ "count": 2, "what": "fatal-disabled" }));
    host.set_reg(CC, 0);
    eventually("not ready", || host.reg(CSTS) & 1 == 0);
    assert_eq!(host.reg(CSTS), 2);
    // It is not disabled once more.
    host.set_reg(CC, 0);
    thread::sleep(QUIET);
    assert_eq!((host.reg(CSTS), hits(&host, id)), (2, 1));
    host.enable();
    assert_eq!(host.reg(CSTS), 1);
    host.set_reg(NSSR, NSSR_SIGNATURE);
    eventually("not ready", || host.reg(CSTS) & 1 == 0);
    assert_eq!(host.reg(CSTS), 2);
    host.set_reg(CC, 0);
    host.enable();
    assert_eq!(host.reg(CSTS), 1);
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
}

#[test]
fn enable_cleared_from_inside() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 4);
    let b = host.page(2);
    arm(
        &host,
        json!({ "class": "cp", "after": 1, "count": 1, "what": "clear-enable" }),
    );
    host.submit(&mut cp, &Cp::new(1, b, 4, b + 4096).0);
    host.reap(&mut cp);
    host.submit(&mut cp, &Cp::new(2, b, 4, b + 4096).0);
    host.wait_ready(false);
    assert_eq!(host.reg(CC) & 1, 0);
    // The host does not know yet.
    host.doorbell(8, 3);
    assert_eq!(host.violations(), [""; 0]);
    assert_eq!(host.function.counters().consequences.get(), 1);
    host.enable();
    host.doorbell(8, 3);
    assert_eq!(host.violations().len(), 1, "now it does");
}

#[test]
fn a_grant_of_more_than_there_is() {
    let config = Config {
        grant: Some(65536),
        ..quick()
    };
    let (mut host, _) = Host::with(config, 2);
    host.enable();
    assert_eq!(host.admin(0x0a, 0, &[7]), (0, 0xffff_ffff));
    assert_eq!(host.admin(0x09, 0, &[193]), (0, 0xffff_ffff));
    let ring = host.page(1);
    assert_eq!(host.admin(5, ring, &[3 | 7 << 16, 1]).0, 0x4007);
}

/// Runs commands against a device in chaos; returns the completions that came, as they lie in the ring.
fn run(host: &mut Host) -> Vec<u8> {
    let mut cp = host.pair(1, 128);
    let b = host.page(2);
    for cid in 0..100 {
        let before = host.function.sq(1).unwrap().head();
        host.submit(&mut cp, &Cp::new(cid, b, 4, b + 4096).0);
        let sq = host.function.sq(1).unwrap();
        // One at a time, so that what is late does not change the order.
        eventually("fetch", || sq.head() != before && sq.indexes().3 == 0);
    }
    thread::sleep(QUIET);
    host.read(cp.cq_base, 128 * 16)
}

#[test]
fn what_chaos_did_can_be_replayed_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("faults.jsonl");
    // Only what does not depend on time: the fields of completions.
    let (mut host, _) = Host::ready();
    host.device.faults().log_to(&log).unwrap();
    host.device
        .faults()
        .start_chaos(Chaos::new("11,0.0".parse().unwrap()));
    let clean = run(&mut host);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");

    let (mut host, _) = Host::ready();
    host.device.faults().log_to(&log).unwrap();
    for (after, field) in [(3, "cid"), (40, "status"), (77, "bytes")] {
        arm(
            &host,
            json!({ "class": "cp", "after": after, "every": 7, "count": 2,
                    "what": { "completion": { field: { "xor": 5 } } } }),
        );
    }
    let spoiled = run(&mut host);
    assert_ne!(clean, spoiled);
    let faults = rule::load(&log).unwrap();
    assert_eq!(faults.len(), 6);

    let (mut host, _) = Host::ready();
    host.device.arm(faults).unwrap();
    assert_eq!(run(&mut host), spoiled);
}

#[test]
fn chaos_spoils_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("faults.jsonl");
    let (mut host, _) = Host::ready();
    let mut fp = host.pair(256, 16);
    let b = host.page(2);
    host.device.faults().log_to(&log).unwrap();
    host.device
        .faults()
        .start_chaos(Chaos::new("5,0.5".parse().unwrap()));
    let limit = Instant::now() + Duration::from_secs(10);
    while host.device.faults().hits.get() < 3 && Instant::now() < limit {
        host.submit(&mut fp, &[0; 128]);
        thread::sleep(QUIET);
    }
    let report = host.device.stop_chaos().unwrap();
    assert_eq!(report["seed"], 5);
    let mutations = report["mutations"].as_u64().unwrap();
    assert!(mutations >= 3, "{report}");
    assert_eq!(host.device.stop_chaos(), None);
    let faults = rule::load(&log).unwrap();
    assert_eq!(faults.len() as u64, mutations);
    assert!(
        faults
            .iter()
            .all(|f| f.count == Some(1) && f.function == Some(1))
    );
    // All is well after a reset.
    eventually("rest", || host.reg(CSTS) & 1 == host.reg(CC) & 1);
    host.disable();
    host.enable();
    let mut cp = host.pair(1, 4);
    host.submit(&mut cp, &Cp::new(1, b, 4, b + 4096).0);
    let completion = host.reap(&mut cp);
    assert_eq!((completion.cid(), completion.status()), (1, 0));
}
