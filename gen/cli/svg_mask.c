/* SPDX-License-Identifier: MIT
 * svg_mask.c - the mask as a picture: a cell a pair of tokens, row t reads column s.
 *
 * Cells of one colour are one path, a run of them in a row one rectangle of it, so that 256 tokens
 * stay a file of moderate size.
 */
#include "draw.h"
#include "show.h"
#include "svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHADES = 16, NLEVELS = 9, GRID_TOKENS = 64, LEGEND = 160 };

/* What a cell shows: nothing (masked), a shade of a level (levels are 0 where none are shown), or a
 * value that is no number. */
struct paint {
  int shade; /* 0: masked; 1 to SHADES */
  int level;
  bool negative, strange;
};

struct picture {
  int tokens;
  const double *weights;
  bool levels;
  double largest; /* |weight| that is finite */
  bool negative, strange;
};

/* ---- colours ---- */

struct colour {
  double r, g, b;
};

static struct colour mix(struct colour x, struct colour y, double part) {
  return (struct colour){x.r + part * (y.r - x.r), x.g + part * (y.g - x.g),
                         x.b + part * (y.b - x.b)};
}

/* Light, middle, dark. */
static const struct colour blues[] = {{218, 232, 246}, {74, 144, 198}, {8, 42, 98}};
static const struct colour oranges[] = {{253, 228, 208}, {238, 128, 60}, {122, 38, 6}};
static const struct colour level_hues[NLEVELS] = {{200, 140, 0},  {214, 96, 30},  {196, 48, 92},
                                                  {150, 60, 160}, {104, 76, 200}, {52, 100, 208},
                                                  {20, 136, 168}, {34, 140, 86},  {110, 130, 30}};

static struct colour colour_of(struct paint p, bool levels) {
  const double x = (double)(p.shade - 1) / (SHADES - 1);
  const struct colour white = {255, 255, 255};
  const struct colour *ramp = p.negative ? oranges : blues;
  if (p.strange) return (struct colour){255, 0, 255};
  if (levels) return mix(white, level_hues[p.level % NLEVELS], 0.3 + 0.7 * x);
  return x < 0.5 ? mix(ramp[0], ramp[1], 2 * x) : mix(ramp[1], ramp[2], 2 * x - 1);
}

static void put_fill(struct buf *out, struct colour c) {
  buf_printf(out, "fill=\"#%02x%02x%02x\"", (unsigned)lround(c.r), (unsigned)lround(c.g),
             (unsigned)lround(c.b));
}

/* ---- cells ---- */

static void measure(struct picture *p) {
  for (int i = 0; i < p->tokens * p->tokens; i++) {
    const double w = p->weights[i];
    p->negative |= w < 0;
    p->strange |= !isfinite(w);
    if (isfinite(w) && fabs(w) > p->largest) p->largest = fabs(w);
  }
}

/* Equal steps of the largest; anything that is not zero can be told from nothing. */
static struct paint paint_of(const struct picture *p, int t, int s) {
  const double w = p->weights[t * p->tokens + s];
  if (!isfinite(w)) return (struct paint){.shade = SHADES, .strange = true};
  if (!(fabs(w) > 0)) return (struct paint){0};
  const int step = 1 + (int)(fabs(w) / p->largest * SHADES);
  return (struct paint){.shade = step < SHADES ? step : SHADES,
                        .level = p->levels ? fenwick_level(t, s) : 0,
                        .negative = w < 0 && !p->levels};
}

static bool same_paint(struct paint x, struct paint y) {
  return x.shade == y.shade && x.level == y.level && x.negative == y.negative &&
         x.strange == y.strange;
}

/* The runs of one paint, in cells. */
static void put_runs(struct buf *path, const struct picture *p, struct paint wanted) {
  for (int t = 0; t < p->tokens; t++)
    for (int s = 0; s < p->tokens;) {
      int n = 0;
      while (s + n < p->tokens && same_paint(paint_of(p, t, s + n), wanted)) n++;
      if (n > 0) buf_printf(path, "M%d %dh%dv1h-%dz", s, t, n, n);
      s += n + 1;
    }
}

static void put_path(struct buf *out, const struct picture *p, struct paint wanted) {
  struct buf path = {0};
  put_runs(&path, p, wanted);
  if (path.len > 0) {
    buf_puts(out, "<path ");
    put_fill(out, colour_of(wanted, p->levels));
    buf_printf(out, " d=\"%s\"/>\n", buf_text(&path));
  }
  out->failed |= path.failed;
  buf_finish(&path);
}

static void put_cells(struct buf *out, double x, double y, const struct picture *p) {
  buf_puts(out, "<g shape-rendering=\"crispEdges\" transform=\"translate(");
  buf_number(out, x, 6);
  buf_puts(out, " ");
  buf_number(out, y, 6);
  buf_puts(out, ") scale(");
  buf_number(out, (double)SHOW_PLOT / p->tokens, 8);
  buf_puts(out, ")\">\n");
  for (int level = 0; level < (p->levels ? NLEVELS : 1); level++)
    for (int shade = 1; shade <= SHADES; shade++) {
      put_path(out, p, (struct paint){.shade = shade, .level = level});
      if (p->negative && !p->levels)
        put_path(out, p, (struct paint){.shade = shade, .level = level, .negative = true});
    }
  put_path(out, p, (struct paint){.shade = SHADES, .strange = true});
  buf_puts(out, "</g>\n");
}

