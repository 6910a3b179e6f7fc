// SPDX-License-Identifier: GPL-2.0

//! One submission queue with its completion queue, its command slots and their memory.
//!
//! A queue has one slot less than its rings have entries, so that neither ring can ever
//! overflow: the number of commands at the device is bounded by the number of slots. Everything
//! a command needs is allocated with the queue; nothing on the way of a command allocates.
//!
//! The queue outlives every reset of the controller. Its memory is freed only when the function
//! is unbound, after the device was stopped.

mod look;
mod lost;
mod uring;

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    dma::{
        Dirty,
        Layout,
        SlotMemory, //
    },
    kapi::wait::Completion,
    ladder::{
        QueueHistory,
        QueueStep, //
    },
    patience::jiffies_until,
    ring,
    slot::{
        Found,
        Outcome,
        Table,
        Times, //
    },
    stats::{
        Counters,
        Rate,
        Usage, //
    },
    uring::Target,
    waiters::{
        Grant,
        Interrupt,
        Waiters, //
    },
    wire::{
        Cid,
        Cqe,
        Entries,
        QueueId,
        Sqe as _, //
    },
};

/// Largest number of slots a queue can have.
pub(crate) const MAX_SLOTS: u8 = 255;

/// A kind of queue: its entries, and what a caller that goes away leaves behind.
pub(crate) trait Kind: Entries {
    /// What must outlive a command whose caller is gone.
    type Left: Send;
    /// What memory a slot has.
    const LAYOUT: Layout;
    /// Commands of one queue that the device runs at a time.
    const CREDIT: u32;

    /// Returns the id of queue number `index`, counted from 0.
    fn queue_id(index: u16) -> Option<QueueId>;
}

/// A completion entry of a kind of queue.
pub(crate) type CqeOf<K> = <K as Entries>::Cqe;

/// A completion entry as it lies in the ring.
pub(crate) type Words<K> = <CqeOf<K> as Cqe>::Words;

/// A finished command that nobody waits for, found in a queue.
pub(crate) type FoundIn<K> = Found<Words<K>, <K as Kind>::Left>;

/// What the lock of a queue protects.
struct State<K: Kind> {
    /// Set while the queue exists at the device.
    accepting: bool,
    sq: ring::Submission,
    cq: ring::Completion,
    /// The tail that the device was told last.
    told: u16,
    /// Number of the next command of a ring.
    sequence: u32,
    table: Table<Words<K>, K::Left, Target>,
    history: QueueHistory,
    counters: Counters,
    completion_rate: Rate,
}

/// A queue pair.
#[pin_data]
pub(crate) struct Queue<K: Kind> {
    id: QueueId,
    size: ring::Size,
    sq: Coherent<[K::Sqe]>,
    cq: Coherent<[Words<K>]>,
    #[pin]
    state: SpinLockIrq<State<K>>,
    /// Signalled when the command of the slot ended, one for each slot.
    done: KVec<Pin<KBox<Completion>>>,
    /// Who waits for a slot of this queue, among others.
    waiters: Arc<Waiters>,
    /// Data memory, one for each slot; none for a queue that carries no data.
    memory: KVec<SlotMemory>,
    /// Slots in use, or more than there are if the queue takes no commands; a hint for the choice
    /// of a queue.
    load: Atomic<u32>,
    /// Set if completions raise no interrupt and have to be looked for.
    polled: Atomic<bool>,
}

/// What a queue needs of the function it belongs to.
pub(crate) trait Host {
    /// Tells the device the new tail of a submission queue.
    fn ring_sq(&self, id: QueueId, tail: u16);
    /// Tells the device the new head of a completion queue.
    fn ring_cq(&self, id: QueueId, head: u16);
    /// Has leftover commands reaped soon. Callable in any context.
    fn reap_later(&self);
}

