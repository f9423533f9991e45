/* SPDX-License-Identifier: MIT
 * lex.c - the tokens of a spec, see lex.h.
 */
#include "lex.h"

#include <ctype.h>
#include <string.h>

void lexer_init(struct lexer *l, const char *text, size_t len) {
  *l = (struct lexer){.text = text, .len = len, .line = 1};
}

static int at(const struct lexer *l, size_t ahead) {
  return l->pos + ahead < l->len ? (unsigned char)l->text[l->pos + ahead] : 0;
}

static void skip(struct lexer *l, size_t n) {
  for (; n > 0 && l->pos < l->len; n--)
    if (l->text[l->pos++] == '\n') l->line++;
}

/* "[[" is 2, "[==[" is 4, anything else 0. */
static size_t long_bracket(const struct lexer *l) {
  size_t n = 1;
  if (at(l, 0) != '[') return 0;
  while (at(l, n) == '=') n++;
  return at(l, n) == '[' ? n + 1 : 0;
}

/* Past the closing bracket of a long string or comment that opened with n characters. */
static void skip_long(struct lexer *l, size_t n) {
  for (skip(l, n); l->pos < l->len; skip(l, 1)) {
    size_t i = 1;
    if (at(l, 0) != ']') continue;
    while (at(l, i) == '=') i++;
    if (i + 1 != n || at(l, i) != ']') continue;
    skip(l, n);
    return;
  }
}

static void skip_comment(struct lexer *l) {
  skip(l, 2);
  const size_t n = long_bracket(l);
  if (n)
    skip_long(l, n);
  else
    while (l->pos < l->len && at(l, 0) != '\n') skip(l, 1);
}

static void skip_blank(struct lexer *l) {
  while (l->pos < l->len) {
    if (at(l, 0) == '-' && at(l, 1) == '-')
      skip_comment(l);
    else if (isspace(at(l, 0)))
      skip(l, 1);
    else
      return;
  }
}

static void skip_string(struct lexer *l) {
  const int quote = at(l, 0);
  skip(l, 1);
  while (l->pos < l->len && at(l, 0) != quote && at(l, 0) != '\n')
    skip(l, at(l, 0) == '\\' ? 2 : 1);
  if (at(l, 0) == quote) skip(l, 1);
}

static bool is_name(int c) {
  return isalnum(c) || c == '_';
}

/* "==", "<=", "~=", ".." are one token, so that a lone '=' is always an assignment. */
static size_t operator_length(const struct lexer *l) {
  const int c = at(l, 0);
  if (at(l, 1) == '=' && c && strchr("=<>~", c)) return 2;
  return c == '.' && at(l, 1) == '.' ? 2 : 1;
}

struct token lexer_next(struct lexer *l) {
  skip_blank(l);
  struct token t = {TOKEN_OTHER, l->pos, 0, l->line};
  const int c = at(l, 0);
  if (l->pos >= l->len) {
    t.kind = TOKEN_END;
  } else if (is_name(c) && !isdigit(c)) {
    t.kind = TOKEN_NAME;
    while (is_name(at(l, 0))) skip(l, 1);
  } else if (isdigit(c)) {
    while (is_name(at(l, 0)) || at(l, 0) == '.') skip(l, 1);
  } else if (c == '"' || c == '\'') {
    t.kind = TOKEN_STRING;
    skip_string(l);
  } else if (long_bracket(l)) {
    t.kind = TOKEN_STRING;
    skip_long(l, long_bracket(l));
  } else {
    skip(l, operator_length(l));
  }
  t.len = l->pos - t.start;
  return t;
}

bool token_is(const struct lexer *l, const struct token *t, const char *word) {
  const char *s = l->text + t->start;
  size_t len = t->len, n = strlen(word);
  const bool quoted = n >= 2 && word[0] == '"' && word[n - 1] == '"';
  if (t->kind == TOKEN_STRING && len >= 2 && *s != '[') { /* compare what is inside */
    s++;
    len -= 2;
    if (quoted) {
      word++;
      n -= 2;
    }
  }
  return t->kind != TOKEN_END && n == len && memcmp(s, word, len) == 0;
}

/* ---- fields ---- */

static bool opens(const struct lexer *l, const struct token *t) {
  return token_is(l, t, "{") || token_is(l, t, "(");
}

static bool closes(const struct lexer *l, const struct token *t) {
  return token_is(l, t, "}") || token_is(l, t, ")");
}

/* Reads on to `name =` at depth 0 of the braces that have just been opened; false at their end. */
static bool find_key(struct lexer *l, const char *name, struct token *ret) {
  int depth = 0;
  struct token last = {TOKEN_END, 0, 0, 0};
  for (;;) {
    const struct token t = lexer_next(l);
    if (t.kind == TOKEN_END) return false;
    if (t.kind != TOKEN_STRING && opens(l, &t))
      depth++;
    else if (t.kind != TOKEN_STRING && closes(l, &t) && depth-- == 0)
      return false;
    else if (depth == 0 && t.kind == TOKEN_OTHER && token_is(l, &t, "=") &&
             last.kind == TOKEN_NAME && token_is(l, &last, name)) {
      *ret = last;
      return true;
    }
    last = t;
  }
}

/* Reads on past the opening brace of the n-th table of the braces just opened. */
static bool enter_table(struct lexer *l, int n) {
  for (int depth = 0;;) {
    const struct token t = lexer_next(l);
    if (t.kind == TOKEN_END) return false;
    if (t.kind == TOKEN_STRING) continue;
    if (opens(l, &t) && depth++ == 0 && token_is(l, &t, "{") && --n == 0) return true;
    if (closes(l, &t) && depth-- == 0) return false;
  }
}

/* Reads on past `variant {`. */
static bool enter_variant(struct lexer *l, int line) {
  bool variant = false;
  for (;;) {
    const struct token t = lexer_next(l);
    if (t.kind == TOKEN_END) return false;
    if (variant && token_is(l, &t, "(")) continue;
    if (variant && token_is(l, &t, "{") && t.line >= line) return true;
    variant = t.kind == TOKEN_NAME && token_is(l, &t, "variant");
  }
}

bool lex_find_field(const char *text, size_t len, int line, int branch, const char *name,
                    struct token *ret) {
  struct lexer l, inner;
  lexer_init(&l, text, len);
  if (!enter_variant(&l, line)) return false;
  inner = l;
  if (branch == 0) return find_key(&l, name, ret);
  if (find_key(&inner, "branches", ret) && enter_table(&inner, 1) && enter_table(&inner, branch) &&
      find_key(&inner, name, ret))
    return true;
  return find_key(&l, name, ret); /* what a branch leaves out it takes from the variant */
}
