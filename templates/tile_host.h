/* SPDX-License-Identifier: MIT
 * tile_host.h - the tile vocabulary on the CPU device: the same names as tile_cuda.h, in C.
 *
 * The CPU device compiles an emitted kernel together with this file into a shared object, and runs
 * every thread of a block as a fiber. What needs the other threads (barriers, shuffles, matrix
 * operations, asynchronous copies) goes through a table of functions, struct tile_host_api, which
 * the object receives in tile_host_init: it has no undefined symbols but the C library's. What is
 * local to a thread (loads, stores, packing, arithmetic) is here, so that the sanitizers see it.
 *
 * Every operation that can fail or wait is a macro, which hands the runtime its place in the
 * source: struct tile_site. Two sites on one line differ by their id.
 *
 * runtime/cpu includes this file too, with TILE_HOST_RUNTIME defined, for the structs and for what
 * a 16-bit float means.
 */
#ifndef TILE_HOST_H
#define TILE_HOST_H

typedef unsigned short bf16; /* storage only */
typedef unsigned short fp16; /* storage only */
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/* ---- what the runtime and the kernel's object agree on ---- */

enum { TILE_HOST_VERSION = 4 };

struct tile_site {
  const char *op, *file;
  int line, id; /* id: unique in the object */
};

enum tile_shuffle { TILE_SHUFFLE_XOR, TILE_SHUFFLE_UP, TILE_SHUFFLE_IDX };

struct tile_mma { /* one lane's fragments of mma.m16n8k16 */
  float d[4];
  u32 a[4], b[2];
};
struct tile_mma_f32 { /* the same, with floats: two for a word */
  float d[4], a[8], b[4];
};
struct tile_accumulator {
  float d[4];
};
struct tile_matrices { /* one lane's part of ldmatrix.x4 */
  u32 r[4];
};

struct tile_host_api {
  int version;
  int (*tid)(void);
  i64 (*block)(void);
  void *(*smem_array)(u64 offset, u64 count, u64 element_bytes, const char *name,
                      const struct tile_site *at);
  void (*smem_begin)(u64 bytes, const struct tile_site *at);
  void (*barrier)(int id, int threads, const struct tile_site *at); /* threads 0: the block's */
  void (*warp_sync)(const struct tile_site *at);
  float (*shuffle)(float x, int kind, int arg, const struct tile_site *at);
  struct tile_matrices (*ldmatrix)(const void *row, int trans, const struct tile_site *at);
  struct tile_accumulator (*mma_bf16)(struct tile_mma fragments, const struct tile_site *at);
  struct tile_accumulator (*mma_f16)(struct tile_mma fragments, const struct tile_site *at);
  struct tile_accumulator (*mma_f32)(struct tile_mma_f32 fragments, const struct tile_site *at);
  void (*cp_async)(void *dst, const void *src, int bytes, int src_bytes,
                   const struct tile_site *at);
  void (*cp_async_commit)(void);
  void (*cp_async_wait)(int groups, const struct tile_site *at);
  void (*misaligned)(const void *p, int align, const struct tile_site *at); /* does not return */
  void (*access)(const void *p, u64 bytes, int write, const void *pc); /* pc: where it returns to */
};

struct tile_kernel {             /* exported as NAME_kernel */
  void (*run)(const void *args); /* one thread */
  u64 args_bytes;
  int threads, min_blocks;
  int follows_accesses; /* each one is told to api->access: built with TILE_HOST_RACES */
};

/* ---- floats and their bits, on both sides ---- */

/* Inlined for the race checker, so that an access is traced to the line that called for it. */
#ifdef TILE_HOST_RACES
#define TILE_FN static inline __attribute__((unused, always_inline))
#else
#define TILE_FN static inline __attribute__((unused))
#endif

