// SPDX-License-Identifier: GPL-2.0

//! Device information, which both kinds of nodes answer.

use kernel::{
    device,
    fmt,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    controller::Controller,
    query::VERSION,
    uapi::DevInfo, //
};

/// Bytes of [`DevInfo`] that are transferred: all but its last padding byte.
const LEN: usize = size_of::<DevInfo>() - 1;

/// Copies the structure from the caller.
///
/// # Errors
///
/// [`EFAULT`], and [`EINVAL`] if the caller's structure is too small.
pub(crate) fn read(user: UserPtr) -> Result<DevInfo> {
    let mut bytes = [0; size_of::<DevInfo>()];
    let (transferred, _) = bytes.split_at_mut(LEN);
    UserSlice::new(user, LEN).reader().read_slice(transferred)?;
    let info: DevInfo = zerocopy::transmute!(bytes);
    // CAST: The structure is small.
    if info.argsz < size_of::<DevInfo>() as u32 {
        return Err(EINVAL);
    }
    Ok(info)
}

/// Copies the structure back to the caller.
pub(crate) fn write(user: UserPtr, info: DevInfo) -> Result {
    let bytes: [u8; size_of::<DevInfo>()] = zerocopy::transmute!(info);
    let (transferred, _) = bytes.split_at(LEN);
    UserSlice::new(user, LEN).writer().write_slice(transferred)
}

/// Fills in what is known of `controller`.
pub(crate) fn fill(info: &mut DevInfo, controller: &Controller<'_>) -> Result {
    let known = controller.info()?;
    info.ctrl_id = known.identity.ctrl.0;
    info.pci_info = [0; 33];
    put_name(&mut info.pci_info, controller.pdev.as_ref());
    info.serial_num = terminated(known.identity.serial.bytes());
    info.model_num = [0; 5];
    info.firmware_rev = terminated(known.identity.firmware.bytes());
    info.driver_rev = [0; 16];
    put_version(&mut info.driver_rev);
    info.device_entropy = known.entropy;
    Ok(())
}

/// Puts the version of the driver into `to`, leaving at least one NUL at its end.
fn put_version(to: &mut [u8; 16]) {
    let [major, minor, patch] = VERSION;
    let (text, _) = to.split_at_mut(15);
    let mut out = kernel::str::Formatter::new(text);
    // Three numbers of 8 bits fit.
    let _ = fmt::Write::write_fmt(&mut out, fmt!("{major}.{minor}.{patch}"));
}

/// Puts the PCI address of `dev` into `to`, leaving at least one NUL at its end.
fn put_name(to: &mut [u8; 33], dev: &device::Device) {
    let name = dev.name().to_bytes();
    for (to, from) in to.iter_mut().take(32).zip(name) {
        *to = *from;
    }
}

/// Returns `bytes` followed by a NUL.
fn terminated(bytes: &[u8; 32]) -> [u8; 33] {
    let mut out = [0; 33];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}
