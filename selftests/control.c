// SPDX-License-Identifier: GPL-2.0
/*
 * Control-path commands: what goes to the device comes back, in every size.
 * What the driver refuses is in contract_cp.
 */
#include "lib/harness.h"
#include "lib/roundtrip.h"
#include "lib/vectors.h"

/* Device status: source length out of range; everything else. */
#define STATUS_SRC_LEN	0x0c1
#define STATUS_OTHER	0x007

FIXTURE(control) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct guarded src, dst;
};

FIXTURE_SETUP(control)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_TRUE(guarded_alloc(&self->src, AZIHSM_CP_MAX_LEN, 11));
	ASSERT_TRUE(guarded_alloc(&self->dst, AZIHSM_CP_MAX_LEN, 1));
}

FIXTURE_TEARDOWN(control)
{
	close(self->fd);
	guarded_free(&self->src);
	guarded_free(&self->dst);
	EXPECT_AT_REST();
}

/* A command that works: GetApiRev, with something in every out field. */
static void good_command(struct azihsm_cp_cmd *cmd, struct guarded *src,
			 struct guarded *dst)
{
	memcpy(src->p, api_rev_request, sizeof(api_rev_request));
	memset(dst->p, GUARD_FILL, dst->len);
	ddi_cp_init(cmd, AZIHSM_SESSION_NONE, DDI_NO_SESSION, src->p,
		    sizeof(api_rev_request), dst->p, dst->len);
	cmd->hdr.cmd_id = 0x11223344;
	cmd->hdr.timeout = 100;
	cmd->hdr.flags = 0x55667788;
	cmd->in_ctxt = 0x0123456789abcdefULL;
	cmd->psdt = 1;
	cmd->out_ctxt = 0xcccccccccccccccc;
	cmd->status = 0xcccccccc;
	cmd->byte_count = 0xcccccccc;
	cmd->extended_status = 0xcccccccc;
}

/* ALL-5 */
TEST_F(control, round_trip)
{
	struct azihsm_cp_cmd cmd, before;

	good_command(&cmd, &self->src, &self->dst);
	before = cmd;
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(before.in_ctxt, cmd.out_ctxt);
	EXPECT_EQ(0, cmd.status);
	EXPECT_EQ(0, cmd.extended_status);
	EXPECT_EQ(sizeof(api_rev_response), cmd.byte_count);
	EXPECT_EQ(0, memcmp(self->dst.p, api_rev_response,
			    sizeof(api_rev_response)));
	/* What the caller asked is as it was, and nothing else was written. */
	EXPECT_EQ(0, memcmp(&before, &cmd, offsetof(typeof(cmd), out_ctxt)));
	EXPECT_TRUE(all_bytes(self->dst.p + cmd.byte_count, GUARD_FILL,
			      self->dst.len - cmd.byte_count));
	EXPECT_TRUE(guarded_intact(&self->dst));
	EXPECT_TRUE(guarded_intact(&self->src));
}

/* The response is cut to what there is room for. */
TEST_F(control, short_destination)
{
	static const __u32 sizes[] = { 0, 1, 7, 57, 58, 59, 4096 };
	struct azihsm_cp_cmd cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		__u32 want = sizes[i] < 58 ? sizes[i] : 58;

		good_command(&cmd, &self->src, &self->dst);
		cmd.dst_len = sizes[i];
		if (!sizes[i])
			cmd.dst = 0;
		EXPECT_EQ(0, hsm_cp(self->fd, &cmd));
		EXPECT_EQ(0, cmd.status);
		EXPECT_EQ(0, cmd.extended_status);
		EXPECT_EQ(want, cmd.byte_count);
		EXPECT_EQ(0, memcmp(self->dst.p, api_rev_response, want));
		EXPECT_TRUE(all_bytes(self->dst.p + want, GUARD_FILL,
				      self->dst.len - want));
	}
	EXPECT_TRUE(guarded_intact(&self->dst));
}

/* Request and response that share a buffer. */
TEST_F(control, same_buffer)
{
	struct azihsm_cp_cmd cmd;

	good_command(&cmd, &self->src, &self->dst);
	cmd.dst = cmd.src;
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(sizeof(api_rev_response), cmd.byte_count);
	EXPECT_EQ(0, memcmp(self->src.p, api_rev_response,
			    sizeof(api_rev_response)));
}

