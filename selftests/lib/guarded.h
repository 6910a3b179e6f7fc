/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Buffers that notice a write outside of them.
 */
#ifndef AZIHSM_GUARDED_H
#define AZIHSM_GUARDED_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/* Byte that fresh buffers and the bytes around them are filled with. */
#define GUARD_FILL	0xa5

/**
 * struct guarded - a buffer between two runs of GUARD_FILL
 * @p: the buffer
 * @len: its length
 * @map: the mapping that it lies in
 * @map_len: length of the mapping
 */
struct guarded {
	__u8 *p;
	size_t len;
	__u8 *map;
	size_t map_len;
};

/* @offset: position of the buffer in its first page, in bytes. */
bool guarded_alloc(struct guarded *g, size_t len, size_t offset);
void guarded_free(struct guarded *g);
/* Whether the bytes around the buffer are as they were. */
bool guarded_intact(const struct guarded *g);
/* Fills the buffer with bytes that depend on position and seed. */
void guarded_pattern(struct guarded *g, __u32 seed);
void fill_pattern(void *p, size_t len, __u32 seed);
/* Whether all bytes have this value. */
bool all_bytes(const void *p, __u8 value, size_t len);
/* First position where two buffers differ, or @len. */
size_t first_difference(const void *a, const void *b, size_t len);

#endif /* AZIHSM_GUARDED_H */
