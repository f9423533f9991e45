/* SPDX-License-Identifier: MIT
 * pack_find.c - from a request to the op of a pack that serves it, or to the nearest.
 *
 * By name: a binary search of the specs. By the digest of a text: all specs, which are few. Then a
 * binary search of the ops, among whose few neighbours (other alignments, other chunks) and their
 * architectures the best is taken.
 */
#include "pack.h"

/* ---- specs ---- */

static int setting_value(const struct pack_request *r, const char *name, int otherwise) {
  for (int i = 0; i < r->nsettings; i++)
    if (r->settings[i].name && !strcmp(r->settings[i].name, name)) return r->settings[i].value;
  return otherwise;
}

static bool has_option(const struct pack *p, const struct pack_spec *s, const char *name) {
  struct pack_option o;
  for (int i = 0; i < s->noptions; i++) {
    pack_option_at(p, s->first_option + i, &o);
    if (!strcmp(o.name, name)) return true;
  }
  return false;
}

/* Every option has the value that was asked for, or its default; and every setting is an option. */
static bool settings_agree(const struct pack *p, const struct pack_spec *s,
                           const struct pack_request *r) {
  struct pack_option o;
  for (int i = 0; i < s->noptions; i++) {
    pack_option_at(p, s->first_option + i, &o);
    if (setting_value(r, o.name, o.default_value) != o.value) return false;
  }
  for (int i = 0; i < r->nsettings; i++)
    if (!r->settings[i].name || !has_option(p, s, r->settings[i].name)) return false;
  return true;
}

