/* SPDX-License-Identifier: MIT
 * spec.c - runs a spec's text in a sandbox.
 *
 * In: the text. Out: the variant that it returned, in the arena; or a message with the place. The
 * sandbox: text chunks only, no libraries, a limit on instructions (the hook), on memory and on
 * strings (spec_heap.c) and on the size of the text. Everything that may raise a Lua error runs in
 * one protected call. When the arena runs out of memory it jumps out of the middle of Lua; the
 * state is then dropped with its heap, unclosed.
 */
#include "lex.h"
#include "spec_lua.h"

#include <lauxlib.h>
#include <string.h>

enum { MAX_TEXT = 64 * 1024, MAX_INSTRUCTIONS = 100000, MAX_MESSAGE = 400 };

/* ---- errors of Lua's own ---- */

/* Called before every line, and once when the instructions are used up. */
static void hook(lua_State *L, lua_Debug *at) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  if (at->event == LUA_HOOKLINE) {
    ld->line = at->currentline;
    return;
  }
  diag_error(&ld->front.diag, NULL, "the spec runs too long (more than %d instructions)",
             (int)MAX_INSTRUCTIONS);
  diag_note(&ld->front.diag, "a spec declares; is there a loop that does not end?");
  ld->front.exprs.line = ld->line;
  spec_raise(L);
}

/* The word that a message of Lua quotes: near 'word', (global 'word'), (local 'word'), ... */
static const char *quoted_word(struct loader *ld, const char *message) {
  const char *open = strstr(message, "near '");
  if (!open) open = strstr(message, " '");
  open = open ? strchr(open, '\'') : NULL;
  if (!open) return NULL;
  char *word = arena_strdup(ld->front.arena, open + 1);
  char *close = strrchr(word, '\'');
  if (close) *close = 0;
  return word;
}

/* "s:12: message", as Lua says it. */
static void take_message(struct loader *ld, const char *message) {
  struct diag *d = &ld->front.diag;
  struct buf *clean = &ld->front.exprs.scratch;
  if (strncmp(message, "s:", 2) == 0) {
    int line = 0;
    for (message += 2; *message >= '0' && *message <= '9' && line < MAX_TEXT; message++)
      line = 10 * line + (*message - '0');
    d->line = line;
    if (strncmp(message, ": ", 2) == 0) message += 2;
  }
  clean->len = 0;
  const size_t len = strlen(message);
  diag_put_clean(clean, message, len < MAX_MESSAGE ? len : MAX_MESSAGE);
  diag_error(d, quoted_word(ld, message), "%s", buf_text(clean));
}

/* The line of the first string of the text that is too long; 0: there is none. */
static int line_of_long_string(const struct front *f) {
  struct lexer l;
  lexer_init(&l, f->text, f->len);
  for (struct token t = lexer_next(&l); t.kind != TOKEN_END; t = lexer_next(&l))
    if (t.kind == TOKEN_STRING && t.len > HEAP_MAX_STRING) return t.line;
  return 0;
}

/* Lua was refused memory; it says so without a place. */
static void take_out_of_memory(struct loader *ld) {
  struct diag *d = &ld->front.diag;
  if (ld->heap.long_string) {
    diag_error(d, NULL, "a string of more than %d bytes", HEAP_MAX_STRING);
    d->line = line_of_long_string(&ld->front);
  } else {
    diag_error(d, NULL, "the spec uses more than %d MiB of memory", HEAP_MAX_BYTES >> 20);
  }
}

static void take_error(struct loader *ld, lua_State *L, int status) {
  if (ld->front.diag.message) return;
  if (status == LUA_ERRMEM && ld->heap.exhausted) longjmp(ld->out_of_memory, 1);
  if (status == LUA_ERRMEM)
    take_out_of_memory(ld);
  else if (lua_type(L, -1) == LUA_TSTRING)
    take_message(ld, lua_tostring(L, -1));
  else
    diag_error(&ld->front.diag, NULL, "the spec failed");
  if (ld->front.diag.line == 0) ld->front.diag.line = ld->line;
}

/* ---- running ---- */

static void no_variant(lua_State *L, struct loader *ld) {
  struct diag *d = &ld->front.diag;
  diag_error(d, "variant", "a spec ends in return variant { ... }");
  d->line = ld->variant ? ld->variant->line : 0;
  if (!ld->variant) /* the last line that has something in it */
    for (size_t i = 0, line = 1; i < ld->front.len; i++) {
      if (ld->front.text[i] == '\n')
        line++;
      else if (!strchr(" \t\r", ld->front.text[i]))
        d->line = (int)line;
    }
  spec_raise(L);
}

