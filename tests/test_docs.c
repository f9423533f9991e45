/* SPDX-License-Identifier: MIT
 * test_docs.c - what docs/ says is so: its specs load, its messages are those of the loader, and
 * all of them; the program of docs/c-api.md is the one that examples/ builds and runs.
 *
 * A message in docs/spec-language.md is the code span at the head of a list item below "Every
 * error"; "…" in it stands for any text:
 *
 *   - `fenwick takes one weight a level; … is …`: ...
 */
#define _POSIX_C_SOURCE 200809L
#include "gen_support.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>

enum { MAX_TEXTS = 4000 };

struct texts {
  int n;
  char *at[MAX_TEXTS];
};

static void texts_add(struct texts *list, const char *s, size_t len) {
  assert_true(list->n < MAX_TEXTS);
  list->at[list->n] = strndup(s, len);
  assert_non_null(list->at[list->n++]);
}

static void texts_finish(struct texts *list) {
  while (list->n > 0) free(list->at[--list->n]);
}

static char *read_source(const char *folder, const char *name) {
  char relative[300];
  snprintf(relative, sizeof relative, "%s/%s", folder, name);
  char *path = source_path(relative), *text = read_file(path, NULL);
  if (!text) fail_msg("%s: not in the source tree", relative);
  free(path);
  return text;
}

/* Calls visit with the text of every file of the folder whose name ends so. */
static void each_file(const char *folder, const char *end,
                      void (*visit)(void *data, const char *name, char *text), void *data) {
  char *path = source_path(folder);
  DIR *dir = opendir(path);
  assert_non_null(dir);
  for (const struct dirent *e; (e = readdir(dir));) {
    const size_t len = strlen(e->d_name), n = strlen(end);
    if (len < n || strcmp(e->d_name + len - n, end) != 0) continue;
    char *text = read_source(folder, e->d_name);
    visit(data, e->d_name, text);
    free(text);
  }
  closedir(dir);
  free(path);
}

/* ---- patterns ---- */

static const char any[] = "…";

/* The pieces of the pattern between "…" (or, of a format, between conversions) come in this order
 * in the text. whole: the first begins it and the last ends it. */
static bool pieces_in(const struct texts *pieces, const char *text, bool whole) {
  const char *at = text;
  for (int i = 0; i < pieces->n; i++) {
    const char *piece = pieces->at[i];
    const size_t len = strlen(piece), rest = strlen(at);
    if (whole && i == pieces->n - 1 && i > 0) return rest >= len && !strcmp(at + rest - len, piece);
    const char *found = strstr(at, piece);
    if (!found || (whole && i == 0 && found != text)) return false;
    at = found + len;
  }
  return !whole || pieces->n > 1 || !*at;
}

static void split_pattern(const char *pattern, struct texts *ret) {
  ret->n = 0;
  for (const char *next; (next = strstr(pattern, any)); pattern = next + strlen(any))
    texts_add(ret, pattern, (size_t)(next - pattern));
  texts_add(ret, pattern, strlen(pattern));
}

static bool matches(const char *pattern, const char *text) {
  static struct texts pieces;
  split_pattern(pattern, &pieces);
  const bool yes = pieces_in(&pieces, text, true);
  texts_finish(&pieces);
  return yes;
}

/* Some of the literals has the pattern's pieces, or those after its "transition: ", which is put in
 * front of many. */
static bool is_in_sources(const char *pattern, const struct texts *literals) {
  static struct texts pieces;
  bool found = false;
  for (int pass = 0; pass < 2 && !found && pattern; pass++) {
    split_pattern(pattern, &pieces);
    for (int i = 0; i < literals->n && !found; i++)
      found = pieces_in(&pieces, literals->at[i], false);
    texts_finish(&pieces);
    pattern = strstr(pattern, ": ");
    if (pattern) pattern += 2;
  }
  return found;
}

