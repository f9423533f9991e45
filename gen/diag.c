/* SPDX-License-Identifier: MIT
 * diag.c - a spec's error as a compiler would print it, see diag.h.
 */
#include "diag.h"

#include "lex.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_COLUMNS = 160, MAX_QUOTED = 48 };

static char *vformat(struct arena *a, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  const int n = vsnprintf(NULL, 0, fmt, ap);
  char *s = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
  if (n > 0) vsnprintf(s, (size_t)n + 1, fmt, again);
  va_end(again);
  return s;
}

void diag_error(struct diag *d, const char *word, const char *fmt, ...) {
  if (d->message) return;
  va_list ap;
  va_start(ap, fmt);
  d->message = vformat(d->arena, fmt, ap);
  va_end(ap);
  d->word = word;
}

void diag_note(struct diag *d, const char *fmt, ...) {
  if (d->note) return;
  va_list ap;
  va_start(ap, fmt);
  d->note = vformat(d->arena, fmt, ap);
  va_end(ap);
}

const char *diag_quote(struct arena *a, const char *s, size_t len) {
  const bool cut = len > MAX_QUOTED;
  if (cut) len = MAX_QUOTED;
  char *out = arena_alloc(a, 4 * len + 8), *p = out;
  *p++ = '"';
  for (size_t i = 0; i < len; i++) {
    const unsigned char c = (unsigned char)s[i];
    if (c == '\n')
      p += sprintf(p, "\\n");
    else if (c < 0x20 || c >= 0x7f)
      p += sprintf(p, "\\x%02x", c);
    else {
      if (c == '"' || c == '\\') *p++ = '\\';
      *p++ = (char)c;
    }
  }
  strcpy(p, cut ? "\"..." : "\"");
  return out;
}

/* ---- printing what the user wrote ---- */

/* Line separators and changes of direction: U+200E, U+200F, U+2028 to U+202E, U+2066 to U+206E. */
static bool turns_text(const unsigned char *s) {
  if (s[0] != 0xe2) return false;
  if (s[1] == 0x80) return s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae);
  return s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xae;
}

/* Bytes of the UTF-8 character at s, 0 where it is broken or a control character. */
static size_t utf8_length(const unsigned char *s, size_t len) {
  if (s[0] == '\t') return 1;
  if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
  const size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4 || n > len) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                      /* C1 controls */
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0;   /* overlong */
  if ((s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90)) return 0; /* surrogates */
  if (turns_text(s)) return 0;
  return n;
}

void diag_put_clean(struct buf *out, const char *s, size_t len) {
  for (size_t i = 0; i < len;) {
    const size_t n = utf8_length((const unsigned char *)s + i, len - i);
    if (n)
      buf_write(out, s + i, n);
    else
      buf_puts(out, "?");
    i += n ? n : 1;
  }
}

/* ---- where ---- */

struct place {
  int line;
  size_t start, len; /* the marked bytes; len 0: only the line is known */
};

static size_t line_start(const char *text, size_t len, int line) {
  size_t i = 0;
  for (; line > 1 && i < len; i++)
    if (text[i] == '\n') line--;
  return i;
}

static struct place place_of(const struct token *t) {
  return (struct place){t->line, t->start, t->len};
}

/* Finds the word in its line. One that stands there more than once is not guessed at, unless it is
 * known to be the last, or which word comes after it. */
static bool find_word(const struct diag *d, const char *text, size_t len, struct place *ret) {
  struct lexer l;
  struct token t, found = {TOKEN_END, 0, 0, 0};
  int times = 0;
  lexer_init(&l, text, len);
  for (t = lexer_next(&l); t.kind != TOKEN_END && t.line <= d->line; t = lexer_next(&l)) {
    if (t.line != d->line) continue;
    if (times > 0 && d->before && token_is(&l, &t, d->before)) {
      times = 1;
      break;
    }
    if (!token_is(&l, &t, d->word)) continue;
    found = t;
    times++;
  }
  *ret = place_of(&found);
  return times == 1 || (times > 1 && d->last);
}

static struct place find_place(const struct diag *d, const char *text, size_t len) {
  struct place p = {d->line > 0 ? d->line : 1, 0, 0};
  struct token t;
  if (d->field && lex_find_field(text, len, d->line, d->branch, d->field, &t)) return place_of(&t);
  if (d->word && find_word(d, text, len, &p)) return p;
  p = (struct place){d->line > 0 ? d->line : 1, 0, 0};
  p.start = line_start(text, len, p.line);
  while (p.start < len && (text[p.start] == ' ' || text[p.start] == '\t')) p.start++;
  return p;
}

/* ---- the message ---- */

/* The source line and a caret under [p->start, + p->len), cut to a readable width. */
static void put_line(struct buf *out, const char *text, size_t len, const struct place *p) {
  size_t from = line_start(text, len, p->line), to = from;
  while (to < len && text[to] != '\n' && text[to] != '\r') to++;
  if (from == to) return;
  if (to - from > MAX_COLUMNS && p->start - from > MAX_COLUMNS / 2)
    from = p->start - MAX_COLUMNS / 2;
  if (to - from > MAX_COLUMNS) to = from + MAX_COLUMNS;
  while (from < p->start && ((unsigned char)text[from] & 0xc0) == 0x80) from++;
  diag_put_clean(out, text + from, to - from);
  buf_puts(out, "\n");
  for (size_t i = from; i < p->start && i < to; i++)
    if (((unsigned char)text[i] & 0xc0) != 0x80) buf_puts(out, text[i] == '\t' ? "\t" : " ");
  buf_puts(out, "^");
  for (size_t i = p->start + 1; i < p->start + p->len && i < to; i++)
    if (((unsigned char)text[i] & 0xc0) != 0x80) buf_puts(out, "~");
  buf_puts(out, "\n");
}

void diag_render(const struct diag *d, struct buf *out, const char *path, const char *text,
                 size_t len, int *ret_line, int *ret_col) {
  const struct place p = find_place(d, text, len);
  *ret_line = p.line;
  *ret_col = (int)(p.start - line_start(text, len, p.line)) + 1;
  diag_put_clean(out, path, strlen(path));
  buf_printf(out, ":%d:%d: error: %s\n", *ret_line, *ret_col, d->message);
  put_line(out, text, len, &p);
  if (d->note) buf_printf(out, "  note: %s\n", d->note);
}

/* ---- spelling ---- */

/* Edits from a to b: insert, delete, replace a character; swap two neighbours. */
static int distance(const char *a, const char *b) {
  enum { MAX = 64 };
  int row[3][MAX + 1];
  const int n = (int)strlen(a), m = (int)strlen(b);
  if (n > MAX || m > MAX) return MAX;
  for (int j = 0; j <= m; j++) row[0][j] = j;
  for (int i = 1; i <= n; i++) {
    int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= m; j++) {
      int best = up[j - 1] + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      if (up[j] + 1 < best) best = up[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      const bool swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swap && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
      now[j] = best;
    }
  }
  return row[n % 3][m];
}

const char *diag_nearest(const char *word, const char *const *names) {
  const int half = (int)strlen(word) / 2;
  int limit = half < 3 ? half : 3;
  const char *best = NULL;
  for (; *names; names++) {
    const int d = distance(word, *names);
    if (d > limit) continue;
    best = *names;
    limit = d - 1;
  }
  return best;
}
