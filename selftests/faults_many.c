// SPDX-License-Identifier: GPL-2.0
/*
 * Many threads meet a device that does not answer: none is left waiting, and
 * what the driver says of it in the log is bounded.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/busy.h"
#include "lib/counters.h"
#include "lib/harness.h"
#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/fault_case.h"
#include "lib/flight.h"
#include "lib/killing.h"

/* Threads beyond the number of slots. */
#define BEYOND		16
#define THREADS_MAX	1024
/*
 * Threads that share a number of commands: so many of one processor that all of
 * them are at its queue, which is this one.
 */
#define WORKERS		4
#define COMMANDS	10000
#define QUEUE		"fp_sq256"
#define STACK		(128 * 1024)
/*
 * How long callers may take until all that can be are at the device, and how long
 * they are watched then, before the first of them runs out of time. In milliseconds.
 */
#define SUBMITTED_MS	3000
#define WATCHED_MS	2000
/* Lines of the driver in the log, for one recovery. */
#define LINES_MAX	40
/* What the machine may add to the driver's bounds, in milliseconds. */
#define SLACK_MS	3000
/* When a process with so many commands is killed: they are submitted by then. */
#define KILL_MANY_MS	3000
/* No command of the class is answered. */
#define FP_IGNORED	"{\"class\":\"fp\",\"what\":\"ignore\"}"
#define CP_IGNORED	"{\"class\":\"cp\",\"what\":\"ignore\"}"
/* Text of each command, in bytes. */
#define LEN		512

FIXTURE(many) {
	struct world world;
	long long bound_ms;
	unsigned int fast_slots;
	unsigned int control_slots;
};

FIXTURE_SETUP(many)
{
	struct azihsm_query query;

	if (!fault_slow())
		SKIP(return, "takes minutes: set AZIHSM_SLOW=1");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, world_init(&self->world));
	ASSERT_EQ(0, hsm_query(self->world.s[0].fd, &query));
	self->fast_slots = query.fp_queues * (query.fp_ring_entries - 1);
	self->control_slots = query.cp_queues * (query.cp_ring_entries - 1);
	self->bound_ms = query.command_timeout_ms + query.recovery_bound_ms +
			 SLACK_MS;
	ASSERT_LT(0, query.recovery_bound_ms);
}

FIXTURE_TEARDOWN(many)
{
	if (!fault_slow() || !emulator_present())
		return;
	fault_clear();
	world_close(&self->world);
	EXPECT_NO_COMPLAINT(device_at_rest());
}

struct caller {
	pthread_t thread;
	const struct world_view *view;
	enum verified_op op;
	/* Commands, one after the other, as long as they are good. */
	unsigned int count;
	struct verified v;
};

static atomic_uint running;

static void *call(void *arg)
{
	struct caller *c = arg;

	do
		verified_run(c->view, c->op, LEN, c->count, &c->v);
	while (c->v.verdict == V_GOOD && --c->count);
	running--;
	return NULL;
}

/* Starts threads with some commands each; returns how many there are. */
static unsigned int start_many(struct caller *callers, unsigned int count,
			       const struct world_view *view,
			       enum verified_op op, unsigned int commands)
{
	pthread_attr_t attr;
	unsigned int i;

	if (count > THREADS_MAX)
		count = THREADS_MAX;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	running = count;
	for (i = 0; i < count; i++) {
		callers[i] = (struct caller) {
			.view = view,
			.op = op,
			.count = commands,
		};
		if (pthread_create(&callers[i].thread, &attr, call,
				   &callers[i]))
			break;
	}
	pthread_attr_destroy(&attr);
	return i;
}

/* Starts threads with one command each. */
static unsigned int start(struct caller *callers, unsigned int count,
			  const struct world_view *view, enum verified_op op)
{
	return start_many(callers, count, view, op, 1);
}

/* Lines of the driver in the kernel's log since it was opened. */
static unsigned int count_lines(int log)
{
	char line[2048];
	unsigned int lines = 0;
	ssize_t len;

	while ((len = read(log, line, sizeof(line) - 1)) > 0 ||
	       (len < 0 && errno == EPIPE)) {
		if (len < 0)
			continue;
		line[len] = 0;
		if (strstr(line, "azihsm"))
			lines++;
	}
	return lines;
}

