// SPDX-License-Identifier: GPL-2.0

//! What [`kernel::pci`] lacks: optional callbacks, disabling a device, bus mastering, saved
//! configuration, SR-IOV.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

mod sriov;

pub(crate) use self::sriov::{
    disable_sriov,
    enable_sriov,
    is_physfn,
    num_vf,
    vfs_assigned, //
};

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        CoreInternal, //
    },
    driver,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    pci,
    prelude::*,
    types::Opaque, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) fn azihsm_pci_restore_msix(pdev: *mut bindings::pci_dev) -> bool;
    }
}

/// What an error did to the link to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelState {
    /// The link works.
    Normal,
    /// Accesses to the device are blocked.
    Frozen,
    /// The device is lost.
    PermanentFailure,
}

impl ChannelState {
    /// Converts from the C value. What is not known is taken for the worst.
    fn from_raw(state: bindings::pci_channel_state_t) -> Self {
        match state {
            bindings::pci_channel_io_normal => Self::Normal,
            bindings::pci_channel_io_frozen => Self::Frozen,
            _ => Self::PermanentFailure,
        }
    }
}

/// What a driver answers when it is asked how to recover from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It may recover without a reset.
    CanRecover,
    /// The link must be reset.
    NeedReset,
    /// The device is given up.
    Disconnect,
    /// The device has recovered.
    Recovered,
}

impl Recovery {
    /// Converts to the C value.
    fn into_raw(self) -> bindings::pci_ers_result_t {
        match self {
            Self::CanRecover => bindings::pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER,
            Self::NeedReset => bindings::pci_ers_result_PCI_ERS_RESULT_NEED_RESET,
            Self::Disconnect => bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT,
            Self::Recovered => bindings::pci_ers_result_PCI_ERS_RESULT_RECOVERED,
        }
    }
}

/// Optional callbacks of a PCI driver.
///
/// The PCI core calls all of them with the device lock held, for a device the driver is bound to. So
/// none runs during probe or unbind, and none may wait for something that takes that lock.
#[vtable]
pub(crate) trait Callbacks: pci::Driver {
    /// Called when the machine goes down or reboots, or a new kernel is started: makes the device
    /// stop all DMA and interrupts.
    fn shutdown<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the administrator asks for `num_vfs` virtual functions, 0 for none. Returns how
    /// many there are now.
    fn sriov_configure<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
        _num_vfs: u32,
    ) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when an error was found on the link to the device. Returns what to do about it.
    ///
    /// In state [`ChannelState::Normal`] the device can be accessed, otherwise it cannot. Without
    /// this callback the kernel does not try to recover, and the others below are not called but for
    /// the last two.
    fn error_detected<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
        _state: ChannelState,
    ) -> Recovery {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called if no driver on the link asked for a reset, when the device can be accessed again.
    fn mmio_enabled<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) -> Recovery {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called after the link was reset, to bring the device back.
    fn slot_reset<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) -> Recovery {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when recovery succeeded, to go on with normal work.
    fn resume<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called before the function is reset by somebody else, like the administrator.
    fn reset_prepare<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called after that reset, with the configuration space restored.
    fn reset_done<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the machine goes to sleep, or an image of it is made: makes the device stop all
    /// DMA and interrupts. User space is frozen.
    fn sleep<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the machine wakes up, or the image was made, with the configuration space
    /// restored. The device may have lost all its state.
    fn wake<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        _this: Pin<&<Self as pci::Driver>::Data<'bound>>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// An adapter for the registration of PCI drivers with [`Callbacks`].
///
/// To be used in place of [`pci::Adapter`], which does most of the work.
pub(crate) struct Adapter<T: Callbacks>(PhantomData<T>);

// SAFETY:
// - `bindings::pci_driver` is a C type declared as `repr(C)`.
// - `T::Data` is the type of the driver's device private data.
// - `struct pci_driver` embeds a `struct device_driver`.
// - `DEVICE_DRIVER_OFFSET` is the correct byte offset to the embedded `struct device_driver`.
unsafe impl<T: Callbacks> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = core::mem::offset_of!(Self::DriverType, driver);
}

