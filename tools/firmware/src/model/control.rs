// SPDX-License-Identifier: MIT OR Apache-2.0

//! Control commands: validation in the order of section 6.4, session fields of section 6.3.

use azihsm_ddi::{
    ApiRev, Op, Operation, Request, RequestHeader, ResponseHeader, SessionKind, Status,
    encode_error, encode_response,
    message::{
        AesEncryptDecrypt, AesGenerateKey, CloseSession, DeleteKey, EstablishCredential, GetApiRev,
        GetCertChainInfo, GetCertificate, GetDeviceInfo, GetEstablishCredEncryptionKey,
        GetSealedBk3, GetSessionEncryptionKey, InitBk3, OpenSession, ReopenSession, SetSealedBk3,
    },
};

use super::{
    function::Function,
    session::{SHORT_APP_ID, State},
};
use crate::{ControlRequest, ControlResponse, SessionResult, Undo};

/// Transport status when no response can be made at all.
const INTERNAL: u16 = 0x007;

/// A validated command.
pub(super) struct Call<'a> {
    pub(super) request: Request<'a>,
    /// Session of commands that close one or run in one.
    pub(super) session_id: u16,
}

impl Call<'_> {
    /// Revision in the header.
    pub(super) fn revision(&self) -> Result<ApiRev, Status> {
        self.request
            .header
            .revision
            .ok_or(Status::UnsupportedRevision)
    }
}

/// What a successful command did beyond its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Opened a session, anew or again.
    Opened(u16),
    /// Closed its session.
    Closed,
    /// Made a key.
    MadeKey(u16),
}

/// Encoded response and effect.
type Done = (Vec<u8>, Effect);

/// Why a command has no success to report.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// Refused before its session was accepted (steps 2 to 4).
    Refused(Status),
    /// Refused after that (steps 5 to 7).
    RefusedLate(Status),
    /// Failed while executing.
    Executing(Status),
}

impl Function {
    /// Runs a control command.
    pub(super) fn control(&mut self, command: &ControlRequest) -> ControlResponse {
        let Ok(request) = Request::parse(&command.request) else {
            let header = ResponseHeader {
                revision: None,
                op: Op::Invalid,
                session_id: None,
                status: Status::DdiDecodeFailed,
                fips_approved: false,
            };
            return error(&header, SessionResult::default());
        };
        let header = request.header;
        let result = self.validate(command, &header).and_then(|()| {
            self.execute(&Call {
                request,
                session_id: command.session_id.unwrap_or(0),
            })
        });
        match result {
            Ok((response, effect)) => success(command, header.op, response, effect),
            Err(failure) => refuse(command, &header, failure),
        }
    }

    /// Steps 2 to 5.
    fn validate(&self, command: &ControlRequest, header: &RequestHeader) -> Result<(), Failure> {
        if !self.enabled {
            return Err(Failure::Refused(Status::FunctionNotEnabled));
        }
        check_session_fields(command, header).map_err(Failure::Refused)?;
        self.check_revision(header).map_err(Failure::Refused)?;
        let in_session = header.op.session_kind() == SessionKind::InSession;
        if in_session && !self.access.is_established() {
            return Err(Failure::RefusedLate(Status::PartitionNotProvisioned));
        }
        Ok(())
    }

    /// Step 4.
    fn check_revision(&self, header: &RequestHeader) -> Result<(), Status> {
        let expected = match (header.op.session_kind(), header.session_id) {
            (SessionKind::None | SessionKind::Open, _) => match header.op {
                Op::GetApiRev => None,
                _ => Some(ApiRev::V1),
            },
            (SessionKind::Close | SessionKind::InSession, None) => return Err(Status::InvalidArg),
            (SessionKind::Close | SessionKind::InSession, Some(id)) => {
                let reserved = self.sessions.state(id) == Ok(State::NeedsRenegotiation);
                if reserved && matches!(header.op, Op::CloseSession | Op::ReopenSession) {
                    return Ok(());
                }
                Some(self.sessions.live(id)?)
            }
        };
        if header.revision == expected {
            Ok(())
        } else {
            Err(Status::UnsupportedRevision)
        }
    }

