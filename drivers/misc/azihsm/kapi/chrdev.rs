// SPDX-License-Identifier: GPL-2.0

//! Character devices of a bound parent device.
//!
//! C headers: [`include/linux/cdev.h`](srctree/include/linux/cdev.h),
//! [`include/linux/device/class.h`](srctree/include/linux/device/class.h)
//!
//! A [`Class`] stands for the nodes of one kind, `<name>0`, `<name>1` and so on, and a
//! [`Registration`] for one node, which lives no longer than its parent device is bound. Files that
//! are open by then stay open: their operations go on being called, without the device's data.

mod class;
mod node;

pub(crate) use self::{
    class::{
        Class,
        ClassGuard, //
    },
    node::Registration, //
};

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};

use super::{
    plug,
    uring, //
};

/// The operations of a character device.
///
/// `Data` is what the driver registers the node with, and is lent to the operations as long as the
/// [`Registration`] lives; `File` is what the driver keeps for an open file.
///
/// Operations may sleep. Dropping the registration waits for those that have the data, so the driver
/// has to make them return before.
#[vtable]
pub(crate) trait CharDevice: Sized + 'static {
    /// The device's data.
    type Data<'a>: Sync + 'a;

    /// The state of an open file.
    type File: Send + Sync + 'static;

    /// Called when the node is opened. After the device is gone, opening fails with `ENODEV`.
    fn open(data: &Self::Data<'_>) -> Result<Pin<KBox<Self::File>>>;

    /// Called for an ioctl, from 32-bit programs too: `arg` is then what `compat_ptr()` makes of it.
    ///
    /// `data` is `None` after the device is gone.
    fn ioctl(
        data: Option<&Self::Data<'_>>,
        file: Pin<&Self::File>,
        cmd: u32,
        arg: usize,
    ) -> Result<isize>;

    /// Called for a command of io_uring.
    ///
    /// `data` is `None` after the device is gone. What the command leaves for later is finished by
    /// [`uring::Finish::finish`], which gets at data and file with [`uring::Completion::with`].
    ///
    /// [`uring::Finish::finish`]: super::uring::Finish::finish
    /// [`uring::Completion::with`]: super::uring::Completion::with
    fn uring_cmd(
        _data: Option<&Self::Data<'_>>,
        _file: Pin<&Self::File>,
        _issue: uring::Issue<'_, Self>,
    ) -> uring::Issued {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called at the end of a batch of commands with what [`uring::Issue::batch`] was used to mark.
    ///
    /// Must not sleep.
    fn uring_unplug(_data: Option<&Self::Data<'_>>, _file: Pin<&Self::File>, _marks: &plug::Marks) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called for a ring that polls, to look for completions; may be called by any task of those
    /// that share the ring. Returns how many there were.
    fn uring_cmd_iopoll(_data: Option<&Self::Data<'_>>, _file: Pin<&Self::File>) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the last reference to the open file is gone.
    ///
    /// `data` is `None` after the device is gone.
    fn release(data: Option<&Self::Data<'_>>, file: Pin<KBox<Self::File>>);
}
