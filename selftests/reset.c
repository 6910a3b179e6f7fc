// SPDX-License-Identifier: GPL-2.0
/*
 * Reset of the device on request, and what a client has afterwards: its
 * session by id, none of its keys.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/roundtrip.h"

FIXTURE(reset) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
};

FIXTURE_VARIANT(reset) {
	__u32 type;
};

FIXTURE_VARIANT_ADD(reset, nssr) {
	.type = AZIHSM_RESET_NSSR,
};

FIXTURE_VARIANT_ADD(reset, controller) {
	.type = AZIHSM_RESET_CTRL,
};

FIXTURE_SETUP(reset)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "old",
				      HSM_KEY_CIPHER, &self->key));
}

FIXTURE_TEARDOWN(reset)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* A small encryption with the key; the ioctl's and the device's status. */
static int use_key(const struct hsm_session *s, __u32 key,
		   struct azihsm_aes *cmd)
{
	static __u8 text[64], out[64];

	gcm_init(cmd, s, AZIHSM_AES_ENCRYPT, key, 0, text, out, sizeof(text));
	return hsm_gcm(s->fd, cmd);
}

/* SES-7 */
TEST_F(reset, close_old_session)
{
	struct hsm_key key;

	ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	/* Known to the file and to the device, but of no use. */
	EXPECT_EQ(DDI_SESSION_NEEDS_RENEGOTIATION,
		  hsm_generate_key(&self->s, HSM_KEY_GCM, "", HSM_KEY_CIPHER,
				   &key));
	EXPECT_EQ(0, hsm_close_session(&self->s));
	EXPECT_EQ(-EINVAL, hsm_close_session(&self->s));

	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
}

/* SES-7, KEY-2 */
TEST_F(reset, reopen_old_session)
{
	struct azihsm_aes cmd;
	struct hsm_key key;

	ASSERT_EQ(0, use_key(&self->s, self->key.bulk_id, &cmd));
	ASSERT_EQ(0, cmd.result);
	ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	ASSERT_EQ(0, hsm_reopen_session(&self->s));

	/* The same id on the same file, and none of the keys. */
	EXPECT_EQ(0, use_key(&self->s, self->key.bulk_id, &cmd));
	EXPECT_EQ(FP_INVALID_GCM, cmd.result);
	EXPECT_EQ(0, cmd.byte_count);
	EXPECT_EQ(DDI_KEY_NOT_FOUND, hsm_delete_key(&self->s, self->key.id));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "new",
				      HSM_KEY_CIPHER, &key));
	EXPECT_EQ(0, use_key(&self->s, key.bulk_id, &cmd));
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(sizeof(__u8[64]), cmd.byte_count);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* SES-8: closing the file frees a session that nobody reopened. */
TEST_F(reset, close_file_after)
{
	struct hsm_session s;

	ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	close(self->fd);
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	for (int i = 0; i < HSM_SESSIONS; i++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_open_session(fd, &s));
		EXPECT_EQ(i, s.id);
	}
}

/* The credential is gone, what the partition is made of is not. */
TEST_F(reset, needs_credential)
{
	struct hsm_session s;
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	EXPECT_EQ(DDI_CREDENTIALS_NOT_ESTABLISHED, hsm_open_session(fd, &s));
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	EXPECT_EQ(0, hsm_open_session(fd, &s));
	close(fd);
}

TEST_F(reset, again_and_again)
{
	struct hsm_device_info info;

	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
		ASSERT_EQ(0, hsm_get_device_info(self->fd, &info));
	}
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	ASSERT_EQ(0, hsm_reopen_session(&self->s));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* The device sees what was asked for. */
TEST_F(reset, of_what_was_asked_for)
{
	long long before;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	before = emulator_stat("subsystem_resets");
	ASSERT_LE(0, before);
	for (int i = 1; i <= 3; i++) {
		ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
		EXPECT_EQ(variant->type == AZIHSM_RESET_NSSR ? i : 0,
			  emulator_stat("subsystem_resets") - before);
	}
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* A thread with commands in flight all the time. */
struct traffic {
	const struct hsm_session *s;
	__u32 key;
	atomic_bool stop;
	atomic_uint done;
	atomic_uint aborted;
	char why[128];
};

static void *make_traffic(void *arg)
{
	struct traffic *t = arg;

	while (!t->stop) {
		struct azihsm_aes cmd;
		int ret = use_key(t->s, t->key, &cmd);

		if (!ret)
			t->done++;
		else if (ret == -EAGAIN &&
			 (cmd.extended_status == AZIHSM_EXT_ABORTED ||
			  cmd.extended_status == AZIHSM_EXT_ABORT_IN_PROGRESS))
			t->aborted++;
		else if (!atomic_exchange(&t->stop, true))
			snprintf(t->why, sizeof(t->why), "%d, status %#x", ret,
				 cmd.extended_status);
	}
	return NULL;
}

/* FP-23: commands during a reset end, with a result or with EAGAIN. */
TEST_F(reset, under_load)
{
	struct traffic t = { .s = &self->s, .key = self->key.bulk_id };
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, make_traffic,
					    &t));
	for (int i = 0; i < 3; i++) {
		usleep(30000);
		EXPECT_EQ(0, hsm_reset(self->fd, variant->type));
	}
	t.stop = true;
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_STREQ("", t.why);
	EXPECT_LT(0, t.done);
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	EXPECT_EQ(0, hsm_reopen_session(&self->s));
}

FIXTURE(reset_args) {
	int fd;
};

FIXTURE_SETUP(reset_args)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(reset_args)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* RESET-5 */
TEST_F(reset_args, refused)
{
	static const __u32 types[] = { 0, 3, 0xffffffff };
	struct azihsm_dev_info before, after;
	struct {
		struct azihsm_reset reset;
		__u8 rest[64];
	} arg, want;

	ASSERT_EQ(0, hsm_dev_info(self->fd, &before));
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
		memset(&arg, 0xcc, sizeof(arg));
		arg.reset.hdr.size = sizeof(arg.reset);
		arg.reset.abort_type = types[i];
		want = arg;
		EXPECT_EQ(-1, ioctl(self->fd, AZIHSM_IOC_RESET, &arg.reset));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(AZIHSM_RESET_BAD_TYPE, arg.reset.abort_sts);
		EXPECT_EQ(0, memcmp(&want, &arg, offsetof(struct azihsm_reset,
							  abort_sts)));
		EXPECT_TRUE(all_bytes(arg.rest, 0xcc, sizeof(arg.rest)));
	}

	/* None of it was a reset: that would have drawn new entropy. */
	ASSERT_EQ(0, hsm_dev_info(self->fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
