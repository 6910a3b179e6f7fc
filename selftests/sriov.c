// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual functions: made and removed, with and without resources, used side by
 * side and kept apart.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/vf.h"

#define VFS	2

FIXTURE(sriov) {
	int mgmt;
	struct vf vf[VFS];
};

FIXTURE_SETUP(sriov)
{
	self->mgmt = vf_topology_begin(self->vf, VFS);
	ASSERT_LE(0, self->mgmt);
}

FIXTURE_TEARDOWN(sriov)
{
	vf_topology_end(self->mgmt, self->vf, VFS);
}

TEST_F_TIMEOUT(sriov, made_and_removed, 60)
{
	struct azihsm_dev_info info;
	char path[128];

	EXPECT_EQ(VFS, mgmt_vf_count(self->mgmt));
	for (unsigned int i = 0; i < VFS; i++) {
		struct vf *vf = &self->vf[i];

		ASSERT_EQ(0, vf_give(i, 1));
		ASSERT_EQ(0, vf_open(vf, i));
		EXPECT_STREQ(vf_address(i), vf->address);
		ASSERT_EQ(0, hsm_dev_info(vf->fd, &info));
		EXPECT_EQ(i + 1, info.ctrl_id);
		EXPECT_STREQ(vf->address, (const char *)info.pci_info);
	}
	EXPECT_STRNE(self->vf[0].node, self->vf[1].node);

	/* Open files do not keep the functions. */
	ASSERT_EQ(0, pf_set_vfs(0));
	EXPECT_EQ(0, mgmt_vf_count(self->mgmt));
	for (unsigned int i = 0; i < VFS; i++) {
		struct vf *vf = &self->vf[i];

		snprintf(path, sizeof(path), "/dev/%s", vf->node);
		EXPECT_NE(0, access(path, F_OK));
		EXPECT_EQ(-ENODEV, hsm_dev_info(vf->fd, &info));
		EXPECT_STREQ("", vf_address(i));
	}
	/* What the node of the physical function makes of it: nothing. */
	ASSERT_EQ(0, pf_use_node(pf_address()));
	self->vf[0].fd = hsm_open();
	ASSERT_EQ(0, hsm_dev_info(self->vf[0].fd, &info));
	EXPECT_EQ(0, info.ctrl_id);
}

TEST_F_TIMEOUT(sriov, number_of_functions, 60)
{
	char path[128], text[16];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/sriov_numvfs",
		 pf_address());
	snprintf(text, sizeof(text), "%u", pf_total_vfs() + 1);
	EXPECT_EQ(-ERANGE, hsm_write_file(path, text));
	EXPECT_EQ(-EBUSY, hsm_write_file(path, "1"));
	EXPECT_EQ(VFS, pf_num_vfs());
	EXPECT_EQ(VFS, mgmt_vf_count(self->mgmt));
	ASSERT_EQ(0, pf_set_vfs(1));
	EXPECT_EQ(1, mgmt_vf_count(self->mgmt));
}

/* A function is bound and says who it is, but has nobody to do the work. */
static const char *answers_without_resources(int fd)
{
	static char why[128];
	struct azihsm_dev_info info;
	struct azihsm_aes aes;
	struct ddi_call c;
	__u8 text[64] = { 0 }, out[64];
	struct hsm_session s = { .fd = fd };
	int ret;

	why[0] = 0;
	ret = hsm_dev_info(fd, &info);
	if (ret) {
		snprintf(why, sizeof(why), "device information: %d", ret);
		return why;
	}
	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	ret = ddi_exec(fd, &c);
	if (ret != -EAGAIN || c.cmd.extended_status != AZIHSM_EXT_NOT_READY) {
		snprintf(why, sizeof(why), "command: %d, status %#x", ret,
			 c.cmd.extended_status);
		return why;
	}
	gcm_init(&aes, &s, AZIHSM_AES_ENCRYPT, 0, 0, text, out, sizeof(text));
	ret = hsm_gcm(fd, &aes);
	if (ret != -EINVAL ||
	    aes.extended_status != AZIHSM_EXT_AES_NO_SESSION) {
		snprintf(why, sizeof(why), "GCM: %d, status %#x", ret,
			 aes.extended_status);
		return why;
	}
	return NULL;
}

