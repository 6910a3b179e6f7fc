// SPDX-License-Identifier: GPL-2.0-or-later

//! Submission queues: ring, doorbell, credit, fetch in order, drain (section 3).

use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::faults::excuse::Excuse;
use crate::memory::{DmaError, GuestMemory};

/// Largest entry of any queue.
pub const SQE_MAX: usize = 128;

/// Queue ids go from 0 to one less.
pub const QUEUE_IDS: usize = 386;

/// Class of a queue (section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The admin queue.
    Admin,
    /// Control path.
    Cp,
    /// Fast path.
    Fp,
}

/// Where a queue id stands (section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Queue of a resource: its class and the index of the resource among those of the function.
    Valid(Class, usize),
    /// In the range of a class, but no queue can have it.
    Invalid(Class),
}

impl Class {
    /// Classifies the id of an I/O queue.
    pub fn of(id: u16) -> Place {
        match id {
            0 => Place::Invalid(Class::Admin),
            1..=65 => Place::Valid(Class::Cp, usize::from(id) - 1),
            66..=255 => Place::Invalid(Class::Cp),
            256..=385 => Place::Valid(Class::Fp, (usize::from(id) - 256) / 2),
            386.. => Place::Invalid(Class::Fp),
        }
    }

    /// Returns the size of a submission entry.
    pub fn sqe_size(self) -> usize {
        if self == Class::Fp { 128 } else { 64 }
    }

    /// Returns the size of a completion entry.
    pub fn cqe_size(self) -> usize {
        if self == Class::Fp { 64 } else { 16 }
    }

    /// Returns how many commands of one queue run at once.
    pub fn credit(self) -> usize {
        if self == Class::Fp { 4 } else { 1 }
    }

    /// Returns the interrupt vectors that queues of the class may use.
    pub fn vectors(self) -> std::ops::RangeInclusive<u16> {
        match self {
            Class::Admin => 0..=0,
            Class::Cp => 1..=15,
            Class::Fp => 16..=31,
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Class::Admin => "admin",
            Class::Cp => "CP",
            Class::Fp => "FP",
        })
    }
}

/// A tail doorbell write that the hardware ignores.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TailError {
    /// Not an index of the ring.
    #[error("tail {tail} is out of range, the queue has {size} entries")]
    OutOfRange {
        /// Value written.
        tail: u32,
        /// Entries of the queue.
        size: u32,
    },
    /// The tail does not move.
    #[error("tail {0} is the current tail")]
    SameValue(u32),
    /// More commands than the ring has room for.
    #[error(
        "tail {tail} overfills the queue: {queued} commands are queued, {added} more do not fit into {size} entries"
    )]
    Overfull {
        /// Value written.
        tail: u32,
        /// Commands not yet fetched.
        queued: u32,
        /// Commands the write would add.
        added: u32,
        /// Entries of the queue.
        size: u32,
    },
}

/// How a queue comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    /// It does not.
    Open,
    /// Delete SQ: running commands retire, nothing more is fetched.
    Delete,
    /// The function is disabled or reset.
    Teardown,
}

struct State {
    tail: u32,
    head: u32,
    in_flight: u32,
    paused: bool,
    abandoned: bool,
    closing: Closing,
}

/// What makes a queue that is at rest, to make another like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqState {
    /// Id.
    pub id: u16,
    /// Address of the ring.
    pub base: u64,
    /// Entries.
    pub size: u32,
    /// Index of the next entry to fetch.
    pub head: u32,
    /// Index after the last entry posted.
    pub tail: u32,
}

/// A submission queue of a function.
pub struct Sq {
    id: u16,
    class: Class,
    size: u32,
    base: u64,
    state: Mutex<State>,
    work: Condvar,
    retired: Condvar,
    /// Whether the device may still write to the host for this queue. A writer holds it shared.
    gate: RwLock<bool>,
    /// Whether the host was lied to about this queue.
    pub(crate) excuse: Excuse,
}

impl Sq {
    /// Creates an empty queue of `size` entries at `base`.
    pub fn new(id: u16, class: Class, size: u32, base: u64) -> Self {
        let state = State {
            tail: 0,
            head: 0,
            in_flight: 0,
            paused: false,
            abandoned: false,
            closing: Closing::Open,
        };
        Sq {
            id,
            class,
            size,
            base,
            state: Mutex::new(state),
            work: Condvar::new(),
            retired: Condvar::new(),
            gate: RwLock::new(true),
            excuse: Excuse::default(),
        }
    }

    /// Creates a queue that goes on where another was, but is paused.
    pub fn resume(queue: SqState) -> Self {
        let (Place::Valid(class, _) | Place::Invalid(class)) = Class::of(queue.id);
        let sq = Sq::new(queue.id, class, queue.size, queue.base);
        {
            let mut state = sq.state.lock();
            (state.head, state.tail, state.paused) = (queue.head, queue.tail, true);
        }
        sq
    }

    /// Returns what [`Sq::resume`] needs.
    pub fn state(&self) -> SqState {
        let state = self.state.lock();
        SqState {
            id: self.id,
            base: self.base,
            size: self.size,
            head: state.head,
            tail: state.tail,
        }
    }

    /// Returns whether nothing is fetched and nothing runs.
    pub fn is_stopped(&self) -> bool {
        let state = self.state.lock();
        state.paused && state.in_flight == 0
    }

    /// Returns the queue's id.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Returns the queue's class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the index of the next entry to fetch, modulo the size: what a completion reports as SQ head.
    pub fn head(&self) -> u16 {
        self.state.lock().head as u16
    }

