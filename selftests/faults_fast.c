// SPDX-License-Identifier: GPL-2.0
/*
 * A device that lies about what a command did. Nothing is lost, so nothing has
 * to be reset: every caller has its answer at once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "kselftest.h"

#include "lib/ddi.h"
#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/fault_case.h"

#define SOON_MS	3000
/* More callers than queues, so that each queue has commands of some of them. */
#define CALLERS	16

/* The same where each register is slow. */
#define SLOW_MS	10000

/* When a late write has been made at the latest. */
#define LATE_MS	500

#define LIE_UNTIL(title, command, verdicts, text, late) {	\
	.name = title,						\
	.op = command,						\
	.may = verdicts,					\
	.within_ms = SOON_MS,					\
	.fault = text,						\
	.late_ms = late,					\
}

#define LIE(title, command, verdicts, text) \
	LIE_UNTIL(title, command, verdicts, text, 0)
/* It goes on after the command: to whatever the slot holds by then. */
#define LATE(title, command, text) \
	LIE_UNTIL(title, command, MAY(V_GOOD) | MAY(V_WRONG), text, LATE_MS)

/* What meets the fault is more than one command. */
#define MEET(title, what, command, within, text) {		\
	.name = title,						\
	.op = command,						\
	.meet = what,						\
	.may = MAY(V_GOOD),					\
	.within_ms = within,					\
	.fault = text,						\
}

/* A completion of a command that opens or closes a session, with wrong fields. */
#define FAULT_SESSION(kind, fields)					\
	"{\"class\":\"cp\",\"session-kind\":" kind ",\"count\":1,"	\
	"\"what\":{\"completion\":{" fields "}}}"
#define OPENING		"1"
#define CLOSING		"2"
#define FLAGS(value)	"\"session-flags\":{\"set\":" value "}"
#define ID(change)	"\"session-id\":{" change "}"

/* Notes what is not as it should be. */
static void expect(struct verified *result, const char *what, int got, int want)
{
	if (got == want || result->verdict != V_GOOD)
		return;
	result->verdict = V_WRONG;
	snprintf(result->why, sizeof(result->why), "%s: %d (%#x), not %d", what,
		 got, got, want);
}

struct caller {
	pthread_t thread;
	const struct world_view *view;
	enum verified_op op;
	unsigned int mix;
	struct verified v;
};

/* Callers that have had no answer yet. */
static atomic_int waiting;

/*
 * One command after the other, of a length that no other caller has, until everybody
 * has had an answer.
 */
static void *call(void *arg)
{
	struct caller *c = arg;
	bool first = true;

	do {
		verified_run(c->view, c->op, FAULT_LEN - c->mix * 16, c->mix,
			     &c->v);
		waiting -= first;
		first = false;
	} while (c->v.verdict == V_GOOD && waiting > 0);
	return NULL;
}

/*
 * One completion comes when others of its queue have come that were behind it: each
 * caller has the answer to what it asked.
 */
static void overtaken(const struct world_view *v, enum verified_op op,
		      struct verified *result)
{
	static struct caller callers[CALLERS];
	int count = 0;

	waiting = CALLERS;
	for (; count < CALLERS; count++) {
		struct caller *c = &callers[count];

		*c = (struct caller) { .view = v, .op = op, .mix = count };
		if (pthread_create(&c->thread, NULL, call, c))
			break;
	}
	expect(result, "callers", count, CALLERS);
	waiting -= CALLERS - count;
	while (count--) {
		struct caller *c = &callers[count];

		pthread_join(c->thread, NULL);
		if (c->v.verdict != V_GOOD)
			*result = c->v;
		if (c->v.slowest_ms > result->slowest_ms)
			result->slowest_ms = c->v.slowest_ms;
	}
}

static void reset(const struct world_view *v, enum verified_op op,
		  struct verified *result)
{
	long long start = now_ms();

	expect(result, "reset", hsm_reset(v->s.fd, AZIHSM_RESET_CTRL), 0);
	result->slowest_ms = now_ms() - start;
}

static int use(const struct hsm_session *s)
{
	struct hsm_key key;
	int ret = hsm_generate_key(s, HSM_KEY_AES256, "", HSM_KEY_CIPHER, &key);

	return ret ? ret : hsm_delete_key(s, key.id);
}

