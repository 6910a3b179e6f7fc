// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of the commands of a ring when something goes: the ring, its
 * process, the controller for a moment, the driver. Each command has exactly
 * one end, and nothing is left behind on the device.
 */
#include <signal.h>
#include <sys/wait.h>

#include "lib/flight.h"
#include "lib/harness.h"

#define PATIENCE	60

static char address[64], path[80];

FIXTURE(uring_gone) {
	int fd;
	struct hsm_partition part;
	struct flight flight;
};

FIXTURE_VARIANT(uring_gone) {
	unsigned int flags;
	int rounds;
};

FIXTURE_VARIANT_ADD(uring_gone, plain) {
	.flags = IORING_SETUP_CQE32,
	.rounds = 3,
};

FIXTURE_VARIANT_ADD(uring_gone, sqpoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SQPOLL,
	.rounds = 1,
};

FIXTURE_VARIANT_ADD(uring_gone, defer_taskrun) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SINGLE_ISSUER |
		 IORING_SETUP_DEFER_TASKRUN,
	.rounds = 1,
};

FIXTURE_VARIANT_ADD(uring_gone, iopoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_IOPOLL,
	.rounds = 1,
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
	EXPECT_AT_REST();
}

TEST_F_TIMEOUT(uring_gone, ring_exit, 240)
{
	for (int round = 0; round < variant->rounds; round++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, flight_prepare(&self->flight, fd, variant->flags));
		ASSERT_EQ(0, flight_start(&self->flight, fd));
		io_uring_queue_exit(&self->flight.ring);
		close(fd);
	}
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

TEST_F_TIMEOUT(uring_gone, file_closed, 240)
{
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, flight_prepare(&self->flight, fd, variant->flags));
	ASSERT_EQ(0, flight_start(&self->flight, fd));
	/* The commands hold the file. */
	close(fd);
	EXPECT_NO_COMPLAINT(flight_land(&self->flight, (int []){ 0 }, PATIENCE));
	io_uring_queue_exit(&self->flight.ring);
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

TEST_F_TIMEOUT(uring_gone, process_killed, 240)
{
	for (int round = 0; round < variant->rounds; round++) {
		int ready[2], status;
		pid_t child;
		char byte;

		ASSERT_EQ(0, pipe(ready));
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			int fd = hsm_open();

			if (fd < 0 ||
			    flight_prepare(&self->flight, fd, variant->flags) ||
			    flight_start(&self->flight, fd))
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
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

TEST_F_TIMEOUT(uring_gone, reset, 240)
{
	static const __u32 kinds[] = { AZIHSM_RESET_CTRL, AZIHSM_RESET_NSSR };
	static const int allowed[] = { -EAGAIN, -EIO, 0 };

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
		ASSERT_EQ(0, flight_prepare(&self->flight, fd, variant->flags));
		ASSERT_EQ(0, flight_start(&self->flight, fd));
		ASSERT_EQ(0, hsm_reset(self->fd, kinds[i]));
		/*
		 * Lost ones are told so. Those that waited for a slot go to the
		 * device after the reset, which has forgotten keys and session.
		 */
		EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed,
						PATIENCE));
		TH_LOG("%d of %d commands failed", self->flight.failed,
		       FLIGHT_COMMANDS);
		io_uring_queue_exit(&self->flight.ring);
		close(fd);
	}
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	EXPECT_NO_COMPLAINT(flight_sessions_free());
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

/*
 * By another process; every second time by the submitter itself, who cannot take
 * what completes meanwhile.
 */
TEST_F_TIMEOUT(uring_gone, unbind, 240)
{
	static const int allowed[] = { -ENODEV, -EAGAIN, 0 };
	int fd, status;
	pid_t child;

	if (access(HSM_DRIVER "/unbind", W_OK))
		SKIP(return, "cannot write to " HSM_DRIVER "/unbind");
	for (int round = 0; round < variant->rounds; round++) {
		fd = hsm_open();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_provision(fd, &self->part));
		ASSERT_EQ(0, flight_prepare(&self->flight, fd, variant->flags));
		ASSERT_EQ(0, flight_start(&self->flight, fd));
		child = round % 2 ? 0 : fork();
		ASSERT_LE(0, child);
		if (!child) {
			status = hsm_write_file(HSM_DRIVER "/unbind", address);
			if (!(round % 2))
				_exit(-status);
			ASSERT_EQ(0, status);
		}
		EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed,
						PATIENCE));
		TH_LOG("%d of %d commands failed", self->flight.failed,
		       FLIGHT_COMMANDS);
		if (child) {
			ASSERT_EQ(child, waitpid(child, &status, 0));
			ASSERT_EQ(0, status);
		}
		io_uring_queue_exit(&self->flight.ring);
		close(fd);
		close(self->fd);
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", address));
		ASSERT_TRUE(wait_for_node(true));
		self->fd = hsm_open();
		ASSERT_LE(0, self->fd);
	}
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

int main(int argc, char **argv)
{
	skip_without_device();
	snprintf(address, sizeof(address), "%s", hsm_pci_address());
	snprintf(path, sizeof(path), "%s", hsm_path());
	return test_harness_run(argc, argv);
}
