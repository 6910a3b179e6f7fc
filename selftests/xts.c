// SPDX-License-Identifier: GPL-2.0
/*
 * AES-XTS on the fast path, against libcrypto: sizes, data units, numbers of
 * the first unit, alignment.
 */
#include "lib/harness.h"
#include "lib/roundtrip.h"

#define MiB	(1024 * 1024)

FIXTURE(xts) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	__u8 key1_bytes[32], key2_bytes[32];
	struct xts_case c;
};

FIXTURE_SETUP(xts)
{
	struct hsm_key key1, key2;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_xts_keys(&self->s, &key1,
					   &key2));
	hsm_test_key("data", self->key1_bytes);
	hsm_test_key("tweak", self->key2_bytes);
	self->c = (struct xts_case) {
		.s = &self->s,
		.key1 = key1.bulk_id,
		.key2 = key2.bulk_id,
		.key1_bytes = self->key1_bytes,
		.key2_bytes = self->key2_bytes,
	};
}

FIXTURE_TEARDOWN(xts)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* XTS-2: the whole transfer as one data unit. */
TEST_F(xts, sizes)
{
	static const size_t sizes[] = {
		16, 32, 48, 240, 256, 512, 1040, 4080, 4096, 4112, 8176, 8192,
		8208, 12288, 12304, 65520, 65536, 65552, 131072,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->c.len = sizes[i];
		self->c.first_unit = i;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
	}
}

/* XTS-1 */
TEST_F(xts, data_units)
{
	static const __u64 numbers[] = { 0, 1, 255, 0xffffffff, 1ULL << 40 };

	for (__u16 u = AZIHSM_XTS_UNIT_512; u <= AZIHSM_XTS_UNIT_8192; u++) {
		size_t unit = xts_unit_len(u);

		self->c.data_unit = u;
		for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
			self->c.first_unit = numbers[i];
			self->c.len = unit;
			EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
			self->c.len = 5 * unit;
			EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
		}
		self->c.len = 131072;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
	}
}

/* MEM-1, MEM-3 */
TEST_F(xts, unaligned_buffers)
{
	static const size_t offsets[][2] = {
		{ 1, 0 }, { 0, 1 }, { 3, 17 }, { 4095, 4095 }, { 4080, 5 },
	};

	self->c.data_unit = AZIHSM_XTS_UNIT_512;
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		self->c.src_offset = offsets[i][0];
		self->c.dst_offset = offsets[i][1];
		self->c.len = 1024;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
		self->c.len = 20480;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
		self->c.len = 131072;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
	}
}

/* MEM-2 */
TEST_F(xts, in_place)
{
	static const size_t sizes[] = { 16, 512, 4096, 8208, 70016 };

	self->c.in_place = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->c.len = sizes[i];
		self->c.src_offset = i;
		EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
	}
}

TEST_F(xts, large)
{
	self->c.len = MiB + 16;
	EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
	/* More segments of the scatter-gather list than one. */
	self->c.len = 4 * MiB;
	self->c.data_unit = AZIHSM_XTS_UNIT_4096;
	self->c.src_offset = 100;
	EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));
}

/* XTS-2, XTS-3: as much as the device takes in one command, and more. */
TEST_F_TIMEOUT(xts, largest, 60)
{
	struct azihsm_aes cmd;
	struct guarded src;

	self->c.len = 16 * MiB;
	self->c.data_unit = AZIHSM_XTS_UNIT_8192;
	self->c.in_place = true;
	EXPECT_NO_COMPLAINT(xts_round_trip(&self->c));

	ASSERT_TRUE(guarded_alloc(&src, 16 * MiB + 512, 0));
	xts_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->c.key1,
		 self->c.key2, AZIHSM_XTS_UNIT_512, 0, src.p, src.p, src.len);
	EXPECT_EQ(0, hsm_xts(self->fd, &cmd));
	EXPECT_EQ(FP_INVALID_XTS, cmd.result);
	EXPECT_EQ(XTS_TOO_LONG, cmd.extended_status);
	EXPECT_EQ(0, cmd.byte_count);
	guarded_free(&src);
}

/* XTS-4: A destination with more room than the source needs: the rest stays. */
TEST_F(xts, long_destination)
{
	static const size_t sizes[] = { 512, 16384 };
	struct azihsm_aes cmd;
	struct guarded src, dst;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_TRUE(guarded_alloc(&src, sizes[i], 0));
		ASSERT_TRUE(guarded_alloc(&dst, sizes[i] + 4096, 0));
		guarded_pattern(&src, 1);
		xts_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->c.key1,
			 self->c.key2, 0, 7, src.p, dst.p, src.len);
		cmd.dst_len = dst.len;
		ASSERT_EQ(0, hsm_xts(self->fd, &cmd));
		EXPECT_EQ(0, cmd.result);
		EXPECT_EQ(0, cmd.extended_status);
		EXPECT_EQ(src.len, cmd.byte_count);
		ASSERT_TRUE(aes_xts(true, self->key1_bytes, self->key2_bytes, 7,
				    0, src.p, src.p, src.len));
		EXPECT_EQ(src.len, first_difference(src.p, dst.p, src.len));
		EXPECT_TRUE(all_bytes(dst.p + src.len, GUARD_FILL, 4096));
		EXPECT_TRUE(guarded_intact(&dst));
		guarded_free(&src);
		guarded_free(&dst);
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