static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/*
 * Time of a processor, in milliseconds, that this process uses in WATCHED_MS, once
 * its commands have all slots of a path.
 */
static long long used_by_callers(const char *path, unsigned int slots)
{
	long long end = now_ms() + SUBMITTED_MS, used;

	while (counter_sum(path, "num_cmds_pending_in_hw") < slots &&
	       now_ms() < end)
		usleep(50000);
	used = busy_cpu_ms();
	usleep(WATCHED_MS * 1000);
	return busy_cpu_ms() - used;
}

/* More callers than slots, and no command of their class is answered. */
static const char *nobody_waits_for_ever(struct world *w, const char *fault,
					 enum verified_op op, const char *path,
					 unsigned int slots, long long bound_ms)
{
	static struct caller callers[THREADS_MAX];
	static char why[256];
	unsigned int verdicts[V_COUNT] = { 0 };
	unsigned int count, lines;
	struct world_view view;
	int log = open_log();
	long long slowest = 0, used;
	long id;

	world_look(w, 0, &view);
	id = fault_arm(fault);
	if (id < 0)
		return "the fault cannot be armed";
	count = start(callers, slots + BEYOND, &view, op);
	used = used_by_callers(path, slots);
	for (long long end = now_ms() + bound_ms; running && now_ms() < end;)
		usleep(50000);
	/* Who is left would wait for ever; let him go. */
	if (running)
		snprintf(why, sizeof(why), "%u of %u callers wait after %lld ms",
			 running, count, bound_ms);
	else
		why[0] = 0;
	fault_clear();
	for (unsigned int i = 0; i < count; i++) {
		pthread_join(callers[i].thread, NULL);
		verdicts[callers[i].v.verdict]++;
		if (callers[i].v.slowest_ms > slowest)
			slowest = callers[i].v.slowest_ms;
	}
	lines = count_lines(log);
	close(log);
	ksft_print_msg("%u callers, %u slots: %u again, slowest %lld ms, %u lines in the log\n",
		       count, slots, verdicts[V_AGAIN], slowest, lines);
	ksft_print_msg("%lld ms of a processor in %d ms of waiting\n", used,
		       WATCHED_MS);
	if (why[0])
		return why;
	if (used > WATCHED_MS / BUSY_SHARE) {
		snprintf(why, sizeof(why), "who waits uses a processor %lld ms of %d ms",
			 used, WATCHED_MS);
		return why;
	}
	if (verdicts[V_AGAIN] + verdicts[V_GOOD] != count ||
	    !verdicts[V_AGAIN]) {
		snprintf(why, sizeof(why), "%u refused, %u gone, %u odd, %u wrong",
			 verdicts[V_REFUSED], verdicts[V_GONE],
			 verdicts[V_ODD], verdicts[V_WRONG]);
		return why;
	}
	if (lines > LINES_MAX) {
		snprintf(why, sizeof(why), "%u lines in the log", lines);
		return why;
	}
	return works_again(w);
}

TEST_F_TIMEOUT(many, fast_path_stops, 240)
{
	const char *why = nobody_waits_for_ever(&self->world, FP_IGNORED,
						OP_XTS_ENCRYPT, "fp_sq",
						self->fast_slots,
						self->bound_ms);

	EXPECT_NO_COMPLAINT(why);
}

TEST_F_TIMEOUT(many, control_path_stops, 240)
{
	const char *why = nobody_waits_for_ever(&self->world, CP_IGNORED, OP_CBC,
						"cp_sq", self->control_slots,
						self->bound_ms);

	EXPECT_NO_COMPLAINT(why);
}

/* Commands of a ring have all the slots, and callers wait for one. */
static void in_commands(const void *arg)
{
	static struct caller callers[BEYOND];
	/* The keys are everybody's, the files are not. */
	struct world_view view = *(const struct world_view *)arg;
	struct flight flight;
	int fd = hsm_open();

	if (flight_prepare(&flight, fd, 0) || flight_start(&flight, fd))
		return;
	view.s = flight.s;
	start(callers, BEYOND, &view, OP_XTS_ENCRYPT);
	wait_for_nothing(NULL);
}

static void *do_nothing(void *arg)
{
	wait_for_nothing(NULL);
	return NULL;
}

