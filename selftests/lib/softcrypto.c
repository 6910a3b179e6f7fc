// SPDX-License-Identifier: GPL-2.0
/*
 * Cryptography in software (OpenSSL's libcrypto).
 */
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "softcrypto.h"

EVP_PKEY *p384_generate(void)
{
	return EVP_EC_gen("P-384");
}

static bool is_p384(EVP_PKEY *key)
{
	char group[32];

	return EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       (!strcmp(group, "secp384r1") || !strcmp(group, "P-384"));
}

EVP_PKEY *p384_from_der(const __u8 *der, size_t len)
{
	const __u8 *end = der;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &end, len);

	if (key && end == der + len && is_p384(key))
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

size_t p384_to_der(EVP_PKEY *key, __u8 der[P384_DER_MAX])
{
	int len = i2d_PUBKEY(key, NULL);

	if (len <= 0 || len > P384_DER_MAX)
		return 0;
	return i2d_PUBKEY(key, &der) == len ? len : 0;
}

bool p384_point(EVP_PKEY *key, __u8 point[P384_POINT_LEN])
{
	size_t len;

	return EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY,
					       point, P384_POINT_LEN,
					       &len) == 1 &&
	       len == P384_POINT_LEN && point[0] == 4;
}

bool p384_ecdh(EVP_PKEY *own, EVP_PKEY *peer, __u8 secret[P384_SECRET_LEN])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
	size_t len = P384_SECRET_LEN;
	bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
		  EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
		  EVP_PKEY_derive(ctx, secret, &len) == 1 &&
		  len == P384_SECRET_LEN;

	EVP_PKEY_CTX_free(ctx);
	return ok;
}

bool p384_sign(EVP_PKEY *key, const void *msg, size_t len,
	       __u8 sig[P384_SIG_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *rs = NULL;
	__u8 der[128];
	const __u8 *p = der;
	size_t der_len = sizeof(der);
	bool ok;

	ok = ctx &&
	     EVP_DigestSignInit(ctx, NULL, EVP_sha384(), NULL, key) == 1 &&
	     EVP_DigestSign(ctx, der, &der_len, msg, len) == 1;
	if (ok)
		rs = d2i_ECDSA_SIG(NULL, &p, der_len);
	ok = rs &&
	     BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, 48) == 48 &&
	     BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + 48, 48) == 48;
	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
	return ok;
}

EVP_PKEY *cert_public_key(const __u8 *der, size_t len)
{
	const __u8 *end = der;
	X509 *cert = d2i_X509(NULL, &end, len);
	EVP_PKEY *key = NULL;

	if (cert && end == der + len)
		key = X509_get_pubkey(cert);
	X509_free(cert);
	return key;
}

bool hkdf_sha384(const void *secret, size_t secret_len, const void *info,
		 size_t info_len, void *out, size_t out_len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 "SHA384", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
						  (void *)secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
						  (void *)info, info_len),
		OSSL_PARAM_construct_end(),
	};
	bool ok = ctx && EVP_KDF_derive(ctx, out, out_len, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok;
}

bool hmac_sha384(const void *key, size_t key_len, const void *msg, size_t len,
		 __u8 out[SHA384_LEN])
{
	size_t out_len = 0;

	return EVP_Q_mac(NULL, "HMAC", NULL, "SHA384", NULL, key, key_len, msg,
			 len, out, SHA384_LEN, &out_len) &&
	       out_len == SHA384_LEN;
}

bool aes_cbc(bool encrypt, const __u8 key[32], const __u8 iv[16],
	     const void *in, void *out, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	bool ok;

	ok = ctx &&
	     EVP_CipherInit_ex2(ctx, EVP_aes_256_cbc(), key, iv, encrypt,
				NULL) == 1 &&
	     EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
	     EVP_CipherUpdate(ctx, out, &n, in, len) == 1 &&
	     EVP_CipherFinal_ex(ctx, (__u8 *)out + n, &last) == 1 &&
	     (size_t)(n + last) == len;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

bool aes_gcm_encrypt(const __u8 key[32], const __u8 iv[12], const void *aad,
		     size_t aad_len, const void *in, void *out, size_t len,
		     __u8 tag[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	__u8 none[16];
	int n;
	bool ok;

	ok = ctx &&
	     EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key, iv, NULL) == 1;
	if (ok && aad_len)
		ok = EVP_EncryptUpdate(ctx, NULL, &n, aad, aad_len) == 1;
	if (ok && len)
		ok = EVP_EncryptUpdate(ctx, out, &n, in, len) == 1 &&
		     (size_t)n == len;
	ok = ok && EVP_EncryptFinal_ex(ctx, none, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

bool aes_xts(bool encrypt, const __u8 key1[32], const __u8 key2[32],
	     __u64 first, size_t unit, const void *in, void *out, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	__u8 key[64], tweak[16];
	bool ok;

	if (!unit)
		unit = len;
	memcpy(key, key1, 32);
	memcpy(key + 32, key2, 32);
	ok = ctx && EVP_CipherInit_ex2(ctx, EVP_aes_256_xts(), key, NULL,
				       encrypt, NULL) == 1;
	for (size_t at = 0; ok && at < len; at += unit, first++) {
		int n = 0;

		memset(tweak, 0, sizeof(tweak));
		for (int i = 0; i < 8; i++)
			tweak[i] = first >> 8 * i;
		ok = EVP_CipherInit_ex2(ctx, NULL, NULL, tweak, encrypt,
					NULL) == 1 &&
		     EVP_CipherUpdate(ctx, (__u8 *)out + at, &n,
				      (const __u8 *)in + at, unit) == 1 &&
		     (size_t)n == unit;
	}
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

bool random_bytes(void *out, size_t len)
{
	return RAND_bytes(out, len) == 1;
}

void softcrypto_warm_up(void)
{
	__u8 der[P384_DER_MAX], point[P384_POINT_LEN], sig[P384_SIG_LEN];
	__u8 secret[P384_SECRET_LEN] = { 0 }, mac[SHA384_LEN];
	__u8 key[32] = { 1 }, other[32] = { 2 }, block[16] = { 0 };
	EVP_PKEY *own = p384_generate(), *peer = NULL;

	if (own)
		peer = p384_from_der(der, p384_to_der(own, der));
	if (peer && p384_point(peer, point) && p384_ecdh(own, peer, secret))
		p384_sign(own, point, sizeof(point), sig);
	EVP_PKEY_free(own);
	EVP_PKEY_free(peer);
	hkdf_sha384(secret, sizeof(secret), block, sizeof(block), mac,
		    sizeof(mac));
	hmac_sha384(mac, sizeof(mac), block, sizeof(block), mac);
	aes_cbc(true, key, block, block, block, sizeof(block));
	aes_gcm_encrypt(key, block, NULL, 0, block, block, sizeof(block), mac);
	aes_xts(true, key, other, 0, 0, block, block, sizeof(block));
	/* What does not work shows where it is needed. */
	ERR_clear_error();
}
