// SPDX-License-Identifier: GPL-2.0

//! Module parameters that sysfs shows.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)
//!
//! The `module!` macro gives every parameter the permission 0. These are declared in C, with their
//! defaults, and appear in `/sys/module/<module>/parameters`. The functions return what the
//! administrator asked for; bringing it into the supported range is up to the caller.

mod ffi {
    use kernel::ffi::{
        c_int,
        c_uint, //
    };

    unsafe extern "C" {
        pub(super) safe fn azihsm_param_abort_timeout_in_sec() -> c_int;
        pub(super) safe fn azihsm_param_num_hsm_slots() -> c_int;
        pub(super) safe fn azihsm_param_num_aes_slots() -> c_int;
        pub(super) safe fn azihsm_param_bounce_limit() -> c_uint;
        pub(super) safe fn azihsm_param_poll_queues() -> c_int;
        pub(super) safe fn azihsm_param_pf_res_cnt() -> u8;
        pub(super) safe fn azihsm_param_pf_lvl2_abort_enabled() -> bool;
        pub(super) safe fn azihsm_param_log_mask() -> c_uint;
    }
}

/// Returns how long a command may take, in seconds.
pub(crate) fn abort_timeout_in_sec() -> i32 {
    ffi::azihsm_param_abort_timeout_in_sec()
}

/// Returns the number of entries wanted for a control-path queue.
pub(crate) fn num_hsm_slots() -> i32 {
    ffi::azihsm_param_num_hsm_slots()
}

/// Returns the number of entries wanted for a fast-path queue.
pub(crate) fn num_aes_slots() -> i32 {
    ffi::azihsm_param_num_aes_slots()
}

/// Returns the length of the largest AES data to copy, in bytes. The administrator may change it at
/// any time.
pub(crate) fn bounce_limit() -> u32 {
    ffi::azihsm_param_bounce_limit()
}

/// Returns the number of fast-path queues that are to raise no interrupts.
pub(crate) fn poll_queues() -> i32 {
    ffi::azihsm_param_poll_queues()
}

/// Returns the number of resources wanted for the physical function; 0 keeps what the device has.
pub(crate) fn pf_res_cnt() -> u8 {
    ffi::azihsm_param_pf_res_cnt()
}

/// Returns whether the driver may reset the controller of the physical function.
pub(crate) fn pf_lvl2_abort_enabled() -> bool {
    ffi::azihsm_param_pf_lvl2_abort_enabled()
}

/// Returns the log mask. The administrator may change it at any time.
pub(crate) fn log_mask() -> u32 {
    ffi::azihsm_param_log_mask()
}
