// SPDX-License-Identifier: GPL-2.0
/*
 * A thread that changes a word between two values.
 */
#include <sched.h>

#include "flip.h"

static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (unsigned int n = 0; !f->stop; n++) {
		*f->word = f->values[n % 2];
		/* Long enough for a reader to see each value, at all speeds. */
		for (unsigned int spin = n % 61; spin; spin--)
			atomic_signal_fence(memory_order_seq_cst);
		/* Now with the one, now with the other. */
		if (!(n % 63))
			sched_yield();
	}
	return NULL;
}

bool flip_start(struct flipper *f, void *word, __u32 first, __u32 second)
{
	f->word = word;
	f->values[0] = first;
	f->values[1] = second;
	f->stop = false;
	return !pthread_create(&f->thread, NULL, flip, f);
}

void flip_stop(struct flipper *f)
{
	f->stop = true;
	pthread_join(f->thread, NULL);
}

static enum flip_seen judge(const struct flip_case *c, __u32 byte_count,
			    const struct flip_answer *a)
{
	if (!a->ret && !a->ext && a->byte_count == byte_count)
		return FLIP_GOOD;
	if (a->ret == -c->err && (!c->ext || a->ext == c->ext))
		return FLIP_REFUSED;
	return FLIP_WRONG;
}

enum flip_seen flip_until_both(const struct flip_case *c, __u32 *word, __u32 bad,
			       __u32 byte_count,
			       struct flip_answer (*issue)(void *arg),
			       void *arg, struct flip_answer *last)
{
	enum flip_seen seen = 0;
	struct flipper flipper;

	*last = (struct flip_answer){};
	if (!flip_start(&flipper, word, *word, bad))
		return FLIP_WRONG;
	for (int n = 0; n < 20000 && seen < FLIP_BOTH; n++) {
		*last = issue(arg);
		seen |= judge(c, byte_count, last);
	}
	flip_stop(&flipper);
	return seen;
}
