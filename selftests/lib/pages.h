/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel counts in pages.
 */
#ifndef AZIHSM_PAGES_H
#define AZIHSM_PAGES_H

/*
 * A number of /proc/vmstat, -1 if it is not there. Root has the number of this
 * moment, others one that is a second old.
 */
long page_count(const char *name);
/* Pages that are pinned for DMA. */
long pages_pinned(void);
/*
 * Waits until no more than @before pages are pinned: rings give theirs back a
 * moment after they were closed. Returns how many more there are.
 */
long pages_left(long before);
/* How many objects of a slab cache are in use. */
struct slab_cache {
	char name[64];
	long objects;
};

/* More slab caches than a kernel has. */
#define SLAB_CACHES	1024

struct slab_counts {
	unsigned int caches;
	struct slab_cache cache[SLAB_CACHES];
};

/*
 * Counts the objects in use of each slab cache, once these have let go of what
 * they need not keep; there are no caches if the kernel does not say.
 */
void slab_count(struct slab_counts *counts);
/*
 * The slab cache, but those in @without if that is not NULL, a list that ends with
 * NULL, that has most objects more @after than @before, and how many more; 0 of
 * "none" if none has more.
 */
struct slab_cache slab_growth(const struct slab_counts *before,
			      const struct slab_counts *after,
			      const char *const *without);
/*
 * The number of huge pages that the kernel keeps, -1 if it knows none; sets it if
 * @want >= 0. There may be less then.
 */
long pages_huge(long want);

#endif /* AZIHSM_PAGES_H */
