// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that take longer than the driver waits for them. For these tests
 * the device must be slow: the emulated one is with --service-time 8000000
 * (all commands) or --fp-service-time 8000000 (fast path only). With another
 * device they are skipped.
 *
 * The driver's timeout is 6 s, and it looks once a second. Then it resets the
 * controller, which waits for what the device is running.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/roundtrip.h"

/* Bounds of a command that times out, in milliseconds. */
#define TIMEOUT_MS	6000
#define BOUND_MS	14000
/* A killed caller must be gone by then. */
#define KILLED_MS	500

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* How long a control command takes, in milliseconds; negative on failure. */
static long long control_time(int fd)
{
	struct hsm_device_info info;
	long long start = now_ms();

	if (hsm_get_device_info(fd, &info))
		return -1;
	return now_ms() - start;
}

/*
 * The driver draws it anew whenever it brings the controller up. Waits for the
 * end of a reset that may be under way.
 */
static int entropy(int fd, __u8 *bytes)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	int ret = -EAGAIN;

	for (int i = 0; i < BOUND_MS / 100 && ret == -EAGAIN; i++) {
		ret = hsm_dev_info(fd, &info);
		if (ret == -EAGAIN)
			usleep(100000);
	}
	memcpy(bytes, info.device_entropy, sizeof(info.device_entropy));
	return ret;
}

/* Whether the controller was brought up anew. */
static bool was_reset(int fd, const __u8 *before)
{
	__u8 after[32];

	return !entropy(fd, after) && memcmp(before, after, sizeof(after));
}

FIXTURE(timeout_control) {
	int fd;
	__u8 entropy[32];
};

FIXTURE_SETUP(timeout_control)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, entropy(self->fd, self->entropy));
	if (control_time(self->fd) < TIMEOUT_MS)
		SKIP(return, "control commands are not slow");
	/* That was a timeout already; the next is the test's. */
	ASSERT_TRUE(was_reset(self->fd, self->entropy));
	ASSERT_EQ(0, entropy(self->fd, self->entropy));
}

FIXTURE_TEARDOWN(timeout_control)
{
	close(self->fd);
}

/*
 * The device ends a control command before it lets itself be stopped. What it
 * says then must reach the caller: the command was executed.
 */
TEST_F_TIMEOUT(timeout_control, late_answer_is_delivered, 60)
{
	long long took = control_time(self->fd);

	EXPECT_LE(TIMEOUT_MS, took);
	EXPECT_GE(BOUND_MS, took);
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
}

/* A session with keys, and the state of the controller at that time. */
struct fast {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1;
	struct hsm_key key2;
	__u8 entropy[32];
};

FIXTURE(timeout_fast) {
	struct fast f;
};

FIXTURE_SETUP(timeout_fast)
{
	self->f.fd = hsm_open();
	ASSERT_LE(0, self->f.fd);
	/* One before may have had the controller reset. */
	ASSERT_EQ(0, entropy(self->f.fd, self->f.entropy));
	if (control_time(self->f.fd) > 1000)
		SKIP(return, "control commands are slow");
	ASSERT_EQ(0, hsm_provision(self->f.fd, &self->f.part));
	ASSERT_EQ(0, hsm_open_session(self->f.fd, &self->f.s));
	ASSERT_EQ(0, hsm_generate_key(&self->f.s, HSM_KEY_XTS, "a",
				      HSM_KEY_CIPHER, &self->f.key1));
	ASSERT_EQ(0, hsm_generate_key(&self->f.s, HSM_KEY_XTS, "b",
				      HSM_KEY_CIPHER, &self->f.key2));
	ASSERT_EQ(0, entropy(self->f.fd, self->f.entropy));
}

FIXTURE_TEARDOWN(timeout_fast)
{
	close(self->f.fd);
}

/* Sends one command of so many bytes; returns what the ioctl returned. */
static int send_xts(const struct fast *f, struct azihsm_aes *cmd, void *data,
		    size_t len)
{
	xts_init(cmd, &f->s, AZIHSM_AES_ENCRYPT, f->key1.bulk_id,
		 f->key2.bulk_id, 0, 0, data, data, len);
	return hsm_xts(f->fd, cmd);
}