TILE_FN float tile_float(u32 bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
TILE_FN u32 tile_bits(float x) {
  u32 bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
/* The low half; every NaN becomes 0x7fffffff, as the GPU has it. A subnormal is a whole number of
 * 2^-24: nothing here computes with a subnormal float, which a process may have flushed to 0. */
TILE_FN float tile_f16_f32(u32 x) {
  const u32 sign = (x & 0x8000u) << 16, magnitude = x & 0x7fffu;
  if (magnitude > 0x7c00u) return tile_float(0x7fffffffu);
  if (magnitude == 0x7c00u) return tile_float(sign | 0x7f800000u);
  if (magnitude < 0x400u) return tile_float(sign | tile_bits((float)magnitude * 0x1p-24f));
  return tile_float(sign | ((magnitude << 13) + (112u << 23)));
}

#ifndef TILE_HOST_RUNTIME

#define TILE_EXPORT __attribute__((visibility("default")))
#define TILE_UNROLL
#define TILE_ROLLED

static const struct tile_host_api *tile_api; /* set once, before the first launch */

/* ---- every access to memory, for the race checker ----
 * The compiler instruments the kernel with -fsanitize=thread, and the functions that it then calls
 * before each access are these: ThreadSanitizer's runtime takes no part. Compilers turn loops and
 * assignments of structs into calls of memset and memcpy, so those are here too. */

#ifdef TILE_HOST_RACES
#define TILE_FOLLOWS_ACCESSES 1
#define TILE_UNHOOKED __attribute__((no_sanitize("thread")))
#define TILE_HOOK TILE_UNHOOKED __attribute__((noinline, used, visibility("hidden")))
#define TILE_ACCESS(p, bytes, write) \
  tile_api->access((p), (bytes), (write), __builtin_return_address(0))
#define TILE_HOOKS(bytes)                                 \
  TILE_HOOK void __tsan_read##bytes(void *p) {            \
    TILE_ACCESS(p, bytes, 0);                             \
  }                                                       \
  TILE_HOOK void __tsan_write##bytes(void *p) {           \
    TILE_ACCESS(p, bytes, 1);                             \
  }                                                       \
  TILE_HOOK void __tsan_unaligned_read##bytes(void *p) {  \
    TILE_ACCESS(p, bytes, 0);                             \
  }                                                       \
  TILE_HOOK void __tsan_unaligned_write##bytes(void *p) { \
    TILE_ACCESS(p, bytes, 1);                             \
  }
TILE_HOOKS(1)
TILE_HOOKS(2)
TILE_HOOKS(4)
TILE_HOOKS(8)
TILE_HOOKS(16)
TILE_HOOK void __tsan_read_range(void *p, u64 bytes) {
  TILE_ACCESS(p, bytes, 0);
}
TILE_HOOK void __tsan_write_range(void *p, u64 bytes) {
  TILE_ACCESS(p, bytes, 1);
}
TILE_HOOK void __tsan_init(void) {}
TILE_HOOK void __tsan_func_entry(void *caller) {
  (void)caller;
}
TILE_HOOK void __tsan_func_exit(void) {}
TILE_HOOK void *memset(void *p, int x, __SIZE_TYPE__ n) {
  TILE_ACCESS(p, n, 1);
  for (volatile char *c = (volatile char *)p; n > 0; n--) *c++ = (char)x;
  return p;
}
#define TILE_MOVE(name)                                                 \
  TILE_HOOK void *name(void *p, const void *from, __SIZE_TYPE__ n) {    \
    TILE_ACCESS(from, n, 0);                                            \
    TILE_ACCESS(p, n, 1);                                               \
    const int backwards = (__UINTPTR_TYPE__)p > (__UINTPTR_TYPE__)from; \
    for (u64 i = 0; i < n; i++) {                                       \
      const u64 at = backwards ? n - 1 - i : i;                         \
      ((volatile char *)p)[at] = ((const char *)from)[at];              \
    }                                                                   \
    return p;                                                           \
  }
TILE_MOVE(memcpy)
TILE_MOVE(memmove)
#else
#define TILE_FOLLOWS_ACCESSES 0
#define TILE_UNHOOKED
#endif

