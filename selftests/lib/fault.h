/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults of the emulated device, armed from the guest. The language is that of
 * tools/emulator/README.md, in JSON.
 */
#ifndef AZIHSM_FAULT_H
#define AZIHSM_FAULT_H

#include <stdbool.h>

/* Whether tests that wait for time-outs are wanted: AZIHSM_SLOW is set. */
bool fault_slow(void);

/* Arms a fault, a JSON object: its id, or -1. */
long fault_arm(const char *fault);
/* How often the fault has hit; -1 if it is not armed. */
long fault_hits(long id);
/* Removes all faults; false if the device does not answer. */
bool fault_clear(void);

/* Numbers from the emulator's answer to a request, -1 if it has none. */
long long emulator_number(const char *request, const char *member);
/* One of the device's counters, likewise. */
long long emulator_stat(const char *name);

#endif /* AZIHSM_FAULT_H */
