// SPDX-License-Identifier: GPL-2.0
/*
 * Commands allocate nothing, as the kernel's own trace of allocations tells:
 * whichever door they come through, and wherever their data lies. What data in
 * the caller's pages takes was allocated for those that ran before.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/harness.h"
#include "lib/ring.h"

#define TRACING	"/sys/kernel/tracing/"
#define KiB	1024UL
#define MiB	(1024 * KiB)
/* Commands of one size, and how many bytes they have in all at the most. */
#define COMMANDS	640
#define BYTES		(64 * MiB)
/* The largest command. */
#define LARGEST	(4 * MiB)

static const char * const events[] = {
	TRACING "events/kmem/kmalloc/enable",
	TRACING "events/kmem/kmem_cache_alloc/enable",
	TRACING "events/kmem/mm_page_alloc/enable",
};

FIXTURE(allocation) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1, key2, gcm;
	__u8 *src, *dst;
};

/* Opened before there is a trace, which would have that in it. */
static int tracing_on = -1;

static int switch_trace(bool on)
{
	if (tracing_on < 0)
		tracing_on = open(TRACING "tracing_on", O_WRONLY | O_CLOEXEC);
	return write(tracing_on, on ? "1" : "0", 1) == 1 ? 0 : -errno;
}

static int stop_trace(void)
{
	int ret = switch_trace(false);

	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++)
		ret |= hsm_write_file(events[i], "0");
	return ret;
}

/* Replaces what is in a file of the kernel's: for some, that empties it. */
static int write_anew(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (*text && write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Traces allocations of this task from now on. */
static int start_trace(void)
{
	char pid[16];
	int ret;

	snprintf(pid, sizeof(pid), "%d", getpid());
	ret = switch_trace(false);
	ret |= write_anew(TRACING "set_event_pid", pid);
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++)
		ret |= hsm_write_file(events[i], "1");
	ret |= write_anew(TRACING "trace", "");
	return ret | switch_trace(true);
}

/* What lies idle in the driver may lie with another processor. */
static int stay_here(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* An IOMMU takes tables, and a kernel that checks mappings remembers them. */
static bool mapping_allocates(void)
{
	return hsm_behind_iommu() || !access("/sys/kernel/debug/dma-api", F_OK);
}

static __u8 *some_memory(size_t len)
{
	__u8 *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Pages of their own take the longest lists. */
	madvise(p, len, MADV_NOHUGEPAGE);
	return memset(p, 0x5a, len);
}

FIXTURE_SETUP(allocation)
{
	if (access(events[0], W_OK))
		SKIP(return, "no tracing of allocations");
	ASSERT_EQ(0, stay_here());
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->key1,
					   &self->key2));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	self->src = some_memory(LARGEST);
	self->dst = some_memory(LARGEST);
	ASSERT_NE(NULL, self->src);
	ASSERT_NE(NULL, self->dst);
}

FIXTURE_TEARDOWN(allocation)
{
	stop_trace();
	EXPECT_EQ(0, hsm_set_bounce_limit(HSM_BOUNCE_LIMIT));
	close(self->fd);
}

/* Whether it was an interrupt that interrupted the task: "[000] d.h1.". */
static bool by_interrupt(const char *line)
{
	const char *flags = strstr(line, "] ");

	return flags && strchr("hHsZz", flags[4]);
}

/* Allocations of the task in the trace; prints the first few. */
static unsigned int allocations(void)
{
	unsigned int count = 0;
	char line[512];
	FILE *f = fopen(TRACING "trace", "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || by_interrupt(line))
			continue;
		if (count++ < 3)
			ksft_print_msg("%.160s\n", line);
	}
	fclose(f);
	return count;
}

static unsigned int commands_for(size_t len)
{
	return COMMANDS * len > BYTES ? BYTES / len : COMMANDS;
}

/* Allocations of as many commands as there are of this length. */
#define TRACED(len, command) ({						\
	int ret_ = 0;							\
									\
	ASSERT_EQ(0, start_trace());					\
	for (int i_ = 0; i_ < commands_for(len); i_++)			\
		ret_ |= (command);					\
	ASSERT_EQ(0, stop_trace());					\
	ASSERT_EQ(0, ret_);						\
	allocations();							\
})

static int xts(const struct hsm_session *s, const struct hsm_key *key1,
	       const struct hsm_key *key2, const void *src, void *dst,
	       size_t len)
{
	struct azihsm_aes cmd;
	int ret;

	xts_init(&cmd, s, AZIHSM_AES_ENCRYPT, key1->bulk_id, key2->bulk_id, 0,
		 1, src, dst, len);
	ret = hsm_xts(s->fd, &cmd);
	return ret ? ret : cmd.result;
}

static int gcm(const struct hsm_session *s, const struct hsm_key *key,
	       const void *src, void *dst, size_t len)
{
	struct azihsm_aes cmd;
	int ret;

	gcm_init(&cmd, s, AZIHSM_AES_ENCRYPT, key->bulk_id, 0, src, dst, len);
	ret = hsm_gcm(s->fd, &cmd);
	return ret ? ret : cmd.result;
}

static int control(int fd, const void *src, void *dst)
{
	struct azihsm_cp_cmd cmd;

	ddi_cp_init(&cmd, AZIHSM_SESSION_NONE, -1, src, 64, dst, 8192);
	return hsm_cp(fd, &cmd);
}