// SAFETY: Registration is that of `pci::Adapter<T>`, which fulfils the requirements.
unsafe impl<T: Callbacks> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        pdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let raw = pdrv.get();

        if T::HAS_SHUTDOWN {
            // SAFETY: The driver is not registered yet, so that its fields can be set.
            unsafe { (*raw).shutdown = Some(Self::shutdown_callback) };
        }
        if T::HAS_SRIOV_CONFIGURE {
            // SAFETY: As above.
            unsafe { (*raw).sriov_configure = Some(Self::sriov_configure_callback) };
        }
        if Self::HAS_ERROR_HANDLERS {
            // SAFETY: As above.
            unsafe { (*raw).err_handler = &Self::ERROR_HANDLERS };
        }
        if T::HAS_SLEEP || T::HAS_WAKE {
            // SAFETY: As above.
            unsafe { (*raw).driver.pm = &Self::POWER_MANAGEMENT };
        }

        // SAFETY: The requirements are the same.
        unsafe { <pci::Adapter<T> as driver::RegistrationOps>::register(pdrv, name, module) }
    }

    unsafe fn unregister(pdrv: &Opaque<Self::DriverType>) {
        // SAFETY: The requirements are the same.
        unsafe { <pci::Adapter<T> as driver::RegistrationOps>::unregister(pdrv) }
    }
}

impl<T: Callbacks> Adapter<T> {
    const HAS_ERROR_HANDLERS: bool = T::HAS_ERROR_DETECTED
        || T::HAS_MMIO_ENABLED
        || T::HAS_SLOT_RESET
        || T::HAS_RESUME
        || T::HAS_RESET_PREPARE
        || T::HAS_RESET_DONE;

