/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations of this thread that the kernel makes fail, one by one.
 */
#ifndef AZIHSM_INJECTION_H
#define AZIHSM_INJECTION_H

#include <stdbool.h>

/* Has allocations of all kinds and callers take part; false if the kernel cannot. */
bool injection_prepare(void);
/*
 * Only what a module itself allocates takes part, not what others allocate for it.
 * Returns 0 or a negative errno.
 */
int injection_only_by(const char *module);
/*
 * Spares what is allocated on behalf of a function of the kernel, by itself or by
 * what it calls. There can be one such function. Returns 0 or a negative errno.
 */
int injection_spare(const char *function);
/* Has the @n-th allocation from now on fail, 0 for none: 0 or a negative errno. */
int injection_nth(unsigned int n);
/* Whether it was made to fail since. */
bool injection_happened(void);

#endif /* AZIHSM_INJECTION_H */
