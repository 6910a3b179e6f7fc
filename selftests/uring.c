// SPDX-License-Identifier: GPL-2.0
/*
 * Commands through io_uring, one at a time: the same results as through
 * ioctls, in rings of all kinds, and what is refused.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/ring.h"
#include "lib/roundtrip.h"

#define MiB	(1024 * 1024)
#define PATIENCE	30
/* Rings whose completions have room for status and extended status. */
#define LARGE_CQES	(IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED)

FIXTURE(uring) {
	int fd;
	struct io_uring ring;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2, cbc;
	__u8 gcm_bytes[32], xts1_bytes[32], xts2_bytes[32], cbc_bytes[32];
};

FIXTURE_VARIANT(uring) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(uring, cqe32) {
	.flags = IORING_SETUP_CQE32,
};

FIXTURE_VARIANT_ADD(uring, cqe16) {
	.flags = 0,
};

FIXTURE_VARIANT_ADD(uring, sqpoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SQPOLL,
};

FIXTURE_VARIANT_ADD(uring, defer_taskrun) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_SINGLE_ISSUER |
		 IORING_SETUP_DEFER_TASKRUN,
};

FIXTURE_VARIANT_ADD(uring, coop_taskrun) {
	.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
};

FIXTURE_VARIANT_ADD(uring, iopoll) {
	.flags = IORING_SETUP_CQE32 | IORING_SETUP_IOPOLL,
};

/* Entries of both sizes in both queues. */
FIXTURE_VARIANT_ADD(uring, mixed) {
	.flags = IORING_SETUP_SQE_MIXED | IORING_SETUP_CQE_MIXED,
};

FIXTURE_SETUP(uring)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ring_open(&self->ring, 32, variant->flags));
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	/* Sessions and keys come from the ring, too. */
	ring_use(&self->ring);
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &self->xts1,
					   &self->xts2));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "cbc",
				      HSM_KEY_CIPHER, &self->cbc));
	hsm_test_key("gcm", self->gcm_bytes);
	hsm_test_key("data", self->xts1_bytes);
	hsm_test_key("tweak", self->xts2_bytes);
	hsm_test_key("cbc", self->cbc_bytes);
}

FIXTURE_TEARDOWN(uring)
{
	ring_use(NULL);
	io_uring_queue_exit(&self->ring);
	close(self->fd);
}

TEST_F(uring, gcm)
{
	static const size_t sizes[] = {
		1, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 8193, 65537,
		MiB + 5, 4 * MiB,
	};
	struct gcm_case c = {
		.s = &self->s,
		.key = self->gcm.bulk_id,
		.key_bytes = self->gcm_bytes,
		.approved = true,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		c.text = sizes[i];
		c.aad = i * 7 % 70;
		c.src_offset = i * 1021 % 4096;
		c.dst_offset = i * 77 % 64;
		c.in_place = i % 4 == 3;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&c));
	}
}

TEST_F(uring, xts)
{
	static const size_t units[] = { 1, 8, 9, 16, 17, 128, 2048, 8192 };
	struct xts_case c = {
		.s = &self->s,
		.key1 = self->xts1.bulk_id,
		.key2 = self->xts2.bulk_id,
		.key1_bytes = self->xts1_bytes,
		.key2_bytes = self->xts2_bytes,
		.data_unit = AZIHSM_XTS_UNIT_512,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(units); i++) {
		c.len = 512 * units[i];
		c.first_unit = i * 1000003;
		c.src_offset = i * 1021 % 4096;
		c.dst_offset = i * 77 % 64;
		c.in_place = i % 4 == 3;
		EXPECT_NO_COMPLAINT(xts_round_trip(&c));
	}
	c.data_unit = AZIHSM_XTS_UNIT_ALL;
	c.len = 48;
	EXPECT_NO_COMPLAINT(xts_round_trip(&c));
}

