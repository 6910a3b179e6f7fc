// SPDX-License-Identifier: GPL-2.0

//! One command on its way: a slot, then a command at the device, then a slot with an outcome.
//!
//! The types carry the rules: a slot is given back exactly once, its memory is wiped before, and
//! it stays away from everybody as long as the device may use it.

use core::mem::ManuallyDrop;

use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::UserSlice, //
};

use crate::{
    dma::{
        Piece,
        SlotMemory, //
    },
    kapi::uaccess,
    queue::{
        CqeOf,
        Host,
        Kind,
        Queue, //
    },
    slot::Outcome,
    uring::Target,
    wire::Cid, //
};

/// A slot that belongs to the caller, with nothing at the device.
pub(crate) struct Slot<'a, K: Kind, H: Host> {
    host: &'a H,
    queue: &'a Queue<K>,
    cid: Cid,
}

impl<'a, K: Kind, H: Host> Slot<'a, K, H> {
    /// Takes a free slot of `queue`.
    pub(crate) fn try_take(host: &'a H, queue: &'a Queue<K>) -> Option<Self> {
        let cid = queue.try_acquire()?.cid;
        Some(Self { host, queue, cid })
    }

    /// Takes over a slot of `queue` that was granted to the caller.
    pub(crate) fn granted(host: &'a H, queue: &'a Queue<K>, cid: Cid) -> Self {
        Self { host, queue, cid }
    }

    /// Takes a slot of `queue`, which has its waiters for itself, waiting for one if needed.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was killed, [`ETIMEDOUT`] if there was none `until` then.
    pub(crate) fn take(
        host: &'a H,
        queue: &'a Queue<K>,
        until: Instant<Monotonic>,
    ) -> Result<Self> {
        let cid = queue.acquire(until)?.cid;
        Ok(Self { host, queue, cid })
    }

    /// Takes over the next finished command whose caller is gone.
    pub(crate) fn leftover(
        host: &'a H,
        queue: &'a Queue<K>,
    ) -> Option<(Self, Outcome<CqeOf<K>>, K::Left)> {
        let (cid, outcome, left) = queue.take_leftover()?;
        Some((Self { host, queue, cid }, outcome, left))
    }

    /// Takes over a finished command of a ring; [`None`] if it did not finish or was taken over
    /// already.
    pub(crate) fn of_ring(
        host: &'a H,
        queue: &'a Queue<K>,
        cid: Cid,
        sequence: u32,
    ) -> Option<(Self, Outcome<CqeOf<K>>, K::Left)> {
        let (outcome, left) = queue.take_ring(cid, sequence)?;
        Some((Self { host, queue, cid }, outcome, left))
    }

    /// Takes back a finished command of a ring whose submitter did not come for it before `past`.
    pub(crate) fn uncollected(
        host: &'a H,
        queue: &'a Queue<K>,
        past: Option<Instant<Monotonic>>,
    ) -> Option<(Self, Outcome<CqeOf<K>>, K::Left)> {
        let (cid, outcome, left) = queue.take_uncollected(past)?;
        Some((Self { host, queue, cid }, outcome, left))
    }

