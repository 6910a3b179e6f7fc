// SPDX-License-Identifier: GPL-2.0
/*
 * Many commands at the same time: threads on one file, files side by side,
 * processes with a device each of their own making.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/roundtrip.h"

#define THREADS	8
#define ROUNDS	12

/* The keys that all workers share. */
struct keys {
	struct hsm_key cbc, gcm, xts1, xts2;
	__u8 cbc_bytes[32], gcm_bytes[32], xts1_bytes[32], xts2_bytes[32];
};

struct worker {
	pthread_t thread;
	const struct hsm_session *s;
	const struct keys *keys;
	unsigned int number;
	unsigned int rounds;
	char why[400];
};

static int make_keys(const struct hsm_session *s, struct keys *k)
{
	int ret = hsm_generate_key(s, HSM_KEY_AES256, "cbc", HSM_KEY_CIPHER,
				   &k->cbc);

	if (!ret)
		ret = hsm_generate_key(s, HSM_KEY_GCM, "gcm", HSM_KEY_CIPHER,
				       &k->gcm);
	if (!ret)
		ret = hsm_generate_xts_keys(s, &k->xts1, &k->xts2);
	hsm_test_key("cbc", k->cbc_bytes);
	hsm_test_key("gcm", k->gcm_bytes);
	hsm_test_key("data", k->xts1_bytes);
	hsm_test_key("tweak", k->xts2_bytes);
	return ret;
}

/* One round: control path, GCM, XTS, with sizes of this worker's own. */
static const char *work(const struct worker *w, unsigned int round)
{
	unsigned int mix = w->number * 37 + round * 101;
	struct gcm_case gcm = {
		.s = w->s,
		.key = w->keys->gcm.bulk_id,
		.key_bytes = w->keys->gcm_bytes,
		.approved = true,
		.aad = mix % 70,
		.text = 1 + mix * 53 % 20000,
		.src_offset = mix % 64,
	};
	struct xts_case xts = {
		.s = w->s,
		.key1 = w->keys->xts1.bulk_id,
		.key2 = w->keys->xts2.bulk_id,
		.key1_bytes = w->keys->xts1_bytes,
		.key2_bytes = w->keys->xts2_bytes,
		.data_unit = AZIHSM_XTS_UNIT_512,
		.first_unit = mix,
		.len = 512 * (1 + mix % 60),
		.dst_offset = mix % 64,
	};
	const char *why;

	why = cbc_round_trip(w->s, w->keys->cbc.id, w->keys->cbc_bytes,
			     16 + 16 * (mix % 60), mix);
	if (!why)
		why = gcm_round_trip(&gcm);
	if (!why)
		why = xts_round_trip(&xts);
	return why;
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	for (unsigned int round = 0; round < w->rounds; round++) {
		const char *why = work(w, round);

		if (why) {
			snprintf(w->why, sizeof(w->why), "round %u: %s", round,
				 why);
			break;
		}
	}
	return NULL;
}

FIXTURE(parallel) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct keys keys;
	struct worker workers[THREADS];
};

FIXTURE_SETUP(parallel)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, make_keys(&self->s, &self->keys));
}

FIXTURE_TEARDOWN(parallel)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* Starts the workers, waits for them, reports what they found. */
#define RUN_WORKERS() do {						\
	for (int i = 0; i < THREADS; i++)				\
		ASSERT_EQ(0, pthread_create(&self->workers[i].thread,	\
					    NULL, run_worker,		\
					    &self->workers[i]));	\
	for (int i = 0; i < THREADS; i++)				\
		ASSERT_EQ(0, pthread_join(self->workers[i].thread,	\
					  NULL));			\
	for (int i = 0; i < THREADS; i++)				\
		EXPECT_STREQ("", self->workers[i].why);			\
} while (0)

/* ALL-9 */
TEST_F(parallel, threads_on_one_file)
{
	for (int i = 0; i < THREADS; i++)
		self->workers[i] = (struct worker) {
			.s = &self->s,
			.keys = &self->keys,
			.number = i,
			.rounds = ROUNDS,
		};
	RUN_WORKERS();
}

TEST_F(parallel, files_side_by_side)
{
	struct hsm_session s[THREADS];

	s[0] = self->s;
	for (int i = 1; i < THREADS; i++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_open_session(fd, &s[i]));
	}
	for (int i = 0; i < THREADS; i++)
		self->workers[i] = (struct worker) {
			.s = &s[i],
			.keys = &self->keys,
			.number = i,
			.rounds = ROUNDS,
		};
	RUN_WORKERS();
	for (int i = 1; i < THREADS; i++)
		close(s[i].fd);
}

/* Every process opens the node and a session of its own. */
TEST_F(parallel, processes)
{
	pid_t pids[HSM_SESSIONS - 1];
	int status;

	for (int i = 0; i < HSM_SESSIONS - 1; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			struct hsm_session s;
			struct worker w = {
				.s = &s,
				.keys = &self->keys,
				.number = i,
				.rounds = ROUNDS / 3,
			};
			int fd = hsm_open();

			if (fd < 0 || hsm_open_session(fd, &s))
				_exit(2);
			run_worker(&w);
			if (w.why[0])
				TH_LOG("process %d: %s", i, w.why);
			_exit(w.why[0] ? 1 : 0);
		}
	}
	for (int i = 0; i < HSM_SESSIONS - 1; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

/* Opening and closing sessions while others work. */
static void *open_and_close(void *arg)
{
	struct worker *w = arg;
	struct hsm_session s;

	for (unsigned int round = 0; round < w->rounds; round++) {
		int fd = hsm_open();
		int ret = fd < 0 ? fd : hsm_open_session(fd, &s);

		/* Every other round leaves the closing to the driver. */
		if (!ret && round % 2)
			ret = hsm_close_session(&s);
		if (fd >= 0)
			close(fd);
		if (ret) {
			snprintf(w->why, sizeof(w->why), "round %u: %d (%#x)",
				 round, ret, ret);
			break;
		}
	}
	return NULL;
}

/* SES-3 */
TEST_F(parallel, sessions_come_and_go)
{
	struct worker w[4];

	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker) {
			.s = &self->s,
			.keys = &self->keys,
			.number = i,
			.rounds = ROUNDS / 2,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL,
					    i < 2 ? open_and_close : run_worker,
					    &w[i]));
	}
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(w[i].thread, NULL));
		EXPECT_STREQ("", w[i].why);
	}
}

static atomic_uint signals;

static void count_signal(int sig)
{
	signals++;
}

/* Commands wait through signals that do not kill. */
TEST_F(parallel, signals_do_not_interrupt)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct itimerval often = {
		.it_interval.tv_usec = 1000,
		.it_value.tv_usec = 1000,
	};
	struct itimerval never = { 0 };
	struct worker w = {
		.s = &self->s,
		.keys = &self->keys,
		.rounds = 2 * ROUNDS,
	};

	/* Without SA_RESTART. */
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	run_worker(&w);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_STREQ("", w.why);
	EXPECT_LT(0, signals);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
