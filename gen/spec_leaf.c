/* SPDX-License-Identifier: MIT
 * spec_leaf.c - what a spec declares: input, param and option, and the keys of their tables.
 */
#include "spec_lua.h"

#include <math.h>
#include <string.h>

/* ---- keys ---- */

static bool in_list(const char *s, const char *const *list) {
  for (; *list; list++)
    if (strcmp(s, *list) == 0) return true;
  return false;
}

const char *spec_unknown_key(lua_State *L, int index, const char *const *names, bool list) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  struct arena *a = ld->front.arena;
  const lua_Integer n = list ? (lua_Integer)lua_rawlen(L, index) : 0;
  const char *worst = NULL;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *key = NULL;
    if (lua_type(L, -2) == LUA_TSTRING) {
      key = lua_tostring(L, -2);
      if (in_list(key, names)) continue;
    } else if (lua_isinteger(L, -2)) {
      const lua_Integer i = lua_tointeger(L, -2);
      if (i >= 1 && i <= n) continue;
      key = arena_printf(a, "[%lld]", (long long)i);
    } else {
      key = arena_printf(a, "[%s]", spec_kind(L, -2));
    }
    if (!worst || strcmp(key, worst) < 0) worst = key;
  }
  return worst ? arena_strdup(a, worst) : NULL;
}

const char *spec_show_key(struct loader *ld, const char *key) {
  const char *quoted = diag_quote(ld->front.arena, key, strlen(key));
  const size_t n = strlen(quoted);
  if (quoted[n - 1] != '"') return quoted;
  return arena_printf(ld->front.arena, "'%.*s'", (int)n - 2, quoted + 1);
}

/* ---- input and param ---- */

static const char *const contract_keys[] = {"min", "max", NULL};

static int leaf_failed(lua_State *L, struct loader *ld, const struct leaf *l, const char *what) {
  struct diag *d = &ld->front.diag;
  const char *kind = l->param ? "param" : "input";
  const char *word = l->name ? arena_printf(ld->front.arena, "\"%s\"", l->name) : kind;
  diag_error(d, word, "%s%s%s%s: %s", kind, l->name ? " \"" : "", l->name ? l->name : "",
             l->name ? "\"" : "", what);
  diag_note(d, "%s \"g\", or %s { \"g\", dk, max = 0 }", kind, kind);
  return spec_raise(L);
}

/* The name, a string at index. */
static const char *read_name(lua_State *L, struct loader *ld, const char *what, int index) {
  size_t len = 0;
  const char *s = lua_tolstring(L, index, &len);
  const char *name = front_identifier(&ld->front, what, s, len);
  if (!name) spec_raise(L);
  return name;
}

static void read_axis(lua_State *L, struct loader *ld, struct leaf *l, int index) {
  const struct value *v = spec_value(L, index);
  const struct expr *e = v && v->kind == VALUE_EXPR ? v->p : NULL;
  const bool width = e && e->op == OP_SYMBOL && (e->symbol == SYM_DK || e->symbol == SYM_DV);
  if (v && v->kind == VALUE_STEP) {
    if (l->step) leaf_failed(L, ld, l, "step, twice");
    l->step = true;
  } else if (width || (v && v->kind == VALUE_AXIS)) {
    const enum axis axis = !width ? v->axis : e->symbol == SYM_DK ? AXIS_DK : AXIS_DV;
    if (l->axis)
      leaf_failed(L, ld, l,
                  arena_printf(ld->front.arena, "two channel axes, %s and %s", axis_name(l->axis),
                               axis_name(axis)));
    l->axis = axis;
  } else {
    leaf_failed(L, ld, l,
                arena_printf(ld->front.arena, "an axis is dk, dv, levels, taps or step; got %s",
                             spec_kind(L, index)));
  }
}

static double read_bound(lua_State *L, struct loader *ld, const struct leaf *l, const char *key,
                         double none) {
  const int type = lua_getfield(L, 1, key);
  double x = none;
  if (type == LUA_TNUMBER)
    x = lua_tonumber(L, -1);
  else if (type != LUA_TNIL)
    leaf_failed(L, ld, l,
                arena_printf(ld->front.arena, "%s is a number; got %s", key, spec_kind(L, -1)));
  lua_pop(L, 1);
  return x;
}

static void read_leaf_table(lua_State *L, struct loader *ld, struct leaf *l) {
  if (lua_rawgeti(L, 1, 1) != LUA_TSTRING) leaf_failed(L, ld, l, "its first part is a name");
  l->name = read_name(L, ld, l->param ? "param" : "input", -1);
  lua_pop(L, 1);
  const char *unknown = spec_unknown_key(L, 1, contract_keys, true);
  if (unknown)
    leaf_failed(L, ld, l,
                arena_printf(ld->front.arena, "unknown key %s; it has min and max",
                             spec_show_key(ld, unknown)));
  const lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 2; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    read_axis(L, ld, l, -1);
    lua_pop(L, 1);
  }
  l->min = read_bound(L, ld, l, "min", -INFINITY);
  l->max = read_bound(L, ld, l, "max", INFINITY);
}

static int make_leaf(lua_State *L, bool param) {
  struct loader *ld = spec_enter(L);
  struct leaf l = {.param = param, .min = -INFINITY, .max = INFINITY};
  const int type = lua_type(L, 1);
  if (lua_gettop(L) > 1) return leaf_failed(L, ld, &l, "several parts stand in braces");
  if (type == LUA_TSTRING)
    l.name = read_name(L, ld, param ? "param" : "input", 1);
  else if (type == LUA_TTABLE)
    read_leaf_table(L, ld, &l);
  else
    return leaf_failed(
        L, ld, &l, arena_printf(ld->front.arena, "its name is a string; got %s", spec_kind(L, 1)));
  spec_push(L, VALUE_EXPR, front_leaf(&ld->front, &l));
  return 1;
}

int spec_input(lua_State *L) {
  return make_leaf(L, false);
}

int spec_param(lua_State *L) {
  return make_leaf(L, true);
}

int spec_option(lua_State *L) {
  static const char *const no_keys[] = {NULL};
  struct loader *ld = spec_enter(L);
  const bool table = lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TTABLE;
  if (!table || lua_rawlen(L, 1) != 2 || spec_unknown_key(L, 1, no_keys, true) ||
      lua_rawgeti(L, 1, 1) != LUA_TSTRING || lua_rawgeti(L, 1, 2) != LUA_TNUMBER) {
    diag_error(&ld->front.diag, "option", "option takes a name and its default");
    diag_note(&ld->front.diag, "option { \"window\", 512 }");
    return spec_raise(L);
  }
  const char *name = read_name(L, ld, "option", -2);
  spec_push(L, VALUE_EXPR, front_option(&ld->front, name, lua_tonumber(L, -1)));
  return 1;
}
