// SPDX-License-Identifier: GPL-2.0

//! What sysfs shows of a function: the folder `azihsm` of the PCI device.
//!
//! Files and formats are those of
//! [`Documentation/ABI/testing/sysfs-driver-azihsm`](srctree/Documentation/ABI/testing/sysfs-driver-azihsm).
//! There is a folder for each queue that exists at the device: a work item makes them follow when a
//! reset of the controller changed their number.

use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::Relaxed,
        Mutex, //
    }, //
};

use crate::{
    aes::Fast,
    control::Control,
    controller::Controller,
    kapi::{
        sysfs::{
            Attribute,
            Folder,
            Page,
            Registration, //
        },
        work, //
    },
    log::dev_warn,
    pool::Pool,
    queue::{
        Kind,
        Queue, //
    },
    stats::Counters,
    wire, //
};

/// Writes a number in the way of the files in `admin/` and `global/`: 32 bits, no newline.
fn number(page: &mut Page<'_>, value: u64) -> fmt::Result {
    // CAST: The files show 32 bits with a sign.
    fmt::Write::write_fmt(page, fmt!("{}", value as i32))
}

/// Writes a number in the way of the files of a queue.
fn line(page: &mut Page<'_>, value: u64) -> fmt::Result {
    // CAST: The files show 32 bits with a sign.
    fmt::Write::write_fmt(page, fmt!("{}\n", value as i32))
}

/// Writes a number of 64 bits.
fn long(page: &mut Page<'_>, value: u64) -> fmt::Result {
    fmt::Write::write_fmt(page, fmt!("{}\n", value))
}

/// `azihsm/`
struct Top;

impl Folder for Top {
    type Data<'a> = ();
    const ATTRIBUTES: &'static [Attribute<Self>] = &[];
}

/// `azihsm/admin/`
struct Admin;

impl Folder for Admin {
    type Data<'a> = Controller<'a>;
    const ATTRIBUTES: &'static [Attribute<Self>] = &[
        Attribute::new(c"num_cpqs_created", |controller, page| {
            number(page, controller.control.active() as u64)
        }),
        Attribute::new(c"num_fpqs_created", |controller, page| {
            number(page, controller.fast.active() as u64)
        }),
        Attribute::new(c"num_q_delete_cmds", |controller, page| {
            number(page, controller.total(|counters| counters.resets))
        }),
    ];
}

/// `azihsm/global/`
struct Global;

impl Folder for Global {
    type Data<'a> = Controller<'a>;
    const ATTRIBUTES: &'static [Attribute<Self>] = &[
        Attribute::new(c"total_error_completions", |controller, page| {
            number(page, controller.total(|counters| counters.failed))
        }),
        Attribute::new(c"total_submissions", |controller, page| {
            number(page, controller.total(|counters| counters.submitted))
        }),
        Attribute::new(c"total_completions", |controller, page| {
            number(page, controller.total(|counters| counters.completed))
        }),
        Attribute::new(c"total_lvl2_aborts", |controller, page| {
            number(page, controller.recovery.resets())
        }),
        Attribute::new(c"total_cmds_aborted", |controller, page| {
            number(page, controller.total(|counters| counters.aborted))
        }),
        Attribute::new(c"total_lvl1_aborts", |controller, page| {
            number(page, controller.total(|counters| counters.resets))
        }),
        // Not in version 3.
        Attribute::new(c"total_session_mismatches", |controller, page| {
            number(page, controller.recovery.mismatches.load(Relaxed))
        }),
    ];
}

/// `azihsm/cp_sq<id>/` and `azihsm/fp_sq<id>/`
struct OfQueue<K>(core::marker::PhantomData<K>);

/// Makes an attribute out of a counter of a queue.
macro_rules! counter {
    ($name:literal, $write:ident, $($field:tt)+) => {
        Attribute::new($name, |queue, page| $write(page, queue.counters().$($field)+))
    };
}

