// SPDX-License-Identifier: GPL-2.0-or-later

//! What an HSM can be asked, whatever answers: the driver's node, or a model in tests.

use azihsm_ddi::SessionKind;
use nix::errno::Errno;
use serde::Serialize;

use crate::uapi;

/// Largest response of a control command.
pub const RESPONSE_MAX: usize = uapi::AZIHSM_CP_MAX_LEN as usize;

/// An HSM function.
pub trait Hsm: Send + Sync {
    /// Returns what the driver knows about the function.
    fn info(&self) -> Result<Info, Error>;

    /// Returns what driver and device can do, [`None`] from a driver that cannot tell.
    fn query(&self) -> Result<Option<Limits>, Error>;

    /// Runs a control command and returns the response.
    fn control(
        &self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error>;

    /// Runs a fast-path command on `src`, writing to `dst`.
    fn aes(&self, command: &Aes, src: &[u8], dst: &mut [u8]) -> Result<AesDone, Error>;

    /// Resets the subsystem of the function (NSSR).
    fn reset(&self) -> Result<(), Error>;
}

/// What the driver knows about a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Controller id: 0 for the PF, n + 1 for VF n.
    pub controller_id: u16,
    /// PCI address.
    pub pci_address: String,
    /// Serial number.
    pub serial_number: String,
    /// Firmware revision.
    pub firmware_revision: String,
    /// Driver version.
    pub driver_version: String,
}

/// What driver and device can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// "ready", "recovering" or "dead".
    pub state: &'static str,
    /// Features, by name.
    pub features: Vec<&'static str>,
    /// Version of the device's register interface.
    pub interface_version: String,
    /// Security version number of the firmware.
    pub svn: Option<u64>,
    /// Resources of the function.
    pub resources: u32,
    /// Sessions of the function.
    pub sessions: u32,
    /// Largest control request, in bytes.
    pub control_max_request: u32,
    /// Largest control response, in bytes.
    pub control_max_response: u32,
    /// Largest AES-GCM source, in bytes.
    pub gcm_max_bytes: Option<u32>,
    /// Largest AES-XTS source, in bytes.
    pub xts_max_bytes: Option<u32>,
    /// Largest AES data that the driver copies, in bytes.
    pub bounce_limit: u32,
    /// Interrupt vectors.
    pub vectors: u32,
    /// Control-path queues.
    pub control_queues: Queues,
    /// Fast-path queues.
    pub fast_path_queues: Queues,
    /// Time a command may take, in milliseconds.
    pub command_timeout_ms: u32,
    /// Time the controller may take to stop and start, in milliseconds.
    pub recovery_bound_ms: Option<u32>,
}

/// Queues of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queues {
    /// Their number.
    pub count: u32,
    /// Those without interrupts.
    pub polled: u32,
    /// Entries of a ring.
    pub entries: u32,
}

/// Direction of a fast-path command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Encrypt.
    Encrypt,
    /// Decrypt.
    Decrypt,
}

/// Cipher of a fast-path command and what only it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM over padded AAD followed by text.
    Gcm {
        /// Bulk key id.
        key: u32,
        /// Initialisation vector, for decryption.
        iv: [u8; 12],
        /// Expected tag, for decryption.
        tag: [u8; 16],
        /// Length of the AAD.
        aad_len: u32,
        /// Length of the padded AAD at the start of source and destination.
        padded_aad_len: u32,
    },
    /// AES-256-XTS with data units of 4096 bytes.
    Xts {
        /// Bulk key id of the data key.
        data_key: u32,
        /// Bulk key id of the tweak key.
        tweak_key: u32,
        /// Number of the first data unit.
        unit: u64,
    },
}

/// A fast-path command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aes {
    /// Direction.
    pub direction: Direction,
    /// Session of the caller's file.
    pub session_id: u16,
    /// Short application id of that session.
    pub short_app_id: u8,
    /// Cipher.
    pub cipher: Cipher,
}

/// Outcome of a fast-path command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AesDone {
    /// Bytes produced, including the padded AAD.
    pub bytes: usize,
    /// Tag computed by GCM encryption.
    pub tag: [u8; 16],
    /// Initialisation vector used by GCM encryption.
    pub iv: [u8; 12],
    /// Whether the operation was FIPS approved.
    pub fips_approved: bool,
}

/// A command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The driver refused or failed the ioctl.
    #[error("{what}: {errno}{}", reason(*.errno, *.extended))]
    Ioctl {
        /// What was being done.
        what: &'static str,
        /// Error number.
        errno: Errno,
        /// Extended status, 0 if there is none.
        extended: u32,
    },
    /// The device completed a control command with an error and without a response.
    #[error("control command: the device reports transport status {0:#05x}")]
    Control(u32),
    /// The device completed a fast-path command with an error.
    #[error("AES command: the device reports status {status} with error code {code:#x}{}",
            aes_reason(*.status, *.code))]
    Aes {
        /// Status.
        status: u32,
        /// Error code.
        code: u32,
    },
    /// A reset failed.
    #[error("reset: {}", reset_reason(*.0))]
    Reset(u32),
    /// The driver returned something impossible.
    #[error("the driver returned {0}; this is a bug, please report it")]
    Impossible(&'static str),
}

