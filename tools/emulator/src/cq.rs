// SPDX-License-Identifier: GPL-2.0-or-later

//! Completion queues: ring, phase, the stall when full (section 3).

use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use crate::fields::put;
use crate::memory::{DmaError, GuestMemory};
use crate::queue::{Class, Place};

/// A head doorbell write that the hardware ignores.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// Not an index of the ring.
    #[error("head {head} is out of range, the queue has {size} entries")]
    OutOfRange {
        /// Value written.
        head: u32,
        /// Entries of the queue.
        size: u32,
    },
    /// The head does not move.
    #[error("head {0} is the current head")]
    SameValue(u32),
    /// The head passes the tail.
    #[error(
        "head {head} passes the tail: {pending} entries are pending, {consumed} would be consumed"
    )]
    PassesTail {
        /// Value written.
        head: u32,
        /// Entries the device has posted and the host has not consumed.
        pending: u32,
        /// Entries the write would consume.
        consumed: u32,
    },
}

/// What became of an entry given to [`Cq::post`].
#[derive(Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is in the ring; the interrupt may follow.
    Written,
    /// The queue went away first.
    Dropped,
    /// The ring cannot be written; the entry is lost.
    Failed(DmaError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// The function is being disabled: what does not fit is dropped.
    Draining,
    /// Nothing is posted any more.
    Closed,
}

struct State {
    head: u32,
    tail: u32,
    phase: bool,
    mode: Mode,
}

/// What makes a queue that is at rest, to make another like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CqState {
    /// Id.
    pub id: u16,
    /// Interrupt vector, if it has one.
    pub vector: Option<u16>,
    /// Address of the ring.
    pub base: u64,
    /// Entries.
    pub size: u32,
    /// Index of the next entry the host consumes.
    pub head: u32,
    /// Index of the next entry to post.
    pub tail: u32,
    /// Phase of the next entry to post.
    pub phase: bool,
}

/// A completion queue of a function.
pub struct Cq {
    id: u16,
    size: u32,
    base: u64,
    entry_size: usize,
    vector: Option<u16>,
    state: Mutex<State>,
    space: Condvar,
}

impl Cq {
    /// Creates an empty queue of `size` entries at `base`; `vector` if it interrupts.
    pub fn new(id: u16, size: u32, base: u64, entry_size: usize, vector: Option<u16>) -> Self {
        let state = State {
            head: 0,
            tail: 0,
            phase: true,
            mode: Mode::Open,
        };
        Cq {
            id,
            size,
            base,
            entry_size,
            vector,
            state: Mutex::new(state),
            space: Condvar::new(),
        }
    }

    /// Creates a queue that goes on where another was.
    pub fn resume(queue: CqState) -> Self {
        let (Place::Valid(class, _) | Place::Invalid(class)) = Class::of(queue.id);
        let CqState { id, size, base, .. } = queue;
        let cq = Cq::new(id, size, base, class.cqe_size(), queue.vector);
        {
            let mut state = cq.state.lock();
            (state.head, state.tail, state.phase) = (queue.head, queue.tail, queue.phase);
        }
        cq
    }

    /// Returns what [`Cq::resume`] needs.
    pub fn state(&self) -> CqState {
        let state = self.state.lock();
        CqState {
            id: self.id,
            vector: self.vector,
            base: self.base,
            size: self.size,
            head: state.head,
            tail: state.tail,
            phase: state.phase,
        }
    }

    /// Returns the queue's id.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Returns the interrupt vector, if the queue has one.
    pub fn vector(&self) -> Option<u16> {
        self.vector
    }

    /// Returns the size of an entry.
    pub fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// Returns size, head, tail and phase, for inspection.
    pub fn indexes(&self) -> (u32, u32, u32, bool) {
        let state = self.state.lock();
        (self.size, state.head, state.tail, state.phase)
    }

    /// Takes a head doorbell write.
    pub fn ring(&self, head: u32) -> Result<(), HeadError> {
        let mut state = self.state.lock();
        if head >= self.size {
            return Err(HeadError::OutOfRange {
                head,
                size: self.size,
            });
        }
        if head == state.head {
            return Err(HeadError::SameValue(head));
        }
        let pending = (state.tail + self.size - state.head) % self.size;
        let consumed = (head + self.size - state.head) % self.size;
        if consumed > pending {
            return Err(HeadError::PassesTail {
                head,
                pending,
                consumed,
            });
        }
        state.head = head;
        self.space.notify_all();
        Ok(())
    }

    /// Writes `entry`, filling in SQ head, SQ id and phase; waits while the queue is full.
    ///
    /// `stalled` is called once if it has to wait, `alter` with the entry as it is to be written.
    pub fn post(
        &self,
        memory: &GuestMemory,
        entry: &mut [u8],
        sq_head: impl FnOnce() -> u16,
        sq_id: u16,
        stalled: impl FnOnce(),
        alter: impl FnOnce(&mut [u8]),
    ) -> Posted {
        let mut state = self.state.lock();
        let mut stalled = Some(stalled);
        while state.mode == Mode::Open && (state.tail + 1) % self.size == state.head {
            if let Some(stalled) = stalled.take() {
                stalled();
            }
            self.space.wait(&mut state);
        }
        let full = (state.tail + 1) % self.size == state.head;
        if state.mode == Mode::Closed || full {
            return Posted::Dropped;
        }
        // Both entry formats end alike: SQ head, SQ id, 2 bytes of the class, status with phase in bit 0.
        let len = entry.len();
        put(entry, len - 8, &sq_head().to_le_bytes());
        put(entry, len - 6, &sq_id.to_le_bytes());
        entry[len - 2] = (entry[len - 2] & !1) | u8::from(state.phase);
        alter(entry);
        let address = self
            .base
            .wrapping_add(u64::from(state.tail) * self.entry_size as u64);
        let result = memory.write_entry(address, entry);
        state.tail += 1;
        if state.tail == self.size {
            state.tail = 0;
            state.phase = !state.phase;
        }
        match result {
            Ok(()) => Posted::Written,
            Err(error) => Posted::Failed(error),
        }
    }

    /// Stops waiting for the host: entries that do not fit are dropped from now on.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Draining;
        }
        self.space.notify_all();
    }

    /// Drops every further entry.
    pub fn close(&self) {
        self.state.lock().mode = Mode::Closed;
        self.space.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doorbell_errors() {
        let cq = Cq::new(1, 4, 0, 16, None);
        assert_eq!(cq.ring(4), Err(HeadError::OutOfRange { head: 4, size: 4 }));
        assert_eq!(cq.ring(0), Err(HeadError::SameValue(0)));
        assert_eq!(
            cq.ring(1),
            Err(HeadError::PassesTail {
                head: 1,
                pending: 0,
                consumed: 1
            })
        );
    }

    #[test]
    fn a_failed_write_loses_the_entry_but_advances() {
        let cq = Cq::new(1, 4, 0x1000, 16, None);
        let memory = GuestMemory::default();
        assert!(matches!(
            cq.post(&memory, &mut [0; 16], || 0, 1, || (), |_| ()),
            Posted::Failed(_)
        ));
        assert_eq!(cq.indexes(), (4, 0, 1, true));
    }
}
