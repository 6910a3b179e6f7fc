/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the 64-bit program compat and the 32-bit program compat32 agree on.
 */
#ifndef AZIHSM_COMPAT_H
#define AZIHSM_COMPAT_H

/* Length of the text for AES-GCM in bytes; lengths for AES-XTS. */
#define COMPAT_TEXT	100
#define COMPAT_COPIED	4096
#define COMPAT_PINNED	262144
/* How much of the ciphertext the 32-bit program writes, for each length. */
#define COMPAT_RESULT	512

/* Bytes of plaintext. */
static inline unsigned char compat_byte(unsigned int i)
{
	return i * 7 + (i >> 8);
}

#endif /* AZIHSM_COMPAT_H */