/* 0, or the version that this object wants. */
TILE_EXPORT int tile_host_init(const struct tile_host_api *api);
TILE_EXPORT TILE_UNHOOKED int tile_host_init(const struct tile_host_api *api) {
  tile_api = api;
  return api->version == TILE_HOST_VERSION ? 0 : TILE_HOST_VERSION;
}

#define TILE_SITE(op)                                                                 \
  (__extension__({                                                                    \
    static const struct tile_site tile_site_ = {op, __FILE__, __LINE__, __COUNTER__}; \
    &tile_site_;                                                                      \
  }))

#define TILE_KERNEL(name, args_type, threads, min_blocks)                                         \
  static void __attribute__((noinline)) name##_thread(const args_type a __attribute__((unused))); \
  static void name##_run(const void *tile_args_) {                                                \
    name##_thread(*(const args_type *)tile_args_);                                                \
  }                                                                                               \
  TILE_EXPORT extern const struct tile_kernel name##_kernel;                                      \
  const struct tile_kernel name##_kernel = {name##_run, sizeof(args_type), threads, min_blocks,   \
                                            TILE_FOLLOWS_ACCESSES};                               \
  static void name##_thread(const args_type a __attribute__((unused)))

#define TILE_SMEM_BEGIN(total) tile_api->smem_begin((u64)(total), TILE_SITE("TILE_SMEM_BEGIN"))
#define TILE_SMEM(type, name, byte_offset, count)                                                 \
  type *const name = (type *)tile_api->smem_array((u64)(byte_offset), (u64)(count), sizeof(type), \
                                                  #name, TILE_SITE("TILE_SMEM"))

/* ---- who am I ---- */

TILE_FN int tile_tid(void) {
  return tile_api->tid();
}
TILE_FN int tile_warp(void) {
  return tile_api->tid() >> 5;
}
TILE_FN int tile_lane(void) {
  return tile_api->tid() & 31;
}
TILE_FN i64 tile_block(void) {
  return tile_api->block();
}

/* ---- the block and the warp ---- */

#define barrier_sync() tile_api->barrier(0, 0, TILE_SITE("barrier_sync"))
#define barrier_named_sync(id, n) tile_api->barrier((id), (n), TILE_SITE("barrier_named_sync"))
#define warp_sync() tile_api->warp_sync(TILE_SITE("warp_sync"))
#define warp_shuffle_xor_f32(x, mask) \
  tile_api->shuffle((x), TILE_SHUFFLE_XOR, (mask), TILE_SITE("warp_shuffle_xor_f32"))
#define warp_shuffle_up_f32(x, d) \
  tile_api->shuffle((x), TILE_SHUFFLE_UP, (d), TILE_SITE("warp_shuffle_up_f32"))
#define warp_shuffle_idx_f32(x, lane) \
  tile_api->shuffle((x), TILE_SHUFFLE_IDX, (lane), TILE_SITE("warp_shuffle_idx_f32"))

/* ---- memory ---- */

typedef struct __attribute__((aligned(8))) tile_f2 {
  float x, y;
} tile_f2;
typedef struct __attribute__((aligned(16))) tile_f4 {
  float x, y, z, w;
} tile_f4;
/* What moves at once. Not memcpy: compilers make some lengths a call, which is not instrumented. */
typedef u32 tile_v1 __attribute__((may_alias));
typedef float tile_v2 __attribute__((vector_size(8), may_alias));
typedef float tile_v4 __attribute__((vector_size(16), may_alias));
typedef u32 tile_w4 __attribute__((vector_size(16), may_alias));

/* A GPU faults on a misaligned access; so do we. */
#define TILE_ALIGNED(p, n) \
  if ((__UINTPTR_TYPE__)(p) & ((n)-1)) tile_api->misaligned((p), (n), at)

TILE_FN u32 tile_ld_u32(const void *p, const struct tile_site *at) {
  TILE_ALIGNED(p, 4);
  return *(const tile_v1 *)p;
}
TILE_FN void tile_st_u32(void *p, u32 v, const struct tile_site *at) {
  TILE_ALIGNED(p, 4);
  *(tile_v1 *)p = v;
}
TILE_FN tile_f2 tile_ld_f2(const void *p, const struct tile_site *at) {
  TILE_ALIGNED(p, 8);
  const tile_v2 v = *(const tile_v2 *)p;
  const tile_f2 r = {v[0], v[1]};
  return r;
}
TILE_FN void tile_st_f2(void *p, float x, float y, const struct tile_site *at) {
  const tile_v2 v = {x, y};
  TILE_ALIGNED(p, 8);
  *(tile_v2 *)p = v;
}
TILE_FN tile_f4 tile_ld_f4(const void *p, const struct tile_site *at) {
  TILE_ALIGNED(p, 16);
  const tile_v4 v = *(const tile_v4 *)p;
  const tile_f4 r = {v[0], v[1], v[2], v[3]};
  return r;
}
TILE_FN void tile_st_f4(void *p, float x, float y, float z, float w, const struct tile_site *at) {
  const tile_v4 v = {x, y, z, w};
  TILE_ALIGNED(p, 16);
  *(tile_v4 *)p = v;
}
TILE_FN void tile_ld_u4(u32 *r, const void *p, const struct tile_site *at) {
  TILE_ALIGNED(p, 16);
  const tile_w4 v = *(const tile_w4 *)p;
  for (int i = 0; i < 4; i++) r[i] = v[i];
}
TILE_FN void tile_st_u4(void *p, u32 x, u32 y, u32 z, u32 w, const struct tile_site *at) {
  const tile_w4 v = {x, y, z, w};
  TILE_ALIGNED(p, 16);
  *(tile_w4 *)p = v;
}
#define TILE_COPY(bytes, type)                                                             \
  TILE_FN void tile_copy_##bytes(void *dst, const void *src, const struct tile_site *at) { \
    TILE_ALIGNED(src, bytes);                                                              \
    TILE_ALIGNED(dst, bytes);                                                              \
    *(type *)dst = *(const type *)src;                                                     \
  }
