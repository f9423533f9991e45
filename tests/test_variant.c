/* SPDX-License-Identifier: MIT
 * test_variant.c - how variants are classified, which leaves are fp32, what is warned about.
 */
#include "support.h"

#include "front.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct loaded {
  struct arena arena;
  jmp_buf out_of_memory;
  const struct variant *v;
  const struct branch *b;
};

/* The fields of a variant; a b c ... g are scalar inputs, k w x vectors. */
static void load(struct loaded *l, const char *fields) {
  char text[1024];
  struct error err = {0};
  snprintf(text, sizeof text,
           "local k, w = l2norm(input { 'k', dk }), l2norm(input { 'w', dk })\n"
           "local m, f = input { 'm', dk }, sigmoid(input { 'f', dk })\n"
           "local a, b, c = input 'a', sigmoid(input 'b'), sigmoid(param 'c')\n"
           "return variant { name = 'x', %s }",
           fields);
  arena_init(&l->arena, &l->out_of_memory);
  if (spec_load("x.lua", text, strlen(text), &l->arena, &l->v, &err))
    fail_msg("%s", error_text(&err));
  l->b = l->v->branches;
}

static void unload(struct loaded *l) {
  arena_finish(&l->arena);
}

static void check_class(const char *fields, enum decay_kind decay, enum delta_kind delta,
                        int line) {
  struct loaded l;
  load(&l, fields);
  if (l.b->decay != decay || l.b->delta != delta)
    fail_msg("line %d: %s: decay %d, delta %d", line, fields, l.b->decay, l.b->delta);
  unload(&l);
}
#define assert_class(fields, decay, delta) check_class(fields, decay, delta, __LINE__)

static void decays(void **state) {
  (void)state;
  assert_class("scale = 1", DECAY_NONE, DELTA_PLAIN);
  assert_class("transition = { decay(0.9) }", DECAY_CONSTANT, DELTA_PLAIN);
  assert_class("transition = decay(c)", DECAY_CONSTANT, DELTA_PLAIN);
  assert_class("transition = { decay(1 - 2^(-5 - head)) }", DECAY_CONSTANT, DELTA_PLAIN);
  assert_class("transition = { decay(b) }", DECAY_SCALAR, DELTA_PLAIN);
  assert_class("transition = { decay(f) }", DECAY_CHANNEL, DELTA_PLAIN);
  /* the widest of several */
  assert_class("transition = { decay(f), decay(b), decay(0.5) }", DECAY_CHANNEL, DELTA_PLAIN);
  /* in the mask: the same as in the transition, for a linear score that is read after */
  assert_class("mask = decay(b) * decay(c)", DECAY_SCALAR, DELTA_PLAIN);
  assert_class("mask = decay(b), read = 'before'", DECAY_NONE, DELTA_PLAIN);
  assert_class("mask = decay(b), score = qk^2", DECAY_NONE, DELTA_PLAIN);
}

static void decays_over_dv(void **state) {
  (void)state;
  struct loaded l;
  load(&l, "transition = { decay(sigmoid(input { 'z', dv })), decay(b) }");
  assert_true(l.b->value_decay);
  assert_true(l.b->factors[0].right);
  assert_false(l.b->factors[1].right);
  assert_int_equal(l.b->decay, DECAY_SCALAR);
  unload(&l);
}

