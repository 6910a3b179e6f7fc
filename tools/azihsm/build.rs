// SPDX-License-Identifier: GPL-2.0-or-later

//! Generates the bindings of the driver's user-space interface from its C header.
//!
//! The header stays the only source: the ioctl numbers, which are macros that bindgen cannot evaluate, are turned
//! into constants by a few lines of C that only name them.

use std::env;
use std::path::PathBuf;

/// The ioctls the tool uses, by the name they have in the header.
const IOCTLS: &[&str] = &[
    "AZIHSM_IOC_CP_CMD",
    "AZIHSM_IOC_DEV_INFO",
    "AZIHSM_IOC_RESET",
    "AZIHSM_IOC_AES_XTS",
    "AZIHSM_IOC_AES_GCM",
    "AZIHSM_URING_CP",
    "AZIHSM_URING_GCM",
    "AZIHSM_URING_XTS",
    "AZIHSM_IOC_QUERY",
    "AZIHSM_MGMT_IOC_SET_RES_CNT",
    "AZIHSM_MGMT_IOC_GET_RES_CNT",
    "AZIHSM_MGMT_IOC_VF_COUNT",
    "AZIHSM_MGMT_IOC_DEV_INFO",
];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let include = manifest.join("../../include/uapi");
    println!(
        "cargo:rerun-if-changed={}",
        include.join("linux/azihsm.h").display()
    );

    let mut source = String::from("#include <linux/azihsm.h>\n");
    for name in IOCTLS {
        source.push_str(&format!("static const __u32 NR_{name} = {name};\n"));
    }

    let bindings = bindgen::Builder::default()
        .header_contents("azihsm_wrapper.h", &source)
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_type("azihsm_.*")
        .allowlist_var("(NR_)?AZIHSM_.*")
        .derive_default(true)
        .derive_debug(false)
        .generate()
        .expect("bindgen failed on include/uapi/linux/azihsm.h; is libclang installed?");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("uapi.rs");
    bindings.write_to_file(out).expect("cannot write bindings");
}
