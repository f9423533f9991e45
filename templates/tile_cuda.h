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

#define TILE_ROLLED _Pragma("unroll 1")

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

/* `threads` threads meet at barrier `id`, 1 to 15 */
TILE_FN void barrier_named_sync(int id, int threads) {
  asm volatile("barrier.cta.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}

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

/* the line of global memory that p is in starts on its way to L2 */
TILE_FN void tile_prefetch(const void *p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }

/* 16 bytes from src to dst, either side global or shared, both 16-byte aligned */
TILE_FN void copy_16(void *dst, const void *src) { *(tile_u4 *)dst = *(const tile_u4 *)src; }

/* 8 bytes, likewise */
TILE_FN void copy_8(void *dst, const void *src) { *(u64 *)dst = *(const u64 *)src; }

/* 4 bytes, likewise */
TILE_FN void copy_4(void *dst, const void *src) { *(u32 *)dst = *(const u32 *)src; }

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

/* d (16x8, fp32) += a (16x16, row-major) b (16x8, column-major), fp16; one warp */
TILE_FN void mma_m16n8k16_f16(float *d, const u32 *a, const u32 *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
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

/* two floats, each as the sum of three 16-bit ones, whose mantissas have 24 bits together */
TILE_FN void tile_split3(tile_f2 x, u32 *part) {
  part[0] = pack_bf16x2(x.x, x.y);
  x.x -= bf16lo_f32(part[0]);
  x.y -= bf16hi_f32(part[0]);
  part[1] = pack_bf16x2(x.x, x.y);
  part[2] = pack_bf16x2(x.x - bf16lo_f32(part[1]), x.y - bf16hi_f32(part[1]));
}

/* d (16x8) += a (16x16, row-major) b (16x8, column-major), all fp32; one warp. Element i of a and of
 * b is what word i is of 16-bit operands, with floats for its halves. The smallest products come
 * first, and in a sum of their own: the tensor core rounds each of its sums towards zero. */
TILE_FN void mma_m16n8k16_f32(float *d, const tile_f2 *a, const tile_f2 *b) {
  u32 pa[3][4], pb[3][2], part[3];
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  TILE_UNROLL
  for (int i = 0; i < 4; i++) {
    tile_split3(a[i], part);
    pa[0][i] = part[0];
    pa[1][i] = part[1];
    pa[2][i] = part[2];
  }
  TILE_UNROLL
  for (int i = 0; i < 2; i++) {
    tile_split3(b[i], part);
    pb[0][i] = part[0];
    pb[1][i] = part[1];
    pb[2][i] = part[2];
  }
  TILE_UNROLL
  for (int order = 2; order >= 0; order--) {
    TILE_UNROLL
    for (int i = 0; i <= order; i++) mma_m16n8k16_bf16(sum, pa[i], pb[order - i]);
  }
  TILE_UNROLL
  for (int i = 0; i < 4; i++) d[i] += sum[i];
}

/* two floats, rounded to nearest even, `lo` in the low half; infinite from 65520 on */
TILE_FN u32 pack_f16x2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

TILE_FN float f16lo_f32(u32 x) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"((fp16)x));
  return r;
}

TILE_FN float f16hi_f32(u32 x) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"((fp16)(x >> 16)));
  return r;
}

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

TILE_FN float tile_log(float x) { return logf(x); }

TILE_FN float tile_log1p(float x) { return log1pf(x); }

TILE_FN float tile_sqrt(float x) { return sqrtf(x); }

TILE_FN float tile_abs(float x) { return fabsf(x); }

TILE_FN float tile_min(float x, float y) { return fminf(x, y); }

TILE_FN float tile_max(float x, float y) { return fmaxf(x, y); }

TILE_FN float tile_pow(float x, float y) { return powf(x, y); }

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

TILE_FN float tile_tanh(float x) { return tanhf(x); }

/* Relative error at most 1e-6: near 0, where 2^x - 1 would cancel, the series. */
TILE_FN float tile_elu(float x) {
  const float series = x * (1.0f + x * (1.0f / 2 + x * (1.0f / 6 + x * (1.0f / 24 +
                       x * (1.0f / 120 + x * (1.0f / 720))))));
  const float negative = x > -0.375f ? series : tile_exp2(1.4426950408889634f * x) - 1.0f;
  return x > 0.0f ? x : negative;
}

/* elu(x) + 1, e^x where x is negative: small results too have a relative error of some 2e-7 + 6e-8 |x| */
TILE_FN float tile_elu1(float x) { return x > 0.0f ? x + 1.0f : tile_exp2(1.4426950408889634f * x); }

TILE_FN float tile_sin(float x) { return sinf(x); }

TILE_FN float tile_cos(float x) { return cosf(x); }
