/* SPDX-License-Identifier: MIT
 * spec_lua.h - the side of the front end that Lua sees: spec.c, spec_value.c, spec_operator.c,
 * spec_leaf.c, spec_table.c.
 *
 * Functions named spec_* here run inside the protected call. They raise a Lua error when something
 * is wrong, after the reason went to the diag; what they allocate is the arena's or Lua's.
 */
#ifndef MKC_SPEC_LUA_H
#define MKC_SPEC_LUA_H

#include "front.h"
#include "spec_heap.h"

#include <lua.h>

/* One spec being run. lua_getextraspace of its state points here. */
struct loader {
  struct front front;
  struct heap heap;
  int line;                      /* that runs now, for errors of Lua's own */
  const struct variant *variant; /* what variant { } made; NULL before */
  jmp_buf out_of_memory;         /* of the arena, while the spec runs */
};

/* What a userdata of a spec is. */
enum value_kind { VALUE_EXPR, VALUE_FACTOR, VALUE_MASK, VALUE_AXIS, VALUE_STEP, VALUE_VARIANT };

struct value {
  enum value_kind kind;
  const void *p;  /* struct expr, draft_factor, draft_mask, variant; NULL for VALUE_STEP */
  enum axis axis; /* VALUE_AXIS */
};

/* ---- spec_value.c ---- */

/* Makes the table of globals, with the whole vocabulary, and leaves it on the stack. */
void spec_push_environment(lua_State *L);
/* The loader, with front.exprs.line set to the line of the spec that called. */
struct loader *spec_enter(lua_State *L);
int spec_raise(lua_State *L);                                      /* the diag has the reason */
const struct value *spec_value(lua_State *L, int index);           /* NULL: no userdata */
void spec_push(lua_State *L, enum value_kind kind, const void *p); /* raises when p is NULL */
/* spec_push, for a C function that returns this one value. */
int spec_give(lua_State *L, enum value_kind kind, const void *p);
/* "a number", "an axis", "a table": for messages */
const char *spec_kind(lua_State *L, int index);
/* The number or expression at index; what: the function or field, for the message. */
const struct expr *spec_expr(lua_State *L, int index, const char *what);

/* ---- spec_operator.c ---- */
void spec_push_metatable(lua_State *L); /* of every value */

/* ---- spec_leaf.c, spec_table.c: functions of the language that take a table ---- */
int spec_input(lua_State *L);
int spec_param(lua_State *L);
int spec_option(lua_State *L);
int spec_variant(lua_State *L);
/* A key of the table at index that is neither in names nor a whole number from 1 to its length
 * (list only); NULL: none. Another type of key comes back as its text. Of several, the first in the
 * alphabet: Lua walks a table in an order that changes from run to run. */
const char *spec_unknown_key(lua_State *L, int index, const char *const *names, bool list);
const char *spec_show_key(struct loader *ld, const char *key); /* 'key', safe to print */

#endif
