// SPDX-License-Identifier: GPL-2.0
/*
 * One fault, one command that meets it, and what may come of it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "emulator.h"
#include "fault.h"
#include "fault_case.h"

/* Longest time that a case may take with all that follows, in seconds. */
#define CASE_S	100
/* Longest time that a fault takes to hit when its caller was told, in milliseconds. */
#define HIT_MS	1000

static char why[384];

static __printf(1, 2) const char *complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	return why;
}

const char *works_again(struct world *w)
{
	long long end = now_ms() + RECOVERED_MS;
	struct world_view view;
	struct verified v;

	for (int op = 0; op < OP_COUNT;) {
		world_look(w, 0, &view);
		verified_run(&view, op, FAULT_LEN, op, &v);
		if (v.verdict == V_GOOD) {
			op++;
			continue;
		}
		if (v.verdict == V_WRONG || v.verdict == V_ODD)
			return complain("afterwards: %s", v.why);
		if (now_ms() > end)
			return complain("never again: %s", v.why);
		if (world_repair(w, view.generation))
			usleep(50000);
	}
	return NULL;
}

static const char *judge(const struct fault_case *c, const struct verified *v)
{
	if (!(MAY(v->verdict) & c->may))
		return complain("%s: %s", verdict_names[v->verdict], v->why);
	if (v->slowest_ms < c->after_ms)
		return complain("after %lld ms already", v->slowest_ms);
	if (v->slowest_ms > c->within_ms)
		return complain("only after %lld ms", v->slowest_ms);
	return NULL;
}

static const char *run(struct world *w, const struct fault_case *c)
{
	const char *complaint;
	struct world_view view;
	struct verified v;
	long id, hits;

	world_look(w, 0, &view);
	id = fault_arm(c->fault);
	if (id < 0)
		return complain("the fault cannot be armed: %s", c->fault);
	if (c->meet) {
		memset(&v, 0, sizeof(v));
		c->meet(&view, c->op, &v);
	} else {
		verified_run(&view, c->op, FAULT_LEN, 0, &v);
	}
	/* The caller is told before the driver has come to the end of it. */
	for (int ms = 0; (hits = fault_hits(id)) < 1 && ms < HIT_MS; ms += 10)
		usleep(10000);
	if (!fault_clear())
		return complain("the faults cannot be cleared");
	/* A late write goes to whatever the slot holds by then. */
	usleep(c->late_ms * 1000);
	complaint = judge(c, &v);
	if (complaint)
		return complaint;
	if (hits < 1)
		return complain("the fault did not hit: %s", c->fault);
	return works_again(w);
}

void fault_cases_run(const struct fault_case *cases, unsigned int count)
{
	static struct world world;
	const char *complaint;
	int ret;

	ksft_set_plan(count + 1);
	if (!fault_clear())
		ksft_exit_fail_msg("the emulator does not answer\n");
	ret = world_init(&world);
	if (ret)
		ksft_exit_fail_msg("the device cannot be provisioned: %d (%#x)\n",
				   ret, ret);
	for (int i = 0; i < count; i++) {
		/* A caller that hangs ends the program. */
		alarm(CASE_S);
		complaint = run(&world, &cases[i]);
		if (complaint)
			ksft_print_msg("%s\n", complaint);
		ksft_test_result(!complaint, "%s\n", cases[i].name);
	}
	world_close(&world);
	complaint = device_at_rest();
	if (complaint)
		ksft_print_msg("%s\n", complaint);
	ksft_test_result(!complaint, "at rest\n");
	ksft_finished();
}
