// SPDX-License-Identifier: GPL-2.0
/*
 * The tests' own tools: the MBOR codec against the worked examples of the
 * protocol's specification, the software cryptography against published
 * vectors. Needs no device.
 */
#include <sys/mman.h>

#include "lib/harness.h"
#include "lib/json.h"
#include "lib/pages.h"
#include "lib/ring.h"
#include "lib/vectors.h"

#define EXPECT_BYTES(want, data, size) do {			\
	EXPECT_EQ(sizeof(want), size);				\
	EXPECT_EQ(0, memcmp(want, data, sizeof(want)));		\
} while (0)

TEST(request_without_revision)
{
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_GET_API_REV, DDI_NO_SESSION, 0);
	EXPECT_FALSE(c.req.overflow);
	EXPECT_BYTES(api_rev_request, c.req_buf, c.req.len);
}

TEST(request_with_revision)
{
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
	EXPECT_BYTES(device_info_request, c.req_buf, c.req.len);
}

TEST(request_in_session)
{
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_CLOSE_SESSION, 0, 0);
	EXPECT_BYTES(close_request, c.req_buf, c.req.len);
}

TEST(request_with_byte_strings)
{
	__u8 metadata[16] = { HSM_KEY_CIPHER }, digest[20];
	struct ddi_call c;

	ddi_begin(&c, DDI_OP_AES_GENERATE_KEY, 0, 2);
	mbor_put_id(&c.req, 1);
	mbor_put_u32(&c.req, HSM_KEY_XTS);
	mbor_put_id(&c.req, 3);
	mbor_put_map(&c.req, 2);
	mbor_put_id(&c.req, 1);
	mbor_put_map(&c.req, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_fixed(&c.req, metadata, sizeof(metadata));
	mbor_put_id(&c.req, 2);
	mbor_put_var(&c.req, "", 0);
	EXPECT_BYTES(generate_request, c.req_buf, c.req.len);

	memset(digest, 1, sizeof(digest));
	ddi_begin(&c, DDI_OP_ECC_SIGN, 0, 3);
	mbor_put_id(&c.req, 1);
	mbor_put_u16(&c.req, 5);
	mbor_put_id(&c.req, 2);
	mbor_put_var(&c.req, digest, sizeof(digest));
	mbor_put_id(&c.req, 3);
	mbor_put_u32(&c.req, 2);
	EXPECT_BYTES(sign_request, c.req_buf, c.req.len);
}

TEST(writer_overflow)
{
	struct mbor_writer w;
	__u8 buf[8] = { 0 };

	mbor_writer_init(&w, buf, 5);
	mbor_put_u32(&w, 0x01020304);
	EXPECT_FALSE(w.overflow);
	mbor_put_u8(&w, 5);
	EXPECT_TRUE(w.overflow);
	EXPECT_EQ(5, w.len);
	EXPECT_TRUE(all_bytes(buf + 5, 0, 3));
}

TEST(read_response)
{
	struct mbor_reader r;

	mbor_reader_init(&r, api_rev_response, sizeof(api_rev_response));
	EXPECT_EQ(2, mbor_get_map(&r));
	mbor_want_id(&r, 0);
	EXPECT_EQ(3, mbor_get_map(&r));
	EXPECT_FALSE(mbor_at_id(&r, 1));
	EXPECT_TRUE(mbor_at_id(&r, 2));
	mbor_want_id(&r, 2);
	EXPECT_EQ(DDI_OP_GET_API_REV, mbor_get_u32(&r));
	mbor_want_id(&r, 4);
	EXPECT_EQ(0, mbor_get_u32(&r));
	mbor_want_id(&r, 5);
	EXPECT_FALSE(mbor_get_bool(&r));
	mbor_want_id(&r, 1);
	EXPECT_EQ(2, mbor_get_map(&r));
	for (int rev = 1; rev <= 2; rev++) {
		EXPECT_FALSE(mbor_done(&r));
		mbor_want_id(&r, rev);
		EXPECT_EQ(2, mbor_get_map(&r));
		mbor_want_id(&r, 1);
		EXPECT_EQ(1, mbor_get_u32(&r));
		mbor_want_id(&r, 2);
		EXPECT_EQ(0, mbor_get_u32(&r));
	}
	EXPECT_TRUE(mbor_done(&r));
}

TEST(read_byte_strings)
{
	struct mbor_reader r;
	const __u8 *p;
	size_t len;

	mbor_reader_init(&r, "\x80\x00\x02xy\x83\x00\x03\x00\x00\x00uvw", 14);
	p = mbor_get_fixed(&r, 2);
	ASSERT_NE(NULL, p);
	EXPECT_EQ('y', p[1]);
	/* Marker at 5: the data starts at 8 with no padding at all. */
	mbor_get_var(&r, 8, &len);
	EXPECT_TRUE(r.bad);

	mbor_reader_init(&r, "\x81\x00\x03\x00uvw", 7);
	p = mbor_get_var(&r, 3, &len);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(3, len);
	EXPECT_EQ(0, memcmp(p, "uvw", 3));
	EXPECT_TRUE(mbor_done(&r));
}

TEST(read_malformed)
{
	static const struct {
		const char *bytes;
		size_t len;
	} vars[] = {
		{ "\x80\x00\x03uvw", 6 },	/* padding missing */
		{ "\x81\x00\x03\x01uvw", 7 },	/* padding not zero */
		{ "\x81\x00\x04\x00uvw", 7 },	/* longer than the message */
		{ "\x81\x00\x05\x00uvwxy", 9 },	/* longer than allowed */
		{ "\xa1\x00\x03\x00uvw", 7 },	/* not a byte string */
		{ "\x81\x00", 2 },
		{ "", 0 },
	};
	struct mbor_reader r;
	size_t len;

	for (unsigned int i = 0; i < ARRAY_SIZE(vars); i++) {
		mbor_reader_init(&r, vars[i].bytes, vars[i].len);
		EXPECT_EQ(NULL, mbor_get_var(&r, 4, &len));
		EXPECT_EQ(0, len);
		EXPECT_FALSE(mbor_done(&r));
	}

	mbor_reader_init(&r, "\x18\x01", 2);
	EXPECT_EQ(0, mbor_get_u16(&r));
	EXPECT_TRUE(r.bad);
	mbor_reader_init(&r, "\x18\x01", 2);
	mbor_want_id(&r, 2);
	EXPECT_TRUE(r.bad);
	mbor_reader_init(&r, "\x16", 1);
	mbor_get_bool(&r);
	EXPECT_TRUE(r.bad);
	mbor_reader_init(&r, "\x14\x14", 2);
	mbor_get_bool(&r);
	EXPECT_FALSE(r.bad);
	EXPECT_FALSE(mbor_done(&r));
}

TEST(session_kinds)
{
	EXPECT_EQ(AZIHSM_SESSION_OPEN, ddi_kind(DDI_OP_OPEN_SESSION));
	EXPECT_EQ(AZIHSM_SESSION_CLOSE, ddi_kind(DDI_OP_CLOSE_SESSION));
	EXPECT_EQ(AZIHSM_SESSION_IN_SESSION, ddi_kind(DDI_OP_REOPEN_SESSION));
	EXPECT_EQ(AZIHSM_SESSION_IN_SESSION, ddi_kind(DDI_OP_DELETE_KEY));
	EXPECT_EQ(AZIHSM_SESSION_NONE, ddi_kind(DDI_OP_ESTABLISH_CREDENTIAL));
}

/* Offsets of the ioctl structures, as in the description of the interface. */
TEST(uapi_layout)
{
	EXPECT_EQ(0xc0704203, AZIHSM_IOC_CP_CMD);
	EXPECT_EQ(0xc0b04204, AZIHSM_IOC_DEV_INFO);
	EXPECT_EQ(0xc1104206, AZIHSM_IOC_RESET);
	EXPECT_EQ(0xc190420b, AZIHSM_IOC_AES_XTS);
	EXPECT_EQ(0xc190420c, AZIHSM_IOC_AES_GCM);

	EXPECT_EQ(40, offsetof(struct azihsm_cp_cmd, src));
	EXPECT_EQ(64, offsetof(struct azihsm_cp_cmd, session_flags));
	EXPECT_EQ(104, offsetof(struct azihsm_cp_cmd, extended_status));
	EXPECT_EQ(77, offsetof(struct azihsm_dev_info, firmware_rev));
	EXPECT_EQ(143, offsetof(struct azihsm_dev_info, device_entropy));
	EXPECT_EQ(24, offsetof(struct azihsm_reset, abort_type));
	EXPECT_EQ(108, offsetof(struct azihsm_reset, abort_sts));
	EXPECT_EQ(64, offsetof(struct azihsm_aes, frame_type));
	EXPECT_EQ(76, offsetof(struct azihsm_aes, gcm.tag));
	EXPECT_EQ(112, offsetof(struct azihsm_aes, gcm.workaround));
	EXPECT_EQ(84, offsetof(struct azihsm_aes, xts.tweak));
	EXPECT_EQ(252, offsetof(struct azihsm_aes, tag));
	EXPECT_EQ(280, offsetof(struct azihsm_aes, iv));
}

TEST(gcm_vector)
{
	__u8 out[sizeof(gcm_text)], tag[16];

	ASSERT_TRUE(aes_gcm_encrypt(gcm_key, gcm_iv, gcm_aad, sizeof(gcm_aad),
				    gcm_text, out, sizeof(out), tag));
	EXPECT_BYTES(gcm_cipher, out, sizeof(out));
	EXPECT_BYTES(gcm_tag, tag, sizeof(tag));
}

TEST(xts_vector)
{
	__u8 in[512], out[512], back[512];

	for (int i = 0; i < 512; i++)
		in[i] = i;
	ASSERT_TRUE(aes_xts(true, xts_key1, xts_key2, 0xff, 0, in, out, 512));
	EXPECT_BYTES(xts_cipher, out, 32);
	ASSERT_TRUE(aes_xts(false, xts_key1, xts_key2, 0xff, 512, out, back,
			    512));
	EXPECT_EQ(512, first_difference(in, back, 512));
	/* Two units are not one, and the second has the next number. */
	ASSERT_TRUE(aes_xts(true, xts_key1, xts_key2, 0xfe, 256, in, back,
			    512));
	EXPECT_NE(0, memcmp(out + 256, back + 256, 256));
	ASSERT_TRUE(aes_xts(true, xts_key1, xts_key2, 0xff, 0, in + 256, out,
			    256));
	EXPECT_EQ(0, memcmp(out, back + 256, 256));
}

TEST(hmac_vector)
{
	static const char text[] = "what do ya want for nothing?";
	__u8 out[SHA384_LEN];

	ASSERT_TRUE(hmac_sha384("Jefe", 4, text, strlen(text), out));
	EXPECT_BYTES(hmac_tag, out, sizeof(out));
}

/* HKDF by its definition: extract with a key of zeros, then expand. */
TEST(hkdf_definition)
{
	__u8 zeros[SHA384_LEN] = { 0 }, prk[SHA384_LEN], t[SHA384_LEN + 5];
	__u8 want[96], got[80];

	ASSERT_TRUE(hmac_sha384(zeros, SHA384_LEN, "secret", 6, prk));
	ASSERT_TRUE(hmac_sha384(prk, SHA384_LEN, "info\x01", 5, want));
	memcpy(t, want, SHA384_LEN);
	memcpy(t + SHA384_LEN, "info\x02", 5);
	ASSERT_TRUE(hmac_sha384(prk, SHA384_LEN, t, sizeof(t), want + 48));
	ASSERT_TRUE(hkdf_sha384("secret", 6, "info", 4, got, sizeof(got)));
	EXPECT_EQ(80, first_difference(want, got, 80));
}

TEST(key_agreement)
{
	EVP_PKEY *a = p384_generate(), *b = p384_generate(), *b_public;
	__u8 der[P384_DER_MAX], s1[48], s2[48], point[97], sig[96];
	size_t len;

	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	len = p384_to_der(b, der);
	ASSERT_EQ(120, len);
	ASSERT_TRUE(p384_point(b, point));
	EXPECT_EQ(0, memcmp(der + len - 97, point, 97));
	EXPECT_EQ(NULL, p384_from_der(der, len - 1));
	b_public = p384_from_der(der, len);
	ASSERT_NE(NULL, b_public);
	ASSERT_TRUE(p384_ecdh(a, b_public, s1));
	ASSERT_TRUE(p384_ecdh(b, a, s2));
	EXPECT_EQ(0, memcmp(s1, s2, 48));
	EXPECT_TRUE(p384_sign(a, point, sizeof(point), sig));
}

TEST(cbc_vector)
{
	__u8 out[16];

	ASSERT_TRUE(aes_cbc(true, cbc_key, cbc_iv, cbc_text, out, 16));
	EXPECT_BYTES(cbc_cipher, out, sizeof(out));
	ASSERT_TRUE(aes_cbc(false, cbc_key, cbc_iv, cbc_cipher, out, 16));
	EXPECT_BYTES(cbc_text, out, sizeof(out));
}

TEST(padded_aad)
{
	__u8 buf[96], aad[40];

	fill_pattern(aad, sizeof(aad), 1);
	EXPECT_EQ(0, gcm_padded_len(0));
	EXPECT_EQ(32, gcm_padded_len(1));
	EXPECT_EQ(32, gcm_padded_len(32));
	EXPECT_EQ(64, gcm_padded_len(33));

	memset(buf, 0xff, sizeof(buf));
	gcm_put_aad(buf, aad, 5);
	EXPECT_TRUE(all_bytes(buf, 0, 16));
	EXPECT_EQ(0, memcmp(buf + 16, aad, 5));
	EXPECT_TRUE(all_bytes(buf + 21, 0, 11));
	EXPECT_TRUE(all_bytes(buf + 32, 0xff, 64));

	gcm_put_aad(buf, aad, 17);
	EXPECT_EQ(0, memcmp(buf, aad, 17));
	EXPECT_TRUE(all_bytes(buf + 17, 0, 15));

	gcm_put_aad(buf, aad, 40);
	EXPECT_TRUE(all_bytes(buf, 0, 16));
	EXPECT_EQ(0, memcmp(buf + 16, aad, 40));
	EXPECT_TRUE(all_bytes(buf + 56, 0, 8));
}

TEST(test_keys)
{
	__u8 key[32];

	hsm_test_key("", key);
	for (int i = 0; i < 32; i++)
		EXPECT_EQ(i, key[i]);
	hsm_test_key("ab", key);
	EXPECT_EQ('a', key[0]);
	EXPECT_EQ('b' ^ 31, key[31]);
}

TEST(guards)
{
	struct guarded g;

	ASSERT_TRUE(guarded_alloc(&g, 100, 17));
	guarded_pattern(&g, 1);
	EXPECT_TRUE(guarded_intact(&g));
	g.p[100] ^= 1;
	EXPECT_FALSE(guarded_intact(&g));
	g.p[100] ^= 1;
	g.p[-1] ^= 1;
	EXPECT_FALSE(guarded_intact(&g));
	guarded_free(&g);
}

TEST(slab_that_grows)
{
	static const char *const without[] = { "c", "vmap_area", NULL };
	static const struct slab_counts before = {
		4,
		{ { "a", 100 }, { "b", 7000 }, { "vmap_area", 1 }, { "c", 5 } },
	}, after = {
		5,
		{ { "new", 20 }, { "c", 45 }, { "a", 130 }, { "b", 6000 },
		  { "vmap_area", 5000 } },
	};
	struct slab_cache most = slab_growth(&before, &after, without + 1);

	EXPECT_STREQ("c", most.name);
	EXPECT_EQ(40, most.objects);
	most = slab_growth(&before, &after, NULL);
	EXPECT_STREQ("vmap_area", most.name);
	EXPECT_EQ(4999, most.objects);
	most = slab_growth(&before, &after, without);
	EXPECT_STREQ("a", most.name);
	EXPECT_EQ(30, most.objects);
	most = slab_growth(&before, &before, NULL);
	EXPECT_STREQ("none", most.name);
	EXPECT_EQ(0, most.objects);
}

TEST(json)
{
	static const char text[] =
		"{\"a\":\"}\\\",b\",\"list\": [ {\"id\":7,\"x\":[1,[2]]},\t{\"id\":8}]}";
	static const char numbers[] =
		"{\"none\":[],\"n\":18446744073709551615,\"big\":18446744073709551616}";
	const char *list = json_member(text, "list");
	static const char words[] = "[\"four\\\"\", \"\"]";
	char word[8], part[4];
	__u64 n;

	json_string(json_first(words), word, sizeof(word));
	EXPECT_STREQ("four\\\"", word);
	json_string(json_first(words), part, sizeof(part));
	EXPECT_STREQ("fou", part);
	json_string(json_next(json_first(words)), word, sizeof(word));
	EXPECT_STREQ("", word);
	snprintf(word, sizeof(word), "old");
	json_string(list, word, sizeof(word));
	EXPECT_STREQ("", word);
	json_string(NULL, word, sizeof(word));
	EXPECT_STREQ("", word);
	ASSERT_NE(NULL, list);
	EXPECT_EQ(2, json_count(list));
	EXPECT_TRUE(json_number(json_member(json_first(list), "id"), &n));
	EXPECT_EQ(7, n);
	EXPECT_TRUE(json_number(json_member(json_next(json_first(list)), "id"),
				&n));
	EXPECT_EQ(8, n);
	EXPECT_EQ(NULL, json_next(json_next(json_first(list))));
	EXPECT_EQ(0, json_count(json_member(numbers, "none")));
	EXPECT_TRUE(json_number(json_member(numbers, "n"), &n));
	EXPECT_EQ(~0ULL, n);
	EXPECT_FALSE(json_number(json_member(numbers, "big"), &n));
	/* What is not there, or something else, is nothing. */
	EXPECT_EQ(NULL, json_member(text, "b"));
	EXPECT_EQ(NULL, json_member(text, "id"));
	EXPECT_EQ(NULL, json_member(list, "id"));
	EXPECT_EQ(NULL, json_first(text));
	EXPECT_EQ(0, json_count(NULL));
	EXPECT_FALSE(json_number(list, &n));
	EXPECT_FALSE(json_number(NULL, &n));
	/* Text that ends too early. */
	EXPECT_EQ(NULL, json_member("{\"a", "a"));
	EXPECT_EQ(NULL, json_member("{\"a\":[1,", "b"));
	EXPECT_EQ(NULL, json_next(json_first("[1")));
}

TEST(pinned_pages)
{
	long before = pages_pinned(), size = 4 * sysconf(_SC_PAGESIZE);
	struct io_uring ring;
	struct iovec vec;

	ASSERT_LE(0, page_count("nr_foll_pin_acquired"));
	if (ring_open(&ring, 4, 0))
		SKIP(return, "no io_uring");
	vec = (struct iovec) {
		.iov_base = mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		.iov_len = size,
	};
	ASSERT_NE(MAP_FAILED, vec.iov_base);
	ASSERT_EQ(0, io_uring_register_buffers(&ring, &vec, 1));
	EXPECT_EQ(4, pages_left(before));
	io_uring_queue_exit(&ring);
	EXPECT_EQ(0, pages_left(before));
}

TEST_HARNESS_MAIN
