//% -- SPDX-License-Identifier: MIT
//% -- scan.k.c - the portable scan: chunkwise linear attention with at most a scalar decay.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, dv_tile, stages, threads, decay, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels) and walks the
//% -- tokens chunk by chunk. With b_i the sum of the log2 decay from the chunk's start through i:
//% --
//% --   P_ij = q_i k_j' 2^(b_i - b_j) for j <= i       O = diag(2^b) Q S + P V
//% --   S    = 2^(b_last) S + K' diag(2^(b_last - b)) V
//% --
//% -- Each warp keeps 16 rows of S' (dv x dk) in fp32 registers; rounded and repacked they are the
//% -- B operand of Q S, so the state never passes through shared memory.
//% -- Scalars that the roles of a token are multiplied by become a write weight (of k and v), which
//% -- scales P's columns and the state's update, and a read weight (of q), which scales O's rows.
//% local token = decay or write or read -- something varies from token to token
//% local constant = decay and not decay.inputs[1]
//% local table_per_head = write and write.per_head or read and read.per_head or
//%                        decay and not constant and decay.per_head
//% local function parameters(code)
//%   local text = join(code.per_head and "const head_values per_head",
//%                     code.inputs[1] and "const gate_values gate")
//%   return text ~= "" and text or "void"
//% end
//% local function call(code, i)
//%   return join(code.per_head and "per_head", code.inputs[1] and "gate" .. i)
//% end
//% local function log2_of(i)
//%   return constant and "log2_factor" or "log2_decay(" .. call(decay, i) .. ")"
//% end
//% local table_parameters = join("float *table", table_per_head and "const head_values per_head",
//%   inputs[1] and "const gate_values gate0", inputs[1] and "const gate_values gate1",
//%   constant and "float log2_factor")
//% local table_arguments = join(table_per_head and "per_head", inputs[1] and "gate0, gate1",
//%                              constant and "log2_factor", "t", "T")
//% local function output_call(o, half, row)
//%   local values = {}
//%   for i, x in ipairs(channels) do values[i] = kind .. half .. "_f32(" .. x.field .. row .. ")" end
//%   return join(output.per_head and "per_head", o, unpack(values))
//% end
//% local scaled = scale and " * scale" or ""
//% local rows = 0
//% local function row()
//%   rows = rows + 1
//%   return rows == 1 and "0" or rows - 1 .. " * CHUNK"
//% end
/* $(title)
 *
//% for _, line in ipairs(equations) do
 * $(line)
//% end
 *
 * $(plan)
 * $(floor)
 */
//% vocabulary()

enum {
  DK = $(dk),
  DV = $(dv),
  DV_TILE = $(dv_tile), /* value channels of a block */
  SPLITS = DV / DV_TILE, /* blocks a head */
  CHUNK = $(chunk), /* tokens a step */
  STAGES = $(stages), /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
//% if token then
  GATE_WARP = WARPS == 8 ? 4 : 0, /* the warp with the least of P to compute */
//% end

  /* elements of one chunk's tiles; byte offsets in shared memory */
  QK_TILE = CHUNK * DK,
  V_TILE = CHUNK * DV_TILE,
  SMEM_Q = 0,
  SMEM_K = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
//% local last = "SMEM_V"
//% for _, x in ipairs(tiles) do
  SMEM_$(x.field) = $(last) + 2 * STAGES * V_TILE,
//% last = "SMEM_" .. x.field
//% end
  SMEM_P = $(last) + 2 * STAGES * V_TILE,
  SMEM_O = SMEM_P + 2 * CHUNK * CHUNK,
//% if token then
  SMEM_TABLE = SMEM_O + 2 * V_TILE,

  /* a chunk's token table, in floats */
//% if decay then
  SUM = $(row()), /* b_i */
  FROM_START = $(row()), /* 2^b_i */
  TO_END = $(row()), /* 2^(b_last - b_i)$(write and ", times the write weight" or "") */
//% end
//% if write then
  WRITE = $(row()), /* the weight of k_i v_i' */
//% end
//% if read then
  READ = $(row()), /* the weight of q_i */
//% end
//% if decay then
  WHOLE = $(row()), /* 2^b_last, one number */
  TABLE = WHOLE + 16,
//% else
  TABLE = $(row()),
//% end
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_O + 2 * V_TILE
//% end
};

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct scan_args {
  i64 B, T, H;
//% for _, x in ipairs(arrays) do
  struct { $(x.type) *at; i64 batch, token, head, heads; } $(x.field); /* $(x.comment) */
//% end
} scan_args;

