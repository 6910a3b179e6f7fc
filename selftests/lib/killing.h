/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process that is killed while it waits, and how long it lives then.
 */
#ifndef AZIHSM_KILLING_H
#define AZIHSM_KILLING_H

/* A killed process is gone by then, in milliseconds. */
#define KILLED_MS	100
/* When a process of one task is killed: it waits by then. */
#define KILL_MS		500

/**
 * struct lived - a process that was killed
 * @ms: how many milliseconds it lived after SIGKILL, -1 if it did not wait any more
 * @idle_ms: the longest that this machine now takes for one that does nothing; 0 if
 *           that was not looked at
 */
struct lived {
	long long ms;
	long long idle_ms;
};

/*
 * Runs a function in a process that is killed after so many milliseconds. If it
 * lives for more than @limit of them then, looks how long those live that are
 * @idle.
 */
struct lived kill_in(unsigned int after_ms, long long limit,
		     void (*what)(const void *arg),
		     void (*idle)(const void *arg), const void *arg);
/* What a process does that waits for nothing. */
void wait_for_nothing(const void *arg);

/*
 * It was killed while it waited, and was gone at once: within @limit beyond what
 * this machine now takes for a process that does nothing, which is @idle.
 */
#define EXPECT_KILLED_UNLIKE(idle, after_ms, limit, what, arg) do {	\
	long long limit_ = (limit);					\
	struct lived lived_ = kill_in(after_ms, limit_, what, idle, arg); \
									\
	EXPECT_LE(0, lived_.ms);					\
	EXPECT_GE(limit_ + 3 * lived_.idle_ms, lived_.ms) {		\
		TH_LOG("%lld ms for one that does nothing",		\
		       lived_.idle_ms);					\
	}								\
} while (0)

#define EXPECT_KILLED(limit, what, arg)					\
	EXPECT_KILLED_UNLIKE(wait_for_nothing, KILL_MS, limit, what, arg)

#endif /* AZIHSM_KILLING_H */
