/* SPDX-License-Identifier: MIT
 * op_args.c - arrays in, the kernel's argument block out, see source.h for its layout.
 *
 * Two passes: the first finds B, T and H over all arrays, the second checks each array against them
 * and writes its slots. Nothing is allocated unless a check fails.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

enum { SLOT_POINTER, SLOT_BATCH, SLOT_TOKEN, SLOT_HEAD, SLOT_COUNT };

struct extents {
  int64_t B, T, H, N, L, S, states; /* 0: no array has it; states: the B of what has no tokens */
  const struct op_array *B_from, *T_from, *N_from, *L_from, *S_from, *states_from;
  bool index; /* state_index is there */
  bool position, ht;
  int64_t packed; /* sequences of cu_seqlens; -1: it is not there */
};

static const char *const dtype_names[] = {"f32", "bf16", "f16", "i32", "i64"};
static const int dtype_bytes[] = {4, 2, 2, 4, 8};

static const char *dtype_name(mkc_dtype t) {
  return (unsigned)t <= MKC_I64 ? dtype_names[t] : "of an unknown type";
}

/* An axis as messages call it. */
static const char *axis_name(char axis) {
  switch (axis) {
  case 'B': return "B";
  case 'N': return "N";
  case 'C': return "N + 1";
  case 'T': return "T";
  case 'H': return "H";
  case 'L': return "levels";
  case 'S': return "slots";
  case 'k': return "dk";
  default: return "dv";
  }
}

/* "BTHv" -> "B, T, H, dv" */
static const char *axes_text(const char *axes, char ret[32]) {
  ret[0] = 0;
  for (; *axes; axes++) {
    strcat(ret, axis_name(*axes));
    if (axes[1]) strcat(ret, ", ");
  }
  return ret;
}

static mkc_status wrong_count(const struct op_source *s, int nargs, struct error *err) {
  error_set(err, MKC_E_ARGUMENT, "%s takes %d arrays (", s->name, s->narrays);
  for (int i = 0; i < s->narrays; i++) error_append(err, "%s%s", i ? ", " : "", s->arrays[i].name);
  error_append(err, "), not %d", nargs);
  return MKC_E_ARGUMENT;
}

/* ---- first pass ---- */

static mkc_status agree(const struct op_source *s, const struct op_array *a, char axis, int64_t n,
                        int64_t *known, const struct op_array **from, struct error *err) {
  if (!*known) {
    *known = n;
    *from = a;
  }
  if (*known == n) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "%s: %s is %lld in %s, but %lld in %s", s->name,
                   axis_name(axis), (long long)n, a->name, (long long)*known, (*from)->name);
}

/* Of a sequence, whether it is one of a batch or packed: a state, a position. */
static bool is_of_sequence(const struct op_array *a) {
  return a->axes[0] == 'B' && a->axes[1] != 'T';
}

static mkc_status take_extent(const struct op_source *s, const struct op_array *a, char axis,
                              int64_t n, struct extents *e, struct error *err) {
  const int64_t channels = axis == 'k' ? s->dk : s->dv;
  if (n < 1)
    return error_set(err, MKC_E_ARGUMENT, "%s: %s is %lld in %s; it must be at least 1", s->name,
                     axis_name(axis), (long long)n, a->name);
  if (axis == 'B' && is_of_sequence(a))
    return agree(s, a, axis, n, &e->states, &e->states_from, err);
  switch (axis) {
  case 'B': return agree(s, a, axis, n, &e->B, &e->B_from, err);
  case 'C': e->packed = n - 1; return MKC_OK;
  case 'N': return agree(s, a, axis, n, &e->N, &e->N_from, err);
  case 'T': return agree(s, a, axis, n, &e->T, &e->T_from, err);
  case 'L': return agree(s, a, axis, n, &e->L, &e->L_from, err);
  case 'S': return agree(s, a, axis, n, &e->S, &e->S_from, err);
  case 'H': e->H = n > e->H ? n : e->H; return MKC_OK;
  default: break;
  }
  if (n == channels) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "%s: %s is %lld in %s, but the op is made for %lld",
                   s->name, axis_name(axis), (long long)n, a->name, (long long)channels);
}

static mkc_status wrong_ndim(const struct op_source *s, const struct op_array *a, int ndim,
                             struct error *err) {
  char text[32];
  return error_set(err, MKC_E_ARGUMENT, "%s: %s has %d dimensions; it takes %d (%s)", s->name,
                   a->name, ndim, (int)strlen(a->axes), axes_text(a->axes, text));
}

