/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User-space interface of the Azure Integrated HSM driver.
 *
 * Every ioctl structure has fixed-width fields and explicit padding, so the
 * layout is the same for 32- and 64-bit callers. Pointers travel in __u64
 * fields. All fields are little-endian on the supported architectures.
 *
 * See Documentation/userspace-api/azihsm.rst.
 */
#ifndef _UAPI_LINUX_AZIHSM_H
#define _UAPI_LINUX_AZIHSM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ioctl type of /dev/azihsm<N> and of /dev/azihsm-mgmt<N>. */
#define AZIHSM_IOC_MAGIC	'B'
#define AZIHSM_MGMT_IOC_MAGIC	'A'

/**
 * struct azihsm_hdr - common header of the command ioctls
 * @size: size of the whole structure in bytes; larger values are accepted,
 *        only the size known to the driver is transferred
 * @cmd_id: chosen by the caller, echoed
 * @timeout: ignored by the ioctls
 * @flags: ignored by the ioctls
 */
struct azihsm_hdr {
	__u32 size;
	__u32 cmd_id;
	__u32 timeout;
	__u32 flags;
};

/* Session control kind: bits 1:0 of azihsm_cp_cmd.session_flags. */
#define AZIHSM_SESSION_KIND_MASK	0x03
#define AZIHSM_SESSION_NONE		0
#define AZIHSM_SESSION_OPEN		1
#define AZIHSM_SESSION_CLOSE		2
#define AZIHSM_SESSION_IN_SESSION	3
/* Set when azihsm_cp_cmd.session_id is valid. */
#define AZIHSM_SESSION_ID_VALID		0x04

/* Largest control command buffer, in bytes, in each direction. */
#define AZIHSM_CP_MAX_LEN		8192

/**
 * struct azihsm_cp_cmd - control-path (CP) command
 * @hdr: common header, @hdr.size >= 112
 * @in_ctxt: chosen by the caller, echoed in @out_ctxt
 * @opc: must be 0
 * @cmdset: must be 0
 * @psdt: ignored
 * @pad0: padding, ignored
 * @src_len: request length in bytes, 0 to AZIHSM_CP_MAX_LEN
 * @pad1: padding, ignored
 * @src: address of the request, 0 if and only if @src_len is 0
 * @dst_len: length of the response buffer in bytes, 0 to AZIHSM_CP_MAX_LEN
 * @pad2: padding, ignored
 * @dst: address of the response buffer, 0 if and only if @dst_len is 0
 * @session_flags: AZIHSM_SESSION_*
 * @rsvd0: ignored
 * @session_id: session the command belongs to
 * @rsvd1: ignored
 * @pad3: padding, ignored
 * @out_ctxt: copy of @in_ctxt
 * @status: device status, 0 on success
 * @byte_count: number of bytes written to @dst
 * @extended_status: AZIHSM_EXT_*, 0 on success
 * @pad4: padding
 */
struct azihsm_cp_cmd {
	struct azihsm_hdr hdr;
	__u64 in_ctxt;
	__u16 opc;
	__u16 cmdset;
	__u8 psdt;
	__u8 pad0[3];
	__u32 src_len;
	__u32 pad1;
	__u64 src;
	__u32 dst_len;
	__u32 pad2;
	__u64 dst;
	__u8 session_flags;
	__u8 rsvd0;
	__u16 session_id;
	__u8 rsvd1[16];
	__u32 pad3;
	__u64 out_ctxt;
	__u32 status;
	__u32 byte_count;
	__u32 extended_status;
	__u32 pad4;
};

/**
 * struct azihsm_dev_info - device information
 * @argsz: size of the structure in bytes, at least 176
 * @ctrl_id: controller id, 0 for the PF, n + 1 for VF n
 * @pci_info: PCI address "dddd:bb:dd.f", NUL-padded
 * @serial_num: serial number, NUL-terminated
 * @model_num: zeros
 * @firmware_rev: firmware revision, NUL-terminated
 * @driver_rev: driver version, NUL-padded
 * @rsvd: returned unchanged
 * @device_entropy: random bytes drawn at every controller initialisation
 * @pad: padding, returned unchanged
 */
