/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's counters in sysfs.
 */
#ifndef AZIHSM_COUNTERS_H
#define AZIHSM_COUNTERS_H

#include <linux/types.h>
#include <stddef.h>

/*
 * Reads a file below the function's folder "azihsm" as text, all of it: its
 * length, or a negative errno.
 */
long counter_text(const char *file, char *text, size_t size);
/* Its value as a number; -1 if it cannot be read or is none. */
long long counter(const char *file);

/* More folders than there are. */
#define COUNTER_FOLDERS	256

/* Folders whose name begins so ("cp_sq", "fp_sq"). */
unsigned int counter_folders(const char *prefix);
/*
 * A file in each of these folders, -1 for one that cannot be read; in the same
 * order as long as the folders are the same. Returns how many there are.
 */
unsigned int counter_each(const char *prefix, const char *file,
			  long long values[COUNTER_FOLDERS]);
/* Sum of a file over these folders; -1 if one cannot be read. */
long long counter_sum(const char *prefix, const char *file);

#endif /* AZIHSM_COUNTERS_H */
