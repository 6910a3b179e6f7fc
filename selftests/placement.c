// SPDX-License-Identifier: GPL-2.0
/*
 * Where the data of a fast-path command lies: what is copied, pinned, described
 * and mapped for it; and that nobody can keep a slot by withholding memory.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "lib/counters.h"
#include "lib/harness.h"
#include "lib/pages.h"

#define KiB	1024UL
#define MiB	(1024 * KiB)
#define PAGE	4096UL

/* What the driver counted for the data of commands. */
struct cost {
	long long copied, pinned, descriptors, mappings;
};

static struct cost total_cost(void)
{
	return (struct cost) {
		.copied = counter_sum("fp_sq", "bytes_copied"),
		.pinned = counter_sum("fp_sq", "pages_pinned"),
		.descriptors = counter_sum("fp_sq", "data_descriptors"),
		.mappings = counter_sum("fp_sq", "dma_mappings"),
	};
}

struct client {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1, key2, gcm;
};

static int client_open(struct client *c)
{
	int ret;

	c->fd = hsm_open();
	if (c->fd < 0)
		return c->fd;
	ret = hsm_provision(c->fd, &c->part);
	if (!ret)
		ret = hsm_open_session(c->fd, &c->s);
	if (!ret)
		ret = hsm_generate_xts_keys(&c->s, &c->key1, &c->key2);
	if (!ret)
		ret = hsm_generate_key(&c->s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				       HSM_KEY_CIPHER, &c->gcm);
	return ret;
}

/* Encrypts: 0, a negative errno, or what the device says. */
static int encrypt(const struct client *c, const void *src, void *dst,
		   size_t len, __u32 *ext)
{
	struct azihsm_aes cmd;
	int ret;

	xts_init(&cmd, &c->s, AZIHSM_AES_ENCRYPT, c->key1.bulk_id,
		 c->key2.bulk_id, 0, 1, src, dst, len);
	ret = hsm_xts(c->fd, &cmd);
	if (ext)
		*ext = cmd.extended_status;
	return ret ? ret : cmd.result;
}

static struct cost cost_of(const struct client *c, const void *src, void *dst,
			   size_t len, int *ret)
{
	struct cost before = total_cost(), after;

	*ret = encrypt(c, src, dst, len, NULL);
	after = total_cost();
	return (struct cost) {
		.copied = after.copied - before.copied,
		.pinned = after.pinned - before.pinned,
		.descriptors = after.descriptors - before.descriptors,
		.mappings = after.mappings - before.mappings,
	};
}

/* Memory at a multiple of 2 MiB, in huge pages or surely not; NULL if none. */
static __u8 *large_pages(size_t len, bool huge)
{
	size_t span = len + 2 * MiB;
	__u8 *map = mmap(NULL, span, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u8 *p;

	if (map == MAP_FAILED)
		return NULL;
	p = (__u8 *)(((unsigned long)map + 2 * MiB - 1) & -(2 * MiB));
	if (madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		return NULL;
	memset(p, 0x5a, len);
	return p;
}

#define THP	"/sys/kernel/mm/transparent_hugepage/enabled"

/* The mode in brackets in a file of the kernel's; "" if there is none. */
static void read_mode(const char *path, char *mode, size_t size)
{
	char text[128], *start, *end;
	FILE *f = fopen(path, "r");

	mode[0] = 0;
	if (!f)
		return;
	if (fgets(text, sizeof(text), f)) {
		start = strchr(text, '[');
		end = start ? strchr(start, ']') : NULL;
		if (end) {
			*end = 0;
			snprintf(mode, size, "%s", start + 1);
		}
	}
	fclose(f);
}

static __u8 *hugetlb_pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	memset(p, 0x5a, len);
	return p;
}

/* kB of transparent huge pages in the mappings of this process. */
static unsigned long huge_kb(void)
{
	unsigned long sum = 0, kb;
	char line[256];
	FILE *f = fopen("/proc/self/smaps", "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "AnonHugePages:", 14)) {
			kb = strtoul(line + 14, NULL, 10);
			sum += kb;
		}
	fclose(f);
	return sum;
}

FIXTURE(placement) {
	struct client c;
};

FIXTURE_SETUP(placement)
{
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, hsm_set_bounce_limit(8192));
}

