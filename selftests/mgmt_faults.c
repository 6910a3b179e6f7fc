// SPDX-License-Identifier: GPL-2.0
/*
 * The management node of a device that refuses, or does not answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/emulator.h"
#include "lib/harness.h"
#include "lib/killing.h"
#include "lib/pf.h"

/* Admin opcodes. */
#define SET_RESOURCES	0xc3
#define GET_RESOURCES	0xc4

/* How long an admin command may take, in seconds. */
#define ADMIN_TIMEOUT	30

/* Has the next admin command of the physical function with @opcode fail. */
static bool inject(unsigned int opcode, const char *what)
{
	char request[256], *answer;
	bool armed;

	snprintf(request, sizeof(request),
		 "{\"cmd\":\"arm\",\"faults\":[{\"function\":0,\"class\":\"admin\",\"opcode\":%u,\"count\":1,\"what\":%s}]}",
		 opcode, what);
	answer = emulator_ask(request);
	armed = answer && strstr(answer, "\"armed\"");
	free(answer);
	return armed;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

FIXTURE(mgmt_faults) {
	int fd;
};

FIXTURE_SETUP(mgmt_faults)
{
	self->fd = pf_mgmt_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pf_set_vfs(1));
	ASSERT_EQ(0, mgmt_set_resources(self->fd, 0, 1, NULL));
}

FIXTURE_TEARDOWN(mgmt_faults)
{
	free(emulator_ask("{\"cmd\":\"clear\"}"));
	close(self->fd);
}

/* MGMT-8 */
TEST_F_TIMEOUT(mgmt_faults, refused, 60)
{
	__u32 status;

	ASSERT_TRUE(inject(GET_RESOURCES, "{\"refuse\":{\"status\":16391}}"));
	EXPECT_EQ(-EFAULT, mgmt_get_resources(self->fd, 0, &status));
	EXPECT_EQ(AZIHSM_MGMT_GET_FAILED, status);
	ASSERT_TRUE(inject(SET_RESOURCES, "{\"refuse\":{\"status\":16391}}"));
	EXPECT_EQ(-EFAULT, mgmt_set_resources(self->fd, 0, 2, &status));
	EXPECT_EQ(AZIHSM_MGMT_SET_FAILED, status);
	/* Only that once, and what was refused is not remembered. */
	EXPECT_EQ(1, mgmt_get_resources(self->fd, 0, &status));
	EXPECT_EQ(AZIHSM_MGMT_OK, status);
}

/* The device may say any number: the upper half is not part of it. */
TEST_F_TIMEOUT(mgmt_faults, wrong_number, 60)
{
	ASSERT_TRUE(inject(GET_RESOURCES,
			   "{\"completion\":{\"result\":{\"set\":4294901767}}}"));
	EXPECT_EQ(7, mgmt_get_resources(self->fd, 0, NULL));
	EXPECT_EQ(1, mgmt_get_resources(self->fd, 0, NULL));
}

/* MGMT-9: nobody waits longer than an admin command may take. */
TEST_F_TIMEOUT(mgmt_faults, no_answer, 90)
{
	struct azihsm_dev_info before, after;
	double start = now();
	__u32 status;
	int ret;

	ASSERT_EQ(0, mgmt_dev_info(self->fd, &before));
	ASSERT_TRUE(inject(GET_RESOURCES, "\"ignore\""));
	EXPECT_EQ(-EAGAIN, mgmt_get_resources(self->fd, 0, &status));
	EXPECT_EQ(AZIHSM_MGMT_GET_FAILED, status);
	EXPECT_LE(ADMIN_TIMEOUT - 1, now() - start);
	EXPECT_GE(ADMIN_TIMEOUT + 5, now() - start);

	/*
	 * The watchdog sees it, too: the controller is reset, which draws new
	 * entropy, and works again.
	 */
	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 50) {
		ASSERT_EQ(0, mgmt_dev_info(self->fd, &after));
		if (memcmp(before.device_entropy, after.device_entropy,
			   sizeof(after.device_entropy)))
			break;
		usleep(50000);
	}
	EXPECT_NE(0, memcmp(before.device_entropy, after.device_entropy,
			    sizeof(after.device_entropy)));
	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 50) {
		ret = mgmt_get_resources(self->fd, 0, &status);
		if (ret != -EAGAIN)
			break;
		usleep(50000);
	}
	EXPECT_EQ(1, ret);
}

/* MGMT-7: the controller is being reset, and takes its time. */
TEST_F_TIMEOUT(mgmt_faults, recovering, 60)
{
	static const char * const faults[] = {
		"{\"cmd\":\"arm\",\"faults\":[{\"function\":0,\"count\":1,\"what\":{\"ignore-enable\":{\"ms\":2000}}}]}",
		"{\"cmd\":\"arm\",\"faults\":[{\"function\":0,\"what\":\"fatal\"}]}",
	};
	__u32 status = 0;
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++) {
		char *answer = emulator_ask(faults[i]);

		ASSERT_NE(NULL, answer);
		free(answer);
	}
	for (int ms = 0; ms < PF_PATIENCE_MS && ret != -EAGAIN; ms += 20) {
		ret = mgmt_get_resources(self->fd, 0, &status);
		usleep(20000);
	}
	EXPECT_EQ(-EAGAIN, ret);
	EXPECT_EQ(AZIHSM_MGMT_GET_FAILED, status);
	EXPECT_EQ(-EAGAIN, mgmt_set_resources(self->fd, 0, 2, &status));
	EXPECT_EQ(AZIHSM_MGMT_SET_FAILED, status);
	for (int ms = 0; ms < PF_PATIENCE_MS && ret == -EAGAIN; ms += 50) {
		ret = mgmt_get_resources(self->fd, 0, &status);
		usleep(50000);
	}
	/* What was refused is not done. */
	EXPECT_EQ(1, ret);
}

static void in_set_resources(const void *arg)
{
	const int *fd = arg;

	mgmt_set_resources(*fd, 0, 3, NULL);
}

/* MGMT-10 */
TEST_F_TIMEOUT(mgmt_faults, killed, 60)
{
	int fd;

	ASSERT_TRUE(inject(SET_RESOURCES, "\"ignore\""));
	/* It is in the middle of it. */
	EXPECT_KILLED(KILLED_MS, in_set_resources, &self->fd);

	/* The command is still at the device, until the controller is reset. */
	ASSERT_EQ(0, pf_use_node(pf_address()));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, hsm_reset(fd, AZIHSM_RESET_CTRL));
	close(fd);
	EXPECT_EQ(1, mgmt_get_resources(self->fd, 0, NULL));
	/* Whoever comes next does not wait for the dead. */
	EXPECT_EQ(0, mgmt_set_resources(self->fd, 0, 2, NULL));
	EXPECT_EQ(2, mgmt_get_resources(self->fd, 0, NULL));
}

int main(int argc, char **argv)
{
	if (!pf_mgmt_name() || !pf_total_vfs() || !emulator_present()) {
		ksft_print_header();
		ksft_exit_skip("no emulated physical function\n");
	}
	pf_no_vfs_at_exit();
	return test_harness_run(argc, argv);
}