/*
 * An attempt to open a session fails, and the completion says that it opened one
 * which the device has, but nobody else: that is flushed with the file.
 */
static void adopt(__u16 id, struct verified *result)
{
	struct hsm_session s;
	char fault[256];
	int fd = hsm_open();

	snprintf(fault, sizeof(fault),
		 FAULT_SESSION(OPENING, FLAGS("5") "," ID("\"set\":%u")), id);
	expect(result, "adoption", fault_arm(fault) < 0, false);
	expect(result, "wrong pin", hsm_open_session_wrong_pin(fd, &s),
	       DDI_INVALID_APP_CREDENTIALS);
	close(fd);
}

/*
 * The completion does not say that a session was opened, or says that another one
 * was: its client cannot use it, and nobody else is disturbed.
 */
static void open_misnamed(const struct world_view *v, enum verified_op op,
			  struct verified *result)
{
	struct hsm_session s = { 0 };
	int fd = hsm_open();

	expect(result, "open", hsm_open_session(fd, &s), 0);
	expect(result, "use", use(&s), -EINVAL);
	expect(result, "use by others", use(&v->s), 0);
	close(fd);
	expect(result, "use by others, later", use(&v->s), 0);
	/* The driver does not know of it. */
	adopt(s.id, result);
}

/*
 * The completion does not say that the session is gone, or says that another one
 * is: for the driver the file still has it.
 */
static void close_misnamed(const struct world_view *v, enum verified_op op,
			   struct verified *result)
{
	struct hsm_session s = { 0 };
	int fd = hsm_open();

	expect(result, "open", hsm_open_session(fd, &s), 0);
	expect(result, "close", hsm_close_session(&s), 0);
	expect(result, "open again", hsm_open_session(fd, &s), -EINVAL);
	expect(result, "use by others", use(&v->s), 0);
	close(fd);
	expect(result, "use by others, later", use(&v->s), 0);
}

