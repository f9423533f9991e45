/* SPDX-License-Identifier: MIT
 * fuzz_spec.c - any bytes as a spec: it is refused with a message, or it is a variant; and then it
 * is described, and emitted where a schedule serves it, without a byte of its free text.
 */
#include "fuzz.h"

#include "gen.h"
#include "ir.h"

#include <stdlib.h>

static void describe(const struct variant *v) {
  struct buf out = {0};
  variant_describe(&out, v);
  buf_finish(&out);
}

/* Emitted text is what the templates hold, identifiers and numbers. */
static void check_text(const char *text) {
  for (; *text; text++)
    if ((*text < ' ' || *text > '~') && *text != '\n') abort();
}

static void emit(const uint8_t *data, size_t size, mkc_pass pass) {
  const struct gen_config config = {
      .arch = "sm_90a", .pass = pass, .dtype = MKC_BF16, .dk = 64, .dv = 64};
  struct op_source source = {0};
  struct error err = {0};
  const mkc_status status = gen_op("fuzz.lua", (const char *)data, size, &config, &source, &err);
  if (status == MKC_OK)
    check_text(source.text);
  else if (status != MKC_E_NO_SCHEDULE)
    abort();
  op_source_finish(&source);
  error_finish(&err);
}

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
    describe(v);
    emit(data, size, MKC_FORWARD);
    emit(data, size, MKC_STEP);
  } else if (status != MKC_E_SPEC) {
    abort();
  }
  error_finish(&err);
  arena_finish(&a);
  return 0;
}
