/* SPDX-License-Identifier: MIT
 * cpu_device.k.c - small kernels for test_cpu_device.c: first right ones, then one mistake each.
 * The #line directives give the mistakes places that the test can name.
 */
typedef struct io {
  const float *in;
  float *out;
  i64 n;
} io;

/* ---- right ---- */

/* out[i] = in[127 - i], through shared memory */
TILE_KERNEL(reverse, io, 128, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  s[tile_tid()] = a.in[tile_block() * 128 + tile_tid()];
  barrier_sync();
  a.out[tile_block() * 128 + tile_tid()] = s[127 - tile_tid()];
}

/* two pairs of warps meet at two barriers */
TILE_KERNEL(reverse_halves, io, 128, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  const int half = tile_warp() / 2, i = tile_tid() % 64;
  s[tile_tid()] = a.in[tile_tid()];
  barrier_named_sync(1 + half, 64);
  a.out[tile_tid()] = s[half * 64 + 63 - i];
}

/* inclusive prefix sum of each warp, then the sum of all 32 */
TILE_KERNEL(warp_sums, io, 64, 1) {
  const int lane = tile_lane();
  float sum = a.in[tile_tid()];
  for (int d = 1; d < 32; d <<= 1) {
    const float y = warp_shuffle_up_f32(sum, d);
    if (lane >= d) sum += y;
  }
  a.out[tile_tid()] = sum;
  float all = a.in[tile_tid()];
  for (int d = 1; d < 32; d <<= 1) all += warp_shuffle_xor_f32(all, d);
  a.out[64 + tile_tid()] = all;
  a.out[128 + tile_tid()] = warp_shuffle_idx_f32(sum, 31);
}

/* C = A B: A (16, 16) at in, B (16, 16) after it, rounded to bf16; C (16, 16) */
TILE_KERNEL(matmul, io, 32, 1) {
  TILE_SMEM_BEGIN(1024);
  TILE_SMEM(bf16, sA, 0, 256);
  TILE_SMEM(bf16, sB, 512, 256);
  const int lane = tile_lane(), row = lane & 15, column = (lane >> 4) * 8;
  for (int i = 2 * lane; i < 256; i += 64) {
    st_u32(sA + i, pack_bf16x2(a.in[i], a.in[i + 1]));
    st_u32(sB + i, pack_bf16x2(a.in[256 + i], a.in[256 + i + 1]));
  }
  warp_sync();
  u32 fa[4], fb[4];
  ldmatrix_x4(fa, sA + row * 16 + column);
  ldmatrix_x4_trans(fb, sB + row * 16 + column);
  float d[2][4] = {{0}};
  mma_m16n8k16_bf16(d[0], fa, fb);
  mma_m16n8k16_bf16(d[1], fa, fb + 2);
  for (int i = 0; i < 2; i++) {
    float *out = a.out + (lane >> 2) * 16 + i * 8 + (lane & 3) * 2;
    st_f32x2(out, d[i][0], d[i][1]);
    st_f32x2(out + 8 * 16, d[i][2], d[i][3]);
  }
}

/* out = in, the last n % 4 floats one by one, what lies past n zero; n <= 128 */
TILE_KERNEL(copy_async, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  const i64 first = 4 * tile_lane(), left = a.n - first;
  const int bytes = left >= 4 ? 16 : left > 0 ? 4 * (int)left : 0;
  cp_async_16(s + first, a.in + (bytes ? first : 0), bytes);
  cp_async_commit();
  cp_async_wait(0);
  const tile_f4 x = ld_f32x4(s + first);
  st_f32x4(a.out + first, x.x, x.y, x.z, x.w);
}

/* out[i] = the fp16 whose bits are i */
TILE_KERNEL(f16_widen, io, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  a.out[i] = tile_tid() % 2 ? f16hi_f32((u32)i << 16 | 0x1234u) : f16lo_f32((u32)i | 0x12340000u);
}

