// SPDX-License-Identifier: GPL-2.0-or-later

//! Several functions of one device: resources (section 4.6), SR-IOV, resets, isolation (section 11).

use std::sync::Arc;

use azihsm_emulator::device::{Device, FunctionConfig};
use azihsm_emulator::function::Role;
use azihsm_emulator::stats::Stats;
use azihsm_firmware::{FunctionId, StateChange};

use crate::firmware::{HOLD, TestFirmware};
use crate::host::{CC, CSTS, Cp, Host, Queue, eventually, quick};

pub const SET_COUNT: u8 = 0xc3;
const GET_COUNT: u8 = 0xc4;

/// Device Control, with the reset bit.
pub const DEVCTL: usize = 0x68;
pub const DEVCTL_FLR: u16 = 0x8000;
const SRIOV_CONTROL: usize = 0x148;
const SRIOV_NUM_VFS: usize = 0x150;
/// VF Enable, VF Memory Space Enable.
const VFE: u16 = 1;
const MSE: u16 = 8;

/// Makes the first `count` VFs exist, or none.
fn enable_vfs(pf: &Host, count: u16) {
    if count == 0 {
        pf.set_config16(SRIOV_CONTROL, 0);
    }
    pf.set_config16(SRIOV_NUM_VFS, count);
    if count > 0 {
        pf.set_config16(SRIOV_CONTROL, VFE | MSE);
    }
}

/// Has a CP command of `host` run until the firmware opens gate 1; returns its queue.
fn keep_busy(host: &mut Host, firmware: &TestFirmware) -> Queue {
    let mut cp = host.pair(1, 4);
    let b = host.page(3);
    host.write(b, &[HOLD, 1]);
    host.submit(&mut cp, &Cp::new(1, b, 2, b + 4096).0);
    firmware.await_waiting(&[1]);
    cp
}

/// A PF and two VFs, each with a host of its own; the VFs exist, but only the PF's controller is enabled.
pub fn start() -> (Host, Host, Host, Arc<TestFirmware>) {
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
    enable_vfs(&pf, 2);
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
    keep_busy(&mut vf0, &firmware);
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
    pf.set_config16(DEVCTL, DEVCTL_FLR);
    assert_eq!(pf.config16(SRIOV_CONTROL), 0, "the VFs are gone");
    assert_eq!((pf.reg(CSTS), pf.reg(CC)), (0, 0));
    for host in [&pf, &vf0, &vf1] {
        assert_eq!(host.config16(4), 0, "the configuration space is reset");
        eventually("reset", || host.function.resource_count() == 0);
    }
    for host in [&vf0, &vf1] {
        assert_eq!(host.reg(CSTS), u32::MAX);
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
    enable_vfs(&pf, 2);
    for host in [&vf0, &vf1] {
        assert_eq!((host.reg(CSTS), host.reg(CC)), (0, 0));
    }
    pf.enable();
    assert_eq!(pf.admin(GET_COUNT, 0, &[1]), (0, 0));
    assert_eq!(pf.violations(), [""; 0]);
}

#[test]
fn reset_of_a_vf_leaves_the_others_alone() {
    let (mut pf, mut vf0, mut vf1, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    vf1.enable();
    vf0.set_config16(DEVCTL, DEVCTL_FLR);
    eventually("reset", || vf0.reg(CSTS) == 0);
    assert_eq!((pf.reg(CSTS), vf1.reg(CSTS)), (1, 1));
    assert_eq!(vf0.function.resource_count(), 2);
}

#[test]
fn vfs_answer_only_when_enabled() {
    let (mut pf, mut vf0, vf1, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    let cp = keep_busy(&mut vf0, &firmware);
    // Memory Space Enable hides the registers, but the function goes on.
    pf.set_config16(SRIOV_CONTROL, VFE);
    assert_eq!((vf0.reg(CSTS), vf0.reg(8)), (u32::MAX, u32::MAX));
    vf0.set_reg(CC, 0);
    vf0.doorbell(8, 3);
    let mut table = [0; 4];
    vf0.function.msix_read(0, &mut table);
    assert_eq!(table, [0xff; 4]);
    pf.set_config16(SRIOV_CONTROL, VFE | MSE);
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC) & 1), (1, 1));

    // VF Enable takes the function away, with a command that still runs.
    enable_vfs(&pf, 0);
    assert_eq!((vf0.reg(CSTS), vf1.reg(CSTS)), (u32::MAX, u32::MAX));
    firmware.open(1);
    vf0.quiet(&cp);
    enable_vfs(&pf, 1);
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC), vf0.reg(0x28)), (0, 0, 0));
    assert_eq!(vf1.reg(CSTS), u32::MAX, "only one VF now");
    // Its driver does not know yet that the queue is gone.
    vf0.doorbell(8, 2);
    assert_eq!(vf0.violations(), [""; 0]);
    assert_eq!(pf.admin(GET_COUNT, 0, &[1]), (0, 2), "resources stay");
    vf0.enable();
    vf0.doorbell(8, 2);
    assert_eq!(vf0.violations().len(), 1, "now it does");
    assert_eq!(vf0.function.counters().consequences.get(), 1);
}

