/* SPDX-License-Identifier: MIT
 * guard.c - see guard.h.
 *
 *   memory: | poison | rows of batch 0, head 0 | poison | rows of batch 0, head 1 | poison | ...
 *
 * one array after the other, all in one allocation. A row is the channels of a token, or those of a
 * k in a state.
 */
#include "guard.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "asan.h"

/* Rows after a sequence (one where a row is a matrix), bytes before the first one. */
enum { POISON_ROWS = 128, POISON_BYTES = 64, POISON = 0xFF };

/* Of the argument block: source.h. */
enum { SLOT_B, SLOT_T, SLOT_H };
enum { SLOT_POINTER, SLOT_BATCH, SLOT_ROW, SLOT_HEAD, SLOT_COUNT };

struct copy_of {
  const struct op_array *array; /* NULL: absent */
  int64_t *slots;               /* of the argument block */
  char *given;                  /* the caller's array, with its strides in bytes: */
  int64_t given_batch, given_row, given_head;
  int64_t size;                 /* of an element, bytes */
  int64_t batches, heads, rows; /* batches: or slots of a pool, or numbers of cu_seqlens */
  size_t row_bytes, row_stride, sequence; /* bytes; the last from one sequence to the next */
  char *data;
};

struct guard {
  char *memory;
  size_t bytes;
  int64_t *args;
  int dv;
  struct copy_of copies[OP_MAX_ARRAYS];
  int ncopies;
  char *workspace; /* in place of the caller's */
  size_t workspace_bytes;
  struct asan asan;
};

static size_t element_bytes(mkc_dtype t) {
  return t == MKC_F32 || t == MKC_I32 ? 4 : t == MKC_I64 ? 8 : 2;
}

static size_t align_up(size_t x, size_t align) {
  return (x + align - 1) / align * align;
}

/* ---- where the copies lie ---- */

static bool has(const struct op_array *a, char axis) {
  return strchr(a->axes, axis) != NULL;
}

/* A state whose rows have a stride; in others they lie side by side and are one row here. */
static bool is_rows(const struct op_array *a) {
  return strcmp(a->axes, "BHkv") == 0;
}

static int64_t row_elements(const struct op_source *s, const struct op_array *a,
                            const int64_t *args) {
  if (has(a, 'L')) return args[op_args_levels_slot(s)];
  const int64_t k = has(a, 'k') && !is_rows(a) ? s->dk : 1;
  return k * (has(a, 'v') ? s->dv : 1);
}

static int64_t *slots_of(int64_t *args, int array) {
  return args + ARGS_HEAD_SLOTS + ARRAY_SLOTS * array;
}

/* cu_seqlens is there: arrays over tokens have a batch of one, whatever B is. */
static bool is_packed(const struct op_source *s, int64_t *args) {
  for (int i = 0; i < s->narrays; i++)
    if (has(&s->arrays[i], 'C') && slots_of(args, i)[SLOT_POINTER]) return true;
  return false;
}

static int64_t count_batches(const struct op_source *s, const struct op_array *a, int64_t *args,
                             const int64_t *slots) {
  if (has(a, 'N')) return slots[SLOT_COUNT];
  if (has(a, 'C')) return args[SLOT_B] + 1;
  if (!has(a, 'B') || (has(a, 'T') && is_packed(s, args))) return 1;
  return args[SLOT_B];
}

static struct copy_of describe(const struct op_source *s, int i, int64_t *args) {
  const struct op_array *a = &s->arrays[i];
  int64_t *slots = slots_of(args, i);
  struct copy_of c = {.slots = slots, .given = (char *)(uintptr_t)slots[SLOT_POINTER]};
  if (!c.given) return c;
  const int64_t size = has(a, 'C') ? slots[SLOT_COUNT] : (int64_t)element_bytes(a->dtype);
  c.array = a;
  c.size = size;
  c.given_batch = slots[SLOT_BATCH] * size;
  c.given_row = slots[SLOT_ROW] * size;
  c.given_head = slots[SLOT_HEAD] * size;
  c.batches = count_batches(s, a, args, slots);
  c.heads = !has(a, 'H') ? 1 : has(a, 'N') ? args[SLOT_H] : slots[SLOT_COUNT];
  c.rows = has(a, 'T')   ? args[SLOT_T]
           : has(a, 'S') ? args[op_args_levels_slot(s)] - 1
           : is_rows(a)  ? s->dk
                         : 1;
  c.row_bytes = (size_t)(row_elements(s, a, args) * size);
  c.row_stride = align_up(c.row_bytes, (size_t)(a->align > size ? a->align : size));
  const int poison = has(a, 'v') && has(a, 'k') && !is_rows(a) ? 1 : POISON_ROWS;
  c.sequence = align_up((size_t)(c.rows + poison) * c.row_stride, POISON_BYTES);
  return c;
}

