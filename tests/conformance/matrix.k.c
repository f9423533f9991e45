/* SPDX-License-Identifier: MIT
 * matrix.k.c - conformance of ldmatrix and mma; one warp a block.
 */
typedef struct matrix_args {
  const u32 *in;
  u32 *out;
  i64 n;
} matrix_args;

/* in (block, 32 rows, 4 words) -> out (block, lane, 4). Lane l points at row 5 l % 32, so that the
 * order of rows counts. */
TILE_KERNEL(conform_ldmatrix, matrix_args, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(u32, s, 0, 128);
  const i64 i = (tile_block() * 32 + tile_lane()) * 4;
  u32 r[4];
  copy_16(s + 4 * tile_lane(), a.in + i);
  warp_sync();
  ldmatrix_x4(r, s + 4 * (5 * tile_lane() % 32));
  for (int j = 0; j < 4; j++) st_u32(a.out + i + j, r[j]);
}

TILE_KERNEL(conform_ldmatrix_trans, matrix_args, 32, 1) {
  TILE_SMEM_BEGIN(512);
  TILE_SMEM(u32, s, 0, 128);
  const i64 i = (tile_block() * 32 + tile_lane()) * 4;
  u32 r[4];
  copy_16(s + 4 * tile_lane(), a.in + i);
  warp_sync();
  ldmatrix_x4_trans(r, s + 4 * (5 * tile_lane() % 32));
  for (int j = 0; j < 4; j++) st_u32(a.out + i + j, r[j]);
}

/* in (block, lane, 10): a, b, d of the lane -> out (block, lane, 4) */
#define MMA(name, multiply)                                     \
  TILE_KERNEL(name, matrix_args, 32, 1) {                       \
    const i64 i = tile_block() * 32 + tile_lane();              \
    const u32 *in = a.in + 10 * i;                              \
    const tile_f2 lo = ld_f32x2(in + 6), hi = ld_f32x2(in + 8); \
    float d[4] = {lo.x, lo.y, hi.x, hi.y};                      \
    u32 fa[4], fb[2];                                           \
    for (int j = 0; j < 4; j++) fa[j] = ld_u32(in + j);         \
    for (int j = 0; j < 2; j++) fb[j] = ld_u32(in + 4 + j);     \
    multiply;                                                   \
    st_f32x4(a.out + 4 * i, d[0], d[1], d[2], d[3]);            \
  }

/* in (block, lane, 16): a, b, d of the lane -> out (block, lane, 4) */
TILE_KERNEL(conform_mma_f32, matrix_args, 32, 1) {
  const i64 i = tile_block() * 32 + tile_lane();
  const u32 *in = a.in + 16 * i;
  const tile_f4 of_d = ld_f32x4(in + 12);
  float d[4] = {of_d.x, of_d.y, of_d.z, of_d.w};
  tile_f2 fa[4], fb[2];
  for (int j = 0; j < 4; j++) fa[j] = ld_f32x2(in + 2 * j);
  for (int j = 0; j < 2; j++) fb[j] = ld_f32x2(in + 8 + 2 * j);
  mma_m16n8k16_f32(d, fa, fb);
  st_f32x4(a.out + 4 * i, d[0], d[1], d[2], d[3]);
}

MMA(conform_mma_bf16, mma_m16n8k16_bf16(d, fa, fb))
MMA(conform_mma_f16, mma_m16n8k16_f16(d, fa, fb))
