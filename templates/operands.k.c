//% -- SPDX-License-Identifier: MIT
//% -- operands.k.c - elements of the op's type in shared memory and as operands of the matrix
//% -- operations: pairs of 16 bits in a word, or two floats.
//% --
//% -- A lane holds a 16 x 16 operand as four pairs of neighbours, one of each 8 x 8 block. 16-bit ones
//% -- ldmatrix brings, to which each lane gives the address of a row: (a_row, a_col) of A operands and
//% -- of either operand stored transposed, (b_row, b_col) of B operands stored [n][k]. Floats a lane
//% -- reads itself, so the same names say where its elements of the first block are, and (t_row, t_col)
//% -- where they are in a transposed one. mma_m16n8k16_f32 multiplies floats to fp32's precision.
//% --
//% -- In: kind, square_p, delta (walk.k.c). Out: f32, whether elements are floats; size, the bytes of an element; pair, the type of
//% -- two, and pack, ld_pair and st_pair, functions of C that make, load and store one; unroll, for loops
//% -- over products, which in fp32 are long: unrolled, more of them would be in flight than there are
//% -- registers for; functions of Lua that return text:
//% --
//% --   lo(x), hi(x)          the halves of a pair as numbers
//% --   load_a(x, at, row)    an A operand stored [m][k], whose rows lie `row` elements apart
//% --   load_b(x, at, row)    a B operand stored [n][k]: x of 8 columns, x + 2 of the next 8
//% --   load_a_trans(x, at, row), load_b_trans(x, at, row)   stored [k][m], [k][n]
//% --   at_b_trans(tile, k, n, row)   the lane's place in the block at (k, n), for the last
//% --
//% -- and print_operand_functions(), print_operand_places().
//% f32 = kind == "f32"
//% size, pair = f32 and 4 or 2, f32 and "tile_f2" or "u32"
//% rounded = f32 and "" or ", rounded," -- of what a comment says is an operand
//% unroll = f32 and "TILE_ROLLED" or "TILE_UNROLL"
//% pack = f32 and "to_pair" or "pack_" .. kind .. "x2"
//% ld_pair, st_pair = f32 and "ld_f32x2" or "ld_u32", f32 and "st_pair" or "st_u32"
//% function lo(x) return f32 and x .. ".x" or kind .. "lo_f32(" .. x .. ")" end
//% function hi(x) return f32 and x .. ".y" or kind .. "hi_f32(" .. x .. ")" end
//% local function load(x, at, second, third)
//%   if f32 then return "load_operand(" .. join(x, at, second, third) .. ")" end
//%   return "ldmatrix_x4(" .. x .. ", " .. at .. ")"
//% end
//% local function load_trans(x, at, row, second, third)
//%   if f32 then return "load_operand_trans(" .. join(x, at, row, second, third) .. ")" end
//%   return "ldmatrix_x4_trans(" .. x .. ", " .. at .. ")"
//% end
//% function at_b_trans(tile, k, n, row)
//%   local of = f32 and "t" or "a"
//%   return tile .. " + (" .. k .. " + " .. of .. "_row) * " .. row .. " + " .. of .. "_col + " .. n
//% end
//% function load_a(x, at, row) return load(x, at, "8 * " .. row, "8") end
//% function load_b(x, at, row) return load(x, at, "8", "8 * " .. row) end
//% function load_a_trans(x, at, row) return load_trans(x, at, row, "8", "8 * " .. row) end
//% function load_b_trans(x, at, row) return load_trans(x, at, row, "8 * " .. row, "8") end
//% function print_operand_functions()
//% if f32 then

TILE_FN tile_f2 to_pair(float x, float y) {
  const tile_f2 pair = {x, y};
  return pair;
}

TILE_FN void st_pair(float *at, tile_f2 pair) { st_f32x2(at, pair.x, pair.y); }

/* This lane's part of an operand, two elements of a row of each block of 8 x 8; the second and the
 * third block are so many elements after the first. */
TILE_FN void load_operand(tile_f2 *x, const float *at, int second, int third) {
  x[0] = ld_f32x2(at);
  x[1] = ld_f32x2(at + second);
  x[2] = ld_f32x2(at + third);
  x[3] = ld_f32x2(at + second + third);
}

/* the same where the blocks are stored transposed: two elements of a column, one row apart */
TILE_FN void load_operand_trans(tile_f2 *x, const float *at, int row, int second, int third) {
  x[0] = to_pair(at[0], at[row]);
  x[1] = to_pair(at[second], at[second + row]);
  x[2] = to_pair(at[third], at[third + row]);
  x[3] = to_pair(at[second + third], at[second + third + row]);
}
//% end
//% end
//% function print_operand_places()
//% if f32 then
  /* where this lane's elements of an 8 x 8 block of an operand are: A operands$((square_p or delta) and "; B stored [n][k]" or "");
   * either operand stored transposed */
  const int a_row = frag_row, a_col = frag_col;
//% if square_p or delta then -- others have no B operands stored so
  const int b_row = frag_row, b_col = frag_col;
//% end
  const int t_row = frag_col, t_col = frag_row;
//% else
  /* this lane's row and column of an ldmatrix: A operands, and either operand stored transposed; B
   * stored [n][k] */
  const int a_row = lane & 15, a_col = 8 * (lane >> 4);
  const int b_row = (lane & 7) + 8 * (lane >> 4), b_col = 8 * ((lane >> 3) & 1);
//% end
//% end
