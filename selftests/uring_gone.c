// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of the commands of a ring when something goes: the ring, its
 * process, the controller for a moment, the driver. Each command has exactly
 * one end, and nothing is left behind on the device.
 */
#include <signal.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/ring.h"

#define PATIENCE	60
#define COMMANDS	200
#define LEN		65536

static __u8 text[LEN], sealed[COMMANDS][LEN];
static char address[64], path[80];

FIXTURE(uring_gone) {
	int fd;
	struct io_uring ring;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm;
};

FIXTURE_SETUP(uring_gone)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(uring_gone)
{
	close(self->fd);
}

static int begin(struct _test_data_uring_gone *self, int fd)
{
	int ret = ring_open(&self->ring, COMMANDS, IORING_SETUP_CQE32);

	if (!ret)
		ret = hsm_open_session(fd, &self->s);
	if (!ret)
		ret = hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				       HSM_KEY_CIPHER, &self->gcm);
	return ret;
}

/* Small and large ones, in turns. */
static int submit_all(struct _test_data_uring_gone *self, int fd)
{
	struct azihsm_aes cmd;
	int ret = 0;

	for (int i = 0; i < COMMANDS; i++) {
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, text, sealed[i],
			 i % 2 ? LEN : 4096);
		ring_put_aes(&self->ring, &cmd, fd, NULL, i);
	}
	while (io_uring_sq_ready(&self->ring) && ret >= 0)
		ret = io_uring_submit(&self->ring);
	return ret < 0 ? ret : 0;
}

/* Collects the ends of all commands; returns how many were not as allowed. */
static int collect(struct _test_data_uring_gone *self, int allowed, int also,
		   int *failed)
{
	bool seen[COMMANDS] = { 0 };
	struct ring_done done;
	int wrong = 0;

	*failed = 0;
	for (int i = 0; i < COMMANDS; i++) {
		if (ring_wait(&self->ring, &done, PATIENCE)) {
			ksft_print_msg("no end after %d\n", i);
			return COMMANDS;
		}
		if (done.data >= COMMANDS || seen[done.data]) {
			ksft_print_msg("%llu ended twice\n", done.data);
			wrong++;
			continue;
		}
		seen[done.data] = true;
		if (done.res == (done.data % 2 ? LEN : 4096))
			continue;
		(*failed)++;
		if (done.res != allowed && done.res != also) {
			ksft_print_msg("%llu: %d (%#x, %#x)\n", done.data,
				       done.res, done.status, done.ext);
			wrong++;
		}
	}
	return wrong;
}

/* Whether all sessions of the device can be had again soon. */
static const char *all_sessions_free(void)
{
	static char why[128];

	for (int ms = 0; ms < 10000; ms += 100) {
		struct hsm_session s[HSM_SESSIONS];
		int fd[HSM_SESSIONS], ret = 0;

		for (int i = 0; i < HSM_SESSIONS; i++) {
			fd[i] = hsm_open();
			if (fd[i] >= 0 && !ret)
				ret = hsm_open_session(fd[i], &s[i]);
		}
		for (int i = 0; i < HSM_SESSIONS; i++)
			close(fd[i]);
		if (!ret)
			return NULL;
		snprintf(why, sizeof(why), "session: %d (%#x)", ret, ret);
		usleep(100000);
	}
	return why;
}

TEST_F(uring_gone, ring_exit)
{
	for (int round = 0; round < 3; round++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, begin(self, fd));
		ASSERT_EQ(0, submit_all(self, fd));
		io_uring_queue_exit(&self->ring);
		close(fd);
	}
	EXPECT_NO_COMPLAINT(all_sessions_free());
}

TEST_F(uring_gone, file_closed)
{
	int fd = hsm_open(), failed;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, begin(self, fd));
	ASSERT_EQ(0, submit_all(self, fd));
	/* The commands hold the file. */
	close(fd);
	EXPECT_EQ(0, collect(self, 0, 0, &failed));
	EXPECT_EQ(0, failed);
	io_uring_queue_exit(&self->ring);
	EXPECT_NO_COMPLAINT(all_sessions_free());
}

TEST_F(uring_gone, process_killed)
{
	for (int round = 0; round < 3; round++) {
		int ready[2], status;
		pid_t child;
		char byte;

		ASSERT_EQ(0, pipe(ready));
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			int fd = hsm_open();

			if (fd < 0 || begin(self, fd) || submit_all(self, fd))
				_exit(1);
			if (write(ready[1], "x", 1) != 1)
				_exit(2);
			pause();
			_exit(3);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_NO_COMPLAINT(all_sessions_free());
}

TEST_F(uring_gone, reset)
{
	static const __u32 kinds[] = { AZIHSM_RESET_CTRL, AZIHSM_RESET_NSSR };

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = hsm_open(), failed;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
		ASSERT_EQ(0, begin(self, fd));
		ASSERT_EQ(0, submit_all(self, fd));
		ASSERT_EQ(0, hsm_reset(self->fd, kinds[i]));
		/*
		 * Lost ones are told so. Those that waited for a slot go to the
		 * device after the reset, which has forgotten keys and session.
		 */
		EXPECT_EQ(0, collect(self, -EAGAIN, -EIO, &failed));
		TH_LOG("%d of %d commands failed", failed, COMMANDS);
		io_uring_queue_exit(&self->ring);
		close(fd);
	}
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	EXPECT_NO_COMPLAINT(all_sessions_free());
}

static bool wait_for_node(bool exists)
{
	for (int ms = 0; ms < 10000; ms += 10) {
		if (!access(path, F_OK) == exists)
			return true;
		usleep(10000);
	}
	return false;
}

TEST_F(uring_gone, unbind)
{
	int fd, failed;

	if (access(HSM_DRIVER "/unbind", W_OK))
		SKIP(return, "cannot write to " HSM_DRIVER "/unbind");
	for (int round = 0; round < 3; round++) {
		fd = hsm_open();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_provision(fd, &self->part));
		ASSERT_EQ(0, begin(self, fd));
		ASSERT_EQ(0, submit_all(self, fd));
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", address));
		EXPECT_EQ(0, collect(self, -ENODEV, -EAGAIN, &failed));
		TH_LOG("%d of %d commands failed", failed, COMMANDS);
		io_uring_queue_exit(&self->ring);
		close(fd);
		close(self->fd);
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", address));
		ASSERT_TRUE(wait_for_node(true));
		self->fd = hsm_open();
		ASSERT_LE(0, self->fd);
	}
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	EXPECT_NO_COMPLAINT(all_sessions_free());
}

int main(int argc, char **argv)
{
	skip_without_device();
	snprintf(address, sizeof(address), "%s", hsm_pci_address());
	snprintf(path, sizeof(path), "%s", hsm_path());
	return test_harness_run(argc, argv);
}
