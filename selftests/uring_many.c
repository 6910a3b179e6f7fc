// SPDX-License-Identifier: GPL-2.0
/*
 * Many commands at a time from one ring: depths, cancellation, and ioctls
 * beside them.
 */
#include <pthread.h>
#include <stdlib.h>

#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/ring.h"
#include "lib/roundtrip.h"

#define PATIENCE	60
#define DEPTH_MAX	256
#define LEN_MAX		20000

FIXTURE(uring_many) {
	int fd;
	struct io_uring ring;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm;
	__u8 key[32];
};

FIXTURE_VARIANT(uring_many) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(uring_many, plain) {
	.flags = IORING_SETUP_CQE32,
};

FIXTURE_VARIANT_ADD(uring_many, sqpoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SQPOLL,
};

FIXTURE_VARIANT_ADD(uring_many, defer_taskrun) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SINGLE_ISSUER |
		 IORING_SETUP_DEFER_TASKRUN,
};

FIXTURE_VARIANT_ADD(uring_many, iopoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_IOPOLL,
};

FIXTURE_VARIANT_ADD(uring_many, mixed) {
	.flags = IORING_SETUP_SQE_MIXED | IORING_SETUP_CQE_MIXED,
};

FIXTURE_SETUP(uring_many)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ring_open(&self->ring, DEPTH_MAX, variant->flags));
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	hsm_test_key("gcm", self->key);
}

FIXTURE_TEARDOWN(uring_many)
{
	io_uring_queue_exit(&self->ring);
	close(self->fd);
}

/* One command of a ring, and what it is to make. */
struct job {
	__u8 src[LEN_MAX], dst[LEN_MAX], want[LEN_MAX];
	__u8 tag[16];
	size_t len;
	unsigned int completions;
	struct azihsm_aes cmd;
	struct azihsm_uring_result result;
};

static bool prepare(struct job *job, const struct hsm_session *s, __u32 key,
		    const __u8 *key_bytes, unsigned int number)
{
	job->completions = 0;
	job->len = 1 + number * 7919 % LEN_MAX;
	fill_pattern(job->src, job->len, number);
	memset(job->dst, GUARD_FILL, LEN_MAX);
	gcm_init(&job->cmd, s, AZIHSM_AES_ENCRYPT, key, 0, job->src, job->dst,
		 job->len);
	fill_pattern(job->cmd.gcm.iv, sizeof(job->cmd.gcm.iv), ~number);
	memset(&job->result, 0, sizeof(job->result));
	return aes_gcm_encrypt(key_bytes, job->cmd.gcm.iv, NULL, 0, job->src,
			       job->want, job->len, job->tag);
}

/* Whether a command that completed with this result did what it should. */
static const char *check(struct job *job, int res)
{
	static char why[128];
	size_t at;

	why[0] = 0;
	if (job->completions++)
		return "completed twice";
	at = first_difference(job->dst, job->want, job->len);
	if (res != job->len)
		snprintf(why, sizeof(why), "%zu bytes: %d", job->len, res);
	else if (at != job->len)
		snprintf(why, sizeof(why), "%zu bytes: differs at %zu",
			 job->len, at);
	else if (memcmp(job->tag, job->result.tag, sizeof(job->tag)))
		snprintf(why, sizeof(why), "%zu bytes: wrong tag", job->len);
	else if (!all_bytes(job->dst + job->len, GUARD_FILL, LEN_MAX - job->len))
		snprintf(why, sizeof(why), "%zu bytes: wrote too much", job->len);
	return why[0] ? why : NULL;
}

/* Prepares commands and puts them into the ring, but does not submit them. */
static bool put_jobs(FIXTURE_DATA(uring_many) * self, struct job *jobs,
		     unsigned int count, unsigned int seed)
{
	for (unsigned int i = 0; i < count; i++) {
		if (!prepare(&jobs[i], &self->s, self->gcm.bulk_id, self->key,
			     seed + i))
			return false;
		ring_put_aes(&self->ring, &jobs[i].cmd, self->fd,
			     &jobs[i].result, i);
	}
	return true;
}

