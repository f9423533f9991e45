/* SPDX-License-Identifier: MIT
 * run_position.c - where the sequences of maskc run begin under a fenwick mask: the tokens that
 * each has had before, from a file of integers or from --positions, and how many levels that takes.
 *
 *   --positions 5,0,70   of three sequences; one number is that of all
 *
 * Without any, and with a random h0, sequence n has had T + n tokens; in a decode step some number
 * below 1024, by the seed.
 */
#define _XOPEN_SOURCE 700
#include "file.h"
#include "npy.h"
#include "run.h"

#include "../ref.h"

#include <stdlib.h>
#include <string.h>

static int64_t sequences(const struct run *r) {
  return r->sequences ? r->sequences : r->n.B;
}

static mkc_status allocate(struct run *r, struct error *err) {
  struct run_array *x = r->position;
  x->ndim = 1;
  x->shape[0] = sequences(r);
  x->count = (size_t)x->shape[0];
  x->dtype = MKC_I64;
  x->present = true;
  x->bytes = 8 * x->count;
  if (!posix_memalign(&x->packed, 64, x->bytes)) return MKC_OK;
  x->packed = NULL;
  return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory for position");
}

static mkc_status take_numbers(struct run *r, const struct npy *a, struct error *err) {
  const int64_t n = sequences(r);
  if (a->type != NPY_INT32 && a->type != NPY_INT64)
    return error_set(err, MKC_E_FILE, "%s: holds no integers; int32 or int64 is wanted",
                     r->position->in);
  if (a->ndim != 1 || (int64_t)a->count != n)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: position has one dimension of %lld numbers, one a sequence",
                     r->position->in, (long long)n);
  int64_t *to = r->position->packed;
  for (int64_t i = 0; i < n; i++) {
    int32_t narrow;
    const char *from = (const char *)a->data + i * (a->type == NPY_INT32 ? 4 : 8);
    memcpy(a->type == NPY_INT32 ? (void *)&narrow : (void *)&to[i], from,
           a->type == NPY_INT32 ? 4 : 8);
    if (a->type == NPY_INT32) to[i] = narrow;
    if (to[i] < 0)
      return error_set(err, MKC_E_ARGUMENT, "%s: position[%lld] is %lld; it must be at least 0",
                       r->position->in, (long long)i, (long long)to[i]);
  }
  return MKC_OK;
}

static mkc_status read_file(struct run *r, struct error *err) {
  char *bytes;
  size_t size;
  struct npy a;
  mkc_status status = file_load(r->position->in, 0, &bytes, &size, err);
  if (status) return status;
  status = npy_parse(r->position->in, bytes, size, &a, err);
  if (!status) status = take_numbers(r, &a, err);
  free(bytes);
  return status;
}

/* "5,0,70" */
static mkc_status read_list(struct run *r, const char *text, struct error *err) {
  int64_t *to = r->position->packed, n = sequences(r), given = 0;
  for (char *p = arena_strdup(&r->cli->arena, text); p; given++) {
    char *comma = strchr(p, ',');
    int64_t value;
    if (comma) *comma = 0;
    if (!parse_number(p, 0, INT32_MAX, &value))
      return error_set(err, MKC_E_USAGE, "--positions %s: '%s' is no position, a whole number",
                       text, p);
    if (given < n) to[given] = value;
    p = comma ? comma + 1 : NULL;
  }
  if (given != 1 && given != n)
    return error_set(err, MKC_E_USAGE, "--positions %s: there are %lld sequences", text,
                     (long long)n);
  for (int64_t i = 1; i < n && given == 1; i++) to[i] = to[0];
  return MKC_OK;
}

static void draw(struct run *r) {
  const uint64_t seed = r->seed * 1000003, odd = 0x9e3779b97f4a7c15u;
  int64_t *to = r->position->packed;
  for (int64_t i = 0; i < sequences(r); i++)
    to[i] = r->pass == MKC_STEP ? (int64_t)((seed + (uint64_t)i + 1) * odd >> 54) : r->n.T + i;
}

/* The levels that the last token sees and the state after it has slots for. */
static void settle_levels(struct run *r) {
  const int64_t *position = r->position->packed;
  int needed = 1;
  for (int64_t i = 0; i < sequences(r); i++) {
    const int64_t tokens = r->sequences ? r->starts[i + 1] - r->starts[i] : r->n.T;
    int levels = 1;
    for (int64_t x = (position ? position[i] : 0) + tokens; x > 0; x >>= 1) levels++;
    if (levels > needed) needed = levels;
  }
  if (!r->n.L) r->n.L = needed;
}

mkc_status run_position_open(struct run *r, struct error *err) {
  const char *list = args_text(&r->cli->args, OPTION_POSITIONS, NULL);
  if (!r->position && list)
    return error_set(err, MKC_E_USAGE, "--positions: %s has no fenwick mask", r->variant->name);
  if (!r->position) return MKC_OK;
  if (list && r->position->in)
    return error_set(err, MKC_E_USAGE, "--positions and --in position are given");
  const bool wanted = list || r->position->in || r->h0->present;
  mkc_status status = wanted ? allocate(r, err) : MKC_OK;
  if (!status && r->position->in) status = read_file(r, err);
  if (!status && list) status = read_list(r, list, err);
  if (!status && wanted && !list && !r->position->in) draw(r);
  if (!status) settle_levels(r);
  return status;
}

double run_live_slots(const struct run *r, bool after) {
  const int64_t *position = r->position->present ? r->position->packed : NULL;
  double live = 0;
  for (int64_t i = 0; i < sequences(r); i++)
    for (int64_t x = (position ? position[i] : 0) + (after ? r->n.T : 0); x > 0; x >>= 1)
      live += (double)(x & 1);
  return live / ((double)sequences(r) * (double)r->n.S);
}
