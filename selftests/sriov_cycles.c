// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual functions made, used and removed, over and over.
 */
#include <stdio.h>

#include "lib/harness.h"
#include "lib/vf.h"

#define VFS	2

/* Rounds. The kernel sleeps a second in each, for the sake of hardware. */
#define CYCLES	50

/* One life of a virtual function. */
static const char *live(unsigned int index, unsigned int resources)
{
	static char why[64];
	const char *bad;
	struct vf vf;
	int ret = vf_start(&vf, index, resources);

	if (ret) {
		snprintf(why, sizeof(why), "preparing: %d", ret);
		return why;
	}
	bad = vf_encrypt(&vf, 3072);
	/* The other's file is still open when its device goes. */
	if (index % 2)
		vf_close(&vf);
	return bad;
}

FIXTURE(sriov_cycles) {
	int mgmt;
};

FIXTURE_SETUP(sriov_cycles)
{
	self->mgmt = pf_mgmt_open();
	ASSERT_LE(0, self->mgmt);
}

FIXTURE_TEARDOWN(sriov_cycles)
{
	close(self->mgmt);
	pf_set_vfs(0);
}

TEST_F_TIMEOUT(sriov_cycles, made_used_removed, 400)
{
	for (unsigned int i = 0; i < CYCLES; i++) {
		ASSERT_EQ(0, pf_set_vfs(VFS)) {
			TH_LOG("round %u", i);
		}
		EXPECT_EQ(VFS, mgmt_vf_count(self->mgmt));
		for (unsigned int vf = 0; vf < VFS; vf++) {
			/* Mostly what it had in the last round. */
			const char *why = live(vf, 1 + i / 10 % 3);

			ASSERT_EQ(NULL, why) {
				TH_LOG("round %u, function %u: %s", i, vf, why);
			}
		}
		ASSERT_EQ(0, pf_set_vfs(0));
		EXPECT_EQ(0, mgmt_vf_count(self->mgmt));
	}
}

int main(int argc, char **argv)
{
	int fd = pf_mgmt_open();

	if (fd < 0 || pf_total_vfs() < VFS) {
		ksft_print_header();
		ksft_exit_skip("no physical function with %u virtual ones\n",
			       VFS);
	}
	close(fd);
	return test_harness_run(argc, argv);
}
