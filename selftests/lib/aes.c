// SPDX-License-Identifier: GPL-2.0
/*
 * Fast-path commands: how their buffers and structures are laid out.
 */
#include <string.h>

#include "aes.h"

#define AAD_GRANULE	32

size_t gcm_padded_len(size_t aad_len)
{
	return (aad_len + AAD_GRANULE - 1) / AAD_GRANULE * AAD_GRANULE;
}

void gcm_put_aad(void *src, const void *aad, size_t aad_len)
{
	size_t rest = aad_len % AAD_GRANULE;
	/* A leading block of zeros does not change the hash. */
	size_t lead = rest >= 1 && rest <= 16 ? 16 : 0;

	memset(src, 0, gcm_padded_len(aad_len));
	if (aad_len)
		memcpy((__u8 *)src + lead, aad, aad_len);
}

static void aes_init(struct azihsm_aes *cmd, const struct hsm_session *s,
		     __u8 op, const void *src, void *dst, size_t len)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->hdr.size = sizeof(*cmd);
	cmd->op = op;
	cmd->src = (unsigned long)src;
	cmd->src_len = len;
	cmd->dst = (unsigned long)dst;
	cmd->dst_len = len;
	cmd->frame_type = AZIHSM_FRAME_AES;
	cmd->session_id = s->id;
	cmd->short_app_id = s->app;
}

void gcm_init(struct azihsm_aes *cmd, const struct hsm_session *s, __u8 op,
	      __u32 key, size_t aad_len, const void *src, void *dst,
	      size_t len)
{
	aes_init(cmd, s, op, src, dst, len);
	cmd->cipher = AZIHSM_AES_GCM;
	cmd->gcm.key_id = key;
	cmd->gcm.aad_len = aad_len;
	cmd->gcm.padded_aad_len = gcm_padded_len(aad_len);
	cmd->gcm.workaround = 1;
}

void xts_init(struct azihsm_aes *cmd, const struct hsm_session *s, __u8 op,
	      __u32 key1, __u32 key2, __u16 data_unit, __u64 first_unit,
	      const void *src, void *dst, size_t len)
{
	aes_init(cmd, s, op, src, dst, len);
	cmd->cipher = AZIHSM_AES_XTS;
	cmd->xts.data_unit = data_unit;
	cmd->xts.key_id1 = key1;
	cmd->xts.key_id2 = key2;
	for (int i = 0; i < 8; i++)
		cmd->xts.tweak[i] = first_unit >> 8 * i;
}

size_t xts_unit_len(__u16 data_unit)
{
	switch (data_unit) {
	case AZIHSM_XTS_UNIT_512:
		return 512;
	case AZIHSM_XTS_UNIT_4096:
		return 4096;
	case AZIHSM_XTS_UNIT_8192:
		return 8192;
	default:
		return 0;
	}
}
