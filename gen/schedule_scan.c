/* SPDX-License-Identifier: MIT
 * schedule_scan.c - the portable scan: when it applies, its candidates and what they cost.
 *
 * The kernel is templates/scan.k.c: one pass, one block a head (or a part of its value channels),
 * mma.sync, cp.async, the state in registers. It serves the plain family: no decay, a decay
 * constant per head, or one scalar a token.
 */
#include "schedule_scan.h"

#include "expr.h"
#include "row_code.h"

#include <math.h>

enum { MIN_CHANNELS = 16, MAX_CHANNELS = 256, MAX_REGISTERS = 255 };

static const int all_chunks[] = {64, 32, 16, 128};
enum { MOST_STAGES = 3, NCHUNKS = sizeof all_chunks / sizeof *all_chunks };

const char *scan_lacks_in_channels(const char *name, int n, struct arena *a) {
  if (n >= MIN_CHANNELS && n <= MAX_CHANNELS && n % 4 == 0) return NULL;
  return arena_printf(a, "%s is %d; it takes multiples of 4 from %d to %d", name, n, MIN_CHANNELS,
                      MAX_CHANNELS);
}

/* "16, 32, 64 and 128", from the smallest */
static const char *print_list(const int *list, int count, struct arena *a) {
  const char *text = "";
  for (int last = 0, n = 0; n < count; n++) {
    int next = 0;
    for (int i = 0; i < count; i++)
      if (list[i] > last && (!next || list[i] < next)) next = list[i];
    text = arena_printf(a, "%s%s%d", text, n == 0 ? "" : n == count - 1 ? " and " : ", ", next);
    last = next;
  }
  return text;
}

const char *scan_lacks_in_config(const struct gen_config *c, const int *chunks, int nchunks,
                                 struct arena *a) {
  const char *what = NULL;
  bool known = c->chunk == 0;
  if (!what) what = scan_lacks_in_channels("dk", c->dk, a);
  if (!what) what = scan_lacks_in_channels("dv", c->dv, a);
  for (int i = 0; i < nchunks; i++) known |= c->chunk == chunks[i];
  if (what || known) return what;
  return arena_printf(a, "chunk is %d; it takes %s", c->chunk, print_list(chunks, nchunks, a));
}

const char *scan_lacks_in_mask(const struct branch *b) {
  for (int i = 0; i < b->nweights; i++) {
    switch (b->weights[i].kind) {
    case WEIGHT_DECAY: break;
    case WEIGHT_FENWICK: return "slot mask: fenwick";
    case WEIGHT_TOEPLITZ: return "slot mask: toeplitz";
    case WEIGHT_BIDIRECTIONAL: return "slot mask: bidirectional";
    default: return "slot mask: window, block and first";
    }
  }
  return NULL;
}

static const char *lacks_in_transition(const struct branch *b) {
  if (b->delta == DELTA_RULE) return "slot transition: delta";
  if (b->delta == DELTA_FORM || b->delta == DELTA_LOWRANK) return "slot transition: outer";
  if (b->decay == DECAY_CHANNEL) return "slot transition: a decay over dk";
  return NULL;
}

/* ---- roles ---- */

static bool is_in(const struct leaf_list *list, const struct leaf *leaf) {
  for (int i = 0; i < list->n; i++)
    if (list->at[i] == leaf) return true;
  return false;
}

void scan_decay_inputs(const struct branch *b, struct leaf_list *ret) {
  *ret = (struct leaf_list){.n = 0};
  if (b->decay != DECAY_CHANNEL) return;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log) leaf_list_add_inputs(ret, b->factors[i].log, AXIS_DK);
}

static const char *split(const char *slot, const struct expr *e, struct arena *a,
                         struct role *ret) {
  const char *what = role_split(e, AXIS_DV, ret);
  if (!what && ret->leaf->fp32) what = "an input that has another use";
  return what ? arena_printf(a, "slot %s: %s", slot, what) : NULL;
}

/* given: inputs that have a tile, and in fp32. */
static const char *split_key(const char *slot, const struct expr *e, const struct role *k,
                             const struct leaf_list *given, struct arena *a, struct role *ret) {
  struct leaf_list inputs = {.n = 0};
  const char *what = role_split(e, AXIS_DK, ret);
  int others = 0, tiles = 0;
  if (!what && ret->row) leaf_list_add_inputs(&inputs, ret->row, AXIS_DK);
  for (int i = 0; i < inputs.n; i++) {
    if (is_in(given, inputs.at[i])) continue;
    tiles++;
    if (k && inputs.at[i] == k->leaf) continue;
    ret->leaf = inputs.at[i];
    others++;
  }
  if (others > 1) what = "inputs over channels that are not k's";
  if (!k && tiles > 1) what = "two inputs over channels";
  if (!what && ret->leaf->fp32 && !is_in(given, ret->leaf)) what = "an input that has another use";
  return what ? arena_printf(a, "slot %s: %s", slot, what) : NULL;
}

