// SPDX-License-Identifier: GPL-2.0

//! The end of the commands of a queue that the device has lost.

use kernel::time::{
    Instant,
    Monotonic, //
};

use super::{
    look::CidSet,
    Host,
    Kind,
    Queue,
    State, //
};

use crate::slot::Notify;

impl<K: Kind> Queue<K> {
    /// Ends every command at the device: those that completed as what they are, the others as
    /// aborted. Whoever waits for one of the latter is told when the result is dropped.
    ///
    /// The device must have been stopped, or have forgotten the queue.
    pub(crate) fn end_all(&self, host: &impl Host) -> Lost<'_, K> {
        self.poll(host);
        let mut lost = Lost {
            queue: self,
            callers: CidSet::new(),
            count: 0,
        };
        let mut reap = false;
        {
            let mut guard = self.state.lock();
            let State {
                table, counters, ..
            } = &mut *guard;
            let now = Instant::<Monotonic>::now();
            table.abort_all(|notify, times| {
                lost.count += 1;
                counters.note_aborted(!(now - times.deadline).is_negative());
                match notify {
                    Notify::Waiter(cid) => lost.callers.insert(cid),
                    Notify::Ring(target) => target.complete_now(),
                    Notify::Reaper => reap = true,
                }
            });
        }
        if reap {
            host.reap_later();
        }
        lost
    }
}

/// Commands that were lost; whoever waits for one is told when this is dropped.
#[must_use = "the callers are told when it is dropped"]
pub(crate) struct Lost<'a, K: Kind> {
    queue: &'a Queue<K>,
    callers: CidSet,
    /// How many they are.
    pub(crate) count: u64,
}

impl<K: Kind> Drop for Lost<'_, K> {
    fn drop(&mut self) {
        self.queue.wake(&self.callers);
    }
}
