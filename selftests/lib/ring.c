// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of io_uring.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "kselftest.h"

#include "hsm.h"
#include "ring.h"

/* After so many seconds a command of a door hangs: nothing may take as long. */
#define PATIENCE	120

static_assert(sizeof(struct azihsm_uring_cp) == RING_PAYLOAD, "CP payload");
static_assert(sizeof(struct azihsm_uring_gcm) == RING_PAYLOAD, "GCM payload");
static_assert(sizeof(struct azihsm_uring_xts) == RING_PAYLOAD, "XTS payload");
static_assert(sizeof(struct azihsm_uring_result) == 64, "result");

int ring_open(struct io_uring *ring, unsigned int entries, unsigned int flags)
{
	bool mixed = flags & IORING_SETUP_SQE_MIXED;
	struct io_uring_params params = {
		.flags = flags | IORING_SETUP_CQSIZE |
			 (mixed ? 0 : IORING_SETUP_SQE128),
		.cq_entries = entries * 2,
		.sq_thread_idle = 100,
	};

	/* A large entry takes the place of two small ones. */
	if (mixed)
		entries *= 2;
	if (flags & IORING_SETUP_CQE_MIXED)
		params.cq_entries *= 2;
	return io_uring_queue_init_params(entries, ring, &params);
}

struct io_uring_sqe *ring_put_other(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	/* With SQPOLL it takes a moment until there is room. */
	while (!sqe) {
		io_uring_submit(ring);
		io_uring_sqring_wait(ring);
		sqe = io_uring_get_sqe(ring);
	}
	memset(sqe, 0, (ring->flags & IORING_SETUP_SQE128 ? 2 : 1) * sizeof(*sqe));
	return sqe;
}

/* An entry of 128 bytes: in a mixed ring two small ones, one behind the other. */
static struct io_uring_sqe *put_large(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;

	if (!(ring->flags & IORING_SETUP_SQE_MIXED)) {
		sqe = ring_put_other(ring);
		sqe->opcode = IORING_OP_URING_CMD;
		return sqe;
	}
	if ((ring->sq.sqe_tail & ring->sq.ring_mask) == ring->sq.ring_mask) {
		sqe = ring_put_other(ring);
		sqe->opcode = IORING_OP_NOP;
		sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	}
	/* Both halves have to be submitted together. */
	while (io_uring_sq_space_left(ring) < 2) {
		io_uring_submit(ring);
		io_uring_sqring_wait(ring);
	}
	sqe = ring_put_other(ring);
	ring_put_other(ring);
	sqe->opcode = RING_OP_URING_CMD128;
	return sqe;
}

struct io_uring_sqe *ring_put(struct io_uring *ring, int fd, __u32 op,
			      const void *payload, __u64 data)
{
	struct io_uring_sqe *sqe = put_large(ring);

	sqe->fd = fd;
	sqe->cmd_op = op;
	sqe->user_data = data;
	memcpy(sqe->cmd, payload, RING_PAYLOAD);
	return sqe;
}

static struct azihsm_uring_gcm gcm_payload(const struct azihsm_aes *cmd,
					   struct azihsm_uring_result *result)
{
	struct azihsm_uring_gcm p = {
		.flags = (cmd->op ? AZIHSM_URING_DECRYPT : 0) |
			 (cmd->gcm.workaround ? AZIHSM_URING_WORKAROUND : 0),
		.session_id = cmd->session_id,
		.short_app_id = cmd->short_app_id,
		.key_id = cmd->gcm.key_id,
		.aad_len = cmd->gcm.aad_len,
		.padded_aad_len = cmd->gcm.padded_aad_len,
		.src = cmd->src,
		.dst = cmd->dst,
		.result = (uintptr_t)result,
		.src_len = cmd->src_len,
		.dst_len = cmd->dst_len,
	};

	memcpy(p.iv, cmd->gcm.iv, sizeof(p.iv));
	memcpy(p.tag, cmd->gcm.tag, sizeof(p.tag));
	return p;
}

static struct azihsm_uring_xts xts_payload(const struct azihsm_aes *cmd,
					   struct azihsm_uring_result *result)
{
	struct azihsm_uring_xts p = {
		.flags = cmd->op ? AZIHSM_URING_DECRYPT : 0,
		.session_id = cmd->session_id,
		.short_app_id = cmd->short_app_id,
		.data_unit = cmd->xts.data_unit,
		.key_id1 = cmd->xts.key_id1,
		.key_id2 = cmd->xts.key_id2,
		.src = cmd->src,
		.dst = cmd->dst,
		.result = (uintptr_t)result,
		.src_len = cmd->src_len,
		.dst_len = cmd->dst_len,
	};

	memcpy(p.tweak, cmd->xts.tweak, sizeof(p.tweak));
	return p;
}

struct io_uring_sqe *ring_put_aes(struct io_uring *ring,
				  const struct azihsm_aes *cmd, int fd,
				  struct azihsm_uring_result *result,
				  __u64 data)
{
	if (cmd->cipher == AZIHSM_AES_GCM) {
		struct azihsm_uring_gcm p = gcm_payload(cmd, result);

		return ring_put(ring, fd, AZIHSM_URING_GCM, &p, data);
	}

	struct azihsm_uring_xts p = xts_payload(cmd, result);

	return ring_put(ring, fd, AZIHSM_URING_XTS, &p, data);
}

