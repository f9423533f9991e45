/* SPDX-License-Identifier: MIT
 * spec_table.c - variant { ... }: reads the table of fields, and those of its branches, into a
 * draft.
 */
#include "spec_lua.h"

#include <string.h>

static bool in_list(const char *s, const char *const *list) {
  for (; *list; list++)
    if (strcmp(s, *list) == 0) return true;
  return false;
}

/* ---- variant: fields ---- */

struct reader {
  struct loader *ld;
  struct draft *draft;
  int branch; /* being read, from 1; 0: the variant itself */
};

static void field_failed(lua_State *L, const struct reader *r, enum field field,
                         const char *message, const char *note) {
  struct diag *d = &r->ld->front.diag;
  diag_error(d, "variant", "%s: %s", field_names[field], message);
  if (note) diag_note(d, "%s", note);
  d->line = r->draft->line;
  d->field = field_names[field];
  d->branch = r->branch;
  spec_raise(L);
}

/* Leaves the field's value on the stack; false, and nothing there, when it is left out. */
static bool get_field(lua_State *L, int table, enum field field) {
  if (lua_getfield(L, table, field_names[field]) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

static const struct expr *read_expr(lua_State *L, const struct reader *r, int table,
                                    enum field field, const struct expr *absent) {
  if (!get_field(L, table, field)) return absent;
  struct arena *a = r->ld->front.arena;
  const struct value *v = spec_value(L, -1);
  const struct expr *e = v && v->kind == VALUE_EXPR ? v->p : NULL;
  if (lua_type(L, -1) == LUA_TNUMBER) {
    e = expr_const(&r->ld->front.exprs, lua_tonumber(L, -1));
    if (!e) { /* the number itself is the error */
      r->ld->front.diag.field = field_names[field];
      r->ld->front.diag.branch = r->branch;
      spec_raise(L);
    }
  }
  if (!e && lua_type(L, -1) == LUA_TSTRING && field <= FIELD_V) {
    size_t len = 0;
    const char *s = lua_tolstring(L, -1, &len), *quoted = diag_quote(a, s, len);
    field_failed(L, r, field, arena_printf(a, "%s is only a name", quoted),
                 arena_printf(a, "write input { %s, %s }", quoted, field == FIELD_V ? "dv" : "dk"));
  }
  if (!e)
    field_failed(L, r, field,
                 arena_printf(a, "expected a number or an expression, got %s", spec_kind(L, -1)),
                 NULL);
  lua_pop(L, 1);
  return e;
}

static const char *read_string(lua_State *L, const struct reader *r, int table, enum field field,
                               size_t *ret_len) {
  if (!get_field(L, table, field)) return NULL;
  size_t len = 0;
  if (lua_type(L, -1) != LUA_TSTRING)
    field_failed(L, r, field,
                 arena_printf(r->ld->front.arena, "expected a string, got %s", spec_kind(L, -1)),
                 NULL);
  const char *s = lua_tolstring(L, -1, &len);
  char *copy = arena_alloc(r->ld->front.arena, len + 1);
  memcpy(copy, s, len);
  if (ret_len)
    *ret_len = len;
  else
    for (size_t i = 0; i < len; i++)
      if (copy[i] == 0) copy[i] = '?';
  lua_pop(L, 1);
  return copy;
}

/* ---- variant: transition and mask ---- */

static const struct draft_factor *read_factor(lua_State *L, const struct reader *r, int i) {
  struct arena *a = r->ld->front.arena;
  const struct value *v = spec_value(L, -1);
  if (v && v->kind == VALUE_FACTOR) return v->p;
  field_failed(L, r, FIELD_TRANSITION,
               arena_printf(a, "[%d] is %s, not a factor", i, spec_kind(L, -1)),
               v && v->kind == VALUE_MASK
                   ? "a mask belongs in mask; factors do not commute, so they stand in a list"
                   : "a factor is decay(w), delta(beta), identity - outer(b, a)");
  return NULL;
}

static void read_transition(lua_State *L, const struct reader *r, int table,
                            struct draft_branch *b) {
  static const char *const no_keys[] = {NULL};
  if (!get_field(L, table, FIELD_TRANSITION)) return;
  const char *note = "the factors in the order they act: transition = { decay(a), delta(b) }";
  const struct value *v = spec_value(L, -1);
  b->nfactors = 0;
  if (v && v->kind == VALUE_FACTOR) { /* one factor needs no list */
    b->factors[b->nfactors++] = v->p;
  } else if (lua_type(L, -1) != LUA_TTABLE) {
    field_failed(L, r, FIELD_TRANSITION,
                 arena_printf(r->ld->front.arena, "expected a list, got %s", spec_kind(L, -1)),
                 note);
  } else {
    const int list = lua_gettop(L);
    const char *unknown = spec_unknown_key(L, list, no_keys, true);
    const lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    if (unknown)
      field_failed(L, r, FIELD_TRANSITION,
                   arena_printf(r->ld->front.arena, "unexpected key %s in a list",
                                spec_show_key(r->ld, unknown)),
                   note);
    if (n > MAX_FACTORS)
      field_failed(L, r, FIELD_TRANSITION,
                   arena_printf(r->ld->front.arena, "more than %d factors", MAX_FACTORS), NULL);
    for (int i = 1; i <= (int)n; i++) {
      lua_rawgeti(L, list, i);
      b->factors[b->nfactors++] = read_factor(L, r, i);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

static void read_mask(lua_State *L, const struct reader *r, int table, struct draft_branch *b) {
  if (!get_field(L, table, FIELD_MASK)) return;
  const struct value *v = spec_value(L, -1);
  if (v && v->kind == VALUE_MASK) {
    b->mask = v->p;
  } else if (v && v->kind == VALUE_FACTOR) {
    b->mask = mask_decay(&r->ld->front, v->p);
    if (!b->mask) {
      r->ld->front.diag.line = ((const struct draft_factor *)v->p)->factor.line;
      spec_raise(L);
    }
  } else {
    field_failed(L, r, FIELD_MASK,
                 arena_printf(r->ld->front.arena, "expected a mask, got %s", spec_kind(L, -1)),
                 "decay(a), fenwick(lambda), window(n), ... joined by '*'");
  }
  lua_pop(L, 1);
}

/* Reads a branch's fields over those that *b has already. */
static void read_branch(lua_State *L, const struct reader *r, int table, struct draft_branch *b) {
  b->q = read_expr(L, r, table, FIELD_Q, b->q);
  b->k = read_expr(L, r, table, FIELD_K, b->k);
  b->v = read_expr(L, r, table, FIELD_V, b->v);
  b->scale = read_expr(L, r, table, FIELD_SCALE, b->scale);
  b->score = read_expr(L, r, table, FIELD_SCORE, b->score);
  const char *read = read_string(L, r, table, FIELD_READ, NULL);
  if (read) b->read = read;
  read_transition(L, r, table, b);
  read_mask(L, r, table, b);
}

/* ---- variant: the whole ---- */

static void check_fields(lua_State *L, const struct reader *r, int table) {
  struct diag *d = &r->ld->front.diag;
  const char *names[FIELD_COUNT + 1];
  int n = 0;
  for (int i = 0; i < FIELD_COUNT; i++)
    if (!r->branch || field_in_branch((enum field)i)) names[n++] = field_names[i];
  names[n] = NULL;
  const char *unknown = spec_unknown_key(L, table, names, false);
  if (!unknown) return;
  const char *near = diag_nearest(unknown, names);
  if (unknown[0] == '[')
    diag_error(d, "variant", "a field has a name; %s has none", unknown);
  else if (r->branch && in_list(unknown, field_names))
    diag_error(d, "variant", "'%s' belongs to the variant, not to a branch", unknown);
  else
    diag_error(d, "variant", "unknown field %s", spec_show_key(r->ld, unknown));
  if (near && unknown[0] != '[') {
    diag_note(d, "did you mean '%s'?", near);
  } else {
    struct buf *list = &r->ld->front.exprs.scratch;
    list->len = 0;
    for (int i = 0; i < n; i++) buf_printf(list, "%s%s", i ? ", " : "", names[i]);
    diag_note(d, "the fields are %s", buf_text(list));
  }
  d->line = r->draft->line;
  d->field = unknown;
  d->branch = r->branch;
  spec_raise(L);
}

/* The list is on top of the stack. */
static void read_branches(lua_State *L, struct reader *r) {
  static const char *const no_keys[] = {NULL};
  struct draft *d = r->draft;
  const struct draft_branch shared = d->branches[0];
  if (lua_type(L, -1) != LUA_TTABLE || spec_unknown_key(L, lua_gettop(L), no_keys, true))
    field_failed(L, r, FIELD_BRANCHES, "expected a list of tables",
                 "branches = { { score = ... }, { score = ... } }");
  const lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  if (n < 1 || n > MAX_BRANCHES)
    field_failed(L, r, FIELD_BRANCHES,
                 arena_printf(r->ld->front.arena, "1 to %d branches", MAX_BRANCHES), NULL);
  d->branched = true;
  d->nbranches = (int)n;
  for (int i = 0; i < d->nbranches; i++) {
    d->branches[i] = shared;
    lua_rawgeti(L, -1, i + 1);
    if (lua_type(L, -1) != LUA_TTABLE)
      field_failed(
          L, r, FIELD_BRANCHES,
          arena_printf(r->ld->front.arena, "[%d] is %s, not a table", i + 1, spec_kind(L, -1)),
          NULL);
    r->branch = i + 1;
    check_fields(L, r, lua_gettop(L));
    read_branch(L, r, lua_gettop(L), &d->branches[i]);
    r->branch = 0;
    lua_pop(L, 1);
  }
}

static void read_draft(lua_State *L, struct reader *r) {
  struct draft *d = r->draft;
  check_fields(L, r, 1);
  d->name = read_string(L, r, 1, FIELD_NAME, &d->name_len);
  d->about = read_string(L, r, 1, FIELD_ABOUT, NULL);
  d->nbranches = 1;
  read_branch(L, r, 1, &d->branches[0]);
  d->normaliser = read_expr(L, r, 1, FIELD_NORMALISER, NULL);
  d->output = read_expr(L, r, 1, FIELD_OUTPUT, NULL);
  const struct expr *steps = read_expr(L, r, 1, FIELD_STEPS, NULL);
  if (steps) {
    d->steps = front_size(&r->ld->front, "steps", steps);
    if (!d->steps) {
      r->ld->front.diag.line = d->line;
      r->ld->front.diag.field = "steps";
      spec_raise(L);
    }
  }
  if (!get_field(L, 1, FIELD_BRANCHES)) return;
  read_branches(L, r);
  lua_pop(L, 1);
}

int spec_variant(lua_State *L) {
  struct loader *ld = spec_enter(L);
  struct diag *d = &ld->front.diag;
  if (ld->variant) {
    diag_error(d, "variant", "a second variant; a spec has one");
    return spec_raise(L);
  }
  if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TTABLE) {
    diag_error(d, "variant", "variant takes a table of fields");
    diag_note(d, "return variant { name = \"...\", ... }");
    return spec_raise(L);
  }
  struct draft *draft = arena_new(ld->front.arena, struct draft);
  draft->line = ld->front.exprs.line;
  struct reader r = {.ld = ld, .draft = draft};
  read_draft(L, &r);
  ld->variant = variant_check(&ld->front, draft);
  spec_push(L, VALUE_VARIANT, ld->variant);
  return 1;
}
