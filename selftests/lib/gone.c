// SPDX-License-Identifier: GPL-2.0
/*
 * A device that has lost its sessions.
 */
#include <errno.h>
#include <unistd.h>

#include "ddi.h"
#include "gone.h"
#include "hsm.h"

/* Both files are open. */
static const char *old_is_gone(const struct hsm_session *old,
			       const struct hsm_session *new)
{
	struct ddi_call c;

	if (new->id != old->id)
		return "the device has kept the session";
	ddi_begin(&c, DDI_OP_DELETE_KEY, old->id, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_u16(&c.req, 0);
	if (ddi_exec(old->fd, &c) != -EINVAL ||
	    c.cmd.extended_status != AZIHSM_EXT_NO_SESSION)
		return "the old file is in the new session";
	if (hsm_close_session(old) != -EINVAL)
		return "the old file closes the new session";
	return NULL;
}

const char *session_gone(struct hsm_session *old)
{
	struct hsm_partition part = { 0 };
	struct hsm_session new;
	const char *why = NULL;
	struct hsm_key key;
	int fd = hsm_open();

	if (fd < 0 || hsm_establish(fd, &part) || hsm_open_session(fd, &new))
		why = "no new session";
	else
		why = old_is_gone(old, &new);
	close(old->fd);
	old->fd = -1;
	if (!why && hsm_generate_key(&new, HSM_KEY_GCM, "", HSM_KEY_CIPHER,
				     &key))
		why = "the new session ended with the old file";
	if (!why && hsm_close_session(&new))
		why = "the new session does not end";
	close(fd);
	return why;
}
