// SPDX-License-Identifier: GPL-2.0-or-later

//! The time that commands take, and no more: what it takes to begin is not theirs.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::sample::Samples;

/// What a number of commands took.
#[derive(Debug, Default)]
pub struct Taken {
    /// From the first command's begin to the last one's end.
    pub time: Duration,
    /// Processor time of this process meanwhile, in user space and in the kernel.
    pub cpu: Duration,
    /// The latency of each.
    pub samples: Samples,
}

/// Runs from the first command on.
pub struct Stopwatch {
    began: Instant,
    used: Duration,
}

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Result<Self> {
        Ok(Self {
            used: cpu_time()?,
            began: Instant::now(),
        })
    }

    /// Stops it, after commands that took `samples` each.
    pub fn stop(self, samples: Samples) -> Result<Taken> {
        Ok(Taken {
            time: self.began.elapsed(),
            cpu: cpu_time()?.saturating_sub(self.used),
            samples,
        })
    }
}

fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let sum = |time: TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(sum(usage.user_time()) + sum(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_meanwhile_counts() {
        let spin = |time| {
            let began = Instant::now();
            while began.elapsed() < time {}
        };
        let short = Duration::from_millis(20);
        spin(5 * short);
        let began = Instant::now();
        let watch = Stopwatch::start().unwrap();
        spin(short);
        let taken = watch.stop(Samples::default()).unwrap();
        assert!(taken.time >= short && taken.time <= began.elapsed());
        // Other tests of this process may run beside.
        assert!(taken.cpu > Duration::ZERO);
    }
}