/* Element offset of 16-byte piece `piece` of row `row` in a tile of `columns`; the exclusive or
 * spreads the eight rows of an ldmatrix over all banks. Sixteen columns on, the offset is
 * right(offset, 1); sixteen rows down it is offset + 16 * columns. */
TILE_FN int swizzle(int columns, int row, int piece) {
//% if dv_tile == 32 then
  const int turn = columns == 32 ? (row >> 1) & 3 : row & 7; /* two rows of 32 share 128 bytes */
  return row * columns + ((piece ^ turn) << 3);
//% else
  return row * columns + ((piece ^ (row & 7)) << 3);
//% end
}

TILE_FN int right(int offset, int blocks) { return offset ^ (16 * blocks); }

/* rows of the chunk that starts at token `first`: CHUNK, or fewer at the sequence's end */
TILE_FN int chunk_rows(i64 T, i64 first) { return T - first < CHUNK ? (int)(T - first) : CHUNK; }

/* A tile moves in 16-byte pieces, PIECES = columns / 8 to a row: thread t takes piece t % PIECES of
 * rows t / PIECES + i * THREADS / PIECES. This is the element offset of its first one. */
TILE_FN i64 first_piece(int columns, i64 stride) {
  return tile_tid() / (columns / 8) * stride + tile_tid() % (columns / 8) * 8;
}

/* starts the copy of a chunk; rows from `rows` on are zeroed, not read */
TILE_FN void load_tile($(element) *restrict dst, const $(element) *restrict src, int columns,
                       i64 offset, i64 stride, int rows) {
  const int pieces = columns / 8, piece = tile_tid() % pieces, first = tile_tid() / pieces;
  TILE_UNROLL
  for (int i = 0; i < CHUNK * pieces / THREADS; i++) {
    const int row = first + i * (THREADS / pieces), inside = row < rows;
    const i64 at = offset + i * (THREADS / pieces) * stride;
    cp_async_16(dst + swizzle(columns, row, piece), src + (inside ? at : 0), inside ? 16 : 0);
  }
}

/* writes a chunk's output, `rows` rows */
TILE_FN void store_tile($(element) *restrict dst, const $(element) *restrict src, i64 offset,
                        i64 stride, int rows) {
  const int pieces = DV_TILE / 8, piece = tile_tid() % pieces, first = tile_tid() / pieces;
  TILE_UNROLL
  for (int i = 0; i < CHUNK * pieces / THREADS; i++) {
    const int row = first + i * (THREADS / pieces);
    const i64 at = offset + i * (THREADS / pieces) * stride;
    if (row < rows) copy_16(dst + at, src + swizzle(DV_TILE, row, piece));
  }
}

TILE_FN void scale4(float *x, float low, float high) {
  x[0] *= low;
  x[1] *= low;
  x[2] *= high;
  x[3] *= high;
}
//% if per_head[1] then

/* What the spec's expressions read once a head. */
typedef struct head_values {
//% for _, x in ipairs(per_head) do
  float $(x.field);
//% end
} head_values;
//% end
//% if inputs[1] then

/* What the spec's expressions read once a token. */
typedef struct gate_values {
//% for _, x in ipairs(inputs) do
  float $(x.field);
//% end
} gate_values;

/* of token t; zeros past the sequence's end */
//% local pointers = {}
//% for i, x in ipairs(inputs) do
//%   pointers[i] = "const " .. (x.fp32 and "float" or element) .. " *" .. x.field
//% end
TILE_FN gate_values load_gate(const scan_args *a, $(join(unpack(pointers))), i64 t) {
  gate_values gate;
  const int inside = t < a->T;
//% for _, x in ipairs(inputs) do
//% if x.fp32 then
  gate.$(x.field) = inside ? $(x.field)[t * a->$(x.field).token] : 0.0f;
//% else
  gate.$(x.field) = inside ? $(kind)lo_f32((u32)$(x.field)[t * a->$(x.field).token]) : 0.0f;
//% end
//% end
  return gate;
}
//% end
//% if decay then

/* log2 of one token's decay factor, $(decay.text).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them: sums of it
 * stay small enough for exact differences. */
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
TILE_FN float log2_decay($(parameters(decay))) {
//% for _, s in ipairs(decay.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, decay.line)
  const float x = LOG2_E * $(decay.atom and decay.value or "(" .. decay.value .. ")");
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}
//% end
//% for _, f in ipairs { { write, "write_weight", "k and v" }, { read, "read_weight", "q" } } do
//% if f[1] then

