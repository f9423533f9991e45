/* gdn2, forward pass: bf16, dk 60, dv 100, sm_86. Emitted by maskc 0.1.0.
 *
 *   S <- diag(exp(g)) S
 *   S <- (I - l2norm(k) (sigmoid(b) * l2norm(k))') S
 *   S <- S + l2norm(k) (sigmoid(w) * v)'
 *   o = dk^-0.5 S' l2norm(q)
 *   decay channel, delta form, flat, score linear
 *   input k [B,T,H,dk]
 *   input q [B,T,H,dk]
 *   input w [B,T,H,dv]
 *   input v [B,T,H,dv]
 *   input g [B,T,H,dk] fp32, at most 0
 *   input b [B,T,H,dk]
 *
 * (channel_delta chunk=32 dv_tile=112 stages=2 threads=224 smem=93184 blocks_a_head=1)
 * 1200 bytes and 46 kFLOP a token of one head; on RTX 3090 the floor is 1.43 ns, predicted 2.59 ns
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
  SMEM_E = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_K = SMEM_E + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
  SMEM_in_v = SMEM_V + 2 * STAGES * V_TILE,
  SHARES = 1, /* warps that share 16 rows of P or of L */

  /* the inputs of the decays, and in place of the first the factors: floats */
  F_ROW = DK_PAD,
  F_TILE = CHUNK * F_ROW,
  SMEM_F = SMEM_in_v + 2 * STAGES * V_TILE,
  SMEM_BLOCK = SMEM_F + 4 * F_TILE,
  SMEM_E_LOW = SMEM_BLOCK + 4 * ROW_BLOCKS * DK_PAD,
  SMEM_K_LOW = SMEM_E_LOW + 2 * QK_TILE,
  P_TILE = CHUNK * P_ROW,
  SMEM_P = SMEM_K_LOW + 2 * QK_TILE,
  SMEM_P_LOW = SMEM_P + 2 * P_TILE,
  SMEM_HIGH = SMEM_P_LOW + 2 * P_TILE,
  SMEM_LOW = SMEM_HIGH + 2 * P_TILE,
  SMEM_O = SMEM_LOW + 2 * P_TILE,
  SMEM_L = SMEM_O + 2 * V_TILE,
  D_ROW = 24, /* floats of a row of a block of L */
  D_TILE = 16 * D_ROW,
  SMEM_BYTES = SMEM_L + 4 * ROW_BLOCKS * D_TILE
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } k; /* k [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* w [B,T,H,dv] */
  struct { const bf16 *at; i64 batch, token, head, heads; } e; /* b [B,T,H,dk] */
  struct { const float *at; i64 batch, token, head, heads; } in_g; /* g [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } in_v; /* v [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } h0; /* h0 [B,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, token, head, heads; } ht; /* ht [B,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
} op_args;

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
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      if (channel < DK) {
        row0 = row0 + q_term0(bf16lo_f32(word_in_q[i]));
        row0 = row0 + q_term0(bf16hi_f32(word_in_q[i]));
      }
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    u32 result[VECTOR];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = 0;
      if (row < rows && channel < DK)
        result[i % VECTOR] = pack_bf16x2(q_value(bf16lo_f32(word_in_q[i]), row0), q_value(bf16hi_f32(word_in_q[i]), row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_q + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* e: the terms of its reductions, and a channel */
TILE_FN float e_term0(const float in_k) {
  return in_k * in_k;
}
TILE_FN float e_value(const float in_k, const float in_b, const float row0) {
  return tile_sigmoid(in_b) * (in_k * row0);
}

