/* SPDX-License-Identifier: MIT
 * svg_roofline.c - the roofline of a card, and where an op's floor and its plans lie on it.
 *
 * Both axes are logarithms: FLOP a byte across, TFLOP/s up. The roof is the smaller of the copy
 * bandwidth times that intensity and the matrix rate; an op's floor lies on it by definition.
 */
#include "show.h"
#include "svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHARACTER = 7 }; /* about the width of one in a label */

struct roofline {
  double x, y; /* of the plot */
  double lo_x, hi_x, lo_y, hi_y;
  const struct target *target;
};

/* ---- axes ---- */

static double at_x(const struct roofline *r, double flop_a_byte) {
  return r->x + SHOW_PLOT * log(flop_a_byte / r->lo_x) / log(r->hi_x / r->lo_x);
}

static double at_y(const struct roofline *r, double tflops) {
  return r->y + SHOW_PLOT * (1 - log(tflops / r->lo_y) / log(r->hi_y / r->lo_y));
}

static double copy_tflops(const struct roofline *r, double flop_a_byte) {
  return flop_a_byte * r->target->copy_gbs / 1e3;
}

static double decade_below(double x) {
  return pow(10, floor(log10(x)));
}

static double decade_above(double x) {
  return pow(10, ceil(log10(x)));
}

static double smaller(double x, double y) {
  return x < y ? x : y;
}

static double larger(double x, double y) {
  return x > y ? x : y;
}

static double tflops(const struct plan *p, double ns) {
  return p->flops / ns / 1e3;
}

/* Whole decades, with room for labels on both sides of the ridge and of the op. */
static void choose_range(struct roofline *r, const struct show *s) {
  const double ridge = r->target->mma_tflops * 1e3 / r->target->copy_gbs;
  double least = ridge, most = ridge;
  if (s->plans) {
    least = smaller(least, s->plans[0].flops / s->plans[0].bytes);
    most = larger(most, s->plans[0].flops / s->plans[0].bytes);
  }
  r->lo_x = decade_below(least / 8);
  r->hi_x = decade_above(most * 8);
  r->hi_y = decade_above(r->target->mma_tflops * 1.3);
  r->lo_y = decade_below(smaller(copy_tflops(r, r->lo_x) * 2, r->target->mma_tflops / 10));
  if (s->plans)
    r->lo_y = smaller(r->lo_y, decade_below(tflops(&s->plans[0], s->plans[0].predicted_ns) / 1.5));
}

static int decades(double lo, double hi) {
  return (int)lround(log10(hi / lo));
}

/* Lines at 1 to 9 of each decade, a number at 1. */
static void put_columns(struct buf *out, const struct roofline *r) {
  char number[32];
  for (int d = 0; d <= decades(r->lo_x, r->hi_x); d++) {
    const double decade = r->lo_x * pow(10, d), x = at_x(r, decade);
    for (int i = 2; i <= 9 && i * decade < r->hi_x; i++)
      svg_line(out, at_x(r, i * decade), r->y, at_x(r, i * decade), r->y + SHOW_PLOT, "faint");
    svg_line(out, x, r->y, x, r->y + SHOW_PLOT, "grid");
    snprintf(number, sizeof number, "%.6g", decade);
    svg_text(out, x, r->y + SHOW_PLOT + 16, "label middle", number);
  }
}

static void put_rows(struct buf *out, const struct roofline *r) {
  char number[32];
  for (int d = 0; d <= decades(r->lo_y, r->hi_y); d++) {
    const double decade = r->lo_y * pow(10, d), y = at_y(r, decade);
    for (int i = 2; i <= 9 && i * decade < r->hi_y; i++)
      svg_line(out, r->x, at_y(r, i * decade), r->x + SHOW_PLOT, at_y(r, i * decade), "faint");
    svg_line(out, r->x, y, r->x + SHOW_PLOT, y, "grid");
    snprintf(number, sizeof number, "%.6g", decade);
    svg_text(out, r->x - 6, y + 4, "label end", number);
  }
}

static void put_grid(struct buf *out, const struct roofline *r) {
  put_columns(out, r);
  put_rows(out, r);
  svg_box(out, r->x, r->y, SHOW_PLOT, SHOW_PLOT, "fill=\"none\" stroke=\"#999\"");
  svg_text(out, r->x + SHOW_PLOT / 2.0, r->y + SHOW_PLOT + 34, "label middle", "FLOP per byte");
  svg_text_turned(out, r->x - 40, r->y + SHOW_PLOT / 2.0, -90, "label middle", "TFLOP/s");
}

