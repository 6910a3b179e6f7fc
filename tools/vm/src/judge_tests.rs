// SPDX-License-Identifier: GPL-2.0-or-later

//! The judge against logs in the formats of real kernels.

use super::*;

fn judge(log: &str) -> Vec<Finding> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    findings(&lines)
}

fn kinds(log: &str) -> Vec<&'static str> {
    judge(log).iter().map(|finding| finding.kind).collect()
}

const HEALTHY: &str = "\
[    0.000000] Linux version 7.3.4+deb13-cloud-amd64 (debian-kernel@lists.debian.org)
[    0.000000] Command line: console=ttyS0 panic=-1 oops=panic loglevel=7
[    0.412345] PCI: Using configuration type 1 for base access
[    0.523456] pcieport 0000:00:02.0: AER: enabled with IRQ 24
[    0.600000] rcu: \tRCU debug GP init slowdown is off.
[    1.000000] Warning: unable to open an initial console.
[    1.100000] WARNING: Support for the Coolix decoder is not built in
[    1.212345] azihsm: loading out-of-tree module taints kernel.
[    1.212346] azihsm: module verification failed: signature and/or required key missing - tainting kernel
[    1.300000] azihsm 0000:01:00.0: firmware 1.0, 4 queues
[    9.000000] reboot: Power down";

#[test]
fn a_healthy_log_is_clean() {
    assert_eq!(judge(HEALTHY), []);
}

#[test]
fn a_warning_is_shown_from_cut_to_end() {
    let log = "\
[    2.100000] azihsm-test: begin gcm
[    2.345678] ------------[ cut here ]------------
[    2.345679] WARNING: CPU: 1 PID: 87 at kernel/workqueue.c:4123 __flush_work+0x2f0/0x310
[    2.345690] Modules linked in: azihsm(OE)
[    2.345700] CPU: 1 UID: 0 PID: 87 Comm: rmmod Tainted: G           OE       7.3.4+deb13-cloud-amd64
[    2.345710] Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE
[    2.345720] RIP: 0010:__flush_work+0x2f0/0x310
[    2.345730] Call Trace:
[    2.345740]  <TASK>
[    2.345750]  azihsm_remove+0x10/0x20 [azihsm]
[    2.345760]  </TASK>
[    2.345770] ---[ end trace 0000000000000000 ]---
[    3.000000] azihsm 0000:01:00.0: ready";
    let found = judge(log);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, "WARN");
    assert!(found[0].lines[0].contains("cut here"));
    assert!(found[0].lines.last().unwrap().contains("end trace"));
    assert_eq!(found[0].lines.len(), 11);
}

#[test]
fn the_newer_warning_format_is_known() {
    assert_eq!(
        kinds("[    2.3] WARNING: drivers/pci/msi/msi.c:1 at pci_msi_x+0x1/0x2, CPU#0: insmod/71"),
        ["WARN"]
    );
}

