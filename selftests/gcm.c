// SPDX-License-Identifier: GPL-2.0
/*
 * AES-GCM on the fast path, against libcrypto: sizes, AAD, alignment, and that
 * a wrong tag yields no plaintext.
 */
#include "lib/harness.h"
#include "lib/roundtrip.h"

#define MiB	(1024 * 1024)

FIXTURE(gcm) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	__u8 key_bytes[32];
	struct gcm_case c;
};

FIXTURE_VARIANT(gcm) {
	__u32 size;
};

FIXTURE_VARIANT_ADD(gcm, approved) {
	.size = HSM_KEY_GCM,
};

FIXTURE_VARIANT_ADD(gcm, unapproved) {
	.size = HSM_KEY_GCM_UNAPPROVED,
};

FIXTURE_SETUP(gcm)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, variant->size, "gcm",
				      HSM_KEY_CIPHER, &self->key));
	hsm_test_key("gcm", self->key_bytes);
	self->c = (struct gcm_case) {
		.s = &self->s,
		.key = self->key.bulk_id,
		.key_bytes = self->key_bytes,
		.approved = variant->size == HSM_KEY_GCM,
	};
}

FIXTURE_TEARDOWN(gcm)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* GCM-2 */
TEST_F(gcm, sizes)
{
	static const size_t sizes[] = {
		1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 255, 256, 257, 511, 4079,
		4080, 4081, 4095, 4096, 4097, 8175, 8191, 8192, 8193, 12289,
		65535, 65536, 65537, 100000,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->c.text = sizes[i];
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
	}
}

/* GCM-1 */
TEST_F(gcm, aad)
{
	static const size_t aads[] = {
		1, 7, 15, 16, 17, 20, 31, 32, 33, 48, 49, 63, 64, 65, 80, 81,
		95, 96,
	};
	static const size_t texts[] = { 1, 16, 31, 4096, 8000 };

	for (unsigned int i = 0; i < ARRAY_SIZE(aads); i++) {
		for (unsigned int j = 0; j < ARRAY_SIZE(texts); j++) {
			self->c.aad = aads[i];
			self->c.text = texts[j];
			EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
		}
	}
	self->c.aad = 4096;
	self->c.text = 4097;
	EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
}

/* GCM-1, GCM-2: no text; padded AAD longer than the AAD makes a source. */
TEST_F(gcm, no_text)
{
	self->c.aad = 5;
	EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
	self->c.aad = 33;
	EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
}

/* MEM-1, MEM-3 */
TEST_F(gcm, unaligned_buffers)
{
	static const size_t offsets[][2] = {
		{ 1, 0 }, { 0, 1 }, { 3, 17 }, { 4095, 4095 }, { 4080, 5 },
		{ 63, 4064 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		self->c.src_offset = offsets[i][0];
		self->c.dst_offset = offsets[i][1];
		self->c.aad = 13;
		self->c.text = 1000;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
		self->c.text = 20001;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
		self->c.aad = 0;
		self->c.text = 131072;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
	}
}

/* MEM-2 */
TEST_F(gcm, in_place)
{
	static const size_t sizes[] = { 1, 100, 4096, 8193, 70000 };

	self->c.in_place = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->c.text = sizes[i];
		self->c.aad = 0;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
		self->c.aad = 20;
		self->c.src_offset = 9;
		EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
	}
}

TEST_F(gcm, large)
{
	self->c.text = MiB + 5;
	self->c.aad = 20;
	EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
	/* More segments of the scatter-gather list than one. */
	self->c.text = 4 * MiB;
	self->c.aad = 0;
	self->c.src_offset = 100;
	EXPECT_NO_COMPLAINT(gcm_round_trip(&self->c));
}

/* GCM-2: without the work-around lengths go to the device as they are. */
TEST_F(gcm, without_workaround)
{
	__u8 want[64], tag[16];
	struct guarded src, dst;
	struct azihsm_aes cmd;

	ASSERT_TRUE(guarded_alloc(&src, 80, 0));
	ASSERT_TRUE(guarded_alloc(&dst, 80, 0));
	guarded_pattern(&src, 1);
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->c.key, 0, src.p,
		 dst.p, 64);
	cmd.gcm.workaround = 0;
	ASSERT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(64, cmd.byte_count);
	ASSERT_TRUE(aes_gcm_encrypt(self->key_bytes, cmd.iv, NULL, 0, src.p,
				    want, 64, tag));
	EXPECT_EQ(64, first_difference(want, dst.p, 64));
	EXPECT_EQ(0, memcmp(tag, cmd.tag, sizeof(tag)));

	/* So a tail is an error of the device. */
	memset(dst.p, GUARD_FILL, dst.len);
	gcm_init(&cmd, &self->s, AZIHSM_AES_ENCRYPT, self->c.key, 0, src.p,
		 dst.p, 65);
	cmd.gcm.workaround = 0;
	ASSERT_EQ(0, hsm_gcm(self->fd, &cmd));
	EXPECT_EQ(FP_INVALID_GCM, cmd.result);
	EXPECT_EQ(GCM_LENGTH, cmd.extended_status);
	EXPECT_EQ(0, cmd.byte_count);
	EXPECT_TRUE(all_bytes(dst.p, GUARD_FILL, dst.len));
	EXPECT_TRUE(guarded_intact(&dst));
	guarded_free(&src);
	guarded_free(&dst);
}