/* Waits until the device answers as it does without resources. */
static const char *wait_for_no_resources(int fd)
{
	const char *why = NULL;

	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 50) {
		why = answers_without_resources(fd);
		if (!why)
			return NULL;
		usleep(50000);
	}
	return why;
}

TEST_F_TIMEOUT(sriov, without_resources, 90)
{
	struct vf *vf = &self->vf[0];

	ASSERT_EQ(0, vf_give(0, 0));
	ASSERT_EQ(0, vf_open(vf, 0));
	EXPECT_NO_COMPLAINT(wait_for_no_resources(vf->fd));
	vf_close(vf);

	/* The same if it has none from the beginning. */
	ASSERT_EQ(0, pf_set_vfs(0));
	ASSERT_EQ(0, pf_set_vfs(VFS));
	EXPECT_EQ(0, mgmt_get_resources(self->mgmt, 0, NULL));
	ASSERT_EQ(0, vf_open(vf, 0));
	EXPECT_NO_COMPLAINT(answers_without_resources(vf->fd));

	/* When it gets some it works, and so do files that are open. */
	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 1, NULL));
	ASSERT_EQ(0, vf_wait_usable());
	ASSERT_EQ(0, vf_prepare(vf));
	EXPECT_NO_COMPLAINT(vf_encrypt(vf, 4096));
}

/* SES-14: with the last resource goes the session: its number is another's. */
TEST_F_TIMEOUT(sriov, session_goes_with_the_resources, 90)
{
	struct vf *vf = &self->vf[0], *other = &self->vf[1];
	struct hsm_key key;

	ASSERT_EQ(0, vf_start(vf, 0, 1));
	EXPECT_EQ(0, vf->s.id);
	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 0, NULL));
	EXPECT_NO_COMPLAINT(wait_for_no_resources(vf->fd));
	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 1, NULL));
	ASSERT_EQ(0, vf_wait_usable());

	/* Another file of the same function. */
	ASSERT_EQ(0, vf_open(other, 0));
	ASSERT_EQ(0, hsm_establish(other->fd, &other->part));
	ASSERT_EQ(0, hsm_open_session(other->fd, &other->s));
	EXPECT_EQ(0, other->s.id);
	/* Neither using nor closing the first file gets at it. */
	EXPECT_EQ(-EINVAL, hsm_generate_key(&vf->s, HSM_KEY_AES256, "",
					    HSM_KEY_CIPHER, &key));
	EXPECT_EQ(-EINVAL, hsm_close_session(&vf->s));
	vf_close(vf);
	EXPECT_EQ(0, hsm_generate_key(&other->s, HSM_KEY_AES256, "",
				      HSM_KEY_CIPHER, &key));
	EXPECT_EQ(0, hsm_close_session(&other->s));
}

/* The programs that test any function, in the folder of this one. */
static const char *const programs[] = { "session", "control", "gcm", "xts" };

