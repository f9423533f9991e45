/* SPDX-License-Identifier: MIT
 * describe.c - what the compiler understood, as update equations of the state S (dk x dv).
 *
 *   gdn2: Gated DeltaNet-2: erase gate b over dk, write gate w over dv
 *     S <- diag(exp(g)) S
 *     S <- (I - l2norm(k) (sigmoid(b) * l2norm(k))') S
 *     S <- S + l2norm(k) (sigmoid(w) * v)'
 *     o = dk^-0.5 S' l2norm(q)
 */
#include "front.h"

#include <math.h>
#include <string.h>

/* A product or sum in parentheses, anything else bare. */
static void put_factor(struct buf *out, const struct expr *e) {
  const bool open =
      e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MUL || e->op == OP_DIV || e->op == OP_NEG;
  if (open) buf_puts(out, "(");
  expr_print(out, e);
  if (open) buf_puts(out, ")");
}

/* A branch is told by its state where it has a matrix, else by its cache of keys and values. */
static bool has_matrix(const struct branch *b) {
  bool matrix = b->linear;
  for (int i = 0; i < b->nweights; i++)
    matrix &= b->weights[i].kind == WEIGHT_DECAY || b->weights[i].kind == WEIGHT_FENWICK;
  return matrix;
}

/* ---- transition ---- */

/* " + b a'" with the minus of b in front */
static void put_lowrank(struct buf *out, const struct lowrank *low) {
  const bool minus = low->b->op == OP_NEG;
  buf_puts(out, minus ? " - " : " + ");
  put_factor(out, minus ? low->b->arg[0] : low->b);
  buf_puts(out, " ");
  put_factor(out, low->a);
  buf_puts(out, "'");
}

static void put_diagonal(struct buf *out, const struct expr *w) {
  if (w->axis) buf_puts(out, "diag(");
  if (w->axis)
    expr_print(out, w);
  else
    put_factor(out, w);
  if (w->axis) buf_puts(out, ")");
}

/* "(I - beta k k')" */
static void put_matrix(struct buf *out, const struct factor *f, const struct branch *b) {
  const bool sum = f->kind != FACTOR_DECAY;
  if (sum) buf_puts(out, "(");
  if (f->diag)
    put_diagonal(out, f->diag);
  else
    buf_puts(out, "I");
  if (f->kind == FACTOR_DELTA) {
    buf_puts(out, " - ");
    put_factor(out, f->beta);
    buf_puts(out, " ");
    put_factor(out, b->k);
    buf_puts(out, " ");
    put_factor(out, b->k);
    buf_puts(out, "'");
  }
  for (int i = 0; i < f->nlow; i++) put_lowrank(out, &f->low[i]);
  if (sum) buf_puts(out, ")");
}

static void put_transition(struct buf *out, const struct factor *f, const struct branch *b) {
  const bool matrix = has_matrix(b), right = f->right && matrix;
  const char *name = matrix ? "S" : f->right ? "v[s]" : "k[s]";
  buf_printf(out, "  %s <- %s", name, right ? "S " : "");
  put_matrix(out, f, b);
  if (!right) buf_printf(out, " %s", name);
  if (!matrix) buf_puts(out, " for all s < t");
}

static void put_transitions(struct buf *out, const struct variant *v, const struct branch *b) {
  for (int i = 0; i < b->nweights; i++) { /* M[t,s] has the decay of t: it acts first */
    if (!has_matrix(b) || b->weights[i].kind != WEIGHT_DECAY) continue;
    buf_puts(out, "  S <- ");
    put_factor(out, b->weights[i].expr);
    buf_puts(out, " S\n");
  }
  for (int i = 0; i < b->nfactors; i++) {
    put_transition(out, &b->factors[i], b);
    if (v->steps) buf_puts(out, b->factors[i].step ? "   at every step" : "   at the first step");
    buf_puts(out, "\n");
  }
  if (!has_matrix(b)) return;
  buf_puts(out, "  S <- S + ");
  put_factor(out, b->k);
  buf_puts(out, " ");
  put_factor(out, b->v);
  buf_puts(out, v->steps ? "'   at every step\n" : "'\n");
}

