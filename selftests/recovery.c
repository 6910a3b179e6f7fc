// SPDX-License-Identifier: GPL-2.0
/*
 * The rungs of recovery, on a device that fails on request: what each costs, and
 * who is told what. Those that take longer are in recovery_slow, single losses
 * are the subject of other tests.
 */
#include <signal.h>
#include <sys/wait.h>

#include "lib/counters.h"
#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/rungs.h"
#include "lib/verified.h"

FIXTURE(recovery) {
	struct client client;
};

FIXTURE_SETUP(recovery)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_EQ(0, client_open(&self->client));
}

FIXTURE_TEARDOWN(recovery)
{
	if (!emulator_present())
		return;
	client_close(&self->client);
	/* Whatever went wrong, leave the device to the next test. */
	EXPECT_NO_COMPLAINT(hsm_revive(hsm_pci_address()));
	EXPECT_NO_COMPLAINT(device_at_rest());
}

/* What the queues of a path have counted. */
struct counts {
	unsigned int queues;
	long long resets[COUNTER_FOLDERS];
	long long aborted[COUNTER_FOLDERS];
	long long completed[COUNTER_FOLDERS];
};

static struct counts count_queues(const char *path)
{
	struct counts c;

	c.queues = counter_each(path, "num_level1_aborts", c.resets);
	counter_each(path, "total_ios_aborted", c.aborted);
	counter_each(path, "total_ios_completed_by_hw", c.completed);
	return c;
}

/* One queue of a path was reset, once, and no other has lost a command. */
static void expect_one_reset(struct __test_metadata *_metadata,
			     const char *path, const struct counts *before)
{
	struct counts after = count_queues(path);
	unsigned int reset = 0, at_work = 0;

	ASSERT_EQ(before->queues, after.queues);
	for (unsigned int i = 0; i < after.queues; i++) {
		long long resets = after.resets[i] - before->resets[i];
		long long aborted = after.aborted[i] - before->aborted[i];

		at_work += after.completed[i] > before->completed[i];
		if (!resets && !aborted)
			continue;
		reset++;
		EXPECT_EQ(1, resets);
		EXPECT_LE(1, aborted);
	}
	EXPECT_EQ(1, reset);
	/* There were others to be spared. */
	EXPECT_LE(2, at_work);
}

/*
 * One command of each path is lost. Their queues are reset, the others do not
 * notice; keys and sessions stay.
 */
