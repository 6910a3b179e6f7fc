// SPDX-License-Identifier: GPL-2.0

//! The controller of one function: its registers, its queues, and how it is brought up and
//! stopped.
//!
//! # Lock order
//!
//! Outer to inner; no lock is held while anybody waits for a completion.
//!
//! 1. `rings`
//! 2. `files.open`, `files.unflushed`
//! 3. `recovery.wanted`
//! 4. `info`, `sriov.counts`
//! 5. a file's session ([`FileSession`](crate::files::FileSession))
//! 6. a queue's state ([`Queue`]), also taken in interrupt handlers
//! 7. who waits for slots ([`Waiters`]); never together with the one before
//!
//! User memory is never touched with one of them held.

use kernel::{
    device::Bound,
    dma::Coherent,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    new_mutex,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex,
        SetOnce, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    admin,
    aes::Fast,
    control::Control,
    files::Files,
    kapi::{
        self,
        random,
        work, //
    },
    lifecycle::{
        LifeCycle,
        State, //
    },
    log::{dev_err, dev_info},
    params,
    patience::Patience,
    placement::{
        Pinned,
        KEPT, //
    },
    pool::Pool,
    query::Facts,
    queue::{
        Host,
        Queue, //
    },
    recovery::Recovery,
    regs::{
        self,
        ACQ,
        AQA,
        ASQ,
        CAP,
        CC,
        CSTS,
        FWCAP,
        NSSR,
        VS, //
    },
    ring,
    spares::Spares,
    sriov::Sriov,
    uapi::{
        Ext,
        Refusal,
        ResetKind, //
    },
    vectors::Split,
    waiters::Waiters,
    wire::{
        admin::Entries as Admin,
        identify::{
            self,
            Identity,
            MAX_AES_QUEUES,
            MAX_CONTROL_QUEUES, //
        },
        QueueId, //
    },
};

/// Time that the creation of all I/O queues may take.
const QUEUES_TIMEOUT: Delta = Delta::from_secs(30);

/// Time between two looks at the status of a controller that changes its state, at first; how long
/// that is so; and time between two later ones.
const SHORT_PERIOD: Delta = Delta::from_millis(1);
const SHORT_WAIT: Delta = Delta::from_millis(100);
const LONG_PERIOD: Delta = Delta::from_millis(10);

/// A mapped BAR of the device.
pub(crate) type Bar<'a> = pci::Bar<'a, { regs::BAR_LEN }>;

/// What is known of the controller since it was brought up last.
#[derive(Clone, Copy)]
pub(crate) struct Info {
    /// What Identify says.
    pub(crate) identity: Identity,
    /// Random bytes, drawn anew each time.
    pub(crate) entropy: [u8; 32],
    /// What else it says.
    pub(crate) facts: Facts,
}

/// The controller of one function.
#[pin_data]
pub(crate) struct Controller<'bound> {
    /// The function.
    pub(crate) pdev: &'bound pci::Device<Bound>,
    registers: Bar<'bound>,
    doorbells: Bar<'bound>,
    /// Life-cycle state.
    pub(crate) life: LifeCycle,
    /// Admin queue.
    pub(crate) admin: Pin<KBox<Queue<Admin>>>,
    /// Control-path queues.
    pub(crate) control: Pool<Control>,
    /// Fast-path queues.
    pub(crate) fast: Pool<Fast>,
    /// What fast-path commands with pinned data took that ended.
    pub(crate) spares: Spares<Pinned>,
    /// Receives Identify data.
    pub(crate) identify_page: Coherent<[identify::Data]>,
    /// How interrupt vectors are shared out, once they are allocated.
    pub(crate) vectors: SetOnce<Split>,
    /// Milliseconds that the controller may take to become ready or to stop.
    ready_ms: Atomic<u32>,
    /// Whether the firmware corrects AES-GCM for unaligned lengths.
    gcm_workaround: Atomic<bool>,
    #[pin]
    info: Mutex<Option<Info>>,
    /// Held while finished commands of rings are taken back that nobody came for.
    #[pin]
    pub(crate) rings: Mutex<()>,
    /// Physical or virtual function, and the resources of the latter.
    #[pin]
    pub(crate) sriov: Sriov,
    /// Open files.
    #[pin]
    pub(crate) files: Files,
    /// Makes sysfs follow the number of queues.
    #[pin]
    pub(crate) sysfs: work::Item,
    /// Timeouts and resets.
    #[pin]
    pub(crate) recovery: Recovery,
}

