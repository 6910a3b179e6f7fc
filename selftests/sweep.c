// SPDX-License-Identifier: GPL-2.0
/*
 * Who opens a session when the device may hold some that nobody knows of, and
 * waits until these are flushed. Something comes between.
 */
#include <pthread.h>
#include <stdio.h>

#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/rungs.h"

/* Longest that it takes to let go of the device, besides what it always takes. */
#define GONE_MS		1000
/* How long the queue is in the way. */
#define DELETED_LATE	"2500"
/* Work that is none of the driver's. */
#define OTHER_WORK_MS	200

/* An OpenSession that is prepared, and what became of it. */
struct opener {
	int fd;
	struct hsm_session s;
	struct ddi_call call;
	int ret;
};

FIXTURE(sweep) {
	char address[64];
	struct hsm_partition part;
	struct opener opener;
};

FIXTURE_SETUP(sweep)
{
	int fd;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(fault_clear());
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	fd = hsm_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_provision(fd, &self->part));
	close(fd);
}

FIXTURE_TEARDOWN(sweep)
{
	if (!emulator_present())
		return;
	EXPECT_TRUE(fault_clear());
	close(self->opener.fd);
	EXPECT_NO_COMPLAINT(hsm_revive(self->address));
	EXPECT_AT_REST();
}

static int prepare(struct opener *o)
{
	o->fd = hsm_open();
	return o->fd < 0 ? o->fd : hsm_begin_open(o->fd, &o->s, &o->call);
}

static void *open_session(void *arg)
{
	struct opener *o = arg;

	o->ret = ddi_exec(o->fd, &o->call);
	return NULL;
}

/* The device is as after a reset: the credential is established once more. */
static int establish(struct hsm_partition *part)
{
	int fd = hsm_open(), ret = fd;

	if (fd >= 0) {
		ret = hsm_establish(fd, part);
		close(fd);
	}
	return ret;
}

/* Waits until a fault has hit, if need be one of those that a time-out leads to. */
static bool has_hit(long id)
{
	for (int ms = 0; ms < 2 * TIMEOUT_MS; ms += 20) {
		if (fault_hits(id) > 0)
			return true;
		usleep(20000);
	}
	return false;
}

/*
 * A reset takes the flush, and does not come to its end: nothing can be flushed
 * when the driver is unbound, and nobody waits for that.
 */
TEST_F_TIMEOUT(sweep, unbound, 60)
{
	struct opener *o = &self->opener;
	long long took, usual_ms;
	pthread_t thread;
	long id;

	id = fault_arm(OPCODE("cp", "1", IGNORE));
	ASSERT_LE(0, id);
	usual_ms = hsm_usual_unbind(self->address);
	ASSERT_EQ(0, establish(&self->part));
	ASSERT_EQ(0, prepare(o));
	ASSERT_EQ(0, pthread_create(&thread, NULL, open_session, o));
	ASSERT_TRUE(has_hit(id));
	id = fault_arm(ONCE(MS("ignore-enable", "8000")));
	ASSERT_LE(0, id);
	ASSERT_LE(0, fault_arm(ALWAYS("\"crash\"")));
	ASSERT_TRUE(has_hit(id));

	took = busy_now_ms();
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", self->address));
	took = busy_now_ms() - took;
	EXPECT_GT(GONE_MS + BUSY_TIMES * usual_ms, took);
	pthread_join(thread, NULL);
	EXPECT_EQ(-ENODEV, o->ret);
	EXPECT_EQ(AZIHSM_EXT_NOT_READY, o->call.cmd.extended_status);
}

static void *lose_command(void *arg)
{
	struct hsm_device_info info;
	int fd = hsm_open();

	hsm_get_device_info(fd, &info);
	close(fd);
	return NULL;
}

/*
 * The only queue is being reset, so that nothing can be flushed, if that is still
 * to be done: who opens has nothing to do but to wait, or to come again.
 */
TEST_F_TIMEOUT(sweep, queue_is_reset, 60)
{
	struct opener *o = &self->opener;
	struct azihsm_query q;
	long long took, idle, work;
	pthread_t thread;
	long id;

	hsm_usual_unbind(self->address);
	ASSERT_EQ(0, establish(&self->part));
	ASSERT_EQ(0, prepare(o));
	ASSERT_EQ(0, hsm_query(o->fd, &q));
	if (q.cp_queues != 1)
		SKIP(return, "more than one control queue");
	/* Delete SQ takes long. */
	id = fault_arm(OPCODE("admin", "0", MS("delay", DELETED_LATE)));
	ASSERT_LE(0, id);
	ASSERT_LE(0, fault_arm(ONE_OF("cp", IGNORE)));
	ASSERT_EQ(0, pthread_create(&thread, NULL, lose_command, NULL));
	ASSERT_TRUE(has_hit(id));

	idle = busy_idle_ms();
	took = busy_now_ms();
	open_session(o);
	took = busy_now_ms() - took;
	idle = busy_idle_ms() - idle;
	work = took * sysconf(_SC_NPROCESSORS_ONLN) - idle;
	EXPECT_TRUE(!o->ret || o->ret == -EAGAIN);
	EXPECT_GE(took / BUSY_SHARE + OTHER_WORK_MS, work) {
		TH_LOG("%lld ms of work in %lld ms", work, took);
	}
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	skip_without_device();
	skip_without_unbind();
	return test_harness_run(argc, argv);
}
