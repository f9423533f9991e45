/* SPDX-License-Identifier: MIT
 * mutate.c - whether the CPU device would notice: breaks the synchronisation of every schedule's
 * kernels, one edit at a time (mutants.h), and runs them under the race check.
 *
 *   mutate [--full]
 *
 * A mutant is caught when the device reports it, when its results differ from the unbroken kernel's
 * or when it never ends; copies land late, early and at random. One that survives must be in the
 * list of survivors, with a reason, and 95 % must be caught. Without --full a mutation of a line of
 * a template is tried in the first op that has the line; with it in every op.
 *
 * Ops are the shipped specs; each schedule must serve one. A mutant runs in a process of its own.
 * Exit status: 0, 1 when too few were caught, 4 when the test itself fails.
 */
#define _GNU_SOURCE
#include "base/arena.h"
#include "cli/number.h"
#include "gen.h"
#include "ir.h"
#include "mutants.h"
#include "op.h"
#include "plan.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Mutants that no run can catch: the op, the template, part of the line's code, the rule, why. */
static const struct survivor {
  const char *op, *file, *code, *rule, *reason;
} survivors[] = {
    {"gdn2", "templates/walk.k.c", "barrier_sync();", "delete",
     "nothing reads the rows that are computed in place before the barrier behind the factors"},
    {"kda", "templates/walk.k.c", "barrier_sync();", "delete",
     "nothing reads the rows that are computed in place before the barrier behind the factors"},
    {"log_linear_kda", "templates/walk.k.c", "barrier_sync();", "delete",
     "nothing reads the rows that are computed in place before the barrier behind the factors"},
    {"gdn2", "templates/walk.k.c", "cp_async_commit();", "delete",
     "the late loads of what the decays read commit these, too, and all are waited for"},
    {"kda", "templates/walk.k.c", "cp_async_commit();", "delete",
     "the late loads of what the decays read commit these, too, and all are waited for"},
    {"log_linear_kda", "templates/walk.k.c", "cp_async_commit();", "delete",
     "the late loads of what the decays read commit these, too, and all are waited for"},
    {NULL, NULL, NULL, NULL, NULL},
};

enum { HEADS = 2, ENTRIES = 2, STEP_TOKENS = 30, MOST_SECONDS = 60, WANTED_PERCENT = 95 };
enum { LEVELS = 12, POSITION = 21 }; /* of a fenwick mask: 10101, so that states are joined */

static const char *const landings[] = {"late", "early", "random:1"};

static void die(const char *what, const char *why) {
  fprintf(stderr, "mutate: %s: %s\n", what, why);
  exit(4);
}

static void *must(void *p) {
  if (!p) die("malloc", "out of memory");
  return p;
}

/* ---- an op and its arrays ---- */

struct subject {
  const struct embedded_file *spec;
  struct gen_config config;
  struct op_source source;
  mkc_context *ctx;
  mkc_tensor args[OP_MAX_ARRAYS];
  size_t bytes[OP_MAX_ARRAYS];
  void *before[OP_MAX_ARRAYS];   /* of outputs: what they hold before a launch, */
  void *expected[OP_MAX_ARRAYS]; /* and after it */
};

static size_t element_size(mkc_dtype t) {
  return t == MKC_I64 ? 8 : t == MKC_F32 || t == MKC_I32 ? 4 : 2;
}

/* More than the stages' chunks, and a ragged one; of a step as many as it takes. */
static int64_t tokens(const struct subject *s) {
  if (s->config.pass != MKC_STEP) return 4 * s->source.chunk + 22;
  return s->source.max_tokens ? s->source.max_tokens : STEP_TOKENS;
}

static int64_t extent(const struct subject *s, char axis) {
  switch (axis) {
  case 'B': return 1;
  case 'N': return ENTRIES;
  case 'T': return tokens(s);
  case 'H': return HEADS;
  case 'L': return LEVELS;
  case 'S': return LEVELS - 1;
  case 'k': return s->source.dk;
  default: return s->source.dv;
  }
}

