// SPDX-License-Identifier: GPL-2.0

//! Registers of the controller (BAR0) and doorbells (BAR2).

use kernel::{
    io::{
        register,
        register::{
            Array,
            RegisterArrayLoc, //
        }, //
    },
    prelude::*,
    time::Delta, //
};

use crate::wire::{
    QueueId,
    MAX_QUEUES, //
};

/// Length of BAR0, BAR2 and BAR4 in bytes.
pub(crate) const BAR_LEN: usize = 4096;

register! {
    /// Controller capabilities.
    pub(crate) CAP(u64) @ 0x00 {
        /// Largest queue size, 0-based.
        15:0 mqes;
        /// Queues must be physically contiguous.
        16:16 cqr;
        /// Time until a change of `CC.EN` takes effect, in units of 500 ms.
        31:24 to;
        /// Doorbell stride; the doorbells are where they are whatever this says.
        35:32 dstrd;
        /// Subsystem reset supported.
        36:36 ssrs;
    }

    /// Version of the register interface.
    pub(crate) VS(u32) @ 0x08 {
        31:16 major;
        15:8 minor;
        7:0 tertiary;
    }

    /// Controller configuration.
    pub(crate) CC(u32) @ 0x14 {
        /// log2 of the size of fast-path completion entries.
        31:28 fp_iocqes;
        /// log2 of the size of fast-path submission entries.
        27:24 fp_iosqes;
        /// log2 of the size of control-path completion entries.
        23:20 cp_iocqes;
        /// log2 of the size of control-path submission entries.
        19:16 cp_iosqes;
        /// Enable.
        0:0 en => bool;
    }

    /// Firmware capabilities.
    pub(crate) FWCAP(u32) @ 0x18 {
        /// Security version number present in Identify.
        1:1 svn => bool;
        /// Live migration.
        0:0 live_migration => bool;
    }

    /// Controller status.
    pub(crate) CSTS(u32) @ 0x1c {
        /// Subsystem reset occurred.
        4:4 nssro => bool;
        /// Fatal error. Means something only once `rdy` has the wanted value.
        1:1 cfs => bool;
        /// Ready.
        0:0 rdy => bool;
    }

    /// Subsystem reset of this function.
    pub(crate) NSSR(u32) @ 0x20 {
        31:0 value;
    }

    /// Admin queue sizes, 0-based.
    pub(crate) AQA(u32) @ 0x24 {
        31:16 acqs;
        15:0 asqs;
    }

    /// Bus address of the admin submission ring.
    pub(crate) ASQ(u64) @ 0x28 {
        63:0 base;
    }

    /// Bus address of the admin completion ring.
    pub(crate) ACQ(u64) @ 0x30 {
        63:0 base;
    }
}

register! {
    /// Doorbell: new tail of a submission queue.
    pub(crate) SQ_TAIL(u32)[512, stride = 8] @ 0x00 {
        15:0 index;
    }

    /// Doorbell: new head of a completion queue.
    pub(crate) CQ_HEAD(u32)[512, stride = 8] @ 0x04 {
        15:0 index;
    }
}

// Every queue id has its doorbells, and all of them lie in the BAR.
static_assert!(MAX_QUEUES == 512);
static_assert!(MAX_QUEUES * 8 == BAR_LEN);

/// Returns the location of the tail doorbell of submission queue `id`.
pub(crate) fn sq_tail(id: QueueId) -> Option<RegisterArrayLoc<SQ_TAIL>> {
    SQ_TAIL::try_at(usize::from(id.raw()))
}

/// Returns the location of the head doorbell of completion queue `id`.
pub(crate) fn cq_head(id: QueueId) -> Option<RegisterArrayLoc<CQ_HEAD>> {
    CQ_HEAD::try_at(usize::from(id.raw()))
}

impl CAP {
    /// Shortest time to wait for a change of state, for devices that report nonsense.
    const MIN_TIMEOUT_MS: i64 = 1_000;
    /// Longest time to wait for a change of state, for devices that report nonsense.
    const MAX_TIMEOUT_MS: i64 = 30_000;

    /// Returns how long the controller may take to become ready or to stop.
    pub(crate) fn ready_timeout(self) -> Delta {
        // CAST: An 8-bit field fits.
        let units = self.to().get() as i64;
        Delta::from_millis(((units + 1) * 500).clamp(Self::MIN_TIMEOUT_MS, Self::MAX_TIMEOUT_MS))
    }

    /// Returns the largest queue size, 0-based.
    pub(crate) fn max_entries(self) -> u16 {
        // CAST: A 16-bit field fits.
        self.mqes().get() as u16
    }
}

impl CC {
    /// Sets the entry sizes of the queues that the driver creates.
    pub(crate) fn with_entry_sizes(self) -> Self {
        self.with_const_cp_iosqes::<6>()
            .with_const_cp_iocqes::<4>()
            .with_const_fp_iosqes::<7>()
            .with_const_fp_iocqes::<6>()
    }
}

impl CSTS {
    /// Returns whether the function no longer answers.
    pub(crate) fn is_gone(self) -> bool {
        self.into_raw() == u32::MAX
    }
}

impl NSSR {
    /// The value that starts the reset, "NVMe".
    pub(crate) const MAGIC: Self = Self::from_raw(0x4e56_4d65);
}

impl AQA {
    /// Returns the register value for admin rings of `size` entries each.
    pub(crate) fn with_size(size: crate::ring::Size) -> Self {
        let last = u32::from(size.zero_based());
        Self::from_raw(last << 16 | last)
    }
}
