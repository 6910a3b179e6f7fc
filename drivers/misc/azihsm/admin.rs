// SPDX-License-Identifier: GPL-2.0

//! Admin commands: one at a time, each waited for.

use kernel::{
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    command::{
        Slot,
        Waited, //
    },
    controller::Controller,
    dma::Layout,
    kapi::wait,
    log::{dev_dbg, dev_err, dev_info},
    queue::{
        Kind,
        Queue, //
    },
    ring,
    slot::Outcome,
    wire::{
        admin::{
            Command,
            Entries as Admin,
            Feature, //
        },
        identify,
        Class,
        QueueId, //
    },
};

/// Number of entries of the admin rings.
pub(crate) const ENTRIES: u16 = 16;
/// Time an admin command may take.
const TIMEOUT: Delta = Delta::from_secs(30);
/// Time each admin command may take that brings the controller up or lets go of it.
pub(crate) const SETUP_TIMEOUT: Delta = Delta::from_secs(10);
/// Time between two looks whether the controller is still there to answer a command, and whether it
/// is still wanted.
const LOOK: Delta = Delta::from_millis(50);

impl Kind for Admin {
    type Left = ();
    const LAYOUT: Layout = Layout::Empty;
    const CREDIT: u32 = 1;

    fn queue_id(_index: u16) -> Option<QueueId> {
        Some(QueueId::ADMIN)
    }
}

impl Controller<'_> {
    /// Runs an admin command and returns its command-specific value.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] after 30 s, [`EINTR`] if the caller was killed (the command stays at the
    /// device in both cases), [`EAGAIN`] if the controller was reset or is not enabled, and what
    /// [`Status`](crate::wire::admin::Status) says if the command failed.
    pub(crate) fn admin_command(&self, command: Command) -> Result<u32> {
        self.admin_command_until(command, Instant::now() + TIMEOUT)
            .map_err(|e| match e {
                // It is to end because the controller is to be held or removed.
                EINTR if !wait::fatal_signal_pending() => EAGAIN,
                e => e,
            })
    }

    /// Runs an admin command that brings the controller up; see [`Controller::admin_command`].
    pub(crate) fn setup_command(&self, command: Command) -> Result<u32> {
        self.admin_command_until(command, Instant::now() + SETUP_TIMEOUT)
    }

    /// Runs an admin command that has to have ended `until` then; see
    /// [`Controller::admin_command`].
    ///
    /// It ends early, with [`EAGAIN`], if the controller is not ready any more: the device stops a
    /// function that gets other resources, even in the middle of being brought up; and with
    /// [`EINTR`] if [`Controller::may_wait`] says so.
    fn admin_command_until(&self, command: Command, until: Instant<Monotonic>) -> Result<u32> {
        let slot = Slot::take(self, &*self.admin, until)?;
        let sqe = command.sqe(slot.cid());
        let mut flight = slot.submit(&sqe, until - Instant::now())?;
        let error = loop {
            let look = Instant::now() + LOOK;
            let last = (until - look).is_negative();
            let error = match flight.wait(if last { until } else { look }, Outcome::copied) {
                Waited::Ended(_slot, Outcome::Completed(cqe)) => {
                    return cqe.value().map_err(|status| {
                        dev_dbg!(
                            self.pdev,
                            "{:?}: {} ({:#06x})\n",
                            command,
                            status.name(),
                            status.0
                        );
                        status.into()
                    })
                }
                Waited::Ended(_slot, Outcome::Aborted) => return Err(EAGAIN),
                Waited::Interrupted(left, error) => {
                    flight = left;
                    error
                }
            };
            if last || error != ETIMEDOUT {
                break error;
            }
            if let Err(e) = self.may_wait() {
                break e;
            }
            if !self.status().is_ok_and(|csts| csts.rdy()) {
                break EAGAIN;
            }
        };
        // Ended or not by now: its result came too late.
        let _ = flight.leave(());
        Err(error)
    }

    /// Reads and validates the identity of the controller.
    pub(crate) fn identify(&self) -> Result<identify::Identity> {
        let page: &Coherent<[identify::Data]> = &self.identify_page;
        io_project!(page, [try: 0]).copy_write(zerocopy::FromZeros::new_zeroed());
        self.setup_command(Command::Identify {
            page: page.dma_address(),
        })?;
        let data = io_project!(page, [try: 0]).copy_read();
        identify::Identity::new(&data).map_err(|bad| {
            dev_err!(
                self.pdev,
                "Identify: {} is {}, but must be {}\n",
                bad.field,
                bad.found,
                bad.expected
            );
            EINVAL
        })
    }

    /// Asks how many queues of `class` there are.
    pub(crate) fn queue_count(&self, class: Class) -> Result<identify::QueueCount> {
        let command = Command::queue_count(class, identify::WANTED_QUEUES).ok_or(EINVAL)?;
        let count = identify::QueueCount::new(class, self.setup_command(command)?);
        if count.clamped() {
            dev_info!(
                self.pdev,
                "{:?}: using {} of {} queues\n",
                class,
                count.usable,
                count.granted
            );
        }
        Ok(count)
    }

    /// Asks what the firmware can do; no answer means nothing special.
    pub(crate) fn capabilities_feature(&self) -> identify::Capabilities {
        let feature = Feature::Capabilities;
        self.setup_command(Command::GetFeature { feature })
            .map(identify::Capabilities::new)
            .unwrap_or_default()
    }

    /// Makes a queue pair known to the device and starts it; that has to be done `until` then.
    pub(crate) fn create_queue<K: Kind>(
        &self,
        queue: &Queue<K>,
        vector: Option<u16>,
        until: Instant<Monotonic>,
    ) -> Result {
        let (id, size): (QueueId, ring::Size) = (queue.id(), queue.size());
        queue.prepare(vector.is_none())?;
        let create_cq = Command::CreateCq {
            id,
            size,
            ring: queue.cq_address(),
            vector,
        };
        self.admin_command_until(create_cq, until)?;
        let create_sq = Command::CreateSq {
            id,
            size,
            ring: queue.sq_address(),
        };
        if let Err(e) = self.admin_command_until(create_sq, until) {
            let _ = self.admin_command_until(Command::DeleteCq { id }, until);
            return Err(e);
        }
        queue.start();
        Ok(())
    }

    /// Stops a queue pair and makes the device forget it; that has to be done `until` then.
    ///
    /// When this succeeds, the device does not touch the queue's memory any more.
    pub(crate) fn delete_queue<K: Kind>(
        &self,
        queue: &Queue<K>,
        until: Instant<Monotonic>,
    ) -> Result {
        let id = queue.id();
        queue.stop();
        self.admin_command_until(Command::DeleteSq { id }, until)?;
        self.admin_command_until(Command::DeleteCq { id }, until)?;
        Ok(())
    }
}
