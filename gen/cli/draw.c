/* SPDX-License-Identifier: MIT
 * draw.c - see draw.h.
 */
#include "draw.h"

#include <math.h>

/* From "next to nothing" to "the largest"; index 0 is a masked pair. */
enum { NSHADES = 6 };
static const char *const unicode_shades[NSHADES] = {" ", "·", "░", "▒", "▓", "█"};
static const char *const ascii_shades[NSHADES] = {" ", ".", ":", "+", "#", "@"};
/* xterm's 256 colours, dark blue to yellow; and one a fenwick level, in turn */
static const int shade_colours[NSHADES] = {0, 61, 67, 72, 113, 221};
static const int level_colours[] = {221, 209, 168, 133, 99, 69, 73, 71};
enum { NLEVEL_COLOURS = sizeof level_colours / sizeof *level_colours };

int fenwick_level(int t, int s) {
  int level = 0;
  for (unsigned x = (unsigned)(t ^ s); x; x >>= 1) level++;
  return level;
}

/* Equal steps, but anything that is not zero can be told from nothing. */
static int shade_of(double weight, double largest) {
  const double x = fabs(weight);
  if (!(x > 0)) return 0;
  const int n = 1 + (int)(x / largest * (NSHADES - 1));
  return n < NSHADES ? n : NSHADES - 1;
}

static double largest_weight(const struct drawing *d) {
  double largest = 0;
  for (int i = 0; i < d->tokens * d->tokens; i++)
    if (fabs(d->weights[i]) > largest) largest = fabs(d->weights[i]);
  return largest;
}

/* "██", or "3█" where levels are shown. */
static void draw_cell(struct buf *out, const char *glyph, int level) {
  if (level < 0)
    buf_puts(out, glyph);
  else
    buf_printf(out, "%c", level < 10 ? '0' + level : 'a' + level - 10);
  buf_puts(out, glyph);
}

static void draw_row(struct buf *out, const struct drawing *d, int t, double largest,
                     const struct term *term) {
  const char *const *shades = term->utf8 ? unicode_shades : ascii_shades;
  int last = d->tokens; /* nothing is drawn after the last pair that is not masked */
  while (last > 0 && shade_of(d->weights[t * d->tokens + last - 1], largest) == 0) last--;
  int colour = 0;
  for (int s = 0; s < last; s++) {
    const int shade = shade_of(d->weights[t * d->tokens + s], largest);
    const int level = d->levels && shade ? fenwick_level(t, s) : -1;
    const int wanted = !shade       ? 0
                       : level >= 0 ? level_colours[level % NLEVEL_COLOURS]
                                    : shade_colours[shade];
    if (term->colour && wanted && wanted != colour) {
      buf_printf(out, "\033[38;5;%dm", wanted);
      colour = wanted;
    }
    draw_cell(out, shades[shade], level);
  }
  if (colour) buf_puts(out, "\033[0m");
}

static void draw_legend(struct buf *out, const struct drawing *d, const struct term *term) {
  const char *const *shades = term->utf8 ? unicode_shades : ascii_shades;
  buf_puts(out, "\n      |weight| 0 ");
  for (int i = 1; i < NSHADES; i++) {
    if (term->colour && !d->levels) buf_printf(out, "\033[38;5;%dm", shade_colours[i]);
    draw_cell(out, shades[i], -1);
  }
  if (term->colour && !d->levels) buf_puts(out, "\033[0m");
  buf_puts(out, " ");
  buf_number(out, largest_weight(d), 3);
  if (d->levels) buf_puts(out, "; the digit is the fenwick level");
  buf_puts(out, "\n");
}

void draw_mask(struct buf *out, const struct drawing *d, const struct term *term) {
  const double largest = largest_weight(d);
  buf_puts(out, term->utf8 ? "  t \\ s →\n" : "  t \\ s ->\n");
  for (int t = 0; t < d->tokens; t++) {
    if (t % 8 == 0)
      buf_printf(out, "  %3d ", t);
    else
      buf_puts(out, "      ");
    draw_row(out, d, t, largest, term);
    buf_puts(out, "\n");
  }
  draw_legend(out, d, term);
}