struct azihsm_dev_info {
	__u32 argsz;
	__u16 ctrl_id;
	__u8 pci_info[33];
	__u8 serial_num[33];
	__u8 model_num[5];
	__u8 firmware_rev[33];
	__u8 driver_rev[16];
	__u8 rsvd[17];
	__u8 device_entropy[32];
	__u8 pad;
};

/* azihsm_reset.abort_type */
#define AZIHSM_RESET_NSSR	1	/* subsystem reset of this function */
#define AZIHSM_RESET_CTRL	2	/* controller disable and enable */

/* azihsm_reset.abort_sts */
#define AZIHSM_RESET_OK			0
#define AZIHSM_RESET_IN_PROGRESS	1
#define AZIHSM_RESET_BAD_STATE		2
#define AZIHSM_RESET_FAILED		3
#define AZIHSM_RESET_BAD_TYPE		4
#define AZIHSM_RESET_NOT_SUPPORTED	6	/* the administrator forbids it */

/**
 * struct azihsm_reset - reset the function
 * @hdr: common header, @hdr.size >= 272
 * @ctxt: returned unchanged
 * @abort_type: AZIHSM_RESET_NSSR or AZIHSM_RESET_CTRL
 * @rsvd0: ignored
 * @abort_sts: result, AZIHSM_RESET_OK etc.
 * @rsvd1: ignored
 */
struct azihsm_reset {
	struct azihsm_hdr hdr;
	__u64 ctxt;
	__u32 abort_type;
	__u8 rsvd0[80];
	__u32 abort_sts;
	__u8 rsvd1[160];
};

/* azihsm_aes.op */
#define AZIHSM_AES_ENCRYPT	0
#define AZIHSM_AES_DECRYPT	1

/* azihsm_aes.cipher */
#define AZIHSM_AES_GCM		0
#define AZIHSM_AES_XTS		1

/* azihsm_aes.frame_type */
#define AZIHSM_FRAME_AES	1

/* azihsm_xts_params.data_unit */
#define AZIHSM_XTS_UNIT_ALL	0	/* the whole transfer is one unit */
#define AZIHSM_XTS_UNIT_512	1
#define AZIHSM_XTS_UNIT_4096	2
#define AZIHSM_XTS_UNIT_8192	3

/**
 * struct azihsm_gcm_params - AES-GCM parameters
 * @key_id: bulk key id
 * @tag: expected tag, for decryption
 * @iv: initialisation vector
 * @aad_len: length of the additional authenticated data in bytes
 * @padded_aad_len: length of the padded AAD at the start of the source
 * @workaround: non-zero if the source carries padded AAD
 * @rsvd: ignored
 */
struct azihsm_gcm_params {
	__u32 key_id;
	__u8 tag[16];
	__u8 iv[12];
	__u32 aad_len;
	__u32 padded_aad_len;
	__u8 workaround;
	__u8 rsvd[3];
};

/**
 * struct azihsm_xts_params - AES-XTS parameters
 * @data_unit: AZIHSM_XTS_UNIT_*
 * @rsvd0: ignored
 * @key_id1: bulk key id of the data key
 * @key_id2: bulk key id of the tweak key
 * @tweak: number of the first data unit, little-endian
 * @rsvd1: ignored
 */
struct azihsm_xts_params {
	__u16 data_unit;
	__u16 rsvd0;
	__u32 key_id1;
	__u32 key_id2;
	__u8 tweak[16];
	__u8 rsvd1[16];
};