/* ---- the roof ---- */

static void put_slope(struct buf *out, const struct roofline *r, double x, double ridge) {
  const double from_x = larger(r->lo_x, r->lo_y * 1e3 / r->target->copy_gbs);
  const double x1 = at_x(r, from_x), y1 = at_y(r, copy_tflops(r, from_x));
  const double x2 = at_x(r, ridge), y2 = at_y(r, r->target->mma_tflops);
  char label[64];
  svg_line(out, x1, y1, x2, y2, "roof");
  snprintf(label, sizeof label, "memory, %.0f GB/s", r->target->copy_gbs);
  /* along the slope, on the side of the op's that is empty */
  const double part = x > 0 && at_x(r, x) < (x1 + x2) / 2 ? 0.62 : 0.12;
  const double angle = atan2(y2 - y1, x2 - x1), off = 16;
  svg_text_turned(out, x1 + part * (x2 - x1) - off * sin(angle),
                  y1 + part * (y2 - y1) + off * cos(angle), angle * 180 / acos(-1), "label", label);
}

static void put_ceiling(struct buf *out, const struct roofline *r, double ridge) {
  const double y = at_y(r, r->target->mma_tflops);
  char label[64];
  svg_line(out, at_x(r, ridge), y, r->x + SHOW_PLOT, y, "roof");
  snprintf(label, sizeof label, "matrix rate, %.0f TFLOP/s", r->target->mma_tflops);
  svg_text(out, r->x + SHOW_PLOT - 6, y - 8, "label end", label);
}

/* ---- the op ---- */

/* Beside a point, where there is room. */
static void put_label(struct buf *out, const struct roofline *r, double x, double y, bool left,
                      const char *text) {
  const double width = 10 + CHARACTER * (double)strlen(text);
  if (left && x - width < r->x) left = false;
  if (!left && x + width > r->x + SHOW_PLOT) left = true;
  svg_text(out, left ? x - 10 : x + 10, y, left ? "end" : "start", text);
}

static void put_op(struct buf *out, const struct roofline *r, const struct show *s) {
  const struct plan *best = &s->plans[0];
  const double x = at_x(r, best->flops / best->bytes);
  const double floor_y = at_y(r, tflops(best, best->floor_ns));
  const double best_y = at_y(r, tflops(best, best->predicted_ns));
  char label[96];
  bool others = false;
  for (int i = 1; i < s->nplans; i++) {
    const struct plan *p = &s->plans[i];
    if (p->reason || !(tflops(p, p->predicted_ns) > r->lo_y)) continue;
    svg_circle(out, at_x(r, p->flops / p->bytes), at_y(r, tflops(p, p->predicted_ns)), 3,
               "fill=\"#bbb\"");
    others = true;
  }
  if (others)
    svg_text(out, r->x + SHOW_PLOT - 6, r->y + SHOW_PLOT - 8, "label end", "grey: plans not taken");
  svg_line(out, x, floor_y, x, best_y, "gap");
  svg_circle(out, x, floor_y, 5.5, "fill=\"#fff\" stroke=\"#111\" stroke-width=\"2\"");
  svg_circle(out, x, best_y, 4.5, "fill=\"#c0392b\"");
  snprintf(label, sizeof label, "floor %.3g ns", best->floor_ns);
  put_label(out, r, x, floor_y - 10, true, label);
  snprintf(label, sizeof label, "predicted %.3g ns, %.0f%% of the roof", best->predicted_ns,
           100 * best->floor_ns / best->predicted_ns);
  put_label(out, r, x, best_y + 18, false, label);
}

void show_svg_roofline(struct buf *out, double x, double y, const struct show *s) {
  struct roofline r = {.x = x, .y = y, .target = target_find(s->config.arch)};
  const double ridge = r.target->mma_tflops * 1e3 / r.target->copy_gbs;
  struct buf head = {0};
  buf_printf(&head, "Roofline: %s (%s)", r.target->card, s->config.arch);
  svg_text(out, x, y - 28, "head", buf_text(&head));
  out->failed |= head.failed;
  buf_finish(&head);
  choose_range(&r, s);
  put_grid(out, &r);
  put_slope(out, &r, s->plans ? s->plans[0].flops / s->plans[0].bytes : 0, ridge);
  put_ceiling(out, &r, ridge);
  if (s->plans) put_op(out, &r, s);
}