/* out[i]: in[i], rounded, in the low half; -in[i] in the high one */
TILE_KERNEL(f16_round, io, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  st_u32(a.out + i, pack_f16x2(a.in[i], -a.in[i]));
}

/* ---- wrong ---- */

/* the wait leaves the group in flight; what was there before must not be seen either */
TILE_KERNEL(copy_unwaited, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
  const int first = 4 * tile_lane();
  s[first] = 0.0f;
  cp_async_16(s + first, a.in + first, 16);
  cp_async_commit();
  cp_async_wait(1);
  a.out[tile_lane()] = s[first];
  cp_async_wait(0);
}

TILE_KERNEL(copy_forgotten, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
#line 100 "forgotten.k.c"
  cp_async_16(s + 4 * tile_lane(), a.in, 16);
}

TILE_KERNEL(deadlock, io, 128, 1) {
  if (tile_warp() == 3) return;
#line 200 "deadlock.k.c"
  if (tile_warp() == 1) barrier_named_sync(2, 64);
  barrier_sync();
}

TILE_KERNEL(divergence, io, 32, 1) {
  float x = 1.0f;
  if (tile_lane() < 7) {
#line 300 "divergence.k.c"
    x = warp_shuffle_xor_f32(x, 1);
  } else {
    warp_sync();
  }
  a.out[tile_lane()] = x;
}

/* two sites on one line */
TILE_KERNEL(divergence_one_line, io, 32, 1) {
#line 350 "one_line.k.c"
  tile_lane() < 7 ? warp_sync() : warp_sync();
}

/* half a warp never comes */
TILE_KERNEL(half_warp, io, 32, 1) {
#line 400 "half.k.c"
  if (tile_lane() < 16) warp_sync();
}

TILE_KERNEL(smem_overlap, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, x, 0, 65);
#line 500 "overlap.k.c"
  TILE_SMEM(float, y, 256, 64);
  x[0] = y[0] = 0.0f;
}

TILE_KERNEL(smem_too_much, io, 32, 1) {
#line 600 "too_much.k.c"
  TILE_SMEM_BEGIN(4096);
  TILE_SMEM(float, x, 0, 1024);
  x[0] = 0.0f;
}

TILE_KERNEL(smem_overrun, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, x, 0, 64);
  TILE_SMEM(float, y, 256, 64);
  y[0] = 0.0f;
  x[64 + a.n] = 0.0f;
}

TILE_KERNEL(misaligned, io, 32, 1) {
#line 700 "misaligned.k.c"
  st_f32x2(a.out + 1, 0.0f, 0.0f);
}

TILE_KERNEL(ldmatrix_global, io, 32, 1) {
  u32 r[4];
#line 800 "ldmatrix.k.c"
  ldmatrix_x4(r, a.in);
  st_u32(a.out, r[0]);
}

/* one element past the input */
TILE_KERNEL(read_past, io, 32, 1) {
#line 900 "read_past.k.c"
  a.out[tile_lane()] = a.in[a.n];
}

/* sixteen bytes past the input, asynchronously */
TILE_KERNEL(copy_past, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, s, 0, 128);
#line 1000 "copy_past.k.c"
  cp_async_16(s + 4 * tile_lane(), a.in + a.n, 16);
  cp_async_commit();
  cp_async_wait(0);
  a.out[tile_lane()] = s[0];
}

/* a fifth element of four registers */
TILE_KERNEL(register_past, io, 32, 1) {
  float x[4] = {0};
#line 1100 "register_past.k.c"
  x[a.n] = a.in[0];
  a.out[tile_lane()] = x[0];
}

/* one shared array running into the next */
TILE_KERNEL(shared_past, io, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(float, x, 0, 64);
  TILE_SMEM(float, y, 256, 64);
  y[tile_lane()] = 0.0f;
#line 1200 "shared_past.k.c"
  a.out[tile_lane()] = x[a.n];
}
