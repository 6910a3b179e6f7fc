// SPDX-License-Identifier: GPL-2.0
/*
 * The contract of control-path commands, rule by rule: what is refused, with
 * which error and status, which of two reasons counts, and that every byte of
 * the structure comes back as documented. The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <sys/mman.h>

#include "lib/edge.h"
#include "lib/flip.h"
#include "lib/harness.h"
#include "lib/vectors.h"

#define IN_CTXT		0x0123456789abcdefULL
#define REQUEST		sizeof(api_rev_request)
#define RESPONSE	sizeof(api_rev_response)
#define SIZE		sizeof(struct azihsm_cp_cmd)

/* session_flags with every bit set that has no meaning. */
#define FLAGS(kind)	(0xf8 | (kind))
#define FLAGS_ID(kind)	FLAGS((kind) | AZIHSM_SESSION_ID_VALID)

FIXTURE(cp) {
	int fd;
	int with_session;
	struct hsm_partition part;
	struct hsm_session s;
	struct guarded src, dst;
	struct edge edge;
};

FIXTURE_SETUP(cp)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	self->with_session = hsm_open();
	ASSERT_LE(0, self->with_session);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->with_session, &self->s));
	ASSERT_TRUE(guarded_alloc(&self->src, AZIHSM_CP_MAX_LEN, 11));
	ASSERT_TRUE(guarded_alloc(&self->dst, AZIHSM_CP_MAX_LEN, 1));
	ASSERT_TRUE(edge_alloc(&self->edge, SIZE));
}

FIXTURE_TEARDOWN(cp)
{
	EXPECT_TRUE(guarded_intact(&self->src));
	EXPECT_TRUE(guarded_intact(&self->dst));
	guarded_free(&self->src);
	guarded_free(&self->dst);
	edge_free(&self->edge);
	EXPECT_AT_REST();
}

/* GetApiRev, which works, with @fill in every byte that has no meaning. */
static void good_with(FIXTURE_DATA(cp) * self, __u8 fill,
		      struct azihsm_cp_cmd *cmd)
{
	memcpy(self->src.p, api_rev_request, REQUEST);
	memset(self->dst.p, GUARD_FILL, self->dst.len);
	memset(cmd, fill, sizeof(*cmd));
	cmd->hdr.size = sizeof(*cmd);
	cmd->in_ctxt = IN_CTXT;
	cmd->opc = 0;
	cmd->cmdset = 0;
	cmd->src_len = REQUEST;
	cmd->src = (unsigned long)self->src.p;
	cmd->dst_len = self->dst.len;
	cmd->dst = (unsigned long)self->dst.p;
	cmd->session_flags = FLAGS(AZIHSM_SESSION_NONE);
}

static void good(FIXTURE_DATA(cp) * self, struct azihsm_cp_cmd *cmd)
{
	good_with(self, 0xcc, cmd);
}

/* What of a command comes back: all that the caller gave, and these. */
static struct azihsm_cp_cmd answer(const struct azihsm_cp_cmd *cmd,
				   __u32 byte_count, __u32 ext)
{
	struct azihsm_cp_cmd want = *cmd;

	want.out_ctxt = cmd->in_ctxt;
	want.status = 0;
	want.byte_count = byte_count;
	want.extended_status = ext;
	want.pad4 = 0;
	return want;
}

/* Issues a command right before the end of memory, and compares all of it. */
static const char *check(FIXTURE_DATA(cp) * self, int fd,
			 const struct azihsm_cp_cmd *cmd, int err, __u32 ext)
{
	static char why[128];
	struct azihsm_cp_cmd *arg = edge_put(&self->edge, cmd, SIZE);
	__u32 len = err ? 0 : RESPONSE;
	struct azihsm_cp_cmd want = answer(cmd, len, ext);
	int ret = hsm_cp(fd, arg);
	size_t same = first_difference(&want, arg, SIZE);

	if (ret != -err)
		snprintf(why, sizeof(why), "returned %d, status %#x", ret,
			 arg->extended_status);
	else if (arg->extended_status != ext)
		snprintf(why, sizeof(why), "status %#x instead of %#x",
			 arg->extended_status, ext);
	else if (same != SIZE)
		snprintf(why, sizeof(why), "byte %zu of the structure", same);
	else if (!all_bytes(self->dst.p + len, GUARD_FILL,
			    self->dst.len - len))
		snprintf(why, sizeof(why), "destination written");
	else
		return NULL;
	return why;
}

