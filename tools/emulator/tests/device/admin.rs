// SPDX-License-Identifier: GPL-2.0-or-later

//! Admin commands and each status they can end with (section 4).

use crate::host::{Host, quick};

const DELETE_SQ: u8 = 0;
const CREATE_SQ: u8 = 1;
const DELETE_CQ: u8 = 4;
const CREATE_CQ: u8 = 5;
const IDENTIFY: u8 = 6;
const SET_FEATURES: u8 = 9;
const GET_FEATURES: u8 = 0xa;

/// dw10 of a create command.
fn queue(id: u32, size_field: u32) -> u32 {
    id | size_field << 16
}

#[test]
fn identify() {
    let (mut host, _) = Host::ready();
    let page = host.page(1);
    host.write(page, &[0xee; 4096]);
    assert_eq!(host.admin(IDENTIFY, page, &[1]), (0, 0));
    let data = host.read(page, 4096);
    assert_eq!(data[..4], [0x14, 0x14, 0x14, 0x14]);
    assert!(data[4..36].starts_with(b"EMULATED-HSM-"));
    assert!(data[36..68].starts_with(b"emulator-"));
    assert_eq!(data[68..72], [0; 4]);
    assert_eq!(data[72..80], [13, 0, 1, 0, 0, 0x66, 0x44, 0]);
    assert_eq!(data[80..88], [2, 0, 13, 0x77, 0x66, 0, 4, 0]);
    assert_eq!(data[88..96], 1u64.to_le_bytes());
    assert_eq!(data[96..102], [0, 4, 1, 0, 1, 0]);
    assert!(
        data[102..].iter().all(|&b| b == 0xee),
        "only 102 bytes are written"
    );
    assert_eq!(host.function.counters().dma_bytes_written.get(), 102 + 16);
}

#[test]
fn identify_to_a_bad_address() {
    let (mut host, _) = Host::ready();
    assert_eq!(host.admin(IDENTIFY, 0x10, &[1]).0, 0x4004);
    let violations = host.violations();
    assert_eq!(violations.len(), 1);
    assert!(
        violations[0].contains("write of 102 bytes at 0x10"),
        "{violations:?}"
    );
    assert!(violations[0].contains("not mapped"), "{violations:?}");
}

#[test]
fn features() {
    let (mut host, _) = Host::ready();
    for opcode in [SET_FEATURES, GET_FEATURES] {
        // What is asked for is ignored.
        assert_eq!(host.admin(opcode, 0, &[7, 0x0080_0080]), (0, 0x0001_0001));
        assert_eq!(host.admin(opcode, 0, &[193, 0x0080_0080]), (0, 0x0003_0003));
        assert_eq!(host.admin(opcode, 0, &[8]).0, 0x4001);
    }
    assert_eq!(host.admin(GET_FEATURES, 0, &[194]), (0, 1));
    assert_eq!(host.admin(SET_FEATURES, 0, &[194, 1]).0, 0x4001);
}

#[test]
fn without_resources() {
    let (mut host, _) = Host::with(quick(), 0);
    host.enable();
    assert_eq!(host.admin(GET_FEATURES, 0, &[7]).0, 0x4002);
    assert_eq!(host.admin(SET_FEATURES, 0, &[193]).0, 0x4002);
    assert_eq!(host.admin(CREATE_CQ, 0, &[queue(1, 3), 1]).0, 0x4007);
}

#[test]
fn unknown_opcodes() {
    let (mut host, _) = Host::ready();
    for opcode in [0x02, 0x03, 0x08, 0x0c, 0x18, 0x7f, 0xc2, 0xca, 0xff] {
        assert_eq!(
            host.admin(opcode, 0, &[0]),
            (0x4001, 0),
            "opcode {opcode:#x}"
        );
    }
    assert_eq!(host.function.counters().failed_admin.get(), 9);
}

#[test]
fn create_cq_errors_in_order() {
    let (mut host, _) = Host::ready();
    let page = host.page(1);
    let mut create = |dw10, dw11| host.admin(CREATE_CQ, page, &[dw10, dw11]).0;
    // Each row breaks one more rule, the earlier one decides.
    assert_eq!(create(queue(0, 0), 2 | 99 << 16), 0x4007, "not contiguous");
    assert_eq!(create(queue(0, 0), 3 | 99 << 16), 0x4102, "size 0");
    assert_eq!(create(queue(0, 3), 3 | 99 << 16), 0x4101, "id 0");
    assert_eq!(create(queue(66, 3), 3 | 99 << 16), 0x4108, "vector");
    assert_eq!(
        create(queue(66, 3), 3 | 1 << 16),
        0x4101,
        "id past the CP queues"
    );
    assert_eq!(
        create(queue(386, 3), 3 | 16 << 16),
        0x4101,
        "id past the FP queues"
    );
    assert_eq!(
        create(queue(3, 3), 3 | 1 << 16),
        0x4007,
        "past the resources"
    );
    assert_eq!(
        create(queue(260, 3), 3 | 16 << 16),
        0x4007,
        "past the resources"
    );
    assert_eq!(create(queue(1, 3), 3 | 1 << 16), 0);
    assert_eq!(create(queue(1, 3), 3 | 1 << 16), 0x4007, "exists");
}

#[test]
fn vectors_belong_to_classes() {
    let (mut host, _) = Host::ready();
    let page = host.page(1);
    let mut create = |id, vector: u32| {
        host.admin(CREATE_CQ, page, &[queue(id, 3), 3 | vector << 16])
            .0
    };
    for vector in [0, 16, 32, 0xffff] {
        assert_eq!(create(1, vector), 0x4108, "CP vector {vector}");
    }
    for vector in [0, 1, 15, 32, 0xffff] {
        assert_eq!(create(256, vector), 0x4108, "FP vector {vector}");
    }
    assert_eq!(create(1, 15), 0);
    assert_eq!(create(2, 15), 0, "queues may share a vector");
    assert_eq!(create(256, 16), 0);
    assert_eq!(create(259, 31), 0);
    // Without interrupts the vector does not matter.
    assert_eq!(
        host.admin(CREATE_CQ, page, &[queue(257, 3), 1 | 3 << 16]).0,
        0
    );
}

