/* SPDX-License-Identifier: MIT
 * cmd_build.c - maskc build: specs times architectures, as CUDA source, PTX or cubins.
 *
 * Everything is generated and compiled before the first file is written, so that an error leaves
 * nothing half done.
 */
#define _XOPEN_SOURCE 700
#include "cli.h"
#include "file.h"

#include "../../runtime/compile.h"
#include "../../runtime/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct output {
  struct output *next;
  const char *path; /* "-" is standard output */
  const char *variant, *arch, *plan;
  void *data; /* on the heap */
  size_t len;
};

struct build {
  struct cli *cli;
  mkc_context *ctx;
  const char *emit;    /* "cu", "ptx", "cubin" */
  const char **archs;  /* NULL-terminated, each once */
  const char *pattern; /* of the paths, with %n and %a */
  struct output *first, **last;
};

/* ---- where to write ---- */

static bool is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int count_archs(const struct build *b) {
  int n = 0;
  while (b->archs[n]) n++;
  return n;
}

static mkc_status make_directory(const char *path, struct error *err) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return MKC_OK;
  return error_set(err, MKC_E_FILE, "%s: cannot create: %s", path, strerror(errno));
}

/* -o as a pattern; see the help of build. A '%' in a plain path cannot be meant otherwise. */
static mkc_status choose_pattern(struct build *b, struct error *err) {
  struct arena *a = &b->cli->arena;
  const char *o = args_text(&b->cli->args, OPTION_OUTPUT, NULL);
  const bool single = b->cli->args.noperands == 1 && count_archs(b) == 1;
  const bool text = strcmp(b->emit, "cubin") != 0;
  const char *in_directory = arena_printf(a, "%%n.%%a.%s", b->emit);
  if (!o) {
    b->pattern = single && text && !b->cli->json ? "-" : in_directory;
    return MKC_OK;
  }
  const size_t n = strlen(o);
  if (o[n - 1] == '/' || is_directory(o)) {
    b->pattern = arena_printf(a, "%s%s%s", o, o[n - 1] == '/' ? "" : "/", in_directory);
    return make_directory(o, err);
  }
  if (!single && !strchr(o, '%'))
    return error_set(err, MKC_E_USAGE,
                     "-o %s: there are several outputs; give a directory ('out/') or a pattern "
                     "('%%n.%%a.%s')",
                     o, b->emit);
  if (b->cli->json && strcmp(o, "-") == 0)
    return error_set(err, MKC_E_USAGE, "-o - and --json both want standard output");
  b->pattern = o;
  return MKC_OK;
}

/* The pattern with %n, %a and %% filled in. */
static mkc_status output_path(const struct build *b, struct output *o, struct error *err) {
  struct buf path = {0};
  for (const char *p = b->pattern; *p; p++) {
    if (*p != '%') {
      buf_write(&path, p, 1);
      continue;
    }
    p++;
    if (*p != 'n' && *p != 'a' && *p != '%') {
      buf_finish(&path);
      return error_set(err, MKC_E_USAGE,
                       "-o %s: after '%%' expected n (the variant's name), a "
                       "(the architecture) or %%",
                       b->pattern);
    }
    buf_puts(&path, *p == 'n' ? o->variant : *p == 'a' ? o->arch : "%");
  }
  o->path = arena_strdup(&b->cli->arena, buf_text(&path));
  buf_finish(&path);
  for (const struct output *x = b->first; x; x = x->next)
    if (x != o && strcmp(x->path, o->path) == 0)
      return error_set(err, MKC_E_USAGE, "two outputs would go to %s", o->path);
  return file_check_writable(o->path, err);
}

/* ---- what to write ---- */

/* A name that NVRTC refused or the planner does not know: says what there is. */
static void add_supported(struct build *b, struct error *err) {
  const struct nvrtc *nvrtc;
  struct error ignored = {0};
  if (context_nvrtc(b->ctx, &nvrtc, &ignored) == MKC_OK)
    error_append(err, "\nNVRTC here compiles for: %s", nvrtc_archs(nvrtc));
  error_finish(&ignored);
}

