// SPDX-License-Identifier: GPL-2.0
/*
 * The contract of fast-path commands, rule by rule: what the driver refuses,
 * with which error and status, which of two reasons counts, and that every
 * byte of the structure comes back as documented. The names of the rules are
 * those of Documentation/userspace-api/azihsm.rst.
 */
#include <sys/mman.h>

#include "lib/edge.h"
#include "lib/flip.h"
#include "lib/harness.h"

#define IN_CTXT		0x0123456789abcdefULL
#define SIZE		sizeof(struct azihsm_aes)
#define TEXT_LEN	64
#define AAD_LEN		20
#define GCM_LEN		(32 + TEXT_LEN)
/* More than what the driver copies. */
#define LARGE		65536

FIXTURE(aes) {
	int fd;
	int without_session;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	struct guarded src, dst;
	struct edge edge;
};

/* Which ioctl. */
FIXTURE_VARIANT(aes) {
	__u8 cipher;
	size_t len;
};

FIXTURE_VARIANT_ADD(aes, gcm) {
	.cipher = AZIHSM_AES_GCM,
	.len = GCM_LEN,
};

FIXTURE_VARIANT_ADD(aes, xts) {
	.cipher = AZIHSM_AES_XTS,
	.len = TEXT_LEN,
};

FIXTURE_SETUP(aes)
{
	struct hsm_session *s = &self->s;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	self->without_session = hsm_open();
	ASSERT_LE(0, self->without_session);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, s));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				      HSM_KEY_CIPHER, &self->gcm));
	ASSERT_EQ(0, hsm_generate_xts_keys(s, &self->xts1,
					   &self->xts2));
	ASSERT_TRUE(guarded_alloc(&self->src, LARGE, 0));
	ASSERT_TRUE(guarded_alloc(&self->dst, LARGE, 0));
	ASSERT_TRUE(edge_alloc(&self->edge, SIZE));
}

FIXTURE_TEARDOWN(aes)
{
	EXPECT_TRUE(guarded_intact(&self->src));
	EXPECT_TRUE(guarded_intact(&self->dst));
	guarded_free(&self->src);
	guarded_free(&self->dst);
	edge_free(&self->edge);
	EXPECT_AT_REST();
}

static int issue(int fd, __u8 cipher, struct azihsm_aes *cmd)
{
	return cipher == AZIHSM_AES_GCM ? hsm_gcm(fd, cmd) : hsm_xts(fd, cmd);
}

/* A command that works, with @fill in every byte that has no meaning. */
static void good_with(FIXTURE_DATA(aes) * self, __u8 fill, __u8 cipher,
		      struct azihsm_aes *cmd)
{
	memset(self->dst.p, GUARD_FILL, self->dst.len);
	memset(cmd, fill, sizeof(*cmd));
	cmd->hdr.size = sizeof(*cmd);
	cmd->in_ctxt = IN_CTXT;
	cmd->op = AZIHSM_AES_ENCRYPT;
	cmd->cipher = cipher;
	cmd->src = (unsigned long)self->src.p;
	cmd->dst = (unsigned long)self->dst.p;
	cmd->frame_type = AZIHSM_FRAME_AES;
	cmd->session_id = self->s.id;
	cmd->short_app_id = self->s.app;
	if (cipher == AZIHSM_AES_GCM) {
		cmd->src_len = GCM_LEN;
		cmd->gcm.key_id = self->gcm.bulk_id;
		cmd->gcm.aad_len = AAD_LEN;
		cmd->gcm.padded_aad_len = gcm_padded_len(AAD_LEN);
		cmd->gcm.workaround = 1;
	} else {
		cmd->src_len = TEXT_LEN;
		cmd->xts.data_unit = AZIHSM_XTS_UNIT_ALL;
		cmd->xts.key_id1 = self->xts1.bulk_id;
		cmd->xts.key_id2 = self->xts2.bulk_id;
	}
	cmd->dst_len = cmd->src_len;
}

static void good(FIXTURE_DATA(aes) * self, __u8 cipher, struct azihsm_aes *cmd)
{
	good_with(self, 0xcc, cipher, cmd);
}

/* What of a command comes back: all that the caller gave, and these. */
static struct azihsm_aes answer(const struct azihsm_aes *cmd, __u32 ext)
{
	struct azihsm_aes want = *cmd;

