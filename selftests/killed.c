// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL: what a process leaves behind when it has no chance to tidy up. Its
 * session must be gone from the device, and its buffers out of the device's
 * reach.
 */
#include <signal.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/roundtrip.h"

#define WAIT_MS	3000

FIXTURE(killed) {
	int fd;
	struct hsm_partition part;
};

FIXTURE_SETUP(killed)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(killed)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* Whether all sessions of the device can be had, and work. */
static const char *all_sessions_free(void)
{
	static char why[128];
	struct hsm_session s[HSM_SESSIONS];
	int fd[HSM_SESSIONS];

	why[0] = 0;
	for (int i = 0; i < HSM_SESSIONS; i++) {
		int ret = hsm_open();

		fd[i] = ret;
		if (ret >= 0)
			ret = hsm_open_session(fd[i], &s[i]);
		if (ret && !why[0])
			snprintf(why, sizeof(why), "session %d: %d (%#x)", i,
				 ret, ret);
		else if (s[i].id != i && !why[0])
			snprintf(why, sizeof(why), "session %d has id %u", i,
				 s[i].id);
	}
	for (int i = 0; i < HSM_SESSIONS; i++)
		close(fd[i]);
	return why[0] ? why : NULL;
}

/*
 * A command that was running when its process was killed goes on: the session
 * is flushed after it, and a process that ends does not wait long for a flush.
 * Wait for that, but not for long.
 */
static const char *all_sessions_free_soon(void)
{
	const char *why;

	for (int ms = 0; ms < WAIT_MS; ms += 50) {
		why = all_sessions_free();
		if (!why)
			break;
		usleep(50000);
	}
	return why;
}

/* What a child does once it has its session. */
enum activity {
	IDLE,
	BUSY_CONTROL,
	BUSY_XTS,
};

/* Never returns: opens a session, says so, is busy until killed. */
static void child(enum activity activity, int ready)
{
	const size_t len = 2 * 1024 * 1024;
	struct hsm_key key1, key2;
	struct azihsm_aes cmd;
	struct hsm_session s;
	struct guarded data;
	int fd = hsm_open();

	if (fd < 0 || hsm_open_session(fd, &s) || !guarded_alloc(&data, len, 0))
		_exit(1);
	if (activity == BUSY_XTS &&
	    (hsm_generate_key(&s, HSM_KEY_XTS, "data",
			      HSM_KEY_CIPHER | HSM_KEY_SESSION_ONLY, &key1) ||
	     hsm_generate_key(&s, HSM_KEY_XTS, "tweak",
			      HSM_KEY_CIPHER | HSM_KEY_SESSION_ONLY, &key2)))
		_exit(1);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;) {
		struct hsm_device_info info;

		switch (activity) {
		case IDLE:
			pause();
			break;
		case BUSY_CONTROL:
			if (hsm_get_device_info(fd, &info))
				_exit(1);
			break;
		case BUSY_XTS:
			xts_init(&cmd, &s, AZIHSM_AES_ENCRYPT, key1.bulk_id,
				 key2.bulk_id, 0, 0, data.p, data.p, len);
			if (hsm_xts(fd, &cmd))
				_exit(1);
			break;
		}
	}
}

/* Starts a child and waits until it has its session. */
static pid_t start(enum activity activity)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		close(ready[0]);
		child(activity, ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

/* The wait status of a child that was killed. */
static int kill_and_wait(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* SES-8 */
TEST_F(killed, idle)
{
	pid_t pid = start(IDLE);

	ASSERT_LT(0, pid);
	EXPECT_EQ(SIGKILL, kill_and_wait(pid));
	EXPECT_NO_COMPLAINT(all_sessions_free_soon());
}

/* SES-8, SES-13 */
TEST_F(killed, all_sessions_taken)
{
	struct hsm_session s;
	pid_t pids[HSM_SESSIONS];

	for (int i = 0; i < HSM_SESSIONS; i++) {
		pids[i] = start(IDLE);
		ASSERT_LT(0, pids[i]);
	}
	/* Really all. */
	EXPECT_EQ(DDI_SESSION_LIMIT_REACHED, hsm_open_session(self->fd, &s));
	for (int i = 0; i < HSM_SESSIONS; i++)
		EXPECT_EQ(SIGKILL, kill_and_wait(pids[i]));
	EXPECT_NO_COMPLAINT(all_sessions_free_soon());
}

/* SES-9 */
TEST_F(killed, busy_on_the_control_path)
{
	for (int round = 0; round < 4; round++) {
		pid_t pid = start(BUSY_CONTROL);

		ASSERT_LT(0, pid);
		usleep(1000 * (1 + 7 * round));
		EXPECT_EQ(SIGKILL, kill_and_wait(pid));
	}
	EXPECT_NO_COMPLAINT(all_sessions_free_soon());
}

/* SES-9: killed in the middle of large transfers to and from its own memory. */
TEST_F(killed, busy_on_the_fast_path)
{
	__u8 key1_bytes[32], key2_bytes[32];
	struct hsm_key key1, key2;
	struct hsm_session s;
	struct xts_case c = {
		.s = &s,
		.key1_bytes = key1_bytes,
		.key2_bytes = key2_bytes,
		.len = 100000,
	};

	for (int round = 0; round < 4; round++) {
		pid_t pid = start(BUSY_XTS);

		ASSERT_LT(0, pid);
		usleep(1000 * (5 + 23 * round));
		EXPECT_EQ(SIGKILL, kill_and_wait(pid));
	}
	EXPECT_NO_COMPLAINT(all_sessions_free_soon());

	/* The queues are as good as before, and so is what they carry. */
	ASSERT_EQ(0, hsm_open_session(self->fd, &s));
	ASSERT_EQ(0, hsm_generate_key(&s, HSM_KEY_XTS, "a", HSM_KEY_CIPHER,
				      &key1));
	ASSERT_EQ(0, hsm_generate_key(&s, HSM_KEY_XTS, "b", HSM_KEY_CIPHER,
				      &key2));
	c.key1 = key1.bulk_id;
	c.key2 = key2.bulk_id;
	hsm_test_key("a", key1_bytes);
	hsm_test_key("b", key2_bytes);
	c.len -= c.len % 16;
	EXPECT_NO_COMPLAINT(xts_round_trip(&c));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
