/* SPDX-License-Identifier: MIT
 * build_jobs.c - lists what is to be built, and builds it by several threads.
 *
 * Threads, not processes: NVRTC compiles from many at once, and a failed compile is a status. Each
 * job has its own result and error, and they are looked at in the order of the list; so that what
 * is built and what is said do not depend on how many threads there were. All are generated before
 * the first is compiled: what no schedule serves shows in seconds.
 */
#define _POSIX_C_SOURCE 200809L
#include "../plan.h"
#include "build.h"

#include "../../runtime/compile.h"
#include "../../runtime/context.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the list ---- */

/* A pack finds specs by name, so two cannot share one. */
static mkc_status check_name(const struct build *b, const struct build_spec *s, struct error *err) {
  for (const struct build_spec *x = b->specs; x < s; x++)
    if (b->packs && !strcmp(x->variant->name, s->variant->name) &&
        (x->file.len != s->file.len || memcmp(x->file.text, s->file.text, s->file.len) != 0))
      return error_set(err, MKC_E_USAGE,
                       "two specs are called %s: %s and %s; a pack has one of a name",
                       s->variant->name, x->file.path, s->file.path);
  return MKC_OK;
}

static mkc_status read_specs(struct build *b, struct error *err) {
  const struct args *args = &b->cli->args;
  b->specs = arena_array(&b->cli->arena, struct build_spec, args->noperands);
  for (int i = 0; i < args->noperands; i++) {
    struct build_spec *s = &b->specs[i];
    mkc_status status = spec_file_load(b->cli, args->operands[i], &s->file, &s->variant, err);
    if (!status) status = check_name(b, s, err);
    if (status) return status;
    b->nspecs++;
  }
  return MKC_OK;
}

static enum pack_kind kind_of(const struct build *b, const char *arch) {
  if (!b->packs)
    return !strcmp(b->emit, "cu") ? PACK_SOURCE : !strcmp(b->emit, "ptx") ? PACK_PTX : PACK_CUBIN;
  return strcmp(arch, "cpu") ? PACK_CUBIN : PACK_SOURCE;
}

static struct build_job *add_job(struct build *b, const struct build_spec *spec,
                                 const struct gen_config *config, const char *arch) {
  struct build_job *job = &b->jobs[b->njobs++];
  *job = (struct build_job){.spec = spec, .config = *config, .kind = kind_of(b, arch)};
  job->config.arch = b->packs && !strcmp(arch, "cpu") ? "sm_80" : arch;
  return job;
}

/* Every architecture, and the PTX for GPUs that none of them is for. */
static void add_op(struct build *b, const struct build_spec *spec,
                   const struct gen_config *config) {
  bool compiled = false;
  for (int i = 0; b->archs[i]; i++)
    compiled |= add_job(b, spec, config, b->archs[i])->kind != PACK_SOURCE;
  if (!b->packs || !compiled || args_flag(&b->cli->args, OPTION_NO_PTX)) return;
  struct build_job *job = add_job(b, spec, config, "sm_80");
  job->kind = PACK_PTX;
  job->portable = true;
}

mkc_status build_jobs_list(struct build *b, struct error *err) {
  int nconfigs, narchs = 0;
  const struct gen_config *configs = cli_configs(b->cli, &nconfigs);
  if (nconfigs > 1 && !b->packs)
    return error_set(err, MKC_E_USAGE,
                     "lists of --pass, --dtype, --dk or --dv are for --emit=pack and --emit=asm");
  const mkc_status status = read_specs(b, err);
  if (status) return status;
  while (b->archs[narchs]) narchs++;
  b->jobs = arena_array(&b->cli->arena, struct build_job, b->nspecs * nconfigs * (narchs + 1));
  for (int i = 0; i < b->nspecs; i++)
    for (int j = 0; j < nconfigs; j++) add_op(b, &b->specs[i], &configs[j]);
  return MKC_OK;
}

