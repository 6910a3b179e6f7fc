// SPDX-License-Identifier: GPL-2.0

//! The queues of one kind, and the choice among them.
//!
//! Firmware runs few commands of a queue at a time (one control command, four fast-path
//! commands), so depth comes from many queues: a caller uses the queue of its CPU while that has
//! nothing to wait for, and else the one with the fewest commands. If all slots are taken it waits
//! for the next that comes back, of whatever queue.

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
        Waiters, //
    },
};

/// Queues of one kind.
///
/// Queues are allocated when the device first grants them and stay until the function is
/// unbound; the first `active` of them exist at the device.
pub(crate) struct Pool<K: Kind> {
    queues: KVec<SetOnce<Pin<KBox<Queue<K>>>>>,
    active: Atomic<u32>,
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

    /// Returns the id of the queue that serves vector number `vector` of `vectors`, and then
    /// every further one.
    pub(crate) fn of_vector(
        &self,
        vector: usize,
        vectors: usize,
    ) -> impl Iterator<Item = &Queue<K>> {
        self.iter().skip(vector).step_by(vectors.max(1))
    }

    /// Takes a slot of the queue that suits the caller best, waiting if every slot is taken.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was killed, [`ETIMEDOUT`] if there was no slot `until` then,
    /// [`EAGAIN`] if there is no queue.
    pub(crate) fn take<'a, H: Host>(
        &'a self,
        host: &'a H,
        until: Instant<Monotonic>,
    ) -> Result<Slot<'a, K, H>> {
        let active = self.active();
        let mine = irq::current_cpu().as_u32() as usize % active.max(1);
        let mine = self.get(mine).ok_or(EAGAIN)?;
        if !self.waiters.any() {
            if mine.load() < K::CREDIT {
                if let Some(slot) = Slot::try_take(host, mine) {
                    return Ok(slot);
                }
            }
            let idlest = self.iter().min_by_key(|queue| queue.load());
            if let Some(slot) = idlest.and_then(|queue| Slot::try_take(host, queue)) {
                return Ok(slot);
            }
        }
        let look = || self.iter().find_map(Queue::try_acquire);
        let grant = self
            .waiters
            .wait(look, |grant| self.give_back(grant), until)?;
        let queue = self.of_grant(grant).ok_or(EAGAIN)?;
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
        fill: impl Fn(&Slot<'a, K, H>) -> Result<Option<T>, E>,
    ) -> Result<(Slot<'a, K, H>, T, Patience), E> {
        loop {
            fault_in()?;
            let patience = patience();
            let slot = self.take(host, patience.begin).map_err(&refuse)?;
            if let Some(filled) = fill(&slot)? {
                return Ok((slot, filled, patience));
            }
            drop(slot);
            if fatal_signal_pending() {
                return Err(refuse(EINTR));
            }
        }
    }

    /// Returns the queue of a slot.
    fn of_grant(&self, grant: Grant) -> Option<&Queue<K>> {
        self.all().find(|queue| queue.id() == grant.queue)
    }

    fn give_back(&self, grant: Grant) {
        if let Some(queue) = self.of_grant(grant) {
            queue.give_back(grant);
        }
    }
}
