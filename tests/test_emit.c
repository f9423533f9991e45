/* SPDX-License-Identifier: MIT
 * test_emit.c - emitted kernels against goldens, their #line directives against the template, the
 * table of arrays, and what a hostile spec gets into the source (nothing).
 */
#include "gen_support.h"

#include <ctype.h>
#include <stdlib.h>

static void emit_as(mkc_dtype dtype, const char *path, const char *text, const char *arch, int dk,
                    int dv, struct op_source *ret) {
  const struct gen_config c = {.arch = arch, .dtype = dtype, .dk = dk, .dv = dv};
  struct error err = {0};
  gen_op(path, text, strlen(text), &c, ret, &err);
  assert_string_equal(error_text(&err), "");
}

static void emit(const char *path, const char *text, const char *arch, int dk, int dv,
                 struct op_source *ret) {
  emit_as(MKC_BF16, path, text, arch, dk, dv, ret);
}

static void emit_shipped(const char *name, const char *arch, int dk, int dv,
                         struct op_source *ret) {
  char path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *f = embedded_find(path);
  assert_non_null(f);
  emit(path, f->data, arch, dk, dv, ret);
}

static void assert_kernel_golden(const char *spec, const char *arch, int dk, int dv) {
  struct op_source s;
  char golden[120];
  emit_shipped(spec, arch, dk, dv, &s);
  char *plain = op_source_plain(&s);
  snprintf(golden, sizeof golden, "kernel/%s_%s_%d_%d.cu", spec, arch, dk, dv);
  assert_golden(golden, plain);
  free(plain);
  op_source_finish(&s);
}

static void test_fp32_golden(void **state) {
  (void)state;
  struct op_source s;
  const struct embedded_file *f = embedded_find("specs/gated_deltanet.lua");
  emit_as(MKC_F32, f->name, f->data, "sm_90a", 64, 64, &s);
  char *plain = op_source_plain(&s);
  assert_golden("kernel/gated_deltanet_fp32_sm_90a_64_64.cu", plain);
  free(plain);
  op_source_finish(&s);
}

/* The kernel of a spec of tests/specs. */
static void assert_test_spec_golden(const char *name, const char *arch, int dk, int dv) {
  struct op_source s;
  char file[80], golden[120];
  snprintf(file, sizeof file, "tests/specs/%s.lua", name);
  char *path = source_path(file), *text = read_file(path, NULL);
  assert_non_null(text);
  emit(file, text, arch, dk, dv, &s);
  char *plain = op_source_plain(&s);
  snprintf(golden, sizeof golden, "kernel/%s_%s_%d_%d.cu", name, arch, dk, dv);
  assert_golden(golden, plain);
  free(plain);
  free(text);
  free(path);
  op_source_finish(&s);
}

static void test_goldens(void **state) {
  (void)state;
  assert_kernel_golden("simple_gla", "sm_90a", 128, 128);
  assert_kernel_golden("retnet", "sm_80", 64, 64);
  assert_kernel_golden("linear_attention", "sm_86", 128, 128);
  assert_kernel_golden("gated_rfa", "sm_90a", 64, 100);
  assert_kernel_golden("lightning2", "sm_120", 60, 100);
  assert_kernel_golden("mamba2", "sm_90a", 128, 64);
  assert_kernel_golden("gated_deltanet", "sm_90a", 128, 128);
  assert_kernel_golden("comba", "sm_86", 64, 80);
  assert_kernel_golden("gla", "sm_90a", 128, 128);
  assert_kernel_golden("hgrn2", "sm_120", 60, 100);
  assert_kernel_golden("kda", "sm_90a", 128, 128);
  assert_kernel_golden("gdn2", "sm_86", 60, 100);
  assert_kernel_golden("log_linear_mamba2", "sm_90a", 128, 64);
  assert_kernel_golden("log_linear_retnet", "sm_86", 60, 100);
  assert_kernel_golden("log_linear_gated_deltanet", "sm_90a", 128, 128);
  assert_kernel_golden("log_linear_gla", "sm_80", 64, 64);
  assert_kernel_golden("log_linear_kda", "sm_90a", 60, 100);
  assert_test_spec_golden("row_program", "sm_90a", 100, 64);
}

