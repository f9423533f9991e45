/* SPDX-License-Identifier: MIT
 * test_schedule_step.c - the decode step before any kernel runs: branches as operations on the
 * state, what is refused and why, a plan for every size, and one emitted kernel.
 */
#include "gen_support.h"

#include "plan.h"
#include "schedule_step.h"

#include <stdlib.h>

/* A spec that ships, or one of tests/specs. */
static char *test_spec(const char *name) {
  static const char *const folders[] = {"specs", "tests/specs"};
  char file[80], *text = NULL;
  for (int i = 0; i < 2 && !text; i++) {
    snprintf(file, sizeof file, "%s/%s.lua", folders[i], name);
    char *path = source_path(file);
    text = read_file(path, NULL);
    free(path);
  }
  assert_non_null(text);
  return text;
}

/* ---- programs ---- */

static void print_scalar(struct buf *out, const struct step_scalar *v) {
  for (int i = 0; i < v->n; i++) {
    buf_puts(out, i == 0 ? "" : v->terms[i].inverse ? " / " : " * ");
    expr_print(out, v->terms[i].e);
  }
}

static void print_sum(struct buf *out, const struct step_program *p, const struct step_op *op) {
  buf_puts(out, op->writes ? ", v" : ", 0");
  for (int i = 0; i < op->nsum; i++) {
    buf_puts(out, op->sum[i].minus ? " - " : " + ");
    if (op->sum[i].scalar >= 0) {
      print_scalar(out, &p->scalars.at[op->sum[i].scalar]);
      buf_puts(out, " * ");
    }
    buf_printf(out, "r%d", op->sum[i].projection);
  }
}

static void print_op(struct buf *out, const struct step_program *p, const struct step_op *op) {
  static const char *const names[] = {"scale", "scale dk", "scale dv", "project", "add", "read"};
  buf_printf(out, "  %s ", names[op->kind]);
  if (op->kind == STEP_SCALE)
    print_scalar(out, &p->scalars.at[op->value]);
  else
    expr_print(out, (op->kind == STEP_SCALE_DV ? &p->columns : &p->rows)->at[op->value]);
  if (op->kind == STEP_ADD) print_sum(out, p, op);
  buf_puts(out, "\n");
}

/* The operations of published variants, to be read beside their equations. */
static void test_programs(void **state) {
  (void)state;
  static const char *const names[] = {"gla",      "deltanet",  "gated_deltanet", "kda",
                                      "gdn2",     "comba",     "rwkv7",          "rwkv6",
                                      "commuted", "mask_decay"};
  struct buf out = {0};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct loaded_spec s;
    struct step_program p;
    char *text = test_spec(names[i]);
    load_spec(&s, text);
    assert_true(step_program(&s.variant->branches[0], &p));
    buf_printf(&out, "%s, v = ", names[i]);
    expr_print(&out, p.columns.at[0]);
    buf_puts(&out, "\n");
    for (int j = 0; j < p.nops; j++) print_op(&out, &p, &p.ops[j]);
    unload_spec(&s);
    free(text);
  }
  assert_golden("plan/step_programs.txt", buf_text(&out));
  buf_finish(&out);
}

/* The value is computed once and acts twice. */
static void test_repeated_decays(void **state) {
  (void)state;
  static const char text[] =
      "local f, w = sigmoid(input { \"f\", dk }), sigmoid(input { \"w\", dv })\n"
      "return variant { name = \"x\",\n"
      "  transition = { decay(f), decay(w), decay(f), decay(w) } }";
  struct loaded_spec s;
  struct step_program p;
  int rows = 0, columns = 0;
  load_spec(&s, text);
  assert_true(step_program(&s.variant->branches[0], &p));
  for (int i = 0; i < p.nops; i++) {
    rows += p.ops[i].kind == STEP_SCALE_DK;
    columns += p.ops[i].kind == STEP_SCALE_DV;
  }
  assert_int_equal(rows, 2);
  assert_int_equal(columns, 2);
  assert_int_equal(p.rows.n, 3);    /* f, k and q */
  assert_int_equal(p.columns.n, 2); /* v and w */
  unload_spec(&s);
}

/* ---- plans ---- */

static struct gen_config config(const char *arch, int dk, int dv) {
  return (struct gen_config){.arch = arch, .pass = MKC_STEP, .dtype = MKC_BF16, .dk = dk, .dv = dv};
}

static void expect_refused(const char *text, const struct gen_config *c, const char *why) {
  struct loaded_spec s;
  const struct plan *plans;
  struct error err = {0};
  int n;
  load_spec(&s, text);
  assert_int_equal(plan_op(s.variant, c, &s.arena, &plans, &n, &err), MKC_E_NO_SCHEDULE);
  assert_contains(error_text(&err), why);
  error_finish(&err);
  unload_spec(&s);
}

