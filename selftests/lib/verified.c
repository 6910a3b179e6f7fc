// SPDX-License-Identifier: GPL-2.0
/*
 * One command whose result is compared with libcrypto.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kselftest.h"

#include "aes.h"
#include "ddi.h"
#include "guarded.h"
#include "softcrypto.h"
#include "verified.h"

#define AAD_MAX		96
#define CBC_MAX		1024
#define XTS_BLOCK	512

const char *const verdict_names[V_COUNT] = {
	[V_GOOD] = "good",
	[V_AGAIN] = "again",
	[V_REFUSED] = "refused",
	[V_GONE] = "gone",
	[V_ODD] = "odd",
	[V_WRONG] = "wrong",
};

/* Buffers of a fast-path command. */
struct buffers {
	struct guarded src;
	struct guarded dst;
	__u8 *text;	/* what is encrypted */
	__u8 *cipher;	/* what libcrypto makes of it */
};

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static __printf(3, 4) void judge(struct verified *r, enum verdict what,
				 const char *fmt, ...)
{
	va_list args;

	r->verdict = what;
	va_start(args, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, args);
	va_end(args);
}

static void took(struct verified *r, long long start)
{
	long long ms = now_ms() - start;

	if (ms > r->slowest_ms)
		r->slowest_ms = ms;
}

/* Judges an ioctl that failed; the caller knows the errno is none of these. */
static bool failed(struct verified *r, const char *what, int ret)
{
	switch (ret) {
	case 0:
		return false;
	case -EAGAIN:
	/* Another thread closed the file between the look and the command. */
	case -EBADF:
		judge(r, V_AGAIN, "%s", what);
		return true;
	case -EIO:
	case -ENODEV:
		judge(r, V_GONE, "%s: %s", what, strerror(-ret));
		return true;
	default:
		if (ret > 0 || ret == -EREMOTEIO)
			judge(r, V_REFUSED, "%s: %d (%#x)", what, ret, ret);
		else
			judge(r, V_ODD, "%s: %s", what, strerror(-ret));
		return true;
	}
}

/* Runs a fast-path command; false if it has been judged. */
static bool run(const struct world_view *v, struct azihsm_aes *cmd,
		const char *what, struct buffers *b, struct verified *r)
{
	long long start = now_ms();
	int ret = cmd->cipher == AZIHSM_AES_GCM ? hsm_gcm(v->s.fd, cmd) :
						  hsm_xts(v->s.fd, cmd);

	took(r, start);
	if (!guarded_intact(&b->src) || !guarded_intact(&b->dst)) {
		judge(r, V_WRONG, "%s: wrote outside of the destination", what);
		return false;
	}
	if (failed(r, what, ret))
		return false;
	if (cmd->result || cmd->extended_status) {
		judge(r, V_REFUSED, "%s: result %#x, status %#x", what,
		      cmd->result, cmd->extended_status);
		return false;
	}
	if (cmd->byte_count != cmd->src_len) {
		/* Less than was asked for is told, more cannot be. */
		r->is_short = cmd->byte_count < cmd->src_len;
		judge(r, r->is_short ? V_REFUSED : V_WRONG,
		      "%s: %u of %u bytes", what, cmd->byte_count,
		      cmd->src_len);
		return false;
	}
	return true;
}

static void compare(struct verified *r, const char *what, const __u8 *got,
		    const __u8 *want, size_t len)
{
	size_t same = first_difference(got, want, len);

	if (same != len && r->verdict == V_GOOD)
		judge(r, V_WRONG, "%s of %zu bytes: differs at %zu", what, len,
		      same);
}

static void gcm(const struct world_view *v, enum verified_op op, size_t len,
		unsigned int mix, struct buffers *b, struct verified *r)
{
	size_t aad_len = mix % AAD_MAX, head = gcm_padded_len(aad_len);
	bool encrypt = op == OP_GCM_ENCRYPT;
	__u8 aad[AAD_MAX], iv[12], tag[16];
	struct azihsm_aes cmd;

	fill_pattern(aad, aad_len, mix);
	fill_pattern(iv, sizeof(iv), ~mix);
	gcm_put_aad(b->src.p, aad, aad_len);
	gcm_init(&cmd, &v->s, encrypt ? AZIHSM_AES_ENCRYPT : AZIHSM_AES_DECRYPT,
		 v->keys.gcm.bulk_id, aad_len, b->src.p, b->dst.p, head + len);
	if (encrypt) {
		memcpy(b->src.p + head, b->text, len);
		if (!run(v, &cmd, "GCM encryption", b, r))
			return;
		memcpy(iv, cmd.iv, sizeof(iv));
	}
	if (!aes_gcm_encrypt(v->keys.gcm_bytes, iv, aad, aad_len, b->text,
			     b->cipher, len, tag)) {
		judge(r, V_ODD, "libcrypto: GCM");
		return;
	}
	if (encrypt) {
		compare(r, "GCM ciphertext", b->dst.p + head, b->cipher, len);
		compare(r, "GCM tag", cmd.tag, tag, sizeof(tag));
		return;
	}

	memcpy(b->src.p + head, b->cipher, len);
	memcpy(cmd.gcm.iv, iv, sizeof(iv));
	memcpy(cmd.gcm.tag, tag, sizeof(tag));
	if (op == OP_GCM_TAMPERED)
		cmd.gcm.tag[mix % 16] ^= 1 << mix % 8;
	if (run(v, &cmd, "GCM decryption", b, r) || r->is_short) {
		/* A success, if perhaps a short one, of which no more is said. */
		if (op == OP_GCM_TAMPERED)
			judge(r, V_WRONG, "a wrong tag was taken");
		else if (!r->is_short)
			compare(r, "GCM plaintext", b->dst.p + head, b->text,
				len);
		return;
	}
	/* Of a decryption that failed nothing may be seen. */
	if (len >= 16 && !memcmp(b->dst.p + head, b->text, 16))
		judge(r, V_WRONG, "plaintext of a decryption that failed");
	else if (op == OP_GCM_TAMPERED && r->verdict == V_REFUSED)
		r->verdict = V_GOOD;
}

