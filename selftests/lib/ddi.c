// SPDX-License-Identifier: GPL-2.0
/*
 * DDI: requests to the device's firmware through the CP ioctl.
 */
#include <errno.h>
#include <string.h>

#include "ddi.h"
#include "hsm.h"

/* Fields of a message and of its header. */
#define MSG_HEADER	0
#define MSG_DATA	1
#define HDR_REVISION	1
#define HDR_OP		2
#define HDR_SESSION	3
#define HDR_STATUS	4
#define HDR_FIPS	5

/* The only revision of the protocol. */
#define DDI_MAJOR	1
#define DDI_MINOR	0

void ddi_cp_init(struct azihsm_cp_cmd *cmd, unsigned int kind, int session,
		 const void *src, __u32 src_len, void *dst, __u32 dst_len)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->hdr.size = sizeof(*cmd);
	cmd->src = (unsigned long)src;
	cmd->src_len = src_len;
	cmd->dst = (unsigned long)dst;
	cmd->dst_len = dst_len;
	cmd->session_flags = kind;
	if (session >= 0) {
		cmd->session_flags |= AZIHSM_SESSION_ID_VALID;
		cmd->session_id = session;
	}
}

unsigned int ddi_kind(__u32 op)
{
	switch (op) {
	case DDI_OP_OPEN_SESSION:
		return AZIHSM_SESSION_OPEN;
	case DDI_OP_CLOSE_SESSION:
		return AZIHSM_SESSION_CLOSE;
	case DDI_OP_GET_API_REV:
	case DDI_OP_GET_DEVICE_INFO:
	case DDI_OP_GET_ESTABLISH_CRED_KEY:
	case DDI_OP_ESTABLISH_CREDENTIAL:
	case DDI_OP_GET_SESSION_KEY:
	case DDI_OP_GET_CERT_CHAIN_INFO:
	case DDI_OP_GET_CERTIFICATE:
	case DDI_OP_INIT_BK3:
	case DDI_OP_GET_SEALED_BK3:
	case DDI_OP_SET_SEALED_BK3:
		return AZIHSM_SESSION_NONE;
	default:
		return AZIHSM_SESSION_IN_SESSION;
	}
}

void ddi_begin(struct ddi_call *c, __u32 op, int session, unsigned int fields)
{
	/* GetApiRev must come without a revision, everything else with one. */
	bool revision = op != DDI_OP_GET_API_REV;

	c->op = op;
	c->session = session;
	mbor_writer_init(&c->req, c->req_buf, sizeof(c->req_buf));
	mbor_put_map(&c->req, 2);
	mbor_put_id(&c->req, MSG_HEADER);
	mbor_put_map(&c->req, 1 + revision + (session >= 0));
	if (revision) {
		mbor_put_id(&c->req, HDR_REVISION);
		mbor_put_map(&c->req, 2);
		mbor_put_id(&c->req, 1);
		mbor_put_u32(&c->req, DDI_MAJOR);
		mbor_put_id(&c->req, 2);
		mbor_put_u32(&c->req, DDI_MINOR);
	}
	mbor_put_id(&c->req, HDR_OP);
	mbor_put_u32(&c->req, op);
	if (session >= 0) {
		mbor_put_id(&c->req, HDR_SESSION);
		mbor_put_u16(&c->req, session);
	}
	mbor_put_id(&c->req, MSG_DATA);
	mbor_put_map(&c->req, fields);
}

/* Decodes the header of the response; its status or a negative errno. */
static int decode_header(struct ddi_call *c)
{
	struct mbor_reader *r = &c->resp;
	unsigned int fields, seen = 3;
	__u32 status;

	if (mbor_get_map(r) != 2)
		return -EPROTO;
	mbor_want_id(r, MSG_HEADER);
	fields = mbor_get_map(r);
	if (mbor_at_id(r, HDR_REVISION)) {
		mbor_want_id(r, HDR_REVISION);
		if (mbor_get_map(r) != 2)
			return -EPROTO;
		mbor_want_id(r, 1);
		if (mbor_get_u32(r) != DDI_MAJOR)
			return -EPROTO;
		mbor_want_id(r, 2);
		if (mbor_get_u32(r) != DDI_MINOR)
			return -EPROTO;
		seen++;
	}
	mbor_want_id(r, HDR_OP);
	if (mbor_get_u32(r) != c->op)
		return -EPROTO;
	if (mbor_at_id(r, HDR_SESSION)) {
		__u16 id;

		mbor_want_id(r, HDR_SESSION);
		id = mbor_get_u16(r);
		if (c->session >= 0 && id != c->session)
			return -EPROTO;
		seen++;
	}
	mbor_want_id(r, HDR_STATUS);
	status = mbor_get_u32(r);
	mbor_want_id(r, HDR_FIPS);
	c->fips_approved = mbor_get_bool(r);
	if (r->bad || fields != seen || status > 0x7fffffff)
		return -EPROTO;

	mbor_want_id(r, MSG_DATA);
	c->fields = mbor_get_map(r);
	/* An error comes with an empty map of data. */
	if (r->bad || (status && (c->fields || !mbor_done(r))))
		return -EPROTO;
	return status;
}

int ddi_exec(int fd, struct ddi_call *c)
{
	int ret;

	if (c->req.overflow)
		return -EMSGSIZE;

	ddi_cp_init(&c->cmd, ddi_kind(c->op), c->session, c->req_buf,
		    c->req.len, c->resp_buf, sizeof(c->resp_buf));
	ret = hsm_cp(fd, &c->cmd);
	if (ret)
		return ret;
	if (c->cmd.extended_status)
		return -EPROTO;
	if (c->cmd.status)
		return -EREMOTEIO;
	if (c->cmd.byte_count > sizeof(c->resp_buf))
		return -EPROTO;
	mbor_reader_init(&c->resp, c->resp_buf, c->cmd.byte_count);
	return decode_header(c);
}

int ddi_end(const struct ddi_call *c)
{
	return mbor_done(&c->resp) ? 0 : -EPROTO;
}

int ddi_exec_empty(int fd, struct ddi_call *c)
{
	int ret = ddi_exec(fd, c);

	if (ret)
		return ret;
	if (c->fields)
		return -EPROTO;
	return ddi_end(c);
}
