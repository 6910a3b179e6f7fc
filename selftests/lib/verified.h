/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One command whose result is compared with libcrypto, and a judgement that
 * tells a command that failed from one that succeeded with a wrong result.
 */
#ifndef AZIHSM_VERIFIED_H
#define AZIHSM_VERIFIED_H

#include "world.h"

enum verdict {
	/* Succeeded, and the result is right. */
	V_GOOD,
	/* The driver gave it up: a reset, or one that is under way. */
	V_AGAIN,
	/* The device refused it. */
	V_REFUSED,
	/* The device is dead or gone. */
	V_GONE,
	/* An error that no such command may end with. */
	V_ODD,
	/* Reported as a success, and it is none. */
	V_WRONG,
	V_COUNT,
};

/* Names of the verdicts, for people. */
extern const char *const verdict_names[V_COUNT];

enum verified_op {
	OP_GCM_ENCRYPT,
	OP_GCM_DECRYPT,
	/* Decryption with a wrong tag, which must fail. */
	OP_GCM_TAMPERED,
	OP_XTS_ENCRYPT,
	OP_XTS_DECRYPT,
	OP_CBC,
	OP_INFO,
	OP_COUNT,
};

/**
 * struct verified - a command that ended
 * @verdict: the judgement
 * @is_short: it succeeded, and the device told less than was asked for
 * @slowest_ms: the longest time that one ioctl of it took, in milliseconds
 * @why: what is odd or wrong
 */
struct verified {
	enum verdict verdict;
	bool is_short;
	long long slowest_ms;
	char why[160];
};

long long now_ms(void);

/*
 * Runs a command. @mix chooses contents, and offsets in the page; @len is the
 * length of the text, rounded as the cipher needs it, up to 1024 for OP_CBC.
 */
void verified_run(const struct world_view *v, enum verified_op op, size_t len,
		  unsigned int mix, struct verified *result);

#endif /* AZIHSM_VERIFIED_H */
