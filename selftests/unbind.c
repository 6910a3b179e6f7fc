// SPDX-License-Identifier: GPL-2.0
/*
 * Unbinding the driver through sysfs while files are open: they outlive the
 * device, and answer so.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lib/harness.h"
#include "lib/roundtrip.h"

#define WAIT_MS	10000

/* What is to be the same after the driver was bound again. */
static char address[64], path[80], class_path[128];

static int unbind_driver(void)
{
	return hsm_write_file(HSM_DRIVER "/unbind", address);
}

static int bind_driver(void)
{
	return hsm_write_file(HSM_DRIVER "/bind", address);
}

/* Waits until a path exists, or does not. */
static bool wait_for(const char *what, bool exists)
{
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		if (!access(what, F_OK) == exists)
			return true;
		usleep(10000);
	}
	return false;
}

static bool is_bound(void)
{
	char link[160];

	snprintf(link, sizeof(link), HSM_DRIVER "/%s", address);
	return !access(link, F_OK);
}

FIXTURE(unbind) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
};

FIXTURE_SETUP(unbind)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
}

FIXTURE_TEARDOWN(unbind)
{
	close(self->fd);
	/* Whatever went wrong, leave the device to the next test. */
	if (!is_bound())
		bind_driver();
	wait_for(path, true);
	EXPECT_AT_REST();
}

/* What every ioctl of a file without a device answers. */
static const char *answers_gone(int fd, const struct hsm_session *s)
{
	static char why[128];
	__u8 text[64] = { 0 }, out[64];
	struct azihsm_dev_info info;
	struct azihsm_reset reset;
	struct azihsm_aes aes;
	struct ddi_call c;
	int ret;

	why[0] = 0;
	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	ret = ddi_exec(fd, &c);
	if (ret != -ENODEV || c.cmd.extended_status != AZIHSM_EXT_NOT_READY) {
		snprintf(why, sizeof(why), "command: %d, status %#x", ret,
			 c.cmd.extended_status);
		return why;
	}
	memset(out, GUARD_FILL, sizeof(out));
	gcm_init(&aes, s, AZIHSM_AES_ENCRYPT, 0, 0, text, out, sizeof(text));
	ret = hsm_gcm(fd, &aes);
	if (ret != -ENODEV || aes.extended_status != AZIHSM_EXT_NOT_READY) {
		snprintf(why, sizeof(why), "GCM: %d, status %#x", ret,
			 aes.extended_status);
		return why;
	}
	xts_init(&aes, s, AZIHSM_AES_DECRYPT, 0, 1, 0, 0, text, out,
		 sizeof(text));
	ret = hsm_xts(fd, &aes);
	if (ret != -ENODEV || aes.extended_status != AZIHSM_EXT_NOT_READY) {
		snprintf(why, sizeof(why), "XTS: %d, status %#x", ret,
			 aes.extended_status);
		return why;
	}
	if (!all_bytes(out, GUARD_FILL, sizeof(out)))
		return "destination written";
	ret = hsm_dev_info(fd, &info);
	if (ret != -ENODEV) {
		snprintf(why, sizeof(why), "device information: %d", ret);
		return why;
	}
	memset(&reset, 0, sizeof(reset));
	reset.hdr.size = sizeof(reset);
	reset.abort_type = AZIHSM_RESET_CTRL;
	if (ioctl(fd, AZIHSM_IOC_RESET, &reset) != -1 || errno != ENODEV ||
	    reset.abort_sts != AZIHSM_RESET_BAD_STATE) {
		snprintf(why, sizeof(why), "reset: errno %d, status %u", errno,
			 reset.abort_sts);
		return why;
	}
	return NULL;
}

