// SPDX-License-Identifier: GPL-2.0

//! The physical function and its virtual functions: who owns how many of the device's resources.
//!
//! A resource is what a function needs to have queues. The device gives them out by controller id,
//! and only to the physical function, which takes its own at every bring-up and sets those of its
//! virtual functions. What was set is remembered and set again if the device has lost it, as it does
//! when the physical function is reset through PCI.

use kernel::{
    device::Core,
    new_mutex,
    pci,
    prelude::*,
    sync::Mutex, //
};

use crate::{
    controller::Controller,
    kapi::{
        self,
        semaphore::Semaphore, //
    },
    log::{dev_err, dev_info, dev_warn},
    params,
    wire::{
        admin::{
            self,
            Command, //
        },
        identify::QueueCount,
        Class,
        CtrlId, //
    },
};

/// Most virtual functions whose resources are remembered: more the device does not have.
const MAX_VFS: usize = 64;

/// Number of resources of each virtual function, as far as it is known.
struct Counts([Option<u16>; MAX_VFS]);

/// What is to be done about the resources of a virtual function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// They are what they should be.
    None,
    /// The device has other ideas: set this number.
    Set(u16),
    /// Remember this number, which somebody else has set.
    Remember(u16),
}

impl Counts {
    /// Notes that virtual function `index` was given `count` resources.
    fn note(&mut self, index: u16, count: u16) {
        if let Some(entry) = self.0.get_mut(usize::from(index)) {
            *entry = Some(count);
        }
    }

    /// Returns how many resources virtual function `index` should have, if that is known.
    fn wanted(&self, index: u16) -> Option<u16> {
        *self.0.get(usize::from(index))?
    }

    /// Returns what to do about virtual function `index`, which has `count` resources.
    fn compare(&self, index: u16, count: u16) -> Action {
        match self.wanted(index) {
            // Setting a number, even the same, disables the function: only if it must be.
            Some(wanted) if wanted != count => Action::Set(wanted),
            None if count != 0 => Action::Remember(count),
            _ => Action::None,
        }
    }
}

/// Returns the controller id of virtual function `index`.
fn ctrl_id(index: u16) -> Result<CtrlId> {
    index.checked_add(1).map(CtrlId).ok_or(EINVAL)
}

/// Virtual functions of a physical function.
#[pin_data]
pub(crate) struct Sriov {
    physfn: bool,
    #[pin]
    counts: Mutex<Counts>,
    /// One change of resources at a time, so that the last one at the device is the one that is
    /// remembered.
    #[pin]
    changing: Semaphore,
}

impl Sriov {
    /// Looks at what kind of function `pdev` is.
    pub(crate) fn new(pdev: &pci::Device) -> impl PinInit<Self> {
        let physfn = kapi::pci::is_physfn(pdev);
        pin_init!(Self {
            physfn,
            counts <- new_mutex!(Counts([None; MAX_VFS]), "azihsm_vf_resources"),
            changing <- Semaphore::new(1),
        })
    }
}

