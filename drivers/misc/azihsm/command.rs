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
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    dma::{
        Area,
        Dirty,
        Piece,
        SlotMemory, //
    },
    kapi::uaccess,
    queue::{
        CqeOf,
        FoundIn,
        Host,
        Kind,
        Queue, //
    },
    slot::Outcome,
    stats::Usage,
    uring::Target,
    wire::{
        Cid,
        Cqe as _, //
    }, //
};

/// A slot that belongs to the caller, with nothing at the device.
pub(crate) struct Slot<'a, K: Kind, H: Host> {
    host: &'a H,
    queue: &'a Queue<K>,
    cid: Cid,
    memory: Option<&'a SlotMemory>,
    /// What its memory holds.
    dirty: Dirty,
    /// What the data took that was not counted yet.
    usage: Usage,
}

impl<'a, K: Kind, H: Host> Slot<'a, K, H> {
    #[inline]
    fn new(host: &'a H, queue: &'a Queue<K>, cid: Cid, dirty: Dirty) -> Self {
        Self {
            host,
            queue,
            cid,
            memory: queue.memory(cid),
            dirty,
            usage: Usage::default(),
        }
    }

    /// Takes over a slot of `queue` that was granted to the caller.
    #[inline]
    pub(crate) fn granted(host: &'a H, queue: &'a Queue<K>, cid: Cid) -> Self {
        Self::new(host, queue, cid, Dirty::default())
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
        Ok(Self::new(host, queue, cid, Dirty::default()))
    }

    fn found(host: &'a H, queue: &'a Queue<K>, found: FoundIn<K>) -> Ended<'a, K, H> {
        let outcome = found.outcome.map(|words| *<CqeOf<K>>::from_words(&words));
        let slot = Self::new(host, queue, found.cid, found.dirty);
        (slot, outcome, found.left)
    }

    /// Takes over the next finished command whose caller is gone.
    pub(crate) fn leftover(host: &'a H, queue: &'a Queue<K>) -> Option<Ended<'a, K, H>> {
        Some(Self::found(host, queue, queue.take_leftover()?))
    }

    /// Takes over a finished command of a ring; [`None`] if it did not finish or was taken over
    /// already.
    ///
    /// What was left with it is passed to `f`, with the outcome, under the lock of the queue.
    pub(crate) fn of_ring<R>(
        host: &'a H,
        queue: &'a Queue<K>,
        cid: Cid,
        sequence: u32,
        f: impl FnOnce(Outcome<&CqeOf<K>>, K::Left) -> R,
    ) -> Option<(Self, R)> {
        let (dirty, result) = queue.take_ring(cid, sequence, f)?;
        Some((Self::new(host, queue, cid, dirty), result))
    }

    /// Takes back a finished command of a ring whose submitter did not come for it before `past`.
    pub(crate) fn uncollected(
        host: &'a H,
        queue: &'a Queue<K>,
        now: Option<Instant<Monotonic>>,
    ) -> Option<Ended<'a, K, H>> {
        Some(Self::found(host, queue, queue.take_uncollected(now)?))
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
        self.memory.ok_or(EINVAL)
    }

    /// Copies `len` bytes from user space to `offset` of `area` of the slot's memory; see
    /// [`SlotMemory::copy_from_user`].
    pub(crate) fn copy_in(
        &mut self,
        area: Area,
        offset: usize,
        src: UserPtr,
        len: usize,
    ) -> Result {
        self.memory()?
            .copy_from_user(&mut self.dirty, area, offset, src, len)?;
        self.note_copied(len);
        Ok(())
    }

    /// Notes that the device may write to the first `len` bytes of `area`.
    pub(crate) fn claim(&mut self, area: Area, len: usize) {
        self.dirty.claim(area, len);
    }

    /// Returns what the data took, for who adds to it.
    pub(crate) fn usage(&mut self) -> &mut Usage {
        &mut self.usage
    }

    fn note_copied(&mut self, len: usize) {
        // CAST: A copy is no longer than an area.
        self.usage.bytes_copied += len as u32;
    }

    /// Copies output to the caller and gives the slot back.
    ///
    /// User memory that is not there may take as long as its owner likes to get there. So it is
    /// not waited for with the slot in hand, unless there is no memory to put the output aside.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the user memory cannot be written.
    #[inline]
    pub(crate) fn deliver(mut self, pieces: &[Piece]) -> Result {
        let memory = self.memory()?;
        for piece in pieces {
            if memory.copy_to_user(piece).is_err() {
                return self.deliver_sleeping(memory, pieces);
            }
            self.note_copied(piece.len);
        }
        Ok(())
    }

    #[cold]
    fn deliver_sleeping(mut self, memory: &SlotMemory, pieces: &[Piece]) -> Result {
        let mut aside = KVec::<u8>::new();
        let len = pieces.iter().map(|piece| piece.len).sum();
        self.note_copied(len);
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
    #[inline]
    pub(crate) fn submit(self, sqe: &K::Sqe, timeout: Delta) -> Result<InFlight<'a, K, H>> {
        let submitted = self
            .queue
            .submit(self.host, sqe, timeout, self.dirty, self.usage)?;
        let slot = ManuallyDrop::new(self);
        Ok(InFlight {
            host: slot.host,
            queue: slot.queue,
            cid: slot.cid,
            submitted,
        })
    }
}

