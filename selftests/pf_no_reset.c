// SPDX-License-Identifier: GPL-2.0
/*
 * A physical function whose controller the driver may not reset: the module
 * was loaded with pf_lvl2_abort_enabled=0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lib/emulator.h"
#include "lib/harness.h"
#include "lib/vf.h"

#define PARAMETER	"/sys/module/azihsm/parameters/pf_lvl2_abort_enabled"

/* The result of a reset ioctl; the status goes to @status. */
static int reset(int fd, __u32 type, __u32 *status)
{
	struct azihsm_reset arg = {
		.hdr.size = sizeof(arg),
		.abort_type = type,
		.abort_sts = ~0,
	};
	int ret = ioctl(fd, AZIHSM_IOC_RESET, &arg) ? -errno : 0;

	*status = arg.abort_sts;
	return ret;
}

FIXTURE(pf_no_reset) {
	int fd;
};

FIXTURE_SETUP(pf_no_reset)
{
	ASSERT_EQ(0, pf_use_node(pf_address()));
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(pf_no_reset)
{
	close(self->fd);
}

/* RESET-6: it is refused, not said to be done; and nothing is disturbed. */
TEST_F(pf_no_reset, refused)
{
	struct azihsm_dev_info before, after;
	__u32 status;

	ASSERT_EQ(0, hsm_dev_info(self->fd, &before));
	EXPECT_EQ(-EOPNOTSUPP, reset(self->fd, AZIHSM_RESET_NSSR, &status));
	EXPECT_EQ(AZIHSM_RESET_NOT_SUPPORTED, status);
	EXPECT_EQ(-EOPNOTSUPP, reset(self->fd, AZIHSM_RESET_CTRL, &status));
	EXPECT_EQ(AZIHSM_RESET_NOT_SUPPORTED, status);
	/* The bytes that are drawn at each initialisation are the same. */
	ASSERT_EQ(0, hsm_dev_info(self->fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

/* What is not a reset at all is told apart before. */
TEST_F(pf_no_reset, bad_type)
{
	__u32 status;

	EXPECT_EQ(-EINVAL, reset(self->fd, 0, &status));
	EXPECT_EQ(AZIHSM_RESET_BAD_TYPE, status);
	EXPECT_EQ(-EINVAL, reset(self->fd, 3, &status));
	EXPECT_EQ(AZIHSM_RESET_BAD_TYPE, status);
}

/* Virtual functions may be reset all the same. */
TEST_F_TIMEOUT(pf_no_reset, virtual_function, 60)
{
	struct vf vf;

	ASSERT_EQ(0, pf_set_vfs(1));
	ASSERT_EQ(0, vf_start(&vf, 0, 1));
	EXPECT_EQ(0, hsm_reset(vf.fd, AZIHSM_RESET_NSSR));
	EXPECT_EQ(0, hsm_reset(vf.fd, AZIHSM_RESET_CTRL));
	ASSERT_EQ(0, vf_restart(&vf, 0));
	EXPECT_NO_COMPLAINT(vf_encrypt(&vf, 4096));
	vf_close(&vf);
	ASSERT_EQ(0, pf_set_vfs(0));
}

/* MGMT-6: a controller that needs a reset is stopped, and says so to everybody. */
TEST_F_TIMEOUT(pf_no_reset, given_up, 90)
{
	struct hsm_device_info device;
	struct azihsm_dev_info info;
	char path[128];
	__u32 status;
	int mgmt, ret = 0;

	if (!emulator_present())
		SKIP(return, "no emulator");
	mgmt = pf_mgmt_open();
	ASSERT_LE(0, mgmt);
	ASSERT_EQ(0, pf_set_vfs(1));
	free(emulator_ask("{\"cmd\":\"arm\",\"faults\":[{\"function\":0,\"what\":\"fatal\"}]}"));
	for (int ms = 0; ms < PF_PATIENCE_MS && ret != -EIO; ms += 50) {
		ret = hsm_dev_info(self->fd, &info);
		usleep(50000);
	}
	EXPECT_EQ(-EIO, ret);
	EXPECT_EQ(-EIO, hsm_get_device_info(self->fd, &device));
	EXPECT_EQ(-EIO, reset(self->fd, AZIHSM_RESET_CTRL, &status));
	EXPECT_EQ(AZIHSM_RESET_BAD_STATE, status);
	EXPECT_EQ(-EIO, mgmt_set_resources(mgmt, 0, 1, &status));
	EXPECT_EQ(AZIHSM_MGMT_SET_FAILED, status);
	EXPECT_EQ(-EIO, mgmt_get_resources(mgmt, 0, &status));
	EXPECT_EQ(AZIHSM_MGMT_GET_FAILED, status);
	/* What needs no controller works. */
	EXPECT_EQ(1, mgmt_vf_count(mgmt));
	EXPECT_EQ(0, mgmt_dev_info(mgmt, &info));
	EXPECT_EQ(0, info.ctrl_id);
	ASSERT_EQ(0, pf_set_vfs(0));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/sriov_numvfs",
		 pf_address());
	EXPECT_EQ(-EIO, hsm_write_file(path, "1"));
	close(mgmt);

	/* Bound again, it works again. */
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", pf_address()));
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", pf_address()));
	close(self->fd);
	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 20) {
		if (!pf_use_node(pf_address()))
			break;
		usleep(20000);
	}
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, hsm_dev_info(self->fd, &info));
}

int main(int argc, char **argv)
{
	FILE *file = fopen(PARAMETER, "r");
	int allowed = file ? fgetc(file) : EOF;

	if (!pf_mgmt_name() || allowed != 'N') {
		ksft_print_header();
		ksft_exit_skip("no physical function that may not be reset\n");
	}
	fclose(file);
	return test_harness_run(argc, argv);
}
