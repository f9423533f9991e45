/* row_program, forward pass: bf16, dk 100, dv 64, sm_90a. Emitted by maskc 0.1.0.
 *
 *   S <- sigmoid(f + 3) S
 *   S <- S + (softmax(k) * sigmoid(b)) silu(x * y + w)'
 *   o = dk^-0.5 S' l2norm(elu(q) + 1)
 *   log(sigmoid(f + 3)) = -softplus(-(f + 3))
 *   decay scalar, plain, flat, score linear
 *   o <- rmsnorm(o) * silu(x) * s + bias
 *   input x [B,T,H,dv]
 *   input q [B,T,H,dk]
 *   input k [B,T,H,dk]
 *   input b [B,T,H]
 *   input y [B,T,H,dv]
 *   param w [H,dv] fp32
 *   input f [B,T,H] fp32
 *   input s [B,T,H]
 *   param bias [H,dv] fp32
 *
 * (scan chunk=64 dv_tile=64 stages=2 threads=128 smem=137344 blocks_a_head=1)
 * 920 bytes and 47 kFLOP a token of one head; on H100 SXM 80GB the floor is 0.31 ns, predicted 0.31 ns
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

TILE_FN u32 tile_smem_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

TILE_FN void barrier_sync(void) { asm volatile("barrier.cta.sync 0;" ::: "memory"); }

TILE_FN float warp_shuffle_xor_f32(float x, int mask) {
  float r;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(r) : "f"(x), "r"(mask));
  return r;
}

/* lane l receives the x of lane l - distance; lanes below `distance` keep theirs */
TILE_FN float warp_shuffle_up_f32(float x, int distance) {
  float r;
  asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, 0xffffffff;" : "=f"(r) : "f"(x), "r"(distance));
  return r;
}

TILE_FN float warp_shuffle_idx_f32(float x, int lane) {
  float r;
  asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(r) : "f"(x), "r"(lane));
  return r;
}

TILE_FN u32 ld_u32(const void *p) { return *(const u32 *)p; }

TILE_FN void st_u32(void *p, u32 x) { *(u32 *)p = x; }

typedef struct __align__(8) tile_f2 { float x, y; } tile_f2;

TILE_FN tile_f2 ld_f32x2(const void *p) { return *(const tile_f2 *)p; }

typedef struct __align__(16) tile_u4 { u32 x, y, z, w; } tile_u4;

/* four words, r[0] to r[3], 16-byte aligned */
TILE_FN void ld_u32x4(u32 *r, const void *p) {
  const tile_u4 v = *(const tile_u4 *)p;
  r[0] = v.x;
  r[1] = v.y;
  r[2] = v.z;
  r[3] = v.w;
}

TILE_FN void st_u32x4(void *p, u32 x, u32 y, u32 z, u32 w) {
  tile_u4 v;
  v.x = x;
  v.y = y;
  v.z = z;
  v.w = w;
  *(tile_u4 *)p = v;
}

/* 16 bytes from src to dst, either side global or shared, both 16-byte aligned */
TILE_FN void copy_16(void *dst, const void *src) { *(tile_u4 *)dst = *(const tile_u4 *)src; }

/* 16 bytes global -> shared, asynchronously; bytes past `bytes` (0 to 16) are zero */
TILE_FN void cp_async_16(void *smem_dst, const void *src, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(tile_smem_address(smem_dst)), "l"(src), "r"(bytes) : "memory");
}

/* 8 bytes global -> shared, asynchronously; bytes past `bytes` (0 to 8) are zero */
TILE_FN void cp_async_8(void *smem_dst, const void *src, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
               :: "r"(tile_smem_address(smem_dst)), "l"(src), "r"(bytes) : "memory");
}

/* closes the group of this thread's copies issued since the last commit */
TILE_FN void cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* waits until at most `groups` (a constant) of this thread's groups are in flight */
#define cp_async_wait(groups) asm volatile("cp.async.wait_group %0;" :: "n"(groups) : "memory")

/* four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 */
TILE_FN void ldmatrix_x4(u32 *r, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(tile_smem_address(row)) : "memory");
}

/* the same, each matrix transposed */
TILE_FN void ldmatrix_x4_trans(u32 *r, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(tile_smem_address(row)) : "memory");
}

