/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The physical function: its management node, its virtual functions.
 *
 * Functions return 0, or a negative errno, if nothing else is said.
 */
#ifndef AZIHSM_PF_H
#define AZIHSM_PF_H

#include <linux/azihsm.h>
#include <stdbool.h>

#define MGMT_CLASS	"/sys/class/azihsm-mgmt"

/* How long things may take that the driver does by itself, in ms. */
#define PF_PATIENCE_MS	20000

/* Name of the first management node, such as "azihsm-mgmt0"; NULL if none. */
const char *pf_mgmt_name(void);
/* PCI address of its physical function; "" without one. */
const char *pf_address(void);
/* A file descriptor of the management node, or a negative errno. */
int pf_mgmt_open(void);

/* Number of virtual functions that there can be. */
unsigned int pf_total_vfs(void);
/* Number that there are, as the kernel says. */
unsigned int pf_num_vfs(void);
/*
 * Makes or removes virtual functions: afterwards there are so many of them.
 * Waits until each has its node.
 */
int pf_set_vfs(unsigned int num);
/* Has the program remove them all when it ends, which the harness has it do. */
void pf_no_vfs_at_exit(void);

/* PCI address of a virtual function; "" without it. */
const char *vf_address(unsigned int index);
/*
 * Makes the HSM node of a PCI function the one that hsm.h is about. -ENODEV if
 * it has none.
 */
int pf_use_node(const char *address);
/* The same for a virtual function, waiting for its node. */
int vf_use(unsigned int index);

/* The ioctls; azihsm_res_cnt.status goes to @status unless it is NULL. */
int mgmt_set_resources(int fd, unsigned int vf, unsigned int count,
		       __u32 *status);
/* The number of resources, or a negative errno. */
int mgmt_get_resources(int fd, unsigned int vf, __u32 *status);
/* The number of virtual functions, or a negative errno. */
int mgmt_vf_count(int fd);
int mgmt_dev_info(int fd, struct azihsm_dev_info *info);

/* Waits until the current HSM node's device answers. */
int vf_wait_usable(void);
/* Gives a virtual function resources and waits until it uses them. */
int vf_give(unsigned int vf, unsigned int count);

#endif /* AZIHSM_PF_H */
