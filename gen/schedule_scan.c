/* SPDX-License-Identifier: MIT
 * schedule_scan.c - the portable scan: when it applies, its candidates and what they cost.
 *
 * The kernel is templates/scan.k.c: one pass, one block a head (or a part of its value channels),
 * mma.sync, cp.async, the state in registers. It serves the plain family: no decay, a decay
 * constant per head, or one scalar a token.
 */
#include "schedule_scan.h"

#include "expr.h"

enum { MIN_CHANNELS = 16, MAX_CHANNELS = 256, MAX_REGISTERS = 255 };

static const int chunks[] = {64, 32, 16, 128};
enum { NCHUNKS = sizeof chunks / sizeof *chunks };

static bool is_chunk(int n) {
  for (int i = 0; i < NCHUNKS; i++)
    if (chunks[i] == n) return true;
  return false;
}

static const char *lacks_in_channels(const char *name, int n, struct arena *a) {
  if (n >= MIN_CHANNELS && n <= MAX_CHANNELS && n % 4 == 0) return NULL;
  return arena_printf(a, "%s is %d; it takes multiples of 4 from %d to %d", name, n, MIN_CHANNELS,
                      MAX_CHANNELS);
}

static const char *lacks_in_config(const struct gen_config *c, struct arena *a) {
  const char *what = NULL;
  if (c->pass != MKC_FORWARD) return "only the forward pass";
  if (c->dtype != MKC_BF16 && c->dtype != MKC_F16) return "only bf16 and fp16";
  if (!what) what = lacks_in_channels("dk", c->dk, a);
  if (!what) what = lacks_in_channels("dv", c->dv, a);
  if (what || !c->chunk || is_chunk(c->chunk)) return what;
  return arena_printf(a, "chunk is %d; it takes 16, 32, 64 and 128", c->chunk);
}

static const char *lacks_in_mask(const struct branch *b) {
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
  if (b->value_decay) return "slot transition: a decay over dv";
  if (b->decay == DECAY_CHANNEL) return "slot transition: a decay over dk";
  return NULL;
}

/* ---- roles ---- */

static const struct expr minus_one = {.op = OP_CONST, .width = 1, .lo = -1, .hi = -1, .value = -1};

static bool add_term(struct scan_role *r, const struct expr *e, bool inverse) {
  if (r->nterms == SCAN_MAX_TERMS) return false;
  r->terms[r->nterms++] = (struct expr_term){e, inverse};
  return true;
}

bool scan_role_split(const struct expr *e, enum axis axis, struct scan_role *ret) {
  *ret = (struct scan_role){0};
  while (e->op != OP_INPUT) {
    const struct expr *x = e->arg[0], *y = e->arg[1];
    bool taken = false;
    if (e->op == OP_NEG)
      taken = add_term(ret, &minus_one, false);
    else if (e->op == OP_MUL && !x->axis)
      taken = add_term(ret, x, false);
    else if ((e->op == OP_MUL || e->op == OP_DIV) && !y->axis)
      taken = add_term(ret, y, e->op == OP_DIV);
    if (!taken) return false;
    e = e->op == OP_MUL && !x->axis ? y : x;
  }
  ret->leaf = e->leaf;
  return e->axis == axis && !e->step;
}

static const char *lacks_in_role(const char *slot, const struct expr *e, enum axis axis,
                                 struct arena *a) {
  struct scan_role role;
  if (!scan_role_split(e, axis, &role))
    return arena_printf(a, "slot %s: an expression over channels (it takes scalars times an input)",
                        slot);
  for (int i = 0; i < role.nterms; i++) {
    const char *bad = expr_not_emitted(role.terms[i].e, AXIS_NONE);
    if (bad) return arena_printf(a, "slot %s: %s", slot, bad);
  }
  return NULL;
}

static const char *lacks_in_roles(const struct branch *b, struct arena *a) {
  const char *what = lacks_in_role("q", b->q, AXIS_DK, a);
  if (!what) what = lacks_in_role("k", b->k, AXIS_DK, a);
  if (!what) what = lacks_in_role("v", b->v, AXIS_DV, a);
  if (what) return what;
  struct scan_role q, k;
  scan_role_split(b->q, AXIS_DK, &q);
  scan_role_split(b->k, AXIS_DK, &k);
  return q.leaf == k.leaf ? "slots q and k: one input for both" : NULL;
}

