// SPDX-License-Identifier: GPL-2.0
/*
 * The rungs of recovery, on a device that fails on request: what each costs, who
 * is told what, that no wait is longer than promised and every wait can be ended
 * by SIGKILL. Single losses are the subject of other tests.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "lib/busy.h"
#include "lib/emulator.h"
#include "lib/harness.h"
#include "lib/roundtrip.h"

/* Command timeout, and after it the look of the watchdog, in milliseconds. */
#define TIMEOUT_MS	6000
#define WATCH_MS	500
/* Allowance for a slow machine. */
#define SLACK_MS	1500
/* The resets of queues, all together, before the controller is reset. */
#define QUEUES_MS	5000
/* What the device says it may take to stop. */
#define READY_MS	10500
/* A killed task is gone by then. */
#define KILLED_MS	100
#define WAIT_MS		60000

/* Requests to the emulator, and the faults that it is asked for. */
#define ARM(faults)	"{\"cmd\":\"arm\",\"faults\":[" faults "]}"
#define CLEAR		"{\"cmd\":\"clear\"}"
#define ALWAYS(what)	"{\"what\":" what "}"
#define ONCE(what)	"{\"count\":1,\"what\":" what "}"
#define ALL_OF(class, what)						\
	"{\"class\":\"" class "\",\"what\":" what "}"
#define ONE_OF(class, what)						\
	"{\"class\":\"" class "\",\"count\":1,\"what\":" what "}"
#define OPCODE(class, opcode, what)					\
	"{\"class\":\"" class "\",\"opcode\":" opcode ",\"count\":1,\"what\":" what "}"
#define MS(what, ms)	"{\"" what "\":{\"ms\":" ms "}}"
#define IGNORE		"\"ignore\""

static bool ask(const char *request, const char *expected)
{
	char *answer = emulator_ask(request);
	bool ok = answer && strstr(answer, expected);

	free(answer);
	return ok;
}

static bool arm_fault(const char *fault)
{
	char request[512];

	snprintf(request, sizeof(request), ARM("%s"), fault);
	return ask(request, "armed");
}

static bool clear_faults(void)
{
	return ask(CLEAR, "cleared");
}

FIXTURE(recovery) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	__u8 entropy[32];
};

FIXTURE_SETUP(recovery)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	cpu_set_t one;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	/* So that all commands are on the same queues. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	ASSERT_TRUE(clear_faults());
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "key",
				      HSM_KEY_CIPHER, &self->key));
	ASSERT_EQ(0, hsm_dev_info(self->fd, &info));
	memcpy(self->entropy, info.device_entropy, sizeof(self->entropy));
}

FIXTURE_TEARDOWN(recovery)
{
	if (!emulator_present())
		return;
	clear_faults();
	close(self->fd);
	EXPECT_NO_COMPLAINT(device_at_rest());
}

/* Whether the controller was brought up anew since the beginning. */
static bool was_reset(int fd, const __u8 before[32])
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	int ret;

	for (int i = 0; i < WAIT_MS / 10; i++) {
		ret = hsm_dev_info(fd, &info);
		if (ret != -EAGAIN)
			break;
		usleep(10000);
	}
	return !ret && memcmp(info.device_entropy, before,
			      sizeof(info.device_entropy));
}

/* Encrypts some text; the time that it took goes to @took. */
static int encrypt(const struct hsm_session *s, const struct hsm_key *key,
		   struct azihsm_aes *cmd, long long *took)
{
	static __u8 text[64], out[64];
	int ret;

	*took = busy_now_ms();
	gcm_init(cmd, s, AZIHSM_AES_ENCRYPT, key->bulk_id, 0, text, out,
		 sizeof(text));
	ret = hsm_gcm(s->fd, cmd);
	*took = busy_now_ms() - *took;
	return ret;
}

