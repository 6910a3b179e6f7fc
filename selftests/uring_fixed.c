// SPDX-License-Identifier: GPL-2.0
/*
 * Registered buffers in all kinds of memory: io_uring's list of their pages has
 * one entry for each huge page, and commands begin and end anywhere in it.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "lib/counters.h"
#include "lib/harness.h"
#include "lib/pages.h"
#include "lib/ring.h"

#define MiB	(1024UL * 1024)
#define HUGE	(2 * MiB)
#define PAGE	4096UL
#define ARENA	(4 * HUGE)
#define PATIENCE	30

enum memory { SMALL_PAGES, HUGE_PAGES, SHARED_FILE };

FIXTURE(uring_fixed) {
	int fd, file;
	struct io_uring ring;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm;
	__u8 key[32];
	__u8 *arena, *want;
};

FIXTURE_VARIANT(uring_fixed) {
	enum memory memory;
};

FIXTURE_VARIANT_ADD(uring_fixed, small_pages) { .memory = SMALL_PAGES };
FIXTURE_VARIANT_ADD(uring_fixed, huge_pages) { .memory = HUGE_PAGES };
FIXTURE_VARIANT_ADD(uring_fixed, shared_file) { .memory = SHARED_FILE };

static __u8 *map_arena(enum memory memory, int *file)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	__u8 *p;

	*file = -1;
	if (memory == HUGE_PAGES) {
		pages_huge(4);
		flags |= MAP_HUGETLB;
	} else if (memory == SHARED_FILE) {
		*file = memfd_create("arena", MFD_CLOEXEC);
		if (*file < 0 || ftruncate(*file, ARENA))
			return NULL;
		flags = MAP_SHARED;
	}
	p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, flags, *file, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (memory == SMALL_PAGES)
		madvise(p, ARENA, MADV_NOHUGEPAGE);
	return p;
}

FIXTURE_SETUP(uring_fixed)
{
	struct iovec vec = { .iov_len = ARENA };

	self->arena = map_arena(variant->memory, &self->file);
	if (!self->arena) {
		pages_huge(0);
		SKIP(return, "no memory of that kind to be had");
	}
	self->want = malloc(ARENA);
	ASSERT_NE(NULL, self->want);
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	hsm_test_key("gcm", self->key);
	ASSERT_EQ(0, ring_open(&self->ring, 8, IORING_SETUP_CQE32));
	vec.iov_base = self->arena;
	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &vec, 1));
}

FIXTURE_TEARDOWN(uring_fixed)
{
	io_uring_unregister_buffers(&self->ring);
	io_uring_queue_exit(&self->ring);
	munmap(self->arena, ARENA);
	if (self->file >= 0)
		close(self->file);
	if (variant->memory == HUGE_PAGES)
		EXPECT_EQ(0, pages_huge(0));
	close(self->fd);
	free(self->want);
}

/* Source and destination in the arena. */
struct place {
	size_t src, dst, len;
};

static const struct place places[] = {
	{ 0, 4 * MiB, 16 },
	{ 3 * PAGE + 5, 4 * MiB + 77, 100000 },
	/* From one huge page to the next. */
	{ HUGE - 5000, 3 * HUGE - 123, 10000 },
	{ HUGE - PAGE, 2 * HUGE + PAGE, MiB },
	/* All of one; most of one, from the middle of a page. */
	{ 0, 2 * HUGE, HUGE },
	{ HUGE + 7 * PAGE + 1, 3 * HUGE + 9 * PAGE + 2, HUGE - 65536 },
	/* Of two, but for the first and the last byte. */
	{ 1, 2 * HUGE + 1, 2 * HUGE - 2 },
	{ ARENA - PAGE, 0, PAGE },
};

static size_t pieces_of(size_t at, size_t len, size_t size)
{
	return (at + len - 1) / size - at / size + 1;
}

/* Encrypts, and compares with libcrypto: NULL, or what is wrong. */
static const char *run(FIXTURE_DATA(uring_fixed) * self,
		       const struct place *place, unsigned int seed)
{
	__u8 *src = self->arena + place->src, *dst = self->arena + place->dst;
	struct azihsm_uring_result result;
	struct io_uring_sqe *sqe;
	struct azihsm_aes cmd;
	struct ring_done done;
	__u8 tag[16];

	memset(self->arena, GUARD_FILL, ARENA);
	fill_pattern(src, place->len, seed);
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0, src,
		 dst, place->len);
	sqe = ring_put_aes(&self->ring, &cmd, self->fd, &result, 0);
	sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
	if (ring_wait(&self->ring, &done, PATIENCE) || done.res != place->len)
		return "failed";
	if (!aes_gcm_encrypt(self->key, result.iv, NULL, 0, src, self->want,
			     place->len, tag))
		return "libcrypto failed";
	if (memcmp(dst, self->want, place->len) ||
	    memcmp(tag, result.tag, sizeof(tag)))
		return "wrong result";
	if ((place->dst && dst[-1] != GUARD_FILL) ||
	    dst[place->len] != GUARD_FILL)
		return "wrote too much";
	return NULL;
}

/* MEM-1, MEM-3, MEM-5 */
TEST_F(uring_fixed, anywhere)
{
	size_t size = variant->memory == HUGE_PAGES ? HUGE : PAGE;

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		const struct place *p = &places[i];
		/* What does not fill a block at the end goes another way. */
		size_t len = p->len & ~15UL;
		long long pages = counter_sum("fp_sq", "pages_pinned");
		long long pieces = counter_sum("fp_sq", "data_descriptors");

		EXPECT_NO_COMPLAINT(run(self, p, i));
		pages = counter_sum("fp_sq", "pages_pinned") - pages;
		pieces = counter_sum("fp_sq", "data_descriptors") - pieces;
		EXPECT_EQ(pieces_of(p->src, len, PAGE) +
			  pieces_of(p->dst, len, PAGE), pages) {
			TH_LOG("case %u", i);
		}
		if (hsm_dma_is_bounced())
			continue;
		EXPECT_GE(pieces_of(p->src, len, size) +
			  pieces_of(p->dst, len, size), pieces) {
			TH_LOG("case %u", i);
		}
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
