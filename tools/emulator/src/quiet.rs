// SPDX-License-Identifier: GPL-2.0-or-later

//! A moment in which no client waits for an answer, for an end that clients survive.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vfio_user::{DmaMapFlags, DmaUnmapFlags, ServerBackend};

/// How often to look for a quiet moment.
const PERIOD: Duration = Duration::from_millis(5);

/// The requests of all clients.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many are being answered.
    requests: usize,
    /// When the last answer was ready.
    answered: Option<Instant>,
}

/// A request that is being answered.
struct Request<'a>(&'a Traffic);

impl Traffic {
    fn request(&self) -> Request<'_> {
        self.0.lock().requests += 1;
        Request(self)
    }

    /// Calls `act` when nothing has been asked for as long as `quiet`, counted from now on; what is asked while it
    /// runs is not looked at before it returns. Waits up to `limit` for that.
    pub fn when_quiet<T>(&self, quiet: Duration, limit: Duration, act: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        loop {
            let state = self.0.lock();
            let since = state.answered.map_or(start, |answered| answered.max(start));
            let is_quiet = state.requests == 0 && since.elapsed() >= quiet;
            if is_quiet || start.elapsed() >= limit {
                return act();
            }
            drop(state);
            thread::sleep(PERIOD);
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.requests -= 1;
        state.answered = Some(Instant::now());
    }
}

/// Answers a client, and keeps account of it.
pub struct Counted<B> {
    backend: B,
    traffic: Arc<Traffic>,
}

impl<B> Counted<B> {
    /// Counts what `backend` answers in `traffic`.
    pub fn new(backend: B, traffic: Arc<Traffic>) -> Self {
        Counted { backend, traffic }
    }
}

impl<B: ServerBackend> ServerBackend for Counted<B> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.region_read(region, offset, data)
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.region_write(region, offset, data)
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.dma_map(flags, offset, address, size, fd)
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.dma_unmap(flags, address, size)
    }

    fn reset(&mut self) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.reset()
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        let _request = self.traffic.request();
        self.backend.set_irqs(index, flags, start, count, fds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_asked_is_waited_for() {
        let traffic = Traffic::default();
        let request = traffic.request();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| traffic.when_quiet(QUIET, LONG, Instant::now));
            thread::sleep(2 * QUIET);
            assert!(!waiter.is_finished());
            let answered = Instant::now();
            drop(request);
            assert!(waiter.join().unwrap() >= answered + QUIET);
        });
    }

    #[test]
    fn silence_before_the_call_does_not_count() {
        let traffic = Traffic::default();
        drop(traffic.request());
        thread::sleep(QUIET);
        let start = Instant::now();
        assert!(traffic.when_quiet(QUIET, LONG, Instant::now) >= start + QUIET);
    }

    #[test]
    fn who_never_stops_asking_is_not_waited_for() {
        let traffic = Traffic::default();
        let _request = traffic.request();
        let start = Instant::now();
        traffic.when_quiet(QUIET, 2 * QUIET, || ());
        assert!(start.elapsed() >= 2 * QUIET);
    }
}
