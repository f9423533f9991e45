/* hgrn2, forward pass: bf16, dk 60, dv 100, sm_120. Emitted by maskc 0.1.0.
 *
 *   S <- diag(sigmoid(f)) S
 *   S <- S + (1 - sigmoid(f)) v'
 *   o = dk^-0.5 S' silu(q)
 *   log(sigmoid(f)) = -softplus(-f)
 *   decay channel, plain, flat, score linear
 *   input f [B,T,H,dk] fp32
 *   input q [B,T,H,dk]
 *   input v [B,T,H,dv]
 *
 * (channel chunk=32 dv_tile=112 stages=2 threads=224 smem=59904 blocks_a_head=1)
 * 760 bytes and 29 kFLOP a token of one head; on RTX 5090 the floor is 0.472 ns, predicted 0.766 ns
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

/* 8 bytes, likewise */
TILE_FN void copy_8(void *dst, const void *src) { *(u64 *)dst = *(const u64 *)src; }

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
#else
#include "tile_host.h" /* the same names on the CPU device */
#endif

enum {
  DK = 60,
  DK_PAD = 64, /* as the matrix operations take it; the channels past DK are zero */
  DV = 100,
  DV_TILE = 112, /* value channels of a block; those past DV are zero */
  SPLITS = 1, /* blocks a head */
  CHUNK = 32, /* tokens a step */
  STAGES = 2, /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,

  /* A row of a tile, in elements: 8 more than it has, so that the eight rows that an ldmatrix reads
   * at once lie in different banks. Elements of a chunk's tiles; byte offsets in shared memory. */
  QK_ROW = DK_PAD + 8,
  V_ROW = DV_TILE + 8,
  P_ROW = 16 + 8,
  QK_TILE = CHUNK * QK_ROW,
  V_TILE = CHUNK * V_ROW,
  SMEM_Q = 0,
  SMEM_K = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
  SHARES = 2, /* warps that share 16 rows of P */

  /* the inputs of the decays, and in place of the first the factors: floats */
  F_ROW = DK_PAD,
  F_TILE = CHUNK * F_ROW,
  SMEM_F = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_BLOCK = SMEM_F + 4 * STAGES * F_TILE,
  SMEM_P = SMEM_BLOCK + 4 * ROW_BLOCKS * DK_PAD,
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,
  SMEM_BYTES = SMEM_O + 2 * V_TILE
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* v [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } in_f; /* f [B,T,H,dk] */
  struct { const float *at; i64 batch, token, head, heads; } h0; /* h0 [B,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, token, head, heads; } ht; /* ht [B,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
} op_args;

/* q: the terms of its reductions, and a channel */
TILE_FN float q_value(const float in_q) {
  return tile_silu(in_q);
}

/* q of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_q(bf16 *in_q, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_q[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_q + i, in_q + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    u32 result[VECTOR];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = 0;
      if (row < rows && channel < DK)
        result[i % VECTOR] = pack_bf16x2(q_value(bf16lo_f32(word_in_q[i])), q_value(bf16hi_f32(word_in_q[i])));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_q + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* k: the terms of its reductions, and a channel */
TILE_FN float k_value(const float in_f) {
  return 1.0f - tile_sigmoid(in_f);
}

/* k of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_k(bf16 *k, const float *in_f, int rows) {
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES }; /* a lane's, of two channels each */
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    tile_f2 pair_in_f[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++)
      pair_in_f[i] = ld_f32x2(in_f + row * F_ROW + 2 * (lane + LANES * i));
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      u32 result = 0;
      if (row < rows && channel < DK)
        result = pack_bf16x2(k_value(pair_in_f[i].x), k_value(pair_in_f[i].y));
      st_u32(k + row * QK_ROW + 2 * (lane + LANES * i), result);
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

/* an input of the decays, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
TILE_FN void load_f(float *restrict dst, const float *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 4, PIECES = DK_PAD / PIECE }; /* 16 bytes */
  for (int at = tile_tid(); at < CHUNK * PIECES; at += THREADS) {
    const int row = at / PIECES, column = at % PIECES * PIECE;
    const int inside = row < rows && column < DK;
    const i64 from = inside ? row * stride + column : 0;
    cp_async_16(dst + row * F_ROW + column, src + from, inside ? 16 : 0);
  }
}