/* The protected call. */
static int run(lua_State *L) {
  struct loader *ld = *(struct loader **)lua_getextraspace(L);
  const char *text = ld->front.text;
  size_t len = ld->front.len;
  if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
    text += 3;
    len -= 3;
  }
  ld->front.exprs.line = 1;
  spec_push_environment(L);
  if (luaL_loadbufferx(L, text, len, "=s", "t") != LUA_OK) return lua_error(L);
  lua_pushvalue(L, -2);
  lua_setupvalue(L, -2, 1); /* its only one: _ENV */
  lua_sethook(L, hook, LUA_MASKLINE | LUA_MASKCOUNT, MAX_INSTRUCTIONS);
  lua_call(L, 0, LUA_MULTRET);
  lua_sethook(L, NULL, 0, 0);
  const struct value *v = spec_value(L, 2);
  if (lua_gettop(L) != 2 || !v || v->kind != VALUE_VARIANT) no_variant(L, ld);
  return 0;
}

static void run_protected(struct loader *ld) {
  ld->heap.allocator = ld->front.arena->allocator;
  lua_State *L = lua_newstate(heap_alloc, &ld->heap);
  if (!L) longjmp(ld->out_of_memory, 1);
  *(struct loader **)lua_getextraspace(L) = ld;
  lua_pushcfunction(L, run);
  const int status = lua_pcall(L, 0, 0, 0);
  if (status != LUA_OK) take_error(ld, L, status);
}

/* What can be seen without running it. */
static bool is_text(struct front *f) {
  if (f->len > MAX_TEXT) {
    diag_error(&f->diag, NULL, "a spec of %zu bytes; it may have %d", f->len, (int)MAX_TEXT);
    return false;
  }
  if (f->len > 0 && f->text[0] == '\x1b') {
    diag_error(&f->diag, NULL, "compiled Lua; a spec is text");
    return false;
  }
  return true;
}

static mkc_status report(struct loader *ld, struct error *err) {
  struct buf out = {0};
  int line, col;
  diag_render(&ld->front.diag, &out, ld->front.path, ld->front.text, ld->front.len, &line, &col);
  if (out.len > 0 && out.data[out.len - 1] == '\n') out.data[--out.len] = 0;
  const mkc_status status = out.failed ? MKC_E_OUT_OF_MEMORY : MKC_E_SPEC;
  error_set(err, status, "%s", out.failed ? "out of memory for a message" : buf_text(&out));
  settings_note(&ld->front, err);
  error_place(err, ld->front.path, line, col);
  buf_finish(&out);
  return status;
}

/* False: the arena is out of memory. Nothing of *ld that the jump may spoil is local to here. */
static bool load(struct loader *ld) {
  if (setjmp(ld->out_of_memory)) return false;
  struct front *f = &ld->front;
  expr_ctx_init(&f->exprs, f->arena, &f->diag);
  if (is_text(f)) run_protected(ld);
  return true;
}

/* The spec runs, once nothing is wrong with the settings. */
static mkc_status load_checked(struct loader *ld, const struct variant **ret, struct error *err) {
  struct front *f = &ld->front;
  jmp_buf *outer = f->arena->out_of_memory;
  f->arena->out_of_memory = &ld->out_of_memory;
  const bool loaded = load(ld);
  f->arena->out_of_memory = outer;
  heap_finish(&ld->heap);
  expr_ctx_finish(&f->exprs);
  if (!loaded) longjmp(*outer, 1);
  if (f->diag.message || !ld->variant) return report(ld, err);
  *ret = ld->variant;
  return settings_met(f, err);
}

mkc_status spec_load_with(const char *path, const char *text, size_t len,
                          const mkc_setting *settings, int nsettings, struct arena *a,
                          const struct variant **ret, struct error *err) {
  struct loader ld = {.line = 1};
  ld.front = (struct front){.arena = a,
                            .text = text,
                            .len = len,
                            .diag = {.arena = a},
                            .settings = settings,
                            .nsettings = nsettings};
  ld.front.path = arena_strdup(a, path);
  const mkc_status status = settings_check(&ld.front, err);
  return status ? status : load_checked(&ld, ret, err);
}

mkc_status spec_load(const char *path, const char *text, size_t len, struct arena *a,
                     const struct variant **ret, struct error *err) {
  return spec_load_with(path, text, len, NULL, 0, a, ret, err);
}