static char *row_of(const struct copy_of *c, int64_t batch, int64_t head, int64_t row) {
  return c->data + (size_t)(batch * c->heads + head) * c->sequence + (size_t)row * c->row_stride;
}

static char *given_row_of(const struct copy_of *c, int64_t batch, int64_t head, int64_t row) {
  return c->given + batch * c->given_batch + head * c->given_head + row * c->given_row;
}

/* ---- life ---- */

static void fill(const struct guard *g, const struct copy_of *c) {
  for (int64_t batch = 0; batch < c->batches; batch++)
    for (int64_t head = 0; head < c->heads; head++)
      for (int64_t row = 0; row < c->rows; row++) {
        char *to = row_of(c, batch, head, row);
        if (g->asan.unpoison) g->asan.unpoison(to, c->row_bytes);
        if (!c->array->output || c->array->in_place)
          memcpy(to, given_row_of(c, batch, head, row), c->row_bytes);
      }
}

/* The kernel takes strides in elements. */
static void point_to(const struct copy_of *c) {
  const struct op_array *a = c->array;
  const int64_t size = c->size;
  c->slots[SLOT_POINTER] = (int64_t)(uintptr_t)c->data;
  if (has(a, 'H')) c->slots[SLOT_HEAD] = (int64_t)c->sequence / size;
  /* A batch of one keeps its 0: a packed one is stepped along. */
  if (c->batches > 1) c->slots[SLOT_BATCH] = c->heads * (int64_t)c->sequence / size;
  if (has(a, 'T') || has(a, 'S') || is_rows(a)) c->slots[SLOT_ROW] = (int64_t)c->row_stride / size;
}

/* Of its own, so that it starts as poison. False: out of memory. */
static bool replace_workspace(struct guard *g, const struct op_source *s) {
  const int64_t blocks = g->args[SLOT_B] * g->args[SLOT_H] * s->blocks_a_head;
  g->workspace_bytes = op_args_workspace(s, g->args, blocks);
  if (g->workspace_bytes == 0) return true;
  g->workspace = aligned_alloc(POISON_BYTES, align_up(g->workspace_bytes, POISON_BYTES));
  if (!g->workspace) return false;
  memset(g->workspace, POISON, g->workspace_bytes);
  g->args[op_args_levels_slot(s) + 1] = (int64_t)(uintptr_t)g->workspace;
  return true;
}

mkc_status guard_create(const struct op_source *source, const void *args, struct guard **ret,
                        struct error *err) {
  struct guard *g = calloc(1, sizeof *g);
  if (!g) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory for a checked launch");
  const size_t args_bytes = op_args_bytes(source);
  asan_find(&g->asan);
  g->dv = source->dv;
  g->args = malloc(args_bytes);
  g->bytes = POISON_BYTES;
  if (g->args) memcpy(g->args, args, args_bytes);
  for (; g->args && g->ncopies < source->narrays; g->ncopies++) {
    struct copy_of *c = &g->copies[g->ncopies];
    *c = describe(source, g->ncopies, g->args);
    if (c->array) g->bytes += (size_t)(c->batches * c->heads) * c->sequence;
  }
  if (g->args && replace_workspace(g, source)) g->memory = aligned_alloc(POISON_BYTES, g->bytes);
  if (!g->memory) {
    guard_destroy(g);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory for a checked launch's arrays");
  }
  memset(g->memory, POISON, g->bytes);
  if (g->asan.poison) g->asan.poison(g->memory, g->bytes);
  char *at = g->memory + POISON_BYTES;
  for (int i = 0; i < g->ncopies; i++) {
    struct copy_of *c = &g->copies[i];
    if (!c->array) continue;
    c->data = at;
    at += (size_t)(c->batches * c->heads) * c->sequence;
    fill(g, c);
    point_to(c);
  }
  *ret = g;
  return MKC_OK;
}