/* v, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
TILE_FN void load_v(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 4, PIECES = DV_TILE / PIECE }; /* 8 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row < rows && column < DV;
    const i64 from = inside ? row * stride + column : 0;
    cp_async_8(dst + row * V_ROW + column, src + from, inside ? 8 : 0);
  }
}

/* o, a chunk's `rows` rows, from shared memory */
TILE_FN void store_o(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 4, PIECES = DV_TILE / PIECE }; /* 8 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    if (row < rows && column < DV) copy_8(dst + row * stride + column, src + row * V_ROW + column);
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

/* log2 of one token's decay factor, sigmoid(f).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const float in_f) {
  const float x = LOG2_E * (-tile_softplus(-in_f));
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}

/* The decay factors of a chunk's `rows` tokens, in place of the input, and of each block of 16 their
 * product. A thread takes two channels of a block. Tokens past the end decay nothing. */
TILE_FN void decay_factors(float *factors, float *of_block, int rows) {
  enum { PAIRS = DK_PAD / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int block = i / PAIRS, channel = 2 * (i % PAIRS);
    float sum_x = 0.0f, sum_y = 0.0f; /* of logarithms */
    TILE_UNROLL
    for (int e = 0; e < 16; e++) {
      const int row = 16 * block + e, at = row * F_ROW + channel;
      const tile_f2 pair_in_f = ld_f32x2(factors + at);
      const float x = row < rows ? log2_decay(pair_in_f.x) : 0.0f;
      const float y = row < rows ? log2_decay(pair_in_f.y) : 0.0f;
      st_f32x2(factors + at, tile_exp2(x), tile_exp2(y));
      sum_x += x;
      sum_y += y;
    }
    st_f32x2(of_block + block * DK_PAD + channel, tile_exp2(sum_x), tile_exp2(sum_y));
  }
}

/* One warp: rows of a block of P, each a sum over the channels. A lane has four rows, 4 apart, and
 * with the lanes of the same rows shares the channels. `share`: which rows, of SHARES. The pointers
 * are to the block's first token. */
TILE_FN void pairwise(bf16 *p, const bf16 *q, const bf16 *k, const float *factors,
                      int share) {
  enum { ROWS = 4 / SHARES, LANES = 32 / ROWS }; /* LANES: of the same rows */
  const int row = tile_lane() % ROWS * SHARES + share; /* and row + 4, row + 8, row + 12 */
  float sum[4][16] = {{0}};
  for (int i = tile_lane() / ROWS; i < DK_PAD / 2; i += LANES) {
    const int channel = 2 * i;
    u32 q_word[4];
    TILE_UNROLL
    for (int r = 0; r < 4; r++) q_word[r] = ld_u32(q + (4 * r + row) * QK_ROW + channel);
    /* q times the factors of the tokens after s; 0 until s comes back to the row */
    float x[4] = {0}, y[4] = {0};
    TILE_UNROLL
    for (int s = 15; s >= 0; s--) {
      const u32 k_word = ld_u32(k + s * QK_ROW + channel);
      const float kx = bf16lo_f32(k_word), ky = bf16hi_f32(k_word);
      const tile_f2 f = ld_f32x2(factors + (s < 15 ? s + 1 : s) * F_ROW + channel);
      TILE_UNROLL
      for (int r = s / 4; r < 4; r++) { /* the rows that s can be before, or is */
        if (s < 4 * r + 3) {
          x[r] *= f.x;
          y[r] *= f.y;
        }
        if (r == s / 4) {
          x[r] = s == 4 * r + row ? bf16lo_f32(q_word[r]) : x[r];
          y[r] = s == 4 * r + row ? bf16hi_f32(q_word[r]) : y[r];
        }
        sum[r][s] += x[r] * kx;
        sum[r][s] += y[r] * ky;
      }
    }
  }
  TILE_UNROLL
  for (int mask = ROWS; mask < 32; mask *= 2) {
    TILE_UNROLL
    for (int r = 0; r < 4; r++) {
      TILE_UNROLL
      for (int s = 0; s < 4 * r + 4; s++) sum[r][s] += warp_shuffle_xor_f32(sum[r][s], mask);
    }
  }
  if (tile_lane() < ROWS) {
    TILE_UNROLL
    for (int s = 0; s < 16; s += 2) {
      TILE_UNROLL
      for (int r = 0; r < 4; r++) /* zeros above the diagonal */
        st_u32(p + (4 * r + row) * P_ROW + s, pack_bf16x2(sum[r][s], sum[r][s + 1]));
    }
  }
}

