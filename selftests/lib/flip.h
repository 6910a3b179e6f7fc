/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A thread that changes a word between two values, all the time, while others
 * read it.
 */
#ifndef AZIHSM_FLIP_H
#define AZIHSM_FLIP_H

#include <linux/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/**
 * struct flipper - the thread
 * @word: what it changes
 * @values: the values
 * @stop: whether it is to end
 * @thread: its id
 */
struct flipper {
	atomic_uint *word;
	__u32 values[2];
	atomic_bool stop;
	pthread_t thread;
};

bool flip_start(struct flipper *f, void *word, __u32 first, __u32 second);
/* Ends the thread; the word has one of the values then. */
void flip_stop(struct flipper *f);

#endif /* AZIHSM_FLIP_H */
