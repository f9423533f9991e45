/* log_linear_gated_deltanet, step pass: bf16, dk 60, dv 100, sm_90a. Emitted by maskc 0.1.0.
 *
 *   S <- exp(g) S
 *   S <- (I - sigmoid(b) l2norm(k) l2norm(k)') S
 *   S <- S + l2norm(k) (sigmoid(b) * v)'
 *   o = dk^-0.5 (sum over levels of lambda S)' l2norm(q)
 *   decay scalar, delta rule, fenwick, score linear
 *   input q [B,T,H,dk]
 *   input k [B,T,H,dk]
 *   input g [B,T,H] fp32, at most 0
 *   input b [B,T,H] fp32
 *   input lambda [B,T,H,levels] fp32
 *   input v [B,T,H,dv]
 *
 * (step_fenwick dv_tile=64 threads=128 smem=27776 blocks_a_head=2)
 * 336708 bytes and 420 kFLOP a token of one head with 7 of 14 slots live; on H100 SXM 80GB the floor is 113 ns, predicted 113 ns
 */
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
/* SPDX-License-Identifier: MIT
 * tile_cuda.h - the tile vocabulary on the GPU, sm_80 class: inline PTX.
 *
 * Emitted kernels are written on these names only, so that the same text runs on the CPU device
 * (tile_host.h has the same names). One paragraph a name: the emitter copies the paragraphs that a
 * kernel uses into its source, which then includes nothing. NVRTC compiles this as C++17.
 */
typedef unsigned short bf16; /* storage only: arithmetic is done in float */
typedef unsigned short fp16; /* likewise */
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define restrict __restrict__
#define TILE_FN static __device__ __forceinline__
#define TILE_UNROLL _Pragma("unroll")

/* TILE_KERNEL(name, args_type, threads, blocks that should fit on one SM) { body reads `a` } */
#define TILE_KERNEL(name, args_type, threads, min_blocks) \
  extern "C" __global__ void __launch_bounds__(threads, min_blocks) \
      name(const __grid_constant__ args_type a)

#define TILE_SMEM_BEGIN(total) extern __shared__ __align__(1024) unsigned char tile_smem_[]

/* an array of `count` elements at a byte offset of the block's shared memory */
#define TILE_SMEM(type, name, offset, count) type *const name = (type *)(tile_smem_ + (offset))

TILE_FN int tile_tid(void) { return (int)threadIdx.x; }

TILE_FN int tile_lane(void) { return (int)threadIdx.x & 31; }

/* the warp's index, known to be uniform */
TILE_FN int tile_warp(void) { return __shfl_sync(0xffffffffu, (int)(threadIdx.x >> 5), 0); }

TILE_FN i64 tile_block(void) { return (i64)blockIdx.x; }

TILE_FN void barrier_sync(void) { asm volatile("barrier.cta.sync 0;" ::: "memory"); }

TILE_FN float warp_shuffle_xor_f32(float x, int mask) {
  float r;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(r) : "f"(x), "r"(mask));
  return r;
}

typedef struct __align__(16) tile_f4 { float x, y, z, w; } tile_f4;

TILE_FN tile_f4 ld_f32x4(const void *p) { return *(const tile_f4 *)p; }

TILE_FN void st_f32x4(void *p, float x, float y, float z, float w) {
  tile_f4 v;
  v.x = x;
  v.y = y;
  v.z = z;
  v.w = w;
  *(tile_f4 *)p = v;
}

/* the line of global memory that p is in starts on its way to L2 */
TILE_FN void tile_prefetch(const void *p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }

/* two floats, rounded to nearest even, `lo` in the low half */
TILE_FN u32 pack_bf16x2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

TILE_FN float bf16lo_f32(u32 x) { return __uint_as_float(x << 16); }

/* zero bits above the highest one; 32 of 0 */
TILE_FN int tile_clz(u32 x) { return __clz((int)x); }

TILE_FN float tile_nan(void) { return __uint_as_float(0x7fffffffu); }

TILE_FN float tile_exp(float x) { return expf(x); }

