/* SPDX-License-Identifier: MIT
 * test_svg.c - tests gen/cli/svg.c, svg_mask.c, svg_roofline.c and show_svg.c: what comes out is
 * well-formed whatever goes in, and shows the weights and the figures it was given.
 */
#include "support.h"

#include "cli/show.h"
#include "cli/svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- well-formed XML, as far as svg.c writes it ---- */

enum { MAX_DEPTH = 8, MAX_NAME = 32 };

/* "&lt;" and its like; 0 for a bare ampersand. */
static size_t reference_length(const char *s) {
  static const char *const known[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strncmp(s, known[i], strlen(known[i])) == 0) return strlen(known[i]);
  return 0;
}

static const char *skip_data(const char *s) {
  while (*s && *s != '<') {
    const unsigned char c = (unsigned char)*s;
    if (c < 0x20 && c != '\n' && c != '\t') fail_msg("a control character: %02x", c);
    if (c == '&' && !reference_length(s)) fail_msg("a bare ampersand: %.20s", s);
    s++;
  }
  return s;
}

/* A tag with its attributes; its '>' or '/>' is left. */
static const char *skip_tag(const char *s, char name[MAX_NAME]) {
  const size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");
  assert_true(n > 0 && n < MAX_NAME);
  memcpy(name, s, n);
  name[n] = 0;
  for (s += n; *s == ' ';) {
    s += 1 + strcspn(s + 1, "=\"<>");
    assert_true(s[0] == '=' && s[1] == '"');
    s += 2;
    const size_t value = strcspn(s, "\"<&");
    assert_int_equal(s[value], '"');
    s += value + 1;
  }
  return s;
}

static void assert_well_formed(const char *text) {
  char open[MAX_DEPTH][MAX_NAME], name[MAX_NAME];
  int depth = 0;
  const char *s = strstr(text, "?>\n") + 3;
  assert_true(strncmp(text, "<?xml ", 6) == 0);
  while (*(s = skip_data(s))) {
    const bool closes = s[1] == '/';
    s = skip_tag(s + 1 + closes, name);
    if (closes) assert_true(depth > 0 && strcmp(open[--depth], name) == 0);
    if (!closes && *s == '>') {
      assert_true(depth < MAX_DEPTH);
      strcpy(open[depth++], name);
    } else if (!closes) {
      assert_int_equal(*s++, '/');
    }
    assert_int_equal(*s++, '>');
  }
  assert_int_equal(depth, 0);
}

/* ---- text ---- */

static void escaped(const char *text, const char *expected) {
  struct buf out = {0};
  svg_escape(&out, text);
  assert_string_equal(buf_text(&out), expected);
  buf_finish(&out);
}

static void escapes_what_xml_reserves(void **state) {
  (void)state;
  escaped("a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c&#39;");
  escaped("]]>", "]]&gt;");
  escaped("\x01\x1b\x7f\xff \xc3", "???\?"
                                   " ?");
  escaped("\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd", "??\xef\xbf\xbd");
  escaped("\xce\xb1\xf0\x9f\x98\x80", "\xce\xb1\xf0\x9f\x98\x80");
  escaped("", "");
}

static void breaks_lines_at_blanks(void **state) {
  (void)state;
  assert_int_equal(svg_line_bytes("one two three", 8), 7);
  assert_int_equal(svg_line_bytes("one two three", 7), 7);
  assert_int_equal(svg_line_bytes("one two three", 6), 3);
  assert_int_equal(svg_line_bytes("onetwothree", 4), 4);
  assert_int_equal(svg_line_bytes("one\ntwo", 9), 3);
  assert_int_equal(svg_line_bytes("\xce\xb1\xce\xb2\xce\xb3", 2), 4);
  assert_int_equal(svg_line_bytes("", 4), 0);
}

static void a_paragraph_keeps_its_indent(void **state) {
  (void)state;
  struct buf out = {0};
  const double y = svg_paragraph(&out, 0, 10, 9, "mono", "  aaa bbb ccc\nd\n\ne");
  assert_close(y, 10 + 5 * SVG_LINE_HEIGHT, 0, 1e-9);
  assert_contains(buf_text(&out), ">  aaa bbb</text>");
  assert_contains(buf_text(&out), ">  ccc</text>");
  assert_contains(buf_text(&out), ">d</text>");
  assert_contains(buf_text(&out), "></text>");
  buf_finish(&out);
}

/* ---- the page ---- */

static struct arena arena;
static jmp_buf out_of_memory;

static int setup(void **state) {
  (void)state;
  arena_init(&arena, &out_of_memory);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  arena_finish(&arena);
  return 0;
}

static const char gated[] = "return variant { name = \"x\", about = \"%s\",\n"
                            "  transition = { decay(exp(input { \"g\", max = 0 })) } }";
static const char levels[] =
    "return variant { name = \"x\", mask = fenwick(input { \"l\", levels }) }";

/* The page of a spec with these weights; the caller frees. */
static char *page(const char *text, int tokens, double *weights, const char *arch) {
  struct show s = {.mask = {.tokens = tokens, .heads = 4, .seed = 1},
                   .weights = weights,
                   .config = {.arch = arch, .dtype = MKC_BF16, .dk = 128, .dv = 128}};
  struct error err = {0};
  if (spec_load("x.lua", text, strlen(text), &arena, &s.variant, &err))
    fail_msg("%s", error_text(&err));
  if (plan_op(s.variant, &s.config, &arena, &s.plans, &s.nplans, &err)) {
    s.plans = NULL;
    s.no_schedule = arena_strdup(&arena, error_text(&err));
  }
  error_finish(&err);
  struct buf out = {0};
  show_svg(&out, &s);
  assert_false(out.failed);
  assert_well_formed(buf_text(&out));
  return buf_steal(&out);
}

