/* SPDX-License-Identifier: MIT
 * spec_operator.c - what the operators of Lua do with the values of a spec: the metatable that they
 * all share. An operator looks at the kinds of both sides; what it does not take it refuses, saying
 * why.
 */
#include "spec_lua.h"

#include <string.h>

static const void *pointer(lua_State *L, int index, enum value_kind kind) {
  const struct value *v = spec_value(L, index);
  return v && v->kind == kind ? v->p : NULL;
}

static bool is_expr(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TNUMBER || pointer(L, index, VALUE_EXPR);
}

static int refuse_operands(lua_State *L, const char *op) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  struct diag *d = &ld->front.diag;
  const bool factor = pointer(L, 1, VALUE_FACTOR) || pointer(L, 2, VALUE_FACTOR);
  const bool mask = pointer(L, 1, VALUE_MASK) || pointer(L, 2, VALUE_MASK);
  diag_error(d, op, "'%s' does not take %s and %s", op, spec_kind(L, 1), spec_kind(L, 2));
  if (mask)
    diag_note(d, "masks are joined by '*', yes/no masks by '|', '&' and '~'");
  else if (factor && strcmp(op, "*") == 0)
    diag_note(d, "a scalar goes inside: decay(a * b), outer(beta * k, k)");
  else if (factor)
    diag_note(d, "a factor is decay(w) or identity, plus or minus outer(b, a)");
  return spec_raise(L);
}

/* decay(a) * decay(b) is a mask; anything with a matrix in it has an order. */
static int multiply_factors(lua_State *L, struct loader *ld, const struct draft_factor *a,
                            const struct draft_factor *b) {
  struct diag *d = &ld->front.diag;
  if (a->factor.kind != FACTOR_DECAY || b->factor.kind != FACTOR_DECAY) {
    diag_error(d, "*", "the factors of a transition do not commute, and have no '*'");
    diag_note(d, "list them in the order they act: transition = { decay(a), delta(b) }");
    d->before = expr_word(b->factor.beta ? b->factor.beta : b->factor.diag);
    return spec_raise(L);
  }
  const struct draft_mask *x = mask_decay(&ld->front, a), *y = mask_decay(&ld->front, b);
  return spec_give(L, VALUE_MASK, mask_product(&ld->front, x, y));
}

static const struct draft_mask *as_mask(lua_State *L, struct loader *ld, int index) {
  const struct draft_factor *f = pointer(L, index, VALUE_FACTOR);
  if (!f) return pointer(L, index, VALUE_MASK);
  const struct draft_mask *m = mask_decay(&ld->front, f);
  if (!m) spec_raise(L);
  return m;
}

static int operate_binary(lua_State *L) {
  const enum op op = (enum op)lua_tointeger(L, lua_upvalueindex(1));
  struct loader *ld = spec_enter(L);
  if (is_expr(L, 1) && is_expr(L, 2)) {
    const struct expr *a = spec_expr(L, 1, op_name(op)), *b = spec_expr(L, 2, op_name(op));
    return spec_give(L, VALUE_EXPR, expr_binary(&ld->front.exprs, op, a, b));
  }
  const struct draft_factor *a = pointer(L, 1, VALUE_FACTOR), *b = pointer(L, 2, VALUE_FACTOR);
  const bool mask = pointer(L, 1, VALUE_MASK) || pointer(L, 2, VALUE_MASK);
  if (a && b && (op == OP_ADD || op == OP_SUB))
    return spec_give(L, VALUE_FACTOR, factor_add(&ld->front, a, b, op == OP_SUB));
  if (a && b && op == OP_MUL) return multiply_factors(L, ld, a, b);
  if (mask && op == OP_MUL) {
    const struct draft_mask *x = as_mask(L, ld, 1), *y = as_mask(L, ld, 2);
    if (x && y) return spec_give(L, VALUE_MASK, mask_product(&ld->front, x, y));
  }
  return refuse_operands(L, op_name(op));
}