static mkc_status compile(struct build *b, struct op_source *source, struct output *o,
                          struct error *err) {
  if (strcmp(b->emit, "cu") == 0) {
    const bool lines = args_flag(&b->cli->args, OPTION_LINES);
    o->data = lines ? source->text : op_source_plain(source);
    if (!o->data) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
    if (lines) source->text = NULL;
    o->len = strlen(o->data);
    return MKC_OK;
  }
  const bool ptx = strcmp(b->emit, "ptx") == 0;
  progress_show("compiling %s for %s", o->variant, o->arch);
  const mkc_status status =
      compile_source(b->ctx, source, ptx ? NVRTC_PTX : NVRTC_CUBIN, &o->data, &o->len, err);
  progress_clear();
  if (!status && ptx && o->len > 0) o->len--; /* its NUL */
  return status;
}

static mkc_status build_one(struct build *b, const struct spec_file *file, const char *arch,
                            struct error *err) {
  struct op_source source = {0};
  struct gen_config config = cli_config(b->cli);
  config.arch = arch;
  mkc_status status = gen_op(file->path, file->text, file->len, &config, &source, err);
  if (!status) {
    struct output *o = arena_new(&b->cli->arena, struct output);
    o->variant = arena_strdup(&b->cli->arena, source.name);
    o->plan = arena_strdup(&b->cli->arena, source.plan);
    o->arch = arch;
    o->path = "";
    *b->last = o;
    b->last = &o->next;
    status = output_path(b, o, err);
    if (!status) status = compile(b, &source, o, err);
  }
  if (status == MKC_E_ARCHITECTURE && !strstr(error_text(err), "NVRTC")) add_supported(b, err);
  op_source_finish(&source);
  return status;
}

static mkc_status build_all(struct build *b, struct error *err) {
  for (int i = 0; i < b->cli->args.noperands; i++) {
    struct spec_file file;
    mkc_status status = spec_file_read(b->cli, b->cli->args.operands[i], &file, err);
    for (int j = 0; b->archs[j] && !status; j++) status = build_one(b, &file, b->archs[j], err);
    if (status) return status;
  }
  return MKC_OK;
}

static mkc_status write_all(struct build *b, struct error *err) {
  for (const struct output *o = b->first; o; o = o->next) {
    if (strcmp(o->path, "-") == 0) {
      buf_write(&b->cli->out, o->data, o->len);
      continue;
    }
    const mkc_status status = file_save(o->path, o->data, o->len, err);
    if (status) return status;
    fprintf(stderr, "maskc: wrote %s (%zu bytes)\n", o->path, o->len);
  }
  return MKC_OK;
}

static void print_json(const struct build *b) {
  struct json j = {.out = &b->cli->out};
  json_object(&j, NULL);
  json_array(&j, "outputs");
  for (const struct output *o = b->first; o; o = o->next) {
    json_object(&j, NULL);
    json_string(&j, "path", o->path);
    json_string(&j, "variant", o->variant);
    json_string(&j, "arch", o->arch);
    json_string(&j, "emit", b->emit);
    json_string(&j, "plan", o->plan);
    json_integer(&j, "bytes", (int64_t)o->len);
    json_end(&j);
  }
  json_end(&j);
  json_end(&j);
}

/* ---- the command ---- */

mkc_status cmd_build(struct cli *cli, struct error *err) {
  struct build b = {.cli = cli, .emit = args_text(&cli->args, OPTION_EMIT, "cubin")};
  b.last = &b.first;
  mkc_status status = cli_archs(cli, &b.archs, err);
  if (!status) status = choose_pattern(&b, err);
  if (status) return status;
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  options.no_cache = args_flag(&cli->args, OPTION_NO_CACHE);
  options.log = cli_log;
  options.log_user = cli;
  if (mkc_context_create(&options, &b.ctx))
    return error_set(err, MKC_E_OUT_OF_MEMORY, "%s", mkc_last_error());
  status = build_all(&b, err);
  if (!status) status = write_all(&b, err);
  if (!status && cli->json) print_json(&b);
  for (struct output *o = b.first; o; o = o->next) free(o->data);
  mkc_context_destroy(b.ctx);
  return status;
}
