/* SPDX-License-Identifier: MIT
 * variant.c - from the fields of `variant { }` to the checked struct variant.
 *
 * In: a draft, the fields as the spec wrote them. Out: the variant, classified, with its leaves and
 * warnings; or NULL and the first error in front->diag. The order of the checks: the fields of the
 * variant, each branch (roles, score, transition, mask), then what ties them together.
 */
#include "front.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const field_names[] = {"name",   "about",      "q",     "k",        "v",
                                   "scale",  "transition", "mask",  "score",    "normaliser",
                                   "output", "read",       "steps", "branches", NULL};

bool field_in_branch(enum field field) {
  return field >= FIELD_Q && field != FIELD_NORMALISER && field != FIELD_OUTPUT &&
         field != FIELD_STEPS && field != FIELD_BRANCHES;
}

bool check_failed(struct checker *k, enum field field, const char *fmt, ...) {
  struct diag *d = &k->front->diag;
  if (d->message) return false;
  va_list ap;
  va_start(ap, fmt);
  char text[640];
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  diag_error(d, "variant", "%s", text);
  d->line = k->draft->line;
  d->field = field_names[field];
  d->branch = k->branch;
  return false;
}

static const char *text(struct checker *k, const struct expr *e) {
  return expr_text(&k->front->exprs, e);
}

static const char *shape(struct checker *k, const struct expr *e) {
  return expr_shape(&k->front->exprs, e);
}

bool check_symbols(struct checker *k, const struct expr *e, enum field field, const char *word) {
  static const struct {
    enum symbol symbol;
    enum field field;
  } homes[] = {{SYM_QK, FIELD_SCORE}, {SYM_ROWSUM, FIELD_NORMALISER}, {SYM_O, FIELD_OUTPUT}};
  for (int i = 0; i < 3; i++) {
    if (field == homes[i].field || !expr_uses(e, homes[i].symbol)) continue;
    check_failed(k, field, "%s: '%s' is not known here", word, symbol_name(homes[i].symbol));
    diag_note(&k->front->diag, "qk is known in score, rowsum in normaliser, o in output");
    return false;
  }
  if (e->step && !k->draft->steps) {
    check_failed(k, field, "%s: %s varies over step, but the variant has no steps", word,
                 text(k, e));
    diag_note(&k->front->diag, "say steps = n, or leave step out");
    return false;
  }
  return true;
}

/* ---- roles ---- */

/* What q, k or v is when it is left out: the input of that name. */
static const struct expr *default_role(struct checker *k, enum field field, enum axis axis) {
  struct front *f = k->front;
  const char *name = field_names[field];
  for (int i = 0; i < f->nleaves; i++) {
    const struct leaf *l = f->leaves[i];
    if (strcmp(l->name, name) != 0) continue;
    if (!l->param && l->axis == axis && !l->step) return expr_leaf(&f->exprs, l);
    check_failed(k, field, "%s is left out, so it is input { \"%s\", %s }; but line %d has %s",
                 name, name, axis_name(axis), l->line, leaf_text(f->arena, l, NULL));
    return NULL;
  }
  const struct leaf l = {.name = name, .axis = axis, .min = -INFINITY, .max = INFINITY};
  return front_leaf(f, &l);
}

static const struct expr *check_role(struct checker *k, const struct expr *e, enum field field,
                                     enum axis axis) {
  if (!e) e = default_role(k, field, axis);
  if (!e || !check_symbols(k, e, field, field_names[field])) return NULL;
  if (e->axis && e->axis != axis) {
    check_failed(k, field, "%s must vary over %s; %s is %s", field_names[field], axis_name(axis),
                 text(k, e), shape(k, e));
    return NULL;
  }
  return e;
}