/* The literal text of a format, but bits too short to tell anything. */
static void split_format(const char *format, struct texts *ret) {
  ret->n = 0;
  for (const char *p = format; *p;) {
    const size_t len = strcspn(p, "%");
    if (len >= 3) texts_add(ret, p, len);
    p += len;
    if (*p) p += strcspn(p + 1, "sducxgf%") + 2;
  }
}

/* ---- C sources ---- */

/* From *p at a quote: this literal, and those right behind it, in one; *p goes past them. */
static char *read_literal(const char **p) {
  struct buf out = {0};
  do {
    for (++*p; **p && **p != '"'; ++*p) {
      if (**p == '\\') ++*p;
      buf_write(&out, **p == 'n' && (*p)[-1] == '\\' ? "\n" : *p, 1);
    }
    ++*p;
    *p += strspn(*p, " \n");
  } while (**p == '"');
  buf_puts(&out, "");
  return buf_steal(&out);
}

/* The next quote that opens a literal, past comments and characters; NULL: none before `end`. */
static const char *find_quote(const char *p, const char *end) {
  for (; p < end && *p && *p != '"'; p++) {
    if (p[0] == '/' && p[1] == '*') p = strstr(p, "*/") + 1;
    if (p[0] == '\'' && p[1]) p = strchr(p + (p[1] == '\\' ? 3 : 2), '\'');
    if (!p) return NULL;
  }
  return p < end && *p ? p : NULL;
}

static void add_literals(void *data, const char *name, char *text) {
  (void)name;
  const char *const end = text + strlen(text);
  for (const char *p = text; (p = find_quote(p, end));) {
    char *literal = read_literal(&p);
    texts_add(data, literal, strlen(literal));
    free(literal);
  }
}

/* Where the call that opens here ends. */
static const char *end_of_call(const char *open) {
  int depth = 0;
  for (const char *p = open; *p; p++) {
    if (*p == '"') {
      free(read_literal(&p));
      p--;
    } else if (*p == '\'') {
      p = strchr(p + (p[1] == '\\' ? 3 : 2), '\'');
    } else if (*p == '(') {
      depth++;
    } else if (*p == ')' && --depth == 0) {
      return p;
    }
  }
  return open;
}

/* The message of a call is the first of its literals that has a space in it. */
static void add_message(const char *open, struct texts *ret) {
  const char *const end = end_of_call(open);
  for (const char *p = open; (p = find_quote(p, end));) {
    char *literal = read_literal(&p);
    const bool message = strchr(literal, ' ') != NULL;
    if (message) texts_add(ret, literal, strlen(literal));
    free(literal);
    if (message) return;
  }
}

static void add_messages(void *data, const char *name, char *text) {
  static const char *const callers[] = {"diag_error",  "check_failed",  "field_failed",
                                        "leaf_failed", "weight_failed", "factor_failed",
                                        "warn"};
  (void)name;
  for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
    const size_t len = strlen(callers[i]);
    for (const char *p = text; (p = strstr(p, callers[i])); p += len) {
      const bool word = p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_');
      if (word && p[len] == '(') add_message(p + len, data);
    }
  }
}

/* ---- the page ---- */

static void read_messages(const char *page, struct texts *ret) {
  const char *p = strstr(page, "\n## Every error");
  assert_non_null(p);
  while ((p = strstr(p, "\n- `"))) {
    p += 4;
    const char *end = strchr(p, '`');
    assert_non_null(end);
    texts_add(ret, p, (size_t)(end - p));
    for (char *c = ret->at[ret->n - 1]; *c; c++)
      if (*c == '\n') fail_msg("a message must stand on one line: %s", ret->at[ret->n - 1]);
    p = end;
  }
}

static void load_block(const char *text, size_t len) {
  struct loaded_spec s;
  char *spec = strndup(text, len);
  assert_non_null(spec);
  load_spec_named(&s, "docs/spec-language.md", spec);
  assert_int_equal(s.variant->nbranches > 0, 1);
  unload_spec(&s);
  free(spec);
}