/* In place: q times the factors from its block's start through its token, k times those after it
 * to the block's end. */
TILE_FN void decay_keys(bf16 *q, bf16 *k, const float *factors) {
  enum { PAIRS = DK_PAD / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int first = 16 * (i / PAIRS), channel = 2 * (i % PAIRS);
    const float *f_at = factors + first * F_ROW + channel;
    bf16 *q_at = q + first * QK_ROW + channel, *k_at = k + first * QK_ROW + channel;
    float x = 1.0f, y = 1.0f;
    TILE_UNROLL
    for (int n = 0; n < 16; n++) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const u32 word = ld_u32(q_at + n * QK_ROW);
      x *= f.x;
      y *= f.y;
      st_u32(q_at + n * QK_ROW, pack_bf16x2(bf16lo_f32(word) * x, bf16hi_f32(word) * y));
    }
    x = y = 1.0f;
    TILE_UNROLL
    for (int n = 15; n >= 0; n--) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const u32 word = ld_u32(k_at + n * QK_ROW);
      st_u32(k_at + n * QK_ROW, pack_bf16x2(bf16lo_f32(word) * x, bf16hi_f32(word) * y));
      x *= f.x;
      y *= f.y;
    }
  }
}

/* an accumulator's two columns, each times its factor */
TILE_FN void decay_columns(float *x, const tile_f2 factor) {
  x[0] *= factor.x;
  x[1] *= factor.y;
  x[2] *= factor.x;
  x[3] *= factor.y;
}

