// SPDX-License-Identifier: GPL-2.0-or-later

//! Live migration of a VF (section 4.9).

use azihsm_emulator::migration::CONTEXT_MAX;
use azihsm_firmware::StateChange;

use crate::firmware::HOLD;
use crate::functions::{DEVCTL, DEVCTL_FLR, SET_COUNT, start};
use crate::host::{CC, CSTS, Cp, Host, QUIET, Queue, eventually};

const PREPARE: u8 = 0xc5;
const STOP: u8 = 0xc6;
const START: u8 = 0xc7;
const SAVE: u8 = 0xc8;
const RESTORE: u8 = 0xc9;

/// Stops VF 0 and saves it at `buffer`; returns the length of the context.
fn save(pf: &mut Host, buffer: u64) -> u32 {
    assert_eq!(pf.admin(STOP, 0, &[1]).0, 0);
    let (status, length) = pf.admin(SAVE, buffer, &[1]);
    assert_eq!(status, 0);
    assert!((12..=CONTEXT_MAX as u32).contains(&length), "{length}");
    length
}

#[test]
fn migration_is_for_the_pf() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    for opcode in PREPARE..=RESTORE {
        assert_eq!(
            vf0.admin(opcode, 0, &[1]).0,
            0x4002,
            "{opcode:#x} from a VF"
        );
        assert_eq!(pf.admin(opcode, 0, &[0]).0, 0x4002, "{opcode:#x} on the PF");
        assert_eq!(
            pf.admin(opcode, 0, &[65]).0,
            0x4002,
            "{opcode:#x} on a bad id"
        );
    }
    let mut cp = vf0.pair(1, 4);
    let b = vf0.page(3);
    vf0.write(b, &[HOLD, 1]);
    vf0.submit(&mut cp, &Cp::new(1, b, 2, b + 4096).0);
    firmware.await_waiting(&[1]);
    assert_eq!(pf.admin(PREPARE, 0, &[1]).0, 0, "prepare");
    pf.admin_start(STOP, 0, &[1]);
    std::thread::sleep(QUIET);
    assert!(pf.peek(&pf.admin).is_none(), "stop drains");
    firmware.open(1);
    eventually("stop", || pf.peek(&pf.admin).is_some());
    assert_eq!(vf0.reap(&mut cp).cid(), 1);
    vf0.submit(&mut cp, &Cp::new(2, b, 2, b + 4096).0);
    vf0.quiet(&cp);
    assert_eq!(pf.function.sq(0).unwrap().indexes().3, 0);
    let mut admin = std::mem::replace(&mut pf.admin, Queue::new(0, 16, 0, 0));
    assert_eq!(pf.reap(&mut admin).status(), 0);
    pf.admin = admin;
    assert_eq!(pf.admin(START, 0, &[1]).0, 0, "start");
    assert_eq!(vf0.reap(&mut cp).cid(), 2);
}

