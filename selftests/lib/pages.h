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
/*
 * Objects in use of all slab caches but @without, if that is not NULL, once these
 * have let go of what they need not keep; 0 if the kernel does not say.
 */
long slab_objects(const char *without);
/*
 * The number of huge pages that the kernel keeps, -1 if it knows none; sets it if
 * @want >= 0. There may be less then.
 */
long pages_huge(long want);

#endif /* AZIHSM_PAGES_H */
