// SPDX-License-Identifier: GPL-2.0

//! The query structure, which grows at its end.

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_TYPE,
        _IOWR, //
    },
    prelude::*, //
};

use super::MAGIC;

/// What driver and device can do.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes)]
pub(crate) struct Query {
    /// In: what the caller knows of the structure, out: what the driver knows, in bytes.
    pub(crate) size: u32,
    /// Must be 0.
    pub(crate) flags: u32,
    /// Version of the driver.
    pub(crate) driver_version: u32,
    /// See [`State`].
    pub(crate) state: u32,
    /// `FEATURE_*`.
    pub(crate) features: u32,
    /// Version of the register interface.
    pub(crate) interface_version: u32,
    /// Security version number of the firmware.
    pub(crate) svn: u64,
    /// Resources of the function.
    pub(crate) resources: u32,
    /// Sessions of the function.
    pub(crate) sessions: u32,
    /// Largest control request in bytes.
    pub(crate) cp_max_request: u32,
    /// Largest control response in bytes.
    pub(crate) cp_max_response: u32,
    /// Largest source of AES-GCM in bytes, 0 without a limit.
    pub(crate) gcm_max_len: u32,
    /// Largest source of AES-XTS in bytes, 0 without a limit.
    pub(crate) xts_max_len: u32,
    /// Largest AES data that is copied, in bytes.
    pub(crate) bounce_limit: u32,
    /// Interrupt vectors in use.
    pub(crate) vectors: u32,
    /// Control-path queues.
    pub(crate) cp_queues: u32,
    /// Those without interrupts.
    pub(crate) cp_queues_polled: u32,
    /// Entries of a control-path ring.
    pub(crate) cp_ring_entries: u32,
    /// Fast-path queues.
    pub(crate) fp_queues: u32,
    /// Those without interrupts.
    pub(crate) fp_queues_polled: u32,
    /// Entries of a fast-path ring.
    pub(crate) fp_ring_entries: u32,
    /// Time a command may take, in milliseconds.
    pub(crate) command_timeout_ms: u32,
    /// Time the controller may take to stop and start in a reset, in milliseconds.
    pub(crate) recovery_bound_ms: u32,
}

static_assert!(size_of::<Query>() == 96);
static_assert!(offset_of!(Query, svn) == 24);
static_assert!(offset_of!(Query, cp_max_request) == 40);
static_assert!(offset_of!(Query, bounce_limit) == 56);
static_assert!(offset_of!(Query, recovery_bound_ms) == 92);

/// States of the controller, as they stand in `state`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Commands run.
    Ready = 0,
    /// The controller is being reset.
    Recovering = 1,
    /// A reset failed.
    Dead = 2,
}

impl Query {
    /// The firmware corrects AES-GCM for unaligned AAD and text.
    pub(crate) const FEATURE_GCM_WORKAROUND: u32 = 1 << 0;
    /// The device can be migrated.
    pub(crate) const FEATURE_LIVE_MIGRATION: u32 = 1 << 1;
    /// `svn` means something.
    pub(crate) const FEATURE_SVN: u32 = 1 << 2;
    /// The driver takes commands through io_uring.
    pub(crate) const FEATURE_URING: u32 = 1 << 3;

    /// Size of the first version of the structure, in bytes.
    pub(crate) const SIZE_VER0: u32 = 96;
    /// Largest size that is looked at, in bytes.
    pub(crate) const SIZE_MAX: u32 = 4096;
}

/// Queries driver and device.
pub(crate) const IOC_QUERY: u32 = _IOWR::<Query>(MAGIC, 0x20);

static_assert!(IOC_QUERY == 0xc060_4220);

/// Returns whether `cmd` is the query ioctl of this or another version of the structure.
pub(crate) fn is_query(cmd: u32) -> bool {
    _IOC_TYPE(cmd) == MAGIC
        && _IOC_NR(cmd) == _IOC_NR(IOC_QUERY)
        && _IOC_DIR(cmd) == _IOC_DIR(IOC_QUERY)
}

#[kunit_tests(azihsm_uapi_query)]
mod tests {
    use super::*;

    #[test]
    fn the_size_in_the_number_does_not_count() {
        assert!(is_query(IOC_QUERY));
        assert!(is_query(_IOWR::<[u64; 20]>(MAGIC, 0x20)));
        assert!(!is_query(_IOWR::<Query>(MAGIC, 0x21)));
        assert!(!is_query(_IOWR::<Query>(MAGIC - 1, 0x20)));
        assert!(!is_query(kernel::ioctl::_IOR::<Query>(MAGIC, 0x20)));
    }
}
