// SPDX-License-Identifier: GPL-2.0-or-later

//! Commands through ioctls: one blocked thread for each.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::Result;

use super::load::{Keys, Load};
use super::sample::Samples;
use super::stopwatch::{Stopwatch, Taken};
use crate::hsm::{Error, Hsm};

/// Runs `commands` commands of a load from `threads` threads.
pub fn run(hsm: &dyn Hsm, keys: &Keys, load: Load, threads: usize, commands: u64) -> Result<Taken> {
    let left = AtomicU64::new(commands);
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| worker(hsm, keys, load, &left, &start)))
            .collect();
        start.wait();
        let watch = Stopwatch::start()?;
        let mut samples = Samples::default();
        for worker in workers {
            samples.add(worker.join().expect("a bench thread does not panic")?);
        }
        watch.stop(samples)
    })
}

fn worker(
    hsm: &dyn Hsm,
    keys: &Keys,
    load: Load,
    left: &AtomicU64,
    start: &Barrier,
) -> Result<Samples, Error> {
    let aes = keys.aes(load);
    let src = vec![0x5a; load.bytes];
    let mut dst = vec![0; load.bytes];
    let mut samples = Samples::default();
    start.wait();
    while left
        .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
        .is_ok()
    {
        let began = Instant::now();
        match &aes {
            Some(aes) => {
                hsm.aes(aes, &src, &mut dst)?;
            }
            None => {
                let (kind, request) = &keys.control;
                hsm.control(*kind, None, request)?;
            }
        }
        samples.push(began.elapsed());
    }
    Ok(samples)
}
