// SPDX-License-Identifier: GPL-2.0

//! What driver and device can do, as the query ioctl tells it.
//!
//! While the controller is being reset, or after that failed, the answer is what was known of it
//! when it was brought up last.

use kernel::prelude::*;

use crate::{
    controller::Controller,
    lifecycle::State,
    params,
    pool::Pool,
    queue::Kind,
    regs::{
        FWCAP,
        VS, //
    },
    uapi::{
        Query,
        QueryState,
        CP_MAX_LEN, //
    },
    vectors::Split,
    wire::{
        aes::XTS_MAX_LEN,
        control::SESSIONS,
        identify::{
            Capabilities,
            Identity, //
        }, //
    },
};

/// Version of the driver: major, minor, patch level.
pub(crate) const VERSION: [u8; 3] = [4, 0, 0];

/// What a controller that was brought up told of itself, besides Identify.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    /// What the firmware can do: register.
    pub(crate) firmware: FWCAP,
    /// What the firmware can do: feature.
    pub(crate) capabilities: Capabilities,
    /// Version of the register interface.
    pub(crate) version: VS,
    /// Resources of the function.
    pub(crate) resources: u32,
    /// Control-path queues.
    pub(crate) control_queues: u16,
    /// Fast-path queues.
    pub(crate) fast_queues: u16,
    /// Milliseconds in which the driver ends a command that timed out.
    pub(crate) recovery_bound_ms: u32,
}

impl Facts {
    fn features(&self) -> u32 {
        let mut features = 0;
        for (is_set, feature) in [
            (
                self.capabilities.gcm_workaround,
                Query::FEATURE_GCM_WORKAROUND,
            ),
            (
                self.firmware.live_migration(),
                Query::FEATURE_LIVE_MIGRATION,
            ),
            (self.firmware.svn(), Query::FEATURE_SVN),
            (true, Query::FEATURE_URING),
        ] {
            if is_set {
                features |= feature;
            }
        }
        features
    }
}

/// Returns a limit of the driver, or that of the device if it is lower.
fn lower(driver: u32, device: Option<u32>) -> u32 {
    device.map_or(driver, |device| device.min(driver))
}

/// What the queues of one kind are like.
#[derive(Default)]
struct Queues {
    count: u32,
    polled: u32,
    entries: u32,
}

impl Queues {
    /// Describes the first `count` queues of a pool.
    fn of<K: Kind>(pool: &Pool<K>, count: u16) -> Self {
        let mut queues = Self::default();
        for queue in pool.all().take(usize::from(count)) {
            queues.count += 1;
            queues.polled += u32::from(queue.is_polled());
            queues.entries = u32::from(queue.size().entries());
        }
        queues
    }
}

impl Controller<'_> {
    /// Returns what driver and device can do.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the function is gone.
    pub(crate) fn query(&self) -> Result<Query> {
        let state = match self.life.get() {
            State::Live => QueryState::Ready,
            State::New | State::Resetting => QueryState::Recovering,
            State::Dead => QueryState::Dead,
            State::Removed => return Err(ENODEV),
        };
        let info = self.info()?;
        let (identity, facts): (Identity, Facts) = (info.identity, info.facts);
        let control = Queues::of(&self.control, facts.control_queues);
        let fast = Queues::of(&self.fast, facts.fast_queues);
        let [major, minor, patch] = VERSION.map(u32::from);
        let has_svn = facts.firmware.svn();
        Ok(Query {
            // CAST: A small structure.
            size: size_of::<Query>() as u32,
            flags: 0,
            driver_version: major << 16 | minor << 8 | patch,
            // CAST: The enum is `repr(u32)`.
            state: state as u32,
            features: facts.features(),
            interface_version: facts.version.into_raw(),
            svn: if has_svn { identity.svn } else { 0 },
            resources: facts.resources,
            sessions: SESSIONS,
            cp_max_request: lower(CP_MAX_LEN, identity.control_max),
            cp_max_response: lower(CP_MAX_LEN, identity.control_max),
            gcm_max_len: 0,
            xts_max_len: XTS_MAX_LEN,
            // CAST: 8 KiB.
            bounce_limit: params::bounce_limit() as u32,
            vectors: self.vectors.as_ref().map_or(0, Split::vectors),
            cp_queues: control.count,
            cp_queues_polled: control.polled,
            cp_ring_entries: control.entries,
            fp_queues: fast.count,
            fp_queues_polled: fast.polled,
            fp_ring_entries: fast.entries,
            command_timeout_ms: u32::try_from(params::command_timeout().as_millis())
                .unwrap_or(u32::MAX),
            recovery_bound_ms: facts.recovery_bound_ms,
        })
    }
}