struct io_uring_sqe *ring_put_cp(struct io_uring *ring,
				 const struct azihsm_cp_cmd *cmd, int fd,
				 struct azihsm_uring_result *result, __u64 data)
{
	struct azihsm_uring_cp p = {
		.session_id = cmd->session_id,
		.session_flags = cmd->session_flags,
		.src = cmd->src,
		.dst = cmd->dst,
		.result = (uintptr_t)result,
		.src_len = cmd->src_len,
		.dst_len = cmd->dst_len,
	};

	return ring_put(ring, fd, AZIHSM_URING_CP, &p, data);
}

/* Waits for an entry of the completion queue and leaves it there. */
static int wait_entry(struct io_uring *ring, struct io_uring_cqe **cqe,
		      unsigned int seconds)
{
	struct __kernel_timespec limit = { .tv_sec = seconds };
	time_t until = time(NULL) + seconds;
	int ret;

	do {
		ret = io_uring_submit_and_wait_timeout(ring, cqe, 1, &limit,
						       NULL);
		if (ret >= 0)
			ret = io_uring_peek_cqe(ring, cqe);
		/* A ring that polls does not wait for what is not issued yet. */
	} while (ret == -EINTR ||
		 ((ret == -EAGAIN || ret == -ETIME) && time(NULL) < until &&
		  ring->flags & IORING_SETUP_IOPOLL));
	return ret == -EAGAIN ? -ETIME : ret;
}

int ring_wait(struct io_uring *ring, struct ring_done *done,
	      unsigned int seconds)
{
	struct io_uring_cqe *cqe;
	bool large;
	int ret;

	ret = wait_entry(ring, &cqe, seconds);
	/* In a mixed ring a large entry does not fit at the end. */
	if (!ret && ring->flags & IORING_SETUP_CQE_MIXED &&
	    cqe->flags & IORING_CQE_F_SKIP) {
		io_uring_cqe_seen(ring, cqe);
		ret = wait_entry(ring, &cqe, seconds);
	}
	if (ret < 0)
		return ret;
	*done = (struct ring_done) { .data = cqe->user_data, .res = cqe->res };
	large = ring->flags & IORING_SETUP_CQE_MIXED &&
		cqe->flags & IORING_CQE_F_32;
	if (large || ring->flags & IORING_SETUP_CQE32) {
		done->status = cqe->big_cqe[0];
		done->ext = cqe->big_cqe[0] >> 32;
	}
	io_uring_cq_advance(ring, large ? 2 : 1);
	return 0;
}

static __thread struct io_uring *door;
static __thread __u16 limit_ms;

/* Submits a command and waits for its end. */
static struct ring_done go(struct io_uring_sqe *sqe)
{
	/* All payloads begin alike. */
	struct azihsm_uring_cp *head = (struct azihsm_uring_cp *)sqe->cmd;
	struct ring_done done = { 0 };
	int ret;

	head->timeout_ms = limit_ms;
	ret = ring_wait(door, &done, PATIENCE);
	/* Its buffers may not be used again. */
	if (ret == -ETIME)
		ksft_exit_fail_msg("a command does not end\n");
	if (ret)
		done.res = ret;
	return done;
}

static int door_cp(int fd, struct azihsm_cp_cmd *cmd)
{
	struct azihsm_uring_result result = { 0 };
	struct ring_done done;

	done = go(ring_put_cp(door, cmd, fd, &result, 0));
	cmd->out_ctxt = cmd->in_ctxt;
	cmd->status = result.status;
	cmd->byte_count = result.byte_count;
	cmd->extended_status = result.extended_status ?: done.ext;
	/* An error of the device, not of the driver. */
	if (done.res == -EIO && result.status)
		return 0;
	return done.res < 0 ? done.res : 0;
}

static int door_aes(int fd, struct azihsm_aes *cmd)
{
	struct azihsm_uring_result result = { 0 };
	struct ring_done done;

	done = go(ring_put_aes(door, cmd, fd, &result, 0));
	if (done.res >= 0 && done.res != result.byte_count)
		return -EPROTO;
	cmd->out_ctxt = cmd->in_ctxt;
	cmd->result = result.status;
	cmd->byte_count = result.byte_count;
	cmd->extended_status = result.extended_status ?: done.ext;
	cmd->fips_approved = result.fips_approved;
	memcpy(cmd->tag, result.tag, sizeof(cmd->tag));
	memcpy(cmd->iv, result.iv, sizeof(cmd->iv));
	if ((done.res == -EIO || done.res == -EBADMSG) && result.status)
		return 0;
	return done.res < 0 ? done.res : 0;
}

static const struct hsm_door ring_door = {
	.cp = door_cp,
	.aes = door_aes,
};

void ring_limit(__u16 ms)
{
	limit_ms = ms;
}

void ring_use(struct io_uring *ring)
{
	door = ring;
	hsm_use_door(ring ? &ring_door : NULL);
}