static void xts(const struct world_view *v, bool encrypt, size_t len,
		unsigned int mix, struct buffers *b, struct verified *r)
{
	struct azihsm_aes cmd;

	if (!aes_xts(true, v->keys.xts1_bytes, v->keys.xts2_bytes, mix,
		     xts_unit_len(AZIHSM_XTS_UNIT_512), b->text, b->cipher,
		     len)) {
		judge(r, V_ODD, "libcrypto: XTS");
		return;
	}
	memcpy(b->src.p, encrypt ? b->text : b->cipher, len);
	xts_init(&cmd, &v->s, encrypt ? AZIHSM_AES_ENCRYPT : AZIHSM_AES_DECRYPT,
		 v->keys.xts1.bulk_id, v->keys.xts2.bulk_id,
		 AZIHSM_XTS_UNIT_512, mix, b->src.p, b->dst.p, len);
	if (run(v, &cmd, encrypt ? "XTS encryption" : "XTS decryption", b, r))
		compare(r, encrypt ? "XTS ciphertext" : "XTS plaintext",
			b->dst.p, encrypt ? b->cipher : b->text, len);
}

static void cbc(const struct world_view *v, size_t len, unsigned int mix,
		struct verified *r)
{
	__u8 text[CBC_MAX], want[CBC_MAX], got[CBC_MAX], iv[16];
	long long start;
	int ret;

	len = len < CBC_MAX ? 16 + len / 16 * 16 : CBC_MAX;
	fill_pattern(text, len, mix);
	fill_pattern(iv, sizeof(iv), ~mix);
	if (!aes_cbc(true, v->keys.cbc_bytes, iv, text, want, len)) {
		judge(r, V_ODD, "libcrypto: CBC");
		return;
	}
	start = now_ms();
	ret = hsm_cbc(&v->s, v->keys.cbc.id, true, iv, text, got, len);
	took(r, start);
	if (ret == -EPROTO)
		judge(r, V_WRONG, "CBC: not what the protocol says");
	else if (!failed(r, "CBC", ret))
		compare(r, "CBC ciphertext", got, want, len);
}

static void device_info(const struct world_view *v, struct verified *r)
{
	struct hsm_device_info info = { 0 };
	long long start = now_ms();
	int ret = hsm_get_device_info(v->s.fd, &info);

	took(r, start);
	if (ret == -EPROTO)
		judge(r, V_WRONG, "device info: not what the protocol says");
	else if (!failed(r, "device info", ret) && info.kind != HSM_KIND_VIRTUAL)
		judge(r, V_WRONG, "device info: kind %u", info.kind);
}

static void fast(const struct world_view *v, enum verified_op op, size_t len,
		 unsigned int mix, struct verified *r)
{
	bool is_xts = op == OP_XTS_ENCRYPT || op == OP_XTS_DECRYPT;
	struct buffers b = { 0 };
	size_t room;

	if (is_xts)
		len = XTS_BLOCK + len / XTS_BLOCK * XTS_BLOCK;
	else if (!len)
		len = 1;
	room = len + (is_xts ? 0 : gcm_padded_len(mix % AAD_MAX));
	b.text = malloc(len);
	b.cipher = malloc(len);
	if (!b.text || !b.cipher || !guarded_alloc(&b.src, room, mix % 64) ||
	    !guarded_alloc(&b.dst, room, mix / 64 % 64)) {
		judge(r, V_ODD, "no memory for %zu bytes", len);
	} else {
		fill_pattern(b.text, len, mix);
		if (is_xts)
			xts(v, op == OP_XTS_ENCRYPT, len, mix, &b, r);
		else
			gcm(v, op, len, mix, &b, r);
	}
	free(b.text);
	free(b.cipher);
	guarded_free(&b.src);
	guarded_free(&b.dst);
}

void verified_run(const struct world_view *v, enum verified_op op, size_t len,
		  unsigned int mix, struct verified *result)
{
	memset(result, 0, sizeof(*result));
	if (v->s.fd < 0)
		judge(result, V_GONE, "no file");
	else if (op == OP_CBC)
		cbc(v, len, mix, result);
	else if (op == OP_INFO)
		device_info(v, result);
	else
		fast(v, op, len, mix, result);
}
