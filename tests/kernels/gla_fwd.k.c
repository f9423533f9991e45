/* SPDX-License-Identifier: MIT
 * gla_fwd.k.c - a whole kernel, written by hand, to test the CPU device with: chunkwise linear
 * attention with a scalar log-decay a token,
 *
 *   S_t = exp(g_t) S_{t-1} + k_t v_t',   o_t = scale q_t' S_t
 *
 * One block of four warps a head; chunk 64; dk = dv = 64; the state in registers, fp32.
 */
typedef struct gla_fwd_args {
  const bf16 *q, *k, *v; /* [BH][T][64] */
  const float *g;        /* [BH][T] natural-log decay, <= 0 */
  bf16 *o;               /* [BH][T][64] */
  float *s_out;          /* [BH][64][64] final state, may be null */
  int T;
  float scale;
} gla_fwd_args;

enum { GLA_NT = 128, GLA_SMEM = 2 * 3 * 8192 + 8192 + 256 };

/* element offset of 16-byte piece c of row r in a [64][64] bf16 tile, XOR-swizzled */
TILE_FN int swz(int r, int c) {
  return r * 64 + ((c ^ (r & 7)) << 3);
}

TILE_FN void load_tile(bf16 *restrict dst, const bf16 *restrict src, int rows) {
  const int tid = tile_tid();
  TILE_UNROLL
  for (int i = 0; i < 4; i++) {
    const int idx = tid + i * 128, r = idx >> 3, c = idx & 7;
    const int ok = r < rows;
    cp_async_16(dst + swz(r, c), src + (ok ? r * 64 + c * 8 : 0), ok ? 16 : 0);
  }
}

/* B fragments (two n-tiles) of a row-major [k][n] tile: n0 = 16*np, k0 = 16*kk */
TILE_FN void ldb_kn(u32 *b, const bf16 *tile, int kk, int np, int lane) {
  ldmatrix_x4_trans(
      b, tile + swz(kk * 16 + (lane & 7) + (((lane >> 3) & 1) << 3), np * 2 + (lane >> 4)));
}

