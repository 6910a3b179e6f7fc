/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sessions and keys that many threads share, and that are made anew when the
 * device has forgotten them: a reset erases keys and credentials and leaves
 * sessions that have to be reopened.
 */
#ifndef AZIHSM_WORLD_H
#define AZIHSM_WORLD_H

#include <pthread.h>
#include <stdbool.h>

#include "client.h"
#include "hsm.h"

/* Sessions of a world; the rest of the device's are for others. */
#define WORLD_SESSIONS	4

/* Keys that all sessions can use, and what they are. */
struct world_keys {
	struct hsm_key cbc, gcm, xts1, xts2;
	__u8 cbc_bytes[32], gcm_bytes[32], xts1_bytes[32], xts2_bytes[32];
};

/* What a thread works with: a copy that stays as it is. */
struct world_view {
	unsigned int generation;
	struct hsm_session s;
	struct world_keys keys;
};

/**
 * struct world - sessions and keys
 * @lock: of everything here
 * @generation: how often things were made anew
 * @repairs: how often that had to be tried
 * @fresh_starts: how often the device had to be reset for it
 * @rebinds: how often the driver had to be bound anew
 * @may_rebind: whether a dead device is unbound and bound; else it stays dead
 * @address: PCI address of the device
 * @part: the provisioned device
 * @s: the sessions; fd is -1 if there is none
 * @open: whether the device knows the session, as far as we know
 * @keys: the keys
 */
struct world {
	pthread_mutex_t lock;
	unsigned int generation;
	unsigned int repairs;
	unsigned int fresh_starts;
	unsigned int rebinds;
	bool may_rebind;
	char address[64];
	struct hsm_partition part;
	struct hsm_session s[WORLD_SESSIONS];
	bool open[WORLD_SESSIONS];
	struct world_keys keys;
};

/* A world without anything in it, of the device that is there. */
void world_prepare(struct world *w);
/*
 * Resets the device, provisions it, opens the sessions, makes the keys.
 * Returns 0, or what failed as ddi.h describes it; then world_repair() may be
 * tried.
 */
int world_init(struct world *w);
/* Closes everything. */
void world_close(struct world *w);

/* Copies what a thread is to use. */
void world_look(struct world *w, unsigned int thread, struct world_view *view);
/*
 * Makes things work again that a reset broke, unless another thread has done
 * so since @generation. Returns 0, or what failed: the caller may try again.
 */
int world_repair(struct world *w, unsigned int generation);
/*
 * As above, but begins with a reset and trusts nothing that the device said
 * before: it may have lied about a session.
 */
int world_renew(struct world *w, unsigned int generation);
/* Unbinds the driver from the device and binds it again. */
void world_rebind(struct world *w);

#endif /* AZIHSM_WORLD_H */
