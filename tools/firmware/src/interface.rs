// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interface between the emulated queue hardware and the firmware behind it.
//!
//! Values are those of the device specification: section numbers refer to the device model.

use std::sync::Arc;

pub use azihsm_ddi::SessionKind;

/// Controller id of a function: 0 for the PF, n + 1 for VF n (section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u16);

/// What happens to a function as a whole (sections 2 and 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// CC.EN went to 1; the function may run commands.
    Enable,
    /// CC.EN went to 0.
    Disable,
    /// The subsystem reset signature was written.
    Nssr,
    /// Function level reset of this function.
    Flr,
    /// The resources owned by the function changed.
    Resources {
        /// Device-wide indexes of the resources owned from now on: bit i stands for resource i.
        owned: u128,
        /// VM launch GUID given with the command.
        guid: [u8; 16],
    },
}

/// A control command whose request was fetched (section 6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRequest {
    /// Session control kind of the SQE.
    pub kind: SessionKind,
    /// Session id of the SQE if its "valid" bit is set.
    pub session_id: Option<u16>,
    /// The encoded DDI request.
    pub request: Vec<u8>,
}

/// What to roll back when a response cannot be delivered (section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Close the session that the command opened.
    Session(u16),
    /// Delete the key that the command made.
    Key(u16),
}

/// Session fields of a control CQE (section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionResult {
    /// Session control kind of the request's operation, 0 to 3.
    pub kind: u8,
    /// "Session id valid" flag.
    pub id_valid: bool,
    /// "Short app id valid" flag.
    pub app_valid: bool,
    /// "Safe to close session" flag.
    pub safe_to_close: bool,
    /// Session id.
    pub session_id: u16,
    /// Short application id.
    pub short_app_id: u8,
}

/// Outcome of a control command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlResponse {
    /// Transport status of the CQE (11 bits); 0 means that `response` is delivered.
    pub status: u16,
    /// Session fields of the CQE.
    pub session: SessionResult,
    /// The encoded DDI response.
    pub response: Vec<u8>,
    /// What [`Firmware::undo`] is to be called with if the response cannot be written to the host.
    pub undo: Option<Undo>,
}

/// Cipher of a fast-path command and what only it needs (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    Gcm {
        /// Bulk key id.
        key: u32,
        /// Initialisation vector.
        iv: [u8; 12],
        /// Expected tag, for decryption.
        tag: [u8; 16],
        /// Length of the AAD without its padding, in bytes.
        aad_len: u32,
        /// Length of the padded AAD at the start of the data, in bytes.
        padded_aad_len: u32,
        /// Length of the unaligned tail at the end of the data (0 to 15 bytes).
        tail_len: u8,
    },
    /// AES-256-XTS.
    Xts {
        /// Bulk key id of the data key.
        key1: u32,
        /// Bulk key id of the tweak key.
        key2: u32,
        /// Number of the first data unit, little-endian.
        tweak: [u8; 16],
        /// Data unit in bytes; `None`: the whole transfer is one unit.
        data_unit: Option<u32>,
    },
}

/// A fast-path command whose data was fetched (section 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastRequest {
    /// Cipher and parameters.
    pub cipher: Cipher,
    /// Direction.
    pub decrypt: bool,
    /// Session id of the SQE.
    pub session_id: u16,
    /// Short application id of the SQE.
    pub short_app_id: u8,
    /// Source stream: for GCM padded AAD, text, tail.
    pub data: Vec<u8>,
}

/// Outcome of a fast-path command (section 7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FastResponse {
    /// Status of the CQE (15 bits).
    pub status: u16,
    /// Error code of the CQE.
    pub error: u16,
    /// GCM tag computed.
    pub tag: [u8; 16],
    /// GCM initialisation vector used.
    pub iv: [u8; 12],
    /// FIPS indicator.
    pub fips: u32,
    /// Output stream, laid out as the source. May be present although `status` is not 0: a device that checks
    /// a GCM tag after the transfer has written it to the host already.
    pub data: Vec<u8>,
}

/// State of one session, for statistics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Session id.
    pub id: u16,
    /// Reserved after a reset, waiting for ReopenSession or CloseSession (section 9.2).
    pub needs_renegotiation: bool,
}

/// What the HSM does with commands.
///
/// Calls come from many threads at once: one for each control queue, several for each fast-path queue. A state
/// change of a function is called when no command of that function runs, except where section 2 says otherwise.
pub trait Firmware: Send + Sync {
    /// Runs a control command (opcode 0).
    fn control(&self, function: FunctionId, request: ControlRequest) -> ControlResponse;

    /// Rolls back a control command whose response could not be written to the host.
    fn undo(&self, function: FunctionId, undo: Undo);

    /// Flushes a session (opcode 1); returns the transport status and the session fields (section 6.6).
    fn flush(&self, function: FunctionId, session_id: u16) -> (u16, SessionResult);

    /// Runs a fast-path command.
    fn fast(&self, function: FunctionId, request: FastRequest) -> FastResponse;

    /// Carries out a state change.
    fn state(&self, function: FunctionId, change: StateChange);

    /// Returns the sessions that the function holds.
    fn sessions(&self, function: FunctionId) -> Vec<SessionInfo>;

    /// Returns what the firmware needs to know about a stopped function to go on with it on another device
    /// (section 4.9); `None` if it cannot.
    fn save(&self, function: FunctionId) -> Option<Vec<u8>>;

    /// Gives a disabled function what [`Firmware::save`] returned; false if that is not right, and nothing is changed
    /// then. Its sessions need renegotiation.
    fn restore(&self, function: FunctionId, context: &[u8]) -> bool;
}

impl<F: Firmware + ?Sized> Firmware for Arc<F> {
    fn control(&self, function: FunctionId, request: ControlRequest) -> ControlResponse {
        (**self).control(function, request)
    }

    fn undo(&self, function: FunctionId, undo: Undo) {
        (**self).undo(function, undo);
    }

    fn flush(&self, function: FunctionId, session_id: u16) -> (u16, SessionResult) {
        (**self).flush(function, session_id)
    }

    fn fast(&self, function: FunctionId, request: FastRequest) -> FastResponse {
        (**self).fast(function, request)
    }

    fn state(&self, function: FunctionId, change: StateChange) {
        (**self).state(function, change);
    }

    fn sessions(&self, function: FunctionId) -> Vec<SessionInfo> {
        (**self).sessions(function)
    }

    fn save(&self, function: FunctionId) -> Option<Vec<u8>> {
        (**self).save(function)
    }

    fn restore(&self, function: FunctionId, context: &[u8]) -> bool {
        (**self).restore(function, context)
    }
}