FIXTURE_TEARDOWN(placement)
{
	EXPECT_EQ(0, hsm_set_bounce_limit(HSM_BOUNCE_LIMIT));
	close(self->c.fd);
}

static void show(const char *what, struct cost cost)
{
	ksft_print_msg("%-20s %5lld bytes copied, %4lld pages pinned, ", what,
		       cost.copied, cost.pinned);
	printf("%4lld descriptors, %lld maps\n", cost.descriptors,
	       cost.mappings);
}

TEST_F(placement, small_is_copied)
{
	static const size_t sizes[] = { 64, 4 * KiB, 8 * KiB };
	__u8 *src = large_pages(64 * KiB, false);
	__u8 *dst = large_pages(64 * KiB, false);
	struct cost cost;
	char what[32];
	int ret;

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		cost = cost_of(&self->c, src, dst, sizes[i], &ret);
		ASSERT_EQ(0, ret);
		snprintf(what, sizeof(what), "%zu bytes", sizes[i]);
		show(what, cost);
		EXPECT_EQ(2 * sizes[i], cost.copied);
		EXPECT_EQ(0, cost.pinned);
		EXPECT_EQ(2, cost.descriptors);
		EXPECT_EQ(0, cost.mappings);
	}
}

TEST_F(placement, large_is_pinned)
{
	static const size_t sizes[] = { 8 * KiB + 16, 64 * KiB, 2 * MiB };
	__u8 *src = large_pages(2 * MiB, false);
	__u8 *dst = large_pages(2 * MiB, false);
	struct cost cost;
	char what[32];
	int ret;

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		long long pages = 2 * ((sizes[i] + PAGE - 1) / PAGE);

		cost = cost_of(&self->c, src, dst, sizes[i], &ret);
		ASSERT_EQ(0, ret);
		snprintf(what, sizeof(what), "%zu bytes", sizes[i]);
		show(what, cost);
		EXPECT_EQ(0, cost.copied);
		EXPECT_EQ(pages, cost.pinned);
		EXPECT_LE(2, cost.descriptors);
		EXPECT_GE(pages, cost.descriptors);
		EXPECT_EQ(2, cost.mappings);
	}
}

/* MEM-5: a huge page is one descriptor. */
TEST_F(placement, huge_pages_are_merged)
{
	unsigned long before = huge_kb();
	struct cost cost;
	__u8 *src, *dst;
	char mode[32];
	int ret;

	/* With little memory the kernel turns them off. */
	read_mode(THP, mode, sizeof(mode));
	hsm_write_file(THP, "madvise");
	src = large_pages(2 * MiB, true);
	dst = large_pages(2 * MiB, true);
	hsm_write_file(THP, mode);
	if (!src || !dst || huge_kb() < before + 4096)
		SKIP(return, "no transparent huge pages to be had");
	cost = cost_of(&self->c, src, dst, 2 * MiB, &ret);
	ASSERT_EQ(0, ret);
	show("2 MiB in huge pages", cost);
	EXPECT_EQ(0, cost.copied);
	EXPECT_EQ(1024, cost.pinned);
	if (!hsm_dma_is_bounced())
		EXPECT_EQ(2, cost.descriptors);
	EXPECT_GE(64, cost.descriptors);
	EXPECT_EQ(2, cost.mappings);
	EXPECT_FALSE(all_bytes(dst, 0x5a, 4096));
}

/* MEM-5 */
TEST_F(placement, hugetlb)
{
	struct cost cost;
	__u8 *src, *dst;
	int ret;

	if (pages_huge(2) < 0)
		SKIP(return, "no hugetlb");
	src = hugetlb_pages(2 * MiB);
	dst = hugetlb_pages(2 * MiB);
	if (!src || !dst) {
		pages_huge(0);
		SKIP(return, "no memory for hugetlb pages");
	}
	cost = cost_of(&self->c, src, dst, 2 * MiB, &ret);
	EXPECT_EQ(0, ret);
	show("2 MiB in hugetlb", cost);
	if (!hsm_dma_is_bounced())
		EXPECT_EQ(2, cost.descriptors);
	munmap(src, 2 * MiB);
	munmap(dst, 2 * MiB);
	EXPECT_EQ(0, pages_huge(0));
}

