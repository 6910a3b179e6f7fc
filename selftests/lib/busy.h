/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads that keep the device busy whatever happens to it: on the control path,
 * each with a file of its own, and on the fast path with the caller's key. Their
 * answers may be success, any status of the device, and what the caller allows.
 */
#ifndef AZIHSM_BUSY_H
#define AZIHSM_BUSY_H

#include <linux/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "client.h"

#define BUSY_THREADS	8
/*
 * What lets go of a device while these are at it takes longer than usual, so many
 * times: they want the processors, too, and there are dozens of interrupts to free.
 */
#define BUSY_TIMES	5

/**
 * struct busy - threads at work
 * @s: session of the fast-path commands
 * @key: their bulk key id
 * @gone: whether -ENODEV is allowed
 * @dead: whether -EIO is allowed
 * @spread: whether all processors are to have threads of both kinds
 * @only_gone: whether -EAGAIN is not: nothing is reset, the device goes
 * @done: commands that the device completed
 * @lost: commands that got no answer of the device
 * @longest_ms: the longest that one took, in milliseconds
 */
struct busy {
	const struct hsm_session *s;
	__u32 key;
	bool gone;
	bool dead;
	bool spread;
	bool only_gone;
	atomic_uint done;
	atomic_uint lost;
	atomic_long longest_ms;
	atomic_bool stop;
	atomic_bool complained;
	char why[128];
	int count;
	pthread_t threads[BUSY_THREADS];
};

/*
 * Of each processor: who waits uses no more than one part in so many. Who spins
 * uses all of it; who sleeps 10 ms between two looks uses what these cost, which
 * was a quarter on a loaded machine.
 */
#define BUSY_SHARE	2

/* Milliseconds of a clock that never goes back. */
long long busy_now_ms(void);
/* Time of a processor that this process has used, in milliseconds. */
long long busy_cpu_ms(void);
/* Time that the processors have had nothing to do, in milliseconds, or -1. */
long long busy_idle_ms(void);

/* Starts @b, of which the caller has set the first members and nothing else. */
bool busy_start(struct busy *b);
/* Stops it; returns what was wrong, or NULL. */
const char *busy_stop(struct busy *b);
/* Waits until so many further commands are done; false if that takes too long. */
bool busy_progress(struct busy *b, unsigned int commands);

#endif /* AZIHSM_BUSY_H */
