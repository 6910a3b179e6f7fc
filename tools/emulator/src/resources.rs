// SPDX-License-Identifier: GPL-2.0-or-later

//! The 65 resources of the device and who owns them (sections 3.1 and 4.6).

use azihsm_firmware::FunctionId;

/// Resources of the device; also the number of controller ids.
pub const RESOURCES: usize = 65;
/// Highest controller id.
pub const LAST_CONTROLLER: u16 = 64;

/// Not enough free resources for the count asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Owner of each resource.
#[derive(Debug)]
pub struct Resources {
    owner: [Option<FunctionId>; RESOURCES],
}

impl Default for Resources {
    fn default() -> Self {
        Resources {
            owner: [None; RESOURCES],
        }
    }
}

impl Resources {
    /// Returns how many resources a function owns.
    pub fn count(&self, function: FunctionId) -> usize {
        self.owner.iter().filter(|&&o| o == Some(function)).count()
    }

    /// Returns the device-wide indexes a function owns: bit i stands for resource i.
    pub fn owned(&self, function: FunctionId) -> u128 {
        self.owner
            .iter()
            .enumerate()
            .filter(|&(_, &o)| o == Some(function))
            .fold(0, |bits, (i, _)| bits | (1 << i))
    }

    /// Checks that there are enough free resources to give a function `count`.
    pub fn check(&self, function: FunctionId, count: usize) -> Result<(), Exhausted> {
        let free = self.owner.iter().filter(|o| o.is_none()).count();
        if count > self.count(function) + free {
            Err(Exhausted)
        } else {
            Ok(())
        }
    }

    /// Gives a function `count` resources; returns whether that changed anything.
    ///
    /// Growing takes the lowest free ones, shrinking frees the lowest owned ones.
    pub fn set_count(&mut self, function: FunctionId, count: usize) -> Result<bool, Exhausted> {
        self.check(function, count)?;
        let now = self.count(function);
        let (from, to, number) = if count >= now {
            (None, Some(function), count - now)
        } else {
            (Some(function), None, now - count)
        };
        self.owner
            .iter_mut()
            .filter(|o| **o == from)
            .take(number)
            .for_each(|o| *o = to);
        Ok(number > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_lowest_first_and_shrinks_the_first_owned() {
        let (a, b) = (FunctionId(1), FunctionId(2));
        let mut r = Resources::default();
        assert_eq!(r.set_count(a, 2), Ok(true));
        assert_eq!(r.set_count(b, 2), Ok(true));
        assert_eq!((r.owned(a), r.owned(b)), (0b0011, 0b1100));
        assert_eq!(r.set_count(a, 1), Ok(true));
        assert_eq!(r.owned(a), 0b0010);
        assert_eq!(r.set_count(b, 3), Ok(true));
        assert_eq!(r.owned(b), 0b1101);
        assert_eq!(r.set_count(b, 3), Ok(false));
    }

    #[test]
    fn exhausted_changes_nothing() {
        let (a, b) = (FunctionId(1), FunctionId(2));
        let mut r = Resources::default();
        assert_eq!(r.set_count(a, 60), Ok(true));
        assert_eq!(r.set_count(b, 6), Err(Exhausted));
        assert_eq!((r.count(a), r.count(b)), (60, 0));
        assert_eq!(r.set_count(b, 5), Ok(true));
    }
}