static mkc_status take_array(const struct op_source *s, const struct op_array *a,
                             const mkc_tensor *t, struct extents *e, struct error *err) {
  const int ndim = (int)strlen(a->axes);
  if (t->ndim != ndim) return wrong_ndim(s, a, t->ndim, err);
  const bool either = a->axes[0] == 'C' && t->dtype == MKC_I32; /* or int64 */
  if (t->dtype != a->dtype && !either)
    return error_set(err, MKC_E_ARGUMENT, "%s: %s is %s; it takes %s", s->name, a->name,
                     dtype_name(t->dtype), dtype_name(a->dtype));
  for (int d = 0; d < ndim; d++) {
    const mkc_status st = take_extent(s, a, a->axes[d], t->shape[d], e, err);
    if (st) return st;
  }
  return MKC_OK;
}

static mkc_status find_extents(const struct op_source *s, const mkc_tensor *args, struct extents *e,
                               struct error *err) {
  for (int i = 0; i < s->narrays; i++) {
    const struct op_array *a = &s->arrays[i];
    if (!args[i].data && !a->optional)
      return error_set(err, MKC_E_ARGUMENT,
                       "%s: %s is absent (its data is NULL), and the op needs "
                       "it",
                       s->name, a->name);
    const mkc_status st = args[i].data ? take_array(s, a, &args[i], e, err) : MKC_OK;
    if (st) return st;
    if (!args[i].data) continue;
    e->index |= !strcmp(a->name, "state_index");
    e->position |= !strcmp(a->name, "position");
    e->ht |= !strcmp(a->name, "ht");
  }
  return MKC_OK;
}

/* A pool without an index is the batch. */
static mkc_status check_pool(const struct op_source *s, const struct extents *e,
                             struct error *err) {
  if (!e->N || e->index || e->N == e->B) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT,
                   "%s: %s has N = %lld states for B = %lld sequences; without state_index, which "
                   "says whose is which, they must be as many",
                   s->name, e->N_from->name, (long long)e->N, (long long)e->B);
}

static int bit_length(int64_t x) {
  int n = 0;
  for (; x > 0; x >>= 1) n++;
  return n;
}

/* A token at position p sees levels up to bit_length(p), and after p tokens a state has that many
 * slots. What positions there are is known here only where they begin at 0; a kernel gives NaN
 * where a level is lacking. */
static mkc_status check_levels(const struct op_source *s, const struct extents *e,
                               struct error *err) {
  const int64_t needed = bit_length(e->ht ? e->T : e->T - 1) + 1;
  if (!s->max_levels) return MKC_OK;
  if (e->L > s->max_levels)
    return error_set(err, MKC_E_ARGUMENT, "%s: levels is %lld in %s; the op takes at most %d",
                     s->name, (long long)e->L, e->L_from->name, s->max_levels);
  if (e->S && e->S != e->L - 1)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: slots is %lld in %s; with %lld levels in %s it must be %lld", s->name,
                     (long long)e->S, e->S_from->name, (long long)e->L, e->L_from->name,
                     (long long)e->L - 1);
  if (e->position || e->packed >= 0 || e->L >= needed) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "%s: %lld tokens%s need %lld levels; %s has %lld", s->name,
                   (long long)e->T, e->ht ? " and their state" : "", (long long)needed,
                   e->L_from->name, (long long)e->L);
}

static mkc_status check_tokens(const struct op_source *s, const struct extents *e,
                               struct error *err) {
  if (!s->max_tokens || e->T <= s->max_tokens) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT,
                   "%s: T is %lld in %s; the op takes at most %d tokens a launch", s->name,
                   (long long)e->T, e->T_from->name, s->max_tokens);
}

/* B becomes the count of sequences: the batch, or those that cu_seqlens packs into it. */
static mkc_status settle_sequences(const struct op_source *s, struct extents *e,
                                   struct error *err) {
  const bool packed = e->packed >= 0;
  if (e->packed == 0)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: cu_seqlens has one number; for N sequences it has N + 1", s->name);
  if (packed && e->B != 1)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: B is %lld in %s; with cu_seqlens the sequences are packed, and B is 1",
                     s->name, (long long)e->B, e->B_from->name);
  const int64_t sequences = packed ? e->packed : e->B;
  if (e->states && e->states != sequences)
    return error_set(err, MKC_E_ARGUMENT, "%s: B is %lld in %s, but %lld in %s", s->name,
                     (long long)e->states, e->states_from->name, (long long)sequences,
                     packed ? "cu_seqlens" : e->B_from->name);
  e->B = sequences;
  return MKC_OK;
}

/* ---- second pass ---- */

