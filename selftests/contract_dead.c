// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that are lost, and a controller that does not come back: what all
 * ioctls answer then. The emulated device has to be told to fail, over its
 * control channel; without one these tests are skipped. The names of the rules
 * are those of Documentation/userspace-api/azihsm.rst.
 */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lib/harness.h"
#include "lib/json.h"
#include "lib/vectors.h"

#define IN_CTXT		0x0123456789abcdefULL

/* Faults; of the class of a command, the next one. */
#define LOSE_NEXT(class) \
	"{\"cmd\":\"arm\",\"faults\":[{\"class\":\"" class "\",\"count\":1,\"what\":\"drop\"}]}"
#define TOO_MANY_BYTES \
	"{\"cmd\":\"arm\",\"faults\":[{\"class\":\"cp\",\"count\":1,\"what\":" \
	"{\"completion\":{\"bytes\":{\"set\":65535}}}}]}"
/* Identify fails: the controller is ready, and cannot be used. */
#define NOT_IDENTIFIED \
	"{\"cmd\":\"arm\",\"faults\":[{\"class\":\"admin\",\"opcode\":6," \
	"\"what\":{\"refuse\":{\"status\":6}}}]}"
#define NO_FAULTS	"{\"cmd\":\"clear\"}"

FIXTURE(dead) {
	int fd;
	char address[64];
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1, key2;
};

/* Whether the emulator did as it was told. */
static bool tell(const char *request, const char *member)
{
	char *answer = emulator_ask(request);
	bool done = json_member(answer, member);

	if (!done)
		ksft_print_msg("%s: %s\n", request, answer ?: strerror(errno));
	free(answer);
	return done;
}

static bool arm(const char *fault)
{
	return tell(fault, "armed");
}

FIXTURE_SETUP(dead)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->key1,
					   &self->key2));
}

FIXTURE_TEARDOWN(dead)
{
	EXPECT_TRUE(tell(NO_FAULTS, "cleared"));
	close(self->fd);
	EXPECT_NO_COMPLAINT(hsm_revive(self->address));
	/* SES-15: what the dead controller kept is flushed before an open. */
	self->fd = hsm_open();
	EXPECT_EQ(0, hsm_provision(self->fd, &self->part));
	EXPECT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
	EXPECT_AT_REST();
}

static const char *differs(int err, __u32 ext, int ret, __u32 have, __u32 count,
			   __u64 ctxt)
{
	static char why[128];

	if (ret == -err && have == ext && !count && ctxt == IN_CTXT)
		return NULL;
	snprintf(why, sizeof(why), "returned %d, status %#x, %u bytes, context %#llx",
		 ret, have, count, ctxt);
	return why;
}

/* Issues a command that has to fail so. */
static const char *cp_fails(int fd, struct azihsm_cp_cmd *cmd, int err,
			    __u32 ext)
{
	int ret = hsm_cp(fd, cmd);

	return differs(err, ext, ret, cmd->extended_status, cmd->byte_count,
		       cmd->out_ctxt);
}

static const char *aes_fails(int fd, int (*cipher)(int, struct azihsm_aes *),
			     struct azihsm_aes *cmd, int err, __u32 ext)
{
	int ret = cipher(fd, cmd);

	return differs(err, ext, ret, cmd->extended_status, cmd->byte_count,
		       cmd->out_ctxt);
}

/* CP-19: a control command whose completion is lost. */
TEST_F_TIMEOUT(dead, lost_control_command, 60)
{
	struct hsm_device_info info;
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	ddi_cp_init(&c.cmd, AZIHSM_SESSION_NONE, DDI_NO_SESSION, c.req_buf,
		    c.req.len, c.resp_buf, sizeof(c.resp_buf));
	c.cmd.in_ctxt = IN_CTXT;
	c.cmd.extended_status = 0xcccccccc;
	ASSERT_TRUE(arm(LOSE_NEXT("cp")));
	EXPECT_NO_COMPLAINT(cp_fails(self->fd, &c.cmd, EAGAIN,
				     AZIHSM_EXT_ABORTED));
	EXPECT_EQ(0, c.cmd.status);
	/* The controller was reset for it, and works. */
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* FP-23: the same on the fast path. */
TEST_F_TIMEOUT(dead, lost_fast_command, 60)
{
	__u8 text[64] = { 0 }, out[64];
	struct azihsm_aes cmd;

	memset(out, GUARD_FILL, sizeof(out));
	xts_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->key1.bulk_id,
		 self->key2.bulk_id, 0, 0, text, out, sizeof(text));
	cmd.in_ctxt = IN_CTXT;
	cmd.extended_status = 0xcccccccc;
	ASSERT_TRUE(arm(LOSE_NEXT("fp")));
	EXPECT_NO_COMPLAINT(aes_fails(self->fd, hsm_xts, &cmd, EAGAIN,
				      AZIHSM_EXT_ABORTED));
	EXPECT_EQ(0, cmd.result);
	EXPECT_TRUE(all_bytes(out, GUARD_FILL, sizeof(out)));
}