void build_jobs_finish(struct build *b) {
  for (int i = 0; i < b->njobs; i++) {
    op_source_finish(&b->jobs[i].source);
    free(b->jobs[i].code);
    error_finish(&b->jobs[i].err);
  }
}

void build_job_print(const struct build_job *job, struct buf *out) {
  const struct gen_config *c = &job->config;
  buf_printf(out, "%s %s %s dk=%d dv=%d for %s", job->spec->variant->name, pass_name(c->pass),
             dtype_name(c->dtype), c->dk, c->dv, c->arch);
}

/* ---- one job ---- */

static mkc_status generate(struct build_job *job, const char *arch) {
  const struct spec_file *f = &job->spec->file;
  job->config.arch = arch;
  return gen_op(f->path, f->text, f->len, &job->config, &job->source, &job->err);
}

/* Compiled for the first GPUs that maskc knows, and planned for those whose blocks have the least
 * shared memory, so that it runs on all; where nothing fits into that, planned for the first. */
static void generate_portable(struct build_job *job) {
  if (generate(job, "sm_86") == MKC_E_NO_SCHEDULE) {
    error_finish(&job->err);
    generate(job, "sm_80");
  }
  job->config.arch = "sm_80";
  strcpy(job->source.arch, "sm_80");
}

static void generate_job(struct build *b, struct build_job *job) {
  (void)b;
  if (job->portable)
    generate_portable(job);
  else
    generate(job, job->config.arch);
}

static void compile_job(struct build *b, struct build_job *job) {
  if (job->kind == PACK_SOURCE || !job->source.text) return;
  compile_source(b->ctx, &job->source, job->kind == PACK_PTX ? NVRTC_PTX : NVRTC_CUBIN, &job->code,
                 &job->code_bytes, &job->err);
}

/* ---- all of them ---- */

/* That no schedule serves it is no failure of a job of a pack; yet. */
static bool failed(const struct build *b, const struct build_job *job) {
  return job->err.status && !(b->packs && job->err.status == MKC_E_NO_SCHEDULE);
}

struct crew {
  struct build *build;
  void (*work)(struct build *b, struct build_job *job);
  const char *doing;
  pthread_mutex_t mutex; /* guards the rest, and the progress on the terminal */
  int next, done;
  bool stop; /* a job has failed */
};

/* "compiling [#####.....] 12 of 24, simple_gla for sm_90a" */
static void show_progress(const struct crew *c, const struct build_job *job) {
  enum { WIDTH = 20 };
  static const char full[WIDTH + 1] = "####################",
                                 none[WIDTH + 1] = "....................";
  const int n = c->build->njobs, filled = WIDTH * c->done / n;
  progress_show("%s [%.*s%.*s] %d of %d, %s for %s", c->doing, filled, full, WIDTH - filled, none,
                c->done, n, job->spec->variant->name, job->config.arch);
}

static struct build_job *next_job(struct crew *c) {
  struct build_job *job = NULL;
  pthread_mutex_lock(&c->mutex);
  if (!c->stop && c->next < c->build->njobs) {
    job = &c->build->jobs[c->next++];
    show_progress(c, job);
  }
  pthread_mutex_unlock(&c->mutex);
  return job;
}

static void *work(void *data) {
  struct crew *c = data;
  for (struct build_job *job; (job = next_job(c));) {
    c->work(c->build, job);
    pthread_mutex_lock(&c->mutex);
    c->done++;
    if (failed(c->build, job)) c->stop = true;
    pthread_mutex_unlock(&c->mutex);
  }
  return NULL;
}