TEST_F(uring, control)
{
	for (unsigned int i = 0; i < 8; i++)
		EXPECT_NO_COMPLAINT(cbc_round_trip(&self->s, self->cbc.id,
						   self->cbc_bytes,
						   16 + 112 * i, i));
	/* A file has one session, whatever door it came through. */
	EXPECT_EQ(0, hsm_close_session(&self->s));
	ring_use(NULL);
	EXPECT_EQ(0, hsm_open_session(self->fd, &self->s));
	ring_use(&self->ring);
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* A tag that does not match: no plaintext, and an error that says so. */
TEST_F(uring, wrong_tag)
{
	static const size_t sizes[] = { 64, 4096, 20000 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct azihsm_uring_result result = { 0 };
		struct guarded src, dst;
		struct azihsm_aes cmd;
		struct ring_done done;

		ASSERT_TRUE(guarded_alloc(&src, sizes[i], 5));
		ASSERT_TRUE(guarded_alloc(&dst, sizes[i], 9));
		guarded_pattern(&src, i);
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, src.p, dst.p, sizes[i]);
		ASSERT_EQ(0, hsm_gcm(self->fd, &cmd));
		memcpy(src.p, dst.p, sizes[i]);
		memset(dst.p, GUARD_FILL, sizes[i]);
		cmd.op = AZIHSM_AES_DECRYPT;
		memcpy(cmd.gcm.iv, cmd.iv, sizeof(cmd.iv));
		memcpy(cmd.gcm.tag, cmd.tag, sizeof(cmd.tag));
		cmd.gcm.tag[3] ^= 4;
		ring_put_aes(&self->ring, &cmd, self->fd, &result, 77);
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(77, done.data);
		EXPECT_EQ(-EBADMSG, done.res);
		EXPECT_NE(0, result.status);
		EXPECT_NE(0, result.extended_status);
		EXPECT_EQ(0, result.byte_count);
		EXPECT_TRUE(all_bytes(result.tag, 0, sizeof(result.tag)));
		if (variant->flags & LARGE_CQES) {
			EXPECT_EQ(result.status, done.status);
			EXPECT_EQ(result.extended_status, done.ext);
		}
		/* Untouched if bounced, cleared if not. */
		EXPECT_TRUE(all_bytes(dst.p, GUARD_FILL, sizes[i]) ||
			    all_bytes(dst.p, 0, sizes[i]));
		EXPECT_TRUE(guarded_intact(&src) && guarded_intact(&dst));
		guarded_free(&src);
		guarded_free(&dst);
	}
}

/* Nobody needs a result for a decryption. */
TEST_F(uring, no_result)
{
	__u8 text[512], sealed[512], plain[512];
	struct azihsm_aes cmd;
	struct ring_done done;

	fill_pattern(text, sizeof(text), 1);
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0,
		 text, sealed, sizeof(text));
	ASSERT_EQ(0, hsm_gcm(self->fd, &cmd));
	cmd.op = AZIHSM_AES_DECRYPT;
	cmd.src = (uintptr_t)sealed;
	cmd.dst = (uintptr_t)plain;
	memcpy(cmd.gcm.iv, cmd.iv, sizeof(cmd.iv));
	memcpy(cmd.gcm.tag, cmd.tag, sizeof(cmd.tag));
	ring_put_aes(&self->ring, &cmd, self->fd, NULL, 1);
	ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
	EXPECT_EQ(sizeof(text), done.res);
	EXPECT_EQ(0, done.status);
	EXPECT_EQ(0, done.ext);
	EXPECT_EQ(0, memcmp(text, plain, sizeof(text)));
}

/* A result that cannot be written is this command's own trouble. */
TEST_F(uring, result_unmapped)
{
	__u8 text[512] = { 1 }, sealed[2][512];
	struct azihsm_uring_result result;
	struct azihsm_aes cmd;
	struct ring_done done;
	void *hole;

	hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, hole);
	for (int i = 0; i < 2; i++) {
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, text, sealed[i], sizeof(text));
		ring_put_aes(&self->ring, &cmd, self->fd, i ? &result : hole, i);
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(done.data ? sizeof(text) : -EFAULT, done.res);
	}
	munmap(hole, 4096);
	EXPECT_EQ(sizeof(text), result.byte_count);
	/* Neither slot nor session was lost. */
	for (int i = 0; i < 200; i++) {
		ring_put_aes(&self->ring, &cmd, self->fd, NULL, i);
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		ASSERT_EQ(sizeof(text), done.res);
	}
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

