/* SPDX-License-Identifier: MIT
 * sha256.c - FIPS 180-4, section 6.2, with its names: W the message schedule, a..h the working
 * variables.
 */
#include "sha256.h"

#include <string.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n) {
  return x >> n | x << (32 - n);
}

static uint32_t load_be32(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(unsigned char *p, uint32_t x) {
  for (int i = 0; i < 4; i++) p[i] = (unsigned char)(x >> (24 - 8 * i));
}

static void compress(uint32_t state[8], const unsigned char block[SHA256_BLOCK]) {
  uint32_t W[64];
  for (int t = 0; t < 16; t++) W[t] = load_be32(block + 4 * t);
  for (int t = 16; t < 64; t++) {
    const uint32_t s0 = rotr(W[t - 15], 7) ^ rotr(W[t - 15], 18) ^ W[t - 15] >> 3;
    const uint32_t s1 = rotr(W[t - 2], 17) ^ rotr(W[t - 2], 19) ^ W[t - 2] >> 10;
    W[t] = s1 + W[t - 7] + s0 + W[t - 16];
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int t = 0; t < 64; t++) {
    const uint32_t S1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
    const uint32_t T1 = h + S1 + ((e & f) ^ (~e & g)) + K[t] + W[t];
    const uint32_t S0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
    const uint32_t T2 = S0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + T1;
    d = c, c = b, b = a, a = T1 + T2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void sha256_init(struct sha256 *s) {
  static const uint32_t H0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(s->state, H0, sizeof H0);
  s->bytes = 0;
}

void sha256_update(struct sha256 *s, const void *data, size_t len) {
  const unsigned char *p = data;
  size_t used = s->bytes % SHA256_BLOCK;
  s->bytes += len;
  while (len) {
    if (!used && len >= SHA256_BLOCK) {
      compress(s->state, p);
      p += SHA256_BLOCK, len -= SHA256_BLOCK;
      continue;
    }
    const size_t n = len < SHA256_BLOCK - used ? len : SHA256_BLOCK - used;
    memcpy(s->block + used, p, n);
    p += n, len -= n, used += n;
    if (used == SHA256_BLOCK) {
      compress(s->state, s->block);
      used = 0;
    }
  }
}

/* Padding: a one bit, zeros, and the length in bits as the last 8 bytes of a block. */
void sha256_finish(struct sha256 *s, unsigned char ret[SHA256_BYTES]) {
  const uint64_t bits = s->bytes * 8;
  unsigned char pad[SHA256_BLOCK + 8] = {0x80};
  const size_t used = s->bytes % SHA256_BLOCK;
  const size_t zeros = used < 56 ? 56 - used : 56 + SHA256_BLOCK - used;
  store_be32(pad + zeros, (uint32_t)(bits >> 32));
  store_be32(pad + zeros + 4, (uint32_t)bits);
  sha256_update(s, pad, zeros + 8);
  for (int i = 0; i < 8; i++) store_be32(ret + 4 * i, s->state[i]);
}

void sha256(const void *data, size_t len, unsigned char ret[SHA256_BYTES]) {
  struct sha256 s;
  sha256_init(&s);
  sha256_update(&s, data, len);
  sha256_finish(&s, ret);
}

void sha256_hex(const unsigned char digest[SHA256_BYTES], char ret[2 * SHA256_BYTES + 1]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < SHA256_BYTES; i++) {
    ret[2 * i] = digits[digest[i] >> 4];
    ret[2 * i + 1] = digits[digest[i] & 15];
  }
  ret[2 * SHA256_BYTES] = 0;
}
