// SPDX-License-Identifier: GPL-2.0
/*
 * A function that owns no resources: there, but without queues.
 */
#include <sys/ioctl.h>

#include "lib/counters.h"
#include "lib/harness.h"

FIXTURE(no_queues) {
	int fd;
	struct azihsm_query limits;
};

FIXTURE_SETUP(no_queues)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_query(self->fd, &self->limits));
	if (self->limits.cp_queues)
		SKIP(return, "the function has queues");
}

FIXTURE_TEARDOWN(no_queues)
{
	close(self->fd);
}

TEST_F(no_queues, query_says_so)
{
	EXPECT_EQ(AZIHSM_STATE_READY, self->limits.state);
	EXPECT_EQ(0, self->limits.resources);
	EXPECT_EQ(0, self->limits.fp_queues);
	EXPECT_EQ(0, self->limits.fp_queues_polled);
	EXPECT_LE(2, self->limits.vectors);
}

TEST_F(no_queues, sysfs_says_so)
{
	EXPECT_EQ(0, counter("admin/num_cpqs_created"));
	EXPECT_EQ(0, counter("admin/num_fpqs_created"));
	EXPECT_EQ(0, counter_folders("cp_sq"));
	EXPECT_EQ(0, counter_folders("fp_sq"));
	/* Admin commands count. */
	EXPECT_LT(0, counter("global/total_completions"));
}

TEST_F(no_queues, commands_may_come_later)
{
	__u8 src[64] = { 0 }, dst[64];
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;
	struct hsm_session none = { .fd = self->fd };

	ddi_cp_init(&cp, AZIHSM_SESSION_NONE, -1, src, sizeof(src), dst,
		    sizeof(dst));
	EXPECT_EQ(-EAGAIN, hsm_cp(self->fd, &cp));
	EXPECT_EQ(AZIHSM_EXT_NOT_READY, cp.extended_status);
	/* Without a session there is no AES, which takes precedence. */
	xts_init(&aes, &none, AZIHSM_AES_ENCRYPT, 0, 1, 0, 0, src, dst,
		 sizeof(src));
	EXPECT_EQ(-EINVAL, hsm_xts(self->fd, &aes));
	EXPECT_EQ(AZIHSM_EXT_AES_NO_SESSION, aes.extended_status);
}

TEST_F(no_queues, device_information)
{
	struct azihsm_dev_info info;

	EXPECT_EQ(0, hsm_dev_info(self->fd, &info));
	EXPECT_STREQ(hsm_pci_address(), (const char *)info.pci_info);
}

TEST_F(no_queues, reset)
{
	struct azihsm_query q;

	EXPECT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	EXPECT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_NSSR));
	ASSERT_EQ(0, hsm_query(self->fd, &q));
	EXPECT_EQ(AZIHSM_STATE_READY, q.state);
	EXPECT_EQ(0, q.cp_queues);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