/**
 * struct azihsm_aes - fast-path AES command
 * @hdr: common header, @hdr.size >= 400
 * @in_ctxt: chosen by the caller, echoed in @out_ctxt
 * @op: AZIHSM_AES_ENCRYPT or AZIHSM_AES_DECRYPT
 * @cipher: AZIHSM_AES_GCM or AZIHSM_AES_XTS, must match the ioctl
 * @rsvd0: ignored
 * @pad0: padding, ignored
 * @src: address of the source; GCM: padded AAD followed by text
 * @src_len: length of the source in bytes
 * @pad1: padding, ignored
 * @dst: address of the destination, same layout as the source
 * @dst_len: length of the destination in bytes
 * @pad2: padding, ignored
 * @frame_type: AZIHSM_FRAME_AES
 * @pad3: padding, ignored
 * @session_id: session of this file
 * @short_app_id: short application id of that session
 * @pad4: padding, ignored
 * @gcm: AES-GCM parameters
 * @xts: AES-XTS parameters
 * @rsvd1: ignored
 * @pad5: padding, ignored
 * @out_ctxt: copy of @in_ctxt
 * @result: device status, 0 on success
 * @tag: tag computed by GCM encryption
 * @byte_count: number of bytes produced
 * @extended_status: device error code or AZIHSM_EXT_*, 0 on success
 * @fips_approved: 1 if the operation was FIPS-approved, else 0
 * @rsvd2: ignored
 * @iv: initialisation vector used by GCM encryption
 * @rsvd3: ignored
 * @pad6: padding
 */
struct azihsm_aes {
	struct azihsm_hdr hdr;
	__u64 in_ctxt;
	__u8 op;
	__u8 cipher;
	__u8 rsvd0[2];
	__u32 pad0;
	__u64 src;
	__u32 src_len;
	__u32 pad1;
	__u64 dst;
	__u32 dst_len;
	__u32 pad2;
	__u8 frame_type;
	__u8 pad3;
	__u16 session_id;
	__u8 short_app_id;
	__u8 pad4[3];
	union {
		struct azihsm_gcm_params gcm;
		struct azihsm_xts_params xts;
	};
	__u8 rsvd1[120];
	__u32 pad5;
	__u64 out_ctxt;
	__u32 result;
	__u8 tag[16];
	__u32 byte_count;
	__u32 extended_status;
	__u8 fips_approved;
	__u8 rsvd2[3];
	__u8 iv[12];
	__u8 rsvd3[104];
	__u32 pad6;
};

/* azihsm_query.state */
#define AZIHSM_STATE_READY	0	/* commands run */
#define AZIHSM_STATE_RECOVERING	1	/* the controller is being reset */
#define AZIHSM_STATE_DEAD	2	/* a reset failed */

/* azihsm_query.features */
#define AZIHSM_FEATURE_GCM_WORKAROUND	0x1
#define AZIHSM_FEATURE_LIVE_MIGRATION	0x2
#define AZIHSM_FEATURE_SVN		0x4
#define AZIHSM_FEATURE_URING		0x8

/**
 * struct azihsm_query - what driver and device can do
 * @size: in: size of the caller's structure in bytes, at least
 *        AZIHSM_QUERY_SIZE_VER0; out: the size that the driver knows
 * @flags: in: must be 0
 * @driver_version: bits 31:16 major, 15:8 minor, 7:0 patch level
 * @state: AZIHSM_STATE_*
 * @features: AZIHSM_FEATURE_*
 * @interface_version: register interface of the device, as @driver_version
 * @svn: security version number of the firmware, 0 without
 *       AZIHSM_FEATURE_SVN
 * @resources: resources of the function, as told by its queue counts
 * @sessions: sessions that the device keeps for the function
 * @cp_max_request: largest control request in bytes
 * @cp_max_response: largest control response in bytes
 * @gcm_max_len: largest source of AES-GCM in bytes, 0: no limit but the field
 * @xts_max_len: largest source of AES-XTS in bytes, 0: no limit but the field
 * @bounce_limit: largest AES data in bytes that the driver copies instead of
 *                pinning the caller's pages
 * @vectors: interrupt vectors in use
 * @cp_queues: control-path queues
 * @cp_queues_polled: those of them that raise no interrupts
 * @cp_ring_entries: entries of a control-path ring; one more than commands
 *                   that can be outstanding in the queue
 * @fp_queues: fast-path queues
 * @fp_queues_polled: those of them that raise no interrupts
 * @fp_ring_entries: entries of a fast-path ring
 * @command_timeout_ms: milliseconds a command may take before its queue is
 *                      reset
 * @recovery_bound_ms: milliseconds after which such a command has ended in any
 *                     case, 0 if not known
 *
 * The structure grows at its end. A driver that knows less of it leaves the
 * rest as it is, which has to be 0; one that knows more fills what there is.
 */