TILE_COPY(16, tile_v4)
TILE_COPY(8, tile_v2)
TILE_COPY(4, tile_v1)

#define ld_u32(p) tile_ld_u32((p), TILE_SITE("ld_u32"))
#define st_u32(p, v) tile_st_u32((p), (v), TILE_SITE("st_u32"))
#define ld_f32x2(p) tile_ld_f2((p), TILE_SITE("ld_f32x2"))
#define st_f32x2(p, x, y) tile_st_f2((p), (x), (y), TILE_SITE("st_f32x2"))
#define ld_f32x4(p) tile_ld_f4((p), TILE_SITE("ld_f32x4"))
#define st_f32x4(p, x, y, z, w) tile_st_f4((p), (x), (y), (z), (w), TILE_SITE("st_f32x4"))
#define ld_u32x4(r, p) tile_ld_u4((r), (p), TILE_SITE("ld_u32x4"))
#define st_u32x4(p, x, y, z, w) tile_st_u4((p), (x), (y), (z), (w), TILE_SITE("st_u32x4"))
#define tile_prefetch(p) (void)ld_u32(p) /* a stray one would be harmless, but is none of ours */
#define copy_16(dst, src) tile_copy_16((dst), (src), TILE_SITE("copy_16"))
#define copy_8(dst, src) tile_copy_8((dst), (src), TILE_SITE("copy_8"))
#define copy_4(dst, src) tile_copy_4((dst), (src), TILE_SITE("copy_4"))

/* ---- asynchronous copies, global to shared ---- */

