//% -- SPDX-License-Identifier: MIT
//% -- step.k.c - the decode step: a few tokens of each sequence, the state updated in place.
//% --
//% -- In: the plan's slots (gen/schedule_step_slots.c: scalars, rows, columns, outputs, ops, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels). A warp holds 16
//% -- columns of the state: 4 lanes take 4 of them each, 8 rows at a time. So a sum over dk, S' x,
//% -- is one over a lane's rows and then over 8 lanes, and no warp waits for another.
//% --
//% -- The values of 8 tokens at a time are computed first, a warp a token, into shared memory. Then
//% -- the operations of each token run over the state in registers. Those that need no sum of each
//% -- other share a pass over the rows: Gated DeltaNet takes two,
//% --
//% --   S = a S, r = S' k        S = S + k (v - beta r)', y = S' q
//% local warps = dv_tile // 16
//% local dk_rows = (dk + 7) // 8 * 8
//% local ragged = dv % dv_tile ~= 0 or dv % 16 ~= 0
//% local constant = {} -- of a value in a token's record: "K"
//% for _, list in ipairs { rows, columns, scalars } do
//%   for _, x in ipairs(list) do constant[x.name] = x.name:upper() end
//% end
//% local output = outputs[1]
//% local literal = {} -- scalars that are numbers, which need no place
//% local stored = {} -- the others
//% for _, x in ipairs(scalars) do
//%   if not x.code.per_head and not x.code.inputs[1] then
//%     literal[x.name] = x.code.value
//%   else
//%     stored[#stored + 1] = x
//%   end
//% end
//% -- ---- passes over the state: what is declared before, read for a row, done for an element ----
//% local passes = {}
//% local function begin_pass()
//%   passes[#passes + 1] = { before = {}, rows = {}, body = {}, sums = {} }
//%   return passes[#passes]
//% end
//% local pass = begin_pass()
//% local function read_row(name)
//%   for _, x in ipairs(pass.rows) do if x == name then return end end
//%   pass.rows[#pass.rows + 1] = name
//% end
//% local function declare(line)
//%   for _, x in ipairs(pass.before) do if x == line and x ~= "TILE_UNROLL" then return end end
//%   pass.before[#pass.before + 1] = line
//% end
//% local function scalar(name)
//%   if literal[name] then return literal[name] end
//%   declare("const float " .. name .. " = token[" .. constant[name] .. "];")
//%   return name
//% end
//% local function column(name)
//%   declare("float " .. name .. "[4];")
//%   declare("load_channels(" .. name .. ", token + " .. constant[name] .. " + column);")
//% end
//% local function sum_text(op)
//%   local text = op.writes and "v[c]" or ""
//%   for _, x in ipairs(op.sum) do
//%     local sign = text == "" and (x.minus and "-" or "") or x.minus and " - " or " + "
//%     text = text .. sign .. (x.scalar and scalar(x.scalar) .. " * " or "") .. x.projection .. "[c]"
//%   end
//%   return text
//% end
//% local adds = 0
//% local operation = {}
//% function operation.scale(op) return "x = forget(x, " .. scalar(op.value) .. ");" end
//% function operation.scale_dk(op) read_row(op.value); return "x = forget(x, " .. op.value .. ");" end
//% function operation.scale_dv(op) column(op.value); return "x = forget(x, " .. op.value .. "[c]);" end
//% function operation.add(op)
//%   if op.writes then column("v") end
//%   read_row(op.value)
//%   if op.writes and #op.sum == 0 then return "x += " .. op.value .. " * v[c];" end
//%   local only = not op.writes and #op.sum == 1 and op.sum[1]
//%   if only and not only.scalar then
//%     return "x " .. (only.minus and "-" or "+") .. "= " .. op.value .. " * " .. only.projection .. "[c];"
//%   end
//%   local name = "u" .. adds
//%   local text = sum_text(op)
//%   adds = adds + 1
//%   declare("float " .. name .. "[4];")
//%   declare("TILE_UNROLL")
//%   declare("for (int c = 0; c < 4; c++) " .. name .. "[c] = " .. text .. ";")
//%   return "x += " .. op.value .. " * " .. name .. "[c];"
//% end
//% function operation.project(op)
//%   read_row(op.value)
//%   pass.sums[#pass.sums + 1] = op.into
//%   pass.sums[op.into] = true
//%   return op.into .. "[c] += " .. op.value .. " * x;"
//% end
//% local scaled -- what y is multiplied by, or nil
//% function operation.read(op)
//%   scaled = op.scalar and scalar(op.scalar)
//%   return operation.project(op)
//% end
//% for _, op in ipairs(ops) do
//%   for _, x in ipairs(op.sum or {}) do if pass.sums[x.projection] then pass = begin_pass() end end
//%   pass.body[#pass.body + 1] = operation[op.kind](op)
//% end
//% include("templates/args.k.c")
//% include("templates/vectors.k.c")
//% local function from_f32(text)
//%   return kind == "f32" and text or "(" .. element .. ")pack_" .. kind .. "x2(" .. text .. ", 0.0f)"
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
//% if dk_rows ~= dk then
  DK_ROWS = $(dk_rows), /* those past DK are zero */
