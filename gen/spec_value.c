/* SPDX-License-Identifier: MIT
 * spec_value.c - the vocabulary of a spec: its values, names and functions, as Lua sees them.
 *
 * A value is a userdata that wraps a pointer into the arena; all share one metatable. There is no
 * library, not even string's: the only C functions that a spec can reach are the ones below, those
 * of spec_table.c and the operators of spec_operator.c.
 */
#include "spec_lua.h"

#include <math.h>
#include <string.h>

static const char metatable_key = 0; /* its address names the metatable in Lua's registry */

struct loader *spec_enter(lua_State *L) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  lua_Debug at;
  if (lua_getstack(L, 1, &at) && lua_getinfo(L, "l", &at) && at.currentline > 0)
    ld->front.exprs.line = at.currentline;
  return ld;
}

int spec_raise(lua_State *L) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  if (ld->front.diag.line == 0) ld->front.diag.line = ld->front.exprs.line;
  lua_pushlightuserdata(L, ld);
  return lua_error(L);
}

const struct value *spec_value(lua_State *L, int index) {
  return lua_isuserdata(L, index) ? lua_touserdata(L, index) : NULL;
}

static void push_value(lua_State *L, struct value v) {
  struct value *p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = v;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
}

void spec_push(lua_State *L, enum value_kind kind, const void *p) {
  if (!p) spec_raise(L);
  push_value(L, (struct value){.kind = kind, .p = p});
}

int spec_give(lua_State *L, enum value_kind kind, const void *p) {
  spec_push(L, kind, p);
  return 1;
}

const char *spec_kind(lua_State *L, int index) {
  const struct value *v = spec_value(L, index);
  if (!v) {
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL: return "nothing";
    case LUA_TNUMBER: return "a number";
    case LUA_TSTRING: return "a string";
    case LUA_TBOOLEAN: return "a truth value";
    case LUA_TTABLE: return "a table";
    default: return "a function";
    }
  }
  switch (v->kind) {
  case VALUE_EXPR: return "an expression";
  case VALUE_FACTOR: return "a factor of the transition";
  case VALUE_MASK: return "a mask";
  case VALUE_VARIANT: return "a variant";
  default: return "an axis";
  }
}

const struct expr *spec_expr(lua_State *L, int index, const char *what) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  struct diag *d = &ld->front.diag;
  const struct value *v = spec_value(L, index);
  const struct expr *e = NULL;
  if (v && v->kind == VALUE_EXPR) return v->p;
  if (lua_type(L, index) == LUA_TNUMBER)
    e = expr_const(&ld->front.exprs, lua_tonumber(L, index));
  else
    diag_error(d, what, "%s: expected a number or an expression, got %s", what,
               spec_kind(L, index));
  if (!e && lua_type(L, index) == LUA_TSTRING)
    diag_note(d, "an array of the caller is input \"name\", or param \"name\"");
  if (!e && !d->word) d->word = what;
  if (!e) spec_raise(L);
  return e;
}

static void check_arguments(lua_State *L, const char *what, int least, int most) {
  struct loader *ld = spec_enter(L);
  const int n = lua_gettop(L);
  if (n >= least && n <= most) return;
  diag_error(&ld->front.diag, what, "%s takes %d argument%s; got %d", what,
             n < least ? least : most, (n < least ? least : most) == 1 ? "" : "s", n);
  spec_raise(L);
}

/* ---- functions of expressions; upvalue 1 is the operation ---- */

static int call_unary(lua_State *L) {
  const enum op op = (enum op)lua_tointeger(L, lua_upvalueindex(1));
  struct loader *ld = spec_enter(L);
  check_arguments(L, op_name(op), 1, 1);
  return spec_give(L, VALUE_EXPR, expr_unary(&ld->front.exprs, op, spec_expr(L, 1, op_name(op))));
}

static int call_nary(lua_State *L) {
  const enum op op = (enum op)lua_tointeger(L, lua_upvalueindex(1));
  struct loader *ld = spec_enter(L);
  check_arguments(L, op_name(op), 2, 200);
  const struct expr *e = spec_expr(L, 1, op_name(op));
  for (int i = 2; i <= lua_gettop(L) && e; i++)
    e = expr_binary(&ld->front.exprs, op, e, spec_expr(L, i, op_name(op)));
  return spec_give(L, VALUE_EXPR, e);
}

static int call_row(lua_State *L) {
  const enum op op = (enum op)lua_tointeger(L, lua_upvalueindex(1));
  const bool norm = op == OP_L2NORM || op == OP_RMSNORM;
  struct loader *ld = spec_enter(L);
  double eps = 0;
  check_arguments(L, op_name(op), 1, norm ? 2 : 1);
  if (lua_gettop(L) == 2) {
    eps = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : 0;
    if (!(eps > 0 && eps < 1)) {
      diag_error(&ld->front.diag, op_name(op), "%s(x, eps): eps is a number between 0 and 1",
                 op_name(op));
      return spec_raise(L);
    }
  }
  return spec_give(L, VALUE_EXPR,
                   expr_row(&ld->front.exprs, op, spec_expr(L, 1, op_name(op)), eps));
}

