// SPDX-License-Identifier: GPL-2.0-or-later

//! Several functions of one device: resources (section 4.6), migration (section 4.9), isolation (section 11).

use std::sync::Arc;

use azihsm_emulator::device::{Device, FunctionConfig};
use azihsm_emulator::function::Role;
use azihsm_emulator::stats::Stats;
use azihsm_firmware::{FunctionId, StateChange};

use crate::firmware::{HOLD, TestFirmware};
use crate::host::{CC, CSTS, Cp, Host, eventually, quick};

const SET_COUNT: u8 = 0xc3;
const GET_COUNT: u8 = 0xc4;

/// A PF and two VFs, each with a host of its own; only the PF is enabled.
fn start() -> (Host, Host, Host, Arc<TestFirmware>) {
    let firmware = Arc::new(TestFirmware::default());
    let function = |id, role| FunctionConfig {
        id: FunctionId(id),
        role,
        resources: 0,
    };
    let functions = [
        function(0, Role::Pf),
        function(1, Role::Vf),
        function(2, Role::Vf),
    ];
    let device = Arc::new(
        Device::new(
            quick(),
            Arc::clone(&firmware) as _,
            Arc::new(Stats::default()),
            &functions,
        )
        .unwrap(),
    );
    let mut pf = Host::attach(Arc::clone(&device), 0);
    let vf0 = Host::attach(Arc::clone(&device), 1);
    let vf1 = Host::attach(device, 2);
    pf.enable();
    (pf, vf0, vf1, firmware)
}

#[test]
fn set_and_get() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(GET_COUNT, 0, &[0]), (0, 0), "nothing at power-up");
    assert_eq!(pf.admin(SET_COUNT, 0, &[0, 3]), (0, 0));
    assert_eq!(
        pf.admin(SET_COUNT, 0, &[0, 3]),
        (0, 3),
        "the count is reported only if unchanged"
    );
    assert_eq!(
        pf.admin(SET_COUNT, 0, &[1, 2, 0x1111, 0x2222, 0x3333, 0x4444]),
        (0, 0)
    );
    assert_eq!(
        pf.admin(SET_COUNT, 0, &[64, 60]),
        (0, 0),
        "a function that is not there may own some, too"
    );
    assert_eq!(pf.admin(SET_COUNT, 0, &[2, 1]).0, 0x4007, "none left");
    assert_eq!(pf.admin(GET_COUNT, 0, &[2]), (0, 0));
    let mut guid = [0; 16];
    guid[..2].copy_from_slice(&[0x11, 0x11]);
    guid[4..6].copy_from_slice(&[0x22, 0x22]);
    guid[8..10].copy_from_slice(&[0x33, 0x33]);
    guid[12..14].copy_from_slice(&[0x44, 0x44]);
    assert!(firmware.changes.lock().contains(&(
        1,
        StateChange::Resources {
            owned: 0b11000,
            guid
        }
    )));
    // Any function may ask about any other.
    vf0.enable();
    assert_eq!(vf0.admin(GET_COUNT, 0, &[0]), (0, 3));
    assert_eq!(vf0.admin(GET_COUNT, 0, &[65]).0, 0x4002);
    assert_eq!(vf0.admin(0xa, 0, &[193]), (0, 0x0003_0003));
}

#[test]
fn set_errors() {
    let (mut pf, mut vf0, _, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[0, 66]).0, 0x4002);
    assert_eq!(pf.admin(SET_COUNT, 0, &[65, 1]).0, 0x4002);
    assert_eq!(pf.admin(SET_COUNT, 0, &[0x1_0000, 1]).0, 0x4002);
    vf0.enable();
    assert_eq!(vf0.admin(SET_COUNT, 0, &[1, 1]).0, 0x4001);
}

#[test]
fn set_on_an_enabled_function_disables_it() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    vf0.pair(1, 4);
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 1]).0, 0);
    assert_eq!(
        (vf0.reg(CC) & 1, vf0.reg(CSTS)),
        (0, 0),
        "CC.EN dropped by itself"
    );
    let changes = firmware.changes.lock().clone();
    let of_vf: Vec<_> = changes
        .iter()
        .filter(|(f, _)| *f == 1)
        .map(|(_, c)| *c)
        .collect();
    assert!(
        matches!(
            of_vf[..],
            [
                ..,
                StateChange::Disable,
                StateChange::Resources { owned: 2, .. }
            ]
        ),
        "{of_vf:?}"
    );
    assert_eq!(pf.reg(CSTS), 1, "the PF is not touched");
    // Not enough: nothing happens to the function.
    vf0.enable();
    assert_eq!(pf.admin(SET_COUNT, 0, &[2, 64]).0, 0);
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0x4007);
    assert_eq!(vf0.reg(CSTS), 1);
}

