// SPDX-License-Identifier: GPL-2.0

//! The queues of one kind, and the choice among them.
//!
//! Firmware runs few commands of a queue at a time (one control command, four fast-path
//! commands), so depth comes from many queues: a caller uses the queue of its CPU while that has
//! nothing to wait for, and else the one with the fewest commands. If all slots are taken it waits
//! for the next that comes back, of whatever queue.

use core::ops::Range;

use kernel::{
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        SetOnce, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use zerocopy::FromZeros;

use crate::{
    command::{
        InFlight,
        Slot, //
    },
    kapi::{
        irq,
        wait::fatal_signal_pending, //
    },
    patience::Patience,
    queue::{
        Host,
        Kind,
        Queue, //
    },
    ring,
    waiters::{
        Grant,
        Interrupt,
        Waiters, //
    },
    wire::{
        Cid,
        QueueId, //
    }, //
};

/// A row of commands of one submitter that go to the same queue: three times as many as the device
/// runs at a time, so that it has the next ones when it is done with the first.
///
/// It is no more than a hint: threads that submit at the same time may confuse it.
pub(crate) struct Run(Atomic<u32>);

impl Run {
    /// Returns a row that is at its end.
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Returns the number of the queue, and how many more commands it is to have.
    fn get(&self) -> (usize, u32) {
        let raw = self.0.load(Relaxed);
        // CAST: 16 bits.
        ((raw & 0xffff) as usize, raw >> 16)
    }

    /// Ends the row: what the next command would share with those before, a doorbell, was written.
    pub(crate) fn end(&self) {
        self.0.store(0, Relaxed);
    }

    fn set(&self, index: usize, left: u32) {
        // CAST: At most the number of queues.
        self.0.store(index as u32 | left << 16, Relaxed);
    }
}

/// A slot that was taken: its queue, and the command id that stands for it.
type Taken<'a, K> = (&'a Queue<K>, Cid);

/// A command that was sent, and the end of the caller's patience if it waited before.
pub(crate) type Sent<'a, K, H> = (InFlight<'a, K, H>, Option<Instant<Monotonic>>);

/// Queues of one kind.
///
/// Queues are allocated when the device first grants them and stay until the function is
/// unbound; the first `active` of them exist at the device.
pub(crate) struct Pool<K: Kind> {
    queues: KVec<SetOnce<Pin<KBox<Queue<K>>>>>,
    active: Atomic<u32>,
    /// The queues of these that raise interrupts; the others come behind them.
    interrupting: Atomic<u32>,
    waiters: Arc<Waiters>,
}