const char *scan_split_key(const char *slot, const struct expr *e, const struct role *k,
                           struct arena *a, struct role *ret) {
  const struct leaf_list none = {.n = 0};
  return split_key(slot, e, k, &none, a, ret);
}

const char *scan_roles_split(const struct branch *b, struct arena *a, struct scan_roles *ret) {
  struct leaf_list given;
  scan_decay_inputs(b, &given);
  const char *what = split_key("k", b->k, NULL, &given, a, &ret->k);
  if (!what) what = split_key("q", b->q, &ret->k, &given, a, &ret->q);
  if (!what) what = split("v", b->v, a, &ret->v);
  return what;
}

/* rowsum sees what k is multiplied by, but not what v is: so under a normaliser v is multiplied
 * where it lies, and the weight of the write, which P's columns get, is k's alone. */
const char *scan_roles_of(const struct variant *v, struct arena *a, struct scan_roles *ret) {
  const struct branch *b = &v->branches[0];
  const char *what = scan_roles_split(b, a, ret);
  if (what || !v->normaliser || ret->v.nterms == 0) return what;
  ret->v.nterms = 0;
  ret->v.row = b->v;
  what = row_code_lacks(b->v, AXIS_DV);
  return what ? arena_printf(a, "slot v: %s", what) : NULL;
}

/* The logarithm of a decay: of a token, or of a channel. */
static const char *lacks_in_log(const struct expr *log) {
  if (log->axis != AXIS_DK) return expr_not_emitted(log, AXIS_NONE);
  return row_code_reduces(log) ? "a sum over channels" : expr_not_emitted_by_token(log, AXIS_DK);
}

static const char *lacks_in_expressions(const struct branch *b, struct arena *a) {
  const char *bad = expr_not_emitted(b->scale, AXIS_NONE);
  if (bad) return arena_printf(a, "slot scale: %s", bad);
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log && (bad = lacks_in_log(b->factors[i].log)))
      return arena_printf(a, "slot transition: %s in a decay", bad);
  for (int i = 0; i < b->nweights; i++)
    if ((bad = expr_not_emitted(b->weights[i].log, AXIS_NONE)))
      return arena_printf(a, "slot mask: %s in a decay", bad);
  return NULL;
}

/* ---- output and the tiles over dv ---- */

bool scan_output_by_row(const struct variant *v) {
  return v->output && expr_not_emitted(v->output, AXIS_DV) != NULL;
}

static void add_but(struct leaf_list *list, const struct expr *e, const struct leaf *but) {
  struct leaf_list inputs = {.n = 0};
  leaf_list_add_inputs(&inputs, e, AXIS_DV);
  for (int i = 0; i < inputs.n; i++)
    if (inputs.at[i] != but) leaf_list_add(list, inputs.at[i]);
}

void scan_tiles(const struct variant *v, const struct scan_roles *roles, struct leaf_list *ret) {
  const struct role *value = &roles->v;
  *ret = (struct leaf_list){.n = 0};
  if (value->row) add_but(ret, value->row, value->leaf);
  if (v->output) add_but(ret, v->output, value->row ? NULL : value->leaf);
}

static const char *lacks_in_output(const struct variant *v, const struct scan_roles *roles,
                                   struct arena *a) {
  const char *bad = v->output ? row_code_lacks(v->output, AXIS_DV) : NULL;
  if (bad) return arena_printf(a, "slot output: %s", bad);
  struct leaf_list tiles;
  scan_tiles(v, roles, &tiles);
  for (int i = 0; i < tiles.n; i++)
    if (tiles.at[i]->fp32)
      return arena_printf(a, "input %s over dv, which has another use", tiles.at[i]->name);
  return NULL;
}

const char *scan_lacks_but_mask(const struct variant *v, struct arena *a) {
  const struct branch *b = &v->branches[0];
  const char *what = NULL;
  struct scan_roles roles;
  if (v->nbranches > 1) return "slot branches";
  if (v->steps) return "slot steps";
  if (!b->linear) return "slot score: anything but qk";
  if (b->read_before) return "slot read: \"before\"";
  if (b->value_decay) return "slot transition: a decay over dv";
  if (!what) what = scan_roles_of(v, a, &roles);
  if (!what) what = lacks_in_expressions(b, a);
  if (!what) what = lacks_in_output(v, &roles, a);
  return what;
}

