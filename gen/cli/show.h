/* SPDX-License-Identifier: MIT
 * show.h - what maskc show knows of a spec, its plans, and its picture as an SVG.
 */
#ifndef MKC_CLI_SHOW_H
#define MKC_CLI_SHOW_H

#include "../plan.h"
#include "cli.h"
#include "mask_weights.h"

struct show {
  const struct variant *variant;
  struct spec_file file;
  struct mask_request mask;
  double *weights; /* [tokens][tokens] */
  const char *note;
  struct gen_config config;
  const struct plan *plans; /* NULL: no schedule, and why is in no_schedule */
  int nplans;
  const char *no_schedule;
};

/* show_plan.c: the plan that is taken, and every candidate with why it is taken or not. */
void show_plan(struct buf *out, const struct show *s);
void show_all_plans(struct buf *out, const struct show *s);
/* {arch, card, plan, ...}, an element of the open array; candidates: with every one. */
void show_plan_json(struct json *j, const struct show *s, bool candidates);

/* The whole page: the mask, the roofline with the op on it, the plan, the equations. */
void show_svg(struct buf *out, const struct show *s);

/* ---- its panels; (x, y) is the upper left corner of the plot, which is SHOW_PLOT wide and high,
 * with its heading above and its axes outside ---- */

enum { SHOW_PLOT = 416 };

/* svg_mask.c: cells as in the terminal's drawing; colours mean weights, or fenwick levels. */
void show_svg_mask(struct buf *out, double x, double y, const struct show *s);
/* svg_roofline.c: what s->config.arch's card allows, and where the plans are. */
void show_svg_roofline(struct buf *out, double x, double y, const struct show *s);

#endif
