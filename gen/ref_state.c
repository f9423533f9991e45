/* SPDX-License-Identifier: MIT
 * ref_state.c - the recurrence: token by token on a state of [K][C] doubles, one a level.
 *
 *   S <- F_m ... F_1 S + k v^T       y = q^T S, levels weighted under fenwick
 *
 * C is V, plus a column that holds what v = 1 would give when there is a normaliser. A polynomial
 * score runs on features of q and k (K is their number). Under an exp write gate the state is kept
 * as S exp(-m): the scalar decays move m instead of S, and a write gate above m raises it.
 *
 * One token of one level is two kinds of pass over the state: u = a^T S for each low-rank term,
 * and S = diag(w) S + sum of b u^T, which also does the write (b, u = k, v) and reads y. Inner
 * loops run along a row.
 */
#include "ref_internal.h"

#include <limits.h>
#include <math.h>
#include <string.h>

struct rank1 {
  double *b, *u; /* [K], [C] */
};

struct state {
  int K, C, V, levels;
  double *S;  /* [levels][K][C] */
  bool *live; /* [levels]: the others are zero */
  double *w, *w_next;
  double *a;          /* [K] */
  struct rank1 *rank; /* a factor's terms, and the write */
  int nrank;
  double *right; /* [C] */
  double *k, *v; /* what this step writes: [K], [C] */
  double *q, *q_level;
  double *y;                  /* [C] */
  double *raw, *coefficients; /* polynomial scores: [dk], [degree+1] */
  double m;
  bool maximum;
};

/* ---- which branches ---- */

static bool mentions_rowsum(const struct expr *e) {
  if (e->op == OP_SYMBOL) return e->symbol == SYM_ROWSUM;
  return (e->arg[0] && mentions_rowsum(e->arg[0])) || (e->arg[1] && mentions_rowsum(e->arg[1]));
}

/* f(c x) = c f(x) for c > 0, if terms without rowsum are multiplied by c too. */
static bool homogeneous(const struct expr *e) {
  if (!mentions_rowsum(e) || e->op == OP_SYMBOL) return true;
  switch (e->op) {
  case OP_NEG:
  case OP_ABS: return homogeneous(e->arg[0]);
  case OP_ADD:
  case OP_SUB:
  case OP_MIN:
  case OP_MAX: return homogeneous(e->arg[0]) && homogeneous(e->arg[1]);
  default: return false;
  }
}

bool ref_has_maximum(const struct variant *v, const struct branch *b) {
  return b->log_write && b->k_rest && v->normaliser && b->linear;
}

bool ref_has_state(const struct variant *v) {
  const struct branch *b = &v->branches[0];
  if (v->normaliser && (ref_fenwick(b) || ref_has_maximum(v, b))) return false;
  return v->nbranches == 1 && b->linear && !ref_state_ops.refuses(v, b);
}

int ref_state_slots(const struct variant *v, int levels) {
  return ref_fenwick(&v->branches[0]) ? levels - 1 : 1;
}

enum { MAX_DEGREE = 3 };

static const char *state_refuses(const struct variant *v, const struct branch *b) {
  if (!b->causal) return "a bidirectional mask has no order, hence no recurrence";
  if (b->degree < 0)
    return "the score is not a polynomial in qk, so there is no state of fixed size";
  if (b->degree > MAX_DEGREE) return "a score of degree above 3 has too many features";
  if (!b->linear && b->nfactors > 0) return "the score is not qk itself and acts on the transition";
  for (int i = 0; i < b->nweights; i++) {
    if (b->weights[i].kind != WEIGHT_DECAY && b->weights[i].kind != WEIGHT_FENWICK) {
      return "the mask has a factor other than decay and fenwick, which the state does not keep";
    }
  }
  if (ref_has_maximum(v, b)) {
    if (v->nbranches > 1) return "branches with an exp write gate would share a running maximum";
    if (!mentions_rowsum(v->normaliser) || !homogeneous(v->normaliser))
      return "the running maximum does not cancel in the normaliser";
  }
  return NULL;
}

/* ---- polynomial scores: phi(q) . phi(k) = sum of c_p (q.k)^p ---- */

static int64_t features_of(const struct branch *b, int rows) {
  if (b->linear) return rows;
  int64_t n = 1, power = 1;
  for (int p = 1; p <= b->degree; p++) n += power *= rows;
  return n;
}

/* out = c_0, c_1 x, c_2 x (x) x, ...; c NULL: ones. */
static void features(const double *x, int rows, int degree, const double *c, double *out) {
  const double *last = out;
  int64_t n = 1, offset = 1;
  out[0] = 1;
  for (int p = 1; p <= degree; p++) {
    for (int64_t i = 0; i < n; i++) {
      for (int j = 0; j < rows; j++) out[offset + i * rows + j] = last[i] * x[j];
    }
    last = out + offset;
    n *= rows;
    offset += n;
  }
  double *of_degree = out;
  n = 1;
  for (int p = 0; c && p <= degree; p++, n *= rows) {
    for (int64_t i = 0; i < n; i++) of_degree[i] *= c[p];
    of_degree += n;
  }
}

