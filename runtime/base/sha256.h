/* SPDX-License-Identifier: MIT
 * sha256.h - SHA-256 (FIPS 180-4). It names cache entries and finds corrupted ones.
 *
 *   unsigned char digest[SHA256_BYTES];
 *   sha256("abc", 3, digest);
 */
#ifndef MKC_SHA256_H
#define MKC_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64 };

struct sha256 {
  uint32_t state[8];
  uint64_t bytes; /* taken so far */
  unsigned char block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t len);
void sha256_finish(struct sha256 *s, unsigned char ret[SHA256_BYTES]);

void sha256(const void *data, size_t len, unsigned char ret[SHA256_BYTES]);

/* 64 lower-case digits and a NUL. */
void sha256_hex(const unsigned char digest[SHA256_BYTES], char ret[2 * SHA256_BYTES + 1]);

#endif
