// SPDX-License-Identifier: GPL-2.0
/*
 * Commands whose source cannot be read, but whose destination is good: each
 * takes a slot and whatever the destination needs, and gives it back. 10^4 of
 * them, or 10^5 with AZIHSM_SLOW=1.
 */
#include <sys/mman.h>

#include "lib/busy.h"
#include "lib/counters.h"
#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/pages.h"

#define COMMANDS	10000
#define COMMANDS_SLOW	100000
/* One in so many has data that is pinned. */
#define LARGE_EVERY	16
#define SMALL		512
#define LARGE		65536
/* Callers that can be: a queue has fewer than 256 slots, and there are dozens. */
#define CALLERS_MAX	1024
#define STACK		(128 * 1024)
/*
 * How long the device takes for a command, so that others have to be at it at the
 * same time: some less than a command may take.
 */
#define HELD_MS		4000
#define HELD(class)	\
	"{\"class\":\"" class "\",\"what\":{\"delay\":{\"ms\":4000}}}"
/* What other people may have allocated meanwhile, in pages. */
#define OTHERS		512

FIXTURE(bad_pointers) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	__u8 *bad, *dst;
};

FIXTURE_SETUP(bad_pointers)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_XTS, "data",
				      HSM_KEY_CIPHER, &self->xts1));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_XTS, "tweak",
				      HSM_KEY_CIPHER, &self->xts2));
	self->bad = mmap(NULL, LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	self->dst = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->bad);
	ASSERT_NE(MAP_FAILED, self->dst);
}

FIXTURE_TEARDOWN(bad_pointers)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* The @i-th command: what it returned. */
static int bad_command(const struct _test_data_bad_pointers *self,
		       unsigned long i)
{
	size_t len = i % LARGE_EVERY ? SMALL : LARGE;
	struct azihsm_cp_cmd cp;
	struct azihsm_aes cmd;

	switch (i % 3) {
	case 0:
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id,
			 0, self->bad, self->dst, len);
		return hsm_gcm(self->fd, &cmd);
	case 1:
		xts_init(&cmd, &self->s, AZIHSM_AES_DECRYPT,
			 self->xts1.bulk_id, self->xts2.bulk_id, 0, 0,
			 self->bad, self->dst, len);
		return hsm_xts(self->fd, &cmd);
	default:
		ddi_cp_init(&cp, AZIHSM_SESSION_NONE, -1, self->bad, 64,
			    self->dst, AZIHSM_CP_MAX_LEN);
		return hsm_cp(self->fd, &cp);
	}
}

/* Commands at the device, as sysfs shows them. */
static long long pending(void)
{
	return counter_sum("cp_sq", "num_cmds_pending_in_hw") +
	       counter_sum("fp_sq", "num_cmds_pending_in_hw");
}

/* A good command of a thread. */
struct caller {
	pthread_t thread;
	const struct _test_data_bad_pointers *self;
	int (*run)(const struct _test_data_bad_pointers *self);
	int ret;
};

static int good_control(const struct _test_data_bad_pointers *self)
{
	struct hsm_device_info info;

	return hsm_get_device_info(self->fd, &info);
}

static int good_gcm(const struct _test_data_bad_pointers *self)
{
	__u8 text[64] = { 0 }, out[64];
	struct azihsm_aes cmd;

	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0, text,
		 out, sizeof(text));
	return hsm_gcm(self->fd, &cmd) ?: cmd.result;
}

static void *call(void *arg)
{
	struct caller *caller = arg;

	caller->ret = caller->run(caller->self);
	return NULL;
}

/* So many commands at a time as there are slots: all are at the device. */
static const char *all_slots_are_there(const struct _test_data_bad_pointers *self)
{
	static struct caller callers[CALLERS_MAX];
	static char why[128];
	unsigned int control, slots, failed = 0;
	long long end, most = 0;
	struct azihsm_query q;
	pthread_attr_t attr;

	if (hsm_query(self->fd, &q))
		return "the number of slots is not known";
	control = q.cp_queues * (q.cp_ring_entries - 1);
	slots = control + q.fp_queues * (q.fp_ring_entries - 1);
	if (slots > CALLERS_MAX)
		return "there are more slots than there can be callers";
	if (fault_arm(HELD("cp")) < 0 || fault_arm(HELD("fp")) < 0)
		return "the device cannot be slowed down";
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	end = busy_now_ms() + HELD_MS;
	for (unsigned int i = 0; i < slots; i++) {
		callers[i].self = self;
		callers[i].run = i < control ? good_control : good_gcm;
		if (pthread_create(&callers[i].thread, &attr, call,
				   &callers[i]))
			return "too many threads";
	}
	pthread_attr_destroy(&attr);
	while (most < slots && busy_now_ms() < end) {
		long long now = pending();

		if (now > most)
			most = now;
		usleep(10000);
	}
	/* The others take no time. */
	fault_clear();
	for (unsigned int i = 0; i < slots; i++) {
		pthread_join(callers[i].thread, NULL);
		failed += !!callers[i].ret;
	}
	if (most == slots && !failed)
		return NULL;
	snprintf(why, sizeof(why),
		 "%lld of %u commands at a time, %u of them failed", most,
		 slots, failed);
	return why;
}

TEST_F_TIMEOUT(bad_pointers, nothing_is_kept, 600)
{
	unsigned long count = fault_slow() ? COMMANDS_SLOW : COMMANDS;
	struct busy busy = { .s = &self->s, .key = self->gcm.bulk_id };
	long pinned, slab = 0;

	pinned = pages_pinned();
	for (unsigned long i = 0; i < count; i++) {
		ASSERT_EQ(-EFAULT, bad_command(self, i)) {
			TH_LOG("command %lu", i);
		}
		if (i == count / 4)
			slab = page_count("nr_slab_unreclaimable");
	}
	EXPECT_GT(slab + OTHERS, page_count("nr_slab_unreclaimable"));
	EXPECT_GE(0, pages_left(pinned));
	EXPECT_TRUE(all_bytes(self->dst, 0, LARGE));
	EXPECT_EQ(0, pending());

	if (emulator_present())
		EXPECT_NO_COMPLAINT(all_slots_are_there(self));
	/* All of them work, too: more threads than a slot each works with. */
	ASSERT_TRUE(busy_start(&busy));
	EXPECT_TRUE(busy_progress(&busy, 1000));
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	EXPECT_EQ(0, busy.lost);
	EXPECT_GE(0, pages_left(pinned));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