TEST_F(placement, limit)
{
	__u8 *src = large_pages(64 * KiB, false);
	__u8 *dst = large_pages(64 * KiB, false);
	struct azihsm_query q;
	struct cost cost;
	int ret;

	/* At the limit and above it. */
	ASSERT_EQ(0, hsm_set_bounce_limit(1024));
	ASSERT_EQ(0, hsm_query(self->c.fd, &q));
	EXPECT_EQ(1024, q.bounce_limit);
	cost = cost_of(&self->c, src, dst, 1024, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(2048, cost.copied);
	cost = cost_of(&self->c, src, dst, 1040, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, cost.copied);
	EXPECT_EQ(2, cost.pinned);

	/* Nothing is copied, and it works. */
	ASSERT_EQ(0, hsm_set_bounce_limit(0));
	memset(dst, 0xa5, 64 * KiB);
	cost = cost_of(&self->c, src + 4090, dst + 7, 16, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, cost.copied);
	EXPECT_EQ(3, cost.pinned);
	EXPECT_TRUE(all_bytes(dst, 0xa5, 7));
	EXPECT_TRUE(all_bytes(dst + 23, 0xa5, PAGE));
	EXPECT_FALSE(all_bytes(dst + 7, 0xa5, 16));

	/* More than a slot has is as much as a slot has. */
	ASSERT_EQ(0, hsm_set_bounce_limit(0xffffffff));
	ASSERT_EQ(0, hsm_query(self->c.fd, &q));
	EXPECT_EQ(8192, q.bounce_limit);
	cost = cost_of(&self->c, src, dst, 8208, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, cost.copied);
}

/* Nothing of the kind of limit can be seen in the result. */
TEST_F(placement, same_result)
{
	__u8 *src = large_pages(64 * KiB, false);
	__u8 *one = large_pages(64 * KiB, false);
	__u8 *two = large_pages(64 * KiB, false);

	fill_pattern(src, 8192, 5);
	for (size_t len = 16; len <= 8192; len = len * 2 + 16) {
		ASSERT_EQ(0, hsm_set_bounce_limit(8192));
		ASSERT_EQ(0, encrypt(&self->c, src, one, len, NULL));
		ASSERT_EQ(0, hsm_set_bounce_limit(0));
		ASSERT_EQ(0, encrypt(&self->c, src, two, len, NULL));
		EXPECT_EQ(0, memcmp(one, two, len));
	}
}

/* FP-20: in place is fine, a little beside is refused, whatever the size. */
TEST_F(placement, overlap)
{
	static const size_t sizes[] = { 512, 16 * KiB };
	__u8 *p = large_pages(64 * KiB, false);
	__u32 ext;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];
		const struct {
			long distance;
			int ret;
		} cases[] = {
			{ 0, 0 }, { len, 0 }, { -(long)len, 0 },
			{ 1, -EINVAL }, { -1, -EINVAL },
			{ len - 1, -EINVAL }, { 1 - (long)len, -EINVAL },
		};

		for (unsigned int j = 0; j < ARRAY_SIZE(cases); j++) {
			memset(p, 0x5a, 64 * KiB);
			EXPECT_EQ(cases[j].ret,
				  encrypt(&self->c, p + 32 * KiB,
					  p + 32 * KiB + cases[j].distance,
					  len, &ext)) {
				TH_LOG("%zu bytes, distance %ld", len,
				       cases[j].distance);
			}
			if (!cases[j].ret)
				continue;
			EXPECT_EQ(AZIHSM_EXT_AES_DST, ext);
			EXPECT_TRUE(all_bytes(p, 0x5a, 64 * KiB));
		}
	}
}

/* Threads whose memory is not there. */
struct stuck {
	pthread_t thread;
	const struct client *c;
	__u8 *src, *dst;
	int ret;
};

static void *run_stuck(void *arg)
{
	struct stuck *t = arg;

	t->ret = encrypt(t->c, t->src, t->dst, 512, NULL);
	return NULL;
}

static atomic_bool let_in;