void guard_destroy(struct guard *g) {
  if (!g) return;
  if (g->memory && g->asan.unpoison) g->asan.unpoison(g->memory, g->bytes);
  free(g->memory);
  free(g->workspace);
  free(g->args);
  free(g);
}

const void *guard_args(const struct guard *g) {
  return g->args;
}

void guard_copy_back(const struct guard *g) {
  for (int i = 0; i < g->ncopies; i++) {
    const struct copy_of *c = &g->copies[i];
    if (!c->array || !c->array->output) continue;
    for (int64_t batch = 0; batch < c->batches; batch++)
      for (int64_t head = 0; head < c->heads; head++)
        for (int64_t row = 0; row < c->rows; row++)
          memcpy(given_row_of(c, batch, head, row), row_of(c, batch, head, row), c->row_bytes);
  }
}

/* ---- whose an address is ---- */

static const struct copy_of *find(const struct guard *g, const char *p) {
  if ((uintptr_t)p - (uintptr_t)g->memory >= g->bytes) return NULL;
  const struct copy_of *found = NULL;
  for (int i = 0; i < g->ncopies; i++)
    if (g->copies[i].array && (!found || p >= g->copies[i].data)) found = &g->copies[i];
  return found;
}

static bool in_workspace(const struct guard *g, const void *p) {
  return g->workspace && (uintptr_t)p - (uintptr_t)g->workspace < g->workspace_bytes;
}

enum guard_place guard_look(const struct guard *g, const void *p, size_t bytes) {
  if (in_workspace(g, p))
    return in_workspace(g, (const char *)p + bytes - 1) ? GUARD_ARRAY : GUARD_POISON;
  const struct copy_of *c = find(g, p);
  if (!c) return GUARD_ELSEWHERE;
  if ((const char *)p < c->data) return GUARD_POISON;
  const size_t within = (size_t)((const char *)p - c->data) % c->sequence;
  const bool in_rows = within < (size_t)c->rows * c->row_stride;
  return in_rows && within % c->row_stride + bytes <= c->row_bytes ? GUARD_ARRAY : GUARD_POISON;
}

/* The index of the array that p is at; row and element: of its sequence. */
static void print_index(const struct guard *g, const struct copy_of *c, int64_t sequence,
                        int64_t row, int64_t element, struct buf *out) {
  const bool dense = has(c->array, 'k') && has(c->array, 'v') && !is_rows(c->array);
  buf_printf(out, "%s[", c->array->name);
  for (const char *axis = c->array->axes; *axis; axis++) {
    int64_t index = 0;
    switch (*axis) {
    case 'B':
    case 'C':
    case 'N': index = sequence / c->heads; break;
    case 'H': index = sequence % c->heads; break;
    case 'S':
    case 'T': index = row; break;
    case 'k': index = is_rows(c->array) ? row : dense ? element / g->dv : element; break;
    default: index = dense ? element % g->dv : element; break;
    }
    buf_printf(out, "%s%lld", axis == c->array->axes ? "" : ",", (long long)index);
  }
  buf_puts(out, "]");
}

bool guard_print(const struct guard *g, const void *p, struct buf *out) {
  const struct copy_of *c = find(g, p);
  if (in_workspace(g, p))
    buf_printf(out, "the workspace at byte %zu", (size_t)((const char *)p - g->workspace));
  if (!c) return in_workspace(g, p);
  if ((const char *)p < c->data) {
    buf_printf(out, "memory before the start of %s", c->array->name);
    return true;
  }
  const size_t offset = (size_t)((const char *)p - c->data), within = offset % c->sequence;
  const int64_t row = (int64_t)(within / c->row_stride);
  print_index(g, c, (int64_t)(offset / c->sequence), row,
              (int64_t)(within % c->row_stride) / c->size, out);
  if (row >= c->rows) buf_puts(out, ", past the end of the sequence");
  return true;
}
