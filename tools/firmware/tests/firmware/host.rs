// SPDX-License-Identifier: MIT OR Apache-2.0

//! A host that talks to firmware directly.

use azihsm_ddi::{
    AesKeySize, SessionKind, Status,
    client::{Client, ClientError, Credential, OwnerKey, Partition, Session, Transport},
};
use azihsm_firmware::{
    Cipher, ControlRequest, ControlResponse, FastRequest, FastResponse, Firmware, FunctionId,
    Model, StateChange,
};

pub const FUNCTION: FunctionId = FunctionId(1);
pub const OTHER_FUNCTION: FunctionId = FunctionId(2);
pub const CREDENTIAL: Credential = Credential {
    id: [0x11; 16],
    pin: [0x22; 16],
};
pub const TEST_KEY: [u8; 32] = {
    let mut key = [0; 32];
    let mut i = 0;
    while i < 32 {
        key[i as usize] = i * 7 + 1;
        i += 1;
    }
    key
};

/// Gives a function two resources and enables it.
pub fn power_up(firmware: &impl Firmware, function: FunctionId) {
    let owned = 0b11 << (2 * function.0);
    firmware.state(
        function,
        StateChange::Resources {
            owned,
            guid: [function.0 as u8; 16],
        },
    );
    firmware.state(function, StateChange::Enable);
}

/// Resets a function and brings it back.
pub fn reset(firmware: &impl Firmware, function: FunctionId, change: StateChange) {
    firmware.state(function, change);
    firmware.state(function, StateChange::Enable);
}

/// The way of control commands to firmware.
pub struct Direct<'f, F> {
    pub firmware: &'f F,
    pub function: FunctionId,
    /// The last response.
    pub last: ControlResponse,
}

/// Transport status of a command without response.
pub type Error = ClientError<u16>;

impl<F: Firmware> Transport for Direct<'_, F> {
    type Error = u16;

    fn exchange(
        &mut self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, u16> {
        let request = ControlRequest {
            kind,
            session_id,
            request: request.to_vec(),
        };
        self.last = self.firmware.control(self.function, request);
        match self.last.status {
            0 => Ok(self.last.response.clone()),
            status => Err(status),
        }
    }
}

pub fn client<F: Firmware>(firmware: &F, function: FunctionId) -> Client<Direct<'_, F>> {
    Client::new(Direct {
        firmware,
        function,
        last: ControlResponse::default(),
    })
}

/// A provisioned function with an open session.
pub struct Ready<'f, F> {
    pub client: Client<Direct<'f, F>>,
    pub owner: OwnerKey,
    pub partition: Partition,
    pub session: Session,
}

pub fn ready<F: Firmware>(firmware: &F, function: FunctionId) -> Ready<'_, F> {
    power_up(firmware, function);
    let mut client = client(firmware, function);
    let owner = OwnerKey::random();
    let partition = client.establish(&CREDENTIAL, &owner).unwrap();
    let session = client.open_session(&CREDENTIAL).unwrap();
    Ready {
        client,
        owner,
        partition,
        session,
    }
}

impl<F: Firmware> Ready<'_, F> {
    /// Makes a key of the application for the fast path.
    pub fn bulk_key(&mut self, size: AesKeySize, label: &[u8]) -> u32 {
        let key = self
            .client
            .generate_aes_key(self.session.id, size, label, false)
            .unwrap();
        key.bulk_key_id.unwrap().into()
    }
}

/// A model with the test key and an open session on its first function.
pub fn test_model() -> Model {
    Model::builder()
        .test_key(TEST_KEY)
        .fips_approved(true)
        .build()
}

/// What the test key makes of a label.
pub fn labelled_key(label: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| match label {
        [] => TEST_KEY[i],
        _ => TEST_KEY[i] ^ label[i % label.len()],
    })
}

/// Label that makes the test key `key`.
pub fn label_for(key: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|i| TEST_KEY[i] ^ key[i])
}

/// A command on the fast path in session `session_id`.
pub fn fast(
    firmware: &impl Firmware,
    cipher: Cipher,
    decrypt: bool,
    session_id: u16,
    data: &[u8],
) -> FastResponse {
    let data = data.to_vec();
    firmware.fast(
        FUNCTION,
        FastRequest {
            cipher,
            decrypt,
            session_id,
            short_app_id: 0,
            data,
        },
    )
}

/// GCM parameters for AAD and text, and the source stream, laid out as a host does.
pub fn gcm(key: u32, iv: [u8; 12], tag: [u8; 16], aad: &[u8], text: &[u8]) -> (Cipher, Vec<u8>) {
    let front = if matches!(aad.len() % 32, 1..=16) {
        16
    } else {
        0
    };
    let mut data = vec![0; front];
    data.extend_from_slice(aad);
    data.resize(data.len().next_multiple_of(32), 0);
    let padded_aad_len = data.len() as u32;
    data.extend_from_slice(text);
    let cipher = Cipher::Gcm {
        key,
        iv,
        tag,
        aad_len: aad.len() as u32,
        padded_aad_len,
        tail_len: (text.len() % 16) as u8,
    };
    (cipher, data)
}

#[track_caller]
pub fn assert_status<T: std::fmt::Debug>(result: Result<T, Error>, status: Status) {
    assert_eq!(result.unwrap_err().status(), Some(status));
}
