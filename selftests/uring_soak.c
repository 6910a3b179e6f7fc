// SPDX-License-Identifier: GPL-2.0
/*
 * Many commands of random kinds and sizes through one ring; then nothing may be
 * left: no pinned page, no memory. AZIHSM_SOAK=N in the environment makes it N
 * commands.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/pages.h"
#include "lib/ring.h"

#define PATIENCE	60
#define DEPTH		128
#define LEN_MAX		(256 * 1024)
#define COMMANDS	4000
/* Slab objects that others may take meanwhile. */
#define OTHERS		2000

enum step {
	SEAL,
	OPEN,
	FORGE,
	QUERY,
};

/* What one place of the ring is doing. */
struct job {
	enum step step;
	bool xts;
	bool fixed;
	__u64 seed;
	size_t len;
	__u8 *src, *dst;
	struct azihsm_aes cmd;
	struct azihsm_cp_cmd cp;
	struct azihsm_uring_result result;
};

static struct job jobs[DEPTH];
static struct ddi_call query;
static __u8 answers[DEPTH][AZIHSM_CP_MAX_LEN];
static __u64 state = 0x9e3779b97f4a7c15;

static __u32 dice(__u32 sides)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 33) % sides;
}

FIXTURE(uring_soak) {
	int fd;
	struct io_uring ring;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	__u8 *arena;
};

FIXTURE_SETUP(uring_soak)
{
	size_t size = DEPTH * 2ul * LEN_MAX;
	struct iovec vec;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->xts1,
					   &self->xts2));
	self->arena = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->arena);
	for (int i = 0; i < DEPTH; i++) {
		jobs[i].src = self->arena + i * 2ul * LEN_MAX;
		jobs[i].dst = jobs[i].src + LEN_MAX;
	}
	ASSERT_EQ(0, ring_open(&self->ring, DEPTH, IORING_SETUP_CQE32));
	vec = (struct iovec) { .iov_base = self->arena, .iov_len = size };
	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &vec, 1));
	ddi_begin(&query, DDI_OP_GET_API_REV, DDI_NO_SESSION, 0);
}

FIXTURE_TEARDOWN(uring_soak)
{
	close(self->fd);
	EXPECT_AT_REST();
}

static void put(struct _test_data_uring_soak *self, int i)
{
	struct job *job = &jobs[i];
	struct io_uring_sqe *sqe;

	if (job->step == QUERY) {
		ring_put_cp(&self->ring, &job->cp, self->fd, &job->result, i);
		return;
	}
	sqe = ring_put_aes(&self->ring, &job->cmd, self->fd, &job->result, i);
	if (job->fixed) {
		sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
		sqe->buf_index = 0;
	}
}

static void begin(struct _test_data_uring_soak *self, int i)
{
	struct job *job = &jobs[i];

	memset(&job->result, 0, sizeof(job->result));
	if (!dice(8)) {
		job->step = QUERY;
		ddi_cp_init(&job->cp, AZIHSM_SESSION_NONE, -1, query.req_buf,
			    query.req.len, answers[i], sizeof(answers[i]));
		put(self, i);
		return;
	}
	job->step = SEAL;
	job->xts = dice(2);
	job->fixed = dice(2);
	job->seed = state;
	/* Small ones more often. */
	job->len = 1 + dice(dice(4) ? 9000 : LEN_MAX - 512);
	if (job->xts)
		job->len = (job->len + 511) & ~511ul;
	fill_pattern(job->src, job->len, job->seed);
	if (job->xts)
		xts_init(&job->cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->xts1.bulk_id, self->xts2.bulk_id,
			 AZIHSM_XTS_UNIT_512, job->seed, job->src, job->dst,
			 job->len);
	else
		gcm_init(&job->cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, job->src, job->dst, job->len);
	put(self, i);
}

/* Goes on with a command that ended; NULL, or what was wrong. */
static const char *next(struct _test_data_uring_soak *self, int i, int res)
{
	struct job *job = &jobs[i];
	static char why[96];
	__u8 *swap;

	if (job->step == QUERY) {
		if (res <= 0)
			return "control command failed";
		begin(self, i);
		return NULL;
	}
	if (res != (job->step == FORGE ? -EBADMSG : (int)job->len)) {
		snprintf(why, sizeof(why), "step %d, %zu bytes%s%s: %d",
			 job->step, job->len, job->xts ? ", XTS" : "",
			 job->fixed ? ", fixed" : "", res);
		return why;
	}
	if (job->step == SEAL) {
		swap = job->src;
		job->src = job->dst;
		job->dst = swap;
		job->step = !job->xts && !dice(4) ? FORGE : OPEN;
		job->cmd.op = AZIHSM_AES_DECRYPT;
		job->cmd.src = (uintptr_t)job->src;
		job->cmd.dst = (uintptr_t)job->dst;
		if (!job->xts) {
			memcpy(job->cmd.gcm.iv, job->result.iv, 12);
			memcpy(job->cmd.gcm.tag, job->result.tag, 16);
			job->cmd.gcm.tag[dice(16)] ^= job->step == FORGE;
		}
		memset(job->dst, 0, job->len);
		put(self, i);
		return NULL;
	}
	if (job->step == OPEN) {
		/* The other half of the place has the sealed text. */
		fill_pattern(job->src, job->len, job->seed);
		if (first_difference(job->src, job->dst, job->len) != job->len)
			return "decrypted text differs";
	}
	begin(self, i);
	return NULL;
}

/* Runs commands until nothing is in flight any more. */
static void run(struct __test_metadata *_metadata,
		struct _test_data_uring_soak *self, unsigned long total)
{
	struct ring_done done;

	for (int i = 0; i < DEPTH; i++)
		begin(self, i);
	for (unsigned long n = 0; n < total + DEPTH; n++) {
		const char *why;

		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE)) {
			TH_LOG("after %lu", n);
		}
		if (n < total) {
			why = next(self, done.data, done.res);
			ASSERT_EQ(NULL, why) {
				TH_LOG("after %lu: %s", n, why);
			}
		}
	}
}

TEST_F_TIMEOUT(uring_soak, random, 36000)
{
	const char *wanted = getenv("AZIHSM_SOAK");
	unsigned long total = wanted ? strtoul(wanted, NULL, 0) : COMMANDS;
	static struct slab_counts before, after;
	struct slab_cache most;
	long pinned, slab, slab_more;
	time_t began = time(NULL);

	pinned = pages_pinned();
	/* Until everything has warmed up. */
	run(_metadata, self, total / 4);
	slab_count(&before);
	slab = page_count("nr_slab_unreclaimable");
	run(_metadata, self, total - total / 4);
	slab_count(&after);
	most = slab_growth(&before, &after, NULL);
	slab_more = page_count("nr_slab_unreclaimable") - slab;
	/* 2 MiB of slab are other people's doing, 100 bytes a command are not. */
	EXPECT_GT(512, slab_more);
	/* Some thousand objects are, too; one for every fourth command is not. */
	EXPECT_LT(0, before.caches);
	EXPECT_GT(OTHERS + (long)total / 4, most.objects);
	TH_LOG("%lu commands in %ld s; slab pages %+ld, objects of %s %+ld",
	       total, time(NULL) - began, slab_more, most.name, most.objects);
	io_uring_unregister_buffers(&self->ring);
	io_uring_queue_exit(&self->ring);
	EXPECT_GE(0, pages_left(pinned));
	TH_LOG("pages pinned %ld before, %ld after", pinned, pages_pinned());
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
