// SPDX-License-Identifier: GPL-2.0
/*
 * A device that stops while the commands of a ring are under way, in all the ways
 * in which it can: each command has exactly one end, within the time that the
 * driver promises, and afterwards everything works.
 */
#include <stdlib.h>
#include <time.h>

#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/flight.h"
#include "lib/harness.h"

/* Commands get a slot one after the other, and each of them may be lost. */
#define PATIENCE	60
/* Allowance for a slow machine, in milliseconds. */
#define SLACK_MS	5000

FIXTURE(uring_stopped) {
	int fd;
	char address[64];
	struct hsm_partition part;
	struct flight flight;
};

FIXTURE_VARIANT(uring_stopped) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(uring_stopped, plain) {
	.flags = IORING_SETUP_CQE32,
};

FIXTURE_VARIANT_ADD(uring_stopped, iopoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_IOPOLL,
};

FIXTURE_SETUP(uring_stopped)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(fault_clear());
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, flight_prepare(&self->flight, self->fd, variant->flags));
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Provisions the device, after the driver has come to an end of its own resets. */
static int provision(int fd, struct hsm_partition *part)
{
	long long end = now_ms() + 30000;
	int ret;

	while ((ret = hsm_provision(fd, part)) == -EAGAIN && now_ms() < end)
		usleep(50000);
	return ret;
}

FIXTURE_TEARDOWN(uring_stopped)
{
	int fd;

	if (!emulator_present())
		return;
	EXPECT_TRUE(fault_clear());
	io_uring_queue_exit(&self->flight.ring);
	close(self->fd);
	EXPECT_NO_COMPLAINT(hsm_revive(self->address));
	fd = hsm_open();
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, provision(fd, &self->part));
	close(fd);
	EXPECT_NO_COMPLAINT(flight_sessions_free());
	EXPECT_AT_REST();
}

/* The longest time that a command may take once it is at the device. */
static long long bound_ms(int fd)
{
	struct azihsm_query query;

	if (hsm_query(fd, &query))
		return 0;
	return query.command_timeout_ms + query.recovery_bound_ms + SLACK_MS;
}

/* The controller stops at the first command: it is reset, and that is soon. */
TEST_F_TIMEOUT(uring_stopped, crash, 120)
{
	static const int allowed[] = { -EAGAIN, -EIO, 0 };

	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"after\":20,\"count\":1,\"what\":\"crash\"}"));
	ASSERT_EQ(0, flight_start(&self->flight, self->fd));
	EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed, PATIENCE));
	TH_LOG("%d of %d commands failed", self->flight.failed, FLIGHT_COMMANDS);
	EXPECT_LT(0, self->flight.failed);
}

/*
 * No completion comes any more, of whatever queue, until the driver has given up
 * on the first ones.
 */
TEST_F_TIMEOUT(uring_stopped, silent, 240)
{
	static const int allowed[] = { -EAGAIN, -EIO, 0 };
	long long began, bound = bound_ms(self->fd);
	long fp, cp;

	if (!fault_slow())
		SKIP(return, "takes minutes: set AZIHSM_SLOW=1");
	ASSERT_LT(0, bound);
	fp = fault_arm("{\"class\":\"fp\",\"what\":\"drop\",\"for-ms\":8000}");
	cp = fault_arm("{\"class\":\"cp\",\"what\":\"drop\",\"for-ms\":8000}");
	ASSERT_LE(0, fp);
	ASSERT_LE(0, cp);
	began = now_ms();
	ASSERT_EQ(0, flight_start(&self->flight, self->fd));
	EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed, PATIENCE));
	TH_LOG("%d of %d commands failed, %lld ms", self->flight.failed,
	       FLIGHT_COMMANDS, now_ms() - began);
	EXPECT_LT(0, self->flight.failed);
	EXPECT_GT(bound, now_ms() - began);
	EXPECT_LT(0, fault_hits(fp));
	EXPECT_LT(0, fault_hits(cp));
}

/* The same, and the controller cannot be disabled either: the end. */
TEST_F_TIMEOUT(uring_stopped, dead, 240)
{
	static const int allowed[] = { -EAGAIN, -EIO, 0 };

	if (!fault_slow())
		SKIP(return, "takes minutes: set AZIHSM_SLOW=1");
	ASSERT_LE(0, fault_arm("{\"what\":{\"ignore-disable\":{}}}"));
	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"after\":20,\"count\":1,\"what\":\"crash\"}"));
	ASSERT_EQ(0, flight_start(&self->flight, self->fd));
	EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed, PATIENCE));
	TH_LOG("%d of %d commands failed", self->flight.failed, FLIGHT_COMMANDS);
	EXPECT_LT(0, self->flight.failed);
}

/* The function does not answer at all any more, as when it was pulled out. */
TEST_F_TIMEOUT(uring_stopped, gone, 240)
{
	static const int allowed[] = { -EAGAIN, -EIO, -ENODEV, 0 };

	if (!fault_slow())
		SKIP(return, "takes minutes: set AZIHSM_SLOW=1");
	ASSERT_LE(0, fault_arm("{\"class\":\"fp\",\"after\":20,\"what\":\"ignore\"}"));
	ASSERT_LE(0, fault_arm("{\"class\":\"cp\",\"after\":5,\"what\":\"ignore\"}"));
	ASSERT_LE(0, fault_arm("{\"what\":\"registers-gone\"}"));
	ASSERT_EQ(0, flight_start(&self->flight, self->fd));
	EXPECT_NO_COMPLAINT(flight_land(&self->flight, allowed, PATIENCE));
	TH_LOG("%d of %d commands failed", self->flight.failed, FLIGHT_COMMANDS);
	EXPECT_LT(0, self->flight.failed);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