static int raw(struct io_uring *ring, int fd, __u32 op, const void *payload,
	       struct ring_done *done)
{
	ring_put(ring, fd, op, payload, 3);
	return ring_wait(ring, done, PATIENCE);
}

TEST_F(uring, bad_fields)
{
	static const __u32 ops[] = {
		AZIHSM_URING_CP, AZIHSM_URING_GCM, AZIHSM_URING_XTS,
	};
	/* Offsets that are reserved, or where this bit is, in each payload. */
	static const struct { int op, at; __u8 value; } bad[] = {
		{ 0, 0, 1 }, { 0, 1, 0x80 }, { 0, 6, 8 }, { 0, 7, 1 },
		{ 0, 8, 1 }, { 0, 47, 0x80 },
		{ 1, 0, 4 }, { 1, 1, 1 }, { 1, 7, 1 },
		{ 2, 0, 2 }, { 2, 1, 1 }, { 2, 32, 1 }, { 2, 47, 0x80 },
	};
	__u8 text[64] = { 0 }, out[64];
	struct ring_done done;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		__u8 payload[RING_PAYLOAD] = { 0 };

		payload[bad[i].at] = bad[i].value;
		ASSERT_EQ(0, raw(&self->ring, self->fd, ops[bad[i].op],
				 payload, &done));
		EXPECT_EQ(-EINVAL, done.res) {
			TH_LOG("command %d, byte %d", bad[i].op, bad[i].at);
		}
		EXPECT_EQ(0, done.ext);
	}

	/* What is wrong with a command is said as by the ioctl. */
	struct azihsm_uring_gcm gcm = {
		.session_id = self->s.id,
		.short_app_id = self->s.app + 1,
		.src = (uintptr_t)text,
		.dst = (uintptr_t)out,
		.src_len = sizeof(text),
		.dst_len = sizeof(out),
	};
	ASSERT_EQ(0, raw(&self->ring, self->fd, AZIHSM_URING_GCM, &gcm, &done));
	EXPECT_EQ(-EINVAL, done.res);
	if (variant->flags & LARGE_CQES)
		EXPECT_EQ(AZIHSM_EXT_AES_SHORT_APP_ID, done.ext);

	struct azihsm_uring_cp cp = { .src_len = AZIHSM_CP_MAX_LEN + 1 };

	ASSERT_EQ(0, raw(&self->ring, self->fd, AZIHSM_URING_CP, &cp, &done));
	EXPECT_EQ(-EINVAL, done.res);
	if (variant->flags & LARGE_CQES)
		EXPECT_EQ(AZIHSM_EXT_SRC_LEN, done.ext);
}

TEST_F(uring, unknown_commands)
{
	static const __u32 ops[] = {
		0, AZIHSM_IOC_CP_CMD, AZIHSM_IOC_AES_GCM,
		_IOWR('B', 0x22, struct azihsm_aes), 0xffffffff,
	};
	__u8 payload[RING_PAYLOAD] = { 0 };
	struct ring_done done;

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++) {
		ASSERT_EQ(0, raw(&self->ring, self->fd, ops[i], payload, &done));
		EXPECT_EQ(-ENOTTY, done.res);
	}
}

/* Buffers that are not there. */
TEST_F(uring, bad_buffers)
{
	static const size_t sizes[] = { 512, 65536 };
	struct azihsm_aes cmd;
	struct ring_done done;
	__u8 *buffer, *hole;

	buffer = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	hole = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_NE(MAP_FAILED, hole);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, hole, buffer, sizes[i]);
		ring_put_aes(&self->ring, &cmd, self->fd, NULL, 0);
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(-EFAULT, done.res);
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, buffer, hole, sizes[i]);
		ring_put_aes(&self->ring, &cmd, self->fd, NULL, 0);
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(-EFAULT, done.res);
	}
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