/* ---- mask and score ---- */

/* "6", or "window = 6" of an option */
static void put_size(struct buf *out, const struct expr *e) {
  if (e->op == OP_OPTION) buf_printf(out, "%s = ", e->option);
  buf_number(out, e->value, 7);
}

static void put_weight(struct buf *out, const struct weight *w) {
  const bool sized = w->kind == WEIGHT_WINDOW || w->kind == WEIGHT_BLOCK || w->kind == WEIGHT_FIRST;
  if (w->kind == WEIGHT_OR || w->kind == WEIGHT_AND) {
    buf_puts(out, "(");
    put_weight(out, w->arg[0]);
    buf_printf(out, " %s ", weight_name(w->kind));
    put_weight(out, w->arg[1]);
    buf_puts(out, ")");
  } else if (w->kind == WEIGHT_NOT) {
    buf_puts(out, "~");
    put_weight(out, w->arg[0]);
  } else {
    buf_puts(out, weight_name(w->kind));
    if (!w->expr) return;
    buf_puts(out, "(");
    if (sized)
      put_size(out, w->expr);
    else
      expr_print(out, w->expr);
    buf_puts(out, ")");
  }
}

static void put_scaled(struct buf *out, const struct branch *b, const char *state) {
  const bool one = b->scale->op == OP_CONST && b->scale->value == 1;
  if (!one) put_factor(out, b->scale);
  buf_printf(out, "%s%s", one ? "" : " ", state);
}

/* o = scale S' q, of the sum of the levels' states under fenwick */
static void put_state_read(struct buf *out, const struct branch *b) {
  const struct weight *fenwick = NULL;
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].kind == WEIGHT_FENWICK) fenwick = &b->weights[i];
  put_scaled(out, b, fenwick ? "(sum over levels of " : "S' ");
  if (fenwick) {
    put_factor(out, fenwick->expr);
    buf_puts(out, " S)' ");
  }
  put_factor(out, b->q);
}

/* o = sum over s of f(qk) * M * v[s] */
static void put_cache_read(struct buf *out, const struct branch *b) {
  const bool sum = b->score->op == OP_ADD || b->score->op == OP_SUB;
  buf_puts(out, sum ? "sum over s of (" : "sum over s of ");
  expr_print(out, b->score);
  if (sum) buf_puts(out, ")");
  for (int i = 0; i < b->nweights; i++) {
    buf_puts(out, " * ");
    put_weight(out, &b->weights[i]);
  }
  buf_puts(out, " * v[s]");
  if (!expr_uses(b->score, SYM_QK)) return;
  buf_puts(out, ", qk = ");
  put_scaled(out, b, "");
  put_factor(out, b->q);
  buf_puts(out, "' k[s]");
}

static void put_role(struct buf *out, const char *name, const struct expr *e) {
  if (e->leaf && strcmp(e->leaf->name, name) == 0) return;
  buf_printf(out, "  %s = ", name);
  expr_print(out, e);
  buf_puts(out, "\n");
}

static void put_read(struct buf *out, const struct branch *b) {
  if (!has_matrix(b) && expr_uses(b->score, SYM_QK)) put_role(out, "k", b->k);
  if (!has_matrix(b)) put_role(out, "v", b->v);
  buf_puts(out, "  o = ");
  if (has_matrix(b))
    put_state_read(out, b);
  else
    put_cache_read(out, b);
  if (b->read_before) buf_puts(out, ", before the token's own update");
  buf_puts(out, "\n");
}

/* ---- names ---- */

