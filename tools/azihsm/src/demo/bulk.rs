// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs a step on every chunk of a file, on several threads.
//!
//! The device runs few commands per queue at a time: speed comes from several callers, each of which the driver
//! sends to another queue.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::stop::Stop;

/// How long a step may take until something is said; then, without a terminal, how often.
const QUIET: Duration = Duration::from_secs(3);
/// How often a line on a terminal is overwritten.
const OVERWRITE: Duration = Duration::from_millis(200);

/// How a file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of the file in bytes, at least 1.
    pub size: u64,
    /// Size of a chunk in bytes; the last one may be shorter.
    pub chunk: usize,
}

impl Layout {
    /// Number of chunks.
    pub fn count(&self) -> u64 {
        self.size.div_ceil(self.chunk as u64)
    }

    /// Where chunk `index` starts in the file.
    pub fn offset(&self, index: u64) -> u64 {
        index * self.chunk as u64
    }

    /// Length of chunk `index`.
    pub fn len(&self, index: u64) -> usize {
        let rest = self.size - self.offset(index);
        rest.min(self.chunk as u64) as usize
    }
}

/// Calls `step` for every index below `count` on `jobs` threads, and returns how long all of it took.
///
/// Each thread has a state of its own, which `state` makes. The first error ends the run and is returned; a signal
/// that `stop` was told of is one.
pub fn run<S>(
    what: &str,
    count: u64,
    jobs: usize,
    stop: &Stop,
    state: impl Fn() -> S + Sync,
    step: impl Fn(&mut S, u64) -> Result<()> + Sync,
) -> Result<Duration> {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let error = Mutex::new(None);
    let progress = Progress::new(what, count);
    let start = Instant::now();

    let work = || {
        let mut state = state();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            if let Err(e) = stop.check().and_then(|()| step(&mut state, index)) {
                failed.store(true, Ordering::Relaxed);
                let e = e.context(format!("{what}: chunk {index} of {count}"));
                error
                    .lock()
                    .expect("no panic with the lock")
                    .get_or_insert(e);
                return;
            }
            progress.step();
        }
    };
    thread::scope(|scope| -> Result<()> {
        for number in 1..jobs {
            thread::Builder::new()
                .name(format!("job {number}"))
                .spawn_scoped(scope, work)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))
                .context("cannot start a thread; try fewer with --jobs")?;
        }
        work();
        Ok(())
    })?;

    let taken = start.elapsed();
    progress.clear();
    match error.into_inner().expect("no panic with the lock") {
        Some(error) => Err(error),
        None => Ok(taken),
    }
}

/// Says how far a step is: a line that is overwritten on a terminal, or else a line now and then.
struct Progress<'a> {
    what: &'a str,
    count: u64,
    done: AtomicU64,
    /// When to say something next, and whether something was said.
    next: Mutex<(Instant, bool)>,
    every: Duration,
    overwrite: bool,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, count: u64) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let overwrite = std::io::stderr().is_terminal() && !dumb;
        Self {
            what,
            count,
            done: AtomicU64::new(0),
            next: Mutex::new((Instant::now() + QUIET, false)),
            every: if overwrite { OVERWRITE } else { QUIET },
            overwrite,
        }
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // Somebody else speaks: nothing is lost.
        let Ok(mut next) = self.next.try_lock() else {
            return;
        };
        let now = Instant::now();
        if now < next.0 || done == self.count {
            return;
        }
        *next = (now + self.every, true);
        let percent = done * 100 / self.count;
        let (begin, end) = if self.overwrite {
            ("\r", "")
        } else {
            ("", "\n")
        };
        // Progress that cannot be shown is no reason to fail.
        let _ = write!(
            std::io::stderr(),
            "{begin}  {} ... {percent} %{end}",
            self.what
        );
    }

    fn clear(&self) {
        if self.overwrite && self.next.lock().is_ok_and(|next| next.1) {
            // As above.
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn layout() {
        let layout = Layout {
            size: 2500,
            chunk: 1000,
        };
        assert_eq!(layout.count(), 3);
        assert_eq!(layout.offset(2), 2000);
        assert_eq!([0, 1, 2].map(|i| layout.len(i)), [1000, 1000, 500]);
        let exact = Layout {
            size: 2000,
            chunk: 1000,
        };
        assert_eq!((exact.count(), exact.len(1)), (2, 1000));
    }

    #[test]
    fn every_index_once() {
        let seen = Mutex::new(Vec::new());
        run(
            "x",
            100,
            4,
            &Stop::never(),
            || (),
            |(), i| {
                seen.lock().unwrap().push(i);
                Ok(())
            },
        )
        .unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 100);
        assert_eq!(
            seen.into_iter().collect::<BTreeSet<_>>(),
            (0..100).collect()
        );
    }

    #[test]
    fn first_error_ends_the_run() {
        let steps = AtomicU64::new(0);
        let result = run(
            "x",
            1_000_000,
            2,
            &Stop::never(),
            || (),
            |(), i| {
                steps.fetch_add(1, Ordering::Relaxed);
                anyhow::ensure!(i != 10, "ten");
                Ok(())
            },
        );
        let error = format!("{:#}", result.unwrap_err());
        assert_eq!(error, "x: chunk 10 of 1000000: ten");
        assert!(steps.into_inner() < 1_000_000);
    }
}
