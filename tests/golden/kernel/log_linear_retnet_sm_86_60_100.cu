/* log_linear_retnet, forward pass: bf16, dk 60, dv 100, sm_86. Emitted by maskc 0.1.0.
 *
 *   S <- (1 - 2^(-5 - head)) S
 *   S <- S + k v'
 *   o = dk^-0.5 (sum over levels of lambda S)' q
 *   log(1 - 2^(-5 - head)) = log1p(-2^(-5 - head))
 *   decay constant, plain, fenwick, score linear
 *   input lambda [B,T,H,levels] fp32
 *   input q [B,T,H,dk]
 *   input k [B,T,H,dk]
 *   input v [B,T,H,dv]
 *
 * (fenwick chunk=64 dv_tile=64 stages=2 threads=256 smem=96384 blocks_a_head=2)
 * 700 bytes and 80 kFLOP a token of one head; on RTX 3090 the floor is 1.13 ns, predicted 1.24 ns
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

/* 8 bytes global -> shared, asynchronously; bytes past `bytes` (0 to 8) are zero */
TILE_FN void cp_async_8(void *smem_dst, const void *src, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
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

TILE_FN float tile_exp(float x) { return expf(x); }

TILE_FN float tile_log1p(float x) { return log1pf(x); }
#else
#include "tile_host.h" /* the same names on the CPU device */
#endif

enum {
  DK = 60,
  DK_PAD = 64, /* as the matrix operations take it; the channels past DK are zero */
  DV = 100,
  DV_TILE = 64, /* value channels of a block; those past DV are zero */
  SPLITS = 2, /* blocks a head */
  CHUNK = 64, /* tokens a step */
  STAGES = 2, /* chunks of q, k and v in shared memory */
  WARPS = 2 * DV_TILE / 16,
  K_OF_WARP = DK_PAD / 2, /* rows of k of a state that a warp makes */
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
  SMEM_P = SMEM_V + 2 * STAGES * V_TILE,
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,

  /* the weights of a chunk's rows, a row of levels each; odd, so that rows lie in different banks */
  LEVEL_ROW = 25,
  LEVEL_TILE = CHUNK * LEVEL_ROW,
  LOG2_CHUNK = 6,
  SMEM_LEVELS_1 = SMEM_O + 2 * V_TILE,

  /* a state: for each 16 rows of S' and columns of dk four words a lane */
  SLOT = (DV_TILE / 16) * (DK_PAD / 16) * 32 * 4,
  NEAR_SLOTS = 1, /* states in shared memory: of blocks of CHUNK tokens, 2 CHUNK, ... */
  SMEM_SLOTS = (SMEM_LEVELS_1 + 4 * STAGES * LEVEL_TILE + 15) / 16 * 16,
  SMEM_TABLE = SMEM_SLOTS + 4 * NEAR_SLOTS * SLOT,

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
  struct { const float *at; i64 batch, token, head, heads; } in_lambda; /* lambda [B,T,H,levels] */
  struct { const float *at; i64 batch, slot, head, heads; } h0; /* h0 [B,slots,H,dk,dv], or null */
  struct { bf16 *at; i64 batch, token, head, heads; } o; /* o [B,T,H,dv] */
  struct { float *at; i64 batch, slot, head, heads; } ht; /* ht [B,slots,H,dk,dv], or null */
  struct { const void *at; i64 batch, token, head, heads; } cu_seqlens; /* cu_seqlens [N+1], int or i64, or null */
  struct { const i64 *at; i64 batch, token, head, heads; } position; /* position [B], or null */
  i64 L; /* levels; a state has L - 1 slots */
  char *workspace;
} op_args;

/* What the spec's expressions read once a head. */
typedef struct head_values {
  float head;
} head_values;

/* log2 of one token's decay factor, 1 - 2^(-5 - head).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them: sums of it
 * stay small enough for exact differences. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay(const head_values per_head) {
  const float x = LOG2_E * tile_log1p(-tile_exp(0.693147182f * (-5.0f - per_head.head)));
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}

/* One warp: the token table of a chunk; t is this lane's first token of LANE_TOKENS. A lane past the
 * chunk (of 16 tokens) fills the end of each row, which nobody reads. */
TILE_FN void token_table(float *table, float log2_factor, i64 t, i64 T) {
  const int first = LANE_TOKENS * tile_lane();
  float b[LANE_TOKENS], sum = 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    const int inside = t + e >= 0 && t + e < T;
    sum += inside ? log2_factor : 0.0f;
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

/* q or k, a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_qk(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows) {
  enum { PIECE = 4, PIECES = DK_PAD / PIECE }; /* 8 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row >= skip && row < rows && column < DK;
    const i64 from = inside ? (row - skip) * stride + column : 0;
    cp_async_8(dst + row * QK_ROW + column, src + from, inside ? 8 : 0);
  }
}

/* v, a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_v(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows, int channels) {
  enum { PIECE = 4, PIECES = DV_TILE / PIECE }; /* 8 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    const int inside = row >= skip && row < rows && column < channels;
    const i64 from = inside ? (row - skip) * stride + column : 0;
    cp_async_8(dst + row * V_ROW + column, src + from, inside ? 8 : 0);
  }
}

/* o, a chunk's rows `skip` to `rows`, from shared memory */
TILE_FN void store_o(bf16 *restrict dst, const bf16 *restrict src, i64 stride,
                   int skip, int rows, int channels) {
  enum { PIECE = 4, PIECES = DV_TILE / PIECE }; /* 8 bytes */
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
    if (row >= skip && row < rows && column < channels) copy_8(dst + (row - skip) * stride + column, src + row * V_ROW + column);
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

/* Four pairs of 16 columns of dk, in the order of the B operands of Q S; memory: the lane's in a slot. */
TILE_FN void load_pairs(u32 *pairs, const u32 *memory, int kb) {
  ld_u32x4(pairs, memory + 128 * kb);
}

/* the state of the warp's rows of S', rounded */
TILE_FN void store_state(u32 *to, float state[K_OF_WARP / 8][4]) {
  TILE_UNROLL
  for (int kb = 0; kb < K_OF_WARP / 16; kb++) {
    const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
    st_u32x4(to + 128 * kb, pack_bf16x2(s0[0], s0[1]), pack_bf16x2(s1[0], s1[1]),
             pack_bf16x2(s0[2], s0[3]), pack_bf16x2(s1[2], s1[3]));
  }
}

TILE_FN void add_state(float state[K_OF_WARP / 8][4], const u32 *from, float factor) {
  TILE_UNROLL
  for (int kb = 0; kb < K_OF_WARP / 16; kb++) {
    float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
    u32 s[4];
    load_pairs(s, from, kb);
    s0[0] += factor * bf16lo_f32(s[0]);
    s0[1] += factor * bf16hi_f32(s[0]);
    s1[0] += factor * bf16lo_f32(s[1]);
    s1[1] += factor * bf16hi_f32(s[1]);
    s0[2] += factor * bf16lo_f32(s[2]);
    s0[3] += factor * bf16hi_f32(s[2]);
    s1[2] += factor * bf16lo_f32(s[3]);
    s1[3] += factor * bf16hi_f32(s[3]);
  }
}

/* where the lane has its part of a slot: near and far are that part of the first slots there */
TILE_FN u32 *slot_at(u32 *near, u32 *far, int slot) {
  const int at = slot - LOG2_CHUNK;
  return at >= 0 && at < NEAR_SLOTS ? near + at * SLOT : far + (i64)slot * SLOT;
}

/* the lowest of a set of slots */
TILE_FN int first_slot(u32 set) { return bit_length(set & (0u - set)) - 1; }

/* The row where the block of one of h0's slots begins that ends in the first chunk, at row `offset`. */
TILE_FN int first_row_of(int slot, int offset) { return (int)((u32)offset & ~((2u << slot) - 1)); }

TILE_KERNEL(log_linear_retnet_forward, op_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(bf16, sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM(bf16, sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM(bf16, sV, SMEM_V, STAGES * V_TILE);
  TILE_SMEM(bf16, sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM(bf16, sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sLambda, SMEM_LEVELS_1, STAGES * LEVEL_TILE); /* [STAGES][CHUNK][LEVEL_ROW] */
  TILE_SMEM(u32, sSlots, SMEM_SLOTS, NEAR_SLOTS * SLOT);
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */

  const int lane = tile_lane(), warp = tile_warp();
  const int column = warp / 2, half = warp % 2; /* the warp's columns of V, and of its rows */
  const int frag_row = lane >> 2, frag_col = 2 * (lane & 3); /* of an mma accumulator */
  /* this lane's row and column of an ldmatrix: A operands, and either operand stored transposed; B
   * stored [n][k] */
  const int a_row = lane & 15, a_col = 8 * (lane >> 4);
  const int b_row = (lane & 7) + 8 * (lane >> 4), b_col = 8 * ((lane >> 3) & 1);

  const int H = (int)a.H, block = (int)tile_block();
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
  const int channels = DV - dv0 < DV_TILE ? DV - dv0 : DV_TILE; /* of this block */
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
  i64 v_at = batch * a.v.batch + first * a.v.token + head * a.v.heads / H * a.v.head + dv0;
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head + dv0;
  for (int i = tile_tid(); i < STAGES * LEVEL_TILE; i += THREADS)
    if (i % LEVEL_ROW >= a.L) sLambda[i] = tile_nan(); /* no such level */
  i64 at_in_lambda = batch * a.in_lambda.batch + first * a.in_lambda.token + head * a.in_lambda.heads / H * a.in_lambda.head;
  head_values per_head;
  per_head.head = (float)head;
  const float scale = 0.129099444f;

  /* 16 rows of S' (dv), half the columns of dk, as mma accumulators */
  float state[K_OF_WARP / 8][4] = {{0}};

  for (int i = 0; i < STAGES - 1; i++) {
    if (i < chunks) {
      const int skip = chunk_skip(i * CHUNK - offset), rows = chunk_rows(T, i * CHUNK - offset);
      load_qk(sQ + i * QK_TILE, a.q.at + q_at, a.q.token, skip, rows);
      q_at += (CHUNK - skip) * a.q.token;
      load_qk(sK + i * QK_TILE, a.k.at + k_at, a.k.token, skip, rows);
      k_at += (CHUNK - skip) * a.k.token;
      load_v(sV + i * V_TILE, a.v.at + v_at, a.v.token, skip, rows, channels);
      v_at += (CHUNK - skip) * a.v.token;
      load_weights(sLambda + i * LEVEL_TILE, a.in_lambda.at + at_in_lambda, a.in_lambda.token, (int)a.L, skip, rows);
      at_in_lambda += (CHUNK - skip) * a.in_lambda.token;
    }
    cp_async_commit();
  }
  const float log2_factor = log2_decay(per_head); /* the same for every token */
  if (warp == GATE_WARP) {
    const i64 t = LANE_TOKENS * lane - offset;
    token_table(sTable, log2_factor, t, T);
  }

  int stage = 0;
  const u32 first_chunk = (u32)(position / CHUNK);
  /* in a slot: what meets the warp's columns of Q S, and the half of it that the warp makes */
  const int read_at = column * (DK_PAD / 16) * 128 + 4 * lane;
  const int lane_at = read_at + half * (DK_PAD / 32) * 128;
  u32 *near = sSlots + lane_at;
  u32 *far = (u32 *)a.workspace + (i64)block * slots * SLOT + lane_at;
  u32 live = 0; /* bit l: there is a block of 2^l tokens */
  u32 given = 0; /* those that are h0's still */
  float kept = 0.0f; /* the log2 decay of slot `lane` since it was stored */
  const float *h0 = a.h0.at ? a.h0.at + batch * a.h0.batch + head * a.h0.head + dv0 : a.h0.at;
  if (a.h0.at) {
    live = given = (u32)position;
    for (u32 left = live; left != 0; left &= left - 1) {
      const int slot = first_slot(left);
      if (slot >= slots) break; /* h0 has no such slot: its weights are NaN */
      const float *from = h0 + slot * a.h0.slot;
      TILE_UNROLL
      for (int n = 0; n < K_OF_WARP / 8; n++)
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int k = half * K_OF_WARP + 8 * n + frag_col + (e & 1);
          const int v = 16 * column + frag_row + 8 * (e >> 1);
          if (k < DK && v < channels) state[n][e] = from[k * DV + v];
        }
      store_state(slot_at(near, far, slot), state);
    }
  }
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK - offset;
    const bf16 *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const bf16 *v = sV + stage * V_TILE + a_row * V_ROW + 16 * column + a_col;
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
        load_v(sV + free * V_TILE, a.v.at + v_at, a.v.token, skip, rows, channels);
        v_at += (CHUNK - skip) * a.v.token;
        load_weights(sLambda + free * LEVEL_TILE, a.in_lambda.at + at_in_lambda, a.in_lambda.token, (int)a.L, skip, rows);
        at_in_lambda += (CHUNK - skip) * a.in_lambda.token;
      }
      cp_async_commit();
    }
    if (n > 0) {
      const int skip = chunk_skip(t0 - CHUNK);
      store_o(a.o.at + o_at, sO, a.o.token, skip, CHUNK, channels);
      o_at += (CHUNK - skip) * a.o.token;
    }
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + LANE_TOKENS * lane;
      token_table(sTable + ((n + 1) & 1) * TABLE, log2_factor, t, T);
    }

    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
    const float *weights = sLambda + stage * LEVEL_TILE;
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
        const float *w0 = weights + i0 * LEVEL_ROW, *w1 = weights + i1 * LEVEL_ROW;
        const float b0 = table[SUM + i0], b1 = table[SUM + i1];
        TILE_UNROLL
        for (int nb = 0; nb < 4; nb++) {
          const int j = 16 * col_block + 8 * nb + frag_col;
          p[nb][0] *= w0[bit_length((u32)(i0 ^ j))];
          p[nb][1] *= w0[bit_length((u32)(i0 ^ (j + 1)))];
          p[nb][2] *= w1[bit_length((u32)(i1 ^ j))];
          p[nb][3] *= w1[bit_length((u32)(i1 ^ (j + 1)))];
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

    /* O = sum over the blocks before the chunk of diag(2^b w) Q S */
    float out[ROW_BLOCKS / 2][2][4] = {{{0}}};
    u32 aq[ROW_BLOCKS / 2][DK_PAD / 16][4]; /* the warp's rows of Q, for all of the states */
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS / 2; mb++)
      TILE_UNROLL
      for (int kb = 0; kb < DK_PAD / 16; kb++)
        ldmatrix_x4(aq[mb][kb], q + ((32 * mb + 16 * half) + a_row) * QK_ROW + a_col + 16 * kb);
    for (u32 left = live; left != 0; left &= left - 1) {
      const int slot = first_slot(left);
      float part[ROW_BLOCKS / 2][2][4] = {{{0}}};
      if (slot < slots) { /* where it is not, the weights are NaN */
        const u32 *from = slot_at(near, far, slot) + (read_at - lane_at);
        TILE_UNROLL
        for (int kb = 0; kb < DK_PAD / 16; kb++) {
          u32 s[4]; /* two B operands, of 8 columns of O each */
          load_pairs(s, from, kb);
          TILE_UNROLL
          for (int mb = 0; mb < ROW_BLOCKS / 2; mb++) {
            mma_m16n8k16_bf16(part[mb][0], aq[mb][kb], s);
            mma_m16n8k16_bf16(part[mb][1], aq[mb][kb], s + 2);
          }
        }
      }
      /* the block ends before this chunk, or, of h0, inside of it: there a row's level is its own */
      const int begins = first_row_of(slot, offset);
      const int level = slot < 24 ? slot + 1 : 24;
      const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
      TILE_UNROLL
      for (int mb = 0; mb < ROW_BLOCKS / 2; mb++) {
        const int i0 = (32 * mb + 16 * half) + frag_row, i1 = i0 + 8;
        const int level0 = slot < LOG2_CHUNK ? bit_length((u32)(i0 ^ begins)) : level;
        const int level1 = slot < LOG2_CHUNK ? bit_length((u32)(i1 ^ begins)) : level;
        float w0 = weights[i0 * LEVEL_ROW + level0], w1 = weights[i1 * LEVEL_ROW + level1];
        w0 *= table[FROM_START + i0] * of_slot;
        w1 *= table[FROM_START + i1] * of_slot;
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          out[mb][nb][0] += w0 * part[mb][nb][0];
          out[mb][nb][1] += w0 * part[mb][nb][1];
          out[mb][nb][2] += w1 * part[mb][nb][2];
          out[mb][nb][3] += w1 * part[mb][nb][3];
        }
      }
    }

    /* The state of the block of CHUNK tokens that ends here and of all that it completes; where the
     * sequence ends inside the chunk, those of the smaller blocks up to there, if ht wants them.
     * S' = V' K; the warp's 16 columns of V, transposed, are the A operand. */
    kept += table[SUM + CHUNK - 1];
    const int end = chunk_rows(T, t0);
    if (end < CHUNK) barrier_sync(); /* a slot of h0 that is replaced has been read */
    int first_row = 0; /* of the block */
    for (int left = end == CHUNK || a.ht.at ? end : 0; left != 0;) {
      const int bit = bit_length((u32)left) - 1, rows = 1 << bit; /* the block's */
      left -= rows;
      TILE_UNROLL
      for (int nb = 0; nb < K_OF_WARP / 8; nb++) state[nb][0] = state[nb][1] = state[nb][2] = state[nb][3] = 0.0f;
      TILE_UNROLL
      for (int jb = 0; jb < ROW_BLOCKS; jb++) {
        if (16 * jb + 16 <= first_row || 16 * jb >= first_row + rows) continue;
        u32 vf[4], vt[4];
        float w[4]; /* of the lane's rows of V, 0 outside the block */
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int j = 16 * jb + frag_col + 8 * (e >> 1) + (e & 1);
          w[e] = j >= first_row && j < first_row + rows ? table[TO_END + j] : 0.0f;
        }
        ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
        vt[0] = pack_bf16x2(bf16lo_f32(vf[0]) * w[0], bf16hi_f32(vf[0]) * w[1]);
        vt[1] = pack_bf16x2(bf16lo_f32(vf[2]) * w[0], bf16hi_f32(vf[2]) * w[1]);
        vt[2] = pack_bf16x2(bf16lo_f32(vf[1]) * w[2], bf16hi_f32(vf[1]) * w[3]);
        vt[3] = pack_bf16x2(bf16lo_f32(vf[3]) * w[2], bf16hi_f32(vf[3]) * w[3]);
        TILE_UNROLL
        for (int nb = 0; nb < K_OF_WARP / 16; nb++) {
          u32 bk[4];
          ldmatrix_x4_trans(bk, k + (16 * jb + a_row) * QK_ROW + a_col + 16 * nb + half * K_OF_WARP);
          mma_m16n8k16_bf16(state[2 * nb], vt, bk);
          mma_m16n8k16_bf16(state[2 * nb + 1], vt, bk + 2);
        }
      }
      /* joined with the blocks that it completes: those that end where it begins, h0's inside of it */
      const int whole = bit == LOG2_CHUNK;
      const int made = whole ? LOG2_CHUNK + first_slot(~(first_chunk + (u32)n)) : bit; /* the slot */
      for (u32 left = live & ((2u << made) - 1); left != 0; left &= left - 1) {
        const int slot = first_slot(left), begins = first_row_of(slot, offset);
        if (!whole && (begins < first_row || begins >= first_row + rows)) continue;
        const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
        if (slot < slots) add_state(state, slot_at(near, far, slot), of_slot);
        live &= ~(1u << slot);
      }
      if (made < slots) store_state(slot_at(near, far, made), state);
      live |= 1u << made;
      given &= live & ~(1u << made);
      if (lane == made) kept = 0.0f;
      first_row += rows;
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) { /* O += P V; the columns of V are the B operand */
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
      TILE_UNROLL
      for (int mb = jb / 2; mb < ROW_BLOCKS / 2; mb++) {
        u32 ap[4];
        if (jb > 2 * mb + half) continue;
        ldmatrix_x4(ap, sP + ((32 * mb + 16 * half) + a_row) * P_ROW + a_col + 16 * jb);
        mma_m16n8k16_bf16(out[mb][0], ap, vf);
        mma_m16n8k16_bf16(out[mb][1], ap, vf + 2);
      }
    }
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS / 2; mb++) {
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        scale4(out[mb][nb], scale, scale);
        const int at = ((32 * mb + 16 * half) + frag_row) * V_ROW + 16 * column + 8 * nb + frag_col;
        st_u32(sO + at, pack_bf16x2(out[mb][nb][0], out[mb][nb][1]));
        st_u32(sO + at + 8 * V_ROW, pack_bf16x2(out[mb][nb][2], out[mb][nb][3]));
      }
    }
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  if (chunks > 0) { /* a packed sequence may be empty */
    const i64 t0 = (i64)(chunks - 1) * CHUNK - offset;
    store_o(a.o.at + o_at, sO, a.o.token, chunk_skip(t0), chunk_rows(T, t0), channels);
  }
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head + dv0;
    const int lost = (position + T) >> slots != 0; /* there is no slot for what it would have */
    for (int slot = 0; slot < slots; slot++) {
      float *to = ht + slot * a.ht.slot;
      const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
      TILE_UNROLL
      for (int nb = 0; nb < K_OF_WARP / 8; nb++)
        state[nb][0] = state[nb][1] = state[nb][2] = state[nb][3] = lost ? tile_nan() : 0.0f;
      if (!lost && (given >> slot & 1)) { /* not rounded */
        const float *from = h0 + slot * a.h0.slot;
        TILE_UNROLL
        for (int n = 0; n < K_OF_WARP / 8; n++)
          TILE_UNROLL
          for (int e = 0; e < 4; e++) {
            const int k = half * K_OF_WARP + 8 * n + frag_col + (e & 1);
            const int v = 16 * column + frag_row + 8 * (e >> 1);
            if (k < DK && v < channels) state[n][e] = of_slot * from[k * DV + v];
          }
      } else if (!lost && (live >> slot & 1)) {
        add_state(state, slot_at(near, far, slot), of_slot);
      }
      TILE_UNROLL
      for (int n = 0; n < K_OF_WARP / 8; n++)
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int k = half * K_OF_WARP + 8 * n + frag_col + (e & 1);
          const int v = 16 * column + frag_row + 8 * (e >> 1);
          if (k < DK && v < channels) to[k * DV + v] = state[n][e];
        }
    }
  }
}