static void deltas(void **state) {
  (void)state;
  assert_class("k = k, transition = { delta(b) }", DECAY_NONE, DELTA_RULE);
  assert_class("k = k, transition = { decay(f), delta(b) }", DECAY_CHANNEL, DELTA_RULE);
  assert_class("k = k, transition = { delta(b), decay(b) }", DECAY_SCALAR, DELTA_RULE);
  /* the decay turns the erase vector away from k */
  assert_class("k = k, transition = { delta(b), decay(f) }", DECAY_CHANNEL, DELTA_LOWRANK);
  assert_class("k = k, transition = { delta(b), decay(sigmoid(input { 'z', dv })) }", DECAY_NONE,
               DELTA_RULE);
  /* by structure, whatever the scalars and the spelling */
  assert_class("k = k, transition = { identity - outer(k, f * k) }", DECAY_NONE, DELTA_FORM);
  assert_class("k = b * k, transition = { identity - outer(-a * l2norm(input { 'k', dk }), w) }",
               DECAY_NONE, DELTA_FORM);
  assert_class("k = k * (a * m), transition = { identity + outer(m * k, w) }", DECAY_NONE,
               DELTA_FORM);
  assert_class("k = k, transition = { decay(b) - outer(k, b * w) }", DECAY_SCALAR, DELTA_FORM);
  assert_class("k = k, transition = { identity - outer(w, w) }", DECAY_NONE, DELTA_LOWRANK);
  assert_class("k = k, transition = { identity - outer(m * k, k) }", DECAY_NONE, DELTA_LOWRANK);
  assert_class("k = k, transition = { identity - outer(k, k) + outer(k, w) }", DECAY_NONE,
               DELTA_LOWRANK);
  assert_class("k = k, transition = { delta(b), identity - outer(k, k) }", DECAY_NONE,
               DELTA_LOWRANK);
}

static void delta_writes_beta_k_v(void **state) {
  (void)state;
  struct loaded l;
  struct buf text = {0};
  load(&l, "k = k, transition = { decay(f), delta(b) }");
  expr_print(&text, l.b->v);
  assert_string_equal(buf_text(&text), "sigmoid(b) * v");
  buf_finish(&text);
  unload(&l);
}

static const struct leaf *find(const struct variant *v, const char *name) {
  for (int i = 0; i < v->nleaves; i++)
    if (strcmp(v->leaves[i]->name, name) == 0) return v->leaves[i];
  return NULL;
}

static void what_enters_a_gate_is_fp32(void **state) {
  (void)state;
  static const char *const gates[] = {"f", "b", "lambda", "a", "c"};
  static const char *const others[] = {"q", "k", "v", "z"};
  struct loaded l;
  load(&l, "transition = { decay(f), delta(b) }, k = k,"
           "mask = fenwick(input { 'lambda', levels }) * decay(sigmoid(a)),"
           "output = o * input 'z' * c");
  for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) assert_true(find(l.v, gates[i])->fp32);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_false(find(l.v, others[i])->fp32);
  unload(&l);
}

static void leaves_are_in_order_of_mention(void **state) {
  (void)state;
  static const char *const names[] = {"k", "b", "z", "q", "v"};
  struct loaded l;
  load(&l, "k = k, transition = { delta(b) }, output = o * input 'z'");
  assert_int_equal(l.v->nleaves, 5);
  for (int i = 0; i < 5; i++) {
    assert_string_equal(l.v->leaves[i]->name, names[i]);
    assert_int_equal(l.v->leaves[i]->index, i);
  }
  assert_int_equal(find(l.v, "k")->line, 1);
  assert_int_equal(find(l.v, "z")->line, 4);
  unload(&l);
}

static void write_gates_are_split(void **state) {
  (void)state;
  struct loaded l;
  struct buf text = {0};
  load(&l, "k = exp(a) * k / dk, normaliser = max(abs(rowsum), 1)");
  expr_print(&text, l.b->log_write);
  buf_puts(&text, " | ");
  expr_print(&text, l.b->k_rest);
  assert_string_equal(buf_text(&text), "a | l2norm(k) / dk");
  buf_finish(&text);
  unload(&l);
}

/* The warnings of a variant, but those of unused inputs. */
static void check_warning(const char *fields, const char *want, int line) {
  struct loaded l;
  const char *got = NULL;
  load(&l, fields);
  for (int i = 0; i < l.v->nwarnings; i++)
    if (!strstr(l.v->warnings[i], "is never used")) got = l.v->warnings[i];
  if (!want != !got || (want && !strstr(got, want)))
    fail_msg("line %d: %s: %s", line, fields, got ? got : "no warning");
  unload(&l);
}
#define assert_warning(fields, want) check_warning(fields, want, __LINE__)

