// SPDX-License-Identifier: GPL-2.0-or-later

//! Registers and the controller state machine (sections 1.1 and 2).

use std::thread;
use std::time::Duration;

use azihsm_firmware::StateChange;

use crate::firmware::{HOLD, KEY_HOLD};
use crate::host::{CC, CSTS, Cp, Fp, Host, NSSR, NSSR_SIGNATURE, QUIET, quick};

#[test]
fn register_values() {
    let (host, _) = Host::new();
    let cap = u64::from(host.reg(0)) | u64::from(host.reg(4)) << 32;
    assert_eq!(cap & 0xffff, 1023);
    assert_eq!(cap >> 16 & 1, 1);
    assert_eq!(cap >> 17 & 3, 1);
    assert_eq!(cap >> 24 & 0xff, 20);
    assert_eq!(cap >> 32 & 0xf, 0);
    assert_eq!(cap >> 36 & 1, 1);
    assert_eq!(cap >> 48, 0);
    assert_eq!(host.reg(8), 0x0001_0400);
    assert_eq!(host.reg(0x18), 3);
    assert_eq!(host.reg(CSTS), 0);
    // CAP, VS and CSTS cannot be written.
    host.set_reg64(0, 0);
    host.set_reg(CSTS, 3);
    assert_eq!(u64::from(host.reg(0)), cap & 0xffff_ffff);
    assert_eq!(host.reg(CSTS), 0);
}

#[test]
fn registers_take_words_only() {
    let (host, _) = Host::new();
    host.function.register_write(CC, &[1]);
    host.function.register_write(CC + 2, &[1, 0, 0, 0]);
    assert_eq!(host.reg(CC), 0);
    assert_eq!(host.violations().len(), 2);
    assert!(
        host.violations()[0].contains("BAR0"),
        "{:?}",
        host.violations()
    );
}

#[test]
fn rdy_follows_en_after_a_delay() {
    let mut config = quick();
    config.ready_delay = Duration::from_millis(300);
    config.disable_delay = Duration::from_millis(300);
    let (mut host, firmware) = Host::with(config, 2);
    host.set_reg(0x24, 0x000f_000f);
    host.set_reg(CC, 1);
    assert_eq!(host.reg(CSTS), 0, "RDY is never set by the write itself");
    host.wait_ready(true);
    host.set_reg(CC, 0);
    assert_eq!(host.reg(CSTS), 1);
    host.wait_ready(false);
    assert_eq!(host.reg(0x24), 0x000f_000f, "AQA survives a disable");
    host.enable();
    let changes: Vec<_> = firmware
        .changes()
        .into_iter()
        .filter(|c| !matches!(c, StateChange::Resources { .. }))
        .collect();
    assert_eq!(
        changes,
        [
            StateChange::Enable,
            StateChange::Disable,
            StateChange::Enable
        ]
    );
    let stats = host.function.counters();
    assert_eq!((stats.enables.get(), stats.disables.get()), (2, 1));
}

#[test]
fn en_toggled_faster_than_the_firmware_looks_is_no_change() {
    let mut config = quick();
    config.ready_delay = Duration::from_millis(500);
    let (host, _) = Host::with(config, 2);
    host.set_reg(CC, 1);
    thread::sleep(Duration::from_millis(10));
    host.set_reg(CC, 0);
    host.set_reg(CC, 1);
    host.wait_ready(true);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 1);
    assert_eq!(host.function.counters().enables.get(), 1);
    assert_eq!(host.function.counters().disables.get(), 0);
}

#[test]
fn admin_queue_is_taken_when_enabled() {
    let (mut host, _) = Host::ready();
    // Another queue while enabled: not looked at until the next enable.
    let elsewhere = host.page(1);
    host.set_reg64(0x28, elsewhere);
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
    host.disable();
    host.enable();
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
}

#[test]
fn disable_deletes_all_queues() {
    let (mut host, _) = Host::ready();
    host.pair(1, 4);
    host.disable();
    host.doorbell(0, 1);
    host.doorbell(8, 1);
    assert_eq!(host.violations().len(), 2);
    host.enable();
    // The ids are free again.
    host.pair(1, 4);
}

#[test]
fn disable_waits_for_a_control_command_and_posts_its_completion() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 4);
    let buffers = host.page(3);
    host.write(buffers, &[HOLD, 1]);
    host.submit(&mut cp, &Cp::new(7, buffers, 2, buffers + 4096).0);
    firmware.await_waiting(&[1]);
    host.set_reg(CC, 0);
    thread::sleep(QUIET);
    // The partition is dropped at once.
    super::host::eventually("disable", || {
        firmware.changes().contains(&StateChange::Disable)
    });
    assert_eq!(host.reg(CSTS), 1, "a command is still running");
    firmware.open(1);
    host.wait_ready(false);
    let completion = host.peek(&cp).expect("the completion is still written");
    assert_eq!((completion.cid(), completion.status()), (7, 0));
}

