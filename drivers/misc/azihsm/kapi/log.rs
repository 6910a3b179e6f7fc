// SPDX-License-Identifier: GPL-2.0

//! Log lines of a device that are decided upon at run time.
//!
//! C header: [`include/linux/dev_printk.h`](srctree/include/linux/dev_printk.h)

use kernel::{
    bindings,
    device::Device,
    fmt,
    prelude::*, //
};

/// Prints `line` at debug level, prefixed with device information.
///
/// [`kernel::dev_dbg!`] prints nothing in a kernel built without `CONFIG_RUST_DEBUG_ASSERTIONS`, and
/// there is no dynamic debug.
pub(crate) fn debug(dev: &Device, line: fmt::Arguments<'_>) {
    // CAST: `Device` is a transparent wrapper of `struct device`.
    let dev: *const bindings::device = core::ptr::from_ref(dev).cast();

    // SAFETY: The level is a string, the device is valid, and `%pA` takes a pointer to
    // `fmt::Arguments`.
    unsafe {
        bindings::_dev_printk(
            bindings::KERN_DEBUG.as_ptr().cast(),
            dev,
            c"%pA".as_char_ptr(),
            core::ptr::from_ref(&line).cast::<c_void>(),
        )
    };
}