/* Requests that the device refuses without reading them. */
TEST_F(control, refused_by_device)
{
	static const struct {
		__u32 len;
		__u32 status;
	} cases[] = {
		{ 0, STATUS_SRC_LEN },
		{ DDI_MAX_REQUEST + 1, STATUS_OTHER },
		{ 4096, STATUS_OTHER },
		{ 4097, STATUS_SRC_LEN },
		{ AZIHSM_CP_MAX_LEN, STATUS_SRC_LEN },
	};
	struct azihsm_cp_cmd cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		good_command(&cmd, &self->src, &self->dst);
		cmd.src_len = cases[i].len;
		if (!cmd.src_len)
			cmd.src = 0;
		EXPECT_EQ(0, hsm_cp(self->fd, &cmd));
		EXPECT_EQ(cases[i].status, cmd.status);
		EXPECT_EQ(0, cmd.byte_count);
		EXPECT_EQ(0, cmd.extended_status);
		EXPECT_EQ(cmd.in_ctxt, cmd.out_ctxt);
		EXPECT_TRUE(all_bytes(self->dst.p, GUARD_FILL, self->dst.len));
	}
}

/* Requests that the firmware reads and refuses. */
TEST_F(control, refused_by_firmware)
{
	static const __u8 junk[] = { 0, 1, 2, 3 };
	struct azihsm_cp_cmd cmd;

	good_command(&cmd, &self->src, &self->dst);
	memcpy(self->src.p, junk, sizeof(junk));
	cmd.src_len = sizeof(junk);
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(0, cmd.status);
	ASSERT_EQ(sizeof(decode_failed_response), cmd.byte_count);
	EXPECT_EQ(0, memcmp(self->dst.p, decode_failed_response,
			    sizeof(decode_failed_response)));

	/* GetDeviceInfo, which needs a revision. */
	good_command(&cmd, &self->src, &self->dst);
	self->src.p[10] = DDI_OP_GET_DEVICE_INFO & 0xff;
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(0, cmd.status);
	ASSERT_EQ(sizeof(bad_revision_response), cmd.byte_count);
	EXPECT_EQ(0, memcmp(self->dst.p, bad_revision_response,
			    sizeof(bad_revision_response)));
}

TEST_F(control, firmware_errors)
{
	struct hsm_key key;
	struct ddi_call c;

	/* An operation that does not exist. */
	ddi_begin(&c, 1999, self->s.id, 0);
	EXPECT_EQ(DDI_UNSUPPORTED_CMD, ddi_exec(self->fd, &c));
	/* A field too many, and bytes after the end. */
	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_u8(&c.req, 1);
	EXPECT_EQ(DDI_DECODE_FAILED, ddi_exec(self->fd, &c));
	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	mbor_put_u8(&c.req, 1);
	EXPECT_EQ(DDI_DECODE_FAILED, ddi_exec(self->fd, &c));
	/* Things that do not exist or are not allowed. */
	EXPECT_EQ(DDI_KEY_NOT_FOUND, hsm_delete_key(&self->s, 0x7fff));
	EXPECT_EQ(DDI_INVALID_PERMISSIONS,
		  hsm_generate_key(&self->s, HSM_KEY_AES256, "",
				   HSM_KEY_ENCRYPT, &key));
	/* The session has not suffered. */
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "",
				      HSM_KEY_CIPHER, &key));
	EXPECT_EQ(0, hsm_delete_key(&self->s, key.id));
	EXPECT_EQ(DDI_KEY_NOT_FOUND, hsm_delete_key(&self->s, key.id));
}

/* SES-2: the session kind of the command has to be that of the operation. */
TEST_F(control, wrong_kind)
{
	struct azihsm_cp_cmd cmd;
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	good_command(&cmd, &self->src, &self->dst);
	cmd.session_flags = AZIHSM_SESSION_OPEN;
	ASSERT_EQ(0, hsm_cp(fd, &cmd));
	EXPECT_EQ(0, cmd.status);
	/* An error is shorter than the answer, and opens nothing. */
	EXPECT_EQ(sizeof(decode_failed_response), cmd.byte_count);
	good_command(&cmd, &self->src, &self->dst);
	cmd.session_flags = AZIHSM_SESSION_CLOSE | AZIHSM_SESSION_ID_VALID;
	EXPECT_EQ(-EINVAL, hsm_cp(fd, &cmd));
	EXPECT_EQ(AZIHSM_EXT_NO_SESSION, cmd.extended_status);
	close(fd);
}

/* AES-CBC on the control path: requests and responses of many sizes. */
TEST_F(control, cbc_sizes)
{
	__u8 key_bytes[32];
	struct hsm_key key;

	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "cbc",
				      HSM_KEY_CIPHER, &key));
	hsm_test_key("cbc", key_bytes);
	for (size_t len = 16; len <= 1024; len += 112)
		EXPECT_NO_COMPLAINT(cbc_round_trip(&self->s, key.id, key_bytes,
						   len, len));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