/* The copy is done later, by code that no sanitizer sees; a bad source shows here, at the issue. */
TILE_FN void tile_cp_async(void *dst, const void *src, int bytes, int src_bytes,
                           const struct tile_site *at) {
  if (src_bytes > 0 && src_bytes <= bytes) {
    const volatile char *s = (const volatile char *)src;
    (void)s[0];
    (void)s[src_bytes - 1];
  }
  tile_api->cp_async(dst, src, bytes, src_bytes, at);
}
#define cp_async_16(dst, src, src_bytes) \
  tile_cp_async((dst), (src), 16, (src_bytes), TILE_SITE("cp_async_16"))
#define cp_async_8(dst, src, src_bytes) \
  tile_cp_async((dst), (src), 8, (src_bytes), TILE_SITE("cp_async_8"))
#define cp_async_4(dst, src, src_bytes) \
  tile_cp_async((dst), (src), 4, (src_bytes), TILE_SITE("cp_async_4"))
#define cp_async_commit() tile_api->cp_async_commit()
#define cp_async_wait(n) tile_api->cp_async_wait((n), TILE_SITE("cp_async_wait"))

/* ---- matrices ----
 * Fragments go by value, so that the sanitizers check the kernel's own arrays and the compiler
 * keeps them in registers. */

TILE_FN void tile_ldmatrix(u32 *r, const void *row, int trans, const struct tile_site *at) {
  const struct tile_matrices m = tile_api->ldmatrix(row, trans, at);
  for (int i = 0; i < 4; i++) r[i] = m.r[i];
}
TILE_FN void tile_mma(struct tile_accumulator (*mma)(struct tile_mma, const struct tile_site *),
                      float *d, const u32 *a, const u32 *b, const struct tile_site *at) {
  struct tile_mma f;
  for (int i = 0; i < 4; i++) f.d[i] = d[i];
  for (int i = 0; i < 4; i++) f.a[i] = a[i];
  for (int i = 0; i < 2; i++) f.b[i] = b[i];
  const struct tile_accumulator sum = mma(f, at);
  for (int i = 0; i < 4; i++) d[i] = sum.d[i];
}
TILE_FN void tile_mma_of_f32(float *d, const tile_f2 *a, const tile_f2 *b,
                             const struct tile_site *at) {
  struct tile_mma_f32 f;
  for (int i = 0; i < 4; i++) f.d[i] = d[i];
  for (int i = 0; i < 8; i++) f.a[i] = i % 2 ? a[i / 2].y : a[i / 2].x;
  for (int i = 0; i < 4; i++) f.b[i] = i % 2 ? b[i / 2].y : b[i / 2].x;
  const struct tile_accumulator sum = tile_api->mma_f32(f, at);
  for (int i = 0; i < 4; i++) d[i] = sum.d[i];
}
#define ldmatrix_x4(r, row) tile_ldmatrix((r), (row), 0, TILE_SITE("ldmatrix_x4"))
#define ldmatrix_x4_trans(r, row) tile_ldmatrix((r), (row), 1, TILE_SITE("ldmatrix_x4_trans"))
#define mma_m16n8k16_bf16(d, a, b) \
  tile_mma(tile_api->mma_bf16, (d), (a), (b), TILE_SITE("mma_m16n8k16_bf16"))
#define mma_m16n8k16_f16(d, a, b) \
  tile_mma(tile_api->mma_f16, (d), (a), (b), TILE_SITE("mma_m16n8k16_f16"))
#define mma_m16n8k16_f32(d, a, b) tile_mma_of_f32((d), (a), (b), TILE_SITE("mma_m16n8k16_f32"))

/* ---- bf16 and fp16 ---- */