static void specs_of_the_page_load(void **state) {
  (void)state;
  char *page = read_source("docs", "spec-language.md");
  int n = 0;
  for (const char *p = page; (p = strstr(p, "\n```lua\n")); n++) {
    p += strlen("\n```lua\n");
    const char *end = strstr(p, "\n```\n");
    assert_non_null(end);
    load_block(p, (size_t)(end - p) + 1);
    p = end;
  }
  assert_true(n >= 10);
  free(page);
}

static struct texts documented, literals, messages, told;

static void add_told(void *data, const char *name, char *text) {
  const char *p = strstr(text, "error: ");
  if (!p) fail_msg("%s: no error in it", name);
  p += strlen("error: ");
  texts_add(data, p, strcspn(p, "\n"));
}

static int set_up(void **state) {
  (void)state;
  char *page = read_source("docs", "spec-language.md");
  read_messages(page, &documented);
  free(page);
  each_file("gen", ".c", add_literals, &literals);
  each_file("gen", ".c", add_messages, &messages);
  each_file("tests/golden/spec", ".err", add_told, &told);
  assert_true(documented.n > 50 && literals.n > 500 && messages.n > 50 && told.n > 50);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  texts_finish(&documented);
  texts_finish(&literals);
  texts_finish(&messages);
  texts_finish(&told);
  return 0;
}

static bool was_told(const char *pattern) {
  for (int i = 0; i < told.n; i++)
    if (matches(pattern, told.at[i])) return true;
  return false;
}

/* Says what is wrong, and goes on, so that one run shows all of it. */
static int wrong(const char *what, const char *message) {
  print_error("docs/spec-language.md, Every error: %s: %s\n", what, message);
  return 1;
}

static void documented_messages_exist(void **state) {
  (void)state;
  int n = 0;
  for (int i = 0; i < documented.n; i++)
    if (!was_told(documented.at[i]) && !is_in_sources(documented.at[i], &literals))
      n += wrong("no such message", documented.at[i]);
  assert_int_equal(n, 0);
}

static void told_messages_are_documented(void **state) {
  (void)state;
  for (int i = 0; i < told.n; i++) {
    bool found = false;
    for (int j = 0; j < documented.n && !found; j++) found = matches(documented.at[j], told.at[i]);
    if (!found) fail_msg("docs/spec-language.md, Every error, lacks: %s", told.at[i]);
  }
}

static void messages_of_the_sources_are_documented(void **state) {
  (void)state;
  static struct texts pieces;
  int n = 0;
  for (int i = 0; i < messages.n; i++) {
    split_format(messages.at[i], &pieces);
    bool found = pieces.n == 0;
    for (int j = 0; j < documented.n && !found; j++)
      found =
          pieces_in(&pieces, documented.at[j], false) || matches(documented.at[j], messages.at[i]);
    texts_finish(&pieces);
    if (!found) n += wrong("missing", messages.at[i]);
  }
  assert_int_equal(n, 0);
}

static void patterns_are_told_apart(void **state) {
  (void)state;
  assert_true(matches("a … b", "a x b"));
  assert_true(matches("… is …", "x is y"));
  assert_true(matches("a", "a"));
  assert_false(matches("a", "ab"));
  assert_false(matches("a … b", "a x b c"));
  assert_false(matches("b …", "a b c"));
}

/* ---- docs/c-api.md ---- */

static void the_program_is_the_example(void **state) {
  (void)state;
  char *page = read_source("docs", "c-api.md");
  char *program = read_source("examples", "00_shortest.c");
  assert_contains(page, program);
  free(program);
  free(page);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(specs_of_the_page_load),
      cmocka_unit_test(documented_messages_exist),
      cmocka_unit_test(told_messages_are_documented),
      cmocka_unit_test(messages_of_the_sources_are_documented),
      cmocka_unit_test(patterns_are_told_apart),
      cmocka_unit_test(the_program_is_the_example),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
