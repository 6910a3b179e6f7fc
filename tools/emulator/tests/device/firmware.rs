// SPDX-License-Identifier: GPL-2.0-or-later

//! A firmware that does what the test asks for, in the first bytes of a request or in the key id.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use azihsm_firmware::{
    Cipher, ControlRequest, ControlResponse, FastRequest, FastResponse, Firmware, FunctionId,
    SessionInfo, SessionResult, StateChange, Undo,
};
use parking_lot::{Condvar, Mutex};

// A control request that starts with 0 is echoed.

/// Control request `[HOLD, gate, ..]`: waits for the gate, then echoes.
pub const HOLD: u8 = 1;
/// Control request `[LENGTH, low, high]`: the response has that many bytes, each 0xa5.
pub const LENGTH: u8 = 2;
/// Control request `[STATUS, low, high]`: fails with that transport status.
pub const STATUS: u8 = 3;
/// Control request `[OPEN]`: opens session 5 of application 9.
pub const OPEN: u8 = 4;
/// Control request `[CLOSE]`: closes session 5.
pub const CLOSE: u8 = 5;
/// Control request `[PANIC]`: panics.
pub const PANIC: u8 = 6;

/// Key id of a fast-path command that inverts the data.
pub const KEY_INVERT: u32 = 0;
/// Key id of a command that fails with status 2, code 1, without output.
pub const KEY_ERROR: u32 = 1;
/// Key id of a command that inverts the data and fails with status 3, code 9.
pub const KEY_TAG: u32 = 2;
/// Key id of a command whose output is short.
pub const KEY_SHORT: u32 = 3;
/// Key id of a command that panics.
pub const KEY_PANIC: u32 = 4;
/// Key ids from here on: waits for gate `key - KEY_HOLD`, then inverts.
pub const KEY_HOLD: u32 = 0x100;

/// How long a gate is waited for before the test is given up.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Gates {
    open: BTreeSet<u32>,
    waiting: BTreeSet<u32>,
}

/// The firmware.
#[derive(Default)]
pub struct TestFirmware {
    gates: Mutex<Gates>,
    moved: Condvar,
    /// State changes in the order they came.
    pub changes: Mutex<Vec<(u16, StateChange)>>,
    /// Roll-backs in the order they came.
    pub undone: Mutex<Vec<Undo>>,
    /// Fast-path requests in the order they came.
    pub fast: Mutex<Vec<FastRequest>>,
    /// Control requests in the order they came.
    pub control: Mutex<Vec<ControlRequest>>,
    /// Contexts in the order they came, with the function they are for.
    pub restored: Mutex<Vec<(u16, Vec<u8>)>>,
}

impl TestFirmware {
    /// Opens a gate for good.
    pub fn open(&self, gate: u32) {
        self.gates.lock().open.insert(gate);
        self.moved.notify_all();
    }

    /// Waits until commands wait at all of the gates.
    pub fn await_waiting(&self, gates: &[u32]) {
        let limit = Instant::now() + LIMIT;
        let mut state = self.gates.lock();
        while !gates.iter().all(|g| state.waiting.contains(g)) {
            assert!(
                !self.moved.wait_until(&mut state, limit).timed_out(),
                "no command waits at {gates:?}"
            );
        }
    }

    /// Returns the gates that commands have come to.
    pub fn waiting(&self) -> Vec<u32> {
        self.gates.lock().waiting.iter().copied().collect()
    }

    /// Returns the state changes so far.
    pub fn changes(&self) -> Vec<StateChange> {
        self.changes.lock().iter().map(|(_, c)| *c).collect()
    }

    fn pass(&self, gate: u32) {
        let limit = Instant::now() + LIMIT;
        let mut state = self.gates.lock();
        state.waiting.insert(gate);
        self.moved.notify_all();
        while !state.open.contains(&gate) {
            assert!(
                !self.moved.wait_until(&mut state, limit).timed_out(),
                "gate {gate} was never opened"
            );
        }
    }
}

impl Firmware for TestFirmware {
    fn control(&self, _: FunctionId, request: ControlRequest) -> ControlResponse {
        self.control.lock().push(request.clone());
        let data = request.request;
        let number = || u16::from_le_bytes([data[1], data[2]]);
        let session = SessionResult {
            session_id: 5,
            short_app_id: 9,
            ..Default::default()
        };
        match data[0] {
            HOLD => self.pass(data[1].into()),
            LENGTH => {
                return ControlResponse {
                    response: vec![0xa5; number().into()],
                    ..Default::default()
                };
            }
            STATUS => {
                return ControlResponse {
                    status: number(),
                    ..Default::default()
                };
            }
            OPEN => {
                return ControlResponse {
                    session: SessionResult {
                        kind: 1,
                        id_valid: true,
                        app_valid: true,
                        ..session
                    },
                    response: data,
                    undo: Some(Undo::Session(5)),
                    status: 0,
                };
            }
            CLOSE => {
                return ControlResponse {
                    session: SessionResult {
                        kind: 2,
                        id_valid: true,
                        safe_to_close: true,
                        short_app_id: 0,
                        ..session
                    },
                    response: data,
                    ..Default::default()
                };
            }
            PANIC => panic!("asked for"),
            _ => {}
        }
        ControlResponse {
            response: data,
            ..Default::default()
        }
    }

    fn undo(&self, _: FunctionId, undo: Undo) {
        self.undone.lock().push(undo);
    }

    fn flush(&self, _: FunctionId, session_id: u16) -> (u16, SessionResult) {
        let session = SessionResult {
            kind: 2,
            id_valid: true,
            safe_to_close: true,
            session_id,
            ..Default::default()
        };
        (0, session)
    }

    fn fast(&self, _: FunctionId, request: FastRequest) -> FastResponse {
        self.fast.lock().push(request.clone());
        let (key, tag, iv) = match request.cipher {
            Cipher::Gcm { key, iv, .. } => (key, [0x77; 16], iv),
            Cipher::Xts { key1, .. } => (key1, [0; 16], [0; 12]),
        };
        let inverted: Vec<u8> = request.data.iter().map(|b| !b).collect();
        let ok = FastResponse {
            tag,
            iv,
            fips: 1,
            data: inverted,
            ..Default::default()
        };
        match key {
            KEY_ERROR => FastResponse {
                status: 2,
                error: 1,
                ..Default::default()
            },
            KEY_TAG => FastResponse {
                status: 3,
                error: 9,
                ..ok
            },
            KEY_SHORT => FastResponse {
                data: Vec::new(),
                ..ok
            },
            KEY_PANIC => panic!("asked for"),
            KEY_HOLD.. => {
                self.pass(key - KEY_HOLD);
                ok
            }
            _ => ok,
        }
    }

    fn state(&self, function: FunctionId, change: StateChange) {
        self.changes.lock().push((function.0, change));
    }

    fn sessions(&self, _: FunctionId) -> Vec<SessionInfo> {
        vec![SessionInfo {
            id: 5,
            needs_renegotiation: false,
        }]
    }

    fn save(&self, function: FunctionId) -> Option<Vec<u8>> {
        Some(vec![function.0 as u8, 0xfa])
    }

    fn restore(&self, function: FunctionId, context: &[u8]) -> bool {
        self.restored.lock().push((function.0, context.to_vec()));
        context.ends_with(&[0xfa])
    }
}
