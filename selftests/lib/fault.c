// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of the emulated device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"
#include "fault.h"
#include "json.h"

#define REQUEST_MAX	1024

bool fault_slow(void)
{
	const char *wanted = getenv("AZIHSM_SLOW");

	return wanted && *wanted && strcmp(wanted, "0");
}

long long emulator_number(const char *request, const char *member)
{
	char *answer = emulator_ask(request);
	__u64 n;
	bool found = json_number(json_member(answer, member), &n);

	free(answer);
	return found ? n : -1;
}

long long emulator_stat(const char *name)
{
	return emulator_number("{\"cmd\":\"stats\"}", name);
}

long fault_arm(const char *fault)
{
	char request[REQUEST_MAX];
	char *answer;
	__u64 id;
	bool found;
	int len;

	len = snprintf(request, sizeof(request),
		       "{\"cmd\":\"arm\",\"faults\":[%s]}", fault);
	if (len >= sizeof(request))
		return -1;
	answer = emulator_ask(request);
	found = json_number(json_first(json_member(answer, "armed")), &id);
	if (!found)
		printf("# %s: %s\n", request, answer ? answer : "no answer");
	free(answer);
	return found ? id : -1;
}

long fault_hits(long id)
{
	char *answer = emulator_ask("{\"cmd\":\"faults\"}");
	const char *fault = json_first(json_member(answer, "faults"));
	long hits = -1;
	__u64 n;

	for (; fault; fault = json_next(fault))
		if (json_number(json_member(fault, "id"), &n) && n == id &&
		    json_number(json_member(fault, "hits"), &n))
			hits = n;
	free(answer);
	return hits;
}

bool fault_clear(void)
{
	return emulator_number("{\"cmd\":\"clear\"}", "cleared") >= 0;
}
