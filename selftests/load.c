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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "lib/chaos.h"
#include "lib/emulator.h"
#include "lib/fault_case.h"
#include "lib/flight.h"
#include "lib/pages.h"
#include "lib/workers.h"

/* How long to wait before things are tried again. */
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
/* Slab that others may have come to need meanwhile, in pages. */
#define SLAB_SLACK	1024

static struct world world;

static struct workers workers = {
	.world = &world,
	.threads = 8,
	.rings = -1,
	.seconds = 5,
	.seed = 1,
	.largest = 64 * 1024,
};

static struct options {
	bool rebind;
	bool slab;
	const char *chaos;
	const char *request;
} opt;

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
	       program, WORKERS_MAX, workers.threads, workers.seconds, workers.largest,
	       workers.seed);
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
			workers.threads = parse_number(optarg);
			break;
		case 'u':
			workers.rings = parse_number(optarg);
			break;
		case 's':
			workers.seconds = parse_number(optarg);
			break;
		case 'c':
			workers.commands = parse_number(optarg);
			break;
		case 'b':
			workers.bound_ms = parse_number(optarg);
			break;
		case 'm':
			workers.largest = parse_number(optarg);
			break;
		case 'r':
			workers.seed = parse_number(optarg);
			break;
		case 'R':
			workers.reset = true;
			break;
		case 'S':
			opt.slab = true;
			break;
		case 'x':
			opt.chaos = optarg;
			workers.liar = true;
			break;
		case 'f':
			opt.request = optarg;
			workers.liar = true;
			break;
		case 'B':
			opt.rebind = true;
			break;
		case 'l':
			workers.liar = true;
			break;
		default:
			print_help(argv[0]);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (!workers.threads || workers.threads > WORKERS_MAX || !workers.largest ||
	    (!workers.seconds && !workers.commands) || optind != argc) {
		print_help(argv[0]);
		exit(2);
	}
	if (workers.rings < 0)
		workers.rings = workers.threads / 2;
}

/* Makes things anew; what is amiss with the device may take some tries. */
static int renew(void)
{
	long long end = now_ms() + (workers.liar ? SETTLE_MS : 0);
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
	world.may_rebind = workers.liar;
	if (opt.rebind)
		world_rebind(&world);
	return renew();
}

/* How long a command may take, as the driver has it. */
static unsigned int bound_ms(void)
{
	struct azihsm_query query;
	struct world_view view;
	long long end = now_ms() + SETTLE_MS;
	int ret = -EAGAIN;

	while (ret == -EAGAIN && now_ms() < end) {
		world_look(&world, 0, &view);
		ret = hsm_query(view.s.fd, &query);
	}
	if (ret)
		ksft_exit_fail_msg("the driver's bounds: %s\n", strerror(-ret));
	return query.command_timeout_ms + query.recovery_bound_ms + SLACK_MS;
}

/* What the faults did, and what the driver did about it. */
struct faults {
	long long deceptions;
	long long hidden_sessions;
	long long violations;
};

static struct faults look_at_faults(void)
{
	return (struct faults) {
		.deceptions = chaos_deceptions(),
		.hidden_sessions = chaos_hidden_sessions(),
		.violations = chaos_violations(),
	};
}

/* Nothing is late, and nothing wrong that could have been seen to be. */
static bool is_fine(const struct tally *sum, const struct faults *before,
		    const struct faults *after)
{
	bool deceived = after->deceptions > before->deceptions;

	if (deceived)
		ksft_print_msg("%lld faults that nobody can see through\n",
			       after->deceptions - before->deceptions);
	return !sum->late && sum->verdicts[V_GOOD] &&
	       (deceived || (!sum->verdicts[V_WRONG] && !sum->verdicts[V_ODD]));
}

/* Whether the device may hold sessions that the driver cannot know of. */
static bool may_hide_sessions(const struct faults *before,
			      const struct faults *after)
{
	return chaos_runs() || after->deceptions > before->deceptions ||
	       after->hidden_sessions > before->hidden_sessions;
}

/* NULL if nothing is left of the load, once everything is closed. */
static const char *leftovers(long pinned, const struct tally *sum,
			     const struct faults *before,
			     const struct faults *after)
{
	static char why[96];
	long pages = pages_left(pinned), slab;
	const char *rest;

	if (pages > 0) {
		snprintf(why, sizeof(why), "%ld pages are pinned", pages);
		return why;
	}
	slab = page_count("nr_slab_unreclaimable") - sum->slab_pages;
	if (opt.slab) {
		ksft_print_msg("slabs: %ld pages more, of %ld\n", slab,
			       sum->slab_pages);
		if (slab > SLAB_SLACK)
			return "the slabs have grown";
	}
	if (after->violations > before->violations)
		return "violations of the protocol";
	if (may_hide_sessions(before, after)) {
		ksft_print_msg("the device may hide sessions\n");
		return NULL;
	}
	rest = device_at_rest();
	return rest ? rest : flight_sessions_free();
}

static const char *afterwards(void)
{
	/* While faults are armed it may not. */
	if (chaos_runs())
		return NULL;
	if (workers.liar && renew())
		return "the device cannot be provisioned any more";
	return works_again(&world);
}

int main(int argc, char **argv)
{
	struct faults before, after;
	struct tally sum;
	const char *rest;
	long long start;
	char text[256];
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
		workers.liar = true;
	start = now_ms();
	ret = begin();
	if (ret)
		ksft_exit_fail_msg("the device cannot be provisioned: %d (%#x)\n",
				   ret, ret);
	if (!workers.bound_ms)
		workers.bound_ms = bound_ms();
	if (opt.chaos)
		chaos_start(opt.chaos);
	workers_run(&workers, &sum);
	if (opt.chaos || opt.request)
		chaos_stop();
	after = look_at_faults();
	tally_describe(&sum, text, sizeof(text));
	ksft_test_result(is_fine(&sum, &before, &after),
			 "load: %lu commands in %lld ms: %s, %u repairs, %u fresh starts, %u rebinds\n",
			 sum.started, now_ms() - start, text, world.repairs,
			 world.fresh_starts, world.rebinds);
	rest = afterwards();
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "works afterwards\n");
	world_close(&world);
	after = look_at_faults();
	rest = leftovers(pinned, &sum, &before, &after);
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "at rest\n");
	ksft_finished();
}
