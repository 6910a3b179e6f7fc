// SPDX-License-Identifier: GPL-2.0

//! Single Root I/O Virtualization: the virtual functions of a physical one.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use kernel::{
    bindings,
    device::Core,
    error::to_result,
    pci,
    prelude::*, //
};

use super::as_raw;

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::{
        bindings,
        ffi::c_int, //
    };

    // Inline functions in a kernel without `CONFIG_PCI_IOV`.
    unsafe extern "C" {
        pub(super) fn azihsm_pci_enable_sriov(pdev: *mut bindings::pci_dev, num: c_int) -> c_int;
        pub(super) fn azihsm_pci_disable_sriov(pdev: *mut bindings::pci_dev);
        pub(super) fn azihsm_pci_num_vf(pdev: *mut bindings::pci_dev) -> c_int;
        pub(super) fn azihsm_pci_vfs_assigned(pdev: *mut bindings::pci_dev) -> c_int;
    }
}

/// Returns whether the device is a physical function: whether it has the SR-IOV capability, be it in
/// use or not.
pub(crate) fn is_physfn(pdev: &pci::Device) -> bool {
    // CAST: A small positive constant.
    const SRIOV: c_int = bindings::PCI_EXT_CAP_ID_SRIOV as c_int;

    // SAFETY: The device is valid.
    unsafe { bindings::pci_find_ext_capability(as_raw(pdev), SRIOV) != 0 }
}

/// Returns the number of virtual functions that exist.
///
/// Whoever does not hold the device lock has to expect that it changes at any time.
pub(crate) fn num_vf(pdev: &pci::Device) -> u16 {
    // SAFETY: The device is valid.
    let num = unsafe { ffi::azihsm_pci_num_vf(as_raw(pdev)) };
    u16::try_from(num).unwrap_or(0)
}

/// Returns how many of the virtual functions are in use by guests.
///
/// Only hypervisors that mark them (as Xen does) are known here.
pub(crate) fn vfs_assigned(pdev: &pci::Device<Core<'_>>) -> u32 {
    // SAFETY: The device is valid.
    let num = unsafe { ffi::azihsm_pci_vfs_assigned(as_raw(pdev)) };
    u32::try_from(num).unwrap_or(0)
}

/// Creates `num` virtual functions. Drivers are bound to them before this returns, unless the
/// administrator has turned that off.
///
/// # Errors
///
/// `ENODEV` if the kernel has no support for it, `EBUSY` if there are virtual functions already, and
/// others of `pci_enable_sriov()`.
pub(crate) fn enable_sriov(pdev: &pci::Device<Core<'_>>, num: u32) -> Result {
    let num = c_int::try_from(num)?;
    // SAFETY: The device is valid, and the context says that its lock is held.
    to_result(unsafe { ffi::azihsm_pci_enable_sriov(as_raw(pdev), num) })
}

/// Removes all virtual functions, unbinding their drivers. Sleeps for at least one second.
///
/// None of them may be [assigned](vfs_assigned) to a guest.
///
/// Who configures or removes the physical function holds `pci_rescan_remove_lock`, and who unbinds
/// its driver does not. The driver cannot tell which it is, so it neither takes the lock nor checks
/// it; with lockdep the PCI core warns where the driver is unbound.
pub(crate) fn disable_sriov(pdev: &pci::Device<Core<'_>>) {
    // SAFETY: The device is valid, and the context says that its lock is held.
    unsafe { ffi::azihsm_pci_disable_sriov(as_raw(pdev)) };
}