    /// Steps 6 and 7, and execution.
    fn execute(&mut self, call: &Call<'_>) -> Result<Done, Failure> {
        match call.request.header.op {
            Op::GetApiRev => self.run::<GetApiRev>(call, Self::get_api_rev),
            Op::GetDeviceInfo => self.run::<GetDeviceInfo>(call, Self::get_device_info),
            Op::GetCertChainInfo => self.run::<GetCertChainInfo>(call, Self::get_cert_chain_info),
            Op::GetCertificate => self.run::<GetCertificate>(call, Self::get_certificate),
            Op::GetEstablishCredEncryptionKey => self.run::<GetEstablishCredEncryptionKey>(
                call,
                Self::get_establish_cred_encryption_key,
            ),
            Op::GetSessionEncryptionKey => {
                self.run::<GetSessionEncryptionKey>(call, Self::get_session_encryption_key)
            }
            Op::InitBk3 => self.run::<InitBk3>(call, Self::init_bk3),
            Op::GetSealedBk3 => self.run::<GetSealedBk3>(call, Self::get_sealed_bk3),
            Op::SetSealedBk3 => self.run::<SetSealedBk3>(call, Self::set_sealed_bk3),
            Op::EstablishCredential => {
                self.run::<EstablishCredential>(call, Self::establish_credential)
            }
            Op::OpenSession => self.run::<OpenSession>(call, Self::open_session),
            Op::ReopenSession => self.run::<ReopenSession>(call, Self::reopen_session),
            Op::CloseSession => self.run::<CloseSession>(call, Self::close_session),
            Op::AesGenerateKey => self.run::<AesGenerateKey>(call, Self::aes_generate_key),
            Op::DeleteKey => self.run::<DeleteKey>(call, Self::delete_key),
            Op::AesEncryptDecrypt => self.run::<AesEncryptDecrypt>(call, Self::aes_encrypt_decrypt),
            _ => Err(Failure::RefusedLate(Status::UnsupportedCmd)),
        }
    }

    /// Decodes the body, has `handler` carry the operation out, and encodes the response.
    fn run<O: Operation>(
        &mut self,
        call: &Call<'_>,
        handler: impl FnOnce(&mut Self, &Call<'_>, O) -> Result<(O::Response, Effect), Status>,
    ) -> Result<Done, Failure> {
        let body = call
            .request
            .body::<O>()
            .map_err(|_| Failure::RefusedLate(Status::DdiDecodeFailed))?;
        let (response, effect) = handler(self, call, body).map_err(Failure::Executing)?;
        let request = &call.request.header;
        let session_id = match effect {
            Effect::Opened(id) => Some(id),
            _ => request.session_id,
        };
        let header = ResponseHeader {
            revision: request.revision,
            op: request.op,
            session_id,
            status: Status::Success,
            fips_approved: self.shared.config.fips_approved,
        };
        let response = encode_response(&header, &response)
            .map_err(|_| Failure::Executing(Status::DdiEncodeFailed))?;
        Ok((response, effect))
    }
}

/// Step 3.
fn check_session_fields(command: &ControlRequest, header: &RequestHeader) -> Result<(), Status> {
    let kind = header.op.session_kind();
    if command.kind != kind {
        return Err(Status::InvalidArg);
    }
    match (kind, command.session_id) {
        (SessionKind::None, Some(_)) => Err(Status::InvalidArg),
        (SessionKind::Open, Some(_)) => Err(Status::SessionNotExpected),
        (SessionKind::Close | SessionKind::InSession, None) => Err(Status::InvalidArg),
        (_, session_id) if header.session_id != session_id => Err(Status::InvalidArg),
        _ => Ok(()),
    }
}

fn success(command: &ControlRequest, op: Op, response: Vec<u8>, effect: Effect) -> ControlResponse {
    let none = SessionResult {
        kind: op.session_kind() as u8,
        ..Default::default()
    };
    let (session, undo) = match effect {
        Effect::None => (none, None),
        Effect::MadeKey(id) => (none, Some(Undo::Key(id))),
        Effect::Opened(session_id) => {
            let short_app_id = SHORT_APP_ID;
            let (id_valid, app_valid) = (true, true);
            let session = SessionResult {
                id_valid,
                app_valid,
                session_id,
                short_app_id,
                ..none
            };
            (session, Some(Undo::Session(session_id)))
        }
        Effect::Closed => {
            let session_id = command.session_id.unwrap_or_default();
            let (id_valid, safe_to_close) = (true, true);
            (
                SessionResult {
                    id_valid,
                    safe_to_close,
                    session_id,
                    ..none
                },
                None,
            )
        }
    };
    ControlResponse {
        status: 0,
        session,
        response,
        undo,
    }
}

fn refuse(command: &ControlRequest, request: &RequestHeader, failure: Failure) -> ControlResponse {
    let (status, echo, executing) = match failure {
        Failure::Refused(status) => (status, true, false),
        Failure::RefusedLate(status) => (status, false, false),
        Failure::Executing(status) => (status, true, true),
    };
    tracing::debug!(op = ?request.op, %status, "control command fails");
    let header = ResponseHeader {
        revision: request.revision,
        op: request.op,
        session_id: request.session_id.filter(|_| echo),
        status,
        fips_approved: false,
    };
    let mut session = SessionResult {
        kind: request.op.session_kind() as u8,
        ..SessionResult::default()
    };
    if let Some(session_id) = command.session_id.filter(|_| executing) {
        session = SessionResult {
            id_valid: true,
            session_id,
            ..session
        };
    }
    error(&header, session)
}

fn error(header: &ResponseHeader, session: SessionResult) -> ControlResponse {
    match encode_error(header) {
        Ok(response) => ControlResponse {
            status: 0,
            session,
            response,
            undo: None,
        },
        Err(_) => ControlResponse {
            status: INTERNAL,
            ..ControlResponse::default()
        },
    }
}