/* Round to nearest, ties to even; every NaN becomes 0x7fff, as the GPU has it. */
TILE_FN u32 tile_round_bf16(float x) {
  const u32 bits = tile_bits(x);
  return x != x ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
TILE_FN u32 pack_bf16x2(float lo, float hi) {
  return tile_round_bf16(lo) | tile_round_bf16(hi) << 16;
}
TILE_FN float bf16lo_f32(u32 x) {
  return tile_float(x << 16);
}
TILE_FN float bf16hi_f32(u32 x) {
  return tile_float(x & 0xffff0000u);
}

/* The same in fp16. Below 2^-14 a result is a whole number of 2^-24, the last place of 0.5: adding
 * to 0.5 rounds. Elsewhere the carry of the rounding goes into the exponent, up to infinity. */
TILE_FN u32 tile_round_f16(float x) {
  const u32 sign = tile_bits(x) >> 16 & 0x8000u, magnitude = tile_bits(x) & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fffu;
  if (magnitude >= 0x47800000u) return sign | 0x7c00u;
  if (magnitude < 0x38800000u)
    return sign | (tile_bits(0.5f + tile_float(magnitude)) - tile_bits(0.5f));
  return sign | ((magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13);
}
TILE_FN u32 pack_f16x2(float lo, float hi) {
  return tile_round_f16(lo) | tile_round_f16(hi) << 16;
}
TILE_FN float f16lo_f32(u32 x) {
  return tile_f16_f32(x);
}
TILE_FN float f16hi_f32(u32 x) {
  return tile_f16_f32(x >> 16);
}

/* ---- pointwise, fp32 ---- */

/* What .ftz makes of a subnormal: a zero of its sign. */
TILE_FN float tile_flush(float x) {
  return x < 0x1p-126f && x > -0x1p-126f ? tile_float(tile_bits(x) & 0x80000000u) : x;
}
TILE_FN float tile_exp2(float x) {
  return tile_flush(__builtin_exp2f(x));
}
TILE_FN int tile_clz(u32 x) {
  return x ? __builtin_clz(x) : 32;
}
TILE_FN float tile_nan(void) {
  return tile_float(0x7fffffffu);
}
TILE_FN float tile_exp(float x) {
  return __builtin_expf(x);
}
TILE_FN float tile_log(float x) {
  return __builtin_logf(x);
}
TILE_FN float tile_log1p(float x) {
  return __builtin_log1pf(x);
}
TILE_FN float tile_sqrt(float x) {
  return __builtin_sqrtf(x);
}
TILE_FN float tile_abs(float x) {
  return __builtin_fabsf(x);
}
/* A NaN loses against a number, and -0 is less than +0. */
TILE_FN float tile_min(float x, float y) {
  if (x != x) return y;
  if (x == y) return tile_float(tile_bits(x) | (tile_bits(y) & 0x80000000u));
  return y < x ? y : x;
}
TILE_FN float tile_max(float x, float y) {
  if (x != x) return y;
  if (x == y) return tile_float(tile_bits(x) & (tile_bits(y) | 0x7fffffffu));
  return y > x ? y : x;
}
TILE_FN float tile_pow(float x, float y) {
  return __builtin_powf(x, y);
}
TILE_FN float tile_rcp(float x) {
  return tile_flush(1.0f / tile_flush(x));
}
TILE_FN float tile_sigmoid(float x) {
  return tile_rcp(1.0f + __builtin_expf(-x));
}
TILE_FN float tile_softplus(float x) {
  return tile_max(x, 0.0f) + __builtin_log1pf(__builtin_expf(-tile_abs(x)));
}
TILE_FN float tile_silu(float x) {
  return x * tile_rcp(1.0f + __builtin_expf(-x));
}
TILE_FN float tile_tanh(float x) {
  return __builtin_tanhf(x);
}
TILE_FN float tile_elu(float x) {
  const float series =
      x * (1.0f +
           x * (1.0f / 2 + x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120 + x * (1.0f / 720))))));
  const float negative = x > -0.375f ? series : tile_exp2(1.4426950408889634f * x) - 1.0f;
  return x > 0.0f ? x : negative;
}
TILE_FN float tile_elu1(float x) {
  return x > 0.0f ? x + 1.0f : tile_exp2(1.4426950408889634f * x);
}
TILE_FN float tile_sin(float x) {
  return __builtin_sinf(x);
}
TILE_FN float tile_cos(float x) {
  return __builtin_cosf(x);
}

#endif
#endif