TEST_F_TIMEOUT(uring_many, depths, 120)
{
	struct job *jobs = calloc(DEPTH_MAX, sizeof(*jobs));
	struct ring_done done;

	ASSERT_NE(NULL, jobs);
	for (unsigned int depth = 1; depth <= DEPTH_MAX; depth *= 2) {
		ASSERT_TRUE(put_jobs(self, jobs, depth, depth));
		for (unsigned int i = 0; i < depth; i++) {
			ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE)) {
				TH_LOG("depth %u, after %u", depth, i);
			}
			ASSERT_GT(depth, done.data);
			EXPECT_NO_COMPLAINT(check(&jobs[done.data], done.res));
		}
		/* No more than that. */
		ASSERT_EQ(-EAGAIN, io_uring_peek_cqe(&self->ring,
						     &(struct io_uring_cqe *){ 0 }));
	}
	free(jobs);
}

/*
 * Cancelled or not, each command has one end: what is at the device completes,
 * what waits for a slot is cancelled.
 */
TEST_F_TIMEOUT(uring_many, cancel, 120)
{
	struct job *jobs = calloc(DEPTH_MAX, sizeof(*jobs));
	unsigned int ok = 0, cancelled = 0, put = DEPTH_MAX - 1;
	struct io_uring_sqe *sqe;
	struct ring_done done;
	bool told = false;

	if (variant->flags & IORING_SETUP_IOPOLL)
		SKIP(return, "a ring that polls takes no cancellation");
	ASSERT_NE(NULL, jobs);
	ASSERT_TRUE(put_jobs(self, jobs, put, 0));
	sqe = ring_put_other(&self->ring);
	io_uring_prep_cancel_fd(sqe, self->fd, IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = put;
	for (unsigned int i = 0; i <= put; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE)) {
			TH_LOG("after %u", i);
		}
		if (done.data == put) {
			EXPECT_FALSE(told);
			told = true;
			continue;
		}
		ASSERT_GT(put, done.data);
		if (done.res == -ECANCELED) {
			EXPECT_EQ(0, jobs[done.data].completions++);
			cancelled++;
		} else {
			EXPECT_NO_COMPLAINT(check(&jobs[done.data], done.res));
			ok++;
		}
	}
	EXPECT_TRUE(told);
	EXPECT_EQ(put, ok + cancelled);
	TH_LOG("%u completed, %u cancelled", ok, cancelled);
	EXPECT_LT(0, ok);
	free(jobs);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/*
 * A ring that waits for more completions than there are slots is woken up to give
 * some of them back.
 */
TEST_F_TIMEOUT(uring_many, wait_for_all, 120)
{
	struct __kernel_timespec limit = { .tv_sec = PATIENCE };
	struct job *jobs = calloc(DEPTH_MAX, sizeof(*jobs));
	struct io_uring_cqe *cqe;
	struct ring_done done;
	int ret;

	if (variant->flags & IORING_SETUP_CQE_MIXED)
		SKIP(return, "an end is not one entry");
	ASSERT_NE(NULL, jobs);
	ASSERT_TRUE(put_jobs(self, jobs, DEPTH_MAX, 0));
	do
		ret = io_uring_submit_and_wait_timeout(&self->ring, &cqe,
						       DEPTH_MAX, &limit, NULL);
	while (ret == -EINTR);
	ASSERT_LE(0, ret);
	for (unsigned int i = 0; i < DEPTH_MAX; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		ASSERT_GT(DEPTH_MAX, done.data);
		EXPECT_NO_COMPLAINT(check(&jobs[done.data], done.res));
	}
	free(jobs);
}

/*
 * A device that takes its time: what waits for a slot is cancelled before the
 * first command is done, and never gets to the device. What is there stays.
 */
