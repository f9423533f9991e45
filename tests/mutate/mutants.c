/* SPDX-License-Identifier: MIT
 * mutants.c - see mutants.h. Looks at one line of a template at a time.
 */
#include "mutants.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
  const char *text;
  struct mutant *found;
  int n;
  char file[64];
  int line;
  const char *code; /* the line that is searched, up to its comment */
  int code_len;
  bool copies; /* the kernel has asynchronous copies: without, waiting for them is nothing */
};

__attribute__((format(printf, 5, 6))) static void
add(struct search *s, const char *rule, const char *at, size_t len, const char *replacement, ...) {
  if (s->n == MAX_MUTANTS) return;
  struct mutant *m = &s->found[s->n++];
  *m = (struct mutant){.rule = rule, .at = (size_t)(at - s->text), .len = len, .line = s->line};
  va_list ap;
  va_start(ap, replacement);
  vsnprintf(m->replacement, sizeof m->replacement, replacement, ap);
  va_end(ap);
  const int indent = (int)strspn(s->code, " ");
  while (s->code_len > indent && s->code[s->code_len - 1] == ' ') s->code_len--;
  snprintf(m->file, sizeof m->file, "%s", s->file);
  snprintf(m->code, sizeof m->code, "%.*s", s->code_len - indent, s->code + indent);
}

static bool in_name(char c) {
  return isalnum((unsigned char)c) || c == '_';
}

static bool name_has(const char *name, size_t len, const char *part) {
  const char *p = strstr(name, part);
  return p && p + strlen(part) <= name + len;
}

static bool synchronises(const char *name, size_t len) {
  static const char *const words[] = {"barrier", "warp_sync", "wait", "commit", "fence", "mbar"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (name_has(name, len, words[i])) return true;
  return false;
}

/* The parenthesis that closes the one at p; NULL: not on this line. */
static const char *closing(const char *p, const char *end) {
  int depth = 0;
  for (; p < end; p++) {
    depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
    if (!depth) return p;
  }
  return NULL;
}

/* NAME(...); */
static void find_calls(struct search *s) {
  const char *end = s->code + s->code_len;
  for (const char *p = s->code; p < end; p++) {
    if (!in_name(*p) || (p > s->code && in_name(p[-1]))) continue;
    size_t len = 0;
    while (p + len < end && in_name(p[len])) len++;
    const char *open = p + len, *close = open < end && *open == '(' ? closing(open, end) : NULL;
    if (!close || close[1] != ';' || !synchronises(p, len)) continue;
    if (!s->copies && name_has(p, len, "cp_async")) continue;
    add(s, "delete", p, (size_t)(close + 2 - p), ";");
    if (name_has(p, len, "_wait") && !memchr(open, ',', (size_t)(close - open)))
      add(s, "wait less", open, (size_t)(close + 1 - open), "((%.*s) + 1)", (int)(close - open - 1),
          open + 1);
  }
}

static void find_parities(struct search *s) {
  static const char parity[] = " & 1)";
  const size_t len = sizeof parity - 1;
  for (const char *p = s->code; (p = strstr(p, parity)) && p < s->code + s->code_len; p += len) {
    const char *after = p + len;
    if (!strncmp(after, " * ", 3) || name_has(s->code, (size_t)s->code_len, "wait"))
      add(s, "flip parity", p, len, " & 1 ^ 1)");
  }
}

static void find_buffers(struct search *s) {
  static const char *const names[] = {"stage", "free"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const size_t len = strlen(names[i]);
    for (const char *p = s->code; (p = strstr(p, names[i])) && p < s->code + s->code_len; p += len)
      if ((p == s->code || !in_name(p[-1])) && !strncmp(p + len, " * ", 3))
        add(s, "swap buffers", p, len, "(%s + 1) %% STAGES", names[i]);
  }
}

/* Where the lines that follow come from; false: this line is no directive. */
static bool follow_line(struct search *s, const char *line) {
  int number;
  char file[64];
  if (sscanf(line, "#line %d \"%63[^\"]\"", &number, file) != 2) return *line == '#';
  s->line = number - 1;
  memcpy(s->file, file, sizeof file);
  return true;
}

int mutants_find(const char *text, struct mutant *ret) {
  struct search s = {.text = text, .found = ret};
  const char *line = strstr(text, "#include \"tile_host.h\""); /* the GPU's vocabulary is before */
  s.copies = line && (strstr(line, "cp_async_16(") || strstr(line, "cp_async_8(") ||
                      strstr(line, "cp_async_4("));
  for (; line && *line; line = strchr(line, '\n'), line += line != NULL) {
    const size_t n = strcspn(line, "\n");
    s.line++;
    if (follow_line(&s, line) || strncmp(s.file, "templates/", 10) != 0) continue;
    const char *comment = strstr(line, "/*");
    s.code = line;
    s.code_len = comment && comment < line + n ? (int)(comment - line) : (int)n;
    find_calls(&s);
    find_parities(&s);
    find_buffers(&s);
  }
  return s.n;
}

char *mutant_text(const char *text, const struct mutant *m) {
  const size_t n = strlen(text) + sizeof m->replacement;
  char *ret = malloc(n);
  if (ret) snprintf(ret, n, "%.*s%s%s", (int)m->at, text, m->replacement, text + m->at + m->len);
  return ret;
}
