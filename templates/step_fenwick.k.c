//% -- SPDX-License-Identifier: MIT
//% -- step_fenwick.k.c - the decode step under a Fenwick mask: a few tokens of each sequence, its
//% -- states updated in place.
//% --
//% -- After p tokens a sequence has a state for each bit of p that is set: slot i holds a block of 2^i
//% -- tokens, moved on by every token since. A token reads each with the weight of its level, acts on
//% -- each, and writes; where the position's lowest bits carry, their states become one.
//% --
//% --   p = 6 = 110      tokens 0-3, 4-5
//% --       7 = 111      tokens 0-3, 4-5, 6
//% --       8 = 1000     tokens 0-7
//% --
//% -- Tokens act on all states alike and states are only ever added, so that each goes through the
//% -- tokens of the call by itself, in registers: read once, and then written in place, or added to
//% -- those that it becomes one with, which are written once.
//% --
//% -- What the tokens of the call write is of rank one, w v', and is moved on as the vector w over dk:
//% -- a warp takes what one token wrote through the tokens behind it. pairs has how much of each v each
//% -- token reads.
//% --
//% -- In: what step.k.c takes, and weights, one value over levels. Out: one kernel.
//% token_number, deeper = "i", ""
//% include("templates/step_parts.k.c")
//% local key, query, reads_before
//% local value_decays = {} -- over dv: what a token wrote they move on, too
//% for i, op in ipairs(ops) do
//%   if op.writes then key = constant[op.value] end
//%   if op.kind == "read" then query, reads_before = constant[op.value], i < #ops end
//%   if op.kind == "scale_dv" then value_decays[#value_decays + 1] = op.value end
//% end
//% local passes = passes_over { columns = 4, writes = false }
//% local over_states = { count = "LANE_ROWS", element = "s[n][c]", columns = 4,
//%   row = function(name) return "token[" .. name .. " + ROW_LANES * n + row_lane]" end,
//%   sum = function(x) return "sum_over_rows(" .. x .. ")" end }
//% local function write_row(name)
//%   local text = "token[" .. name .. " + 32 * n + lane]"
//%   return dk_rows % 32 == 0 and text or "32 * n + lane < DK_ROWS ? " .. text .. " : 0.0f"
//% end
//% local passes_of_write = passes_over { columns = 1, writes = false }
//% local over_write = { count = "WRITE_WORDS", element = "w[n]", columns = 1, row = write_row,
//%   sum = function(x) return x .. " = warp_sum(" .. x .. ")" end }
//% local function print_value_decays()
//% local declared = {}
//% for _, x in ipairs(value_decays) do
//% if not declared[x] then
      float $(x)[4];
      load_channels($(x), token + $(constant[x]) + column);
//% end
//% declared[x] = true
      TILE_UNROLL
      for (int c = 0; c < 4; c++) v[c] = row_lane < i ? forget(v[c], $(x)[c]) : v[c];
//% end
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
//% print_sizes()
  WRITE_WORDS = (DK_ROWS + 31) / 32, /* a lane's rows of what a token wrote */
  PAIRS_BYTE = 4 * TOKENS * TOKEN,
  WRITES_BYTE = PAIRS_BYTE + 4 * TOKENS * TOKENS,
  MERGED_BYTE = WRITES_BYTE + 4 * TOKENS * DK_ROWS,
  SMEM_BYTES = MERGED_BYTE + 4 * DK_ROWS * DV_TILE
};
//% print_functions()

/* rows lane, lane + 32, ... */
TILE_FN void store_write(float *to, const float *w, int lane) {
  TILE_UNROLL
  for (int n = 0; n < WRITE_WORDS; n++)
//% if dk_rows % 32 == 0 then
    to[32 * n + lane] = w[n];
//% else
    if (32 * n + lane < DK_ROWS) to[32 * n + lane] = w[n];
//% end
}

/* Where the block of 2^slot tokens begins that a slot holds, after `position` tokens. */
TILE_FN int block_start(int position, int slot) { return position >> (slot + 1) << (slot + 1); }

/* 0 of 0, 1 of 1, 2 of 2 and 3, ...: of x ^ y the level at which the token at x reads that at y. */
TILE_FN int bit_length(int x) { return 32 - tile_clz((u32)x); }

/* of a set of slots that is not empty */
TILE_FN int lowest_slot(u32 set) { return bit_length((int)(set & (0u - set))) - 1; }

TILE_KERNEL($(entry), op_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, tokens, 0, TOKENS * TOKEN);
  TILE_SMEM(float, pairs, PAIRS_BYTE, TOKENS * TOKENS); /* [reading token][written token] */
  TILE_SMEM(float, writes, WRITES_BYTE, TOKENS * DK_ROWS); /* w of each token after the last */
  TILE_SMEM(float, merged, MERGED_BYTE, DK_ROWS * DV_TILE); /* a sum of states; each lane its own */

