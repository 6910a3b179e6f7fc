/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The emulator's control channel: one JSON object on a line each way, over the
 * character device that the environment variable AZIHSM_EMULATOR names. What
 * it understands is in tools/emulator/README.md.
 */
#ifndef AZIHSM_EMULATOR_H
#define AZIHSM_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>

/* Room for the longest answer, in bytes. */
#define EMULATOR_ANSWER	(256 * 1024)

/* Whether there is a channel. */
bool emulator_present(void);

/*
 * Sends a request and returns the answer, without the end of the line; to be
 * freed by the caller. NULL with errno if there is no channel or no answer.
 * Processes and threads may do so at the same time.
 */
char *emulator_ask(const char *request);

/*
 * Whether driver and device agree that nothing is open: the function holds no
 * session, and nobody has violated the protocol. A session whose last command
 * is still at the device is given some seconds to be flushed.
 *
 * Files of this process that are open on the node are closed first.
 *
 * Returns NULL if so, or if there is no channel to ask over; else what is
 * wrong.
 */
const char *device_at_rest(void);

#endif /* AZIHSM_EMULATOR_H */