/* d (16x8, fp32) += a (16x16, row-major) b (16x8, column-major); one warp */
TILE_FN void mma_m16n8k16_bf16(float *d, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* two floats, rounded to nearest even, `lo` in the low half */
TILE_FN u32 pack_bf16x2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

TILE_FN float bf16lo_f32(u32 x) { return __uint_as_float(x << 16); }

TILE_FN float bf16hi_f32(u32 x) { return __uint_as_float(x & 0xffff0000u); }

/* 2^x; results below 2^-126 are 0 */
TILE_FN float tile_exp2(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

TILE_FN float tile_exp(float x) { return expf(x); }

TILE_FN float tile_sqrt(float x) { return sqrtf(x); }

TILE_FN float tile_max(float x, float y) { return fmaxf(x, y); }

/* 1 / x to an ulp; results below 2^-126 are 0 */
TILE_FN float tile_rcp(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

TILE_FN float tile_sigmoid(float x) { return tile_rcp(1.0f + expf(-x)); }

/* log(1 + e^x), without overflow and without loss where it is small */
TILE_FN float tile_softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

TILE_FN float tile_silu(float x) { return x * tile_rcp(1.0f + expf(-x)); }

/* elu(x) + 1, e^x where x is negative: small results too have a relative error of some 2e-7 + 6e-8 |x| */
TILE_FN float tile_elu1(float x) { return x > 0.0f ? x + 1.0f : tile_exp2(1.4426950408889634f * x); }
#else
#include "tile_host.h" /* the same names on the CPU device */
#endif

enum {
  DK = 100,
  DK_PAD = 112, /* as the matrix operations take it; the channels past DK are zero */
  DV = 64,
  DV_TILE = 64, /* value channels of a block */
  SPLITS = 1, /* blocks a head */
  CHUNK = 64, /* tokens a step */
  STAGES = 2, /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,
  GATE_WARP = ROW_BLOCKS % WARPS, /* the warp with the least of P to compute */
  LANE_TOKENS = CHUNK / 32, /* of the gates, a lane of that warp */

  /* A row of a tile, in elements: 8 more than it has, so that the eight rows that an ldmatrix reads
   * at once lie in different banks. Elements of a chunk's tiles; byte offsets in shared memory. */
  QK_ROW = DK_PAD + 8,
  V_ROW = DV_TILE + 8,
  P_ROW = CHUNK + 8,
  QK_TILE = CHUNK * QK_ROW,
  V_TILE = CHUNK * V_ROW,
  SMEM_Q = 0,
  SMEM_K = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
  SMEM_in_x = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_in_y = SMEM_in_x + 2 * STAGES * V_TILE,
  SMEM_P = SMEM_in_y + 2 * STAGES * V_TILE,
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,
  SMEM_TABLE = SMEM_O + 2 * V_TILE,

  /* a chunk's token table, in floats */
  TABLE_ROW = 32 * LANE_TOKENS,
  SUM = 0, /* b_i */
  FROM_START = TABLE_ROW, /* 2^b_i */
  TO_END = 2 * TABLE_ROW, /* 2^(b_last - b_i), times the write weight */
  WRITE = 3 * TABLE_ROW, /* the weight of k_i v_i' */
  WHOLE = 4 * TABLE_ROW, /* 2^b_last, one number */
  TABLE = WHOLE + 16,
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } k; /* k [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* x [B,T,H,dv] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_b; /* b [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } param_w; /* w [H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } in_f; /* f [B,T,H] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_s; /* s [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } param_bias; /* bias [H,dv] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_y; /* y [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } h0; /* h0 [B,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, token, head, heads; } ht; /* ht [B,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
} op_args;

/* What the spec's expressions read once a token. */
typedef struct gate_values {
  float in_b;
  float in_f;
  float in_s;
} gate_values;

/* of token t; zeros past the sequence's end */
TILE_FN gate_values load_gate(const op_args *a, const bf16 *in_b, const float *in_f, const bf16 *in_s, i64 t, i64 T) {
  gate_values gate;
  const int inside = t < T;
  gate.in_b = inside ? bf16lo_f32((u32)in_b[t * a->in_b.token]) : 0.0f;
  gate.in_f = inside ? in_f[t * a->in_f.token] : 0.0f;
  gate.in_s = inside ? bf16lo_f32((u32)in_s[t * a->in_s.token]) : 0.0f;
  return gate;
}

/* log2 of one token's decay factor, sigmoid(f + 3).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them: sums of it
 * stay small enough for exact differences. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const gate_values gate) {
  const float x = LOG2_E * (-tile_softplus(-(gate.in_f + 3.0f)));
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}

/* what the spec multiplies k and v of a token by */
TILE_FN float write_weight(const gate_values gate) {
  return tile_sigmoid(gate.in_b);
}

/* One warp: the token table of a chunk; t is this lane's first token of LANE_TOKENS. A lane past the
 * chunk (of 16 tokens) fills the end of each row, which nobody reads. */
TILE_FN void token_table(float *table, const gate_values *gate, i64 t, i64 T) {
  const int first = LANE_TOKENS * tile_lane();
  float weight[LANE_TOKENS];
  float b[LANE_TOKENS], sum = 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    const int inside = t + e < T;
    weight[e] = inside ? write_weight(gate[e]) : 0.0f;
    table[WRITE + first + e] = weight[e];
    sum += inside ? log2_decay(gate[e]) : 0.0f;
    b[e] = sum;
  }
  TILE_UNROLL
  for (int distance = 1; distance < 32; distance *= 2) {
    const float below = warp_shuffle_up_f32(sum, distance);
    if (tile_lane() >= distance) sum += below;
  }
  const float below = warp_shuffle_up_f32(sum, 1), before = tile_lane() > 0 ? below : 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) b[e] += before;
  const float last = warp_shuffle_idx_f32(b[LANE_TOKENS - 1], CHUNK / LANE_TOKENS - 1);
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    table[SUM + first + e] = b[e];
    table[FROM_START + first + e] = tile_exp2(b[e]);
    table[TO_END + first + e] = tile_exp2(last - b[e]) * weight[e];
  }
  if (tile_lane() == 0) table[WHOLE] = tile_exp2(last);
}

