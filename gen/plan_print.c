/* SPDX-License-Identifier: MIT
 * plan_print.c - plans as text: one in a line, all as a table with why each is taken or not.
 *
 *     schedule chunk dv_tile ... registers   smem blocks  waves  bytes  kFLOP     ns   tail
 *   * scan        64      32           194  95872      2   0.24   1028     98   2.12  +222%  taken
 *     scan        64      16           194  89728      2   0.48   1028     98   2.39   +54%  13 %
 * slower
 */
#include "plan.h"

const char *pass_name(mkc_pass pass) {
  return pass == MKC_STEP ? "step" : "forward";
}

void plan_print(struct buf *out, const struct plan *p) {
  buf_printf(out, "(%s", p->schedule->name);
  if (p->config.chunk) buf_printf(out, " chunk=%d", p->config.chunk);
  buf_printf(out, " dv_tile=%d", p->dv_tile);
  if (p->stages) buf_printf(out, " stages=%d", p->stages);
  buf_printf(out, " threads=%d smem=%d blocks_a_head=%d)", p->threads, p->smem_bytes,
             p->blocks_a_head);
}

void plan_print_cost(struct buf *out, const struct plan *p) {
  buf_printf(out, "%d bytes and %d kFLOP a token of one head", (int)p->bytes,
             (int)(p->flops / 1e3 + 0.5));
  if (p->given) buf_printf(out, " with %s", p->given);
  buf_printf(out, "; on %s the floor is ", p->target->card);
  buf_number(out, p->floor_ns, 3);
  buf_puts(out, " ns, predicted ");
  buf_number(out, p->predicted_ns, 3);
  buf_puts(out, " ns");
}

/* ---- the table ---- */

static void put_number(struct buf *out, double x, int digits, int width) {
  struct buf text = {0};
  buf_number(&text, x, digits);
  buf_printf(out, " %*s", width, buf_text(&text));
  buf_finish(&text);
}

static void put_heading(struct buf *out, bool hinted) {
  buf_puts(out, "  schedule chunk dv_tile stages threads blocks registers   smem blocks");
  buf_puts(out, hinted ? "  waves" : "  heads");
  buf_puts(out, "  bytes  kFLOP     ns");
  buf_puts(out, hinted ? "   tail\n" : "\n");
  buf_printf(out, "  %44s %9s %13s", "a head", "a thread", "an SM");
  buf_puts(out, hinted ? "\n" : " a wave\n");
}

static void put_sizes(struct buf *out, const struct plan *p) {
  buf_printf(out, "%-8s %5d %7d %6d %7d %6d %9d %6d", p->schedule->name, p->config.chunk,
             p->dv_tile, p->stages, p->threads, p->blocks_a_head, p->registers, p->smem_bytes);
}

static void put_cost(struct buf *out, const struct plan *p) {
  buf_printf(out, " %6d", p->blocks_an_sm);
  if (p->config.heads)
    buf_printf(out, " %6.2f", p->waves);
  else
    buf_printf(out, " %6d", (int)plan_heads_a_wave(p));
  buf_printf(out, " %6.0f %6.0f", p->bytes, p->flops / 1e3);
  put_number(out, p->cost_ns, 3, 6);
  if (p->config.heads) buf_printf(out, " %+5.0f%%", 100 * (p->cost_ns / p->predicted_ns - 1));
}

void plan_verdict(struct buf *out, const struct plan *p, const struct plan *best) {
  const double slower = 100 * (p->cost_ns / best->cost_ns - 1);
  if (p->reason)
    buf_puts(out, p->reason);
  else if (p == best)
    buf_puts(out, "taken");
  else if (slower < 0.05)
    buf_puts(out, "as fast");
  else
    buf_printf(out, "%.*f %% slower", slower < 9.95 ? 1 : 0, slower);
}

void plan_print_table(struct buf *out, const struct plan *plans, int n) {
  put_heading(out, plans[0].config.heads > 0);
  for (int i = 0; i < n; i++) {
    const struct plan *p = &plans[i];
    buf_puts(out, i == 0 ? "* " : "  ");
    put_sizes(out, p);
    if (!p->reason) put_cost(out, p);
    buf_puts(out, p->reason ? "  not possible: " : "  ");
    plan_verdict(out, p, &plans[0]);
    buf_puts(out, "\n");
  }
}
