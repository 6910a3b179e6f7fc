// SPDX-License-Identifier: GPL-2.0-or-later

//! Exit codes, and how an error is told.

use std::io;
use std::process::ExitCode;

use crate::demo::InUse;
use crate::nodes::NoNode;

/// A command failed, or data did not come back unchanged.
const FAILED: u8 = 1;
/// There is no HSM, or none of that name. (2 is clap's, for bad arguments.)
const NO_DEVICE: u8 = 3;
/// Access denied.
const DENIED: u8 = 4;
/// The partition has somebody else's credential.
const IN_USE: u8 = 5;

/// What `--help` says about exit codes.
pub const HELP: &str = "\
Exit codes:
  0  success
  1  a command failed, or data did not come back unchanged
  2  wrong arguments
  3  no such HSM, or no driver for it
  4  no permission
  5  the HSM is provisioned for somebody else (demo)";

/// Prints the error and returns the exit code that fits it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // The reader of our output went away: nobody is left to tell.
    if find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::from(FAILED);
    }
    eprintln!("azihsm: {error:#}");
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if find::<NoNode>(error).is_some() {
        return NO_DEVICE;
    }
    if find::<InUse>(error).is_some() {
        return IN_USE;
    }
    match find::<crate::open::OpenError>(error).map(|e| e.kind()) {
        Some(io::ErrorKind::PermissionDenied) => DENIED,
        Some(_) => NO_DEVICE,
        None => FAILED,
    }
}

/// Finds a cause of type `T`.
fn find<T: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::open::OpenError;

    #[test]
    fn codes() {
        let open = |kind: io::ErrorKind| OpenError::new("/dev/azihsm0".as_ref(), kind.into());
        for (error, expected) in [
            (anyhow!("x"), 1),
            (NoNode::NoFunction.into(), 3),
            (open(io::ErrorKind::NotFound).into(), 3),
            (open(io::ErrorKind::PermissionDenied).into(), 4),
            (InUse.into(), 5),
        ] {
            assert_eq!(code(&error), expected, "{error}");
            let wrapped = Err::<(), _>(error).context("while x").unwrap_err();
            assert_eq!(code(&wrapped), expected, "{wrapped:#}");
        }
    }
}
