/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device node: where it is, and its ioctls.
 *
 * The ioctl wrappers return 0, a negative errno, or what the ioctl returned if
 * that is positive, which no ioctl of this driver may do.
 */
#ifndef AZIHSM_HSM_H
#define AZIHSM_HSM_H

#include <linux/azihsm.h>

#include <stdbool.h>
#include <stddef.h>

#define HSM_CLASS	"/sys/class/azihsm-hsm"
#define HSM_DRIVER	"/sys/bus/pci/drivers/azihsm"

/* Sessions that the device keeps per function. */
#define HSM_SESSIONS	8

/*
 * Name of the node to test: the environment variable AZIHSM_DEV (a name such
 * as "azihsm0"), else the node with the lowest number. NULL if there is none.
 */
const char *hsm_name(void);
/* Path of the node, PCI address of its function. Both "" without a node. */
const char *hsm_path(void);
const char *hsm_pci_address(void);
/* Whether a function may access memory: 1 or 0, or a negative errno. */
int hsm_bus_master(const char *address);
/* Whether the kernel checks itself: it finds leaks, and is slow. */
bool hsm_kernel_checks_itself(void);
/* Whether pages are mapped for the device, and taken from it again, by an IOMMU. */
bool hsm_behind_iommu(void);
/* Whether they are taken from it at once: it reaches what is mapped at that moment. */
bool hsm_iommu_is_strict(void);
/* Whether the device reaches only bounce buffers of the DMA layer. */
bool hsm_dma_is_bounced(void);
/* Looks for the node again; for use after the device was unbound or bound. */
void hsm_rescan(void);
/* Waits up to 20 s until there is a node that can be opened, or none. */
bool hsm_wait_for_node(bool there);
/*
 * Unbinds the driver and binds it again, with nothing in the way. Returns how
 * many milliseconds the former took: seconds, in a kernel that checks itself.
 */
long long hsm_usual_unbind(const char *address);
/*
 * Waits up to 30 s until the device is served, and binds the driver anew if it
 * has given it up or is not bound. NULL, or what is wrong.
 */
const char *hsm_revive(const char *address);

/* Opens the node: a file descriptor or a negative errno. */
int hsm_open(void);

/* Another way to the driver than ioctls. */
struct hsm_door {
	int (*cp)(int fd, struct azihsm_cp_cmd *cmd);
	int (*aes)(int fd, struct azihsm_aes *cmd);
};

/* The door that this thread uses; NULL, the default, for ioctls. */
void hsm_use_door(const struct hsm_door *door);

int hsm_cp(int fd, struct azihsm_cp_cmd *cmd);
int hsm_gcm(int fd, struct azihsm_aes *cmd);
int hsm_xts(int fd, struct azihsm_aes *cmd);
int hsm_dev_info(int fd, struct azihsm_dev_info *info);
int hsm_query(int fd, struct azihsm_query *query);
/* Fails with -EREMOTEIO if the ioctl succeeded with a status. */
int hsm_reset(int fd, __u32 type);

/*
 * Keeps this thread, and those that it starts, on one processor, so that their
 * commands are at the same queues; lets them go where they want if it is -1.
 */
void hsm_use_processor(int processor);

/* Writes a string to a file: 0 or a negative errno. */
int hsm_write_file(const char *path, const char *text);

/* The largest AES data that is copied, in bytes, and what it is by default. */
#define HSM_BOUNCE_LIMIT	4096
int hsm_set_bounce_limit(unsigned int limit);

#endif /* AZIHSM_HSM_H */