enum field {
	CMDSET,
	OPC,
	SRC,
	SRC_LEN,
	DST,
	DST_LEN,
	/* Flags, and in the next byte what is added to the session's id. */
	SESSION,
};

/* The files that a rule is for. */
enum file {
	ANY,
	WITHOUT,	/* a session */
	WITH,
};

struct rule {
	const char *id;
	enum file file;
	enum field field;
	__u64 value;
	int err;
	__u32 ext;
};

#define OTHER_ID	0x100

/* In the order of precedence. */
static const struct rule rules[] = {
	{ "CP-7", ANY, CMDSET, 1, EINVAL, AZIHSM_EXT_CMDSET },
	{ "CP-7", ANY, CMDSET, 0xffff, EINVAL, AZIHSM_EXT_CMDSET },
	{ "CP-8", ANY, OPC, 1, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-8", ANY, OPC, 0x400, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-9", ANY, SRC_LEN, 8193, EINVAL, AZIHSM_EXT_SRC_LEN },
	{ "CP-9", ANY, SRC_LEN, ~0U, EINVAL, AZIHSM_EXT_SRC_LEN },
	{ "CP-10", ANY, DST_LEN, 8193, EINVAL, AZIHSM_EXT_DST_LEN },
	{ "CP-10", ANY, DST_LEN, ~0U, EINVAL, AZIHSM_EXT_DST_LEN },
	{ "CP-11", ANY, SRC, 0, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-11", ANY, SRC_LEN, 0, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-12", ANY, DST, 0, EINVAL, AZIHSM_EXT_DST_BUF },
	{ "CP-12", ANY, DST_LEN, 0, EINVAL, AZIHSM_EXT_DST_BUF },
	{ "CP-13", WITHOUT, SESSION, FLAGS_ID(AZIHSM_SESSION_CLOSE), EINVAL,
	  AZIHSM_EXT_NO_SESSION },
	{ "CP-13", WITHOUT, SESSION, FLAGS_ID(AZIHSM_SESSION_IN_SESSION),
	  EINVAL, AZIHSM_EXT_NO_SESSION },
	{ "CP-13", WITHOUT, SESSION, FLAGS(AZIHSM_SESSION_CLOSE), EINVAL,
	  AZIHSM_EXT_NO_SESSION },
	{ "CP-14", WITH, SESSION, FLAGS(AZIHSM_SESSION_CLOSE), EINVAL,
	  AZIHSM_EXT_SESSION_MISMATCH },
	{ "CP-14", WITH, SESSION, FLAGS(AZIHSM_SESSION_IN_SESSION), EINVAL,
	  AZIHSM_EXT_SESSION_MISMATCH },
	{ "CP-14", WITH, SESSION, FLAGS_ID(AZIHSM_SESSION_CLOSE) + OTHER_ID,
	  EINVAL, AZIHSM_EXT_SESSION_MISMATCH },
	{ "CP-14", WITH, SESSION,
	  FLAGS_ID(AZIHSM_SESSION_IN_SESSION) + OTHER_ID, EINVAL,
	  AZIHSM_EXT_SESSION_MISMATCH },
	{ "CP-15", WITH, SESSION, FLAGS(AZIHSM_SESSION_OPEN), EINVAL,
	  AZIHSM_EXT_SESSION_LIMIT },
	{ "CP-15", WITH, SESSION, FLAGS_ID(AZIHSM_SESSION_OPEN), EINVAL,
	  AZIHSM_EXT_SESSION_LIMIT },
	{ "CP-16", ANY, SRC, KERNEL_ADDRESS, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-16", ANY, SRC, KERNEL_TEXT, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-16", ANY, SRC, LAST_ADDRESS, EINVAL, AZIHSM_EXT_SRC_BUF },
	{ "CP-17", ANY, DST, KERNEL_ADDRESS, EINVAL, AZIHSM_EXT_DST_BUF },
	{ "CP-17", ANY, DST, KERNEL_TEXT, EINVAL, AZIHSM_EXT_DST_BUF },
	{ "CP-17", ANY, DST, LAST_ADDRESS, EINVAL, AZIHSM_EXT_DST_BUF },
	{ "CP-18", ANY, SRC, UNMAPPED, EFAULT, AZIHSM_EXT_SRC_BUF },
	{ "CP-20", ANY, DST, UNMAPPED, EFAULT, AZIHSM_EXT_DST_BUF },
};

