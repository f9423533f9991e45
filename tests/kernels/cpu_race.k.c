/* SPDX-License-Identifier: MIT
 * cpu_race.k.c - small kernels for test_cpu_race.c: first right ones, then one mistake each, which
 * the race checker must find. The #line directives give the mistakes places that the test can name.
 */
typedef struct io {
  const float *in;
  float *out;
  i64 n;
} io;

/* ---- right ---- */

/* whole-block barriers between writing and reading, and before writing again */
TILE_KERNEL(right_barriers, io, 128, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  float sum = 0.0f;
  for (int i = 0; i < 3; i++) {
    s[tile_tid()] = a.in[tile_tid()];
    barrier_sync();
    sum += s[127 - tile_tid()];
    barrier_sync();
  }
  a.out[tile_block() * 128 + tile_tid()] = sum;
}

/* a warp by itself, and what it wrote handed on by a barrier of two warps */
TILE_KERNEL(right_warps, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  TILE_SMEM(float, w, 256, 2);
  s[tile_tid()] = a.in[tile_tid()];
  warp_sync();
  if (tile_lane() == 0) w[tile_warp()] = s[tile_tid() + 31];
  barrier_named_sync(3, 64);
  a.out[tile_block() * 64 + tile_tid()] = w[1 - tile_warp()];
}

/* what warp 0 wrote reaches warp 2 through warp 1 */
TILE_KERNEL(right_chain, io, 96, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  if (tile_warp() == 0) s[tile_lane()] = a.in[tile_lane()];
  if (tile_warp() < 2) barrier_named_sync(1, 64);
  if (tile_warp() > 0) barrier_named_sync(2, 64);
  if (tile_warp() == 2) a.out[tile_block() * 32 + tile_lane()] = s[31 - tile_lane()];
}

/* two stages of copies, each waited for by its thread and met at a barrier */
TILE_KERNEL(right_copies, io, 32, 1) {
  TILE_SMEM_BEGIN(1024);
  TILE_SMEM(float, s, 0, 256);
  cp_async_16(s + 4 * tile_lane(), a.in, 16);
  cp_async_commit();
  cp_async_8(s + 128 + 2 * tile_lane(), a.in, 8);
  cp_async_4(s + 192 + tile_lane(), a.in, 4);
  cp_async_commit();
  cp_async_wait(1);
  warp_sync();
  float x = s[127 - tile_lane()];
  cp_async_wait(0);
  warp_sync();
  x += s[223 - tile_lane() * 3];
  a.out[tile_block() * 32 + tile_lane()] = x;
}

/* threads of a block may write the same global address if a barrier orders them */
TILE_KERNEL(right_global, io, 64, 1) {
  if (tile_warp() == 0) a.out[tile_block() * 32 + tile_lane()] = 1.0f;
  barrier_sync();
  if (tile_warp() == 1) a.out[tile_block() * 32 + tile_lane()] += 1.0f;
}

/* ---- wrong ---- */

TILE_KERNEL(write_then_read, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  const int t = tile_tid();
  s[t] = 0.0f;
  barrier_sync();
#line 100 "w_r.k.c"
  s[t] = a.in[t];
  warp_sync();
#line 110 "w_r.k.c"
  a.out[t] = s[63 - t];
}

TILE_KERNEL(read_then_write, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  const int t = tile_tid();
  s[t] = a.in[t];
  barrier_sync();
#line 200 "r_w.k.c"
  const float x = s[63 - t];
#line 210 "r_w.k.c"
  s[t] = x;
  barrier_sync();
}

TILE_KERNEL(write_then_write, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(bf16, s, 0, 64);
#line 300 "w_w.k.c"
  s[tile_lane()] = (bf16)tile_warp();
}

/* lanes of a warp do not run in step, and a shuffle orders no memory */
TILE_KERNEL(lanes, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  s[tile_lane()] = 0.0f;
  warp_sync();
#line 390 "lanes.k.c"
  s[tile_lane()] = a.in[tile_lane()];
  const float x = warp_shuffle_xor_f32(1.0f, 1);
#line 400 "lanes.k.c"
  a.out[tile_lane()] = x + s[31 - tile_lane()];
}

/* the last reader is the writer itself, another lane of its warp read before it */
TILE_KERNEL(readers, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  s[tile_lane()] = 0.0f;
  warp_sync();
#line 440 "readers.k.c"
  float x = s[5];
#line 450 "readers.k.c"
  if (tile_lane() == 30) s[5] = x + 1.0f;
}

/* the writer has read twice since another lane did */
TILE_KERNEL(readers_twice, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  volatile float *p = s + 5;
  float x = 0.0f;
  s[tile_lane()] = 0.0f;
  warp_sync();
#line 460 "twice.k.c"
  if (tile_lane() == 5) x = *p;
  if (tile_lane() == 6) {
#line 470 "twice.k.c"
    x = *p;
    x += *p;
#line 480 "twice.k.c"
    *p = x;
  }
  a.out[tile_block() * 32 + tile_lane()] = x;
}

TILE_KERNEL(unwritten, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  if (tile_lane() != 9) s[tile_lane()] = 0.0f;
  warp_sync();
#line 500 "unwritten.k.c"
  a.out[tile_lane()] = s[tile_lane()];
}

/* the second block must not see what the first has written */
TILE_KERNEL(unwritten_block, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  if (tile_block() == 0) s[tile_lane()] = 0.0f;
#line 550 "block.k.c"
  a.out[tile_block() * 32 + tile_lane()] = s[tile_lane()];
}

