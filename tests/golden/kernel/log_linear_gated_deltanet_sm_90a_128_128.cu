/* log_linear_gated_deltanet, forward pass: bf16, dk 128, dv 128, sm_90a. Emitted by maskc 0.1.0.
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
 * (fenwick_eager chunk=64 dv_tile=128 stages=2 threads=256 smem=226944 blocks_a_head=1)
 * 1092 bytes and 492 kFLOP a token of one head; on H100 SXM 80GB the floor is 0.819 ns, predicted 3.71 ns
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

TILE_FN void warp_sync(void) { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

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

TILE_FN void st_f32x2(void *p, float x, float y) {
  tile_f2 v;
  v.x = x;
  v.y = y;
  *(tile_f2 *)p = v;
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

/* 4 bytes global -> shared, asynchronously; zero when `bytes` is 0 */
TILE_FN void cp_async_4(void *smem_dst, const void *src, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
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

/* zero bits above the highest one; 32 of 0 */
TILE_FN int tile_clz(u32 x) { return __clz((int)x); }

TILE_FN float tile_nan(void) { return __uint_as_float(0x7fffffffu); }

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
  DK = 128,
  DV = 128,
  DV_TILE = 128, /* value channels of a block */
  SPLITS = 1, /* blocks a head */
  CHUNK = 64, /* tokens a step */
  STAGES = 2, /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,
  GATE_WARP = WARPS / 2, /* the warp with the least of L and P to compute */
  LANE_TOKENS = CHUNK / 32, /* of the gates, a lane of that warp */
  UNITS = ROW_BLOCKS * (ROW_BLOCKS + 1) / 2, /* blocks of L and P up to the diagonal */

  /* A row of a tile, in elements: 8 more than it has, so that the eight rows that an ldmatrix reads
   * at once lie in different banks. Elements of a chunk's tiles; byte offsets in shared memory. */
  QK_ROW = DK + 8,
  V_ROW = DV_TILE + 8,
  P_ROW = CHUNK + 8,
  QK_TILE = CHUNK * QK_ROW,
  V_TILE = CHUNK * V_ROW,
  SMEM_Q = 0,
  SMEM_K = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
  P_TILE = CHUNK * P_ROW,
  SMEM_P = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_P_LOW = SMEM_P + 2 * P_TILE,
  SMEM_HIGH = SMEM_P_LOW + 2 * P_TILE,
  SMEM_LOW = SMEM_HIGH + 2 * P_TILE,
  SMEM_M = SMEM_LOW + 2 * P_TILE,
  W_ROW = CHUNK + 8,
  W_TILE = DK * W_ROW,
  SMEM_W = SMEM_M + 2 * P_TILE,
  D_ROW = 24, /* floats of a row of a diagonal block */
  D_TILE = 16 * D_ROW,
  SMEM_DIAGONAL = SMEM_W + 2 * 2 * W_TILE,
  SMEM_O = SMEM_DIAGONAL + 4 * ROW_BLOCKS * D_TILE,

  /* the weights of a chunk's rows, a row of levels each; odd, so that rows lie in different banks */
  LEVEL_ROW = 25,
  LEVEL_TILE = CHUNK * LEVEL_ROW,
  LOG2_CHUNK = 6,
  SMEM_LEVELS_1 = SMEM_O + 2 * V_TILE,
  SMEM_TABLE = SMEM_LEVELS_1 + 4 * STAGES * LEVEL_TILE,

  /* a chunk's token table, in floats */
  TABLE_ROW = 32 * LANE_TOKENS,
  SUM = 0, /* b_i */
  FROM_START = TABLE_ROW, /* 2^b_i */
  TO_END = 2 * TABLE_ROW, /* 2^(b_last - b_i) */
  OLD = 3 * TABLE_ROW, /* the weight of e_i' S, S the state at the chunk's start */
  WRITE = 4 * TABLE_ROW, /* the weight of v_i */
  ERASE = 5 * TABLE_ROW, /* the weight of e_i */
  WHOLE = 6 * TABLE_ROW, /* 2^b_last, one number */
  TABLE = WHOLE + 16,
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE,
  SLOT = DK * DV_TILE /* floats of a slot: for every 8 columns of dk 4 a lane */
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } k; /* k [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* v [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } in_lambda; /* lambda [B,T,H,levels] */
  struct { const float *at; i64 batch, token, head, heads; } in_g; /* g [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } in_b; /* b [B,T,H] */
  struct { const float *at; i64 batch, slot, head, heads; } h0; /* h0 [B,slots,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, slot, head, heads; } ht; /* ht [B,slots,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
  struct { const i64 *at; i64 batch, token, head, heads; } position; /* position [B], or null */
  i64 L; /* levels; a state has L - 1 slots */
  char *workspace;
} op_args;

/* What the spec's expressions read once a token. */
typedef struct gate_values {
  float in_g;
  float in_b;
} gate_values;

/* of token t; zeros outside the sequence */
TILE_FN gate_values load_gate(const op_args *a, const float *in_g, const float *in_b, i64 t, i64 T) {
  gate_values gate;
  const int inside = t >= 0 && t < T;
  gate.in_g = inside ? in_g[t * a->in_g.token] : 0.0f;
  gate.in_b = inside ? in_b[t * a->in_b.token] : 0.0f;
  return gate;
}

