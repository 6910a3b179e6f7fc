// SPDX-License-Identifier: GPL-2.0

//! The session slot against tables of what every command does to it: all kinds, in all states, with
//! all answers. The tables are a statement of their own, taken from the interface's documentation.

use kernel::prelude::*;

#[kunit_tests(azihsm_session_table)]
mod tests {
    use super::super::*;

    const ID: SessionId = SessionId(3);
    const OTHER: SessionId = SessionId(4);
    const APP: ShortAppId = ShortAppId(7);
    const SESSION: Session = Session {
        id: ID,
        app: Some(APP),
    };
    const KINDS: [Kind; 4] = [Kind::None, Kind::Open, Kind::Close, Kind::InSession];

    /// States of a slot, and what commands may begin in it.
    ///
    /// The columns: no kind; open; close with the right id, with a wrong one; in session with the
    /// right id, with a wrong one. `+` it may, `L` no: the file has a session, `N` no: the file has
    /// none, `M` no: not the file's, `w` it waits.
    const BEGIN: [(State, &[u8; 6]); 6] = [
        (State::Empty, b"++NNNN"),
        (State::Opening, b"+LNNNN"),
        (
            State::Open {
                session: SESSION,
                users: 0,
            },
            b"+L+M+M",
        ),
        (
            State::Open {
                session: SESSION,
                users: 1,
            },
            b"+LwM+M",
        ),
        (State::Closing { session: SESSION }, b"+LwMwM"),
        (
            State::Released {
                flush: Some(ID),
                users: 1,
            },
            b"+LNNNN",
        ),
    ];

    fn verdict(result: Result<Ticket, Blocked>, codes: [Ext; 3]) -> u8 {
        let [limit, none, mismatch] = codes;
        match result {
            Ok(_) => b'+',
            Err(Blocked::Wait) => b'w',
            Err(Blocked::Refused(r)) if r == Refusal::invalid(limit) => b'L',
            Err(Blocked::Refused(r)) if r == Refusal::invalid(none) => b'N',
            Err(Blocked::Refused(r)) if r == Refusal::invalid(mismatch) => b'M',
            Err(_) => b'?',
        }
    }

    // CP-13, CP-14, CP-15, SES-1, SES-3, SES-4, SES-6: the control path.
    #[test]
    fn what_may_begin() {
        let codes = [Ext::SESSION_LIMIT, Ext::NO_SESSION, Ext::SESSION_MISMATCH];
        for (state, wanted) in BEGIN {
            for kind in KINDS {
                for (id, id_valid) in [(ID, true), (OTHER, true), (ID, false), (OTHER, false)] {
                    let wrong = usize::from(id != ID || !id_valid);
                    let column = match kind {
                        Kind::None => 0,
                        Kind::Open => 1,
                        Kind::Close => 2 + wrong,
                        Kind::InSession => 4 + wrong,
                    };
                    let mut slot = Slot(state);
                    let begun = slot.begin(&Control { kind, id_valid, id });
                    assert_eq!(verdict(begun, codes), wanted[column]);
                    // What does not begin leaves no trace.
                    if wanted[column] != b'+' {
                        assert_eq!(slot.0, state);
                    }
                }
            }
        }
    }

    // FP-8, FP-10, SES-4, SES-6: the fast path.
    #[test]
    fn what_may_begin_on_the_fast_path() {
        let codes = [Ext::OK, Ext::AES_NO_SESSION, Ext::AES_SESSION_ID];
        for (state, wanted) in BEGIN {
            for (id, column) in [(ID, 4), (OTHER, 5)] {
                let mut slot = Slot(state);
                assert_eq!(verdict(slot.begin_aes(id), codes), wanted[column]);
            }
        }
    }

    /// How many answers there are.
    const ANSWERS: u32 = 1 + 2 * 4 * 3 * 2 * 2;

    /// All answers that a device can give, and none.
    fn answers(mut each: impl FnMut(Option<Reply>)) {
        each(None);
        for status in [0, 7] {
            for kind in KINDS {
                for session in [None, Some(ID), Some(OTHER)] {
                    for app in [None, Some(APP)] {
                        for safe_to_close in [false, true] {
                            each(Some(Reply {
                                status,
                                byte_count: 0,
                                kind,
                                session,
                                app,
                                safe_to_close,
                            }));
                        }
                    }
                }
            }
        }
    }

    /// What an answered open comes to: the session that the device has now, and whether the answer
    /// is believed.
    fn opened(reply: Option<Reply>) -> (Option<Session>, bool) {
        match reply {
            Some(r) if r.status == 0 && r.kind == Kind::Open => {
                (r.session.map(|id| Session { id, app: r.app }), true)
            }
            Some(r) if r.status == 0 => (None, false),
            _ => (None, true),
        }
    }