impl Host for Controller<'_> {
    fn ring_sq(&self, id: QueueId, tail: u16) {
        if let Some(doorbell) = regs::sq_tail(id) {
            (&self.doorbells).write(doorbell, regs::SQ_TAIL::zeroed().with_index(tail));
        }
    }

    fn ring_cq(&self, id: QueueId, head: u16) {
        if let Some(doorbell) = regs::cq_head(id) {
            (&self.doorbells).write(doorbell, regs::CQ_HEAD::zeroed().with_index(head));
        }
    }

    fn reap_later(&self) {
        self.reap_soon();
    }
}

impl<'bound> Controller<'bound> {
    /// Allocates what a controller needs before it can be talked to.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        registers: Bar<'bound>,
        doorbells: Bar<'bound>,
    ) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dev = pdev.as_ref();
            let size = ring::Size::new(admin::ENTRIES).ok_or(EINVAL)?;
            let admin = Queue::new(dev, QueueId::ADMIN, size, Waiters::new()?);
            let admin = KBox::pin_init(admin, GFP_KERNEL)?;
            let works = work::Queue::new(c"azihsm")?;
            Ok(try_pin_init!(Self {
                pdev,
                registers,
                doorbells,
                life: LifeCycle::new(),
                admin,
                control: Pool::new(MAX_CONTROL_QUEUES)?,
                fast: Pool::new(MAX_AES_QUEUES)?,
                spares: Spares::new(KEPT)?,
                identify_page: Coherent::zeroed_slice(dev, 1, GFP_KERNEL)?,
                vectors: SetOnce::new(),
                ready_ms: Atomic::new(CAP::MAX_TIMEOUT_MS),
                gcm_workaround: Atomic::new(false),
                info <- new_mutex!(None, "azihsm_info"),
                rings <- new_mutex!((), "azihsm_rings"),
                sriov <- Sriov::new(pdev),
                files <- Files::new(),
                sysfs <- work::new_item!(works.clone(), "azihsm_sysfs"),
                recovery <- Recovery::new(works),
            }? Error))
        })
    }

    /// Returns what is known of the controller.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] before the controller was brought up for the first time.
    pub(crate) fn info(&self) -> Result<Info> {
        (*self.info.lock()).ok_or(EAGAIN)
    }

    /// Returns what the firmware can do.
    pub(crate) fn capabilities(&self) -> identify::Capabilities {
        identify::Capabilities {
            gcm_workaround: self.gcm_workaround.load(Relaxed),
        }
    }

    /// Returns why commands are refused at present, if they are.
    pub(crate) fn refusal(&self) -> Result<(), Refusal> {
        let (errno, ext) = match self.life.get() {
            State::Live => return Ok(()),
            State::New | State::Resetting => (EAGAIN, Ext::ABORT_IN_PROGRESS),
            State::Dead => (EIO, Ext::NOT_READY),
            State::Removed => (ENODEV, Ext::NOT_READY),
        };
        Err(Refusal::new(errno, ext))
    }

    /// Returns why a command that a queue did not accept is refused.
    pub(crate) fn not_accepted(&self, errno: Error) -> Refusal {
        match self.refusal() {
            Err(refusal) => refusal,
            // The function owns no resources.
            Ok(()) if errno == EAGAIN && self.control.active() == 0 => {
                Refusal::new(EAGAIN, Ext::NOT_READY)
            }
            // The queue is about to be reset, or back already.
            Ok(()) if errno == EAGAIN => Refusal::new(EAGAIN, Ext::ABORT_IN_PROGRESS),
            Ok(()) => self.not_waited_for(errno),
        }
    }

    /// Returns the refusal of a command that was not waited for any longer.
    pub(crate) fn not_waited_for(&self, errno: Error) -> Refusal {
        match errno {
            ETIMEDOUT => self.lost(),
            errno => Refusal::new(errno, Ext::OK),
        }
    }

    /// Returns the refusal of a command that was lost to a reset, or ran out of time.
    pub(crate) fn lost(&self) -> Refusal {
        match self.life.get() {
            State::Removed => Refusal::new(ENODEV, Ext::NOT_READY),
            _ => Refusal::new(EAGAIN, Ext::ABORTED),
        }
    }

    /// Returns the patience of a caller that begins now.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(params::command_timeout(), self.recovery_bound())
    }

    /// Returns when a caller goes whose command, which may take `timeout`, was `submitted` then; see
    /// [`Patience::end`].
    pub(crate) fn end_of_patience(
        &self,
        submitted: Instant<Monotonic>,
        timeout: Delta,
    ) -> Instant<Monotonic> {
        submitted + timeout + self.recovery_bound()
    }

    /// Reads the status of the controller.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the function no longer answers.
    pub(crate) fn status(&self) -> Result<CSTS> {
        let csts = (&self.registers).read(CSTS);
        if csts.is_gone() {
            return Err(ENODEV);
        }
        Ok(csts)
    }

    /// Reads what the controller is capable of.
    fn capability(&self) -> Result<CAP> {
        // A 64-bit access: the mapping's alignment is known only at run time.
        (&self.registers).try_read(CAP)
    }

    /// Returns how long the controller may take to become ready or to stop.
    pub(crate) fn ready_timeout(&self) -> Delta {
        Delta::from_millis(i64::from(self.ready_ms.load(Relaxed)))
    }

    /// Returns whether the function can be reset with [`ResetKind::Subsystem`].
    pub(crate) fn has_subsystem_reset(&self) -> bool {
        self.capability().is_ok_and(|cap| cap.ssrs().get() != 0)
    }

    /// Waits until `CSTS.RDY` has the wanted value, for at most `timeout`. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the function no longer answers, [`ETIMEDOUT`], [`EINTR`] if
    /// [`Controller::may_wait`] says so, [`EIO`] if the controller is ready and reports a fatal
    /// error.
    fn wait_ready(&self, wanted: bool, timeout: Delta) -> Result {
        let poll = |period, timeout| {
            read_poll_timeout(
                || self.status(),
                |csts| csts.rdy() == wanted || self.may_wait().is_err(),
                period,
                timeout,
            )
        };
        let short = SHORT_WAIT.as_nanos().min(timeout.as_nanos());
        let csts = match poll(SHORT_PERIOD, Delta::from_nanos(short)) {
            Err(ETIMEDOUT) => poll(LONG_PERIOD, timeout - Delta::from_nanos(short)),
            other => other,
        }
        .and_then(|csts| match csts.rdy() == wanted {
            true => Ok(csts),
            false => Err(EINTR),
        })
        .inspect_err(|e| {
            dev_err!(
                self.pdev,
                "controller did not become {}: {:?}\n",
                if wanted { "ready" } else { "idle" },
                e
            )
        })?;
        // The firmware may leave this set until the change is complete. Starting the controller is
        // what clears it if it stopped with it.
        if wanted && csts.cfs() {
            dev_err!(self.pdev, "controller reports a fatal error\n");
            return Err(EIO);
        }
        Ok(())
    }

    /// Returns whether the controller is told to run. The device may clear that from inside.
    pub(crate) fn is_enabled(&self) -> bool {
        (&self.registers).read(CC).en()
    }

    /// Stops the controller. When this succeeds, the device does not access memory any more.
    ///
    /// # Errors
    ///
    /// See [`Controller::wait_ready`].
    pub(crate) fn disable(&self) -> Result {
        self.stop(ResetKind::Controller)
    }

    /// Stops the controller in the way that `kind` says; see [`Controller::disable`].
    ///
    /// Takes no longer than [`Controller::ready_timeout`], however it is done.
    pub(crate) fn stop(&self, kind: ResetKind) -> Result {
        self.status()?;
        let timeout = self.ready_timeout();
        let begin = Instant::<Monotonic>::now();
        if kind == ResetKind::Subsystem {
            (&self.registers).write_reg(NSSR::MAGIC);
            self.wait_ready(false, timeout)?;
        }
        // After a subsystem reset the enable bit is still set.
        (&self.registers).update(CC, |cc| cc.with_en(false));
        let left = timeout - begin.elapsed();
        self.wait_ready(
            false,
            if left.is_negative() {
                Delta::ZERO
            } else {
                left
            },
        )
    }

    /// Starts the controller with its admin queue.
    ///
    /// Lets the device at memory only when it is known to be stopped: one that did not stop when it
    /// was cut off may still be about to write to memory that has another owner by now.
    ///
    /// Nothing but [`Controller::stop`] writes to CC from here on: the device may clear the enable
    /// bit at any moment, and what was read before would set it again.
    fn enable(&self) -> Result {
        let registers = &self.registers;
        if self.status()?.rdy() || registers.read(CC).en() {
            self.disable()?;
        }
        kapi::pci::set_master(self.pdev);
        self.admin.prepare(false)?;
        registers.write_reg(AQA::with_size(self.admin.size()));
        registers.try_write_reg(ASQ::from_raw(self.admin.sq_address()))?;
        registers.try_write_reg(ACQ::from_raw(self.admin.cq_address()))?;
        registers.update(CC, |cc| cc.with_entry_sizes().with_en(true));
        self.wait_ready(true, self.ready_timeout())?;
        self.admin.start();
        Ok(())
    }

    /// Brings the controller up to where it takes commands: admin queue, identity, I/O queues.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; the controller is in no defined state then and has to be stopped.
    pub(crate) fn bring_up(&self) -> Result {
        let cap = self.capability()?;
        self.ready_ms.store(cap.ready_timeout_ms(), Relaxed);
        self.enable()?;
        let identity = self.identify()?;
        self.settle_resources(identity.ctrl);
        let (control, fast) = self.queue_counts(identity.ctrl)?;
        if control.usable == 0 {
            // With its last resource a function loses its sessions.
            self.files.forget_sessions();
        }
        let split = self.vectors.as_ref().ok_or(EINVAL)?;
        let mqes = cap.max_entries();
        let until = Instant::now() + QUEUES_TIMEOUT;
        let (entries, vector) = (params::control_entries(), |i| split.control_vector(i));
        self.create_pool(
            &self.control,
            control.usable,
            (entries, mqes),
            vector,
            until,
        )?;
        // The last ones are for rings that look for completions themselves.
        let interrupting = match split.aes_vector(0) {
            Some(_) => fast
                .usable
                .saturating_sub(params::poll_queues())
                .max(fast.usable.min(1)),
            None => 0,
        };
        self.fast.set_interrupting(interrupting);
        let (entries, vector) = (params::aes_entries(), |i| self.aes_vector(split, i));
        self.create_pool(&self.fast, fast.usable, (entries, mqes), vector, until)?;

        let capabilities = self.capabilities_feature();
        self.gcm_workaround
            .store(capabilities.gcm_workaround, Relaxed);
        let mut entropy = [0; 32];
        random::fill(&mut entropy);
        let facts = Facts {
            firmware: (&self.registers).read(FWCAP),
            capabilities,
            version: (&self.registers).read(VS),
            resources: control.granted,
            control_queues: control.usable,
            fast_queues: fast.usable,
            recovery_bound_ms: u32::try_from(self.recovery_bound().as_millis())?,
        };
        // All-ones in these registers are no features.
        self.status()?;
        *self.info.lock() = Some(Info {
            identity,
            entropy,
            facts,
        });
        self.sysfs.queue();
        Ok(())
    }

    /// Returns the vector of fast-path queue `index`, if it raises interrupts.
    pub(crate) fn aes_vector(&self, split: &Split, index: u16) -> Option<u16> {
        split
            .aes_vector(index)
            .filter(|_| self.fast.interrupts(index))
    }

    fn create_pool<K: crate::queue::Kind>(
        &self,
        pool: &Pool<K>,
        count: u16,
        (entries, mqes): (u32, u16),
        vector: impl Fn(u16) -> Option<u16>,
        until: Instant<Monotonic>,
    ) -> Result {
        let size = ring::Size::clamped(entries, mqes).ok_or(EINVAL)?;
        for index in 0..count {
            let queue = pool.allocate(self.pdev.as_ref(), index, size)?;
            // Interrupts of the queue are served from here on.
            pool.activate(index + 1);
            self.create_queue(queue, vector(index), until)
                .inspect_err(|e| {
                    dev_err!(
                        self.pdev,
                        "queue {} was not created: {:?}\n",
                        queue.id().raw(),
                        e
                    )
                })?;
        }
        pool.activate(count);
        Ok(())
    }

    /// Stops accepting commands on every queue.
    pub(crate) fn stop_queues(&self) {
        self.control.all().for_each(Queue::stop);
        self.fast.all().for_each(Queue::stop);
        self.admin.stop();
    }

    /// Ends every command at the device: those that completed as what they are, the others as
    /// aborted. Returns the number of the latter.
    ///
    /// The device must have been stopped, or cut off from memory.
    pub(crate) fn end_all(&self) -> u64 {
        let control: u64 = self.control.all().map(|q| q.end_all(self).count).sum();
        let fast: u64 = self.fast.all().map(|q| q.end_all(self).count).sum();
        control + fast + self.admin.end_all(self).count
    }

    /// Makes the device forget its I/O queues, as far as it answers.
    pub(crate) fn delete_queues(&self) {
        let until = Instant::now() + admin::SETUP_TIMEOUT;
        for queue in self.fast.iter() {
            if self.delete_queue(queue, until).is_err() {
                return;
            }
        }
        for queue in self.control.iter() {
            if self.delete_queue(queue, until).is_err() {
                return;
            }
        }
    }

    /// Says what was found, for the log.
    pub(crate) fn announce(&self) {
        let Ok(Info {
            identity, facts, ..
        }) = self.info()
        else {
            return;
        };
        let vs = facts.version;
        dev_info!(
            self.pdev,
            "controller {}, firmware {}, interface {}.{}.{}, {} control and {} fast-path queues\n",
            identity.ctrl.0,
            identity.firmware.as_str(),
            vs.major().get(),
            vs.minor().get(),
            vs.tertiary().get(),
            self.control.active(),
            self.fast.active()
        );
        dev_info!(
            self.pdev,
            "a command takes at most {} ms, and {} ms more if it has to be recovered from\n",
            params::command_timeout().as_millis(),
            self.recovery_bound().as_millis()
        );
    }
}
