// SPDX-License-Identifier: GPL-2.0

//! User space addresses.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

mod ffi {
    use kernel::ffi::c_ulong;

    unsafe extern "C" {
        pub(super) safe fn azihsm_access_ok(addr: c_ulong, len: c_ulong) -> bool;
    }
}

/// Returns whether `addr .. addr + len` lies in the part of the address space that belongs to user
/// space.
///
/// It says nothing about whether anything is mapped there: a copy can still fault. What it is good
/// for is refusing an impossible range early, before a request with many ranges is half done.
pub(crate) fn access_ok(addr: u64, len: usize) -> bool {
    let Ok(addr) = usize::try_from(addr) else {
        return false;
    };
    ffi::azihsm_access_ok(addr, len)
}
