// SPDX-License-Identifier: GPL-2.0-or-later

//! Who was lied to: a function or a queue whose host cannot know any more what is true.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const NONE: u8 = 0;
const UNTIL_ENABLED: u8 = 1;
const FOR_GOOD: u8 = 2;

/// Whether what a host does wrong is held against it.
#[derive(Debug, Default)]
pub struct Excuse(AtomicU8);

impl Excuse {
    /// The host was told something wrong about its queues; the next reset sets that right.
    pub fn until_enabled(&self) {
        self.0.fetch_max(UNTIL_ENABLED, Relaxed);
    }

    /// The host was told something wrong that it goes by for as long as it drives the device.
    pub fn for_good(&self) {
        self.0.fetch_max(FOR_GOOD, Relaxed);
    }

    /// The function was enabled anew.
    pub fn enabled(&self) {
        let _ = self
            .0
            .compare_exchange(UNTIL_ENABLED, NONE, Relaxed, Relaxed);
    }

    /// Returns whether the host is excused.
    pub fn holds(&self) -> bool {
        self.0.load(Relaxed) != NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enable_ends_only_what_it_sets_right() {
        let excuse = Excuse::default();
        assert!(!excuse.holds());
        excuse.until_enabled();
        assert!(excuse.holds());
        excuse.enabled();
        assert!(!excuse.holds());
        excuse.for_good();
        excuse.until_enabled();
        excuse.enabled();
        assert!(excuse.holds());
    }
}
