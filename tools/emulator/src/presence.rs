// SPDX-License-Identifier: GPL-2.0-or-later

//! How a function comes and goes: its configuration space, resets, VF Enable, the end of its client.
//!
//! A reset has two parts. What the host sees of it happens at once, in [`Function::begin_reset`]. The rest is up to the
//! state machine, which may be busy with another function: see [`crate::controller`].

use std::sync::atomic::Ordering;

use crate::controller::Event;
use crate::function::{Function, Role};
use crate::pci::Effect;
use crate::queue::{Class, Closing};
use crate::sriov::Vfs;

impl Function {
    /// Reads the configuration space.
    pub fn config_read(&self, offset: usize, data: &mut [u8]) {
        self.config_space.lock().read(offset, data);
    }

    /// Writes the configuration space; may start a function level reset, and enable or disable VFs.
    pub fn config_write(&self, offset: usize, data: &[u8]) {
        let (effect, before, after) = {
            let mut space = self.config_space.lock();
            let before = space.vfs();
            let effect = space.write(offset, data);
            self.memory.set_master(space.bus_master());
            (effect, before, space.vfs())
        };
        match effect {
            Effect::None => {}
            Effect::Refused(why) => self.violation(
                None,
                format!(
                    "configuration write of {} bytes at {offset:#x}: {why}",
                    data.len()
                ),
            ),
            Effect::FunctionReset => {
                tracing::info!(function = self.id().0, "function level reset");
                if self.role() == Role::Pf {
                    self.core.functions().for_each(|f| f.begin_device_reset());
                } else {
                    // Section 2: the reset does not wait for CP commands.
                    self.begin_reset(|class| class != Class::Fp);
                }
                self.core.send(Event::FunctionReset(self.id()));
                return;
            }
        }
        if before != after {
            tracing::info!(?after, "VFs");
            self.core
                .functions()
                .filter(|f| f.of_pf)
                .for_each(|f| f.follow_pf(before, after));
        }
    }

    /// Brings a VF in line with the SR-IOV capability of its PF.
    fn follow_pf(&self, before: Vfs, after: Vfs) {
        let index = self.id().0.saturating_sub(1);
        if before.exists(index) && !after.exists(index) {
            self.begin_device_reset();
            self.core.send(Event::VfReset(self.id(), None));
        }
        self.visible.store(after.answers(index), Ordering::SeqCst);
    }

    /// Begins a reset that does not come from the function's own host; a VF of a PF is gone from here on.
    pub(crate) fn begin_device_reset(&self) {
        if self.of_pf {
            self.visible.store(false, Ordering::SeqCst);
            self.forgive_lost_queues();
        }
        self.begin_reset(|_| true);
    }

    /// Does what a reset of the function does at once: configuration space and registers are as at power-up, and
    /// nothing is written to the host any more. The state machine does the rest, without waiting for the commands of
    /// the classes that are to be `abandoned`.
    pub(crate) fn begin_reset(&self, abandoned: impl Fn(Class) -> bool) {
        self.silence(abandoned);
        {
            let mut space = self.config_space.lock();
            space.reset();
            self.memory.set_master(false);
        }
        self.msix_table.lock().fill(0);
        self.interrupts.forget_pending();
        *self.restored.lock() = None;
        self.registers.lock().begin_reset();
    }

    /// Forgives doorbell writes to queues that are gone, until the host shows that it knows: the device took them
    /// away by itself.
    pub(crate) fn forgive_lost_queues(&self) {
        self.lost_queues.store(true, Ordering::SeqCst);
    }

    /// Ends all contact with a client that is gone.
    pub fn disconnect(&self) {
        self.silence(|_| true);
        self.memory.unmap_all();
        self.interrupts.clear();
    }

    /// Closes all queues without waiting: from here on nothing is read or written for them. Nobody waits any more for
    /// the commands of classes that are `abandoned`.
    pub(crate) fn silence(&self, abandoned: impl Fn(Class) -> bool) {
        let queues = self.queues.read();
        for (id, sq) in &queues.sqs {
            if let Some(cq) = queues.cqs.get(id) {
                cq.close();
            }
            sq.close(Closing::Teardown);
            sq.revoke();
            if abandoned(sq.class()) {
                sq.abandon();
            }
        }
    }
}