#[test]
fn a_host_that_does_not_know_that_its_function_is_off() {
    let (mut pf, mut vf0, _vf1, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 1]).0, 0);
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC) & 1), (0, 0));
    // Entry sizes say nothing of that it has noticed.
    vf0.set_reg(CC, vf0.reg(CC) | 0x6746_0000);
    vf0.doorbell(0, 5);
    assert_eq!(vf0.violations(), [""; 0]);
    assert_eq!(vf0.function.counters().consequences.get(), 1);
}

#[test]
fn a_refused_write_to_the_capability_is_a_violation() {
    let (pf, vf0, vf1, _) = start();
    pf.set_config16(SRIOV_NUM_VFS, 1);
    assert_eq!(pf.config16(SRIOV_NUM_VFS), 2);
    assert_eq!((vf0.reg(CSTS), vf1.reg(CSTS)), (0, 0));
    let violations = pf.violations();
    assert!(
        violations[0].contains("function 0") && violations[0].contains("NumVFs"),
        "{violations:?}"
    );
}

#[test]
fn a_reset_of_one_vf_by_its_client() {
    let (mut pf, mut vf0, mut vf1, _) = start();
    for id in [1, 2] {
        assert_eq!(pf.admin(SET_COUNT, 0, &[id, 2]).0, 0);
    }
    vf0.enable();
    vf1.enable();
    vf0.device.reset(&vf0.function).unwrap();
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC), vf0.config16(4)), (0, 0, 0));
    assert_eq!((pf.reg(CSTS), vf1.reg(CSTS)), (1, 1));
    assert_eq!(vf0.function.resource_count(), 2);
    // The PF's takes all down.
    pf.device.reset(&pf.function).unwrap();
    assert_eq!((pf.reg(CSTS), vf1.reg(CSTS)), (0, u32::MAX));
    assert_eq!(vf0.function.resource_count(), 0);
}

