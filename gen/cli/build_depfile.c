/* SPDX-License-Identifier: MIT
 * build_depfile.c - what make, Ninja and Meson read to know when to build again:
 *
 *   out/all.mkp: specs/a.lua b.lua
 *
 * Shipped specs are a part of the program and so are not there.
 */
#include "build.h"
#include "file.h"

#include <string.h>

/* As gcc -MD does: blanks and # behind a backslash, $ twice. */
static void put_path(struct buf *out, const char *path) {
  for (const char *p = path; *p; p++) {
    if (*p == ' ' || *p == '\t' || *p == '#') buf_puts(out, "\\");
    if (*p == '$') buf_puts(out, "$");
    buf_write(out, p, 1);
  }
}

mkc_status build_depfile(const struct build *b, const char *const *outputs, struct error *err) {
  const char *path = args_text(&b->cli->args, OPTION_DEPFILE, NULL);
  struct buf out = {0};
  if (!path) return MKC_OK;
  for (int i = 0; outputs[i]; i++) {
    if (i) buf_puts(&out, " ");
    put_path(&out, outputs[i]);
  }
  buf_puts(&out, ":");
  for (int i = 0; i < b->nspecs; i++) {
    if (b->specs[i].file.shipped) continue;
    buf_puts(&out, " ");
    put_path(&out, b->specs[i].file.path);
  }
  buf_puts(&out, "\n");
  const mkc_status status = out.failed ? error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory")
                                       : file_save(path, buf_text(&out), out.len, err);
  buf_finish(&out);
  return status;
}
