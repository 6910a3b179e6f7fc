// SPDX-License-Identifier: GPL-2.0
/*
 * Encrypt on the device, compare with libcrypto, decrypt on the device.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest.h"

#include "aes.h"
#include "guarded.h"
#include "hsm.h"
#include "roundtrip.h"
#include "softcrypto.h"

#define AAD_MAX	4096
#define IN_CTXT	0x0123456789abcdefULL

/* The buffers of a round trip. */
struct buffers {
	struct guarded src;
	struct guarded dst;
	__u8 *copy;	/* of the source, as it went to the device */
	__u8 *want;	/* what libcrypto makes of it */
};

static __printf(1, 2) const char *fail(const char *fmt, ...)
{
	static __thread char why[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	return why;
}

static bool buffers_alloc(struct buffers *b, size_t len, size_t src_offset,
			  size_t dst_offset)
{
	b->copy = malloc(len);
	b->want = malloc(len);
	return b->copy && b->want &&
	       guarded_alloc(&b->src, len, src_offset) &&
	       guarded_alloc(&b->dst, len, dst_offset);
}

static void buffers_free(struct buffers *b)
{
	free(b->copy);
	free(b->want);
	guarded_free(&b->src);
	guarded_free(&b->dst);
}

/* Runs a command and checks what holds for every one that succeeds. */
static const char *run(const char *what, struct azihsm_aes *cmd,
		       const struct hsm_session *s, struct buffers *b)
{
	bool in_place = cmd->src == cmd->dst;
	struct azihsm_aes before;
	size_t same;
	int ret;

	cmd->in_ctxt = IN_CTXT;
	/* Out fields are written, all of them. */
	memset(&cmd->out_ctxt, 0xcc,
	       sizeof(*cmd) - offsetof(struct azihsm_aes, out_ctxt));
	before = *cmd;
	memcpy(b->copy, b->src.p, b->src.len);
	if (cmd->cipher == AZIHSM_AES_GCM)
		ret = hsm_gcm(s->fd, cmd);
	else
		ret = hsm_xts(s->fd, cmd);

	if (ret || cmd->result || cmd->extended_status)
		return fail("%s: returned %d, result %#x, status %#x", what,
			    ret, cmd->result, cmd->extended_status);
	if (cmd->byte_count != cmd->src_len)
		return fail("%s: %u of %u bytes", what, cmd->byte_count,
			    cmd->src_len);
	if (cmd->out_ctxt != IN_CTXT)
		return fail("%s: context not echoed", what);
	if (cmd->fips_approved > 1)
		return fail("%s: fips_approved is %u", what,
			    cmd->fips_approved);
	if (memcmp(cmd, &before, offsetof(struct azihsm_aes, out_ctxt)))
		return fail("%s: in fields changed", what);
	same = first_difference(b->copy, b->src.p, b->src.len);
	if (!in_place && same != b->src.len)
		return fail("%s: source changed at %zu", what, same);
	if (!guarded_intact(&b->src) || !guarded_intact(&b->dst))
		return fail("%s: wrote outside of the destination", what);
	return NULL;
}

static const char *compare(const char *what, const __u8 *got, const __u8 *want,
			   size_t len)
{
	size_t same = first_difference(got, want, len);

	return same == len ? NULL : fail("%s: differs at %zu", what, same);
}

/* What a round trip of this thread returned last. */
static __thread char full[384];

/* Decrypts once more, with another tag: there must be an error and no text. */
static const char *gcm_wrong_tag(struct azihsm_aes *cmd, const struct gcm_case *c,
				 struct buffers *b)
{
	__u8 *dst = (__u8 *)(unsigned long)cmd->dst;
	size_t len = cmd->src_len;
	/* The firmware checks the tag of what it had to correct. */
	bool corrected = c->aad % 32 || len % 16;
	int ret;

	memcpy(b->copy, dst, len);
	cmd->gcm.tag[(c->aad + c->text) % 16] ^= 1 << c->text % 8;
	ret = hsm_gcm(c->s->fd, cmd);
	if (ret)
		return fail("wrong tag: returned %d, status %#x", ret,
			    cmd->extended_status);
	if (cmd->result != (corrected ? FP_INVALID_GCM : FP_ENGINE) ||
	    cmd->extended_status !=
	    (corrected ? GCM_TAG_CORRECTED : ENGINE_TAG))
		return fail("wrong tag: result %#x, status %#x", cmd->result,
			    cmd->extended_status);
	if (cmd->byte_count)
		return fail("wrong tag: %u bytes", cmd->byte_count);
	/* Blocks are zeros or as they were; the tail is never written. */
	if (!all_bytes(dst, 0, len - len % 16) &&
	    first_difference(b->copy, dst, len) != len)
		return fail("wrong tag: destination has data");
	if (!guarded_intact(&b->src) || !guarded_intact(&b->dst))
		return fail("wrong tag: wrote outside of the destination");
	return NULL;
}

static const char *gcm_both_ways(const struct gcm_case *c, struct buffers *b,
				 const __u8 *aad)
{
	size_t head = gcm_padded_len(c->aad), len = head + c->text;
	struct guarded *dst = c->in_place ? &b->src : &b->dst;
	__u8 iv[12], zeros[16] = { 0 }, tag[16];
	struct azihsm_aes cmd;
	const char *why;

	/* Encrypt. */
	gcm_put_aad(b->src.p, aad, c->aad);
	fill_pattern(b->src.p + head, c->text, c->text + 1);
	fill_pattern(iv, sizeof(iv), c->text ^ c->aad << 16);
	gcm_init(&cmd, c->s, AZIHSM_AES_ENCRYPT, c->key, c->aad, b->src.p,
		 dst->p, len);
	memcpy(cmd.gcm.iv, iv, sizeof(iv));
	why = run("encrypt", &cmd, c->s, b);
	if (why)
		return why;
	if (c->approved == !memcmp(cmd.iv, iv, sizeof(iv)))
		return fail("encrypt: IV is %sthe caller's",
			    c->approved ? "" : "not ");
	if (!aes_gcm_encrypt(c->key_bytes, cmd.iv, aad, c->aad, b->copy + head,
			     b->want, c->text, tag))
		return fail("libcrypto: GCM failed");
	why = compare("ciphertext", dst->p + head, b->want, c->text);
	if (!why)
		why = compare("tag", cmd.tag, tag, sizeof(tag));
	if (why)
		return why;

	/* Decrypt, with a fresh destination. */
	memcpy(iv, cmd.iv, sizeof(iv));
	gcm_put_aad(b->src.p, aad, c->aad);
	memcpy(b->src.p + head, b->want, c->text);
	memset(b->dst.p, GUARD_FILL, len);
	gcm_init(&cmd, c->s, AZIHSM_AES_DECRYPT, c->key, c->aad, b->src.p,
		 dst->p, len);
	memcpy(cmd.gcm.iv, iv, sizeof(iv));
	memcpy(cmd.gcm.tag, tag, sizeof(tag));
	why = run("decrypt", &cmd, c->s, b);
	if (why)
		return why;
	fill_pattern(b->want, c->text, c->text + 1);
	why = compare("plaintext", dst->p + head, b->want, c->text);
	/* Tag and IV are results of encryption only. */
	if (!why)
		why = compare("tag of decryption", cmd.tag, zeros, 16);
	if (!why)
		why = compare("IV of decryption", cmd.iv, zeros, 12);
	if (why || !c->wrong_tag)
		return why;
	if (c->in_place)
		return fail("a wrong tag in place is not offered");
	memset(b->dst.p, GUARD_FILL, len);
	return gcm_wrong_tag(&cmd, c, b);
}

const char *gcm_round_trip(const struct gcm_case *c)
{
	size_t len = gcm_padded_len(c->aad) + c->text;
	__u8 aad[AAD_MAX];
	struct buffers b;
	const char *why;

	if (c->aad > AAD_MAX)
		return fail("AAD of %zu bytes is too long here", c->aad);
	if (!buffers_alloc(&b, len, c->src_offset, c->dst_offset))
		return fail("no memory for %zu bytes", len);
	fill_pattern(aad, c->aad, c->aad);
	why = gcm_both_ways(c, &b, aad);
	buffers_free(&b);
	if (!why)
		return NULL;
	snprintf(full, sizeof(full), "%s (text %zu, AAD %zu, offsets %zu, %zu)",
		 why, c->text, c->aad, c->src_offset, c->dst_offset);
	return full;
}

static const char *xts_both_ways(const struct xts_case *c, struct buffers *b)
{
	struct guarded *dst = c->in_place ? &b->src : &b->dst;
	struct azihsm_aes cmd;
	const char *why;

	fill_pattern(b->src.p, c->len, c->len + 1);
	if (!aes_xts(true, c->key1_bytes, c->key2_bytes, c->first_unit,
		     xts_unit_len(c->data_unit), b->src.p, b->want, c->len))
		return fail("libcrypto: XTS failed");
	xts_init(&cmd, c->s, AZIHSM_AES_ENCRYPT, c->key1, c->key2,
		 c->data_unit, c->first_unit, b->src.p, dst->p, c->len);
	why = run("encrypt", &cmd, c->s, b);
	if (!why)
		why = compare("ciphertext", dst->p, b->want, c->len);
	if (why)
		return why;

	memcpy(b->src.p, b->want, c->len);
	memset(b->dst.p, GUARD_FILL, c->len);
	xts_init(&cmd, c->s, AZIHSM_AES_DECRYPT, c->key1, c->key2,
		 c->data_unit, c->first_unit, b->src.p, dst->p, c->len);
	why = run("decrypt", &cmd, c->s, b);
	if (why)
		return why;
	fill_pattern(b->want, c->len, c->len + 1);
	return compare("plaintext", dst->p, b->want, c->len);
}

const char *xts_round_trip(const struct xts_case *c)
{
	struct buffers b;
	const char *why;

	if (!buffers_alloc(&b, c->len, c->src_offset, c->dst_offset))
		return fail("no memory for %zu bytes", c->len);
	why = xts_both_ways(c, &b);
	buffers_free(&b);
	if (!why)
		return NULL;
	snprintf(full, sizeof(full), "%s (length %zu, unit %u, offsets %zu, %zu)",
		 why, c->len, c->data_unit, c->src_offset, c->dst_offset);
	return full;
}

const char *cbc_round_trip(const struct hsm_session *s, __u16 key,
			   const __u8 key_bytes[32], size_t len, __u32 seed)
{
	__u8 text[1024], want[1024], got[1024], iv[16], chain[16];
	const char *why;
	int ret;

	fill_pattern(text, len, seed);
	fill_pattern(iv, sizeof(iv), ~seed);
	if (!aes_cbc(true, key_bytes, iv, text, want, len))
		return fail("libcrypto: CBC failed");
	memcpy(chain, iv, sizeof(iv));
	ret = hsm_cbc(s, key, true, chain, text, got, len);
	if (ret)
		return fail("CBC encrypt: %d (%#x)", ret, ret);
	why = compare("CBC ciphertext", got, want, len);
	if (!why)
		why = compare("CBC chaining value", chain, want + len - 16, 16);
	if (why)
		return why;
	ret = hsm_cbc(s, key, false, iv, want, got, len);
	if (ret)
		return fail("CBC decrypt: %d (%#x)", ret, ret);
	return compare("CBC plaintext", got, text, len);
}
