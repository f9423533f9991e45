/* SPDX-License-Identifier: MIT
 * ref.h - the float64 reference: what an op means, computed four ways and slowly.
 *
 *   dense     the definition: explicit products of transition matrices, a weight for each pair
 *   state     token by token: the recurrence on [dk,dv] states, one a level under fenwick
 *   chunked   the algorithm of the kernels, chunk by chunk, where a schedule has one
 *   cache     token by token, every past key and value carried through each transition: any score
 *
 * In: a checked variant and contiguous arrays in float64 (inputs as rounded to the op's type).
 * Out: o, and the final state where the engine has one.
 */
#ifndef MKC_REF_H
#define MKC_REF_H

#include "ir.h"

#include <stdint.h>

enum ref_engine { REF_DENSE, REF_STATE, REF_CHUNKED, REF_CACHE };

struct ref_array {
  const double *data; /* input: [B,T,(steps,)heads,(width)]; param: [heads,(width)] */
  int64_t heads;      /* divides H; head h of the output reads head h * heads / H */
};

struct ref_call {
  int64_t B, T, H;
  int dk, dv, levels, taps;       /* sizes of the axes */
  int rows;                       /* of h0 and ht where k is wider than dk; 0: dk */
  const int64_t *position;        /* [B], tokens before this call, under fenwick; NULL: 0 */
  int chunk;                      /* REF_CHUNKED */
  const struct ref_array *arrays; /* one for each of the variant's leaves, by leaf->index */
  const double *h0;               /* [B,(slots,)H,rows,dv], NULL: zeros (see ref_state_slots) */
  double *o;                      /* [B,T,H,dv] */
  double *ht;                     /* as h0, may be NULL (REF_STATE, REF_CHUNKED) */
  const double *n0;               /* [B,H,rows], NULL: zeros; only with a normaliser */
  double *nt;                     /* as n0, may be NULL, as ht; only together with it */
};

/* Whether this engine computes this variant; if not, *ret_why says why (static text). */
bool ref_applies(const struct variant *v, enum ref_engine engine, const char **ret_why);

/* Whether [dk,dv] matrices of a head are the whole state, so that h0 and ht mean something: one
 * branch, a linear score. Their rows are k's width, 1 for a scalar. Under a normaliser the state
 * has one column more, what it would be of v = 1: n0 and nt. None under an exp write gate, nor
 * under both a normaliser and fenwick. */
bool ref_has_state(const struct variant *v);
/* How many there are: one, or under fenwick levels - 1. There slot i is live if bit i of the
 * position is set; it holds the sum over a block of 2^i tokens, moved on by every token up to the
 * position. Slots that are not live are not read, and written as zeros. */
int ref_state_slots(const struct variant *v, int levels);

/* Errors: MKC_E_ARGUMENT, MKC_E_OUT_OF_MEMORY; MKC_E_SPEC for a variant that was never checked. */
mkc_status ref_run(const struct variant *v, enum ref_engine engine, const struct ref_call *call,
                   struct error *err);

/* A random value for each element of a leaf, inside its contract, deterministic in the seed; n
 * elements. Values of an fp32 log gate bounded above by 0 look like gates, the rest is normal. */
void ref_draw(const struct leaf *leaf, uint64_t seed, double *out, size_t n);

/* sqrt(sum (x-y)^2 / sum y^2); NaN or inf anywhere gives inf. */
double ref_relative_l2(const double *x, const double *y, size_t n);

/* One comparison of `maskc check`. */
struct ref_report {
  char what[48]; /* "state = dense" */
  double error;  /* relative L2 */
  double tolerance;
  bool ok;
};
enum { REF_MAX_REPORTS = 16 };

/* Draws arrays of several small shapes (ragged chunks included), runs every engine that applies
 * and compares them. Returns MKC_E_TOLERANCE, with the reports filled, when two disagree. */
mkc_status ref_check(const struct variant *v, uint64_t seed, struct ref_report *reports, int *ret_n,
                     struct error *err);

#endif