/* The line `number` of text, without its newline; the caller frees. */
static char *line_of(const char *text, int number) {
  while (--number > 0) text = strchr(text, '\n') + 1;
  const size_t len = strcspn(text, "\n");
  char *line = calloc(1, len + 1);
  return line ? memcpy(line, text, len) : NULL;
}

/* A template line without splices is the emitted line, to the letter. */
static void check_line(const char *file, int number, const char *emitted, size_t len,
                       int *checked) {
  const struct embedded_file *f = strncmp(file, "specs/", 6) ? embedded_find(file) : NULL;
  if (!f) return;
  char *line = line_of(f->data, number);
  if (!strstr(line, "$(")) {
    assert_int_equal(strlen(line), len);
    assert_memory_equal(line, emitted, len);
    ++*checked;
  }
  free(line);
}

static void test_line_directives_lead_to_the_template(void **state) {
  (void)state;
  struct op_source s;
  emit_shipped("simple_gla", "sm_90a", 128, 128, &s);
  char file[200] = "";
  int number = 0, checked = 0;
  bool vocabulary = false;
  for (const char *line = s.text; *line; line += strcspn(line, "\n") + 1) {
    if (!strncmp(line, "#if defined(__CUDACC__)", 23)) vocabulary = true;
    if (sscanf(line, "#line %d \"%199[^\"]\"", &number, file) == 2) {
      vocabulary = false;
      continue;
    }
    if (!vocabulary && *file) check_line(file, number++, line, strcspn(line, "\n"), &checked);
  }
  assert_true(checked > 220);
  op_source_finish(&s);
}

static void test_arrays(void **state) {
  (void)state;
  static const struct {
    const char *name, *axes;
    mkc_dtype dtype;
    int output, optional;
  } want[] = {
      {"C", "BTHk", MKC_BF16, 0, 0},      {"B", "BTHk", MKC_BF16, 0, 0},
      {"v", "BTHv", MKC_BF16, 0, 0},      {"dt", "BTH", MKC_F32, 0, 0},
      {"A_log", "H", MKC_F32, 0, 0},      {"h0", "BHkv", MKC_F32, 0, 1},
      {"o", "BTHv", MKC_BF16, 1, 0},      {"ht", "BHkv", MKC_F32, 1, 1},
      {"cu_seqlens", "C", MKC_I64, 0, 1},
  };
  struct op_source s;
  emit("t.lua",
       "return variant { name = \"x\", q = input { \"C\", dk }, k = input { \"B\", dk },\n"
       "  transition = { decay(exp(-exp(param \"A_log\") * softplus(input \"dt\"))) } }",
       "sm_90a", 64, 128, &s);
  assert_int_equal(s.narrays, 9);
  for (int i = 0; i < 9; i++) {
    const struct op_array *x = &s.arrays[i];
    bool found = false;
    for (int j = 0; j < 9; j++)
      if (!strcmp(x->name, want[j].name)) {
        found = true;
        assert_string_equal(x->axes, want[j].axes);
        assert_int_equal(x->dtype, want[j].dtype);
        assert_int_equal(x->output, want[j].output);
        assert_int_equal(x->optional, want[j].optional);
      }
    assert_true(found);
  }
  assert_int_equal(s.threads * s.blocks_a_head, 32 * 8);
  op_source_finish(&s);
}