/* The score's coefficients from its values at 0 ... degree, by Newton's divided differences. */
static void fit_polynomial(struct ref_eval *ev, const struct branch *b, double *c) {
  const int n = b->degree + 1;
  double x[MAX_DEGREE + 1] = {0, 1, 2, 3}, f[MAX_DEGREE + 1];
  const struct ref_program *score = &ev->score[b - ev->variant->branches];
  for (int i = 0; i < n; i++) {
    ref_eval_late(ev, score, REF_LATE_QK, (struct ref_binding){&x[i], 1, 1});
    f[i] = ref_scalar(ev, b->score, 0, 0);
  }
  for (int step = 1; step < n; step++) {
    for (int i = n - 1; i >= step; i--) f[i] = (f[i] - f[i - 1]) / step;
  }
  for (int i = 0; i < n; i++) c[i] = 0;
  for (int i = n - 1; i >= 0; i--) { /* c = c (x - i) + f_i */
    for (int p = n - 1; p >= 0; p--) c[p] = (p ? c[p - 1] : 0) - x[i] * c[p];
    c[0] += f[i];
  }
}

/* ---- scratch ---- */

static void *state_create(struct arena *a, const struct ref_eval *ev, const struct branch *b) {
  struct state *s = arena_new(a, struct state);
  const int rows = ref_rows(ev, b);
  const int64_t K = features_of(b, rows);
  if (K > INT_MAX) longjmp(*a->out_of_memory, 1);
  s->K = (int)K;
  s->V = ev->V;
  s->C = ev->V + (ev->variant->normaliser != NULL);
  s->levels = ref_fenwick(b) ? ev->call->levels : 1;
  s->S = ref_doubles(a, K * s->C, s->levels);
  s->live = arena_array(a, bool, s->levels);
  s->w = ref_doubles(a, K, 1);
  s->w_next = ref_doubles(a, K, 1);
  s->a = ref_doubles(a, K, 1);
  int most = 0;
  for (int i = 0; i < b->nfactors; i++) {
    const int nlow = ref_nlow(&b->factors[i]);
    if (nlow > most) most = nlow;
  }
  s->rank = arena_array(a, struct rank1, most + 1);
  for (int i = 0; i <= most; i++) {
    s->rank[i] = (struct rank1){ref_doubles(a, K, 1), ref_doubles(a, s->C, 1)};
  }
  s->right = ref_doubles(a, s->C, 1);
  s->k = ref_doubles(a, K, 1);
  s->v = ref_doubles(a, s->C, 1);
  s->q = ref_doubles(a, K, 1);
  s->q_level = ref_doubles(a, K, 1);
  s->y = ref_doubles(a, s->C, 1);
  s->raw = ref_doubles(a, rows, 1);
  s->coefficients = ref_doubles(a, MAX_DEGREE + 1, 1);
  s->maximum = ref_has_maximum(ev->variant, b);
  return s;
}

/* ---- passes over one level's state ---- */

static void scale_row(double *row, int n, double w) {
  if (w == 0) { /* a reset is a select: it forgets inf and NaN too */
    memset(row, 0, sizeof *row * (size_t)n);
  } else {
    for (int j = 0; j < n; j++) row[j] *= w;
  }
}

static void add_multiple(double *restrict y, const double *restrict x, int n, double c) {
  for (int j = 0; j < n; j++) y[j] += c * x[j];
}

/* S = diag(w) S + sum of b u^T; then y += q^T S, unless q is NULL. */
static void update(struct state *s, double *S, const double *q) {
  for (int i = 0; i < s->K; i++) {
    double *row = S + (int64_t)i * s->C;
    if (s->w[i] != 1) scale_row(row, s->C, s->w[i]);
    for (int r = 0; r < s->nrank; r++) add_multiple(row, s->rank[r].u, s->C, s->rank[r].b[i]);
    if (q) add_multiple(s->y, row, s->C, q[i]);
    s->w[i] = 1;
  }
  s->nrank = 0;
}

/* u = a^T diag(w) S */
static void project(const struct state *s, const double *S, const double *a, double *u) {
  for (int j = 0; j < s->C; j++) u[j] = 0;
  for (int i = 0; i < s->K; i++) {
    if (s->w[i] != 0) add_multiple(u, S + (int64_t)i * s->C, s->C, a[i] * s->w[i]);
  }
}

