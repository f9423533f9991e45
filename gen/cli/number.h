/* SPDX-License-Identifier: MIT
 * number.h - float32 to and from the 16-bit types, round to nearest even.
 */
#ifndef MKC_CLI_NUMBER_H
#define MKC_CLI_NUMBER_H

#include <stdint.h>

uint16_t bf16_from_float(float x); /* NaN stays NaN */
float bf16_to_float(uint16_t x);
uint16_t fp16_from_float(float x); /* beyond 65504: infinity */
float fp16_to_float(uint16_t x);

#endif
