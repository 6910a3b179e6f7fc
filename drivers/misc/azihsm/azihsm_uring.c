// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers for kapi/uring.rs and kapi/plug.rs: linux/io_uring/cmd.h is not among
 * the headers that the Rust bindings are made from.
 */
#include <linux/blkdev.h>
#include <linux/io_uring/cmd.h>
#include <linux/sched.h>
#include <linux/uio.h>

#include "azihsm_helpers.h"

u32 azihsm_uring_cmd_op(const struct io_uring_cmd *cmd)
{
	return cmd->cmd_op;
}

u32 azihsm_uring_cmd_flags(const struct io_uring_cmd *cmd)
{
	return cmd->flags;
}

struct file *azihsm_uring_cmd_file(const struct io_uring_cmd *cmd)
{
	return cmd->file;
}

const void *azihsm_uring_cmd_payload(const struct io_uring_cmd *cmd)
{
	return cmd->sqe->cmd;
}

void *azihsm_uring_cmd_pdu(struct io_uring_cmd *cmd)
{
	BUILD_BUG_ON(sizeof(cmd->pdu) != AZIHSM_URING_PDU_SIZE);
	BUILD_BUG_ON(offsetof(struct io_uring_cmd, pdu) % sizeof(u64));
	return cmd->pdu;
}

bool azihsm_uring_cmd_is_foreign(struct io_uring_cmd *cmd)
{
	return !current->mm || current->mm != io_uring_cmd_get_task(cmd)->mm;
}

unsigned int azihsm_uring_task_flags(void)
{
	return IO_URING_CMD_TASK_WORK_ISSUE_FLAGS;
}

void azihsm_uring_cmd_done(struct io_uring_cmd *cmd, s32 ret, u64 res2,
			   bool is_cqe32, unsigned int issue_flags)
{
	__io_uring_cmd_done(cmd, ret, res2, issue_flags, is_cqe32);
}

int azihsm_uring_cmd_import_fixed(struct io_uring_cmd *cmd, u64 ubuf,
				  unsigned long len, bool write,
				  struct iov_iter *iter,
				  unsigned int issue_flags)
{
	return io_uring_cmd_import_fixed(ubuf, len,
					 write ? ITER_DEST : ITER_SOURCE, iter,
					 cmd, issue_flags);
}

static void azihsm_uring_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	azihsm_uring_cmd_run(io_uring_cmd_from_tw(tw_req),
			     IO_URING_CMD_TASK_WORK_ISSUE_FLAGS, tw.cancel);
}

void azihsm_uring_cmd_complete_in_task(struct io_uring_cmd *cmd, bool lazy)
{
	if (lazy)
		io_uring_cmd_do_in_task_lazy(cmd, azihsm_uring_tw);
	else
		io_uring_cmd_complete_in_task(cmd, azihsm_uring_tw);
}

bool azihsm_plug_is_open(void)
{
	return current->plug;
}

bool azihsm_plug_add(struct blk_plug_cb *cb)
{
	struct blk_plug *plug = current->plug;

	if (!plug)
		return false;
	list_add_tail(&cb->list, &plug->cb_list);
	return true;
}
