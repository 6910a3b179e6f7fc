// SPDX-License-Identifier: GPL-2.0
/*
 * 32-bit callers: the same structures through the compat entry of ioctl().
 *
 * A 64-bit process can make 32-bit system calls with int 0x80, as long as the
 * pointers fit, so that no 32-bit libraries are needed.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/vectors.h"

#define TEXT_LEN	100

/* Everything that a pointer goes to: below 4 GiB. */
struct low {
	struct azihsm_dev_info info;
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;
	struct azihsm_reset reset;
	__u8 src[128];
	__u8 dst[128];
};

#ifdef __x86_64__
#define NR_IOCTL_32	54

/* A 32-bit system call: 0 or a positive result, or a negative errno. */
static int ioctl_32(int fd, unsigned int cmd, void *arg)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (NR_IOCTL_32), "b" (fd), "c" (cmd), "d" (arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static struct low *low_alloc(void)
{
	void *p = mmap(NULL, sizeof(struct low), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Whether the kernel has 32-bit system calls; without, the first is fatal. */
static bool has_compat(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(ioctl_32(-1, 0, NULL) == -EBADF ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && !status;
}
#else
static int ioctl_32(int fd, unsigned int cmd, void *arg)
{
	return -EOPNOTSUPP;
}

static struct low *low_alloc(void)
{
	return NULL;
}

static bool has_compat(void)
{
	return false;
}
#endif

FIXTURE(compat) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct low *low;
};

FIXTURE_SETUP(compat)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	self->low = low_alloc();
	ASSERT_NE(NULL, self->low);
}

FIXTURE_TEARDOWN(compat)
{
	close(self->fd);
	munmap(self->low, sizeof(*self->low));
}

TEST_F(compat, dev_info)
{
	struct azihsm_dev_info native, *info = &self->low->info;

	ASSERT_EQ(0, hsm_dev_info(self->fd, &native));
	info->argsz = sizeof(*info);
	ASSERT_EQ(0, ioctl_32(self->fd, AZIHSM_IOC_DEV_INFO, info));
	EXPECT_EQ(0, memcmp(&native, info, sizeof(native)));
}

TEST_F(compat, control)
{
	struct low *low = self->low;

	memcpy(low->src, api_rev_request, sizeof(api_rev_request));
	ddi_cp_init(&low->cp, AZIHSM_SESSION_NONE, DDI_NO_SESSION, low->src,
		    sizeof(api_rev_request), low->dst, sizeof(low->dst));
	low->cp.in_ctxt = 0x0123456789abcdefULL;
	ASSERT_EQ(0, ioctl_32(self->fd, AZIHSM_IOC_CP_CMD, &low->cp));
	EXPECT_EQ(0, low->cp.status);
	EXPECT_EQ(low->cp.in_ctxt, low->cp.out_ctxt);
	ASSERT_EQ(sizeof(api_rev_response), low->cp.byte_count);
	EXPECT_EQ(0, memcmp(low->dst, api_rev_response, low->cp.byte_count));
}

TEST_F(compat, aes)
{
	__u8 want[TEXT_LEN], tag[16], key_bytes[32];
	struct low *low = self->low;
	struct hsm_key key;

	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "compat",
				      HSM_KEY_CIPHER, &key));
	hsm_test_key("compat", key_bytes);
	fill_pattern(low->src, TEXT_LEN, 1);
	gcm_init(&low->aes, &self->s, AZIHSM_AES_ENCRYPT, key.bulk_id, 0,
		 low->src, low->dst, TEXT_LEN);
	ASSERT_EQ(0, ioctl_32(self->fd, AZIHSM_IOC_AES_GCM, &low->aes));
	EXPECT_EQ(0, low->aes.result);
	EXPECT_EQ(0, low->aes.extended_status);
	ASSERT_EQ(TEXT_LEN, low->aes.byte_count);
	ASSERT_TRUE(aes_gcm_encrypt(key_bytes, low->aes.iv, NULL, 0, low->src,
				    want, TEXT_LEN, tag));
	EXPECT_EQ(0, memcmp(want, low->dst, TEXT_LEN));
	EXPECT_EQ(0, memcmp(tag, low->aes.tag, sizeof(tag)));
}

TEST_F(compat, reset)
{
	struct azihsm_reset *reset = &self->low->reset;

	reset->hdr.size = sizeof(*reset);
	reset->abort_type = AZIHSM_RESET_CTRL;
	reset->abort_sts = 0xcccccccc;
	EXPECT_EQ(0, ioctl_32(self->fd, AZIHSM_IOC_RESET, reset));
	EXPECT_EQ(AZIHSM_RESET_OK, reset->abort_sts);
}

TEST_F(compat, refusals)
{
	struct low *low = self->low;

	EXPECT_EQ(-ENOTTY, ioctl_32(self->fd, 0xc0704202, &low->cp));
	EXPECT_EQ(-EFAULT, ioctl_32(self->fd, AZIHSM_IOC_CP_CMD, NULL));
	low->info.argsz = sizeof(low->info) - 1;
	EXPECT_EQ(-EINVAL, ioctl_32(self->fd, AZIHSM_IOC_DEV_INFO, &low->info));
}

int main(int argc, char **argv)
{
	skip_without_device();
	if (!has_compat()) {
		ksft_print_header();
		ksft_exit_skip("no 32-bit system calls\n");
	}
	return test_harness_run(argc, argv);
}
