/* SPDX-License-Identifier: MIT
 * show_plan.c - the plan in maskc show, and with --plan every candidate: text and JSON.
 */
#include "show.h"

static void put_config(struct buf *out, const struct gen_config *c) {
  buf_printf(out, "%s, %s%s, dk=%d dv=%d", c->arch, c->pass == MKC_STEP ? "step, " : "",
             dtype_name(c->dtype), c->dk, c->dv);
  if (c->heads) buf_printf(out, ", B * H = %d", c->heads);
}

void show_plan(struct buf *out, const struct show *s) {
  const struct plan *p = s->plans;
  buf_puts(out, "\nplan for ");
  put_config(out, &s->config);
  buf_puts(out, "\n  ");
  if (!p) {
    buf_printf(out, "none: %s\n", s->no_schedule);
    return;
  }
  plan_print(out, p);
  buf_puts(out, "\n  ");
  plan_print_cost(out, p);
  if (s->config.heads) {
    buf_printf(out, "\n  %d heads are ", s->config.heads);
    buf_number(out, p->waves, 3);
    buf_puts(out, " waves of blocks: predicted ");
    buf_number(out, p->cost_ns, 3);
    buf_puts(out, " ns");
  }
  buf_puts(out, "\n");
}

void show_all_plans(struct buf *out, const struct show *s) {
  const struct plan *p = s->plans;
  buf_printf(out, "%s for ", s->variant->name);
  put_config(out, &s->config);
  if (!p) {
    buf_printf(out, "\nno plan: %s\n", s->no_schedule);
    return;
  }
  buf_printf(out, "; %s, %d SMs\nbytes, FLOPs and ns are a token's of one head", p->target->card,
             p->target->sms);
  if (p->given) buf_printf(out, " with %s", p->given);
  buf_puts(out, "; the floor is ");
  buf_number(out, p->floor_ns, 3);
  buf_puts(out, " ns\n\n");
  plan_print_table(out, p, s->nplans);
}

/* ---- JSON ---- */

static void cost_json(struct json *j, const struct plan *p) {
  json_number(j, "bytes_a_token_head", p->bytes);
  json_number(j, "flops_a_token_head", p->flops);
  json_number(j, "predicted_ns", p->predicted_ns);
  json_number(j, "heads_a_wave", plan_heads_a_wave(p));
  if (!p->config.heads) return;
  json_number(j, "waves", p->waves);
  json_number(j, "cost_ns", p->cost_ns);
}

static void candidate_json(struct json *j, const struct plan *p, const struct plan *best) {
  struct buf verdict = {0};
  plan_verdict(&verdict, p, best);
  json_object(j, NULL);
  json_string(j, "schedule", p->schedule->name);
  json_integer(j, "chunk", p->config.chunk);
  json_integer(j, "dv_tile", p->dv_tile);
  json_integer(j, "stages", p->stages);
  json_integer(j, "threads", p->threads);
  json_integer(j, "blocks_a_head", p->blocks_a_head);
  json_integer(j, "registers", p->registers);
  json_integer(j, "smem_bytes", p->smem_bytes);
  json_bool(j, "possible", !p->reason);
  json_string(j, "verdict", buf_text(&verdict));
  if (!p->reason) {
    json_integer(j, "blocks_an_sm", p->blocks_an_sm);
    cost_json(j, p);
  }
  json_end(j);
  buf_finish(&verdict);
}

static void best_json(struct json *j, const struct plan *p) {
  struct buf line = {0};
  plan_print(&line, p);
  json_string(j, "card", p->target->card);
  json_integer(j, "sms", p->target->sms);
  json_string(j, "plan", buf_text(&line));
  json_number(j, "floor_ns", p->floor_ns);
  if (p->given) json_string(j, "given", p->given);
  cost_json(j, p);
  buf_finish(&line);
}

void show_plan_json(struct json *j, const struct show *s, bool candidates) {
  json_object(j, NULL);
  json_string(j, "arch", s->config.arch);
  if (s->plans) {
    best_json(j, s->plans);
  } else {
    json_string(j, "plan", NULL);
    json_string(j, "no_schedule", s->no_schedule);
  }
  if (candidates) {
    json_array(j, "candidates");
    for (int i = 0; s->plans && i < s->nplans; i++) candidate_json(j, &s->plans[i], s->plans);
    json_end(j);
  }
  json_end(j);
}
