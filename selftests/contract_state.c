// SPDX-License-Identifier: GPL-2.0
/*
 * What callers see while the controller is being reset, and what becomes of
 * sessions then. The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "lib/harness.h"

#define IN_CTXT		0x0123456789abcdefULL
#define PATIENCE_MS	10000
#define ROUNDS		8

FIXTURE(state) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	pthread_t thread;
	atomic_bool stop;
	bool started;
};

FIXTURE_VARIANT(state) {
	__u32 type;
};

FIXTURE_VARIANT_ADD(state, nssr) {
	.type = AZIHSM_RESET_NSSR,
};

FIXTURE_VARIANT_ADD(state, controller) {
	.type = AZIHSM_RESET_CTRL,
};

FIXTURE_SETUP(state)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(state)
{
	if (self->started) {
		self->stop = true;
		pthread_join(self->thread, NULL);
	}
	close(self->fd);
	EXPECT_AT_REST();
}

static int issue(int fd, unsigned long nr, void *arg)
{
	int ret = ioctl(fd, nr, arg);

	return ret < 0 ? -errno : ret;
}

struct resetter {
	FIXTURE_DATA(state) * self;
	__u32 type;
};

/* Resets again and again. */
static void *reset_all_the_time(void *arg)
{
	const struct resetter *r = arg;

	while (!r->self->stop) {
		hsm_reset(r->self->fd, r->type);
		usleep(500);
	}
	return NULL;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* A command that is wrong in itself, and what it may answer then. */
struct wrong {
	const char *id;
	unsigned long nr;
	int err;
	__u32 ext;
};

union arg {
	__u32 size;
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;
	struct azihsm_dev_info info;
};

/* Issues it: 1 if it was refused as wrong, 2 for recovering, 0 for neither. */
static int issue_wrong(int fd, const struct wrong *w)
{
	union arg arg = { 0 };
	__u32 ext = 0;
	int ret;

	switch (w->nr) {
	case AZIHSM_IOC_CP_CMD:
		arg.cp.hdr.size = sizeof(arg.cp);
		arg.cp.cmdset = 1;
		arg.cp.in_ctxt = IN_CTXT;
		arg.cp.extended_status = 0xcccccccc;
		ret = issue(fd, w->nr, &arg);
		ext = arg.cp.extended_status;
		if (arg.cp.out_ctxt != IN_CTXT)
			return 0;
		break;
	case AZIHSM_IOC_DEV_INFO:
		ret = issue(fd, w->nr, &arg);
		return ret == -w->err ? 1 : ret == -EAGAIN ? 2 : 0;
	default:
		arg.aes.hdr.size = sizeof(arg.aes);
		arg.aes.in_ctxt = IN_CTXT;
		arg.aes.extended_status = 0xcccccccc;
		ret = issue(fd, w->nr, &arg);
		ext = arg.aes.extended_status;
		if (arg.aes.out_ctxt != IN_CTXT)
			return 0;
		break;
	}
	if (ret == -w->err && ext == w->ext)
		return 1;
	return ret == -EAGAIN && ext == AZIHSM_EXT_ABORT_IN_PROGRESS ? 2 : 0;
}

/* That the controller is being reset counts before what is wrong. */
TEST_F(state, recovering_comes_first)
{
	static const struct wrong wrongs[] = {
		{ "CP-6", AZIHSM_IOC_CP_CMD, EINVAL, AZIHSM_EXT_CMDSET },
		{ "FP-6", AZIHSM_IOC_AES_GCM, EINVAL,
		  AZIHSM_EXT_AES_NO_SESSION },
		{ "FP-6", AZIHSM_IOC_AES_XTS, EINVAL,
		  AZIHSM_EXT_AES_NO_SESSION },
		{ "INFO-3", AZIHSM_IOC_DEV_INFO, EINVAL, 0 },
	};
	struct resetter resetter = { self, variant->type };
	int other = hsm_open();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, reset_all_the_time,
				    &resetter));
	self->started = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(wrongs); i++) {
		long long end = now_ms() + PATIENCE_MS;
		unsigned int seen[3] = { 0 };

		while (!seen[0] && (seen[1] < 5 || seen[2] < 5) &&
		       now_ms() < end)
			seen[issue_wrong(other, &wrongs[i])]++;
		EXPECT_TRUE(!seen[0] && seen[1] && seen[2]) {
			TH_LOG("%s, row %u: %u refused, %u recovering, %u not right",
			       wrongs[i].id, i, seen[1], seen[2], seen[0]);
		}
	}
}

/* RESET-7: another reset is in progress. */
TEST_F(state, one_reset_at_a_time)
{
	struct resetter resetter = { self, variant->type };
	long long end = now_ms() + PATIENCE_MS;
	unsigned int refused = 0, done = 0;

	ASSERT_EQ(0, pthread_create(&self->thread, NULL, reset_all_the_time,
				    &resetter));
	self->started = true;
	while ((!refused || !done) && now_ms() < end) {
		struct azihsm_reset reset = {
			.hdr.size = sizeof(reset),
			.abort_type = variant->type,
			.abort_sts = 0xcccccccc,
		};
		int ret = issue(self->fd, AZIHSM_IOC_RESET, &reset);

		if (!ret && reset.abort_sts == AZIHSM_RESET_OK) {
			done++;
		} else {
			EXPECT_EQ(-EINVAL, ret);
			EXPECT_EQ(AZIHSM_RESET_IN_PROGRESS, reset.abort_sts);
			refused++;
		}
	}
	EXPECT_LT(0, refused);
	EXPECT_LT(0, done);
}

/* Resets once. */
static void *reset_once(void *arg)
{
	const struct resetter *r = arg;

	return hsm_reset(r->self->fd, r->type) ? "failed" : NULL;
}

static bool is_recovering(int fd)
{
	struct azihsm_dev_info info;

	return hsm_dev_info(fd, &info) == -EAGAIN;
}

/* SES-10: the file of a session is closed in the middle of a reset. */
TEST_F(state, closed_during_reset)
{
	struct resetter resetter = { self, variant->type };
	unsigned int hit = 0;

	for (int round = 0; round < ROUNDS; round++) {
		int fd = hsm_open();
		void *why;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_open_session(fd, &self->s));
		/* The one of the round before is gone. */
		EXPECT_EQ(0, self->s.id);
		ASSERT_EQ(0, pthread_create(&self->thread, NULL, reset_once,
					    &resetter));
		for (int i = 0; i < 100000; i++) {
			if (is_recovering(self->fd)) {
				hit++;
				break;
			}
		}
		close(fd);
		ASSERT_EQ(0, pthread_join(self->thread, &why));
		ASSERT_EQ(NULL, why);
		ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	}
	EXPECT_LT(0, hit);
}

/* SES-7: the session of a file that is open survives, under its id. */
TEST_F(state, session_survives)
{
	struct hsm_session other;
	struct hsm_key key;
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_open_session(fd, &other));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(1, self->s.id);
	close(fd);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	EXPECT_EQ(DDI_SESSION_NEEDS_RENEGOTIATION,
		  hsm_generate_key(&self->s, HSM_KEY_AES256, "",
				   HSM_KEY_CIPHER, &key));
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	EXPECT_EQ(0, hsm_reopen_session(&self->s));
	EXPECT_EQ(1, self->s.id);
	EXPECT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "",
				      HSM_KEY_CIPHER, &key));
	ASSERT_EQ(0, hsm_reset(self->fd, variant->type));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
