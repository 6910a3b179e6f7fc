// SPDX-License-Identifier: GPL-2.0
/*
 * The query ioctl: a structure that grows, and what it says.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/harness.h"

static_assert(sizeof(struct azihsm_query) >= AZIHSM_QUERY_SIZE_VER0);
static_assert(AZIHSM_IOC_QUERY == 0xc0604220);

/* A structure of the future. */
struct future {
	struct azihsm_query known;
	__u8 more[64];
};

FIXTURE(query) {
	int fd;
	struct future q;
};

FIXTURE_SETUP(query)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	memset(&self->q, 0, sizeof(self->q));
	self->q.known.size = sizeof(self->q.known);
}

FIXTURE_TEARDOWN(query)
{
	close(self->fd);
	EXPECT_AT_REST();
}

static int query(int fd, void *q)
{
	return ioctl(fd, AZIHSM_IOC_QUERY, q) ? -errno : 0;
}

TEST_F(query, plausible)
{
	struct azihsm_query *q = &self->q.known;
	struct hsm_device_info device;
	struct azihsm_dev_info info;
	unsigned int major, minor, patch;
	int count;

	ASSERT_EQ(0, query(self->fd, q));
	EXPECT_EQ(sizeof(*q), q->size);
	EXPECT_EQ(0, q->flags);
	EXPECT_EQ(AZIHSM_STATE_READY, q->state);

	ASSERT_EQ(0, hsm_dev_info(self->fd, &info));
	count = sscanf((const char *)info.driver_rev, "%u.%u.%u", &major,
		       &minor, &patch);
	ASSERT_EQ(3, count);
	EXPECT_EQ(major << 16 | minor << 8 | patch, q->driver_version);
	ASSERT_EQ(0, hsm_get_device_info(self->fd, &device));
	EXPECT_EQ(device.tables, q->resources);
	EXPECT_EQ(q->resources, q->cp_queues);
	EXPECT_EQ(2 * q->resources, q->fp_queues);
	EXPECT_EQ(0, q->cp_queues_polled);
	EXPECT_EQ(q->vectors < 17 ? q->fp_queues : 0, q->fp_queues_polled);
	EXPECT_LE(2, q->vectors);
	EXPECT_GE(32, q->vectors);
	EXPECT_LE(2, q->cp_ring_entries);
	EXPECT_GE(256, q->cp_ring_entries);
	EXPECT_LE(2, q->fp_ring_entries);
	EXPECT_GE(256, q->fp_ring_entries);
	EXPECT_EQ(HSM_SESSIONS, q->sessions);
	EXPECT_EQ(AZIHSM_CP_MAX_LEN, q->cp_max_request);
	EXPECT_EQ(AZIHSM_CP_MAX_LEN, q->cp_max_response);
	EXPECT_EQ(0, q->gcm_max_len);
	EXPECT_EQ(16 << 20, q->xts_max_len);
	EXPECT_GE(8192, q->bounce_limit);
	EXPECT_LE(6000, q->command_timeout_ms);
	EXPECT_LT(0, q->recovery_bound_ms);
	EXPECT_TRUE(q->features & AZIHSM_FEATURE_GCM_WORKAROUND);
	EXPECT_TRUE(q->features & AZIHSM_FEATURE_URING);
	if (!(q->features & AZIHSM_FEATURE_SVN))
		EXPECT_EQ(0, q->svn);
}

/* What a caller leaves in fields of the driver does not matter. */
TEST_F(query, output_is_not_read)
{
	struct azihsm_query again;

	ASSERT_EQ(0, query(self->fd, &self->q));
	memset(&again, 0xcc, sizeof(again));
	again.size = sizeof(again);
	again.flags = 0;
	ASSERT_EQ(0, query(self->fd, &again));
	EXPECT_EQ(0, memcmp(&again, &self->q.known, sizeof(again)));
}

/* QUERY-7 */
TEST_F(query, flags)
{
	for (int bit = 0; bit < 32; bit++) {
		self->q.known.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, query(self->fd, &self->q));
	}
	EXPECT_EQ(0, self->q.known.driver_version);
}

/* QUERY-3 */
TEST_F(query, too_small)
{
	for (__u32 size = 0; size < AZIHSM_QUERY_SIZE_VER0; size++) {
		self->q.known.size = size;
		EXPECT_EQ(-EINVAL, query(self->fd, &self->q));
		EXPECT_EQ(size, self->q.known.size);
	}
	EXPECT_EQ(0, self->q.known.driver_version);
}