static int fixed(struct io_uring *ring, const struct azihsm_aes *cmd, int fd,
		 int buffer, struct azihsm_uring_result *result,
		 struct ring_done *done)
{
	struct io_uring_sqe *sqe = ring_put_aes(ring, cmd, fd, result, 9);

	sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
	sqe->buf_index = buffer;
	return ring_wait(ring, done, PATIENCE);
}

/* Registered buffers: source and destination in one, the pages stay pinned. */
TEST_F(uring, fixed_buffers)
{
	static const size_t sizes[] = {
		1, 16, 31, 4096, 8192, 8193, 65536 + 7, MiB,
	};
	enum { ARENA = 4 * MiB };
	struct azihsm_uring_result result;
	struct azihsm_aes cmd;
	struct ring_done done;
	__u8 *arena, *want, tag[16];
	struct iovec vec;

	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	want = mmap(NULL, MiB, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, arena);
	ASSERT_NE(MAP_FAILED, want);
	vec = (struct iovec) { .iov_base = arena, .iov_len = ARENA };
	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &vec, 1));

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];
		__u8 *src = arena + i * 1021, *dst = arena + 2 * MiB + i * 77;

		memset(arena, GUARD_FILL, ARENA);
		fill_pattern(src, len, i);
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id,
			 0, src, dst, len);
		ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, &result,
				   &done));
		ASSERT_EQ(len, done.res);
		ASSERT_TRUE(aes_gcm_encrypt(self->gcm_bytes, result.iv, NULL, 0,
					    src, want, len, tag));
		EXPECT_EQ(len, first_difference(dst, want, len));
		EXPECT_EQ(0, memcmp(tag, result.tag, sizeof(tag)));
		EXPECT_EQ(GUARD_FILL, dst[-1]);
		EXPECT_EQ(GUARD_FILL, dst[len]);

		/* In place; with the right tag, then with a wrong one. */
		cmd.op = AZIHSM_AES_DECRYPT;
		cmd.src = (uintptr_t)dst;
		memcpy(cmd.gcm.iv, result.iv, sizeof(result.iv));
		memcpy(cmd.gcm.tag, tag, sizeof(tag));
		ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, NULL, &done));
		EXPECT_EQ(len, done.res);
		EXPECT_EQ(len, first_difference(dst, src, len));
		memcpy(dst, want, len);
		cmd.gcm.tag[0] ^= 1;
		ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, NULL, &done));
		EXPECT_EQ(-EBADMSG, done.res);
		if (len >= 16) {
			EXPECT_TRUE(all_bytes(dst, 0, len & ~15));
			EXPECT_NE(0, memcmp(dst, src, len));
		}
	}

	/* What is not in the buffer is refused, and so is a buffer that is not. */
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0,
		 arena, want, 4096);
	ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, NULL, &done));
	EXPECT_EQ(-EFAULT, done.res);
	cmd.dst = (uintptr_t)(arena + ARENA - 4095);
	ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, NULL, &done));
	EXPECT_EQ(-EFAULT, done.res);
	cmd.dst = (uintptr_t)arena;
	ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 1, NULL, &done));
	EXPECT_EQ(-EFAULT, done.res);
	ASSERT_EQ(0, fixed(&self->ring, &cmd, self->fd, 0, NULL, &done));
	EXPECT_EQ(4096, done.res);
	munmap(arena, ARENA);
	munmap(want, MiB);
}

