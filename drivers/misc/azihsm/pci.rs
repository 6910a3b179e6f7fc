// SPDX-License-Identifier: GPL-2.0

//! The PCI driver: from probe to unbind.

use kernel::{
    device::Core,
    dma::{
        Device as _,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

use crate::{
    chardev,
    controller::Controller,
    kapi::{
        self,
        pci::{
            ChannelState,
            Recovery, //
        }, //
    },
    lifecycle::State,
    log::dev_err,
    mgmt,
    recovery::Works,
    regs,
    sysfs,
    vectors::Vectors, //
};

/// Device id of the Azure Integrated HSM, the same for PF and VF.
const DEVICE_ID: u32 = 0xc003;

/// BAR of the registers, of the doorbells, and of MSI-X table and pending bits.
const BARS: [u32; 3] = [0, 2, 4];

/// A bound function.
///
/// Fields are dropped in this order: first nobody can get at the device any more, then nothing
/// runs by itself any more, then memory goes, then the device is disabled.
#[pin_data]
pub(crate) struct Function<'bound> {
    /// Of a physical function only.
    mgmt: Option<kapi::chrdev::Registration<'bound, mgmt::Node>>,
    node: kapi::chrdev::Registration<'bound, chardev::Node>,
    sysfs: sysfs::Tree<'bound>,
    works: Works<'bound>,
    vectors: Vectors<'bound>,
    allocated: pci::IrqVectorRegistration<'bound>,
    #[pin]
    controller: Controller<'bound>,
    enabled: kapi::pci::Enabled<'bound>,
}

/// The driver.
pub(crate) struct Driver;

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::MICROSOFT, DEVICE_ID),
        ()
    )]
);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Function<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            for bar in BARS {
                let len = pdev.resource_len(bar)?;
                if len != regs::BAR_LEN as u64 {
                    dev_err!(pdev, "BAR{} is {} bytes, not {}\n", bar, len, regs::BAR_LEN);
                    return Err(ENODEV);
                }
            }
            Ok(try_pin_init!(Function {
                enabled: kapi::pci::Enabled::new(pdev)?,
                controller <- {
                    // SAFETY: Probe has made no DMA mapping or allocation of the device yet.
                    unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
                    // SAFETY: As above. The length of a descriptor has 32 bits.
                    unsafe { pdev.dma_set_max_seg_size(u32::MAX) };
                    let registers = pdev.iomap_region_sized(0, c"azihsm")?;
                    let doorbells = pdev.iomap_region_sized(2, c"azihsm")?;
                    Controller::new(pdev, registers, doorbells)
                },
                allocated: Vectors::allocate(pdev)?,
                vectors: {
                    // SAFETY: `allocated` is initialised, pinned with `Function`, and dropped
                    // after `vectors`, the only one to get the reference.
                    let allocated: &'bound pci::IrqVectorRegistration<'bound> =
                        unsafe { &*core::ptr::from_ref(&*allocated) };
                    // SAFETY: `controller` is initialised, pinned with `Function`, and dropped
                    // after `vectors`, the only one to get the reference.
                    let controller: &'bound Controller<'bound> =
                        unsafe { &*core::ptr::from_ref(&*controller) };
                    // SAFETY: `Function` owns the handlers and is never leaked.
                    unsafe { Vectors::register(allocated, controller)? }
                },
                works: {
                    controller.start()?;
                    // SAFETY: `controller` is initialised, pinned with `Function`, and dropped
                    // after `works`, the only one to get the reference.
                    let controller: &'bound Controller<'bound> =
                        unsafe { &*core::ptr::from_ref(&*controller) };
                    // SAFETY: `Function` owns the armed items and is never leaked.
                    unsafe { Works::arm(controller) }.inspect_err(|_| controller.remove())?
                },
                sysfs: {
                    // SAFETY: `controller` is initialised, pinned with `Function`, and dropped
                    // after `sysfs`, the only one to get the reference.
                    let controller: &'bound Controller<'bound> =
                        unsafe { &*core::ptr::from_ref(&*controller) };
                    // SAFETY: `Function` owns the folder and is never leaked.
                    unsafe { sysfs::Tree::new(controller) }.inspect_err(|_| controller.remove())?
                },
                node: {
                    // SAFETY: `controller` is initialised, pinned with `Function`, and dropped
                    // after `node`, the only one to get the reference.
                    let controller: &'bound Controller<'bound> =
                        unsafe { &*core::ptr::from_ref(&*controller) };
                    // SAFETY: `Function` owns the registration and is never leaked.
                    unsafe {
                        kapi::chrdev::Registration::new(
                            pdev.as_ref(),
                            &chardev::NODES,
                            controller,
                        )
                    }
                    .inspect_err(|_| controller.remove())?
                },
                mgmt: {
                    // SAFETY: `controller` is initialised, pinned with `Function`, and dropped
                    // after `mgmt`, the only one to get the reference.
                    let controller: &'bound Controller<'bound> =
                        unsafe { &*core::ptr::from_ref(&*controller) };
                    let register = || {
                        // SAFETY: `Function` owns the registration and is never leaked.
                        unsafe {
                            kapi::chrdev::Registration::new(
                                pdev.as_ref(),
                                &mgmt::NODES,
                                controller,
                            )
                        }
                    };
                    controller
                        .is_physfn()
                        .then(register)
                        .transpose()
                        .inspect_err(|_| controller.remove())?
                },
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) {
        // Those that guests use stay, and with them what the device gave them.
        let _ = this.controller.remove_vfs(pdev);
        this.controller.remove();
    }
}

#[vtable]
impl kapi::pci::Callbacks for Driver {
    fn shutdown<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) {
        let _ = this.controller.remove_vfs(pdev);
        this.controller.remove();
    }

    fn sriov_configure<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        this: Pin<&Function<'bound>>,
        num_vfs: u32,
    ) -> Result<u32> {
        this.controller.configure_vfs(pdev, num_vfs)
    }

    fn error_detected<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        this: Pin<&Function<'bound>>,
        state: ChannelState,
    ) -> Recovery {
        match state {
            ChannelState::Normal => Recovery::CanRecover,
            ChannelState::Frozen => {
                this.controller.hold(false);
                Recovery::NeedReset
            }
            ChannelState::PermanentFailure => {
                this.controller.lose();
                Recovery::Disconnect
            }
        }
    }

    fn mmio_enabled<'bound>(
        _pdev: &'bound pci::Device<Core<'_>>,
        this: Pin<&Function<'bound>>,
    ) -> Recovery {
        if this.controller.survived() {
            return Recovery::Recovered;
        }
        this.controller.hold(false);
        Recovery::NeedReset
    }

    fn slot_reset<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        this: Pin<&Function<'bound>>,
    ) -> Recovery {
        // One reset is for all functions of the link, also for those that wanted none.
        this.controller.hold_unless_held();
        kapi::pci::restore_state(pdev);
        this.controller.function_was_reset();
        if this.controller.release() {
            Recovery::Recovered
        } else {
            Recovery::Disconnect
        }
    }

    fn reset_prepare<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) {
        this.controller.hold(true);
    }

    fn reset_done<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) {
        this.controller.function_was_reset();
        this.controller.release();
    }

    fn sleep<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) -> Result {
        this.controller.hold(true);
        Ok(())
    }

    fn wake<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Function<'bound>>) -> Result {
        if this.controller.release() {
            Ok(())
        } else {
            Err(EIO)
        }
    }
}

impl Controller<'_> {
    /// Brings the controller up for the first time; stops it again if that fails.
    fn start(&self) -> Result {
        self.bring_up().inspect_err(|_| self.cut_off())?;
        let _ = self.life.change(State::Live);
        // What a reset of the link loses.
        kapi::pci::save_state(self.pdev);
        self.announce();
        Ok(())
    }
}