static void warnings(void **state) {
  (void)state;
  assert_warning("k = k, transition = { delta(b) }", NULL);
  assert_warning("k = k, transition = { delta(2 * b) }", NULL);
  assert_warning("k = k, transition = { delta(3 * b) }", "may exceed 2/|k|^2");
  assert_warning("k = k, transition = { delta(a) }", "a may be negative");
  assert_warning("transition = { delta(b) }", "k = k is not known to have norm 1");
  assert_warning("k = m / max(sqrt(sum(m * m)), 1e-12), transition = { delta(b) }", NULL);
  assert_warning("transition = { identity - outer(b * w, w) }", NULL);
  assert_warning("transition = { identity - outer(2 * b * w, w) }", NULL);
  assert_warning("transition = { decay(b) - outer(b * w, w) }", NULL);
  assert_warning("transition = { decay(b) - outer(2 * b * w, w) }", "not known to contract");
  assert_warning("transition = { identity + outer(b * w, w) }", "identity + outer(");
  assert_warning("transition = { identity - outer(-b * w, w) }", "not known to contract");
  assert_warning("transition = { identity - outer(w, k) }", "not known to contract");
  assert_warning("score = exp(qk), normaliser = rowsum", "quadratic in T");
  assert_warning("score = exp(qk), normaliser = rowsum, mask = window(64)", NULL);
  assert_warning("score = exp(qk), normaliser = rowsum, mask = window(64) | first(4)", NULL);
  assert_warning("score = exp(qk), normaliser = rowsum, mask = ~window(64)", "quadratic in T");
  assert_warning("score = 1 + qk + qk^2 / 2", NULL);
  assert_warning("score = qk^2, transition = { decay(f) }", "does not expand");
}

static void unused_inputs_are_no_arrays(void **state) {
  (void)state;
  struct loaded l;
  load(&l, "scale = 1");
  assert_null(find(l.v, "w"));
  assert_int_equal(l.v->nleaves, 3); /* k came first, and is the default's too */
  assert_int_equal(l.v->nwarnings, 6);
  assert_contains(l.v->warnings[0], "x.lua:1: warning: input { \"w\", dk } is never used");
  unload(&l);
}

static void bounds_of_contracts_reach_the_decay(void **state) {
  (void)state;
  struct loaded l;
  load(&l, "transition = { decay(exp(input { 'g', min = -5, max = 0 })) }");
  assert_close(l.b->factors[0].log->lo, -5, 0, 0);
  assert_close(l.b->factors[0].log->hi, 0, 0, 0);
  assert_close(l.b->factors[0].diag->lo, exp(-5), 1e-15, 0);
  unload(&l);
}

/* delta acts at every step where its k or its rate varies over step, else in the first only. */
static void test_steps_of_delta(void **state) {
  (void)state;
  struct loaded l;
  load(&l, "steps = 2, k = l2norm(input { 'y', step, dk }), transition = { delta(b) }");
  assert_true(l.b->factors[0].step);
  unload(&l);
  load(&l, "steps = 2, transition = { delta(b) }");
  assert_false(l.b->factors[0].step);
  unload(&l);
  load(&l, "steps = 2, transition = { delta(sigmoid(input { 'r', step })) }");
  assert_true(l.b->factors[0].step);
  unload(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decays),
      cmocka_unit_test(decays_over_dv),
      cmocka_unit_test(deltas),
      cmocka_unit_test(delta_writes_beta_k_v),
      cmocka_unit_test(what_enters_a_gate_is_fp32),
      cmocka_unit_test(leaves_are_in_order_of_mention),
      cmocka_unit_test(write_gates_are_split),
      cmocka_unit_test(warnings),
      cmocka_unit_test(unused_inputs_are_no_arrays),
      cmocka_unit_test(bounds_of_contracts_reach_the_decay),
      cmocka_unit_test(test_steps_of_delta),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