/* ---- around it ---- */

/* Every 2^n-th token, so that there are at most nine. */
static int tick_step(int tokens) {
  int step = 1;
  while (tokens > 8 * step) step *= 2;
  return step;
}

static void put_axes(struct buf *out, double x, double y, int tokens) {
  const double cell = (double)SHOW_PLOT / tokens;
  char number[16];
  for (int i = 1; i < tokens && tokens <= GRID_TOKENS; i++) {
    svg_line(out, x + i * cell, y, x + i * cell, y + SHOW_PLOT, "cell");
    svg_line(out, x, y + i * cell, x + SHOW_PLOT, y + i * cell, "cell");
  }
  for (int i = 0; i < tokens; i += tick_step(tokens)) {
    const double at = (i + 0.5) * cell;
    snprintf(number, sizeof number, "%d", i);
    svg_text(out, x + at, y - 6, "label middle", number);
    svg_text(out, x - 6, y + at + 4, "label end", number);
  }
  svg_box(out, x, y, SHOW_PLOT, SHOW_PLOT, "fill=\"none\" stroke=\"#999\"");
  svg_text(out, x + SHOW_PLOT + 8, y - 6, "label", "s");
  svg_text(out, x - 6, y + SHOW_PLOT + 14, "label end", "t");
}

static void put_swatch(struct buf *out, double x, double y, double width, struct paint paint,
                       bool levels) {
  struct buf fill = {0};
  put_fill(&fill, colour_of(paint, levels));
  svg_box(out, x, y, width, 12, buf_text(&fill));
  out->failed |= fill.failed;
  buf_finish(&fill);
}

/* A bar of shades from 0 to the largest (and from -largest, where there are such); its end. */
static double put_bar(struct buf *out, double x, double y, const struct picture *p) {
  const double step = (double)LEGEND / SHADES;
  struct buf number = {0};
  if (p->negative) {
    buf_number(&number, -p->largest, 3);
    svg_text(out, x, y + 11, "label", buf_text(&number));
    x += 44;
    for (int i = SHADES; i >= 1; i--, x += step / 2)
      put_swatch(out, x, y, step / 2, (struct paint){.shade = i, .negative = true}, false);
  }
  svg_text(out, x + 4, y + 11, "label", "0");
  x += 16;
  for (int i = 1; i <= SHADES; i++, x += p->negative ? step / 2 : step)
    put_swatch(out, x, y, p->negative ? step / 2 : step, (struct paint){.shade = i}, false);
  struct buf largest = {0};
  buf_number(&largest, p->largest, 3);
  svg_text(out, x + 5, y + 11, "label", buf_text(&largest));
  out->failed |= number.failed || largest.failed;
  buf_finish(&number);
  buf_finish(&largest);
  return x + 50;
}

static double put_levels(struct buf *out, double x, double y, const struct picture *p) {
  const int last = fenwick_level(p->tokens - 1, 0);
  char number[16];
  svg_text(out, x, y + 11, "label", "fenwick level");
  x += 84;
  for (int i = 0; i <= last; i++, x += 30) {
    put_swatch(out, x, y, 12, (struct paint){.shade = SHADES, .level = i}, true);
    snprintf(number, sizeof number, "%d", i);
    svg_text(out, x + 15, y + 11, "label", number);
  }
  return x;
}

static void put_legend(struct buf *out, double x, double y, const struct picture *p,
                       const struct show *s) {
  if (!p->levels) svg_text(out, x, y + 11, "label", "weight");
  double end = p->levels ? put_levels(out, x, y, p) : put_bar(out, x + 46, y, p);
  if (p->strange) {
    put_swatch(out, end, y, 12, (struct paint){.shade = SHADES, .strange = true}, false);
    svg_text(out, end + 16, y + 11, "label", "not finite");
  }
  struct buf note = {0};
  buf_puts(&note, p->levels ? "darker: a larger |weight|, up to " : "blank: masked");
  if (p->levels) buf_number(&note, p->largest, 3);
  if (p->levels) buf_puts(&note, "; blank: masked");
  if (s->note) buf_printf(&note, "; %s", s->note);
  svg_text(out, x, y + 32, "label", buf_text(&note));
  out->failed |= note.failed;
  buf_finish(&note);
}

void show_svg_mask(struct buf *out, double x, double y, const struct show *s) {
  struct picture p = {s->mask.tokens, s->weights, s->variant->branches[0].fenwick, 0, false, false};
  struct buf head = {0};
  measure(&p);
  buf_printf(&head, "Mask: head %d of %d, random gates (seed %llu)", s->mask.head, s->mask.heads,
             (unsigned long long)s->mask.seed);
  svg_text(out, x, y - 28, "head", buf_text(&head));
  out->failed |= head.failed;
  buf_finish(&head);
  svg_box(out, x, y, SHOW_PLOT, SHOW_PLOT, "fill=\"#fbfbf9\"");
  put_cells(out, x, y, &p);
  put_axes(out, x, y, s->mask.tokens);
  svg_text_turned(out, x - 40, y + SHOW_PLOT / 2.0, -90, "label middle", "t, the token that reads");
  put_legend(out, x, y + SHOW_PLOT + 26, &p, s);
}