	memset(&want.out_ctxt, 0, SIZE - offsetof(struct azihsm_aes, out_ctxt));
	want.out_ctxt = cmd->in_ctxt;
	want.extended_status = ext;
	return want;
}

/* Issues a command right before the end of memory, and compares all of it. */
static const char *check(FIXTURE_DATA(aes) * self, int fd, __u8 cipher,
			 const struct azihsm_aes *cmd, int err, __u32 ext)
{
	static char why[128];
	struct azihsm_aes *arg = edge_put(&self->edge, cmd, SIZE);
	struct azihsm_aes want = answer(cmd, ext);
	int ret = issue(fd, cipher, arg);
	size_t same;

	if (!err) {
		want.byte_count = cmd->src_len;
		want.fips_approved = !!arg->fips_approved;
		if (cipher == AZIHSM_AES_GCM) {
			memcpy(want.tag, arg->tag, sizeof(want.tag));
			memcpy(want.iv, arg->iv, sizeof(want.iv));
		}
	}
	same = first_difference(&want, arg, SIZE);
	if (ret != -err)
		snprintf(why, sizeof(why), "returned %d, status %#x", ret,
			 arg->extended_status);
	else if (arg->extended_status != ext)
		snprintf(why, sizeof(why), "status %#x instead of %#x",
			 arg->extended_status, ext);
	else if (same != SIZE)
		snprintf(why, sizeof(why), "byte %zu of the structure", same);
	else if (err && !all_bytes(self->dst.p, GUARD_FILL, self->dst.len))
		snprintf(why, sizeof(why), "destination written");
	else
		return NULL;
	return why;
}

enum field {
	/* Nothing: the file is what is wrong. */
	FILE_ITSELF,
	OP,
	CIPHER,
	SRC,
	SRC_LEN,
	DST,
	DST_LEN,
	/* The destination begins so far into the source. */
	OVERLAP,
	FRAME_TYPE,
	SESSION_ID,
	SHORT_APP_ID,
	AAD_LENGTH,
	PADDED_AAD,
	DATA_UNIT,
};

/* The ioctls that a rule is for. */
enum {
	GCM	= 1,
	XTS	= 2,
	BOTH	= GCM | XTS,
};

struct rule {
	const char *id;
	unsigned int ciphers;
	enum field field;
	__u64 value;
	int err;
	__u32 ext;
};

