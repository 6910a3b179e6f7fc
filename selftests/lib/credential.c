// SPDX-License-Identifier: GPL-2.0
/*
 * Credentials: how a client makes itself known to the device.
 *
 * Both EstablishCredential and OpenSession send an id and a pin (and, for a
 * session, a seed) encrypted under a key agreed with the device: ECDH on
 * P-384, HKDF-SHA384 with the device's nonce, AES-256-CBC, HMAC-SHA384.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "ddi.h"
#include "hsm.h"
#include "softcrypto.h"

#define NONCE_LEN	32
#define BK3_LEN		48
#define MASKED_BK3_MAX	1024
#define CERT_MAX	2048
#define DER_KEY_MAX	768

/* How often to try again when another client opens sessions, too. */
#define OPEN_TRIES	64

/* Kind of a P-384 public key in a DerPublicKey. */
#define KEY_KIND_ECC384_PUBLIC	23

/* The application that the tests pretend to be. */
static const __u8 app_id[16] = "azihsm-kselftest";
static const __u8 app_pin[16] = "not-a-secret-pin";

/* Device's side of the key agreement, and ours. */
struct agreement {
	EVP_PKEY *client;
	__u8 nonce[NONCE_LEN];
	__u8 aes_key[32];
	__u8 hmac_key[SHA384_LEN];
};

static void put_public_key(struct mbor_writer *w, const __u8 *der, size_t len)
{
	mbor_put_map(w, 2);
	mbor_put_id(w, 1);
	mbor_put_var(w, der, len);
	mbor_put_id(w, 2);
	mbor_put_u32(w, KEY_KIND_ECC384_PUBLIC);
}

static int put_pkey(struct mbor_writer *w, EVP_PKEY *key)
{
	__u8 der[P384_DER_MAX];
	size_t len = p384_to_der(key, der);

	if (!len)
		return -EKEYREJECTED;
	put_public_key(w, der, len);
	return 0;
}

/* Gets the device's public key and nonce, and derives the keys from them. */
static int agree(int fd, __u32 op, struct agreement *a)
{
	__u8 secret[P384_SECRET_LEN], derived[32 + SHA384_LEN];
	struct ddi_call c;
	EVP_PKEY *device = NULL;
	const __u8 *der, *nonce;
	size_t der_len, sig_len;
	__u32 kind;
	int ret;

	a->client = NULL;
	ddi_begin(&c, op, DDI_NO_SESSION, 0);
	ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	if (mbor_get_map(&c.resp) != 2)
		return -EPROTO;
	mbor_want_id(&c.resp, 1);
	der = mbor_get_var(&c.resp, DER_KEY_MAX, &der_len);
	mbor_want_id(&c.resp, 2);
	kind = mbor_get_u32(&c.resp);
	mbor_want_id(&c.resp, 2);
	nonce = mbor_get_fixed(&c.resp, NONCE_LEN);
	mbor_want_id(&c.resp, 3);
	mbor_get_var(&c.resp, 192, &sig_len);
	if (c.fields != 3 || kind != KEY_KIND_ECC384_PUBLIC || ddi_end(&c))
		return -EPROTO;
	memcpy(a->nonce, nonce, NONCE_LEN);

	device = p384_from_der(der, der_len);
	a->client = p384_generate();
	if (!device || !a->client || !p384_ecdh(a->client, device, secret) ||
	    !hkdf_sha384(secret, sizeof(secret), a->nonce, NONCE_LEN, derived,
			 sizeof(derived)))
		ret = -EKEYREJECTED;
	EVP_PKEY_free(device);
	if (ret) {
		EVP_PKEY_free(a->client);
		return ret;
	}
	memcpy(a->aes_key, derived, 32);
	memcpy(a->hmac_key, derived + 32, SHA384_LEN);
	return 0;
}

/*
 * Encodes the encrypted credential as a map: id, pin, seed if there is one, iv,
 * nonce, tag. The parts are one CBC stream, the tag covers everything else.
 */
static int put_credential(struct mbor_writer *w, const struct agreement *a,
			  const __u8 id[16], const __u8 pin[16],
			  const __u8 *seed)
{
	__u8 msg[16 + 16 + HSM_SEED_LEN + 16 + NONCE_LEN], tag[SHA384_LEN];
	size_t text_len = 32 + (seed ? HSM_SEED_LEN : 0);
	__u8 *iv = msg + text_len;
	__u8 field = 1;

	memcpy(msg, id, 16);
	memcpy(msg + 16, pin, 16);
	if (seed)
		memcpy(msg + 32, seed, HSM_SEED_LEN);
	memcpy(iv + 16, a->nonce, NONCE_LEN);
	if (!random_bytes(iv, 16) ||
	    !aes_cbc(true, a->aes_key, iv, msg, msg, text_len) ||
	    !hmac_sha384(a->hmac_key, SHA384_LEN, msg,
			 text_len + 16 + NONCE_LEN, tag))
		return -EKEYREJECTED;

	mbor_put_map(w, seed ? 6 : 5);
	mbor_put_id(w, field++);
	mbor_put_var(w, msg, 16);
	mbor_put_id(w, field++);
	mbor_put_var(w, msg + 16, 16);
	if (seed) {
		mbor_put_id(w, field++);
		mbor_put_var(w, msg + 32, HSM_SEED_LEN);
	}
	mbor_put_id(w, field++);
	mbor_put_var(w, iv, 16);
	mbor_put_id(w, field++);
	mbor_put_fixed(w, a->nonce, NONCE_LEN);
	mbor_put_id(w, field++);
	mbor_put_fixed(w, tag, SHA384_LEN);
	return 0;
}

