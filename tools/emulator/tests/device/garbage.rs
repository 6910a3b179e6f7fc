// SPDX-License-Identifier: GPL-2.0-or-later

//! Random entries and accesses: each command is completed, nothing panics, nothing hangs.

use std::sync::Arc;

use azihsm_firmware::Model;

use crate::host::{CC, Cp, Fp, Host, device, eventually, quick};

/// xorshift64*: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Overwrites a few bytes of an entry, or all of it.
    fn spoil(&mut self, entry: &mut [u8]) {
        let count = if self.below(8) == 0 {
            entry.len() * 4
        } else {
            1 + self.below(4)
        };
        for _ in 0..count {
            let at = self.below(entry.len());
            entry[at] = self.next() as u8;
        }
    }
}

fn start() -> Host {
    let mut host = Host::attach(device(quick(), Arc::new(Model::default()), 2), 0);
    host.enable();
    host
}

#[test]
fn control_commands() {
    let mut host = start();
    let mut cp = host.pair(1, 8);
    let buffers = host.page(3);
    let mut random = Random(1);
    for cid in 0..3000u16 {
        // GetApiRev of the protocol, now and then with damage.
        let mut request = b"\xa2\x18\x00\xa1\x18\x02\x1a\x00\x00\x03\xea\x18\x01\xa0".to_vec();
        if random.below(2) == 0 {
            random.spoil(&mut request);
        }
        host.write(buffers, &request);
        let mut sqe = Cp::new(cid, buffers, request.len() as u32, buffers + 4096).0;
        random.spoil(&mut sqe);
        host.submit(&mut cp, &sqe);
        let completion = host.reap(&mut cp);
        assert_eq!(completion.cid(), u16::from_le_bytes([sqe[2], sqe[3]]));
    }
    assert_eq!(host.function.counters().commands_cp.get(), 3000);
    assert!(!host.device.stats().has_internal_errors());
}

#[test]
fn fast_commands() {
    let mut host = start();
    let mut fp = host.pair(256, 8);
    let (buffers, list) = (host.page(4), host.page(2));
    let mut random = Random(2);
    for round in 0..3000u16 {
        let mut entries = crate::host::descriptor(buffers, 2048, 0).to_vec();
        entries.extend(crate::host::descriptor(list, 32, 2 + (round % 2) as u8));
        if random.below(2) == 0 {
            random.spoil(&mut entries);
        }
        host.write(list, &entries);
        let mut sqe = Fp::new(
            round,
            random.below(2) == 0,
            0,
            buffers,
            buffers + 8192,
            2048,
        )
        .0;
        if random.below(2) == 0 {
            let at = if random.below(2) == 0 { 28 } else { 48 };
            sqe[at..at + 16].copy_from_slice(&crate::host::descriptor(list, 32, 2));
        }
        random.spoil(&mut sqe);
        host.submit(&mut fp, &sqe);
        let completion = host.reap(&mut fp);
        assert_eq!(completion.cid(), u16::from_le_bytes([sqe[6], sqe[7]]));
        assert_ne!(completion.status(), 0, "there is no key");
    }
    assert!(!host.device.stats().has_internal_errors());
}

#[test]
fn admin_commands() {
    let mut host = start();
    let page = host.page(1);
    let mut random = Random(3);
    for _ in 0..2000 {
        let opcode = [0, 1, 4, 5, 6, 9, 0xa, 0xc3, 0xc4, 0xc8][random.below(10)];
        let id = [0, 1, 2, 3, 66, 256, 259, 260, 400][random.below(9)];
        let dw10 = id | (random.below(4) as u32) << 16;
        let dw11 = random.below(4) as u32 | (random.below(34) as u32) << 16;
        let (status, _) = host.admin(opcode, page, &[dw10, dw11]);
        assert!(status == 0 || status & 0x4000 != 0, "{status:#x}");
    }
    assert!(!host.device.stats().has_internal_errors());
}

#[test]
fn accesses() {
    let host = start();
    let mut random = Random(4);
    let mut data = [0; 8];
    for _ in 0..20_000 {
        let (offset, len) = (random.below(4096 - 8), 1 << random.below(4));
        let value = random.next().to_le_bytes();
        match random.below(7) {
            0 => host.function.register_read(offset, &mut data[..len]),
            // Not CC and NSSR: the state machine has tests of its own, and they take time.
            1 if !(CC - 7..0x24).contains(&offset) => {
                host.function.register_write(offset, &value[..len]);
            }
            2 => host.function.doorbell_write(offset & 0xfff, &value[..len]),
            3 => host.function.msix_read(offset, &mut data[..len]),
            4 => host.function.msix_write(offset, &value[..len]),
            5 => host.function.config_read(offset, &mut data[..len]),
            _ if offset > 0x70 => host.function.config_write(offset, &value[..len]),
            _ => {}
        }
    }
    // The device is still there.
    let mut host = host;
    host.disable();
    host.enable();
    assert_eq!(host.admin(0xa, 0, &[7]).0, 0);
    eventually("nothing in flight", || {
        host.function.sq(0).unwrap().indexes().3 == 0
    });
    assert!(!host.device.stats().has_internal_errors());
}
