/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual function at work.
 */
#ifndef AZIHSM_VF_H
#define AZIHSM_VF_H

#include <stddef.h>

#include "client.h"
#include "pf.h"

/**
 * struct vf - a virtual function as a client has it
 * @node: name of its node
 * @address: PCI address
 * @fd: an open file, -1 if there is none
 * @part: what provisioning left
 * @s: session of the file
 * @gcm: key for AES-GCM
 * @xts1: data key for AES-XTS
 * @xts2: tweak key for AES-XTS
 */
struct vf {
	char node[32];
	char address[32];
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
};

/*
 * Makes @count virtual functions, whose files are not open yet. Returns a file
 * descriptor of the management node, or a negative errno.
 */
int vf_topology_begin(struct vf *vf, unsigned int count);
/* Closes all files; the functions stay. */
void vf_topology_end(int mgmt, struct vf *vf, unsigned int count);
/* Opens the node of a virtual function, which has resources or not. */
int vf_open(struct vf *vf, unsigned int index);
/* Closes the file. */
void vf_close(struct vf *vf);
/* Session and keys in the open file, whatever there was before. */
int vf_prepare(struct vf *vf);
/* The same in a file that is opened anew: one keeps its session for good. */
int vf_restart(struct vf *vf, unsigned int index);
/* Resources, node, session and keys. */
int vf_start(struct vf *vf, unsigned int index, unsigned int resources);
/*
 * Encrypts and decrypts with GCM and XTS: NULL, or what went wrong. @len is a
 * multiple of 512.
 */
const char *vf_encrypt(const struct vf *vf, size_t len);

#endif /* AZIHSM_VF_H */