struct azihsm_query {
	__u32 size;
	__u32 flags;
	__u32 driver_version;
	__u32 state;
	__u32 features;
	__u32 interface_version;
	__u64 svn;
	__u32 resources;
	__u32 sessions;
	__u32 cp_max_request;
	__u32 cp_max_response;
	__u32 gcm_max_len;
	__u32 xts_max_len;
	__u32 bounce_limit;
	__u32 vectors;
	__u32 cp_queues;
	__u32 cp_queues_polled;
	__u32 cp_ring_entries;
	__u32 fp_queues;
	__u32 fp_queues_polled;
	__u32 fp_ring_entries;
	__u32 command_timeout_ms;
	__u32 recovery_bound_ms;
};

/* Size of the first version of struct azihsm_query. */
#define AZIHSM_QUERY_SIZE_VER0	96

/* azihsm_res_cnt.status */
#define AZIHSM_MGMT_OK		0
#define AZIHSM_MGMT_NO_VFS	1	/* there are no virtual functions */
#define AZIHSM_MGMT_VF_INDEX	2	/* there is none with this number */
#define AZIHSM_MGMT_SET_FAILED	4	/* the device did not set the number */
#define AZIHSM_MGMT_GET_FAILED	7	/* the device did not say the number */

/**
 * struct azihsm_res_cnt - number of resources of a virtual function
 * @argsz: size of the structure in bytes, at least 12
 * @vf_idx: virtual function, counted from 0; its controller id is one more
 * @res_cnt: number of resources, in to set and out to get
 * @status: result, AZIHSM_MGMT_*
 */
struct azihsm_res_cnt {
	__u32 argsz;
	__u16 vf_idx;
	__u16 res_cnt;
	__u32 status;
};

/**
 * struct azihsm_vf_count - number of virtual functions
 * @argsz: size of the structure in bytes, at least 8
 * @vf_count: number of virtual functions that exist
 * @pad: padding, neither read nor written
 */
struct azihsm_vf_count {
	__u32 argsz;
	__u16 vf_count;
	__u16 pad;
};

/* ioctls of /dev/azihsm<N> */
#define AZIHSM_IOC_CP_CMD	_IOWR(AZIHSM_IOC_MAGIC, 0x03, struct azihsm_cp_cmd)
#define AZIHSM_IOC_DEV_INFO	_IOWR(AZIHSM_IOC_MAGIC, 0x04, struct azihsm_dev_info)
#define AZIHSM_IOC_RESET	_IOWR(AZIHSM_IOC_MAGIC, 0x06, struct azihsm_reset)
#define AZIHSM_IOC_AES_XTS	_IOWR(AZIHSM_IOC_MAGIC, 0x0b, struct azihsm_aes)
#define AZIHSM_IOC_AES_GCM	_IOWR(AZIHSM_IOC_MAGIC, 0x0c, struct azihsm_aes)
/* The size in the number is not looked at: azihsm_query.size counts. */
#define AZIHSM_IOC_QUERY	_IOWR(AZIHSM_IOC_MAGIC, 0x20, struct azihsm_query)

/* ioctls of /dev/azihsm-mgmt<N> */
#define AZIHSM_MGMT_IOC_SET_RES_CNT	\
	_IOWR(AZIHSM_MGMT_IOC_MAGIC, 0x02, struct azihsm_res_cnt)
#define AZIHSM_MGMT_IOC_GET_RES_CNT	\
	_IOWR(AZIHSM_MGMT_IOC_MAGIC, 0x03, struct azihsm_res_cnt)