    const ERROR_HANDLERS: bindings::pci_error_handlers = bindings::pci_error_handlers {
        error_detected: if T::HAS_ERROR_DETECTED {
            Some(Self::error_detected_callback)
        } else {
            None
        },
        mmio_enabled: if T::HAS_MMIO_ENABLED {
            Some(Self::mmio_enabled_callback)
        } else {
            None
        },
        slot_reset: if T::HAS_SLOT_RESET {
            Some(Self::slot_reset_callback)
        } else {
            None
        },
        resume: if T::HAS_RESUME {
            Some(Self::resume_callback)
        } else {
            None
        },
        reset_prepare: if T::HAS_RESET_PREPARE {
            Some(Self::reset_prepare_callback)
        } else {
            None
        },
        reset_done: if T::HAS_RESET_DONE {
            Some(Self::reset_done_callback)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const POWER_MANAGEMENT: bindings::dev_pm_ops = {
        type Callback = unsafe extern "C" fn(*mut bindings::device) -> c_int;
        let sleep: Option<Callback> = if T::HAS_SLEEP {
            Some(Self::sleep_callback)
        } else {
            None
        };
        let wake: Option<Callback> = if T::HAS_WAKE {
            Some(Self::wake_callback)
        } else {
            None
        };
        bindings::dev_pm_ops {
            suspend: sleep,
            resume: wake,
            freeze: sleep,
            thaw: wake,
            poweroff: sleep,
            restore: wake,
            ..pin_init::zeroed()
        }
    };

    /// Calls `f` with the device and the driver's data.
    ///
    /// # Safety
    ///
    /// `pdev` must be a valid device, bound to this driver, and its lock be held for the duration of
    /// the call.
    unsafe fn with<R>(
        pdev: *mut bindings::pci_dev,
        f: impl for<'bound> FnOnce(&'bound pci::Device<Core<'_>>, Pin<&T::Data<'bound>>) -> R,
    ) -> R {
        // SAFETY: `pdev` is valid, `pci::Device` is a transparent wrapper, and a bus callback with
        // the device lock held is what the `CoreInternal` context stands for.
        let pdev = unsafe { &*pdev.cast::<pci::Device<CoreInternal<'_>>>() };
        // SAFETY: A bound device has the data that probe set, and keeps it as long as the lock is
        // held.
        let data = unsafe { pdev.as_ref().drvdata_borrow::<T::Data<'_>>() };

        f(pdev, data)
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_driver.shutdown`.
    unsafe extern "C" fn shutdown_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The driver core holds the device lock, and the PCI core calls this only for a
        // device that a driver is bound to.
        unsafe { Self::with(pdev, |pdev, data| T::shutdown(pdev, data)) }
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_driver.sriov_configure`.
    unsafe extern "C" fn sriov_configure_callback(
        pdev: *mut bindings::pci_dev,
        num_vfs: c_int,
    ) -> c_int {
        from_result(|| {
            let num_vfs = u32::try_from(num_vfs)?;
            // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
            let done =
                unsafe { Self::with(pdev, |pdev, data| T::sriov_configure(pdev, data, num_vfs)) };

            Ok(c_int::try_from(done?)?)
        })
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.error_detected`.
    unsafe extern "C" fn error_detected_callback(
        pdev: *mut bindings::pci_dev,
        state: bindings::pci_channel_state_t,
    ) -> bindings::pci_ers_result_t {
        let state = ChannelState::from_raw(state);
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::error_detected(pdev, data, state)) }.into_raw()
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.mmio_enabled`.
    unsafe extern "C" fn mmio_enabled_callback(
        pdev: *mut bindings::pci_dev,
    ) -> bindings::pci_ers_result_t {
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::mmio_enabled(pdev, data)) }.into_raw()
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.slot_reset`.
    unsafe extern "C" fn slot_reset_callback(
        pdev: *mut bindings::pci_dev,
    ) -> bindings::pci_ers_result_t {
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::slot_reset(pdev, data)) }.into_raw()
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.resume`.
    unsafe extern "C" fn resume_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::resume(pdev, data)) }
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.reset_prepare`.
    unsafe extern "C" fn reset_prepare_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::reset_prepare(pdev, data)) }
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, as `struct pci_error_handlers.reset_done`.
    unsafe extern "C" fn reset_done_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core holds the device lock and has checked that a driver is bound.
        unsafe { Self::with(pdev, |pdev, data| T::reset_done(pdev, data)) }
    }
}

impl<T: Callbacks> Adapter<T> {
    /// # Safety
    ///
    /// To be called only by the PCI core, for a member of `struct dev_pm_ops`.
    unsafe extern "C" fn sleep_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The driver is one of PCI devices.
        let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };
        from_result(|| {
            // SAFETY: The power management core holds the device lock, and a driver is bound.
            unsafe { Self::with(pdev, |pdev, data| T::sleep(pdev, data)) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called only by the PCI core, for a member of `struct dev_pm_ops`.
    unsafe extern "C" fn wake_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The driver is one of PCI devices.
        let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };
        from_result(|| {
            // SAFETY: The power management core holds the device lock, and a driver is bound.
            unsafe { Self::with(pdev, |pdev, data| T::wake(pdev, data)) }.map(|()| 0)
        })
    }
}

/// Keeps a device enabled.
///
/// Dropping it stops the device's bus mastering and disables it. It should be the last to go of what
/// uses the device.
pub(crate) struct Enabled<'bound>(&'bound pci::Device<Bound>);

impl<'bound> Enabled<'bound> {
    /// Enables the device's memory resources. Bus mastering is left as it is.
    pub(crate) fn new(pdev: &'bound pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        Ok(Self(pdev))
    }
}

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        clear_master(self.0);
        // SAFETY: The device is valid, and was enabled by `new`, which this balances.
        unsafe { bindings::pci_disable_device(as_raw(self.0)) };
    }
}

/// Lets the device do DMA and send message signalled interrupts.
pub(crate) fn set_master(pdev: &pci::Device<Bound>) {
    // SAFETY: The device is valid.
    unsafe { bindings::pci_set_master(as_raw(pdev)) };
}

/// Stops the device from doing DMA and from sending message signalled interrupts.
///
/// Requests that are on their way may still arrive until the device is read from.
pub(crate) fn clear_master(pdev: &pci::Device<Bound>) {
    // SAFETY: The device is valid.
    unsafe { bindings::pci_clear_master(as_raw(pdev)) };
}

/// Saves the configuration space, for [`restore_state`].
///
/// What was saved before is forgotten.
pub(crate) fn save_state(pdev: &pci::Device<Bound>) {
    // SAFETY: The device is valid. The returned value is always 0.
    unsafe { bindings::pci_save_state(as_raw(pdev)) };
}

/// Restores the configuration space as it was saved, after the device lost it. Message signalled
/// interrupts are as the driver set them up.
pub(crate) fn restore_state(pdev: &pci::Device<Bound>) {
    // SAFETY: The device is valid.
    unsafe { bindings::pci_restore_state(as_raw(pdev)) };
}

/// Sets message signalled interrupts up again as the driver had them, if the device has lost them.
/// Returns whether it had.
///
/// A virtual function loses them when its physical function is reset, and nobody else restores them.
pub(crate) fn restore_interrupts(pdev: &pci::Device<Bound>) -> bool {
    // SAFETY: The device is valid.
    unsafe { ffi::azihsm_pci_restore_msix(as_raw(pdev)) }
}

/// Returns the device's address, as `dddd:bb:dd.f`.
pub(crate) fn name(pdev: &pci::Device) -> &CStr {
    pdev.as_ref().name()
}

/// Returns the C device.
fn as_raw(pdev: &pci::Device) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `struct pci_dev`, which C code may change.
    core::ptr::from_ref(pdev).cast_mut().cast()
}
