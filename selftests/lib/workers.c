// SPDX-License-Identifier: GPL-2.0
/*
 * Threads with commands of all kinds, and what comes of them.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "pages.h"
#include "ring.h"
#include "workers.h"

/* How often the same complaint is printed. */
#define COMPLAINTS_MAX	10
/* How long a thread waits before it tries to repair things again. */
#define RETRY_MS	20
/* What a command through a ring may take at the device, for every other ring. */
#define RING_LIMIT_MS	2000

static const struct workers *opt;
static long long end_ms;
static atomic_bool stop;
static atomic_ulong started;
static atomic_ulong complaints;
static atomic_long slab_pages;

struct worker {
	pthread_t thread;
	unsigned int number;
	unsigned int random;
	struct tally saw;
};

static unsigned int draw(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 17;
	w->random ^= w->random << 5;
	return w->random;
}

static bool over(void)
{
	if (opt->commands && started >= opt->commands)
		stop = true;
	if (opt->seconds && now_ms() >= end_ms)
		stop = true;
	return stop;
}

static void complain(const struct worker *w, const char *kind, const char *why)
{
	if (atomic_fetch_add(&complaints, 1) < COMPLAINTS_MAX)
		ksft_print_msg("thread %u: %s: %s\n", w->number, kind, why);
}

static void account(struct worker *w, const struct verified *v)
{
	char why[64];

	w->saw.verdicts[v->verdict]++;
	if (v->slowest_ms > w->saw.slowest_ms)
		w->saw.slowest_ms = v->slowest_ms;
	if (v->slowest_ms > opt->bound_ms) {
		w->saw.late++;
		snprintf(why, sizeof(why), "%lld ms", v->slowest_ms);
		complain(w, "late", why);
	}
	if (v->verdict == V_WRONG || v->verdict == V_ODD)
		complain(w, verdict_names[v->verdict], v->why);
}

/* A session of its own: opened, and left for the driver to close. */
static void come_and_go(struct worker *w)
{
	struct hsm_session s;
	long long start = now_ms();
	int fd = hsm_open();
	char why[64];

	if (fd < 0)
		return;
	if (!hsm_open_session(fd, &s))
		w->saw.sessions++;
	if (draw(w) % 2)
		hsm_close_session(&s);
	close(fd);
	/* These are some commands, one after the other. */
	if (now_ms() - start > 6LL * opt->bound_ms) {
		w->saw.late++;
		snprintf(why, sizeof(why), "open and close took %lld ms",
			 now_ms() - start);
		complain(w, "late", why);
	}
}

static void reset(struct worker *w, const struct world_view *view)
{
	int ret = hsm_reset(view->s.fd, draw(w) % 2 ? AZIHSM_RESET_NSSR :
						      AZIHSM_RESET_CTRL);

	if (!ret)
		w->saw.resets++;
}

static size_t draw_len(struct worker *w)
{
	unsigned int kind = draw(w) % 16;

	/* Mostly short, sometimes anything. */
	if (kind < 8)
		return draw(w) % 512;
	if (kind < 15)
		return draw(w) % 8192;
	return draw(w) % opt->largest;
}

/* After a failure: until things work, or the time is over. */
static void repair(struct worker *w, const struct verified *v,
		   unsigned int generation)
{
	/* Who answers such things has been told something wrong. */
	bool fresh = opt->liar &&
		     (v->verdict == V_ODD || v->verdict == V_WRONG);

	while (!over() && (fresh ? world_renew(opt->world, generation) :
				   world_repair(opt->world, generation)))
		usleep(RETRY_MS * 1000);
}

/* Notes what the slabs need once things have warmed up. */
static void look_at_slab(unsigned long number)
{
	if (number == opt->commands / 4)
		slab_pages = page_count("nr_slab_unreclaimable");
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool by_ring = w->number < opt->rings;
	struct world_view view;
	struct io_uring ring;
	struct verified v;

	if (by_ring) {
		int ret = ring_open(&ring, 4, w->number % 4 < 2 ?
					      0 : IORING_SETUP_CQE32);

		if (ret)
			ksft_exit_fail_msg("no ring: %s\n", strerror(-ret));
		ring_use(&ring);
		ring_limit(w->number % 2 ? RING_LIMIT_MS : 0);
	}
	while (!over()) {
		enum verified_op op = draw(w) % OP_COUNT;

		look_at_slab(started++);
		world_look(opt->world, w->number, &view);
		verified_run(&view, op, draw_len(w), draw(w), &v);
		account(w, &v);
		w->saw.by_ring += by_ring && v.verdict == V_GOOD;
		if (v.verdict != V_GOOD)
			repair(w, &v, view.generation);
		if (w->number == 0 && draw(w) % 64 == 0)
			come_and_go(w);
		if (opt->reset && w->number == 1 && draw(w) % 256 == 0)
			reset(w, &view);
	}
	if (by_ring)
		io_uring_queue_exit(&ring);
	return NULL;
}

static void add(struct tally *sum, const struct tally *saw)
{
	for (int i = 0; i < V_COUNT; i++)
		sum->verdicts[i] += saw->verdicts[i];
	sum->late += saw->late;
	sum->sessions += saw->sessions;
	sum->resets += saw->resets;
	sum->by_ring += saw->by_ring;
	if (saw->slowest_ms > sum->slowest_ms)
		sum->slowest_ms = saw->slowest_ms;
}

void workers_run(const struct workers *what, struct tally *sum)
{
	static struct worker workers[WORKERS_MAX];

	opt = what;
	end_ms = now_ms() + 1000LL * opt->seconds;
	for (int i = 0; i < opt->threads; i++) {
		workers[i].number = i;
		workers[i].random = (opt->seed + i) * 2654435761u | 1;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			ksft_exit_fail_msg("no thread: %s\n", strerror(errno));
	}
	*sum = (struct tally) { 0 };
	for (int i = 0; i < opt->threads; i++) {
		pthread_join(workers[i].thread, NULL);
		add(sum, &workers[i].saw);
	}
	sum->started = started;
	sum->slab_pages = slab_pages;
}

void tally_describe(const struct tally *sum, char *text, size_t room)
{
	int len = 0;

	for (int i = 0; i < V_COUNT; i++)
		len += snprintf(text + len, room - len, "%lu %s, ",
				sum->verdicts[i], verdict_names[i]);
	len += snprintf(text + len, room - len, "%lu late; slowest %lld ms, ",
			sum->late, sum->slowest_ms);
	snprintf(text + len, room - len,
		 "%lu by io_uring, %lu sessions, %lu resets", sum->by_ring,
		 sum->sessions, sum->resets);
}
