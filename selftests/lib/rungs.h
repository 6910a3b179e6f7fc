/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of recovery share: a client with a session and a key, whose
 * commands are all on the same queues, faults, and how long things take.
 */
#ifndef AZIHSM_RUNGS_H
#define AZIHSM_RUNGS_H

#include "busy.h"
#include "client.h"

/* Command timeout, and after it the look of the watchdog, in milliseconds. */
#define TIMEOUT_MS	6000
#define WATCH_MS	500
/* Allowance for a slow machine. */
#define SLACK_MS	1500
/* The resets of queues, all together, before the controller is reset. */
#define QUEUES_MS	5000
/* What the device says it may take to stop. */
#define READY_MS	10500

/* Faults. */
#define ALWAYS(what)	"{\"what\":" what "}"
#define ONCE(what)	"{\"count\":1,\"what\":" what "}"
#define ALL_OF(class, what)						\
	"{\"class\":\"" class "\",\"what\":" what "}"
#define ONE_OF(class, what)						\
	"{\"class\":\"" class "\",\"count\":1,\"what\":" what "}"
#define OPCODE(class, opcode, what)					\
	"{\"class\":\"" class "\",\"opcode\":" opcode ",\"count\":1,\"what\":" what "}"
#define MS(what, ms)	"{\"" what "\":{\"ms\":" ms "}}"
#define IGNORE		"\"ignore\""
#define NEVER(what)	ALWAYS("{\"" what "\":{}}")

/**
 * struct client - who meets the faults
 * @fd: file of its session
 * @part: partition that it provisioned
 * @s: its session
 * @key: a key for AES-GCM
 * @entropy: what the device information had when it was looked at last
 */
struct client {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	__u8 entropy[32];
};

/* Faults are cleared, and the client opens its session: 0, or what is wrong. */
int client_open(struct client *c);
/* Faults are cleared, and the file is closed. */
void client_close(struct client *c);

/* Notes the entropy, which is another one after each reset: 0, or an error. */
int client_look(struct client *c);
/* Whether the controller was brought up anew since then; waits while it is. */
bool client_was_reset(const struct client *c);
/* Whether it was before some time is over. */
bool client_waits_for_reset(const struct client *c, int ms);

/* Encrypts some text; the time that it took goes to @took_ms. */
int client_encrypt(const struct client *c, struct azihsm_aes *cmd,
		   long long *took_ms);

/* The reset ioctl, with the status that it gave: 0, or a negative errno. */
int reset_status(int fd, __u32 *status);

/*
 * Has the controller of an open file given up, by a device that does not say who
 * it is: NULL, or what went wrong.
 */
const char *controller_give_up(int fd);

/* Opens the kernel's log at its end; how many lines of it contain a text. */
int log_open(void);
unsigned int log_count(int log, const char *text);

#endif /* AZIHSM_RUNGS_H */
