/* SPDX-License-Identifier: MIT
 * cmd_list.c - maskc list: the specs inside the program, or a pack (list_pack.c).
 */
#include "cli.h"

#include <string.h>

struct listed {
  const char *name; /* as SPEC takes it */
  const char *about;
  bool has_schedule;
};

/* False: this embedded file is no spec. */
static mkc_status list_one(struct cli *cli, const struct embedded_file *file, struct listed *ret,
                           struct error *err) {
  const struct variant *v;
  const mkc_status status = spec_load(file->name, file->data, file->len, &cli->arena, &v, err);
  if (status) return status;
  const struct gen_config config = cli_config(cli);
  const char *why;
  char *name = arena_strdup(&cli->arena, file->name + strlen("specs/"));
  name[strlen(name) - strlen(".lua")] = 0;
  *ret = (struct listed){name, v->about ? v->about : "", cli_has_schedule(cli, v, &config, &why)};
  return MKC_OK;
}

static bool is_spec(const char *name) {
  const size_t n = strlen(name);
  return strncmp(name, "specs/", 6) == 0 && n > 10 && strcmp(name + n - 4, ".lua") == 0;
}

static void print_json(struct buf *out, const struct listed *list, int n) {
  struct json j = {.out = out};
  json_object(&j, NULL);
  json_array(&j, "specs");
  for (int i = 0; i < n; i++) {
    json_object(&j, NULL);
    json_string(&j, "name", list[i].name);
    json_string(&j, "about", list[i].about);
    json_bool(&j, "has_schedule", list[i].has_schedule);
    json_end(&j);
  }
  json_end(&j);
  json_end(&j);
}

static void print_text(struct buf *out, const struct listed *list, int n) {
  int width = 0;
  for (int i = 0; i < n; i++)
    if ((int)strlen(list[i].name) > width) width = (int)strlen(list[i].name);
  for (int i = 0; i < n; i++)
    buf_printf(out, "%-*s  %s%s\n", width, list[i].name, list[i].about,
               list[i].has_schedule ? "" : "  (no schedule yet)");
}

mkc_status cmd_list(struct cli *cli, struct error *err) {
  int files = 0, n = 0;
  const char *pack = args_text(&cli->args, OPTION_PACK, NULL);
  if (pack) return list_pack(cli, pack, err);
  while (embedded_files[files].name) files++;
  struct listed *list = arena_array(&cli->arena, struct listed, files + 1);
  for (int i = 0; i < files; i++) {
    if (!is_spec(embedded_files[i].name)) continue;
    const mkc_status status = list_one(cli, &embedded_files[i], &list[n++], err);
    if (status) return status;
  }
  if (cli->json)
    print_json(&cli->out, list, n);
  else
    print_text(&cli->out, list, n);
  return MKC_OK;
}
