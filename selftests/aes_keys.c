// SPDX-License-Identifier: GPL-2.0
/*
 * AES commands that the device refuses: keys of the wrong kind, that are gone,
 * or somebody else's; lengths that it does not take. The names of the rules
 * are those of Documentation/userspace-api/azihsm.rst.
 */
#include "lib/harness.h"

#define TEXT_LEN	64
#define AAD_LEN		20

FIXTURE(aes_keys) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	struct guarded src, dst;
};

FIXTURE_SETUP(aes_keys)
{
	struct hsm_session *s = &self->s;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, s));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_xts_keys(s, &self->xts1,
					   &self->xts2));
	ASSERT_TRUE(guarded_alloc(&self->src, 65536, 0));
	ASSERT_TRUE(guarded_alloc(&self->dst, 65536, 0));
}

FIXTURE_TEARDOWN(aes_keys)
{
	EXPECT_TRUE(guarded_intact(&self->dst));
	guarded_free(&self->src);
	guarded_free(&self->dst);
	EXPECT_AT_REST();
}

/* Commands that work, with something in every out field. */
static void poison_out(struct azihsm_aes *cmd)
{
	memset(&cmd->out_ctxt, 0xcc,
	       sizeof(*cmd) - offsetof(typeof(*cmd), out_ctxt));
}

static void good_gcm(FIXTURE_DATA(aes_keys) * self, struct azihsm_aes *cmd)
{
	gcm_init(cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, AAD_LEN,
		 self->src.p, self->dst.p, gcm_padded_len(AAD_LEN) + TEXT_LEN);
	poison_out(cmd);
}

static void good_xts(FIXTURE_DATA(aes_keys) * self, struct azihsm_aes *cmd)
{
	xts_init(cmd, &self->s, AZIHSM_AES_ENCRYPT, self->xts1.bulk_id,
		 self->xts2.bulk_id, 0, 0, self->src.p, self->dst.p, TEXT_LEN);
	poison_out(cmd);
}

/* A failure at the device: the ioctl succeeds, the command does not. */
#define EXPECT_DEVICE_ERROR(result_, code_, ret_, cmd_) do {		\
	const struct azihsm_aes *c_ = (cmd_);				\
									\
	EXPECT_EQ(0, ret_);						\
	EXPECT_EQ(result_, c_->result);					\
	EXPECT_EQ(code_, c_->extended_status);				\
	EXPECT_EQ(0, c_->byte_count);					\
} while (0)

/* KEY-1 */
TEST_F(aes_keys, wrong_kind)
{
	struct azihsm_aes cmd;
	struct hsm_key same;

	good_gcm(self, &cmd);
	cmd.gcm.key_id = self->xts1.bulk_id;
	EXPECT_DEVICE_ERROR(FP_INVALID_GCM, GCM_KEY_TYPE,
			    hsm_gcm(self->fd, &cmd), &cmd);
	good_xts(self, &cmd);
	cmd.xts.key_id2 = self->gcm.bulk_id;
	EXPECT_DEVICE_ERROR(FP_INVALID_XTS, XTS_KEY2_TYPE,
			    hsm_xts(self->fd, &cmd), &cmd);
	good_xts(self, &cmd);
	cmd.xts.key_id2 = cmd.xts.key_id1;
	EXPECT_DEVICE_ERROR(FP_INVALID_XTS, XTS_SAME_ID,
			    hsm_xts(self->fd, &cmd), &cmd);
	/* Another key with the same bytes. */
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_XTS, "data",
				      HSM_KEY_CIPHER, &same));
	good_xts(self, &cmd);
	cmd.xts.key_id2 = same.bulk_id;
	EXPECT_DEVICE_ERROR(FP_INVALID_XTS, XTS_SAME_KEY,
			    hsm_xts(self->fd, &cmd), &cmd);
	/* A key that cannot be one. */
	good_gcm(self, &cmd);
	cmd.gcm.key_id = 0x3ff;
	EXPECT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(FP_INVALID_GCM, cmd.result);
	EXPECT_EQ(0, cmd.byte_count);
}

/* XTS-3: a length that is no multiple of a block is the device's to refuse. */
TEST_F(aes_keys, xts_length)
{
	struct azihsm_aes cmd;

	good_xts(self, &cmd);
	cmd.src_len = 17;
	cmd.dst_len = 17;
	EXPECT_DEVICE_ERROR(FP_INVALID_XTS, XTS_LENGTH,
			    hsm_xts(self->fd, &cmd), &cmd);
	EXPECT_TRUE(all_bytes(self->dst.p, GUARD_FILL, self->dst.len));
}

/* KEY-2 */
TEST_F(aes_keys, deleted)
{
	struct azihsm_aes cmd;

	ASSERT_EQ(0, hsm_delete_key(&self->s, self->gcm.id));
	good_gcm(self, &cmd);
	EXPECT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(FP_INVALID_GCM, cmd.result);
	EXPECT_TRUE(cmd.extended_status == GCM_KEY_INDEX ||
		    cmd.extended_status == GCM_KEY_NOT_OWNED);
	EXPECT_EQ(0, cmd.byte_count);

	ASSERT_EQ(0, hsm_delete_key(&self->s, self->xts1.id));
	good_xts(self, &cmd);
	EXPECT_EQ(0, hsm_xts(self->fd, &cmd));
	EXPECT_EQ(FP_INVALID_XTS, cmd.result);
	EXPECT_NE(0, cmd.extended_status);
	EXPECT_EQ(0, cmd.byte_count);
	EXPECT_TRUE(all_bytes(self->dst.p, GUARD_FILL, self->dst.len));
}

/* KEY-3: an application's keys serve all its sessions, a session's only that. */
TEST_F(aes_keys, of_another_session)
{
	struct hsm_session other;
	struct azihsm_aes cmd;
	struct hsm_key own;
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_open_session(fd, &other));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "own",
				      HSM_KEY_CIPHER | HSM_KEY_SESSION_ONLY,
				      &own));
	good_gcm(self, &cmd);
	cmd.session_id = other.id;
	EXPECT_EQ(0, hsm_gcm(fd, &cmd));
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(96, cmd.byte_count);

	good_gcm(self, &cmd);
	cmd.gcm.key_id = own.bulk_id;
	EXPECT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(0, cmd.result);
	cmd.session_id = other.id;
	poison_out(&cmd);
	EXPECT_DEVICE_ERROR(FP_INVALID_GCM, GCM_KEY_SESSION,
			    hsm_gcm(fd, &cmd), &cmd);
	close(fd);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