/* In the order of precedence. */
static const struct rule rules[] = {
	{ "FP-8", BOTH, FILE_ITSELF, 0, EINVAL, AZIHSM_EXT_AES_NO_SESSION },
	{ "FP-10", BOTH, SESSION_ID, 1, EINVAL, AZIHSM_EXT_AES_SESSION_ID },
	{ "FP-10", BOTH, SESSION_ID, ~0U, EINVAL, AZIHSM_EXT_AES_SESSION_ID },
	{ "FP-11", BOTH, SHORT_APP_ID, 1, EINVAL, AZIHSM_EXT_AES_SHORT_APP_ID },
	{ "FP-11", BOTH, SHORT_APP_ID, ~0U, EINVAL,
	  AZIHSM_EXT_AES_SHORT_APP_ID },
	{ "FP-12", BOTH, OP, 2, EINVAL, AZIHSM_EXT_AES_OP },
	{ "FP-12", BOTH, OP, 0xff, EINVAL, AZIHSM_EXT_AES_OP },
	{ "FP-13", GCM, CIPHER, AZIHSM_AES_XTS, EINVAL, AZIHSM_EXT_AES_CIPHER },
	{ "FP-13", XTS, CIPHER, AZIHSM_AES_GCM, EINVAL, AZIHSM_EXT_AES_CIPHER },
	{ "FP-13", BOTH, CIPHER, 2, EINVAL, AZIHSM_EXT_AES_CIPHER },
	{ "FP-13", BOTH, CIPHER, 0xff, EINVAL, AZIHSM_EXT_AES_CIPHER },
	{ "FP-14", XTS, SRC_LEN, 0, EINVAL, AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DST_LEN, 0, EINVAL, AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DST_LEN, TEXT_LEN - 1, EINVAL, AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DATA_UNIT, AZIHSM_XTS_UNIT_512, EINVAL,
	  AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DATA_UNIT, AZIHSM_XTS_UNIT_8192, EINVAL,
	  AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DATA_UNIT, 4, EINVAL, AZIHSM_EXT_AES_XTS },
	{ "FP-14", XTS, DATA_UNIT, 0xffff, EINVAL, AZIHSM_EXT_AES_XTS },
	{ "FP-15", GCM, SRC_LEN, 0, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, SRC_LEN, AAD_LEN, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, SRC_LEN, 31, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, AAD_LENGTH, GCM_LEN, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, AAD_LENGTH, ~0U, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, AAD_LENGTH, 33, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, PADDED_AAD, 0, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, PADDED_AAD, 33, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, PADDED_AAD, 48, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, PADDED_AAD, 128, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, PADDED_AAD, 0xffffffe0, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-15", GCM, DST_LEN, 0, EINVAL, AZIHSM_EXT_AES_GCM },
	/* Room for the text, but not for the AAD in front of it. */
	{ "FP-15", GCM, DST_LEN, GCM_LEN - 1, EINVAL, AZIHSM_EXT_AES_GCM },
	{ "FP-16", BOTH, DST, KERNEL_ADDRESS, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-16", BOTH, DST, KERNEL_TEXT, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-16", BOTH, DST, LAST_ADDRESS, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-16", BOTH, SRC, KERNEL_ADDRESS, EINVAL, AZIHSM_EXT_AES_SRC },
	{ "FP-16", BOTH, SRC, KERNEL_TEXT, EINVAL, AZIHSM_EXT_AES_SRC },
	{ "FP-16", BOTH, SRC, LAST_ADDRESS, EINVAL, AZIHSM_EXT_AES_SRC },
	{ "FP-17", BOTH, FRAME_TYPE, 0, EINVAL, AZIHSM_EXT_AES_FRAME_TYPE },
	{ "FP-17", BOTH, FRAME_TYPE, 2, EINVAL, AZIHSM_EXT_AES_FRAME_TYPE },
	{ "FP-18", BOTH, SRC, 0, EINVAL, AZIHSM_EXT_AES_SRC },
	{ "FP-19", BOTH, DST, 0, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-20", BOTH, OVERLAP, 1, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-20", BOTH, OVERLAP, TEXT_LEN - 1, EINVAL, AZIHSM_EXT_AES_DST },
	{ "FP-21", BOTH, SRC, UNMAPPED, EFAULT, AZIHSM_EXT_AES_NO_MEMORY },
	{ "FP-21", BOTH, DST, UNMAPPED, EFAULT, AZIHSM_EXT_AES_NO_MEMORY },
};

static void violate(FIXTURE_DATA(aes) * self, struct azihsm_aes *cmd,
		    const struct rule *rule)
{
	switch (rule->field) {
	case FILE_ITSELF:
		break;
	case OP:
		cmd->op = rule->value;
		break;
	case CIPHER:
		cmd->cipher = rule->value;
		break;
	case SRC:
		cmd->src = rule->value;
		break;
	case SRC_LEN:
		cmd->src_len = rule->value;
		break;
	case DST:
		cmd->dst = rule->value;
		break;
	case DST_LEN:
		cmd->dst_len = rule->value;
		break;
	case OVERLAP:
		cmd->dst = (unsigned long)self->src.p + rule->value;
		break;
	case FRAME_TYPE:
		cmd->frame_type = rule->value;
		break;
	case SESSION_ID:
		cmd->session_id += rule->value;
		break;
	case SHORT_APP_ID:
		cmd->short_app_id += rule->value;
		break;
	case AAD_LENGTH:
		cmd->gcm.aad_len = rule->value;
		break;
	case PADDED_AAD:
		cmd->gcm.padded_aad_len = rule->value;
		break;
	case DATA_UNIT:
		cmd->xts.data_unit = rule->value;
		break;
	}
}

static int file_for(FIXTURE_DATA(aes) * self, const struct rule *rule)
{
	return rule->field == FILE_ITSELF ? self->without_session : self->fd;
}

static bool is_for(unsigned int ciphers, __u8 cipher)
{
	return ciphers & (cipher == AZIHSM_AES_GCM ? GCM : XTS);
}

TEST_F(aes, refusals)
{
	struct azihsm_aes cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *r = &rules[i];
		const char *why;

		if (!is_for(r->ciphers, variant->cipher))
			continue;
		good(self, variant->cipher, &cmd);
		violate(self, &cmd, r);
		why = check(self, file_for(self, r), variant->cipher, &cmd,
			    r->err, r->ext);
		EXPECT_EQ(NULL, why) {
			TH_LOG("%s, row %u: %s", r->id, i, why);
		}
	}
	/* The file has not suffered. */
	good(self, variant->cipher, &cmd);
	EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd, 0, 0));
}

