// SPDX-License-Identifier: GPL-2.0

//! Mirrors of the management interface.

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    ioctl::_IOWR,
    prelude::*, //
};

use super::DevInfo;

/// ioctl type of the management node.
// CAST: A character of ASCII.
const MAGIC: u32 = b'A' as u32;

/// Number of resources of a virtual function.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct ResCnt {
    /// Size of the structure in bytes.
    pub(crate) argsz: u32,
    /// Virtual function, counted from 0.
    pub(crate) vf_idx: u16,
    /// Number of resources: given to set, and answered to get.
    pub(crate) res_cnt: u16,
    /// See [`Status`].
    pub(crate) status: u32,
}

/// Number of virtual functions.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct VfCount {
    /// Size of the structure in bytes.
    pub(crate) argsz: u32,
    /// Number of virtual functions that exist.
    pub(crate) vf_count: u16,
    pad: u16,
}

impl VfCount {
    /// Bytes of the structure that are transferred: all but the padding at its end.
    pub(crate) const LEN: usize = offset_of!(Self, pad);
}

/// Results of [`IOC_SET_RES_CNT`] and [`IOC_GET_RES_CNT`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Success.
    Ok = 0,
    /// There are no virtual functions.
    NoVfs = 1,
    /// There is no virtual function with this number.
    VfIndex = 2,
    /// The device did not set the number of resources.
    SetFailed = 4,
    /// The device did not say the number of resources.
    GetFailed = 7,
}

user_struct! {
    ResCnt: 12,
    VfCount: 8,
}

static_assert!(offset_of!(ResCnt, vf_idx) == 4);
static_assert!(offset_of!(ResCnt, res_cnt) == 6);
static_assert!(offset_of!(ResCnt, status) == 8);
static_assert!(offset_of!(VfCount, vf_count) == 4);
static_assert!(VfCount::LEN == 6);

/// Sets the number of resources of a virtual function.
pub(crate) const IOC_SET_RES_CNT: u32 = _IOWR::<ResCnt>(MAGIC, 0x02);
/// Returns the number of resources of a virtual function.
pub(crate) const IOC_GET_RES_CNT: u32 = _IOWR::<ResCnt>(MAGIC, 0x03);
/// Returns the number of virtual functions.
pub(crate) const IOC_VF_COUNT: u32 = _IOWR::<VfCount>(MAGIC, 0x04);
/// Returns device information.
pub(crate) const IOC_DEV_INFO: u32 = _IOWR::<DevInfo>(MAGIC, 0x05);

static_assert!(IOC_SET_RES_CNT == 0xc00c_4102);
static_assert!(IOC_GET_RES_CNT == 0xc00c_4103);
static_assert!(IOC_VF_COUNT == 0xc008_4104);
static_assert!(IOC_DEV_INFO == 0xc0b0_4105);
