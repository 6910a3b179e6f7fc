// SPDX-License-Identifier: GPL-2.0-or-later

//! Bindings of `include/uapi/linux/azihsm.h`, generated when the tool is built.

#![allow(
    clippy::undocumented_unsafe_blocks,
    dead_code,
    non_camel_case_types,
    reason = "generated from C; not every constant of the header is needed"
)]

include!(concat!(env!("OUT_DIR"), "/uapi.rs"));

#[cfg(test)]
mod tests {
    //! The header is an ABI: these numbers must never change.

    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn ioctl_numbers() {
        assert_eq!(NR_AZIHSM_IOC_CP_CMD, 0xc070_4203);
        assert_eq!(NR_AZIHSM_IOC_DEV_INFO, 0xc0b0_4204);
        assert_eq!(NR_AZIHSM_IOC_RESET, 0xc110_4206);
        assert_eq!(NR_AZIHSM_IOC_AES_XTS, 0xc190_420b);
        assert_eq!(NR_AZIHSM_IOC_AES_GCM, 0xc190_420c);
        assert_eq!(NR_AZIHSM_IOC_QUERY, 0xc060_4220);
        assert_eq!(NR_AZIHSM_MGMT_IOC_SET_RES_CNT, 0xc00c_4102);
        assert_eq!(NR_AZIHSM_MGMT_IOC_GET_RES_CNT, 0xc00c_4103);
        assert_eq!(NR_AZIHSM_MGMT_IOC_VF_COUNT, 0xc008_4104);
        assert_eq!(NR_AZIHSM_MGMT_IOC_DEV_INFO, 0xc0b0_4105);
    }

    #[test]
    fn structure_sizes() {
        assert_eq!(size_of::<azihsm_hdr>(), 16);
        assert_eq!(size_of::<azihsm_cp_cmd>(), 112);
        assert_eq!(size_of::<azihsm_dev_info>(), 176);
        assert_eq!(size_of::<azihsm_reset>(), 272);
        assert_eq!(size_of::<azihsm_aes>(), 400);
        assert_eq!(size_of::<azihsm_gcm_params>(), 44);
        assert_eq!(size_of::<azihsm_xts_params>(), 44);
        assert_eq!(size_of::<azihsm_query>(), AZIHSM_QUERY_SIZE_VER0 as usize);
        assert_eq!(size_of::<azihsm_res_cnt>(), 12);
        assert_eq!(size_of::<azihsm_vf_count>(), 8);
    }

    #[test]
    fn control_offsets() {
        assert_eq!(offset_of!(azihsm_cp_cmd, in_ctxt), 16);
        assert_eq!(offset_of!(azihsm_cp_cmd, opc), 24);
        assert_eq!(offset_of!(azihsm_cp_cmd, src_len), 32);
        assert_eq!(offset_of!(azihsm_cp_cmd, src), 40);
        assert_eq!(offset_of!(azihsm_cp_cmd, dst_len), 48);
        assert_eq!(offset_of!(azihsm_cp_cmd, dst), 56);
        assert_eq!(offset_of!(azihsm_cp_cmd, session_flags), 64);
        assert_eq!(offset_of!(azihsm_cp_cmd, session_id), 66);
        assert_eq!(offset_of!(azihsm_cp_cmd, out_ctxt), 88);
        assert_eq!(offset_of!(azihsm_cp_cmd, status), 96);
        assert_eq!(offset_of!(azihsm_cp_cmd, byte_count), 100);
        assert_eq!(offset_of!(azihsm_cp_cmd, extended_status), 104);
    }

    #[test]
    fn info_and_reset_offsets() {
        assert_eq!(offset_of!(azihsm_dev_info, ctrl_id), 4);
        assert_eq!(offset_of!(azihsm_dev_info, pci_info), 6);
        assert_eq!(offset_of!(azihsm_dev_info, serial_num), 39);
        assert_eq!(offset_of!(azihsm_dev_info, firmware_rev), 77);
        assert_eq!(offset_of!(azihsm_dev_info, driver_rev), 110);
        assert_eq!(offset_of!(azihsm_dev_info, device_entropy), 143);
        assert_eq!(offset_of!(azihsm_reset, abort_type), 24);
        assert_eq!(offset_of!(azihsm_reset, abort_sts), 108);
    }

    #[test]
    fn query_offsets() {
        assert_eq!(offset_of!(azihsm_query, driver_version), 8);
        assert_eq!(offset_of!(azihsm_query, svn), 24);
        assert_eq!(offset_of!(azihsm_query, cp_max_request), 40);
        assert_eq!(offset_of!(azihsm_query, bounce_limit), 56);
        assert_eq!(offset_of!(azihsm_query, cp_queues), 64);
        assert_eq!(offset_of!(azihsm_query, recovery_bound_ms), 92);
    }

    #[test]
    fn management_offsets() {
        assert_eq!(offset_of!(azihsm_res_cnt, vf_idx), 4);
        assert_eq!(offset_of!(azihsm_res_cnt, res_cnt), 6);
        assert_eq!(offset_of!(azihsm_res_cnt, status), 8);
        assert_eq!(offset_of!(azihsm_vf_count, vf_count), 4);
    }

    #[test]
    fn aes_offsets() {
        assert_eq!(offset_of!(azihsm_aes, op), 24);
        assert_eq!(offset_of!(azihsm_aes, cipher), 25);
        assert_eq!(offset_of!(azihsm_aes, src), 32);
        assert_eq!(offset_of!(azihsm_aes, src_len), 40);
        assert_eq!(offset_of!(azihsm_aes, dst), 48);
        assert_eq!(offset_of!(azihsm_aes, dst_len), 56);
        assert_eq!(offset_of!(azihsm_aes, frame_type), 64);
        assert_eq!(offset_of!(azihsm_aes, session_id), 66);
        assert_eq!(offset_of!(azihsm_aes, short_app_id), 68);
        assert_eq!(offset_of!(azihsm_aes, __bindgen_anon_1), 72);
        assert_eq!(offset_of!(azihsm_aes, out_ctxt), 240);
        assert_eq!(offset_of!(azihsm_aes, result), 248);
        assert_eq!(offset_of!(azihsm_aes, tag), 252);
        assert_eq!(offset_of!(azihsm_aes, byte_count), 268);
        assert_eq!(offset_of!(azihsm_aes, extended_status), 272);
        assert_eq!(offset_of!(azihsm_aes, fips_approved), 276);
        assert_eq!(offset_of!(azihsm_aes, iv), 280);
        assert_eq!(offset_of!(azihsm_gcm_params, tag), 4);
        assert_eq!(offset_of!(azihsm_gcm_params, iv), 20);
        assert_eq!(offset_of!(azihsm_gcm_params, aad_len), 32);
        assert_eq!(offset_of!(azihsm_gcm_params, padded_aad_len), 36);
        assert_eq!(offset_of!(azihsm_gcm_params, workaround), 40);
        assert_eq!(offset_of!(azihsm_xts_params, key_id1), 4);
        assert_eq!(offset_of!(azihsm_xts_params, key_id2), 8);
        assert_eq!(offset_of!(azihsm_xts_params, tweak), 12);
    }
}
