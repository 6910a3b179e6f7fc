// SPDX-License-Identifier: GPL-2.0

//! CPUs for interrupts, and interrupts that are held back.
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

/// An interrupt that can be held back.
///
/// # Invariants
///
/// `irq` is an interrupt of a device that is bound for `'a`.
pub(crate) struct Line<'a> {
    irq: u32,
    _dev: PhantomData<&'a Device<Bound>>,
}

impl<'a> Line<'a> {
    /// Names the interrupt of `request`.
    ///
    /// Holding it back takes effect at the device at once, not only when the next one arrives.
    pub(crate) fn new(request: &IrqRequest<'a>) -> Self {
        let irq = request.irq();
        // CAST: A small positive constant.
        // SAFETY: The function checks `irq`. The flag goes with the handler.
        unsafe { bindings::irq_modify_status(irq, 0, bindings::IRQ_DISABLE_UNLAZY as c_ulong) };
        // INVARIANT: By the invariants of `IrqRequest`.
        Self {
            irq,
            _dev: PhantomData,
        }
    }

    /// Holds the interrupt back until the result is dropped. Callable in any context, also by the
    /// handler of the interrupt, which may run once more on another CPU.
    ///
    /// No interrupt is lost: a device whose vector is masked keeps in its pending bit that there was
    /// a message, and sends it when the vector is unmasked (PCI Local Bus Specification 3.0,
    /// 6.8.2.9, for MSI-X). One that was on its way when the vector was masked is kept by the kernel
    /// and handled then.
    pub(crate) fn mask(&self) -> Masked<'a> {
        // SAFETY: The function checks `irq`.
        unsafe { bindings::disable_irq_nosync(self.irq) };
        // INVARIANT: By our own, and just disabled.
        Masked {
            irq: self.irq,
            _dev: PhantomData,
        }
    }
}

/// An interrupt that is held back until this is dropped, which may be in any context.
///
/// It has to be dropped before the handler of the interrupt is unregistered: the kernel complains
/// otherwise.
///
/// # Invariants
///
/// `irq` is an interrupt of a device that is bound for `'a`, and was disabled once for `self`.
pub(crate) struct Masked<'a> {
    irq: u32,
    _dev: PhantomData<&'a Device<Bound>>,
}

impl Drop for Masked<'_> {
    fn drop(&mut self) {
        // SAFETY: The function checks `irq`, which by the type invariants was disabled. Message
        // signalled interrupts have no bus lock, so that this may be done in any context.
        unsafe { bindings::enable_irq(self.irq) };
    }
}
