// SPDX-License-Identifier: GPL-2.0
/*
 * A load: many threads, ioctls and io_uring, all kinds of commands, every
 * result compared with libcrypto. Resets, faults and removal may happen
 * meanwhile: then commands may fail, but none may take longer than the bound,
 * and none may succeed with a wrong result that the driver could have known to
 * be wrong.
 *
 * Ends with one line, "load: ...", and exit code 0 if all was well. Without
 * options a short run is a test of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "lib/chaos.h"
#include "lib/emulator.h"
#include "lib/fault_case.h"
#include "lib/pages.h"
#include "lib/ring.h"

#define THREADS_MAX	256
/* How often the same complaint is printed. */
#define COMPLAINTS_MAX	10
/* How long a thread waits before it tries to repair things again. */
#define RETRY_MS	20
/*
 * What a command may take beyond its time-out and one recovery, in
 * milliseconds.
 */
#define SLACK_MS	3000
/*
 * How long it may take until a device with faults is provisioned, and one that
 * had some until it is well, in milliseconds.
 */
#define SETTLE_MS	120000
/* What a command through a ring may take at the device, for every other ring. */
#define RING_LIMIT_MS	2000
/* Slab that others may have come to need meanwhile, in pages. */
#define SLAB_SLACK	1024

static struct options {
	unsigned int threads;
	int rings;
	unsigned int seconds;
	unsigned long commands;
	unsigned int bound_ms;
	unsigned int seed;
	size_t largest;
	bool liar;
	bool reset;
	bool rebind;
	bool slab;
	const char *chaos;
	const char *request;
} opt = {
	.threads = 8,
	.rings = -1,
	.seconds = 5,
	.seed = 1,
	.largest = 64 * 1024,
};

static struct world world;
static long long end_ms;
static atomic_bool stop;
static atomic_ulong started;
static atomic_ulong complaints;
/* What the kernel's slabs needed when the load had begun, in pages. */
static atomic_long slab_pages;

/* What one thread saw. */
struct worker {
	pthread_t thread;
	unsigned int number;
	unsigned int random;
	unsigned long verdicts[V_COUNT];
	unsigned long late;
	unsigned long sessions;
	unsigned long resets;
	/* Commands through a ring that were good. */
	unsigned long by_ring;
	long long slowest_ms;
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
	if (opt.commands && started >= opt.commands)
		stop = true;
	if (opt.seconds && now_ms() >= end_ms)
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

