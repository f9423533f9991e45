/* SPDX-License-Identifier: MIT
 * schedule_delta_slots.c - what templates/delta.k.c and channel_delta.k.c are rendered with: the
 * slots and arrays of the scan (schedule_scan_slots.c), and what the erasure adds.
 */
#include "schedule_channel.h"
#include "schedule_delta.h"

/* The tile of the erase vector, and its array where it has one that neither q nor k comes from. */
static void emit_vector(struct emission *e, const struct delta_form *f) {
  const struct scan_roles *roles = &f->roles;
  const char *tile = delta_vector_tile(f);
  emit_string(&e->slots, "erase_tile", tile);
  if (*tile != 'e') return;
  const char *array = f->vector.leaf == roles->q.leaf   ? "q"
                      : f->vector.leaf == roles->k.leaf ? "k"
                                                        : "e";
  scan_emit_role(e, "e", &f->vector, array);
  if (*array == 'e') scan_emit_channels(e, "e", f->vector.leaf->name, AXIS_DK);
}

/* Whether E' S reads the state before the decay of its factor, and the log decays that it does see.
 */
static void emit_before(struct emission *e, const struct delta_form *f, struct scan_reads *reads) {
  const struct branch *b = &e->v->branches[0];
  struct expr_term *logs = arena_array(e->arena, struct expr_term, b->nfactors + b->nweights);
  const bool before = f->decayed_with != NULL;
  const int n = before ? scan_collect_logs(b, f->decayed_with, logs) : 0;
  buf_printf(&e->slots, "erase_before = %s,\n", before ? "true" : "false");
  scan_emit_terms(e, "besides", logs, n, JOIN_SUM, reads);
}

void delta_emit_code(struct emission *e, const struct delta_form *f, struct scan_reads *reads) {
  const bool own = *delta_vector_tile(f) == 'e';
  scan_emit_code(e, &f->roles, reads);
  scan_emit_terms(e, "erase", f->terms, f->nterms, JOIN_PRODUCT, reads);
  scan_emit_row(e, "row_e", own ? f->vector.row : NULL, reads);
  emit_before(e, f, reads);
}

void delta_emit_roles(struct emission *e, const struct delta_form *f) {
  const struct branch *b = &e->v->branches[0];
  scan_emit_roles(e, &f->roles);
  emit_vector(e, f);
  if (b->decay == DECAY_CHANNEL) channel_emit_decay_inputs(e, b);
}

void schedule_delta_slots(struct emission *e) {
  struct delta_form form;
  struct scan_reads reads = {.head = false};
  delta_form_of(&e->v->branches[0], e->arena, &form);
  delta_emit_code(e, &form, &reads);
  delta_emit_roles(e, &form);
  scan_emit_arrays(e, &form.roles, &reads);
}