impl<K: Kind> Folder for OfQueue<K> {
    type Data<'a> = Queue<K>;
    const ATTRIBUTES: &'static [Attribute<Self>] = &[
        Attribute::new(c"num_cmds_pending_in_hw", |queue, page| {
            line(page, queue.in_flight() as u64)
        }),
        counter!(c"num_level1_aborts", line, resets),
        counter!(c"min_time_to_complete_io", line, latency.min()),
        counter!(c"max_time_to_complete_io", line, latency.max()),
        counter!(c"avg_time_to_complete_io", line, latency.average()),
        counter!(c"total_ios_in_error", line, failed),
        counter!(c"total_ios_submitted_to_hw", line, submitted),
        counter!(c"total_ios_completed_by_hw", line, completed),
        counter!(c"total_ios_timedout", line, timed_out),
        Attribute::new(c"completions_per_sec", |queue, page| {
            long(page, queue.completions_per_second())
        }),
        // Not in version 3.
        counter!(c"total_ios_aborted", long, aborted),
        counter!(c"stale_completions", long, stale),
        counter!(c"bad_sq_heads", long, bad_heads),
        counter!(c"missed_interrupts", long, missed),
        counter!(c"bytes_copied", long, usage.bytes_copied),
        counter!(c"pages_pinned", long, usage.pages_pinned),
        counter!(c"data_descriptors", long, usage.descriptors),
        counter!(c"dma_mappings", long, usage.mappings),
    ];
}

impl Controller<'_> {
    /// Returns the sum of a counter over all queues that there ever were, the admin queue included.
    fn total(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        let control: u64 = self.control.all().map(|q| counter(&q.counters())).sum();
        let fast: u64 = self.fast.all().map(|q| counter(&q.counters())).sum();
        control + fast + counter(&self.admin.counters())
    }
}

/// Folders of the queues.
#[derive(Default)]
struct Queues<'a> {
    control: KVec<Registration<'a, OfQueue<Control>>>,
    fast: KVec<Registration<'a, OfQueue<Fast>>>,
}

/// Makes the folders of queues follow the queues.
struct Follow<'a> {
    // Fields are dropped in this order: what is in a folder goes before it.
    queues: Pin<KBox<Mutex<Queues<'a>>>>,
    _admin: Registration<'a, Admin>,
    _global: Registration<'a, Global>,
    top: Registration<'a, Top>,
    controller: &'a Controller<'a>,
}

impl<'a> Follow<'a> {
    fn follow(&self) -> Result {
        let mut queues = self.queues.lock();
        let Queues { control, fast } = &mut *queues;
        self.follow_pool(&self.controller.control, control)?;
        self.follow_pool(&self.controller.fast, fast)
    }

    fn follow_pool<K: Kind>(
        &self,
        pool: &'a Pool<K>,
        folders: &mut KVec<Registration<'a, OfQueue<K>>>,
    ) -> Result
    where
        Queue<K>: Sync,
    {
        let wanted = pool.active();
        while folders.len() > wanted {
            folders.pop();
        }
        for queue in pool.all().take(wanted).skip(folders.len()) {
            let kind = match K::CLASS {
                wire::Class::Control => "cp",
                _ => "fp",
            };
            let name = CString::try_from_fmt(fmt!("{kind}_sq{}", queue.id().raw()))?;
            folders.reserve(1, GFP_KERNEL)?;
            // SAFETY: `Follow` owns the folder, and is not leaked by the contract of `Tree::new`.
            let folder = unsafe { Registration::new(&self.top, &name, queue)? };
            folders.push(folder, GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl work::Handler for Follow<'_> {
    fn run(&self) {
        if let Err(e) = self.follow() {
            dev_warn!(
                self.controller.pdev,
                "statistics of some queues are not shown: {:?}\n",
                e
            );
        }
    }
}

/// The folder of a function; dropping it removes it.
pub(crate) struct Tree<'bound> {
    _follow: work::Armed<'bound, Follow<'bound>>,
}

impl<'bound> Tree<'bound> {
    /// Makes the folder, with that of all queues.
    ///
    /// # Safety
    ///
    /// The result must not be leaked.
    pub(crate) unsafe fn new(controller: &'bound Controller<'bound>) -> Result<Self> {
        let dev = controller.pdev.as_ref();
        // SAFETY: The caller does not leak `Self`, which owns the folder.
        let top = unsafe { Registration::new(dev, c"azihsm", &())? };
        // SAFETY: As above.
        let admin = unsafe { Registration::new(&top, c"admin", controller)? };
        // SAFETY: As above.
        let global = unsafe { Registration::new(&top, c"global", controller)? };
        let follow = Follow {
            queues: KBox::pin_init(new_mutex!(Queues::default(), "azihsm_sysfs"), GFP_KERNEL)?,
            _admin: admin,
            _global: global,
            top,
            controller,
        };
        follow.follow()?;
        // SAFETY: As above.
        let follow = unsafe { work::Armed::new(&controller.sysfs, follow)? };
        Ok(Self { _follow: follow })
    }
}
