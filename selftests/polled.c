// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that raise no interrupts (the module parameter poll_queues), when the
 * device fails: they stay what they are, and nobody looks for completions where
 * none can come.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/fault.h"
#include "lib/flight.h"
#include "lib/harness.h"
#include "lib/rungs.h"

/* Longest wait for an end of a command, in seconds. */
#define PATIENCE	30
/* How long workers are watched, in seconds. */
#define WATCHED		2
/*
 * How often they may run more than usual in this time: a quarter of what one that
 * runs in every jiffy does, of 10 ms at most.
 */
#define MORE_RUNS	(WATCHED * 100 / 4)

FIXTURE(polled) {
	int fd;
	char address[64];
	struct azihsm_query query;
	struct hsm_partition part;
};

FIXTURE_SETUP(polled)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(fault_clear());
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_query(self->fd, &self->query));
	if (!self->query.fp_queues_polled)
		SKIP(return, "all queues raise interrupts");
}

FIXTURE_TEARDOWN(polled)
{
	if (!emulator_present())
		return;
	EXPECT_TRUE(fault_clear());
	close(self->fd);
	EXPECT_NO_COMPLAINT(hsm_revive(self->address));
	EXPECT_AT_REST();
}

/* A command of such a queue is lost, and the queue is made anew. */
TEST_F_TIMEOUT(polled, queue_is_reset, 60)
{
	static const int none[] = { 0 };
	static __u8 text[64], sealed[64];
	struct azihsm_query query;
	struct azihsm_aes cmd;
	struct ring_done done;
	struct flight f;

	ASSERT_EQ(0, flight_prepare(&f, self->fd, IORING_SETUP_CQE32 |
				    IORING_SETUP_IOPOLL));
	gcm_init(&cmd, &f.s, AZIHSM_AES_ENCRYPT, f.gcm.bulk_id, 0, text, sealed,
		 sizeof(text));
	ASSERT_LE(0, fault_arm(ONE_OF("fp", IGNORE)));
	ring_put_aes(&f.ring, &cmd, self->fd, NULL, 0);
	ASSERT_EQ(0, ring_wait(&f.ring, &done, PATIENCE));
	EXPECT_EQ(-EAGAIN, done.res);

	ASSERT_EQ(0, hsm_query(self->fd, &query));
	EXPECT_EQ(self->query.fp_queues_polled, query.fp_queues_polled);
	ASSERT_EQ(0, flight_start(&f, self->fd));
	EXPECT_NO_COMPLAINT(flight_land(&f, none, PATIENCE));
	io_uring_queue_exit(&f.ring);
}

/* How often a process has gone to sleep if it is a worker of no processor's. */
static long worker_sleeps(const char *pid)
{
	static const char field[] = "\nvoluntary_ctxt_switches:";
	char path[64], status[4096];
	const char *found;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.16s/status", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	len = fread(status, 1, sizeof(status) - 1, f);
	fclose(f);
	status[len] = 0;
	found = strstr(status, field);
	if (!found || strncmp(status, "Name:\tkworker/u", 15))
		return 0;
	return atol(found + sizeof(field) - 1);
}

/* How often workers run while nothing is to be done. */
static long idle_runs(void)
{
	long sleeps[2];

	for (int i = 0; i < 2; i++) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;

		if (i)
			sleep(WATCHED);
		sleeps[i] = 0;
		while (dir && (entry = readdir(dir)))
			if (isdigit(entry->d_name[0]))
				sleeps[i] += worker_sleeps(entry->d_name);
		if (dir)
			closedir(dir);
	}
	return sleeps[1] - sleeps[0];
}

TEST_F_TIMEOUT(polled, controller_is_given_up, 60)
{
	long usual = idle_runs(), dead;

	ASSERT_NO_COMPLAINT(controller_give_up(self->fd));
	dead = idle_runs();
	EXPECT_GE(usual + MORE_RUNS, dead);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
