/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Cryptography in software (OpenSSL's libcrypto): the client's part of the
 * protocol, and the reference that the device's results are compared with.
 *
 * Functions return false when libcrypto fails; that is an error of the test
 * environment, or of the input that came from the device.
 */
#ifndef AZIHSM_SOFTCRYPTO_H
#define AZIHSM_SOFTCRYPTO_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#define P384_POINT_LEN	97	/* 0x04 || x || y */
#define P384_DER_MAX	160	/* SubjectPublicKeyInfo */
#define P384_SIG_LEN	96	/* r || s */
#define P384_SECRET_LEN	48
#define SHA384_LEN	48

/*
 * Makes libcrypto look up everything that is used here. Each test is a process:
 * before the harness forks them, it is done once for all.
 */
void softcrypto_warm_up(void);

/* P-384 keys. */
EVP_PKEY *p384_generate(void);
EVP_PKEY *p384_from_der(const __u8 *der, size_t len);
/* SubjectPublicKeyInfo with the uncompressed point; 0 on failure. */
size_t p384_to_der(EVP_PKEY *key, __u8 der[P384_DER_MAX]);
bool p384_point(EVP_PKEY *key, __u8 point[P384_POINT_LEN]);
bool p384_ecdh(EVP_PKEY *own, EVP_PKEY *peer, __u8 secret[P384_SECRET_LEN]);
/* ECDSA with SHA-384. */
bool p384_sign(EVP_PKEY *key, const void *msg, size_t len,
	       __u8 sig[P384_SIG_LEN]);
/* Public key of a DER certificate. */
EVP_PKEY *cert_public_key(const __u8 *der, size_t len);

/* HKDF-SHA384 without salt. */
bool hkdf_sha384(const void *secret, size_t secret_len, const void *info,
		 size_t info_len, void *out, size_t out_len);
bool hmac_sha384(const void *key, size_t key_len, const void *msg, size_t len,
		 __u8 out[SHA384_LEN]);
/* AES-256-CBC without padding; len is a multiple of 16. */
bool aes_cbc(bool encrypt, const __u8 key[32], const __u8 iv[16],
	     const void *in, void *out, size_t len);

/* AES-256-GCM encryption. */
bool aes_gcm_encrypt(const __u8 key[32], const __u8 iv[12], const void *aad,
		     size_t aad_len, const void *in, void *out, size_t len,
		     __u8 tag[16]);
/*
 * AES-256-XTS: key1 is the data key, key2 the tweak key. The data is a
 * sequence of units of @unit bytes (0: one unit), numbered from @first.
 */
bool aes_xts(bool encrypt, const __u8 key1[32], const __u8 key2[32],
	     __u64 first, size_t unit, const void *in, void *out, size_t len);

bool random_bytes(void *out, size_t len);

#endif /* AZIHSM_SOFTCRYPTO_H */
