/* SPDX-License-Identifier: MIT
 * json_check.c - a recursive descent over the grammar of RFC 8259, see json_check.h.
 *
 * Every function takes the place where something begins and returns the place after it; where the
 * grammar does not allow what stands there it notes the place and returns NULL.
 */
#include "json_check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

struct parser {
  const char *stop; /* where it went wrong */
  int depth;
};

static const char *value(struct parser *p, const char *s);

static const char *fail(struct parser *p, const char *s) {
  if (!p->stop) p->stop = s;
  return NULL;
}

static const char *space(const char *s) {
  return s + strspn(s, " \t\r\n");
}

static bool digit(char c) {
  return c >= '0' && c <= '9';
}

static bool hex(char c) {
  return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const char *escape(struct parser *p, const char *s) {
  if (*s != 'u') return *s && strchr("\"\\/bfnrt", *s) ? s + 1 : fail(p, s);
  for (int i = 1; i <= 4; i++)
    if (!hex(s[i])) return fail(p, s);
  return s + 5;
}

static const char *string(struct parser *p, const char *s) {
  if (*s != '"') return fail(p, s);
  for (s++; s && *s != '"';) {
    if ((unsigned char)*s < 0x20) return fail(p, s);
    s = *s == '\\' ? escape(p, s + 1) : s + 1;
  }
  return s ? s + 1 : NULL;
}

static const char *digits(struct parser *p, const char *s) {
  if (!digit(*s)) return fail(p, s);
  while (digit(*s)) s++;
  return s;
}

static const char *number(struct parser *p, const char *s) {
  if (*s == '-') s++;
  s = *s == '0' ? s + 1 : digits(p, s);
  if (s && *s == '.') s = digits(p, s + 1);
  if (s && (*s == 'e' || *s == 'E')) {
    s++;
    s = digits(p, *s == '+' || *s == '-' ? s + 1 : s);
  }
  return s;
}

/* Whether the object that begins at `open` has this key before `key`. */
static bool has_key_before(const char *open, const char *key, size_t len) {
  struct parser p = {0};
  for (const char *s = space(open + 1); s < key; s = space(s + 1)) {
    const char *end = string(&p, s);
    if ((size_t)(end - s) == len && !memcmp(s, key, len)) return true;
    s = space(value(&p, space(space(end) + 1)));
  }
  return false;
}

static const char *member(struct parser *p, const char *open, const char *s) {
  const char *end = string(p, s);
  if (!end) return NULL;
  if (has_key_before(open, s, (size_t)(end - s))) return fail(p, s);
  s = space(end);
  return *s == ':' ? value(p, space(s + 1)) : fail(p, s);
}

/* An object or an array, from its bracket on. */
static const char *nested(struct parser *p, const char *open) {
  const bool object = *open == '{';
  const char close = object ? '}' : ']', *s = space(open + 1);
  if (++p->depth > MAX_DEPTH) return fail(p, open);
  if (*s == close) return p->depth--, s + 1;
  for (;;) {
    s = object ? member(p, open, s) : value(p, s);
    if (!s) return NULL;
    s = space(s);
    if (*s == close) return p->depth--, s + 1;
    if (*s != ',') return fail(p, s);
    s = space(s + 1);
  }
}

static const char *word(struct parser *p, const char *s, const char *w) {
  return strncmp(s, w, strlen(w)) == 0 ? s + strlen(w) : fail(p, s);
}

static const char *value(struct parser *p, const char *s) {
  switch (*s) {
  case '{':
  case '[': return nested(p, s);
  case '"': return string(p, s);
  case 't': return word(p, s, "true");
  case 'f': return word(p, s, "false");
  case 'n': return word(p, s, "null");
  default: return number(p, s);
  }
}

const char *json_stops(const char *text) {
  struct parser p = {0};
  const char *end = value(&p, space(text));
  if (!end) return p.stop;
  end = space(end);
  return *end ? end : NULL;
}

/* The element at s with this key, of an array this index; NULL: there is none. */
static const char *find(const char *s, const char *key, size_t len) {
  struct parser p = {0};
  const bool object = *s == '{';
  if (!object && (*s != '[' || !digit(*key))) return NULL;
  long index = strtol(key, NULL, 10);
  for (s = space(s + 1); *s != '}' && *s != ']'; s = space(s + 1)) {
    const char *name = s;
    if (object) s = string(&p, s);
    const bool same = object && (size_t)(s - name) == len + 2 && !memcmp(name + 1, key, len);
    if (object) s = space(space(s) + 1);
    if (object ? same : index-- == 0) return s;
    s = space(value(&p, s));
    if (*s != ',') return NULL;
  }
  return NULL;
}

char *json_at(const char *text, const char *path) {
  struct parser p = {0};
  const char *s = space(text);
  for (size_t len; s && *path; path += len + (path[len] == '.')) {
    len = strcspn(path, ".");
    s = find(s, path, len);
  }
  if (!s) return NULL;
  const size_t n = (size_t)(value(&p, s) - s);
  char *copy = calloc(n + 1, 1);
  return copy ? memcpy(copy, s, n) : NULL;
}