/* Contiguous. */
static size_t lay_out(const struct subject *s, const struct op_array *a, mkc_tensor *t) {
  size_t count = 1;
  t->dtype = a->dtype;
  t->ndim = (int)strlen(a->axes);
  for (int i = t->ndim - 1; i >= 0; i--) {
    t->shape[i] = extent(s, a->axes[i]);
    t->stride[i] = (int64_t)count;
    count *= (size_t)t->shape[i];
  }
  return count;
}

static const struct leaf *leaf_named(const struct variant *v, const char *name) {
  static const struct leaf state = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  for (int i = 0; i < v->nleaves; i++)
    if (!strcmp(v->leaves[i]->name, name)) return v->leaves[i];
  return &state;
}

/* The only index there is, that of a pool's entry, is 0. */
static void draw(const struct leaf *leaf, int seed, int dk, mkc_tensor *t, size_t count) {
  if (t->dtype == MKC_I32) {
    memset(t->data, 0, count * sizeof(int32_t));
    return;
  }
  if (t->dtype == MKC_I64) {
    for (size_t i = 0; i < count; i++) ((int64_t *)t->data)[i] = POSITION;
    return;
  }
  double *x = must(calloc(count, sizeof *x));
  ref_draw(leaf, (uint64_t)seed, x, count);
  for (size_t i = 0; i < count; i++) {
    const float y = (float)(leaf->axis == AXIS_DK ? x[i] / sqrt(dk) : x[i]);
    if (t->dtype == MKC_F32)
      ((float *)t->data)[i] = y;
    else
      ((uint16_t *)t->data)[i] = bf16_from_float(y);
  }
  free(x);
}

static void fill(struct subject *s) {
  struct arena arena;
  jmp_buf oom;
  struct error err = {0};
  const struct variant *v;
  arena_init(&arena, &oom);
  if (setjmp(oom)) die(s->spec->name, "out of memory");
  if (spec_load(s->spec->name, s->spec->data, s->spec->len, &arena, &v, &err))
    die(s->spec->name, error_text(&err));
  for (int i = 0; i < s->source.narrays; i++) {
    const struct op_array *a = &s->source.arrays[i];
    /* cu_seqlens is absent: no packed batch; and accepted: all are */
    if (*a->axes == 'C' || !strcmp(a->name, "accepted")) continue;
    const size_t count = lay_out(s, a, &s->args[i]);
    s->bytes[i] = count * element_size(a->dtype);
    s->args[i].data = must(aligned_alloc(64, (s->bytes[i] + 63) / 64 * 64));
    if (a->output && !a->in_place)
      memset(s->args[i].data, 0xff, s->bytes[i]);
    else
      draw(leaf_named(v, a->name), i + 1, s->source.dk, &s->args[i], count);
    if (a->output) s->before[i] = memcpy(must(malloc(s->bytes[i])), s->args[i].data, s->bytes[i]);
  }
  arena_finish(&arena);
}

static void release(struct subject *s) {
  for (int i = 0; i < s->source.narrays; i++) {
    free(s->args[i].data);
    free(s->before[i]);
    free(s->expected[i]);
  }
  op_source_finish(&s->source);
}

/* ---- a run ---- */

static struct op_source copy_source(const struct op_source *from, const char *text) {
  struct op_source to = *from;
  to.text = must(strdup(text));
  to.plan = must(strdup(from->plan));
  return to;
}

