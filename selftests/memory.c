// SPDX-License-Identifier: GPL-2.0
/*
 * Fast-path commands with source and destination in all kinds of memory. Sizes
 * are small enough to be copied, and large enough for the caller's pages to be
 * handed to the device. The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/pages.h"

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)
#define UNIT		512
#define TOO_MANY_PAGES	((1UL << 30) + (64UL << 20) + 16)
#define THP_ENABLED	"/sys/kernel/mm/transparent_hugepage/enabled"

FIXTURE(memory) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1, key2;
	__u8 key1_bytes[32], key2_bytes[32];
	__u8 *plain, *want;
};

FIXTURE_VARIANT(memory) {
	size_t len;
};

FIXTURE_VARIANT_ADD(memory, copied) {
	.len = 4096,
};

FIXTURE_VARIANT_ADD(memory, pinned) {
	.len = 65536,
};

FIXTURE_SETUP(memory)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->key1,
					   &self->key2));
	hsm_test_key("data", self->key1_bytes);
	hsm_test_key("tweak", self->key2_bytes);
	self->plain = malloc(variant->len);
	self->want = malloc(variant->len);
	ASSERT_NE(NULL, self->plain);
	ASSERT_NE(NULL, self->want);
	fill_pattern(self->plain, variant->len, 5);
	ASSERT_TRUE(aes_xts(true, self->key1_bytes, self->key2_bytes, 0, UNIT,
			    self->plain, self->want, variant->len));
}

FIXTURE_TEARDOWN(memory)
{
	free(self->plain);
	free(self->want);
	EXPECT_AT_REST();
}

/* Encrypts; the ioctl's error, or that of the device. */
static int encrypt(FIXTURE_DATA(memory) * self, const void *src, void *dst,
		   size_t len)
{
	struct azihsm_aes cmd;
	int ret;

	xts_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->key1.bulk_id,
		 self->key2.bulk_id, AZIHSM_XTS_UNIT_512, 0, src, dst, len);
	ret = hsm_xts(self->fd, &cmd);
	if (ret)
		return ret;
	if (cmd.result || cmd.extended_status || cmd.byte_count != len)
		return -EREMOTEIO;
	return 0;
}

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *anonymous(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1);
}

/* A file in memory with the plain text, or with nothing. */
static int make_file(FIXTURE_DATA(memory) * self, const void *content,
		     size_t len)
{
	int fd = memfd_create("azihsm", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, len) ||
	    (content && pwrite(fd, content, len, 0) != len))
		return -1;
	return fd;
}

/* MEM-4 */
TEST_F(memory, read_only_source)
{
	size_t len = variant->len;
	__u8 *src = anonymous(len), *dst = anonymous(len);

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	memcpy(src, self->plain, len);
	ASSERT_EQ(0, mprotect(src, len, PROT_READ));
	EXPECT_EQ(0, encrypt(self, src, dst, len));
	EXPECT_EQ(len, first_difference(dst, self->want, len));
	EXPECT_EQ(len, first_difference(src, self->plain, len));
}

/* MEM-4: a source that nobody has touched yet is zeros. */
TEST_F(memory, untouched_source)
{
	size_t len = variant->len;
	__u8 *src = anonymous(len), *dst = anonymous(len);

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	memset(self->plain, 0, len);
	ASSERT_TRUE(aes_xts(true, self->key1_bytes, self->key2_bytes, 0, UNIT,
			    self->plain, self->want, len));
	EXPECT_EQ(0, encrypt(self, src, dst, len));
	EXPECT_EQ(len, first_difference(dst, self->want, len));
	/* Nor is it anybody else's zeros that were written. */
	EXPECT_TRUE(all_bytes(src, 0, len));
	EXPECT_EQ(0, encrypt(self, src, src, len));
	EXPECT_EQ(len, first_difference(src, self->want, len));
	EXPECT_TRUE(all_bytes(anonymous(len), 0, len));
}

/* MEM-4: mappings of a file, of each kind, that cannot be written. */
TEST_F(memory, source_in_a_file)
{
	size_t len = variant->len;
	int fd = make_file(self, self->plain, len);
	__u8 *dst = anonymous(len);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, dst);
	for (int shared = 0; shared < 2; shared++) {
		__u8 *src = map(len, PROT_READ,
				shared ? MAP_SHARED : MAP_PRIVATE, fd);

		ASSERT_NE(NULL, src);
		memset(dst, 0, len);
		EXPECT_EQ(0, encrypt(self, src, dst, len));
		EXPECT_EQ(len, first_difference(dst, self->want, len));
		munmap(src, len);
	}
	close(fd);
}

