/* SPDX-License-Identifier: MIT
 * gen_support.h - a spec loaded in an arena of its own, for the tests of gen/.
 *
 *   struct loaded_spec s;
 *   load_spec(&s, "return variant { name = \"x\" }");
 *   ... s.variant, s.arena ...
 *   unload_spec(&s);
 */
#ifndef MKC_TESTS_GEN_SUPPORT_H
#define MKC_TESTS_GEN_SUPPORT_H

#include "support.h"

#include "gen.h"
#include "ir.h"

#include <stdio.h>
#include <string.h>

struct loaded_spec {
  struct arena arena;
  jmp_buf out_of_memory;
  const struct variant *variant;
};

/* Fails the test with the message when the spec is refused. */
static inline void load_spec_named(struct loaded_spec *s, const char *path, const char *text) {
  struct error err = {0};
  arena_init(&s->arena, &s->out_of_memory);
  spec_load(path, text, strlen(text), &s->arena, &s->variant, &err);
  assert_string_equal(error_text(&err), "");
}

static inline void load_spec(struct loaded_spec *s, const char *text) {
  load_spec_named(s, "t.lua", text);
}

/* A shipped spec: "retnet". */
static inline void load_shipped(struct loaded_spec *s, const char *name) {
  char path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *f = embedded_find(path);
  assert_non_null(f);
  load_spec_named(s, path, f->data);
}

static inline void unload_spec(struct loaded_spec *s) {
  arena_finish(&s->arena);
}

#endif