impl<K: Kind> Pool<K> {
    /// Makes an empty pool with room for `max` queues.
    pub(crate) fn new(max: u16) -> Result<Self> {
        let mut queues = KVec::with_capacity(usize::from(max), GFP_KERNEL)?;
        for _ in 0..max {
            queues.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            queues,
            active: Atomic::new(0),
            interrupting: Atomic::new(0),
            waiters: Waiters::new()?,
        })
    }

    /// Returns the number of queues that exist at the device.
    pub(crate) fn active(&self) -> usize {
        // CAST: At most the length of a vector.
        self.active.load(Acquire) as usize
    }

    /// Allocates queue number `index` unless it is there, and returns it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the pool has no room for it.
    pub(crate) fn allocate(
        &self,
        dev: &Device<Bound>,
        index: u16,
        size: ring::Size,
    ) -> Result<&Queue<K>> {
        let place = self.queues.get(usize::from(index)).ok_or(EINVAL)?;
        if place.as_ref().is_none() {
            let id = K::queue_id(index).ok_or(EINVAL)?;
            let queue =
                KBox::pin_init(Queue::new(dev, id, size, self.waiters.clone()), GFP_KERNEL)?;
            place.populate(queue);
        }
        place.as_ref().map(|queue| &**queue).ok_or(EINVAL)
    }

    /// Offers the first `count` queues to callers.
    pub(crate) fn activate(&self, count: u16) {
        self.active.store(u32::from(count), Release);
    }

    /// Notes that all but the first `count` queues raise no interrupts.
    pub(crate) fn set_interrupting(&self, count: u16) {
        self.interrupting.store(u32::from(count), Release);
    }

    /// Returns whether queue number `index` raises interrupts.
    pub(crate) fn interrupts(&self, index: u16) -> bool {
        u32::from(index) < self.interrupting.load(Acquire)
    }

    /// Returns the numbers of the queues for callers that look for completions themselves, or for
    /// those that do not; of all queues if they are of one kind.
    fn suitable(&self, polling: bool) -> Range<usize> {
        let active = self.active();
        // CAST: At most the length of a vector.
        match (self.interrupting.load(Acquire) as usize).min(active) {
            0 => 0..active,
            first if first == active => 0..active,
            first if polling => first..active,
            first => 0..first,
        }
    }

    /// Looks for completions on the queues that raise no interrupts; returns how many there were.
    pub(crate) fn poll_polled(&self, host: &impl Host) -> usize {
        self.iter()
            .filter(|queue| queue.is_polled() && queue.is_busy())
            .map(|queue| queue.poll(host))
            .sum()
    }

    /// Returns whether a queue that raises no interrupts has commands at the device.
    pub(crate) fn polled_busy(&self) -> bool {
        self.iter()
            .any(|queue| queue.is_polled() && queue.is_busy())
    }

    /// Returns queue number `index` if it exists at the device.
    pub(crate) fn get(&self, index: usize) -> Option<&Queue<K>> {
        if index >= self.active() {
            return None;
        }
        self.queues.get(index)?.as_ref().map(|queue| &**queue)
    }

    /// Returns the queues that exist at the device.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Queue<K>> {
        self.all().take(self.active())
    }

    /// Returns every queue that was ever allocated.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Queue<K>> {
        self.queues
            .iter()
            .map_while(|place| place.as_ref().map(|queue| &**queue))
    }

    /// Returns the queue that vector number `vector` of `vectors` serves, and then every further
    /// one.
    pub(crate) fn of_vector(
        &self,
        vector: usize,
        vectors: usize,
    ) -> impl Iterator<Item = &Queue<K>> {
        (vector..self.active())
            .step_by(vectors.max(1))
            .filter_map(|index| self.get(index))
    }

    /// Returns the queue with this id if it was ever allocated, whether or not it exists at the
    /// device.
    pub(crate) fn of_id(&self, id: QueueId) -> Option<&Queue<K>> {
        self.of_raw_id(id.raw())
    }

    /// Returns the queue whose id stands like this on the wire, as [`of_id`](Self::of_id).
    pub(crate) fn of_raw_id(&self, id: u16) -> Option<&Queue<K>> {
        let index = id.checked_sub(K::queue_id(0)?.raw())?;
        self.queues
            .get(usize::from(index))?
            .as_ref()
            .map(|queue| &**queue)
    }

    /// Returns whether a slot may be free. A hint.
    pub(crate) fn has_room(&self) -> bool {
        self.iter()
            .any(|queue| queue.load() < u32::from(queue.size().slots()))
    }

    /// Takes a slot of the queue that suits the caller best if one is free.
    ///
    /// `polling` says that the caller looks for completions itself.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if there is no queue.
    #[inline]
    pub(crate) fn try_take<'a, H: Host>(
        &'a self,
        host: &'a H,
        polling: bool,
    ) -> Result<Option<Slot<'a, K, H>>> {
        match self.find(polling) {
            Some((queue, cid)) => Ok(Some(Slot::granted(host, queue, cid))),
            None if self.active() == 0 => Err(EAGAIN),
            None => Ok(None),
        }
    }

    /// Finds a free slot for [`Pool::try_take`], and takes it.
    fn find(&self, polling: bool) -> Option<Taken<'_, K>> {
        let suitable = self.suitable(polling);
        let cpu = irq::current_cpu().as_u32() as usize;
        let mine = suitable.start + cpu.checked_rem(suitable.len())?;
        let mine = self.queues.get(mine)?.as_ref()?;
        if self.waiters.any() {
            return None;
        }
        if mine.load() < K::CREDIT {
            if let Some(grant) = mine.try_acquire() {
                return Some((mine, grant.cid));
            }
        }
        self.find_idlest(suitable)
    }

    fn find_idlest(&self, suitable: Range<usize>) -> Option<Taken<'_, K>> {
        let idlest = suitable
            .filter_map(|index| self.get(index))
            .min_by_key(|queue| queue.load())?;
        Some((idlest, idlest.try_acquire()?.cid))
    }

    /// Takes a slot for one of several commands that are submitted together, if one is free; see
    /// [`Pool::try_take`].
    ///
    /// Some commands in a row go to the same queue, so that they share a doorbell. `run` is where
    /// the submitter keeps the present row.
    #[inline]
    pub(crate) fn try_take_batched<'a, H: Host>(
        &'a self,
        host: &'a H,
        polling: bool,
        run: &Run,
    ) -> Result<Option<Slot<'a, K, H>>> {
        if let Some((queue, cid)) = self.find_next(polling, run) {
            return Ok(Some(Slot::granted(host, queue, cid)));
        }
        let slot = self.try_take(host, polling)?;
        if let Some(index) = slot.as_ref().and_then(|slot| self.index(slot.queue())) {
            run.set(index, 3 * K::CREDIT - 1);
        }
        Ok(slot)
    }

    /// Finds the next free slot of a row, and takes it.
    fn find_next(&self, polling: bool, run: &Run) -> Option<Taken<'_, K>> {
        let (index, left) = run.get();
        if left == 0 || self.waiters.any() || !self.suitable(polling).contains(&index) {
            return None;
        }
        let queue = self.queues.get(index)?.as_ref()?;
        let grant = queue.try_acquire()?;
        run.set(index, left - 1);
        Some((queue, grant.cid))
    }

    fn index(&self, queue: &Queue<K>) -> Option<usize> {
        let first = K::queue_id(0)?.raw();
        Some(usize::from(queue.id().raw().checked_sub(first)?))
    }

    /// Takes a slot of the queue that suits the caller best, waiting if every slot is taken.
    ///
    /// Who waits gets the next slot that comes back, of whatever queue. `until` is asked for the end
    /// of the wait.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was interrupted, [`ETIMEDOUT`] if there was no slot `until` then,
    /// [`EAGAIN`] if there is no queue.
    #[inline]
    pub(crate) fn take<'a, H: Host>(
        &'a self,
        host: &'a H,
        until: impl FnOnce() -> Instant<Monotonic>,
        interrupt: Interrupt,
    ) -> Result<Slot<'a, K, H>> {
        let (queue, cid) = match self.find(false) {
            Some(taken) => taken,
            None if self.active() == 0 => return Err(EAGAIN),
            None => self.wait_for_slot(until(), interrupt)?,
        };
        Ok(Slot::granted(host, queue, cid))
    }

    #[cold]
    fn wait_for_slot(
        &self,
        until: Instant<Monotonic>,
        interrupt: Interrupt,
    ) -> Result<Taken<'_, K>> {
        let look = || self.iter().find_map(Queue::try_acquire);
        let grant = self
            .waiters
            .wait(look, |grant| self.give_back(grant), until, interrupt)?;
        let queue = self.of_id(grant.queue).ok_or(EAGAIN)?;
        Ok((queue, grant.cid))
    }

    /// Takes a slot, as [`Pool::take`] does, has `fill` put the caller's data into it and fill in
    /// the submission entry, and sends that to the device.
    ///
    /// `fill` must not fault, and returns `false` if the caller's memory is not there; then the
    /// slot is given back and `fault_in` called once more, so that no slot waits for memory that
    /// its owner can withhold. What that takes does not count: `patience` is asked for the limits
    /// of the waits that follow when the first of them begins. The end of the last is returned;
    /// [`None`] if there was no wait so far. `refuse` makes an error of one of [`Pool::take`].
    ///
    /// # Errors
    ///
    /// What the arguments return.
    #[inline]
    pub(crate) fn send<'a, H: Host, E>(
        &'a self,
        host: &'a H,
        timeout: Delta,
        patience: impl Fn() -> Patience,
        refuse: impl Fn(Error) -> E,
        fault_in: impl Fn() -> Result<(), E>,
        fill: impl Fn(&mut Slot<'a, K, H>, &mut K::Sqe) -> Result<bool, E>,
    ) -> Result<Sent<'a, K, H>, E> {
        let mut sqe = <K::Sqe as FromZeros>::new_zeroed();
        loop {
            fault_in()?;
            let mut end = None;
            let until = || {
                let patience = patience();
                end = Some(patience.end);
                patience.begin
            };
            let mut slot = self.take(host, until, Interrupt::Kill).map_err(&refuse)?;
            if fill(&mut slot, &mut sqe)? {
                let flight = slot.submit(&sqe, timeout).map_err(refuse)?;
                return Ok((flight, end));
            }
            drop(slot);
            if fatal_signal_pending() {
                return Err(refuse(EINTR));
            }
        }
    }

    fn give_back(&self, grant: Grant) {
        if let Some(queue) = self.of_id(grant.queue) {
            queue.give_back(grant);
        }
    }
}