//% else
  DK_ROWS = DK,
//% end
  DV = $(dv),
  DV_TILE = $(dv_tile), /* value channels of a block */
  SPLITS = $(splits), /* blocks a head */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  COLUMN_LANES = 4, /* of a warp, side by side, 4 channels each */
  ROW_LANES = 8,
  LANE_ROWS = DK_ROWS / ROW_LANES,
  TOKENS = 8, /* whose values are in shared memory at once */

  /* the values of a token, in floats */
//% local last = "0"
//% for _, x in ipairs(rows) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + DK_ROWS"
//% end
//% for _, x in ipairs(columns) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + DV_TILE"
//% end
  Y = $(last), /* S' q$(scaled and ", scaled" or "") */
//% last = "Y + DV_TILE"
//% for _, x in ipairs(stored) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + 1"
//% end
  TOKEN = ($(last) + 3) / 4 * 4,
  SMEM_BYTES = 4 * TOKENS * TOKEN
};
//% print_args()
//% print_load_gate()
//% for _, x in ipairs(stored) do

/* $(x.name): $(x.text) */
//% print_code(x.name .. "_value", x.code)
//% end
//% print_combine { rows, columns, outputs }
//% for _, list in ipairs { rows, columns, outputs } do
//% for _, x in ipairs(list) do print_vector(x) end
//% end

/* The slot of a sequence; -1: it has none, and is skipped. */
TILE_FN i64 slot_of(const op_args *a, i64 batch) {
  const i64 slot = a->state_index.at ? (i64)a->state_index.at[batch * a->state_index.batch] : batch;
  return slot >= 0 && slot < a->state.slots ? slot : -1;
}

/* After how many tokens the state is left in place: all, or those that the caller accepted. Below
 * 1: it stays as it is. */
TILE_FN i64 tokens_accepted(const op_args *a, i64 batch) {
  i64 n = a->T;
  if (a->accepted.at) n = (i64)a->accepted.at[batch * a->accepted.batch];
  return n < a->T ? n : a->T;
}

TILE_FN void load_channels(float *ret, const float *from) {
  const tile_f4 x = ld_f32x4(from);
  ret[0] = x.x;
  ret[1] = x.y;
  ret[2] = x.z;
  ret[3] = x.w;
}

/* four channels of a state in memory, $(state_piece) bytes at once */
//% if state_piece == 16 then
TILE_FN void load_state(float *ret, const float *from) { load_channels(ret, from); }

TILE_FN void store_state(float *to, const float *x) { st_f32x4(to, x[0], x[1], x[2], x[3]); }
//% elseif state_piece == 8 then
TILE_FN void load_state(float *ret, const float *from) {
  const tile_f2 low = ld_f32x2(from), high = ld_f32x2(from + 2);
  ret[0] = low.x;
  ret[1] = low.y;
  ret[2] = high.x;
  ret[3] = high.y;
}