/* A decryption that has to fail: what is changed. */
enum damage {
	NOTHING,
	TAG_FIRST,
	TAG_LAST,
	AAD,
	PADDING,
	IV,
	TEXT,
	KEY,
};

/*
 * Whether a destination is fit to be seen after a failure. What the device
 * wrote has to be zero again; what it did not, such as the bytes after the
 * last whole block, may be as it was.
 */
static bool wiped_or_untouched(const __u8 *dst, const __u8 *before, size_t len)
{
	size_t blocks = len - len % 16;

	return (all_bytes(dst, 0, blocks) || !memcmp(dst, before, blocks)) &&
	       (all_bytes(dst + blocks, 0, len % 16) ||
		!memcmp(dst + blocks, before + blocks, len % 16));
}

/* Encrypts in software, damages, decrypts on the device. */
static const char *decrypt_damaged(const struct gcm_case *c, enum damage damage,
				   __u32 other_key, bool in_place)
{
	static char why[128];
	size_t head = gcm_padded_len(c->aad), len = head + c->text;
	struct azihsm_aes cmd;
	struct guarded src, dst;
	__u8 *before, iv[12];
	bool corrected;
	int ret;

	if (!guarded_alloc(&src, len, 3) || !guarded_alloc(&dst, len, 0))
		return "no memory";
	before = malloc(len);
	fill_pattern(iv, sizeof(iv), len);
	fill_pattern(src.p, src.len, len);
	gcm_init(&cmd, c->s, AZIHSM_AES_DECRYPT, c->key, c->aad, src.p,
		 in_place ? src.p : dst.p, len);
	memcpy(cmd.gcm.iv, iv, sizeof(iv));
	if (!before ||
	    !aes_gcm_encrypt(c->key_bytes, iv, "ADDITIONALDATA", c->aad,
			     src.p + head, src.p + head, c->text, cmd.gcm.tag))
		return "libcrypto failed";
	gcm_put_aad(src.p, "ADDITIONALDATA", c->aad);

	switch (damage) {
	case NOTHING:
		break;
	case TAG_FIRST:
		cmd.gcm.tag[0] ^= 0x80;
		break;
	case TAG_LAST:
		cmd.gcm.tag[15] ^= 1;
		break;
	case AAD:
		src.p[16] ^= 1;
		break;
	case PADDING:
		src.p[31] ^= 1;
		break;
	case IV:
		cmd.gcm.iv[11] ^= 1;
		break;
	case TEXT:
		src.p[len - 1] ^= 1;
		break;
	case KEY:
		cmd.gcm.key_id = other_key;
		break;
	}
	memcpy(before, in_place ? src.p : dst.p, len);
	memset(&cmd.out_ctxt, 0xcc,
	       sizeof(cmd) - offsetof(typeof(cmd), out_ctxt));
	ret = hsm_gcm(c->s->fd, &cmd);

	why[0] = 0;
	corrected = c->aad % 32 || len % 16;
	if (ret)
		snprintf(why, sizeof(why), "returned %d", ret);
	else if (damage == NOTHING && !cmd.result)
		snprintf(why, sizeof(why), "accepted");
	else if (cmd.result != (corrected ? FP_INVALID_GCM : FP_ENGINE) ||
		 cmd.extended_status !=
		 (corrected ? GCM_TAG_CORRECTED : ENGINE_TAG))
		snprintf(why, sizeof(why), "result %#x, status %#x", cmd.result,
			 cmd.extended_status);
	else if (cmd.byte_count)
		snprintf(why, sizeof(why), "%u bytes", cmd.byte_count);
	else if (!all_bytes(cmd.tag, 0, 16) || !all_bytes(cmd.iv, 0, 12))
		snprintf(why, sizeof(why), "tag or IV given");
	else if (!wiped_or_untouched(in_place ? src.p : dst.p, before, len))
		snprintf(why, sizeof(why), "destination has data");
	else if (!guarded_intact(&src) || !guarded_intact(&dst))
		snprintf(why, sizeof(why), "wrote outside of the destination");
	free(before);
	guarded_free(&src);
	guarded_free(&dst);
	return why[0] ? why : NULL;
}

/* GCM-5, MEM-6 */
TEST_F(gcm, no_plaintext_without_tag)
{
	static const size_t texts[] = {
		1, 16, 100, 4096, 4097, 8192, 65539, 65536, MiB, MiB + 7,
	};
	struct hsm_key other;

	ASSERT_EQ(0, hsm_generate_key(&self->s, variant->size, "GCM",
				      HSM_KEY_CIPHER, &other));
	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++) {
		for (enum damage d = NOTHING; d <= KEY; d++) {
			const char *why;

			self->c.text = texts[i];
			self->c.aad = d == AAD || d == PADDING ? 14 : 0;
			/* Large ones with one kind of damage. */
			if (texts[i] > 70000 && d != NOTHING && d != TAG_LAST)
				continue;
			why = decrypt_damaged(&self->c, d, other.bulk_id,
					      i % 2);
			if (d == NOTHING) {
				EXPECT_TRUE(why && !strcmp(why, "accepted"));
				continue;
			}
			EXPECT_EQ(NULL, why) {
				TH_LOG("text %zu, damage %d: %s", texts[i], d,
				       why);
			}
		}
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
