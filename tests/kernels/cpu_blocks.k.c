/* SPDX-License-Identifier: MIT
 * cpu_blocks.k.c - small kernels for test_cpu_blocks.c, which tell how blocks run beside each
 * other. Threads of the CPU device change only where they wait, so that plain memory will do for
 * counters.
 */
typedef struct io {
  float *count, *out;
  i64 n;
} io;

/* n numbers for each block, in the order in which the launch's blocks ask for one between barriers
 */
TILE_KERNEL(tickets, io, 64, 1) {
  for (i64 i = 0; i < a.n; i++) {
    if (tile_tid() == 0) {
      a.out[tile_block() * a.n + i] = a.count[0];
      a.count[0] += 1.0f;
    }
    barrier_sync();
  }
}

/* Blocks come in pairs: out is 1 where the other one was there within n barriers. */
TILE_KERNEL(pairs, io, 64, 1) {
  TILE_SMEM_BEGIN(4);
  TILE_SMEM(float, other, 0, 1);
  const int first = tile_tid() == 0;
  float met = 0.0f;
  if (first) a.count[tile_block()] = 1.0f;
  for (i64 i = 0; i < a.n && met == 0.0f; i++) {
    if (first) other[0] = a.count[tile_block() ^ 1];
    barrier_sync();
    met = other[0];
    barrier_sync();
  }
  if (first) a.out[tile_block()] = met;
}

/* Each of n times every warp leaves the block's number and its own, for the next warp: out counts
 * what was found as it should be, in shared memory and in the shuffle's operand. */
TILE_KERNEL(private, io, 96, 1) {
  TILE_SMEM_BEGIN(384);
  TILE_SMEM(float, s, 0, 96);
  const int t = tile_tid(), next = (t + 32) % 96;
  float found = 0.0f;
  for (i64 i = 0; i < a.n; i++) {
    const float mine = (float)(tile_block() * 1000 + t + i);
    s[t] = mine;
    barrier_sync();
    const float theirs = (float)(tile_block() * 1000 + next + i);
    const float lane = warp_shuffle_xor_f32(mine, 1);
    if (s[next] == theirs && lane == (float)(tile_block() * 1000 + (t ^ 1) + i)) found += 1.0f;
    barrier_named_sync(1, 96);
  }
  a.out[tile_block() * 96 + t] = found;
}

/* Blocks whose bit of n is set are stuck at their start, the others end after five barriers. */
TILE_KERNEL(stuck, io, 64, 1) {
  if (a.n >> tile_block() & 1) {
#line 100 "stuck.k.c"
    if (tile_warp() == 1) barrier_sync();
    return;
  }
  for (int i = 0; i < 5; i++) barrier_sync();
  if (tile_tid() == 0) a.out[tile_block()] = 1.0f;
}

/* Block 1 writes past an array while block 0 goes on. */
TILE_KERNEL(overrun, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, x, 0, 64);
  x[tile_lane()] = 0.0f;
  if (tile_block() == 1 && tile_lane() == 0) x[64 + a.n] = 0.0f;
  for (int i = 0; i < 5 - 2 * tile_block(); i++) warp_sync();
}