/* e of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_e(bf16 *in_b, const bf16 *in_k, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_k[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_k + i, in_k + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    u32 word_in_b[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_b + i, in_b + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      if (channel < DK) {
        row0 = row0 + e_term0(bf16lo_f32(word_in_k[i]));
        row0 = row0 + e_term0(bf16hi_f32(word_in_k[i]));
      }
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    u32 result[VECTOR];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = 0;
      if (row < rows && channel < DK)
        result[i % VECTOR] = pack_bf16x2(e_value(bf16lo_f32(word_in_k[i]), bf16lo_f32(word_in_b[i]), row0), e_value(bf16hi_f32(word_in_k[i]), bf16hi_f32(word_in_b[i]), row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_b + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
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

/* k of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_k(bf16 *in_k, int rows) {
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = DK_PAD / 2 / LANES, VECTOR = 4 };
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_k[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_in_k + i, in_k + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)));
    float row0 = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      if (channel < DK) {
        row0 = row0 + k_term0(bf16lo_f32(word_in_k[i]));
        row0 = row0 + k_term0(bf16hi_f32(word_in_k[i]));
      }
    }
    row0 = row_sum(row0);
    row0 = 1.0f / tile_sqrt(row0 + 9.99999997e-07f);
    u32 result[VECTOR];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (VECTOR * lane + LANES * (i - i % VECTOR) + i % VECTOR);
      result[i % VECTOR] = 0;
      if (row < rows && channel < DK)
        result[i % VECTOR] = pack_bf16x2(k_value(bf16lo_f32(word_in_k[i]), row0), k_value(bf16hi_f32(word_in_k[i]), row0));
      if (i % VECTOR == VECTOR - 1)
        st_u32x4(in_k + row * QK_ROW + 2 * (VECTOR * lane + LANES * (i - i % VECTOR)), result[0], result[1], result[2], result[3]);
    }
  }
}

/* v: the terms of its reductions, and a channel */
TILE_FN float v_value(const float in_w, const float in_v) {
  return tile_sigmoid(in_w) * in_v;
}

/* v of a chunk's `rows` tokens from t0 on, in place; the rows past them become zero */
TILE_FN void map_v(bf16 *in_w, const bf16 *in_v, int rows) {
  enum { LANES = 8, WORDS = DV_TILE / 2 / LANES }; /* a lane's, of two channels each */
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    u32 word_in_w[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) word_in_w[i] = ld_u32(in_w + row * V_ROW + 2 * (lane + LANES * i));
    u32 word_in_v[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) word_in_v[i] = ld_u32(in_v + row * V_ROW + 2 * (lane + LANES * i));
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const int channel = 2 * (lane + LANES * i);
      u32 result = 0;
      if (row < rows && channel < DV)
        result = pack_bf16x2(v_value(bf16lo_f32(word_in_w[i]), bf16lo_f32(word_in_v[i])), v_value(bf16hi_f32(word_in_w[i]), bf16hi_f32(word_in_v[i])));
      st_u32(in_w + row * V_ROW + 2 * (lane + LANES * i), result);
    }
  }
}

/* q, k or e, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
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

/* an array over dv, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
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

/* log2 of one token's decay factor, exp(g).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const float in_g) {
  const float x = LOG2_E * in_g;
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
      const tile_f2 pair_in_g = ld_f32x2(factors + at);
      const float x = row < rows ? log2_decay(pair_in_g.x) : 0.0f;
      const float y = row < rows ? log2_decay(pair_in_g.y) : 0.0f;
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
TILE_FN void pairwise(bf16 *p, bf16 *p_low, const bf16 *q, const bf16 *k, const float *factors,
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
      for (int r = 0; r < 4; r++) { /* zeros above the diagonal */
        const int at = (4 * r + row) * P_ROW + s;
        u32 high, low;
        split2(sum[r][s], sum[r][s + 1], &high, &low);
        st_u32(p + at, high);
        st_u32(p_low + at, low);
      }
    }
  }
}

/* One warp: rows of a block of L, each a sum over the channels. A lane has four rows, 4 apart, and
 * with the lanes of the same rows shares the channels. `share`: which rows, of SHARES. The pointers
 * are to the block's first token. */
