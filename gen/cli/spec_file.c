/* SPDX-License-Identifier: MIT
 * spec_file.c - from SPEC on the command line to a loaded variant.
 */
#include "cli.h"
#include "file.h"

#include <stdlib.h>
#include <string.h>

enum { SPEC_MAX_BYTES = 1 << 20 };

static bool is_path(const char *operand) {
  const size_t n = strlen(operand);
  return strchr(operand, '/') || (n > 4 && strcmp(operand + n - 4, ".lua") == 0);
}

/* "specs/NAME.lua" -> NAME in the arena; NULL for files that are no specs. */
static const char *shipped_name(struct cli *cli, const char *file) {
  static const char prefix[] = "specs/", suffix[] = ".lua";
  const size_t n = strlen(file), start = strlen(prefix), end = strlen(suffix);
  if (n <= start + end || strncmp(file, prefix, start) != 0 || strcmp(file + n - end, suffix) != 0)
    return NULL;
  char *name = arena_strdup(&cli->arena, file + start);
  name[n - start - end] = 0;
  return name;
}

const char *const *shipped_specs(struct cli *cli) {
  int n = 0;
  while (embedded_files[n].name) n++;
  const char **names = arena_array(&cli->arena, const char *, n + 1);
  int shipped = 0;
  for (int i = 0; i < n; i++) {
    names[shipped] = shipped_name(cli, embedded_files[i].name);
    if (names[shipped]) shipped++;
  }
  names[shipped] = NULL;
  return names;
}

static mkc_status unknown_spec(struct cli *cli, const char *operand, struct error *err) {
  const char *near = nearest_name(operand, shipped_specs(cli));
  error_set(err, MKC_E_FILE, "no shipped spec is called '%s'", operand);
  if (near) error_append(err, "; did you mean '%s'?", near);
  error_append(err, " ('maskc list' shows them; a file needs its .lua or a '/')");
  return err->status;
}

mkc_status spec_file_read(struct cli *cli, const char *operand, struct spec_file *ret,
                          struct error *err) {
  if (!is_path(operand)) {
    const char *name = arena_printf(&cli->arena, "specs/%s.lua", operand);
    const struct embedded_file *file = embedded_find(name);
    if (!file) return unknown_spec(cli, operand, err);
    *ret = (struct spec_file){file->name, file->data, file->len, true};
    return MKC_OK;
  }
  char *text;
  size_t len;
  const mkc_status status = file_load(operand, SPEC_MAX_BYTES, &text, &len, err);
  if (status) return status;
  char *copy = arena_alloc(&cli->arena, len + 1);
  memcpy(copy, text, len);
  free(text);
  *ret = (struct spec_file){operand, copy, len, false};
  return MKC_OK;
}

mkc_status spec_file_load(struct cli *cli, const char *operand, struct spec_file *ret_file,
                          const struct variant **ret, struct error *err) {
  mkc_status status = spec_file_read(cli, operand, ret_file, err);
  if (!status)
    status = spec_load_with(ret_file->path, ret_file->text, ret_file->len, cli->settings,
                            cli->nsettings, &cli->arena, ret, err);
  return status;
}