/* Gives pages to those who wait for one, from the time it is allowed. */
static void *serve_faults(void *arg)
{
	int uffd = *(int *)arg;
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_zeropage page = {
			.range.start = msg.arg.pagefault.address & -PAGE,
			.range.len = PAGE,
		};

		while (!let_in)
			usleep(1000);
		ioctl(uffd, UFFDIO_ZEROPAGE, &page);
	}
	return NULL;
}

FIXTURE(withheld) {
	struct client c;
	int uffd;
	__u8 *missing;
	size_t count;
};

FIXTURE_VARIANT(withheld) {
	bool source;
};

FIXTURE_VARIANT_ADD(withheld, source) { .source = true };
FIXTURE_VARIANT_ADD(withheld, destination) { .source = false };

FIXTURE_SETUP(withheld)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct azihsm_query q;

	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, hsm_query(self->c.fd, &q));
	/* More threads than there are slots. */
	self->count = q.fp_queues * (q.fp_ring_entries - 1) + 8;
	if (self->count > 600)
		SKIP(return, "too many slots");
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (self->uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	self->missing = mmap(NULL, self->count * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->missing);
	reg.range.start = (unsigned long)self->missing;
	reg.range.len = self->count * PAGE;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &reg));
	let_in = false;
}

FIXTURE_TEARDOWN(withheld)
{
	close(self->c.fd);
}

TEST_F(withheld, memory_keeps_no_slot)
{
	__u8 *here = large_pages(64 * KiB, false);
	pthread_attr_t small;
	struct stuck *threads;
	pthread_t server;

	threads = calloc(self->count, sizeof(*threads));
	ASSERT_NE(NULL, threads);
	ASSERT_EQ(0, pthread_create(&server, NULL, serve_faults, &self->uffd));
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * KiB);
	for (size_t i = 0; i < self->count; i++) {
		struct stuck *t = &threads[i];
		__u8 *missing = self->missing + i * PAGE;

		t->c = &self->c;
		t->src = variant->source ? missing : here;
		t->dst = variant->source ? here + 4096 : missing;
		ASSERT_EQ(0, pthread_create(&t->thread, &small, run_stuck, t));
	}
	/* All of them wait for memory by now, most likely. */
	usleep(500000);
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, encrypt(&self->c, here, here + 8192, 512, NULL));

	let_in = true;
	for (size_t i = 0; i < self->count; i++) {
		ASSERT_EQ(0, pthread_join(threads[i].thread, NULL));
		EXPECT_EQ(0, threads[i].ret);
	}
	free(threads);
}

static __u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

#define SAMPLES	301

/* CPU time of a command that nothing disturbed: the lowest decile. */
static __u64 measure(const struct client *c, __u8 *src, __u8 *dst, size_t len)
{
	static __u64 ns[SAMPLES];

	for (int i = 0; i < SAMPLES; i++) {
		__u64 start = cpu_ns();

		encrypt(c, src, dst, len, NULL);
		ns[i] = cpu_ns() - start;
	}
	qsort(ns, SAMPLES, sizeof(ns[0]), compare);
	return ns[SAMPLES / 10];
}

/* The default limit is where copying begins to cost more than pinning. */
TEST_F_TIMEOUT(placement, copying_pays, 120)
{
	static const size_t sizes[] = { 64, KiB, 2 * KiB, 4 * KiB, 8 * KiB,
					16 * KiB, 32 * KiB, 64 * KiB };
	__u8 *src = large_pages(64 * KiB, false);
	__u8 *dst = large_pages(64 * KiB, false);

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		__u64 pinned, copied;

		ASSERT_EQ(0, hsm_set_bounce_limit(0));
		pinned = measure(&self->c, src, dst, sizes[i]) / 1000;
		if (sizes[i] > 8192) {
			ksft_print_msg("%5zu bytes: %4llu us of CPU pinned\n",
				       sizes[i], pinned);
			continue;
		}
		ASSERT_EQ(0, hsm_set_bounce_limit(8192));
		copied = measure(&self->c, src, dst, sizes[i]) / 1000;
		ksft_print_msg("%5zu bytes: %4llu us of CPU pinned, ", sizes[i],
			       pinned);
		printf("%4llu us copied\n", copied);
		/*
		 * About equal at the default. An emulated processor writes
		 * several times slower to pages from which it has run code.
		 */
		if (sizes[i] <= 4096)
			EXPECT_GE(pinned * 4, copied);
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