static void multiply_columns(struct state *s, double *S, const struct ref_eval *ev,
                             const struct factor *f, int64_t t, int step) {
  for (int j = 0; j < s->C; j++) s->right[j] = 1;
  ref_vector(ev, f->log, t, step, s->V, s->right);
  for (int j = 0; j < s->V; j++) s->right[j] = exp(s->right[j]);
  for (int i = 0; i < s->K; i++) {
    for (int j = 0; j < s->V; j++) {
      double *x = &S[(int64_t)i * s->C + j];
      *x = s->right[j] == 0 ? 0 : *x * s->right[j];
    }
  }
}

/* A decay that is one number for the whole state: the running maximum follows it. */
static bool is_scalar_decay(const struct ref_eval *ev, const struct factor *f) {
  return f->log && !f->right && ref_nlow(f) == 0 && ref_value(ev, f->log)->width == 1;
}

/* Leaves diag(w) and the low-rank terms to the next update. */
static void left_factor(struct state *s, double *S, const struct ref_eval *ev,
                        const struct branch *b, const struct factor *f, int64_t t, int step) {
  const int n = ref_nlow(f);
  if (s->nrank > 0) update(s, S, NULL);
  for (int i = 0; i < s->K; i++) s->w_next[i] = 0;
  if (f->log) ref_vector(ev, f->log, t, step, s->K, s->w_next);
  for (int i = 0; i < n; i++) {
    ref_low(ev, b, f, i, t, step, s->K, s->rank[i].b, s->a);
    project(s, S, s->a, s->rank[i].u);
  }
  if (f->log) {
    for (int i = 0; i < s->K; i++) s->w[i] *= exp(s->w_next[i]);
  }
  s->nrank = n;
}

/* One step of one level, scaled by w first; reads with q unless NULL. */
static void advance(struct state *s, double *S, struct ref_eval *ev, const struct branch *b,
                    int64_t t, int step, double w, bool write, const double *q) {
  for (int i = 0; i < s->K; i++) s->w[i] = w;
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (!ref_acts(f, step) || (s->maximum && is_scalar_decay(ev, f))) continue;
    if (f->right) {
      update(s, S, NULL);
      multiply_columns(s, S, ev, f, t, step);
    } else {
      left_factor(s, S, ev, b, f, t, step);
    }
  }
  if (write) {
    struct rank1 *r = &s->rank[s->nrank++];
    memcpy(r->b, s->k, sizeof(double) * (size_t)s->K);
    memcpy(r->u, s->v, sizeof(double) * (size_t)s->C);
  }
  update(s, S, q);
}

/* ---- one token ---- */

static double *level(const struct state *s, int l) {
  return s->S + (int64_t)l * s->K * s->C;
}

/* The binary counter: position p = ...1000 merges what p - 1 = ...0111 held. */
static void merge(struct state *s, int64_t p) {
  int z = 1;
  while (!(p >> (z - 1) & 1)) z++;
  const int64_t size = (int64_t)s->K * s->C;
  for (int l = 0; l < z; l++) {
    if (!s->live[l]) continue;
    for (int64_t i = 0; i < size; i++) level(s, z)[i] += level(s, l)[i];
    memset(level(s, l), 0, sizeof(double) * (size_t)size);
    s->live[l] = false;
  }
  s->live[z] = true;
}

static void load_query(struct state *s, const struct ref_eval *ev, const struct branch *b,
                       int64_t t) {
  const double scale = ref_scalar(ev, b->scale, 0, 0);
  const int rows = ref_rows(ev, b);
  ref_vector(ev, b->q, t, 0, rows, s->raw);
  for (int i = 0; i < rows; i++) s->raw[i] *= scale;
  if (b->linear)
    memcpy(s->q, s->raw, sizeof(double) * (size_t)rows);
  else
    features(s->raw, rows, b->degree, s->coefficients, s->q);
}

static void load_write(struct state *s, const struct ref_eval *ev, const struct branch *b,
                       int64_t t, int step, double gain) {
  const int rows = ref_rows(ev, b);
  ref_vector(ev, s->maximum ? b->k_rest : b->k, t, step, rows, s->raw);
  for (int i = 0; s->maximum && i < rows; i++) s->raw[i] *= gain;
  if (b->linear)
    memcpy(s->k, s->raw, sizeof(double) * (size_t)rows);
  else
    features(s->raw, rows, b->degree, NULL, s->k);
  s->v[s->C - 1] = 1;
  ref_vector(ev, b->v, t, step, s->V, s->v);
}

/* The running maximum after this step: what the state is multiplied by, and the gain of the write.
 * log: of the decays that acted before the factors of this step. */
static double raise_maximum(struct state *s, const struct ref_eval *ev, const struct branch *b,
                            int64_t t, int step, double log, double *ret_gain) {
  const double gate = ref_scalar(ev, b->log_write, t, step);
  double m = s->m + log;
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (ref_acts(f, step) && is_scalar_decay(ev, f)) m += ref_scalar(ev, f->log, t, step);
  }
  s->m = gate > m ? gate : m;
  *ret_gain = gate == -INFINITY ? 0 : exp(gate - s->m);
  return m == -INFINITY ? 0 : exp(m - s->m);
}