static void violate(FIXTURE_DATA(cp) * self, struct azihsm_cp_cmd *cmd,
		    const struct rule *rule)
{
	switch (rule->field) {
	case CMDSET:
		cmd->cmdset = rule->value;
		break;
	case OPC:
		cmd->opc = rule->value;
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
	case SESSION:
		cmd->session_flags = rule->value;
		cmd->session_id = self->s.id + (rule->value >> 8);
		break;
	}
}

/* The file to try a rule on. */
static int file_for(FIXTURE_DATA(cp) * self, const struct rule *rule)
{
	return rule->file == WITH ? self->with_session : self->fd;
}

TEST_F(cp, refusals)
{
	struct azihsm_cp_cmd cmd;

	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *r = &rules[i];
		const char *why;

		good(self, &cmd);
		violate(self, &cmd, r);
		why = check(self, file_for(self, r), &cmd, r->err, r->ext);
		EXPECT_EQ(NULL, why) {
			TH_LOG("%s, row %u: %s", r->id, i, why);
		}
	}
	/* Neither file has suffered. */
	good(self, &cmd);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
	EXPECT_NO_COMPLAINT(check(self, self->with_session, &cmd, 0, 0));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* Two rules broken at once: the first one counts. */
TEST_F(cp, precedence)
{
	unsigned int pairs = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++) {
		for (unsigned int j = i + 1; j < ARRAY_SIZE(rules); j++) {
			const struct rule *a = &rules[i], *b = &rules[j];
			struct azihsm_cp_cmd cmd;
			const char *why;

			if (a->field == b->field ||
			    (a->file + b->file == WITH + WITHOUT &&
			     a->file && b->file))
				continue;
			/* Two ways to break a rule may mend it. */
			if (!strcmp(a->id, b->id))
				continue;
			good(self, &cmd);
			violate(self, &cmd, a);
			violate(self, &cmd, b);
			why = check(self, file_for(self, b->file ? b : a), &cmd,
				    a->err, a->ext);
			EXPECT_EQ(NULL, why) {
				TH_LOG("%s (row %u) before %s (row %u): %s",
				       a->id, i, b->id, j, why);
			}
			pairs++;
		}
	}
	EXPECT_LT(200, pairs);
}

/* ALL-6: what has no meaning changes nothing: every such byte, in turn. */
TEST_F(cp, ignored_bytes)
{
	struct azihsm_cp_cmd cmd, other;
	__u8 *bytes = (__u8 *)&cmd;
	unsigned int changed = 0;

	/* Addresses have a meaning, and may have any byte. */
	good_with(self, 0x33, &other);
	for (unsigned int i = 0; i < SIZE; i++) {
		good(self, &cmd);
		if (bytes[i] == ((__u8 *)&other)[i])
			continue;
		bytes[i] = 0;
		EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
		bytes[i] = 0xff;
		EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
		changed++;
	}
	EXPECT_LT(8, changed);
}