impl Controller<'_> {
    /// Returns whether this is a physical function.
    pub(crate) fn is_physfn(&self) -> bool {
        self.sriov.physfn
    }

    /// Returns the number of virtual functions that exist now.
    pub(crate) fn vf_count(&self) -> u16 {
        if self.is_physfn() {
            kapi::pci::num_vf(self.pdev)
        } else {
            0
        }
    }

    /// Returns whether the driver may reset the controller. The administrator may forbid it for the
    /// physical function.
    pub(crate) fn may_reset(&self) -> bool {
        !self.is_physfn() || params::pf_reset_allowed()
    }

    /// Acts on a reset of the function through PCI, while the controller is held: that of a physical
    /// function makes the device drop all sessions, while others keep them.
    pub(crate) fn function_was_reset(&self) {
        if self.is_physfn() {
            self.files.forget_sessions();
        }
    }

    /// Acts on a configuration space that was reset behind the driver's back, as that of a virtual
    /// function is with its physical one: the device sends interrupts again, and holds no sessions.
    /// Returns whether it was.
    pub(crate) fn restore_lost(&self) -> bool {
        if !kapi::pci::restore_interrupts(self.pdev) {
            return false;
        }
        dev_info!(
            self.pdev,
            "physical function was reset, sessions are lost\n"
        );
        self.files.forget_sessions();
        true
    }

    /// Sets the number of resources of virtual function `index`. May sleep.
    ///
    /// If the function is enabled, the device disables it: its driver has to bring it up again.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_command`].
    pub(crate) fn set_vf_resources(&self, index: u16, count: u16) -> Result {
        let ctrl = ctrl_id(index)?;
        self.sriov.changing.down_killable()?;
        let result = self.admin_command(Command::SetResources { ctrl, count });
        if result.is_ok() {
            self.sriov.counts.lock().note(index, count);
        }
        self.sriov.changing.up();
        result.map(drop)
    }

    /// Returns the number of resources of virtual function `index`. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_command`].
    pub(crate) fn vf_resources(&self, index: u16) -> Result<u16> {
        let ctrl = ctrl_id(index)?;
        self.admin_command(Command::GetResources { ctrl })
            .map(admin::resource_count)
    }

    /// Asks for the number of resources of the function with controller id `ctrl`, while functions
    /// are set up.
    fn resources(&self, ctrl: CtrlId) -> Result<u16> {
        self.setup_command(Command::GetResources { ctrl })
            .map(admin::resource_count)
    }

    /// Sees to it that functions own their resources: a part of bringing the physical function up,
    /// before it asks for its queues. Does nothing for a virtual function.
    pub(crate) fn settle_resources(&self, own: CtrlId) {
        if !self.is_physfn() {
            return;
        }
        if let Some(count) = params::pf_resources() {
            let command = Command::SetResources { ctrl: own, count };
            if let Err(e) = self.setup_command(command) {
                dev_warn!(
                    self.pdev,
                    "cannot have {} resources for the physical function: {:?}\n",
                    count,
                    e
                );
            }
        }
        self.settle_vf_resources(0);
    }

    /// Sets the resources of virtual functions again that the device has lost, and learns those of
    /// the first `learn` that are not known.
    fn settle_vf_resources(&self, learn: u16) {
        for index in 0..MAX_VFS as u16 {
            if index >= learn && self.sriov.counts.lock().wanted(index).is_none() {
                continue;
            }
            if let Err(e) = self.settle_vf(index) {
                dev_warn!(
                    self.pdev,
                    "resources of virtual function {} are not what they were: {:?}\n",
                    index,
                    e
                );
                return;
            }
        }
    }

    fn settle_vf(&self, index: u16) -> Result {
        let ctrl = ctrl_id(index)?;
        let count = self.resources(ctrl)?;
        let action = self.sriov.counts.lock().compare(index, count);
        match action {
            Action::None => (),
            Action::Remember(count) => self.sriov.counts.lock().note(index, count),
            Action::Set(count) => {
                self.setup_command(Command::SetResources { ctrl, count })?;
            }
        }
        Ok(())
    }

    /// Returns the number of resources that the function had when it was brought up last, if it was.
    pub(crate) fn resources_owned(&self) -> Option<u32> {
        self.info().ok().map(|info| info.facts.resources)
    }

    /// Returns how many control-path and fast-path queues the function has.
    ///
    /// None of both is what a function gets that owns no resources. It stays bound: when it is given
    /// some, the device disables it, and it is brought up again as after any other reset.
    pub(crate) fn queue_counts(&self, own: CtrlId) -> Result<(QueueCount, QueueCount)> {
        match self.queue_count(Class::Control) {
            Ok(control) => Ok((control, self.queue_count(Class::Aes)?)),
            // This is how the device answers a function without resources.
            Err(EINVAL) if self.resources(own) == Ok(0) => {
                dev_info!(
                    self.pdev,
                    "function owns no resources, so it has no queues\n"
                );
                Ok((QueueCount::NONE, QueueCount::NONE))
            }
            Err(e) => {
                dev_err!(self.pdev, "number of queues is not known: {:?}\n", e);
                Err(e)
            }
        }
    }

    /// Makes `num` virtual functions, 0 to remove them; returns how many there are then.
    ///
    /// # Errors
    ///
    /// [`EPERM`] if functions to be removed are in use by guests, why commands are refused if the
    /// physical function does not work, and those of [`kapi::pci::enable_sriov`].
    pub(crate) fn configure_vfs(&self, pdev: &pci::Device<Core<'_>>, num: u32) -> Result<u32> {
        if num == 0 {
            return self.remove_vfs(pdev).map(|()| 0);
        }
        self.refusal().map_err(|refusal| refusal.errno)?;
        // So that they have their queues from the beginning.
        self.settle_vf_resources(u16::try_from(num)?);
        kapi::pci::enable_sriov(pdev, num)?;
        Ok(num)
    }

    /// Removes all virtual functions.
    ///
    /// # Errors
    ///
    /// [`EPERM`] if some are in use by guests. They are left alone then.
    pub(crate) fn remove_vfs(&self, pdev: &pci::Device<Core<'_>>) -> Result {
        if self.vf_count() == 0 {
            return Ok(());
        }
        let assigned = kapi::pci::vfs_assigned(pdev);
        if assigned != 0 {
            dev_warn!(
                self.pdev,
                "{} virtual functions are in use by guests and stay\n",
                assigned
            );
            return Err(EPERM);
        }
        kapi::pci::disable_sriov(pdev);
        Ok(())
    }
}

#[kunit_tests(azihsm_sriov)]
mod tests {
    use super::*;

    #[test]
    fn controller_ids_follow_the_physical_functions() {
        assert!(ctrl_id(0) == Ok(CtrlId(1)));
        assert!(ctrl_id(63) == Ok(CtrlId(64)));
        assert!(ctrl_id(u16::MAX) == Err(EINVAL));
    }

    #[test]
    fn what_was_set_is_wanted() {
        let mut counts = Counts([None; MAX_VFS]);
        assert_eq!(counts.wanted(3), None);
        counts.note(3, 4);
        assert_eq!(counts.wanted(3), Some(4));
        counts.note(3, 0);
        assert_eq!(counts.wanted(3), Some(0));
        // There is no such function: nothing to remember, and no harm.
        counts.note(64, 1);
        assert_eq!(counts.wanted(64), None);
        assert_eq!(counts.wanted(u16::MAX), None);
    }

    #[test]
    fn only_differences_are_acted_on() {
        let mut counts = Counts([None; MAX_VFS]);
        assert_eq!(counts.compare(0, 0), Action::None);
        assert_eq!(counts.compare(0, 2), Action::Remember(2));
        counts.note(0, 2);
        assert_eq!(counts.compare(0, 2), Action::None);
        assert_eq!(counts.compare(0, 0), Action::Set(2));
        assert_eq!(counts.compare(0, 65), Action::Set(2));
        // Nothing is a wish, too.
        counts.note(0, 0);
        assert_eq!(counts.compare(0, 2), Action::Set(0));
    }
}
