// SPDX-License-Identifier: GPL-2.0

//! The session slot through the lives that a session can have, one step after the other.

use kernel::prelude::*;

#[kunit_tests(azihsm_session)]
mod tests {
    use super::super::*;

    const ID: SessionId = SessionId(3);
    const OTHER: SessionId = SessionId(4);
    const APP: ShortAppId = ShortAppId(7);
    const SESSION: Session = Session {
        id: ID,
        app: Some(APP),
    };

    fn control(kind: Kind, id: SessionId) -> Control {
        Control {
            kind,
            id_valid: true,
            id,
        }
    }

    fn refused(ext: Ext) -> Result<Ticket, Blocked> {
        Err(Blocked::Refused(Refusal::invalid(ext)))
    }

    /// What a well-behaved device answers.
    fn reply(kind: Kind) -> Reply {
        Reply {
            status: 0,
            byte_count: 0,
            kind,
            session: Some(ID),
            app: (kind == Kind::Open).then_some(APP),
            safe_to_close: kind == Kind::Close,
        }
    }

    fn begin(slot: &mut Slot, kind: Kind) -> Result<Ticket> {
        slot.begin(&control(kind, ID)).map_err(|_| EBUSY)
    }

    fn open() -> Result<Slot> {
        let mut slot = Slot::new();
        let ticket = begin(&mut slot, Kind::Open)?;
        match slot.complete(ticket, Some(&reply(Kind::Open)), true) {
            Effect::Opened(SESSION) => Ok(slot),
            _ => Err(EPROTO),
        }
    }

    #[test]
    fn life_cycle() -> Result {
        let mut slot = open()?;
        assert_eq!(slot.session(), Some(SESSION));
        let ticket = begin(&mut slot, Kind::InSession)?;
        let effect = slot.complete(ticket, Some(&reply(Kind::InSession)), true);
        assert_eq!(effect, Effect::None);
        let ticket = begin(&mut slot, Kind::Close)?;
        let effect = slot.complete(ticket, Some(&reply(Kind::Close)), true);
        assert_eq!(effect, Effect::Closed(ID));
        assert_eq!(slot.session(), None);
        assert_eq!(slot.release(), None);
        Ok(())
    }

    #[test]
    fn empty_slot_refuses_session_commands() {
        let mut slot = Slot::new();
        for kind in [Kind::Close, Kind::InSession] {
            assert_eq!(slot.begin(&control(kind, ID)), refused(Ext::NO_SESSION));
        }
        assert_eq!(slot.begin_aes(ID), refused(Ext::AES_NO_SESSION));
        assert_eq!(slot.begin(&control(Kind::None, ID)), Ok(Ticket(Kind::None)));
    }

    #[test]
    fn ids_must_match() -> Result {
        let mut slot = open()?;
        for kind in [Kind::Close, Kind::InSession] {
            let mut control = control(kind, OTHER);
            assert_eq!(slot.begin(&control), refused(Ext::SESSION_MISMATCH));
            control.id = ID;
            control.id_valid = false;
            assert_eq!(slot.begin(&control), refused(Ext::SESSION_MISMATCH));
        }
        assert_eq!(slot.begin_aes(OTHER), refused(Ext::AES_SESSION_ID));
        let open = control(Kind::Open, OTHER);
        assert_eq!(slot.begin(&open), refused(Ext::SESSION_LIMIT));
        // The refused commands are not counted.
        assert!(begin(&mut slot, Kind::Close).is_ok());
        Ok(())
    }

    // SES-3, SES-4
    #[test]
    fn one_of_two_opens_wins() -> Result {
        let mut slot = Slot::new();
        let ticket = begin(&mut slot, Kind::Open)?;
        let open = control(Kind::Open, ID);
        assert_eq!(slot.begin(&open), refused(Ext::SESSION_LIMIT));
        assert_eq!(
            slot.begin(&control(Kind::InSession, ID)),
            refused(Ext::NO_SESSION)
        );
        assert_eq!(slot.session(), None);
        let effect = slot.complete(ticket, Some(&reply(Kind::Open)), true);
        assert_eq!(effect, Effect::Opened(SESSION));
        assert_eq!(slot.begin(&open), refused(Ext::SESSION_LIMIT));
        Ok(())
    }

    // SES-11
    #[test]
    fn open_without_a_caller_is_flushed() -> Result {
        let mut slot = Slot::new();
        let ticket = begin(&mut slot, Kind::Open)?;
        let effect = slot.complete(ticket, Some(&reply(Kind::Open)), false);
        assert_eq!(effect, Effect::Flush(ID));
        assert!(begin(&mut slot, Kind::Open).is_ok());
        Ok(())
    }

    #[test]
    fn open_that_ends_after_the_file_is_flushed() -> Result {
        let mut slot = Slot::new();
        let ticket = begin(&mut slot, Kind::Open)?;
        assert_eq!(slot.release(), None);
        let effect = slot.complete(ticket, Some(&reply(Kind::Open)), true);
        assert_eq!(effect, Effect::Flush(ID));
        assert_eq!(slot.session(), None);
        Ok(())
    }