static void store_row(const struct state *s, const struct ref_head *head, int64_t t) {
  double *y = head->y + t * s->V;
  for (int j = 0; j < s->V; j++) y[j] += s->y[j];
  if (s->C > s->V) head->n[t] += s->y[s->V];
  if (s->maximum) head->m[t] = s->m;
}

/* The query for a level: NULL where nothing is read. */
static const double *level_query(struct state *s, const struct ref_eval *ev,
                                 const struct weight *fenwick, int64_t t, int l) {
  if (!fenwick) return s->q;
  const double lambda = ref_at(ref_value(ev, fenwick->expr), t, 0)[l];
  for (int i = 0; i < s->K; i++) s->q_level[i] = lambda * s->q[i];
  return s->q_level;
}

/* Scales every level by w and reads it, before the token's own transition. */
static void read_before(struct state *s, const struct ref_eval *ev, const struct weight *fenwick,
                        int64_t t, double w) {
  for (int l = 0; l < s->levels; l++) {
    if (!s->live[l]) continue;
    for (int i = 0; i < s->K; i++) s->w[i] = w;
    update(s, level(s, l), level_query(s, ev, fenwick, t, l));
  }
}

static void token(struct state *s, struct ref_eval *ev, const struct branch *b,
                  const struct ref_head *head, int64_t t) {
  const struct weight *fenwick = ref_fenwick(b);
  double log = ref_mask_log(ev, b, t);
  if (fenwick && head->position + t > 0) merge(s, head->position + t);
  load_query(s, ev, b, t);
  memset(s->y, 0, sizeof(double) * (size_t)s->C);
  if (b->read_before) {
    if (s->maximum) s->m += log;
    read_before(s, ev, fenwick, t, s->maximum ? s->m > -INFINITY : exp(log));
    store_row(s, head, t);
    log = 0;
  }
  s->live[0] = true;
  for (int step = 0; step < ev->steps; step++, log = 0) {
    const bool read = !b->read_before && step == ev->steps - 1;
    double gain = 1;
    const double w = s->maximum ? raise_maximum(s, ev, b, t, step, log, &gain) : exp(log);
    load_write(s, ev, b, t, step, gain);
    for (int l = 0; l < s->levels; l++) {
      if (!s->live[l]) continue;
      const double *q = read ? level_query(s, ev, fenwick, t, l) : NULL;
      advance(s, level(s, l), ev, b, t, step, w, l == 0, q);
    }
  }
  if (!b->read_before) store_row(s, head, t);
}

/* Slot i, live where bit i of the position is set, is what level i + 1 holds for the token there.
 */
static void load_slots(struct state *s, const struct ref_head *head) {
  const size_t bytes = sizeof(double) * (size_t)s->K * (size_t)s->C;
  for (int i = 0; i + 1 < s->levels; i++) {
    if (!(head->position >> i & 1)) continue;
    memcpy(level(s, i + 1), head->h0 + i * head->slot_stride, bytes);
    s->live[i + 1] = true;
  }
}

/* Zeros where a slot is not live. */
static void store_slots(struct state *s, const struct ref_head *head, int64_t T) {
  const size_t bytes = sizeof(double) * (size_t)s->K * (size_t)s->C;
  if (head->position + T > 0) merge(s, head->position + T);
  for (int i = 0; i + 1 < s->levels; i++)
    memcpy(head->ht + i * head->slot_stride, level(s, i + 1), bytes);
}

static void state_run(void *scratch, struct ref_eval *ev, const struct branch *b,
                      const struct ref_head *head) {
  struct state *s = scratch;
  const size_t bytes = sizeof(double) * (size_t)s->K * (size_t)s->C;
  memset(s->S, 0, bytes * (size_t)s->levels);
  memset(s->live, 0, sizeof(bool) * (size_t)s->levels);
  s->m = -INFINITY;
  if (!b->linear) fit_polynomial(ev, b, s->coefficients);
  if (head->h0 && ref_fenwick(b)) {
    load_slots(s, head);
  } else if (head->h0 || head->n0) {
    ref_load_state(head, s->K, s->V, s->C, s->S);
    s->live[0] = true;
  }
  for (int64_t t = 0; t < ev->call->T; t++) token(s, ev, b, head, t);
  if (head->ht && ref_fenwick(b))
    store_slots(s, head, ev->call->T);
  else if (head->ht)
    ref_store_state(head, s->K, s->V, s->C, s->S);
}

const struct ref_engine_ops ref_state_ops = {"state", state_refuses, state_create, state_run};