TILE_FN void pairwise_erase(float *l, const bf16 *e, const bf16 *k, const float *factors,
                      int share) {
  enum { ROWS = 4 / SHARES, LANES = 32 / ROWS }; /* LANES: of the same rows */
  const int row = tile_lane() % ROWS * SHARES + share; /* and row + 4, row + 8, row + 12 */
  float sum[4][16] = {{0}};
  for (int i = tile_lane() / ROWS; i < DK_PAD / 2; i += LANES) {
    const int channel = 2 * i;
    u32 e_word[4];
    TILE_UNROLL
    for (int r = 0; r < 4; r++) e_word[r] = ld_u32(e + (4 * r + row) * QK_ROW + channel);
    /* e times the factors of the tokens after s; 0 until s comes back to the row */
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
          x[r] = s == 4 * r + row ? bf16lo_f32(e_word[r]) : x[r];
          y[r] = s == 4 * r + row ? bf16hi_f32(e_word[r]) : y[r];
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
    for (int r = 0; r < 4; r++) {
      const int i = 4 * r + row;
      TILE_UNROLL
      for (int s = 0; s < 16; s += 2)
        st_f32x2(l + i * D_ROW + s, s < i ? sum[r][s] : 0.0f, s + 1 < i ? sum[r][s + 1] : 0.0f);
    }
  }
}

/* two elements times x and y, each as the sum of two 16-bit numbers */
TILE_FN void st_decayed(bf16 *high, bf16 *low, u32 word, float x, float y) {
  u32 h, l;
  split2(bf16lo_f32(word) * x, bf16hi_f32(word) * y, &h, &l);
  st_u32(high, h);
  st_u32(low, l);
}

/* In place: q and e times the factors from the block's start through the token, k
 * times those after it to the block's end. What rounding e and k leaves goes to tiles of its own. */