/* FP-18: a source of no length, which is a multiple of every unit of some. */
TEST_F(aes, nothing)
{
	struct azihsm_aes cmd;
	__u32 ext = AZIHSM_EXT_AES_SRC;

	good(self, variant->cipher, &cmd);
	cmd.src_len = 0;
	if (variant->cipher == AZIHSM_AES_XTS)
		cmd.xts.data_unit = AZIHSM_XTS_UNIT_512;
	else
		ext = AZIHSM_EXT_AES_GCM;
	EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd, EINVAL,
				  ext));
}

static bool is_address(enum field field)
{
	return field == SRC || field == DST;
}

/* Whether one way to break a rule undoes the other. */
static bool mends(const struct rule *a, const struct rule *b)
{
	return a->field == b->field || !strcmp(a->id, b->id) ||
	       (a->field == OVERLAP && is_address(b->field)) ||
	       (b->field == OVERLAP && is_address(a->field));
}

/* Two rules broken at once: the first one counts. */
TEST_F(aes, precedence)
{
	unsigned int pairs = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++) {
		for (unsigned int j = i + 1; j < ARRAY_SIZE(rules); j++) {
			const struct rule *a = &rules[i], *b = &rules[j];
			struct azihsm_aes cmd;
			const char *why;

			if (mends(a, b) ||
			    !is_for(a->ciphers & b->ciphers, variant->cipher))
				continue;
			good(self, variant->cipher, &cmd);
			violate(self, &cmd, a);
			violate(self, &cmd, b);
			why = check(self, file_for(self, a), variant->cipher,
				    &cmd, a->err, a->ext);
			EXPECT_EQ(NULL, why) {
				TH_LOG("%s (row %u) before %s (row %u): %s",
				       a->id, i, b->id, j, why);
			}
			pairs++;
		}
	}
	EXPECT_LT(200, pairs);
	/* FP-16: of two bad ranges, the destination's counts. */
	for (unsigned int i = 0; i < 2; i++) {
		struct azihsm_aes cmd;

		good(self, variant->cipher, &cmd);
		cmd.src = i ? KERNEL_TEXT : LAST_ADDRESS;
		cmd.dst = KERNEL_ADDRESS;
		EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd,
					  EINVAL, AZIHSM_EXT_AES_DST));
	}
}

/* ALL-6: what has no meaning changes nothing: every such byte, in turn. */
TEST_F(aes, ignored_bytes)
{
	struct azihsm_aes cmd, other;
	__u8 *bytes = (__u8 *)&cmd;
	unsigned int changed = 0;

	/* Addresses have a meaning, and may have any byte. */
	good_with(self, 0x33, variant->cipher, &other);
	for (unsigned int i = 0; i < SIZE; i++) {
		bool tag_or_iv = i >= offsetof(struct azihsm_aes, gcm.tag) &&
				 i < offsetof(struct azihsm_aes, gcm.aad_len);

		good(self, variant->cipher, &cmd);
		if (bytes[i] == ((__u8 *)&other)[i])
			continue;
		/* Encryption does not care for a tag, nor for which IV. */
		if (tag_or_iv && i % 7)
			continue;
		bytes[i] = i % 2 ? 0 : 0xff;
		EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd,
					  0, 0));
		changed++;
	}
	EXPECT_LT(8, changed);
}

/*
 * FP-21: ranges with a hole at the end, and memory that must not be written;
 * small enough to be copied, and large enough for more.
 */