/* A normaliser's op has a column more of states; rowsum sees the factor of k and not that of v. */
static void test_normaliser(void **state) {
  (void)state;
  struct op_source s;
  emit("t.lua",
       "return variant { name = \"x\", k = sigmoid(input \"i\") * input { \"k\", dk },\n"
       "  v = tanh(input \"w\") * input { \"v\", dv }, normaliser = max(abs(rowsum), 1) }",
       "sm_90a", 64, 64, &s);
  static const char *const names[] = {"q",  "k", "v",  "i",  "w",         "h0",
                                      "n0", "o", "ht", "nt", "cu_seqlens"};
  assert_int_equal(s.narrays, 11);
  for (int i = 0; i < 11; i++) assert_string_equal(s.arrays[i].name, names[i]);
  const char *weight = strstr(s.text, "TILE_FN float write_weight");
  const char *end = weight ? strchr(weight, '}') : NULL,
             *v = strstr(s.text, "tile_tanh(gate.in_w)");
  assert_true(weight && end && v);
  assert_true(strstr(weight, "gate.in_i") < end);
  assert_true(v < weight || v > end);
  assert_int_equal(s.threads, 32 * 4);
  op_source_finish(&s);
}

/* Free text and paths may hold anything; none of it becomes code. */
static void test_hostile_text_stays_out(void **state) {
  (void)state;
  struct op_source s;
  emit("a\"\n#include \"/etc/passwd\"\\?\?/.lua",
       "return variant { name = \"x\", about = \"*/ int evil; /* \\\\\\n#error evil\",\n"
       "  transition = { decay(exp(input { \"g\", max = 0 })) } }",
       "sm_90a", 64, 64, &s);
  assert_null(strstr(s.text, "evil"));
  assert_null(strstr(s.text, "?\?/")); /* to C11 that is a backslash */
  for (const char *line = s.text; *line; line += strcspn(line, "\n") + 1)
    if (!strncmp(line, "#include", 8)) assert_memory_equal(line, "#include \"tile_host.h\"", 22);
  op_source_finish(&s);
}

/* Same input, same bytes: the cache key is made of them. */
static void test_emission_is_deterministic(void **state) {
  (void)state;
  struct op_source a, b;
  emit_shipped("simple_gla", "sm_80", 64, 128, &a);
  emit_shipped("simple_gla", "sm_80", 64, 128, &b);
  assert_string_equal(a.text, b.text);
  op_source_finish(&a);
  op_source_finish(&b);
}

static void test_mask_decay_is_the_transition(void **state) {
  (void)state;
  struct op_source a, b;
  emit("t.lua", "return variant { name = \"x\", mask = decay(exp(input { \"g\", max = 0 })) }",
       "sm_80", 64, 64, &a);
  emit("t.lua",
       "return variant { name = \"x\", transition = { decay(exp(input { \"g\", max = 0 })) } }",
       "sm_80", 64, 64, &b);
  const char *x = strstr(a.text, "enum {"), *y = strstr(b.text, "enum {");
  assert_string_equal(x, y);
  op_source_finish(&a);
  op_source_finish(&b);
}

/* An op takes OP_MAX_ARRAYS arrays; a spec that reads more is refused, not cut. */
static void test_too_many_arrays_are_refused(void **state) {
  (void)state;
  struct buf text = {0};
  struct op_source s;
  struct error err = {0};
  const struct gen_config c = {.arch = "sm_80", .dtype = MKC_BF16, .dk = 64, .dv = 64};
  buf_puts(&text, "return variant { name = \"x\", transition = { decay(sigmoid(0");
  for (int i = 0; i < OP_MAX_ARRAYS; i++) buf_printf(&text, " + input \"g%d\"", i);
  buf_puts(&text, ")) } }");
  assert_int_equal(gen_op("t.lua", buf_text(&text), text.len, &c, &s, &err), MKC_E_NO_SCHEDULE);
  assert_contains(error_text(&err), "more than 24 arrays");
  assert_null(s.text);
  error_finish(&err);
  buf_finish(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_goldens),
      cmocka_unit_test(test_fp32_golden),
      cmocka_unit_test(test_line_directives_lead_to_the_template),
      cmocka_unit_test(test_arrays),
      cmocka_unit_test(test_normaliser),
      cmocka_unit_test(test_hostile_text_stays_out),
      cmocka_unit_test(test_emission_is_deterministic),
      cmocka_unit_test(test_mask_decay_is_the_transition),
      cmocka_unit_test(test_too_many_arrays_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
