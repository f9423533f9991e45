/* SPDX-License-Identifier: MIT
 * number.c - see number.h.
 */
#include "number.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static float float_of(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

uint16_t bf16_from_float(float x) {
  const uint32_t u = bits_of(x);
  if (isnan(x)) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float bf16_to_float(uint16_t x) {
  return float_of((uint32_t)x << 16);
}

uint16_t fp16_from_float(float x) {
  const uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
  if (isnan(x)) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 65536 */
  if (magnitude < 0x38800000) /* below 2^-14: counted in units of 2^-24 */
    return (uint16_t)(sign | (uint32_t)nearbyintf(float_of(magnitude) * 0x1p24f));
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
}

float fp16_to_float(uint16_t x) {
  const uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, rest = x & 0x3ff;
  if (exponent == 31) return float_of(sign | 0x7f800000 | rest << 13);
  const float magnitude =
      exponent ? float_of((exponent + 112) << 23 | rest << 13) : (float)rest * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}
