/* SPDX-License-Identifier: MIT
 * run_packed.c - packed batches of maskc run: cu_seqlens from a file of integers, or from the
 * lengths of --lengths.
 *
 *   --lengths 5,0,70   three sequences, cu_seqlens 0,5,5,75; T is 75 and B is 1
 */
#define _XOPEN_SOURCE 700
#include "file.h"
#include "npy.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

static mkc_status allocate(struct run *r, int64_t sequences, mkc_dtype dtype, struct error *err) {
  struct run_array *x = r->cu;
  r->sequences = sequences;
  r->starts = arena_array(&r->cli->arena, int64_t, (size_t)sequences + 1);
  x->ndim = 1;
  x->shape[0] = sequences + 1;
  x->count = (size_t)sequences + 1;
  x->dtype = dtype;
  x->present = true;
  x->bytes = x->count * (dtype == MKC_I32 ? 4 : 8);
  if (!posix_memalign(&x->packed, 64, x->bytes)) return MKC_OK;
  x->packed = NULL;
  return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory for cu_seqlens");
}

/* starts as they are in memory. */
static void pack(struct run *r) {
  int32_t *narrow = r->cu->packed;
  if (r->cu->dtype == MKC_I64) memcpy(r->cu->packed, r->starts, r->cu->bytes);
  for (int64_t i = 0; i <= r->sequences && r->cu->dtype == MKC_I32; i++)
    narrow[i] = (int32_t)r->starts[i];
}

/* They begin at 0 and never decrease. */
static mkc_status check_starts(const struct run *r, struct error *err) {
  if (r->starts[0] != 0)
    return error_set(err, MKC_E_ARGUMENT, "%s: cu_seqlens begins with %lld, not with 0", r->cu->in,
                     (long long)r->starts[0]);
  for (int64_t i = 0; i < r->sequences; i++)
    if (r->starts[i + 1] < r->starts[i])
      return error_set(err, MKC_E_ARGUMENT, "%s: cu_seqlens decreases: %lld after %lld at [%lld]",
                       r->cu->in, (long long)r->starts[i + 1], (long long)r->starts[i],
                       (long long)i + 1);
  return MKC_OK;
}

static mkc_status take_numbers(struct run *r, const struct npy *a, struct error *err) {
  const bool narrow = a->type == NPY_INT32;
  if (!narrow && a->type != NPY_INT64)
    return error_set(err, MKC_E_FILE, "%s: holds no integers; int32 or int64 is wanted", r->cu->in);
  if (a->ndim != 1 || a->count < 2)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: cu_seqlens has one dimension of N + 1 numbers, for N sequences",
                     r->cu->in);
  const mkc_status status = allocate(r, (int64_t)a->count - 1, narrow ? MKC_I32 : MKC_I64, err);
  if (status) return status;
  memcpy(r->cu->packed, a->data, r->cu->bytes);
  for (size_t i = 0; i < a->count; i++)
    r->starts[i] =
        narrow ? ((const int32_t *)r->cu->packed)[i] : ((const int64_t *)r->cu->packed)[i];
  return check_starts(r, err);
}

static mkc_status read_file(struct run *r, struct error *err) {
  char *bytes;
  size_t size;
  struct npy a;
  mkc_status status = file_load(r->cu->in, 0, &bytes, &size, err);
  if (status) return status;
  status = npy_parse(r->cu->in, bytes, size, &a, err);
  if (!status) status = take_numbers(r, &a, err);
  free(bytes);
  return status;
}

/* "5,0,70" */
static mkc_status read_lengths(struct run *r, const char *text, struct error *err) {
  int64_t n = 1;
  for (const char *p = text; *p; p++) n += *p == ',';
  const mkc_status status = allocate(r, n, MKC_I32, err);
  if (status) return status;
  char *p = arena_strdup(&r->cli->arena, text);
  for (int64_t i = 0; i < n; i++) {
    char *comma = strchr(p, ',');
    int64_t length;
    if (comma) *comma = 0;
    if (!parse_number(p, 0, INT32_MAX, &length) || r->starts[i] + length > INT32_MAX)
      return error_set(err, MKC_E_USAGE, "--lengths %s: '%s' is no length, a whole number", text,
                       p);
    r->starts[i + 1] = r->starts[i] + length;
    p = comma ? comma + 1 : p;
  }
  pack(r);
  return MKC_OK;
}

/* T and B follow; what --shape or the files say must be the same. */
static mkc_status settle(struct run *r, struct error *err) {
  const int64_t tokens = r->starts[r->sequences];
  if (r->n.B > 1)
    return error_set(err, MKC_E_ARGUMENT,
                     "B is %lld; with cu_seqlens the sequences are packed, "
                     "and B is 1",
                     (long long)r->n.B);
  if (tokens < 1 && r->random)
    return error_set(err, MKC_E_USAGE, "--lengths: all sequences are empty");
  if (r->n.T && tokens > r->n.T)
    return error_set(err, MKC_E_ARGUMENT, "cu_seqlens ends with %lld, but T is %lld",
                     (long long)tokens, (long long)r->n.T);
  r->n.B = 1;
  if (!r->n.T) r->n.T = tokens;
  return MKC_OK;
}

mkc_status run_packed_open(struct run *r, struct error *err) {
  const char *lengths = args_text(&r->cli->args, OPTION_LENGTHS, NULL);
  if (!lengths && !(r->cu && r->cu->in)) return MKC_OK;
  if (!r->cu)
    return error_set(err, MKC_E_USAGE, "--lengths: a step has one length, T, for all sequences");
  if (lengths && !r->random)
    return error_set(err, MKC_E_USAGE,
                     "--lengths is for random arrays; files have their own, "
                     "--in cu_seqlens=FILE.npy");
  mkc_status status = lengths ? read_lengths(r, lengths, err) : read_file(r, err);
  return status ? status : settle(r, err);
}
