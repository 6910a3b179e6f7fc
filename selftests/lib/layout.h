/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers, sizes and offsets of the interface: the same for all programs,
 * whatever their word size. Including this is the test.
 */
#ifndef AZIHSM_LAYOUT_H
#define AZIHSM_LAYOUT_H

#include <assert.h>
#include <linux/azihsm.h>
#include <stddef.h>

#define ASSERT_NUMBER(name, value) \
	static_assert((name) == (value), #name)
#define ASSERT_SIZE(type, size) \
	static_assert(sizeof(struct type) == (size), "size of " #type)
#define ASSERT_AT(type, field, offset) \
	static_assert(offsetof(struct type, field) == (offset), #type "." #field)

ASSERT_NUMBER(AZIHSM_IOC_CP_CMD, 0xc0704203);
ASSERT_NUMBER(AZIHSM_IOC_DEV_INFO, 0xc0b04204);
ASSERT_NUMBER(AZIHSM_IOC_RESET, 0xc1104206);
ASSERT_NUMBER(AZIHSM_IOC_AES_XTS, 0xc190420b);
ASSERT_NUMBER(AZIHSM_IOC_AES_GCM, 0xc190420c);
ASSERT_NUMBER(AZIHSM_IOC_QUERY, 0xc0604220);

ASSERT_NUMBER(AZIHSM_SESSION_NONE, 0);
ASSERT_NUMBER(AZIHSM_SESSION_OPEN, 1);
ASSERT_NUMBER(AZIHSM_SESSION_CLOSE, 2);
ASSERT_NUMBER(AZIHSM_SESSION_IN_SESSION, 3);
ASSERT_NUMBER(AZIHSM_SESSION_ID_VALID, 4);
ASSERT_NUMBER(AZIHSM_CP_MAX_LEN, 8192);
ASSERT_NUMBER(AZIHSM_EXT_CMDSET, 2);
ASSERT_NUMBER(AZIHSM_EXT_SRC_LEN, 3);
ASSERT_NUMBER(AZIHSM_EXT_DST_LEN, 4);
ASSERT_NUMBER(AZIHSM_EXT_SRC_BUF, 5);
ASSERT_NUMBER(AZIHSM_EXT_DST_BUF, 7);
ASSERT_NUMBER(AZIHSM_EXT_NOT_READY, 10);
ASSERT_NUMBER(AZIHSM_EXT_SESSION_LIMIT, 11);
ASSERT_NUMBER(AZIHSM_EXT_NO_SESSION, 12);
ASSERT_NUMBER(AZIHSM_EXT_SESSION_MISMATCH, 14);
ASSERT_NUMBER(AZIHSM_EXT_AES_NO_MEMORY, 100);
ASSERT_NUMBER(AZIHSM_EXT_AES_SRC, 101);
ASSERT_NUMBER(AZIHSM_EXT_AES_DST, 103);
ASSERT_NUMBER(AZIHSM_EXT_AES_INCONSISTENT, 106);
ASSERT_NUMBER(AZIHSM_EXT_AES_SESSION_ID, 107);
ASSERT_NUMBER(AZIHSM_EXT_AES_SHORT_APP_ID, 108);
ASSERT_NUMBER(AZIHSM_EXT_AES_NO_SESSION, 109);
ASSERT_NUMBER(AZIHSM_EXT_AES_NO_APP_ID, 110);
ASSERT_NUMBER(AZIHSM_EXT_AES_NO_QUEUE, 111);
ASSERT_NUMBER(AZIHSM_EXT_AES_CIPHER, 112);
ASSERT_NUMBER(AZIHSM_EXT_AES_FRAME_TYPE, 113);
ASSERT_NUMBER(AZIHSM_EXT_AES_OP, 114);
ASSERT_NUMBER(AZIHSM_EXT_AES_GCM, 117);
ASSERT_NUMBER(AZIHSM_EXT_AES_XTS, 118);
ASSERT_NUMBER(AZIHSM_EXT_ABORT_IN_PROGRESS, 0x04000001);
ASSERT_NUMBER(AZIHSM_EXT_ABORTED, 0x04000002);

ASSERT_SIZE(azihsm_hdr, 16);
ASSERT_AT(azihsm_hdr, cmd_id, 4);
ASSERT_AT(azihsm_hdr, timeout, 8);
ASSERT_AT(azihsm_hdr, flags, 12);

ASSERT_SIZE(azihsm_cp_cmd, 112);
ASSERT_AT(azihsm_cp_cmd, in_ctxt, 16);
ASSERT_AT(azihsm_cp_cmd, opc, 24);
ASSERT_AT(azihsm_cp_cmd, cmdset, 26);
ASSERT_AT(azihsm_cp_cmd, psdt, 28);
ASSERT_AT(azihsm_cp_cmd, src_len, 32);
ASSERT_AT(azihsm_cp_cmd, src, 40);
ASSERT_AT(azihsm_cp_cmd, dst_len, 48);
ASSERT_AT(azihsm_cp_cmd, dst, 56);
ASSERT_AT(azihsm_cp_cmd, session_flags, 64);
ASSERT_AT(azihsm_cp_cmd, session_id, 66);
ASSERT_AT(azihsm_cp_cmd, rsvd1, 68);
ASSERT_AT(azihsm_cp_cmd, out_ctxt, 88);
ASSERT_AT(azihsm_cp_cmd, status, 96);
ASSERT_AT(azihsm_cp_cmd, byte_count, 100);
ASSERT_AT(azihsm_cp_cmd, extended_status, 104);

ASSERT_SIZE(azihsm_dev_info, 176);
ASSERT_AT(azihsm_dev_info, ctrl_id, 4);
ASSERT_AT(azihsm_dev_info, pci_info, 6);
ASSERT_AT(azihsm_dev_info, serial_num, 39);
ASSERT_AT(azihsm_dev_info, model_num, 72);
ASSERT_AT(azihsm_dev_info, firmware_rev, 77);
ASSERT_AT(azihsm_dev_info, driver_rev, 110);
ASSERT_AT(azihsm_dev_info, rsvd, 126);
ASSERT_AT(azihsm_dev_info, device_entropy, 143);
ASSERT_AT(azihsm_dev_info, pad, 175);

ASSERT_SIZE(azihsm_reset, 272);
ASSERT_AT(azihsm_reset, ctxt, 16);
ASSERT_AT(azihsm_reset, abort_type, 24);
ASSERT_AT(azihsm_reset, rsvd0, 28);
ASSERT_AT(azihsm_reset, abort_sts, 108);
ASSERT_AT(azihsm_reset, rsvd1, 112);

ASSERT_SIZE(azihsm_gcm_params, 44);
ASSERT_AT(azihsm_aes, gcm.key_id, 72);
ASSERT_AT(azihsm_aes, gcm.tag, 76);
ASSERT_AT(azihsm_aes, gcm.iv, 92);
ASSERT_AT(azihsm_aes, gcm.aad_len, 104);
ASSERT_AT(azihsm_aes, gcm.padded_aad_len, 108);
ASSERT_AT(azihsm_aes, gcm.workaround, 112);

ASSERT_SIZE(azihsm_xts_params, 44);
ASSERT_AT(azihsm_aes, xts.data_unit, 72);
ASSERT_AT(azihsm_aes, xts.key_id1, 76);
ASSERT_AT(azihsm_aes, xts.key_id2, 80);
ASSERT_AT(azihsm_aes, xts.tweak, 84);

ASSERT_SIZE(azihsm_aes, 400);
ASSERT_AT(azihsm_aes, in_ctxt, 16);
ASSERT_AT(azihsm_aes, op, 24);
ASSERT_AT(azihsm_aes, cipher, 25);
ASSERT_AT(azihsm_aes, src, 32);
ASSERT_AT(azihsm_aes, src_len, 40);
ASSERT_AT(azihsm_aes, dst, 48);
ASSERT_AT(azihsm_aes, dst_len, 56);
ASSERT_AT(azihsm_aes, frame_type, 64);
ASSERT_AT(azihsm_aes, session_id, 66);
ASSERT_AT(azihsm_aes, short_app_id, 68);
ASSERT_AT(azihsm_aes, rsvd1, 116);
ASSERT_AT(azihsm_aes, out_ctxt, 240);
ASSERT_AT(azihsm_aes, result, 248);
ASSERT_AT(azihsm_aes, tag, 252);
ASSERT_AT(azihsm_aes, byte_count, 268);
ASSERT_AT(azihsm_aes, extended_status, 272);
ASSERT_AT(azihsm_aes, fips_approved, 276);
ASSERT_AT(azihsm_aes, iv, 280);
ASSERT_AT(azihsm_aes, rsvd3, 292);

ASSERT_SIZE(azihsm_query, AZIHSM_QUERY_SIZE_VER0);
ASSERT_NUMBER(AZIHSM_QUERY_SIZE_VER0, 96);
ASSERT_AT(azihsm_query, svn, 24);
ASSERT_AT(azihsm_query, resources, 32);
ASSERT_AT(azihsm_query, recovery_bound_ms, 92);

#endif /* AZIHSM_LAYOUT_H */
