/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device that has lost its sessions, as one that had no power.
 */
#ifndef AZIHSM_GONE_H
#define AZIHSM_GONE_H

#include "client.h"

/*
 * The device has lost a session, and gives its id to another file of the node:
 * neither the commands nor the end of the old one may meet the new one. NULL if
 * so, or what is wrong. The file of the old one is closed.
 */
const char *session_gone(struct hsm_session *old);

#endif /* AZIHSM_GONE_H */
