/* log_linear_gla, forward pass: bf16, dk 64, dv 64, sm_80. Emitted by maskc 0.1.0.
 *
 *   S <- diag(exp(g)) S
 *   S <- S + k v'
 *   o = dk^-0.5 (sum over levels of lambda S)' q
 *   decay channel, plain, fenwick, score linear
 *   input g [B,T,H,dk] fp32, at most 0
 *   input lambda [B,T,H,levels] fp32
 *   input q [B,T,H,dk]
 *   input k [B,T,H,dk]
 *   input v [B,T,H,dv]
 *
 * (fenwick_eager chunk=64 dv_tile=64 stages=2 threads=128 smem=129536 blocks_a_head=1)
 * 828 bytes and 74 kFLOP a token of one head; on A100 SXM 80GB the floor is 0.452 ns, predicted 1.25 ns
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
#else
#include "tile_host.h" /* the same names on the CPU device */
#endif

enum {
  DK = 64,
  DV = 64,
  DV_TILE = 64, /* value channels of a block */
  SPLITS = 1, /* blocks a head */
  CHUNK = 64, /* tokens a step */
  STAGES = 2, /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,

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
  SHARES = 1, /* warps that share 16 rows of P */

  /* the inputs of the decays, and in place of the first the factors: floats */
  F_ROW = DK,
  F_TILE = CHUNK * F_ROW,
  SMEM_F = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_BLOCK = SMEM_F + 4 * STAGES * F_TILE,
  P_TILE = CHUNK * P_ROW,
  SMEM_P = SMEM_BLOCK + 4 * ROW_BLOCKS * DK,
  SMEM_M = SMEM_P + 2 * P_TILE,
  SMEM_O = SMEM_M + 2 * P_TILE,

  /* the weights of a chunk's rows, a row of levels each; odd, so that rows lie in different banks */
  LEVEL_ROW = 25,
  LEVEL_TILE = CHUNK * LEVEL_ROW,
  LOG2_CHUNK = 6,
  SMEM_LEVELS_1 = SMEM_O + 2 * V_TILE,
  SMEM_BYTES = SMEM_LEVELS_1 + 4 * STAGES * LEVEL_TILE,
  SLOT = DK * DV_TILE /* floats of a slot: for every 8 columns of dk 4 a lane */
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } k; /* k [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* v [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } in_g; /* g [B,T,H,dk] */
  struct { const float *at; i64 batch, token, head, heads; } in_lambda; /* lambda [B,T,H,levels] */
  struct { const float *at; i64 batch, slot, head, heads; } h0; /* h0 [B,slots,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, slot, head, heads; } ht; /* ht [B,slots,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
  struct { const i64 *at; i64 batch, token, head, heads; } position; /* position [B], or null */
  i64 L; /* levels; a state has L - 1 slots */
  char *workspace;
} op_args;

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

/* an input of the decays, a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_f(float *restrict dst, const float *restrict src, i64 stride,
                   int skip, int rows) {
  enum { PIECE = 4, PIECES = DK / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row >= skip && row < rows;
    const i64 from = inside ? (row - skip) * stride + column : 0;
    cp_async_16(dst + row * F_ROW + column, src + from, inside ? 16 : 0);
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

/* log2 of one token's decay factor, exp(g).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const float in_g) {
  const float x = LOG2_E * in_g;
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}

/* The decay factors of a chunk's rows `skip` to `rows`, in place of the input, and of each block of 16 their
 * product. A thread takes two channels of a block. The other rows decay nothing. */