TILE_FN void store_state(float *to, const float *x) {
  st_f32x2(to, x[0], x[1]);
  st_f32x2(to + 2, x[2], x[3]);
}
//% else
TILE_FN void load_state(float *ret, const float *from) {
  TILE_UNROLL
  for (int c = 0; c < 4; c++) ret[c] = from[c];
}

TILE_FN void store_state(float *to, const float *x) {
  TILE_UNROLL
  for (int c = 0; c < 4; c++) to[c] = x[c];
}
//% end

/* A factor of 0 forgets infinities and NaN, too. */
TILE_FN float forget(float x, float factor) { return factor == 0.0f ? 0.0f : factor * x; }

/* sums of four channels over the lanes that hold their rows; every lane has them */
TILE_FN void sum_over_rows(float *x) {
  TILE_UNROLL
  for (int mask = COLUMN_LANES; mask < 32; mask *= 2)
    TILE_UNROLL
    for (int c = 0; c < 4; c++) {
      const float other = warp_shuffle_xor_f32(x[c], mask);
      x[c] += other;
    }
}
//% local function print_store(indent, at)
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < LANE_ROWS; n++) {
//% local conditions = join(dk_rows ~= dk and "ROW_LANES * n + row_lane < DK", ragged and "mine"):gsub(", ", " && ")
//% if conditions == "" then
$(indent)  store_state($(at) + n * (ROW_LANES * DV), s[n]);
//% else
$(indent)  if ($(conditions)) store_state($(at) + n * (ROW_LANES * DV), s[n]);
//% end
$(indent)}
//% end
//% -- a value over channels of every token, into shared memory; it begins with another warp each time
//% local turn = 0
//% local function print_values(x, span)
//% local n = turn % warps
//% turn = turn + 1
//% local begin = n == 0 and "warp" or "(warp + " .. warps - n .. ") % WARPS"
      for (int i = $(begin); i < count; i += WARPS) {
//% print_channels(x, span, function(value)
//% if span.condition then
          if ($(span.condition))
            tokens[i * TOKEN + $(constant[x.name]) + c$(span.offset)] =
                $(value);
//% else
          tokens[i * TOKEN + $(constant[x.name]) + c] =
              $(value);
//% end
//% end)
      }
//% end
//% -- channels as print_channels takes them
//% local of_dk = { first = "", count = dk_rows, inside = dk % 32 ~= 0 and "c < DK",
//%                 condition = dk_rows % 32 ~= 0 and "c < DK_ROWS", offset = "" }
//% local of_tile = { first = "dv0 + ", count = dv_tile,
//%                   inside = (ragged or dv_tile % 32 ~= 0) and "c < channels",
//%                   condition = dv_tile % 32 ~= 0 and "c < DV_TILE", offset = "" }
//% -- all of dv, for sums over it, of which this block keeps its part
//% local of_dv = { first = "", count = dv, inside = dv % 32 ~= 0 and "c < DV",
//%                 condition = "c >= dv0 && c < dv0 + channels", offset = " - dv0" }
//% local function of_columns(x) return splits > 1 and #x.row.reductions > 0 and of_dv or of_tile end