/* over the eight lanes of a token */
TILE_FN float row_sum(float x) {
  TILE_UNROLL
  for (int mask = 1; mask < 8; mask *= 2) {
    const float other = warp_shuffle_xor_f32(x, mask);
    x = x + other;
  }
  return x;
}

/* over the eight lanes of a token */
TILE_FN float row_max(float x) {
  TILE_UNROLL
  for (int mask = 1; mask < 8; mask *= 2) {
    const float other = warp_shuffle_xor_f32(x, mask);
    x = tile_max(x, other);
  }
  return x;
}

/* q: the terms of its reductions, and a channel */
TILE_FN float q_term0(const float in_q) {
  const float e11 = tile_elu1(in_q);
  return e11 * e11;
}
TILE_FN float q_value(const float in_q, const float row0) {
  return tile_elu1(in_q) * row0;
}

/* q of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_q(bf16 *in_q, int rows) {
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES }; /* a lane's, of two channels each */
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_q[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) word_in_q[i] = ld_u32(in_q + row * QK_ROW + 2 * (lane + LANES * i));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      if (channel < DK) {
        row0 = row0 + q_term0(bf16lo_f32(word_in_q[i]));
        row0 = row0 + q_term0(bf16hi_f32(word_in_q[i]));
      }
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      u32 result = 0;
      if (row < rows && channel < DK)
        result = pack_bf16x2(q_value(bf16lo_f32(word_in_q[i]), row0), q_value(bf16hi_f32(word_in_q[i]), row0));
      st_u32(in_q + row * QK_ROW + 2 * (lane + LANES * i), result);
    }
  }
}

/* k: the terms of its reductions, and a channel */
TILE_FN float k_term0(const float in_k) {
  return in_k;
}
TILE_FN float k_term1(const float in_k, const float row0) {
  return tile_exp(in_k - row0);
}
TILE_FN float k_value(const float in_k, const float row0, const float row1) {
  return tile_exp(in_k - row0) * row1;
}