/* As many threads, and none of them waits for the device. */
static void in_threads(const void *arg)
{
	pthread_t thread;

	for (int i = 0; i < BEYOND; i++)
		pthread_create(&thread, NULL, do_nothing, NULL);
	wait_for_nothing(NULL);
}

/* SIGKILL ends them all at once. */
TEST_F_TIMEOUT(many, killed_while_nothing_is_answered, 120)
{
	long id = fault_arm(FP_IGNORED);
	struct world_view view;

	ASSERT_LE(0, id);
	world_look(&self->world, 0, &view);
	EXPECT_KILLED_UNLIKE(in_threads, KILL_MANY_MS, KILLED_MS, in_commands,
			     &view);
	/* Each slot was taken. */
	EXPECT_EQ(self->fast_slots, fault_hits(id));
	ASSERT_TRUE(fault_clear());
	EXPECT_NO_COMPLAINT(works_again(&self->world));
}

/* The session of a file that is closed while the device is reset is flushed. */
TEST_F_TIMEOUT(many, close_during_recovery, 120)
{
	struct azihsm_dev_info info;
	struct caller caller;
	struct hsm_session s;
	struct world_view view;
	int fd = hsm_open(), ret = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_open_session(fd, &s));
	world_look(&self->world, 0, &view);
	/* Recovery takes its time: it is under way when the file is closed. */
	ASSERT_LE(0, fault_arm("{\"count\":1,\"what\":{\"ignore-enable\":{\"ms\":3000}}}"));
	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"what\":\"crash\"}"));
	ASSERT_EQ(1, start(&caller, 1, &view, OP_XTS_ENCRYPT));
	for (int ms = 0; ms < 20000 && !ret; ms += 10) {
		usleep(10000);
		ret = hsm_dev_info(fd, &info);
	}
	EXPECT_EQ(-EAGAIN, ret);
	close(fd);
	/* It was under way, and still is. */
	EXPECT_EQ(-EAGAIN, hsm_dev_info(view.s.fd, &info));
	ASSERT_EQ(0, pthread_join(caller.thread, NULL));
	ASSERT_TRUE(fault_clear());
	EXPECT_NO_COMPLAINT(works_again(&self->world));
	/* The teardown looks at the device's table. */
}

/* Completions of commands that were given up come when their ids are in use. */
TEST_F_TIMEOUT(many, stale_completions_and_ten_thousand_commands, 240)
{
	struct caller callers[WORKERS];
	struct world_view view;
	long long stale, submitted;
	unsigned int lost = 0;
	long id;

	world_look(&self->world, 0, &view);
	hsm_use_processor(0);
	stale = counter(QUEUE "/stale_completions");
	ASSERT_LE(0, stale);
	id = fault_arm("{\"class\":\"fp\",\"count\":4,\"what\":{\"stale\":{\"ms\":1000}}}");
	ASSERT_LE(0, id);
	ASSERT_EQ(WORKERS, start(callers, WORKERS, &view, OP_XTS_ENCRYPT));
	for (int i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, pthread_join(callers[i].thread, NULL));
		lost += callers[i].v.verdict == V_AGAIN;
		/* A driver that is slower than the device finds some in time. */
		EXPECT_NE(0, MAY(callers[i].v.verdict) &
			  (MAY(V_AGAIN) | MAY(V_GOOD)));
	}
	EXPECT_LT(0, lost);
	EXPECT_EQ(WORKERS, fault_hits(id));
	submitted = counter(QUEUE "/total_ios_submitted_to_hw");
	ASSERT_EQ(WORKERS, start_many(callers, WORKERS, &view, OP_XTS_DECRYPT,
				      COMMANDS / WORKERS));
	for (int i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, pthread_join(callers[i].thread, NULL));
		EXPECT_EQ(V_GOOD, callers[i].v.verdict) {
			TH_LOG("%s", callers[i].v.why);
		}
	}
	EXPECT_EQ(COMMANDS,
		  counter(QUEUE "/total_ios_submitted_to_hw") - submitted);
	EXPECT_EQ(lost, counter(QUEUE "/stale_completions") - stale);
	EXPECT_NO_COMPLAINT(works_again(&self->world));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