/* Runs a kernel; *ret: what the library says, or "" where it is content. */
static mkc_status run(struct subject *s, const char *text, const char *landing, char ret[512]) {
  struct op_source source = copy_source(&s->source, text);
  struct error err = {0};
  mkc_op *op = NULL;
  setenv("MASKC_CPU_ASYNC", landing, 1);
  if (op_create_from_source(s->ctx, &source, &cpu_backend, 0, MKC_CHECK_RACE, &op, &err))
    die(s->spec->name, error_text(&err));
  for (int i = 0; i < s->source.narrays; i++)
    if (s->before[i]) memcpy(s->args[i].data, s->before[i], s->bytes[i]);
  size_t bytes = 0;
  void *workspace = NULL;
  mkc_status status = mkc_op_prepare(op);
  if (!status) status = mkc_op_workspace(op, s->args, s->source.narrays, &bytes);
  if (bytes) workspace = must(aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!status) status = mkc_op_launch(op, s->args, s->source.narrays, workspace, bytes, NULL);
  snprintf(ret, 512, "%s", status ? mkc_last_error() : "");
  free(workspace);
  mkc_op_destroy(op);
  return status;
}

static void run_unbroken(struct subject *s) {
  for (size_t l = 0; l < sizeof landings / sizeof *landings; l++) {
    char report[512];
    if (run(s, s->source.text, landings[l], report)) die(s->spec->name, report);
    for (int i = 0; i < s->source.narrays; i++) {
      if (!s->source.arrays[i].output) continue;
      if (!s->expected[i])
        s->expected[i] = memcpy(must(malloc(s->bytes[i])), s->args[i].data, s->bytes[i]);
      if (memcmp(s->expected[i], s->args[i].data, s->bytes[i]) != 0)
        die(s->spec->name, "results depend on when copies land");
    }
  }
}

static bool right(const struct subject *s) {
  for (int i = 0; i < s->source.narrays; i++)
    if (s->expected[i] && memcmp(s->expected[i], s->args[i].data, s->bytes[i]) != 0) return false;
  return true;
}

/* ---- a mutant ---- */

/* In the process of the mutant: writes its fate to fd; nothing: it survived. */
static void run_mutant(struct subject *s, const struct mutant *m, int fd) {
  char *text = must(mutant_text(s->source.text, m)), report[512];
  for (size_t l = 0; l < sizeof landings / sizeof *landings; l++) {
    const mkc_status status = run(s, text, landings[l], report);
    report[strcspn(report, "\n")] = 0;
    if (status && status != MKC_E_CHECK) die("a mutant does not run", report);
    if (!status && right(s)) continue;
    dprintf(fd, "%s (%s)", status ? report : "wrong result", landings[l]);
    break;
  }
  free(text);
}

/* *ret: how it was caught, "" when it was not. */
static void try_mutant(struct subject *s, const struct mutant *m, char ret[600]) {
  int ends[2], status = 0;
  if (pipe(ends)) die("pipe", "failed");
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    alarm(MOST_SECONDS);
    run_mutant(s, m, ends[1]);
    _exit(0);
  }
  close(ends[1]);
  FILE *f = fdopen(ends[0], "r");
  const size_t n = f ? fread(ret, 1, 599, f) : 0;
  ret[n] = 0;
  if (f) fclose(f);
  if (child < 0 || waitpid(child, &status, 0) < 0) die("fork", "failed");
  if (WIFSIGNALED(status))
    snprintf(ret, 600, "%s", WTERMSIG(status) == SIGALRM ? "never ends" : "crashes");
  else if (WEXITSTATUS(status))
    exit(4); /* it has said why */
}

static const char *excuse(const struct mutant *m, const char *op) {
  for (const struct survivor *x = survivors; x->code; x++)
    if (!strcmp(x->op, op) && !strcmp(x->file, m->file) && !strcmp(x->rule, m->rule) &&
        strstr(m->code, x->code))
      return x->reason;
  return NULL;
}

/* ---- all of them ---- */

struct tally {
  bool full;
  struct mutant *tried; /* for the covering sample */
  int ntried, caught, survived, unexcused;
};

