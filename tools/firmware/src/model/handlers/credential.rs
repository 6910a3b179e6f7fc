// SPDX-License-Identifier: MIT OR Apache-2.0

//! BK3, credential and sessions (protocol section 4.5).

use azihsm_ddi::{
    ApiRev, Bytes, Status,
    message::{
        CloseSession, DerPublicKey, Empty, EncryptedSessionCredential, EncryptionKey,
        EstablishCredential, EstablishedCredential, GetEstablishCredEncryptionKey, GetSealedBk3,
        GetSessionEncryptionKey, InitBk3, MaskedBk3, OpenSession, OpenedSession, ReopenSession,
        SealedBk3, SetSealedBk3,
    },
};
use zeroize::Zeroizing;

use super::{Outcome, plain};
use crate::model::{
    access::{Access, Purpose},
    agreement::{self, Sent},
    control::{Call, Effect},
    function::Function,
    session::{SHORT_APP_ID, State},
};

/// Length of id, PIN and IV.
const BLOCK: usize = 16;
const SEED_LEN: usize = 48;

impl Function {
    pub(in crate::model) fn init_bk3(
        &mut self,
        _: &Call<'_>,
        request: InitBk3,
    ) -> Outcome<MaskedBk3> {
        let partition = self.partition()?;
        let masked_bk3 = field(partition.init_bk3(&request.bk3)?)?;
        plain(MaskedBk3 {
            masked_bk3,
            guid: partition.guid(),
        })
    }

    pub(in crate::model) fn get_sealed_bk3(
        &mut self,
        _: &Call<'_>,
        _: GetSealedBk3,
    ) -> Outcome<SealedBk3> {
        plain(SealedBk3 {
            sealed_bk3: self.partition()?.sealed_bk3()?,
        })
    }

    pub(in crate::model) fn set_sealed_bk3(
        &mut self,
        _: &Call<'_>,
        request: SetSealedBk3,
    ) -> Outcome<Empty> {
        self.partition()?.set_sealed_bk3(request.sealed_bk3)?;
        plain(Empty {})
    }

    pub(in crate::model) fn get_establish_cred_encryption_key(
        &mut self,
        _: &Call<'_>,
        _: GetEstablishCredEncryptionKey,
    ) -> Outcome<EncryptionKey> {
        plain(self.access.encryption_key(Purpose::Establish)?)
    }

    pub(in crate::model) fn get_session_encryption_key(
        &mut self,
        _: &Call<'_>,
        _: GetSessionEncryptionKey,
    ) -> Outcome<EncryptionKey> {
        plain(self.access.encryption_key(Purpose::Session)?)
    }

    pub(in crate::model) fn establish_credential(
        &mut self,
        _: &Call<'_>,
        request: EstablishCredential,
    ) -> Outcome<EstablishedCredential> {
        if self.access.is_established() {
            return Err(Status::VaultAppLimitReached);
        }
        let given = &request.credential;
        check_blocks([&given.id, &given.pin, &given.iv])?;
        let stream = self.access.open(
            Purpose::Establish,
            &Sent {
                public_key: &request.public_key,
                parts: &[&given.id, &given.pin],
                iv: &given.iv,
                nonce: &given.nonce,
                tag: &given.tag,
            },
        )?;
        let credential = Access::credential(&stream)?;
        let owner = agreement::public_key(&request.pota_public_key)?;
        let partition = self.partition()?;
        partition.check_owner(&owner, &request.pota_signature)?;
        let (secrets, bmk) = partition.unmask(&request.masked_bk3, &request.bmk)?;
        partition.adopt(secrets);
        self.access.establish(credential);
        plain(EstablishedCredential { bmk: field(bmk)? })
    }

    pub(in crate::model) fn open_session(
        &mut self,
        call: &Call<'_>,
        request: OpenSession,
    ) -> Outcome<OpenedSession> {
        let seed = self.log_in(&request.credential, &request.public_key)?;
        let id = self.sessions.free_id()?;
        let key = self.partition()?.new_session_key(&*seed)?;
        self.sessions.open(id, call.revision()?, key.key);
        opened(id, key.backup)
    }

    pub(in crate::model) fn reopen_session(
        &mut self,
        call: &Call<'_>,
        request: ReopenSession,
    ) -> Outcome<OpenedSession> {
        let id = call.session_id;
        if self.sessions.state(id)? != State::NeedsRenegotiation {
            return Err(Status::InvalidArg);
        }
        // Validation has left the revision of such a session to us.
        let revision = call.revision()?;
        if revision != ApiRev::V1 {
            return Err(Status::UnsupportedRevision);
        }
        let seed = self.log_in(&request.credential, &request.public_key)?;
        let key = self
            .partition()?
            .session_key(&*seed, &request.bmk_session)?;
        self.sessions.open(id, revision, key.key);
        opened(id, key.backup)
    }

    pub(in crate::model) fn close_session(
        &mut self,
        call: &Call<'_>,
        _: CloseSession,
    ) -> Outcome<Empty> {
        self.close(call.session_id).ok_or(Status::SessionNotFound)?;
        Ok((Empty {}, Effect::Closed))
    }

    /// Authenticates a client that wants a session, and returns the seed it sent.
    fn log_in(
        &mut self,
        given: &EncryptedSessionCredential,
        public_key: &DerPublicKey,
    ) -> Result<Zeroizing<[u8; SEED_LEN]>, Status> {
        self.access.admit()?;
        check_blocks([&given.id, &given.pin, &given.iv])?;
        if given.seed.len() != SEED_LEN {
            return Err(Status::InvalidArg);
        }
        let stream = self.access.open(
            Purpose::Session,
            &Sent {
                public_key,
                parts: &[&given.id, &given.pin, &given.seed],
                iv: &given.iv,
                nonce: &given.nonce,
                tag: &given.tag,
            },
        )?;
        self.access.login(&stream, self.shared.config.login)?;
        stream
            .last_chunk()
            .copied()
            .map(Zeroizing::new)
            .ok_or(Status::InternalError)
    }
}

fn opened(session_id: u16, backup: Vec<u8>) -> Outcome<OpenedSession> {
    let bmk_session = field(backup)?;
    let response = OpenedSession {
        session_id,
        short_app_id: SHORT_APP_ID,
        bmk_session,
    };
    Ok((response, Effect::Opened(session_id)))
}

/// Checks the length of fields that have to be exactly one block.
fn check_blocks(fields: [&[u8]; 3]) -> Result<(), Status> {
    if fields.iter().all(|field| field.len() == BLOCK) {
        Ok(())
    } else {
        Err(Status::InvalidArg)
    }
}

/// Wraps data of ours in a field of a response.
fn field<const MAX: usize>(data: Vec<u8>) -> Result<Bytes<MAX>, Status> {
    Bytes::new(data).map_err(|_| Status::InternalError)
}
