// SPDX-License-Identifier: GPL-2.0
/*
 * 32-bit callers: the same structures through the compat entry of ioctl().
 *
 * What needs a session is done by the program compat32, which this one becomes
 * with the file, the session and the keys ready: the client's part of the
 * protocol needs libcrypto, and 32-bit libraries are not to be had. And a
 * 64-bit process can make 32-bit system calls itself, with int 0x80, as long as
 * the pointers fit: then both entries meet in one process.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/compat.h"
#include "lib/harness.h"
#include "lib/layout.h"
#include "lib/vectors.h"

/* Everything that a pointer goes to: below 4 GiB. */
struct low {
	struct azihsm_dev_info info;
	struct azihsm_cp_cmd cp;
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
	EXPECT_AT_REST();
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

/* Replaces this process by compat32, which lies beside this program. */
static void become_compat32(int fd, const struct hsm_session *s,
			    const struct hsm_key keys[3], int result)
{
	const unsigned int numbers[] = {
		fd, s->id, s->app, keys[0].bulk_id, keys[1].bulk_id,
		keys[2].bulk_id, result,
	};
	char self[PATH_MAX], path[PATH_MAX], arguments[ARRAY_SIZE(numbers)][16];
	char *argv[ARRAY_SIZE(numbers) + 2] = { "compat32" };
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return;
	self[len] = 0;
	snprintf(path, sizeof(path), "%.*s/compat32", PATH_MAX - 16,
		 dirname(self));
	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
		snprintf(arguments[i], sizeof(arguments[i]), "%u", numbers[i]);
		argv[i + 1] = arguments[i];
	}
	execv(path, argv);
}

/* ALL-10, ALL-12: a 32-bit program with the session of a 64-bit one. */
TEST_F(compat, in_session)
{
	static const unsigned int lens[] = { COMPAT_COPIED, COMPAT_PINNED };
	static __u8 text[COMPAT_PINNED], want[COMPAT_PINNED];
	__u8 got[COMPAT_RESULT], key1[32], key2[32];
	int pipe_fd[2], status;
	pid_t pid;

	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, pipe(pipe_fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct hsm_key keys[3];
		int fd = hsm_open();

		if (fd < 0 || fcntl(fd, F_SETFD, 0) ||
		    hsm_open_session(fd, &self->s) ||
		    hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				     HSM_KEY_CIPHER, &keys[0]) ||
		    hsm_generate_xts_keys(&self->s, &keys[1], &keys[2]))
			_exit(100);
		become_compat32(fd, &self->s, keys, pipe_fd[1]);
		_exit(101);
	}
	close(pipe_fd[1]);
	hsm_test_key("data", key1);
	hsm_test_key("tweak", key2);
	for (unsigned int i = 0; i < COMPAT_PINNED; i++)
		text[i] = compat_byte(i);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		ASSERT_TRUE(aes_xts(true, key1, key2, 0, 512, text, want,
				    lens[i]));
		EXPECT_EQ(sizeof(got), read(pipe_fd[0], got, sizeof(got)));
		EXPECT_EQ(sizeof(got), first_difference(want, got,
							sizeof(got)));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(pipe_fd[0]);
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
