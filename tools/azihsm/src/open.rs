// SPDX-License-Identifier: GPL-2.0-or-later

//! From what the user says to an open node.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::device::Device;
use crate::nodes::{Inventory, NoNode};

/// A node cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {cause}{}", .path.display(), advice(.cause))]
pub struct OpenError {
    path: PathBuf,
    cause: io::Error,
}

impl OpenError {
    /// Opening `path` failed with `cause`.
    pub fn new(path: &Path, cause: io::Error) -> Self {
        Self {
            path: path.to_path_buf(),
            cause,
        }
    }

    /// Returns what kind of error it is.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

/// Opens the node that `name` means, the first one without a name.
pub fn open(name: Option<&str>) -> Result<Device> {
    let inventory = Inventory::read(Path::new("/sys")).context("cannot read /sys")?;
    let path = inventory.choose(name)?;
    Device::open(&path).map_err(|error| {
        let nodes: usize = inventory.functions.iter().map(|f| f.nodes.len()).sum();
        explain(&path, error, || (nodes == 0).then(|| inventory.why_none()))
    })
}

/// Makes the error that opening `path` failed. That there is no node at all has a reason, which says more.
fn explain(
    path: &Path,
    error: io::Error,
    why_none: impl FnOnce() -> Option<NoNode>,
) -> anyhow::Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    match missing.then(why_none).flatten() {
        Some(reason) => reason.into(),
        None => OpenError::new(path, error).into(),
    }
}

/// Says what can be done about an error of open(2).
fn advice(error: &io::Error) -> &'static str {
    use nix::errno::Errno;

    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => {
            "\nWho may open the node is the administrator's choice: often the group 'azihsm' (see 'id'), or only root."
        }
        Some(Errno::ENODEV | Errno::ENXIO) => {
            "\nThe device is gone, or its driver was unbound: see 'azihsm list' and 'dmesg | grep azihsm'."
        }
        Some(Errno::EAGAIN) => "\nThe controller is being reset; try again in a moment.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_give_advice() {
        let text = |errno: i32| {
            OpenError::new("/dev/azihsm0".as_ref(), io::Error::from_raw_os_error(errno)).to_string()
        };
        let denied = text(13);
        assert!(
            denied.starts_with("cannot open /dev/azihsm0: Permission denied"),
            "{denied}"
        );
        assert!(denied.contains("group 'azihsm'"), "{denied}");
        assert!(text(19).contains("unbound"));
        assert!(text(11).contains("try again"));
    }

    #[test]
    fn a_missing_node_is_explained() {
        let path = Path::new("/dev/azihsm0");
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let error = explain(path, missing(), || Some(NoNode::NoFunction));
        assert_eq!(error.to_string(), NoNode::NoFunction.to_string());
        let error = explain(path, missing(), || None);
        assert!(error.to_string().starts_with("cannot open"), "{error}");
        let denied = io::ErrorKind::PermissionDenied.into();
        let error = explain(path, denied, || Some(NoNode::NoFunction));
        assert!(error.to_string().starts_with("cannot open"), "{error}");
    }
}