/* what the spec multiplies $(f[3]) of a token by */
TILE_FN float $(f[2])($(parameters(f[1]))) {
//% for _, s in ipairs(f[1].steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, f[1].line)
  return $(f[1].value);
}
//% end
//% end
//% if output then

/* a channel of the output, from that of q' S and of the inputs */
//% local inputs_of_output = each(channels, "const float %")
//% if inputs_of_output == "" then inputs_of_output = false end
//% local output_per_head = output.per_head and "const head_values per_head"
TILE_FN float output_value(
    $(join(output_per_head, "const float o", inputs_of_output))) {
//% for _, s in ipairs(output.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, output.line)
  return $(output.value);
}
//% end
//% if token then

/* one warp: the token table of a chunk; t is this lane's first token of two */
TILE_FN void token_table($(table_parameters),
                         i64 t, i64 T) {
  const int lane = tile_lane(), inside0 = t < T, inside1 = t + 1 < T;
//% if write then
  const float w0 = inside0 ? write_weight($(call(write, 0))) : 0.0f;
  const float w1 = inside1 ? write_weight($(call(write, 1))) : 0.0f;
  st_f32x2(table + WRITE + 2 * lane, w0, w1);
//% end
//% if read then
  const float r0 = inside0 ? read_weight($(call(read, 0))) : 0.0f;
  const float r1 = inside1 ? read_weight($(call(read, 1))) : 0.0f;
  st_f32x2(table + READ + 2 * lane, r0, r1);
//% end
//% if decay then
  const float x0 = inside0 ? $(log2_of(0)) : 0.0f, x1 = inside1 ? $(log2_of(1)) : 0.0f;
  float sum = x0 + x1;
  TILE_UNROLL
  for (int distance = 1; distance < 32; distance *= 2) {
    const float below = warp_shuffle_up_f32(sum, distance);
    if (lane >= distance) sum += below;
  }
  const float last = warp_shuffle_idx_f32(sum, 31), b0 = sum - x1, b1 = sum;
  st_f32x2(table + SUM + 2 * lane, b0, b1);
  st_f32x2(table + FROM_START + 2 * lane, tile_exp2(b0), tile_exp2(b1));
//% local w = write and { " * w0", " * w1" } or { "", "" }
  st_f32x2(table + TO_END + 2 * lane, tile_exp2(last - b0)$(w[1]), tile_exp2(last - b1)$(w[2]));
  if (lane == 0) table[WHOLE] = tile_exp2(last);
//% end
}
//% end

