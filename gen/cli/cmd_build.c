/* SPDX-License-Identifier: MIT
 * cmd_build.c - maskc build: specs times architectures, as CUDA source, PTX or cubins, or all in a
 * pack.
 *
 * Everything is generated and compiled before the first file is written, so that an error leaves
 * nothing half done.
 */
#define _XOPEN_SOURCE 700
#include "build.h"
#include "file.h"

#include "../../runtime/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct output {
  struct output *next;
  const char *path;            /* "-" is standard output */
  const struct build_job *job; /* NULL: of all of them */
  const void *data;
  size_t len;
};

struct outputs {
  struct build *build;
  const char *pattern; /* of the paths, with %n and %a */
  struct output *first, **last;
  struct buf text[2]; /* a pack or the assembler source, and its header */
};

static struct output *add_output(struct outputs *o, const char *path, const struct build_job *job) {
  struct output *x = arena_new(&o->build->cli->arena, struct output);
  *x = (struct output){.path = path, .job = job};
  *o->last = x;
  o->last = &x->next;
  return x;
}

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
static mkc_status choose_pattern(struct outputs *to, struct error *err) {
  struct build *b = to->build;
  struct arena *a = &b->cli->arena;
  const char *o = args_text(&b->cli->args, OPTION_OUTPUT, NULL);
  const bool single = b->cli->args.noperands == 1 && count_archs(b) == 1;
  const bool text = strcmp(b->emit, "cubin") != 0;
  const char *in_directory = arena_printf(a, "%%n.%%a.%s", b->emit);
  if (!o) {
    to->pattern = single && text && !b->cli->json ? "-" : in_directory;
    return MKC_OK;
  }
  const size_t n = strlen(o);
  if (o[n - 1] == '/' || is_directory(o)) {
    to->pattern = arena_printf(a, "%s%s%s", o, o[n - 1] == '/' ? "" : "/", in_directory);
    return make_directory(o, err);
  }
  if (!single && !strchr(o, '%'))
    return error_set(err, MKC_E_USAGE,
                     "-o %s: there are several outputs; give a directory ('out/') or a pattern "
                     "('%%n.%%a.%s')",
                     o, b->emit);
  to->pattern = o;
  return MKC_OK;
}

/* The pattern with %n, %a and %% filled in. */
static mkc_status fill_pattern(const struct outputs *to, const struct build_job *job,
                               const char **ret, struct error *err) {
  struct buf path = {0};
  for (const char *p = to->pattern; *p; p++) {
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
                       to->pattern);
    }
    buf_puts(&path, *p == 'n' ? job->spec->variant->name : *p == 'a' ? job->config.arch : "%");
  }
  *ret = arena_strdup(&to->build->cli->arena, buf_text(&path));
  buf_finish(&path);
  return MKC_OK;
}

static mkc_status place_each(struct outputs *to, struct error *err) {
  struct build *b = to->build;
  mkc_status status = choose_pattern(to, err);
  for (int i = 0; i < b->njobs && !status; i++) {
    const char *path = NULL;
    status = fill_pattern(to, &b->jobs[i], &path, err);
    if (!status) add_output(to, path, &b->jobs[i]);
  }
  return status;
}

/* "all.S" -> "all.h" */
static const char *header_path(struct cli *cli, const char *path) {
  const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
  const size_t n = dot && (!slash || dot > slash + 1) ? (size_t)(dot - path) : strlen(path);
  return arena_printf(&cli->arena, "%.*s.h", (int)n, path);
}

static mkc_status place_pack(struct outputs *to, struct error *err) {
  struct cli *cli = to->build->cli;
  const bool source = !strcmp(to->build->emit, "asm");
  const char *o = args_text(&cli->args, OPTION_OUTPUT, NULL),
             *header = args_text(&cli->args, OPTION_HEADER, NULL);
  if (!o || is_directory(o))
    return error_set(err, MKC_E_USAGE, "--emit=%s writes one file of everything: give -o FILE%s",
                     to->build->emit, source ? ".S" : ".mkp");
  if (source && !header && !strcmp(o, "-"))
    return error_set(err, MKC_E_USAGE, "-o - leaves no name for the header: give --header FILE");
  add_output(to, o, NULL);
  if (source) add_output(to, header ? header : header_path(cli, o), NULL);
  return MKC_OK;
}

/* Before anything is compiled: no two at one place, and all can be written. */
static mkc_status check_places(const struct outputs *to, struct error *err) {
  const struct build *b = to->build;
  mkc_status status = MKC_OK;
  for (const struct output *o = to->first; o && !status; o = o->next) {
    for (const struct output *x = to->first; x != o; x = x->next)
      if (!strcmp(x->path, o->path))
        return error_set(err, MKC_E_USAGE, "two outputs would go to %s", o->path);
    if (!strcmp(o->path, "-") && (b->cli->json || args_flag(&b->cli->args, OPTION_DEPFILE)))
      return error_set(err, MKC_E_USAGE, "-o - and --%s do not go together",
                       b->cli->json ? "json both want standard output" : "depfile");
    status = file_check_writable(o->path, err);
  }
  return status;
}