/* Which of two reasons counts, if one is that the function is gone. */
static const char *gone_comes_in_order(int fd)
{
	struct azihsm_reset reset = { .hdr.size = sizeof(reset) };
	struct azihsm_cp_cmd cp = { .hdr.size = sizeof(cp), .cmdset = 1 };
	struct azihsm_aes aes = { .hdr.size = sizeof(aes), .op = 2 };
	struct azihsm_query query = { .size = 1 };

	/* After what is wrong with the structure. */
	if (hsm_cp(fd, NULL) != -EFAULT || hsm_gcm(fd, NULL) != -EFAULT ||
	    hsm_xts(fd, NULL) != -EFAULT)
		return "structure not readable";
	cp.hdr.size--;
	aes.hdr.size--;
	reset.hdr.size--;
	if (hsm_cp(fd, &cp) != -EINVAL || hsm_gcm(fd, &aes) != -EINVAL ||
	    hsm_xts(fd, &aes) != -EINVAL ||
	    ioctl(fd, AZIHSM_IOC_RESET, &reset) != -1 || errno != EINVAL)
		return "structure too small";
	/* Before what is wrong in it. */
	cp.hdr.size++;
	aes.hdr.size++;
	reset.hdr.size++;
	if (hsm_cp(fd, &cp) != -ENODEV || hsm_gcm(fd, &aes) != -ENODEV ||
	    hsm_xts(fd, &aes) != -ENODEV ||
	    ioctl(fd, AZIHSM_IOC_RESET, &reset) != -1 || errno != ENODEV)
		return "fields of the structure";
	/* These look for the function first. */
	if (ioctl(fd, AZIHSM_IOC_DEV_INFO, NULL) != -1 || errno != ENODEV ||
	    ioctl(fd, AZIHSM_IOC_QUERY, NULL) != -1 || errno != ENODEV ||
	    ioctl(fd, AZIHSM_IOC_QUERY, &query) != -1 || errno != ENODEV)
		return "information";
	if (ioctl(fd, 0xc0704202, &cp) != -1 || errno != ENOTTY)
		return "unknown number";
	return NULL;
}

/* CP-4, FP-4, INFO-1, QUERY-1, RESET-3 */
TEST_F(unbind, open_file)
{
	struct hsm_device_info info;

	ASSERT_EQ(0, unbind_driver());
	EXPECT_FALSE(is_bound());
	EXPECT_TRUE(wait_for(path, false));
	EXPECT_TRUE(wait_for(class_path, false));
	EXPECT_NO_COMPLAINT(answers_gone(self->fd, &self->s));
	EXPECT_NO_COMPLAINT(gone_comes_in_order(self->fd));
	/* Not only once. */
	EXPECT_NO_COMPLAINT(answers_gone(self->fd, &self->s));
	/* The last close has no device to flush a session on. */
	EXPECT_EQ(0, close(self->fd));

	ASSERT_EQ(0, bind_driver());
	EXPECT_TRUE(is_bound());
	/* The number is free again, so it is the same. */
	ASSERT_TRUE(wait_for(path, true));
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
}

/* A file of the device's former life stays dead in its next one. */
TEST_F(unbind, old_file_and_new_device)
{
	struct hsm_session s;
	int fd;

	ASSERT_EQ(0, unbind_driver());
	ASSERT_TRUE(wait_for(path, false));
	ASSERT_EQ(0, bind_driver());
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		hsm_rescan();
		if (hsm_name() && !access(hsm_path(), F_OK) &&
		    !strcmp(hsm_pci_address(), address))
			break;
		usleep(10000);
	}
	EXPECT_NO_COMPLAINT(answers_gone(self->fd, &self->s));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, hsm_provision(fd, &self->part));
	EXPECT_EQ(0, hsm_open_session(fd, &s));
	EXPECT_NO_COMPLAINT(answers_gone(self->fd, &self->s));
	close(self->fd);
	/* Closing the old file is none of the new session's business. */
	EXPECT_EQ(0, hsm_close_session(&s));
	close(fd);

	/* With nothing open any more, the next life has the old number. */
	ASSERT_EQ(0, unbind_driver());
	ASSERT_EQ(0, bind_driver());
	EXPECT_TRUE(wait_for(path, true));
	self->fd = hsm_open();
}

TEST_F(unbind, again_and_again)
{
	close(self->fd);
	for (int i = 0; i < 5; i++) {
		struct hsm_device_info info;
		int fd;

		ASSERT_EQ(0, unbind_driver());
		ASSERT_TRUE(wait_for(path, false));
		ASSERT_EQ(0, bind_driver());
		ASSERT_TRUE(wait_for(path, true));
		fd = hsm_open();
		ASSERT_LE(0, fd);
		EXPECT_EQ(0, hsm_get_device_info(fd, &info));
		close(fd);
	}
	self->fd = -1;
}

int main(int argc, char **argv)
{
	skip_without_device();
	skip_without_unbind();
	snprintf(address, sizeof(address), "%s", hsm_pci_address());
	snprintf(path, sizeof(path), "%s", hsm_path());
	snprintf(class_path, sizeof(class_path), HSM_CLASS "/%s", hsm_name());
	return test_harness_run(argc, argv);
}
