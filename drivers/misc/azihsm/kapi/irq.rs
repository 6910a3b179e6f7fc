// SPDX-License-Identifier: GPL-2.0

//! CPUs for interrupts.
//!
//! C headers: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    cpu::CpuId,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    irq::IrqRequest,
    prelude::*, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::{
        bindings,
        ffi::{
            c_int,
            c_uint, //
        },
    };

    unsafe extern "C" {
        pub(super) safe fn azihsm_num_online_cpus() -> c_uint;
        pub(super) fn azihsm_cpumask_of(cpu: c_uint) -> *const bindings::cpumask;
        pub(super) fn azihsm_dev_to_node(dev: *mut bindings::device) -> c_int;
    }
}

/// Returns the number of CPUs that are online right now. It is at least 1.
pub(crate) fn num_online_cpus() -> u32 {
    ffi::azihsm_num_online_cpus()
}

/// Returns the CPU that runs the current task, which may have moved by the time of the return.
///
/// For choices that are better made by CPU but right with any.
pub(crate) fn current_cpu() -> CpuId {
    CpuId::current()
}

/// Returns the `index`-th of the online CPUs, those close to `dev` first; starts over when there are
/// no more.
pub(crate) fn local_spread(dev: &Device, index: u32) -> Option<CpuId> {
    // CAST: `Device` is a transparent wrapper of `struct device`.
    let dev = core::ptr::from_ref(dev).cast_mut().cast();
    // SAFETY: `dev` is a valid device.
    let node = unsafe { ffi::azihsm_dev_to_node(dev) };
    // SAFETY: Any index is fine, and any node that a device may have.
    let cpu = unsafe { bindings::cpumask_local_spread(index, node) };

    CpuId::from_u32(cpu)
}

/// Sends an interrupt to one CPU, and tells user space that this is where it should go.
///
/// The interrupt is moved at once, or the next time it happens if the hardware does not allow more.
/// The administrator, or a program that balances interrupts, may move it again. If the CPU goes
/// offline, the kernel moves it.
///
/// Dropping it takes the hint back and leaves the interrupt where it is. That has to come before the
/// interrupt's handler is unregistered, which complains otherwise.
///
/// # Invariants
///
/// `irq` is an interrupt of a device that is bound for `'a`.
pub(crate) struct AffinityHint<'a> {
    irq: u32,
    _dev: PhantomData<&'a Device<Bound>>,
}

impl<'a> AffinityHint<'a> {
    /// Moves the interrupt of `request` to `cpu`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such interrupt; others if it cannot be moved.
    pub(crate) fn new(request: &IrqRequest<'a>, cpu: CpuId) -> Result<Self> {
        let irq = request.irq();

        // SAFETY: `cpu` is a valid CPU number.
        let mask = unsafe { ffi::azihsm_cpumask_of(cpu.as_u32()) };
        // SAFETY: `mask` is an entry of a constant table, valid for ever. The function checks `irq`.
        to_result(unsafe { bindings::__irq_apply_affinity_hint(irq, mask, true) })?;

        // INVARIANT: By the invariants of `IrqRequest`.
        Ok(Self {
            irq,
            _dev: PhantomData,
        })
    }
}

impl Drop for AffinityHint<'_> {
    fn drop(&mut self) {
        // SAFETY: Null takes the hint back. The function checks `irq`. An error would mean that the
        // interrupt is gone, and the hint with it.
        unsafe { bindings::__irq_apply_affinity_hint(self.irq, core::ptr::null(), false) };
    }
}