TILE_KERNEL($(entry), scan_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM($(element), sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][DK] */
  TILE_SMEM($(element), sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM($(element), sV, SMEM_V, STAGES * V_TILE);
//% for _, x in ipairs(tiles) do
  TILE_SMEM($(element), $(x.tile), SMEM_$(x.field), STAGES * V_TILE);
//% end
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * CHUNK);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end

  const int lane = tile_lane(), warp = tile_warp();
  const int frag_row = lane >> 2, frag_col = 2 * (lane & 3); /* of an mma accumulator */
  /* this lane's row and piece of an ldmatrix: A operands; B stored [n][k]; either one stored
   * transposed */
  const int a_row = lane & 15, a_piece = lane >> 4;
  const int b_row = (lane & 7) + ((lane >> 4) << 3), b_piece = (lane >> 3) & 1;
  const int t_row = lane & 15, t_piece = lane >> 4;
  const int p_a = swizzle(CHUNK, a_row, a_piece);

  const i64 T = a.T;
  const int chunks = (int)((T + CHUNK - 1) / CHUNK), H = (int)a.H, block = (int)tile_block();
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
  /* this thread's place in the next chunk to load and to store */
  i64 q_at = batch * a.q.batch + head * a.q.heads / H * a.q.head + first_piece(DK, a.q.token);
  i64 k_at = batch * a.k.batch + head * a.k.heads / H * a.k.head + first_piece(DK, a.k.token);
  i64 v_at = batch * a.v.batch + head * a.v.heads / H * a.v.head + first_piece(DV_TILE, a.v.token);
  i64 o_at = batch * a.o.batch + head * a.o.head + first_piece(DV_TILE, a.o.token);
  v_at += dv0;
  o_at += dv0;
//% for _, x in ipairs(tiles) do
//% local f = x.field
  i64 at_$(f) = batch * a.$(f).batch + head * a.$(f).heads / H * a.$(f).head +
      first_piece(DV_TILE, a.$(f).token) + dv0;
//% end
//% if per_head[1] then
  head_values per_head;
//% for _, x in ipairs(per_head) do
//% if x.of then
  per_head.$(x.field) = (float)$(x.of);
//% else
  per_head.$(x.field) = a.$(x.field).at[head * a.$(x.field).heads / H * a.$(x.field).head];
//% end
//% end
//% end
//% if scale then
//% for _, s in ipairs(scale.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, scale.line)
  const float scale = $(scale.value);
//% end

  /* rows 16 warp .. 16 warp + 15 of S' (dv), all DK columns, as mma accumulators */
  float state[DK / 8][4] = {{0}};
  if (a.h0.at) {
    const i64 h0_head = head * a.h0.heads / H * a.h0.head;
    const float *h0 = a.h0.at + batch * a.h0.batch + h0_head + dv0 + 16 * warp;
    TILE_UNROLL
    for (int n = 0; n < DK / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++)
        state[n][e] = h0[(8 * n + frag_col + (e & 1)) * a.h0.token + frag_row + 8 * (e >> 1)];
  }

  for (int i = 0; i < STAGES - 1; i++) {
    if (i * CHUNK < T) {
      const int rows = chunk_rows(T, i * CHUNK);
      load_tile(sQ + i * QK_TILE, a.q.at, DK, q_at, a.q.token, rows);
      load_tile(sK + i * QK_TILE, a.k.at, DK, k_at, a.k.token, rows);
      load_tile(sV + i * V_TILE, a.v.at, DV_TILE, v_at, a.v.token, rows);
//% for _, x in ipairs(tiles) do
//% local f = x.field
      load_tile($(x.tile) + i * V_TILE, a.$(f).at, DV_TILE, at_$(f), a.$(f).token, rows);
      at_$(f) += CHUNK * a.$(f).token;
//% end
      q_at += CHUNK * a.q.token;
      k_at += CHUNK * a.k.token;
      v_at += CHUNK * a.v.token;
    }
    cp_async_commit();
  }
//% if inputs[1] then
//% for _, x in ipairs(inputs) do
  const $(x.fp32 and "float" or element) *$(x.field) = a.$(x.field).at +
      batch * a.$(x.field).batch + head * a.$(x.field).heads / H * a.$(x.field).head;
//% end
  gate_values gate0 = {0}, gate1 = {0}; /* GATE_WARP: of its two tokens in the next chunk */
//% end
//% if constant then
  const float log2_factor = log2_decay($(call(decay, 0))); /* the same for every token */
//% end
//% if token then
  if (warp == GATE_WARP) {
    const i64 t = 2 * lane;
//% if inputs[1] then
    gate0 = load_gate(&a, $(each(inputs, "%")), t);
    gate1 = load_gate(&a, $(each(inputs, "%")), t + 1);
//% end
    token_table(sTable, $(table_arguments));
//% if inputs[1] then
    gate0 = load_gate(&a, $(each(inputs, "%")), t + CHUNK);
    gate1 = load_gate(&a, $(each(inputs, "%")), t + CHUNK + 1);
//% end
  }
//% end

  int stage = 0;
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK;
    const int q_a = stage * QK_TILE + swizzle(DK, a_row, a_piece);
    const int k_b = stage * QK_TILE + swizzle(DK, b_row, b_piece);
    const int k_t = stage * QK_TILE + swizzle(DK, t_row, t_piece);
    const int v_t = stage * V_TILE + swizzle(DV_TILE, t_row, 2 * warp + t_piece);
//% if token then
    const float *table = sTable + (n & 1) * TABLE;
//% end

    cp_async_wait(STAGES - 2);
    barrier_sync(); /* chunk n is in shared memory; every warp is done with chunk n - 1 */
    {
      const i64 next = t0 + (STAGES - 1) * CHUNK;
      if (next < T) {
        const int rows = chunk_rows(T, next), free = stage == 0 ? STAGES - 1 : stage - 1;
        load_tile(sQ + free * QK_TILE, a.q.at, DK, q_at, a.q.token, rows);
        load_tile(sK + free * QK_TILE, a.k.at, DK, k_at, a.k.token, rows);
        load_tile(sV + free * V_TILE, a.v.at, DV_TILE, v_at, a.v.token, rows);
//% for _, x in ipairs(tiles) do
//% local f = x.field
        load_tile($(x.tile) + free * V_TILE, a.$(f).at, DV_TILE, at_$(f), a.$(f).token, rows);
        at_$(f) += CHUNK * a.$(f).token;
//% end
        q_at += CHUNK * a.q.token;
        k_at += CHUNK * a.k.token;
        v_at += CHUNK * a.v.token;
      }
      cp_async_commit();
    }
    if (n > 0) {
      store_tile(a.o.at, sO, o_at, a.o.token, CHUNK);
      o_at += CHUNK * a.o.token;
    }
//% if token then
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + 2 * lane;
      token_table(sTable + ((n + 1) & 1) * TABLE, $(table_arguments));
//% if inputs[1] then
      gate0 = load_gate(&a, $(each(inputs, "%")), t + CHUNK); /* for the chunk after it */
      gate1 = load_gate(&a, $(each(inputs, "%")), t + CHUNK + 1);
//% end
    }