#[test]
fn a_vf_goes_on_as_another() {
    let (mut pf, mut vf0, mut vf1, firmware) = start();
    for id in [1, 2] {
        assert_eq!(pf.admin(SET_COUNT, 0, &[id, 2]).0, 0);
    }
    vf0.enable();
    let (mut cp, mut fp) = (vf0.pair(1, 4), vf0.pair(258, 8));
    let b = vf0.page(3);
    vf0.write(b, &[0, 9]);
    for cid in 0..5 {
        vf0.submit(&mut cp, &Cp::new(cid, b, 2, b + 4096).0);
        vf0.reap(&mut cp);
    }
    let buffer = pf.page(CONTEXT_MAX as u64 / 4096);
    assert_eq!(pf.admin(PREPARE, 0, &[1]).0, 0);
    assert_eq!(pf.admin(SAVE, buffer, &[1]).0, 0x4007, "not stopped");
    assert_eq!(pf.admin(STOP, 0, &[1]).0, 0);
    // A command that comes too late moves, too.
    vf0.submit(&mut cp, &Cp::new(5, b, 2, b + 4096).0);
    let length = save(&mut pf, buffer);
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC) & 1), (0, 0), "disabled");
    assert_eq!(vf0.reg(0x28), vf0.admin.sq_base as u32);
    assert!(
        pf.read(buffer + u64::from(length), 64)
            .iter()
            .all(|&b| b == 0)
    );

    assert_eq!(pf.admin(RESTORE, buffer, &[2]).0, 0);
    assert_eq!(*firmware.restored.lock(), [(2, vec![1, 0xfa])]);
    assert_eq!((vf1.reg(CSTS), vf1.reg(CC) & 1), (0, 0), "not before Start");
    // The guest comes with its memory.
    vf1.take_ram(&vf0);
    vf1.set_master();
    assert_eq!(pf.admin(START, 0, &[2]).0, 0);
    assert_eq!((vf1.reg(CSTS), vf1.reg(CC)), (1, 0x6746_0001));
    let changes = firmware.changes.lock().clone();
    assert_eq!(changes[changes.len() - 1], (2, StateChange::Enable));
    let completion = vf1.reap(&mut cp);
    assert_eq!((completion.cid(), completion.sq_head()), (5, 2));
    for cid in 6..12 {
        vf1.submit(&mut cp, &Cp::new(cid, b, 2, b + 4096).0);
        assert_eq!(vf1.reap(&mut cp).cid(), cid);
    }
    vf1.submit(
        &mut fp,
        &crate::host::Fp::new(1, false, 0, b, b + 4096, 16).0,
    );
    assert_eq!(vf1.reap(&mut fp).status(), 0);
    vf1.admin = std::mem::replace(&mut vf0.admin, Queue::new(0, 16, 0, 0));
    assert_eq!(vf1.admin(0xa, 0, &[7]), (0, 0x0001_0001));
    assert_eq!(pf.violations(), [""; 0]);
}

#[test]
fn what_restore_refuses() {
    let (mut pf, mut vf0, mut vf1, firmware) = start();
    for (id, resources) in [(1, 2), (2, 1)] {
        assert_eq!(pf.admin(SET_COUNT, 0, &[id, resources]).0, 0);
    }
    vf0.enable();
    let buffer = pf.page(CONTEXT_MAX as u64 / 4096);
    let length = save(&mut pf, buffer) as usize;
    assert_eq!(
        pf.admin(RESTORE, buffer, &[2]).0,
        0x4007,
        "resources differ"
    );
    assert_eq!(pf.admin(SET_COUNT, 0, &[2, 2]).0, 0);
    let context = pf.read(buffer, length);
    for at in [0, 4, 8, 12, length - 5, length - 1] {
        let mut damaged = context.clone();
        damaged[at] ^= 0x80;
        pf.write(buffer, &damaged);
        assert_eq!(pf.admin(RESTORE, buffer, &[2]).0, 0x4007, "byte {at}");
    }
    pf.write(buffer, &context);
    vf1.enable();
    assert_eq!(pf.admin(RESTORE, buffer, &[2]).0, 0x4007, "enabled");
    vf1.disable();
    assert_eq!(firmware.restored.lock().len(), 0);
    assert_eq!(pf.admin(RESTORE, buffer, &[2]).0, 0);
    // A reset forgets what was restored: Start has nothing to start.
    vf1.set_config16(DEVCTL, DEVCTL_FLR);
    assert_eq!(pf.admin(START, 0, &[2]).0, 0);
    assert_eq!(vf1.reg(CSTS), 0);
    // So does a host that enables the function itself.
    assert_eq!(pf.admin(RESTORE, buffer, &[2]).0, 0);
    vf1.enable();
    assert_eq!(pf.admin(START, 0, &[2]).0, 0);
    assert_eq!(vf1.admin(0xa, 0, &[7]), (0, 0x0001_0001));
    // Where the context lies must be memory.
    assert_eq!(pf.admin(RESTORE, 0x1000, &[1]).0, 0x4004);
    assert_eq!(pf.admin(SAVE, buffer, &[1]).0, 0x4007, "not enabled");
}
