// SPDX-License-Identifier: GPL-2.0-or-later

//! Latencies and their percentiles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latencies of commands.
#[derive(Debug, Default)]
pub struct Samples(Vec<Duration>);

/// Percentiles of latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the commands were at least as fast.
    pub p50: f64,
    /// 99 of 100 commands were at least as fast.
    pub p99: f64,
    /// 999 of 1000 commands were at least as fast.
    pub p99_9: f64,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds all of `others`.
    pub fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the percentiles; zeros if there are no samples.
    pub fn percentiles(mut self) -> Percentiles {
        self.0.sort_unstable();
        let at = |permille: usize| {
            let rank = (self.0.len() * permille).div_ceil(1000).max(1) - 1;
            let latency = self.0.get(rank).copied().unwrap_or_default();
            (latency.as_nanos() as f64) / 1000.0
        };
        Percentiles {
            p50: at(500),
            p99: at(990),
            p99_9: at(999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut samples = Samples::default();
        for i in (1..=1000).rev() {
            samples.push(Duration::from_micros(i));
        }
        assert_eq!(samples.len(), 1000);
        let expected = Percentiles {
            p50: 500.0,
            p99: 990.0,
            p99_9: 999.0,
        };
        assert_eq!(samples.percentiles(), expected);
        assert_eq!(Samples::default().percentiles(), Percentiles::default());
        let mut one = Samples::default();
        one.push(Duration::from_micros(7));
        assert_eq!(one.percentiles().p99_9, 7.0);
    }
}