TILE_KERNEL(hgrn2_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(float, sF, SMEM_F, STAGES * F_TILE); /* [STAGES][CHUNK][F_ROW] */
  TILE_SMEM(float, sBlock, SMEM_BLOCK, ROW_BLOCKS * DK_PAD); /* factors of blocks of 16 tokens */
  TILE_SMEM(bf16, sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);

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
  i64 at_in_f = batch * a.in_f.batch + first * a.in_f.token + head * a.in_f.heads / H * a.in_f.head;
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head;
  const float scale = 0.129099444f;

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
        if (k < DK && v < DV) state[n][e] = h0[k * a.h0.token + v];
      }
  }

  for (int i = 0; i < STAGES - 1; i++) {
    if (i * CHUNK < T) {
      const int rows = chunk_rows(T, i * CHUNK);
      load_qk(sQ + i * QK_TILE, a.q.at + q_at, a.q.token, rows);
      q_at += CHUNK * a.q.token;
      load_f(sF + i * F_TILE, a.in_f.at + at_in_f, a.in_f.token, rows);
      at_in_f += CHUNK * a.in_f.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, rows);
      v_at += CHUNK * a.v.token;
    }
    cp_async_commit();
  }

  int stage = 0;
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK;
    const bf16 *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const bf16 *v = sV + stage * V_TILE + a_row * V_ROW + 16 * warp + a_col;

    cp_async_wait(STAGES - 2);
    barrier_sync(); /* chunk n is in shared memory; every warp is done with chunk n - 1 */
    {
      const i64 next = t0 + (STAGES - 1) * CHUNK;
      if (next < T) {
        const int free = stage == 0 ? STAGES - 1 : stage - 1;
        const int rows = chunk_rows(T, next);
        load_qk(sQ + free * QK_TILE, a.q.at + q_at, a.q.token, rows);
        q_at += CHUNK * a.q.token;
        load_f(sF + free * F_TILE, a.in_f.at + at_in_f, a.in_f.token, rows);
        at_in_f += CHUNK * a.in_f.token;
        load_v(sV + free * V_TILE, a.v.at + v_at, a.v.token, rows);
        v_at += CHUNK * a.v.token;
      }
      cp_async_commit();
    }
    if (n > 0) {
      store_o(a.o.at + o_at, sO, a.o.token, CHUNK);
      o_at += CHUNK * a.o.token;
    }

    {
      const int rows = chunk_rows(T, t0);
      map_q(sQ + stage * QK_TILE, rows);
      map_k(sK + stage * QK_TILE, sF + stage * F_TILE, rows);
    }
    barrier_sync(); /* q, k and v are what the spec makes of them */

    decay_factors(sF + stage * F_TILE, sBlock, chunk_rows(T, t0));
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < SHARES * ROW_BLOCKS; unit += WARPS) {
      const int block = unit / SHARES, rows = 16 * block * QK_ROW;
      pairwise(sP + 16 * block * P_ROW, q + rows, k + rows, sF + stage * F_TILE + 16 * block * F_ROW, unit % SHARES);
    }
    barrier_sync(); /* P is complete; every warp is done with q and k as they were */
    decay_keys(sQ + stage * QK_TILE, sK + stage * QK_TILE, sF + stage * F_TILE);
    barrier_sync(); /* q and k are what meets the state */

    /* O = Q S + P V and S' = S' diag(A_15) + V' K, block by block. The accumulators of S' are,
     * rounded, the B fragments of S; the warp's 16 columns of V are the B operand of P V and,
     * transposed, the A operand of the update. */
    /* the same matrices of V, in the order of an A operand */
    const bf16 *v_transposed = sV + stage * V_TILE + b_row * V_ROW + 16 * warp + b_col;
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      const float *of_block = sBlock + mb * DK_PAD + frag_col;
      u32 ap[4], vf[4], vt[4];
      ldmatrix_x4(ap, sP + (16 * mb + a_row) * P_ROW + a_col);
      ldmatrix_x4_trans(vf, v + 16 * mb * V_ROW);
      mma_m16n8k16_bf16(out[mb][0], ap, vf);
      mma_m16n8k16_bf16(out[mb][1], ap, vf + 2);
      ldmatrix_x4_trans(vt, v_transposed + 16 * mb * V_ROW);
      TILE_UNROLL
      for (int kb = 0; kb < DK_PAD / 16; kb++) {
        float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
        const u32 lower[2] = {pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s1[0], s1[1])};
        const u32 upper[2] = {pack_bf16x2(s0[2], s0[3]), pack_bf16x2(s1[2], s1[3])};
        const int at = (16 * mb + a_row) * QK_ROW + a_col + 16 * kb;
        u32 aq[4], bk[4];
        ldmatrix_x4(aq, q + at);
        mma_m16n8k16_bf16(out[mb][0], aq, lower);
        mma_m16n8k16_bf16(out[mb][1], aq, upper);
        decay_columns(s0, ld_f32x2(of_block + 16 * kb));
        decay_columns(s1, ld_f32x2(of_block + 16 * kb + 8));
        ldmatrix_x4_trans(bk, k + at);
        mma_m16n8k16_bf16(s0, vt, bk);
        mma_m16n8k16_bf16(s1, vt, bk + 2);
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
        if (k < DK && v < DV) ht[k * a.ht.token + v] = state[n][e];
      }
  }
}
