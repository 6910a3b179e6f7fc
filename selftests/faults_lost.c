// SPDX-License-Identifier: GPL-2.0
/*
 * A device that loses commands, completions and messages, that answers late,
 * that stops. The caller has an answer within command timeout and recovery, and
 * afterwards everything works.
 */
#include "kselftest.h"

#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/fault_case.h"

/* The driver's timeout in milliseconds, and what recovery may add to it. */
#define TIMEOUT_MS	6000
#define BOUND_MS	14000
/* When a caller whose command is lost has its answer at the earliest. */
#define OVERDUE_MS	(TIMEOUT_MS - 100)

#define LOSS(title, command, verdicts, after, text) {	\
	.name = title,					\
	.op = command,					\
	.may = verdicts,				\
	.after_ms = after,				\
	.within_ms = BOUND_MS,				\
	.fault = text,					\
}

#define EITHER	(MAY(V_GOOD) | MAY(V_AGAIN))

static const struct fault_case cases[] = {
	LOSS("completion dropped", OP_XTS_ENCRYPT, MAY(V_AGAIN), OVERDUE_MS,
	     FAULT_FP("\"drop\"")),
	LOSS("command ignored", OP_CBC, MAY(V_AGAIN), OVERDUE_MS,
	     FAULT_CP("\"ignore\"")),
	LOSS("doorbell lost", OP_GCM_ENCRYPT, EITHER, OVERDUE_MS,
	     FAULT_FP("\"lost-doorbell\"")),
	LOSS("completion of another", OP_GCM_DECRYPT, MAY(V_AGAIN), OVERDUE_MS,
	     FAULT_FP(FAULT_FIELD("cid", "\"set\":65535"))),
	LOSS("completion of another queue", OP_CBC, EITHER, 0,
	     FAULT_CP(FAULT_FIELD("sq-id", "\"set\":65535"))),
	LOSS("wrong phase", OP_INFO, MAY(V_AGAIN), OVERDUE_MS,
	     FAULT_CP(FAULT_FIELD("phase", "\"xor\":1"))),
	LOSS("stale completion", OP_XTS_DECRYPT, MAY(V_AGAIN), OVERDUE_MS,
	     FAULT_FP("{\"stale\":{\"ms\":200}}")),
	/* The completion is there, only nobody was told. */
	LOSS("message lost", OP_XTS_ENCRYPT, MAY(V_GOOD), 0,
	     FAULT_FP("\"lost-interrupt\"")),
	LOSS("just in time", OP_GCM_DECRYPT, MAY(V_GOOD), TIMEOUT_MS - 600,
	     FAULT_FP("{\"delay\":{\"ms\":5500}}")),
	/* What reaches its end may be delivered or given up, not be wrong. */
	LOSS("just too late", OP_GCM_DECRYPT, EITHER, OVERDUE_MS,
	     FAULT_FP("{\"delay\":{\"ms\":6300}}")),
	LOSS("too late with a tag error", OP_GCM_TAMPERED, EITHER, OVERDUE_MS,
	     FAULT_FP("{\"delay\":{\"ms\":6300}}")),
	LOSS("disabled by the device", OP_XTS_ENCRYPT, EITHER, 0,
	     FAULT_FP("\"clear-enable\"")),
	LOSS("fatal status", OP_CBC, EITHER, 0, FAULT_CP("\"fatal\"")),
	LOSS("crash", OP_CBC, EITHER, 0, FAULT_CP("\"crash\"")),
	LOSS("Delete SQ refused", OP_XTS_ENCRYPT, MAY(V_AGAIN), OVERDUE_MS,
	     "{\"class\":\"admin\",\"opcode\":0,\"count\":1,\"what\":{\"refuse\":{\"status\":16391}}},"
	     FAULT_FP("\"drop\"")),
	LOSS("Create SQ refused", OP_XTS_ENCRYPT, MAY(V_AGAIN), OVERDUE_MS,
	     "{\"class\":\"admin\",\"opcode\":1,\"count\":1,\"what\":{\"refuse\":{\"status\":16391}}},"
	     FAULT_FP("\"drop\"")),
	LOSS("not to be disabled for a while", OP_CBC, MAY(V_AGAIN), 2000,
	     "{\"count\":1,\"what\":{\"ignore-disable\":{\"ms\":2000}}},"
	     FAULT_CP("\"crash\"") "," FAULT_CP("\"drop\"")),
	LOSS("not ready for a while", OP_CBC, MAY(V_AGAIN), 0,
	     "{\"count\":1,\"what\":{\"ignore-enable\":{\"ms\":2000}}},"
	     FAULT_CP("\"crash\"") "," FAULT_CP("\"drop\"")),
};

int main(void)
{
	ksft_print_header();
	if (!hsm_name())
		ksft_exit_skip("no azihsm device\n");
	if (!emulator_present())
		ksft_exit_skip("no channel to the emulator\n");
	if (!fault_slow())
		ksft_exit_skip("takes minutes: set AZIHSM_SLOW=1\n");
	fault_cases_run(cases, ARRAY_SIZE(cases));
	return 0;
}