    /// What an answered close comes to: whether the session is gone, and whether the answer is
    /// believed.
    fn closed(reply: Option<Reply>) -> (bool, bool) {
        match reply {
            Some(r) if r.status == 0 && r.kind != Kind::Close => (false, false),
            Some(r) => (r.session == Some(ID) && r.safe_to_close, true),
            None => (false, true),
        }
    }

    fn begun(state: State, kind: Kind) -> Option<(Slot, Ticket)> {
        let mut slot = Slot(state);
        let control = Control {
            kind,
            id_valid: true,
            id: ID,
        };
        let ticket = slot.begin(&control).ok()?;
        Some((slot, ticket))
    }

    // SES-16: the device gives the session's id, or another, to another file.
    #[test]
    fn what_another_file_gets_is_forgotten() {
        for (state, _) in BEGIN {
            for id in [ID, OTHER] {
                let mut slot = Slot(state);
                let had = matches!(state, State::Open { .. }) && id == ID;
                assert_eq!(slot.displace(id), had);
                if had {
                    assert_eq!(slot.0, State::Empty);
                    // Commands that were outstanding may still end.
                    assert_eq!(slot.complete_aes(), Effect::None);
                    assert_eq!(slot.release(), None);
                } else {
                    assert_eq!(slot.0, state);
                }
            }
        }
    }

    // SES-2, SES-11: an open, delivered or not, whose file may be closed meanwhile.
    #[test]
    fn how_an_open_ends() {
        for delivered in [false, true] {
            for released in [false, true] {
                let mut seen = 0;
                answers(|reply| {
                    let Some((mut slot, ticket)) = begun(State::Empty, Kind::Open) else {
                        return;
                    };
                    seen += 1;
                    if released {
                        assert_eq!(slot.release(), None);
                    }
                    let effect = slot.complete(ticket, reply.as_ref(), delivered);
                    let (wanted, session) = match opened(reply) {
                        (_, false) => (Effect::Mismatch, None),
                        (None, true) => (Effect::None, None),
                        (Some(s), true) if released || !delivered => (Effect::Flush(s.id), None),
                        (Some(s), true) => (Effect::Opened(s), Some(s)),
                    };
                    assert_eq!(effect, wanted);
                    assert_eq!(slot.session(), session);
                });
                assert_eq!(seen, ANSWERS);
            }
        }
    }

    // SES-5, SES-9: a close, whose file may be closed meanwhile.
    #[test]
    fn how_a_close_ends() {
        let open = State::Open {
            session: SESSION,
            users: 0,
        };
        for delivered in [false, true] {
            for released in [false, true] {
                let mut seen = 0;
                answers(|reply| {
                    let Some((mut slot, ticket)) = begun(open, Kind::Close) else {
                        return;
                    };
                    seen += 1;
                    if released {
                        assert_eq!(slot.release(), None);
                    }
                    let effect = slot.complete(ticket, reply.as_ref(), delivered);
                    let (wanted, session) = match closed(reply) {
                        (true, _) => (Effect::Closed(ID), None),
                        (false, _) if released => (Effect::Flush(ID), None),
                        (false, true) => (Effect::None, Some(SESSION)),
                        (false, false) => (Effect::Mismatch, Some(SESSION)),
                    };
                    assert_eq!(effect, wanted);
                    assert_eq!(slot.session(), session);
                    // Nothing is flushed twice, and nothing that is gone.
                    let left = session.filter(|_| !released).map(|s| s.id);
                    assert_eq!(slot.release(), left);
                });
                assert_eq!(seen, ANSWERS);
            }
        }
    }

    // SES-1, SES-5, SES-9: commands that change no session, whatever the device answers.
    #[test]
    fn how_other_commands_end() {
        let open = State::Open {
            session: SESSION,
            users: 0,
        };
        for (state, kind) in [
            (State::Empty, Kind::None),
            (open, Kind::None),
            (open, Kind::InSession),
        ] {
            for released in [false, true] {
                let mut seen = 0;
                answers(|reply| {
                    let Some((mut slot, ticket)) = begun(state, kind) else {
                        return;
                    };
                    seen += 1;
                    let before = slot.session();
                    let in_session = kind == Kind::InSession;
                    // A command of the session keeps the flush back, another one does not.
                    let at_once = before.filter(|_| released && !in_session).map(|s| s.id);
                    if released {
                        assert_eq!(slot.release(), at_once);
                    }
                    let effect = slot.complete(ticket, reply.as_ref(), true);
                    if released && in_session {
                        assert_eq!(effect, Effect::Flush(ID));
                    } else {
                        assert_eq!(effect, Effect::None);
                    }
                    assert_eq!(slot.session(), before.filter(|_| !released));
                });
                assert_eq!(seen, ANSWERS);
            }
        }
    }
}
