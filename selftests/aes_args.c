// SPDX-License-Identifier: GPL-2.0
/*
 * Fast-path commands that have to fail: arguments that the driver refuses,
 * addresses that fault, keys that the device refuses.
 */
#include <sys/mman.h>

#include "lib/harness.h"

/* An address that no process may use. */
#define KERNEL_ADDRESS	0xffff888000000000ULL

#define TEXT_LEN	64
#define AAD_LEN		20

FIXTURE(aes_args) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	struct guarded src, dst;
};

FIXTURE_SETUP(aes_args)
{
	struct hsm_session *s = &self->s;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, s));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_XTS, "data", HSM_KEY_CIPHER,
				      &self->xts1));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_XTS, "tweak", HSM_KEY_CIPHER,
				      &self->xts2));
	ASSERT_TRUE(guarded_alloc(&self->src, 65536, 0));
	ASSERT_TRUE(guarded_alloc(&self->dst, 65536, 0));
}

FIXTURE_TEARDOWN(aes_args)
{
	close(self->fd);
	guarded_free(&self->src);
	guarded_free(&self->dst);
}

/* Commands that work, with something in every out field. */
static void poison_out(struct azihsm_aes *cmd)
{
	memset(&cmd->out_ctxt, 0xcc,
	       sizeof(*cmd) - offsetof(typeof(*cmd), out_ctxt));
}

static void good_gcm(FIXTURE_DATA(aes_args) * self, struct azihsm_aes *cmd)
{
	gcm_init(cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, AAD_LEN,
		 self->src.p, self->dst.p, gcm_padded_len(AAD_LEN) + TEXT_LEN);
	poison_out(cmd);
}

static void good_xts(FIXTURE_DATA(aes_args) * self, struct azihsm_aes *cmd)
{
	xts_init(cmd, &self->s, AZIHSM_AES_ENCRYPT, self->xts1.bulk_id,
		 self->xts2.bulk_id, 0, 0, self->src.p, self->dst.p, TEXT_LEN);
	poison_out(cmd);
}

enum field {
	OP,
	CIPHER,
	SRC,
	SRC_LEN,
	DST,
	DST_LEN,
	FRAME_TYPE,
	SESSION_ID,
	SHORT_APP_ID,
	AAD_LENGTH,
	PADDED_AAD,
	DATA_UNIT,
};

static void change(struct azihsm_aes *cmd, enum field field, __u64 value)
{
	switch (field) {
	case OP:
		cmd->op = value;
		break;
	case CIPHER:
		cmd->cipher = value;
		break;
	case SRC:
		cmd->src = value;
		break;
	case SRC_LEN:
		cmd->src_len = value;
		break;
	case DST:
		cmd->dst = value;
		break;
	case DST_LEN:
		cmd->dst_len = value;
		break;
	case FRAME_TYPE:
		cmd->frame_type = value;
		break;
	case SESSION_ID:
		cmd->session_id = value;
		break;
	case SHORT_APP_ID:
		cmd->short_app_id = value;
		break;
	case AAD_LENGTH:
		cmd->gcm.aad_len = value;
		break;
	case PADDED_AAD:
		cmd->gcm.padded_aad_len = value;
		break;
	case DATA_UNIT:
		cmd->xts.data_unit = value;
		break;
	}
}

struct row {
	enum field field;
	__u64 value;
	__u32 ext;
};

/* What must hold after a refusal: all out fields written, no data. */
#define EXPECT_REFUSED(ext_, cmd_) do {					\
	const struct azihsm_aes *c_ = (cmd_);				\
									\
	EXPECT_EQ(ext_, c_->extended_status);				\
	EXPECT_EQ(0, c_->result);					\
	EXPECT_EQ(0, c_->byte_count);					\
	EXPECT_EQ(0, c_->fips_approved);				\
	EXPECT_TRUE(all_bytes(c_->tag, 0, 16));				\
	EXPECT_TRUE(all_bytes(c_->iv, 0, 12));				\
	EXPECT_NE(0xcccccccccccccccc, c_->out_ctxt);			\
	EXPECT_TRUE(all_bytes(self->dst.p, GUARD_FILL, self->dst.len));	\
} while (0)

