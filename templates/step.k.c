//% -- SPDX-License-Identifier: MIT
//% -- step.k.c - the decode step: a few tokens of each sequence, the state updated in place.
//% --
//% -- In: the plan's slots (gen/schedule_step_slots.c: scalars, rows, columns, outputs, ops, ...).
//% -- Out: one kernel. How a block lies over the state is step_parts.k.c; the operations of each
//% -- token run over the state in registers, in the passes of step_passes.k.c.
//% token_number, deeper = "first + i", "  "
//% include("templates/step_parts.k.c")
//% local passes = passes_over { columns = 4, writes = true }
//% local over = { count = "LANE_ROWS", element = "s[n][c]", columns = 4,
//%                row = function(name) return "token[" .. name .. " + ROW_LANES * n + row_lane]" end,
//%                sum = function(x) return "sum_over_rows(" .. x .. ")" end }
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
  SMEM_BYTES = 4 * TOKENS * TOKEN
};
//% print_functions()

TILE_KERNEL($(entry), op_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, tokens, 0, TOKENS * TOKEN);

//% print_place()

  if (slot < 0) {
    for (i64 t = warp; t < T; t += WARPS)
      for (int c = lane; c < channels; c += 32) o[t * a.o.token + c] = $(from_f32("0.0f"));
  } else {
    float *state = a.state.at + slot * a.state.slot + head * a.state.head + first_element;
    float s[LANE_ROWS][4]; /* rows row_lane, row_lane + 8, ... of this lane's 4 columns */
//% print_load("    ", "state")

    const i64 accepted = tokens_accepted(&a, batch);
//% print_per_head("    ")
//% print_pointers("    ")
    for (i64 first = 0; first < T; first += TOKENS) {
      const int count = T - first < TOKENS ? (int)(T - first) : TOKENS;
//% print_token_values()

      for (int i = 0; i < count; i++) { /* the state through a token */
        float *token = tokens + i * TOKEN;
//% local declared = {}
//% for _, p in ipairs(passes) do print_pass("        ", p, over, declared) end
//% if passes.scale then
        TILE_UNROLL
        for (int c = 0; c < 4; c++) y[c] *= $(passes.scale);
//% end
        if (row_lane == 0) st_f32x4(token + Y + column, y[0], y[1], y[2], y[3]);

        const i64 t = first + i;
        if (a.states.at) {
          float *states = a.states.at + batch * a.states.batch + t * a.states.token +
                          head * a.states.head + first_element;
//% print_store("          ", "states")
        }
        if (t + 1 == accepted) {
//% print_store("          ", "state")
        }
      }

//% print_outputs()
    }
  }
}
