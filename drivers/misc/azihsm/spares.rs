// SPDX-License-Identifier: GPL-2.0

//! Things that commands need for a time and that are dear to make, kept from one command for the
//! next.
//!
//! What is kept lies on shelves, of which each CPU has one that it looks at first: those who come
//! from different CPUs do not get in each other's way. What there is no more room for goes.

use core::cmp::min;

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use crate::kapi::irq;

/// Most shelves.
const MAX_SHELVES: usize = 16;

/// Something that can be kept.
pub(crate) trait Spare {
    /// Returns the size of the memory that it takes.
    fn size(&self) -> usize;
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Number of things.
    pub(crate) count: usize,
    /// Memory that they take, in bytes.
    pub(crate) size: usize,
}

/// What one lock protects.
struct Shelf<T> {
    things: KVec<KBox<T>>,
    /// Memory that they take.
    size: usize,
    limit: Limit,
}

impl<T: Spare> Shelf<T> {
    fn new(limit: Limit) -> Result<Self> {
        Ok(Self {
            things: KVec::with_capacity(limit.count, GFP_KERNEL)?,
            size: 0,
            limit,
        })
    }

    /// Takes what was put there last.
    fn take(&mut self) -> Option<KBox<T>> {
        let thing = self.things.pop()?;
        self.size -= min(self.size, thing.size());
        Some(thing)
    }

    /// Puts a thing there; gives it back if there is no room.
    fn put(&mut self, thing: KBox<T>) -> Option<KBox<T>> {
        let size = self.size.saturating_add(thing.size());
        if size > self.limit.size || self.things.len() >= self.limit.count {
            return Some(thing);
        }
        // The capacity is that of the limit, so this cannot fail.
        let _ = self.things.push_within_capacity(thing);
        self.size = size;
        None
    }
}

/// Things that are kept.
pub(crate) struct Spares<T> {
    shelves: KVec<Pin<KBox<SpinLock<Shelf<T>>>>>,
}

impl<T: Spare> Spares<T> {
    /// Makes room for things, up to `limit` of them.
    pub(crate) fn new(limit: Limit) -> Result<Self> {
        // CAST: A `u32` fits a `usize` here.
        let count = (irq::num_online_cpus() as usize).min(MAX_SHELVES);
        let mut shelves = KVec::with_capacity(count, GFP_KERNEL)?;
        let limit = Limit {
            count: limit.count.checked_div(count).ok_or(EINVAL)?,
            size: limit.size.checked_div(count).ok_or(EINVAL)?,
        };
        for _ in 0..count {
            let shelf = Shelf::new(limit)?;
            let shelf = new_spinlock!(shelf, "azihsm_spares");
            shelves.push(KBox::pin_init(shelf, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self { shelves })
    }

    /// Returns the shelves, that of this CPU first.
    fn shelves(&self) -> impl Iterator<Item = &SpinLock<Shelf<T>>> {
        let count = self.shelves.len();
        // CAST: As above.
        let mine = irq::current_cpu().as_u32() as usize;
        (mine..mine + count)
            .filter_map(move |index| self.shelves.get(index.checked_rem(count)?))
            .map(|shelf| &**shelf)
    }

    /// Takes a thing, if there is one.
    pub(crate) fn take(&self) -> Option<KBox<T>> {
        self.shelves().find_map(|shelf| shelf.lock().take())
    }

    /// Keeps a thing; one that there is no room for is dropped.
    pub(crate) fn keep(&self, thing: KBox<T>) {
        let mut thing = Some(thing);
        for shelf in self.shelves() {
            let Some(left) = thing else {
                return;
            };
            thing = shelf.lock().put(left);
        }
    }
}

#[kunit_tests(azihsm_spares)]
mod tests {
    use super::*;

    struct Thing(usize);

    impl Spare for Thing {
        fn size(&self) -> usize {
            self.0
        }
    }

    fn thing(size: usize) -> Result<KBox<Thing>> {
        Ok(KBox::new(Thing(size), GFP_KERNEL)?)
    }

    #[test]
    fn a_shelf_has_its_limits() -> Result {
        let mut shelf = Shelf::new(Limit { count: 3, size: 10 })?;
        assert!(shelf.take().is_none());
        assert!(shelf.put(thing(4)?).is_none());
        assert!(shelf.put(thing(6)?).is_none());
        // One that takes nothing fits, and then there are enough.
        assert_eq!(shelf.put(thing(1)?).map(|thing| thing.0), Some(1));
        assert!(shelf.put(thing(0)?).is_none());
        assert_eq!(shelf.put(thing(0)?).map(|thing| thing.0), Some(0));
        assert_eq!(shelf.take().map(|thing| thing.0), Some(0));
        assert_eq!(shelf.take().map(|thing| thing.0), Some(6));
        assert_eq!(shelf.size, 4);
        assert!(shelf.put(thing(6)?).is_none());
        Ok(())
    }

    #[test]
    fn what_any_cpu_keeps_any_other_finds() -> Result {
        let spares = Spares::new(Limit {
            count: 2 * MAX_SHELVES,
            size: 20 * MAX_SHELVES,
        })?;
        // More than the shelf of one CPU takes.
        let count = 2 * spares.shelves.len();
        for _ in 0..count {
            spares.keep(thing(10)?);
        }
        for _ in 0..count {
            assert!(spares.take().is_some());
        }
        assert!(spares.take().is_none());
        // What is too large is not kept.
        spares.keep(thing(1 << 20)?);
        assert!(spares.take().is_none());
        Ok(())
    }
}
