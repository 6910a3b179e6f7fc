// SPDX-License-Identifier: GPL-2.0
/*
 * Device information, keys, and the end of a session.
 */
#include <string.h>
#include <errno.h>

#include "client.h"
#include "ddi.h"

#define METADATA_LEN	16
#define MASKED_KEY_MAX	3072
#define CBC_MAX		1024

int hsm_get_device_info(int fd, struct hsm_device_info *info)
{
	struct ddi_call c;
	int ret;

	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	info->kind = mbor_get_u32(&c.resp);
	mbor_want_id(&c.resp, 2);
	info->tables = mbor_get_u8(&c.resp);
	mbor_want_id(&c.resp, 3);
	info->fips = mbor_get_bool(&c.resp);
	return c.fields == 3 ? ddi_end(&c) : -EPROTO;
}

int hsm_close_session(const struct hsm_session *s)
{
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_CLOSE_SESSION, s->id, 0);
	return ddi_exec_empty(s->fd, &c);
}

int hsm_generate_key(const struct hsm_session *s, __u32 size, const char *label,
		     __u8 metadata, struct hsm_key *key)
{
	__u8 blob[METADATA_LEN] = { metadata };
	struct ddi_call c;
	unsigned int seen = 2;
	size_t masked_len;
	int ret;

	ddi_begin(&c, DDI_OP_AES_GENERATE_KEY, s->id, 2);
	mbor_put_id(&c.req, 1);
	mbor_put_u32(&c.req, size);
	/* No key tag (field 2). */
	mbor_put_id(&c.req, 3);
	mbor_put_map(&c.req, 2);
	mbor_put_id(&c.req, 1);
	mbor_put_map(&c.req, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_fixed(&c.req, blob, sizeof(blob));
	mbor_put_id(&c.req, 2);
	mbor_put_var(&c.req, label, strlen(label));
	ret = ddi_exec(s->fd, &c);
	if (ret)
		return ret;

	key->bulk_id = 0xffff;
	mbor_want_id(&c.resp, 1);
	key->id = mbor_get_u16(&c.resp);
	if (mbor_at_id(&c.resp, 2)) {
		mbor_want_id(&c.resp, 2);
		key->bulk_id = mbor_get_u16(&c.resp);
		seen++;
	}
	mbor_want_id(&c.resp, 3);
	mbor_get_var(&c.resp, MASKED_KEY_MAX, &masked_len);
	return c.fields == seen ? ddi_end(&c) : -EPROTO;
}

int hsm_generate_xts_keys(const struct hsm_session *s, struct hsm_key *data,
			  struct hsm_key *tweak)
{
	int ret = hsm_generate_key(s, HSM_KEY_XTS, "data", HSM_KEY_CIPHER, data);

	return ret ? ret : hsm_generate_key(s, HSM_KEY_XTS, "tweak",
					    HSM_KEY_CIPHER, tweak);
}

int hsm_delete_key(const struct hsm_session *s, __u16 id)
{
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_DELETE_KEY, s->id, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_u16(&c.req, id);
	return ddi_exec_empty(s->fd, &c);
}

int hsm_cbc(const struct hsm_session *s, __u16 id, bool encrypt, __u8 iv[16],
	    const void *in, void *out, size_t len)
{
	struct ddi_call c;
	size_t iv_len;
	int ret;

	if (len > CBC_MAX)
		return -EMSGSIZE;
	ddi_begin(&c, DDI_OP_AES_ENCRYPT_DECRYPT, s->id, 4);
	mbor_put_id(&c.req, 1);
	mbor_put_u16(&c.req, id);
	mbor_put_id(&c.req, 2);
	mbor_put_u32(&c.req, encrypt ? 1 : 2);
	mbor_put_id(&c.req, 3);
	mbor_put_var(&c.req, in, len);
	mbor_put_id(&c.req, 4);
	mbor_put_var(&c.req, iv, 16);
	ret = ddi_exec(s->fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	if (mbor_copy_var(&c.resp, out, len) != len)
		return -EPROTO;
	mbor_want_id(&c.resp, 2);
	iv_len = mbor_copy_var(&c.resp, iv, 16);
	if (c.fields != 2 || iv_len != 16)
		return -EPROTO;
	return ddi_end(&c);
}

void hsm_test_key(const char *label, __u8 key[32])
{
	size_t len = strlen(label);

	for (int i = 0; i < 32; i++)
		key[i] = i ^ (len ? label[i % len] : 0);
}