#[test]
fn an_oops_that_becomes_a_panic_is_found() {
    let log = "\
[    4.500000] BUG: kernel NULL pointer dereference, address: 0000000000000010
[    4.500001] #PF: supervisor read access in kernel mode
[    4.500002] #PF: error_code(0x0000) - not-present page
[    4.500003] PGD 0 P4D 0
[    4.500004] Oops: Oops: 0000 [#1] SMP NOPTI
[    4.500005] CPU: 0 UID: 0 PID: 80 Comm: gcm Tainted: G           OE       7.3.4+deb13-cloud-amd64
[    4.500006] RIP: 0010:azihsm_ioctl+0x20/0x100 [azihsm]
[    4.500007] Call Trace:
[    4.500008]  <TASK>
[    4.500009]  __x64_sys_ioctl+0x90/0xd0
[    4.500010]  </TASK>
[    4.500011] ---[ end trace 0000000000000000 ]---
[    4.500012] Kernel panic - not syncing: Fatal exception
[    4.500013] Kernel Offset: 0x1e000000 from 0xffffffff81000000
[    4.500014] ---[ end Kernel panic - not syncing: Fatal exception ]---";
    let found = judge(log);
    assert_eq!(
        found.iter().map(|f| f.kind).collect::<Vec<_>>(),
        ["BUG", "panic"]
    );
    assert!(
        found[0]
            .lines
            .iter()
            .any(|line| line.contains("azihsm_ioctl+0x20"))
    );
}

#[test]
fn a_rust_panic_is_found() {
    let log = "\
[    1.9] rust_kernel: panicked at drivers/misc/azihsm/queue.rs:99:13:
[    1.9] index out of bounds: the len is 32 but the index is 32
[    1.9] ------------[ cut here ]------------
[    1.9] kernel BUG at rust/helpers/bug.c:7!
[    1.9] Oops: invalid opcode: 0000 [#1] SMP NOPTI";
    assert!(kinds(log).contains(&"Rust panic"));
}

#[test]
fn lockdep_and_kasan_reports_are_found() {
    let log = "\
[   10.000000] ======================================================
[   10.000001] WARNING: possible circular locking dependency detected
[   10.000002] 7.3.4 #1 Tainted: G           O
[   10.000003] ------------------------------------------------------
[   10.000004] insmod/60 is trying to acquire lock:";
    let found = judge(log);
    assert_eq!(found[0].kind, "lockdep");
    assert!(found[0].lines[0].ends_with("======"));

    let log = "\
[   11.000000] ==================================================================
[   11.000001] BUG: KASAN: slab-out-of-bounds in azihsm_copy+0x10/0x20 [azihsm]
[   11.000002] Read of size 1 at addr ffff888004d3a2c8 by task gcm/99
[   11.000003] ==================================================================
[   11.000004] azihsm: fine again";
    let found = judge(log);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].lines.len(), 4);
}

#[test]
fn hangs_and_stalls_are_found() {
    assert_eq!(
        kinds("[   40.0] INFO: task killed:101 blocked for more than 20 seconds."),
        ["hung task"]
    );
    assert_eq!(
        kinds("[   60.0] rcu: INFO: rcu_sched self-detected stall on CPU"),
        ["RCU stall"]
    );
    assert_eq!(
        kinds("[   60.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
        ["RCU stall"]
    );
    assert_eq!(
        kinds("[   30.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [gcm:88]"),
        ["BUG"]
    );
}

#[test]
fn further_taint_in_a_report_is_found() {
    let line = "[   2.0] CPU: 1 PID: 87 Comm: x Tainted: G        W  OE       7.3.4";
    assert_eq!(kinds(line), ["taint"]);
    let line = "[   2.0] Tainted: [W]=WARN, [O]=OOT_MODULE, [E]=UNSIGNED_MODULE";
    assert_eq!(kinds(line), ["taint"]);
    let line = "[   2.0] CPU: 1 PID: 87 Comm: x Tainted: G           OE       7.3.4";
    assert_eq!(kinds(line), Vec::<&str>::new());
}

#[test]
fn taint_flags_beyond_the_module_are_trouble() {
    assert_eq!(taint_trouble(0, false), None);
    assert_eq!(taint_trouble(4096 + 8192, false), None);
    assert!(taint_trouble(4096 + 512, false).unwrap().contains("flag 9"));
    assert_eq!(taint_trouble(4096 + 512, true), None);
    assert!(taint_trouble(512 + 128, true).unwrap().contains("flag 7"));
}

#[test]
fn two_reports_in_a_row_are_two() {
    let log = "\
[    2.1] refcount_t: underflow; use-after-free.
[    2.2] azihsm: fine
[    2.3] list_del corruption. prev->next should be ffff, but was 0";
    assert_eq!(kinds(log), ["refcount", "list corruption"]);
}

#[test]
fn messages_are_told_apart_by_test() {
    let log = "\
[ 1.0] Linux version
[ 2.0] azihsm-test: begin kasan
[ 2.1] BUG: KASAN: slab-out-of-bounds in x
[ 3.0] azihsm-test: begin lockdep";
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let sections = sections(&lines);
    let sizes: Vec<_> = sections.iter().map(|(n, l)| (*n, l.len())).collect();
    assert_eq!(sizes, [("boot", 1), ("kasan", 1), ("lockdep", 0)]);
}

#[test]
fn checkers_have_kinds_of_their_own() {
    assert_eq!(
        kinds("[ 1.0] BUG: sleeping function called from invalid context at a.c:1"),
        ["sleep in atomic context"]
    );
    assert_eq!(
        kinds("[ 1.0] ODEBUG: free active (active state 0) object: 1 object type: work_struct"),
        ["object life-time"]
    );
    assert_eq!(
        kinds("[ 1.0] INFO: lockdep is turned off."),
        Vec::<&str>::new()
    );
    assert_eq!(
        kinds("[ 1.0] kmemleak: Cannot allocate a kmemleak_object structure"),
        ["memory leak"]
    );
    assert_eq!(
        kinds("[ 1.0] kmemleak: Cannot allocate a scan area, scanning the full object"),
        Vec::<&str>::new()
    );
    assert_eq!(
        kinds("[ 1.0] turning off the locking correctness validator."),
        ["lockdep"]
    );
}

#[test]
fn a_report_without_an_end_goes_to_the_end_of_its_trace() {
    let log = "\
[   85.093041] BUG: sleeping function called from invalid context at azihsm_faults.c:58
[   85.093249] in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 72, name: insmod
[   85.093287] preempt_count: 1, expected: 0
[   85.093630] CPU: 0 UID: 0 PID: 72 Comm: insmod Tainted: G    B      O        7.3.4-azihsm-debug
[   85.093683] Tainted: [B]=BAD_PAGE, [O]=OOT_MODULE
[   85.093721] Call Trace:
[   85.093752]  <TASK>
[   85.093850]  __might_resched+0x385/0x4d0
[   85.095051] RIP: 0033:0x4cefc9
[   85.095485]  </TASK>
[   85.200000] azihsm: fine";
    let found = judge(log);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].lines.len(), 10);
}