	w->verdicts[v->verdict]++;
	if (v->slowest_ms > w->slowest_ms)
		w->slowest_ms = v->slowest_ms;
	if (v->slowest_ms > opt.bound_ms) {
		w->late++;
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
		w->sessions++;
	if (draw(w) % 2)
		hsm_close_session(&s);
	close(fd);
	/* These are some commands, one after the other. */
	if (now_ms() - start > 6LL * opt.bound_ms) {
		w->late++;
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
		w->resets++;
}

static size_t draw_len(struct worker *w)
{
	unsigned int kind = draw(w) % 16;

	/* Mostly short, sometimes anything. */
	if (kind < 8)
		return draw(w) % 512;
	if (kind < 15)
		return draw(w) % 8192;
	return draw(w) % opt.largest;
}

/* After a failure: until things work, or the time is over. */
static void repair(struct worker *w, const struct verified *v,
		   unsigned int generation)
{
	/* Who answers such things has been told something wrong. */
	bool fresh = opt.liar &&
		     (v->verdict == V_ODD || v->verdict == V_WRONG);

	while (!over() && (fresh ? world_renew(&world, generation) :
				   world_repair(&world, generation)))
		usleep(RETRY_MS * 1000);
}

/* Notes what the slabs need once things have warmed up. */
static void look_at_slab(unsigned long number)
{
	if (number == opt.commands / 4)
		slab_pages = page_count("nr_slab_unreclaimable");
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool by_ring = w->number < opt.rings;
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
		world_look(&world, w->number, &view);
		verified_run(&view, op, draw_len(w), draw(w), &v);
		account(w, &v);
		w->by_ring += by_ring && v.verdict == V_GOOD;
		if (v.verdict != V_GOOD)
			repair(w, &v, view.generation);
		if (w->number == 0 && draw(w) % 64 == 0)
			come_and_go(w);
		if (opt.reset && w->number == 1 && draw(w) % 256 == 0)
			reset(w, &view);
	}
	if (by_ring)
		io_uring_queue_exit(&ring);
	return NULL;
}

static void print_help(const char *program)
{
	printf("usage: %s [options]\n"
	       "  -t N   threads, up to %d (%u)\n"
	       "  -u N   threads of those that use io_uring (half)\n"
	       "  -s N   seconds, 0 for no limit (%u)\n"
	       "  -c N   commands, 0 for no limit (0)\n"
	       "  -b N   milliseconds that one command may take (what the driver says)\n"
	       "  -m N   bytes of the longest text (%zu)\n"
	       "  -r N   seed of the choices (%u)\n"
	       "  -R     resets by request, now and then\n"
	       "  -S     the kernel's slabs may not grow; for 10^5 commands and more\n"
	       "  -x N[,RATE]  faults of the emulator at random, with that seed,\n"
	       "         once everything is set up; includes -l\n"
	       "  -f FILE  a request to the emulator, for faults before anything\n"
	       "         is set up; includes -l\n"
	       "  -B     binds the driver anew after that\n"
	       "  -l     the device lies: a dead one is bound anew, and wrong results\n"
	       "         are no failure if a fault hit that nobody can see through.\n"
	       "         Holds if faults are armed, too.\n",
	       program, THREADS_MAX, opt.threads, opt.seconds, opt.largest,
	       opt.seed);
}

static unsigned long parse_number(const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (errno || *end || end == text || *text == '-') {
		fprintf(stderr, "load: not a number: %s\n", text);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "t:u:s:c:b:m:r:RSx:f:Blh")) != -1) {
		switch (c) {
		case 't':
			opt.threads = parse_number(optarg);
			break;
		case 'u':
			opt.rings = parse_number(optarg);
			break;
		case 's':
			opt.seconds = parse_number(optarg);
			break;
		case 'c':
			opt.commands = parse_number(optarg);
			break;
		case 'b':
			opt.bound_ms = parse_number(optarg);
			break;
		case 'm':
			opt.largest = parse_number(optarg);
			break;
		case 'r':
			opt.seed = parse_number(optarg);
			break;
		case 'R':
			opt.reset = true;
			break;
		case 'S':
			opt.slab = true;
			break;
		case 'x':
			opt.chaos = optarg;
			opt.liar = true;
			break;
		case 'f':
			opt.request = optarg;
			opt.liar = true;
			break;
		case 'B':
			opt.rebind = true;
			break;
		case 'l':
			opt.liar = true;
			break;
		default:
			print_help(argv[0]);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (!opt.threads || opt.threads > THREADS_MAX || !opt.largest ||
	    (!opt.seconds && !opt.commands) || optind != argc) {
		print_help(argv[0]);
		exit(2);
	}
	if (opt.rings < 0)
		opt.rings = opt.threads / 2;
}

/* Makes things anew; what is amiss with the device may take some tries. */
static int renew(void)
{
	long long end = now_ms() + (opt.liar ? SETTLE_MS : 0);
	int ret = world_renew(&world, world.generation);

	while (ret && now_ms() < end) {
		usleep(RETRY_MS * 1000);
		ret = world_renew(&world, world.generation);
	}
	return ret;
}

/* The first provisioning. */
static int begin(void)
{
	world_prepare(&world);
	world.may_rebind = opt.liar;
	if (opt.rebind)
		world_rebind(&world);
	return renew();
}

/* How long a command may take, as the driver has it. */
static unsigned int bound_ms(void)
{
	struct azihsm_query query;
	struct world_view view;
	int ret = -EAGAIN;

	while (ret == -EAGAIN && !over()) {
		world_look(&world, 0, &view);
		ret = hsm_query(view.s.fd, &query);
	}
	if (ret)
		ksft_exit_fail_msg("the driver's bounds: %s\n", strerror(-ret));
	return query.command_timeout_ms + query.recovery_bound_ms + SLACK_MS;
}

static void add(struct worker *sum, const struct worker *w)
{
	for (int i = 0; i < V_COUNT; i++)
		sum->verdicts[i] += w->verdicts[i];
	sum->late += w->late;
	sum->sessions += w->sessions;
	sum->resets += w->resets;
	sum->by_ring += w->by_ring;
	if (w->slowest_ms > sum->slowest_ms)
		sum->slowest_ms = w->slowest_ms;
}

static void run(struct worker *sum)
{
	static struct worker workers[THREADS_MAX];

	for (int i = 0; i < opt.threads; i++) {
		workers[i].number = i;
		workers[i].random = (opt.seed + i) * 2654435761u | 1;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			ksft_exit_fail_msg("no thread: %s\n", strerror(errno));
	}
	for (int i = 0; i < opt.threads; i++) {
		pthread_join(workers[i].thread, NULL);
		add(sum, &workers[i]);
	}
}

/* What came of it, in one line. */
static void describe(const struct worker *sum, char *text, size_t room)
{
	int len = 0;

	for (int i = 0; i < V_COUNT; i++)
		len += snprintf(text + len, room - len, "%lu %s, ",
				sum->verdicts[i], verdict_names[i]);
	len += snprintf(text + len, room - len, "%lu late; slowest %lld ms, ",
			sum->late, sum->slowest_ms);
	len += snprintf(text + len, room - len,
			"%lu by io_uring, %lu sessions, %lu resets, ",
			sum->by_ring, sum->sessions, sum->resets);
	snprintf(text + len, room - len,
		 "%u repairs, %u fresh starts, %u rebinds", world.repairs,
		 world.fresh_starts, world.rebinds);
}

/* What the faults did, and what the driver did about it. */
struct faults {
	long long deceptions;
	long long violations;
};

static struct faults look_at_faults(void)
{
	return (struct faults) { chaos_deceptions(), chaos_violations() };
}

/* Nothing is late, and nothing wrong that could have been seen to be. */
static bool is_fine(const struct worker *sum, const struct faults *before,
		    const struct faults *after)
{
	bool deceived = after->deceptions > before->deceptions;

	if (deceived)
		ksft_print_msg("%lld faults that nobody can see through\n",
			       after->deceptions - before->deceptions);
	return !sum->late && sum->verdicts[V_GOOD] &&
	       (deceived || (!sum->verdicts[V_WRONG] && !sum->verdicts[V_ODD]));
}

/* NULL if nothing is left of the load, once everything is closed. */
static const char *leftovers(long pinned, const struct faults *before,
			     const struct faults *after)
{
	static char why[96];
	long pages = pages_left(pinned), slab;

	if (pages > 0) {
		snprintf(why, sizeof(why), "%ld pages are pinned", pages);
		return why;
	}
	slab = page_count("nr_slab_unreclaimable") - slab_pages;
	if (opt.slab) {
		ksft_print_msg("slabs: %ld pages more, of %ld\n", slab,
			       (long)slab_pages);
		if (slab > SLAB_SLACK)
			return "the slabs have grown";
	}
	if (after->violations > before->violations)
		return "violations of the protocol";
	/* A device that lies may hold sessions that nobody knows of. */
	return opt.liar ? NULL : device_at_rest();
}

static const char *afterwards(void)
{
	/* While faults are armed it may not. */
	if (chaos_runs())
		return NULL;
	if (opt.liar && renew())
		return "the device cannot be provisioned any more";
	return works_again(&world);
}

int main(int argc, char **argv)
{
	struct faults before, after;
	struct worker sum = { 0 };
	const char *rest;
	long long start;
	char text[320];
	long pinned;
	int ret;

	parse(argc, argv);
	ksft_print_header();
	if (!hsm_name())
		ksft_exit_skip("no azihsm device\n");
	ksft_set_plan(3);
	before = look_at_faults();
	pinned = pages_pinned();
	if (opt.request)
		chaos_request(opt.request);
	if (chaos_runs())
		opt.liar = true;
	start = now_ms();
	ret = begin();
	if (ret)
		ksft_exit_fail_msg("the device cannot be provisioned: %d (%#x)\n",
				   ret, ret);
	end_ms = now_ms() + 1000LL * opt.seconds;
	if (!opt.bound_ms)
		opt.bound_ms = bound_ms();
	if (opt.chaos)
		chaos_start(opt.chaos);
	run(&sum);
	if (opt.chaos || opt.request)
		chaos_stop();
	after = look_at_faults();
	describe(&sum, text, sizeof(text));
	ksft_test_result(is_fine(&sum, &before, &after),
			 "load: %lu commands in %lld ms: %s\n",
			 (unsigned long)started, now_ms() - start, text);
	rest = afterwards();
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "works afterwards\n");
	world_close(&world);
	after = look_at_faults();
	rest = leftovers(pinned, &before, &after);
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "at rest\n");
	ksft_finished();
}