/* This thread works too; fewer than wanted is fine. */
static void run_all(struct build *b, void (*job)(struct build *, struct build_job *),
                    const char *doing) {
  enum { MOST = 256 };
  pthread_t threads[MOST];
  struct crew c = {.build = b, .work = job, .doing = doing};
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  int wanted = (int)args_number(&b->cli->args, OPTION_JOBS,
                                processors < 1      ? 1
                                : processors > MOST ? MOST
                                                    : processors);
  if (wanted > b->njobs) wanted = b->njobs;
  int started = 0;
  pthread_mutex_init(&c.mutex, NULL);
  while (started < wanted - 1 && pthread_create(&threads[started], NULL, work, &c) == 0) started++;
  work(&c);
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
  pthread_mutex_destroy(&c.mutex);
  progress_clear();
}

/* ---- what went wrong ---- */

/* A name that NVRTC refused or the planner does not know: says what there is. */
static void add_supported(struct build *b, struct error *err) {
  const struct nvrtc *nvrtc;
  struct error ignored = {0};
  if (context_nvrtc(b->ctx, &nvrtc, &ignored) == MKC_OK)
    error_append(err, "\nNVRTC here compiles for: %s", nvrtc_archs(nvrtc));
  error_finish(&ignored);
}

/* The error of the first job in the list that failed. */
static mkc_status first_failure(struct build *b, struct error *err) {
  int i = 0;
  while (i < b->njobs && !failed(b, &b->jobs[i])) i++;
  if (i == b->njobs) return MKC_OK;
  *err = b->jobs[i].err;
  b->jobs[i].err = (struct error){0};
  if (err->status == MKC_E_ARCHITECTURE && !strstr(error_text(err), "NVRTC")) add_supported(b, err);
  return err->status;
}

static void warn_unserved(const struct build_job *job) {
  struct buf what = {0};
  build_job_print(job, &what);
  cli_warn("%s: %s: %s", buf_text(&what), job->portable ? "no PTX for other GPUs" : "left out",
           error_text(&job->err));
  buf_finish(&what);
}

/* The first of them with their reasons. */
static mkc_status refuse_unserved(struct build *b, int unserved, int asked, struct error *err) {
  enum { LISTED = 8 };
  int listed = 0;
  error_set(err, MKC_E_NO_SCHEDULE,
            "%d of %d kernels have no schedule (--skip-unserved leaves them out):", unserved,
            asked);
  for (int i = 0; i < b->njobs && listed < LISTED; i++) {
    const struct build_job *job = &b->jobs[i];
    if (!job->err.status || job->portable) continue;
    listed++;
    struct buf what = {0};
    build_job_print(job, &what);
    error_append(err, "\n%s: %s", buf_text(&what), error_text(&job->err));
    buf_finish(&what);
  }
  if (listed < unserved) error_append(err, "\nand %d more", unserved - listed);
  return err->status;
}

/* What no schedule serves of a pack. That there is no portable PTX of an op is only a warning. */
static mkc_status report_unserved(struct build *b, struct error *err) {
  int unserved = 0, asked = 0;
  for (int i = 0; i < b->njobs; i++) {
    const struct build_job *job = &b->jobs[i];
    asked += !job->portable;
    unserved += job->err.status && !job->portable;
  }
  if (unserved && !args_flag(&b->cli->args, OPTION_SKIP_UNSERVED))
    return refuse_unserved(b, unserved, asked, err);
  for (int i = 0; i < b->njobs; i++) {
    const struct build_job *job = &b->jobs[i];
    /* an op that is not there has no PTX either; the job before is of the same op */
    if (job->err.status && !(job->portable && job[-1].err.status)) warn_unserved(job);
  }
  return unserved < asked ? MKC_OK
                          : error_set(err, MKC_E_NO_SCHEDULE, "no schedule serves any of this");
}

mkc_status build_jobs_run(struct build *b, struct error *err) {
  run_all(b, generate_job, "generating");
  mkc_status status = first_failure(b, err);
  if (!status && b->packs) status = report_unserved(b, err);
  if (status || !strcmp(b->emit, "cu")) return status;
  run_all(b, compile_job, "compiling");
  return first_failure(b, err);
}
