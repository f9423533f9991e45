/* SPDX-License-Identifier: MIT
 * emit.h - from a plan to source text.
 */
#ifndef MKC_EMIT_H
#define MKC_EMIT_H

#include "plan.h"

/* NULL if a kernel can compute this expression for a token and a head; else what it cannot
 * ("sum", "a leaf over dk"). */
const char *expr_not_emitted(const struct expr *e);

/* What a set of expressions reads, and their values as C text. */
struct expr_code {
  const struct leaf *leaves[OP_MAX_ARRAYS]; /* in the order of the variant's leaves */
  int nleaves;
  bool uses_head, uses_heads;
  struct buf steps; /* Lua list of the shared nodes: { { name = "e4", text = "...", line = 3 }, } */
  struct buf value; /* C text of the sum of the expressions */
  bool atom;        /* the value needs no parentheses as an operand */
  int line;         /* of the spec */
};

/* C text in fp32 of e[0] + ... + e[n-1]; numbers, dk and dv are folded in float64. Inputs print as
 * gate.in_NAME, params as per_head.param_NAME. expr_code_finish frees the text. */
void expr_code(const struct expr *const *e, int n, const struct gen_config *config,
               struct arena *a, struct expr_code *ret);
void expr_code_finish(struct expr_code *code);

/* "x" with Lua's escapes */
void lua_quote(struct buf *out, const char *s);

/* Renders the plan's template. *ret owns its text. */
mkc_status emit_op(const struct variant *v, const struct plan *plan, struct arena *a,
                   struct op_source *ret, struct error *err);

#endif