static void test_refused(void **state) {
  (void)state;
  struct gen_config c = config("sm_90a", 64, 64);
  static const char *const refused[][2] = {
      {"mlstm", "step: slot normaliser"},
      {"gated_deltaproduct", "step: slot steps"},
      {"log_linear_mlstm", "step_fenwick: slot normaliser"},
      {"mlstm", "step_fenwick: slot mask: no fenwick"},
      {"log_linear_mlstm", "step: slot normaliser"},
      {"long_conv", "step: slot score"},
      {"hgrn", "step: slot k: a scalar, so that dk is 1"},
      {"longhorn", "step: a value over channels in "},
      {"rwkv6", "step: slot output: a value over channels"},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    char *text = test_spec(refused[i][0]);
    expect_refused(text, &c, refused[i][1]);
    free(text);
  }
  static const char plain[] = "return variant { name = \"t\" }";
  c.dk = 18;
  expect_refused(plain, &c, "step: dk is 18; it takes multiples of 4 from 16 to 256");
  c = config("sm_90a", 64, 64);
  c.chunk = 64;
  expect_refused(plain, &c, "step: --chunk: a step has no chunks");
  c = config("sm_90a", 256, 256);
  expect_refused("return variant { name = \"t\", output = softmax(o) }", &c,
                 "the output wants all channels in one block");
}

static void expect_plans(const char *name) {
  char *text = test_spec(name);
  struct loaded_spec s;
  load_spec(&s, text);
  for (int t = 0; target_at(t); t++)
    for (int dk = 16; dk <= 256; dk += 20)
      for (int dv = 16; dv <= 256; dv += 12) {
        const struct gen_config c = config(target_at(t)->arch, dk, dv);
        const struct plan *plans;
        struct error err = {0};
        int n;
        assert_int_equal(plan_op(s.variant, &c, &s.arena, &plans, &n, &err), MKC_OK);
        assert_true(plans[0].smem_bytes <= target_at(t)->smem_block);
        assert_true(plans[0].predicted_ns >= plans[0].floor_ns);
        assert_true(plans[0].blocks_a_head * plans[0].dv_tile >= dv);
      }
  unload_spec(&s);
  free(text);
}

static void test_every_size_has_a_plan(void **state) {
  (void)state;
  expect_plans("kda");
  expect_plans("log_linear_kda");
}

/* What a plan under a Fenwick mask supposes is said with its costs. */
static void test_costs_of_live_slots(void **state) {
  (void)state;
  const struct gen_config c = config("sm_90a", 128, 128);
  char *text = test_spec("log_linear_linear_attention");
  struct loaded_spec s;
  struct error err = {0};
  struct buf line = {0};
  const struct plan *plans;
  int n;
  load_spec(&s, text);
  assert_int_equal(plan_op(s.variant, &c, &s.arena, &plans, &n, &err), MKC_OK);
  plan_print_cost(&line, &plans[0]);
  assert_contains(buf_text(&line), "a token of one head with 7 of 14 slots live;");
  /* 7 states read and written; q, k, v and o in bf16; 15 weights */
  assert_close(plans[0].bytes, 7 * 2 * 4 * 128 * 128 + 4 * 2 * 128 + 15 * 4, 1e-12, 0);
  buf_finish(&line);
  unload_spec(&s);
  free(text);
}

/* ---- the kernels ---- */

static void expect_kernel(const char *name, const char *entry, const char *golden) {
  const struct gen_config c = config("sm_90a", 60, 100);
  struct op_source s;
  struct error err = {0};
  char *text = test_spec(name), path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  gen_op(path, text, strlen(text), &c, &s, &err);
  assert_string_equal(error_text(&err), "");
  assert_string_equal(s.entry, entry);
  char *plain = op_source_plain(&s);
  assert_golden(golden, plain);
  free(plain);
  free(text);
  op_source_finish(&s);
}

static void test_kernels(void **state) {
  (void)state;
  expect_kernel("kda", "kda_step", "kernel/kda_step_sm_90a_60_100.cu");
  expect_kernel("log_linear_gated_deltanet", "log_linear_gated_deltanet_step",
                "kernel/log_linear_gated_deltanet_step_sm_90a_60_100.cu");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_programs),
      cmocka_unit_test(test_repeated_decays),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_every_size_has_a_plan),
      cmocka_unit_test(test_costs_of_live_slots),
      cmocka_unit_test(test_kernels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
