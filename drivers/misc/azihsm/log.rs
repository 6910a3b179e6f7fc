// SPDX-License-Identifier: GPL-2.0

//! The driver's log lines, as far as the module parameter `log_mask` lets them through.
//!
//! The macros have the names and the arguments of the kernel's, in whose place they are imported.
//! Debug lines, which the kernel crate leaves out of a normal build, are printed if asked for. What
//! a program can cause at will is only ever a debug line.

use kernel::{
    device::Device,
    fmt, //
};

use crate::kapi::{
    self,
    params, //
};

/// Kind of log line: its bit in `log_mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Level {
    /// The device, or a function of the driver, is not usable.
    Error = 1 << 0,
    /// Something went wrong that the driver deals with.
    Warning = 1 << 1,
    /// A change of state.
    Info = 1 << 2,
    /// Details of single commands.
    Debug = 1 << 3,
}

/// Returns whether lines of `level` are printed.
pub(crate) fn wanted(level: Level) -> bool {
    // CAST: The enum is `repr(u32)`.
    params::log_mask() & level as u32 != 0
}

/// Prints a debug line.
pub(crate) fn debug(dev: &Device, line: fmt::Arguments<'_>) {
    if wanted(Level::Debug) {
        kapi::log::debug(dev, line);
    }
}

/// [`kernel::dev_err!`], if wanted.
macro_rules! dev_err {
    ($($line:tt)*) => {
        if $crate::log::wanted($crate::log::Level::Error) {
            ::kernel::dev_err!($($line)*);
        }
    };
}
pub(crate) use dev_err;

/// [`kernel::dev_warn!`], if wanted.
macro_rules! dev_warn {
    ($($line:tt)*) => {
        if $crate::log::wanted($crate::log::Level::Warning) {
            ::kernel::dev_warn!($($line)*);
        }
    };
}
pub(crate) use dev_warn;

/// [`kernel::dev_info!`], if wanted.
macro_rules! dev_info {
    ($($line:tt)*) => {
        if $crate::log::wanted($crate::log::Level::Info) {
            ::kernel::dev_info!($($line)*);
        }
    };
}
pub(crate) use dev_info;

/// [`kernel::dev_dbg!`], if wanted.
macro_rules! dev_dbg {
    ($dev:expr, $($line:tt)*) => {
        $crate::log::debug($dev.as_ref(), ::kernel::prelude::fmt!($($line)*))
    };
}
pub(crate) use dev_dbg;
