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
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    command::Slot,
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
    wire::QueueId, //
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

    fn set(&self, index: usize, left: u32) {
        // CAST: At most the number of queues.
        self.0.store(index as u32 | left << 16, Relaxed);
    }
}

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
            .filter(|queue| queue.is_polled())
            .map(|queue| queue.poll(host))
            .sum()
    }

    /// Returns whether a queue that raises no interrupts has commands at the device.
    pub(crate) fn polled_busy(&self) -> bool {
        self.iter()
            .any(|queue| queue.is_polled() && queue.load() != 0)
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
    pub(crate) fn try_take<'a, H: Host>(
        &'a self,
        host: &'a H,
        polling: bool,
    ) -> Result<Option<Slot<'a, K, H>>> {
        let suitable = self.suitable(polling);
        let cpu = irq::current_cpu().as_u32() as usize;
        let mine = suitable.start + cpu.checked_rem(suitable.len()).ok_or(EAGAIN)?;
        let mine = self.get(mine).ok_or(EAGAIN)?;
        if self.waiters.any() {
            return Ok(None);
        }
        if mine.load() < K::CREDIT {
            if let Some(slot) = Slot::try_take(host, mine) {
                return Ok(Some(slot));
            }
        }
        let idlest = suitable
            .filter_map(|index| self.get(index))
            .min_by_key(|queue| queue.load());
        Ok(idlest.and_then(|queue| Slot::try_take(host, queue)))
    }

    /// Takes a slot for one of several commands that are submitted together, if one is free; see
    /// [`Pool::try_take`].
    ///
    /// Some commands in a row go to the same queue, so that they share a doorbell. `run` is where
    /// the submitter keeps the present row.
    pub(crate) fn try_take_batched<'a, H: Host>(
        &'a self,
        host: &'a H,
        polling: bool,
        run: &Run,
    ) -> Result<Option<Slot<'a, K, H>>> {
        let (index, left) = run.get();
        if left != 0 && !self.waiters.any() && self.suitable(polling).contains(&index) {
            let queue = self.get(index).ok_or(EAGAIN)?;
            if let Some(slot) = Slot::try_take(host, queue) {
                run.set(index, left - 1);
                return Ok(Some(slot));
            }
        }
        let slot = self.try_take(host, polling)?;
        if let Some(index) = slot.as_ref().and_then(|slot| self.index(slot.queue())) {
            run.set(index, 3 * K::CREDIT - 1);
        }
        Ok(slot)
    }

    fn index(&self, queue: &Queue<K>) -> Option<usize> {
        let first = K::queue_id(0)?.raw();
        Some(usize::from(queue.id().raw().checked_sub(first)?))
    }

    /// Takes a slot of the queue that suits the caller best, waiting if every slot is taken.
    ///
    /// Who waits gets the next slot that comes back, of whatever queue.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was interrupted, [`ETIMEDOUT`] if there was no slot `until` then,
    /// [`EAGAIN`] if there is no queue.
    pub(crate) fn take<'a, H: Host>(
        &'a self,
        host: &'a H,
        until: Instant<Monotonic>,
        interrupt: Interrupt,
    ) -> Result<Slot<'a, K, H>> {
        if let Some(slot) = self.try_take(host, false)? {
            return Ok(slot);
        }
        let look = || self.iter().find_map(Queue::try_acquire);
        let grant = self
            .waiters
            .wait(look, |grant| self.give_back(grant), until, interrupt)?;
        let queue = self.of_id(grant.queue).ok_or(EAGAIN)?;
        Ok(Slot::granted(host, queue, grant.cid))
    }

    /// Takes a slot, as [`Pool::take`] does, and has `fill` put the caller's data into it.
    ///
    /// `fill` must not fault, and returns [`None`] if the caller's memory is not there; then the
    /// slot is given back and `fault_in` called once more, so that no slot waits for memory that
    /// its owner can withhold. What that takes does not count: `patience` is asked for the limits
    /// of the waits that follow, which are returned. `refuse` makes an error of one of
    /// [`Pool::take`].
    ///
    /// # Errors
    ///
    /// What the arguments return.
    pub(crate) fn take_filled<'a, H: Host, T, E>(
        &'a self,
        host: &'a H,
        patience: impl Fn() -> Patience,
        refuse: impl Fn(Error) -> E,
        fault_in: impl Fn() -> Result<(), E>,
        fill: impl Fn(&mut Slot<'a, K, H>) -> Result<Option<T>, E>,
    ) -> Result<(Slot<'a, K, H>, T, Patience), E> {
        loop {
            fault_in()?;
            let patience = patience();
            let mut slot = self
                .take(host, patience.begin, Interrupt::Kill)
                .map_err(&refuse)?;
            if let Some(filled) = fill(&mut slot)? {
                return Ok((slot, filled, patience));
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