#[test]
fn disable_ends_fast_commands_without_completion() {
    let (mut host, firmware) = Host::ready();
    let mut fp = host.pair(256, 8);
    let buffers = host.page(2);
    host.submit(
        &mut fp,
        &Fp::new(1, true, KEY_HOLD + 1, buffers, buffers + 4096, 16).0,
    );
    firmware.await_waiting(&[1]);
    host.set_reg(CC, 0);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 1);
    firmware.open(1);
    host.wait_ready(false);
    assert!(host.peek(&fp).is_none());
    assert_eq!(
        host.read(buffers + 4096, 16),
        [0; 16],
        "nothing is written after the tear-down"
    );
    assert_eq!(host.interrupts(16), 0);
}

#[test]
fn disable_drops_a_completion_stalled_in_a_full_queue() {
    let (mut host, _) = Host::ready();
    let mut cp = host.pair(1, 2);
    let buffers = host.page(3);
    let sqe = Cp::new(1, buffers, 1, buffers + 4096).0;
    host.submit(&mut cp, &sqe);
    super::host::eventually("first completion", || host.peek(&cp).is_some());
    host.submit(&mut cp, &sqe);
    super::host::eventually("stall", || host.function.counters().cq_stalls.get() == 1);
    host.disable();
}

#[test]
fn subsystem_reset() {
    let (mut host, firmware) = Host::ready();
    host.set_reg(NSSR, 0x1234);
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 1, "only the signature counts");
    host.set_reg(NSSR, NSSR_SIGNATURE);
    host.wait_ready(false);
    assert_eq!(host.reg(CC) & 1, 1, "CC.EN stays");
    assert_eq!(host.reg(CSTS), 0);
    assert_eq!(firmware.changes().last(), Some(&StateChange::Nssr));
    thread::sleep(QUIET);
    assert_eq!(host.reg(CSTS), 0, "and does not bring RDY back");
    host.set_reg(CC, 0);
    host.enable();
    assert_eq!(host.admin(0x0a, 0, &[7]).0, 0);
}

#[test]
fn subsystem_reset_keeps_the_partition_until_commands_ended() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 4);
    let buffers = host.page(3);
    host.write(buffers, &[HOLD, 1]);
    host.submit(&mut cp, &Cp::new(7, buffers, 2, buffers + 4096).0);
    firmware.await_waiting(&[1]);
    host.set_reg(NSSR, NSSR_SIGNATURE);
    thread::sleep(QUIET);
    assert!(!firmware.changes().contains(&StateChange::Nssr));
    firmware.open(1);
    host.wait_ready(false);
    assert_eq!(firmware.changes().last(), Some(&StateChange::Nssr));
    assert!(host.peek(&cp).is_some());
}

#[test]
fn subsystem_reset_may_clear_en() {
    let mut config = quick();
    config.nssr_clears_enable = true;
    let (mut host, _) = Host::with(config, 1);
    host.enable();
    host.set_reg(NSSR, NSSR_SIGNATURE);
    host.wait_ready(false);
    assert_eq!(host.reg(CC) & 1, 0);
}

#[test]
fn function_level_reset_does_not_wait_for_control_commands() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 4);
    let buffers = host.page(3);
    host.write(buffers, &[HOLD, 1]);
    host.submit(&mut cp, &Cp::new(7, buffers, 2, buffers + 4096).0);
    firmware.await_waiting(&[1]);
    flr(&host);
    host.wait_ready(false);
    assert_eq!((host.reg(CC), host.reg(0x24)), (0, 0), "at once");
    super::host::eventually("end of the reset", || {
        firmware.changes().last() == Some(&StateChange::Flr)
    });
    assert_eq!(
        host.function.resource_count(),
        2,
        "a VF keeps its resources"
    );
    // The forgotten command ends without a trace.
    firmware.open(1);
    host.quiet(&cp);
    assert_eq!(host.read(buffers + 4096, 2), [0, 0]);
    host.enable();
    let mut again = host.pair(1, 4);
    host.write(buffers, &[0, 1]);
    host.submit(&mut again, &Cp::new(8, buffers, 2, buffers + 4096).0);
    assert_eq!(host.reap(&mut again).cid(), 8);
}

#[test]
fn power_cycle_returns_to_the_initial_state() {
    let (mut host, firmware) = Host::ready();
    let mut cp = host.pair(1, 4);
    let buffers = host.page(3);
    host.write(buffers, &[HOLD, 1]);
    host.submit(&mut cp, &Cp::new(7, buffers, 2, buffers + 4096).0);
    firmware.await_waiting(&[1]);
    host.device.reset(&host.function).unwrap();
    assert_eq!((host.reg(CC), host.reg(CSTS)), (0, 0));
    let changes = firmware.changes();
    assert!(matches!(
        changes[changes.len() - 2..],
        [
            StateChange::Resources { owned: 0, .. },
            StateChange::Resources { owned: 3, .. }
        ]
    ));
    firmware.open(1);
    host.enable();
    assert_eq!(host.admin(0x0a, 0, &[7]), (0, 0x0001_0001));
}

fn flr(host: &Host) {
    let mut capability = [0];
    host.function.config_read(0x34, &mut capability);
    let mut at = usize::from(capability[0]);
    loop {
        let mut header = [0; 2];
        host.function.config_read(at, &mut header);
        if header[0] == 0x10 {
            break;
        }
        at = header[1].into();
    }
    host.function.config_write(at + 8, &0x8000u16.to_le_bytes());
}
