// SPDX-License-Identifier: GPL-2.0

//! Validation of what callers ask for.
//!
//! A request that passed is a typed value that the engine can act on without a second look. What
//! needs user memory (address checks, copies) is not here.

pub(crate) mod aes;
pub(crate) mod control;
