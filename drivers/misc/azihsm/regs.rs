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
    prelude::*, //
};

use crate::{
    ring::Size,
    wire::{
        QueueId,
        MAX_QUEUES, //
    },
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
static_assert!(MAX_QUEUES as usize * 8 == BAR_LEN);

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
    const MIN_TIMEOUT_MS: u32 = 1_000;
    /// Longest time to wait for a change of state, for devices that report nonsense.
    pub(crate) const MAX_TIMEOUT_MS: u32 = 30_000;

    /// Returns how many milliseconds the controller may take to become ready or to stop.
    pub(crate) fn ready_timeout_ms(self) -> u32 {
        let units = u32::from(u8::from(self.to()));
        ((units + 1) * 500).clamp(Self::MIN_TIMEOUT_MS, Self::MAX_TIMEOUT_MS)
    }

    /// Returns the largest queue size, 0-based.
    pub(crate) fn max_entries(self) -> u16 {
        self.mqes().into()
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
    pub(crate) fn with_size(size: Size) -> Self {
        let last = u32::from(size.zero_based());
        Self::from_raw(last << 16 | last)
    }
}

#[kunit_tests(azihsm_regs)]
mod tests {
    use super::*;

    #[test]
    fn doorbells_lie_in_the_bar() {
        use kernel::io::{
            IoLoc,
            Region, //
        };

        fn offset<T>(loc: Option<RegisterArrayLoc<T>>) -> Option<usize>
        where
            T: register::RegisterArray,
        {
            loc.map(|loc| IoLoc::<Region<BAR_LEN>, T>::offset(loc))
        }

        assert_eq!(offset(sq_tail(QueueId::ADMIN)), Some(0x000));
        assert_eq!(offset(cq_head(QueueId::ADMIN)), Some(0x004));
        assert_eq!(
            QueueId::control(0).and_then(|id| offset(sq_tail(id))),
            Some(0x008)
        );
        assert_eq!(
            QueueId::control(0).and_then(|id| offset(cq_head(id))),
            Some(0x00c)
        );
        assert_eq!(
            QueueId::aes(0).and_then(|id| offset(sq_tail(id))),
            Some(0x800)
        );
        assert_eq!(
            QueueId::aes(0).and_then(|id| offset(cq_head(id))),
            Some(0x804)
        );
        assert_eq!(
            QueueId::aes(255).and_then(|id| offset(sq_tail(id))),
            Some(0xff8)
        );
        assert_eq!(
            QueueId::aes(255).and_then(|id| offset(cq_head(id))),
            Some(0xffc)
        );
    }

    #[test]
    fn timeout_is_sane() {
        let millis = |to: u64| CAP::from_raw(to << 24).ready_timeout_ms();
        assert_eq!(millis(20), 10_500);
        assert_eq!(millis(0), 1_000);
        assert_eq!(millis(255), 30_000);
        assert_eq!(CAP::from_raw(u64::MAX).ready_timeout_ms(), 30_000);
    }

    #[test]
    fn capabilities_are_where_the_device_puts_them() {
        let cap = CAP::from_raw(0x0000_0030_1403_03ff);
        assert_eq!(cap.max_entries(), 1023);
        assert_eq!(u8::from(cap.to()), 20);
        assert_eq!(u8::from(cap.ssrs()), 1);
        assert_eq!(u8::from(cap.dstrd()), 0);
    }

    #[test]
    fn entry_sizes_keep_the_rest() {
        let cc = CC::from_raw(0x0000_0001).with_entry_sizes();
        assert_eq!(cc.into_raw(), 0x6746_0001);
        assert_eq!(
            CC::from_raw(0xffff_ffff).with_entry_sizes().into_raw(),
            0x6746_ffff
        );
        assert!(cc.en());
    }

    #[test]
    fn status_of_a_gone_function() {
        assert!(CSTS::from_raw(0xffff_ffff).is_gone());
        assert!(!CSTS::from_raw(0xffff_fffe).is_gone());
        assert!(!CSTS::from_raw(0x0000_0003).is_gone());
        assert!(CSTS::from_raw(0x0000_0001).rdy());
        assert!(!CSTS::from_raw(0x0000_0001).cfs());
        assert!(CSTS::from_raw(0x0000_0002).cfs());
        assert!(CSTS::from_raw(0x0000_0010).nssro());
    }

    #[test]
    fn magic_and_admin_sizes() {
        assert_eq!(NSSR::MAGIC.into_raw().to_be_bytes(), *b"NVMe");
        assert_eq!(
            Size::new(16).map(|size| AQA::with_size(size).into_raw()),
            Some(0x000f_000f)
        );
        assert_eq!(
            Size::new(0x2001).map(|size| AQA::with_size(size).into_raw()),
            Some(0x2000_2000)
        );
    }
}