static bool check_roles(struct checker *k, const struct draft_branch *d, struct branch *b) {
  b->q = check_role(k, d->q, FIELD_Q, AXIS_DK);
  b->k = b->q ? check_role(k, d->k, FIELD_K, AXIS_DK) : NULL;
  b->v = b->k ? check_role(k, d->v, FIELD_V, AXIS_DV) : NULL;
  if (!b->v) return false;
  if (b->q->step)
    return check_failed(k, FIELD_Q, "q is read once a token, after its steps; %s varies over step",
                        text(k, b->q));
  if (b->q->axis && b->k->axis && b->q->width != b->k->width)
    return check_failed(k, FIELD_Q, "q is %s and k is %s", shape(k, b->q), shape(k, b->k));
  if (b->v->width > 1)
    return check_failed(k, FIELD_V, "v is %s; it must be as wide as the output", shape(k, b->v));
  k->width = b->k->axis ? b->k->width : b->q->axis ? b->q->width : 0;
  return true;
}

static bool check_scale(struct checker *k, const struct draft_branch *d, struct branch *b) {
  b->scale = d->scale ? d->scale : expr_const(&k->front->exprs, 1);
  if (!check_symbols(k, b->scale, FIELD_SCALE, "scale")) return false;
  if (!b->scale->axis && !b->scale->token) return true;
  check_failed(k, FIELD_SCALE, "scale is one number for the whole op; %s is not",
               text(k, b->scale));
  diag_note(&k->front->diag, "a factor of one token belongs into q");
  return false;
}

static bool check_score(struct checker *k, const struct draft_branch *d, struct branch *b) {
  b->score = d->score ? d->score : expr_symbol(&k->front->exprs, SYM_QK);
  if (!check_symbols(k, b->score, FIELD_SCORE, "score")) return false;
  if (b->score->axis || expr_uses_input(b->score)) {
    check_failed(k, FIELD_SCORE,
                 "score is a function of qk, the product of a pair of tokens; %s is not",
                 text(k, b->score));
    diag_note(&k->front->diag, "a factor of one token belongs into q, k or v");
    return false;
  }
  b->degree = expr_degree(b->score);
  b->linear = b->score->op == OP_SYMBOL && b->score->symbol == SYM_QK;
  return true;
}

static bool check_read(struct checker *k, const struct draft_branch *d, struct branch *b) {
  if (!d->read || strcmp(d->read, "after") == 0) return true;
  b->read_before = strcmp(d->read, "before") == 0;
  if (b->read_before) return true;
  check_failed(k, FIELD_READ, "read is \"after\" or \"before\"; got %s",
               diag_quote(k->front->arena, d->read, strlen(d->read)));
  diag_note(&k->front->diag, "\"after\": the output sees its own token; \"before\": it does not");
  return false;
}

static bool check_branch(struct checker *k, const struct draft_branch *d, struct branch *b) {
  b->line = k->draft->line;
  return check_roles(k, d, b) && check_scale(k, d, b) && check_read(k, d, b) &&
         check_score(k, d, b) && check_transition(k, d, b) && check_mask(k, d, b);
}

/* ---- growth, normaliser, output ---- */

/* Takes exp(write gate) out of k, so that the state can be kept with a running maximum. */
static bool check_write_gate(struct checker *k, struct branch *b) {
  const struct variant *v = k->variant;
  const struct expr *log = NULL, *rest = NULL;
  struct expr_ctx *c = &k->front->exprs;
  if (expr_split_exp(c, b->v, &log, &rest)) {
    if (!v->normaliser)
      return check_failed(k, FIELD_V, "v grows like exp(%s), which is unbounded", text(k, log));
    return check_failed(k, FIELD_V,
                        "v grows like exp(%s), and rowsum does not see factors of v: put it on k",
                        text(k, log));
  }
  if (!expr_split_exp(c, b->k, &log, &rest)) return true;
  if (!v->normaliser) {
    check_failed(k, FIELD_K,
                 "k grows like exp(%s), which is unbounded, and no normaliser cancels it",
                 text(k, log));
    diag_note(&k->front->diag,
              "normaliser = max(abs(rowsum), 1), or a gate in [0,1]: sigmoid(...)");
    return false;
  }
  if (!expr_homogeneous(v->normaliser)) {
    check_failed(k, FIELD_NORMALISER,
                 "k grows like exp(%s), and a running maximum of it does not cancel from %s",
                 text(k, log), text(k, v->normaliser));
    diag_note(&k->front->diag, "it cancels where rowsum enters by +, max, min and abs only");
    return false;
  }
  if (!b->linear && b->degree != 0)
    return check_failed(
        k, FIELD_SCORE,
        "k grows like exp(%s) inside the score %s, where no running maximum cancels it",
        text(k, log), text(k, b->score));
  b->log_write = log;
  b->k_rest = rest;
  return true;
}

