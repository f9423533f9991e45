/* SPDX-License-Identifier: MIT
 * show_svg.c - maskc show --svg: lays out the page, see show.h.
 *
 *   name
 *   about
 *   mask        roofline
 *               plan
 *   equations
 */
#include "show.h"
#include "svg.h"

#include <string.h>

enum {
  PAGE = 1040,
  MARGIN = 32,
  MASK_X = 72,
  ROOFLINE_X = PAGE - MARGIN - SHOW_PLOT,
  WIDE_COLUMNS = 132, /* of mono text that fills the page */
  HALF_COLUMNS = 66,  /* and of what stands under a plot */
};

/* What stands under the roofline. */
static void put_plan(struct buf *text, const struct show *s) {
  const struct gen_config *c = &s->config;
  buf_printf(text, "forward, %s, dk=%d dv=%d\n", dtype_name(c->dtype), c->dk, c->dv);
  if (!s->plans) {
    buf_puts(text, s->no_schedule);
    return;
  }
  plan_print(text, &s->plans[0]);
  buf_puts(text, "\n");
  plan_print_cost(text, &s->plans[0]);
}

/* The equations without their first line, which is the title. */
static void put_equations(struct buf *text, const struct show *s) {
  struct buf all = {0};
  variant_describe(&all, s->variant);
  const char *first = strchr(buf_text(&all), '\n');
  buf_puts(text, first ? first + 1 : "");
  text->failed |= all.failed;
  buf_finish(&all);
}

static void put_body(struct buf *out, double *y, const struct show *s) {
  struct buf plan = {0}, equations = {0};
  svg_text(out, MARGIN, *y + 44, "title", s->variant->name);
  *y += 66;
  if (s->variant->about)
    *y = svg_paragraph(out, MARGIN, *y, WIDE_COLUMNS, "about", s->variant->about);
  *y += 48;
  show_svg_mask(out, MASK_X, *y, s);
  show_svg_roofline(out, ROOFLINE_X, *y, s);
  put_plan(&plan, s);
  *y = svg_paragraph(out, ROOFLINE_X - 40, *y + SHOW_PLOT + 64, HALF_COLUMNS, "mono label",
                     buf_text(&plan));
  *y += 24;
  svg_text(out, MARGIN, *y, "head", "Update equations");
  put_equations(&equations, s);
  *y = svg_paragraph(out, MARGIN, *y + 24, WIDE_COLUMNS, "mono", buf_text(&equations));
  out->failed |= plan.failed || equations.failed;
  buf_finish(&plan);
  buf_finish(&equations);
}

void show_svg(struct buf *out, const struct show *s) {
  struct buf body = {0};
  double height = 0;
  put_body(&body, &height, s);
  svg_begin(out, PAGE, height + 12, s->variant->name);
  buf_write(out, buf_text(&body), body.len);
  svg_end(out);
  out->failed |= body.failed;
  buf_finish(&body);
}