TEST_F_TIMEOUT(recovery, first_the_queue, 60)
{
	struct client *c = &self->client;
	struct busy busy = {
		.s = &c->s,
		.key = c->key.bulk_id,
		.spread = true,
	};
	struct counts control = count_queues("cp_sq");
	struct counts fast = count_queues("fp_sq");
	struct azihsm_aes cmd;
	long long took;

	ASSERT_LE(0, fault_arm(ONE_OF("fp", IGNORE)));
	ASSERT_LE(0, fault_arm(ONE_OF("cp", IGNORE)));
	ASSERT_TRUE(busy_start(&busy));
	for (int i = 0; i < (TIMEOUT_MS + 2 * WATCH_MS) / 100; i++) {
		ASSERT_TRUE(busy_progress(&busy, 10));
		usleep(100000);
	}
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	/* The lost ones, and those at their queues, that have to wait for them. */
	EXPECT_LE(2, busy.lost);
	EXPECT_GE(BUSY_THREADS, busy.lost);
	EXPECT_LE(TIMEOUT_MS, busy.longest_ms);
	EXPECT_GE(TIMEOUT_MS + WATCH_MS + SLACK_MS, busy.longest_ms);
	expect_one_reset(_metadata, "cp_sq", &control);
	expect_one_reset(_metadata, "fp_sq", &fast);
	EXPECT_FALSE(client_was_reset(c));
	EXPECT_EQ(0, client_encrypt(c, &cmd, &took));
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* Registers that read wrong for a while, from the first look at them on. */
#define LIE(what)	"{\"for-ms\":700,\"what\":" what "}"
/*
 * The attempts to reset the controller meanwhile fail, the next one helps; if it
 * was not heard to be stopped, not before a command of the attempt has timed out.
 */
#define LIE_MS		15000

static const struct {
	const char *fault;
	int within_ms;
} troubles[] = {
	{ ALWAYS("\"fatal\""), WATCH_MS + SLACK_MS },
	{ ALWAYS("\"crash\""), WATCH_MS + SLACK_MS },
	{ ALWAYS("\"clear-enable\""), WATCH_MS + SLACK_MS },
	/* Not ready any more, although nobody told it to stop. */
	{ LIE("{\"registers\":{\"csts\":{\"set\":0}}}"), LIE_MS },
	/* Gone, and back. */
	{ LIE("\"registers-gone\""), LIE_MS },
};

/* What the watchdog sees without any command. */
TEST_F_TIMEOUT(recovery, trouble_is_noticed, 60)
{
	struct client *c = &self->client;
	struct hsm_device_info info;

	for (int i = 0; i < ARRAY_SIZE(troubles); i++) {
		ASSERT_EQ(0, client_look(c));
		ASSERT_LE(0, fault_arm(troubles[i].fault));
		EXPECT_TRUE(client_waits_for_reset(c, troubles[i].within_ms)) {
			TH_LOG("%s", troubles[i].fault);
		}
		EXPECT_EQ(0, hsm_get_device_info(c->fd, &info));
	}
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* The message of a completion is lost; the completion is found. */
TEST_F_TIMEOUT(recovery, missed_interrupt, 60)
{
	struct client *c = &self->client;
	struct azihsm_aes cmd;
	long long missed, took;

	missed = counter_sum("fp_sq", "missed_interrupts");
	ASSERT_LE(0, missed);
	ASSERT_LE(0, fault_arm(ONE_OF("fp", "\"lost-interrupt\"")));
	EXPECT_EQ(0, client_encrypt(c, &cmd, &took));
	EXPECT_EQ(0, cmd.result);
	EXPECT_GE(2 * WATCH_MS + SLACK_MS, took);
	EXPECT_EQ(missed + 1, counter_sum("fp_sq", "missed_interrupts"));
	EXPECT_FALSE(client_was_reset(c));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* A command of a thread. */
struct caller {
	pthread_t thread;
	struct world_view view;
	enum verified_op op;
	struct verified v;
	atomic_bool ended;
};

static void *call(void *arg)
{
	struct caller *caller = arg;

	verified_run(&caller->view, caller->op, 64, 0, &caller->v);
	caller->ended = true;
	return NULL;
}

/* Nobody is told of a completion of the path. */
static const struct {
	const char *fault;
	enum verified_op op;
} untold[] = {
	{ ONE_OF("fp", "\"lost-interrupt\""), OP_GCM_ENCRYPT },
	{ ONE_OF("cp", "\"lost-interrupt\""), OP_INFO },
};

/*
 * A command has completed, and nobody was told of it when the controller is reset:
 * it has succeeded all the same. The watchdog may be faster than the reset; then
 * that is tried again.
 */
TEST_F_TIMEOUT(recovery, completions_are_found_by_a_reset, 60)
{
	struct client *c = &self->client;
	bool waited = false;

	for (int i = 0, tries = 0; i < ARRAY_SIZE(untold); i += waited) {
		struct caller caller = {
			.view = { .s = c->s, .keys = { .gcm = c->key } },
			.op = untold[i].op,
		};
		long id = fault_arm(untold[i].fault);

		ASSERT_LE(0, id);
		ASSERT_GT(10, tries++);
		hsm_test_key("key", caller.view.keys.gcm_bytes);
		ASSERT_EQ(0, pthread_create(&caller.thread, NULL, call,
					    &caller));
		while (!caller.ended && !fault_hits(id))
			usleep(1000);
		waited = !caller.ended;
		ASSERT_EQ(0, hsm_reset(c->fd, AZIHSM_RESET_CTRL));
		ASSERT_EQ(0, pthread_join(caller.thread, NULL));
		EXPECT_EQ(V_GOOD, caller.v.verdict) {
			TH_LOG("%s", caller.v.why);
		}
		EXPECT_EQ(1, fault_hits(id));
		ASSERT_EQ(0, hsm_establish(c->fd, &c->part));
		ASSERT_EQ(0, hsm_reopen_session(&c->s));
		ASSERT_EQ(0, hsm_generate_key(&c->s, HSM_KEY_GCM_UNAPPROVED,
					      "key", HSM_KEY_CIPHER, &c->key));
	}
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

static void *one_reset(void *arg)
{
	int fd = hsm_open();
	__u32 status = -1;
	long ret = reset_status(fd, &status);

	close(fd);
	/* Done, or somebody else is at it. */
	if ((!ret && status == AZIHSM_RESET_OK) ||
	    (ret == -EINVAL && status == AZIHSM_RESET_IN_PROGRESS))
		ret = !ret;
	return (void *)ret;
}

TEST_F_TIMEOUT(recovery, concurrent_resets, 60)
{
	struct client *c = &self->client;
	enum { CALLERS = 16 };
	pthread_t threads[CALLERS];
	int done = 0;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < CALLERS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL,
						    one_reset, NULL));
		for (int i = 0; i < CALLERS; i++) {
			void *ret;

			ASSERT_EQ(0, pthread_join(threads[i], &ret));
			EXPECT_LE(0, (long)ret);
			done += (long)ret == 1;
		}
	}
	EXPECT_LE(5, done);
	EXPECT_TRUE(client_was_reset(c));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* Eight sessions whose owners die while the controller is reset. */
TEST_F_TIMEOUT(recovery, owners_killed_during_a_reset, 60)
{
	struct client *c = &self->client;
	struct azihsm_dev_info info;
	pid_t pids[HSM_SESSIONS], resets;
	int status;

	ASSERT_EQ(0, hsm_close_session(&c->s));
	for (int i = 0; i < HSM_SESSIONS; i++) {
		int ready[2];
		char c;

		ASSERT_EQ(0, pipe(ready));
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			struct hsm_session s;
			int fd = hsm_open();

			if (hsm_open_session(fd, &s))
				_exit(1);
			if (write(ready[1], "", 1) == 1)
				pause();
			_exit(2);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		close(ready[0]);
	}
	ASSERT_LE(0, fault_arm(ONCE(MS("ignore-disable", "5000"))));
	resets = fork();
	ASSERT_LE(0, resets);
	if (!resets)
		_exit(!!hsm_reset(hsm_open(), AZIHSM_RESET_CTRL));
	for (int ms = 0; ms < 5000 && !hsm_dev_info(c->fd, &info); ms += 10)
		usleep(10000);
	EXPECT_EQ(-EAGAIN, hsm_dev_info(c->fd, &info));
	for (int i = 0; i < HSM_SESSIONS; i++)
		ASSERT_EQ(0, kill(pids[i], SIGKILL));
	for (int i = 0; i < HSM_SESSIONS; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	/* The reset outlived them all, and came to its end. */
	EXPECT_EQ(-EAGAIN, hsm_dev_info(c->fd, &info));
	ASSERT_EQ(resets, waitpid(resets, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	/* That none of the eight is left is looked at in the end. */
	ASSERT_EQ(0, hsm_establish(c->fd, &c->part));
}

/*
 * The firmware restarts while the controller is stopped. That it reports a fatal
 * error then is over when it is started.
 */
TEST_F_TIMEOUT(recovery, fatal_error_of_a_stopped_controller, 60)
{
	static const __u32 kinds[] = { AZIHSM_RESET_NSSR, AZIHSM_RESET_CTRL };
	struct client *c = &self->client;

	for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_LE(0, fault_arm(ONCE("\"fatal-disabled\"")));
		EXPECT_EQ(0, hsm_reset(c->fd, kinds[i]));
	}
	ASSERT_EQ(0, client_look(c));
	ASSERT_LE(0, fault_arm(ONCE("\"fatal-disabled\"")));
	ASSERT_LE(0, fault_arm(ALWAYS("\"crash\"")));
	EXPECT_TRUE(client_waits_for_reset(c, WATCH_MS + SLACK_MS));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
