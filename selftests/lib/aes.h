/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fast-path commands: how their buffers and structures are laid out.
 */
#ifndef AZIHSM_AES_H
#define AZIHSM_AES_H

#include <linux/azihsm.h>

#include <stddef.h>

#include "client.h"

/* Device status of a fast-path command. */
#define FP_INVALID_XTS	1
#define FP_INVALID_GCM	2
#define FP_ENGINE	3

/* Error codes of FP_INVALID_XTS. */
#define XTS_KEY_NOT_OWNED	0x03
#define XTS_SAME_ID		0x05
#define XTS_SAME_KEY		0x06
#define XTS_TOO_LONG		0x0b
#define XTS_LENGTH		0x0c
#define XTS_KEY1_TYPE		0x0e
#define XTS_KEY2_TYPE		0x0f
/* Error codes of FP_INVALID_GCM. */
#define GCM_KEY_INDEX		0x01
#define GCM_KEY_NOT_OWNED	0x02
#define GCM_KEY_SESSION		0x03
#define GCM_LENGTH		0x06
#define GCM_KEY_TYPE		0x08
#define GCM_TAG_CORRECTED	0x2a
/* Error codes of FP_ENGINE. */
#define ENGINE_TAG		0x09

/* Space that AAD of this length takes in source and destination. */
size_t gcm_padded_len(size_t aad_len);
/* Writes the padded AAD to the start of a source. */
void gcm_put_aad(void *src, const void *aad, size_t aad_len);

/* Fills a command; src and dst both hold padded AAD and text. */
void gcm_init(struct azihsm_aes *cmd, const struct hsm_session *s, __u8 op,
	      __u32 key, size_t aad_len, const void *src, void *dst,
	      size_t len);
void xts_init(struct azihsm_aes *cmd, const struct hsm_session *s, __u8 op,
	      __u32 key1, __u32 key2, __u16 data_unit, __u64 first_unit,
	      const void *src, void *dst, size_t len);
/* Size in bytes of an AZIHSM_XTS_UNIT_*; 0 for the whole transfer. */
size_t xts_unit_len(__u16 data_unit);

#endif /* AZIHSM_AES_H */
