// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that the emulator draws at random, or that a list names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest.h"

#include "chaos.h"
#include "emulator.h"
#include "fault.h"
#include "json.h"

/* Longest request that the emulator takes. */
#define REQUEST_MAX	(64 * 1024)

bool chaos_runs(void)
{
	char *answer = emulator_ask("{\"cmd\":\"faults\"}");
	bool found = json_count(json_member(answer, "faults")) ||
		     json_member(json_member(answer, "chaos"), "seed");

	free(answer);
	return found;
}

/* Ends the program if the answer does not say that it was done. */
static void demand(const char *request)
{
	char *answer = emulator_ask(request);

	if (!json_member(answer, "started") && !json_member(answer, "armed"))
		ksft_exit_fail_msg("%.200s: %s\n", request,
				   answer ? answer : "no answer");
	free(answer);
}

void chaos_start(const char *what)
{
	const char *rate = strchr(what, ',');
	char request[128];

	snprintf(request, sizeof(request),
		 "{\"cmd\":\"chaos\",\"seed\":%.*s,\"rate\":%s}",
		 (int)(rate ? rate - what : strlen(what)), what,
		 rate ? rate + 1 : "0.001");
	demand(request);
}

void chaos_request(const char *path)
{
	static char request[REQUEST_MAX];
	FILE *f = fopen(path, "r");

	if (!f || !fgets(request, sizeof(request), f))
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	fclose(f);
	request[strcspn(request, "\n")] = 0;
	demand(request);
}

void chaos_stop(void)
{
	char *answer = emulator_ask("{\"cmd\":\"chaos-stop\"}");

	ksft_print_msg("%s\n", answer ? answer : "no answer");
	free(answer);
	if (!fault_clear())
		ksft_exit_fail_msg("the faults cannot be cleared\n");
}

long long chaos_deceptions(void)
{
	return emulator_number("{\"cmd\":\"faults\"}", "deceptions");
}

long long chaos_hidden_sessions(void)
{
	return emulator_number("{\"cmd\":\"faults\"}", "hidden_sessions");
}

long long chaos_violations(void)
{
	return emulator_stat("violations");
}
