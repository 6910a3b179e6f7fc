// SPDX-License-Identifier: GPL-2.0
/*
 * A command whose data fits into a slot allocates nothing, whichever door it
 * comes through, as the kernel's own trace of allocations tells.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/harness.h"
#include "lib/ring.h"

#define TRACING	"/sys/kernel/tracing/"
#define COMMANDS	200

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

static int stop_trace(void)
{
	int ret = hsm_write_file(TRACING "tracing_on", "0");

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
	ret = write_anew(TRACING "set_event_pid", pid);
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++)
		ret |= hsm_write_file(events[i], "1");
	ret |= write_anew(TRACING "trace", "");
	return ret | hsm_write_file(TRACING "tracing_on", "1");
}

FIXTURE_SETUP(allocation)
{
	if (access(events[0], W_OK))
		SKIP(return, "no tracing of allocations");
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->key1,
					   &self->key2));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	self->src = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	self->dst = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->src);
	ASSERT_NE(MAP_FAILED, self->dst);
	memset(self->src, 0x5a, 65536);
	memset(self->dst, 0, 65536);
}

FIXTURE_TEARDOWN(allocation)
{
	stop_trace();
	close(self->fd);
}

/* Allocations in the trace; prints the first few. */
static unsigned int allocations(void)
{
	unsigned int count = 0;
	char line[512];
	FILE *f = fopen(TRACING "trace", "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		if (count++ < 3)
			ksft_print_msg("%.160s\n", line);
	}
	fclose(f);
	return count;
}

#define TRACED(command) ({						\
	int ret_ = 0;							\
									\
	ASSERT_EQ(0, start_trace());					\
	for (int i_ = 0; i_ < COMMANDS; i_++)				\
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

/* Interrupts that come in a command may allocate something now and then. */
#define NONE	(COMMANDS / 20)

TEST_F(allocation, small_commands_do_without)
{
	static const size_t sizes[] = { 16, 512, 2048, 4096 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_GE(NONE, TRACED(xts(&self->s, &self->key1, &self->key2,
					   self->src, self->dst, sizes[i])));
		/* With a tail. */
		EXPECT_GE(NONE, TRACED(gcm(&self->s, &self->gcm, self->src,
					   self->dst, sizes[i] - 5)));
	}
}

TEST_F(allocation, control_commands_do_without)
{
	EXPECT_GE(NONE, TRACED(control(self->fd, self->src, self->dst)));
}

#define DEPTH		64
#define ROOM		(DEPTH * 8192)
#define RING_COMMANDS	640
#define PATIENCE	60

FIXTURE(ring_allocation) {
	struct io_uring ring;
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm;
	__u8 *src, *dst;
};

FIXTURE_SETUP(ring_allocation)
{
	if (access(events[0], W_OK))
		SKIP(return, "no tracing of allocations");
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	self->src = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->src);
	self->dst = self->src + ROOM;
	memset(self->src, 0x5a, 2 * ROOM);
	ASSERT_EQ(0, ring_open(&self->ring, DEPTH,
			       IORING_SETUP_SINGLE_ISSUER |
			       IORING_SETUP_DEFER_TASKRUN));
}

FIXTURE_TEARDOWN(ring_allocation)
{
	stop_trace();
	io_uring_queue_exit(&self->ring);
	close(self->fd);
}

/* Runs commands, as many at a time as the ring has entries; 0 if all succeed. */
static int run_ring(FIXTURE_DATA(ring_allocation) * self, size_t len)
{
	unsigned int put = 0, ended = 0;
	struct ring_done done;
	struct azihsm_aes cmd;
	int ret;

	while (ended < RING_COMMANDS) {
		for (; put < RING_COMMANDS && put - ended < DEPTH; put++) {
			size_t at = put % DEPTH * 8192;

			gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
				 self->gcm.bulk_id, 0, self->src + at,
				 self->dst + at, len);
			ring_put_aes(&self->ring, &cmd, self->fd, NULL, put);
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

/* The first commands of a ring fill io_uring's own stock of requests. */
TEST_F(ring_allocation, small_commands_do_without)
{
	static const size_t sizes[] = { 64, 2048, 4096 - 5, 4096 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, run_ring(self, sizes[i]));
		ASSERT_EQ(0, start_trace());
		ASSERT_EQ(0, run_ring(self, sizes[i]));
		ASSERT_EQ(0, stop_trace());
		EXPECT_GE(RING_COMMANDS / 20, allocations()) {
			TH_LOG("%zu bytes", sizes[i]);
		}
	}
}

/* The trace does see allocations: the list of pages for one. */
TEST_F(allocation, large_commands_allocate)
{
	EXPECT_LE(2 * COMMANDS,
		  TRACED(xts(&self->s, &self->key1, &self->key2, self->src,
			     self->dst, 65536)));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