TEST_F(query, first_version)
{
	self->q.known.size = AZIHSM_QUERY_SIZE_VER0;
	memset((__u8 *)&self->q + AZIHSM_QUERY_SIZE_VER0, 0xcc,
	       sizeof(self->q) - AZIHSM_QUERY_SIZE_VER0);
	EXPECT_EQ(0, query(self->fd, &self->q));
	EXPECT_EQ(sizeof(self->q.known), self->q.known.size);
	EXPECT_TRUE(all_bytes((__u8 *)&self->q + AZIHSM_QUERY_SIZE_VER0, 0xcc,
			      sizeof(self->q) - AZIHSM_QUERY_SIZE_VER0));
}

/* QUERY-6 */
TEST_F(query, newer_caller)
{
	self->q.known.size = sizeof(self->q);
	EXPECT_EQ(0, query(self->fd, &self->q));
	/* The caller learns what the driver knows. */
	EXPECT_EQ(sizeof(self->q.known), self->q.known.size);
	EXPECT_TRUE(all_bytes(self->q.more, 0, sizeof(self->q.more)));

	/* Whatever version's size is in the number. */
	self->q.known.size = sizeof(self->q);
	EXPECT_EQ(0, ioctl(self->fd,
			   _IOWR(AZIHSM_IOC_MAGIC, 0x20, struct future),
			   &self->q));

	/* A feature that the driver does not know cannot be asked for. */
	for (unsigned int i = 0; i < sizeof(self->q.more); i++) {
		self->q.known.size = sizeof(self->q);
		self->q.more[i] = 1;
		EXPECT_EQ(-E2BIG, query(self->fd, &self->q));
		self->q.more[i] = 0;
	}
}

/* QUERY-4 */
TEST_F(query, huge)
{
	struct azihsm_query *q;

	q = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, q);
	q->size = 4096;
	EXPECT_EQ(0, query(self->fd, q));
	q->size = 4097;
	EXPECT_EQ(-E2BIG, query(self->fd, q));
	q->size = 0xffffffff;
	EXPECT_EQ(-E2BIG, query(self->fd, q));
	munmap(q, 8192);
}

/* QUERY-2, QUERY-5, QUERY-8 */
TEST_F(query, faults)
{
	struct azihsm_query *q;
	__u8 *map;

	EXPECT_EQ(-EFAULT, query(self->fd, NULL));
	EXPECT_EQ(-EFAULT, query(self->fd, (void *)0xffff800000000000));

	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mprotect(map + 4096, 4096, PROT_NONE));
	/* The size can be read, and the rest ends with the page. */
	q = (void *)(map + 4096 - sizeof(*q));
	q->size = sizeof(*q);
	EXPECT_EQ(0, query(self->fd, q));
	EXPECT_EQ(AZIHSM_STATE_READY, q->state);
	q->size = sizeof(*q) + 8;
	EXPECT_EQ(-EFAULT, query(self->fd, q));
	q = (void *)(map + 4096 - 8);
	q->size = sizeof(*q);
	q->flags = 0;
	EXPECT_EQ(-EFAULT, query(self->fd, q));

	/* Readable, but not writable. */
	q = (void *)map;
	memset(q, 0, sizeof(*q));
	q->size = sizeof(*q);
	ASSERT_EQ(0, mprotect(map, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, query(self->fd, q));
	munmap(map, 8192);
}

static atomic_bool stop;

static void *reset_again_and_again(void *arg)
{
	int fd = *(int *)arg;

	while (!stop)
		hsm_reset(fd, AZIHSM_RESET_CTRL);
	return NULL;
}

/* The answer stays the same while the controller is being reset. */
TEST_F(query, during_resets)
{
	struct azihsm_query before, q;
	unsigned int recovering = 0;
	pthread_t thread;

	ASSERT_EQ(0, query(self->fd, &self->q));
	before = self->q.known;
	stop = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_again_and_again,
				    &self->fd));
	for (int i = 0; i < 200000 && recovering < 20; i++) {
		memset(&q, 0, sizeof(q));
		q.size = sizeof(q);
		ASSERT_EQ(0, query(self->fd, &q));
		if (q.state == AZIHSM_STATE_RECOVERING) {
			recovering++;
			q.state = AZIHSM_STATE_READY;
		}
		ASSERT_EQ(0, memcmp(&q, &before, sizeof(q)));
	}
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, recovering);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