static void lost(struct __test_metadata *_metadata,
		 const struct fast *f, size_t len)
{
	struct azihsm_aes cmd;
	struct guarded data;
	long long took = now_ms();
	int ret;

	ASSERT_TRUE(guarded_alloc(&data, len, 0));
	ret = send_xts(f, &cmd, data.p, len);
	took = now_ms() - took;
	if (took < TIMEOUT_MS && !ret)
		SKIP(return, "fast-path commands are not slow");

	EXPECT_EQ(-EAGAIN, ret);
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_EQ(0, cmd.byte_count);
	EXPECT_LE(TIMEOUT_MS, took);
	EXPECT_GE(BOUND_MS, took);
	EXPECT_TRUE(was_reset(f->fd, f->entropy));

	/* The session's slot survived: the device is asked, and closes it. */
	EXPECT_EQ(0, hsm_close_session(&f->s));
}

/* In the memory of a slot. */
TEST_F_TIMEOUT(timeout_fast, lost_command, 60)
{
	lost(_metadata, &self->f, 4096);
}

/* In the caller's pages, which are given back. */
TEST_F_TIMEOUT(timeout_fast, lost_large_command, 60)
{
	lost(_metadata, &self->f, 1024 * 1024);
}

static void *one_command(void *arg)
{
	const struct fast *f = arg;
	struct azihsm_aes cmd;
	__u8 data[4096] = { 0 };
	int ret = send_xts(f, &cmd, data, sizeof(data));

	return (void *)(long)(ret == -EAGAIN &&
			      cmd.extended_status == AZIHSM_EXT_ABORTED);
}

/* More callers than the device has slots: all get their answer. */
TEST_F_TIMEOUT(timeout_fast, more_callers_than_slots, 90)
{
	enum { CALLERS = 160 };
	pthread_t threads[CALLERS];
	long long start = now_ms();
	struct azihsm_aes cmd;
	__u8 data[16] = { 0 };
	int told = 0;

	for (int i = 0; i < CALLERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, one_command,
					    &self->f));
	for (int i = 0; i < CALLERS; i++) {
		void *ok;

		pthread_join(threads[i], &ok);
		told += !!ok;
	}
	if (now_ms() - start < TIMEOUT_MS)
		SKIP(return, "fast-path commands are not slow");
	/* Those that had no slot are told so, or their keys are gone. */
	EXPECT_LT(0, told);
	EXPECT_GE(2 * BOUND_MS, now_ms() - start);
	EXPECT_TRUE(was_reset(self->f.fd, self->f.entropy));
	/* The file works on. */
	EXPECT_GT(0, send_xts(&self->f, &cmd, NULL, sizeof(data)));
	EXPECT_EQ(0, hsm_close_session(&self->f.s));
}

TEST_F_TIMEOUT(timeout_fast, killed_caller_leaves_at_once, 60)
{
	long long start = now_ms();
	int status = 0;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		struct fast child = self->f;
		struct azihsm_aes cmd;
		void *data = malloc(1024 * 1024);

		child.fd = hsm_open();
		if (child.fd < 0 || hsm_open_session(child.fd, &child.s))
			_exit(1);
		send_xts(&child, &cmd, data, 1024 * 1024);
		_exit(2);
	}
	usleep(1500000);
	if (waitpid(pid, &status, WNOHANG) == pid)
		SKIP(return, "fast-path commands are not slow");
	start = now_ms();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_GE(KILLED_MS, now_ms() - start);
	/* What it left at the device is cleared away in time. */
	for (int i = 0; i < BOUND_MS / 100; i++) {
		if (was_reset(self->f.fd, self->f.entropy))
			break;
		usleep(100000);
	}
	EXPECT_TRUE(was_reset(self->f.fd, self->f.entropy));
	EXPECT_EQ(0, hsm_close_session(&self->f.s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