static bool check_growth(struct checker *k, struct branch *b) {
  if (!check_write_gate(k, b)) return false;
  if (k->variant->normaliser || !expr_grows(b->score)) return true;
  check_failed(k, FIELD_SCORE, "score %s grows exponentially and nothing normalises it",
               text(k, b->score));
  diag_note(&k->front->diag, "add normaliser = rowsum");
  return false;
}

static bool check_normaliser(struct checker *k) {
  const struct expr *n = k->draft->normaliser;
  if (!n) return true;
  if (!check_symbols(k, n, FIELD_NORMALISER, "normaliser")) return false;
  if (!expr_uses(n, SYM_ROWSUM)) {
    check_failed(k, FIELD_NORMALISER, "normaliser does not mention rowsum");
    diag_note(&k->front->diag, "a gate belongs into output");
    return false;
  }
  if (n->axis || n->step)
    return check_failed(k, FIELD_NORMALISER, "normaliser is one number a token; %s is %s%s",
                        text(k, n), shape(k, n), n->step ? " that varies over step" : "");
  for (int i = 0; i < k->variant->nbranches; i++)
    if (k->variant->branches[i].value_decay)
      return check_failed(
          k, FIELD_NORMALISER,
          "a normaliser with a decay over dv is not defined: each channel of v would "
          "have its own row sum");
  k->variant->normaliser = n;
  return true;
}

static bool check_output(struct checker *k) {
  const struct expr *o = k->draft->output;
  if (!o) return true;
  if (!check_symbols(k, o, FIELD_OUTPUT, "output")) return false;
  if (o->axis != AXIS_DV || o->width != 1)
    return check_failed(k, FIELD_OUTPUT, "output is a dv-vector; %s is %s", text(k, o),
                        shape(k, o));
  if (o->step)
    return check_failed(k, FIELD_OUTPUT,
                        "output is taken once a token, after its steps; %s varies over step",
                        text(k, o));
  k->variant->output = o;
  return true;
}

/* ---- leaves ---- */

static void each_weight_leaf(const struct weight *w,
                             void (*visit)(void *data, const struct leaf *leaf), void *data) {
  expr_each_leaf(w->expr, visit, data);
  for (int i = 0; i < 2; i++)
    if (w->arg[i]) each_weight_leaf(w->arg[i], visit, data);
}

static void each_factor_leaf(const struct factor *f,
                             void (*visit)(void *data, const struct leaf *leaf), void *data) {
  expr_each_leaf(f->diag, visit, data);
  expr_each_leaf(f->beta, visit, data);
  for (int i = 0; i < f->nlow; i++) {
    expr_each_leaf(f->low[i].b, visit, data);
    expr_each_leaf(f->low[i].a, visit, data);
  }
}

void variant_each_leaf(const struct variant *v, void (*visit)(void *data, const struct leaf *leaf),
                       void *data) {
  for (int i = 0; i < v->nbranches; i++) {
    const struct branch *b = &v->branches[i];
    const struct expr *roots[] = {b->q, b->k, b->v, b->scale, b->score};
    for (int j = 0; j < 5; j++) expr_each_leaf(roots[j], visit, data);
    for (int j = 0; j < b->nfactors; j++) each_factor_leaf(&b->factors[j], visit, data);
    for (int j = 0; j < b->nweights; j++) each_weight_leaf(&b->weights[j], visit, data);
  }
  expr_each_leaf(v->normaliser, visit, data);
  expr_each_leaf(v->output, visit, data);
}