#define AZIHSM_MGMT_IOC_VF_COUNT	\
	_IOWR(AZIHSM_MGMT_IOC_MAGIC, 0x04, struct azihsm_vf_count)
#define AZIHSM_MGMT_IOC_DEV_INFO	\
	_IOWR(AZIHSM_MGMT_IOC_MAGIC, 0x05, struct azihsm_dev_info)

/*
 * Commands of io_uring: IORING_OP_URING_CMD with one of AZIHSM_URING_* as cmd_op
 * and the structure of the same name as payload, in an SQE of 128 bytes. The
 * rules and status codes are those of the ioctls.
 *
 * The result of the completion queue entry is the number of bytes produced or a
 * negative error number. In a ring with entries of 32 bytes the first word behind
 * it is the device status (bits 31:0) and the extended status (bits 63:32).
 */

/**
 * struct azihsm_uring_result - what does not fit into a completion queue entry
 * @status: device status, 0 on success
 * @extended_status: device error code or AZIHSM_EXT_*, 0 on success
 * @byte_count: number of bytes produced
 * @fips_approved: 1 if the operation was FIPS-approved, else 0
 * @rsvd0: zeros
 * @tag: tag computed by GCM encryption, else zeros
 * @iv: initialisation vector used by GCM encryption, else zeros
 * @rsvd1: zeros
 *
 * Written before the command completes, unless the submitter or its ring is
 * going away.
 */
struct azihsm_uring_result {
	__u32 status;
	__u32 extended_status;
	__u32 byte_count;
	__u8 fips_approved;
	__u8 rsvd0[3];
	__u8 tag[16];
	__u8 iv[12];
	__u8 rsvd1[20];
};

/* azihsm_uring_gcm.flags and azihsm_uring_xts.flags */
#define AZIHSM_URING_DECRYPT	0x1
/* azihsm_uring_gcm.flags: the source carries padded AAD */
#define AZIHSM_URING_WORKAROUND	0x2

/**
 * struct azihsm_uring_cp - control-path (CP) command
 * @flags: must be 0
 * @timeout_ms: longest time the command may take at the device, in
 *              milliseconds; the driver's own if that is longer
 * @session_id: session the command belongs to
 * @session_flags: AZIHSM_SESSION_*, no other bits
 * @rsvd0: must be 0
 * @rsvd1: must be 0
 * @src: address of the request, 0 if and only if @src_len is 0
 * @dst: address of the response buffer, 0 if and only if @dst_len is 0
 * @result: address of a struct azihsm_uring_result, or 0
 * @src_len: request length in bytes, 0 to AZIHSM_CP_MAX_LEN
 * @dst_len: length of the response buffer in bytes, 0 to AZIHSM_CP_MAX_LEN
 */
struct azihsm_uring_cp {
	__u16 flags;
	__u16 timeout_ms;
	__u16 session_id;
	__u8 session_flags;
	__u8 rsvd0;
	__u8 rsvd1[40];
	__u64 src;
	__u64 dst;
	__u64 result;
	__u32 src_len;
	__u32 dst_len;
};

/**
 * struct azihsm_uring_gcm - AES-GCM command
 * @flags: AZIHSM_URING_DECRYPT, AZIHSM_URING_WORKAROUND, no other bits
 * @timeout_ms: as in struct azihsm_uring_cp
 * @session_id: session of this file
 * @short_app_id: short application id of that session
 * @rsvd0: must be 0
 * @key_id: bulk key id
 * @iv: initialisation vector
 * @tag: expected tag, for decryption
 * @aad_len: length of the additional authenticated data in bytes
 * @padded_aad_len: length of the padded AAD at the start of the source
 * @src: address of the source: padded AAD followed by text
 * @dst: address of the destination, same layout as the source
 * @result: address of a struct azihsm_uring_result, or 0
 * @src_len: length of the source in bytes
 * @dst_len: length of the destination in bytes
 */