/* Runs a program on a node; its output goes to a file. */
static int run_program(const char *name, const char *node, const char *output)
{
	char path[512];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	pid_t pid = fork();
	int status, fd;

	if (pid < 0 || len < 0)
		return -errno;
	if (!pid) {
		path[len] = 0;
		snprintf(strrchr(path, '/') + 1, 64, "%s", name);
		fd = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		setenv("AZIHSM_DEV", node, 1);
		execl(path, path, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* Shows what went wrong in a program. */
static void show(const char *output)
{
	FILE *file = fopen(output, "r");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		printf("#   %s", line);
	if (file)
		fclose(file);
}

TEST_F_TIMEOUT(sriov, programs, 240)
{
	char output[64];

	for (unsigned int i = 0; i < VFS; i++) {
		ASSERT_EQ(0, vf_give(i, 2));
		ASSERT_EQ(0, vf_open(&self->vf[i], i));
		vf_close(&self->vf[i]);
	}
	for (unsigned int i = 0; i < VFS; i++) {
		for (unsigned int p = 0; p < ARRAY_SIZE(programs); p++) {
			snprintf(output, sizeof(output), "/tmp/sriov-%u.%s", i,
				 programs[p]);
			EXPECT_EQ(0, run_program(programs[p], self->vf[i].node,
						 output)) {
				TH_LOG("%s on %s", programs[p],
				       self->vf[i].node);
				show(output);
			}
		}
	}
}

TEST_F_TIMEOUT(sriov, kept_apart, 120)
{
	struct vf *a = &self->vf[0], *b = &self->vf[1];
	struct hsm_session foreign;
	struct azihsm_aes aes;
	struct hsm_key key;
	__u8 text[64] = { 0 }, out[64];
	int files[HSM_SESSIONS];

	ASSERT_EQ(0, vf_start(a, 0, 1));
	ASSERT_EQ(0, vf_start(b, 1, 1));
	/* Both have a session 0, and different sets of keys. */
	EXPECT_EQ(0, a->s.id);
	EXPECT_EQ(0, b->s.id);
	EXPECT_NE(a->gcm.bulk_id, b->gcm.bulk_id);
	EXPECT_NO_COMPLAINT(vf_encrypt(a, 4096));
	EXPECT_NO_COMPLAINT(vf_encrypt(b, 4096));

	/* A key of the one is none of the other. */
	memset(out, GUARD_FILL, sizeof(out));
	gcm_init(&aes, &b->s, AZIHSM_AES_ENCRYPT, a->gcm.bulk_id, 0, text, out,
		 sizeof(text));
	EXPECT_EQ(0, hsm_gcm(b->fd, &aes));
	EXPECT_EQ(FP_INVALID_GCM, aes.result);
	EXPECT_EQ(GCM_KEY_NOT_OWNED, aes.extended_status);
	EXPECT_TRUE(all_bytes(out, GUARD_FILL, sizeof(out)));
	xts_init(&aes, &b->s, AZIHSM_AES_ENCRYPT, a->xts1.bulk_id,
		 a->xts2.bulk_id, 0, 0, text, out, sizeof(text));
	EXPECT_EQ(0, hsm_xts(b->fd, &aes));
	EXPECT_EQ(FP_INVALID_XTS, aes.result);
	EXPECT_EQ(XTS_KEY_NOT_OWNED, aes.extended_status);
	EXPECT_TRUE(all_bytes(out, GUARD_FILL, sizeof(out)));

	/* A session of the one is none of the other. */
	for (int i = 1; i < 4; i++) {
		struct hsm_session s;

		files[i] = open(hsm_path(), O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, files[i]);
		ASSERT_EQ(0, hsm_open_session(files[i], &s));
		EXPECT_EQ(i, s.id);
		foreign = s;
	}
	foreign.fd = a->fd;
	EXPECT_EQ(-EINVAL, hsm_generate_key(&foreign, HSM_KEY_AES256, "",
					    HSM_KEY_CIPHER, &key));
	EXPECT_EQ(-EINVAL, hsm_close_session(&foreign));
	for (int i = 1; i < 4; i++)
		close(files[i]);

	/* Each has all of its sessions. */
	ASSERT_EQ(0, vf_use(0));
	for (int i = 1; i < HSM_SESSIONS; i++) {
		struct hsm_session s;

		files[i] = hsm_open();
		ASSERT_LE(0, files[i]);
		EXPECT_EQ(0, hsm_open_session(files[i], &s));
	}
	ASSERT_EQ(0, vf_use(1));
	files[0] = hsm_open();
	ASSERT_LE(0, files[0]);
	EXPECT_EQ(0, hsm_open_session(files[0], &foreign));
	for (int i = 0; i < HSM_SESSIONS; i++)
		close(files[i]);

	/* A reset of the one is none of the other. */
	EXPECT_EQ(0, hsm_reset(a->fd, AZIHSM_RESET_NSSR));
	EXPECT_NO_COMPLAINT(vf_encrypt(b, 4096));
	EXPECT_EQ(0, hsm_reset(a->fd, AZIHSM_RESET_CTRL));
	EXPECT_NO_COMPLAINT(vf_encrypt(b, 4096));
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
	/* For whoever comes next. */
	pf_no_vfs_at_exit();
	return test_harness_run(argc, argv);
}