/* ---- functions of the transition and the mask ---- */

static int call_decay(lua_State *L) {
  struct loader *ld = spec_enter(L);
  check_arguments(L, "decay", 1, 1);
  return spec_give(L, VALUE_FACTOR, factor_decay(&ld->front, spec_expr(L, 1, "decay")));
}

static int call_delta(lua_State *L) {
  struct loader *ld = spec_enter(L);
  if (lua_gettop(L) == 2 && lua_type(L, 2) == LUA_TTABLE) {
    diag_error(&ld->front.diag, "every",
               "'every' is part of the language, but not of this version yet");
    return spec_raise(L);
  }
  check_arguments(L, "delta", 1, 1);
  return spec_give(L, VALUE_FACTOR, factor_delta(&ld->front, spec_expr(L, 1, "delta")));
}

static int call_outer(lua_State *L) {
  struct loader *ld = spec_enter(L);
  check_arguments(L, "outer", 2, 2);
  const struct expr *b = spec_expr(L, 1, "outer"), *a = spec_expr(L, 2, "outer");
  return spec_give(L, VALUE_FACTOR, factor_outer(&ld->front, b, a));
}

static int call_fenwick(lua_State *L) {
  struct loader *ld = spec_enter(L);
  check_arguments(L, "fenwick", 1, 1);
  return spec_give(L, VALUE_MASK, mask_fenwick(&ld->front, spec_expr(L, 1, "fenwick")));
}

static int call_toeplitz(lua_State *L) {
  struct loader *ld = spec_enter(L);
  check_arguments(L, "toeplitz", 1, 1);
  return spec_give(L, VALUE_MASK, mask_toeplitz(&ld->front, spec_expr(L, 1, "toeplitz")));
}

/* window, block, first; upvalue 1 is the kind */
static int call_sized(lua_State *L) {
  const enum weight_kind kind = (enum weight_kind)lua_tointeger(L, lua_upvalueindex(1));
  struct loader *ld = spec_enter(L);
  check_arguments(L, weight_name(kind), 1, 1);
  return spec_give(L, VALUE_MASK, mask_sized(&ld->front, kind, spec_expr(L, 1, weight_name(kind))));
}

/* ---- names ---- */

static const struct {
  const char *name;
  lua_CFunction f;
  int upvalue;
} functions[] = {{"exp", call_unary, OP_EXP},
                 {"log", call_unary, OP_LOG},
                 {"sqrt", call_unary, OP_SQRT},
                 {"abs", call_unary, OP_ABS},
                 {"sigmoid", call_unary, OP_SIGMOID},
                 {"softplus", call_unary, OP_SOFTPLUS},
                 {"silu", call_unary, OP_SILU},
                 {"tanh", call_unary, OP_TANH},
                 {"relu", call_unary, OP_RELU},
                 {"elu", call_unary, OP_ELU},
                 {"sin", call_unary, OP_SIN},
                 {"cos", call_unary, OP_COS},
                 {"max", call_nary, OP_MAX},
                 {"min", call_nary, OP_MIN},
                 {"concat", call_nary, OP_CONCAT},
                 {"sum", call_row, OP_SUM},
                 {"l2norm", call_row, OP_L2NORM},
                 {"rmsnorm", call_row, OP_RMSNORM},
                 {"softmax", call_row, OP_SOFTMAX},
                 {"decay", call_decay, 0},
                 {"delta", call_delta, 0},
                 {"outer", call_outer, 0},
                 {"fenwick", call_fenwick, 0},
                 {"toeplitz", call_toeplitz, 0},
                 {"window", call_sized, WEIGHT_WINDOW},
                 {"block", call_sized, WEIGHT_BLOCK},
                 {"first", call_sized, WEIGHT_FIRST},
                 {"input", spec_input, 0},
                 {"param", spec_param, 0},
                 {"option", spec_option, 0},
                 {"variant", spec_variant, 0}};
enum { NFUNCTIONS = sizeof functions / sizeof *functions };

static const char *const other_names[] = {
    "identity", "bidirectional", "ones", "head",   "heads", "dk",   "dv",
    "qk",       "rowsum",        "o",    "levels", "taps",  "step", NULL};

static const char *const later_names[] = {"rotate", "prev", "scan", "pos", "every", NULL};