/* Both ciphers have these. */
static const struct row common_rows[] = {
	{ OP, 2, AZIHSM_EXT_AES_OP },
	{ OP, 0xff, AZIHSM_EXT_AES_OP },
	{ CIPHER, 2, AZIHSM_EXT_AES_CIPHER },
	{ SESSION_ID, 1, AZIHSM_EXT_AES_SESSION_ID },
	{ SESSION_ID, 0xffff, AZIHSM_EXT_AES_SESSION_ID },
	{ SHORT_APP_ID, 0xff, AZIHSM_EXT_AES_SHORT_APP_ID },
	{ FRAME_TYPE, 0, AZIHSM_EXT_AES_FRAME_TYPE },
	{ FRAME_TYPE, 2, AZIHSM_EXT_AES_FRAME_TYPE },
	{ SRC, 0, AZIHSM_EXT_AES_SRC },
	{ SRC, KERNEL_ADDRESS, AZIHSM_EXT_AES_SRC },
	{ DST, 0, AZIHSM_EXT_AES_DST },
	{ DST, KERNEL_ADDRESS, AZIHSM_EXT_AES_DST },
};

TEST_F(aes_args, gcm_refused)
{
	static const struct row rows[] = {
		{ CIPHER, AZIHSM_AES_XTS, AZIHSM_EXT_AES_CIPHER },
		{ SRC_LEN, 0, AZIHSM_EXT_AES_GCM },
		{ SRC_LEN, AAD_LEN, AZIHSM_EXT_AES_GCM },
		{ AAD_LENGTH, 96, AZIHSM_EXT_AES_GCM },
		{ AAD_LENGTH, 0xffffffff, AZIHSM_EXT_AES_GCM },
		{ AAD_LENGTH, 33, AZIHSM_EXT_AES_GCM },
		{ PADDED_AAD, 0, AZIHSM_EXT_AES_GCM },
		{ PADDED_AAD, 33, AZIHSM_EXT_AES_GCM },
		{ PADDED_AAD, 0xffffffe0, AZIHSM_EXT_AES_GCM },
		{ DST_LEN, 0, AZIHSM_EXT_AES_GCM },
		/* Room for the text, but not for the AAD in front of it. */
		{ DST_LEN, 32 + TEXT_LEN - 1, AZIHSM_EXT_AES_GCM },
	};
	struct azihsm_aes cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		good_gcm(self, &cmd);
		change(&cmd, rows[i].field, rows[i].value);
		EXPECT_EQ(-EINVAL, hsm_gcm(self->fd, &cmd)) {
			TH_LOG("row %u", i);
		}
		EXPECT_REFUSED(rows[i].ext, &cmd);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(common_rows); i++) {
		good_gcm(self, &cmd);
		change(&cmd, common_rows[i].field, common_rows[i].value);
		EXPECT_EQ(-EINVAL, hsm_gcm(self->fd, &cmd)) {
			TH_LOG("common row %u", i);
		}
		EXPECT_REFUSED(common_rows[i].ext, &cmd);
	}
	good_gcm(self, &cmd);
	EXPECT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(0, cmd.extended_status);
}

TEST_F(aes_args, xts_refused)
{
	static const struct row rows[] = {
		{ CIPHER, AZIHSM_AES_GCM, AZIHSM_EXT_AES_CIPHER },
		{ SRC_LEN, 0, AZIHSM_EXT_AES_XTS },
		{ DST_LEN, 0, AZIHSM_EXT_AES_XTS },
		{ DST_LEN, TEXT_LEN - 1, AZIHSM_EXT_AES_XTS },
		{ DATA_UNIT, 4, AZIHSM_EXT_AES_XTS },
		{ DATA_UNIT, 0xffff, AZIHSM_EXT_AES_XTS },
		/* Not a multiple of the unit. */
		{ DATA_UNIT, AZIHSM_XTS_UNIT_512, AZIHSM_EXT_AES_XTS },
	};
	struct azihsm_aes cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		good_xts(self, &cmd);
		change(&cmd, rows[i].field, rows[i].value);
		EXPECT_EQ(-EINVAL, hsm_xts(self->fd, &cmd)) {
			TH_LOG("row %u", i);
		}
		EXPECT_REFUSED(rows[i].ext, &cmd);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(common_rows); i++) {
		good_xts(self, &cmd);
		change(&cmd, common_rows[i].field, common_rows[i].value);
		EXPECT_EQ(-EINVAL, hsm_xts(self->fd, &cmd)) {
			TH_LOG("common row %u", i);
		}
		EXPECT_REFUSED(common_rows[i].ext, &cmd);
	}
	good_xts(self, &cmd);
	EXPECT_EQ(0, hsm_xts(self->fd, &cmd));
	EXPECT_EQ(0, cmd.extended_status);
}

