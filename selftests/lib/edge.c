// SPDX-License-Identifier: GPL-2.0
/*
 * Memory with an end.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "edge.h"

#define PAGE	4096UL

bool edge_alloc(struct edge *e, size_t len)
{
	__u8 *map;

	e->len = (len + PAGE - 1) / PAGE * PAGE;
	map = mmap(NULL, e->len + 2 * PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return false;
	e->end = map + PAGE + e->len;
	return edge_protect(e, PROT_READ | PROT_WRITE);
}

void edge_free(struct edge *e)
{
	munmap(e->end - e->len - PAGE, e->len + 2 * PAGE);
}

void *edge_at(const struct edge *e, size_t left)
{
	return e->end - left;
}

void *edge_put(const struct edge *e, const void *object, size_t left)
{
	return memcpy(edge_at(e, left), object, left);
}

bool edge_protect(const struct edge *e, int prot)
{
	return !mprotect(e->end - e->len, e->len, prot);
}

__u32 unmapped_low(__u64 like)
{
	for (__u64 byte = 1; byte < 256; byte++) {
		__u64 other = like ^ byte << 24;

		if (msync((void *)(other & ~(PAGE - 1)), PAGE, MS_ASYNC) &&
		    errno == ENOMEM)
			return other;
	}
	return UNMAPPED;
}