TEST_F_TIMEOUT(uring_many, cancel_those_who_wait, 120)
{
	struct job *jobs = calloc(DEPTH_MAX, sizeof(*jobs));
	unsigned int ok = 0, cancelled = 0, put = DEPTH_MAX - 1, slots;
	struct io_uring_sqe *sqe;
	struct azihsm_query query;
	struct ring_done done;
	bool told = false;

	if (variant->flags & IORING_SETUP_IOPOLL)
		SKIP(return, "a ring that polls takes no cancellation");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_EQ(0, hsm_query(self->fd, &query));
	slots = query.fp_queues * (query.fp_ring_entries - 1);
	if (slots >= put)
		SKIP(return, "there are slots for all");
	ASSERT_NE(NULL, jobs);
	ASSERT_TRUE(fault_clear());
	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"what\":{\"delay\":{\"ms\":1500}}}"));
	ASSERT_TRUE(put_jobs(self, jobs, put, 0));
	sqe = ring_put_other(&self->ring);
	io_uring_prep_cancel_fd(sqe, self->fd, IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = put;
	for (unsigned int i = 0; i <= put; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE)) {
			TH_LOG("after %u", i);
		}
		if (done.data == put) {
			told = true;
			continue;
		}
		ASSERT_GT(put, done.data);
		if (done.res == -ECANCELED) {
			EXPECT_EQ(0, ok) {
				TH_LOG("%llu was cancelled late", done.data);
			}
			EXPECT_EQ(0, jobs[done.data].completions++);
			EXPECT_TRUE(all_bytes(jobs[done.data].dst, GUARD_FILL,
					      LEN_MAX));
			cancelled++;
			continue;
		}
		EXPECT_NO_COMPLAINT(check(&jobs[done.data], done.res));
		if (!ok++)
			EXPECT_TRUE(fault_clear());
	}
	EXPECT_TRUE(told);
	/* Those that have a slot are at the device, or just on their way. */
	EXPECT_GE(slots, ok);
	EXPECT_EQ(put, ok + cancelled);
	EXPECT_LE(put - slots, cancelled);
	free(jobs);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* What is at the device comes to its end, whoever does not want it any more. */
TEST_F(uring_many, cancel_at_the_device)
{
	struct __kernel_timespec soon = { .tv_nsec = 100 * 1000 * 1000 };
	struct job *job = calloc(1, sizeof(*job));
	struct io_uring_sqe *sqe;
	struct ring_done done;

	if (variant->flags & IORING_SETUP_IOPOLL)
		SKIP(return, "a ring that polls takes no cancellation");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_NE(NULL, job);
	ASSERT_TRUE(fault_clear());
	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"what\":{\"delay\":{\"ms\":1000}}}"));
	for (int round = 0; round < 2; round++) {
		ASSERT_TRUE(prepare(job, &self->s, self->gcm.bulk_id, self->key,
				    round));
		sqe = ring_put_aes(&self->ring, &job->cmd, self->fd,
				   &job->result, 0);
		if (round) {
			/* By a linked timeout, */
			sqe->flags |= IOSQE_IO_LINK;
			sqe = ring_put_other(&self->ring);
			io_uring_prep_link_timeout(sqe, &soon, 0);
		} else {
			/* or by name. */
			sqe = ring_put_other(&self->ring);
			io_uring_prep_cancel64(sqe, 0, 0);
		}
		sqe->user_data = 1;
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
			ASSERT_EQ(1 - i, done.data);
			if (i)
				EXPECT_NO_COMPLAINT(check(job, done.res));
			else
				EXPECT_TRUE(done.res == -ENOENT ||
					    done.res == -EALREADY ||
					    (round && done.res == -ETIME)) {
					TH_LOG("round %d: %d", round, done.res);
				}
		}
	}
	EXPECT_TRUE(fault_clear());
	free(job);
}

/* Interrupts of fast-path queues that the system has handled. */
static unsigned long handled(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	unsigned long sum = 0;
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, ':'), *end;

		if (!at || !strstr(line, "azihsm-fp"))
			continue;
		for (at++;; at = end) {
			unsigned long count = strtoul(at, &end, 10);

			if (end == at)
				break;
			sum += count;
		}
	}
	if (f)
		fclose(f);
	return sum;
}

