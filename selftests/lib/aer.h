/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Errors on the link, injected with aer_inject at the root port: they concern
 * all functions below it.
 */
#ifndef AZIHSM_AER_H
#define AZIHSM_AER_H

#include <linux/types.h>
#include <stdbool.h>

#define AER_BAD_TLP		0x00000040	/* correctable */
#define AER_COMPLETION_TIMEOUT	0x00004000	/* non-fatal */
#define AER_MALFORMED_TLP	0x00040000	/* fatal */

/* Loads the kernel's injector; false if there is none. */
bool aer_present(void);
/*
 * Injects errors at the port of the function with this PCI address: 0, or a
 * negative errno.
 */
int aer_inject(const char *address, __u32 correctable, __u32 uncorrectable);

#endif /* AZIHSM_AER_H */
