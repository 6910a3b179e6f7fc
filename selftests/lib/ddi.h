/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DDI: requests to the device's firmware through the CP ioctl.
 *
 * Functions that talk to the device return 0 on success, a positive DDI status
 * if the device answered with an error, a negative errno if the ioctl failed,
 * -EREMOTEIO if the device completed the command without an answer (its status
 * is in ddi_call.cmd), and -EPROTO if the answer is not what the protocol says.
 */
#ifndef AZIHSM_DDI_H
#define AZIHSM_DDI_H

#include <linux/azihsm.h>

#include "mbor.h"

/* Operations. */
enum {
	DDI_OP_INVALID			= 1001,
	DDI_OP_GET_API_REV		= 1002,
	DDI_OP_GET_DEVICE_INFO		= 1003,
	DDI_OP_DELETE_KEY		= 1014,
	DDI_OP_ECC_SIGN			= 1062,
	DDI_OP_AES_GENERATE_KEY		= 1071,
	DDI_OP_AES_ENCRYPT_DECRYPT	= 1072,
	DDI_OP_GET_ESTABLISH_CRED_KEY	= 1101,
	DDI_OP_ESTABLISH_CREDENTIAL	= 1102,
	DDI_OP_GET_SESSION_KEY		= 1103,
	DDI_OP_OPEN_SESSION		= 1104,
	DDI_OP_CLOSE_SESSION		= 1105,
	DDI_OP_GET_CERT_CHAIN_INFO	= 1108,
	DDI_OP_GET_CERTIFICATE		= 1109,
	DDI_OP_REOPEN_SESSION		= 1110,
	DDI_OP_INIT_BK3			= 1111,
	DDI_OP_GET_SEALED_BK3		= 1112,
	DDI_OP_SET_SEALED_BK3		= 1113,
};

/* Statuses. */
enum {
	DDI_INVALID_ARG			= 0x08000003,
	DDI_UNSUPPORTED_CMD		= 0x08000009,
	DDI_DECODE_FAILED		= 0x08680002,
	DDI_SESSION_LIMIT_REACHED	= 0x08700001,
	DDI_SESSION_NOT_FOUND		= 0x08700004,
	DDI_INVALID_APP_CREDENTIALS	= 0x08700007,
	DDI_KEY_NOT_FOUND		= 0x0870000e,
	DDI_INVALID_PERMISSIONS		= 0x08700022,
	DDI_UNSUPPORTED_REVISION	= 0x0870002a,
	DDI_NONCE_MISMATCH		= 0x0870005b,
	DDI_SESSION_NEEDS_RENEGOTIATION	= 0x087000c7,
	DDI_SEALED_BK3_NOT_PRESENT	= 0x087000d0,
	DDI_CREDENTIALS_NOT_ESTABLISHED	= 0x087000d1,
};

/* A request without a session. */
#define DDI_NO_SESSION		-1

/* Largest request that the device takes. */
#define DDI_MAX_REQUEST		3584

/**
 * struct ddi_call - one request and its response
 * @op: operation
 * @session: session id in the request header, or DDI_NO_SESSION
 * @req: the request
 * @resp: the response; after ddi_exec() at the start of its data
 * @fields: number of fields in the response's data
 * @fips_approved: from the response header
 * @cmd: the ioctl as it came back
 * @req_buf: storage of @req
 * @resp_buf: storage of @resp
 */
struct ddi_call {
	__u32 op;
	int session;
	struct mbor_writer req;
	struct mbor_reader resp;
	unsigned int fields;
	bool fips_approved;
	struct azihsm_cp_cmd cmd;
	__u8 req_buf[DDI_MAX_REQUEST];
	__u8 resp_buf[AZIHSM_CP_MAX_LEN];
};

/* Fills a CP command for buffers and a session; session < 0: no valid id. */
void ddi_cp_init(struct azihsm_cp_cmd *cmd, unsigned int kind, int session,
		 const void *src, __u32 src_len, void *dst, __u32 dst_len);
/* Session control kind that goes with an operation. */
unsigned int ddi_kind(__u32 op);
/* Encodes the header; the caller encodes @fields fields of data after it. */
void ddi_begin(struct ddi_call *c, __u32 op, int session, unsigned int fields);
/* Sends the request and decodes the response's header. */
int ddi_exec(int fd, struct ddi_call *c);
/* 0 if the response was read to its end without a deviation. */
int ddi_end(const struct ddi_call *c);
/* ddi_exec() and ddi_end() of an operation that answers without data. */
int ddi_exec_empty(int fd, struct ddi_call *c);

#endif /* AZIHSM_DDI_H */