/* The masked BK3, made and stored on the device when it has none. */
static int masked_bk3(int fd, __u8 masked[MASKED_BK3_MAX], size_t *len)
{
	__u8 bk3[BK3_LEN];
	struct ddi_call c;
	int ret;

	ddi_begin(&c, DDI_OP_GET_SEALED_BK3, DDI_NO_SESSION, 0);
	ret = ddi_exec(fd, &c);
	if (ret && ret != DDI_SEALED_BK3_NOT_PRESENT)
		return ret;
	if (!ret) {
		mbor_want_id(&c.resp, 1);
		*len = mbor_copy_var(&c.resp, masked, MASKED_BK3_MAX);
		return c.fields == 1 ? ddi_end(&c) : -EPROTO;
	}

	if (!random_bytes(bk3, sizeof(bk3)))
		return -EKEYREJECTED;
	ddi_begin(&c, DDI_OP_INIT_BK3, DDI_NO_SESSION, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_var(&c.req, bk3, sizeof(bk3));
	ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	*len = mbor_copy_var(&c.resp, masked, MASKED_BK3_MAX);
	mbor_want_id(&c.resp, 2);
	mbor_get_fixed(&c.resp, 16);
	if (c.fields != 2 || ddi_end(&c))
		return -EPROTO;

	ddi_begin(&c, DDI_OP_SET_SEALED_BK3, DDI_NO_SESSION, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_var(&c.req, masked, *len);
	return ddi_exec_empty(fd, &c);
}

/* The point of the public key in the device's leaf certificate. */
static int leaf_point(int fd, __u8 point[P384_POINT_LEN])
{
	struct ddi_call c;
	const __u8 *der;
	EVP_PKEY *key;
	size_t len;
	__u8 certs;
	bool ok;
	int ret;

	ddi_begin(&c, DDI_OP_GET_CERT_CHAIN_INFO, DDI_NO_SESSION, 1);
	mbor_put_id(&c.req, 1);
	mbor_put_u8(&c.req, 0);
	ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	certs = mbor_get_u8(&c.resp);
	mbor_want_id(&c.resp, 2);
	mbor_get_var(&c.resp, 32, &len);
	if (c.fields != 2 || !certs || ddi_end(&c))
		return -EPROTO;

	ddi_begin(&c, DDI_OP_GET_CERTIFICATE, DDI_NO_SESSION, 2);
	mbor_put_id(&c.req, 1);
	mbor_put_u8(&c.req, 0);
	mbor_put_id(&c.req, 2);
	mbor_put_u8(&c.req, certs - 1);
	ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	der = mbor_get_var(&c.resp, CERT_MAX, &len);
	if (c.fields != 1 || ddi_end(&c))
		return -EPROTO;
	key = cert_public_key(der, len);
	ok = key && p384_point(key, point);
	EVP_PKEY_free(key);
	return ok ? 0 : -EKEYREJECTED;
}

/* Encodes the owner's endorsement of the device: its signature and key. */
static int put_endorsement(int fd, struct mbor_writer *w)
{
	__u8 point[P384_POINT_LEN], sig[P384_SIG_LEN];
	EVP_PKEY *owner;
	int ret;

	ret = leaf_point(fd, point);
	if (ret)
		return ret;
	owner = p384_generate();
	if (!owner || !p384_sign(owner, point, sizeof(point), sig)) {
		ret = -EKEYREJECTED;
	} else {
		mbor_put_id(w, 6);
		mbor_put_var(w, sig, sizeof(sig));
		mbor_put_id(w, 7);
		ret = put_pkey(w, owner);
	}
	EVP_PKEY_free(owner);
	return ret;
}

int hsm_establish(int fd, struct hsm_partition *part)
{
	__u8 masked[MASKED_BK3_MAX];
	struct agreement a;
	struct ddi_call c;
	size_t masked_len;
	int ret;

	ret = masked_bk3(fd, masked, &masked_len);
	if (ret)
		return ret;
	ret = agree(fd, DDI_OP_GET_ESTABLISH_CRED_KEY, &a);
	if (ret)
		return ret;

	ddi_begin(&c, DDI_OP_ESTABLISH_CREDENTIAL, DDI_NO_SESSION, 7);
	mbor_put_id(&c.req, 1);
	ret = put_credential(&c.req, &a, app_id, app_pin, NULL);
	mbor_put_id(&c.req, 2);
	if (!ret)
		ret = put_pkey(&c.req, a.client);
	mbor_put_id(&c.req, 3);
	mbor_put_var(&c.req, masked, masked_len);
	mbor_put_id(&c.req, 4);
	mbor_put_var(&c.req, part->bmk, part->bmk_len);
	mbor_put_id(&c.req, 5);
	mbor_put_var(&c.req, NULL, 0);
	if (!ret)
		ret = put_endorsement(fd, &c.req);
	EVP_PKEY_free(a.client);
	if (!ret)
		ret = ddi_exec(fd, &c);
	if (ret)
		return ret;
	mbor_want_id(&c.resp, 1);
	part->bmk_len = mbor_copy_var(&c.resp, part->bmk, sizeof(part->bmk));
	return c.fields == 1 ? ddi_end(&c) : -EPROTO;
}

int hsm_provision(int fd, struct hsm_partition *part)
{
	struct hsm_device_info info;
	int ret;

	part->bmk_len = 0;
	ret = hsm_reset(fd, AZIHSM_RESET_NSSR);
	if (ret)
		return ret;
	ret = hsm_get_device_info(fd, &info);
	if (ret)
		return ret;
	if (info.kind != HSM_KIND_VIRTUAL)
		return -EOPNOTSUPP;
	return hsm_establish(fd, part);
}

int hsm_provision_anew(int *fd, struct hsm_partition *part)
{
	close(*fd);
	*fd = hsm_open();
	memset(part, 0, sizeof(*part));
	return *fd < 0 ? *fd : hsm_provision(*fd, part);
}

/* OpenSession and ReopenSession: the latter has a session and a bmk. */
static int begin_open(int fd, __u32 op, struct hsm_session *s, const __u8 *pin,
		      struct ddi_call *c)
{
	bool reopen = op == DDI_OP_REOPEN_SESSION;
	struct agreement a;
	int ret;

	ret = agree(fd, DDI_OP_GET_SESSION_KEY, &a);
	if (ret)
		return ret;

	ddi_begin(c, op, reopen ? s->id : DDI_NO_SESSION, 2 + reopen);
	mbor_put_id(&c->req, 1);
	if (reopen || random_bytes(s->seed, sizeof(s->seed)))
		ret = put_credential(&c->req, &a, app_id, pin, s->seed);
	else
		ret = -EKEYREJECTED;
	mbor_put_id(&c->req, 2);
	if (!ret)
		ret = put_pkey(&c->req, a.client);
	if (reopen) {
		mbor_put_id(&c->req, 3);
		mbor_put_var(&c->req, s->bmk, s->bmk_len);
	}
	EVP_PKEY_free(a.client);
	return ret;
}

int hsm_begin_open(int fd, struct hsm_session *s, struct ddi_call *c)
{
	return begin_open(fd, DDI_OP_OPEN_SESSION, s, app_pin, c);
}

static int try_open(int fd, __u32 op, struct hsm_session *s, const __u8 *pin)
{
	struct ddi_call c;
	int ret;

	ret = begin_open(fd, op, s, pin, &c);
	if (!ret)
		ret = ddi_exec(fd, &c);
	if (ret)
		return ret;

	s->fd = fd;
	mbor_want_id(&c.resp, 1);
	s->id = mbor_get_u16(&c.resp);
	mbor_want_id(&c.resp, 2);
	s->app = mbor_get_u8(&c.resp);
	mbor_want_id(&c.resp, 3);
	s->bmk_len = mbor_copy_var(&c.resp, s->bmk, sizeof(s->bmk));
	return c.fields == 3 ? ddi_end(&c) : -EPROTO;
}

/*
 * The device has one nonce for all its clients and renews it with each session
 * opened: when another one was faster, start again.
 */
static int open_session(int fd, __u32 op, struct hsm_session *s,
			const __u8 *pin)
{
	int ret;

	for (int tries = 0; tries < OPEN_TRIES; tries++) {
		ret = try_open(fd, op, s, pin);
		if (ret != DDI_NONCE_MISMATCH)
			break;
	}
	return ret;
}

int hsm_open_session(int fd, struct hsm_session *s)
{
	return open_session(fd, DDI_OP_OPEN_SESSION, s, app_pin);
}

int hsm_open_session_wrong_pin(int fd, struct hsm_session *s)
{
	__u8 pin[16];

	memcpy(pin, app_pin, sizeof(pin));
	pin[15] ^= 1;
	return open_session(fd, DDI_OP_OPEN_SESSION, s, pin);
}

int hsm_reopen_session(struct hsm_session *s)
{
	__u16 id = s->id;
	int ret = open_session(s->fd, DDI_OP_REOPEN_SESSION, s, app_pin);

	return !ret && s->id != id ? -EPROTO : ret;
}
