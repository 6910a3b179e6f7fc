// SPDX-License-Identifier: GPL-2.0

//! What a queue does for commands that come from a ring of io_uring.

use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

use super::{
    CqeOf,
    FoundIn,
    Host,
    Kind,
    Queue, //
};

use crate::{
    dma::Dirty,
    slot::{
        Outcome,
        Times, //
    },
    stats::Usage,
    uring::Target,
    wire::{
        Cid,
        Cqe as _,
        Sqe as _, //
    }, //
};

impl<K: Kind> Queue<K> {
    /// Puts a command of a ring into the ring of the queue. The entry's command id is an owned
    /// slot.
    ///
    /// The device is told now, or, if `batch` is set, when the caller calls [`Queue::flush`].
    ///
    /// `left` is called under the lock, if the queue takes the command.
    ///
    /// # Errors
    ///
    /// Gives `target` back if the queue does not take the command.
    #[inline]
    pub(crate) fn submit_ring(
        &self,
        host: &impl Host,
        sqe: &K::Sqe,
        timeout: Delta,
        (dirty, usage): (Dirty, Usage),
        (left, mut target): (impl FnOnce() -> K::Left, Target),
        batch: bool,
    ) -> Result<(), Target> {
        let cid = sqe.cid();
        let submitted = Instant::<Monotonic>::now();
        let times = Times {
            submitted,
            deadline: submitted + timeout,
        };
        let mut state = self.state.lock();
        if self.put(&mut state, sqe, usage).is_err() {
            // What `left` has may sleep when it goes.
            drop(state);
            drop(left);
            return Err(target);
        }
        let sequence = state.sequence;
        state.sequence = sequence.wrapping_add(1);
        target.update(|ticket| ticket.sequence = sequence);
        state
            .table
            .submit_ring(cid, times, dirty, sequence, left(), target);
        if !batch {
            self.tell(host, &mut state);
        }
        Ok(())
    }

    /// Tells the device of commands that it was not told of. Callable in any context.
    pub(crate) fn flush(&self, host: &impl Host) {
        self.tell(host, &mut self.state.lock());
    }

    /// Takes a ring's command that ended, and with it the slot; see [`Table::take_ring`].
    ///
    /// [`Table::take_ring`]: crate::slot::Table::take_ring
    pub(crate) fn take_ring<R>(
        &self,
        cid: Cid,
        sequence: u32,
        f: impl FnOnce(Outcome<&CqeOf<K>>, K::Left) -> R,
    ) -> Option<(Dirty, R)> {
        self.state
            .lock()
            .table
            .take_ring(cid, sequence, |outcome, left| {
                f(outcome.map(<CqeOf<K>>::from_words), left)
            })
    }

    /// Takes back a finished command of a ring whose submitter did not come for it; see
    /// [`Table::take_uncollected`].
    ///
    /// [`Table::take_uncollected`]: crate::slot::Table::take_uncollected
    pub(crate) fn take_uncollected(&self, now: Option<Instant<Monotonic>>) -> Option<FoundIn<K>> {
        self.state.lock().table.take_uncollected(now)
    }
}