/* CP-18, CP-20: buffers that end at, or reach into, memory that is not there. */
TEST_F(cp, buffer_edges)
{
	struct azihsm_cp_cmd cmd;
	struct edge e;

	ASSERT_TRUE(edge_alloc(&e, AZIHSM_CP_MAX_LEN));
	good(self, &cmd);
	cmd.src = (unsigned long)edge_put(&e, api_rev_request,
					  REQUEST);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
	good(self, &cmd);
	cmd.src = (unsigned long)edge_at(&e, REQUEST - 1);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, EFAULT,
				  AZIHSM_EXT_SRC_BUF));
	/* All of the request has to be there, whatever the device reads. */
	good(self, &cmd);
	cmd.src = (unsigned long)edge_at(&e, AZIHSM_CP_MAX_LEN - 1);
	cmd.src_len = AZIHSM_CP_MAX_LEN;
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, EFAULT,
				  AZIHSM_EXT_SRC_BUF));

	/* Of the destination, only what the response needs. */
	good(self, &cmd);
	cmd.dst = (unsigned long)edge_at(&e, RESPONSE);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
	EXPECT_EQ(0, memcmp(edge_at(&e, RESPONSE), api_rev_response, RESPONSE));
	good(self, &cmd);
	cmd.dst = (unsigned long)edge_at(&e, RESPONSE - 1);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, EFAULT,
				  AZIHSM_EXT_DST_BUF));

	/* Read-only: good for a request, bad for a response. */
	edge_put(&e, api_rev_request, REQUEST);
	ASSERT_TRUE(edge_protect(&e, PROT_READ));
	good(self, &cmd);
	cmd.src = (unsigned long)edge_at(&e, REQUEST);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, 0, 0));
	good(self, &cmd);
	cmd.dst = (unsigned long)edge_at(&e, AZIHSM_CP_MAX_LEN);
	EXPECT_NO_COMPLAINT(check(self, self->fd, &cmd, EFAULT,
				  AZIHSM_EXT_DST_BUF));
	edge_free(&e);
}

static struct flip_answer issue(void *arg)
{
	FIXTURE_DATA(cp) * self = arg;
	struct azihsm_cp_cmd *cmd = edge_at(&self->edge, SIZE);
	int ret;

	cmd->extended_status = 0xcccccccc;
	ret = hsm_cp(self->fd, cmd);
	return (struct flip_answer){ ret, cmd->extended_status,
				     cmd->byte_count };
}

/*
 * ALL-7: another thread changes the structure all the time. The driver acts on
 * one of the two values, and on the same one everywhere.
 */
TEST_F(cp, changing_structure)
{
	static const struct flip_case cases[] = {
#define CASE(field, ...) { offsetof(struct azihsm_cp_cmd, field), __VA_ARGS__ }
		CASE(hdr.size, SIZE, SIZE - 1, EINVAL, 0),
		CASE(opc, 0, 1 << 16, EINVAL, AZIHSM_EXT_CMDSET),
		CASE(src_len, REQUEST, REQUEST | 1 << 16, EINVAL,
		     AZIHSM_EXT_SRC_LEN),
		CASE(src_len, REQUEST, 0, EINVAL, AZIHSM_EXT_SRC_BUF),
		CASE(dst_len, 4096, 4096 | 1 << 16, EINVAL,
		     AZIHSM_EXT_DST_LEN),
		CASE(src, 0, UNMAPPED, EFAULT, AZIHSM_EXT_SRC_BUF),
		CASE(session_flags, 0, 3, EINVAL, AZIHSM_EXT_NO_SESSION),
#undef CASE
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct flip_case *c = &cases[i];
		struct azihsm_cp_cmd *cmd = edge_at(&self->edge, SIZE);
		__u32 *word = (void *)((__u8 *)cmd + c->offset);
		__u32 bad = c->bad;
		struct flip_answer last;

		good(self, cmd);
		/* Half of the address: the other half stays. */
		if (word == (__u32 *)&cmd->src)
			bad = unmapped_low(cmd->src);
		else
			*word = c->good;
		EXPECT_EQ(FLIP_BOTH, flip_until_both(c, word, bad, RESPONSE,
						     issue, self, &last)) {
			TH_LOG("case %u: %d, %#x, %u bytes", i, last.ret,
			       last.ext, last.byte_count);
		}
	}
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