static const char *lacks_in_expressions(const struct branch *b, struct arena *a) {
  const char *bad = expr_not_emitted(b->scale, AXIS_NONE);
  if (bad) return arena_printf(a, "slot scale: %s", bad);
  for (int i = 0; i < b->nfactors; i++)
    if ((bad = expr_not_emitted(b->factors[i].log, AXIS_NONE)))
      return arena_printf(a, "slot transition: %s in a decay", bad);
  for (int i = 0; i < b->nweights; i++)
    if ((bad = expr_not_emitted(b->weights[i].log, AXIS_NONE)))
      return arena_printf(a, "slot mask: %s in a decay", bad);
  return NULL;
}

/* ---- output ---- */

struct tile_list {
  const struct leaf *value; /* the input of v, which is in shared memory anyway */
  struct leaf_list *leaves;
};

static void add_tile(void *data, const struct leaf *leaf) {
  struct tile_list *tiles = data;
  if (!leaf->param && leaf != tiles->value) leaf_list_add(tiles->leaves, leaf);
}

void scan_output_tiles(const struct variant *v, struct leaf_list *ret) {
  struct scan_role role;
  *ret = (struct leaf_list){.n = 0};
  if (!v->output || !scan_role_split(v->branches[0].v, AXIS_DV, &role)) return;
  struct tile_list tiles = {role.leaf, ret};
  expr_each_leaf(v->output, add_tile, &tiles);
}

static const char *lacks_in_output(const struct variant *v, struct arena *a) {
  const char *bad = expr_not_emitted(v->output, AXIS_DV);
  if (bad) return arena_printf(a, "slot output: %s", bad);
  const struct branch *b = &v->branches[0];
  struct leaf_list tiles;
  scan_output_tiles(v, &tiles);
  for (int i = 0; i < tiles.n; i++)
    if (tiles.at[i]->fp32 || tiles.at[i] == b->q->leaf || tiles.at[i] == b->k->leaf)
      return arena_printf(a, "slot output: input %s, which has another use", tiles.at[i]->name);
  return NULL;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const struct branch *b = &v->branches[0];
  const char *what = NULL;
  if (v->nbranches > 1) return "slot branches";
  if (v->steps) return "slot steps";
  if (v->normaliser) return "slot normaliser";
  if (!b->linear) return "slot score: anything but qk";
  if (b->read_before) return "slot read: \"before\"";
  if (!what) what = lacks_in_mask(b);
  if (!what) what = lacks_in_transition(b);
  if (!what) what = lacks_in_roles(b, a);
  if (!what) what = lacks_in_expressions(b, a);
  if (!what) what = lacks_in_output(v, a);
  if (!what) what = lacks_in_config(config, a);
  return what;
}

/* ---- sizes: what the template's enum computes, too ---- */

static int round_up(int n, int multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/* Floats of a chunk's token table: b_i, 2^b_i, 2^(b_last - b_i) and, alone, 2^b_last where there is
 * a decay; a write and a read weight where the roles have them. Mirrors TABLE of the template. */
static int table_floats(const struct branch *b, int chunk) {
  const int row = chunk < 32 ? 32 : chunk;
  struct scan_role q, k, v;
  scan_role_split(b->q, AXIS_DK, &q);
  scan_role_split(b->k, AXIS_DK, &k);
  scan_role_split(b->v, AXIS_DV, &v);
  return (b->decay != DECAY_NONE ? 3 * row + 16 : 0) + (k.nterms + v.nterms > 0 ? row : 0) +
         (q.nterms > 0 ? row : 0);
}

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v) {
  enum { PAD = 8 }; /* elements a row */
  const int chunk = p->config.chunk;
  struct leaf_list tiles;
  scan_output_tiles(v, &tiles);
  const int qk_tile = chunk * (round_up(p->config.dk, 16) + PAD);
  const int v_tile = chunk * (p->dv_tile + PAD);
  const int stage = 2 * qk_tile + (1 + tiles.n) * v_tile;
  const int tables = 2 * table_floats(&v->branches[0], chunk);
  return 2 * (p->stages * stage + chunk * (chunk + PAD) + v_tile) + 4 * tables;
}

/* Registers a thread wants: the accumulators of the state and of a chunk's output, fragments,
 * addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  return round_up(c->dk, 16) / 2 + c->chunk / 2 + 98;
}

/* Registers a thread has when so many warps share an SM. Each quarter of an SM has its own, given
 * out by eight: 10 warps are 3 in some quarter, and have 16384 / 32 / 3, so 168. */
static int registers_given(const struct target *t, int warps) {
  const int a_lane = t->registers / 4 / 32 / ((warps + 3) / 4) / 8 * 8;
  return a_lane < MAX_REGISTERS ? a_lane : MAX_REGISTERS;
}

