// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that notice a write outside of them.
 */
#include <string.h>
#include <sys/mman.h>

#include "guarded.h"

#define PAGE	4096UL
/*
 * Small buffers have maps of this length, which are kept for the next buffers
 * of the thread: to make one, and to take it away from the other threads, takes
 * longer than to fill it.
 */
#define SMALL	(4 * PAGE)

static __thread __u8 *kept[2];

static __u8 *take_kept(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		__u8 *map = kept[i];

		kept[i] = NULL;
		if (map)
			return map;
	}
	return NULL;
}

static bool keep(__u8 *map)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (!kept[i]) {
			kept[i] = map;
			return true;
		}
	}
	return false;
}

bool guarded_alloc(struct guarded *g, size_t len, size_t offset)
{
	/* A page of guard on each side, at least. */
	g->len = len;
	g->map_len = (PAGE + offset + len + PAGE - 1) / PAGE * PAGE + PAGE;
	g->map = NULL;
	if (g->map_len <= SMALL) {
		g->map_len = SMALL;
		g->map = take_kept();
	}
	if (!g->map)
		g->map = mmap(NULL, g->map_len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->map == MAP_FAILED)
		return false;
	g->p = g->map + PAGE + offset;
	memset(g->map, GUARD_FILL, g->map_len);
	return true;
}

void guarded_free(struct guarded *g)
{
	if (g->map == MAP_FAILED)
		return;
	if (g->map_len != SMALL || !keep(g->map))
		munmap(g->map, g->map_len);
}

bool all_bytes(const void *p, __u8 value, size_t len)
{
	const __u8 *b = p;

	return !len || (b[0] == value && !memcmp(b, b + 1, len - 1));
}

bool guarded_intact(const struct guarded *g)
{
	const __u8 *end = g->p + g->len;

	return all_bytes(g->map, GUARD_FILL, g->p - g->map) &&
	       all_bytes(end, GUARD_FILL, g->map + g->map_len - end);
}

void fill_pattern(void *p, size_t len, __u32 seed)
{
	__u8 *b = p;
	__u32 x = seed * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		b[i] = x >> 24;
	}
}

void guarded_pattern(struct guarded *g, __u32 seed)
{
	fill_pattern(g->p, g->len, seed);
}

size_t first_difference(const void *a, const void *b, size_t len)
{
	const __u8 *x = a, *y = b;
	size_t i = 0;

	if (!len || !memcmp(a, b, len))
		return len;
	while (x[i] == y[i])
		i++;
	return i;
}
