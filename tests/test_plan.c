/* SPDX-License-Identifier: MIT
 * test_plan.c - the planner: what it takes on each architecture, and what it says when nothing
 * fits.
 */
#include "gen_support.h"

#include "plan.h"

#include <stdlib.h>

static struct gen_config config(const char *arch, int dk, int dv) {
  return (struct gen_config){.arch = arch, .dtype = MKC_BF16, .dk = dk, .dv = dv};
}

static void print_candidates(struct buf *out, const struct variant *v, const char *arch, int dk,
                             int dv, struct arena *a) {
  const struct gen_config c = config(arch, dk, dv);
  const struct plan *plans;
  struct error err = {0};
  int n;
  plan_op(v, &c, a, &plans, &n, &err);
  assert_string_equal(error_text(&err), "");
  buf_printf(out, "%s %d/%d\n", arch, dk, dv);
  for (int i = 0; i < n; i++) {
    buf_puts(out, i == 0 ? "  * " : "    ");
    plan_print(out, &plans[i]);
    if (plans[i].reason)
      buf_printf(out, "\n      %s\n", plans[i].reason);
    else {
      buf_puts(out, "\n      ");
      plan_print_cost(out, &plans[i]);
      buf_puts(out, "\n");
    }
  }
}

static void assert_plan_golden(const char *spec, const char *const archs[3],
                               const int sizes[3][2]) {
  struct loaded_spec s;
  struct buf out = {0};
  char golden[80];
  load_shipped(&s, spec);
  for (int t = 0; t < 3 && archs[t]; t++)
    for (int i = 0; i < 3 && sizes[i][0]; i++)
      print_candidates(&out, s.variant, archs[t], sizes[i][0], sizes[i][1], &s.arena);
  snprintf(golden, sizeof golden, "plan/%s.txt", spec);
  assert_golden(golden, buf_text(&out));
  buf_finish(&out);
  unload_spec(&s);
}

static void test_candidates(void **state) {
  (void)state;
  static const int sizes[][2] = {{128, 128}, {60, 100}, {256, 192}};
  static const char *const archs[] = {"sm_80", "sm_86", "sm_90a"};
  static const int one_size[3][2] = {{128, 128}};
  assert_plan_golden("simple_gla", archs, sizes);
  assert_plan_golden("gated_deltanet", archs, sizes);
  assert_plan_golden("gla", archs, one_size);
  assert_plan_golden("kda", archs, one_size);
}

/* What `maskc show --plan` prints: for a filled card, and for few heads. */
static void test_table(void **state) {
  (void)state;
  static const int heads[] = {0, 16, 200};
  struct loaded_spec s;
  struct buf out = {0};
  load_shipped(&s, "simple_gla");
  for (int i = 0; i < 3; i++) {
    struct gen_config c = config("sm_90a", 128, 128);
    const struct plan *plans;
    struct error err = {0};
    int n;
    c.heads = heads[i];
    assert_int_equal(plan_op(s.variant, &c, &s.arena, &plans, &n, &err), MKC_OK);
    buf_printf(&out, "heads %d\n", heads[i]);
    plan_print_table(&out, plans, n);
  }
  assert_golden("plan/table.txt", buf_text(&out));
  buf_finish(&out);
  unload_spec(&s);
}

static struct plan best_for(const struct loaded_spec *s, struct arena *a, int heads) {
  struct gen_config c = config("sm_90a", 128, 128);
  const struct plan *plans;
  struct error err = {0};
  int n;
  c.heads = heads;
  assert_int_equal(plan_op(s->variant, &c, a, &plans, &n, &err), MKC_OK);
  return plans[0];
}

/* Few heads make the planner split them over blocks; whole waves cost what a filled card does. */
static void test_heads_choose_the_plan(void **state) {
  (void)state;
  struct loaded_spec s;
  load_shipped(&s, "simple_gla");
  const struct plan filled = best_for(&s, &s.arena, 0);
  const int wave = (int)plan_heads_a_wave(&filled);
  const struct plan few = best_for(&s, &s.arena, wave / 8);
  assert_int_equal(filled.blocks_a_head, 1);
  assert_true(few.blocks_a_head > 1);
  assert_true(few.cost_ns > few.predicted_ns);
  const struct plan whole = best_for(&s, &s.arena, 3 * wave);
  assert_int_equal(whole.dv_tile, filled.dv_tile);
  assert_close(whole.cost_ns, filled.predicted_ns, 1e-12, 0);
  assert_close(whole.waves, 3, 1e-12, 0);
  const struct plan tail = best_for(&s, &s.arena, 3 * wave + 1);
  assert_true(tail.cost_ns > whole.cost_ns);
  unload_spec(&s);
}