TILE_FN void decay_factors(float *factors, float *of_block, int skip, int rows) {
  enum { PAIRS = DK / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int block = i / PAIRS, channel = 2 * (i % PAIRS);
    float sum_x = 0.0f, sum_y = 0.0f; /* of logarithms */
    TILE_UNROLL
    for (int e = 0; e < 16; e++) {
      const int row = 16 * block + e, at = row * F_ROW + channel;
      const tile_f2 pair_in_g = ld_f32x2(factors + at);
      const float x = row >= skip && row < rows ? log2_decay(pair_in_g.x) : 0.0f;
      const float y = row >= skip && row < rows ? log2_decay(pair_in_g.y) : 0.0f;
      st_f32x2(factors + at, tile_exp2(x), tile_exp2(y));
      sum_x += x;
      sum_y += y;
    }
    st_f32x2(of_block + block * DK + channel, tile_exp2(sum_x), tile_exp2(sum_y));
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
  for (int i = tile_lane() / ROWS; i < DK / 2; i += LANES) {
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
  enum { PAIRS = DK / 2 };
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

/* an A operand's columns, each times its factor: x those of the lane's first two, y 8 further on */
TILE_FN void multiply_operand(u32 *a, const tile_f2 x, const tile_f2 y) {
  a[0] = pack_bf16x2(bf16lo_f32(a[0]) * x.x, bf16hi_f32(a[0]) * x.y);
  a[1] = pack_bf16x2(bf16lo_f32(a[1]) * x.x, bf16hi_f32(a[1]) * x.y);
  a[2] = pack_bf16x2(bf16lo_f32(a[2]) * y.x, bf16hi_f32(a[2]) * y.y);
  a[3] = pack_bf16x2(bf16lo_f32(a[3]) * y.x, bf16hi_f32(a[3]) * y.y);
}

/* an accumulator from a tile: `at` is where the lane's first row is */
TILE_FN void ld_accumulator(float *x, const bf16 *at, int row) {
  const u32 above = ld_u32(at), below = ld_u32(at + 8 * row);
  x[0] = bf16lo_f32(above);
  x[1] = bf16hi_f32(above);
  x[2] = bf16lo_f32(below);
  x[3] = bf16hi_f32(below);
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

TILE_KERNEL(log_linear_gla_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(float, sF, SMEM_F, STAGES * F_TILE); /* [STAGES][CHUNK][F_ROW] */
  TILE_SMEM(float, sBlock, SMEM_BLOCK, ROW_BLOCKS * DK); /* factors of blocks of 16 tokens */
  TILE_SMEM(bf16, sP, SMEM_P, P_TILE);
  TILE_SMEM(bf16, sM, SMEM_M, P_TILE);
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sLambda, SMEM_LEVELS_1, STAGES * LEVEL_TILE); /* [STAGES][CHUNK][LEVEL_ROW] */

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
  i64 at_in_g = batch * a.in_g.batch + first * a.in_g.token + head * a.in_g.heads / H * a.in_g.head;
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head;
  for (int i = tile_tid(); i < STAGES * LEVEL_TILE; i += THREADS)
    if (i % LEVEL_ROW >= a.L) sLambda[i] = tile_nan(); /* no such level */
  i64 at_in_lambda = batch * a.in_lambda.batch + first * a.in_lambda.token + head * a.in_lambda.heads / H * a.in_lambda.head;
  const float scale = 0.125f;

  for (int i = 0; i < STAGES - 1; i++) {
    if (i < chunks) {
      const int skip = chunk_skip(i * CHUNK - offset), rows = chunk_rows(T, i * CHUNK - offset);
      load_qk(sQ + i * QK_TILE, a.q.at + q_at, a.q.token, skip, rows);
      q_at += (CHUNK - skip) * a.q.token;
      load_qk(sK + i * QK_TILE, a.k.at + k_at, a.k.token, skip, rows);
      k_at += (CHUNK - skip) * a.k.token;
      load_f(sF + i * F_TILE, a.in_g.at + at_in_g, a.in_g.token, skip, rows);
      at_in_g += (CHUNK - skip) * a.in_g.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, skip, rows);
      v_at += (CHUNK - skip) * a.v.token;
      load_weights(sLambda + i * LEVEL_TILE, a.in_lambda.at + at_in_lambda, a.in_lambda.token, (int)a.L, skip, rows);
      at_in_lambda += (CHUNK - skip) * a.in_lambda.token;
    }
    cp_async_commit();
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
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const bf16 *v = sV + stage * V_TILE + a_row * V_ROW + 16 * warp + a_col;

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
        load_f(sF + free * F_TILE, a.in_g.at + at_in_g, a.in_g.token, skip, rows);
        at_in_g += (CHUNK - skip) * a.in_g.token;
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
    const float *weights = sLambda + stage * LEVEL_TILE;

    decay_factors(sF + stage * F_TILE, sBlock, chunk_skip(t0), chunk_rows(T, t0));
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < SHARES * ROW_BLOCKS; unit += WARPS) {
      const int block = unit / SHARES, rows = 16 * block * QK_ROW;
      pairwise(sP + 16 * block * (P_ROW + 1), q + rows, k + rows, sF + stage * F_TILE + 16 * block * F_ROW, unit % SHARES);
    }
    barrier_sync(); /* the diagonal blocks are complete; every warp is done with what is decayed next */
    decay_keys(sQ + stage * QK_TILE, sK + stage * QK_TILE, sF + stage * F_TILE);
    barrier_sync(); /* tokens have the decays in their blocks of 16 */
    for (int unit = warp; unit < ROW_BLOCKS * (ROW_BLOCKS - 1) / 2; unit += WARPS) {
      int row_block = 1, col_block = unit; /* (1,0), (2,0), (2,1), ... */
      while (col_block >= row_block) col_block -= row_block++;
      const int rows = (16 * row_block + a_row) * QK_ROW + a_col;
      const int columns = (16 * col_block + b_row) * QK_ROW + b_col;
      float p[2][4] = {{0}};
      TILE_UNROLL
      for (int kb = 0; kb < DK / 16; kb++) {
        u32 aq[4], bk[4];
        tile_f2 x = {1.0f, 1.0f}, y = {1.0f, 1.0f};
        for (int between = col_block + 1; between < row_block; between++) {
          const float *of_block = sBlock + between * DK + 16 * kb + frag_col;
          const tile_f2 fx = ld_f32x2(of_block), fy = ld_f32x2(of_block + 8);
          x.x *= fx.x;
          x.y *= fx.y;
          y.x *= fy.x;
          y.y *= fy.y;
        }
        ldmatrix_x4(aq, q + rows + 16 * kb);
        ldmatrix_x4(bk, k + columns + 16 * kb);
        if (row_block - col_block > 1) multiply_operand(aq, x, y);
        mma_m16n8k16_bf16(p[0], aq, bk);
        mma_m16n8k16_bf16(p[1], aq, bk + 2);
      }
      const int at = (16 * row_block + frag_row) * P_ROW + 16 * col_block + frag_col;
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        const int above = at + 8 * nb, below = above + 8 * P_ROW;
        st_u32(sP + above, pack_bf16x2(p[nb][0], p[nb][1]));
        st_u32(sP + below, pack_bf16x2(p[nb][2], p[nb][3]));
      }
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
    for (int unit = warp; unit < ROW_BLOCKS; unit += WARPS) { /* rows of P under the mask */
        const int row_block = unit, i0 = 16 * row_block + frag_row, i1 = i0 + 8;
        const float *w0 = weights + i0 * LEVEL_ROW, *w1 = weights + i1 * LEVEL_ROW;
        TILE_UNROLL
        for (int jb = ROW_BLOCKS - 1; jb >= 0; jb--) {
          if (jb > row_block) continue;
          const int at = i0 * P_ROW + 16 * jb + frag_col;
          float m[2][4];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            ld_accumulator(m[nb], sP + at + 8 * nb, P_ROW);
          }
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const int j = 16 * jb + 8 * nb + frag_col;
            m[nb][0] = j <= i0 ? m[nb][0] * w0[bit_length((u32)(i0 ^ j))] : 0.0f;
            m[nb][1] = j + 1 <= i0 ? m[nb][1] * w0[bit_length((u32)(i0 ^ (j + 1)))] : 0.0f;
            m[nb][2] = j <= i1 ? m[nb][2] * w1[bit_length((u32)(i1 ^ j))] : 0.0f;
            m[nb][3] = j + 1 <= i1 ? m[nb][3] * w1[bit_length((u32)(i1 ^ (j + 1)))] : 0.0f;
            st_u32(sM + at + 8 * nb, pack_bf16x2(m[nb][0], m[nb][1]));
            st_u32(sM + at + 8 * P_ROW + 8 * nb, pack_bf16x2(m[nb][2], m[nb][3]));
          }
        }
    }
    /* Q~ = Q * A: the decays of the blocks before a row's */
    for (int i = tile_tid(); i < (CHUNK - 16) * DK / 2; i += THREADS) {
      const int row = 16 + i / (DK / 2), channel = 2 * (i % (DK / 2));
      bf16 *q_at = sQ + stage * QK_TILE + row * QK_ROW + channel;
      const u32 pair = ld_u32(q_at);
      float x = bf16lo_f32(pair), y = bf16hi_f32(pair);
      for (int before = 0; before < row / 16; before++) {
        const tile_f2 f = ld_f32x2(sBlock + before * DK + channel);
        x *= f.x;
        y *= f.y;
      }
      st_u32(q_at, pack_bf16x2(x, y));
    }
    barrier_sync(); /* Q~ and M are complete */

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
      float state[DK / 8][4] = {{0}};
      u32 first = from; /* of the tokens whose state it is */
      int first_row = 0, last_row = 0; /* of the chunk, which write */
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
      } else { /* what the chunk writes: all of it, or a part where the sequence ends */
        const int slot = bit_length(from ^ end) - 1;
        from = end >> slot << slot;
        first_row = (int)(first - base);
        last_row = (int)(from - base);
      }
      TILE_UNROLL
      for (int jb = 0; jb < ROW_BLOCKS; jb++) {
        const float *of_block = sBlock + jb * DK + frag_col;
        TILE_UNROLL
        for (int nb = 0; nb < DK / 8; nb++) decay_columns(state[nb], ld_f32x2(of_block + 8 * nb));
        if (16 * jb >= last_row || 16 * jb + 16 <= first_row) continue;
        const int near = 16 * jb + frag_col, far = near + 8;
        u32 vf[4], vt[4];
        ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
        vt[0] = inside_rows(vf[0], near, first_row, last_row);
        vt[1] = inside_rows(vf[2], near, first_row, last_row);
        vt[2] = inside_rows(vf[1], far, first_row, last_row);
        vt[3] = inside_rows(vf[3], far, first_row, last_row);
        TILE_UNROLL
        for (int nb = 0; nb < DK / 16; nb++) {
          u32 bk[4];
          ldmatrix_x4_trans(bk, k + (16 * jb + a_row) * QK_ROW + a_col + 16 * nb);
          mma_m16n8k16_bf16(state[2 * nb], vt, bk);
          mma_m16n8k16_bf16(state[2 * nb + 1], vt, bk + 2);
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
