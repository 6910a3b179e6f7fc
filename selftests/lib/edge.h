/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory with an end: addresses after which a given number of bytes may be
 * used, and the next one faults. And addresses that no process may use.
 */
#ifndef AZIHSM_EDGE_H
#define AZIHSM_EDGE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/* Start of the kernel's mapping of all memory; of its text; the last byte. */
#define KERNEL_ADDRESS	0xffff888000000000ULL
#define KERNEL_TEXT	0xffffffff81000000ULL
#define LAST_ADDRESS	0xffffffffffffffffULL
/* Not the kernel's, and never mapped: the first page. */
#define UNMAPPED	8

/**
 * unmapped_low() - half of an address that leads nowhere
 * @like: any address
 *
 * Return: the lower half of an address that is not mapped, and differs from
 * @like in one byte only: the kernel may copy byte by byte, so that half of
 * either would be a third address.
 */
__u32 unmapped_low(__u64 like);

/**
 * struct edge - memory between two pages that are not there
 * @end: the address behind it
 * @len: its length, a multiple of the page size
 */
struct edge {
	__u8 *end;
	size_t len;
};

/* Makes memory of at least @len bytes, readable and writable. */
bool edge_alloc(struct edge *e, size_t len);
void edge_free(struct edge *e);
/* The address with @left bytes behind it. */
void *edge_at(const struct edge *e, size_t left);
/* Puts a copy of an object so that @left of its bytes may be used. */
void *edge_put(const struct edge *e, const void *object, size_t left);
/* Changes what may be done with all of it: PROT_READ, .. */
bool edge_protect(const struct edge *e, int prot);

#endif /* AZIHSM_EDGE_H */
