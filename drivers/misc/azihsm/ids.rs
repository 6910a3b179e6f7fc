// SPDX-License-Identifier: GPL-2.0

//! Which session ids of the device are accounted for.
//!
//! When the end of an open is lost the device may hold a session whose id nobody was told; so it may
//! when the driver is bound to it, or when a file was closed while the controller was given up. All
//! that is known of such a session is that its id is none of those that the driver was told: they
//! belong to files, or wait to be flushed. So all others are flushed, which does no harm where there
//! is no session, at a time when no open is outstanding: an open could be given such an id.

use kernel::prelude::*;

use crate::wire::{
    control::SESSIONS,
    SessionId, //
};

/// The session ids of a function.
#[derive(Debug)]
pub(crate) struct Ids {
    /// How often each id is accounted for: the next holder may be told of an id before it is noted
    /// that the last one lost it.
    held: [u8; SESSIONS as usize],
    /// Opens that are outstanding.
    opening: u32,
    /// The device may hold a session that is not accounted for.
    lost: bool,
    /// A sweep is under way.
    sweeping: bool,
}

/// A sweep is due or under way: ask again when it is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sweeping;

impl Ids {
    /// Returns the ids of a function of which nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self {
            held: [0; SESSIONS as usize],
            opening: 0,
            lost: true,
            sweeping: false,
        }
    }

    /// Announces an open; take it back with [`end_open`](Self::end_open).
    ///
    /// # Errors
    ///
    /// [`Sweeping`] if it has to wait.
    pub(crate) fn begin_open(&mut self) -> Result<(), Sweeping> {
        if self.lost || self.sweeping {
            return Err(Sweeping);
        }
        self.opening = self.opening.saturating_add(1);
        Ok(())
    }

    /// Takes back the announcement of an open, after [`hold`](Self::hold) if it opened a session.
    ///
    /// `lost` says that the device may have opened one without telling. Returns whether a sweep is
    /// due.
    pub(crate) fn end_open(&mut self, lost: bool) -> bool {
        self.opening = self.opening.saturating_sub(1);
        self.lost |= lost;
        self.is_sweep_due()
    }

    /// Returns whether a sweep is due and can begin.
    pub(crate) fn is_sweep_due(&self) -> bool {
        self.lost && self.opening == 0 && !self.sweeping
    }

    /// Notes that a session is accounted for.
    pub(crate) fn hold(&mut self, id: SessionId) {
        if let Some(held) = self.held.get_mut(usize::from(id.0)) {
            *held = held.saturating_add(1);
        }
    }

    /// Notes that a session that was accounted for is gone.
    pub(crate) fn release(&mut self, id: SessionId) {
        if let Some(held) = self.held.get_mut(usize::from(id.0)) {
            *held = held.saturating_sub(1);
        }
    }

    /// Notes that a session will not be flushed, although it is nobody's any more.
    pub(crate) fn abandon(&mut self, id: SessionId) {
        self.release(id);
        self.lost = true;
    }

    /// Notes that all sessions are gone.
    pub(crate) fn forget(&mut self) {
        self.held = [0; SESSIONS as usize];
        self.lost = false;
    }

    /// Begins a sweep if one is due and can be: returns the ids to flush. End it with
    /// [`end_sweep`](Self::end_sweep).
    pub(crate) fn begin_sweep(&mut self) -> Option<impl Iterator<Item = SessionId>> {
        if !self.is_sweep_due() {
            return None;
        }
        self.lost = false;
        self.sweeping = true;
        let held = self.held;
        Some(
            (0..)
                .zip(held)
                .filter(|(_, held)| *held == 0)
                .map(|(id, _)| SessionId(id)),
        )
    }

    /// Ends a sweep; it is due again if it was not `complete`.
    pub(crate) fn end_sweep(&mut self, complete: bool) {
        self.sweeping = false;
        self.lost |= !complete;
    }
}

#[kunit_tests(azihsm_ids)]
mod tests {
    use super::*;

    /// Returns the ids of a function that certainly has no sessions.
    fn swept() -> Ids {
        let mut ids = Ids::new();
        ids.forget();
        ids
    }

    fn orphans(ids: &mut Ids) -> Option<u32> {
        Some(ids.begin_sweep()?.fold(0, |mask, id| mask | 1 << id.0))
    }

    #[test]
    fn nothing_lost_nothing_swept() {
        let mut ids = swept();
        assert_eq!(ids.begin_open(), Ok(()));
        assert!(!ids.end_open(false));
        assert_eq!(orphans(&mut ids), None);
    }

    // SES-15
    #[test]
    fn the_first_open_waits_for_a_sweep() {
        let mut ids = Ids::new();
        assert_eq!(ids.begin_open(), Err(Sweeping));
        assert_eq!(orphans(&mut ids), Some(0xff));
        ids.end_sweep(true);
        assert_eq!(ids.begin_open(), Ok(()));
    }

    // SES-15
    #[test]
    fn what_is_abandoned_is_swept() {
        let mut ids = swept();
        ids.hold(SessionId(0));
        ids.hold(SessionId(5));
        ids.abandon(SessionId(5));
        assert_eq!(orphans(&mut ids), Some(0xfe));
    }

    // SES-15
    #[test]
    fn what_nobody_holds_is_swept() {
        let mut ids = swept();
        ids.hold(SessionId(0));
        ids.hold(SessionId(2));
        ids.hold(SessionId(2));
        ids.release(SessionId(2));
        ids.hold(SessionId(7));
        ids.release(SessionId(7));
        assert_eq!(ids.begin_open(), Ok(()));
        assert!(ids.end_open(true));
        assert_eq!(orphans(&mut ids), Some(0b1111_1010));
        // Once.
        assert_eq!(orphans(&mut ids), None);
        ids.end_sweep(true);
        assert_eq!(orphans(&mut ids), None);
    }

    // SES-15
    #[test]
    fn a_sweep_and_opens_exclude_each_other() {
        let mut ids = swept();
        assert_eq!(ids.begin_open(), Ok(()));
        assert_eq!(ids.begin_open(), Ok(()));
        assert!(!ids.end_open(true));
        assert_eq!(ids.begin_open(), Err(Sweeping));
        assert_eq!(orphans(&mut ids), None);
        ids.hold(SessionId(1));
        assert!(ids.end_open(false));
        assert_eq!(orphans(&mut ids), Some(0b1111_1101));
        assert_eq!(ids.begin_open(), Err(Sweeping));
        ids.end_sweep(false);
        // It failed, so it is due again.
        assert_eq!(ids.begin_open(), Err(Sweeping));
        assert!(orphans(&mut ids).is_some());
        ids.end_sweep(true);
        assert_eq!(ids.begin_open(), Ok(()));
    }

    #[test]
    fn strange_ids_are_nobodys() {
        let mut ids = Ids::new();
        ids.hold(SessionId(8));
        ids.hold(SessionId(u16::MAX));
        ids.release(SessionId(3));
        ids.forget();
        assert_eq!(ids.begin_open(), Ok(()));
        assert!(ids.end_open(true));
        assert_eq!(orphans(&mut ids), Some(0xff));
    }
}
