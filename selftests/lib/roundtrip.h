/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Encrypt on the device, compare with libcrypto, decrypt on the device.
 *
 * The functions return NULL if everything was as it should be, else what was
 * not, in a buffer of the calling thread.
 */
#ifndef AZIHSM_ROUNDTRIP_H
#define AZIHSM_ROUNDTRIP_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "client.h"

/**
 * struct gcm_case - one round trip with AES-GCM
 * @s: session
 * @key: bulk key id
 * @key_bytes: the key
 * @approved: whether the device picks the IV
 * @aad: length of the AAD in bytes
 * @text: length of the text in bytes
 * @src_offset: position of the source in its page
 * @dst_offset: position of the destination in its page
 * @in_place: destination is the source
 * @wrong_tag: also decrypt with a wrong tag, which has to fail
 */
struct gcm_case {
	const struct hsm_session *s;
	__u32 key;
	const __u8 *key_bytes;
	bool approved;
	size_t aad;
	size_t text;
	size_t src_offset;
	size_t dst_offset;
	bool in_place;
	bool wrong_tag;
};

/**
 * struct xts_case - one round trip with AES-XTS
 * @s: session
 * @key1: bulk key id of the data key
 * @key2: bulk key id of the tweak key
 * @key1_bytes: the data key
 * @key2_bytes: the tweak key
 * @data_unit: AZIHSM_XTS_UNIT_*
 * @first_unit: number of the first data unit
 * @len: length of the data in bytes
 * @src_offset: position of the source in its page
 * @dst_offset: position of the destination in its page
 * @in_place: destination is the source
 */
struct xts_case {
	const struct hsm_session *s;
	__u32 key1;
	__u32 key2;
	const __u8 *key1_bytes;
	const __u8 *key2_bytes;
	__u16 data_unit;
	__u64 first_unit;
	size_t len;
	size_t src_offset;
	size_t dst_offset;
	bool in_place;
};

const char *gcm_round_trip(const struct gcm_case *c);
const char *xts_round_trip(const struct xts_case *c);
/* AES-CBC on the control path, of up to 1024 bytes. */
const char *cbc_round_trip(const struct hsm_session *s, __u16 key,
			   const __u8 key_bytes[32], size_t len, __u32 seed);

#endif /* AZIHSM_ROUNDTRIP_H */