//% end

    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
    TILE_UNROLL
    for (int block = 0; block < 8 / WARPS; block++) {
      const int unit = warp + block * WARPS;
      const int row_block = unit & 3, col_block = 2 * (unit >> 2); /* in units of 16 */
      if (col_block <= row_block) {
        float p[4][4] = {{0}};
        TILE_UNROLL
        for (int kb = 0; kb < DK / 16; kb++) {
          u32 aq[4], bk[4];
          ldmatrix_x4(aq, sQ + right(q_a, kb) + 16 * row_block * DK);
          ldmatrix_x4(bk, sK + right(k_b, kb) + 16 * col_block * DK);
          mma_m16n8k16_$(kind)(p[0], aq, bk);
          mma_m16n8k16_$(kind)(p[1], aq, bk + 2);
          if (col_block < row_block) {
            ldmatrix_x4(bk, sK + right(k_b, kb) + 16 * (col_block + 1) * DK);
            mma_m16n8k16_$(kind)(p[2], aq, bk);
            mma_m16n8k16_$(kind)(p[3], aq, bk + 2);
          }
        }
        const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
//% if decay then
        const float b0 = table[SUM + i0], b1 = table[SUM + i1];
//% end
        TILE_UNROLL
        for (int nb = 0; nb < 4; nb++) {
          const int j = 16 * col_block + 8 * nb + frag_col;
//% if write then
          const tile_f2 w = ld_f32x2(table + WRITE + j);
          p[nb][0] *= w.x;
          p[nb][1] *= w.y;
          p[nb][2] *= w.x;
          p[nb][3] *= w.y;
//% end
//% if decay then
          const tile_f2 b = ld_f32x2(table + SUM + j);
          /* by select: 2^x overflows above the diagonal */
          p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2(b0 - b.x) : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2(b0 - b.y) : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2(b1 - b.x) : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2(b1 - b.y) : 0.0f;
//% else
          p[nb][0] = j <= i0 ? p[nb][0] : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] : 0.0f;
//% end
          $(element) *row = sP + swizzle(CHUNK, i0, 2 * col_block + nb) + frag_col;
          st_u32(row, pack_$(kind)x2(p[nb][0], p[nb][1]));
          st_u32(row + 8 * CHUNK, pack_$(kind)x2(p[nb][2], p[nb][3]));
        }
      }
    }

    /* O = Q S: the accumulators of S' are, rounded, the B fragments of S */
    float out[4][2][4] = {{{0}}};
    TILE_UNROLL
    for (int kb = 0; kb < DK / 16; kb++) {
      const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
      const u32 lower[2] = {pack_$(kind)x2(s0[0], s0[1]), pack_$(kind)x2(s1[0], s1[1])};
      const u32 upper[2] = {pack_$(kind)x2(s0[2], s0[3]), pack_$(kind)x2(s1[2], s1[3])};
      TILE_UNROLL
      for (int mb = 0; mb < 4; mb++) {
        u32 aq[4];
        ldmatrix_x4(aq, sQ + right(q_a, kb) + 16 * mb * DK);
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
        mma_m16n8k16_$(kind)(out[mb][1], aq, upper);
      }
    }
