/* SPDX-License-Identifier: MIT
 * fuzz.h - what libFuzzer, or replay.c in its place, calls with each input.
 *
 * A target returns 0 whatever the bytes are; what may not happen ends in abort() or a sanitizer's
 * report.
 */
#ifndef MKC_TESTS_FUZZ_H
#define MKC_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
