// SPDX-License-Identifier: GPL-2.0-or-later

//! Which faults deceive: after them a correct host may report a wrong result as a right one. And which hide a session: after
//! them the device may hold one that the host cannot know of.
//!
//! The others a host can see through: a result that is lost, late, refused, or contradicts itself is an error and nothing else.

use super::Command;
use super::field::{Change, Field, Register};
use super::rule::What;
use crate::queue::Class;

/// Opcode that flushes a session, and the session control kind of a command that opens one.
const FLUSH: u16 = 1;
const OPEN: u8 = 1;

impl What {
    /// Returns whether a correct host may be deceived by this; `class` is that of the queue where it happens, if it is one.
    pub fn deceives(&self, class: Option<Class>) -> bool {
        match self {
            // A command that was not run, and ended well.
            What::Refuse { status, .. } => *status == 0,
            // Once its id is another command's, that one seems to have ended.
            What::Duplicate { .. } | What::Stale { .. } => true,
            What::Completion(fields) => fields.iter().any(|(f, change)| field(*f, *change, class)),
            What::Data { .. } | What::LateWrite { .. } => true,
            // A device that seems to be disabled may write on to memory that is others' by then.
            What::Registers(words) => words.contains_key(&Register::Csts),
            What::Ignore
            | What::ClearEnable
            | What::Fatal
            | What::Crash
            | What::Interrupt { .. }
            | What::Drop
            | What::Delay { .. }
            | What::Hold { .. }
            | What::Identify(_)
            | What::IdentifyFill(_)
            | What::RegistersGone
            | What::SlowRegisters { .. }
            | What::LostInterrupt
            | What::RepeatInterrupt { .. }
            | What::LostDoorbell
            | What::IgnoreEnable { .. }
            | What::IgnoreDisable { .. }
            | What::FatalDisabled => false,
        }
    }
}

impl Command {
    /// Returns whether the device may hold a session after this that nobody knows of: the open succeeded and is told to have
    /// failed, or the flush was never run and has ended. This is about commands of the control path.
    pub(super) fn hides_session(&self, what: &What) -> bool {
        match what {
            What::Refuse { .. } => self.opcode == FLUSH,
            What::Completion(fields) => {
                self.opcode != FLUSH
                    && self.session_kind == OPEN
                    && fields.contains_key(&Field::Status)
            }
            _ => false,
        }
    }
}

fn field(field: Field, change: Change, class: Option<Class>) -> bool {
    match field {
        // Another command seems to have ended.
        Field::Cid => true,
        // What the device alone knows.
        Field::Tag | Field::Iv | Field::SessionFlags | Field::SessionId | Field::AppId => true,
        // The length of a response; that of data is known.
        Field::Bytes => class != Some(Class::Fp),
        // A failure may become a success.
        Field::Status => !matches!(change, Change::Set(status) if status != 0),
        Field::Result
        | Field::Attributes
        | Field::TailLength
        | Field::Fips
        | Field::SqHead
        | Field::SqId
        | Field::Error
        | Field::Phase => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn deceives(f: Field, change: Change) -> bool {
        What::Completion(BTreeMap::from([
            (Field::Error, Change::Xor(1)),
            (f, change),
        ]))
        .deceives(Some(Class::Fp))
    }

    #[test]
    fn a_success_that_is_none_deceives() {
        let refuse = |status| What::Refuse { status, error: 0 };
        assert!(refuse(0).deceives(None));
        assert!(!refuse(4).deceives(None));
        assert!(deceives(Field::Status, Change::Set(0)));
        assert!(deceives(Field::Status, Change::Xor(4)));
        assert!(!deceives(Field::Status, Change::Set(4)));
    }

    #[test]
    fn a_session_is_hidden_by_a_wrong_end_of_its_command() {
        let command = |opcode, session_kind| Command {
            opcode,
            session_kind,
            dw10: 0,
        };
        let (open, close, flush) = (command(0, OPEN), command(0, 2), command(FLUSH, 2));
        let refuse = What::Refuse {
            status: 1,
            error: 0,
        };
        let failed = What::Completion(BTreeMap::from([(Field::Status, Change::Set(1))]));
        assert!(flush.hides_session(&refuse) && open.hides_session(&failed));
        // It was not opened, it was flushed, or the host closes it again.
        assert!(!open.hides_session(&refuse) && !flush.hides_session(&failed));
        assert!(!close.hides_session(&refuse) && !close.hides_session(&failed));
        // What is lost a host knows to be lost.
        assert!(!open.hides_session(&What::Drop) && !flush.hides_session(&What::Ignore));
    }

    #[test]
    fn what_contradicts_itself_does_not() {
        assert!(deceives(Field::Cid, Change::Add(1)));
        assert!(deceives(Field::Tag, Change::Add(1)));
        for f in [Field::SqId, Field::SqHead, Field::Phase, Field::Bytes] {
            assert!(!deceives(f, Change::Add(1)), "{f:?}");
        }
        assert!(!What::Drop.deceives(None));
    }
}
