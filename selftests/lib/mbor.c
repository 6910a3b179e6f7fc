// SPDX-License-Identifier: GPL-2.0
/*
 * MBOR: the encoding of control-path requests and responses.
 */
#include <string.h>

#include "mbor.h"

#define MBOR_FALSE	0x14
#define MBOR_TRUE	0x15
#define MBOR_U8		0x18
#define MBOR_U16	0x19
#define MBOR_U32	0x1a
#define MBOR_BYTES	0x80
#define MBOR_MAP	0xa0
#define MBOR_MAP_MAX	31

/* Padding that aligns the data of a byte string whose marker is at @pos. */
static unsigned int var_pad(size_t pos)
{
	return -(pos + 3) & 3;
}

void mbor_writer_init(struct mbor_writer *w, void *buf, size_t cap)
{
	w->buf = buf;
	w->cap = cap;
	w->len = 0;
	w->overflow = false;
}

static void put(struct mbor_writer *w, const void *data, size_t len)
{
	if (w->overflow || len > w->cap - w->len) {
		w->overflow = true;
		return;
	}
	if (len)
		memcpy(w->buf + w->len, data, len);
	w->len += len;
}

static void put_int(struct mbor_writer *w, __u8 marker, __u32 v, int bytes)
{
	__u8 enc[5] = { marker };

	for (int i = 0; i < bytes; i++)
		enc[1 + i] = v >> 8 * (bytes - 1 - i);
	put(w, enc, 1 + bytes);
}

void mbor_put_map(struct mbor_writer *w, unsigned int fields)
{
	__u8 marker = MBOR_MAP + fields;

	if (fields > MBOR_MAP_MAX)
		w->overflow = true;
	put(w, &marker, 1);
}

void mbor_put_id(struct mbor_writer *w, __u8 id)
{
	mbor_put_u8(w, id);
}

void mbor_put_u8(struct mbor_writer *w, __u8 v)
{
	put_int(w, MBOR_U8, v, 1);
}

void mbor_put_u16(struct mbor_writer *w, __u16 v)
{
	put_int(w, MBOR_U16, v, 2);
}

void mbor_put_u32(struct mbor_writer *w, __u32 v)
{
	put_int(w, MBOR_U32, v, 4);
}

static void put_bytes(struct mbor_writer *w, const void *data, size_t len,
		      unsigned int pad)
{
	__u8 head[6] = { MBOR_BYTES + pad, len >> 8, len };

	if (len > 0xffff)
		w->overflow = true;
	put(w, head, 3 + pad);
	put(w, data, len);
}

void mbor_put_fixed(struct mbor_writer *w, const void *data, size_t len)
{
	put_bytes(w, data, len, 0);
}

void mbor_put_var(struct mbor_writer *w, const void *data, size_t len)
{
	put_bytes(w, data, len, var_pad(w->len));
}

void mbor_reader_init(struct mbor_reader *r, const void *buf, size_t len)
{
	r->buf = buf;
	r->len = len;
	r->pos = 0;
	r->bad = false;
}

/* The next @len bytes, or NULL if there are not so many. */
static const __u8 *get(struct mbor_reader *r, size_t len)
{
	const __u8 *p = r->buf + r->pos;

	if (r->bad || len > r->len - r->pos) {
		r->bad = true;
		return NULL;
	}
	r->pos += len;
	return p;
}

static __u32 get_int(struct mbor_reader *r, __u8 marker, int bytes)
{
	const __u8 *p = get(r, 1 + bytes);
	__u32 v = 0;

	if (!p)
		return 0;
	if (p[0] != marker) {
		r->bad = true;
		return 0;
	}
	for (int i = 0; i < bytes; i++)
		v = v << 8 | p[1 + i];
	return v;
}

unsigned int mbor_get_map(struct mbor_reader *r)
{
	const __u8 *p = get(r, 1);

	if (!p)
		return 0;
	if (*p < MBOR_MAP || *p > MBOR_MAP + MBOR_MAP_MAX) {
		r->bad = true;
		return 0;
	}
	return *p - MBOR_MAP;
}

bool mbor_at_id(const struct mbor_reader *r, __u8 id)
{
	return !r->bad && r->len - r->pos >= 2 &&
	       r->buf[r->pos] == MBOR_U8 && r->buf[r->pos + 1] == id;
}

void mbor_want_id(struct mbor_reader *r, __u8 id)
{
	if (mbor_get_u8(r) != id)
		r->bad = true;
}

bool mbor_get_bool(struct mbor_reader *r)
{
	const __u8 *p = get(r, 1);

	if (p && *p != MBOR_FALSE && *p != MBOR_TRUE)
		r->bad = true;
	return p && *p == MBOR_TRUE;
}

__u8 mbor_get_u8(struct mbor_reader *r)
{
	return get_int(r, MBOR_U8, 1);
}

__u16 mbor_get_u16(struct mbor_reader *r)
{
	return get_int(r, MBOR_U16, 2);
}

__u32 mbor_get_u32(struct mbor_reader *r)
{
	return get_int(r, MBOR_U32, 4);
}

static const __u8 *get_bytes(struct mbor_reader *r, unsigned int pad,
			     size_t *len)
{
	const __u8 *p = get(r, 3 + pad);

	if (!p)
		return NULL;
	if (p[0] != MBOR_BYTES + pad)
		r->bad = true;
	for (unsigned int i = 0; i < pad; i++)
		if (p[3 + i])
			r->bad = true;
	*len = p[1] << 8 | p[2];
	return get(r, *len);
}

const __u8 *mbor_get_fixed(struct mbor_reader *r, size_t len)
{
	size_t got = 0;
	const __u8 *p = get_bytes(r, 0, &got);

	if (got != len)
		r->bad = true;
	return r->bad ? NULL : p;
}

const __u8 *mbor_get_var(struct mbor_reader *r, size_t max, size_t *len)
{
	const __u8 *p;

	*len = 0;
	p = get_bytes(r, var_pad(r->pos), len);
	if (*len > max)
		r->bad = true;
	if (!r->bad)
		return p;
	*len = 0;
	return NULL;
}

size_t mbor_copy_var(struct mbor_reader *r, void *dst, size_t max)
{
	size_t len;
	const __u8 *p = mbor_get_var(r, max, &len);

	if (p)
		memcpy(dst, p, len);
	return len;
}

bool mbor_done(const struct mbor_reader *r)
{
	return !r->bad && r->pos == r->len;
}