TEST_F(aes_args, no_session)
{
	struct azihsm_aes cmd;
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	good_gcm(self, &cmd);
	EXPECT_EQ(-EINVAL, hsm_gcm(fd, &cmd));
	EXPECT_REFUSED(AZIHSM_EXT_AES_NO_SESSION, &cmd);
	good_xts(self, &cmd);
	EXPECT_EQ(-EINVAL, hsm_xts(fd, &cmd));
	EXPECT_REFUSED(AZIHSM_EXT_AES_NO_SESSION, &cmd);
	close(fd);
}

TEST_F(aes_args, structure)
{
	struct azihsm_aes cmd, before;

	EXPECT_EQ(-EFAULT, hsm_gcm(self->fd, NULL));
	EXPECT_EQ(-EFAULT, hsm_xts(self->fd, (void *)8));
	good_gcm(self, &cmd);
	cmd.hdr.size = sizeof(cmd) - 1;
	before = cmd;
	EXPECT_EQ(-EINVAL, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(0, memcmp(&before, &cmd, sizeof(cmd)));
	good_gcm(self, &cmd);
	cmd.hdr.size = sizeof(cmd) + 100;
	EXPECT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(0, cmd.extended_status);
}

/* Ranges with a hole: small enough to be copied, and large enough for more. */
TEST_F(aes_args, faults)
{
	static const size_t sizes[] = { 8192, 65536 };
	__u8 *hole, *fixed;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];
		struct azihsm_aes cmd;

		hole = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, hole);
		ASSERT_EQ(0, munmap(hole + len - 4096, 4096));
		fixed = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
		ASSERT_NE(MAP_FAILED, fixed);

		good_xts(self, &cmd);
		cmd.src_len = len;
		cmd.dst_len = len;
		cmd.src = (unsigned long)hole;
		EXPECT_EQ(-EFAULT, hsm_xts(self->fd, &cmd));
		EXPECT_REFUSED(AZIHSM_EXT_AES_NO_MEMORY, &cmd);

		cmd.src = (unsigned long)self->src.p;
		cmd.dst = (unsigned long)hole;
		poison_out(&cmd);
		EXPECT_EQ(-EFAULT, hsm_xts(self->fd, &cmd));
		EXPECT_REFUSED(AZIHSM_EXT_AES_NO_MEMORY, &cmd);

		cmd.dst = (unsigned long)fixed;
		poison_out(&cmd);
		EXPECT_EQ(-EFAULT, hsm_xts(self->fd, &cmd));
		EXPECT_REFUSED(AZIHSM_EXT_AES_NO_MEMORY, &cmd);
		EXPECT_TRUE(all_bytes(fixed, 0, len));

		/* Read-only is good enough for a source. */
		cmd.src = (unsigned long)fixed;
		cmd.dst = (unsigned long)self->dst.p;
		EXPECT_EQ(0, hsm_xts(self->fd, &cmd));
		EXPECT_EQ(0, cmd.extended_status);
		EXPECT_EQ(len, cmd.byte_count);
		memset(self->dst.p, GUARD_FILL, self->dst.len);
		munmap(hole, len - 4096);
		munmap(fixed, len);
	}
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

TEST_F(aes_args, keys_of_the_wrong_kind)
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

/* A length that is no multiple of a block is the device's to refuse. */
TEST_F(aes_args, xts_length)
{
	struct azihsm_aes cmd;

	good_xts(self, &cmd);
	cmd.src_len = 17;
	cmd.dst_len = 17;
	EXPECT_DEVICE_ERROR(FP_INVALID_XTS, XTS_LENGTH,
			    hsm_xts(self->fd, &cmd), &cmd);
	EXPECT_TRUE(all_bytes(self->dst.p, GUARD_FILL, self->dst.len));
}

TEST_F(aes_args, deleted_keys)
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

/* An application's keys serve all its sessions, a session's only that one. */
TEST_F(aes_args, keys_of_another_session)
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
