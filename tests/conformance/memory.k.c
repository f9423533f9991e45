/* SPDX-License-Identifier: MIT
 * memory.k.c - conformance of loads, stores and copies; 128 threads a block. Words are moved as
 * they are, whatever float they would be.
 */
typedef struct memory_args {
  const u32 *in;
  u32 *out;
  i64 n;
} memory_args;

enum { THREADS = 128, SMEM_BYTES = 2 * 16 * THREADS };

/* through shared memory, so that both spaces are read and written */
TILE_KERNEL(conform_ld_st_u32, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  st_u32(s + tile_tid(), ld_u32(a.in + i));
  barrier_sync();
  st_u32(a.out + i, ld_u32(s + (tile_tid() ^ 1)));
}

TILE_KERNEL(conform_ld_st_f32x2, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, s, 0, 2 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  const tile_f2 x = ld_f32x2(a.in + 2 * i);
  st_f32x2(s + 2 * tile_tid(), x.x, x.y);
  barrier_sync();
  const tile_f2 y = ld_f32x2(s + 2 * (tile_tid() ^ 1));
  st_f32x2(a.out + 2 * i, y.x, y.y);
}

TILE_KERNEL(conform_ld_st_f32x4, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, s, 0, 4 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  const tile_f4 x = ld_f32x4(a.in + 4 * i);
  st_f32x4(s + 4 * tile_tid(), x.x, x.y, x.z, x.w);
  barrier_sync();
  const tile_f4 y = ld_f32x4(s + 4 * (tile_tid() ^ 1));
  st_f32x4(a.out + 4 * i, y.x, y.y, y.z, y.w);
}

TILE_KERNEL(conform_ld_st_u32x4, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 4 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  u32 x[4], y[4];
  ld_u32x4(x, a.in + 4 * i);
  st_u32x4(s + 4 * tile_tid(), x[0], x[1], x[2], x[3]);
  barrier_sync();
  ld_u32x4(y, s + 4 * (tile_tid() ^ 1));
  st_u32x4(a.out + 4 * i, y[0], y[1], y[2], y[3]);
}

/* what it does cannot be seen, but that it changes nothing */
TILE_KERNEL(conform_tile_prefetch, memory_args, THREADS, 1) {
  const i64 i = tile_block() * THREADS + tile_tid();
  tile_prefetch(a.in + i);
  st_u32(a.out + i, ld_u32(a.in + i));
}

TILE_KERNEL(conform_copy_16, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 4 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  copy_16(s + 4 * tile_tid(), a.in + 4 * i);
  barrier_sync();
  copy_16(a.out + 4 * i, s + 4 * (tile_tid() ^ 1));
}

TILE_KERNEL(conform_copy_8, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 2 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  copy_8(s + 2 * tile_tid(), a.in + 2 * i);
  barrier_sync();
  copy_8(a.out + 2 * i, s + 2 * (tile_tid() ^ 1));
}

TILE_KERNEL(conform_copy_4, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  copy_4(s + tile_tid(), a.in + i);
  barrier_sync();
  copy_4(a.out + i, s + (tile_tid() ^ 1));
}

/* thread t copies t % 17 bytes of its 16 */
TILE_KERNEL(conform_cp_async_16, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 4 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  cp_async_16(s + 4 * tile_tid(), a.in + 4 * i, tile_tid() % 17);
  cp_async_commit();
  cp_async_wait(0);
  barrier_sync();
  copy_16(a.out + 4 * i, s + 4 * tile_tid());
}

/* thread t copies t % 9 bytes of its 8 */
TILE_KERNEL(conform_cp_async_8, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 2 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  cp_async_8(s + 2 * tile_tid(), a.in + 2 * i, tile_tid() % 9);
  cp_async_commit();
  cp_async_wait(0);
  barrier_sync();
  st_u32(a.out + 2 * i, ld_u32(s + 2 * tile_tid()));
  st_u32(a.out + 2 * i + 1, ld_u32(s + 2 * tile_tid() + 1));
}

/* every third thread copies nothing */
TILE_KERNEL(conform_cp_async_4, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  cp_async_4(s + tile_tid(), a.in + i, tile_tid() % 3 == 0 ? 0 : 4);
  cp_async_commit();
  cp_async_wait(0);
  barrier_sync();
  st_u32(a.out + i, ld_u32(s + tile_tid()));
}

/* two groups, the first waited for while the second is in flight */
TILE_KERNEL(conform_cp_async_groups, memory_args, THREADS, 1) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(u32, s, 0, 4 * THREADS);
  TILE_SMEM(u32, t, 16 * THREADS, 4 * THREADS);
  const i64 i = tile_block() * THREADS + tile_tid();
  cp_async_16(s + 4 * tile_tid(), a.in + 4 * i, 16);
  cp_async_commit();
  cp_async_16(t + 4 * tile_tid(), a.in + 4 * i, 8);
  cp_async_commit();
  cp_async_wait(1);
  barrier_sync();
  copy_16(a.out + 8 * i, s + 4 * (tile_tid() ^ 1));
  cp_async_wait(0);
  barrier_sync();
  copy_16(a.out + 8 * i + 4, t + 4 * (tile_tid() ^ 1));
}
