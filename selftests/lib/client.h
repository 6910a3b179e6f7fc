/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A client of the device: provisioning, sessions and keys.
 *
 * Return values are those of ddi.h, plus -EKEYREJECTED if libcrypto refused
 * what the device sent, and -EOPNOTSUPP for a device whose public keys are in
 * the byte order of real hardware, which these tests do not speak.
 */
#ifndef AZIHSM_CLIENT_H
#define AZIHSM_CLIENT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct ddi_call;

/* Largest backup masking key, in bytes. */
#define BMK_MAX		1024

/* Length of a session's seed, in bytes. */
#define HSM_SEED_LEN	48

/* hsm_device_info.kind */
#define HSM_KIND_VIRTUAL	1
#define HSM_KIND_PHYSICAL	2

/* Key sizes of AesGenerateKey. */
enum {
	HSM_KEY_AES128		= 1,
	HSM_KEY_AES192		= 2,
	HSM_KEY_AES256		= 3,
	HSM_KEY_XTS		= 4,
	HSM_KEY_GCM		= 5,	/* approved: the device picks the IV */
	HSM_KEY_GCM_UNAPPROVED	= 6,
};

/* Metadata bits of a key. */
#define HSM_KEY_SESSION_ONLY	0x01
#define HSM_KEY_ENCRYPT		0x04
#define HSM_KEY_DECRYPT		0x08
#define HSM_KEY_CIPHER		(HSM_KEY_ENCRYPT | HSM_KEY_DECRYPT)

/* Label that is as long as a key. */
#define HSM_LABEL_MAX		32

struct hsm_device_info {
	__u32 kind;
	__u8 tables;
	bool fips;
};

/**
 * struct hsm_partition - what a client keeps about a provisioned device
 * @bmk: backup masking key, given back after a reset
 * @bmk_len: its length, 0 before the first provisioning
 */
struct hsm_partition {
	size_t bmk_len;
	__u8 bmk[BMK_MAX];
};

/**
 * struct hsm_session - an open session
 * @fd: the file that it belongs to
 * @id: session id
 * @app: short application id
 * @seed: what the client contributed to the session's keys; reopen needs the same
 * @bmk: session's backup masking key, given back by reopen
 * @bmk_len: its length
 */
struct hsm_session {
	int fd;
	__u16 id;
	__u8 app;
	__u8 seed[HSM_SEED_LEN];
	size_t bmk_len;
	__u8 bmk[BMK_MAX];
};

/**
 * struct hsm_key - a key inside the device
 * @id: key id
 * @bulk_id: bulk key id, for the fast path; 0xffff if the key has none
 */
struct hsm_key {
	__u16 id;
	__u16 bulk_id;
};

int hsm_get_device_info(int fd, struct hsm_device_info *info);

/* EstablishCredential with @part's bmk, which is replaced by the new one. */
int hsm_establish(int fd, struct hsm_partition *part);
/*
 * Brings the device to a known state, whatever it was in: resets it (NSSR),
 * which forgets keys and credentials, and establishes the tests' credential.
 */
int hsm_provision(int fd, struct hsm_partition *part);
/* The same of a device that was bound anew: @fd is closed, and one for it opened. */
int hsm_provision_anew(int *fd, struct hsm_partition *part);

int hsm_open_session(int fd, struct hsm_session *s);
/* Prepares the request of an OpenSession, which works until a session is opened. */
int hsm_begin_open(int fd, struct hsm_session *s, struct ddi_call *c);
/* Opens with a pin that the device does not know. */
int hsm_open_session_wrong_pin(int fd, struct hsm_session *s);
int hsm_reopen_session(struct hsm_session *s);
int hsm_close_session(const struct hsm_session *s);

/*
 * Makes an AES key. The label also chooses the key's bytes: see
 * hsm_test_key().
 */
int hsm_generate_key(const struct hsm_session *s, __u32 size, const char *label,
		     __u8 metadata, struct hsm_key *key);
/* The two keys of AES-XTS, with the labels "data" and "tweak". */
int hsm_generate_xts_keys(const struct hsm_session *s, struct hsm_key *data,
			  struct hsm_key *tweak);
int hsm_delete_key(const struct hsm_session *s, __u16 id);
/* AES-CBC on the control path; @iv is replaced by the chaining value. */
int hsm_cbc(const struct hsm_session *s, __u16 id, bool encrypt, __u8 iv[16],
	    const void *in, void *out, size_t len);

/*
 * Bytes of the key that a device started with the test key 00 01 .. 1f makes
 * for a label: the label, repeated, XORed to the test key.
 */
void hsm_test_key(const char *label, __u8 key[32]);

#endif /* AZIHSM_CLIENT_H */
