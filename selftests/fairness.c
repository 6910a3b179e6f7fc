// SPDX-License-Identifier: GPL-2.0
/*
 * More callers than slots: nobody waits while others pass, and every queue
 * works.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/counters.h"
#include "lib/emulator.h"
#include "lib/harness.h"
#include "lib/json.h"

#define QUEUES_MAX	130
/* Commands of all threads together, about. */
#define COMMANDS	3000
/* With so few slots the order of the callers is all that there is. */
#define FEW		24

FIXTURE(fairness) {
	int fd;
	struct azihsm_query limits;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1, key2;
};

FIXTURE_VARIANT(fairness) {
	bool fast;
};

FIXTURE_VARIANT_ADD(fairness, control_path) { .fast = false };
FIXTURE_VARIANT_ADD(fairness, fast_path) { .fast = true };

FIXTURE_SETUP(fairness)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->key1,
					   &self->key2));
	ASSERT_EQ(0, hsm_query(self->fd, &self->limits));
}

FIXTURE_TEARDOWN(fairness)
{
	close(self->fd);
}

/* What one command saw. */
struct sample {
	unsigned int passed;
	unsigned int ms;
};

struct worker {
	pthread_t thread;
	const struct hsm_session *s;
	const struct hsm_key *key1, *key2;
	bool fast;
	int ret;
	unsigned int rounds;
	struct sample *samples;
};

/* Commands that began and that ended, of all workers. */
static atomic_uint begun, ended;
static atomic_bool go;

static int run_command(const struct worker *w)
{
	struct azihsm_aes cmd;
	__u8 src[512] = { 0 }, dst[512];
	struct hsm_device_info info;
	int ret;

	if (!w->fast)
		return hsm_get_device_info(w->s->fd, &info);
	xts_init(&cmd, w->s, AZIHSM_AES_ENCRYPT, w->key1->bulk_id,
		 w->key2->bulk_id, 0, 1, src, dst, sizeof(src));
	ret = hsm_xts(w->s->fd, &cmd);
	return ret ? ret : cmd.result;
}