/* One queue is reset. Others do not notice; keys and sessions stay. */
TEST_F_TIMEOUT(recovery, first_the_queue, 60)
{
	struct busy busy = { .s = &self->s, .key = self->key.bulk_id };
	struct azihsm_aes cmd;
	long long took;

	ASSERT_TRUE(arm_fault(ONE_OF("fp", IGNORE)));
	EXPECT_EQ(-EAGAIN, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_LE(TIMEOUT_MS, took);
	EXPECT_GE(TIMEOUT_MS + WATCH_MS + SLACK_MS, took);
	EXPECT_EQ(0, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(0, cmd.result);

	/* A control command is lost, and the fast path does not stop. */
	ASSERT_TRUE(arm_fault(ONE_OF("cp", IGNORE)));
	ASSERT_TRUE(busy_start(&busy));
	for (int i = 0; i < (TIMEOUT_MS + 2 * WATCH_MS) / 100; i++) {
		ASSERT_TRUE(busy_progress(&busy, 10));
		usleep(100000);
	}
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	/* Those at the lost command's queue have to wait for it. */
	EXPECT_GE(BUSY_THREADS, busy.lost);
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* A late completion ends no command but its own. */
TEST_F_TIMEOUT(recovery, late_completions_match_nothing, 120)
{
	struct azihsm_aes cmd;
	long long took;

	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(arm_fault(ONE_OF("fp", MS("stale", "50"))));
		EXPECT_EQ(-EAGAIN, encrypt(&self->s, &self->key, &cmd, &took));
	}
	for (int i = 0; i < 1000; i++) {
		struct gcm_case c = {
			.s = &self->s,
			.key = self->key.bulk_id,
			.text = 64 + i % 64,
		};
		__u8 bytes[32];

		hsm_test_key("key", bytes);
		c.key_bytes = bytes;
		ASSERT_NO_COMPLAINT(gcm_round_trip(&c));
	}
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* Resets of its queue do not help: then it is the controller's turn. */
TEST_F_TIMEOUT(recovery, then_the_controller, 90)
{
	struct azihsm_aes cmd;
	long long took;

	ASSERT_TRUE(arm_fault(ALL_OF("fp", IGNORE)));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-EAGAIN, encrypt(&self->s, &self->key, &cmd, &took));
		EXPECT_FALSE(was_reset(self->fd, self->entropy));
	}
	EXPECT_EQ(-EAGAIN, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
	ASSERT_TRUE(clear_faults());
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	ASSERT_EQ(0, hsm_reopen_session(&self->s));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* The queue cannot be deleted: the controller is reset, in time. */
TEST_F_TIMEOUT(recovery, queue_that_cannot_be_deleted, 90)
{
	struct azihsm_aes cmd;
	long long took;

	ASSERT_TRUE(arm_fault(ONE_OF("fp", IGNORE)));
	ASSERT_TRUE(arm_fault(OPCODE("admin", "0", IGNORE)));
	EXPECT_EQ(-EAGAIN, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_LE(TIMEOUT_MS + QUEUES_MS, took);
	EXPECT_GE(TIMEOUT_MS + WATCH_MS + QUEUES_MS + SLACK_MS, took);
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

static const char *const troubles[] = {
	ALWAYS("\"fatal\""),
	ALWAYS("\"crash\""),
	ALWAYS("\"clear-enable\""),
};

/* What the watchdog sees without any command. */
TEST_F_TIMEOUT(recovery, trouble_is_noticed, 60)
{
	struct hsm_device_info info;

	for (int i = 0; i < ARRAY_SIZE(troubles); i++) {
		struct azihsm_dev_info before = { .argsz = sizeof(before) };

		ASSERT_EQ(0, hsm_dev_info(self->fd, &before));
		memcpy(self->entropy, before.device_entropy,
		       sizeof(self->entropy));
		ASSERT_TRUE(arm_fault(troubles[i]));
		usleep((WATCH_MS + SLACK_MS) * 1000);
		EXPECT_TRUE(was_reset(self->fd, self->entropy));
		EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	}
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* The message of a completion is lost; the completion is found. */
TEST_F_TIMEOUT(recovery, missed_interrupt, 60)
{
	struct azihsm_aes cmd;
	long long took;

	ASSERT_TRUE(arm_fault(ONE_OF("fp", "\"lost-interrupt\"")));
	EXPECT_EQ(0, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(0, cmd.result);
	EXPECT_GE(2 * WATCH_MS + SLACK_MS, took);
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/*
 * The controller does not stop when it is told to, and is cut off from memory
 * until it does.
 */
TEST_F_TIMEOUT(recovery, controller_that_stops_late, 90)
{
	ASSERT_TRUE(arm_fault(ONCE(MS("ignore-disable", "11000"))));
	EXPECT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

static int reset_status(int fd, __u32 *status)
{
	struct azihsm_reset reset = {
		.hdr.size = sizeof(reset),
		.abort_type = AZIHSM_RESET_CTRL,
	};
	int ret = ioctl(fd, AZIHSM_IOC_RESET, &reset);

	*status = reset.abort_sts;
	return ret ? -errno : 0;
}

/* Never stops: given up, said so, and back when the function is reset. */
TEST_F_TIMEOUT(recovery, controller_that_never_stops, 180)
{
	char path[128];
	struct hsm_device_info info;
	struct azihsm_aes cmd;
	long long took = busy_now_ms();
	__u32 status;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 hsm_pci_address());
	if (access(path, W_OK))
		SKIP(return, "the function cannot be reset");
	ASSERT_TRUE(arm_fault(ALWAYS("{\"ignore-disable\":{}}")));
	EXPECT_EQ(-EIO, reset_status(self->fd, &status));
	EXPECT_EQ(AZIHSM_RESET_FAILED, status);
	took = busy_now_ms() - took;
	/* Three attempts, with their pauses. */
	EXPECT_LE(3 * READY_MS, took);
	EXPECT_GE(3 * READY_MS + 1100 + 2 * SLACK_MS, took);

	EXPECT_EQ(-EIO, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(-EIO, encrypt(&self->s, &self->key, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_NOT_READY, cmd.extended_status);
	EXPECT_GE(100, took);
	EXPECT_EQ(-EIO, reset_status(self->fd, &status));
	EXPECT_EQ(AZIHSM_RESET_BAD_STATE, status);
	EXPECT_EQ(0, close(hsm_open()));

	ASSERT_TRUE(clear_faults());
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* What a child process does that is to be killed. */
enum blocked { IN_COMMAND, IN_RESET, IN_CLOSE, KINDS };

static void block(enum blocked kind)
{
	struct hsm_session s;
	struct hsm_device_info info;
	int fd = hsm_open();

	switch (kind) {
	case IN_COMMAND:
		hsm_get_device_info(fd, &info);
		break;
	case IN_RESET:
		hsm_reset(fd, AZIHSM_RESET_CTRL);
		break;
	case IN_CLOSE:
		/* Its flush takes long, and so does that of who is killed. */
		if (!hsm_open_session(fd, &s))
			pause();
		break;
	default:
		break;
	}
	_exit(1);
}

static const char *const obstacles[KINDS] = {
	[IN_COMMAND] = ONE_OF("cp", MS("delay", "4000")),
	[IN_RESET] = ONCE(MS("ignore-disable", "4000")),
	[IN_CLOSE] = OPCODE("cp", "1", MS("delay", "4000")),
};

TEST_F_TIMEOUT(recovery, every_wait_can_be_ended, 120)
{
	for (int kind = 0; kind < KINDS; kind++) {
		long long start;
		int status = 0;
		pid_t pid;

		ASSERT_TRUE(arm_fault(obstacles[kind]));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			block(kind);
		usleep(1000000);
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
		start = busy_now_ms();
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_GE(KILLED_MS, busy_now_ms() - start) {
			TH_LOG("obstacle %d", kind);
		}
		EXPECT_TRUE(WIFSIGNALED(status));
		/* Until the obstacle is passed. */
		usleep(4500000);
		ASSERT_TRUE(clear_faults());
		hsm_establish(self->fd, &self->part);
	}
	hsm_close_session(&self->s);
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
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* Eight sessions whose owners die while the controller is reset. */
TEST_F_TIMEOUT(recovery, owners_killed_during_a_reset, 60)
{
	pid_t pids[HSM_SESSIONS];
	int status;

	ASSERT_EQ(0, hsm_close_session(&self->s));
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
	ASSERT_TRUE(arm_fault(ONCE(MS("ignore-disable", "2000"))));
	if (!fork()) {
		hsm_reset(hsm_open(), AZIHSM_RESET_CTRL);
		_exit(0);
	}
	usleep(500000);
	for (int i = 0; i < HSM_SESSIONS; i++)
		ASSERT_EQ(0, kill(pids[i], SIGKILL));
	while (wait(&status) > 0)
		;
	/* That none of the eight is left is looked at in the end. */
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
}

int main(int argc, char **argv)
{
	skip_without_device();
	if (!getenv("AZIHSM_SLOW")) {
		ksft_print_header();
		ksft_exit_skip("takes minutes: set AZIHSM_SLOW=1\n");
	}
	return test_harness_run(argc, argv);
}
