/* SPDX-License-Identifier: MIT
 * cache_key.c - what is compiled, and with what, to the 32 bytes that name it.
 *
 * The hash is over inputs, never over outputs: a field is its name, its length and its bytes.
 */
#include <stdio.h>
#include <string.h>

#include "cache.h"

static void put_length(struct sha256 *hash, size_t len) {
  unsigned char b[8];
  for (int i = 0; i < 8; i++) b[i] = (unsigned char)((unsigned long long)len >> (8 * i));
  sha256_update(hash, b, sizeof b);
}

static void put_bytes(struct sha256 *hash, const void *data, size_t len) {
  put_length(hash, len);
  sha256_update(hash, data, len);
}

void cache_key_begin(struct cache_keygen *g, const char *kind) {
  sha256_init(&g->hash);
  cache_key_string(g, "maskc", MKC_VERSION_STRING);
  cache_key_int(g, "schema", CACHE_SCHEMA);
  cache_key_string(g, "kind", kind);
}

void cache_key_field(struct cache_keygen *g, const char *name, const void *data, size_t len) {
  put_bytes(&g->hash, name, strlen(name));
  put_bytes(&g->hash, data, len);
}

void cache_key_string(struct cache_keygen *g, const char *name, const char *text) {
  cache_key_field(g, name, text, strlen(text));
}

void cache_key_int(struct cache_keygen *g, const char *name, long long value) {
  char text[32];
  snprintf(text, sizeof text, "%lld", value);
  cache_key_string(g, name, text);
}

/* "#line 7 "x.c"", also with blanks around the # and also as "# 7 "x.c"". */
static bool is_line_directive(const char *line) {
  line += strspn(line, " \t");
  if (*line != '#') return false;
  line++;
  line += strspn(line, " \t");
  if (*line >= '0' && *line <= '9') return true;
  return !strncmp(line, "line", 4) && (line[4] == ' ' || line[4] == '\t');
}

/* The bytes of text outside #line directives, into the hash unless it is NULL. */
static size_t hash_code(struct sha256 *hash, const char *text) {
  size_t kept = 0;
  while (*text) {
    size_t n = strcspn(text, "\n");
    n += text[n] == '\n';
    if (!is_line_directive(text)) {
      if (hash) sha256_update(hash, text, n);
      kept += n;
    }
    text += n;
  }
  return kept;
}

void cache_key_source(struct cache_keygen *g, const char *name, const char *text) {
  put_bytes(&g->hash, name, strlen(name));
  put_length(&g->hash, hash_code(NULL, text));
  hash_code(&g->hash, text);
}

void cache_key_end(struct cache_keygen *g, struct cache_key *ret) {
  sha256_finish(&g->hash, ret->bytes);
}