static const struct fault_case cases[] = {
	/* Status and error code reach the caller as they are. */
	LIE("fast path refuses", OP_XTS_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP("{\"refuse\":{\"status\":4,\"error\":3}}")),
	LIE("any status", OP_GCM_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("status", "\"set\":32767"))),
	LIE("error code without status", OP_XTS_DECRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("error", "\"set\":65535"))),
	LIE("tag error of a good tag", OP_GCM_DECRYPT, MAY(V_REFUSED),
	    FAULT_FP("{\"refuse\":{\"status\":3,\"error\":9}}")),
	LIE("control path refuses", OP_CBC, MAY(V_REFUSED),
	    FAULT_CP("{\"refuse\":{\"status\":199}}")),
	LIE("any status of the transport", OP_INFO, MAY(V_REFUSED),
	    FAULT_CP(FAULT_FIELD("status", "\"set\":2047"))),

	/* Lengths: more than there is room for cannot be; less is told. */
	LIE("more bytes than asked for", OP_XTS_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("bytes", "\"add\":16"))),
	LIE("4 GiB", OP_GCM_DECRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("bytes", "\"set\":4294967295"))),
	LIE("fewer bytes", OP_XTS_DECRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("bytes", "\"add\":-16"))),
	LIE("tail that is not asked for", OP_XTS_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("tail-length", "\"set\":1"))),
	LIE("no tail", OP_GCM_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("tail-length", "\"set\":0"))),
	LIE("tail of 4 GiB", OP_GCM_ENCRYPT, MAY(V_REFUSED),
	    FAULT_FP(FAULT_FIELD("tail-length", "\"set\":4294967295"))),
	/* The text of a response is the client's to understand. */
	LIE("response of 64 KiB", OP_INFO, MAY(V_GOOD) | MAY(V_WRONG),
	    FAULT_CP(FAULT_FIELD("bytes", "\"set\":65535"))),
	LIE("response of one byte", OP_CBC, MAY(V_WRONG),
	    FAULT_CP(FAULT_FIELD("bytes", "\"set\":1"))),
	LIE("response that is garbage", OP_CBC, MAY(V_WRONG) | MAY(V_REFUSED),
	    FAULT_CP("{\"data\":{\"byte\":0,\"change\":{\"xor\":255}}}")),

	/* What the driver can do without. */
	LIE("SQ head out of range", OP_XTS_ENCRYPT, MAY(V_GOOD),
	    FAULT_FP(FAULT_FIELD("sq-head", "\"set\":65535"))),
	LIE("SQ head ahead", OP_CBC, MAY(V_GOOD),
	    FAULT_CP(FAULT_FIELD("sq-head", "\"add\":1"))),
	LIE("other attributes", OP_XTS_DECRYPT, MAY(V_GOOD),
	    FAULT_FP(FAULT_FIELD("attributes", "\"set\":0"))),
	LIE("completion four times", OP_CBC, MAY(V_GOOD),
	    FAULT_CP("{\"duplicate\":{\"times\":3}}")),

	/* Sessions: what a completion says of one counts where one is expected. */
	LIE("session of a command in a session", OP_CBC, MAY(V_GOOD),
	    FAULT_CP("{\"completion\":{" FLAGS("255") ","
		     ID("\"set\":65535") ",\"app-id\":{\"xor\":255}}}")),
	LIE("session of a command without one", OP_INFO, MAY(V_GOOD),
	    FAULT_CP("{\"completion\":{" FLAGS("29") "," ID("\"set\":0") "}}")),
	MEET("open that names another session", open_misnamed, OP_INFO, SOON_MS,
	     FAULT_SESSION(OPENING, ID("\"xor\":1"))),
	MEET("open that names no session", open_misnamed, OP_INFO, SOON_MS,
	     FAULT_SESSION(OPENING, FLAGS("1"))),
	MEET("open that is called a close", open_misnamed, OP_INFO, SOON_MS,
	     FAULT_SESSION(OPENING, FLAGS("30"))),
	MEET("close that names another session", close_misnamed, OP_INFO,
	     SOON_MS, FAULT_SESSION(CLOSING, ID("\"xor\":1"))),
	MEET("close that is not safe", close_misnamed, OP_INFO, SOON_MS,
	     FAULT_SESSION(CLOSING, FLAGS("6"))),
	MEET("close that is called an open", close_misnamed, OP_INFO, SOON_MS,
	     FAULT_SESSION(CLOSING, FLAGS("21"))),

	/* Completions in another order than that of their commands. */
	MEET("overtaken on the fast path", overtaken, OP_GCM_ENCRYPT, SOON_MS,
	     FAULT_FP("{\"hold\":{\"commands\":3,\"ms\":60000}}")),
	MEET("overtaken on the control path", overtaken, OP_CBC, SOON_MS,
	     FAULT_CP("{\"hold\":{\"commands\":3,\"ms\":60000}}")),

	/* Registers that answer later than the driver looks in between. */
	MEET("slow registers", reset, OP_INFO, SLOW_MS,
	     "{\"what\":{\"slow-registers\":{\"us\":150000}}}"),

	/* Messages, writes and answers when they should not be. */
	LIE("message a thousand times", OP_XTS_ENCRYPT, MAY(V_GOOD),
	    FAULT_FP("{\"repeat-interrupt\":{\"times\":1000}}")),
	LIE("storm on the fast path", OP_CBC, MAY(V_GOOD),
	    FAULT_CP("{\"interrupt\":{\"vector\":16,\"times\":20000,\"every-us\":5}}")),
	LIE("storm on the admin queue", OP_INFO, MAY(V_GOOD),
	    FAULT_CP("{\"interrupt\":{\"vector\":0,\"times\":20000,\"every-us\":5}}")),
	LATE("write after the end", OP_XTS_ENCRYPT,
	     FAULT_FP("{\"late-write\":{\"ms\":20}}")),
	/*
	 * By then the slot may hold what the next command is to encrypt, and
	 * nobody but the device knows that this changed.
	 */
	LATE("write to the source", OP_GCM_DECRYPT,
	     FAULT_FP("{\"late-write\":{\"ms\":20,\"buffers\":\"source\"}}")),
	LATE("response after the end", OP_CBC,
	     FAULT_CP("{\"late-write\":{\"ms\":20}}")),
	LIE("slow", OP_GCM_ENCRYPT, MAY(V_GOOD),
	    FAULT_FP("{\"delay\":{\"ms\":1500}}")),
};

int main(void)
{
	ksft_print_header();
	if (!hsm_name())
		ksft_exit_skip("no azihsm device\n");
	if (!emulator_present())
		ksft_exit_skip("no channel to the emulator\n");
	fault_cases_run(cases, ARRAY_SIZE(cases));
	return 0;
}