/* The first spec whose name is not less. */
static int first_spec(const struct pack *p, const char *name) {
  int low = 0, high = pack_spec_count(p);
  while (low < high) {
    const int middle = low + (high - low) / 2;
    struct pack_spec s;
    pack_spec_at(p, middle, &s);
    if (strcmp(s.name, name) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_spec(const struct pack_spec *s, const struct pack_request *r) {
  if (r->name) return !strcmp(s->name, r->name);
  return r->digest && memcmp(s->digest, r->digest, SHA256_BYTES) == 0;
}

/* ---- ops ---- */

/* The first op that is not before this place in the order. */
static int first_op(const struct pack *p, const unsigned char *place) {
  int low = 0, high = pack_op_count(p);
  while (low < high) {
    const int middle = low + (high - low) / 2;
    struct pack_op op;
    pack_op_at(p, middle, &op);
    if (pack_op_compare(op.entry, place) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static int first_op_of(const struct pack *p, int spec, const struct pack_request *r) {
  unsigned char place[PACK_OP] = {0};
  pack_put(place + OP_SPEC, (uint64_t)spec, 4);
  pack_put(place + OP_PASS, (uint64_t)r->pass, 1);
  pack_put(place + OP_DTYPE, (uint64_t)r->dtype, 1);
  pack_put(place + OP_DK, (uint64_t)r->dk, 4);
  pack_put(place + OP_DV, (uint64_t)r->dv, 4);
  return first_op(p, place);
}

static bool is_op(const struct pack_op *op, int spec, const struct pack_request *r) {
  return op->spec == spec && op->pass == r->pass && op->dtype == r->dtype && op->dk == r->dk &&
         op->dv == r->dv;
}

/* ---- the best ---- */

struct search {
  const struct pack *pack;
  const struct pack_request *request;
  struct pack_match *best;
  int best_rank; /* 0: none yet */
};

/* The architecture decides, then the alignment; then that the chunk was the planner's choice, too.
 */
static int rank(const struct search *s, const struct pack_op *op, const struct pack_code *code) {
  const struct pack_request *r = s->request;
  const int target = pack_target_rank(&r->target, code);
  if (!target || (r->chunk && code->source.chunk != r->chunk)) return 0;
  return (target * 32 + op->align) * 2 + (op->chunk == r->chunk);
}

static mkc_status consider(struct search *s, const struct pack_op *op, struct error *err) {
  const int promised = s->request->align ? s->request->align : 16;
  struct pack_codes codes;
  struct pack_code code;
  if (op->align > promised) return MKC_OK;
  const mkc_status st = pack_codes_open(s->pack, op, &codes, err);
  while (!st && pack_code_next(&codes, &code)) {
    const int r = rank(s, op, &code);
    if (r <= s->best_rank) continue;
    s->best_rank = r;
    *s->best = (struct pack_match){*op, code};
  }
  return st;
}

static mkc_status search_spec(struct search *s, int spec, struct error *err) {
  const int n = pack_op_count(s->pack);
  mkc_status st = MKC_OK;
  for (int i = first_op_of(s->pack, spec, s->request); i < n && !st; i++) {
    struct pack_op op;
    pack_op_at(s->pack, i, &op);
    if (!is_op(&op, spec, s->request)) break;
    st = consider(s, &op, err);
  }
  return st;
}

mkc_status pack_find(const struct pack *p, const struct pack_request *request, bool *ret_found,
                     struct pack_match *ret, struct error *err) {
  struct search s = {p, request, ret, 0};
  const int n = pack_spec_count(p);
  mkc_status st = MKC_OK;
  for (int i = request->name ? first_spec(p, request->name) : 0; i < n && !st; i++) {
    struct pack_spec spec;
    pack_spec_at(p, i, &spec);
    if (is_spec(&spec, request)) {
      if (settings_agree(p, &spec, request)) st = search_spec(&s, i, err);
    } else if (request->name) {
      break;
    }
  }
  *ret_found = s.best_rank > 0;
  return st;
}

/* ---- the nearest, for messages ---- */

/* What decides more counts more. */
static int common(const struct pack_op *op, const struct pack_request *r) {
  return 1 + 16 * (op->pass == r->pass) + 8 * (op->dtype == r->dtype) + 4 * (op->dk == r->dk) +
         2 * (op->dv == r->dv);
}

static void print_codes(const struct pack *p, const struct pack_op *op, struct buf *out) {
  struct pack_codes codes;
  struct pack_code code;
  struct error ignored = {0};
  const char *join = ", for ";
  if (pack_codes_open(p, op, &codes, &ignored)) buf_puts(out, ", damaged");
  error_finish(&ignored);
  for (; pack_code_next(&codes, &code); join = " ")
    buf_printf(out, "%s%s%s", join,
               code.kind == PACK_PTX      ? "ptx:"
               : code.kind == PACK_SOURCE ? "cpu:"
                                          : "",
               code.source.arch);
}

void pack_op_print(const struct pack *p, const struct pack_op *op, struct buf *out) {
  static const char *const dtypes[] = {"fp32", "bf16", "fp16"};
  buf_printf(out, "%s %s dk=%d dv=%d", op->pass == MKC_STEP ? "step" : "forward",
             (unsigned)op->dtype <= MKC_F16 ? dtypes[op->dtype] : "?", op->dk, op->dv);
  if (op->chunk) buf_printf(out, " chunk=%d", op->chunk);
  if (op->align != 16) buf_printf(out, " align=%d", op->align);
  print_codes(p, op, out);
}

int pack_nearest(const struct pack *p, const struct pack_request *request, struct buf *out) {
  struct pack_op op, nearest = {0};
  struct pack_spec spec;
  int most = 0;
  for (int i = 0; i < pack_op_count(p); i++) {
    pack_op_at(p, i, &op);
    pack_spec_at(p, op.spec, &spec);
    if (!is_spec(&spec, request) || common(&op, request) <= most) continue;
    most = common(&op, request);
    nearest = op;
  }
  if (!most) return 0;
  pack_spec_at(p, nearest.spec, &spec);
  buf_printf(out, "%s ", spec.name);
  for (int i = 0; i < spec.noptions; i++) {
    struct pack_option o;
    pack_option_at(p, spec.first_option + i, &o);
    buf_printf(out, "%s=%d ", o.name, o.value);
  }
  pack_op_print(p, &nearest, out);
  return most;
}