TILE_FN float tile_sqrt(float x) { return sqrtf(x); }

/* 1 / x to an ulp; results below 2^-126 are 0 */
TILE_FN float tile_rcp(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

TILE_FN float tile_sigmoid(float x) { return tile_rcp(1.0f + expf(-x)); }
#else
#include "tile_host.h" /* the same names on the CPU device */
#endif

enum {
  DK = 60,
  DK_ROWS = 64, /* those past DK are zero */
  DV = 100,
  DV_TILE = 64, /* value channels of a block */
  SPLITS = 2, /* blocks a head */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  COLUMN_LANES = 4, /* of a warp, side by side, 4 channels each */
  ROW_LANES = 8,
  LANE_ROWS = DK_ROWS / ROW_LANES,
  TOKENS = 8, /* whose values are in shared memory at once */
  LEVELS = 24, /* at most */

  /* the values of a token, in floats */
  Q = 0, /* l2norm(q) */
  K = Q + DK_ROWS, /* l2norm(k) */
  V = K + DK_ROWS, /* sigmoid(b) * v */
  Y = V + DV_TILE, /* S' q */
  WEIGHT = Y + DV_TILE, /* lambda */
  DECAY = WEIGHT + LEVELS, /* exp(g) */
  RATE = DECAY + 1, /* sigmoid(b) */
  TOKEN = (RATE + 1 + 3) / 4 * 4,
  WRITE_WORDS = (DK_ROWS + 31) / 32, /* a lane's rows of what a token wrote */
  PAIRS_BYTE = 4 * TOKENS * TOKEN,
  WRITES_BYTE = PAIRS_BYTE + 4 * TOKENS * TOKENS,
  MERGED_BYTE = WRITES_BYTE + 4 * TOKENS * DK_ROWS,
  SMEM_BYTES = MERGED_BYTE + 4 * DK_ROWS * DV_TILE
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } in_q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_k; /* k [B,T,H,dk] */
  struct { const float *at; i64 batch, token, head, heads; } in_g; /* g [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } in_b; /* b [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } in_lambda; /* lambda [B,T,H,levels] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_v; /* v [B,T,H,dv] */
  struct { float *at; i64 entry, slot, head, entries; } state; /* state [N,slots,H,dk,dv] */
  struct { const i64 *at; i64 batch, token, head, heads; } position; /* position [B] */
  struct { const int *at; i64 batch, token, head, heads; } state_index; /* state_index [B], or null */
  struct { const int *at; i64 batch, token, head, heads; } accepted; /* accepted [B], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  i64 L; /* levels; a state has L - 1 slots */
  char *workspace;
} op_args;

/* What the spec's expressions read once a token. */
typedef struct gate_values {
  float in_g;
  float in_b;
} gate_values;

/* of token t */
TILE_FN gate_values load_gate(const op_args *a, const float *in_g, const float *in_b, i64 t) {
  gate_values gate;
  gate.in_g = in_g[t * a->in_g.token];
  gate.in_b = in_b[t * a->in_b.token];
  return gate;
}

/* decay: exp(g) */
TILE_FN float decay_value(const gate_values gate) {
  return tile_exp(gate.in_g);
}

/* rate: sigmoid(b) */
TILE_FN float rate_value(const gate_values gate) {
  return tile_sigmoid(gate.in_b);
}

/* over the lanes of a warp */
TILE_FN float warp_sum(float x) {
  TILE_UNROLL
  for (int mask = 1; mask < 32; mask *= 2) {
    const float other = warp_shuffle_xor_f32(x, mask);
    x += other;
  }
  return x;
}

/* q: l2norm(q) */
TILE_FN float q_term0(const float in_q) {
  return in_q * in_q;
}

TILE_FN float q_value(const float in_q, const float row0) {
  return in_q * row0;
}

/* k: l2norm(k) */
TILE_FN float k_term0(const float in_k) {
  return in_k * in_k;
}

TILE_FN float k_value(const float in_k, const float row0) {
  return in_k * row0;
}

