// SPDX-License-Identifier: GPL-2.0-or-later

//! An open management node of a physical function.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;

use crate::uapi;

/// Safe only by their callers in this file, who give a structure of the right type, which holds no address.
mod ioctl {
    use crate::uapi;

    nix::ioctl_readwrite_bad!(
        set_res_cnt,
        uapi::NR_AZIHSM_MGMT_IOC_SET_RES_CNT,
        uapi::azihsm_res_cnt
    );
    nix::ioctl_readwrite_bad!(
        get_res_cnt,
        uapi::NR_AZIHSM_MGMT_IOC_GET_RES_CNT,
        uapi::azihsm_res_cnt
    );
    nix::ioctl_readwrite_bad!(
        vf_count,
        uapi::NR_AZIHSM_MGMT_IOC_VF_COUNT,
        uapi::azihsm_vf_count
    );
}

/// What can be done with a physical function.
pub trait Mgmt {
    /// Returns the number of virtual functions.
    fn vf_count(&self) -> Result<u16, Error>;

    /// Returns the number of resources of a virtual function.
    fn resources(&self, index: u16) -> Result<u16, Error>;

    /// Sets it.
    fn set_resources(&self, index: u16, count: u16) -> Result<(), Error>;
}

/// An ioctl of the management node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are no virtual functions.
    #[error(
        "there are no virtual functions\n\
         Make some, as root: echo 2 > /sys/bus/pci/devices/<physical function>/sriov_numvfs"
    )]
    NoVfs,
    /// There is no such one.
    #[error("there is no virtual function with this number; see 'azihsm vf list'")]
    VfIndex,
    /// The device refused.
    #[error(
        "the device refused\n\
         All functions share its 65 resources: 'azihsm vf list' shows who has them."
    )]
    Refused,
    /// The controller is busy with itself.
    #[error("the controller of the physical function is being reset; try again in a moment")]
    Recovering,
    /// Anything else.
    #[error("{}", .0.desc())]
    Errno(Errno),
}

impl Error {
    fn new(errno: Errno, status: u32) -> Self {
        match (errno, status) {
            (Errno::EINVAL, uapi::AZIHSM_MGMT_NO_VFS) => Self::NoVfs,
            (Errno::EINVAL, uapi::AZIHSM_MGMT_VF_INDEX) => Self::VfIndex,
            (Errno::EFAULT, uapi::AZIHSM_MGMT_SET_FAILED | uapi::AZIHSM_MGMT_GET_FAILED) => {
                Self::Refused
            }
            (Errno::EAGAIN, _) => Self::Recovering,
            _ => Self::Errno(errno),
        }
    }
}

/// An open management node.
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// Opens the node at `path`.
    ///
    /// # Errors
    ///
    /// The error of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }
}

fn res_cnt(index: u16, count: u16) -> uapi::azihsm_res_cnt {
    uapi::azihsm_res_cnt {
        argsz: size_of::<uapi::azihsm_res_cnt>() as u32,
        vf_idx: index,
        res_cnt: count,
        status: uapi::AZIHSM_MGMT_OK,
    }
}

impl Mgmt for Node {
    fn vf_count(&self) -> Result<u16, Error> {
        let mut arg = uapi::azihsm_vf_count {
            argsz: size_of::<uapi::azihsm_vf_count>() as u32,
            ..Default::default()
        };
        // SAFETY: the ioctl reads and writes one `azihsm_vf_count`, which `arg` is.
        unsafe { ioctl::vf_count(self.0.as_raw_fd(), &mut arg) }
            .map_err(|errno| Error::new(errno, uapi::AZIHSM_MGMT_OK))?;
        Ok(arg.vf_count)
    }

    fn resources(&self, index: u16) -> Result<u16, Error> {
        let mut arg = res_cnt(index, 0);
        // SAFETY: the ioctl reads and writes one `azihsm_res_cnt`, which `arg` is.
        unsafe { ioctl::get_res_cnt(self.0.as_raw_fd(), &mut arg) }
            .map_err(|errno| Error::new(errno, arg.status))?;
        Ok(arg.res_cnt)
    }

    fn set_resources(&self, index: u16, count: u16) -> Result<(), Error> {
        let mut arg = res_cnt(index, count);
        // SAFETY: the ioctl reads and writes one `azihsm_res_cnt`, which `arg` is.
        unsafe { ioctl::set_res_cnt(self.0.as_raw_fd(), &mut arg) }
            .map_err(|errno| Error::new(errno, arg.status))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        for (errno, status, error) in [
            (Errno::EINVAL, 1, Error::NoVfs),
            (Errno::EINVAL, 2, Error::VfIndex),
            (Errno::EFAULT, 4, Error::Refused),
            (Errno::EFAULT, 7, Error::Refused),
            (Errno::EAGAIN, 4, Error::Recovering),
            (Errno::EIO, 4, Error::Errno(Errno::EIO)),
            (Errno::ENODEV, 1, Error::Errno(Errno::ENODEV)),
            (Errno::EFAULT, 0, Error::Errno(Errno::EFAULT)),
        ] {
            assert_eq!(Error::new(errno, status), error);
        }
    }
}
