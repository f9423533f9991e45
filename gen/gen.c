/* SPDX-License-Identifier: MIT
 * gen.c - the compiler as the visible list of its passes.
 */
#include "gen.h"

#include "emit.h"
#include "ir.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

static mkc_status run_passes(const char *path, const char *text, size_t len,
                             const struct gen_config *config, struct arena *a,
                             struct op_source *ret, struct error *err) {
  const struct variant *v;
  const struct plan *plans;
  int nplans;
  mkc_status status =
      spec_load_with(path, text, len, config->settings, config->nsettings, a, &v, err);
  if (status == MKC_OK) status = plan_op(v, config, a, &plans, &nplans, err);
  if (status == MKC_OK) status = emit_op(v, &plans[0], a, ret, err);
  return status;
}

mkc_status gen_op(const char *path, const char *text, size_t len, const struct gen_config *config,
                  struct op_source *ret, struct error *err) {
  struct arena arena;
  jmp_buf out_of_memory;
  *ret = (struct op_source){0};
  arena_init(&arena, &out_of_memory);
  arena.allocator = config->allocator;
  if (setjmp(out_of_memory)) {
    arena_finish(&arena);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while compiling %s", path);
  }
  const mkc_status status = run_passes(path, text, len, config, &arena, ret, err);
  arena_finish(&arena);
  return status;
}