#[test]
fn a_report_of_lockdep_is_one() {
    let mut log = vec!["[ 1.0] ======================================================"];
    log.push("[ 1.0] WARNING: possible circular locking dependency detected");
    log.push("[ 1.0] 7.3.4-azihsm-debug #1 Tainted: G        W  O       ");
    log.extend(["[ 1.0] -> #1 (second){+.+.}-{4:4}:"; 50]);
    log.push("[ 1.0] CPU: 0 UID: 0 PID: 73 Comm: insmod Tainted: G        W  O        7.3.4");
    log.extend(["[ 1.0] Call Trace:", "[ 1.0]  <TASK>"]);
    log.extend(["[ 1.0]  __lock_acquire+0x1724/0x2e20"; 30]);
    log.extend(["[ 1.0]  </TASK>", "[ 1.1] azihsm: fine"]);
    assert_eq!(kinds(&log.join("\n")), ["lockdep"]);
}

/// As pciehp and the error recovery of the PCI core bring about, shortened.
const CYCLE: &str = "\
[   88.0] ======================================================
[   88.0] WARNING: possible circular locking dependency detected
[   88.0] 7.3.4-azihsm-debug #1 Tainted: G           O
[   88.0] ------------------------------------------------------
[   88.0] irq/24-pciehp/44 is trying to acquire lock:
[   88.0] ffff88800a6fcad8 (&ctrl->reset_lock){.+.+}-{4:4}, at: pciehp_unconfigure_device+0x14b/0x280
[   88.0] the existing dependency chain (in reverse order) is:
[   88.0]
[   88.0] -> #1 (pci_rescan_remove_lock){+.+.}-{4:4}:
[   88.0]        __mutex_lock+0x108/0x1ac0
[   88.0]        pciehp_ist+0x2bf/0x700
[   88.0]
[   88.0] -> #0 (&ctrl->reset_lock){.+.+}-{4:4}:
[   88.0]        __lock_acquire+0x1724/0x2e20
[   88.0]        pciehp_ist+0x2bf/0x700
[   88.0]
[   88.0] stack backtrace:
[   88.0] CPU: 0 UID: 0 PID: 44 Comm: irq/24-pciehp Tainted: G           O        7.3.4-azihsm-debug
[   88.0] Call Trace:
[   88.0]  <TASK>
[   88.0]  dump_stack_lvl+0x63/0x80
[   88.0]  </TASK>";