//% if decay then
    TILE_UNROLL
    for (int mb = 0; mb < 4; mb++) {
      const float *from_start = table + FROM_START + 16 * mb + frag_row;
      const float e0 = from_start[0], e1 = from_start[8];
      scale4(out[mb][0], e0, e1);
      scale4(out[mb][1], e0, e1);
    }
//% end

    /* S' += V' K; the warp's 16 columns of V, transposed, are the A operand */
//% if decay then
    const float whole = table[WHOLE];
    TILE_UNROLL
    for (int nb = 0; nb < DK / 8; nb++) scale4(state[nb], whole, whole);
//% end
    TILE_UNROLL
    for (int jb = 0; jb < 4; jb++) {
      u32 vf[4];
      ldmatrix_x4_trans(vf, sV + v_t + 16 * jb * DV_TILE);
//% if decay or write then
      const float *weight = table + $(decay and "TO_END" or "WRITE") + 16 * jb + frag_col;
      const tile_f2 d0 = ld_f32x2(weight), d1 = ld_f32x2(weight + 8);
      u32 vt[4];
      vt[0] = pack_$(kind)x2($(kind)lo_f32(vf[0]) * d0.x, $(kind)hi_f32(vf[0]) * d0.y);
      vt[1] = pack_$(kind)x2($(kind)lo_f32(vf[2]) * d0.x, $(kind)hi_f32(vf[2]) * d0.y);
      vt[2] = pack_$(kind)x2($(kind)lo_f32(vf[1]) * d1.x, $(kind)hi_f32(vf[1]) * d1.y);
      vt[3] = pack_$(kind)x2($(kind)lo_f32(vf[3]) * d1.x, $(kind)hi_f32(vf[3]) * d1.y);
//% else
      const u32 vt[4] = {vf[0], vf[2], vf[1], vf[3]};
//% end
      TILE_UNROLL
      for (int nb = 0; nb < DK / 16; nb++) {
        u32 bk[4];
        ldmatrix_x4_trans(bk, sK + right(k_t, nb) + 16 * jb * DK);
        mma_m16n8k16_$(kind)(state[2 * nb], vt, bk);
        mma_m16n8k16_$(kind)(state[2 * nb + 1], vt, bk + 2);
      }
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
    TILE_UNROLL
    for (int jb = 0; jb < 4; jb++) { /* O += P V; here the columns of V are the B operand */
      u32 vf[4];
      ldmatrix_x4_trans(vf, sV + v_t + 16 * jb * DV_TILE);
      TILE_UNROLL
      for (int mb = jb; mb < 4; mb++) {
        u32 ap[4];
        ldmatrix_x4(ap, sP + right(p_a, jb) + 16 * mb * CHUNK);
        mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
        mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      }
    }
    TILE_UNROLL
    for (int mb = 0; mb < 4; mb++) {
//% if read then
      const float *read = table + READ + 16 * mb + frag_row;
      const float r0 = read[0]$(scaled), r1 = read[8]$(scaled);
//% end
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
//% if read then
        scale4(out[mb][nb], r0, r1);
//% elseif scale then
        scale4(out[mb][nb], scale, scale);
//% end
        const int at = swizzle(DV_TILE, 16 * mb + frag_row, 2 * warp + nb) + frag_col;
//% if output then
//% for _, x in ipairs(channels) do
        const u32 $(x.field)0 = ld_u32($(x.tile) + stage * V_TILE + at);
        const u32 $(x.field)1 = ld_u32($(x.tile) + stage * V_TILE + at + 8 * DV_TILE);
//% end
        float *y = out[mb][nb];
        y[0] = output_value($(output_call("y[0]", "lo", 0)));
        y[1] = output_value($(output_call("y[1]", "hi", 0)));
        y[2] = output_value($(output_call("y[2]", "lo", 1)));
        y[3] = output_value($(output_call("y[3]", "hi", 1)));
//% end
        $(element) *row = sO + at;
        st_u32(row, pack_$(kind)x2(out[mb][nb][0], out[mb][nb][1]));
        st_u32(row + 8 * DV_TILE, pack_$(kind)x2(out[mb][nb][2], out[mb][nb][3]));
      }
    }
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  store_tile(a.o.at, sO, o_at, a.o.token, chunk_rows(T, (i64)(chunks - 1) * CHUNK));
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head + dv0 + 16 * warp;
    TILE_UNROLL
    for (int n = 0; n < DK / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++)
        ht[(8 * n + frag_col + (e & 1)) * a.ht.token + frag_row + 8 * (e >> 1)] = state[n][e];
  }
}