static int operate_minus(lua_State *L) {
  struct loader *ld = spec_enter(L);
  if (is_expr(L, 1))
    return spec_give(L, VALUE_EXPR, expr_unary(&ld->front.exprs, OP_NEG, spec_expr(L, 1, "-")));
  lua_settop(L, 1);
  diag_error(&ld->front.diag, "-", "'-' does not take %s", spec_kind(L, 1));
  return spec_raise(L);
}

/* | & ~; upvalue 1 is the kind */
static int operate_logic(lua_State *L) {
  const enum weight_kind kind = (enum weight_kind)lua_tointeger(L, lua_upvalueindex(1));
  struct loader *ld = spec_enter(L);
  const struct draft_mask *a = pointer(L, 1, VALUE_MASK), *b = pointer(L, 2, VALUE_MASK);
  if (kind == WEIGHT_NOT && a)
    return spec_give(L, VALUE_MASK, mask_logic(&ld->front, kind, a, NULL));
  if (a && b) return spec_give(L, VALUE_MASK, mask_logic(&ld->front, kind, a, b));
  diag_error(&ld->front.diag, weight_name(kind),
             "'%s' joins yes/no masks (window, block, first); got %s", weight_name(kind),
             spec_kind(L, a ? 2 : 1));
  return spec_raise(L);
}

/* What a spec cannot do with its values; upvalue 1 says it. */
static int refuse(lua_State *L) {
  struct loader *ld = spec_enter(L);
  diag_error(&ld->front.diag, NULL, "%s", lua_tostring(L, lua_upvalueindex(1)));
  diag_note(&ld->front.diag, "a spec declares; it does not compute or branch on its values");
  return spec_raise(L);
}

static int refuse_index(lua_State *L) {
  struct loader *ld = spec_enter(L);
  const bool string = lua_type(L, 2) == LUA_TSTRING;
  size_t len = 0;
  const char *key = string ? lua_tolstring(L, 2, &len) : NULL;
  diag_error(&ld->front.diag, NULL, "%s has no fields%s%s", spec_kind(L, 1), key ? ", and no " : "",
             key ? diag_quote(ld->front.arena, key, len) : "");
  return spec_raise(L);
}

void spec_push_metatable(lua_State *L) {
  static const struct {
    const char *event;
    lua_CFunction f;
    int upvalue;
  } operators[] = {{"__add", operate_binary, OP_ADD},    {"__sub", operate_binary, OP_SUB},
                   {"__mul", operate_binary, OP_MUL},    {"__div", operate_binary, OP_DIV},
                   {"__pow", operate_binary, OP_POW},    {"__unm", operate_minus, 0},
                   {"__bor", operate_logic, WEIGHT_OR},  {"__band", operate_logic, WEIGHT_AND},
                   {"__bnot", operate_logic, WEIGHT_NOT}};
  static const char *const refused[][2] = {
      {"__lt", "expressions cannot be compared"},
      {"__le", "expressions cannot be compared"},
      {"__eq", "expressions cannot be compared"},
      {"__concat", "'..' joins strings, and expressions are none; concat(a, b) joins vectors"},
      {"__len", "'#': the length of an axis is not known to a spec; dk and dv are numbers"},
      {"__mod", "'%' is no operation of a spec"},
      {"__idiv", "'//' is no operation of a spec"},
      {"__shl", "'<<' is no operation of a spec"},
      {"__shr", "'>>' is no operation of a spec"},
      {"__bxor", "'~' between two values is no operation of a spec"},
      {"__call", "this is no function; is an operator missing?"},
      {"__newindex", "a value of a spec cannot be changed"}};
  lua_createtable(L, 0, 24);
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
    lua_pushinteger(L, operators[i].upvalue);
    lua_pushcclosure(L, operators[i].f, 1);
    lua_setfield(L, -2, operators[i].event);
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    lua_pushstring(L, refused[i][1]);
    lua_pushcclosure(L, refuse, 1);
    lua_setfield(L, -2, refused[i][0]);
  }
  lua_pushcfunction(L, refuse_index);
  lua_setfield(L, -2, "__index");
}
