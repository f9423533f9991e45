/* SPDX-License-Identifier: MIT
 * symbol.c - runs addr2line, see symbol.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "symbol.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

/* addr2line's answer for an address: a line "/file.c:123" for each inlined call, innermost first;
 * "(discriminator 4)" may follow. */
static mkc_status ask(const char *object, size_t offset, struct buf *ret, struct error *err) {
  char program[PROCESS_PATH_MAX], dir[PROCESS_PATH_MAX] = "", answer[PROCESS_PATH_MAX], address[32];
  if (!program_find("addr2line", program)) return MKC_E_SYSTEM;
  mkc_status status = scratch_create(dir, err);
  if (status) return status;
  int exit_status = 0;
  scratch_path(dir, "answer", answer);
  snprintf(address, sizeof address, "0x%zx", offset);
  const char *const argv[] = {program, "-i", "-e", object, address, NULL};
  const char *const env[] = {"LC_ALL=C", "LD_PRELOAD", NULL};
  status = process_run(argv, env, answer, &exit_status, err);
  if (!status) status = file_read(answer, ret, err);
  scratch_remove(dir);
  return status ? status : exit_status > 0 ? MKC_E_SYSTEM : MKC_OK;
}

/* One call of the chain; false: it is none that a reader of the kernel knows. */
static bool parse(const char *line, const char **ret_file, int *ret_file_len, int *ret_line) {
  const size_t n = strcspn(line, "\n");
  const char *end = memrchr(line, ':', n), *file = line;
  if (!end || atoi(end + 1) <= 0) return false;
  while (!strncmp(file, "./", 2)) file += 2;
  *ret_line = atoi(end + 1);
  *ret_file_len = (int)(end - file);
  *ret_file = file;
  const char *name = memrchr(file, '/', (size_t)*ret_file_len);
  return strncmp(name ? name + 1 : file, "tile_host.h:", 12) != 0;
}

/* False: there is nothing in the answer. */
static bool print_chain(const char *answer, struct buf *out) {
  const char *file;
  int len, line;
  bool called = false;
  for (const char *p = answer; *p; p += strcspn(p, "\n"), p += *p == '\n') {
    if (!parse(p, &file, &len, &line)) continue;
    buf_printf(out, called ? " (from %.*s:%d)" : "%.*s:%d", len, file, line);
    if (called) return true;
    called = true;
  }
  return called;
}

void symbol_print(const void *pc, struct buf *out) {
  Dl_info info;
  struct error err = {0};
  struct buf answer = {0};
  const char *at = (const char *)pc - 1; /* in the call itself */
  if (!dladdr(at, &info)) {
    buf_puts(out, "an unknown place");
    return;
  }
  const size_t offset = (size_t)(at - (const char *)info.dli_fbase);
  if (ask(info.dli_fname, offset, &answer, &err) || !print_chain(buf_text(&answer), out))
    buf_printf(out, "kernel+0x%zx (addr2line, of binutils, would say the line)", offset);
  buf_finish(&answer);
  error_finish(&err);
}
