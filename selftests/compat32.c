// SPDX-License-Identifier: GPL-2.0
/*
 * A 32-bit program: built with -m32 and the kernel's nolibc, so that it needs
 * no 32-bit libraries. Started by itself, it tests what needs no session; the
 * program compat starts it with a session and keys that a 64-bit program made.
 *
 *   compat32 FD SESSION APP GCM-KEY XTS-KEY1 XTS-KEY2 RESULT-FD
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"

#include "lib/compat.h"
#include "lib/layout.h"
#include "lib/vectors.h"

ASSERT_NUMBER(sizeof(void *), 4);

/* The last page of the address space is never the caller's. */
#define OUTSIDE		0xfffff000U
/* Above what 32 bits can hold, and below what the kernel allows 64-bit. */
#define ABOVE		0x100000000ULL

static char node[64];

/* What was given on the command line. */
static struct {
	int fd, result;
	unsigned int session, app, gcm, xts1, xts2;
} given;

/* What an ioctl returned, or a negative errno. */
static int issue(int fd, unsigned long nr, void *arg)
{
	int ret = ioctl(fd, nr, arg);

	return ret < 0 ? -errno : ret;
}

FIXTURE(compat32) {
	int fd;
};

FIXTURE_SETUP(compat32)
{
	self->fd = open(node, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(compat32)
{
	close(self->fd);
}

/* ALL-12 */
TEST_F(compat32, dev_info)
{
	struct azihsm_dev_info info;

	memset(&info, 0xcc, sizeof(info));
	info.argsz = sizeof(info) - 1;
	EXPECT_EQ(-EINVAL, issue(self->fd, AZIHSM_IOC_DEV_INFO, &info));
	info.argsz = sizeof(info);
	EXPECT_EQ(0, issue(self->fd, AZIHSM_IOC_DEV_INFO, &info));
	EXPECT_EQ(0xcc, info.pad);
	EXPECT_EQ(0, info.serial_num[32]);
	EXPECT_EQ('0', info.pci_info[0]);
}

TEST_F(compat32, query)
{
	struct azihsm_query query = { .size = sizeof(query) };

	EXPECT_EQ(0, issue(self->fd, AZIHSM_IOC_QUERY, &query));
	EXPECT_EQ(sizeof(query), query.size);
	EXPECT_EQ(AZIHSM_CP_MAX_LEN, query.cp_max_request);
}

TEST_F(compat32, control)
{
	unsigned char response[64];
	struct azihsm_cp_cmd cmd = {
		.hdr.size = sizeof(cmd),
		.in_ctxt = 0x0123456789abcdefULL,
		.src_len = sizeof(api_rev_request),
		.src = (unsigned long)api_rev_request,
		.dst_len = sizeof(response),
		.dst = (unsigned long)response,
		.extended_status = 0xcccccccc,
	};

	EXPECT_EQ(0, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(0, cmd.status);
	EXPECT_EQ(0, cmd.extended_status);
	EXPECT_EQ(cmd.in_ctxt, cmd.out_ctxt);
	EXPECT_EQ(sizeof(api_rev_response), cmd.byte_count);
	EXPECT_EQ(0, memcmp(response, api_rev_response,
			    sizeof(api_rev_response)));

	/* Addresses: not the caller's, and not even 32-bit. */
	cmd.src = OUTSIDE;
	EXPECT_EQ(-EFAULT, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(AZIHSM_EXT_SRC_BUF, cmd.extended_status);
	cmd.src = ABOVE;
	EXPECT_EQ(-EFAULT, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(AZIHSM_EXT_SRC_BUF, cmd.extended_status);
	/* The upper half counts: it must not be cut off. */
	cmd.src = ABOVE + (unsigned long)api_rev_request;
	EXPECT_EQ(-EFAULT, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(AZIHSM_EXT_SRC_BUF, cmd.extended_status);
	cmd.src = (unsigned long)api_rev_request;
	cmd.dst = 0xffffffff80000000ULL;
	EXPECT_EQ(-EINVAL, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(AZIHSM_EXT_DST_BUF, cmd.extended_status);
}

TEST_F(compat32, structure)
{
	struct azihsm_cp_cmd cmd = { .hdr.size = sizeof(cmd) - 1 };

	EXPECT_EQ(-EFAULT, issue(self->fd, AZIHSM_IOC_CP_CMD, NULL));
	EXPECT_EQ(-EFAULT, issue(self->fd, AZIHSM_IOC_CP_CMD,
				 (void *)OUTSIDE));
	EXPECT_EQ(-EINVAL, issue(self->fd, AZIHSM_IOC_CP_CMD, &cmd));
	EXPECT_EQ(-ENOTTY, issue(self->fd, 0xc0704202, &cmd));
}

/* Issues a command of the session; whether it did what was asked for. */
static bool works(unsigned long nr, struct azihsm_aes *cmd)
{
	cmd->byte_count = 0xcccccccc;
	cmd->extended_status = 0xcccccccc;
	return !issue(given.fd, nr, cmd) && !cmd->result &&
	       !cmd->extended_status && cmd->byte_count == cmd->src_len &&
	       cmd->out_ctxt == cmd->in_ctxt;
}

static void aes_init(struct azihsm_aes *cmd, unsigned char cipher, void *src,
		     void *dst, unsigned int len)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->hdr.size = sizeof(*cmd);
	cmd->in_ctxt = 0x0123456789abcdefULL;
	cmd->cipher = cipher;
	cmd->src = (unsigned long)src;
	cmd->src_len = len;
	cmd->dst = (unsigned long)dst;
	cmd->dst_len = len;
	cmd->frame_type = AZIHSM_FRAME_AES;
	cmd->session_id = given.session;
	cmd->short_app_id = given.app;
}

static const char *gcm(void)
{
	unsigned char text[COMPAT_TEXT], out[COMPAT_TEXT], back[COMPAT_TEXT];
	struct azihsm_aes cmd;

	for (unsigned int i = 0; i < sizeof(text); i++)
		text[i] = compat_byte(i);
	aes_init(&cmd, AZIHSM_AES_GCM, text, out, sizeof(text));
	cmd.gcm.key_id = given.gcm;
	cmd.gcm.workaround = 1;
	if (!works(AZIHSM_IOC_AES_GCM, &cmd))
		return "GCM encryption";
	if (!memcmp(text, out, sizeof(text)))
		return "GCM ciphertext";

	cmd.op = AZIHSM_AES_DECRYPT;
	cmd.src = (unsigned long)out;
	cmd.dst = (unsigned long)back;
	memcpy(cmd.gcm.iv, cmd.iv, sizeof(cmd.iv));
	memcpy(cmd.gcm.tag, cmd.tag, sizeof(cmd.tag));
	if (!works(AZIHSM_IOC_AES_GCM, &cmd))
		return "GCM decryption";
	if (memcmp(text, back, sizeof(text)))
		return "GCM plaintext";
	cmd.gcm.tag[0] ^= 1;
	if (works(AZIHSM_IOC_AES_GCM, &cmd) || !cmd.result)
		return "GCM with a wrong tag";
	return NULL;
}

/* Of a size that is copied, and of one whose pages are pinned. */
static const char *xts(unsigned int len)
{
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct azihsm_aes cmd;

	if (p == MAP_FAILED)
		return "no memory";
	for (unsigned int i = 0; i < len; i++)
		p[i] = compat_byte(i);
	aes_init(&cmd, AZIHSM_AES_XTS, p, p, len);
	cmd.xts.data_unit = AZIHSM_XTS_UNIT_512;
	cmd.xts.key_id1 = given.xts1;
	cmd.xts.key_id2 = given.xts2;
	if (!works(AZIHSM_IOC_AES_XTS, &cmd))
		return "XTS encryption";
	/* For the 64-bit program to compare. */
	if (write(given.result, p, COMPAT_RESULT) != COMPAT_RESULT)
		return "result not written";
	cmd.op = AZIHSM_AES_DECRYPT;
	if (!works(AZIHSM_IOC_AES_XTS, &cmd))
		return "XTS decryption";
	for (unsigned int i = 0; i < len; i++)
		if (p[i] != compat_byte(i))
			return "XTS plaintext";
	munmap(p, len);
	return NULL;
}

/*
 * The harness runs each test in a process of its own, and no other process than
 * the one that opened a file may use it: this is no test of the harness.
 */
static int in_session(void)
{
	const char *why = gcm();

	if (!why)
		why = xts(COMPAT_COPIED);
	if (!why)
		why = xts(COMPAT_PINNED);
	if (why)
		printf("# compat32: %s\n", why);
	return why ? KSFT_FAIL : KSFT_PASS;
}

TEST_F(compat32, reset)
{
	struct azihsm_reset reset = {
		.hdr.size = sizeof(reset),
		.abort_type = 3,
	};

	EXPECT_EQ(-EINVAL, issue(self->fd, AZIHSM_IOC_RESET, &reset));
	EXPECT_EQ(AZIHSM_RESET_BAD_TYPE, reset.abort_sts);
	reset.abort_type = AZIHSM_RESET_CTRL;
	EXPECT_EQ(0, issue(self->fd, AZIHSM_IOC_RESET, &reset));
	EXPECT_EQ(AZIHSM_RESET_OK, reset.abort_sts);
}

int main(int argc, char **argv)
{
	const char *name = getenv("AZIHSM_DEV");

	if (argc == 8) {
		given.fd = atoi(argv[1]);
		given.session = atoi(argv[2]);
		given.app = atoi(argv[3]);
		given.gcm = atoi(argv[4]);
		given.xts1 = atoi(argv[5]);
		given.xts2 = atoi(argv[6]);
		given.result = atoi(argv[7]);
		return in_session();
	}
	snprintf(node, sizeof(node), "/dev/%s", name ? name : "azihsm0");
	if (access(node, F_OK)) {
		ksft_print_header();
		ksft_exit_skip("no azihsm device\n");
	}
	return test_harness_run(argc, argv);
}
