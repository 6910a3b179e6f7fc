/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands of io_uring: a ring with entries of 128 bytes, or of both sizes, and
 * the same commands as those of the ioctls through it.
 */
#ifndef AZIHSM_RING_H
#define AZIHSM_RING_H

#include <linux/azihsm.h>

#include <liburing.h>
#include <stdbool.h>

/* What liburing's own copy of the kernel's header may be too old for. */
#ifndef IORING_SETUP_CQE_MIXED
#define IORING_SETUP_CQE_MIXED	0x40000
#define IORING_CQE_F_SKIP	0x20
#define IORING_CQE_F_32		0x8000
#endif
#ifndef IORING_SETUP_SQE_MIXED
#define IORING_SETUP_SQE_MIXED	0x80000
#endif
#define RING_OP_URING_CMD128	64

/* Payload of an entry of 128 bytes. */
#define RING_PAYLOAD	80

/* What a command became. */
struct ring_done {
	__u64 data;
	int res;
	__u32 status;
	__u32 ext;
};

/*
 * 0 or a negative errno. @entries: commands that fit; @flags: IORING_SETUP_*,
 * SQE128 is added unless SQE_MIXED is among them.
 */
int ring_open(struct io_uring *ring, unsigned int entries, unsigned int flags);

/*
 * Adds a command, submitting those that are there if there is no room. The
 * result may be NULL.
 */
struct io_uring_sqe *ring_put(struct io_uring *ring, int fd, __u32 op,
			      const void *payload, __u64 data);
/* An empty entry for another operation than a command of a file. */
struct io_uring_sqe *ring_put_other(struct io_uring *ring);
/* As above, for what an ioctl would do. */
struct io_uring_sqe *ring_put_aes(struct io_uring *ring,
				  const struct azihsm_aes *cmd, int fd,
				  struct azihsm_uring_result *result,
				  __u64 data);
struct io_uring_sqe *ring_put_cp(struct io_uring *ring,
				 const struct azihsm_cp_cmd *cmd, int fd,
				 struct azihsm_uring_result *result, __u64 data);

/*
 * Submits what was added and waits for a completion: 0, or a negative errno;
 * -ETIME after @seconds.
 */
int ring_wait(struct io_uring *ring, struct ring_done *done,
	      unsigned int seconds);

/*
 * From here on hsm_cp(), hsm_gcm() and hsm_xts() of this thread go through the
 * ring, one command at a time, instead of ioctls; NULL for ioctls again.
 */
void ring_use(struct io_uring *ring);
/*
 * How long such a command may take at the device, in milliseconds; 0, the
 * default, leaves that to the driver.
 */
void ring_limit(__u16 ms);

#endif /* AZIHSM_RING_H */