/* k of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_k(bf16 *in_k, int rows) {
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES }; /* a lane's, of two channels each */
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_k[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) word_in_k[i] = ld_u32(in_k + row * QK_ROW + 2 * (lane + LANES * i));
    float row0 = -3.402823466e38f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      if (channel < DK) {
        row0 = tile_max(row0, k_term0(bf16lo_f32(word_in_k[i])));
        row0 = tile_max(row0, k_term0(bf16hi_f32(word_in_k[i])));
      }
    }
    row0 = row_max(row0);
    float row1 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      if (channel < DK) {
        row1 = row1 + k_term1(bf16lo_f32(word_in_k[i]), row0);
        row1 = row1 + k_term1(bf16hi_f32(word_in_k[i]), row0);
      }
    }
    row1 = row_sum(row1);
    row1 = 1.0f / row1;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      u32 result = 0;
      if (row < rows && channel < DK)
        result = pack_bf16x2(k_value(bf16lo_f32(word_in_k[i]), row0, row1), k_value(bf16hi_f32(word_in_k[i]), row0, row1));
      st_u32(in_k + row * QK_ROW + 2 * (lane + LANES * i), result);
    }
  }
}

/* v: the terms of its reductions, and a channel */
TILE_FN float v_value(const float in_x, const float in_y, const float param_w) {
  return tile_silu(in_x * in_y + param_w);
}

/* v of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_v(bf16 *in_x, const bf16 *in_y, const float *param_w, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DV_TILE / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_x[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_x + i, in_x + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    u32 word_in_y[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_y + i, in_y + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    u32 result[VECTOR];
    const u32 inside = row < rows ? 0xffffffffu : 0;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = inside & pack_bf16x2(v_value(bf16lo_f32(word_in_x[i]), bf16lo_f32(word_in_y[i]), param_w[channel]), v_value(bf16hi_f32(word_in_x[i]), bf16hi_f32(word_in_y[i]), param_w[channel + 1]));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_x + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* the output: the terms of its reductions, and a channel */
TILE_FN float o_term0(const float o) {
  return o * o;
}
TILE_FN float o_value(const gate_values gate, const float o, const float in_x, const float param_bias, const float row0) {
  return o * row0 * tile_silu(in_x) * gate.in_s + param_bias;
}

/* the output of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_o(bf16 *o, const bf16 *in_x, const float *param_bias, const op_args *a, const bf16 *in_b, const float *in_f, const bf16 *in_s, i64 t0, i64 T, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DV_TILE / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    const gate_values gate = load_gate(a, in_b, in_f, in_s, t0 + row, T);
    u32 word_o[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_o + i, o + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    u32 word_in_x[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_x + i, in_x + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      row0 = row0 + o_term0(bf16lo_f32(word_o[i]));
      row0 = row0 + o_term0(bf16hi_f32(word_o[i]));
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 / 64.0f + 9.99999975e-06f);
    u32 result[VECTOR];
    const u32 inside = row < rows ? 0xffffffffu : 0;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = inside & pack_bf16x2(o_value(gate, bf16lo_f32(word_o[i]), bf16lo_f32(word_in_x[i]), param_bias[channel], row0), o_value(gate, bf16hi_f32(word_o[i]), bf16hi_f32(word_in_x[i]), param_bias[channel + 1], row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(o + row * V_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* q or k, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
TILE_FN void load_qk(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 4, PIECES = DK_PAD / PIECE }; /* 8 bytes */
  for (int at = tile_tid(); at < CHUNK * PIECES; at += THREADS) {
    const int row = at / PIECES, column = at % PIECES * PIECE;
    const int inside = row < rows && column < DK;
    const i64 from = inside ? row * stride + column : 0;
    cp_async_8(dst + row * QK_ROW + column, src + from, inside ? 8 : 0);
  }
}

/* an array over dv, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
TILE_FN void load_v(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 8, PIECES = DV_TILE / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row < rows;
    const i64 from = inside ? row * stride + column : 0;
    cp_async_16(dst + row * V_ROW + column, src + from, inside ? 16 : 0);
  }
}

/* o, a chunk's `rows` rows, from shared memory */
TILE_FN void store_o(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 8, PIECES = DV_TILE / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    if (row < rows) copy_16(dst + row * stride + column, src + row * V_ROW + column);
  }
}

/* The first token of sequence n of a packed batch; a wrong number is moved into the arrays. */
TILE_FN i64 sequence_start(const op_args *a, i64 n) {
  const i64 at = n * a->cu_seqlens.batch;
  i64 start;
  if (a->cu_seqlens.heads == 8)
    start = ((const i64 *)a->cu_seqlens.at)[at];
  else
    start = ((const int *)a->cu_seqlens.at)[at];
  return start < 0 ? 0 : start < a->T ? start : a->T;
}

/* rows of the chunk that starts at token `first`: CHUNK, or fewer at the sequence's end */
TILE_FN int chunk_rows(i64 T, i64 first) { return T - first < CHUNK ? (int)(T - first) : CHUNK; }