/* past an array that ends within 16 bytes */
TILE_KERNEL(shared_past, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(bf16, s, 0, 33);
#line 570 "past.k.c"
  s[tile_lane() + 2] = 1;
}

/* a matrix operation reads on behalf of its lanes */
TILE_KERNEL(matrix, io, 64, 1) {
  TILE_SMEM_BEGIN(1024);
  TILE_SMEM(bf16, s, 0, 512);
  const int at = tile_tid() * 8;
  u32 r[4];
  copy_16(s + at, a.in);
  barrier_sync();
#line 600 "matrix.k.c"
  copy_16(s + at, a.in);
  warp_sync();
#line 610 "matrix.k.c"
  ldmatrix_x4(r, s + (at ^ 256));
  st_u32(a.out + tile_tid(), r[0]);
}

TILE_KERNEL(copy_read_early, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
#line 700 "in_flight.k.c"
  cp_async_16(s + 4 * tile_lane(), a.in, 16);
  cp_async_commit();
  cp_async_wait(1);
#line 710 "in_flight.k.c"
  a.out[tile_lane()] = s[4 * tile_lane()];
  cp_async_wait(0);
}

TILE_KERNEL(copy_overwritten, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
#line 750 "overwritten.k.c"
  cp_async_16(s + 4 * tile_lane(), a.in, 16);
#line 760 "overwritten.k.c"
  s[4 * tile_lane() + 2] = 0.0f;
  cp_async_wait(0);
}

/* the thread that copied has waited, the others have not met it */
TILE_KERNEL(copy_unmet, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  st_f32x4(s + 4 * tile_lane(), 0.0f, 0.0f, 0.0f, 0.0f);
  warp_sync();
#line 800 "unmet.k.c"
  cp_async_16(s + 4 * tile_lane(), a.in, 16);
  cp_async_commit();
  cp_async_wait(0);
#line 810 "unmet.k.c"
  a.out[tile_lane()] = s[127 - tile_lane()];
}

/* a copy into what another warp may still read */
TILE_KERNEL(copy_too_soon, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  st_f32x2(s + 2 * tile_tid(), 1.0f, 2.0f);
  barrier_sync();
#line 900 "too_soon.k.c"
  a.out[tile_tid()] = s[127 - tile_tid()];
  warp_sync();
#line 910 "too_soon.k.c"
  if (tile_warp() == 1) cp_async_16(s + 4 * tile_lane(), a.in, 16);
  cp_async_commit();
  cp_async_wait(0);
}

TILE_KERNEL(two_blocks, io, 32, 1) {
#line 1000 "blocks.k.c"
  a.out[tile_block() / 2 * 32 + tile_lane()] = 1.0f;
}

TILE_KERNEL(block_reads_other, io, 32, 1) {
  float *mine = a.out + tile_block() * 32 + tile_lane();
#line 1050 "reads.k.c"
  const float other = tile_block() == 2 ? mine[-32] : 0.0f;
#line 1060 "reads.k.c"
  mine[0] = other + 1.0f;
}

TILE_KERNEL(two_threads, io, 64, 1) {
#line 1100 "threads.k.c"
  a.out[tile_tid() / 2] = 1.0f;
}

/* the place is that of the access in the helper, and of its call */
TILE_FN void put(float *p, float x) {
#line 1200 "helper.k.c"
  p[0] = x;
}
TILE_KERNEL(helper, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  s[tile_tid()] = 0.0f;
#line 1250 "helper.k.c"
  put(s + 63 - tile_tid(), 2.0f);
}

/* a loop that the compiler makes a call of memset */
TILE_KERNEL(zeroed, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  s[tile_tid()] = 1.0f;
  barrier_sync();
  if (tile_tid() == 33) {
    for (int i = 0; i < 64; i++)
#line 1300 "zeroed.k.c"
      s[i] = 0.0f;
  }
#line 1310 "zeroed.k.c"
  if (tile_tid() == 40) a.out[0] = s[7];
}

/* waits for a word that only another thread could write, and none ever runs */
TILE_KERNEL(spins, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 32);
  s[tile_lane()] = 0.0f;
  volatile float *flag = s + tile_lane();
#line 1400 "spins.k.c"
  while (*flag == 0.0f) continue;
}

/* not a race, but found under the race check as without it */
TILE_KERNEL(stuck, io, 64, 1) {
#line 1500 "stuck.k.c"
  if (tile_warp() == 0) barrier_sync();
}

/* a race on the way to a deadlock: the report has both */
TILE_KERNEL(missed, io, 64, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 64);
  s[tile_tid()] = 0.0f;
  barrier_sync();
#line 1600 "missed.k.c"
  s[tile_tid()] = 1.0f;
#line 1610 "missed.k.c"
  if (tile_warp() > 0) barrier_sync();
#line 1620 "missed.k.c"
  a.out[tile_tid()] = s[63 - tile_tid()];
}

/* touches no memory, so that only time tells */
TILE_KERNEL(computes, io, 64, 1) {
  u32 x = (u32)tile_tid() | 1u;
  barrier_sync();
  if (tile_tid() == 5)
    for (;;) {
#line 1700 "computes.k.c"
      x = x * 5u + 2u;
#line 1700 "computes.k.c"
      if (x == 0u) break;
    }
  a.out[tile_tid()] = (float)x;
}
