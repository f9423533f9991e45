//% -- SPDX-License-Identifier: MIT
//% -- tiles.k.c - tiles of a chunk's tokens in shared memory, and their way in and out.
//% --
//% -- In: element, size (operands.k.c), chunk, warps; from the template the constants CHUNK and THREADS.
//% -- Out: functions of Lua that print a function of C each:
//% --
//% --   print_load(name, tile, what)    load_NAME, starts the copy of a chunk's rows
//% --   print_store(name, tile, what)   store_NAME, writes a chunk's rows from shared memory
//% --
//% -- tile = { row = "QK_ROW", columns = "DK", width = dk, padded = "DK_PAD", padded_width = 112,
//% --          piece = 16, float = nil }
//% --
//% -- Where there are levels, chunks lie on the grid of absolute positions, and the first one may lack
//% -- its first rows: `skip` of them; src is where the first row that is there lies.
//% --
//% -- columns: how many channels there are, a constant or the parameter `channels`; padded: how many
//% -- the tile has, a multiple of 16, the rest zero; piece: the bytes that move at once, which divide
//% -- every row and stride; float: its elements are floats. Rows of the op's elements lie `row` of them apart, 8 more than they have: so the rows
//% -- that a warp reads at once are in different banks.
//% local in_rows = max_levels and "row >= skip && row < rows" or "row < rows"
//% local skip = max_levels and "int skip, " or ""
//% local row = max_levels and "(row - skip)" or "row"
//% local function inside_of(tile)
//%   local padded = tile.columns == "channels" or tile.width ~= tile.padded_width
//%   return padded and in_rows .. " && column < " .. tile.columns or in_rows
//% end
//% local function type_of(tile) return tile.float and "float" or element end
//% local function size_of(tile) return tile.float and 4 or size end
//% local function channels_of(tile) return tile.columns == "channels" and ", int channels" or "" end
//% local function print_pieces(tile)
//% local pieces, threads = tile.padded_width * size_of(tile) // tile.piece, 32 * warps -- of a row
//% if threads % pieces == 0 and chunk * pieces % threads == 0 and chunk * pieces <= 16 * threads then
  TILE_UNROLL
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
    const int row = tile_tid() / PIECES + i * (THREADS / PIECES);
    const int column = tile_tid() % PIECES * PIECE;
//% else
  for (int at = tile_tid(); at < CHUNK * PIECES; at += THREADS) {
    const int row = at / PIECES, column = at % PIECES * PIECE;
//% end
//% end
//% function print_load(name, tile, what)

//% if max_levels then
/* $(what), a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
//% else
/* $(what), a chunk's rows: starts the copy; rows from `rows` on are zeroed, not read */
//% end
TILE_FN void load_$(name)($(type_of(tile)) *restrict dst, const $(type_of(tile)) *restrict src, i64 stride,
                   $(skip)int rows$(channels_of(tile))) {
  enum { PIECE = $(tile.piece // size_of(tile)), PIECES = $(tile.padded) / PIECE }; /* $(tile.piece) bytes */
//% print_pieces(tile)
    const int inside = $(inside_of(tile));
//% if tile.piece == 2 then
    dst[row * $(tile.row) + column] = inside ? src[$(row) * stride + column] : ($(element))0;
//% else
    const i64 from = inside ? $(row) * stride + column : 0;
    cp_async_$(tile.piece)(dst + row * $(tile.row) + column, src + from, inside ? $(tile.piece) : 0);
//% end
  }
}
//% end
//% function print_store(name, tile, what)

/* $(what), a chunk's $(max_levels and "rows `skip` to `rows`" or "`rows` rows"), from shared memory */
TILE_FN void store_$(name)($(element) *restrict dst, const $(element) *restrict src, i64 stride,
                   $(skip)int rows$(channels_of(tile))) {
  enum { PIECE = $(tile.piece // size), PIECES = $(tile.padded) / PIECE }; /* $(tile.piece) bytes */
//% print_pieces(tile)
//% if tile.piece == 2 then
    if ($(inside_of(tile))) dst[$(row) * stride + column] = src[row * $(tile.row) + column];
//% else
    if ($(inside_of(tile))) copy_$(tile.piece)(dst + $(row) * stride + column, src + row * $(tile.row) + column);
//% end
  }
}
//% end
