// SPDX-License-Identifier: GPL-2.0-or-later

//! Settings of the emulated device that its specification leaves open.

use std::time::Duration;

use crate::interrupts::VECTORS;

/// How the device behaves where the specification leaves a choice.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time from CC.EN = 1 to CSTS.RDY = 1.
    pub ready_delay: Duration,
    /// Time from CC.EN = 0, or a reset, to CSTS.RDY = 0.
    pub disable_delay: Duration,
    /// Minimum time that a control command takes.
    pub service_time: Duration,
    /// Minimum time that a fast-path command takes.
    pub fp_service_time: Duration,
    /// Size of the MSI-X table of each function, 1 to 32.
    pub vectors: u16,
    /// Let the client map the doorbells, and look for changes in them.
    pub fast: bool,
    /// Refuse what the device tolerates although no correct driver does it.
    pub strict: bool,
    /// Clear CC.EN when the subsystem reset signature is written (section 2, open point 2).
    pub nssr_clears_enable: bool,
    /// Number of queues of each class that the features claim, whatever there are. At least 1, at most 65536.
    pub grant: Option<u32>,
    /// Serial number reported by Identify; at most 32 bytes are used.
    pub serial: String,
    /// Firmware revision reported by Identify; at most 32 bytes are used.
    pub firmware_revision: String,
    /// Security version number reported by Identify.
    pub svn: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ready_delay: Duration::from_millis(3),
            disable_delay: Duration::from_millis(3),
            service_time: Duration::ZERO,
            fp_service_time: Duration::ZERO,
            vectors: VECTORS as u16,
            fast: false,
            strict: false,
            nssr_clears_enable: false,
            grant: None,
            serial: "EMULATED-HSM-0000000000000001".to_owned(),
            firmware_revision: concat!("emulator-", env!("CARGO_PKG_VERSION")).to_owned(),
            svn: 1,
        }
    }
}