#[test]
fn a_vector_past_the_table_is_a_violation() {
    let config = azihsm_emulator::config::Config {
        vectors: 17,
        ..crate::host::quick()
    };
    let (mut host, _) = Host::with(config, 2);
    host.enable();
    let page = host.page(1);
    assert_eq!(host.config16(0x52) & 0x7ff, 16);
    let mut create = |id, vector: u32| {
        host.admin(CREATE_CQ, page, &[queue(id, 3), 3 | vector << 16])
            .0
    };
    assert_eq!((create(256, 16), create(257, 17)), (0, 0));
    let violations = host.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains("CQ 257 with vector 17"));
}

#[test]
fn create_sq_errors_in_order() {
    let (mut host, _) = Host::ready();
    let page = host.page(1);
    assert_eq!(host.admin(CREATE_CQ, page, &[queue(1, 3), 1]).0, 0);
    let mut create = |dw10, dw11| host.admin(CREATE_SQ, page, &[dw10, dw11]).0;
    assert_eq!(create(queue(0, 0), 0), 0x4007, "not contiguous");
    assert_eq!(create(queue(0, 0), 1), 0x4102, "size 0");
    assert_eq!(create(queue(0, 3), 1), 0x4100, "CQ 0");
    assert_eq!(create(queue(0, 3), 1 | 66 << 16), 0x4101, "id 0");
    assert_eq!(create(queue(66, 3), 1 | 66 << 16), 0x4101, "CQ id invalid");
    assert_eq!(
        create(queue(66, 3), 1 | 3 << 16),
        0x4007,
        "CQ past the resources"
    );
    assert_eq!(
        create(queue(66, 3), 1 | 2 << 16),
        0x4007,
        "CQ does not exist"
    );
    assert_eq!(create(queue(66, 3), 1 | 1 << 16), 0x4101, "id invalid");
    assert_eq!(
        create(queue(3, 3), 1 | 1 << 16),
        0x4007,
        "past the resources"
    );
    assert_eq!(create(queue(1, 3), 1 | 1 << 16), 0);
    assert_eq!(create(queue(1, 3), 1 | 1 << 16), 0x4007, "exists");
}

#[test]
fn sizes_past_mqes_only_in_strict_mode() {
    for (strict, expected) in [(false, 0), (true, 0x4102)] {
        let mut config = quick();
        config.strict = strict;
        let (mut host, _) = Host::with(config, 1);
        host.enable();
        let page = host.page(4);
        assert_eq!(
            host.admin(CREATE_CQ, page, &[queue(1, 1024), 1]).0,
            expected
        );
        assert_eq!(host.admin(CREATE_CQ, page, &[queue(256, 1023), 1]).0, 0);
    }
}

#[test]
fn delete_errors() {
    let (mut host, _) = Host::ready();
    assert_eq!(host.admin(DELETE_SQ, 0, &[0]).0, 0x4101);
    assert_eq!(host.admin(DELETE_CQ, 0, &[0]).0, 0x4101);
    assert_eq!(host.admin(DELETE_SQ, 0, &[1]).0, 0x4007);
    assert_eq!(host.admin(DELETE_CQ, 0, &[1]).0, 0x4007);
    assert_eq!(host.admin(DELETE_SQ, 0, &[0x1234]).0, 0x4007);
    host.pair(1, 4);
    assert_eq!(host.admin(DELETE_CQ, 0, &[1]).0, 0x410c);
    assert_eq!(host.admin(DELETE_SQ, 0, &[1]).0, 0);
    assert_eq!(host.admin(DELETE_SQ, 0, &[1]).0, 0x4007);
    assert_eq!(host.admin(DELETE_CQ, 0, &[1]).0, 0);
    host.pair(1, 4);
}

#[test]
fn memory_that_is_not_shared_is_noticed() {
    let (mut host, _) = Host::ready();
    assert_eq!(host.admin(GET_FEATURES, 0, &[7]).0, 0);
    assert!(!host.device.stats().has_private_memory());
    // The doorbell rings, but what the host wrote never arrived.
    host.doorbell(0, host.admin.tail + 1);
    crate::host::eventually("suspicion", || host.device.stats().has_private_memory());
}

#[test]
fn a_completion_without_its_queue_is_lost() {
    let (mut host, _) = Host::ready();
    let page = host.page(2);
    // SQ 2 names CQ 1, but completions go to CQ 2, which does not exist.
    assert_eq!(host.admin(CREATE_CQ, page, &[queue(1, 3), 1]).0, 0);
    assert_eq!(
        host.admin(CREATE_SQ, page + 4096, &[queue(2, 3), 1 | 1 << 16])
            .0,
        0
    );
    host.doorbell(16, 1);
    crate::host::eventually("command", || {
        host.function.counters().commands_cp.get() == 1
    });
    assert_eq!(host.admin(DELETE_SQ, 0, &[2]).0, 0);
    assert_eq!(host.read(page, 64), [0; 64]);
}

#[test]
fn every_completion_interrupts_on_vector_0() {
    let (mut host, _) = Host::ready();
    for _ in 0..5 {
        host.admin(GET_FEATURES, 0, &[7]);
    }
    crate::host::eventually("5 interrupts", || {
        host.function.counters().interrupts.get() == 5
    });
    assert_eq!(host.interrupts(0), 5);
}
