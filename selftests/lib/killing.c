// SPDX-License-Identifier: GPL-2.0
/*
 * A process that is killed while it waits, and how long it lives then.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "busy.h"
#include "killing.h"

/* Processes that are killed to see what that takes. */
#define IDLE_KILLS	5

static long long kill_one(unsigned int after_ms, void (*what)(const void *arg),
			  const void *arg)
{
	long long start;
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		what(arg);
		_exit(1);
	}
	usleep(after_ms * 1000);
	if (pid < 0 || waitpid(pid, &status, WNOHANG))
		return -1;
	start = busy_now_ms();
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return -1;
	return busy_now_ms() - start;
}

struct lived kill_in(unsigned int after_ms, long long limit,
		     void (*what)(const void *arg),
		     void (*idle)(const void *arg), const void *arg)
{
	struct lived lived = { .ms = kill_one(after_ms, what, arg) };

	for (int i = 0; lived.ms > limit && i < IDLE_KILLS; i++) {
		long long took = kill_one(after_ms, idle, arg);

		if (took > lived.idle_ms)
			lived.idle_ms = took;
	}
	return lived;
}

void wait_for_nothing(const void *arg)
{
	pause();
}
