/* SPDX-License-Identifier: MIT
 * levels.c - see levels.h.
 */
#include "levels.h"

#include "expr.h"
#include "row_code.h"

#include <math.h>
#include <stdio.h>

const struct weight *levels_weight(const struct branch *b) {
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].kind == WEIGHT_FENWICK) return &b->weights[i];
  return NULL;
}

const char *levels_lacks(const struct branch *b, struct arena *a) {
  const struct weight *fenwick = levels_weight(b);
  if (!fenwick) return "slot mask: no fenwick";
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].kind != WEIGHT_DECAY && b->weights[i].kind != WEIGHT_FENWICK)
      return "slot mask: a factor that is neither fenwick nor a decay";
  const char *bad = row_code_reduces(fenwick->expr)
                        ? "a sum over levels"
                        : expr_not_emitted_by_token(fenwick->expr, AXIS_LEVELS);
  return bad ? arena_printf(a, "slot mask: %s in fenwick", bad) : NULL;
}

void levels_inputs(const struct branch *b, struct leaf_list *ret) {
  *ret = (struct leaf_list){.n = 0};
  leaf_list_add_inputs(ret, levels_weight(b)->expr, AXIS_LEVELS);
}

int levels_tile_bytes(const struct branch *b, int chunk) {
  struct leaf_list inputs;
  levels_inputs(b, &inputs);
  return 4 * (inputs.n ? inputs.n : 1) * chunk * (MAX_LEVELS + 1);
}

enum { TYPICAL_LOG2 = 14, TYPICAL_LEVELS = TYPICAL_LOG2 + 1 };

double levels_bytes(const struct branch *b) {
  struct leaf_list inputs;
  levels_inputs(b, &inputs);
  return 4.0 * inputs.n * TYPICAL_LEVELS;
}

double levels_live_slots(int chunk) {
  return (TYPICAL_LOG2 - log2(chunk)) / 2;
}

void levels_emit_weight(struct emission *e, struct scan_reads *reads) {
  const struct branch *b = &e->v->branches[0];
  const struct expr_term term = {levels_weight(b)->expr, false};
  struct expr_code code;
  struct leaf_list inputs;
  struct buf text = {0};
  expr_print(&text, term.e);
  expr_code(&term, 1, JOIN_SUM, &e->plan->config, e->arena, &code);
  emit_code(&e->slots, "level_weight", &code, buf_text(&text));
  scan_add_reads(reads, &code);
  expr_code_finish(&code);
  buf_finish(&text);
  levels_inputs(b, &inputs);
  buf_puts(&e->slots, "level_inputs = { ");
  for (int i = 0; i < inputs.n; i++) {
    const char *name = inputs.at[i]->name;
    char field[64];
    snprintf(field, sizeof field, "in_%s", name);
    buf_printf(&e->slots, "{ field = \"%s\", tile = \"", field);
    buf_printf(&e->slots, i == 0 ? "sLambda\" }, " : "sIn_%s\" }, ", name);
    emit_array(e, field, emit_array_of(name, "BTHL", MKC_F32, 4));
  }
  buf_puts(&e->slots, "},\n");
}

void levels_emit_position(struct emission *e, int slot_bytes) {
  struct op_array position = emit_array_of("position", "B", MKC_I64, 8);
  position.optional = 1;
  emit_array(e, "position", position);
  e->out->max_levels = MAX_LEVELS;
  e->out->slot_bytes = slot_bytes;
}