static void mark_used(void *data, const struct leaf *leaf) {
  ((bool *)data)[leaf->index] = true;
}

/* The front's leaves are its own; a visitor sees them as the IR does, unchangeable. */
static void mark_fp32(void *data, const struct leaf *leaf) {
  ((struct leaf **)data)[leaf->index]->fp32 = true;
}

/* Decays, delta rates and fenwick weights are computed from fp32. */
static void mark_gates(struct front *f, const struct variant *v) {
  for (int i = 0; i < v->nbranches; i++) {
    const struct branch *b = &v->branches[i];
    for (int j = 0; j < b->nfactors; j++) {
      expr_each_leaf(b->factors[j].diag, mark_fp32, f->leaves);
      expr_each_leaf(b->factors[j].beta, mark_fp32, f->leaves);
    }
    for (int j = 0; j < b->nweights; j++) {
      const bool gate = b->weights[j].kind == WEIGHT_DECAY || b->weights[j].kind == WEIGHT_FENWICK;
      if (gate) expr_each_leaf(b->weights[j].expr, mark_fp32, f->leaves);
    }
  }
}

/* Numbers the leaves that the variant uses; those it does not are no arrays of the op. */
static void number_leaves(struct front *f, struct variant *v) {
  bool used[MAX_LEAVES] = {false};
  mark_gates(f, v);
  variant_each_leaf(v, mark_used, used);
  v->leaves = arena_array(f->arena, const struct leaf *, f->nleaves);
  for (int i = 0; i < f->nleaves; i++) {
    f->leaves[i]->index = used[i] ? v->nleaves : -1;
    if (used[i]) v->leaves[v->nleaves++] = f->leaves[i];
  }
}

/* ---- the whole ---- */

static bool check_name(struct checker *k) {
  const struct draft *d = k->draft;
  if (!d->name) {
    check_failed(k, FIELD_NAME, "a variant needs a name");
    diag_note(&k->front->diag, "name = \"my_variant\"");
    return false;
  }
  k->variant->name = front_identifier(k->front, "name", d->name, d->name_len);
  if (k->variant->name) return true;
  k->front->diag.line = d->line;
  k->front->diag.field = "name";
  return false;
}

static bool check_branches(struct checker *k) {
  struct variant *v = k->variant;
  struct branch *branches = arena_array(k->front->arena, struct branch, k->draft->nbranches);
  v->nbranches = k->draft->nbranches;
  v->branches = branches;
  for (int i = 0; i < v->nbranches; i++) {
    k->branch = k->draft->branched ? i + 1 : 0;
    if (!check_branch(k, &k->draft->branches[i], &branches[i])) return false;
  }
  k->branch = 0;
  if (!check_normaliser(k) || !check_output(k)) return false;
  for (int i = 0; i < v->nbranches; i++) {
    k->branch = k->draft->branched ? i + 1 : 0;
    if (!check_growth(k, &branches[i])) return false;
  }
  return true;
}

static void copy_options(const struct front *f, struct variant *v) {
  struct spec_option *options = arena_array(f->arena, struct spec_option, f->noptions);
  for (int i = 0; i < f->noptions; i++) options[i] = f->options[i];
  v->noptions = f->noptions;
  v->options = options;
}

const struct variant *variant_check(struct front *f, const struct draft *d) {
  struct variant *v = arena_new(f->arena, struct variant);
  struct checker k = {.front = f, .draft = d, .variant = v};
  v->path = f->path;
  v->about = d->about;
  v->steps = d->steps;
  v->line = d->line;
  copy_options(f, v);
  if (!check_name(&k) || !check_branches(&k)) return NULL;
  check_warnings(&k);
  number_leaves(f, v);
  return v;
}
