// SPDX-License-Identifier: GPL-2.0-or-later

//! Commands through io_uring: one thread, many commands under way.

use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use azihsm_ddi::SessionKind;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::load::{Keys, Load, Op};
use super::sample::Samples;
use super::stopwatch::{Stopwatch, Taken};
use crate::device::Device;
use crate::hsm::RESPONSE_MAX;
use crate::uapi;

/// A ring as commands need it.
type Ring = IoUring<squeue::Entry128, cqueue::Entry32>;

/// Bytes of an entry that are the command's own.
const PAYLOAD: usize = 80;

/// Size of a page.
const PAGE: usize = 4096;

/// Of how many commands under way one part is waited for at a time.
const PARTS: usize = 4;

/// How commands go through a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Buffers are just memory, interrupts tell of completions.
    Plain,
    /// Buffers are registered.
    Fixed,
    /// The ring looks for completions.
    Iopoll,
}

/// A command that is repeated: its entry, and when it was submitted last.
struct Job {
    entry: squeue::Entry128,
    began: Instant,
}

/// Runs `commands` commands of a load, `depth` of them at a time.
pub fn run(
    device: &Device,
    keys: &Keys,
    load: Load,
    depth: usize,
    way: Way,
    commands: u64,
) -> Result<Taken> {
    let (src_len, dst_len) = match load.op {
        Op::Control => (keys.control.1.len(), RESPONSE_MAX),
        _ => (load.bytes, load.bytes),
    };
    // Each command has its pages.
    let stride = (
        src_len.next_multiple_of(PAGE),
        dst_len.next_multiple_of(PAGE),
    );
    let mut arena = vec![0x5a_u8; depth * (stride.0 + stride.1) + PAGE];
    let first = arena
        .as_mut_ptr()
        .expose_provenance()
        .next_multiple_of(PAGE);
    let mut jobs = Vec::new();
    for number in 0..depth {
        let src = first + number * (stride.0 + stride.1);
        if load.op == Op::Control {
            let at = src - arena.as_ptr().addr();
            arena[at..at + src_len].copy_from_slice(&keys.control.1);
        }
        let dst = (src + stride.0) as u64;
        let (op, payload) = payload(keys, load, (src as u64, src_len), (dst, dst_len));
        let entry = opcode::UringCmd80::new(types::Fd(device.as_raw_fd()), op)
            .buf_index((way == Way::Fixed).then_some(0))
            .cmd(payload)
            .build()
            .user_data(number as u64);
        jobs.push(Job {
            entry,
            began: Instant::now(),
        });
    }
    let expected = |res: i32| match load.op {
        Op::Control => res > 0,
        _ => usize::try_from(res) == Ok(load.bytes),
    };
    repeat(&mut jobs, way, Some(&mut arena), commands, expected)
}

/// Runs `commands` operations that do nothing, `depth` of them at a time.
pub fn run_nops(depth: usize, commands: u64) -> Result<Taken> {
    let mut jobs: Vec<Job> = (0..depth)
        .map(|number| Job {
            entry: squeue::Entry128::from(opcode::Nop::new().build()).user_data(number as u64),
            began: Instant::now(),
        })
        .collect();
    repeat(&mut jobs, Way::Plain, None, commands, |res| res == 0)
}

fn repeat(
    jobs: &mut [Job],
    way: Way,
    arena: Option<&mut Vec<u8>>,
    commands: u64,
    expected: impl Fn(i32) -> bool,
) -> Result<Taken> {
    let depth = u32::try_from(jobs.len())?;
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    if way == Way::Iopoll {
        builder.setup_iopoll();
    }
    let mut ring: Ring = builder
        .build(depth.next_power_of_two())
        .context("cannot make a ring; is io_uring allowed?")?;
    if let (Way::Fixed, Some(arena)) = (way, arena) {
        let buffer = libc::iovec {
            iov_base: arena.as_mut_ptr().cast(),
            iov_len: arena.len(),
        };
        // SAFETY: the buffer outlives the ring, which is this function's.
        unsafe { ring.submitter().register_buffers(&[buffer]) }
            .context("cannot register the buffers")?;
    }
    let mut samples = Samples::default();
    let mut left = commands;
    let mut under_way = 0;
    let mut ready: Vec<usize> = (0..jobs.len()).collect();
    let watch = Stopwatch::start()?;
    while left > 0 || under_way > 0 {
        for number in ready.drain(..) {
            if left == 0 {
                break;
            }
            left -= 1;
            under_way += 1;
            let job = &mut jobs[number];
            job.began = Instant::now();
            // SAFETY: the entry's addresses are the job's part of the arena, which nobody else touches and which
            // outlives the ring's use of it: the loop ends when nothing is under way.
            unsafe { ring.submission().push(&job.entry) }
                .context("the ring has less room than it should")?;
        }
        let wanted = (jobs.len() / PARTS).clamp(1, under_way.max(1));
        ring.submit_and_wait(wanted).context("io_uring_enter")?;
        for completion in ring.completion() {
            let number = usize::try_from(completion.user_data())?;
            ensure!(
                expected(completion.result()),
                "a command through io_uring failed: {} ({:#x})",
                completion.result(),
                completion.big_cqe()[0]
            );
            samples.push(jobs[number].began.elapsed());
            under_way -= 1;
            ready.push(number);
        }
    }
    watch.stop(samples)
}

/// Returns number and payload of a command, given addresses and lengths of its buffers.
fn payload(
    keys: &Keys,
    load: Load,
    (src, src_len): (u64, usize),
    (dst, dst_len): (u64, usize),
) -> (u32, [u8; PAYLOAD]) {
    // The lengths are those of buffers the tool made.
    let (src_len, dst_len) = (src_len as u32, dst_len as u32);
    let (session_id, short_app_id) = (keys.session.id, keys.session.short_app_id);
    match load.op {
        Op::Control => {
            debug_assert!(keys.control.0 == SessionKind::None);
            let cp = uapi::azihsm_uring_cp {
                src,
                dst,
                src_len,
                dst_len,
                session_flags: keys.control.0 as u8,
                ..Default::default()
            };
            // SAFETY: the structure has no padding, and any byte is a byte.
            (uapi::NR_AZIHSM_URING_CP, unsafe {
                std::mem::transmute::<uapi::azihsm_uring_cp, [u8; PAYLOAD]>(cp)
            })
        }
        Op::Gcm => {
            let gcm = uapi::azihsm_uring_gcm {
                flags: uapi::AZIHSM_URING_WORKAROUND as u16,
                session_id,
                short_app_id,
                key_id: keys.gcm,
                src,
                dst,
                src_len,
                dst_len,
                ..Default::default()
            };
            // SAFETY: as above.
            (uapi::NR_AZIHSM_URING_GCM, unsafe {
                std::mem::transmute::<uapi::azihsm_uring_gcm, [u8; PAYLOAD]>(gcm)
            })
        }
        Op::Xts => {
            let xts = uapi::azihsm_uring_xts {
                session_id,
                short_app_id,
                data_unit: uapi::AZIHSM_XTS_UNIT_4096 as u8,
                key_id1: keys.xts[0],
                key_id2: keys.xts[1],
                src,
                dst,
                src_len,
                dst_len,
                ..Default::default()
            };
            // SAFETY: as above.
            (uapi::NR_AZIHSM_URING_XTS, unsafe {
                std::mem::transmute::<uapi::azihsm_uring_xts, [u8; PAYLOAD]>(xts)
            })
        }
    }
}