/* v: sigmoid(b) * v */
TILE_FN float v_value(const gate_values gate, const float in_v) {
  return tile_sigmoid(gate.in_b) * in_v;
}

/* The entry of a sequence; -1: it has none, and is skipped. */
TILE_FN i64 entry_of(const op_args *a, i64 batch) {
  const i64 entry = a->state_index.at ? (i64)a->state_index.at[batch * a->state_index.batch] : batch;
  return entry >= 0 && entry < a->state.entries ? entry : -1;
}

/* After how many tokens the state is left in place: all, or those that the caller accepted. Below
 * 1: it stays as it is. */
TILE_FN i64 tokens_accepted(const op_args *a, i64 batch) {
  i64 n = a->T;
  if (a->accepted.at) n = (i64)a->accepted.at[batch * a->accepted.batch];
  return n < a->T ? n : a->T;
}

TILE_FN void load_channels(float *ret, const float *from) {
  const tile_f4 x = ld_f32x4(from);
  ret[0] = x.x;
  ret[1] = x.y;
  ret[2] = x.z;
  ret[3] = x.w;
}

/* four channels of a state in memory, 16 bytes at once */
TILE_FN void load_state(float *ret, const float *from) { load_channels(ret, from); }

TILE_FN void store_state(float *to, const float *x) { st_f32x4(to, x[0], x[1], x[2], x[3]); }

/* A factor of 0 forgets infinities and NaN, too. */
TILE_FN float forget(float x, float factor) { return factor == 0.0f ? 0.0f : factor * x; }

/* sums of four channels over the lanes that hold their rows; every lane has them */
TILE_FN void sum_over_rows(float *x) {
  TILE_UNROLL
  for (int mask = COLUMN_LANES; mask < 32; mask *= 2)
    TILE_UNROLL
    for (int c = 0; c < 4; c++) {
      const float other = warp_shuffle_xor_f32(x[c], mask);
      x[c] += other;
    }
}

/* rows lane, lane + 32, ... */
TILE_FN void store_write(float *to, const float *w, int lane) {
  TILE_UNROLL
  for (int n = 0; n < WRITE_WORDS; n++)
    to[32 * n + lane] = w[n];
}

/* Where the block of 2^slot tokens begins that a slot holds, after `position` tokens. */
TILE_FN int block_start(int position, int slot) { return position >> (slot + 1) << (slot + 1); }

/* 0 of 0, 1 of 1, 2 of 2 and 3, ...: of x ^ y the level at which the token at x reads that at y. */
TILE_FN int bit_length(int x) { return 32 - tile_clz((u32)x); }

/* of a set of slots that is not empty */
TILE_FN int lowest_slot(u32 set) { return bit_length((int)(set & (0u - set))) - 1; }