static mkc_status check_heads(const struct op_source *s, const struct op_array *a, int64_t heads,
                              int64_t H, struct error *err) {
  if (a->output && heads != H)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: %s has %lld heads, but H = %lld (the largest count): an output has H",
                     s->name, a->name, (long long)heads, (long long)H);
  if (heads < 1 || H % heads)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: %s has %lld heads, which do not divide H = %lld (the largest count)",
                     s->name, a->name, (long long)heads, (long long)H);
  return MKC_OK;
}

static mkc_status check_stride(const struct op_source *s, const struct op_array *a,
                               const mkc_tensor *t, int d, struct error *err) {
  const char axis = a->axes[d];
  const long long stride = t->stride[d];
  const bool last = !a->axes[d + 1];
  if (last && (axis == 'k' || axis == 'v' || axis == 'L')) {
    if (stride == 1) return MKC_OK;
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: the stride of %s in %s is %lld; it must be 1 (the channels of a head lie "
                     "side by side)",
                     s->name, axis_name(axis), a->name, stride);
  }
  const int size = dtype_bytes[a->dtype];
  if (a->align <= size || stride % (a->align / size) == 0) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT,
                   "%s: the stride of %s in %s is %lld elements; it must be a multiple of %d (%d "
                   "bytes), or the op made with a smaller align",
                   s->name, axis_name(axis), a->name, stride, a->align / size, a->align);
}

/* The last element's offset fits 63 bits in bytes, so no index in the kernel overflows. */
static mkc_status check_span(const struct op_source *s, const struct op_array *a,
                             const mkc_tensor *t, struct error *err) {
  int64_t bytes = dtype_bytes[a->dtype];
  bool too_far = false;
  for (int d = 0; d < t->ndim; d++) {
    int64_t n = t->shape[d] - 1;
    if (t->stride[d] == INT64_MIN || __builtin_mul_overflow(n, llabs(t->stride[d]), &n) ||
        __builtin_mul_overflow(n, dtype_bytes[a->dtype], &n) ||
        __builtin_add_overflow(bytes, n, &bytes))
      too_far = true;
  }
  if (!too_far) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "%s: %s reaches further than 2^63 bytes", s->name, a->name);
}

/* The dimensions that are stepped along, by size of stride. Returns how many. */
static int order_by_stride(const mkc_tensor *t, int ret[5]) {
  int n = 0;
  for (int d = 0; d < t->ndim; d++) {
    if (t->shape[d] == 1) continue;
    int at = n++;
    for (; at > 0 && llabs(t->stride[ret[at - 1]]) > llabs(t->stride[d]); at--)
      ret[at] = ret[at - 1];
    ret[at] = d;
  }
  return n;
}

/* Elements of an output must not share memory: each dimension has to step over all that the ones of
 * smaller strides span. */
static mkc_status check_overlap(const struct op_source *s, const struct op_array *a,
                                const mkc_tensor *t, struct error *err) {
  int order[5];
  const int n = order_by_stride(t, order);
  int64_t span = 1;
  for (int i = 0; i < n; i++) {
    const int d = order[i];
    const int64_t stride = llabs(t->stride[d]);
    if (stride < span)
      return error_set(err, MKC_E_ARGUMENT,
                       "%s: the stride of %s in %s is %lld, so its elements overlap or interleave: "
                       "an output must have each element to itself",
                       s->name, axis_name(a->axes[d]), a->name, (long long)t->stride[d]);
    span += (t->shape[d] - 1) * stride;
  }
  return MKC_OK;
}

static mkc_status check_pointer(const struct op_source *s, const struct op_array *a,
                                const mkc_tensor *t, struct error *err) {
  const int align = a->axes[0] == 'C' ? dtype_bytes[t->dtype] : a->align;
  if (align <= 1 || (uintptr_t)t->data % (unsigned)align == 0) return MKC_OK;
  return error_set(
      err, MKC_E_ARGUMENT,
      "%s: %s begins at %p; it must be aligned to %d bytes, or the op made with a smaller align",
      s->name, a->name, t->data, align);
}

static int slot_of(char axis) {
  switch (axis) {
  case 'B':
  case 'N':
  case 'C': return SLOT_BATCH;
  case 'H': return SLOT_HEAD;
  default: return SLOT_TOKEN; /* T, or of a state the row (k) or the slot (S) */
  }
}

/* Slots of a pool, or heads; of cu_seqlens the bytes of a number. */
static int64_t count_of(const struct op_array *a, const mkc_tensor *t) {
  if (a->axes[0] == 'C') return dtype_bytes[t->dtype];
  const char *counted = strchr(a->axes, a->axes[0] == 'N' ? 'N' : 'H');
  return counted ? t->shape[counted - a->axes] : 0;
}