    // SES-5
    #[test]
    fn failed_close_may_have_closed() -> Result {
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::Close)?;
        // The response could not be delivered, but the session is gone.
        let reply = Reply {
            status: 0x0c6,
            ..reply(Kind::Close)
        };
        let effect = slot.complete(ticket, Some(&reply), true);
        assert_eq!(effect, Effect::Closed(ID));
        assert_eq!(slot.session(), None);
        Ok(())
    }

    // SES-7
    #[test]
    fn session_survives_a_lost_close() -> Result {
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::Close)?;
        assert_eq!(slot.session(), Some(SESSION));
        assert_eq!(slot.complete(ticket, None, true), Effect::None);
        assert_eq!(slot.session(), Some(SESSION));
        assert!(begin(&mut slot, Kind::InSession).is_ok());
        Ok(())
    }

    #[test]
    fn reopen_changes_nothing() -> Result {
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::InSession)?;
        let reply = Reply {
            session: Some(OTHER),
            app: Some(ShortAppId(9)),
            safe_to_close: true,
            ..reply(Kind::InSession)
        };
        assert_eq!(slot.complete(ticket, Some(&reply), true), Effect::None);
        assert_eq!(slot.session(), Some(SESSION));
        Ok(())
    }

    // SES-6
    #[test]
    fn close_waits_for_the_commands_of_the_session() -> Result {
        let mut slot = open()?;
        let control_path = begin(&mut slot, Kind::InSession)?;
        let fast_path = slot.begin_aes(ID).map_err(|_| EBUSY)?;
        let close = control(Kind::Close, ID);
        assert_eq!(slot.begin(&close), Err(Blocked::Wait));
        assert_eq!(slot.complete(fast_path, None, true), Effect::None);
        assert_eq!(slot.begin(&close), Err(Blocked::Wait));
        assert_eq!(slot.complete(control_path, None, true), Effect::None);
        assert!(slot.begin(&close).is_ok());
        Ok(())
    }

    // SES-6
    #[test]
    fn nothing_joins_a_session_that_is_being_closed() -> Result {
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::Close)?;
        for kind in [Kind::Close, Kind::InSession] {
            assert_eq!(slot.begin(&control(kind, ID)), Err(Blocked::Wait));
            // What is wrong anyway need not wait.
            assert_eq!(
                slot.begin(&control(kind, OTHER)),
                refused(Ext::SESSION_MISMATCH)
            );
        }
        assert_eq!(slot.begin_aes(ID), Err(Blocked::Wait));
        assert_eq!(
            slot.begin(&control(Kind::Open, ID)),
            refused(Ext::SESSION_LIMIT)
        );
        let effect = slot.complete(ticket, Some(&reply(Kind::Close)), true);
        assert_eq!(effect, Effect::Closed(ID));
        assert_eq!(slot.begin_aes(ID), refused(Ext::AES_NO_SESSION));
        Ok(())
    }

    #[test]
    fn release_flushes_an_idle_session_at_once() -> Result {
        let mut slot = open()?;
        assert!(!slot.is_busy());
        assert_eq!(slot.release(), Some(ID));
        assert_eq!(slot.release(), None);
        assert!(!slot.is_busy());
        Ok(())
    }

    #[test]
    fn busy_is_who_would_flush_later() -> Result {
        assert!(!Slot::new().is_busy());
        let mut slot = open()?;
        let command = begin(&mut slot, Kind::InSession)?;
        assert!(slot.is_busy());
        assert_eq!(slot.complete(command, None, false), Effect::None);
        assert!(!slot.is_busy());
        let _close = begin(&mut slot, Kind::Close)?;
        assert!(slot.is_busy());
        Ok(())
    }

    // SES-9
    #[test]
    fn release_flushes_after_the_last_outstanding_command() -> Result {
        let mut slot = open()?;
        let first = begin(&mut slot, Kind::InSession)?;
        let second = begin(&mut slot, Kind::InSession)?;
        assert_eq!(slot.release(), None);
        assert_eq!(slot.complete(first, None, false), Effect::None);
        assert_eq!(slot.complete(second, None, false), Effect::Flush(ID));
        assert_eq!(slot.release(), None);
        Ok(())
    }

    #[test]
    fn release_during_a_close_flushes_unless_it_closed() -> Result {
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::Close)?;
        assert_eq!(slot.release(), None);
        let effect = slot.complete(ticket, Some(&reply(Kind::Close)), false);
        assert_eq!(effect, Effect::Closed(ID));
        assert_eq!(slot.release(), None);

        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::Close)?;
        assert_eq!(slot.release(), None);
        assert_eq!(slot.complete(ticket, None, false), Effect::Flush(ID));
        Ok(())
    }

    // SES-14
    #[test]
    fn a_session_that_the_device_lost_is_forgotten() -> Result {
        // Idle, in use, and being closed: the ends of commands are reported late, and change
        // nothing.
        let mut slot = open()?;
        slot.forget();
        assert_eq!(slot.session(), None);
        assert_eq!(slot.release(), None);

        for kind in [Kind::InSession, Kind::Close] {
            let mut slot = open()?;
            let ticket = begin(&mut slot, kind)?;
            slot.forget();
            assert_eq!(slot.session(), None);
            assert_eq!(slot.complete(ticket, None, true), Effect::None);
            assert_eq!(slot.release(), None);
        }

        // A closed file has nothing to flush any more.
        let mut slot = open()?;
        let ticket = begin(&mut slot, Kind::InSession)?;
        assert_eq!(slot.release(), None);
        slot.forget();
        assert_eq!(slot.complete(ticket, None, false), Effect::None);

        // An open that is outstanding goes on.
        let mut slot = Slot::new();
        let ticket = begin(&mut slot, Kind::Open)?;
        slot.forget();
        let effect = slot.complete(ticket, Some(&reply(Kind::Open)), true);
        assert_eq!(effect, Effect::Opened(SESSION));
        Ok(())
    }
}
