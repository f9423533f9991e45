/* SPDX-License-Identifier: MIT
 * delta_form.c - a transition with one low-rank term as write, erase and an erase vector. See
 * schedule_delta.h.
 */
#include "schedule_delta.h"

static const struct expr minus_one = {.op = OP_CONST, .width = 1, .lo = -1, .hi = -1, .value = -1};

static bool is_minus_one(const struct expr_term *t) {
  return t->e->op == OP_CONST && t->e->value == -1;
}

/* One more factor of erase; a second minus sign takes the first away. */
static void multiply(struct delta_form *f, struct expr_term term) {
  for (int i = 0; i < f->nterms; i++)
    if (is_minus_one(&term) && is_minus_one(&f->terms[i])) {
      f->terms[i] = f->terms[--f->nterms];
      return;
    }
  f->terms[f->nterms++] = term;
}

static void multiply_all(struct delta_form *f, const struct role *role) {
  for (int i = 0; i < role->nterms; i++) multiply(f, role->terms[i]);
}

static bool same_vector(const struct role *x, const struct role *y) {
  return x->leaf == y->leaf && x->row == y->row;
}

/* delta(beta): I - beta k k'. */
static const char *delta_rule(const struct factor *low, struct delta_form *ret) {
  ret->vector = ret->roles.k;
  multiply_all(ret, &ret->roles.k);
  multiply_all(ret, &ret->roles.k);
  multiply(ret, (struct expr_term){low->beta, false});
  return NULL;
}

/* diag + b a', with b along k: S + b a' S is S - K u', of which erase E' S is -(b / K) a' S. */
static const char *own_vector(const struct factor *low, struct arena *a, struct delta_form *ret) {
  struct role along;
  const struct role *k = &ret->roles.k;
  const char *what = scan_split_key("transition", low->low[0].b, k, a, &along);
  if (!what) what = scan_split_key("transition", low->low[0].a, k, a, &ret->vector);
  if (what) return what;
  if (!same_vector(&along, k)) return "slot transition: outer(b, a) with b not scalars times k";
  multiply_all(ret, &along);
  multiply_all(ret, &ret->vector);
  multiply(ret, (struct expr_term){&minus_one, false});
  return NULL;
}

static const struct factor *low_rank_factor(const struct branch *b) {
  int i = 0;
  while (b->factors[i].kind != FACTOR_DELTA && b->factors[i].nlow == 0) i++;
  return &b->factors[i];
}

const char *delta_form_of(const struct branch *b, struct arena *a, struct delta_form *ret) {
  const struct factor *low = low_rank_factor(b);
  *ret = (struct delta_form){.decayed_with = low->diag ? low : NULL};
  const char *what = scan_roles_split(b, a, &ret->roles);
  if (what) return what;
  return low->kind == FACTOR_DELTA ? delta_rule(low, ret) : own_vector(low, a, ret);
}

const char *delta_vector_tile(const struct delta_form *f) {
  if (same_vector(&f->vector, &f->roles.k)) return "k";
  return same_vector(&f->vector, &f->roles.q) ? "q" : "e";
}
