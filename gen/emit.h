/* SPDX-License-Identifier: MIT
 * emit.h - from a plan to source text: what every schedule emits with.
 *
 * A template is rendered from slots, a table of Lua text that a person can read:
 *
 *   return {
 *   dk = 128, dv = 128, chunk = 64, entry = "simple_gla_forward",
 *   arrays = { { type = "const bf16", field = "q", comment = "q [B,T,H,dk]" }, ... },
 *   decay = { inputs = { { field = "in_g" } }, value = "gate.in_g", ... },
 *   }
 *
 * emit.c writes what all templates have: the head of the file, the sizes, the arrays. The plan's
 * schedule adds its arrays and its own slots (struct schedule, slots).
 */
#ifndef MKC_EMIT_H
#define MKC_EMIT_H

#include "plan.h"

/* Different leaves, in the order of the variant's. */
struct leaf_list {
  const struct leaf *at[OP_MAX_ARRAYS];
  int n; /* OP_MAX_ARRAYS: full, and perhaps not all are here */
};
void leaf_list_add(struct leaf_list *list, const struct leaf *leaf);

/* ---- emit.c ---- */

/* One op on its way from plan to source. */
struct emission {
  const struct variant *v;
  const struct plan *plan;
  struct arena *arena;
  struct op_source *out; /* arrays are added here and to the slots at once */
  struct buf arrays, slots;
  bool too_many; /* arrays */
};

/* An array of the op, in the order of the kernel's arguments. field: its name in the kernel. */
void emit_array(struct emission *e, const char *field, struct op_array x);
struct op_array emit_array_of(const char *name, const char *axes, mkc_dtype dtype, int align);

/* key = "value", */
void emit_string(struct buf *out, const char *key, const char *value);
/* "x" with Lua's escapes */
void lua_quote(struct buf *out, const char *s);

/* Renders the plan's template. *ret owns its text.
 * Errors: MKC_E_NO_SCHEDULE (more arrays than an op can take), MKC_E_INTERNAL. */
mkc_status emit_op(const struct variant *v, const struct plan *plan, struct arena *a,
                   struct op_source *ret, struct error *err);

/* ---- expr_code.c ---- */

/* NULL if a kernel can compute this expression for a token and a head, and for a channel where axis
 * is AXIS_DV; else what it cannot ("sum", "a value over channels"). */
const char *expr_not_emitted(const struct expr *e, enum axis axis);
/* The same for a kernel that computes a value token by token, with all that the token and the head
 * have at hand, and reductions over the token's channels. */
const char *expr_not_emitted_by_token(const struct expr *e, enum axis axis);

/* What a set of expressions reads, and their values as C text. */
struct expr_code {
  struct leaf_list leaves;
  bool uses_head, uses_heads, uses_o, uses_rowsum;
  unsigned rows;    /* bit i: reads the reduction row<i> */
  struct buf steps; /* Lua list of the shared nodes: { name = "e4", text = "...", line = 3 }, */
  struct buf value; /* C text of the sum of the expressions */
  bool atom;        /* the value needs no parentheses as an operand */
  int line;         /* of the spec */
};

enum expr_join { JOIN_SUM, JOIN_PRODUCT };

struct expr_term {
  const struct expr *e;
  bool inverse; /* of a product: divides */
};

/* C text in fp32 of the sum or product of n >= 1 terms; numbers, dk and dv are folded in float64.
 * Inputs print as gate.in_NAME, params as per_head.param_NAME, those over channels as in_NAME and
 * param_NAME, o and rowsum as they are. expr_code_finish frees the text. */
void expr_code(const struct expr_term *terms, int n, enum expr_join join,
               const struct gen_config *config, struct arena *a, struct expr_code *ret);
void expr_code_finish(struct expr_code *code);

/* Nodes over the channels of a token, one for each of their reductions: row<i> is that of node[i]
 * (a softmax has two, the maximum and then the sum). */
enum { ROW_MAX = 8 };
struct row_names {
  int n;
  const struct expr *node[ROW_MAX];
};
/* The same for expressions with such nodes; names has them all. */
void expr_code_row(const struct expr_term *terms, int n, enum expr_join join,
                   const struct row_names *names, const struct gen_config *config, struct arena *a,
                   struct expr_code *ret);

/* key = { text = .., inputs = .., channels = .., rows = .., per_head = .., steps = .., value = ..,
 * atom = .., line = .. },
 * text: the expression as the spec has it, for a comment. */
void emit_code(struct buf *out, const char *key, const struct expr_code *code, const char *text);
/* key = { { field = "in_g", fp32 = true }, ... }, the scalars of a token among the leaves */
void emit_inputs(struct buf *out, const char *key, const struct leaf_list *leaves);

#endif
