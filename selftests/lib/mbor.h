/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MBOR: the encoding of control-path requests and responses.
 *
 * A fixed subset of a CBOR-like format. Integers are big-endian, a structure
 * is a map whose fields come in ascending id order. The reader is stricter
 * than the device has to be: it accepts the canonical encoding only, so that
 * a test notices every deviation.
 */
#ifndef AZIHSM_MBOR_H
#define AZIHSM_MBOR_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/**
 * struct mbor_writer - builds a message
 * @buf: where the message is built
 * @cap: size of @buf
 * @len: bytes written so far
 * @overflow: set when something did not fit
 */
struct mbor_writer {
	__u8 *buf;
	size_t cap;
	size_t len;
	bool overflow;
};

void mbor_writer_init(struct mbor_writer *w, void *buf, size_t cap);
void mbor_put_map(struct mbor_writer *w, unsigned int fields);
void mbor_put_id(struct mbor_writer *w, __u8 id);
void mbor_put_u8(struct mbor_writer *w, __u8 v);
void mbor_put_u16(struct mbor_writer *w, __u16 v);
void mbor_put_u32(struct mbor_writer *w, __u32 v);
/* Byte string of a fixed length: never padded. */
void mbor_put_fixed(struct mbor_writer *w, const void *data, size_t len);
/* Byte string of variable length: data aligned to 4 in the message. */
void mbor_put_var(struct mbor_writer *w, const void *data, size_t len);

/**
 * struct mbor_reader - takes a message apart
 * @buf: the whole message
 * @len: its length
 * @pos: position of the next byte
 * @bad: set at the first deviation; everything read after it is zero
 */
struct mbor_reader {
	const __u8 *buf;
	size_t len;
	size_t pos;
	bool bad;
};

void mbor_reader_init(struct mbor_reader *r, const void *buf, size_t len);
/* Number of fields of the map that starts here. */
unsigned int mbor_get_map(struct mbor_reader *r);
/* Whether the next field has this id; does not move. */
bool mbor_at_id(const struct mbor_reader *r, __u8 id);
/* Expects the field id; anything else makes the message bad. */
void mbor_want_id(struct mbor_reader *r, __u8 id);
bool mbor_get_bool(struct mbor_reader *r);
__u8 mbor_get_u8(struct mbor_reader *r);
__u16 mbor_get_u16(struct mbor_reader *r);
__u32 mbor_get_u32(struct mbor_reader *r);
/* Both return NULL when the message is bad. */
const __u8 *mbor_get_fixed(struct mbor_reader *r, size_t len);
const __u8 *mbor_get_var(struct mbor_reader *r, size_t max, size_t *len);
/* Copies a variable byte string to @dst of size @max, returns its length. */
size_t mbor_copy_var(struct mbor_reader *r, void *dst, size_t max);
/* Whether the message was good and is completely read. */
bool mbor_done(const struct mbor_reader *r);

#endif /* AZIHSM_MBOR_H */
