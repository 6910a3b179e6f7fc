/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads with commands of all kinds, ioctls and io_uring, each result compared
 * with libcrypto, and what comes of them.
 */
#ifndef AZIHSM_WORKERS_H
#define AZIHSM_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "verified.h"

#define WORKERS_MAX	256

/**
 * struct workers - what is asked of them
 * @world: what they work with
 * @threads: how many there are, up to WORKERS_MAX
 * @rings: threads of those that use io_uring
 * @seconds: after which they stop, 0 for no limit
 * @commands: after which they stop, 0 for no limit
 * @bound_ms: what one command may take
 * @seed: of their choices
 * @largest: bytes of the longest text
 * @liar: what the device says about sessions may be wrong
 * @reset: whether they ask for resets, now and then
 */
struct workers {
	struct world *world;
	unsigned int threads;
	int rings;
	unsigned int seconds;
	unsigned long commands;
	unsigned int bound_ms;
	unsigned int seed;
	size_t largest;
	bool liar;
	bool reset;
};

/**
 * struct tally - what they saw
 * @verdicts: how many commands were judged so
 * @started: commands that were begun
 * @late: waits that were too long
 * @sessions: sessions that came and went besides
 * @resets: resets that were asked for
 * @by_ring: good commands of threads with io_uring
 * @slowest_ms: the longest time that a command took
 * @slab_pages: what the kernel's slabs needed when a quarter of the commands
 *              had been begun, in pages
 */
struct tally {
	unsigned long verdicts[V_COUNT];
	unsigned long started;
	unsigned long late;
	unsigned long sessions;
	unsigned long resets;
	unsigned long by_ring;
	long long slowest_ms;
	long slab_pages;
};

/* Runs the workers to their end. A program may do that once. */
void workers_run(const struct workers *what, struct tally *sum);
/* Describes what they saw in one line. */
void tally_describe(const struct tally *sum, char *text, size_t room);

#endif /* AZIHSM_WORKERS_H */