fn beyond(cores: &[&str], log: &str) -> Vec<Finding> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let cores: Vec<String> = cores.iter().map(|&core| core.to_owned()).collect();
    let expected = Expected {
        locks: &cores,
        warnings: &[],
    };
    let found = findings_beyond(&lines, expected);
    assert_eq!(
        has_any_of(expected, &lines),
        found.len() < findings(&lines).len()
    );
    found
}

#[test]
fn a_cycle_of_the_cores_locks_can_be_expected() {
    let cores = ["pci_rescan_remove_lock", "&ctrl->reset_lock"];
    assert_eq!(judge(CYCLE).len(), 1);
    assert_eq!(beyond(&cores, CYCLE), []);
    // Another lock is in it.
    assert_eq!(beyond(&cores[..1], CYCLE).len(), 1);
    assert_eq!(beyond(&cores[1..], CYCLE).len(), 1);
    // The module is in it.
    let ours = CYCLE.replace("+0x1724", "+0x1724 [azihsm]");
    assert_eq!(beyond(&cores, &ours).len(), 1);
    // It is cut off.
    let (cut, _) = CYCLE.split_once("-> #0").unwrap();
    assert_eq!(beyond(&cores, cut).len(), 1);
    // Something else is wrong, too.
    let more = format!("{CYCLE}\n[   89.0] BUG: sleeping function called from invalid context");
    assert_eq!(beyond(&cores, &more).len(), 1);
}

/// As the PCI core says of a driver that removes its virtual functions, shortened.
const WARNING: &str = "\
[   45.0] ------------[ cut here ]------------
[   45.0] WARNING: drivers/pci/remove.c:128 at pci_stop_and_remove_bus_device+0x50/0x80, CPU#1: mgmt/163
[   45.0] Modules linked in: azihsm(O)
[   45.0] CPU: 1 UID: 0 PID: 163 Comm: mgmt Tainted: G           O        7.3.4-azihsm-debug #1 PREEMPT
[   45.0] RIP: 0010:pci_stop_and_remove_bus_device+0x50/0x80
[   45.0] Call Trace:
[   45.0]  <TASK>
[   45.0]  pci_iov_remove_virtfn+0x218/0x3b0
[   45.0]  sriov_disable+0x76/0x350
[   45.0]  remove_vfs+0x177/0x1b0 [azihsm]
[   45.0]  unbind_store+0x14c/0x180
[   45.0]  </TASK>
[   45.0] irq event stamp: 1511
[   45.0] ---[ end trace 0000000000000000 ]---";

fn warned(chain: &[&str], log: &str) -> usize {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let chain: Vec<String> = chain.iter().map(|&function| function.to_owned()).collect();
    let expected = Expected {
        locks: &[],
        warnings: &[chain],
    };
    let found = findings_beyond(&lines, expected).len();
    assert_eq!(has_any_of(expected, &lines), found < findings(&lines).len());
    found
}

#[test]
fn a_warning_of_the_core_can_be_expected() {
    let chain = [
        "pci_stop_and_remove_bus_device",
        "pci_iov_remove_virtfn",
        "sriov_disable",
        "unbind_store",
    ];
    assert_eq!(judge(WARNING).len(), 1);
    assert_eq!(warned(&chain, WARNING), 0);
    assert_eq!(warned(&chain, &format!("{WARNING}\n{WARNING}")), 0);
    // Another function warns, or it was called otherwise.
    assert_eq!(warned(&chain[1..], WARNING), 1);
    assert_eq!(warned(&[], WARNING), 1);
    let elsewhere = WARNING.replace("unbind_store", "remove_store");
    assert_eq!(warned(&chain, &elsewhere), 1);
    let (first, second) = ("pci_iov_remove_virtfn", "sriov_disable");
    let turned = WARNING.replace(first, "x").replace(second, first);
    assert_eq!(
        warned(&chain, &turned.replace(" x+", &format!(" {second}+"))),
        1
    );
    // Something else is wrong, too.
    let more = format!("{WARNING}\n[   46.0] BUG: sleeping function called from invalid context");
    assert_eq!(warned(&chain, &more), 1);
}