static const char *const library_names[] = {
    "_G",     "assert",   "collectgarbage", "coroutine",    "debug",
    "dofile", "error",    "getmetatable",   "io",           "ipairs",
    "load",   "math",     "next",           "os",           "pairs",
    "pcall",  "print",    "rawequal",       "rawget",       "rawlen",
    "rawset", "require",  "select",         "setmetatable", "string",
    "table",  "tonumber", "tostring",       "type",         "xpcall",
    NULL};

static bool in_list(const char *s, const char *const *list) {
  for (; *list; list++)
    if (strcmp(s, *list) == 0) return true;
  return false;
}

static const char *nearest_name(const char *word) {
  const char *names[NFUNCTIONS + sizeof other_names / sizeof *other_names];
  int n = 0;
  for (; n < NFUNCTIONS; n++) names[n] = functions[n].name;
  for (int i = 0; other_names[i]; i++) names[n++] = other_names[i];
  names[n] = NULL;
  return diag_nearest(word, names);
}

/* The name in slot 2 as messages show it; a key of another type is shown as such. */
static const char *global_name(lua_State *L, struct loader *ld, const char **ret_raw) {
  size_t len = 0;
  *ret_raw = NULL;
  if (lua_type(L, 2) != LUA_TSTRING) return "_ENV[...]";
  const char *s = lua_tolstring(L, 2, &len);
  *ret_raw = arena_strdup(ld->front.arena, s);
  const char *quoted = diag_quote(ld->front.arena, s, len);
  const size_t n = strlen(quoted);
  if (n < 2 || quoted[n - 1] != '"') return quoted;
  return arena_printf(ld->front.arena, "'%.*s'", (int)n - 2, quoted + 1);
}

static int unknown_name(lua_State *L) {
  struct loader *ld = spec_enter(L);
  struct diag *d = &ld->front.diag;
  const char *raw, *shown = global_name(L, ld, &raw);
  if (raw && in_list(raw, later_names)) {
    diag_error(d, raw, "%s is part of the language, but not of this version yet", shown);
    return spec_raise(L);
  }
  diag_error(d, raw, "unknown name %s", shown);
  const char *near = raw ? nearest_name(raw) : NULL;
  const bool plain = raw && strlen(shown) == strlen(raw) + 2;
  if (raw && in_list(raw, library_names))
    diag_note(d, "a spec declares; Lua's libraries are not there");
  else if (near)
    diag_note(d, "did you mean '%s'?", near);
  else if (plain)
    diag_note(d, "an array of the caller is input \"%s\", or param \"%s\"", raw, raw);
  return spec_raise(L);
}

static int refuse_global(lua_State *L) {
  struct loader *ld = spec_enter(L);
  const char *raw, *shown = global_name(L, ld, &raw);
  diag_error(&ld->front.diag, raw, "%s: a spec sets no globals", shown);
  diag_note(&ld->front.diag, "write local name = ...");
  return spec_raise(L);
}

/* ---- the environment ---- */

static void set_symbols(lua_State *L, struct loader *ld) {
  static const enum symbol symbols[] = {SYM_HEAD, SYM_HEADS,  SYM_DK, SYM_DV,
                                        SYM_QK,   SYM_ROWSUM, SYM_O};
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    spec_push(L, VALUE_EXPR, expr_symbol(&ld->front.exprs, symbols[i]));
    lua_setfield(L, -2, symbol_name(symbols[i]));
  }
  push_value(L, (struct value){.kind = VALUE_AXIS, .axis = AXIS_LEVELS});
  lua_setfield(L, -2, "levels");
  push_value(L, (struct value){.kind = VALUE_AXIS, .axis = AXIS_TAPS});
  lua_setfield(L, -2, "taps");
  push_value(L, (struct value){.kind = VALUE_STEP});
  lua_setfield(L, -2, "step");
  spec_push(L, VALUE_FACTOR, factor_identity(&ld->front));
  lua_setfield(L, -2, "identity");
  spec_push(L, VALUE_MASK, mask_bidirectional(&ld->front));
  lua_setfield(L, -2, "bidirectional");
  spec_push(L, VALUE_MASK, mask_ones(&ld->front));
  lua_setfield(L, -2, "ones");
}

static void set_functions(lua_State *L) {
  for (int i = 0; i < NFUNCTIONS; i++) {
    lua_pushinteger(L, functions[i].upvalue);
    lua_pushcclosure(L, functions[i].f, 1);
    lua_setfield(L, -2, functions[i].name);
  }
}

void spec_push_environment(lua_State *L) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  spec_push_metatable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_newtable(L); /* the globals stay empty, so that every assignment is seen */
  lua_createtable(L, 0, 2);
  lua_createtable(L, 0, 64); /* the names, out of the spec's reach */
  set_functions(L);
  set_symbols(L, ld);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, unknown_name);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, refuse_global);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
}