    /// Returns size, head, tail and commands in flight, for inspection.
    pub fn indexes(&self) -> (u32, u32, u32, u32) {
        let state = self.state.lock();
        (self.size, state.head, state.tail, state.in_flight)
    }

    /// Takes a tail doorbell write.
    pub fn ring(&self, tail: u32) -> Result<(), TailError> {
        let mut state = self.state.lock();
        let size = self.size;
        if tail >= size {
            return Err(TailError::OutOfRange { tail, size });
        }
        if tail == state.tail {
            return Err(TailError::SameValue(tail));
        }
        let queued = (state.tail + size - state.head) % size;
        let added = (tail + size - state.tail) % size;
        if queued + added >= size {
            return Err(TailError::Overfull {
                tail,
                queued,
                added,
                size,
            });
        }
        state.tail = tail;
        if added == 1 {
            self.work.notify_one();
        } else {
            self.work.notify_all();
        }
        Ok(())
    }

    /// Waits for the next command and fetches it; `None` when the queue closes.
    ///
    /// The command is in flight until [`Sq::retire`]. The credit is kept by the number of callers.
    pub fn fetch(&self, memory: &GuestMemory) -> Option<Result<[u8; SQE_MAX], DmaError>> {
        let mut state = self.state.lock();
        while state.closing == Closing::Open && (state.paused || state.head == state.tail) {
            self.work.wait(&mut state);
        }
        if state.closing != Closing::Open {
            return None;
        }
        let size = self.class.sqe_size();
        let address = self.base.wrapping_add(u64::from(state.head) * size as u64);
        let mut entry = [0; SQE_MAX];
        let result = memory.read(address, &mut entry[..size]);
        state.head = (state.head + 1) % self.size;
        state.in_flight += 1;
        Some(result.map(|()| entry))
    }

    /// Ends a command that [`Sq::fetch`] returned.
    pub fn retire(&self) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            self.retired.notify_all();
        }
    }

    /// Stops fetching for good; commands posted and not yet fetched are dropped.
    pub fn close(&self, closing: Closing) {
        let mut state = self.state.lock();
        state.closing = state.closing.max(closing);
        self.work.notify_all();
    }

    /// Returns whether and how the queue comes to its end.
    pub fn closing(&self) -> Closing {
        self.state.lock().closing
    }

    /// Stops or resumes fetching.
    pub fn pause(&self, paused: bool) {
        self.state.lock().paused = paused;
        self.work.notify_all();
    }

    /// Waits until no command is in flight, or until nobody waits for those any more ([`Sq::abandon`]).
    pub fn drained(&self) {
        let mut state = self.state.lock();
        while state.in_flight > 0 && !state.abandoned {
            self.retired.wait(&mut state);
        }
    }

    /// Closes the queue and forgets its commands in flight: they end without a trace, whenever that is.
    ///
    /// The queue's CQ must be closed before, so that no completion is stalled in it.
    pub fn abandon(&self) {
        self.close(Closing::Teardown);
        self.revoke();
        self.state.lock().abandoned = true;
        self.retired.notify_all();
    }

    /// Returns leave to write to the host for this queue, as long as the guard lives; `None` if that is over.
    pub fn permit(&self) -> Option<RwLockReadGuard<'_, bool>> {
        // Recursive: a holder must not wait for a revocation that waits for it.
        Some(self.gate.read_recursive()).filter(|open| **open)
    }

    /// Withdraws the leave to write: when this returns nothing is written any more for this queue.
    pub fn revoke(&self) {
        *self.gate.write() = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doorbell_errors() {
        let sq = Sq::new(1, Class::Cp, 4, 0);
        assert_eq!(sq.ring(4), Err(TailError::OutOfRange { tail: 4, size: 4 }));
        assert_eq!(sq.ring(0), Err(TailError::SameValue(0)));
        assert_eq!(sq.ring(2), Ok(()));
        assert_eq!(sq.ring(3), Ok(()));
        // Nothing was fetched: three commands fill a ring of four.
        assert_eq!(
            sq.ring(0),
            Err(TailError::Overfull {
                tail: 0,
                queued: 3,
                added: 1,
                size: 4
            })
        );
        assert_eq!(
            sq.ring(2),
            Err(TailError::Overfull {
                tail: 2,
                queued: 3,
                added: 3,
                size: 4
            })
        );
    }

    #[test]
    fn ids_classify() {
        assert_eq!(Class::of(0), Place::Invalid(Class::Admin));
        assert_eq!(Class::of(65), Place::Valid(Class::Cp, 64));
        assert_eq!(Class::of(66), Place::Invalid(Class::Cp));
        assert_eq!(Class::of(256), Place::Valid(Class::Fp, 0));
        assert_eq!(Class::of(259), Place::Valid(Class::Fp, 1));
        assert_eq!(Class::of(385), Place::Valid(Class::Fp, 64));
        assert_eq!(Class::of(386), Place::Invalid(Class::Fp));
    }

    #[test]
    fn closing_drops_what_was_not_fetched() {
        let sq = Sq::new(1, Class::Cp, 4, 0);
        assert_eq!(sq.ring(2), Ok(()));
        sq.close(Closing::Delete);
        assert!(sq.fetch(&GuestMemory::default()).is_none());
        sq.close(Closing::Teardown);
        sq.close(Closing::Delete);
        assert_eq!(sq.closing(), Closing::Teardown);
    }
}
