// SPDX-License-Identifier: GPL-2.0
/*
 * A device that lies about what a command did. Nothing is lost, so nothing has
 * to be reset: every caller has its answer at once.
 */
#include "kselftest.h"

#include "lib/emulator.h"
#include "lib/fault_case.h"

#define SOON_MS	3000

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