    /// Returns whom the queue belongs to.
    pub(crate) fn host(&self) -> &'a H {
        self.host
    }

    /// Returns the queue of the slot.
    pub(crate) fn queue(&self) -> &'a Queue<K> {
        self.queue
    }

    /// Returns the command id of the slot.
    pub(crate) fn cid(&self) -> Cid {
        self.cid
    }

    /// Returns the memory of the slot.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for a queue whose slots have none.
    pub(crate) fn memory(&self) -> Result<&'a SlotMemory> {
        self.queue.memory(self.cid).ok_or(EINVAL)
    }

    /// Copies output to the caller and gives the slot back.
    ///
    /// User memory that is not there may take as long as its owner likes to get there. So it is
    /// not waited for with the slot in hand, unless there is no memory to put the output aside.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the user memory cannot be written.
    pub(crate) fn deliver(self, pieces: &[Piece]) -> Result {
        let memory = self.memory()?;
        if pieces
            .iter()
            .all(|piece| memory.copy_to_user(piece).is_ok())
        {
            return Ok(());
        }
        let mut aside = KVec::<u8>::new();
        let len = pieces.iter().map(|piece| piece.len).sum();
        if aside.resize(len, 0, GFP_KERNEL | __GFP_NOWARN).is_err() {
            return pieces
                .iter()
                .try_for_each(|piece| memory.copy_to_user_sleeping(piece));
        }
        let mut rest = &mut aside[..];
        for piece in pieces {
            let (part, others) = rest.split_at_mut_checked(piece.len).ok_or(EINVAL)?;
            memory.read(piece, part)?;
            rest = others;
        }
        drop(self);

        let mut rest = &aside[..];
        let result = pieces.iter().try_for_each(|piece| {
            let (part, others) = rest.split_at_checked(piece.len).ok_or(EINVAL)?;
            rest = others;
            UserSlice::new(piece.to, piece.len)
                .writer()
                .write_slice(part)
        });
        uaccess::wipe(&mut aside);
        result
    }

    /// Sends a command to the device.
    ///
    /// # Errors
    ///
    /// See [`Queue::submit`]; the slot is given back.
    pub(crate) fn submit(self, sqe: K::Sqe, timeout: Delta) -> Result<InFlight<'a, K, H>> {
        self.queue.submit(self.host, sqe, timeout)?;
        let slot = ManuallyDrop::new(self);
        Ok(InFlight {
            host: slot.host,
            queue: slot.queue,
            cid: slot.cid,
        })
    }
}

impl<K: Kind, H: Host> Slot<'_, K, H> {
    /// Sends a command of a ring to the device; see [`Queue::submit_ring`].
    ///
    /// # Errors
    ///
    /// Gives everything back if the queue does not take the command.
    pub(crate) fn submit_ring(
        self,
        sqe: K::Sqe,
        timeout: Delta,
        left: K::Left,
        target: Target,
        batch: bool,
    ) -> Result<(), (Self, K::Left, Target)> {
        let (host, queue) = (self.host, self.queue);
        match queue.submit_ring(host, sqe, timeout, left, target, batch) {
            Ok(()) => {
                // From here on the slot is the command's.
                let _ = ManuallyDrop::new(self);
                Ok(())
            }
            Err((left, target)) => Err((self, left, target)),
        }
    }
}

impl<K: Kind, H: Host> Drop for Slot<'_, K, H> {
    fn drop(&mut self) {
        let usage = self.queue.memory(self.cid).map(SlotMemory::clean);
        self.queue.release(self.cid, usage.unwrap_or_default());
    }
}

/// A command at the device.
///
/// Its slot comes back when the command ended. Who stops waiting leaves the command to the
/// reaper; merely dropping this would lose the slot until the function is unbound.
#[must_use]
pub(crate) struct InFlight<'a, K: Kind, H: Host> {
    host: &'a H,
    queue: &'a Queue<K>,
    cid: Cid,
}

/// A command that ended: its slot, its outcome, and what was to be left behind.
pub(crate) type Ended<'a, K, H> = (Slot<'a, K, H>, Outcome<CqeOf<K>>, <K as Kind>::Left);

/// How a wait ended.
pub(crate) enum Waited<'a, K: Kind, H: Host> {
    /// The command ended.
    Ended(Slot<'a, K, H>, Outcome<CqeOf<K>>),
    /// The wait ended first, for the reason given.
    Interrupted(InFlight<'a, K, H>, Error),
}

impl<'a, K: Kind, H: Host> InFlight<'a, K, H> {
    fn slot(self) -> Slot<'a, K, H> {
        Slot {
            host: self.host,
            queue: self.queue,
            cid: self.cid,
        }
    }

    /// Waits until the command ended, the caller is killed ([`EINTR`]) or it is `until`
    /// ([`ETIMEDOUT`]).
    pub(crate) fn wait(self, until: Instant<Monotonic>) -> Waited<'a, K, H> {
        match self.queue.wait(self.host, self.cid, until) {
            Ok(outcome) => Waited::Ended(self.slot(), outcome),
            Err(e) => Waited::Interrupted(self, e),
        }
    }

    /// Leaves the command to the reaper, with what must outlive it.
    ///
    /// # Errors
    ///
    /// Gives everything back if the command has ended meanwhile.
    pub(crate) fn leave(self, left: K::Left) -> Result<(), Ended<'a, K, H>> {
        match self.queue.leave(self.cid, left) {
            Some((outcome, left)) => Err((self.slot(), outcome, left)),
            None => Ok(()),
        }
    }
}