#[test]
fn counters_are_per_function() {
    let (mut pf, mut vf0, vf1, _) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    let (mut one, _two) = (vf0.pair(1, 4), vf0.pair(2, 4));
    let b = vf0.page(3);
    vf0.write(b, &[0, 1]);
    vf0.submit(&mut one, &Cp::new(1, b, 2, b + 4096).0);
    vf0.reap(&mut one);
    vf1.doorbell(8, 1);
    let snapshot = pf.device.snapshot(&pf.device.sessions(), "test", false);
    let [f0, f1, f2] = &snapshot.functions[..] else {
        panic!("{snapshot:?}")
    };
    let ids = [f0, f1, f2].map(|f| (f.controller_id, f.resources));
    assert_eq!(ids, [(0, 0), (1, 2), (2, 0)]);
    let commands = [f0, f1, f2].map(|f| (f.counts.commands_admin, f.counts.commands_cp));
    assert_eq!(commands, [(1, 0), (4, 1), (0, 0)]);
    assert_eq!(
        f1.queues.clone().into_iter().collect::<Vec<_>>(),
        [(0, 4), (1, 1), (2, 0)]
    );
    assert_eq!([f0, f1, f2].map(|f| f.counts.violations), [0, 0, 1]);
    assert_eq!(snapshot.counts.commands_admin, 5);
    assert_eq!(snapshot.counts.violations, 1);
    assert!(snapshot.violation_list[0].starts_with("function 2: doorbell"));
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["functions"][1]["queues"]["1"], 1);
    assert_eq!(json["functions"][1]["commands_cp"], 1);
    assert_eq!(json["commands_cp"], 1);
}

#[test]
fn no_bus_master_no_transfer() {
    let (mut pf, _, _, _) = start();
    let page = pf.page(1);
    pf.set_config16(4, 2);
    pf.admin_start(6, page, &[]);
    pf.quiet(&pf.admin);
    assert_eq!(pf.read(page, 2), [0, 0]);
    let violations = pf.violations();
    assert!(
        violations[0].contains("Bus Master Enable"),
        "{violations:?}"
    );
    assert_eq!(violations.len(), 1, "{violations:?}");
}

#[test]
fn taking_the_bus_from_a_running_command_is_no_violation() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[1, 2]).0, 0);
    vf0.enable();
    let cp = keep_busy(&mut vf0, &firmware);
    vf0.set_config16(4, 2);
    firmware.open(1);
    vf0.quiet(&cp);
    assert_eq!(vf0.violations(), [""; 0]);
}

#[test]
fn registers_written_after_a_reset_are_not_lost() {
    let (mut pf, mut vf0, _, firmware) = start();
    assert_eq!(pf.admin(SET_COUNT, 0, &[0, 1]).0, 0);
    // The state machine is busy with the PF, which waits for its command.
    keep_busy(&mut pf, &firmware);
    vf0.enable();
    pf.set_reg(CC, 0);
    vf0.set_config16(DEVCTL, DEVCTL_FLR);
    vf0.set_master();
    assert_eq!((vf0.reg(CSTS), vf0.reg(CC)), (0, 0), "at once");
    vf0.set_reg(0x24, 0x000f_000f);
    vf0.set_reg64(0x28, vf0.admin.sq_base);
    vf0.set_reg64(0x30, vf0.admin.cq_base);
    vf0.set_reg(CC, 0x6746_0001);
    std::thread::sleep(crate::host::QUIET);
    assert_eq!(vf0.reg(CSTS), 0);
    firmware.open(1);
    vf0.wait_ready(true);
    assert_eq!(
        vf0.function.sq(0).map(|sq| sq.indexes()),
        Some((16, 0, 0, 0))
    );
    assert_eq!(vf0.reg(0x28), vf0.admin.sq_base as u32);
}

#[test]
fn a_host_that_does_not_know_that_its_function_was_away() {
    let (mut pf, mut vf0, _, firmware) = start();
    for id in [0, 1] {
        assert_eq!(pf.admin(SET_COUNT, 0, &[id, 1]).0, 0);
    }
    // The state machine is busy with the PF, and leaves the VF's queues for later.
    keep_busy(&mut pf, &firmware);
    vf0.enable();
    let _cp = vf0.pair(1, 4);
    pf.set_reg(CC, 0);
    enable_vfs(&pf, 0);
    enable_vfs(&pf, 2);
    vf0.doorbell(8, 1);
    assert_eq!(vf0.violations(), [""; 0]);
    assert_eq!(vf0.function.counters().consequences.get(), 1);
    firmware.open(1);
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