impl<K: Kind, H: Host> Slot<'_, K, H> {
    /// Sends a command of a ring to the device; see [`Queue::submit_ring`].
    ///
    /// # Errors
    ///
    /// Gives `target` back if the queue does not take the command; the slot is given back, and what
    /// `left` has is gone.
    #[inline]
    pub(crate) fn submit_ring(
        self,
        sqe: &K::Sqe,
        timeout: Delta,
        left: impl FnOnce() -> K::Left,
        target: Target,
        batch: bool,
    ) -> Result<(), Target> {
        let data = (self.dirty, self.usage);
        self.queue
            .submit_ring(self.host, sqe, timeout, data, (left, target), batch)?;
        // From here on the slot is the command's.
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl<K: Kind, H: Host> Drop for Slot<'_, K, H> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory {
            memory.wipe(self.dirty);
        }
        self.queue.release(self.cid, self.usage.bytes_copied);
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
    submitted: Instant<Monotonic>,
}

/// A command that ended: its slot, its outcome, and what was to be left behind.
pub(crate) type Ended<'a, K, H> = (Slot<'a, K, H>, Outcome<CqeOf<K>>, <K as Kind>::Left);

/// How a wait ended.
pub(crate) enum Waited<'a, K: Kind, H: Host, R> {
    /// The command ended.
    Ended(Slot<'a, K, H>, R),
    /// The wait ended first, for the reason given.
    Interrupted(InFlight<'a, K, H>, Error),
}

impl<'a, K: Kind, H: Host> InFlight<'a, K, H> {
    /// Returns when the command went to the device.
    pub(crate) fn submitted(&self) -> Instant<Monotonic> {
        self.submitted
    }

    /// Waits until the command ended, the caller is killed ([`EINTR`]) or it is `until`
    /// ([`ETIMEDOUT`]).
    ///
    /// The outcome is passed to `f`, under the lock of the queue.
    pub(crate) fn wait<R>(
        self,
        until: Instant<Monotonic>,
        f: impl FnMut(Outcome<&CqeOf<K>>) -> R,
    ) -> Waited<'a, K, H, R> {
        match self.queue.wait(self.host, self.cid, until, f) {
            Ok((dirty, result)) => {
                let slot = Slot::new(self.host, self.queue, self.cid, dirty);
                Waited::Ended(slot, result)
            }
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
            Some(found) => Err(Slot::found(self.host, self.queue, found)),
            None => Ok(()),
        }
    }
}
