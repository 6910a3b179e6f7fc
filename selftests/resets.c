// SPDX-License-Identifier: GPL-2.0
/*
 * Resets over and over against everybody: 32 threads with commands on both
 * paths, others that open, use and close files, and calls of the management node
 * where there is one: the device is a virtual function then.
 */
#include "lib/aes.h"
#include "lib/busy.h"
#include "lib/harness.h"
#include "lib/pf.h"

#define SECONDS		6
/* So many resets at least, after as long as this at most, in milliseconds. */
#define RESETS		7
#define RESETS_MS	60000
#define RESETTERS	3
#define OPENERS		4
#define MANAGERS	2
/* Longest that a command may take: no rung of recovery is needed. */
#define COMMAND_MS	10000
#define RESOURCES	4

FIXTURE(resets) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
};

static atomic_bool stop;
static atomic_uint resets, opens, calls;

FIXTURE_SETUP(resets)
{
	if (pf_mgmt_name()) {
		ASSERT_EQ(0, pf_set_vfs(1));
		ASSERT_EQ(0, vf_use(0));
		ASSERT_EQ(0, vf_give(0, RESOURCES));
	}
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "key",
				      HSM_KEY_CIPHER, &self->key));
}

FIXTURE_TEARDOWN(resets)
{
	close(self->fd);
	EXPECT_AT_REST();
	if (pf_mgmt_name())
		EXPECT_EQ(0, pf_set_vfs(0));
}

static void *reset_all_the_time(void *arg)
{
	__u32 type = AZIHSM_RESET_NSSR;
	int fd = hsm_open();
	long wrong = 0;

	while (!stop && !wrong) {
		int ret = hsm_reset(fd, type);

		resets += !ret;
		/* -EINVAL: another reset is in progress. */
		if (ret && ret != -EINVAL)
			wrong = ret;
		type = type == AZIHSM_RESET_NSSR ? AZIHSM_RESET_CTRL :
						   AZIHSM_RESET_NSSR;
		usleep(20000);
	}
	close(fd);
	return (void *)wrong;
}

/* What comes of the session does not matter: it has to be gone in the end. */
static void *open_all_the_time(void *arg)
{
	long wrong = 0;

	while (!stop && !wrong) {
		struct hsm_session s;
		int fd = hsm_open();

		if (fd < 0) {
			wrong = fd;
			break;
		}
		hsm_open_session(fd, &s);
		close(fd);
		opens++;
	}
	return (void *)wrong;
}

static void *manage_all_the_time(void *arg)
{
	int fd = pf_mgmt_open();
	long wrong = fd < 0 ? fd : 0;

	while (!stop && !wrong) {
		if (mgmt_get_resources(fd, 0, NULL) != RESOURCES ||
		    mgmt_vf_count(fd) != 1)
			wrong = -EPROTO;
		calls++;
	}
	close(fd);
	return (void *)wrong;
}

TEST_F_TIMEOUT(resets, against_everybody, 120)
{
	enum { LOADS = 32 / BUSY_THREADS };
	struct busy busy[LOADS];
	pthread_t threads[RESETTERS + OPENERS + MANAGERS];
	int count = RESETTERS + OPENERS;
	unsigned int done = 0, lost = 0;
	struct hsm_device_info info;

	if (pf_mgmt_name())
		count += MANAGERS;
	for (int i = 0; i < LOADS; i++) {
		memset(&busy[i], 0, sizeof(busy[i]));
		busy[i].s = &self->s;
		busy[i].key = self->key.bulk_id;
		ASSERT_TRUE(busy_start(&busy[i]));
	}
	for (int i = 0; i < count; i++) {
		void *(*what)(void *arg) =
			i < RESETTERS ? reset_all_the_time :
			i < RESETTERS + OPENERS ? open_all_the_time :
						  manage_all_the_time;

		ASSERT_EQ(0, pthread_create(&threads[i], NULL, what, NULL));
	}
	sleep(SECONDS);
	/* Where all is slow, until there have been some. */
	for (int ms = 0; ms < RESETS_MS && resets < RESETS; ms++)
		usleep(1000);
	stop = true;
	for (int i = 0; i < count; i++) {
		void *wrong;

		ASSERT_EQ(0, pthread_join(threads[i], &wrong));
		EXPECT_EQ(NULL, wrong) {
			TH_LOG("thread %d: %ld", i, (long)wrong);
		}
	}
	for (int i = 0; i < LOADS; i++) {
		EXPECT_TRUE(busy_progress(&busy[i], 20));
		EXPECT_NO_COMPLAINT(busy_stop(&busy[i]));
		EXPECT_GT(COMMAND_MS, busy[i].longest_ms);
		done += busy[i].done;
		lost += busy[i].lost;
	}
	TH_LOG("%u resets, %u commands done, %u lost, %u opens, %u calls",
	       resets, done, lost, opens, calls);
	EXPECT_LE(RESETS, resets);
	EXPECT_LT(0, opens);
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	/* The session of the file survived them all. */
	ASSERT_EQ(0, hsm_establish(self->fd, &self->part));
	EXPECT_EQ(0, hsm_reopen_session(&self->s));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

int main(int argc, char **argv)
{
	if (!pf_mgmt_name())
		skip_without_device();
	return test_harness_run(argc, argv);
}
