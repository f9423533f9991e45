/* SPDX-License-Identifier: MIT
 * pointwise.k.c - conformance of the fp32 functions and the 16-bit conversions: one kernel each,
 * out[i] = f(in[i], in[n + i]).
 */
typedef struct pointwise_args {
  const float *in;
  float *out;
  i64 n;
} pointwise_args;

#define POINTWISE(name, value)                          \
  TILE_KERNEL(conform_##name, pointwise_args, 128, 1) { \
    const i64 i = tile_block() * 128 + tile_tid();      \
    const float x = a.in[i], y = a.in[a.n + i];         \
    (void)x;                                            \
    (void)y;                                            \
    a.out[i] = (value);                                 \
  }

POINTWISE(tile_exp2, tile_exp2(x))
POINTWISE(tile_exp, tile_exp(x))
POINTWISE(tile_log, tile_log(x))
POINTWISE(tile_log1p, tile_log1p(x))
POINTWISE(tile_sqrt, tile_sqrt(x))
POINTWISE(tile_rcp, tile_rcp(x))
POINTWISE(tile_abs, tile_abs(x))
POINTWISE(tile_min, tile_min(x, y))
POINTWISE(tile_max, tile_max(x, y))
POINTWISE(tile_pow, tile_pow(x, y))
POINTWISE(tile_sigmoid, tile_sigmoid(x))
POINTWISE(tile_softplus, tile_softplus(x))
POINTWISE(tile_silu, tile_silu(x))
POINTWISE(tile_tanh, tile_tanh(x))
POINTWISE(tile_elu, tile_elu(x))
POINTWISE(tile_elu1, tile_elu1(x))
POINTWISE(tile_sin, tile_sin(x))
POINTWISE(tile_cos, tile_cos(x))

/* of numbers with up to 32 bits, down to none */
TILE_KERNEL(conform_tile_clz, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  const u32 x = ld_u32(a.in + i), bits = (u32)i % 33;
  st_u32(a.out + i, (u32)tile_clz(bits == 32 ? 0u : x >> bits));
}

TILE_KERNEL(conform_tile_nan, pointwise_args, 128, 1) {
  a.out[tile_block() * 128 + tile_tid()] = tile_nan();
}

TILE_KERNEL(conform_pack_bf16x2, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  st_u32(a.out + i, pack_bf16x2(a.in[i], a.in[a.n + i]));
}

TILE_KERNEL(conform_bf16lo_f32, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  a.out[i] = bf16lo_f32(ld_u32(a.in + i));
}

TILE_KERNEL(conform_bf16hi_f32, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  a.out[i] = bf16hi_f32(ld_u32(a.in + i));
}

TILE_KERNEL(conform_pack_f16x2, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  st_u32(a.out + i, pack_f16x2(a.in[i], a.in[a.n + i]));
}

TILE_KERNEL(conform_f16lo_f32, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  a.out[i] = f16lo_f32(ld_u32(a.in + i));
}

TILE_KERNEL(conform_f16hi_f32, pointwise_args, 128, 1) {
  const i64 i = tile_block() * 128 + tile_tid();
  a.out[i] = f16hi_f32(ld_u32(a.in + i));
}
