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
#include <stddef.h>

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

/**
 * struct flip_case - a word of a command, and what one of its values causes
 * @offset: where the word is
 * @good: the value with which the command works
 * @bad: the value with which it is refused
 * @err: the errno of that
 * @ext: the extended status; 0 if none is written
 * @ciphers: with which commands it goes, for the tests that have several
 */
struct flip_case {
	size_t offset;
	__u32 good, bad;
	int err;
	__u32 ext;
	unsigned int ciphers;
};

/**
 * struct flip_answer - what came of a command
 * @ret: result of the ioctl
 * @ext: extended status
 * @byte_count: bytes of output
 */
struct flip_answer {
	int ret;
	__u32 ext, byte_count;
};

/* What the commands came to, while a word of theirs changed. */
enum flip_seen {
	FLIP_GOOD = 1,
	FLIP_REFUSED = 2,
	FLIP_BOTH = FLIP_GOOD | FLIP_REFUSED,
	/* Something that is neither. */
	FLIP_WRONG = 4,
};

/*
 * Issues commands while @word changes between its value and @bad, until both
 * results have been seen, or a wrong one, or for long enough. A good one yields
 * @byte_count bytes. @last is the answer that was seen last.
 */
enum flip_seen flip_until_both(const struct flip_case *c, __u32 *word, __u32 bad,
			       __u32 byte_count,
			       struct flip_answer (*issue)(void *arg),
			       void *arg, struct flip_answer *last);

#endif /* AZIHSM_FLIP_H */