TEST_F(aes, buffer_edges)
{
	static const __u32 sizes[] = { 4096, 8192, LARGE };
	struct azihsm_aes cmd;
	struct edge e;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		__u32 len = sizes[i];

		ASSERT_TRUE(edge_alloc(&e, len));
		for (int dst = 0; dst < 2; dst++) {
			__u64 *address = dst ? &cmd.dst : &cmd.src;

			good(self, variant->cipher, &cmd);
			cmd.src_len = len;
			cmd.dst_len = len;
			*address = (unsigned long)edge_at(&e, len);
			EXPECT_NO_COMPLAINT(check(self, self->fd,
						  variant->cipher, &cmd, 0, 0));
			good(self, variant->cipher, &cmd);
			cmd.src_len = len;
			cmd.dst_len = len;
			*address = (unsigned long)edge_at(&e, len - 1);
			EXPECT_NO_COMPLAINT(check(self, self->fd,
						  variant->cipher, &cmd, EFAULT,
						  AZIHSM_EXT_AES_NO_MEMORY));
		}

		ASSERT_TRUE(edge_protect(&e, PROT_READ));
		memcpy(self->src.p, edge_at(&e, len), len);
		good(self, variant->cipher, &cmd);
		cmd.src_len = len;
		cmd.dst_len = len;
		cmd.dst = (unsigned long)edge_at(&e, len);
		EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd,
					  EFAULT, AZIHSM_EXT_AES_NO_MEMORY));
		EXPECT_EQ(len, first_difference(self->src.p, edge_at(&e, len),
						len));
		/* It will do for a source. */
		good(self, variant->cipher, &cmd);
		cmd.src_len = len;
		cmd.dst_len = len;
		cmd.src = (unsigned long)edge_at(&e, len);
		EXPECT_NO_COMPLAINT(check(self, self->fd, variant->cipher, &cmd,
					  0, 0));
		edge_free(&e);
	}
}

/* A command of the test below. */
struct changing {
	int fd;
	__u8 cipher;
	struct azihsm_aes *cmd;
};

static struct flip_answer issue_changing(void *arg)
{
	const struct changing *c = arg;
	int ret;

	c->cmd->extended_status = 0xcccccccc;
	ret = issue(c->fd, c->cipher, c->cmd);
	return (struct flip_answer){ ret, c->cmd->extended_status,
				     c->cmd->byte_count };
}

/* ALL-7: another thread changes the structure all the time. */
TEST_F(aes, changing_structure)
{
	static const struct flip_case cases[] = {
#define CASE(which, field, value, error, status) {			\
		.ciphers = (which),					\
		.offset = offsetof(struct azihsm_aes, field),		\
		.bad = (value),						\
		.err = (error),						\
		.ext = (status),					\
	}
		CASE(BOTH, hdr.size, SIZE - 1, EINVAL, 0),
		CASE(GCM, op, AZIHSM_AES_XTS << 8, EINVAL,
		     AZIHSM_EXT_AES_CIPHER),
		CASE(XTS, op, 2 | AZIHSM_AES_XTS << 8, EINVAL,
		     AZIHSM_EXT_AES_OP),
		CASE(GCM, src_len, 0, EINVAL, AZIHSM_EXT_AES_GCM),
		CASE(XTS, src_len, 0, EINVAL, AZIHSM_EXT_AES_XTS),
		CASE(GCM, dst_len, 1, EINVAL, AZIHSM_EXT_AES_GCM),
		CASE(XTS, dst_len, 1, EINVAL, AZIHSM_EXT_AES_XTS),
		CASE(BOTH, src, UNMAPPED, EFAULT, AZIHSM_EXT_AES_NO_MEMORY),
		CASE(BOTH, dst, UNMAPPED, EFAULT, AZIHSM_EXT_AES_NO_MEMORY),
		CASE(BOTH, frame_type, 2, EINVAL, 0),
		CASE(GCM, gcm.aad_len, GCM_LEN, EINVAL, AZIHSM_EXT_AES_GCM),
		CASE(GCM, gcm.padded_aad_len, 33, EINVAL, AZIHSM_EXT_AES_GCM),
#undef CASE
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct flip_case *c = &cases[i];
		struct azihsm_aes *cmd = edge_at(&self->edge, SIZE);
		struct changing arg = { self->fd, variant->cipher, cmd };
		__u32 *word = (void *)((__u8 *)cmd + c->offset);
		__u32 bad = c->bad;
		struct flip_answer last;

		if (!is_for(c->ciphers, variant->cipher))
			continue;
		good(self, variant->cipher, cmd);
		/* Half of an address: the other half stays. */
		if (word == (__u32 *)&cmd->src)
			bad = unmapped_low(cmd->src);
		if (word == (__u32 *)&cmd->dst)
			bad = unmapped_low(cmd->dst);
		EXPECT_EQ(FLIP_BOTH, flip_until_both(c, word, bad, variant->len,
						     issue_changing, &arg,
						     &last)) {
			TH_LOG("case %u: %d, %#x, %u bytes", i, last.ret,
			       last.ext, last.byte_count);
		}
		EXPECT_TRUE(all_bytes(self->dst.p + variant->len, GUARD_FILL,
				      self->dst.len - variant->len));
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