/* The hint chooses among plans and enters no source: launches of any B and H share a kernel. */
static void test_heads_enter_no_source(void **state) {
  (void)state;
  const struct embedded_file *f = embedded_find("specs/simple_gla.lua");
  struct gen_config c = config("sm_90a", 128, 128);
  struct op_source filled, hinted;
  struct error err = {0};
  assert_int_equal(gen_op(f->name, f->data, f->len, &c, &filled, &err), MKC_OK);
  c.heads = 130; /* not a filled card, but the same plan */
  assert_int_equal(gen_op(f->name, f->data, f->len, &c, &hinted, &err), MKC_OK);
  assert_string_equal(filled.plan, hinted.plan);
  assert_string_equal(filled.text, hinted.text);
  op_source_finish(&filled);
  op_source_finish(&hinted);
}

static void assert_fits(const struct variant *v, const char *arch, mkc_dtype dtype, int dk, int dv,
                        struct arena *a) {
  struct gen_config c = config(arch, dk, dv);
  c.dtype = dtype;
  const struct plan *plans;
  struct error err = {0};
  int n;
  assert_int_equal(plan_op(v, &c, a, &plans, &n, &err), MKC_OK);
  assert_true(plans[0].smem_bytes <= target_find(arch)->smem_block);
  assert_true(plans[0].blocks_an_sm >= 1);
  assert_true(plans[0].predicted_ns >= plans[0].floor_ns);
  for (int i = 1; i < n; i++)
    assert_true(plans[i].reason || plans[i].predicted_ns >= plans[0].predicted_ns);
}

/* The feasibility rule: every dk and dv has a plan on every architecture, also with the tables and
 * tiles that mamba2 adds. */
static void test_every_size_has_a_plan_on_every_target(void **state) {
  (void)state;
  static const char *const names[] = {"simple_gla", "mamba2",    "comba", "gla",
                                      "hgrn2",      "gated_rfa", "kda"};
  for (int i = 0; i < 7; i++) {
    struct loaded_spec s;
    load_shipped(&s, names[i]);
    for (int t = 0; target_at(t); t++)
      for (int dk = 16; dk <= 256; dk += 12)
        for (int dv = 16; dv <= 256; dv += 20)
          assert_fits(s.variant, target_at(t)->arch, MKC_BF16, dk, dv, &s.arena);
    for (int dk = 16; dk <= 256; dk += 48)
      assert_fits(s.variant, "sm_90a", MKC_F32, dk, 256, &s.arena);
    unload_spec(&s);
  }
}

static void assert_refused(const char *spec, struct gen_config c, mkc_status status,
                           const char *message) {
  struct loaded_spec s;
  const struct plan *plans;
  struct error err = {0};
  int n;
  load_spec(&s, spec);
  assert_int_equal(plan_op(s.variant, &c, &s.arena, &plans, &n, &err), status);
  assert_contains(error_text(&err), message);
  error_finish(&err);
  unload_spec(&s);
}

#define V(fields) "return variant { name = \"x\", " fields " }"