struct azihsm_uring_gcm {
	__u16 flags;
	__u16 timeout_ms;
	__u16 session_id;
	__u8 short_app_id;
	__u8 rsvd0;
	__u32 key_id;
	__u8 iv[12];
	__u8 tag[16];
	__u32 aad_len;
	__u32 padded_aad_len;
	__u64 src;
	__u64 dst;
	__u64 result;
	__u32 src_len;
	__u32 dst_len;
};

/**
 * struct azihsm_uring_xts - AES-XTS command
 * @flags: AZIHSM_URING_DECRYPT, no other bits
 * @timeout_ms: as in struct azihsm_uring_cp
 * @session_id: session of this file
 * @short_app_id: short application id of that session
 * @data_unit: AZIHSM_XTS_UNIT_*
 * @key_id1: bulk key id of the data key
 * @key_id2: bulk key id of the tweak key
 * @tweak: number of the first data unit, little-endian
 * @rsvd0: must be 0
 * @src: address of the source
 * @dst: address of the destination
 * @result: address of a struct azihsm_uring_result, or 0
 * @src_len: length of the source in bytes
 * @dst_len: length of the destination in bytes
 */
struct azihsm_uring_xts {
	__u16 flags;
	__u16 timeout_ms;
	__u16 session_id;
	__u8 short_app_id;
	__u8 data_unit;
	__u32 key_id1;
	__u32 key_id2;
	__u8 tweak[16];
	__u8 rsvd0[16];
	__u64 src;
	__u64 dst;
	__u64 result;
	__u32 src_len;
	__u32 dst_len;
};

/* cmd_op of IORING_OP_URING_CMD; 0x20 is the number of an ioctl */
#define AZIHSM_URING_CP		_IOWR(AZIHSM_IOC_MAGIC, 0x21, struct azihsm_uring_cp)
#define AZIHSM_URING_GCM	_IOWR(AZIHSM_IOC_MAGIC, 0x22, struct azihsm_uring_gcm)
#define AZIHSM_URING_XTS	_IOWR(AZIHSM_IOC_MAGIC, 0x23, struct azihsm_uring_xts)

/* azihsm_cp_cmd.extended_status */
#define AZIHSM_EXT_NO_MEMORY		1
#define AZIHSM_EXT_CMDSET		2
#define AZIHSM_EXT_SRC_LEN		3
#define AZIHSM_EXT_DST_LEN		4
#define AZIHSM_EXT_SRC_BUF		5	/* also: opc is not 0 */
#define AZIHSM_EXT_DST_BUF		7
#define AZIHSM_EXT_NOT_READY		10
#define AZIHSM_EXT_SESSION_LIMIT	11
#define AZIHSM_EXT_NO_SESSION		12
#define AZIHSM_EXT_SESSION_MISMATCH	14

/* azihsm_aes.extended_status, if the driver refused or failed the command */
#define AZIHSM_EXT_AES_NO_MEMORY	100
#define AZIHSM_EXT_AES_SRC		101
#define AZIHSM_EXT_AES_DST		103
#define AZIHSM_EXT_AES_INCONSISTENT	106
#define AZIHSM_EXT_AES_SESSION_ID	107
#define AZIHSM_EXT_AES_SHORT_APP_ID	108
#define AZIHSM_EXT_AES_NO_SESSION	109
#define AZIHSM_EXT_AES_NO_APP_ID	110
#define AZIHSM_EXT_AES_NO_QUEUE		111
#define AZIHSM_EXT_AES_CIPHER		112
#define AZIHSM_EXT_AES_FRAME_TYPE	113
#define AZIHSM_EXT_AES_OP		114
#define AZIHSM_EXT_AES_GCM		117
#define AZIHSM_EXT_AES_XTS		118

/* Both: the controller is being reset, or the command was lost to a reset. */
#define AZIHSM_EXT_ABORT_IN_PROGRESS	0x04000001
#define AZIHSM_EXT_ABORTED		0x04000002

#endif /* _UAPI_LINUX_AZIHSM_H */