/*
 * SES-2, SES-15: an open whose completion is lost leaves the file without a
 * session; the one that the device has opened is found and flushed.
 */
TEST_F_TIMEOUT(dead, lost_open, 60)
{
	struct hsm_session s;
	struct ddi_call c;
	int fd = hsm_open();
	int ret;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_begin_open(fd, &s, &c));
	ASSERT_TRUE(arm(LOSE_NEXT("cp")));
	EXPECT_EQ(-EAGAIN, ddi_exec(fd, &c));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, c.cmd.extended_status);
	/* Not always is the controller reset for it, which takes the credential. */
	ret = hsm_open_session(fd, &s);
	if (ret == DDI_CREDENTIALS_NOT_ESTABLISHED) {
		ASSERT_EQ(0, hsm_establish(fd, &self->part));
		ret = hsm_open_session(fd, &s);
	}
	EXPECT_EQ(0, ret);
	/* The lowest id but that of the other file. */
	EXPECT_EQ(1, s.id);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* ALL-5: a device that says it wrote more than it did, and than there is room. */
TEST_F(dead, too_many_bytes)
{
	static const __u32 rooms[] = { 10, 58, 59, 4096, AZIHSM_CP_MAX_LEN };
	struct guarded dst;
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_GET_API_REV, DDI_NO_SESSION, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(rooms); i++) {
		__u32 room = rooms[i], real = room < 58 ? room : 58;

		ASSERT_TRUE(guarded_alloc(&dst, room, 3));
		ddi_cp_init(&c.cmd, AZIHSM_SESSION_NONE, DDI_NO_SESSION,
			    c.req_buf, c.req.len, dst.p, room);
		ASSERT_TRUE(arm(TOO_MANY_BYTES));
		EXPECT_EQ(0, hsm_cp(self->fd, &c.cmd));
		EXPECT_EQ(room, c.cmd.byte_count);
		EXPECT_EQ(0, memcmp(dst.p, api_rev_response, real));
		/* Nothing of what somebody else had there before. */
		EXPECT_TRUE(all_bytes(dst.p + real, 0, room - real));
		EXPECT_TRUE(guarded_intact(&dst));
		guarded_free(&dst);
	}
}

static int issue(int fd, unsigned long nr, void *arg)
{
	int ret = ioctl(fd, nr, arg);

	return ret < 0 ? -errno : ret;
}

/* CP-5, FP-5, INFO-2, RESET-4, RESET-8: dead comes before what is wrong. */
TEST_F_TIMEOUT(dead, controller, 120)
{
	struct azihsm_query query = { .size = sizeof(query) };
	struct azihsm_dev_info info = { .argsz = 1 };
	struct azihsm_reset reset = {
		.hdr.size = sizeof(reset),
		.abort_type = AZIHSM_RESET_CTRL,
	};
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;

	ASSERT_TRUE(arm(NOT_IDENTIFIED));
	EXPECT_EQ(-EIO, issue(self->fd, AZIHSM_IOC_RESET, &reset));
	EXPECT_EQ(AZIHSM_RESET_FAILED, reset.abort_sts);

	memset(&cp, 0xcc, sizeof(cp));
	cp.hdr.size = sizeof(cp);
	cp.in_ctxt = IN_CTXT;
	EXPECT_NO_COMPLAINT(cp_fails(self->fd, &cp, EIO, AZIHSM_EXT_NOT_READY));
	memset(&aes, 0xcc, sizeof(aes));
	aes.hdr.size = sizeof(aes);
	aes.in_ctxt = IN_CTXT;
	EXPECT_NO_COMPLAINT(aes_fails(self->fd, hsm_gcm, &aes, EIO,
				      AZIHSM_EXT_NOT_READY));
	EXPECT_NO_COMPLAINT(aes_fails(self->fd, hsm_xts, &aes, EIO,
				      AZIHSM_EXT_NOT_READY));
	EXPECT_EQ(-EIO, issue(self->fd, AZIHSM_IOC_DEV_INFO, &info));
	EXPECT_EQ(-EIO, issue(self->fd, AZIHSM_IOC_DEV_INFO, NULL));
	reset.abort_type = 77;
	EXPECT_EQ(-EIO, issue(self->fd, AZIHSM_IOC_RESET, &reset));
	EXPECT_EQ(AZIHSM_RESET_BAD_STATE, reset.abort_sts);
	EXPECT_EQ(0, issue(self->fd, AZIHSM_IOC_QUERY, &query));
	EXPECT_EQ(AZIHSM_STATE_DEAD, query.state);

	/* But after what is wrong with the structure. */
	cp.hdr.size = sizeof(cp) - 1;
	EXPECT_EQ(-EINVAL, hsm_cp(self->fd, &cp));
	EXPECT_EQ(-EFAULT, hsm_gcm(self->fd, NULL));
	EXPECT_EQ(-ENOTTY, issue(self->fd, 0xc0704202, &cp));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
