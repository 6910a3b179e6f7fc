// SPDX-License-Identifier: GPL-2.0
/*
 * Many commands of one ring under way.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "aes.h"
#include "ddi.h"
#include "flight.h"
#include "hsm.h"

#define SMALL	4096
#define LARGE	65536
/* How long it may take a slow machine to tell of the next end, in seconds. */
#define TOLD_S		3
/* When sessions have been flushed at the latest, in milliseconds. */
#define FLUSHED_MS	10000

static __u8 text[LARGE], sealed[FLIGHT_COMMANDS][LARGE];
static struct ddi_call query;
static char why[160];

int flight_prepare(struct flight *f, int fd, unsigned int flags)
{
	int ret = ring_open(&f->ring, FLIGHT_COMMANDS, flags);

	f->failed = 0;
	if (!ret)
		ret = hsm_open_session(fd, &f->s);
	if (!ret)
		ret = hsm_generate_key(&f->s, HSM_KEY_GCM, "gcm",
				       HSM_KEY_CIPHER, &f->gcm);
	ddi_begin(&query, DDI_OP_GET_API_REV, DDI_NO_SESSION, 0);
	return ret;
}

/* Every fourth is a control command; small and large ones in turns. */
static bool is_control(unsigned int i)
{
	return i % 4 == 2;
}

static __u32 length(unsigned int i)
{
	return i % 2 ? LARGE : SMALL;
}

int flight_start(struct flight *f, int fd)
{
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;
	int ret = 0;

	for (unsigned int i = 0; i < FLIGHT_COMMANDS; i++) {
		if (is_control(i)) {
			ddi_cp_init(&cp, AZIHSM_SESSION_NONE, -1, query.req_buf,
				    query.req.len, sealed[i], AZIHSM_CP_MAX_LEN);
			ring_put_cp(&f->ring, &cp, fd, NULL, i);
			continue;
		}
		gcm_init(&aes, &f->s, AZIHSM_AES_ENCRYPT, f->gcm.bulk_id, 0,
			 text, sealed[i], length(i));
		ring_put_aes(&f->ring, &aes, fd, NULL, i);
	}
	while (io_uring_sq_ready(&f->ring) && ret >= 0)
		ret = io_uring_submit(&f->ring);
	return ret < 0 ? ret : 0;
}

static bool is_good(const struct ring_done *done)
{
	if (is_control(done->data))
		return done->res > 0;
	return done->res == length(done->data);
}

static bool is_allowed(int res, const int *allowed)
{
	while (*allowed && *allowed != res)
		allowed++;
	return *allowed;
}

const char *flight_land(struct flight *f, const int *allowed,
			unsigned int seconds)
{
	bool seen[FLIGHT_COMMANDS] = { 0 };
	struct ring_done done;

	for (int i = 0; i < FLIGHT_COMMANDS; i++) {
		int ret = ring_wait(&f->ring, &done, seconds);

		if (ret) {
			snprintf(why, sizeof(why), "no end after %d: %d", i, ret);
			return why;
		}
		if (done.data >= FLIGHT_COMMANDS || seen[done.data]) {
			snprintf(why, sizeof(why), "%llu ended twice", done.data);
			return why;
		}
		seen[done.data] = true;
		if (is_good(&done))
			continue;
		f->failed++;
		if (!is_allowed(done.res, allowed)) {
			snprintf(why, sizeof(why), "%llu: %d (%#x, %#x)",
				 done.data, done.res, done.status, done.ext);
			return why;
		}
	}
	/* No more than that. */
	if (!ring_wait(&f->ring, &done, 0)) {
		snprintf(why, sizeof(why), "%llu ended once more", done.data);
		return why;
	}
	return NULL;
}

const char *flight_lost(struct flight *f)
{
	static const int allowed[] = { -ENODEV, 0 };
	const char *wrong = flight_land(f, allowed, TOLD_S);

	if (!wrong && f->failed != FLIGHT_COMMANDS) {
		snprintf(why, sizeof(why), "%d commands ended well",
			 FLIGHT_COMMANDS - f->failed);
		wrong = why;
	}
	return wrong;
}

const char *flight_sessions_free(void)
{
	for (int ms = 0; ms < FLUSHED_MS; ms += 100) {
		struct hsm_session s[HSM_SESSIONS];
		int fd[HSM_SESSIONS], ret = 0;

		for (int i = 0; i < HSM_SESSIONS; i++) {
			fd[i] = hsm_open();
			if (fd[i] >= 0 && !ret)
				ret = hsm_open_session(fd[i], &s[i]);
		}
		for (int i = 0; i < HSM_SESSIONS; i++)
			close(fd[i]);
		if (!ret)
			return NULL;
		snprintf(why, sizeof(why), "session: %d (%#x)", ret, ret);
		usleep(100000);
	}
	return why;
}