TILE_KERNEL(gla_fwd, gla_fwd_args, GLA_NT, 1) {
  TILE_SMEM_BEGIN(GLA_SMEM);
  TILE_SMEM(bf16, sQ, 0, 2 * 4096);
  TILE_SMEM(bf16, sK, 16384, 2 * 4096);
  TILE_SMEM(bf16, sV, 32768, 2 * 4096);
  TILE_SMEM(bf16, sS, 49152, 4096);
  TILE_SMEM(float, sB, 57344, 64);

  const int tid = tile_tid(), lane = tid & 31, warp = tid >> 5;
  const int gq = lane >> 2, tq = lane & 3; /* mma fragment coordinates */
  const int T = a.T, nc = (T + 63) >> 6;
  const long long base = (long long)tile_block() * T * 64;
  const bf16 *q = a.q + base, *k = a.k + base, *v = a.v + base;
  const float *g = a.g + (long long)tile_block() * T;
  bf16 *o = a.o + base;

  float st[8][4] = {{0}}; /* state rows 16*warp.., dv 0..63 */

  load_tile(sQ, q, T);
  load_tile(sK, k, T);
  load_tile(sV, v, T);
  cp_async_commit();

  for (int n = 0; n < nc; n++) {
    const int buf = n & 1, t0 = n * 64;
    const bf16 *cQ = sQ + buf * 4096, *cK = sK + buf * 4096, *cV = sV + buf * 4096;
    if (n + 1 < nc) {
      const int nb = (buf ^ 1) * 4096;
      const long long off = (long long)(t0 + 64) * 64;
      load_tile(sQ + nb, q + off, T - t0 - 64);
      load_tile(sK + nb, k + off, T - t0 - 64);
      load_tile(sV + nb, v + off, T - t0 - 64);
    }
    cp_async_commit();

    if (warp == 0) { /* inclusive scan of the log-decay, base 2 */
      const int t = t0 + 2 * lane;
      float x0 = t < T ? g[t] * 1.4426950408889634f : 0.0f;
      float x1 = t + 1 < T ? g[t + 1] * 1.4426950408889634f : 0.0f;
      float s = x0 + x1;
      TILE_UNROLL
      for (int d = 1; d < 32; d <<= 1) {
        const float y = warp_shuffle_up_f32(s, d);
        if (lane >= d) s += y;
      }
      sB[2 * lane] = s - x1;
      sB[2 * lane + 1] = s;
    }
    TILE_UNROLL
    for (int nt = 0; nt < 8; nt++) { /* state, rounded, for the other warps */
      st_u32(sS + swz(warp * 16 + gq, nt) + tq * 2, pack_bf16x2(st[nt][0], st[nt][1]));
      st_u32(sS + swz(warp * 16 + gq + 8, nt) + tq * 2, pack_bf16x2(st[nt][2], st[nt][3]));
    }
    cp_async_wait(1);
    barrier_sync();

    u32 aq[4][4];
    TILE_UNROLL
    for (int kk = 0; kk < 4; kk++)
      ldmatrix_x4(aq[kk], cQ + swz(warp * 16 + (lane & 15), kk * 2 + (lane >> 4)));

    float oa[8][4] = {{0}}; /* o = (q S_prev) * exp2(b_i) */
    TILE_UNROLL
    for (int kk = 0; kk < 4; kk++) TILE_UNROLL
    for (int np = 0; np < 4; np++) {
      u32 b[4];
      ldb_kn(b, sS, kk, np, lane);
      mma_m16n8k16_bf16(oa[2 * np], aq[kk], b);
      mma_m16n8k16_bf16(oa[2 * np + 1], aq[kk], b + 2);
    }
    const int i0 = warp * 16 + gq, i1 = i0 + 8;
    const float b0 = sB[i0], b1 = sB[i1], bl = sB[63];
    const float e0 = tile_exp2(b0), e1 = tile_exp2(b1), el = tile_exp2(bl);
    TILE_UNROLL
    for (int nt = 0; nt < 8; nt++) {
      oa[nt][0] *= e0;
      oa[nt][1] *= e0;
      oa[nt][2] *= e1;
      oa[nt][3] *= e1;
    }

    TILE_UNROLL
    for (int jp = 0; jp < 4; jp++) { /* o += (q k^T . decay, causal) v */
      if (jp <= warp) {              /* warp-uniform */
        float s[2][4] = {{0}};
        TILE_UNROLL
        for (int kk = 0; kk < 4; kk++) {
          u32 b[4];
          ldmatrix_x4(
              b, cK + swz(jp * 16 + (lane & 7) + ((lane >> 4) << 3), kk * 2 + ((lane >> 3) & 1)));
          mma_m16n8k16_bf16(s[0], aq[kk], b);
          mma_m16n8k16_bf16(s[1], aq[kk], b + 2);
        }
        u32 p[4];
        TILE_UNROLL
        for (int h = 0; h < 2; h++) {
          const int j = jp * 16 + h * 8 + tq * 2;
          const float c0 = sB[j], c1 = sB[j + 1];
          p[2 * h] = pack_bf16x2(j <= i0 ? s[h][0] * tile_exp2(b0 - c0) : 0.0f,
                                 j + 1 <= i0 ? s[h][1] * tile_exp2(b0 - c1) : 0.0f);
          p[2 * h + 1] = pack_bf16x2(j <= i1 ? s[h][2] * tile_exp2(b1 - c0) : 0.0f,
                                     j + 1 <= i1 ? s[h][3] * tile_exp2(b1 - c1) : 0.0f);
        }
        TILE_UNROLL
        for (int np = 0; np < 4; np++) {
          u32 b[4];
          ldb_kn(b, cV, jp, np, lane);
          mma_m16n8k16_bf16(oa[2 * np], p, b);
          mma_m16n8k16_bf16(oa[2 * np + 1], p, b + 2);
        }
      }
    }
    TILE_UNROLL
    for (int nt = 0; nt < 8; nt++) {
      const int c = nt * 8 + tq * 2;
      if (t0 + i0 < T)
        st_u32(o + (long long)(t0 + i0) * 64 + c,
               pack_bf16x2(oa[nt][0] * a.scale, oa[nt][1] * a.scale));
      if (t0 + i1 < T)
        st_u32(o + (long long)(t0 + i1) * 64 + c,
               pack_bf16x2(oa[nt][2] * a.scale, oa[nt][3] * a.scale));
    }

    TILE_UNROLL
    for (int nt = 0; nt < 8; nt++) {
      st[nt][0] *= el;
      st[nt][1] *= el;
      st[nt][2] *= el;
      st[nt][3] *= el;
    }
    TILE_UNROLL
    for (int kk = 0; kk < 4; kk++) { /* S = exp2(bl) S + (k exp2(bl - b))^T v */
      u32 ka[4];
      ldmatrix_x4_trans(
          ka, cK + swz(kk * 16 + (lane & 7) + ((lane >> 4) << 3), warp * 2 + ((lane >> 3) & 1)));
      TILE_UNROLL
      for (int h = 0; h < 2; h++) {
        const int j = kk * 16 + h * 8 + tq * 2;
        const float d0 = tile_exp2(bl - sB[j]), d1 = tile_exp2(bl - sB[j + 1]);
        ka[2 * h] = pack_bf16x2(bf16lo_f32(ka[2 * h]) * d0, bf16hi_f32(ka[2 * h]) * d1);
        ka[2 * h + 1] = pack_bf16x2(bf16lo_f32(ka[2 * h + 1]) * d0, bf16hi_f32(ka[2 * h + 1]) * d1);
      }
      TILE_UNROLL
      for (int np = 0; np < 4; np++) {
        u32 b[4];
        ldb_kn(b, cV, kk, np, lane);
        mma_m16n8k16_bf16(st[2 * np], ka, b);
        mma_m16n8k16_bf16(st[2 * np + 1], ka, b + 2);
      }
    }
    barrier_sync(); /* buf, sS, sB are free again */
  }
  if (a.s_out) {
    float *so = a.s_out + (long long)tile_block() * 4096;
    TILE_UNROLL
    for (int nt = 0; nt < 8; nt++) {
      const int r = warp * 16 + gq, c = nt * 8 + tq * 2;
      so[r * 64 + c] = st[nt][0];
      so[r * 64 + c + 1] = st[nt][1];
      so[(r + 8) * 64 + c] = st[nt][2];
      so[(r + 8) * 64 + c + 1] = st[nt][3];
    }
  }
}