/* log2 of one token's decay factor, exp(g).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them: sums of it
 * stay small enough for exact differences. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const gate_values gate) {
  const float x = LOG2_E * gate.in_g;
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}

/* what the spec multiplies k and v of a token by */
TILE_FN float write_weight(const gate_values gate) {
  return tile_sigmoid(gate.in_b);
}

/* what the spec multiplies e and k of a token by */
TILE_FN float erase_weight(const gate_values gate) {
  return tile_sigmoid(gate.in_b);
}

/* One warp: the token table of a chunk; t is this lane's first token of LANE_TOKENS. A lane past the
 * chunk (of 16 tokens) fills the end of each row, which nobody reads. */
TILE_FN void token_table(float *table, const gate_values *gate, i64 t, i64 T) {
  const int first = LANE_TOKENS * tile_lane();
  float b[LANE_TOKENS], sum = 0.0f;
  float erased[LANE_TOKENS]; /* the weights of e */
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    const int inside = t + e >= 0 && t + e < T;
    table[WRITE + first + e] = inside ? write_weight(gate[e]) : 0.0f;
    erased[e] = inside ? erase_weight(gate[e]) : 0.0f;
    table[ERASE + first + e] = erased[e];
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
    table[TO_END + first + e] = tile_exp2(last - b[e]);
    table[OLD + first + e] = tile_exp2(b[e]) * erased[e];
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

/* q: the terms of its reductions, and a channel */
TILE_FN float q_term0(const float in_q) {
  return in_q * in_q;
}
TILE_FN float q_value(const float in_q, const float row0) {
  return in_q * row0;
}

/* q of a chunk's rows `skip` to `rows`, row 0 token t0, in place; the others become zero */
TILE_FN void map_q(bf16 *in_q, int skip, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DK / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_q[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_q + i, in_q + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      row0 = row0 + q_term0(bf16lo_f32(word_in_q[i]));
      row0 = row0 + q_term0(bf16hi_f32(word_in_q[i]));
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    u32 result[VECTOR];
    const u32 inside = row >= skip && row < rows ? 0xffffffffu : 0;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      result[i % VECTOR] = inside & pack_bf16x2(q_value(bf16lo_f32(word_in_q[i]), row0), q_value(bf16hi_f32(word_in_q[i]), row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_q + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* k: the terms of its reductions, and a channel */
TILE_FN float k_term0(const float in_k) {
  return in_k * in_k;
}
TILE_FN float k_value(const float in_k, const float row0) {
  return in_k * row0;
}

/* k of a chunk's rows `skip` to `rows`, row 0 token t0, in place; the others become zero */
TILE_FN void map_k(bf16 *in_k, int skip, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DK / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_k[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_k + i, in_k + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      row0 = row0 + k_term0(bf16lo_f32(word_in_k[i]));
      row0 = row0 + k_term0(bf16hi_f32(word_in_k[i]));
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    u32 result[VECTOR];
    const u32 inside = row >= skip && row < rows ? 0xffffffffu : 0;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      result[i % VECTOR] = inside & pack_bf16x2(k_value(bf16lo_f32(word_in_k[i]), row0), k_value(bf16hi_f32(word_in_k[i]), row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_k + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* q or k, a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_qk(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows) {
  enum { PIECE = 8, PIECES = DK / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row >= skip && row < rows;
    const i64 from = inside ? (row - skip) * stride + column : 0;
    cp_async_16(dst + row * QK_ROW + column, src + from, inside ? 16 : 0);
  }
}

/* v, a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_v(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows) {
  enum { PIECE = 8, PIECES = DV_TILE / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row >= skip && row < rows;
    const i64 from = inside ? (row - skip) * stride + column : 0;
    cp_async_16(dst + row * V_ROW + column, src + from, inside ? 16 : 0);
  }
}

/* o, a chunk's rows `skip` to `rows`, from shared memory */
TILE_FN void store_o(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows) {
  enum { PIECE = 8, PIECES = DV_TILE / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    if (row >= skip && row < rows) copy_16(dst + (row - skip) * stride + column, src + row * V_ROW + column);
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

/* rows of that chunk that lie before the first token */
TILE_FN int chunk_skip(i64 first) { return first < 0 ? (int)-first : 0; }

TILE_FN void scale4(float *x, float low, float high) {
  x[0] *= low;
  x[1] *= low;
  x[2] *= high;
  x[3] *= high;
}

/* x and y, each as the sum of two 16-bit numbers: `low` has what rounding to `high` leaves */
TILE_FN void split2(float x, float y, u32 *high, u32 *low) {
  *high = pack_bf16x2(x, y);
  *low = pack_bf16x2(x - bf16lo_f32(*high), y - bf16hi_f32(*high));
}

/* two accumulators side by side (16 x 16), split and repacked as an A operand */
TILE_FN void split_operand(float x[2][4], u32 *high, u32 *low) {
  split2(x[0][0], x[0][1], high, low);
  split2(x[0][2], x[0][3], high + 1, low + 1);
  split2(x[1][0], x[1][1], high + 2, low + 2);
  split2(x[1][2], x[1][3], high + 3, low + 3);
}

/* d += a b of split operands; what two low parts give is below fp32's rounding */
TILE_FN void mma_split(float *d, const u32 *a_high, const u32 *a_low, const u32 *b_high,
                       const u32 *b_low) {
  mma_m16n8k16_bf16(d, a_low, b_high);
  mma_m16n8k16_bf16(d, a_high, b_low);
  mma_m16n8k16_bf16(d, a_high, b_high);
}

/* One warp: the inverse of I + L for one diagonal block, L strictly lower (fp32, [16][D_ROW]), by
 * substitution: a lane has a column of it. The lower lanes store the high parts, the upper lanes the
 * low parts, to a block of rows P_ROW apart. */
TILE_FN void invert_diagonal(const float *l, bf16 *high, bf16 *low) {
  const int lane = tile_lane(), column = lane & 15;
  bf16 *to = lane < 16 ? high : low;
  float x[16];
  TILE_UNROLL
  for (int i = 0; i < 16; i++) {
    x[i] = i == column ? 1.0f : 0.0f;
    TILE_UNROLL
    for (int j = 0; j < i; j += 4) {
      const tile_f4 row = ld_f32x4(l + i * D_ROW + j); /* zero from the diagonal on */
      x[i] -= row.x * x[j];
      if (j + 1 < i) x[i] -= row.y * x[j + 1];
      if (j + 2 < i) x[i] -= row.z * x[j + 2];
      if (j + 3 < i) x[i] -= row.w * x[j + 3];
    }
    u32 part, rest;
    split2(x[i], 0.0f, &part, &rest);
    to[i * P_ROW + column] = (bf16)(lane < 16 ? part : rest);
  }
}

/* an accumulator from a tile: `at` is where the lane's first row is */
TILE_FN void ld_accumulator(float *x, const bf16 *at, int row) {
  const u32 above = ld_u32(at), below = ld_u32(at + 8 * row);
  x[0] = bf16lo_f32(above);
  x[1] = bf16hi_f32(above);
  x[2] = bf16lo_f32(below);
  x[3] = bf16hi_f32(below);
}

/* One warp: U' of (I + L) U = X for 16 columns of X, in place. The system: -L below the diagonal
 * blocks, their inverses on it. */
TILE_FN void solve(float x[2 * ROW_BLOCKS][4], const bf16 *sHigh, const bf16 *sLow) {
  const int lane = tile_lane();
  const int block = ((lane & 7) + 8 * (lane >> 4)) * P_ROW + 8 * ((lane >> 3) & 1);
  TILE_UNROLL
  for (int jb = 0; jb < ROW_BLOCKS; jb++) {
    const int corner = block + 16 * jb * P_ROW + 16 * jb;
    u32 high[4], low[4], b_high[4], b_low[4];
    float u[2][4] = {{0}};
    split_operand(x + 2 * jb, high, low);
    ldmatrix_x4(b_high, sHigh + corner);
    ldmatrix_x4(b_low, sLow + corner);
    mma_split(u[0], high, low, b_high, b_low);
    mma_split(u[1], high, low, b_high + 2, b_low + 2);
    split_operand(u, high, low);
    TILE_UNROLL
    for (int mb = jb + 1; mb < ROW_BLOCKS; mb++) {
      ldmatrix_x4(b_high, sHigh + corner + 16 * (mb - jb) * P_ROW);
      ldmatrix_x4(b_low, sLow + corner + 16 * (mb - jb) * P_ROW);
      mma_split(x[2 * mb], high, low, b_high, b_low);
      mma_split(x[2 * mb + 1], high, low, b_high + 2, b_low + 2);
    }
    TILE_UNROLL
    for (int e = 0; e < 4; e++) {
      x[2 * jb][e] = u[0][e];
      x[2 * jb + 1][e] = u[1][e];
    }
  }
}

/* 0 of 0, 1 of 1, 2 of 2 and 3, ... */
TILE_FN int bit_length(u32 x) { return 32 - tile_clz(x); }

/* weights of a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_weights(float *restrict dst, const float *restrict src, i64 stride, int levels,
                          int skip, int rows) {
  const int level = tile_lane(), first = tile_warp();
  if (level >= levels) return;
  TILE_UNROLL
  for (int row = first; row < CHUNK; row += WARPS) {
    const int inside = row >= skip && row < rows;
    const i64 from = inside ? (row - skip) * stride + level : 0;
    cp_async_4(dst + row * LEVEL_ROW + level, src + from, inside ? 4 : 0);
  }
}

/* A lane's accumulators of S' in a slot: `at` is where it has its first 4. */
TILE_FN void load_state(float state[DK / 8][4], const float *at) {
  TILE_UNROLL
  for (int n = 0; n < DK / 8; n++) {
    const tile_f4 x = ld_f32x4(at + n * 4 * THREADS);
    state[n][0] = x.x;
    state[n][1] = x.y;
    state[n][2] = x.z;
    state[n][3] = x.w;
  }
}

TILE_FN void add_state(float state[DK / 8][4], const float *at) {
  TILE_UNROLL
  for (int n = 0; n < DK / 8; n++) {
    const tile_f4 x = ld_f32x4(at + n * 4 * THREADS);
    state[n][0] += x.x;
    state[n][1] += x.y;
    state[n][2] += x.z;
    state[n][3] += x.w;
  }
}

TILE_FN void store_state(float *at, float state[DK / 8][4]) {
  TILE_UNROLL
  for (int n = 0; n < DK / 8; n++)
    st_f32x4(at + n * 4 * THREADS, state[n][0], state[n][1], state[n][2], state[n][3]);
}

/* of a pair of the chunk's rows j and j + 1: those from first_row on and before last_row, else 0 */
TILE_FN u32 inside_rows(u32 pair, int j, int first_row, int last_row) {
  const int first = j >= first_row && j < last_row, second = j + 1 >= first_row && j + 1 < last_row;
  return pair & ((first ? 0xffffu : 0) | (second ? 0xffff0000u : 0));
}

TILE_KERNEL(log_linear_gated_deltanet_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(bf16, sP, SMEM_P, P_TILE);
  TILE_SMEM(bf16, sM, SMEM_M, P_TILE);
  TILE_SMEM(bf16, sPLow, SMEM_P_LOW, P_TILE); /* what rounding leaves of P */
  /* split, -L below the diagonal blocks, their inverses on it */
  TILE_SMEM(bf16, sHigh, SMEM_HIGH, P_TILE);
  TILE_SMEM(bf16, sLow, SMEM_LOW, P_TILE);
  TILE_SMEM(bf16, sW, SMEM_W, 2 * W_TILE); /* -W', split: the high parts, then the low ones */
  TILE_SMEM(float, sDiagonal, SMEM_DIAGONAL, ROW_BLOCKS * D_TILE); /* blocks of L */
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sLambda, SMEM_LEVELS_1, STAGES * LEVEL_TILE); /* [STAGES][CHUNK][LEVEL_ROW] */
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
  /* tokens that the sequence has had; so many that no level is left for them count as the least such */
  i64 position = a.position.at ? a.position.at[batch * a.position.batch] : 0;
  if (position < 0) position = 0;
  if (position >> 23) position = (1 << 23) + position % CHUNK;
  const int offset = (int)(position % CHUNK); /* rows of the first chunk that lie before T = 0 */
  const int slots = (int)a.L - 1;             /* of a state */
  const int chunks = T > 0 ? (int)((offset + T + CHUNK - 1) / CHUNK) : 0;
  /* element offsets of the next chunk to load and to store */
  i64 q_at = batch * a.q.batch + first * a.q.token + head * a.q.heads / H * a.q.head;
  i64 k_at = batch * a.k.batch + first * a.k.token + head * a.k.heads / H * a.k.head;
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head;
  for (int i = tile_tid(); i < STAGES * LEVEL_TILE; i += THREADS)
    if (i % LEVEL_ROW >= a.L) sLambda[i] = tile_nan(); /* no such level */
  i64 at_in_lambda = batch * a.in_lambda.batch + first * a.in_lambda.token + head * a.in_lambda.heads / H * a.in_lambda.head;
  const float scale = 0.0883883461f;

  for (int i = 0; i < STAGES - 1; i++) {
    if (i < chunks) {
      const int skip = chunk_skip(i * CHUNK - offset), rows = chunk_rows(T, i * CHUNK - offset);
      load_qk(sQ + i * QK_TILE, a.q.at + q_at, a.q.token, skip, rows);
      q_at += (CHUNK - skip) * a.q.token;
      load_qk(sK + i * QK_TILE, a.k.at + k_at, a.k.token, skip, rows);
      k_at += (CHUNK - skip) * a.k.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, skip, rows);
      v_at += (CHUNK - skip) * a.v.token;
      load_weights(sLambda + i * LEVEL_TILE, a.in_lambda.at + at_in_lambda, a.in_lambda.token, (int)a.L, skip, rows);
      at_in_lambda += (CHUNK - skip) * a.in_lambda.token;
    }
    cp_async_commit();
  }
  const float *in_g = a.in_g.at + batch * a.in_g.batch + first * a.in_g.token + head * a.in_g.heads / H * a.in_g.head;
  const float *in_b = a.in_b.at + batch * a.in_b.batch + first * a.in_b.token + head * a.in_b.heads / H * a.in_b.head;
  gate_values gate[LANE_TOKENS] = {{0}}; /* GATE_WARP: of this lane's tokens in the next chunk */
  if (warp == GATE_WARP) {
    const i64 t = LANE_TOKENS * lane - offset;
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_g, in_b, t + e, T);
    token_table(sTable, gate, t, T);
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_g, in_b, t + CHUNK + e, T);
  }

  int stage = 0;

  float *states = (float *)a.workspace + (i64)block * slots * SLOT + 4 * tile_tid(); /* the lane's */
  const u32 grid = (u32)(position - offset); /* the position of the first chunk's first row */
  u32 live = 0;        /* bit i: slot i has a state */
  float unread = 0.0f; /* NaN once a block has no slot, so that nothing comes out without it */
  if (a.h0.at) {
    const float *h0 = a.h0.at + batch * a.h0.batch + head * a.h0.head;
    for (int slot = 0; slot < slots; slot++) {
      if (!(position >> slot & 1)) continue;
      float state[DK / 8][4] = {{0}};
      const float *from = h0 + slot * a.h0.slot;
      TILE_UNROLL
      for (int n = 0; n < DK / 8; n++)
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int k = 8 * n + frag_col + (e & 1);
          const int v = 16 * warp + frag_row + 8 * (e >> 1);
          state[n][e] = from[k * DV + v];
        }
      store_state(states + slot * SLOT, state);
      live |= 1u << slot;
    }
    if (position >> slots != 0) unread = tile_nan();
  }
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK - offset;
    const bf16 *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    const bf16 *e = sK + stage * QK_TILE;
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const bf16 *v = sV + stage * V_TILE + a_row * V_ROW + 16 * warp + a_col;
    const float *table = sTable + (n & 1) * TABLE;

    cp_async_wait(STAGES - 2);
    barrier_sync(); /* chunk n is in shared memory; every warp is done with chunk n - 1 */
    {
      const i64 next = t0 + (STAGES - 1) * CHUNK;
      if (next < T) {
        const int free = stage == 0 ? STAGES - 1 : stage - 1;
        const int skip = chunk_skip(next), rows = chunk_rows(T, next);
        load_qk(sQ + free * QK_TILE, a.q.at + q_at, a.q.token, skip, rows);
        q_at += (CHUNK - skip) * a.q.token;
        load_qk(sK + free * QK_TILE, a.k.at + k_at, a.k.token, skip, rows);
        k_at += (CHUNK - skip) * a.k.token;
        load_v(sV + free * V_TILE, a.v.at + v_at, a.v.token, skip, rows);
        v_at += (CHUNK - skip) * a.v.token;
        load_weights(sLambda + free * LEVEL_TILE, a.in_lambda.at + at_in_lambda, a.in_lambda.token, (int)a.L, skip, rows);
        at_in_lambda += (CHUNK - skip) * a.in_lambda.token;
      }
      cp_async_commit();
    }
    if (n > 0) {
      const int skip = chunk_skip(t0 - CHUNK);
      store_o(a.o.at + o_at, sO, a.o.token, skip, CHUNK);
      o_at += (CHUNK - skip) * a.o.token;
    }
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + LANE_TOKENS * lane;
      token_table(sTable + ((n + 1) & 1) * TABLE, gate, t, T);
    }

    {
      const int skip = chunk_skip(t0), rows = chunk_rows(T, t0);
      map_q(sQ + stage * QK_TILE, skip, rows);
      map_k(sK + stage * QK_TILE, skip, rows);
    }
    barrier_sync(); /* q, k and v are what the spec makes of them */
    const float *weights = sLambda + stage * LEVEL_TILE;

    /* L and P, a block of 16 x 16 of both at a time. The diagonal blocks come first, then the warps
     * are dealt to backwards: one that has an inverse to compute has less of the rest. */
    for (int unit = warp, step = 2 * (WARPS - warp) - 1; unit < UNITS;
         unit += step, step = 2 * WARPS - step) {
      int behind = 0, col_block = unit; /* (0,0), (1,1), ... then (1,0), (2,1), ... */
      while (col_block >= ROW_BLOCKS - behind) col_block -= ROW_BLOCKS - behind++;
      const int row_block = col_block + behind;
      const int rows = (16 * row_block + a_row) * QK_ROW + a_col;
      const int columns = (16 * col_block + b_row) * QK_ROW + b_col;
      float l[2][4] = {{0}}, p[2][4] = {{0}};
      TILE_UNROLL
      for (int kb = 0; kb < DK / 16; kb++) {
        u32 ae[4], aq[4], bk[4];
        ldmatrix_x4(ae, e + rows + 16 * kb);
        ldmatrix_x4(aq, q + rows + 16 * kb);
        ldmatrix_x4(bk, k + columns + 16 * kb);
        mma_m16n8k16_bf16(l[0], ae, bk);
        mma_m16n8k16_bf16(p[0], aq, bk);
        mma_m16n8k16_bf16(l[1], ae, bk + 2);
        mma_m16n8k16_bf16(p[1], aq, bk + 2);
      }
      const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
      const float b0 = table[SUM + i0], b1 = table[SUM + i1];
      const float e0 = table[ERASE + i0], e1 = table[ERASE + i1];
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        const int j = 16 * col_block + 8 * nb + frag_col;
        scale4(l[nb], e0, e1);
        const tile_f2 b = ld_f32x2(table + SUM + j);
        /* by select: 2^x overflows above the diagonal */
        l[nb][0] = j < i0 ? l[nb][0] * tile_exp2(b0 - b.x) : 0.0f;
        l[nb][1] = j + 1 < i0 ? l[nb][1] * tile_exp2(b0 - b.y) : 0.0f;
        l[nb][2] = j < i1 ? l[nb][2] * tile_exp2(b1 - b.x) : 0.0f;
        l[nb][3] = j + 1 < i1 ? l[nb][3] * tile_exp2(b1 - b.y) : 0.0f;
        p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2(b0 - b.x) : 0.0f;
        p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2(b0 - b.y) : 0.0f;
        p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2(b1 - b.x) : 0.0f;
        p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2(b1 - b.y) : 0.0f;
        u32 high[2], low[2];
        split2(p[nb][0], p[nb][1], high, low);
        split2(p[nb][2], p[nb][3], high + 1, low + 1);
        st_u32(sP + i0 * P_ROW + j, high[0]);
        st_u32(sP + i1 * P_ROW + j, high[1]);
        st_u32(sPLow + i0 * P_ROW + j, low[0]);
        st_u32(sPLow + i1 * P_ROW + j, low[1]);
      }
      if (behind == 0) {
        float *diagonal = sDiagonal + row_block * D_TILE;
        const int corner = 16 * row_block * P_ROW + 16 * row_block;
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const int at = frag_row * D_ROW + 8 * nb + frag_col;
          st_f32x2(diagonal + at, l[nb][0], l[nb][1]);
          st_f32x2(diagonal + at + 8 * D_ROW, l[nb][2], l[nb][3]);
        }
        warp_sync();
        invert_diagonal(diagonal, sHigh + corner, sLow + corner);
      } else {
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const int at = i0 * P_ROW + 16 * col_block + 8 * nb + frag_col;
          u32 high[2], low[2];
          split2(-l[nb][0], -l[nb][1], high, low);
          split2(-l[nb][2], -l[nb][3], high + 1, low + 1);
          st_u32(sHigh + at, high[0]);
          st_u32(sLow + at, low[0]);
          st_u32(sHigh + at + 8 * P_ROW, high[1]);
          st_u32(sLow + at + 8 * P_ROW, low[1]);
        }
      }
    }
    const bf16 *erased = e;

    barrier_sync(); /* P and L are complete; chunk n - 1's output has left sO */
    /* The rows of M, a block of 16 of them at a time, and 16 columns of W and Q~ */
    for (int unit = warp; unit < ROW_BLOCKS + DK / 16; unit += WARPS) {
      if (unit < ROW_BLOCKS) {
        const int row_block = unit, i0 = 16 * row_block + frag_row, i1 = i0 + 8;
        const float *w0 = weights + i0 * LEVEL_ROW, *w1 = weights + i1 * LEVEL_ROW;
        u32 m_high[ROW_BLOCKS][4], m_low[ROW_BLOCKS][4];
        TILE_UNROLL
        for (int jb = ROW_BLOCKS - 1; jb >= 0; jb--) {
          if (jb > row_block) continue;
          const int at = i0 * P_ROW + 16 * jb + frag_col;
          float m[2][4];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            ld_accumulator(m[nb], sP + at + 8 * nb, P_ROW);
            float rest[4];
            ld_accumulator(rest, sPLow + at + 8 * nb, P_ROW);
            TILE_UNROLL
            for (int e = 0; e < 4; e++) m[nb][e] += rest[e];
          }
          u32 b_high[4], b_low[4];
          TILE_UNROLL
          for (int kb = jb + 1; kb < ROW_BLOCKS; kb++) {
            if (kb > row_block) continue;
            const int below = (16 * kb + a_row) * P_ROW + a_col + 16 * jb;
            ldmatrix_x4_trans(b_high, sHigh + below);
            ldmatrix_x4_trans(b_low, sLow + below);
            mma_split(m[0], m_high[kb], m_low[kb], b_high, b_low);
            mma_split(m[1], m_high[kb], m_low[kb], b_high + 2, b_low + 2);
          }
          const int corner = (16 * jb + a_row) * P_ROW + a_col + 16 * jb;
          u32 high[4], low[4];
          split_operand(m, high, low);
          ldmatrix_x4_trans(b_high, sHigh + corner);
          ldmatrix_x4_trans(b_low, sLow + corner);
          TILE_UNROLL
          for (int e = 0; e < 4; e++) m[0][e] = m[1][e] = 0.0f;
          mma_split(m[0], high, low, b_high, b_low);
          mma_split(m[1], high, low, b_high + 2, b_low + 2);
          split_operand(m, m_high[jb], m_low[jb]);
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const int j = 16 * jb + 8 * nb + frag_col;
            const tile_f2 w = ld_f32x2(table + WRITE + j);
            m[nb][0] = j <= i0 ? m[nb][0] * w.x * w0[bit_length((u32)(i0 ^ j))] : 0.0f;
            m[nb][1] = j + 1 <= i0 ? m[nb][1] * w.y * w0[bit_length((u32)(i0 ^ (j + 1)))] : 0.0f;
            m[nb][2] = j <= i1 ? m[nb][2] * w.x * w1[bit_length((u32)(i1 ^ j))] : 0.0f;
            m[nb][3] = j + 1 <= i1 ? m[nb][3] * w.y * w1[bit_length((u32)(i1 ^ (j + 1)))] : 0.0f;
            st_u32(sM + at + 8 * nb, pack_bf16x2(m[nb][0], m[nb][1]));
            st_u32(sM + at + 8 * P_ROW + 8 * nb, pack_bf16x2(m[nb][2], m[nb][3]));
          }
        }
      } else {
        const int column = 16 * (unit - ROW_BLOCKS);
        float w[2 * ROW_BLOCKS][4], out[ROW_BLOCKS][2][4];
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          u32 ef[4];
          ldmatrix_x4_trans(ef, erased + (16 * mb + a_row) * QK_ROW + a_col + column);
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const u32 e0 = ef[nb], e1 = ef[nb + 2];
            float *x = w[2 * mb + nb];
            const tile_f2 weight = ld_f32x2(table + OLD + 16 * mb + 8 * nb + frag_col);
            x[0] = -bf16lo_f32(e0) * weight.x;
            x[1] = -bf16hi_f32(e0) * weight.y;
            x[2] = -bf16lo_f32(e1) * weight.x;
            x[3] = -bf16hi_f32(e1) * weight.y;
            ld_accumulator(out[mb][nb], q + (16 * mb + frag_row) * QK_ROW + column + 8 * nb + frag_col, QK_ROW);
            scale4(out[mb][nb], table[FROM_START + 16 * mb + frag_row], table[FROM_START + 16 * mb + frag_row + 8]);
          }
        }
        solve(w, sHigh, sLow);
        TILE_UNROLL
        for (int jb = 0; jb < ROW_BLOCKS; jb++) {
          u32 high[4], low[4];
          split_operand(w + 2 * jb, high, low);
          const int at = (column + frag_row) * W_ROW + 16 * jb + frag_col;
          TILE_UNROLL
          for (int part = 0; part < 4; part++) { /* rows frag_row and 8 more, columns and 8 more */
            const int to = at + 8 * (part & 1) * W_ROW + 8 * (part >> 1);
            st_u32(sW + to, high[part]);
            st_u32(sW + W_TILE + to, low[part]);
          }
      const u32 lower[4] = {high[0], high[2], low[0], low[2]};
      const u32 upper[4] = {high[1], high[3], low[1], low[3]};
          TILE_UNROLL
          for (int mb = jb; mb < ROW_BLOCKS; mb++) {
            const int rows = (16 * mb + a_row) * P_ROW + a_col + 16 * jb;
            u32 p_high[4], p_low[4];
            ldmatrix_x4(p_high, sP + rows);
            ldmatrix_x4(p_low, sPLow + rows);
            mma_split(out[mb][0], p_high, p_low, lower, lower + 2);
            mma_split(out[mb][1], p_high, p_low, upper, upper + 2);
          }
        }
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            bf16 *q_at = sQ + stage * QK_TILE + (16 * mb + frag_row) * QK_ROW + column + 8 * nb + frag_col;
            st_u32(q_at, pack_bf16x2(out[mb][nb][0], out[mb][nb][1]));
            st_u32(q_at + 8 * QK_ROW, pack_bf16x2(out[mb][nb][2], out[mb][nb][3]));
          }
        }
      }
    }
    barrier_sync(); /* W, Q~ and M are complete */

    /* positions of the chunk's first row, of its first token, and after its last */
    const u32 base = grid + (u32)(n * CHUNK), begin = base + chunk_skip(t0), end = base + chunk_rows(T, t0);

    /* What the chunk itself writes: O = M V */
    float out[ROW_BLOCKS][2][4];
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      TILE_UNROLL
      for (int e = 0; e < 4; e++) out[mb][0][e] = out[mb][1][e] = unread;
    }
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        u32 am[4];
        ldmatrix_x4(am, sM + (16 * mb + a_row) * P_ROW + a_col + 16 * jb);
        mma_m16n8k16_bf16(out[mb][0], am, vf);
        mma_m16n8k16_bf16(out[mb][1], am, vf + 2);
      }
    }

    u32 from = begin; /* what the chunk writes from here on is still to come */
    u32 written = 0;  /* slots that have got their first state */
    while (live != 0 || from < end) {
      float state[DK / 8][4] = {{0}}, x[2 * ROW_BLOCKS][4] = {{0}};
      u32 first = from; /* of the tokens whose state it is */
      if (live != 0) { /* the largest block that is left */
        const int slot = bit_length(live) - 1;
        live ^= 1u << slot;
        first = begin >> slot >> 1 << slot << 1;
        load_state(state, states + slot * SLOT);
        /* the accumulators of S' are, rounded, the B fragments of S */
        float read[ROW_BLOCKS][2][4] = {{{0}}};
        TILE_UNROLL
        for (int kb = 0; kb < DK / 16; kb++) {
          const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
          const u32 lower[2] = {pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s1[0], s1[1])};
          const u32 upper[2] = {pack_bf16x2(s0[2], s0[3]), pack_bf16x2(s1[2], s1[3])};
          TILE_UNROLL
          for (int mb = 0; mb < ROW_BLOCKS; mb++) {
            u32 aq[4];
            ldmatrix_x4(aq, q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb);
            mma_m16n8k16_bf16(read[mb][0], aq, lower);
            mma_m16n8k16_bf16(read[mb][1], aq, upper);
          }
        }
        const int start = (int)(first - base); /* of a block within the chunk */
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          const int i0 = 16 * mb + frag_row, i1 = i0 + 8;
          const int level0 = slot < LOG2_CHUNK ? bit_length((u32)(i0 ^ start)) : slot + 1;
          const int level1 = slot < LOG2_CHUNK ? bit_length((u32)(i1 ^ start)) : slot + 1;
          const float w0 = weights[i0 * LEVEL_ROW + level0], w1 = weights[i1 * LEVEL_ROW + level1];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            scale4(read[mb][nb], w0, w1);
            TILE_UNROLL
            for (int e = 0; e < 4; e++) out[mb][nb][e] += read[mb][nb][e];
          }
        }
        TILE_UNROLL
        for (int kb = 0; kb < DK / 16; kb++) { /* X' = S' (-W'), an A operand this time */
          const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
          const u32 as[4] = {pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s0[2], s0[3]),
                             pack_bf16x2(s1[0], s1[1]), pack_bf16x2(s1[2], s1[3])};
          TILE_UNROLL
          for (int mb = 0; mb < ROW_BLOCKS; mb++) {
            const int at = (16 * kb + a_row) * W_ROW + a_col + 16 * mb;
            u32 b_high[4], b_low[4];
            ldmatrix_x4_trans(b_high, sW + at);
            ldmatrix_x4_trans(b_low, sW + W_TILE + at);
            mma_m16n8k16_bf16(x[2 * mb], as, b_low);
            mma_m16n8k16_bf16(x[2 * mb + 1], as, b_low + 2);
            mma_m16n8k16_bf16(x[2 * mb], as, b_high);
            mma_m16n8k16_bf16(x[2 * mb + 1], as, b_high + 2);
          }
        }
      } else { /* what the chunk writes: all of it, or a part where the sequence ends */
        const int slot = bit_length(from ^ end) - 1;
        from = end >> slot << slot;
        const int first_row = (int)(first - base), last_row = (int)(from - base);
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          u32 vf[4];
          ldmatrix_x4_trans(vf, v + 16 * mb * V_ROW);
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const int j = 16 * mb + 8 * nb + frag_col;
            const u32 v0 = inside_rows(vf[nb], j, first_row, last_row);
            const u32 v1 = inside_rows(vf[nb + 2], j, first_row, last_row);
            float *y = x[2 * mb + nb];
            const tile_f2 w = ld_f32x2(table + WRITE + j);
            y[0] = bf16lo_f32(v0) * w.x;
            y[1] = bf16hi_f32(v0) * w.y;
            y[2] = bf16lo_f32(v1) * w.x;
            y[3] = bf16hi_f32(v1) * w.y;
          }
        }
        solve(x, sHigh, sLow);
      }
      const float whole = table[WHOLE];
      TILE_UNROLL
      for (int nb = 0; nb < DK / 8; nb++) scale4(state[nb], whole, whole);
      TILE_UNROLL
      for (int jb = 0; jb < ROW_BLOCKS; jb++) {
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const tile_f2 d = ld_f32x2(table + TO_END + 16 * jb + 8 * nb + frag_col);
          float *u = x[2 * jb + nb];
          u[0] *= d.x;
          u[1] *= d.y;
          u[2] *= d.x;
          u[3] *= d.y;
        }
        u32 high[4], low[4];
        split_operand(x + 2 * jb, high, low);
        TILE_UNROLL
        for (int nb = 0; nb < DK / 16; nb++) {
          u32 bk[4];
          ldmatrix_x4_trans(bk, k + (16 * jb + a_row) * QK_ROW + a_col + 16 * nb);
          mma_m16n8k16_bf16(state[2 * nb], low, bk);
          mma_m16n8k16_bf16(state[2 * nb + 1], low, bk + 2);
          mma_m16n8k16_bf16(state[2 * nb], high, bk);
          mma_m16n8k16_bf16(state[2 * nb + 1], high, bk + 2);
        }
      }
      const int slot = bit_length(first ^ end) - 1; /* of the block that these tokens are in then */
      if (slot >= slots) {
        unread = tile_nan();
        continue;
      }
      if (written >> slot & 1) add_state(state, states + slot * SLOT);
      store_state(states + slot * SLOT, state);
      written |= 1u << slot;
    }
    live = written;
    if (warp == GATE_WARP) { /* the gates of the chunk after the next; here, where no shuffle waits */
      TILE_UNROLL
      for (int e = 0; e < LANE_TOKENS; e++)
        gate[e] = load_gate(&a, in_g, in_b, t0 + 2 * CHUNK + LANE_TOKENS * lane + e, T);
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
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  if (chunks > 0) { /* a packed sequence may be empty */
    const i64 t0 = (i64)(chunks - 1) * CHUNK - offset;
    store_o(a.o.at + o_at, sO, a.o.token, chunk_skip(t0), chunk_rows(T, t0));
  }
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head;
    for (int slot = 0; slot < slots; slot++) {
      float state[DK / 8][4] = {{0}};
      float *to = ht + slot * a.ht.slot;
      if (live >> slot & 1) load_state(state, states + slot * SLOT);
      TILE_UNROLL
      for (int n = 0; n < DK / 8; n++)
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int k = 8 * n + frag_col + (e & 1);
          const int v = 16 * warp + frag_row + 8 * (e >> 1);
          to[k * DV + v] = state[n][e] + unread;
        }
    }
  }
}