//% print_place()
  const int levels = (int)a.L, slots = levels - 1;
  const i64 position = entry < 0 ? 0 : a.position.at[batch * a.position.batch];

  if (entry < 0 || position < 0 || position >> slots || (position + T) >> slots) {
    /* skipped; or there are not enough levels for these tokens, and their o is NaN */
    const float nothing = entry < 0 ? 0.0f : tile_nan();
    for (i64 t = warp; t < T; t += WARPS)
      for (int c = lane; c < channels; c += 32) o[t * a.o.token + c] = $(from_f32("nothing"));
  } else {
    float *states = a.state.at + entry * a.state.entry + head * a.state.head + first_element;
    float s[LANE_ROWS][4]; /* rows row_lane, row_lane + 8, ... of this lane's 4 columns */
    const int count = (int)T, begin = (int)position;
    const int accepted = (int)tokens_accepted(&a, batch), kept = accepted > 0 ? accepted : 0;
    const int end = begin + kept;
    /* the highest bit of the position that these tokens change, or -1 */
    const int carry = bit_length(begin ^ end) - 1;
    if (begin != 0) {
      const float *next = states + lowest_slot((u32)begin) * a.state.slot;
//% print_prefetch("      ", "next")
    }
//% print_per_head("    ")
//% print_pointers("    ")
//% print_token_values()

    /* what token i wrote, through the tokens behind it */
    for (int i = warp; i < count; i += WARPS) {
      const float *token = tokens + i * TOKEN;
      float w[WRITE_WORDS];
      TILE_UNROLL
      for (int n = 0; n < WRITE_WORDS; n++) w[n] = $(write_row(key));
//% if not reads_before then
      float own = 0.0f;
      TILE_UNROLL
      for (int n = 0; n < WRITE_WORDS; n++) own += w[n] * ($(write_row(query)));
      own = warp_sum(own);
      if (lane == 0) pairs[i * TOKENS + i] = token[WEIGHT] * own;
//% end
      if (i + 1 == kept) store_write(writes + i * DK_ROWS, w, lane);
      for (int j = i + 1; j < count; j++) {
        token = tokens + j * TOKEN;
        const int level = bit_length((begin + j) ^ (begin + i));
//% local declared = {}
//% for _, p in ipairs(passes_of_write) do print_pass("        ", p, over_write, declared) end
        if (lane == 0) pairs[j * TOKENS + i] = token[WEIGHT + level] * y;
        if (j + 1 == kept) store_write(writes + i * DK_ROWS, w, lane);
      }
    }
    barrier_sync(); /* pairs and writes are there */

    /* S' q of what these tokens wrote; a row lane has the v of a token */
    float v[4] = {0};
    if (row_lane < count) load_channels(v, tokens + row_lane * TOKEN + V + column);
    for (int i = 0; i < count; i++) {
      float *token = tokens + i * TOKEN;
//% if not reads_before then print_value_decays() end
      float y[4];
      TILE_UNROLL
      for (int c = 0; c < 4; c++)
        y[c] = row_lane $(reads_before and "<" or "<=") i ? pairs[i * TOKENS + row_lane] * v[c] : 0.0f;
      sum_over_rows(y);
      if (row_lane == 0) st_f32x4(token + Y + column, y[0], y[1], y[2], y[3]);
//% if reads_before then print_value_decays() end
//% if value_decays[1] then
      if (i + 1 == kept && row_lane <= i)
        st_f32x4(tokens + row_lane * TOKEN + V + column, v[0], v[1], v[2], v[3]);
//% end
    }
//% if value_decays[1] then
    warp_sync(); /* the v after the last token are there */
//% end

    /* the states before these tokens */
    for (u32 left = (u32)begin; left != 0; left &= left - 1) {
      const int slot = lowest_slot(left);
      float *state = states + slot * a.state.slot;
      const int start = block_start(begin, slot);
//% print_load("      ", "state")
      if ((left & (left - 1)) != 0) {
        const float *next = states + lowest_slot(left & (left - 1)) * a.state.slot;
//% print_prefetch("        ", "next")
      }
      for (int i = 0; i < count; i++) { /* the state through a token */
        float *token = tokens + i * TOKEN;
        const int level = bit_length((begin + i) ^ start);
//% local declared = {}
//% for _, p in ipairs(passes) do print_pass("        ", p, over_states, declared) end
        if (row_lane == 0) {
          float sum[4];
          load_channels(sum, token + Y + column);
          TILE_UNROLL
          for (int c = 0; c < 4; c++) sum[c] += token[WEIGHT + level] * y[c];
          st_f32x4(token + Y + column, sum[0], sum[1], sum[2], sum[3]);
        }
        if (i + 1 == kept && slot > carry) {
//% print_store("          ", "state")
        } else if (i + 1 == kept) {
          const int lowest = block_start(begin, slot - 1) == begin; /* no lower bit is set */
          TILE_UNROLL
          for (int n = 0; n < LANE_ROWS; n++) {
            float *to = merged + (n * THREADS + tile_tid()) * 4;
            float sum[4] = {0};
            if (!lowest) load_channels(sum, to);
            st_f32x4(to, sum[0] + s[n][0], sum[1] + s[n][1], sum[2] + s[n][2], sum[3] + s[n][3]);
          }
        }
      }
    }

    /* the states that end with one of these tokens: of the carry, and of lower slots */
    for (int slot = 0; slot <= carry; slot++) {
      if (!(end >> slot & 1)) continue;
      const int start = block_start(end, slot) - begin;
      const int merges = slot == carry && block_start(begin, slot - 1) != begin;
      TILE_UNROLL
      for (int n = 0; n < LANE_ROWS; n++) {
        TILE_UNROLL
        for (int c = 0; c < 4; c++) s[n][c] = 0.0f;
        if (merges) load_channels(s[n], merged + (n * THREADS + tile_tid()) * 4);
      }
      for (int i = start > 0 ? start : 0; i < start + (1 << slot); i++) {
        load_channels(v, tokens + i * TOKEN + V + column);
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++) {
          const float w = writes[i * DK_ROWS + ROW_LANES * n + row_lane];
          TILE_UNROLL
          for (int c = 0; c < 4; c++) s[n][c] += w * v[c];
        }
      }
      float *state = states + slot * a.state.slot;
//% print_store("      ", "state")
    }

//% print_outputs()
  }
}
