// SPDX-License-Identifier: MIT OR Apache-2.0

//! The session table of a function (section 9).

use azihsm_ddi::{ApiRev, Status};
use zeroize::Zeroizing;

use crate::SessionInfo;

/// Sessions of a function.
pub(super) const SESSIONS: usize = 8;

/// Short application id of every session: a partition has one application.
pub(super) const SHORT_APP_ID: u8 = 0;

/// State of a session that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Open.
    Live,
    /// Reserved after a reset.
    NeedsRenegotiation,
}

/// A session.
#[derive(Debug)]
struct Session {
    state: State,
    revision: ApiRev,
    /// Masks the session-only keys; gone after a reset.
    masking_key: Option<Zeroizing<[u8; 32]>>,
}

/// The sessions of a function.
#[derive(Debug, Default)]
pub(super) struct Sessions([Option<Session>; SESSIONS]);

impl Sessions {
    fn get(&self, id: u16) -> Result<&Session, Status> {
        self.0
            .get(usize::from(id))
            .ok_or(Status::VaultSessionLimitReached)?
            .as_ref()
            .ok_or(Status::SessionNotFound)
    }

    /// Looks a session up.
    pub(super) fn state(&self, id: u16) -> Result<State, Status> {
        self.get(id).map(|session| session.state)
    }

    /// Checks that `id` is open and returns the revision it was opened with.
    pub(super) fn live(&self, id: u16) -> Result<ApiRev, Status> {
        let session = self.get(id)?;
        match session.state {
            State::Live => Ok(session.revision),
            State::NeedsRenegotiation => Err(Status::SessionNeedsRenegotiation),
        }
    }

    /// Returns the key that masks the session-only keys of `id`.
    pub(super) fn masking_key(&self, id: u16) -> Result<&[u8; 32], Status> {
        self.get(id)?
            .masking_key
            .as_deref()
            .ok_or(Status::SessionNeedsRenegotiation)
    }

    /// Returns the lowest free id.
    pub(super) fn free_id(&self) -> Result<u16, Status> {
        let free = self.0.iter().position(Option::is_none);
        free.and_then(|id| u16::try_from(id).ok())
            .ok_or(Status::VaultSessionLimitReached)
    }

    /// Opens a session in a slot that is free or reserved.
    pub(super) fn open(&mut self, id: u16, revision: ApiRev, masking_key: Zeroizing<[u8; 32]>) {
        if let Some(slot) = self.0.get_mut(usize::from(id)) {
            let masking_key = Some(masking_key);
            *slot = Some(Session {
                state: State::Live,
                revision,
                masking_key,
            });
        }
    }

    /// Frees the slot of `id`; returns what it held.
    pub(super) fn free(&mut self, id: u16) -> Option<State> {
        let session = self.0.get_mut(usize::from(id))?.take()?;
        Some(session.state)
    }

    /// Reserves the slots of open sessions.
    pub(super) fn reset(&mut self) {
        for session in self.0.iter_mut().flatten() {
            session.state = State::NeedsRenegotiation;
            session.masking_key = None;
        }
    }

    /// Returns the revision of each session, by id.
    pub(super) fn revisions(&self) -> [Option<ApiRev>; SESSIONS] {
        self.0
            .each_ref()
            .map(|session| session.as_ref().map(|session| session.revision))
    }

    /// Reserves the slots that have a revision, and frees the others.
    pub(super) fn reserve(&mut self, revisions: [Option<ApiRev>; SESSIONS]) {
        self.0 = revisions.map(|revision| {
            Some(Session {
                state: State::NeedsRenegotiation,
                revision: revision?,
                masking_key: None,
            })
        });
    }

    /// Returns the sessions that exist.
    pub(super) fn list(&self) -> Vec<SessionInfo> {
        (0..)
            .zip(&self.0)
            .filter_map(|(id, session)| {
                let needs_renegotiation = session.as_ref()?.state == State::NeedsRenegotiation;
                Some(SessionInfo {
                    id,
                    needs_renegotiation,
                })
            })
            .collect()
    }
}
