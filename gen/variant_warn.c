/* SPDX-License-Identifier: MIT
 * variant_warn.c - what is no error, but worth knowing: a transition that may grow, a quadratic
 * cost, an input that nothing uses.
 */
#include "front.h"

#include <math.h>

static void warn(struct checker *k, int line, const char *message) {
  struct variant *v = k->variant;
  struct arena *a = k->front->arena;
  const char **all = arena_array(a, const char *, v->nwarnings + 1);
  for (int i = 0; i < v->nwarnings; i++) all[i] = v->warnings[i];
  all[v->nwarnings++] = arena_printf(a, "%s:%d: warning: %s", v->path, line, message);
  v->warnings = all;
}

static const char *text(struct checker *k, const struct expr *e) {
  return expr_text(&k->front->exprs, e);
}

/* ---- growth of the state ---- */

/* I - beta k k^T has the eigenvalue 1 - beta |k|^2, which must stay in [-1, 1]. */
static void warn_delta(struct checker *k, const struct branch *b, const struct factor *f) {
  const double norm = expr_norm(b->k);
  const char *why = NULL;
  struct arena *a = k->front->arena;
  if (f->beta->lo < 0)
    why = arena_printf(a, "the rate %s may be negative", text(k, f->beta));
  else if (isinf(norm))
    why = arena_printf(a, "k = %s is not known to have norm 1; l2norm(k) has", text(k, b->k));
  else if (f->beta->hi * norm * norm > 2)
    why = arena_printf(a, "the rate %s may exceed 2/|k|^2", text(k, f->beta));
  if (why) warn(k, f->line, arena_printf(a, "delta may make the state grow: %s", why));
}

/* diag(w) - s u u^T is symmetric; its eigenvalues stay in [-1, 1] for w in [0, 1] and s |u|^2 in
 * [0, 1], or [0, 2] for w = 1. Nothing else is known to contract. */
static bool contracts(const struct factor *f) {
  if (f->nlow == 0) return true;
  const struct expr *b = f->low[0].b, *a = f->low[0].a;
  if (f->nlow > 1 || !expr_parallel(b, a)) return false;
  if (expr_scalar_sign(b) * expr_scalar_sign(a) != -1) return false;
  return expr_norm(b) * expr_norm(a) <= (f->diag ? 1 : 2);
}

static void warn_general(struct checker *k, const struct factor *f) {
  if (contracts(f)) return;
  const struct lowrank *low = &f->low[0];
  const bool minus = low->b->op == OP_NEG;
  warn(k, f->line,
       arena_printf(k->front->arena,
                    "the transition may make the state grow: %s %s outer(%s, %s)%s is not known to "
                    "contract",
                    f->diag ? "decay(...)" : "identity", minus ? "-" : "+",
                    text(k, minus ? low->b->arg[0] : low->b), text(k, low->a),
                    f->nlow > 1 ? " and more" : ""));
}

/* ---- cost ---- */

/* Each token has a bounded number of partners. */
static bool is_narrow(const struct weight *w) {
  switch (w->kind) {
  case WEIGHT_WINDOW:
  case WEIGHT_BLOCK:
  case WEIGHT_FIRST:
  case WEIGHT_TOEPLITZ: return true;
  case WEIGHT_OR: return is_narrow(w->arg[0]) && is_narrow(w->arg[1]);
  case WEIGHT_AND: return is_narrow(w->arg[0]) || is_narrow(w->arg[1]);
  default: return false;
  }
}

static void warn_cost(struct checker *k, const struct branch *b) {
  struct arena *a = k->front->arena;
  const char *why = NULL;
  for (int i = 0; i < b->nweights; i++)
    if (is_narrow(&b->weights[i])) return;
  const bool matrices = b->delta != DELTA_PLAIN || b->decay == DECAY_CHANNEL;
  if (b->degree < 0)
    why = "is no polynomial in qk";
  else if (b->degree > 1 && matrices)
    why = "does not expand under a transition over dk";
  if (!why) return;
  warn(k, b->score->line ? b->score->line : b->line,
       arena_printf(a, "quadratic in T, with a cache of every token for decoding: score %s %s",
                    text(k, b->score), why));
}

/* ---- leaves ---- */

static void mark(void *data, const struct leaf *leaf) {
  ((bool *)data)[leaf->index] = true;
}

static void warn_unused(struct checker *k) {
  const struct front *f = k->front;
  bool used[MAX_LEAVES] = {false};
  variant_each_leaf(k->variant, mark, used);
  for (int i = 0; i < f->nleaves; i++) {
    if (used[i]) continue;
    const char *leaf = leaf_text(f->arena, f->leaves[i], NULL);
    warn(k, f->leaves[i]->line, arena_printf(f->arena, "%s is never used", leaf));
  }
}

void check_warnings(struct checker *k) {
  for (int i = 0; i < k->variant->nbranches; i++) {
    const struct branch *b = &k->variant->branches[i];
    for (int j = 0; j < b->nfactors; j++) {
      if (b->factors[j].kind == FACTOR_DELTA)
        warn_delta(k, b, &b->factors[j]);
      else
        warn_general(k, &b->factors[j]);
    }
    warn_cost(k, b);
  }
  warn_unused(k);
}