static unsigned int now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	while (!go)
		usleep(100);
	for (unsigned int i = 0; i < w->rounds && !w->ret; i++) {
		unsigned int start = now_ms(), at = begun++, done;

		w->ret = run_command(w);
		done = ended++;
		w->samples[i].ms = now_ms() - start;
		/* Who comes as number 5 and goes as number 9 was passed by 4. */
		w->samples[i].passed = done > at ? done - at : 0;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const unsigned int *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Sorts the values and prints their distribution. */
static void distribution(const char *what, unsigned int *values, size_t count)
{
	qsort(values, count, sizeof(values[0]), compare);
	ksft_print_msg("%s: median %u, 90 %% up to %u, ", what,
		       values[count / 2], values[count * 9 / 10]);
	printf("99 %% up to %u, all up to %u\n", values[count * 99 / 100],
	       values[count - 1]);
}

/* Commands that each queue was given. */
static unsigned int per_queue(bool fast, unsigned int queues, long long *sums)
{
	char file[64];

	for (unsigned int i = 0; i < queues; i++) {
		snprintf(file, sizeof(file), "%s_sq%u/total_ios_submitted_to_hw",
			 fast ? "fp" : "cp", i + (fast ? 256 : 1));
		sums[i] = counter(file);
	}
	return queues;
}

TEST_F_TIMEOUT(fairness, nobody_is_passed_by_many, 300)
{
	const struct azihsm_query *q = &self->limits;
	unsigned int queues = variant->fast ? q->fp_queues : q->cp_queues;
	unsigned int entries = variant->fast ? q->fp_ring_entries :
					       q->cp_ring_entries;
	size_t slots = queues * (entries - 1);
	size_t count = slots < FEW ? slots + FEW : slots > 120 ? 240 : 2 * slots;
	unsigned int rounds = COMMANDS / count;
	long long before[QUEUES_MAX], after[QUEUES_MAX], used = 0;
	unsigned int *passed, *waited;
	struct worker *workers;
	struct sample *samples;
	pthread_attr_t small;
	/* The device takes so long that the processors are idle. */
	bool slow = getenv("AZIHSM_SLOW_DEVICE");
	size_t n = 0;

	ASSERT_GE(QUEUES_MAX, queues);
	workers = calloc(count, sizeof(*workers));
	samples = calloc(count * rounds, sizeof(*samples));
	passed = calloc(count * rounds, sizeof(*passed));
	waited = calloc(count * rounds, sizeof(*waited));
	ASSERT_TRUE(workers && samples && passed && waited);
	per_queue(variant->fast, queues, before);
	begun = 0;
	ended = 0;
	go = false;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (size_t i = 0; i < count; i++) {
		workers[i].s = &self->s;
		workers[i].key1 = &self->key1;
		workers[i].key2 = &self->key2;
		workers[i].fast = variant->fast;
		workers[i].rounds = rounds;
		workers[i].samples = samples + i * rounds;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, &small,
					    run_worker, &workers[i]));
	}
	go = true;
	for (size_t i = 0; i < count; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		ASSERT_EQ(0, workers[i].ret);
		for (unsigned int j = 0; j < rounds; j++) {
			passed[n] = workers[i].samples[j].passed;
			waited[n++] = workers[i].samples[j].ms;
		}
	}

	ksft_print_msg("%zu threads on %zu slots, %u commands each\n", count,
		       slots, rounds);
	distribution("passed by", passed, n);
	distribution("milliseconds", waited, n);
	/*
	 * A thread that is not scheduled in time is passed, too. So the order of
	 * those who wait shows only where waiting is what takes the time: where
	 * there are few slots, or the device is slow.
	 */
	if (slots < FEW || (slow && count > slots)) {
		EXPECT_GE(count, passed[n * 9 / 10]);
		EXPECT_GE(2 * count, passed[n * 99 / 100]);
		EXPECT_GT(1000, passed[n - 1]);
	}

	per_queue(variant->fast, queues, after);
	for (unsigned int i = 0; i < queues; i++)
		used += after[i] > before[i];
	if (count > queues)
		EXPECT_EQ(queues, used);
	free(workers);
	free(samples);
	free(passed);
	free(waited);
}

/* Commands that the device fetched from each fast-path queue. */
static bool device_counts(unsigned int count, long long *commands)
{
	char *answer = emulator_ask("{\"cmd\":\"stats\"}");
	const char *queues;
	char id[16];
	__u64 n;

	if (!answer)
		return false;
	queues = json_member(json_first(json_member(answer, "functions")),
			     "queues");
	for (unsigned int i = 0; queues && i < count; i++) {
		snprintf(id, sizeof(id), "%u", 256 + i);
		commands[i] = json_number(json_member(queues, id), &n) ? n : 0;
	}
	free(answer);
	return queues;
}

/*
 * The device's view: a queue is given as many commands as the driver says. The
 * driver counts from its probe on, the device from its start.
 */
TEST_F(fairness, device_agrees)
{
	long long told[QUEUES_MAX], seen[QUEUES_MAX];
	long long told_after[QUEUES_MAX], seen_after[QUEUES_MAX], sum = 0;
	struct worker w = {
		.s = &self->s,
		.key1 = &self->key1,
		.key2 = &self->key2,
		.fast = true,
	};
	unsigned int queues = self->limits.fp_queues;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_GE(QUEUES_MAX, queues);
	per_queue(true, queues, told);
	ASSERT_TRUE(device_counts(queues, seen));
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, run_command(&w));
	per_queue(true, queues, told_after);
	ASSERT_TRUE(device_counts(queues, seen_after));
	for (unsigned int i = 0; i < queues; i++) {
		EXPECT_EQ(told_after[i] - told[i], seen_after[i] - seen[i]);
		sum += seen_after[i] - seen[i];
	}
	EXPECT_EQ(100, sum);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