const char *scan_lacks_in_slots(const struct variant *v, struct arena *a) {
  const char *what = scan_lacks_in_mask(&v->branches[0]);
  return what ? what : scan_lacks_but_mask(v, a);
}

static const char *lacks_in_normaliser(const struct variant *v, struct arena *a) {
  if (!v->normaliser) return NULL;
  if (v->branches[0].log_write) return "slot normaliser: with a write gate that is exp";
  const char *bad = expr_not_emitted(v->normaliser, AXIS_NONE);
  return bad ? arena_printf(a, "slot normaliser: %s", bad) : NULL;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const char *what = lacks_in_transition(&v->branches[0]);
  if (!what) what = scan_lacks_in_slots(v, a);
  if (!what) what = lacks_in_normaliser(v, a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* ---- sizes: what the template's enum computes, too ---- */

int scan_round_up(int n, int multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int scan_element_bytes(const struct gen_config *c) {
  return c->dtype == MKC_F32 ? 4 : 2;
}

int scan_products(const struct gen_config *c) {
  return c->dtype == MKC_F32 ? 6 : 1;
}

int scan_table_floats(const struct branch *b, const struct scan_roles *r,
                      const struct gen_config *c) {
  const int row = c->chunk < 32 ? 32 : c->chunk, of_sums = c->dtype == MKC_F32 ? 4 : 3;
  return (b->decay != DECAY_NONE ? of_sums * row + 16 : 0) +
         (r->k.nterms + r->v.nterms > 0 ? row : 0) + (r->q.nterms > 0 ? row : 0);
}

/* Of a normaliser: z twice, the parts of the row sums, the factors. */
static int rowsum_floats(int dk, int chunk) {
  const int parts = 1 + (chunk + 31) / 32;
  return 2 * scan_round_up(dk, 16) + (parts + 1) * chunk;
}

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v,
                      const struct scan_roles *roles) {
  enum { PAD = 8 }; /* elements a row */
  const int chunk = p->config.chunk;
  struct leaf_list tiles;
  scan_tiles(v, roles, &tiles);
  const int qk_tile = chunk * (scan_round_up(p->config.dk, 16) + PAD);
  const int v_tile = chunk * (p->dv_tile + PAD);
  const int stage = 2 * qk_tile + (1 + tiles.n) * v_tile;
  const int floats = 2 * scan_table_floats(&v->branches[0], roles, &p->config) +
                     (v->normaliser ? rowsum_floats(p->config.dk, chunk) : 0);
  const int elements = p->stages * stage + chunk * (chunk + PAD) + v_tile;
  return scan_element_bytes(&p->config) * elements + 4 * floats;
}

/* Registers a thread wants: the accumulators of the state and of a chunk's output, fragments,
 * addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  if (c->dtype == MKC_F32) return scan_round_up(c->dk, 16) / 2 + c->chunk + 100;
  return scan_round_up(c->dk, 16) / 2 + c->chunk / 2 + (c->chunk == 16 ? 86 : 98);
}

/* Registers a thread has when so many warps share an SM. Each quarter of an SM has its own, given
 * out by eight: 10 warps are 3 in some quarter, and have 16384 / 32 / 3, so 168. */
static int registers_given(const struct target *t, int warps) {
  const int a_lane = t->registers / 4 / 32 / ((warps + 3) / 4) / 8 * 8;
  return a_lane < MAX_REGISTERS ? a_lane : MAX_REGISTERS;
}

static int resident_blocks(const struct plan *p, int wanted) {
  const int by_smem = p->target->smem_sm / (p->smem_bytes + 1024); /* 1 KiB each is the system's */
  const int warps = p->threads / 32;
  int blocks = by_smem > 1 ? by_smem : 1;
  while (blocks > 1 && registers_given(p->target, blocks * warps) < wanted) blocks--;
  return blocks;
}

/* Blocks of P, 16 rows by 32 columns, that the warp with the most of them computes. */
static int p_units(int chunk, int warps) {
  const int rows = chunk / 16, units = rows * ((rows + 1) / 2);
  int most = 0;
  for (int warp = 0; warp < warps; warp++) {
    int n = 0;
    for (int unit = warp; unit < units; unit += warps) n += 2 * (unit / rows) <= unit % rows;
    if (n > most) most = n;
  }
  return most;
}

/* What a block takes to move on by a chunk, in ns a token: fitted to an H100 (docs/PERFORMANCE.md).
 * What no other warp hides, P, and a part for each warp that shares the SM. */
static void predict_steps(struct plan *p) {
  const double ns_a_token = 1e3 / p->config.chunk, size = p->config.chunk / 64.0;
  const int warps = p->threads / 32;
  p->alone_ns = (0.45 + 0.37 * p_units(p->config.chunk, warps)) * ns_a_token;
  p->share_ns = warps * size * (0.165 + 0.0011 * p->config.dk) * ns_a_token;
  p->share_ns *= scan_products(&p->config);
}

/* Bytes, FLOPs, and what they take. */
static void predict_rates(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1;
  const double chunk = p->config.chunk;
  const struct target *t = p->target;
  const double element = scan_element_bytes(&p->config);
  const double mma_tflops = t->mma_tflops / scan_products(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 4 * dk * dv + 2 * chunk * (dk + dv);
  const double memory = p->bytes / t->copy_gbs, tensor = p->flops / mma_tflops / 1e3;
  p->floor_ns = fmax(memory, tensor);
  /* each further part of a head reads q and k again, from L2, and computes P again */
  const double l2 = 2 * element * dk * again / (2 * t->copy_gbs);
  const double p_again = 2 * chunk * dk * again / mma_tflops / 1e3;
  p->rate_ns = fmax(memory + l2, tensor + p_again);
}

double scan_other_bytes(const struct variant *v, const struct scan_roles *roles,
                        const struct gen_config *c) {
  const int element = scan_element_bytes(c);
  struct leaf_list tiles;
  scan_tiles(v, roles, &tiles);
  double bytes = (double)element * c->dv * tiles.n;
  for (int i = 0; i < v->nleaves; i++)
    if (!v->leaves[i]->param && v->leaves[i]->axis == AXIS_NONE)
      bytes += v->leaves[i]->fp32 ? 4 : element;
  return bytes;
}

/* Sums over dv want all of it in one block. */
static bool reduces_over_dv(const struct variant *v, const struct scan_roles *roles) {
  return row_code_reduces(roles->v.row) || (scan_output_by_row(v) && row_code_reduces(v->output));
}

void scan_fit(struct plan *p, const struct variant *v, const struct scan_roles *roles,
              int registers, struct arena *a) {
  const int warps = p->dv_tile / 16 * (p->halves ? 2 : 1);
  p->threads = warps * 32;
  const int given = registers_given(p->target, warps);
  p->blocks_a_head = (p->config.dv + p->dv_tile - 1) / p->dv_tile;
  p->registers = registers;
  p->blocks_an_sm = resident_blocks(p, registers);
  if (p->smem_bytes > p->target->smem_block)
    p->reason = arena_printf(a, "wants %d bytes of shared memory; a block has %d", p->smem_bytes,
                             p->target->smem_block);
  else if (registers > given)
    p->reason = arena_printf(a, "wants %d registers a thread; %d threads have %d", registers,
                             p->threads, given);
  else if (p->blocks_a_head > 1 && reduces_over_dv(v, roles))
    p->reason = "the spec sums over dv, of which a block has a part";
}

/* Tiles of dv: all of it, half, a quarter, ... in multiples of 16. Returns how many. */
static int dv_tiles(int dv, int ret[5]) {
  int n = 0;
  for (int parts = 1; parts <= 16; parts *= 2) {
    const int tile = scan_round_up((dv + parts - 1) / parts, 16);
    if (n == 0 || tile < ret[n - 1]) ret[n++] = tile;
  }
  return n;
}

int scan_candidates(const struct schedule *schedule, const struct gen_config *config,
                    const struct target *target, const int *chunks, int nchunks, int most_stages,
                    struct plan *ret) {
  int tiles[5], n = 0;
  const int ntiles = dv_tiles(config->dv, tiles);
  for (int c = 0; c < nchunks; c++) {
    if (config->chunk && config->chunk != chunks[c]) continue;
    for (int t = 0; t < ntiles; t++)
      for (int stages = 2; stages <= most_stages; stages++) {
        struct plan *p = &ret[n++];
        *p = (struct plan){.schedule = schedule, .target = target, .config = *config};
        p->config.chunk = chunks[c];
        p->dv_tile = tiles[t];
        p->stages = stages;
      }
  }
  return n;
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  struct scan_roles roles;
  scan_roles_of(v, a, &roles);
  const int n =
      scan_candidates(&schedule_scan, config, target, all_chunks, NCHUNKS, MOST_STAGES, ret);
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &roles);
    scan_fit(p, v, &roles, registers_wanted(&p->config), a);
    predict_steps(p);
    predict_rates(p, scan_other_bytes(v, &roles, config));
  }
  return n;
}

const struct schedule schedule_scan = {
    .name = "scan",
    .template_name = "templates/scan.k.c",
    .pass = MKC_FORWARD,
    .about = "one pass, mma.sync and cp.async, state in registers (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_scan_slots,
};