/* ---- what to write ---- */

static mkc_status fill_each(struct outputs *to, struct error *err) {
  const struct build *b = to->build;
  const bool cu = !strcmp(b->emit, "cu"), lines = args_flag(&b->cli->args, OPTION_LINES);
  int i = 0;
  for (struct output *o = to->first; o; o = o->next, i++) {
    struct build_job *job = &b->jobs[i];
    if (cu) {
      job->code = lines ? job->source.text : op_source_plain(&job->source);
      if (lines) job->source.text = NULL;
      if (!job->code) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
      job->code_bytes = strlen(job->code);
    }
    o->data = job->code;
    o->len = job->code_bytes;
    if (job->kind == PACK_PTX && o->len > 0) o->len--; /* its NUL */
  }
  return MKC_OK;
}

static mkc_status fill_pack(struct outputs *to, struct error *err) {
  struct build *b = to->build;
  struct buf pack = {0};
  const mkc_status status = build_pack(b, &pack, err);
  if (!status && to->first->next) {
    build_asm(&pack, build_asm_name(b->cli, to->first->path), &to->text[0], &to->text[1]);
    buf_finish(&pack);
  } else {
    to->text[0] = pack;
  }
  int i = 0;
  for (struct output *o = to->first; o && !status; o = o->next, i++) {
    if (to->text[i].failed) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
    o->data = to->text[i].data;
    o->len = to->text[i].len;
  }
  return status;
}

static mkc_status write_all(const struct outputs *to, struct error *err) {
  struct build *b = to->build;
  int n = 0;
  for (const struct output *o = to->first; o; o = o->next, n++) {
    if (!strcmp(o->path, "-")) {
      buf_write(&b->cli->out, o->data, o->len);
      continue;
    }
    const mkc_status status = file_save(o->path, o->data, o->len, err);
    if (status) return status;
    fprintf(stderr, "maskc: wrote %s (%zu bytes)\n", o->path, o->len);
  }
  const char **paths = arena_array(&b->cli->arena, const char *, n + 1);
  n = 0;
  for (const struct output *o = to->first; o; o = o->next) paths[n++] = o->path;
  return build_depfile(b, paths, err);
}

static void print_json(const struct outputs *to) {
  struct build *b = to->build;
  struct json j = {.out = &b->cli->out};
  json_object(&j, NULL);
  json_array(&j, "outputs");
  for (const struct output *o = to->first; o; o = o->next) {
    json_object(&j, NULL);
    json_string(&j, "path", o->path);
    json_string(&j, "variant", o->job ? o->job->spec->variant->name : NULL);
    json_string(&j, "arch", o->job ? o->job->config.arch : NULL);
    json_string(&j, "emit", b->emit);
    json_string(&j, "plan", o->job ? o->job->source.plan : NULL);
    json_integer(&j, "bytes", (int64_t)o->len);
    json_end(&j);
  }
  json_end(&j);
  json_end(&j);
}

/* ---- the command ---- */

static mkc_status check_options(const struct build *b, struct error *err) {
  static const enum option_id of_packs[] = {OPTION_NO_PTX, OPTION_SKIP_UNSERVED};
  for (int i = 0; i < 2 && !b->packs; i++)
    if (args_flag(&b->cli->args, of_packs[i]))
      return error_set(err, MKC_E_USAGE, "--%s is for --emit=pack and --emit=asm",
                       option_table[of_packs[i]].name);
  if (args_flag(&b->cli->args, OPTION_HEADER) && strcmp(b->emit, "asm") != 0)
    return error_set(err, MKC_E_USAGE, "--header is for --emit=asm");
  return MKC_OK;
}

static mkc_status build(struct outputs *to, struct error *err) {
  struct build *b = to->build;
  mkc_status status = check_options(b, err);
  if (!status) status = cli_archs(b->cli, &b->archs, err);
  if (!status) status = build_jobs_list(b, err);
  if (!status) status = b->packs ? place_pack(to, err) : place_each(to, err);
  if (!status) status = check_places(to, err);
  if (!status) status = build_jobs_run(b, err);
  if (!status) status = b->packs ? fill_pack(to, err) : fill_each(to, err);
  if (!status) status = write_all(to, err);
  if (!status && b->cli->json) print_json(to);
  return status;
}

mkc_status cmd_build(struct cli *cli, struct error *err) {
  struct build b = {.cli = cli, .emit = args_text(&cli->args, OPTION_EMIT, "cubin")};
  struct outputs to = {.build = &b};
  to.last = &to.first;
  b.packs = !strcmp(b.emit, "pack") || !strcmp(b.emit, "asm");
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  options.no_cache = args_flag(&cli->args, OPTION_NO_CACHE);
  options.log = cli_log;
  options.log_user = cli;
  if (mkc_context_create(&options, &b.ctx))
    return error_set(err, MKC_E_OUT_OF_MEMORY, "%s", mkc_last_error());
  const mkc_status status = build(&to, err);
  build_jobs_finish(&b);
  buf_finish(&to.text[0]);
  buf_finish(&to.text[1]);
  mkc_context_destroy(b.ctx);
  return status;
}
