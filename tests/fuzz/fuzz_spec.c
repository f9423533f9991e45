/* SPDX-License-Identifier: MIT
 * fuzz_spec.c - libFuzzer entry: any bytes as a spec. Build with clang -fsanitize=fuzzer,address;
 * start it from tests/specs and tests/specs_bad as corpus.
 */
#include "../../gen/ir.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  jmp_buf out_of_memory;
  struct error err = {0};
  arena_init(&a, &out_of_memory);
  if (setjmp(out_of_memory)) {
    arena_finish(&a);
    return 0;
  }
  const struct variant *v;
  const mkc_status status = spec_load("fuzz.lua", (const char *)data, size, &a, &v, &err);
  if (status == MKC_OK) {
    struct buf out = {0};
    variant_describe(&out, v);
    buf_finish(&out);
  } else if (status != MKC_E_SPEC) {
    abort();
  }
  error_finish(&err);
  arena_finish(&a);
  return 0;
}
