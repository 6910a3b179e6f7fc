// SPDX-License-Identifier: GPL-2.0

//! What a queue does with the completions that it finds.

use kernel::{
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        barrier::{
            dma_mb,
            Read, //
        }, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::{
    CqeOf,
    Host,
    Kind,
    Queue,
    Words,
    MAX_SLOTS, //
};

use crate::{
    moderation::Looked,
    ring,
    slot::{
        Notify,
        Outcome, //
    },
    wire::{
        Cid,
        Cqe as _, //
    }, //
};

/// Slot numbers, as a set.
pub(super) struct CidSet {
    words: [u64; WORDS],
    /// Which of the words are not 0.
    used: u64,
}

const WORDS: usize = MAX_SLOTS as usize / 64 + 1;

/// Calls `f` with the number of each bit that is set.
fn for_each_bit(mut bits: u64, mut f: impl FnMut(usize)) {
    while bits != 0 {
        // CAST: At most 63.
        f(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

impl CidSet {
    pub(super) fn new() -> Self {
        Self {
            words: [0; WORDS],
            used: 0,
        }
    }

    pub(super) fn insert(&mut self, cid: Cid) {
        let index = cid.index() / 64;
        if let Some(word) = self.words.get_mut(index) {
            *word |= 1 << (cid.index() % 64);
            self.used |= 1 << index;
        }
    }

    fn for_each(&self, mut f: impl FnMut(usize)) {
        for_each_bit(self.used, |index| {
            let word = self.words.get(index).copied().unwrap_or_default();
            for_each_bit(word, |bit| f(index * 64 + bit));
        });
    }
}

impl<K: Kind> Queue<K> {
    /// Takes what the device put into the completion queue; returns the number of entries.
    ///
    /// Callable in any context. Looks at no more entries than the ring has, whatever the device
    /// does meanwhile.
    pub(crate) fn poll(&self, host: &impl Host) -> usize {
        self.look(host).found
    }

    /// Does what [`Queue::poll`] does and tells what remains, too.
    pub(crate) fn look(&self, host: &impl Host) -> Looked {
        self.take(host, None)
    }

    /// Does what [`Queue::look`] does; completions of commands that are at the device since `missed`
    /// or earlier are those that no interrupt told of.
    #[inline]
    fn take(&self, host: &impl Host, missed: Option<Instant<Monotonic>>) -> Looked {
        let mut ended = CidSet::new();
        let mut reap = false;
        let mut found = 0;
        let rings;
        {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let mut now = None;
            while found < self.cq.len() {
                let Ok(Some(words)) = self.peek(&state.cq) else {
                    break;
                };
                let cqe = <CqeOf<K>>::from_words(&words);
                let route = cqe.route();
                found += 1;
                state.cq.advance();
                if state.sq.fetched(route.sq_head).is_err() {
                    state.counters.bad_heads += 1;
                }
                let ended_one = state.table.finish(route.cid, Outcome::Completed(words));
                let Some((notify, times)) = ended_one else {
                    state.counters.stale += 1;
                    continue;
                };
                let now = *now.get_or_insert_with(Instant::now);
                let time = now - times.submitted;
                state.counters.note_completed(time, cqe.failed());
                if missed.is_some_and(|missed| !(missed - times.submitted).is_negative()) {
                    state.counters.missed += 1;
                }
                match notify {
                    Notify::Waiter(cid) => ended.insert(cid),
                    // Who waits for a slot may be of a ring that waits for more completions than
                    // there are slots: it has to give some back first.
                    Notify::Ring(target) if state.table.available() == 0 => target.complete_now(),
                    Notify::Ring(target) => target.complete(),
                    Notify::Reaper => reap = true,
                }
            }
            if found != 0 && state.accepting {
                host.ring_cq(self.id, state.cq.head());
            }
            rings = state.table.rings();
        }
        if found != 0 {
            self.wake(&ended);
        }
        if reap {
            host.reap_later();
        }
        Looked { found, rings }
    }

    /// Returns the entry at the head if the device has written it.
    fn peek(&self, ring: &ring::Completion) -> Result<Option<Words<K>>> {
        let entry = io_project!(self.cq, [try: usize::from(ring.head())]);
        let first_look = entry.copy_read();
        if !ring.is_new(<CqeOf<K>>::from_words(&first_look).route().phase) {
            return Ok(None);
        }
        // The rest of the entry must not be read before its phase bit.
        dma_mb(Read);
        Ok(Some(entry.copy_read()))
    }

    pub(super) fn wake(&self, ended: &CidSet) {
        ended.for_each(|cid| {
            if let Some(done) = self.done.get(cid) {
                done.complete();
            }
        });
    }

    /// Delivers completions that no interrupt told of: those of commands that are at the device
    /// since `when` or earlier. Counts them, if interrupts are to tell of them.
    pub(crate) fn rescue(&self, host: &impl Host, when: Instant<Monotonic>) {
        if self.state.lock().table.since(when) != 0 {
            let told = !self.polled.load(Relaxed);
            self.take(host, told.then_some(when));
        }
    }
}

#[kunit_tests(azihsm_queue_look)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut set = CidSet::new();
        for index in [254, 0, 63, 64, 64] {
            set.insert(Cid::new(index, 7));
        }
        let mut found = [usize::MAX; 5];
        let mut count = 0;
        set.for_each(|index| {
            found[count] = index;
            count += 1;
        });
        assert_eq!(count, 4);
        assert_eq!(found, [0, 63, 64, 254, usize::MAX]);
    }
}