/* Whether the axis is the row of a matrix whose rows lie side by side. */
static bool is_dense_row(const struct op_array *a, int d) {
  const bool matrix = a->axes[d] == 'k' && a->axes[d + 1];
  return matrix && (a->axes[0] == 'N' || a->axes[1] == 'T' || a->axes[1] == 'S');
}

static mkc_status check_dense_row(const struct op_source *s, const struct op_array *a,
                                  const mkc_tensor *t, int d, struct error *err) {
  if (t->stride[d] == s->dv) return MKC_OK;
  return error_set(
      err, MKC_E_ARGUMENT,
      "%s: the stride of dk in %s is %lld; it must be %d (the rows of a state lie side "
      "by side)",
      s->name, a->name, (long long)t->stride[d], s->dv);
}

/* A dimension of size 1 is never stepped along: whatever its stride, it counts as 0. */
static mkc_status pack_array(const struct op_source *s, const struct op_array *a,
                             const mkc_tensor *t, int64_t H, int64_t slots[ARRAY_SLOTS],
                             struct error *err) {
  mkc_status st = check_pointer(s, a, t, err);
  slots[SLOT_POINTER] = (int64_t)(uintptr_t)t->data;
  slots[SLOT_COUNT] = count_of(a, t);
  for (int d = 0; !st && d < t->ndim; d++) {
    const bool last_channel = !a->axes[d + 1] && strchr("kvL", a->axes[d]);
    if (a->axes[d] == 'H') st = check_heads(s, a, t->shape[d], H, err);
    if (st || t->shape[d] == 1) continue;
    st = is_dense_row(a, d) ? check_dense_row(s, a, t, d, err) : check_stride(s, a, t, d, err);
    if (!last_channel && !is_dense_row(a, d)) slots[slot_of(a->axes[d])] = t->stride[d];
  }
  if (!st) st = check_span(s, a, t, err);
  if (!st && a->output) st = check_overlap(s, a, t, err);
  return st;
}

static mkc_status count_blocks(const struct op_source *s, const struct extents *e, long long *ret,
                               struct error *err) {
  const int64_t limit = 0x7fffffff; /* blocks of a grid, along x */
  int64_t blocks;
  if (!__builtin_mul_overflow(e->B, e->H, &blocks) &&
      !__builtin_mul_overflow(blocks, s->blocks_a_head, &blocks) && blocks <= limit) {
    *ret = blocks;
    return MKC_OK;
  }
  return error_set(err, MKC_E_ARGUMENT,
                   "%s: B = %lld by H = %lld by %d blocks a head is more than the %lld blocks of a "
                   "launch: split the batch",
                   s->name, (long long)e->B, (long long)e->H, s->blocks_a_head, (long long)limit);
}

mkc_status op_args_pack(const struct op_source *s, const mkc_tensor *args, int nargs, void *block,
                        long long *ret_blocks, struct error *err) {
  int64_t slots[OP_ARGS_MAX_BYTES / 8] = {0};
  struct extents e = {.packed = -1};
  if (nargs != s->narrays) return wrong_count(s, nargs, err);
  mkc_status st = find_extents(s, args, &e, err);
  if (!st) st = check_pool(s, &e, err);
  if (!st) st = check_levels(s, &e, err);
  if (!st) st = check_tokens(s, &e, err);
  if (!st) st = settle_sequences(s, &e, err);
  if (!st) st = count_blocks(s, &e, ret_blocks, err);
  for (int i = 0; !st && i < s->narrays; i++) {
    int64_t *array_slots = slots + ARGS_HEAD_SLOTS + ARRAY_SLOTS * i;
    if (args[i].data) st = pack_array(s, &s->arrays[i], &args[i], e.H, array_slots, err);
  }
  if (st) return st;
  slots[0] = e.B;
  slots[1] = e.T;
  slots[2] = e.H;
  if (s->max_levels) slots[op_args_levels_slot(s)] = e.L;
  memcpy(block, slots, op_args_bytes(s));
  return MKC_OK;
}

/* ---- workspace ---- */

mkc_status op_args_set_workspace(const struct op_source *s, void *block, long long blocks,
                                 void *workspace, size_t bytes, struct error *err) {
  const size_t wanted = op_args_workspace(s, block, blocks);
  if (wanted == 0) return MKC_OK;
  if (!workspace || bytes < wanted)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: the workspace has %zu bytes; mkc_op_workspace asks for %zu", s->name,
                     workspace ? bytes : (size_t)0, wanted);
  if ((uintptr_t)workspace % 16)
    return error_set(err, MKC_E_ARGUMENT,
                     "%s: the workspace begins at %p; it must be aligned to 16 bytes", s->name,
                     workspace);
  ((int64_t *)block)[op_args_levels_slot(s) + 1] = (int64_t)(uintptr_t)workspace;
  return MKC_OK;
}
