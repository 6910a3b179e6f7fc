/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Many commands of one ring under way: AES-GCM of two sizes and control
 * commands, more than the device has slots for.
 */
#ifndef AZIHSM_FLIGHT_H
#define AZIHSM_FLIGHT_H

#include "client.h"
#include "ring.h"

#define FLIGHT_COMMANDS	200

/**
 * struct flight - commands under way
 * @ring: their ring
 * @s: session, of the file that they are for
 * @gcm: their key
 * @failed: of those collected so far, how many failed
 */
struct flight {
	struct io_uring ring;
	struct hsm_session s;
	struct hsm_key gcm;
	int failed;
};

/* Makes ring, session and key: 0, a status, or a negative errno. */
int flight_prepare(struct flight *f, int fd, unsigned int flags);
/* Submits all commands: 0 or a negative errno. */
int flight_start(struct flight *f, int fd);

/*
 * Waits for the ends of all commands, each at most for @seconds after the one
 * before. Each is to end once: well, or with one of the errors @allowed, a list
 * that ends with 0. NULL, or what was wrong.
 */
const char *flight_land(struct flight *f, const int *allowed,
			unsigned int seconds);

/*
 * For when the function is gone: NULL if all commands have failed with -ENODEV by
 * now, or what was wrong.
 */
const char *flight_lost(struct flight *f);

/* NULL if all sessions of the device can be had again soon. */
const char *flight_sessions_free(void);

#endif /* AZIHSM_FLIGHT_H */