TILE_FN void scale4(float *x, float low, float high) {
  x[0] *= low;
  x[1] *= low;
  x[2] *= high;
  x[3] *= high;
}

TILE_KERNEL(row_program_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(bf16, sIn_x, SMEM_in_x, STAGES * V_TILE);
  TILE_SMEM(bf16, sIn_y, SMEM_in_y, STAGES * V_TILE);
  TILE_SMEM(bf16, sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */

  const int lane = tile_lane(), warp = tile_warp();
  const int frag_row = lane >> 2, frag_col = 2 * (lane & 3); /* of an mma accumulator */
  /* this lane's row and column of an ldmatrix: A operands, and either operand stored transposed; B
   * stored [n][k] */
  const int a_row = lane & 15, a_col = 8 * (lane >> 4);
  const int b_row = (lane & 7) + 8 * (lane >> 4), b_col = 8 * ((lane >> 3) & 1);

  const int H = (int)a.H, block = (int)tile_block();
  const int batch = block / H, head = block % H;
  /* the tokens of this block's sequence: a row of the batch, or a part of a packed one */
  i64 first = 0, T = a.T;
  if (a.cu_seqlens.at) {
    first = sequence_start(&a, batch);
    T = sequence_start(&a, batch + 1) - first;
    if (T < 0) T = 0; /* the numbers decrease */
  }
  const int chunks = (int)((T + CHUNK - 1) / CHUNK);
  /* element offsets of the next chunk to load and to store */
  i64 q_at = batch * a.q.batch + first * a.q.token + head * a.q.heads / H * a.q.head;
  i64 k_at = batch * a.k.batch + first * a.k.token + head * a.k.heads / H * a.k.head;
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head;
  i64 at_in_x = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 at_in_y = batch * a.in_y.batch + first * a.in_y.token + head * a.in_y.heads / H * a.in_y.head;
  const float *param_w = a.param_w.at + head * a.param_w.heads / H * a.param_w.head;
  const float *param_bias = a.param_bias.at + head * a.param_bias.heads / H * a.param_bias.head;
  const float scale = 0.100000001f;

  /* rows 16 warp .. 16 warp + 15 of S' (dv), all columns of dk, as mma accumulators */
  float state[DK_PAD / 8][4] = {{0}};
  if (a.h0.at) {
    const float *h0 = a.h0.at + batch * a.h0.batch + head * a.h0.heads / H * a.h0.head;
    TILE_UNROLL
    for (int n = 0; n < DK_PAD / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++) {
        const int k = 8 * n + frag_col + (e & 1);
        const int v = 16 * warp + frag_row + 8 * (e >> 1);
        if (k < DK) state[n][e] = h0[k * a.h0.token + v];
      }
  }

  for (int i = 0; i < STAGES - 1; i++) {
    if (i * CHUNK < T) {
      const int rows = chunk_rows(T, i * CHUNK);
      load_qk(sQ + i * QK_TILE, a.q.at + q_at, a.q.token, rows);
      q_at += CHUNK * a.q.token;
      load_qk(sK + i * QK_TILE, a.k.at + k_at, a.k.token, rows);
      k_at += CHUNK * a.k.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, rows);
      load_v(sIn_x + i * V_TILE, a.v.at + at_in_x, a.v.token, rows);
      at_in_x += CHUNK * a.v.token;
      load_v(sIn_y + i * V_TILE, a.in_y.at + at_in_y, a.in_y.token, rows);
      at_in_y += CHUNK * a.in_y.token;
      v_at += CHUNK * a.v.token;
    }
    cp_async_commit();
  }
  const bf16 *in_b = a.in_b.at + batch * a.in_b.batch + first * a.in_b.token + head * a.in_b.heads / H * a.in_b.head;
  const float *in_f = a.in_f.at + batch * a.in_f.batch + first * a.in_f.token + head * a.in_f.heads / H * a.in_f.head;
  const bf16 *in_s = a.in_s.at + batch * a.in_s.batch + first * a.in_s.token + head * a.in_s.heads / H * a.in_s.head;
  gate_values gate[LANE_TOKENS] = {{0}}; /* GATE_WARP: of this lane's tokens in the next chunk */
  if (warp == GATE_WARP) {
    const i64 t = LANE_TOKENS * lane;
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_b, in_f, in_s, t + e, T);
    token_table(sTable, gate, t, T);
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_b, in_f, in_s, t + CHUNK + e, T);
  }

  int stage = 0;
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK;
    const bf16 *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const bf16 *v = sV + stage * V_TILE + a_row * V_ROW + 16 * warp + a_col;
    const float *table = sTable + (n & 1) * TABLE;

    cp_async_wait(STAGES - 2);
    barrier_sync(); /* chunk n is in shared memory; every warp is done with chunk n - 1 */
    {
      const i64 next = t0 + (STAGES - 1) * CHUNK;
      if (next < T) {
        const int free = stage == 0 ? STAGES - 1 : stage - 1;
        const int rows = chunk_rows(T, next);
        load_qk(sQ + free * QK_TILE, a.q.at + q_at, a.q.token, rows);
        q_at += CHUNK * a.q.token;
        load_qk(sK + free * QK_TILE, a.k.at + k_at, a.k.token, rows);
        k_at += CHUNK * a.k.token;
        load_v(sV + free * V_TILE, a.v.at + v_at, a.v.token, rows);
        load_v(sIn_x + free * V_TILE, a.v.at + at_in_x, a.v.token, rows);
        at_in_x += CHUNK * a.v.token;
        load_v(sIn_y + free * V_TILE, a.in_y.at + at_in_y, a.in_y.token, rows);
        at_in_y += CHUNK * a.in_y.token;
        v_at += CHUNK * a.v.token;
      }
      cp_async_commit();
    }
    if (n > 0) {
      store_o(a.o.at + o_at, sO, a.o.token, CHUNK);
      o_at += CHUNK * a.o.token;
    }
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + LANE_TOKENS * lane;
      token_table(sTable + ((n + 1) & 1) * TABLE, gate, t, T);
    }

    {
      const int rows = chunk_rows(T, t0);
      map_q(sQ + stage * QK_TILE, rows);
      map_k(sK + stage * QK_TILE, rows);
      map_v(sV + stage * V_TILE, sIn_y + stage * V_TILE, param_w, rows);
    }
    barrier_sync(); /* q, k and v are what the spec makes of them */

    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
    for (int unit = warp; unit < ROW_BLOCKS * ((ROW_BLOCKS + 1) / 2); unit += WARPS) {
      const int row_block = unit % ROW_BLOCKS, col_block = 2 * (unit / ROW_BLOCKS); /* of 16 */
      if (col_block <= row_block) {
        const bf16 *q_rows = q + (16 * row_block + a_row) * QK_ROW + a_col;
        const bf16 *k_rows = k + (16 * col_block + b_row) * QK_ROW + b_col;
        float p[4][4] = {{0}};
        TILE_UNROLL
        for (int kb = 0; kb < DK_PAD / 16; kb++) {
          u32 aq[4], bk[4];
          ldmatrix_x4(aq, q_rows + 16 * kb);
          ldmatrix_x4(bk, k_rows + 16 * kb);
          mma_m16n8k16_bf16(p[0], aq, bk);
          mma_m16n8k16_bf16(p[1], aq, bk + 2);
          if (col_block < row_block) {
            ldmatrix_x4(bk, k_rows + 16 * QK_ROW + 16 * kb);
            mma_m16n8k16_bf16(p[2], aq, bk);
            mma_m16n8k16_bf16(p[3], aq, bk + 2);
          }
        }
        const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
        const float b0 = table[SUM + i0], b1 = table[SUM + i1];
        TILE_UNROLL
        for (int nb = 0; nb < 4; nb++) {
          const int j = 16 * col_block + 8 * nb + frag_col;
          const tile_f2 w = ld_f32x2(table + WRITE + j);
          p[nb][0] *= w.x;
          p[nb][1] *= w.y;
          p[nb][2] *= w.x;
          p[nb][3] *= w.y;
          const tile_f2 b = ld_f32x2(table + SUM + j);
          /* by select: 2^x overflows above the diagonal */
          p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2(b0 - b.x) : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2(b0 - b.y) : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2(b1 - b.x) : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2(b1 - b.y) : 0.0f;
          st_u32(sP + i0 * P_ROW + j, pack_bf16x2(p[nb][0], p[nb][1]));
          st_u32(sP + i1 * P_ROW + j, pack_bf16x2(p[nb][2], p[nb][3]));
        }
      }
    }

    /* O = Q S: the accumulators of S' are, rounded, the B fragments of S */
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int kb = 0; kb < DK_PAD / 16; kb++) {
      const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
      const u32 lower[2] = {pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s1[0], s1[1])};
      const u32 upper[2] = {pack_bf16x2(s0[2], s0[3]), pack_bf16x2(s1[2], s1[3])};
      TILE_UNROLL
      for (int mb = 0; mb < ROW_BLOCKS; mb++) {
        u32 aq[4];
        ldmatrix_x4(aq, q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb);
        mma_m16n8k16_bf16(out[mb][0], aq, lower);
        mma_m16n8k16_bf16(out[mb][1], aq, upper);
      }
    }
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      const float *from_start = table + FROM_START + 16 * mb + frag_row;
      const float e0 = from_start[0], e1 = from_start[8];
      scale4(out[mb][0], e0, e1);
      scale4(out[mb][1], e0, e1);
    }

    /* S' += V' K; the warp's 16 columns of V, transposed, are the A operand */
    const float whole = table[WHOLE];
    TILE_UNROLL
    for (int nb = 0; nb < DK_PAD / 8; nb++) scale4(state[nb], whole, whole);
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
      const float *weight = table + TO_END + 16 * jb + frag_col;
      const tile_f2 d0 = ld_f32x2(weight), d1 = ld_f32x2(weight + 8);
      u32 vt[4];
      vt[0] = pack_bf16x2(bf16lo_f32(vf[0]) * d0.x, bf16hi_f32(vf[0]) * d0.y);
      vt[1] = pack_bf16x2(bf16lo_f32(vf[2]) * d0.x, bf16hi_f32(vf[2]) * d0.y);
      vt[2] = pack_bf16x2(bf16lo_f32(vf[1]) * d1.x, bf16hi_f32(vf[1]) * d1.y);
      vt[3] = pack_bf16x2(bf16lo_f32(vf[3]) * d1.x, bf16hi_f32(vf[3]) * d1.y);
      TILE_UNROLL
      for (int nb = 0; nb < DK_PAD / 16; nb++) {
        u32 bk[4];
        ldmatrix_x4_trans(bk, k + (16 * jb + a_row) * QK_ROW + a_col + 16 * nb);
        mma_m16n8k16_bf16(state[2 * nb], vt, bk);
        mma_m16n8k16_bf16(state[2 * nb + 1], vt, bk + 2);
      }
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
    if (warp == GATE_WARP) { /* the gates of the chunk after the next; here, where no shuffle waits */
      TILE_UNROLL
      for (int e = 0; e < LANE_TOKENS; e++)
        gate[e] = load_gate(&a, in_b, in_f, in_s, t0 + 2 * CHUNK + LANE_TOKENS * lane + e, T);
    }
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) { /* O += P V; the columns of V are the B operand */
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        u32 ap[4];
        ldmatrix_x4(ap, sP + (16 * mb + a_row) * P_ROW + a_col + 16 * jb);
        mma_m16n8k16_bf16(out[mb][0], ap, vf);
        mma_m16n8k16_bf16(out[mb][1], ap, vf + 2);
      }
    }
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        scale4(out[mb][nb], scale, scale);
        const int at = (16 * mb + frag_row) * V_ROW + 16 * warp + 8 * nb + frag_col;
        st_u32(sO + at, pack_bf16x2(out[mb][nb][0], out[mb][nb][1]));
        st_u32(sO + at + 8 * V_ROW, pack_bf16x2(out[mb][nb][2], out[mb][nb][3]));
      }
    }
    barrier_sync(); /* chunk n's output is complete, but for the spec's expression */
    map_o(sO, sIn_x + stage * V_TILE, param_bias, &a, in_b, in_f, in_s, t0, T, chunk_rows(T, t0));
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  if (chunks > 0) /* a packed sequence may be empty */
    store_o(a.o.at + o_at, sO, a.o.token, chunk_rows(T, (i64)(chunks - 1) * CHUNK));
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head;
    TILE_UNROLL
    for (int n = 0; n < DK_PAD / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++) {
        const int k = 8 * n + frag_col + (e & 1);
        const int v = 16 * warp + frag_row + 8 * (e >> 1);
        if (k < DK) ht[k * a.ht.token + v] = state[n][e];
      }
  }
}