/* In one of the first n, those of other ops. */
static bool tried(const struct tally *t, int n, const struct mutant *m) {
  for (int i = 0; i < n; i++) {
    const struct mutant *x = &t->tried[i];
    if (x->line == m->line && !strcmp(x->file, m->file) && !strcmp(x->rule, m->rule)) return true;
  }
  return false;
}

static void judge(struct tally *t, struct subject *s, const struct mutant *m) {
  char fate[600];
  try_mutant(s, m, fate);
  const char *reason = excuse(m, s->source.name);
  if (*fate)
    t->caught++;
  else
    t->survived++;
  if (!*fate && !reason) t->unexcused++;
  printf("%s %s:%d: %s in `%s` (%s %d/%d)\n    %s\n", *fate ? "caught  " : "SURVIVED", m->file,
         m->line, m->rule, m->code, s->source.name, s->source.dk, s->source.dv,
         *fate    ? fate
         : reason ? reason
                  : "not in the list of survivors");
}

static void try_subject(struct tally *t, struct subject *s) {
  struct mutant *all = must(calloc(MAX_MUTANTS, sizeof *all));
  const int n = mutants_find(s->source.text, all);
  if (n == MAX_MUTANTS) die(s->spec->name, "more mutants than there is room for");
  t->tried = must(realloc(t->tried, (size_t)(t->ntried + n) * sizeof *all));
  const int before = t->ntried;
  for (int i = 0; i < n; i++) {
    if (!t->full && tried(t, before, &all[i])) continue;
    if (t->ntried == before) { /* the first */
      fill(s);
      run_unbroken(s);
    }
    t->tried[t->ntried++] = all[i];
    judge(t, s, &all[i]);
  }
  free(all);
}

/* Every shipped spec that a schedule serves, at sizes that take different ways through it. */
static void try_all(struct tally *t, mkc_context *ctx, bool *served) {
  static const struct gen_config configs[] = {
      {.arch = "sm_80", .dtype = MKC_BF16, .dk = 64, .dv = 64},
      {.arch = "sm_80", .dtype = MKC_BF16, .dk = 36, .dv = 20, .align = 2},
      {.arch = "sm_86", .dtype = MKC_BF16, .dk = 128, .dv = 128},
      {.arch = "sm_80", .dtype = MKC_F32, .dk = 64, .dv = 32},
      {.arch = "sm_80", .dtype = MKC_BF16, .dk = 64, .dv = 64, .pass = MKC_STEP},
  };
  for (const struct embedded_file *f = embedded_files; f->name; f++) {
    if (strncmp(f->name, "specs/", 6) != 0) continue;
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++) {
      struct subject s = {.spec = f, .config = configs[c], .ctx = ctx};
      struct error err = {0};
      if (gen_op(f->name, f->data, f->len, &s.config, &s.source, &err)) {
        error_finish(&err);
        continue;
      }
      for (int i = 0; schedules[i]; i++)
        served[i] |= !strncmp(s.source.plan + 1, schedules[i]->name, strlen(schedules[i]->name));
      try_subject(t, &s);
      release(&s);
    }
  }
}

int main(int argc, char **argv) {
  struct tally t = {.full = argc > 1 && !strcmp(argv[1], "--full")};
  bool served[64] = {false};
  mkc_context *ctx;
  if (mkc_context_create(NULL, &ctx)) die("context", mkc_last_error());
  try_all(&t, ctx, served);
  mkc_context_destroy(ctx);
  free(t.tried);
  bool unserved = false;
  for (int i = 0; schedules[i]; i++) {
    if (served[i]) continue;
    printf("schedule %s serves no shipped spec: its kernels were not tried\n", schedules[i]->name);
    unserved = true;
  }
  const int n = t.caught + t.survived;
  printf("%d mutants, %d caught, %d survive (%d without a reason)\n", n, t.caught, t.survived,
         t.unexcused);
  return !n || unserved || t.unexcused || 100 * t.caught < WANTED_PERCENT * n;
}