static void test_what_has_no_schedule_is_named(void **state) {
  (void)state;
  static const struct {
    const char *spec, *message;
  } cases[] = {
      {V("transition = { identity - outer(input { \"b\", dk }, input { \"a\", dk }) }"),
       "slot transition: outer(b, a) with b not along k"},
      {"local k = l2norm(input { \"k\", dk }) return variant { name = \"x\", k = k,"
       " transition = { identity - outer(k, k * input { \"a\", dk } * input { \"b\", dk }) } }",
       "slot transition: inputs over channels that are not k's"},
      {V("transition = { delta(input \"b\"), decay(sigmoid(input { \"f\", dk })) }"),
       "channel_delta: slot transition: outer(b, a) with b not along k, or a decay over dk after"},
      {"local k = l2norm(input { \"k\", dk }) return variant { name = \"x\", k = k,"
       " transition = { decay(sigmoid(input { \"f\", dk })) - outer(k, sigmoid(input \"b\") * k) } "
       "}",
       "channel_delta: slot transition: an outer that reads the state before a decay"},
      {V("transition = { decay(sigmoid(l2norm(input { \"f\", dk }))) }"),
       "slot transition: a sum over channels in a decay"},
      {V("transition = { decay(sigmoid(input { \"f\", dk })) }, read = \"before\""),
       "channel: slot read"},
      {V("transition = { decay(sigmoid(input { \"f\", dv })) }"),
       "slot transition: a decay over dv"},
      {V("mask = fenwick(input { \"l\", levels }), normaliser = rowsum"),
       "fenwick: slot normaliser: under fenwick"},
      {V("mask = fenwick(input { \"l\", levels }) * window(4)"),
       "fenwick: slot mask: a factor that is neither fenwick nor a decay"},
      {V("mask = fenwick(softmax(input { \"l\", levels }))"),
       "fenwick: slot mask: a sum over levels"},
      {V("transition = { delta(0.5) }, mask = fenwick(input { \"l\", levels }), normaliser = "
         "rowsum"),
       "fenwick_eager: slot normaliser: under fenwick"},
      {V("transition = { identity - outer(input { \"w\", dk }, input { \"u\", dk }) },\n"
         "mask = fenwick(input { \"l\", levels })"),
       "fenwick_eager: slot transition: outer(b, a) with b not along k"},
      {V("mask = window(4)"), "slot mask: window"},
      {V("transition = { delta(0.5) }, normaliser = rowsum"), "delta: slot normaliser"},
      {V("transition = { decay(sigmoid(input { \"f\", dk })) }, normaliser = rowsum"),
       "channel: slot normaliser"},
      {V("transition = { decay(sigmoid(input { \"f\", dk })), delta(0.5) }, normaliser = rowsum"),
       "channel_delta: slot normaliser"},
      {V("normaliser = rowsum + sum(input { \"x\", dk })^2"), "scan: slot normaliser: sum"},
      {V("k = exp(input \"i\") * input { \"k\", dk }, normaliser = max(abs(rowsum), 1)"),
       "scan: slot normaliser: with a write gate that is exp"},
      {V("k = input { \"k\", dk } * sigmoid(input { \"b\", dk })"), "slot k: two inputs over"},
      {"local q = input { \"q\", dk } return variant { name = \"x\", q = concat(q, -q),"
       " k = concat(q, q) }",
       "slot k: channels of its own width"},
      {V("v = input { \"v\", dv } * sum(input { \"x\", dk })"), "slot v: a value over channels"},
      {V("v = input { \"f\", dv }, transition = { decay(sigmoid(sum(input { \"f\", dv }))) }"),
       "an input that has another use"},
      {V("score = qk^2"), "slot score"},
      {V("read = \"before\", transition = { decay(0.5) }"), "slot read"},
      {V("transition = { decay(sigmoid(sum(input { \"f\", dk }))) }"), "slot transition: sum"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_refused(cases[i].spec, config("sm_90a", 64, 64), MKC_E_NO_SCHEDULE, cases[i].message);
}

/* A sum over dv keeps a head in one block. */
static void test_sums_over_dv(void **state) {
  (void)state;
  struct loaded_spec s;
  const struct plan *plans;
  struct error err = {0};
  int n;
  load_spec(&s, V("output = rmsnorm(o)"));
  struct gen_config c = config("sm_86", 128, 192);
  assert_int_equal(plan_op(s.variant, &c, &s.arena, &plans, &n, &err), MKC_OK);
  assert_int_equal(plans[0].blocks_a_head, 1);
  unload_spec(&s);
  assert_refused(V("output = rmsnorm(o)"), config("sm_86", 128, 256), MKC_E_NO_SCHEDULE,
                 "the spec sums over dv, of which a block has a part");
}

static void test_sizes_are_refused_with_what_works(void **state) {
  (void)state;
  static const char what[] = "it takes multiples of 4 from 16 to 256";
  struct gen_config c = config("sm_90a", 98, 64);
  assert_refused(V(""), c, MKC_E_NO_SCHEDULE, "dk is 98");
  assert_refused(V(""), c, MKC_E_NO_SCHEDULE, what);
  assert_refused(V(""), config("sm_90a", 64, 260), MKC_E_NO_SCHEDULE, what);
  assert_refused(V(""), config("sm_90a", 12, 64), MKC_E_NO_SCHEDULE, what);
  c = config("sm_90a", 64, 64);
  c.chunk = 48;
  assert_refused(V(""), c, MKC_E_NO_SCHEDULE, "chunk is 48; it takes 16, 32, 64 and 128");
  c.chunk = 128;
  assert_refused(V("transition = { delta(1) }"), c, MKC_E_NO_SCHEDULE,
                 "chunk is 128; it takes 16, 32 and 64");
  c = config("sm_86", 192, 64);
  c.chunk = 128;
  assert_refused(V(""), c, MKC_E_NO_SCHEDULE, "shared memory; a block has 101376");
  assert_refused(V(""), c, MKC_E_NO_SCHEDULE, "note: what fits is chunk=32, 16");
  assert_refused(V(""), config("sm_70", 64, 64), MKC_E_ARCHITECTURE, "known: sm_80");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_candidates),
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_heads_choose_the_plan),
      cmocka_unit_test(test_heads_enter_no_source),
      cmocka_unit_test(test_every_size_has_a_plan_on_every_target),
      cmocka_unit_test(test_what_has_no_schedule_is_named),
      cmocka_unit_test(test_sums_over_dv),
      cmocka_unit_test(test_sizes_are_refused_with_what_works),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