/* Runs @count commands, @depth at a time; the interrupts that were handled, or -1. */
static long interrupts_of(struct _test_data_uring_many *self, struct job *job,
			  unsigned int depth, unsigned int count)
{
	unsigned long before = handled();
	struct ring_done done;
	unsigned int put = 0;

	for (unsigned int i = 0; i < count; i++) {
		for (; put < count && put < i + depth; put++)
			ring_put_aes(&self->ring, &job->cmd, self->fd, NULL, put);
		if (ring_wait(&self->ring, &done, PATIENCE) ||
		    done.res != job->len)
			return -1;
	}
	return handled() - before;
}

/* One command, one interrupt; many, and there are less. */
TEST_F_TIMEOUT(uring_many, interrupts, 120)
{
	enum { COUNT = 600, ROUNDS = 5 };
	struct job *job = calloc(1, sizeof(*job));
	struct azihsm_query query;
	long few = COUNT;

	ASSERT_EQ(0, hsm_query(self->fd, &query));
	if (query.fp_queues_polled)
		SKIP(return, "not all queues raise interrupts");
	ASSERT_NE(NULL, job);
	ASSERT_TRUE(prepare(job, &self->s, self->gcm.bulk_id, self->key, 0));
	/* A ring that polls may come before the interrupt. */
	if (!(variant->flags & IORING_SETUP_IOPOLL))
		EXPECT_EQ(50, interrupts_of(self, job, 1, 50));
	/* A machine that is busy with other things may be too slow for that. */
	for (int round = 0; round < ROUNDS && few > COUNT / 2; round++) {
		few = interrupts_of(self, job, 64, COUNT);
		ASSERT_LE(0, few);
		TH_LOG("%ld interrupts for %d commands", few, COUNT);
	}
	free(job);
	/* Nothing piles up at the device then. */
	if (few > COUNT / 2 && hsm_kernel_checks_itself())
		SKIP(return, "a kernel that checks itself is slower than the device");
	EXPECT_GE(COUNT / 2, few);
}

struct ioctls {
	pthread_t thread;
	const struct hsm_session *s;
	__u32 key;
	const __u8 *key_bytes;
	char why[400];
};

static void *run_ioctls(void *arg)
{
	struct ioctls *w = arg;

	for (unsigned int i = 0; i < 60 && !w->why[0]; i++) {
		struct gcm_case c = {
			.s = w->s,
			.key = w->key,
			.key_bytes = w->key_bytes,
			.text = 1 + i * 331 % 12000,
		};
		const char *why = gcm_round_trip(&c);

		if (why)
			snprintf(w->why, sizeof(w->why), "%s", why);
	}
	return NULL;
}

/* Both doors of one file, at the same time. */
TEST_F_TIMEOUT(uring_many, beside_ioctls, 120)
{
	enum { THREADS = 4, DEPTH = 64, COMMANDS = 600 };
	struct job *jobs = calloc(DEPTH, sizeof(*jobs));
	struct ioctls workers[THREADS];
	struct ring_done done;
	unsigned int put = 0;

	ASSERT_NE(NULL, jobs);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct ioctls) {
			.s = &self->s,
			.key = self->gcm.bulk_id,
			.key_bytes = self->key,
		};
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
					    run_ioctls, &workers[i]));
	}
	for (; put < DEPTH; put++) {
		ASSERT_TRUE(prepare(&jobs[put], &self->s, self->gcm.bulk_id,
				    self->key, put));
		ring_put_aes(&self->ring, &jobs[put].cmd, self->fd,
			     &jobs[put].result, put);
	}
	for (unsigned int i = 0; i < COMMANDS; i++) {
		struct job *job;

		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE)) {
			TH_LOG("after %u", i);
		}
		job = &jobs[done.data];
		EXPECT_NO_COMPLAINT(check(job, done.res));
		if (put < COMMANDS) {
			ASSERT_TRUE(prepare(job, &self->s, self->gcm.bulk_id,
					    self->key, put++));
			ring_put_aes(&self->ring, &job->cmd, self->fd,
				     &job->result, done.data);
		}
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_STREQ("", workers[i].why);
	}
	free(jobs);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