impl<K: Kind> Queue<K> {
    /// Allocates a queue with rings of `size` entries, which does not accept commands yet.
    ///
    /// Slots that come back go to `waiters` first.
    pub(crate) fn new<'a>(
        dev: &'a Device<Bound>,
        id: QueueId,
        size: ring::Size,
        waiters: Arc<Waiters>,
    ) -> impl PinInit<Self, Error> + 'a {
        pin_init::pin_init_scope(move || {
            let count = u8::try_from(size.slots())?;
            let entries = usize::from(size.entries());
            let mut done = KVec::with_capacity(usize::from(count), GFP_KERNEL)?;
            let mut slots = KVec::new();
            for _ in 0..count {
                done.push(KBox::pin_init(Completion::new(), GFP_KERNEL)?, GFP_KERNEL)?;
                if K::LAYOUT != Layout::Empty {
                    slots.push(SlotMemory::new(dev, K::LAYOUT)?, GFP_KERNEL)?;
                }
            }
            waiters.add_slots(usize::from(count))?;
            let state = State {
                accepting: false,
                sq: ring::Submission::new(size),
                cq: ring::Completion::new(size),
                told: 0,
                sequence: 0,
                table: Table::new(count)?,
                history: QueueHistory::default(),
                counters: Counters::default(),
                completion_rate: Rate::new(Instant::now()),
            };
            Ok(try_pin_init!(Self {
                id,
                size,
                sq: Coherent::zeroed_slice(dev, entries, GFP_KERNEL)?,
                cq: Coherent::zeroed_slice(dev, entries, GFP_KERNEL)?,
                state <- new_spinlock_irq!(state, "azihsm_queue"),
                done,
                waiters,
                memory: slots,
                load: Atomic::new(0),
                polled: Atomic::new(false),
            }? Error))
        })
    }

    /// Returns the queue's id.
    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    /// Returns the DMA address of the submission ring.
    pub(crate) fn sq_address(&self) -> u64 {
        self.sq.dma_address()
    }

    /// Returns the DMA address of the completion ring.
    pub(crate) fn cq_address(&self) -> u64 {
        self.cq.dma_address()
    }

    /// Returns the size of each ring.
    pub(crate) fn size(&self) -> ring::Size {
        self.size
    }

    /// Returns whether completions raise no interrupt and have to be looked for.
    pub(crate) fn is_polled(&self) -> bool {
        self.polled.load(Relaxed)
    }

    /// Returns the data memory of a slot.
    pub(crate) fn memory(&self, cid: Cid) -> Option<&SlotMemory> {
        self.memory.get(cid.index())
    }

    /// Forgets what the rings held, so that the device can be told of the queue anew.
    ///
    /// The device must not know the queue. `polled` tells whether completions come without an
    /// interrupt.
    pub(crate) fn prepare(&self, polled: bool) -> Result {
        let mut state = self.state.lock();
        for i in 0..usize::from(self.size.entries()) {
            io_project!(self.sq, [try: i])
                .copy_write(<K::Sqe as zerocopy::FromZeros>::new_zeroed());
            io_project!(self.cq, [try: i])
                .copy_write(<Words<K> as zerocopy::FromZeros>::new_zeroed());
        }
        state.sq = ring::Submission::new(self.size);
        state.cq = ring::Completion::new(self.size);
        state.told = state.sq.tail();
        self.polled.store(polled, Relaxed);
        Ok(())
    }

    /// Starts to accept commands: the device knows the queue now.
    pub(crate) fn start(&self) {
        let mut state = self.state.lock();
        state.accepting = true;
        self.note_load(&state);
    }

    /// Stops accepting commands; after this no doorbell of the queue is rung any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.accepting = false;
        self.note_load(&state);
    }

    /// Takes a slot if one is free.
    ///
    /// To be called only if nobody waits, or by who does.
    pub(crate) fn try_acquire(&self) -> Option<Grant> {
        let mut state = self.state.lock();
        let cid = state.table.acquire()?;
        self.note_load(&state);
        Some(Grant {
            queue: self.id,
            cid,
        })
    }

    /// Takes a slot, waiting for one behind those that came first; for a queue that has its waiters
    /// for itself.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the caller was killed, [`ETIMEDOUT`] if there was none `until` then.
    pub(crate) fn acquire(&self, until: Instant<Monotonic>) -> Result<Grant> {
        if !self.waiters.any() {
            if let Some(grant) = self.try_acquire() {
                return Ok(grant);
            }
        }
        self.waiters.wait(
            || self.try_acquire(),
            |grant| self.give_back(grant),
            until,
            Interrupt::Kill,
        )
    }

    /// Gives a slot back that has no command at the device, to or from which that many bytes were
    /// copied since.
    pub(crate) fn release(&self, mut cid: Cid, mut copied: u32) {
        loop {
            {
                let mut state = self.state.lock();
                state.counters.usage.bytes_copied += u64::from(core::mem::take(&mut copied));
                if !self.waiters.any() {
                    state.table.release(cid);
                    self.note_load(&state);
                    return;
                }
                let Some(next) = state.table.renew(cid) else {
                    return;
                };
                cid = next;
            }
            let grant = Grant {
                queue: self.id,
                cid,
            };
            if self.waiters.grant(grant) {
                return;
            }
        }
    }

    /// Gives a slot back that was not used.
    pub(crate) fn give_back(&self, grant: Grant) {
        self.release(grant.cid, 0);
    }

    /// Returns about how many slots are in use.
    pub(crate) fn load(&self) -> u32 {
        self.load.load(Relaxed)
    }

    /// Returns whether a slot may be in use, of a queue that accepts commands. A hint.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.load(), 0 | u32::MAX)
    }

    fn note_load(&self, state: &State<K>) {
        let load = if state.accepting {
            // CAST: At most `MAX_SLOTS`.
            (self.done.len() - state.table.available()) as u32
        } else {
            u32::MAX
        };
        self.load.store(load, Relaxed);
    }

    /// Puts a command into the ring and tells the device. The entry's command id is an owned
    /// slot, whose memory is `dirty` and whose data took `usage`. Returns when that was.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the queue does not accept commands.
    pub(crate) fn submit(
        &self,
        host: &impl Host,
        sqe: &K::Sqe,
        timeout: Delta,
        dirty: Dirty,
        usage: Usage,
    ) -> Result<Instant<Monotonic>> {
        let submitted = Instant::<Monotonic>::now();
        let times = Times {
            submitted,
            deadline: submitted + timeout,
        };
        let mut state = self.state.lock();
        self.put(&mut state, sqe, usage)?;
        state.table.submit(sqe.cid(), times, dirty);
        self.tell(host, &mut state);
        Ok(submitted)
    }

    /// Puts an entry into the ring, and does not tell the device.
    #[inline(always)]
    fn put(&self, state: &mut State<K>, sqe: &K::Sqe, usage: Usage) -> Result {
        if !state.accepting {
            return Err(EAGAIN);
        }
        if state.sq.is_full() {
            // There are fewer slots than entries, so the device has fetched more than it says.
            let unfinished = state.table.in_flight();
            // CAST: At most `MAX_SLOTS`.
            state.sq.resync(unfinished as u16);
        }
        let index = state.sq.push().ok_or(EIO)?;
        io_project!(self.sq, [try: usize::from(index)]).copy_write(*sqe);
        state.counters.submitted += 1;
        state.counters.usage.add(usage);
        Ok(())
    }

    /// Tells the device the tail of the submission ring unless it knows it.
    fn tell(&self, host: &impl Host, state: &mut State<K>) {
        let tail = state.sq.tail();
        if state.accepting && state.told != tail {
            state.told = tail;
            host.ring_sq(self.id, tail);
        }
    }

    /// Waits until the command of a slot ended, and passes its outcome to `f`.
    ///
    /// `f` runs under the lock of the queue. Returns what it returned, and what the memory of the
    /// slot holds.
    ///
    /// Returns [`EINTR`] if the caller was killed and [`ETIMEDOUT`] if the command has not ended
    /// `until` then; it is still at the device in both cases.
    pub(crate) fn wait<R>(
        &self,
        host: &impl Host,
        cid: Cid,
        until: Instant<Monotonic>,
        mut f: impl FnMut(Outcome<&CqeOf<K>>) -> R,
    ) -> Result<(Dirty, R)> {
        let done = self.done.get(cid.index()).ok_or(EINVAL)?;
        loop {
            let left = jiffies_until(until);
            let waited = match (left, self.polled.load(Relaxed)) {
                (0, _) => Err(ETIMEDOUT),
                // Completions raise no interrupt: look for them once in a jiffy.
                (_, true) => done.wait_killable_timeout(1).inspect(|_| {
                    self.poll(host);
                }),
                (_, false) => done.wait_killable_timeout(left),
            };
            let taken = self
                .state
                .lock()
                .table
                .take(cid, |outcome| f(outcome.map(<CqeOf<K>>::from_words)));
            if let Some(taken) = taken {
                return Ok(taken);
            }
            // A signal may be that of an earlier command of the slot.
            waited?;
        }
    }

    /// Leaves a command at the device; see [`Table::leave`].
    pub(crate) fn leave(&self, cid: Cid, left: K::Left) -> Option<FoundIn<K>> {
        self.state.lock().table.leave(cid, left)
    }

    /// Takes a finished command whose caller is gone, with its slot.
    pub(crate) fn take_leftover(&self) -> Option<FoundIn<K>> {
        self.state.lock().table.take_leftover()
    }

    /// Returns a copy of the counters.
    pub(crate) fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Returns the number of commands at the device.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().table.in_flight()
    }

    /// Returns how many commands were completed per second since this was asked last.
    pub(crate) fn completions_per_second(&self) -> u64 {
        let now = Instant::now();
        let mut state = self.state.lock();
        let completed = state.counters.completed;
        state.completion_rate.look(now, completed)
    }

    /// Returns the number of commands whose deadline is past.
    pub(crate) fn overdue(&self, now: Instant<Monotonic>) -> usize {
        self.state.lock().table.overdue(now)
    }

    /// Notes that a command timed out; returns what to do about it.
    pub(crate) fn timed_out(&self) -> QueueStep {
        let mut state = self.state.lock();
        let completed = state.counters.completed;
        state.history.timed_out(completed)
    }

    /// Counts a reset of this queue alone.
    pub(crate) fn note_reset(&self) {
        self.state.lock().counters.resets += 1;
    }
}
