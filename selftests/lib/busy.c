// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that keep the device busy.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aes.h"
#include "busy.h"
#include "ddi.h"
#include "hsm.h"

/* Longest wait for progress. */
#define PROGRESS_MS	60000

long long busy_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

long long busy_cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

long long busy_idle_ms(void)
{
	FILE *f = fopen("/proc/stat", "r");
	long long idle, iowait;
	int found = 0;

	if (f) {
		found = fscanf(f, "cpu %*u %*u %*u %lld %lld", &idle, &iowait);
		fclose(f);
	}
	if (found != 2)
		return -1;
	return (idle + iowait) * 1000 / sysconf(_SC_CLK_TCK);
}

static void note_time(struct busy *b, long long since)
{
	long took = busy_now_ms() - since;
	long longest = b->longest_ms;

	while (took > longest &&
	       !atomic_compare_exchange_weak(&b->longest_ms, &longest, took))
		;
}

/* Counts an answer; false if it is none that may be. */
static bool judge(struct busy *b, int ret, __u32 ext, const char *what)
{
	bool lost = ext == AZIHSM_EXT_ABORTED ||
		    ext == AZIHSM_EXT_ABORT_IN_PROGRESS;

	if (ret >= 0) {
		b->done++;
		return true;
	}
	b->lost++;
	/* Not all at once again. */
	usleep(1000);
	if ((ret == -EAGAIN && lost && !b->only_gone) ||
	    (ret == -ENODEV && ext == AZIHSM_EXT_NOT_READY && b->gone) ||
	    (ret == -EIO && ext == AZIHSM_EXT_NOT_READY && b->dead))
		return true;
	if (!atomic_exchange(&b->complained, true))
		snprintf(b->why, sizeof(b->why), "%s: %d, status %#x", what,
			 ret, ext);
	return false;
}

static void *control(void *arg)
{
	struct busy *b = arg;
	int fd = hsm_open();

	while (!b->stop) {
		long long start = busy_now_ms();
		struct ddi_call c;
		int ret;

		if (fd < 0) {
			/* Between two lives of the device there is no node. */
			if (!b->gone)
				break;
			usleep(1000);
			fd = hsm_open();
			continue;
		}
		ddi_begin(&c, DDI_OP_GET_DEVICE_INFO, DDI_NO_SESSION, 0);
		ret = ddi_exec(fd, &c);
		note_time(b, start);
		if (!judge(b, ret, c.cmd.extended_status, "control"))
			break;
		if (ret == -ENODEV) {
			close(fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void *fast(void *arg)
{
	struct busy *b = arg;
	__u8 text[256] = { 0 }, out[256];

	while (!b->stop) {
		long long start = busy_now_ms();
		struct azihsm_aes cmd;
		int ret;

		gcm_init(&cmd, b->s, AZIHSM_AES_ENCRYPT, b->key, 0, text, out,
			 sizeof(text));
		ret = hsm_gcm(b->s->fd, &cmd);
		note_time(b, start);
		if (!judge(b, ret, cmd.extended_status, "GCM"))
			break;
	}
	return NULL;
}

bool busy_start(struct busy *b)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	for (b->count = 0; b->count < BUSY_THREADS; b->count++) {
		if (b->spread)
			hsm_use_processor(b->count / 2 % processors);
		if (pthread_create(&b->threads[b->count], NULL,
				   b->count % 2 ? control : fast, b)) {
			busy_stop(b);
			return false;
		}
	}
	if (b->spread)
		hsm_use_processor(-1);
	return true;
}

const char *busy_stop(struct busy *b)
{
	b->stop = true;
	for (int i = 0; i < b->count; i++)
		pthread_join(b->threads[i], NULL);
	b->count = 0;
	return b->complained ? b->why : NULL;
}

bool busy_progress(struct busy *b, unsigned int commands)
{
	unsigned int before = b->done;

	for (int ms = 0; ms < PROGRESS_MS; ms++) {
		if (b->done - before >= commands)
			return true;
		usleep(1000);
	}
	return false;
}