TILE_FN void decay_keys(bf16 *q, bf16 *k, bf16 *e, bf16 *e_low, bf16 *k_low, const float *factors) {
  enum { PAIRS = DK_PAD / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int first = 16 * (i / PAIRS), channel = 2 * (i % PAIRS);
    const float *f_at = factors + first * F_ROW + channel;
    const int at = first * QK_ROW + channel;
    bf16 *q_at = q + at, *k_at = k + at;
    float x = 1.0f, y = 1.0f;
    TILE_UNROLL
    for (int n = 0; n < 16; n++) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const u32 word = ld_u32(q_at + n * QK_ROW);
      x *= f.x;
      y *= f.y;
      st_u32(q_at + n * QK_ROW, pack_bf16x2(bf16lo_f32(word) * x, bf16hi_f32(word) * y));
      st_decayed(e + at + n * QK_ROW, e_low + at + n * QK_ROW, ld_u32(e + at + n * QK_ROW), x, y);
    }
    x = y = 1.0f;
    TILE_UNROLL
    for (int n = 15; n >= 0; n--) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const u32 word = ld_u32(k_at + n * QK_ROW);
      st_decayed(k_at + n * QK_ROW, k_low + at + n * QK_ROW, word, x, y);
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

TILE_KERNEL(gdn2_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sE, SMEM_E, STAGES * QK_TILE);
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(bf16, sIn_v, SMEM_in_v, STAGES * V_TILE);
  TILE_SMEM(float, sF, SMEM_F, F_TILE); /* [CHUNK][F_ROW] */
  TILE_SMEM(float, sBlock, SMEM_BLOCK, ROW_BLOCKS * DK_PAD); /* factors of blocks of 16 tokens */
  /* what rounding leaves of e and k times the factors, and of P */
  TILE_SMEM(bf16, sELow, SMEM_E_LOW, QK_TILE);
  TILE_SMEM(bf16, sKLow, SMEM_K_LOW, QK_TILE);
  TILE_SMEM(bf16, sP, SMEM_P, P_TILE);
  TILE_SMEM(bf16, sPLow, SMEM_P_LOW, P_TILE);
  /* the inverses of the blocks of I + L, split */
  TILE_SMEM(bf16, sHigh, SMEM_HIGH, P_TILE);
  TILE_SMEM(bf16, sLow, SMEM_LOW, P_TILE);
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sL, SMEM_L, ROW_BLOCKS * D_TILE);

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
  i64 e_at = batch * a.e.batch + first * a.e.token + head * a.e.heads / H * a.e.head;
  i64 k_at = batch * a.k.batch + first * a.k.token + head * a.k.heads / H * a.k.head;
  i64 at_in_g = batch * a.in_g.batch + first * a.in_g.token + head * a.in_g.heads / H * a.in_g.head;
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head;
  i64 at_in_v = batch * a.in_v.batch + first * a.in_v.token + head * a.in_v.heads / H * a.in_v.head;
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
      load_qk(sE + i * QK_TILE, a.e.at + e_at, a.e.token, rows);
      e_at += CHUNK * a.e.token;
      load_qk(sK + i * QK_TILE, a.k.at + k_at, a.k.token, rows);
      k_at += CHUNK * a.k.token;
      load_f(sF, a.in_g.at + at_in_g, a.in_g.token, rows);
      at_in_g += CHUNK * a.in_g.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, rows);
      load_v(sIn_v + i * V_TILE, a.in_v.at + at_in_v, a.in_v.token, rows);
      at_in_v += CHUNK * a.in_v.token;
      v_at += CHUNK * a.v.token;
    }
    cp_async_commit();
  }

  int stage = 0;
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK;
    const bf16 *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    const bf16 *e = sE + stage * QK_TILE;
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
        load_qk(sE + free * QK_TILE, a.e.at + e_at, a.e.token, rows);
        e_at += CHUNK * a.e.token;
        load_qk(sK + free * QK_TILE, a.k.at + k_at, a.k.token, rows);
        k_at += CHUNK * a.k.token;
        load_v(sV + free * V_TILE, a.v.at + v_at, a.v.token, rows);
        load_v(sIn_v + free * V_TILE, a.in_v.at + at_in_v, a.in_v.token, rows);
        at_in_v += CHUNK * a.in_v.token;
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
      map_e(sE + stage * QK_TILE, sK + stage * QK_TILE, rows);
      map_k(sK + stage * QK_TILE, rows);
      map_v(sV + stage * V_TILE, sIn_v + stage * V_TILE, rows);
    }
    barrier_sync(); /* q, k and v are what the spec makes of them */

    decay_factors(sF, sBlock, chunk_rows(T, t0));
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < 2 * SHARES * ROW_BLOCKS; unit += WARPS) {
      const int share = unit % SHARES, block = unit / SHARES / 2, rows = 16 * block * QK_ROW;
      const float *of_rows = sF + 16 * block * F_ROW;
      if (unit / SHARES % 2 == 0)
        pairwise(sP + 16 * block * P_ROW, sPLow + 16 * block * P_ROW, q + rows, k + rows, of_rows, share);
      else
        pairwise_erase(sL + block * D_TILE, e + rows, k + rows, of_rows, share);
    }
    barrier_sync(); /* L and P are complete; every warp is done with q, k and e as they were */
    decay_keys(sQ + stage * QK_TILE, sK + stage * QK_TILE, sE + stage * QK_TILE, sELow, sKLow, sF);
    for (int block = warp; block < ROW_BLOCKS; block += WARPS) {
      const int corner = 16 * block * P_ROW;
      invert_diagonal(sL + block * D_TILE, sHigh + corner, sLow + corner);
    }
    barrier_sync(); /* q, k and e are what meets the state and U; the inverses are complete */
    { /* what the next chunk's decays read, where this one's factors were */
      const i64 next = t0 + CHUNK;
      if (next < T) {
        const int rows = chunk_rows(T, next);
        load_f(sF, a.in_g.at + at_in_g, a.in_g.token, rows);
        at_in_g += CHUNK * a.in_g.token;
      }
      cp_async_commit();
    }

    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      /* X' = S' E', O = Q S, then S' decays: its accumulators are, rounded, A and B fragments */
      const float *of_block = sBlock + mb * DK_PAD + frag_col;
      float x[2][4] = {{0}};
      TILE_UNROLL
      for (int kb = 0; kb < DK_PAD / 16; kb++) {
        float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
        const u32 lower[2] = {pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s1[0], s1[1])};
        const u32 upper[2] = {pack_bf16x2(s0[2], s0[3]), pack_bf16x2(s1[2], s1[3])};
        const u32 as[4] = {lower[0], upper[0], lower[1], upper[1]};
        const int rows = (16 * mb + b_row) * QK_ROW + b_col + 16 * kb;
        u32 be[4], aq[4];
        ldmatrix_x4(be, sELow + rows);
        mma_m16n8k16_bf16(x[0], as, be);
        mma_m16n8k16_bf16(x[1], as, be + 2);
        ldmatrix_x4(be, e + rows);
        ldmatrix_x4(aq, q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb);
        mma_m16n8k16_bf16(x[0], as, be);
        mma_m16n8k16_bf16(out[mb][0], aq, lower);
        mma_m16n8k16_bf16(x[1], as, be + 2);
        mma_m16n8k16_bf16(out[mb][1], aq, upper);
        decay_columns(s0, ld_f32x2(of_block + 16 * kb));
        decay_columns(s1, ld_f32x2(of_block + 16 * kb + 8));
      }
      /* X' = V' - X': a column of X' is a token */
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * mb * V_ROW);
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        float *y = x[nb];
        const u32 v0 = vf[nb], v1 = vf[nb + 2];
        y[0] = bf16lo_f32(v0) - y[0];
        y[1] = bf16hi_f32(v0) - y[1];
        y[2] = bf16lo_f32(v1) - y[2];
        y[3] = bf16hi_f32(v1) - y[3];
      }

      /* U', and what follows from it: O += P U, S' += U' K */
      u32 high[4], low[4], b_high[4], b_low[4], p_high[4], p_low[4];
      float u[2][4] = {{0}};
      split_operand(x, high, low);
      ldmatrix_x4(b_high, sHigh + (16 * mb + b_row) * P_ROW + b_col);
      ldmatrix_x4(b_low, sLow + (16 * mb + b_row) * P_ROW + b_col);
      mma_split(u[0], high, low, b_high, b_low);
      mma_split(u[1], high, low, b_high + 2, b_low + 2);
      split_operand(u, high, low);
      const u32 lower[4] = {high[0], high[2], low[0], low[2]};
      const u32 upper[4] = {high[1], high[3], low[1], low[3]};
      ldmatrix_x4(p_high, sP + (16 * mb + a_row) * P_ROW + a_col);
      ldmatrix_x4(p_low, sPLow + (16 * mb + a_row) * P_ROW + a_col);
      mma_split(out[mb][0], p_high, p_low, lower, lower + 2);
      mma_split(out[mb][1], p_high, p_low, upper, upper + 2);
      TILE_UNROLL
      for (int nb = 0; nb < DK_PAD / 16; nb++) {
        const int rows = (16 * mb + a_row) * QK_ROW + a_col + 16 * nb;
        u32 bk[4];
        ldmatrix_x4_trans(bk, sKLow + rows);
        mma_m16n8k16_bf16(state[2 * nb], high, bk);
        mma_m16n8k16_bf16(state[2 * nb + 1], high, bk + 2);
        ldmatrix_x4_trans(bk, k + rows);
        mma_m16n8k16_bf16(state[2 * nb], low, bk);
        mma_m16n8k16_bf16(state[2 * nb + 1], low, bk + 2);
        mma_m16n8k16_bf16(state[2 * nb], high, bk);
        mma_m16n8k16_bf16(state[2 * nb + 1], high, bk + 2);
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