static int resident_blocks(const struct plan *p) {
  const int by_smem = p->target->smem_sm / (p->smem_bytes + 1024); /* 1 KiB each is the system's */
  const int wanted = registers_wanted(&p->config), warps = p->threads / 32;
  int blocks = by_smem > 1 ? by_smem : 1;
  while (blocks > 1 && registers_given(p->target, blocks * warps) < wanted) blocks--;
  return blocks;
}

static double larger(double x, double y) {
  return x > y ? x : y;
}

/* Microseconds that an SM takes to move each of its blocks one chunk on, fitted to an H100 (docs/
 * PERFORMANCE.md): a part that no other warp hides, and a part for each warp that shares the SM. */
static double chunk_us(const struct plan *p) {
  const double warps = p->blocks_an_sm * p->threads / 32;
  const double split = p->blocks_a_head > 1 ? 0.25 : 0; /* P is computed once more */
  return 1.1 + split + warps * (0.08 + 0.0014 * p->config.dk);
}

/* Bytes, FLOPs, and a time from three bounds: memory, tensor cores, the latency of a chunk. */
static void predict(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1;
  const double chunk = p->config.chunk;
  const struct target *t = p->target;
  p->bytes = 2 * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 4 * dk * dv + 2 * chunk * (dk + dv);
  const double memory = p->bytes / t->copy_gbs, tensor = p->flops / t->mma_tflops / 1e3;
  p->floor_ns = larger(memory, tensor);
  /* each further part of a head reads q and k again, from L2, and computes P again */
  const double l2 = 4 * dk * again / (2 * t->copy_gbs);
  const double p_again = 2 * chunk * dk * again / t->mma_tflops / 1e3;
  const double latency =
      1e3 * chunk_us(p) * p->blocks_a_head / (chunk * (double)t->sms * p->blocks_an_sm);
  p->predicted_ns = larger(latency, larger(memory + l2, tensor + p_again));
}

/* What is read beside q, k and v for a token of one head. */
static double other_bytes(const struct variant *v, int dv) {
  struct leaf_list tiles;
  scan_output_tiles(v, &tiles);
  double bytes = 2.0 * dv * tiles.n;
  for (int i = 0; i < v->nleaves; i++)
    if (!v->leaves[i]->param && v->leaves[i]->axis == AXIS_NONE)
      bytes += v->leaves[i]->fp32 ? 4 : 2;
  return bytes;
}

/* One candidate; with a reason where it cannot run. */
static void fill_plan(struct plan *p, const struct variant *v, double others, struct arena *a) {
  const int wanted = registers_wanted(&p->config);
  p->threads = p->dv_tile / 16 * 32;
  p->blocks_a_head = (p->config.dv + p->dv_tile - 1) / p->dv_tile;
  p->smem_bytes = smem_bytes(p, v);
  p->blocks_an_sm = resident_blocks(p);
  if (p->smem_bytes > p->target->smem_block)
    p->reason = arena_printf(a, "wants %d bytes of shared memory; a block has %d", p->smem_bytes,
                             p->target->smem_block);
  else if (wanted > registers_given(p->target, p->threads / 32))
    p->reason = arena_printf(a, "wants %d registers a thread; %d threads have %d", wanted,
                             p->threads, registers_given(p->target, p->threads / 32));
  else
    predict(p, others);
}

/* Tiles of dv: all of it, half, a quarter, ... in multiples of 16. Returns how many. */
static int dv_tiles(int dv, int ret[5]) {
  int n = 0;
  for (int parts = 1; parts <= 16; parts *= 2) {
    const int tile = round_up((dv + parts - 1) / parts, 16);
    if (n == 0 || tile < ret[n - 1]) ret[n++] = tile;
  }
  return n;
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  const double others = other_bytes(v, config->dv);
  int tiles[5], n = 0;
  const int ntiles = dv_tiles(config->dv, tiles);
  for (int c = 0; c < NCHUNKS; c++) {
    if (config->chunk && config->chunk != chunks[c]) continue;
    for (int t = 0; t < ntiles; t++)
      for (int stages = 2; stages <= 3; stages++) {
        struct plan *p = &ret[n++];
        *p = (struct plan){.schedule = &schedule_scan, .target = target, .config = *config};
        p->config.chunk = chunks[c];
        p->dv_tile = tiles[t];
        p->stages = stages;
        fill_plan(p, v, others, a);
      }
  }
  return n;
}

const struct schedule schedule_scan = {
    .name = "scan",
    .template_name = "templates/scan.k.c",
    .about = "one pass, mma.sync and cp.async, state in registers (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_scan_slots,
};