TILE_KERNEL(log_linear_gated_deltanet_step, op_args, THREADS, 5) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, tokens, 0, TOKENS * TOKEN);
  TILE_SMEM(float, pairs, PAIRS_BYTE, TOKENS * TOKENS); /* [reading token][written token] */
  TILE_SMEM(float, writes, WRITES_BYTE, TOKENS * DK_ROWS); /* w of each token after the last */
  TILE_SMEM(float, merged, MERGED_BYTE, DK_ROWS * DV_TILE); /* a sum of states; each lane its own */

  const int lane = tile_lane(), warp = tile_warp();
  const int row_lane = lane / COLUMN_LANES, column = 16 * warp + lane % COLUMN_LANES * 4;
  const int H = (int)a.H, block = (int)tile_block();
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
  const int channels = DV - dv0 < DV_TILE ? DV - dv0 : DV_TILE;
  const int mine = column < channels; /* other lanes repeat the first columns and store nothing */
  const int first_element = row_lane * DV + dv0 + (mine ? column : 0); /* of a state: the lane's first */
  const i64 T = a.T, entry = entry_of(&a, batch);
  bf16 *o = a.o.at + batch * a.o.batch + head * a.o.head + dv0;
  const int levels = (int)a.L, slots = levels - 1;
  const i64 position = entry < 0 ? 0 : a.position.at[batch * a.position.batch];

  if (entry < 0 || position < 0 || position >> slots || (position + T) >> slots) {
    /* skipped; or there are not enough levels for these tokens, and their o is NaN */
    const float nothing = entry < 0 ? 0.0f : tile_nan();
    for (i64 t = warp; t < T; t += WARPS)
      for (int c = lane; c < channels; c += 32) o[t * a.o.token + c] = (bf16)pack_bf16x2(nothing, 0.0f);
  } else {
    float *states = a.state.at + entry * a.state.entry + head * a.state.head + first_element;
    float s[LANE_ROWS][4]; /* rows row_lane, row_lane + 8, ... of this lane's 4 columns */
    const int count = (int)T, begin = (int)position;
    const int accepted = (int)tokens_accepted(&a, batch), kept = accepted > 0 ? accepted : 0;
    const int end = begin + kept;
    /* the highest bit of the position that these tokens change, or -1 */
    const int carry = bit_length(begin ^ end) - 1;
    if (begin != 0) {
      const float *next = states + lowest_slot((u32)begin) * a.state.slot;
      TILE_UNROLL
      for (int n = 0; n < LANE_ROWS; n++)
        if (ROW_LANES * n + row_lane < DK) tile_prefetch(next + n * (ROW_LANES * DV));
    }
    const bf16 *in_q = a.in_q.at + batch * a.in_q.batch +
        head * a.in_q.heads / H * a.in_q.head;
    const bf16 *in_k = a.in_k.at + batch * a.in_k.batch +
        head * a.in_k.heads / H * a.in_k.head;
    const float *in_g = a.in_g.at + batch * a.in_g.batch +
        head * a.in_g.heads / H * a.in_g.head;
    const float *in_b = a.in_b.at + batch * a.in_b.batch +
        head * a.in_b.heads / H * a.in_b.head;
    const float *in_lambda = a.in_lambda.at + batch * a.in_lambda.batch +
        head * a.in_lambda.heads / H * a.in_lambda.head;
    const bf16 *in_v = a.in_v.at + batch * a.in_v.batch +
        head * a.in_v.heads / H * a.in_v.head;
    /* the values over channels: a warp takes a token, and each begins with another warp */
    for (int i = warp; i < count; i += WARPS) {
      const i64 t = i;
      float in_q_of[2];
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        in_q_of[n] = c < DK ? bf16lo_f32((u32)in_q[t * a.in_q.token + c]) : 0.0f;
      }
      float row0 = 0.0f;
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        row0 += c < DK ? q_term0(in_q_of[n]) : 0.0f;
      }
      row0 = warp_sum(row0);
      row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        tokens[i * TOKEN + Q + c] =
            c < DK ? q_value(in_q_of[n], row0) : 0.0f;
      }
    }
    for (int i = (warp + 3) % WARPS; i < count; i += WARPS) {
      const i64 t = i;
      float in_k_of[2];
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        in_k_of[n] = c < DK ? bf16lo_f32((u32)in_k[t * a.in_k.token + c]) : 0.0f;
      }
      float row0 = 0.0f;
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        row0 += c < DK ? k_term0(in_k_of[n]) : 0.0f;
      }
      row0 = warp_sum(row0);
      row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        tokens[i * TOKEN + K + c] =
            c < DK ? k_value(in_k_of[n], row0) : 0.0f;
      }
    }
    for (int i = (warp + 2) % WARPS; i < count; i += WARPS) {
      const i64 t = i;
      const gate_values gate = load_gate(&a, in_g, in_b, t);
      TILE_UNROLL
      for (int n = 0; n < 2; n++) {
        const int c = 32 * n + lane;
        tokens[i * TOKEN + V + c] =
            c < channels ? v_value(gate, bf16lo_f32((u32)in_v[t * a.in_v.token + dv0 + c])) : 0.0f;
      }
    }
    for (int i = (warp + 1) % WARPS; i < count; i += WARPS) {
      const i64 t = i;
      TILE_UNROLL
      for (int n = 0; n < 1; n++) {
        const int c = 32 * n + lane;
        if (c < levels)
          tokens[i * TOKEN + WEIGHT + c] =
              0.129099444f * (c < levels ? in_lambda[t * a.in_lambda.token + c] : 0.0f);
      }
    }
    if (tile_tid() >= THREADS - TOKENS && THREADS - 1 - tile_tid() < count) {
      const int i = THREADS - 1 - tile_tid();
      const gate_values gate = load_gate(&a, in_g, in_b, i);
      tokens[i * TOKEN + DECAY] = decay_value(gate);
      tokens[i * TOKEN + RATE] = rate_value(gate);
    }
    barrier_sync(); /* the values of these tokens are there */

    /* what token i wrote, through the tokens behind it */
    for (int i = warp; i < count; i += WARPS) {
      const float *token = tokens + i * TOKEN;
      float w[WRITE_WORDS];
      TILE_UNROLL
      for (int n = 0; n < WRITE_WORDS; n++) w[n] = token[K + 32 * n + lane];
      float own = 0.0f;
      TILE_UNROLL
      for (int n = 0; n < WRITE_WORDS; n++) own += w[n] * (token[Q + 32 * n + lane]);
      own = warp_sum(own);
      if (lane == 0) pairs[i * TOKENS + i] = token[WEIGHT] * own;
      if (i + 1 == kept) store_write(writes + i * DK_ROWS, w, lane);
      for (int j = i + 1; j < count; j++) {
        token = tokens + j * TOKEN;
        const int level = bit_length((begin + j) ^ (begin + i));
        const float decay = token[DECAY];
        float r0 = 0.0f;
        TILE_UNROLL
        for (int n = 0; n < WRITE_WORDS; n++) {
          const float k = token[K + 32 * n + lane];
          float x = w[n];
          x = forget(x, decay);
          r0 += k * x;
          w[n] = x;
        }
        r0 = warp_sum(r0);
        const float rate = token[RATE];
        const float u0 = -rate * r0;
        float y = 0.0f;
        TILE_UNROLL
        for (int n = 0; n < WRITE_WORDS; n++) {
          const float k = token[K + 32 * n + lane];
          const float q = token[Q + 32 * n + lane];
          float x = w[n];
          x += k * u0;
          y += q * x;
          w[n] = x;
        }
        y = warp_sum(y);
        if (lane == 0) pairs[j * TOKENS + i] = token[WEIGHT + level] * y;
        if (j + 1 == kept) store_write(writes + i * DK_ROWS, w, lane);
      }
    }
    barrier_sync(); /* pairs and writes are there */

    /* S' q of what these tokens wrote; a row lane has the v of a token */
    float v[4] = {0};
    if (row_lane < count) load_channels(v, tokens + row_lane * TOKEN + V + column);
    for (int i = 0; i < count; i++) {
      float *token = tokens + i * TOKEN;
      float y[4];
      TILE_UNROLL
      for (int c = 0; c < 4; c++)
        y[c] = row_lane <= i ? pairs[i * TOKENS + row_lane] * v[c] : 0.0f;
      sum_over_rows(y);
      if (row_lane == 0) st_f32x4(token + Y + column, y[0], y[1], y[2], y[3]);
    }

    /* the states before these tokens */
    for (u32 left = (u32)begin; left != 0; left &= left - 1) {
      const int slot = lowest_slot(left);
      float *state = states + slot * a.state.slot;
      const int start = block_start(begin, slot);
      TILE_UNROLL
      for (int n = 0; n < LANE_ROWS; n++) {
        const int inside = ROW_LANES * n + row_lane < DK;
        load_state(s[n], state + (inside ? n * (ROW_LANES * DV) : 0));
        TILE_UNROLL
        for (int c = 0; c < 4; c++) s[n][c] = inside ? s[n][c] : 0.0f;
      }
      if ((left & (left - 1)) != 0) {
        const float *next = states + lowest_slot(left & (left - 1)) * a.state.slot;
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++)
          if (ROW_LANES * n + row_lane < DK) tile_prefetch(next + n * (ROW_LANES * DV));
      }
      for (int i = 0; i < count; i++) { /* the state through a token */
        float *token = tokens + i * TOKEN;
        const int level = bit_length((begin + i) ^ start);
        const float decay = token[DECAY];
        float r0[4] = {0};
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++) {
          const float k = token[K + ROW_LANES * n + row_lane];
          TILE_UNROLL
          for (int c = 0; c < 4; c++) {
            float x = s[n][c];
            x = forget(x, decay);
            r0[c] += k * x;
            s[n][c] = x;
          }
        }
        sum_over_rows(r0);
        const float rate = token[RATE];
        float u0[4];
        TILE_UNROLL
        for (int c = 0; c < 4; c++) u0[c] = -rate * r0[c];
        float y[4] = {0};
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++) {
          const float k = token[K + ROW_LANES * n + row_lane];
          const float q = token[Q + ROW_LANES * n + row_lane];
          TILE_UNROLL
          for (int c = 0; c < 4; c++) {
            float x = s[n][c];
            x += k * u0[c];
            y[c] += q * x;
            s[n][c] = x;
          }
        }
        sum_over_rows(y);
        if (row_lane == 0) {
          float sum[4];
          load_channels(sum, token + Y + column);
          TILE_UNROLL
          for (int c = 0; c < 4; c++) sum[c] += token[WEIGHT + level] * y[c];
          st_f32x4(token + Y + column, sum[0], sum[1], sum[2], sum[3]);
        }
        if (i + 1 == kept && slot > carry) {
          TILE_UNROLL
          for (int n = 0; n < LANE_ROWS; n++) {
            if (ROW_LANES * n + row_lane < DK && mine) store_state(state + n * (ROW_LANES * DV), s[n]);
          }
        } else if (i + 1 == kept) {
          const int lowest = block_start(begin, slot - 1) == begin; /* no lower bit is set */
          TILE_UNROLL
          for (int n = 0; n < LANE_ROWS; n++) {
            float *to = merged + (n * THREADS + tile_tid()) * 4;
            float sum[4] = {0};
            if (!lowest) load_channels(sum, to);
            st_f32x4(to, sum[0] + s[n][0], sum[1] + s[n][1], sum[2] + s[n][2], sum[3] + s[n][3]);
          }
        }
      }
    }

    /* the states that end with one of these tokens: of the carry, and of lower slots */
    for (int slot = 0; slot <= carry; slot++) {
      if (!(end >> slot & 1)) continue;
      const int start = block_start(end, slot) - begin;
      const int merges = slot == carry && block_start(begin, slot - 1) != begin;
      TILE_UNROLL
      for (int n = 0; n < LANE_ROWS; n++) {
        TILE_UNROLL
        for (int c = 0; c < 4; c++) s[n][c] = 0.0f;
        if (merges) load_channels(s[n], merged + (n * THREADS + tile_tid()) * 4);
      }
      for (int i = start > 0 ? start : 0; i < start + (1 << slot); i++) {
        load_channels(v, tokens + i * TOKEN + V + column);
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++) {
          const float w = writes[i * DK_ROWS + ROW_LANES * n + row_lane];
          TILE_UNROLL
          for (int c = 0; c < 4; c++) s[n][c] += w * v[c];
        }
      }
      float *state = states + slot * a.state.slot;
      TILE_UNROLL
      for (int n = 0; n < LANE_ROWS; n++) {
        if (ROW_LANES * n + row_lane < DK && mine) store_state(state + n * (ROW_LANES * DV), s[n]);
      }
    }

    barrier_sync(); /* S' q of these tokens is there */
    for (int i = warp; i < count; i += WARPS) {
      for (int c = lane; c < channels; c += 32)
        o[(i) * a.o.token + c] = (bf16)pack_bf16x2(tokens[i * TOKEN + Y + c], 0.0f);
    }
  }
}
