/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults that the emulator draws at random, or that a list names.
 */
#ifndef AZIHSM_CHAOS_H
#define AZIHSM_CHAOS_H

#include <stdbool.h>

/* Whether faults are armed, or drawn at random. */
bool chaos_runs(void);

/*
 * Has the emulator draw faults: "SEED" or "SEED,RATE". Ends the program if it
 * does not.
 */
void chaos_start(const char *what);
/* Sends the request that a file holds. Ends the program if it is refused. */
void chaos_request(const char *path);
/* The end of all faults, and what they were. */
void chaos_stop(void);

/*
 * How many faults have hit so far that may deceive a correct driver, which then
 * may report wrong results as right ones. -1 if nobody knows.
 */
long long chaos_deceptions(void);
/*
 * How many faults have hit so far after which the device may hold a session that a
 * correct driver cannot know of; -1 likewise.
 */
long long chaos_hidden_sessions(void);
/* How many violations of the protocol the device has seen; -1 likewise. */
long long chaos_violations(void);

#endif /* AZIHSM_CHAOS_H */
