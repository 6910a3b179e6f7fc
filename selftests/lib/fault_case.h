/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One fault, one command that meets it, and what may come of it.
 */
#ifndef AZIHSM_FAULT_CASE_H
#define AZIHSM_FAULT_CASE_H

#include "verified.h"

/* Length of the text of each command: with a tail, and bounced. */
#define FAULT_LEN	1000

/* Bit of a verdict, to say which ones may be. */
#define MAY(verdict)	(1U << (verdict))

/* When things must work again at the latest, in milliseconds. */
#define RECOVERED_MS	30000

/* A fault that hits one command, or its completion, of a class. */
#define FAULT_FP(what)	"{\"class\":\"fp\",\"count\":1,\"what\":" what "}"
#define FAULT_CP(what)	"{\"class\":\"cp\",\"count\":1,\"what\":" what "}"
/* A completion with a field that is changed. */
#define FAULT_FIELD(name, change) \
	"{\"completion\":{\"" name "\":{" change "}}}"

/**
 * struct fault_case - a fault and what is expected
 * @name: name of the case
 * @fault: the fault, a JSON object
 * @op: the command that meets it
 * @meet: what meets it instead, for which @op is meant; NULL for that one command.
 *        It fills in the result as verified_run() does
 * @may: verdicts that are right, MAY(..) | ..
 * @after_ms: the shortest time that the command may take, in milliseconds
 * @within_ms: the longest
 * @late_ms: how long after the command the fault may do something, in
 *           milliseconds
 */
struct fault_case {
	const char *name;
	const char *fault;
	enum verified_op op;
	void (*meet)(const struct world_view *v, enum verified_op op,
		     struct verified *result);
	unsigned int may;
	long long after_ms;
	long long within_ms;
	unsigned int late_ms;
};

/*
 * Runs cases, each followed by what shows that the device works again, and
 * reports them as TAP. Does not return.
 */
void fault_cases_run(const struct fault_case *cases, unsigned int count);

/* Every kind of command, once; NULL if all are good within some time. */
const char *works_again(struct world *w);

#endif /* AZIHSM_FAULT_CASE_H */