/* MEM-4: the text of this program, which is a file on a file system. */
TEST_F(memory, source_in_the_program)
{
	size_t len = variant->len < PAGE ? variant->len : PAGE * 3;
	int fd = open("/proc/self/exe", O_RDONLY);
	__u8 *src, *dst = anonymous(len);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, dst);
	src = map(len, PROT_READ, MAP_PRIVATE, fd);
	ASSERT_NE(NULL, src);
	self->want = realloc(self->want, len);
	ASSERT_TRUE(aes_xts(true, self->key1_bytes, self->key2_bytes, 0, UNIT,
			    src, self->want, len));
	EXPECT_EQ(0, encrypt(self, src, dst, len));
	EXPECT_EQ(len, first_difference(dst, self->want, len));
	/* It cannot be a destination. */
	EXPECT_EQ(-EFAULT, encrypt(self, self->plain, src, UNIT));
	EXPECT_EQ(-EFAULT, encrypt(self, dst, src, len));
}

/* MEM-1: what the device wrote is in the file, for all who read it. */
TEST_F(memory, destination_in_a_file)
{
	size_t len = variant->len;
	int fd = make_file(self, NULL, len);
	__u8 *got = malloc(len), *dst;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, got);
	dst = map(len, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(NULL, dst);
	EXPECT_EQ(0, encrypt(self, self->plain, dst, len));
	munmap(dst, len);
	ASSERT_EQ(len, pread(fd, got, len, 0));
	EXPECT_EQ(len, first_difference(got, self->want, len));
	free(got);
	close(fd);
}

/* MEM-3: a private mapping keeps it from the file. */
TEST_F(memory, destination_in_a_private_mapping)
{
	size_t len = variant->len;
	int fd = make_file(self, self->plain, len);
	__u8 *got = malloc(len), *dst;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, got);
	dst = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	ASSERT_NE(NULL, dst);
	/* Source and destination are the same, until the first is written. */
	EXPECT_EQ(0, encrypt(self, dst, dst, len));
	EXPECT_EQ(len, first_difference(dst, self->want, len));
	ASSERT_EQ(len, pread(fd, got, len, 0));
	EXPECT_EQ(len, first_difference(got, self->plain, len));
	free(got);
	close(fd);
}