/* Small operations between commands: entries of all sizes wherever they fit. */
TEST_F(uring, between_others)
{
	__u8 text[4][100], sealed[4][100], want[100], tag[16];
	struct azihsm_uring_result result[4];
	struct azihsm_aes cmd;
	struct ring_done done;
	unsigned int nops = 0;

	if (variant->flags & IORING_SETUP_IOPOLL)
		SKIP(return, "a ring that polls takes commands only");
	for (unsigned int i = 0; i < 60; i++) {
		unsigned int k = i % 4, small = 1 + i % 3;

		for (unsigned int n = 0; n < small; n++) {
			struct io_uring_sqe *sqe = ring_put_other(&self->ring);

			sqe->opcode = IORING_OP_NOP;
			sqe->user_data = 100 + n;
		}
		fill_pattern(text[k], sizeof(text[k]), i);
		gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT,
			 self->gcm.bulk_id, 0, text[k], sealed[k],
			 sizeof(text[k]));
		ring_put_aes(&self->ring, &cmd, self->fd, &result[k], k);
		for (unsigned int n = 0; n <= small; n++) {
			ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
			if (done.data >= 100) {
				EXPECT_EQ(0, done.res);
				nops++;
				continue;
			}
			ASSERT_EQ(k, done.data);
			ASSERT_EQ(sizeof(text[k]), done.res);
			EXPECT_EQ(0, done.status);
			EXPECT_EQ(0, done.ext);
			ASSERT_TRUE(aes_gcm_encrypt(self->gcm_bytes,
						    result[k].iv, NULL, 0,
						    text[k], want, sizeof(want),
						    tag));
			EXPECT_EQ(0, memcmp(want, sealed[k], sizeof(want)));
			EXPECT_EQ(0, memcmp(tag, result[k].tag, sizeof(tag)));
		}
	}
	EXPECT_EQ(120, nops);
}

/* The next link starts from what the one before it made. */
TEST_F(uring, links)
{
	enum { LEN = 16384 };
	static __u8 text[LEN], sealed[LEN], plain[LEN];
	struct azihsm_aes cmd;
	struct ring_done done;

	fill_pattern(text, LEN, 5);
	memset(plain, 0, LEN);
	xts_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->xts1.bulk_id,
		 self->xts2.bulk_id, AZIHSM_XTS_UNIT_4096, 7, text, sealed, LEN);
	ring_put_aes(&self->ring, &cmd, self->fd, NULL, 0)->flags |= IOSQE_IO_LINK;
	cmd.op = AZIHSM_AES_DECRYPT;
	cmd.src = (uintptr_t)sealed;
	cmd.dst = (uintptr_t)plain;
	ring_put_aes(&self->ring, &cmd, self->fd, NULL, 1);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(i, done.data);
		EXPECT_EQ(LEN, done.res);
	}
	EXPECT_EQ(LEN, first_difference(text, plain, LEN));

	/* After a link that fails nothing happens. */
	memset(plain, 0, LEN);
	cmd.session_id ^= 1;
	ring_put_aes(&self->ring, &cmd, self->fd, NULL, 0)->flags |= IOSQE_IO_LINK;
	cmd.session_id ^= 1;
	ring_put_aes(&self->ring, &cmd, self->fd, NULL, 1);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(done.data ? -ECANCELED : -EINVAL, done.res);
	}
	EXPECT_TRUE(all_bytes(plain, 0, LEN));
}

/* io_uring's own workers issue commands, too. */
TEST_F(uring, forced_to_workers)
{
	__u8 text[2048], sealed[2048];
	struct azihsm_aes cmd;
	struct ring_done done;

	fill_pattern(text, sizeof(text), 1);
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0,
		 text, sealed, sizeof(text));
	for (int i = 0; i < 50; i++) {
		struct io_uring_sqe *sqe;

		sqe = ring_put_aes(&self->ring, &cmd, self->fd, NULL, i);
		sqe->flags |= IOSQE_ASYNC;
	}
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(sizeof(text), done.res);
	}
}

/* A ring does not make a file another process's. */
TEST_F(uring, inherited)
{
	__u8 text[64] = { 0 }, out[64];
	struct azihsm_aes cmd;
	struct ring_done done;
	int status;
	pid_t child;

	/* One that polls has its own thread; one with a single issuer has it. */
	if (variant->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER))
		SKIP(return, "another process cannot submit to this ring");
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->gcm.bulk_id, 0,
		 text, out, sizeof(text));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ring_put_aes(&self->ring, &cmd, self->fd, NULL, 0);
		ring_put_aes(&self->ring, &cmd, self->fd, NULL, 1);
		for (int i = 0; i < 2; i++) {
			if (ring_wait(&self->ring, &done, PATIENCE))
				_exit(1);
			if (done.res != -EACCES)
				_exit(2);
		}
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
