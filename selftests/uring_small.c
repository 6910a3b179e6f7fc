// SPDX-License-Identifier: GPL-2.0
/*
 * Rings with submission entries of 64 bytes, which have no room for a command.
 */
#include "lib/harness.h"
#include "lib/ring.h"

#define PATIENCE	30

FIXTURE(uring_small) {
	int fd;
	struct io_uring ring;
};

FIXTURE_VARIANT(uring_small) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(uring_small, all) {
	.flags = 0,
};

FIXTURE_VARIANT_ADD(uring_small, mixed) {
	.flags = IORING_SETUP_SQE_MIXED | IORING_SETUP_CQE_MIXED,
};

FIXTURE_SETUP(uring_small)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, io_uring_queue_init(4, &self->ring, variant->flags));
}

FIXTURE_TEARDOWN(uring_small)
{
	io_uring_queue_exit(&self->ring);
	close(self->fd);
}

/* Entries of 64 bytes have no room for a command. */
TEST_F(uring_small, refused)
{
	static const __u32 ops[] = {
		AZIHSM_URING_CP, AZIHSM_URING_GCM, AZIHSM_URING_XTS,
	};
	struct io_uring_sqe *sqe;
	struct ring_done done;

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++) {
		sqe = ring_put_other(&self->ring);
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = self->fd;
		sqe->cmd_op = ops[i];
		sqe->user_data = i;
		ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
		EXPECT_EQ(i, done.data);
		EXPECT_EQ(-EINVAL, done.res);
	}
}

/* A large operation needs a ring that has large entries. */
TEST_F(uring_small, large_operation)
{
	struct io_uring_sqe *sqe = ring_put_other(&self->ring);
	struct ring_done done;

	sqe->opcode = RING_OP_URING_CMD128;
	sqe->fd = self->fd;
	sqe->cmd_op = 0;
	/* The other half, if it is one. */
	if (variant->flags & IORING_SETUP_SQE_MIXED)
		ring_put_other(&self->ring);
	ASSERT_EQ(0, ring_wait(&self->ring, &done, PATIENCE));
	EXPECT_EQ(variant->flags & IORING_SETUP_SQE_MIXED ? -ENOTTY : -EINVAL,
		  done.res);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
