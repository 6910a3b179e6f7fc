// SPDX-License-Identifier: GPL-2.0
/*
 * The emulator's control channel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "emulator.h"
#include "hsm.h"
#include "json.h"

/* Longest time between two bytes of an answer, in milliseconds. */
#define ANSWER_MS	5000
/* Longest time until sessions are flushed: commands that timed out end first. */
#define REST_MS		20000

static const char *channel(void)
{
	const char *path = getenv("AZIHSM_EMULATOR");

	return path && *path ? path : NULL;
}

bool emulator_present(void)
{
	return channel();
}

/* Opens the channel for an exchange of this process alone. */
static int open_channel(void)
{
	struct termios mode;
	int fd;

	if (!channel()) {
		errno = ENODEV;
		return -1;
	}
	fd = open(channel(), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX))
		goto failed;
	if (!tcgetattr(fd, &mode)) {
		cfmakeraw(&mode);
		/* The answer to somebody who was killed is nobody's. */
		if (tcsetattr(fd, TCSANOW, &mode) || tcflush(fd, TCIFLUSH))
			goto failed;
	}
	return fd;

failed:
	close(fd);
	return -1;
}

static bool send_line(int fd, const char *request)
{
	size_t len = strlen(request);
	char *line = malloc(len + 1);
	size_t done = 0;

	if (!line)
		return false;
	memcpy(line, request, len);
	line[len++] = '\n';
	while (done < len) {
		ssize_t n = write(fd, line + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += n;
	}
	free(line);
	return done == len;
}

static char *receive_line(int fd)
{
	char *line = malloc(EMULATOR_ANSWER);
	size_t len = 0;

	while (line && len < EMULATOR_ANSWER) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int ready = poll(&poll_fd, 1, ANSWER_MS);
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (!ready)
			errno = ETIMEDOUT;
		if (ready <= 0)
			break;
		n = read(fd, line + len, EMULATOR_ANSWER - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (!n)
			errno = EPIPE;
		if (n <= 0)
			break;
		len += n;
		if (line[len - 1] == '\n') {
			line[len - 1] = 0;
			return line;
		}
	}
	free(line);
	return NULL;
}

char *emulator_ask(const char *request)
{
	char *answer = NULL;
	int fd = open_channel();

	if (fd < 0)
		return NULL;
	if (send_line(fd, request))
		answer = receive_line(fd);
	close(fd);
	return answer;
}

/* Closes what this process has open on the node. */
static void close_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		char target[PATH_MAX];
		int fd = atoi(entry->d_name);
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target,
					 sizeof(target) - 1);

		if (len <= 0 || fd == dirfd(dir))
			continue;
		target[len] = 0;
		if (!strcmp(target, hsm_path()))
			close(fd);
	}
	closedir(dir);
}

/* The controller id of the function under test; false if it is gone. */
static bool controller_id(__u64 *id)
{
	struct azihsm_dev_info info;
	int fd = hsm_open();
	int ret;

	if (fd < 0)
		return false;
	ret = hsm_dev_info(fd, &info);
	close(fd);
	*id = info.ctrl_id;
	return !ret;
}

/* Sessions that the device holds for a function. */
static bool count_sessions(__u64 id, unsigned int *count)
{
	char *answer = emulator_ask("{\"cmd\":\"state\"}");
	const char *function = json_first(json_member(answer, "functions"));
	__u64 other;

	for (; function; function = json_next(function))
		if (json_number(json_member(function, "controller_id"),
				&other) && other == id)
			break;
	*count = json_count(json_member(function, "sessions"));
	free(answer);
	return function;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* How many violations there were, and which was the first. */
static bool find_violations(__u64 *count, char *first, size_t size)
{
	char *answer = emulator_ask("{\"cmd\":\"stats\"}");
	bool found = json_number(json_member(answer, "violations"), count);

	json_string(json_first(json_member(answer, "violation_list")), first,
		    size);
	free(answer);
	return found;
}

const char *device_at_rest(void)
{
	static char why[256];
	char first[160] = "";
	long long end = now_ms() + REST_MS;
	unsigned int sessions = 0;
	__u64 id, violations = 0;
	bool told = false;

	close_files();
	if (!emulator_present())
		return NULL;
	/* An answer can be somebody else's, who was killed: ask again. */
	while (controller_id(&id)) {
		told = count_sessions(id, &sessions) &&
		       find_violations(&violations, first, sizeof(first));
		if ((told && !sessions) || now_ms() > end)
			break;
		usleep(20000);
	}
	if (sessions)
		snprintf(why, sizeof(why),
			 "%u sessions left on the device, no file is open",
			 sessions);
	else if (violations)
		snprintf(why, sizeof(why),
			 "%llu violations of the protocol, the first: %s",
			 violations, first);
	else if (!told && now_ms() > end)
		snprintf(why, sizeof(why), "the emulator does not answer");
	else
		return NULL;
	return why;
}
