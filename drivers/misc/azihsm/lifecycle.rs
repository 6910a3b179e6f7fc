// SPDX-License-Identifier: GPL-2.0

//! Life-cycle of a controller.
//!
//! ```text
//!   New -> Live <-> Resetting <-> Dead
//!     \       \        |          /
//!      +-------+--> Removed <----+
//! ```
//!
//! A dead controller gets another chance only when the function was reset from outside.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

/// State of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Probe brings it up.
    New = 0,
    /// It takes commands.
    Live = 1,
    /// It is being reset; commands are refused for the moment.
    Resetting = 2,
    /// It was given up; commands are refused until the function is reset or probed again.
    Dead = 3,
    /// The driver lets go of it.
    Removed = 4,
}

impl State {
    /// Returns whether a controller in this state may go to state `to`.
    pub(crate) const fn may_become(self, to: Self) -> bool {
        match (self, to) {
            (Self::Removed, _) => false,
            (_, Self::Removed) => true,
            (Self::New, Self::Live) => true,
            (Self::Live | Self::Dead, Self::Resetting) => true,
            (Self::Resetting, Self::Live | Self::Dead) => true,
            _ => false,
        }
    }

    const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::New,
            1 => Self::Live,
            2 => Self::Resetting,
            3 => Self::Dead,
            _ => Self::Removed,
        }
    }
}

/// The state of a controller, changed from any context.
pub(crate) struct LifeCycle(Atomic<u32>);

impl LifeCycle {
    /// Returns the life-cycle of a controller that is not brought up yet.
    pub(crate) fn new() -> Self {
        // CAST: The enum is `repr(u32)`.
        Self(Atomic::new(State::New as u32))
    }

    /// Returns the present state.
    pub(crate) fn get(&self) -> State {
        // ORDERING: Pairs with the full barrier of `change`: who sees `Live` sees the queues.
        State::from_raw(self.0.load(Acquire))
    }

    /// Goes to state `to`; returns the state left, or as error the state that forbids it.
    pub(crate) fn change(&self, to: State) -> Result<State, State> {
        loop {
            let from = self.get();
            if self.change_from(from, to)? {
                return Ok(from);
            }
        }
    }

    /// Goes from state `from` to state `to`; returns whether that was the state, or as error `from`
    /// if the change is not allowed.
    pub(crate) fn change_from(&self, from: State, to: State) -> Result<bool, State> {
        if !from.may_become(to) {
            return Err(from);
        }
        // CAST: The enum is `repr(u32)`.
        Ok(self.0.cmpxchg(from as u32, to as u32, Full).is_ok())
    }
}

#[kunit_tests(azihsm_lifecycle)]
mod tests {
    use super::*;

    const ALL: [State; 5] = [
        State::New,
        State::Live,
        State::Resetting,
        State::Dead,
        State::Removed,
    ];

    #[test]
    fn exactly_these_changes_are_allowed() {
        let allowed = [
            (State::New, State::Live),
            (State::Live, State::Resetting),
            (State::Dead, State::Resetting),
            (State::Resetting, State::Live),
            (State::Resetting, State::Dead),
            (State::New, State::Removed),
            (State::Live, State::Removed),
            (State::Resetting, State::Removed),
            (State::Dead, State::Removed),
        ];
        for from in ALL {
            for to in ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)));
            }
        }
    }

    #[test]
    fn a_change_tells_where_it_came_from() {
        let life = LifeCycle::new();
        assert!(life.get() == State::New);
        assert!(life.change(State::Resetting) == Err(State::New));
        assert!(life.change(State::Live) == Ok(State::New));
        assert!(life.change(State::Resetting) == Ok(State::Live));
        assert!(life.change(State::Resetting) == Err(State::Resetting));
        assert!(life.change(State::Removed) == Ok(State::Resetting));
        assert!(life.change(State::Live) == Err(State::Removed));
    }

    #[test]
    fn a_change_may_depend_on_where_it_comes_from() {
        let life = LifeCycle::new();
        assert!(life.change_from(State::Live, State::Resetting) == Ok(false));
        assert!(life.change_from(State::New, State::Dead) == Err(State::New));
        assert!(life.change_from(State::New, State::Live) == Ok(true));
        assert!(life.change_from(State::Live, State::Resetting) == Ok(true));
        assert!(life.get() == State::Resetting);
    }

    #[test]
    fn raw_values_round_trip() {
        for state in ALL {
            assert!(State::from_raw(state as u32) == state);
        }
    }
}