#[test]
fn disabling_the_pf_while_it_waits_for_a_vf() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    let mut cp = vf0.pair(1, 4);
    let b = vf0.page(3);
    vf0.write(b, &[HOLD, 1]);
    vf0.submit(&mut cp, &Cp::new(1, b, 2, b + 4096).0);
    firmware.await_waiting(&[1]);
    pf.admin_start(SET_COUNT, 0, &[1, 1]);
    eventually("VF being disabled", || vf0.reg(CC) & 1 == 0);
    pf.set_reg(CC, 0);
    // One state machine serves all: the PF waits for the VF, which waits for its command.
    std::thread::sleep(crate::host::QUIET);
    assert_eq!(pf.reg(CSTS), 1);
    firmware.open(1);
    pf.wait_ready(false);
    assert_eq!(vf0.reg(CSTS), 0);
}

#[test]
fn reset_of_the_pf_resets_everything() {
    let (mut pf, mut vf0, mut vf1, firmware) = start();
    for id in 0..3 {
        assert_eq!(pf.admin(SET_COUNT, 0, &[id, 2]).0, 0);
    }
    vf0.enable();
    vf1.enable();
    pf.function.config_write(0x68, &0x8000u16.to_le_bytes());
    for host in [&pf, &vf0, &vf1] {
        eventually("reset", || {
            host.reg(CSTS) == 0 && host.reg(CC) == 0 && host.function.resource_count() == 0
        });
    }
    eventually("all told", || {
        let changes = firmware.changes.lock();
        let wiped = changes
            .iter()
            .rev()
            .take(3)
            .filter(|(_, c)| matches!(c, StateChange::Resources { owned: 0, .. }));
        wiped.count() == 3
    });
    pf.enable();
    assert_eq!(pf.admin(GET_COUNT, 0, &[1]), (0, 0));
}

#[test]
fn reset_of_a_vf_leaves_the_others_alone() {
    let (mut pf, mut vf0, mut vf1, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    vf1.enable();
    vf0.function.config_write(0x68, &0x8000u16.to_le_bytes());
    eventually("reset", || vf0.reg(CSTS) == 0);
    assert_eq!((pf.reg(CSTS), vf1.reg(CSTS)), (1, 1));
    assert_eq!(vf0.function.resource_count(), 2);
}

#[test]
fn migration_is_for_the_pf() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    for opcode in 0xc5..=0xc9 {
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
    assert_eq!(pf.admin(0xc5, 0, &[1]).0, 0, "prepare");
    pf.admin_start(0xc6, 0, &[1]);
    std::thread::sleep(crate::host::QUIET);
    assert!(pf.peek(&pf.admin).is_none(), "stop drains");
    firmware.open(1);
    eventually("stop", || pf.peek(&pf.admin).is_some());
    assert_eq!(vf0.reap(&mut cp).cid(), 1);
    vf0.submit(&mut cp, &Cp::new(2, b, 2, b + 4096).0);
    vf0.quiet(&cp);
    assert_eq!(pf.function.sq(0).unwrap().indexes().3, 0);
    let mut admin = std::mem::replace(&mut pf.admin, crate::host::Queue::new(0, 16, 0, 0));
    assert_eq!(pf.reap(&mut admin).status(), 0);
    pf.admin = admin;
    assert_eq!(pf.admin(0xc7, 0, &[1]).0, 0, "start");
    assert_eq!(vf0.reap(&mut cp).cid(), 2);
    assert_eq!(pf.admin(0xc8, b, &[1]).0, 0x4007, "no context is made");
    assert_eq!(pf.admin(0xc9, b, &[1]).0, 0x4007, "none is taken");
}

#[test]
fn memory_is_per_function() {
    let (mut pf, mut vf0, _, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 1]).0, 0);
    vf0.enable();
    let page = vf0.page(1);
    vf0.write(page, &[0xee; 128]);
    let before = vf0.read(page, 128);
    let own = pf.page(1);
    assert_eq!(pf.admin(6, own, &[1]).0, 0);
    assert_eq!(vf0.read(page, 128), before);
}