static void put_class(struct buf *out, const struct branch *b) {
  static const char *const decays[] = {"none", "constant", "scalar", "channel"};
  static const char *const deltas[] = {"plain", "delta rule", "delta form", "low rank"};
  const char *decay = b->decay == DECAY_NONE && b->value_decay ? "over dv" : decays[b->decay];
  const bool both = b->decay != DECAY_NONE && b->value_decay;
  buf_printf(out, "  decay %s%s, %s, %s, ", decay, both ? " and over dv" : "", deltas[b->delta],
             b->fenwick ? "fenwick" : "flat");
  if (b->linear)
    buf_puts(out, "score linear");
  else if (b->degree >= 0)
    buf_printf(out, "score of degree %d", b->degree);
  else
    buf_puts(out, "score not polynomial");
  if (b->log_write) {
    buf_puts(out, ", running maximum of ");
    expr_print(out, b->log_write);
  }
  buf_puts(out, "\n");
}

/* The logarithms that the kernels work with, where they are not plain to see. */
static void put_logs(struct buf *out, const struct branch *b) {
  for (int i = 0; i < b->nfactors + b->nweights; i++) {
    const bool factor = i < b->nfactors;
    const struct expr *log = factor ? b->factors[i].log : b->weights[i - b->nfactors].log;
    const struct expr *w = factor ? b->factors[i].diag : b->weights[i - b->nfactors].expr;
    if (!log || w->op == OP_EXP || log->op == OP_LOG) continue;
    buf_puts(out, "  log(");
    expr_print(out, w);
    buf_puts(out, ") = ");
    expr_print(out, log);
    buf_puts(out, "\n");
  }
}

static void put_branch(struct buf *out, const struct variant *v, int i) {
  const struct branch *b = &v->branches[i];
  if (v->nbranches > 1) buf_printf(out, "  branch %d\n", i + 1);
  put_transitions(out, v, b);
  put_read(out, b);
  put_logs(out, b);
  put_class(out, b);
}

static void put_bounds(struct buf *out, const struct leaf *l) {
  if (l->min > -INFINITY) {
    buf_puts(out, ", at least ");
    buf_number(out, l->min, 6);
  }
  if (l->max < INFINITY) {
    buf_puts(out, ", at most ");
    buf_number(out, l->max, 6);
  }
}

/* "  g [B,T,H] fp32, at most 0" */
static void put_leaves(struct buf *out, const struct variant *v) {
  for (int i = 0; i < v->nleaves; i++) {
    const struct leaf *l = v->leaves[i];
    buf_printf(out, "  %s %s [%s%s%s%s]", l->param ? "param" : "input", l->name,
               l->param ? "" : "B,T,", l->step ? "steps," : "", l->axis ? "H," : "H",
               l->axis ? axis_name(l->axis) : "");
    if (l->fp32) buf_puts(out, " fp32");
    put_bounds(out, l);
    buf_puts(out, "\n");
  }
}

/* "  option window = 64, by default 512" */
static void put_options(struct buf *out, const struct variant *v) {
  for (int i = 0; i < v->noptions; i++) {
    const struct spec_option *o = &v->options[i];
    buf_printf(out, "  option %s = %d", o->name, o->value);
    if (o->value != o->default_value) buf_printf(out, ", by default %d", o->default_value);
    buf_puts(out, "\n");
  }
}

void variant_describe(struct buf *out, const struct variant *v) {
  buf_puts(out, v->name);
  if (v->about && *v->about) {
    buf_puts(out, ": ");
    diag_put_clean(out, v->about, strlen(v->about));
  }
  buf_puts(out, "\n");
  if (v->steps) {
    buf_puts(out, "  steps a token: ");
    put_size(out, v->steps);
    buf_puts(out, "\n");
  }
  for (int i = 0; i < v->nbranches; i++) put_branch(out, v, i);
  if (v->nbranches > 1) buf_puts(out, "  o <- the sum of the branches\n");
  if (v->normaliser) {
    buf_puts(out, "  o <- o / ");
    put_factor(out, v->normaliser);
    buf_puts(out, ", rowsum = o of v = 1\n");
  }
  if (v->output) {
    buf_puts(out, "  o <- ");
    expr_print(out, v->output);
    buf_puts(out, "\n");
  }
  put_leaves(out, v);
  put_options(out, v);
}