/* MEM-3: memory that a child shares until it is written. */
TEST_F(memory, copy_on_write)
{
	size_t len = variant->len;
	__u8 *dst = anonymous(len);
	int pipe_fd[2], status;
	char byte = 'x';
	pid_t pid;

	ASSERT_NE(NULL, dst);
	ASSERT_EQ(0, pipe(pipe_fd));
	memcpy(dst, self->plain, len);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Look when the parent's is encrypted. */
		if (read(pipe_fd[0], &byte, 1) != 1)
			_exit(1);
		_exit(first_difference(dst, self->plain, len) != len);
	}
	EXPECT_EQ(0, encrypt(self, dst, dst, len));
	EXPECT_EQ(len, first_difference(dst, self->want, len));
	ASSERT_EQ(1, write(pipe_fd[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Whether a range is in transparent huge pages, by its entry in smaps. */
static bool is_huge(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end, kib = 0;
	bool here = false;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)p &&
			       (unsigned long)p < end;
		else if (here &&
			 sscanf(line, "AnonHugePages: %lu kB", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kib;
}

/* Encrypts at the start, in the middle, at the end and across of huge pages. */
static const char *encrypt_around(FIXTURE_DATA(memory) * self, __u8 *huge,
				  size_t len)
{
	const size_t offsets[] = {
		0, 1, PAGE - 1, HUGE_PAGE - len, HUGE_PAGE - len / 2,
		HUGE_PAGE - 1, 2 * HUGE_PAGE - len,
	};
	static char why[64];

	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		__u8 *at = huge + offsets[i];
		int ret;

		memset(huge, GUARD_FILL, 2 * HUGE_PAGE);
		memcpy(at, self->plain, len);
		ret = encrypt(self, at, at, len);
		if (ret || first_difference(at, self->want, len) != len) {
			snprintf(why, sizeof(why), "offset %zu: %d", offsets[i],
				 ret);
			return why;
		}
		if (!all_bytes(huge, GUARD_FILL, offsets[i]) ||
		    !all_bytes(at + len, GUARD_FILL,
			       2 * HUGE_PAGE - offsets[i] - len))
			return "wrote outside of the destination";
	}
	return NULL;
}

/* The word in brackets, of a file with all words; false if there is none. */
static bool chosen_word(const char *path, char word[32])
{
	char text[128] = "";
	FILE *f = fopen(path, "r");
	bool found = f && fgets(text, sizeof(text), f) && strchr(text, '[') &&
		     sscanf(strchr(text, '['), "[%31[^]]", word) == 1;

	if (f)
		fclose(f);
	return found;
}

/* MEM-5 */
TEST_F(memory, transparent_huge_pages)
{
	__u8 *p = anonymous(3 * HUGE_PAGE);
	char before[32];

	ASSERT_NE(NULL, p);
	p = (void *)(((unsigned long)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	/* Machines with little memory have them turned off. */
	if (!chosen_word(THP_ENABLED, before) ||
	    hsm_write_file(THP_ENABLED, "madvise"))
		SKIP(return, "no transparent huge pages");
	EXPECT_EQ(0, madvise(p, 2 * HUGE_PAGE, MADV_HUGEPAGE));
	memset(p, 1, 2 * HUGE_PAGE);
	EXPECT_EQ(0, hsm_write_file(THP_ENABLED, before));
	if (!is_huge(p))
		SKIP(return, "got no transparent huge page");
	EXPECT_NO_COMPLAINT(encrypt_around(self, p, variant->len));
}

/* MEM-5 */
TEST_F(memory, hugetlbfs)
{
	long before = pages_huge(-1);
	__u8 *p;

	if (before < 0)
		SKIP(return, "no hugetlbfs");
	if (pages_huge(before + 2) < before + 2) {
		pages_huge(before);
		SKIP(return, "no memory for huge pages");
	}
	p = map(2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	EXPECT_NE(NULL, p);
	if (p) {
		EXPECT_NO_COMPLAINT(encrypt_around(self, p, variant->len));
		munmap(p, 2 * HUGE_PAGE);
	}
	EXPECT_EQ(before, pages_huge(before));
}

/* FP-21: memory that is there, and that nobody may use. */
TEST_F(memory, no_access)
{
	size_t len = variant->len;
	__u8 *p = anonymous(len);

	ASSERT_NE(NULL, p);
	memcpy(p, self->plain, len);
	ASSERT_EQ(0, mprotect(p, len, PROT_NONE));
	EXPECT_EQ(-EFAULT, encrypt(self, p, self->want, len));
	EXPECT_EQ(-EFAULT, encrypt(self, self->plain, p, len));
	ASSERT_EQ(0, mprotect(p, len, PROT_READ));
	EXPECT_EQ(len, first_difference(p, self->plain, len));
}

struct remapper {
	__u8 *p;
	size_t len;
	atomic_bool stop;
};

/* Takes the memory away, and puts other memory in its place. */
static void *remap(void *arg)
{
	struct remapper *r = arg;

	while (!r->stop) {
		munmap(r->p, r->len);
		sched_yield();
		if (mmap(r->p, r->len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    r->p)
			return "cannot map";
		sched_yield();
	}
	return NULL;
}

/* MEM-6: memory that comes and goes while it is used. */
TEST_F(memory, changing_mappings)
{
	size_t len = variant->len;
	struct remapper r = { .p = anonymous(len), .len = len };
	unsigned int worked = 0, failed = 0;
	pthread_t thread;
	void *why;

	ASSERT_NE(NULL, r.p);
	ASSERT_EQ(0, pthread_create(&thread, NULL, remap, &r));
	for (int i = 0; i < 1000 && (!worked || !failed || i < 200); i++) {
		int ret = i % 2 ? encrypt(self, r.p, self->want, len) :
				  encrypt(self, self->plain, r.p, len);

		if (!ret)
			worked++;
		else if (ret == -EFAULT)
			failed++;
		else
			EXPECT_EQ(0, ret);
	}
	r.stop = true;
	pthread_join(thread, &why);
	EXPECT_EQ(NULL, why);
	EXPECT_LT(0, worked);
	EXPECT_LT(0, failed);
}

/*
 * FP-22: a source that takes too many descriptors: a gigabyte and more, each
 * page the same page of zeros, so that no two can be merged. With AAD that
 * long, the destination can be small.
 */
TEST_F_TIMEOUT(memory, too_many_pages, 100)
{
	size_t len = TOO_MANY_PAGES;
	__u8 *src = map(len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
			MAP_NORESERVE, -1);
	__u8 dst[16];
	struct azihsm_aes cmd;
	struct hsm_key key;
	int ret;

	if (hsm_behind_iommu())
		SKIP(return, "an IOMMU would map each page");
	ASSERT_NE(NULL, src);
	ASSERT_EQ(0, madvise(src, len, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &key));
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, key.bulk_id, len - 16,
		 src, dst, len);
	cmd.gcm.workaround = 0;
	cmd.dst_len = sizeof(dst);
	memset(dst, GUARD_FILL, sizeof(dst));
	ret = hsm_gcm(self->fd, &cmd);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_EQ(AZIHSM_EXT_AES_NO_MEMORY, cmd.extended_status);
	EXPECT_EQ(0, cmd.byte_count);
	EXPECT_TRUE(all_bytes(dst, GUARD_FILL, sizeof(dst)));
	munmap(src, len);
	/* It has not spoiled anything. */
	EXPECT_EQ(0, encrypt(self, self->plain, self->want, variant->len));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
