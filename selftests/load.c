// SPDX-License-Identifier: GPL-2.0
/*
 * A load: many threads, all kinds of commands, every result compared with
 * libcrypto. Resets, faults and removal may happen meanwhile: then commands may
 * fail, but none may take longer than the bound, and none may succeed with a
 * wrong result.
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

#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/fault_case.h"
#include "lib/json.h"

#define THREADS_MAX	256
/* How often the same complaint is printed. */
#define COMPLAINTS_MAX	10
/* How long a thread waits before it tries to repair things again. */
#define RETRY_MS	20
/*
 * What a command may take beyond its time-out and one recovery, in
 * milliseconds; with a device that lies there may be more than one.
 */
#define SLACK_MS	3000
#define RECOVERIES_LIAR	4
/* How long the first provisioning of a device with faults may take. */
#define BEGIN_MS	120000

static struct options {
	unsigned int threads;
	unsigned int seconds;
	unsigned long commands;
	unsigned int bound_ms;
	unsigned int seed;
	size_t largest;
	bool liar;
	bool reset;
	const char *chaos;
} opt = {
	.threads = 8,
	.seconds = 5,
	.seed = 1,
	.largest = 64 * 1024,
};

static struct world world;
static long long end_ms;
static atomic_bool stop;
static atomic_ulong started;
static atomic_ulong complaints;

/* What one thread saw. */
struct worker {
	pthread_t thread;
	unsigned int number;
	unsigned int random;
	unsigned long verdicts[V_COUNT];
	unsigned long late;
	unsigned long sessions;
	unsigned long resets;
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
static void repair(struct worker *w, unsigned int generation)
{
	while (!over() && world_repair(&world, generation))
		usleep(RETRY_MS * 1000);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct world_view view;
	struct verified v;

	while (!over()) {
		enum verified_op op = draw(w) % OP_COUNT;

		started++;
		world_look(&world, w->number, &view);
		verified_run(&view, op, draw_len(w), draw(w), &v);
		account(w, &v);
		if (v.verdict != V_GOOD)
			repair(w, view.generation);
		if (w->number == 0 && draw(w) % 64 == 0)
			come_and_go(w);
		if (opt.reset && w->number == 1 && draw(w) % 256 == 0)
			reset(w, &view);
	}
	return NULL;
}

static void print_help(const char *program)
{
	printf("usage: %s [options]\n"
	       "  -t N   threads, up to %d (%u)\n"
	       "  -s N   seconds, 0 for no limit (%u)\n"
	       "  -c N   commands, 0 for no limit (0)\n"
	       "  -b N   milliseconds that one command may take (what the driver says)\n"
	       "  -m N   bytes of the longest text (%zu)\n"
	       "  -r N   seed of the choices (%u)\n"
	       "  -R     resets by request, now and then\n"
	       "  -x N[,RATE]  faults of the emulator at random, with that seed,\n"
	       "         once everything is set up; includes -l\n"
	       "  -l     the device lies: wrong results are counted, no failure; a\n"
	       "         dead device is bound anew. Holds if faults are armed, too.\n",
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

	while ((c = getopt(argc, argv, "t:s:c:b:m:r:Rx:lh")) != -1) {
		switch (c) {
		case 't':
			opt.threads = parse_number(optarg);
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
		case 'x':
			opt.chaos = optarg;
			opt.liar = true;
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
}

/* The first provisioning; a device with faults may need some tries. */
static int begin(void)
{
	long long end = now_ms() + (opt.liar ? BEGIN_MS : 0);
	int ret = world_init(&world);

	world.may_rebind = opt.liar;
	while (ret && now_ms() < end) {
		usleep(RETRY_MS * 1000);
		ret = world_repair(&world, world.generation);
	}
	return ret;
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
	return query.command_timeout_ms + SLACK_MS +
	       query.recovery_bound_ms * (opt.liar ? RECOVERIES_LIAR : 1);
}

/* Has the emulator draw faults, as -x says. */
static void start_chaos(void)
{
	const char *rate = strchr(opt.chaos, ',');
	char request[128], *answer;
	bool started;

	snprintf(request, sizeof(request),
		 "{\"cmd\":\"chaos\",\"seed\":%.*s,\"rate\":%s}",
		 (int)(rate ? rate - opt.chaos : strlen(opt.chaos)), opt.chaos,
		 rate ? rate + 1 : "0.001");
	answer = emulator_ask(request);
	started = json_member(answer, "started");
	if (!started)
		ksft_exit_fail_msg("%s: %s\n", request,
				   answer ? answer : "no answer");
	free(answer);
}

/* The end of all faults; what they were. */
static void stop_chaos(void)
{
	char *answer = emulator_ask("{\"cmd\":\"chaos-stop\"}");

	ksft_print_msg("%s\n", answer ? answer : "no answer");
	free(answer);
	fault_clear();
}

/* Whether faults are armed, or drawn at random. */
static bool has_faults(void)
{
	char *answer = emulator_ask("{\"cmd\":\"faults\"}");
	bool found = json_count(json_member(answer, "faults")) ||
		     json_member(json_member(answer, "chaos"), "seed");

	free(answer);
	return found;
}

static void add(struct worker *sum, const struct worker *w)
{
	for (int i = 0; i < V_COUNT; i++)
		sum->verdicts[i] += w->verdicts[i];
	sum->late += w->late;
	sum->sessions += w->sessions;
	sum->resets += w->resets;
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
	len += snprintf(text + len, room - len, "%lu sessions, %lu resets, ",
			sum->sessions, sum->resets);
	snprintf(text + len, room - len,
		 "%u repairs, %u fresh starts, %u rebinds", world.repairs,
		 world.fresh_starts, world.rebinds);
}

int main(int argc, char **argv)
{
	struct worker sum = { 0 };
	char text[256];
	const char *rest;
	long long start;
	bool fine;
	int ret;

	parse(argc, argv);
	ksft_print_header();
	if (!hsm_name())
		ksft_exit_skip("no azihsm device\n");
	ksft_set_plan(3);
	if (has_faults())
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
		start_chaos();
	run(&sum);
	if (opt.chaos)
		stop_chaos();
	fine = !sum.late && sum.verdicts[V_GOOD] &&
	       (opt.liar || (!sum.verdicts[V_WRONG] && !sum.verdicts[V_ODD]));
	/* While faults are armed it may not. */
	rest = has_faults() ? NULL : works_again(&world);
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "works afterwards\n");
	world_close(&world);
	describe(&sum, text, sizeof(text));
	ksft_test_result(fine, "load: %lu commands in %lld ms: %s\n",
			 (unsigned long)started, now_ms() - start, text);
	/* A device that lies may hold sessions that nobody knows of. */
	rest = opt.liar ? NULL : device_at_rest();
	if (rest)
		ksft_print_msg("%s\n", rest);
	ksft_test_result(!rest, "at rest\n");
	ksft_finished();
}