TEST_F(allocation, small_commands_do_without)
{
	static const size_t sizes[] = { 16, 512, 2048, 4096 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];

		EXPECT_EQ(0, TRACED(len, xts(&self->s, &self->key1, &self->key2,
					     self->src, self->dst, len)));
		/* With a tail. */
		EXPECT_EQ(0, TRACED(len, gcm(&self->s, &self->gcm, self->src,
					     self->dst, len - 5)));
	}
}

TEST_F(allocation, control_commands_do_without)
{
	EXPECT_EQ(0, TRACED(64, control(self->fd, self->src, self->dst)));
}

TEST_F(allocation, pinned_commands_do_without)
{
	static const size_t sizes[] = { 64, 8 * KiB + 16, 64 * KiB, MiB,
					LARGEST };

	if (mapping_allocates())
		SKIP(return, "the kernel allocates for each mapping");
	ASSERT_EQ(0, hsm_set_bounce_limit(0));
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];

		ASSERT_EQ(0, gcm(&self->s, &self->gcm, self->src, self->dst,
				 len));
		EXPECT_EQ(0, TRACED(len, xts(&self->s, &self->key1, &self->key2,
					     self->src, self->dst, len))) {
			TH_LOG("%zu bytes", len);
		}
		EXPECT_EQ(0, TRACED(len, gcm(&self->s, &self->gcm, self->src,
					     self->dst, len - 5))) {
			TH_LOG("%zu bytes with a tail", len - 5);
		}
	}
}

static int open_and_close(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : close(fd);
}

/* The trace does see allocations: that of an open file for one. */
TEST_F(allocation, others_are_seen)
{
	EXPECT_LE(COMMANDS, TRACED(0, open_and_close("/dev/null")));
}

/* Commands that a ring has under way, at most, and bytes for each way. */
#define DEPTH		64
#define UNDER_WAY	(8 * MiB)
#define PATIENCE	60

FIXTURE(ring_allocation) {
	struct io_uring ring;
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm;
	__u8 *src, *dst;
};

FIXTURE_VARIANT(ring_allocation) {
	/* What is larger is pinned. */
	unsigned int limit;
	bool registered;
};

FIXTURE_VARIANT_ADD(ring_allocation, copied) { .limit = HSM_BOUNCE_LIMIT };
FIXTURE_VARIANT_ADD(ring_allocation, pinned) { .limit = 0 };
FIXTURE_VARIANT_ADD(ring_allocation, registered) {
	.limit = HSM_BOUNCE_LIMIT,
	.registered = true,
};

FIXTURE_SETUP(ring_allocation)
{
	struct iovec vec = { .iov_len = 2 * UNDER_WAY };

	if (access(events[0], W_OK))
		SKIP(return, "no tracing of allocations");
	if (mapping_allocates() && (variant->registered || !variant->limit))
		SKIP(return, "the kernel allocates for each mapping");
	ASSERT_EQ(0, stay_here());
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	self->src = some_memory(2 * UNDER_WAY);
	ASSERT_NE(NULL, self->src);
	self->dst = self->src + UNDER_WAY;
	ASSERT_EQ(0, ring_open(&self->ring, DEPTH,
			       IORING_SETUP_SINGLE_ISSUER |
			       IORING_SETUP_DEFER_TASKRUN));
	vec.iov_base = self->src;
	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &vec, 1));
	ASSERT_EQ(0, hsm_set_bounce_limit(variant->limit));
}

FIXTURE_TEARDOWN(ring_allocation)
{
	stop_trace();
	EXPECT_EQ(0, hsm_set_bounce_limit(HSM_BOUNCE_LIMIT));
	io_uring_queue_exit(&self->ring);
	close(self->fd);
}

static unsigned int depth_for(size_t len)
{
	return len * DEPTH > UNDER_WAY ? UNDER_WAY / len : DEPTH;
}

/* Runs commands, some at a time; 0 if all succeed. */
static int run_ring(FIXTURE_DATA(ring_allocation) * self, size_t len,
		    bool registered)
{
	unsigned int put = 0, ended = 0, depth = depth_for(len);
	struct io_uring_sqe *sqe;
	struct ring_done done;
	struct azihsm_aes cmd;
	int ret;

	while (ended < commands_for(len)) {
		for (; put < commands_for(len) && put - ended < depth; put++) {
			size_t at = put % depth * (UNDER_WAY / depth);

			gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
				 self->gcm.bulk_id, 0, self->src + at,
				 self->dst + at, len);
			sqe = ring_put_aes(&self->ring, &cmd, self->fd, NULL,
					   put);
			if (registered)
				sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
		}
		ret = ring_wait(&self->ring, &done, PATIENCE);
		if (ret)
			return ret;
		if (done.res != len)
			return done.res < 0 ? done.res : -EIO;
		ended++;
	}
	return 0;
}

/* The first commands of a ring fill io_uring's own stock of requests, too. */
TEST_F(ring_allocation, commands_do_without)
{
	static const size_t sizes[] = { 64, 2048, 4096 - 5, 4096, 64 * KiB - 5,
					64 * KiB, MiB, LARGEST };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];

		/* What is larger is not copied. */
		if (variant->limit && !variant->registered &&
		    len > variant->limit)
			break;
		ASSERT_EQ(0, run_ring(self, len, variant->registered));
		ASSERT_EQ(0, start_trace());
		ASSERT_EQ(0, run_ring(self, len, variant->registered));
		ASSERT_EQ(0, stop_trace());
		EXPECT_EQ(0, allocations()) {
			TH_LOG("%zu bytes", len);
		}
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