impl Error {
    /// Whether the device refused a GCM tag.
    pub fn is_tag_mismatch(&self) -> bool {
        matches!(
            self,
            Self::Aes { status: 3, code: 9 }
                | Self::Aes {
                    status: 2,
                    code: 0x2a
                }
        )
    }
}

/// Says what an error of the driver means and what can be done.
fn reason(errno: Errno, extended: u32) -> String {
    let text = match (errno, extended) {
        (Errno::EAGAIN, uapi::AZIHSM_EXT_ABORT_IN_PROGRESS) => {
            "the controller is being reset, try again in a moment"
        }
        (Errno::EAGAIN, uapi::AZIHSM_EXT_ABORTED) => {
            "the command was lost to a reset of the controller, try again"
        }
        (Errno::EAGAIN, _) => "the controller is not ready, try again in a moment",
        (Errno::EACCES, _) => "the file was opened by another process",
        (Errno::EIO, _) => {
            "the controller is dead; see the kernel log, then unbind and bind the driver"
        }
        (Errno::ENODEV, _) => "the device is gone or its driver was unbound",
        (Errno::ENOTTY, _) => "not an HSM node, or its driver is too old",
        (Errno::EINVAL, uapi::AZIHSM_EXT_SESSION_LIMIT) => "this file has a session already",
        (Errno::EINVAL, uapi::AZIHSM_EXT_NO_SESSION) => "this file has no session",
        (Errno::EINVAL, uapi::AZIHSM_EXT_SESSION_MISMATCH) => "this file has another session",
        (Errno::EINVAL, uapi::AZIHSM_EXT_AES_NO_SESSION) => "this file has no session",
        (Errno::ENOMEM, _) => "the kernel is out of memory",
        _ => "",
    };
    match (text, extended) {
        ("", 0) => String::new(),
        ("", ext) => format!(" (extended status {ext:#x})"),
        (text, 0) => format!(" ({text})"),
        (text, ext) => format!(" ({text}; extended status {ext:#x})"),
    }
}

/// Names the device errors a user may meet.
fn aes_reason(status: u32, code: u32) -> &'static str {
    match (status, code) {
        (3, 9) | (2, 0x2a) => ": the tag does not match",
        (1, 1 | 2) | (2, 1) => ": no such key",
        (1, 3) | (2, 2) => ": the key belongs to another function",
        (1, 7..=0xa) | (2, 3 | 4) => ": the key belongs to another session",
        (5, _) => ": data transfer timed out",
        (7, _) => ": the queue was deleted",
        _ => "",
    }
}

/// Names the outcomes of the reset ioctl.
fn reset_reason(status: u32) -> String {
    match status {
        uapi::AZIHSM_RESET_IN_PROGRESS => {
            "another reset is in progress, try again in a moment".into()
        }
        uapi::AZIHSM_RESET_BAD_STATE => "the controller is not ready".into(),
        uapi::AZIHSM_RESET_FAILED => "the controller did not come back; see the kernel log".into(),
        other => format!("failed with status {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ioctl(errno: Errno, extended: u32) -> String {
        Error::Ioctl {
            what: "control command",
            errno,
            extended,
        }
        .to_string()
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = ioctl(Errno::EAGAIN, 0x0400_0001);
        assert!(text.starts_with("control command: EAGAIN"), "{text}");
        assert!(
            text.contains("being reset") && text.contains("0x4000001"),
            "{text}"
        );
        assert!(ioctl(Errno::ENODEV, 10).contains("unbound"));
        assert!(ioctl(Errno::EIO, 10).contains("unbind and bind"));
        assert!(ioctl(Errno::EACCES, 0).ends_with("(the file was opened by another process)"));
        assert!(ioctl(Errno::EINVAL, 117).ends_with("(extended status 0x75)"));
        assert!(!ioctl(Errno::EFAULT, 0).contains("extended"));
    }

    #[test]
    fn tag_mismatch_has_two_codes() {
        assert!(Error::Aes { status: 3, code: 9 }.is_tag_mismatch());
        assert!(
            Error::Aes {
                status: 2,
                code: 0x2a
            }
            .is_tag_mismatch()
        );
        assert!(!Error::Aes { status: 2, code: 9 }.is_tag_mismatch());
        assert!(!Error::Control(7).is_tag_mismatch());
    }
}
