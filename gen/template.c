/* SPDX-License-Identifier: MIT
 * template.c - runs the template engine (template.lua) on an embedded template.
 *
 * A Lua state of its own, apart from the one that runs specs: templates are ours and trusted, and
 * use the string and table libraries.
 */
#include "template.h"

#include "gen.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

struct render_job {
  const char *name, *text, *vocabulary, *slots;
  const struct embedded_file *engine;
  char *out; /* set when done */
};

static void open_libraries(lua_State *L) {
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
  lua_settop(L, 0);
}

static void run_chunk(lua_State *L, const char *text, size_t len, const char *name, int nresults) {
  if (luaL_loadbufferx(L, text, len, name, "t") != LUA_OK) lua_error(L);
  lua_call(L, 0, nresults);
}

/* embedded(name): its text, or nil */
static int embedded_text(lua_State *L) {
  const struct embedded_file *f = embedded_find(luaL_checkstring(L, 1));
  if (f) return lua_pushlstring(L, f->data, f->len), 1;
  return 0;
}

/* The whole job, in one protected call. */
static int render(lua_State *L) {
  struct render_job *job = lua_touserdata(L, 1);
  open_libraries(L);
  lua_gc(L, LUA_GCSTOP); /* it all goes with the state, a moment from now */
  run_chunk(L, job->engine->data, job->engine->len, "=gen/template.lua", 0);
  lua_getglobal(L, "render");
  lua_pushstring(L, job->name);
  lua_pushstring(L, job->text);
  run_chunk(L, job->slots, strlen(job->slots), "=slots", 1);
  lua_pushstring(L, job->vocabulary);
  lua_pushcfunction(L, embedded_text);
  lua_call(L, 5, 1);
  size_t len;
  const char *s = luaL_checklstring(L, -1, &len);
  job->out = malloc(len + 1);
  if (job->out) memcpy(job->out, s, len + 1);
  return 0;
}

/* A lua_Alloc; ud points at the pointer to an allocator. Lua relies on a block that shrinks. */
static void *lua_memory(void *ud, void *block, size_t old_bytes, size_t bytes) {
  const struct allocator *const *a = ud;
  if (bytes) {
    void *resized = alloc_resize(*a, block, bytes);
    return !resized && block && bytes <= old_bytes ? block : resized;
  }
  alloc_free(*a, block);
  return NULL;
}

mkc_status template_render_text(const char *name, const char *text, const char *vocabulary,
                                const char *slots, const struct allocator *a, char **ret,
                                struct error *err) {
  struct render_job job = {name, text, vocabulary, slots, embedded_find("gen/template.lua"), NULL};
  if (!job.engine) return error_set(err, MKC_E_INTERNAL, "the template engine is not embedded");
  lua_State *L = lua_newstate(lua_memory, &a);
  if (!L) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while emitting");
  lua_pushcfunction(L, render);
  lua_pushlightuserdata(L, &job);
  mkc_status status = MKC_OK;
  const int result = lua_pcall(L, 1, 0, 0);
  if (result == LUA_ERRMEM || (result == LUA_OK && !job.out)) {
    status = error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while emitting");
  } else if (result != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    status = error_set(err, MKC_E_INTERNAL, "%s", message ? message : "template error");
  }
  lua_close(L);
  if (status == MKC_OK)
    *ret = job.out;
  else
    free(job.out);
  return status;
}

mkc_status template_render(const char *template_name, const char *slots, const struct allocator *a,
                           char **ret, struct error *err) {
  const struct embedded_file *text = embedded_find(template_name);
  const struct embedded_file *vocabulary = embedded_find("templates/tile_cuda.h");
  if (!text || !vocabulary)
    return error_set(err, MKC_E_INTERNAL, "template '%s' is not embedded", template_name);
  return template_render_text(template_name, text->data, vocabulary->data, slots, a, ret, err);
}
