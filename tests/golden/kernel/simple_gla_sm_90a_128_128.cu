/* simple_gla, forward pass: bf16, dk 128, dv 128, sm_90a. Emitted by maskc 0.1.0.
 *
 *   S <- exp(g) S
 *   S <- S + k v'
 *   o = dk^-0.5 S' q
 *   decay scalar, plain, flat, score linear
 *   input g [B,T,H] fp32, at most 0
 *   input q [B,T,H,dk]
 *   input k [B,T,H,dk]
 *   input v [B,T,H,dv]
 *
 * (scan chunk=64 dv_tile=128 stages=2 threads=256 smem=132736 blocks_a_head=1)
 * 1028 bytes and 98 kFLOP a token of one head; on H100 SXM 80GB the floor is 0.346 ns, predicted 0.387 ns
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

TILE_FN void st_u32(void *p, u32 x) { *(u32 *)p = x; }

typedef struct __align__(8) tile_f2 { float x, y; } tile_f2;

TILE_FN tile_f2 ld_f32x2(const void *p) { return *(const tile_f2 *)p; }

typedef struct __align__(16) tile_u4 { u32 x, y, z, w; } tile_u4;

/* 16 bytes from src to dst, either side global or shared, both 16-byte aligned */
TILE_FN void copy_16(void *dst, const void *src) { *(tile_u4 *)dst = *(const tile_u4 *)src; }

/* 16 bytes global -> shared, asynchronously; bytes past `bytes` (0 to 16) are zero */
TILE_FN void cp_async_16(void *smem_dst, const void *src, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
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
  GATE_WARP = ROW_BLOCKS % WARPS, /* the warp with the least of P to compute */
  LANE_TOKENS = CHUNK / 32, /* of the gates, a lane of that warp */

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
  SMEM_P = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,
  SMEM_TABLE = SMEM_O + 2 * V_TILE,

  /* a chunk's token table, in floats */
  TABLE_ROW = 32 * LANE_TOKENS,
  SUM = 0, /* b_i */
  FROM_START = TABLE_ROW, /* 2^b_i */
  TO_END = 2 * TABLE_ROW, /* 2^(b_last - b_i) */
  WHOLE = 3 * TABLE_ROW, /* 2^b_last, one number */
  TABLE = WHOLE + 16,
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
  struct { const bf16 *at; i64 batch, token, head, heads; } q; /* q [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } k; /* k [B,T,H,dk] */
  struct { const bf16 *at; i64 batch, token, head, heads; } v; /* v [B,T,H,dv] */
  struct { const float *at; i64 batch, token, head, heads; } in_g; /* g [B,T,H] */
  struct { const float *at; i64 batch, token, head, heads; } h0; /* h0 [B,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, token, head, heads; } ht; /* ht [B,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
} op_args;

/* What the spec's expressions read once a token. */
typedef struct gate_values {
  float in_g;
} gate_values;

/* of token t; zeros past the sequence's end */
TILE_FN gate_values load_gate(const op_args *a, const float *in_g, i64 t, i64 T) {
  gate_values gate;
  const int inside = t < T;
  gate.in_g = inside ? in_g[t * a->in_g.token] : 0.0f;
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

/* One warp: the token table of a chunk; t is this lane's first token of LANE_TOKENS. A lane past the
 * chunk (of 16 tokens) fills the end of each row, which nobody reads. */
TILE_FN void token_table(float *table, const gate_values *gate, i64 t, i64 T) {
  const int first = LANE_TOKENS * tile_lane();
  float b[LANE_TOKENS], sum = 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    const int inside = t + e < T;
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
  }
  if (tile_lane() == 0) table[WHOLE] = tile_exp2(last);
}

/* q or k, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
TILE_FN void load_qk(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int rows) {
  enum { PIECE = 8, PIECES = DK / PIECE }; /* 16 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row < rows;
    const i64 from = inside ? row * stride + column : 0;
    cp_async_16(dst + row * QK_ROW + column, src + from, inside ? 16 : 0);
  }
}

/* v, a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
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

TILE_KERNEL(simple_gla_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
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
  const float scale = 0.0883883461f;

  /* rows 16 warp .. 16 warp + 15 of S' (dv), all columns of dk, as mma accumulators */
  float state[DK / 8][4] = {{0}};
  if (a.h0.at) {
    const float *h0 = a.h0.at + batch * a.h0.batch + head * a.h0.heads / H * a.h0.head;
    TILE_UNROLL
    for (int n = 0; n < DK / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++) {
        const int k = 8 * n + frag_col + (e & 1);
        const int v = 16 * warp + frag_row + 8 * (e >> 1);
        state[n][e] = h0[k * a.h0.token + v];
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
      v_at += CHUNK * a.v.token;
    }
    cp_async_commit();
  }
  const float *in_g = a.in_g.at + batch * a.in_g.batch + first * a.in_g.token + head * a.in_g.heads / H * a.in_g.head;
  gate_values gate[LANE_TOKENS] = {{0}}; /* GATE_WARP: of this lane's tokens in the next chunk */
  if (warp == GATE_WARP) {
    const i64 t = LANE_TOKENS * lane;
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_g, t + e, T);
    token_table(sTable, gate, t, T);
    TILE_UNROLL
    for (int e = 0; e < LANE_TOKENS; e++)
      gate[e] = load_gate(&a, in_g, t + CHUNK + e, T);
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

    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
    for (int unit = warp; unit < ROW_BLOCKS * ((ROW_BLOCKS + 1) / 2); unit += WARPS) {
      const int row_block = unit % ROW_BLOCKS, col_block = 2 * (unit / ROW_BLOCKS); /* of 16 */
      if (col_block <= row_block) {
        const bf16 *q_rows = q + (16 * row_block + a_row) * QK_ROW + a_col;
        const bf16 *k_rows = k + (16 * col_block + b_row) * QK_ROW + b_col;
        float p[4][4] = {{0}};
        TILE_UNROLL
        for (int kb = 0; kb < DK / 16; kb++) {
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
    for (int kb = 0; kb < DK / 16; kb++) {
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
    for (int nb = 0; nb < DK / 8; nb++) scale4(state[nb], whole, whole);
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
      for (int nb = 0; nb < DK / 16; nb++) {
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
        gate[e] = load_gate(&a, in_g, t0 + 2 * CHUNK + LANE_TOKENS * lane + e, T);
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
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  if (chunks > 0) /* a packed sequence may be empty */
    store_o(a.o.at + o_at, sO, a.o.token, chunk_rows(T, (i64)(chunks - 1) * CHUNK));
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head;
    TILE_UNROLL
    for (int n = 0; n < DK / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++) {
        const int k = 8 * n + frag_col + (e & 1);
        const int v = 16 * warp + frag_row + 8 * (e >> 1);
        ht[k * a.ht.token + v] = state[n][e];
      }
  }
}