static void hostile_text_stays_text(void **state) {
  (void)state;
  static const char *const about[] = {
      "</title></svg><script>alert(1)</script>", "<!-- & ]]> <?xml ?> ' \\0 \\1 \\27[31m \\255",
      "&#0; &lt; \\xEF\\xBF\\xBF\\xE2\\x80\\xAE", "a\\n\\n\\tb", ""};
  double w[4] = {1, 0, 0.5, 1};
  for (size_t i = 0; i < sizeof about / sizeof *about; i++) {
    char text[1000];
    snprintf(text, sizeof text, gated, about[i]);
    char *svg = page(text, 2, w, "sm_90a");
    assert_null(strstr(svg, "<script"));
    free(svg);
  }
}

static void cells_show_the_weights(void **state) {
  (void)state;
  double w[9] = {1, 0, 0, 1, 1, 0, -1, 1e-9, 1};
  char *svg = page(gated, 3, w, "sm_90a");
  assert_contains(svg, "fill=\"#082a62\" d=\"M0 0h1v1h-1zM0 1h2v1h-2zM2 2h1v1h-1z\""); /* 1 */
  assert_contains(svg, "fill=\"#7a2606\" d=\"M0 2h1v1h-1z\"");                         /* -1 */
  assert_contains(svg, "fill=\"#dae8f6\" d=\"M1 2h1v1h-1z\""); /* little, yet not nothing */
  free(svg);
}

static void levels_have_colours(void **state) {
  (void)state;
  double w[4] = {2, 0, 2, 2};
  char *svg = page(levels, 2, w, "sm_90a");
  assert_contains(svg, "fill=\"#c88c00\" d=\"M0 0h1v1h-1zM1 1h1v1h-1z\"");
  assert_contains(svg, "fill=\"#d6601e\" d=\"M0 1h1v1h-1z\"");
  assert_contains(svg, "fenwick level");
  free(svg);
}

static void weights_may_be_anything(void **state) {
  (void)state;
  double strange[4] = {NAN, INFINITY, -INFINITY, 1e308}, none[4] = {0};
  char *svg = page(gated, 2, strange, "sm_90a");
  assert_contains(svg, "fill=\"#ff00ff\" d=\"M0 0h2v1h-2zM0 1h1v1h-1z\"");
  assert_contains(svg, "not finite");
  free(svg);
  free(page(gated, 2, none, "sm_90a"));
  double one = -3;
  free(page(levels, 1, &one, "sm_90a"));
}

/* Where a circle with this radius is. */
static void find_circle(const char *svg, const char *r, double *ret_x, double *ret_y) {
  *ret_x = *ret_y = NAN;
  for (const char *c = svg; (c = strstr(c, "<circle"));) {
    char radius[16];
    assert_int_equal(
        sscanf(c++, "<circle cx=\"%lf\" cy=\"%lf\" r=\"%15[^\"]", ret_x, ret_y, radius), 3);
    if (strcmp(radius, r) == 0) return;
  }
  fail_msg("no circle of radius %s", r);
}

/* The roof's first line rises to the ridge, its second stays there. */
static void assert_on_roof(const char *svg, double x, double y) {
  double x1, y1, x2, y2;
  const char *line = strstr(svg, "class=\"roof\"");
  assert_non_null(line);
  while (strncmp(line, "<line", 5) != 0) line--;
  assert_int_equal(
      sscanf(line, "<line x1=\"%lf\" y1=\"%lf\" x2=\"%lf\" y2=\"%lf\"", &x1, &y1, &x2, &y2), 4);
  assert_close(y, x < x2 ? y1 + (y2 - y1) * (x - x1) / (x2 - x1) : y2, 0, 0.02);
}

/* The floor is on the roof, and the plan below it at the same intensity. */
static void every_card_has_its_roofline(void **state) {
  (void)state;
  double w[1] = {1};
  for (int i = 0; target_at(i); i++) {
    char expected[64];
    double floor_x, floor_y, plan_x, plan_y;
    char *svg = page(gated, 1, w, target_at(i)->arch);
    snprintf(expected, sizeof expected, "memory, %.0f GB/s", target_at(i)->copy_gbs);
    assert_contains(svg, expected);
    snprintf(expected, sizeof expected, "matrix rate, %.0f TFLOP/s", target_at(i)->mma_tflops);
    assert_contains(svg, expected);
    find_circle(svg, "5.5", &floor_x, &floor_y);
    find_circle(svg, "4.5", &plan_x, &plan_y);
    assert_on_roof(svg, floor_x, floor_y);
    assert_close(plan_x, floor_x, 0, 1e-9);
    assert_true(plan_y >= floor_y);
    assert_contains(svg, "% of the roof");
    free(svg);
  }
}

static void says_that_there_is_no_schedule(void **state) {
  (void)state;
  double w[1] = {1};
  char *svg = page("return variant { name = 'x', mask = window(64) }", 1, w, "sm_90a");
  assert_contains(svg, "no schedule serves x yet");
  assert_null(strstr(svg, "<circle"));
  free(svg);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(escapes_what_xml_reserves),
      cmocka_unit_test(breaks_lines_at_blanks),
      cmocka_unit_test(a_paragraph_keeps_its_indent),
      cmocka_unit_test(hostile_text_stays_text),
      cmocka_unit_test(cells_show_the_weights),
      cmocka_unit_test(levels_have_colours),
      cmocka_unit_test(weights_may_be_anything),
      cmocka_unit_test(every_card_has_its_roofline),
      cmocka_unit_test(says_that_there_is_no_schedule),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