TILE_KERNEL($(entry), op_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM(float, tokens, 0, TOKENS * TOKEN);

  const int lane = tile_lane(), warp = tile_warp();
  const int row_lane = lane / COLUMN_LANES, column = 16 * warp + lane % COLUMN_LANES * 4;
  const int H = (int)a.H, block = (int)tile_block();
//% if splits > 1 then
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
//% else
  const int batch = block / H, head = block % H, dv0 = 0;
//% end
  const int channels = $(dv % dv_tile == 0 and "DV_TILE" or "DV - dv0 < DV_TILE ? DV - dv0 : DV_TILE");
//% if ragged then
  const int mine = column < channels; /* other lanes repeat the first columns and store nothing */
  const int first_element = row_lane * DV + dv0 + (mine ? column : 0); /* of a state: the lane's first */
//% else
  const int first_element = row_lane * DV + dv0 + column; /* of a state: the lane's first */
//% end
  const i64 T = a.T, slot = slot_of(&a, batch);
  $(element) *o = a.o.at + batch * a.o.batch + head * a.o.head + dv0;

  if (slot < 0) {
    for (i64 t = warp; t < T; t += WARPS)
      for (int c = lane; c < channels; c += 32) o[t * a.o.token + c] = $(from_f32("0.0f"));
  } else {
    float *state = a.state.at + slot * a.state.slot + head * a.state.head + first_element;
    float s[LANE_ROWS][4]; /* rows row_lane, row_lane + 8, ... of this lane's 4 columns */
    TILE_UNROLL
    for (int n = 0; n < LANE_ROWS; n++) {
//% if dk_rows ~= dk then
      const int inside = ROW_LANES * n + row_lane < DK;
      load_state(s[n], state + (inside ? n * (ROW_LANES * DV) : 0));
      TILE_UNROLL
      for (int c = 0; c < 4; c++) s[n][c] = inside ? s[n][c] : 0.0f;
//% else
      load_state(s[n], state + n * (ROW_LANES * DV));
//% end
    }

    const i64 accepted = tokens_accepted(&a, batch);
//% print_per_head("    ")
//% print_pointers("    ")
    for (i64 first = 0; first < T; first += TOKENS) {
      const int count = T - first < TOKENS ? (int)(T - first) : TOKENS;
      /* the values over channels: a warp takes a token, and each begins with another warp */
//% for _, x in ipairs(rows) do print_values(x, of_dk) end
//% for _, x in ipairs(columns) do print_values(x, of_columns(x)) end
//% if stored[1] then
      if (tile_tid() >= THREADS - TOKENS && THREADS - 1 - tile_tid() < count) {
        const int i = THREADS - 1 - tile_tid();
//% if inputs[1] then
        const gate_values gate = load_gate(&a, $(each(inputs, "%")), first + i);
//% end
//% for _, x in ipairs(stored) do
        tokens[i * TOKEN + $(constant[x.name])] = $(code_call(x.name .. "_value", x.code));
//% end
      }
//% end
      barrier_sync(); /* the values of these tokens are there */

      for (int i = 0; i < count; i++) { /* the state through a token */
        float *token = tokens + i * TOKEN;
//% local declared = {}
//% for _, p in ipairs(passes) do
//% for _, line in ipairs(p.before) do
//% if line == "TILE_UNROLL" or not declared[line] then
        $(line)
//% declared[line] = true
//% end
//% end
//% for _, x in ipairs(p.sums) do
        float $(x)[4] = {0};
//% end
        TILE_UNROLL
        for (int n = 0; n < LANE_ROWS; n++) {
//% for _, x in ipairs(p.rows) do
          const float $(x) = token[$(constant[x]) + ROW_LANES * n + row_lane];
//% end
          TILE_UNROLL
          for (int c = 0; c < 4; c++) {
            float x = s[n][c];
//% for _, line in ipairs(p.body) do
            $(line)
//% end
            s[n][c] = x;
          }
        }
//% for _, x in ipairs(p.sums) do
        sum_over_rows($(x));
//% end
//% end
//% if scaled then
        TILE_UNROLL
        for (int c = 0; c < 4; c++) y[c] *= $(scaled);
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

      barrier_sync(); /* S' q of these tokens is there */
      for (int i = warp; i < count; i += WARPS) {
//% if output then
//% print_channels(output, of_tile, function(_, value)
          if (c < channels)
            o[(first + i) * a.o.token + c] =
                $(from_f32(value));
//% end)
//% else
        for (int c = lane; c < channels; c += 32)
          o[(first + i) * a.o.token + c] = $(from_f32("tokens[i * TOKEN + Y + c]"));
//% end
      }
    }
  }
}
