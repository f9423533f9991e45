//% -- SPDX-License-Identifier: MIT
//% -- step.k.c - the decode step: a few tokens of each sequence, the state updated in place.
//% --
//% -- In: the plan's slots (gen/schedule_step_slots.c: scalars, rows, columns, outputs, ops, ...).
//% -- Out: one kernel. How a block lies over the state is step_parts.k.c; the operations of each
//% -- token run over the state in registers, in the passes of step_passes.k.c.
//% token_number, deeper = "first + i", "  "
//% include("templates/step_parts.k.c")
//% -- Under a normaliser a lane has a fifth column, what S has for v = 1, of which every warp has all rows
//% -- and the first stores them.
//% local lane_columns = normaliser and 5 or 4
//% local passes = passes_over { columns = lane_columns, writes = true }
//% local function print_column_store(indent, at)
$(indent)if (warp == 0 && lane % COLUMN_LANES == 0) {
$(indent)  TILE_UNROLL
$(indent)  for (int n = 0; n < LANE_ROWS; n++)
$(indent)    $(dk_rows ~= dk and "if (ROW_LANES * n + row_lane < DK) " or "")$(at)[ROW_LANES * n + row_lane] = s[n][4];
$(indent)}
//% end
//% local over = { count = "LANE_ROWS", element = "s[n][c]", columns = lane_columns,
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
    float s[LANE_ROWS][$(lane_columns)]; /* rows row_lane, row_lane + 8, ... of this lane's $(lane_columns) columns */
//% print_load("    ", "state")
//% if normaliser then
    float *state_n = a.state_n.at + slot * a.state_n.slot + head * a.state_n.head;
    TILE_UNROLL
    for (int n = 0; n < LANE_ROWS; n++)
      s[n][4] = $(dk_rows ~= dk and "ROW_LANES * n + row_lane >= DK ? 0.0f : " or "")state_n[ROW_LANES * n + row_lane];
//% end

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
        for (int c = 0; c < $(lane_columns); c++) y[c] *= $(passes.scale);
//% end
//% if normaliser then
//% if normaliser.inputs[1] then
        const gate_values gate = load_gate(&a, $(each(inputs, "%")), first + i);
//% end
        const float divisor = $(code_call("normaliser", normaliser, function() return "y[4]" end));
        /* a row that sees nothing is 0, not 0/0 */
        const float factor = y[4] == 0.0f && divisor == 0.0f ? 0.0f : 1.0f / divisor;
        TILE_UNROLL
        for (int c = 0; c < 4; c++) y[c] *= factor;
//% end
        if (row_lane == 0) st_f32x4(token + Y + column, y[0], y[1], y[2], y[3]);

        const i64 t = first + i;
        if (a.states.at) {
          float *states = a.states.at + batch * a.states.batch + t * a.states.token +
                          head * a.states.head + first_element;
//% print_store("          ", "states")
        }
//% if normaliser then
        if (a.states_n.at) {
          float *states_n = a.states_n.at + batch * a.states_n.batch + t * a.states_n.token +
                            head * a.states_n.head;
//% print_column_store("          ", "states_n")
        }
//% end
        if (t + 1 == accepted) {
//% print_store("          ", "state")
//% if normaliser then print_column_store("          ", "state_n") end
        }
      }

//% print_outputs()
    }
  }
}
