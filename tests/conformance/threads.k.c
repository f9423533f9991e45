/* SPDX-License-Identifier: MIT
 * threads.k.c - conformance of who a thread is, of barriers and of shuffles; 128 threads a block.
 */
typedef struct threads_args {
  const float *in;
  float *out;
  i64 n;
} threads_args;

enum { THREADS = 128 };

/* out (block, thread, 4): thread, warp, lane, block */
TILE_KERNEL(conform_thread_ids, threads_args, THREADS, 1) {
  float *out = a.out + (tile_block() * THREADS + tile_tid()) * 4;
  st_f32x4(out, (float)tile_tid(), (float)tile_warp(), (float)tile_lane(), (float)tile_block());
}

/* out[i] = in[127 - i] within a block, through shared memory */
TILE_KERNEL(conform_reverse_block, threads_args, THREADS, 1) {
  TILE_SMEM_BEGIN(4 * THREADS);
  TILE_SMEM(float, s, 0, THREADS);
  const i64 first = tile_block() * THREADS;
  s[tile_tid()] = a.in[first + tile_tid()];
  barrier_sync();
  a.out[first + tile_tid()] = s[THREADS - 1 - tile_tid()];
}

/* the same within each half block: warps 0 and 1 meet at barrier 1, warps 2 and 3 at barrier 2 */
TILE_KERNEL(conform_reverse_half, threads_args, THREADS, 1) {
  TILE_SMEM_BEGIN(4 * THREADS);
  TILE_SMEM(float, s, 0, THREADS);
  const i64 first = tile_block() * THREADS;
  s[tile_tid()] = a.in[first + tile_tid()];
  barrier_named_sync(1 + tile_warp() / 2, THREADS / 2);
  a.out[first + tile_tid()] = s[tile_tid() ^ 63];
}

/* the same within each warp */
TILE_KERNEL(conform_reverse_warp, threads_args, THREADS, 1) {
  TILE_SMEM_BEGIN(4 * THREADS);
  TILE_SMEM(float, s, 0, THREADS);
  const i64 first = tile_block() * THREADS;
  s[tile_tid()] = a.in[first + tile_tid()];
  warp_sync();
  a.out[first + tile_tid()] = s[tile_tid() ^ 31];
}

/* out (block, thread, 4): masks 1, 4, 16, 31 */
TILE_KERNEL(conform_shuffle_xor, threads_args, THREADS, 1) {
  const i64 i = tile_block() * THREADS + tile_tid();
  const float x = a.in[i];
  a.out[4 * i] = warp_shuffle_xor_f32(x, 1);
  a.out[4 * i + 1] = warp_shuffle_xor_f32(x, 4);
  a.out[4 * i + 2] = warp_shuffle_xor_f32(x, 16);
  a.out[4 * i + 3] = warp_shuffle_xor_f32(x, 31);
}

/* out (block, thread, 4): distances 1, 4, 16, 31 */
TILE_KERNEL(conform_shuffle_up, threads_args, THREADS, 1) {
  const i64 i = tile_block() * THREADS + tile_tid();
  const float x = a.in[i];
  a.out[4 * i] = warp_shuffle_up_f32(x, 1);
  a.out[4 * i + 1] = warp_shuffle_up_f32(x, 4);
  a.out[4 * i + 2] = warp_shuffle_up_f32(x, 16);
  a.out[4 * i + 3] = warp_shuffle_up_f32(x, 31);
}

/* out (block, thread, 4): lanes 0 and 31, and two that differ from lane to lane */
TILE_KERNEL(conform_shuffle_idx, threads_args, THREADS, 1) {
  const i64 i = tile_block() * THREADS + tile_tid();
  const float x = a.in[i];
  a.out[4 * i] = warp_shuffle_idx_f32(x, 0);
  a.out[4 * i + 1] = warp_shuffle_idx_f32(x, 31);
  a.out[4 * i + 2] = warp_shuffle_idx_f32(x, (tile_lane() * 7 + 3) & 31);
  a.out[4 * i + 3] = warp_shuffle_idx_f32(x, tile_lane() / 4);
}
