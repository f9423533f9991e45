/* SPDX-License-Identifier: MIT
 * test_cli.c - runs the built program, on good input and on bad, and reads what it says and how it
 * exits. $MASKC is the program.
 */
#define _XOPEN_SOURCE 700
#include "support.h"

#include "cli/npy.h"

#include "../runtime/base/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char spec_text[] = "return variant {\n"
                                "  name = \"gated\",\n"
                                "  scale = dk^-0.5,\n"
                                "  transition = { decay(exp(input { \"g\", max = 0 })) },\n"
                                "}\n";
static const char low_rank_text[] =
    "local w = l2norm(input { \"w\", dk })\n"
    "return variant {\n"
    "  name = \"low_rank\",\n"
    "  transition = { identity - outer(sigmoid(input \"b\") * w, w) },\n"
    "}\n";
static const char bad_text[] = "return variant {\n"
                               "  name = \"bad\",\n"
                               "  transitoin = {},\n"
                               "}\n";

static const char option_text[] = "return variant {\n"
                                  "  name = \"with_option\",\n"
                                  "  transition = { decay(option { \"depth\", 3 } / 4) },\n"
                                  "}\n";

/* A folder with the specs and arrays, made once. */
struct world {
  char *dir;
};

static char *in_dir(const struct world *w, const char *name) {
  struct buf path = {0};
  buf_printf(&path, "%s/%s", w->dir, name);
  return buf_steal(&path);
}

static void put_text(const struct world *w, const char *name, const char *text) {
  char *path = in_dir(w, name);
  assert_true(write_file(path, text, strlen(text)));
  free(path);
}

static int setup(void **state) {
  struct world *w = calloc(1, sizeof *w);
  if (!w || !getenv("MASKC")) return -1;
  w->dir = temp_dir();
  put_text(w, "gated.lua", spec_text);
  put_text(w, "low_rank.lua", low_rank_text);
  put_text(w, "bad.lua", bad_text);
  put_text(w, "option.lua", option_text);
  put_text(w, "softmax.lua",
           "return variant { name = \"softmax\", score = exp(qk), normaliser = rowsum }");
  *state = w;
  return 0;
}

static int teardown(void **state) {
  struct world *w = *state;
  remove_dir(w->dir);
  free(w->dir);
  free(w);
  return 0;
}

/* ---- running ---- */

enum { MAX_WORDS = 40 };

/* `line` is split at spaces; in each word @ stands for the world's folder. env: one NAME=value. */
static struct command_result run_with(const struct world *w, const char *env, const char *line) {
  const char *argv[MAX_WORDS + 2] = {getenv("MASKC")};
  char *words[MAX_WORDS];
  int n = 0;
  while (*line && n < MAX_WORDS) {
    const size_t len = strcspn(line, " ");
    struct buf word = {0};
    for (size_t i = 0; i < len; i++) {
      if (line[i] == '@')
        buf_puts(&word, w->dir);
      else
        buf_write(&word, &line[i], 1);
    }
    words[n] = buf_steal(&word);
    argv[n + 1] = words[n];
    n++;
    line += len;
    line += strspn(line, " ");
  }
  argv[n + 1] = NULL;
  const char *const list[] = {env, NULL};
  struct command_result r;
  command_run(argv, env ? list : NULL, &r);
  for (int i = 0; i < n; i++) free(words[i]);
  return r;
}

static void expect_env(void **state, const char *env, const char *line, int status, const char *out,
                       const char *err) {
  struct command_result r = run_with(*state, env, line);
  if (r.status != status)
    fail_msg("maskc %s: exit status %d, not %d\n%s%s", line, r.status, status, r.out, r.err);
  if (out) assert_contains(r.out, out);
  if (err) assert_contains(r.err, err);
  command_result_finish(&r);
}

static void expect(void **state, const char *line, int status, const char *out, const char *err) {
  expect_env(state, NULL, line, status, out, err);
}

/* ---- usage ---- */

static void help_and_version(void **state) {
  expect(state, "--help", 0, "usage: maskc COMMAND", NULL);
  expect(state, "help run", 0, "--shape", NULL);
  expect(state, "build --help", 0, "usage: maskc build", NULL);
  expect(state, "--version", 0, "maskc ", NULL);
  expect(state, "help --man", 0, ".TH MASKC 1", NULL);
  expect(state, "help --completion zsh", 0, "#compdef maskc", NULL);
  expect(state, "help --man run", 2, NULL, "one of COMMAND, --man and --completion");
  expect(state, "help nope", 2, NULL, "unknown command 'nope'");
}

static void slips(void **state) {
  expect(state, "", 2, NULL, "usage: maskc");
  expect(state, "chek simple_gla", 2, NULL, "did you mean 'check'?");
  expect(state, "run @/gated.lua --shap B=1", 2, NULL, "did you mean '--shape'?");
  expect(state, "run", 2, NULL, "needs SPEC");
  expect(state, "run @/gated.lua --shape B", 2, NULL, "expected B=2,T=200,H=4,dk=64,dv=64");
  expect(state, "run @/gated.lua --shape X=1", 2, NULL,
         "'X' is not one of B, T, H, Hqk, L, dk, dv");
  expect(state, "run @/gated.lua --shape T=0", 2, NULL, "T=0 is no whole number from 1");
  expect(state, "run @/gated.lua --device tpu", 2, NULL, "expected cpu or cuda:N");
}

/* ---- specs ---- */

static void shipped_specs(void **state) {
  expect(state, "list", 0, "simple_gla", NULL);
  expect(state, "list --json", 0, "\"name\": \"retnet\"", NULL);
  expect(state, "check simple_gla", 0, "state = dense", NULL);
  expect(state, "show retnet --ascii --tokens 8", 0, "@@", NULL);
  expect(state, "check simple_glaa", 1, NULL, "did you mean 'simple_gla'?");
}

static void sets_options(void **state) {
  expect(state, "check @/option.lua --set=depth=2", 0, "option depth = 2, by default 3", NULL);
  expect(state, "show @/option.lua --set depth=2 --tokens 3 --json", 0, "\"value\": 2,", NULL);
  expect(state, "run @/option.lua --set depth=1 --shape B=1,T=9,H=1", 0, "option depth=1\n", NULL);
  expect(state, "build @/option.lua --set depth=2 --emit=cu", 0, "option depth = 2", NULL);
  expect(state, "check @/option.lua --set depth=5", 1, NULL, "option depth is set to 5");
  expect(state, "check @/option.lua --set dept=2", 1, NULL, "did you mean \"depth\"?");
  expect(state, "check @/option.lua --set depth=2.5", 2, NULL, "expected NAME=N");
  expect(state, "check @/option.lua --set depth", 2, NULL, "expected NAME=N");
  expect(state, "build @/option.lua retnet --set depth=2 --emit=cu -o @/", 1, NULL,
         "specs/retnet.lua has no option");
}

static void bad_specs(void **state) {
  expect(state, "check @/none.lua", 1, NULL, "none.lua: No such file");
  expect(state, "check @/bad.lua", 1, NULL, "bad.lua:3");
  expect(state, "check @/bad.lua", 1, NULL, "transition");
  expect(state, "check @/bad.lua --json", 1, "\"error\":", "bad.lua:3");
  expect(state, "build @/bad.lua -o @/never.cubin", 1, NULL, "bad.lua:3");
  expect(state, "run @/bad.lua", 1, NULL, "bad.lua:3");
  expect(state, "check @/", 1, NULL, "directory");
}

static void no_schedule(void **state) {
  expect(state, "check @/low_rank.lua", 0, "low rank", NULL);
  expect(state, "show @/low_rank.lua --ascii", 0, "transition: outer", NULL);
  expect(state, "build @/low_rank.lua --emit=cu", 3, NULL, "transition: outer");
  expect(state, "run @/low_rank.lua", 3, NULL, "transition: outer");
  expect(state, "check @/low_rank.lua", 0, "but for --pass step", NULL);
  expect(state, "run @/low_rank.lua --pass step --shape B=1,H=1", 0, "  state  relative", NULL);
  expect(state, "run @/gated.lua --shape dk=98", 3, NULL, "dk is 98");
}

/* ---- show --plan ---- */

static void shows_plans(void **state) {
  expect(state, "show @/gated.lua --plan --arch sm_80", 0, "A100 SXM 80GB, 108 SMs", NULL);
  expect(state, "show @/gated.lua --plan", 0, "taken\n", NULL);
  expect(state, "show @/gated.lua --plan", 0, "not possible: wants ", NULL);
  expect(state, "show @/gated.lua --plan --heads 8", 0, "waves", NULL);
  expect(state, "show @/gated.lua --heads 8 --tokens 3", 0, "8 heads are ", NULL);
  expect(state, "show @/low_rank.lua --plan", 0, "no plan: no schedule serves", NULL);
  expect(state, "show @/gated.lua --plan --arch=all", 0, "gated for sm_121, ", NULL);
  expect(state, "show @/gated.lua --tokens 2 --arch sm_80 --arch sm_89", 0, "plan for sm_89,",
         NULL);
  expect(state, "show @/gated.lua --arch sm_80,", 2, NULL, "an empty name");
  expect(state, "show @/gated.lua --plan --svg x.svg", 2, NULL, "choose one");
  expect(state, "show @/gated.lua --svg - --arch all", 2, NULL, "give one --arch");
  expect(state, "show @/gated.lua --heads 0", 2, NULL, "expected a whole number");
  struct command_result r =
      run_with(*state, NULL, "run @/gated.lua --heads 1 --shape T=9,dk=128,dv=128");
  assert_contains(r.out, "blocks_a_head=");
  assert_null(strstr(r.out, "blocks_a_head=1)")); /* one head is split over blocks */
  command_result_finish(&r);
}

/* ---- show --svg ---- */

static void draws_svg(void **state) {
  struct command_result a = run_with(*state, NULL, "show @/gated.lua --svg - --tokens 4");
  struct command_result b = run_with(*state, NULL, "show @/gated.lua --svg @/x.svg --tokens 4");
  assert_int_equal(a.status, 0);
  assert_int_equal(b.status, 0);
  assert_string_equal(b.out, "");
  assert_contains(b.err, "x.svg (");
  char *path = in_dir(*state, "x.svg");
  char *text = read_file(path, NULL);
  assert_string_equal(text, a.out);
  assert_contains(text, "predicted");
  free(text);
  free(path);
  command_result_finish(&a);
  command_result_finish(&b);
  expect(state, "show @/low_rank.lua --svg -", 0, "no schedule serves low_rank", NULL);
  expect(state, "show @/gated.lua --svg @/y.svg --json", 0, "\"svg\": \"", "y.svg (");
}

static void svg_slips(void **state) {
  expect(state, "show @/gated.lua --svg - --json", 2, NULL, "both want standard output");
  expect(state, "show @/gated.lua --svg @/none/x.svg", 1, NULL, "cannot create");
  expect(state, "show @/gated.lua --svg @", 1, NULL, "is a directory");
  expect(state, "show @/bad.lua --svg @/never.svg", 1, NULL, "bad.lua:3");
  char *path = in_dir(*state, "never.svg");
  assert_null(read_file(path, NULL));
  free(path);
}

/* ---- cache ---- */

static void shows_and_empties_the_cache(void **state) {
  char env[4200];
  char *dir = in_dir(*state, "cache");
  snprintf(env, sizeof env, "MASKC_CACHE_DIR=%s", dir);
  expect_env(state, env, "cache path", 0, dir, NULL);
  assert_int_equal(access(dir, F_OK), -1); /* naming it makes nothing */
  expect_env(state, env, "cache stat", 0, "holds      0 entries, 0 bytes of 1.0 GiB", NULL);
  expect_env(state, env, "run @/gated.lua --shape B=1,T=9,H=1 --no-reference", 0, NULL, NULL);
  expect_env(state, env, "cache stat", 0, "holds      1 entry", NULL);
  expect_env(state, env, "cache stat --json", 0, "\"entries\": 1,", NULL);
  expect_env(state, env, "cache prune", 0, "removed  0 entries, 0 bytes\nleft     1 entry", NULL);
  expect_env(state, env, "cache prune --max-bytes 1G --json", 0, "\"entries\": 0", NULL);
  expect_env(state, env, "cache prune --max-bytes 1", 0, "removed  1 entry", NULL);
  expect_env(state, env, "cache clear", 0, "left     0 entries", NULL);
  assert_int_equal(chmod(dir, 0777), 0);
  expect_env(state, env, "cache stat", 0, "others may write to it", NULL);
  expect_env(state, env, "cache stat --json", 0, "\"entries\": null", NULL);
  expect_env(state, env, "cache clear", 3, NULL, "others may write to it");
  free(dir);
}

static void cache_slips(void **state) {
  expect(state, "cache", 2, NULL, "needs ACTION");
  expect(state, "cache claer", 2, NULL, "did you mean 'clear'?");
  expect(state, "cache prune --max-bytes 1.5G", 2, NULL, "expected bytes");
  expect(state, "cache clear --max-bytes 1", 2, NULL, "'maskc cache prune' alone");
}

/* ---- build ---- */

static void emits_source(void **state) {
  struct command_result a = run_with(*state, NULL, "build @/gated.lua --emit=cu --arch sm_80");
  struct command_result b =
      run_with(*state, NULL, "build @/gated.lua --emit=cu --arch sm_80 -o @/out.cu");
  assert_int_equal(a.status, 0);
  assert_int_equal(b.status, 0);
  assert_contains(a.out, "sm_80");
  assert_contains(b.err, "out.cu (");
  char *path = in_dir(*state, "out.cu");
  char *text = read_file(path, NULL);
  assert_string_equal(text, a.out);
  free(text);
  free(path);
  command_result_finish(&a);
  command_result_finish(&b);
}

static void names_several_outputs(void **state) {
  expect(state, "build @/gated.lua --emit=cu --arch sm_80,sm_90a -o @/x.cu", 2, NULL,
         "several outputs");
  expect(state, "build @/gated.lua --emit=cu --arch sm_80,sm_90a -o @/x%n.cu", 2, NULL,
         "two outputs would go to");
  expect(state, "build @/gated.lua --emit=cu --arch sm_80 -o @/%q", 2, NULL, "after '%'");
  expect(state, "build @/gated.lua --emit=cu --arch sm_80 --arch=sm_90a -o @/d/", 0, NULL,
         "d/gated.sm_90a.cu");
  expect(state, "build @/gated.lua --emit=cu --arch sm_80 -o @/d/%a/x", 1, NULL, "cannot create");
}

static void environment_lacks(void **state) {
  expect(state, "build @/gated.lua --emit=cu --arch sm_999", 3, NULL, "sm_999");
  expect(state, "build @/gated.lua --emit=cu --arch sm_999", 3, NULL, "sm_90a");
  expect_env(state, "MASKC_NVRTC_PATH=/nonexistent", "build @/gated.lua --no-cache -o @/n.cubin", 3,
             NULL, "NVRTC");
  expect_env(state, "MASKC_LIBCUDA=/nonexistent", "run @/gated.lua --device cuda:0", 3, NULL,
             "driver");
  expect_env(state, "MASKC_CC=/nonexistent", "run @/gated.lua --no-cache", 3, NULL, "compiler");
  expect_env(state, "MASKC_CC=/nonexistent", "doctor", 3, "C compiler     none", NULL);
  char *path = in_dir(*state, "n.cubin");
  assert_null(read_file(path, NULL));
  free(path);
}

/* ---- run: arrays against a recurrence written here ---- */

enum { B = 2, T = 70, H = 2, D = 64 };

struct arrays {
  float q[B * T * H * D], k[B * T * D], v[B * T * H * D], g[B * T * H], h0[B * H * D * D];
  double o[B * T * H * D], ht[B * H * D * D];
};

/* Multiples of 1/32 in [-1, 1]: bfloat16 holds them exactly. */
static void fill(float *x, size_t n, unsigned seed) {
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)((int)(seed >> 16) % 65 - 32) / 32;
  }
}

/* S <- exp(g) S + k v', o = q' S / sqrt(d), with one k head for both heads of the output. */
static void recurrence(struct arrays *x, int b, int h) {
  double S[D][D];
  for (int i = 0; i < D; i++)
    for (int j = 0; j < D; j++) S[i][j] = x->h0[((b * H + h) * D + i) * D + j];
  for (int t = 0; t < T; t++) {
    const float *q = &x->q[((b * T + t) * H + h) * D], *k = &x->k[(b * T + t) * D];
    const float *v = &x->v[((b * T + t) * H + h) * D];
    double *o = &x->o[((b * T + t) * H + h) * D];
    const double decay = exp(x->g[(b * T + t) * H + h]);
    for (int i = 0; i < D; i++)
      for (int j = 0; j < D; j++) S[i][j] = decay * S[i][j] + (double)k[i] * v[j];
    for (int j = 0; j < D; j++) {
      o[j] = 0;
      for (int i = 0; i < D; i++) o[j] += q[i] * S[i][j] / 8;
    }
  }
  for (int i = 0; i < D; i++)
    for (int j = 0; j < D; j++) x->ht[((b * H + h) * D + i) * D + j] = S[i][j];
}

static void save(const struct world *w, const char *name, int ndim, const int64_t *shape,
                 const float *values) {
  struct error err = {0};
  char *path = in_dir(w, name);
  if (npy_write_floats(path, ndim, shape, values, &err)) fail_msg("%s", error_text(&err));
  free(path);
}

static void compare(const struct world *w, const char *name, const double *expected, size_t n,
                    double tolerance) {
  struct error err = {0};
  struct npy_floats got;
  char *path = in_dir(w, name);
  if (npy_read_floats(path, &got, &err)) fail_msg("%s", error_text(&err));
  assert_int_equal(got.count, n);
  double *actual = calloc(n, sizeof *actual);
  for (size_t i = 0; i < n; i++) actual[i] = got.values[i];
  assert_arrays_close(actual, expected, n, tolerance);
  free(actual);
  free(got.values);
  free(path);
}

static struct arrays *make_arrays(const struct world *w) {
  struct arrays *x = calloc(1, sizeof *x);
  fill(x->q, B * T * H * D, 1);
  fill(x->k, B * T * D, 2);
  fill(x->v, B * T * H * D, 3);
  fill(x->g, B * T * H, 4);
  fill(x->h0, B * H * D * D, 5);
  for (int i = 0; i < B * T * H; i++) x->g[i] = -0.3f * fabsf(x->g[i]);
  x->g[40] = -INFINITY; /* a reset */
  for (int b = 0; b < B; b++)
    for (int h = 0; h < H; h++) recurrence(x, b, h);
  save(w, "q.npy", 4, (int64_t[]){B, T, H, D}, x->q);
  save(w, "k.npy", 4, (int64_t[]){B, T, 1, D}, x->k);
  save(w, "v.npy", 4, (int64_t[]){B, T, H, D}, x->v);
  save(w, "g.npy", 3, (int64_t[]){B, T, H}, x->g);
  save(w, "h0.npy", 4, (int64_t[]){B, H, D, D}, x->h0);
  return x;
}

#define INPUTS "--in q=@/q.npy --in k=@/k.npy --in v=@/v.npy --in g=@/g.npy "

static void runs_on_files(void **state) {
  struct arrays *x = make_arrays(*state);
  expect(state, "run @/gated.lua " INPUTS "--in h0=@/h0.npy --out o=@/o.npy --out ht=@/ht.npy", 0,
         "from files", NULL);
  compare(*state, "o.npy", x->o, B * T * H * D, 5e-3);
  compare(*state, "ht.npy", x->ht, B * H * D * D, 3e-3);
  expect(state, "run @/gated.lua --json " INPUTS, 0, "\"compared\": true", NULL);
  expect(state, "run @/gated.lua --no-reference " INPUTS, 0, "not compared", NULL);
  free(x);
}

/* The same tokens as one long decode: its state is read and written. */
static void runs_a_step_on_files(void **state) {
  struct arrays *x = make_arrays(*state);
  expect(state,
         "run @/gated.lua --pass step " INPUTS
         "--in state=@/h0.npy --out o=@/o.npy --out state=@/ht.npy --repeat 2",
         0, "  state  relative L2 error", NULL);
  compare(*state, "o.npy", x->o, B * T * H * D, 5e-3);
  compare(*state, "ht.npy", x->ht, B * H * D * D, 3e-3);
  expect(state, "run @/gated.lua --pass step " INPUTS, 1, NULL, "--in state=FILE.npy");
  expect(state, "run @/gated.lua --pass step --dtype fp32 --json", 0, "\"T\": 1", NULL);
  expect(state, "build @/gated.lua --pass step --emit=cu", 0, "_step, op_args, THREADS", NULL);
  free(x);
}

/* Under a Fenwick mask every sequence has a position. */
static void runs_a_step_at_positions(void **state) {
#define STEP "run log_linear_attention --pass step --shape B=2,H=1,dk=16,dv=16 "
  expect(state, STEP, 0, "written once, live slots)", NULL);
  /* 2 live slots at 5 and at 6, 3 at 7: 9 matrices; q, k, v, o; 4 weights; the position */
  expect(state, STEP "--positions 5,6 --json", 0, "\"bytes\": 9520", NULL);
  expect(state, STEP "--positions 12 --check=race", 0, "no race", NULL);
  expect(state, STEP "--positions 1,2,3", 2, NULL, "there are 2 sequences");
  expect(state, "run retnet --pass step --positions 3", 2, NULL, "retnet has no fenwick mask");
  expect(state, "run log_linear_attention --pass step --shape T=9", 1, NULL,
         "the op takes at most 8 tokens a launch");
  expect(state, "show log_linear_attention --pass step --plan --dk 128 --dv 128", 0,
         "a token's of one head with 7 of 14 slots live", NULL);
#undef STEP
}

static void runs_on_random_arrays(void **state) {
  expect(state, "run @/gated.lua --shape B=1,T=65,H=3 --h0 --seed 7", 0, "T=65", NULL);
  expect(state, "run retnet --shape B=1,T=1,H=2,dk=128 --json", 0, "\"compared\": true", NULL);
  expect(state, "run retnet --arch sm_80 --arch sm_86", 2, NULL, "give one --arch");
}

static void checks_addresses(void **state) {
  expect(state, "run @/gated.lua --check=address --shape B=1,T=9,H=1", 0, "AddressSanitizer", NULL);
  expect(state, "run @/gated.lua --check=address --device cuda:0", 2, NULL, "compute-sanitizer");
}

static void checks_races(void **state) {
  expect(state, "run @/gated.lua --check=race --shape B=2,T=70,H=2 --h0", 0, "no race", NULL);
  expect(state, "run gated_rfa --check=race --lengths 5,0,70 --shape H=2", 0, "no race", NULL);
  expect(state, "run linear_attention_elu --dtype fp16 --shape B=1,T=70000,H=1,dk=16,dv=16", 0,
         "tolerance 1e-03: ok", NULL); /* rowsum is more than fp16 holds */
  expect(state, "run gated_rfa --check=race --lengths 5,0,70 --shape H=2 --h0", 0, "  nt  ", NULL);
  expect(state, "run @/softmax.lua --h0", 2, NULL, "softmax has no h0 and no ht");
  expect(state, "run @/gated.lua --check=race --lengths 5,0,70 --shape H=2 --h0", 0, "no race",
         NULL);
  expect(state, "run retnet --pass step --check=race --shape B=2,T=9,H=2", 0, "no race", NULL);
  expect(state, "run @/gated.lua --check=race --shape B=1,T=9,H=1 --json", 0, "\"check\": \"race\"",
         NULL);
  expect(state, "run @/gated.lua --check=speed", 2, NULL, "address|race");
}

/* ---- run: wrong arrays ---- */

static void missing_arrays(void **state) {
  free(make_arrays(*state));
  expect(state, "run @/gated.lua --in q=@/q.npy --in v=@/v.npy", 1, NULL, "missing:");
  expect(state, "run @/gated.lua --in q=@/q.npy --in v=@/v.npy", 1, NULL, "--in k=FILE.npy");
  expect(state, "run @/gated.lua --in h0=@/h0.npy", 1, NULL, "--in g=FILE.npy");
  expect(state, "run @/gated.lua --in q=@/none.npy --in k=@/k.npy --in v=@/v.npy --in g=@/g.npy", 1,
         NULL, "none.npy: No such file");
  expect(state, "run @/gated.lua --in gg=@/g.npy", 2, NULL, "did you mean 'g'?");
  expect(state, "run @/gated.lua --out q=@/q.npy", 2, NULL, "has no output of that name");
  expect(state, "run @/gated.lua --in q", 2, NULL, "expected NAME=FILE.npy");
  expect(state, "run @/gated.lua --in q=@/q.npy --in q=@/q.npy", 2, NULL, "given twice");
  expect(state, "run @/gated.lua --out o=@/none/o.npy", 1, NULL, "cannot create");
}

static void wrong_arrays(void **state) {
  struct world *w = *state;
  struct arrays *x = make_arrays(w);
  save(w, "short.npy", 4, (int64_t[]){B, T - 1, H, D}, x->v);
  expect(state, "run @/gated.lua --in q=@/q.npy --in k=@/k.npy --in v=@/short.npy --in g=@/g.npy",
         1, NULL, "v has shape [2,69,2,64], expected [B=2,T=70,heads,dv]");
  save(w, "three.npy", 4, (int64_t[]){B, T, 3, D / 3}, x->v);
  expect(state, "run @/gated.lua --in q=@/q.npy --in k=@/k.npy --in v=@/three.npy --in g=@/g.npy",
         1, NULL, "must divide H=3");
  save(w, "flat.npy", 2, (int64_t[]){B * T, H * D}, x->v);
  expect(state, "run @/gated.lua --in q=@/q.npy --in k=@/k.npy --in v=@/flat.npy --in g=@/g.npy", 1,
         NULL, "v has shape [140,128]");
  expect(state, "run @/gated.lua --shape T=71 " INPUTS, 1, NULL, "T=71");
  put_text(w, "text.npy", "1 2 3\n");
  expect(state, "run @/gated.lua --in q=@/text.npy --in k=@/k.npy --in v=@/v.npy --in g=@/g.npy", 1,
         NULL, "text.npy: is not a .npy file");
  x->g[3] = 0.5f;
  save(w, "g.npy", 3, (int64_t[]){B, T, H}, x->g);
  expect(state, "run @/gated.lua " INPUTS, 1, NULL, "g[0,1,1] is 0.5; ");
  expect(state, "run @/gated.lua " INPUTS, 1, NULL, "gated.lua:4 says max = 0");
  free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(help_and_version),
      cmocka_unit_test(slips),
      cmocka_unit_test(shipped_specs),
      cmocka_unit_test(sets_options),
      cmocka_unit_test(bad_specs),
      cmocka_unit_test(no_schedule),
      cmocka_unit_test(shows_plans),
      cmocka_unit_test(draws_svg),
      cmocka_unit_test(svg_slips),
      cmocka_unit_test(shows_and_empties_the_cache),
      cmocka_unit_test(cache_slips),
      cmocka_unit_test(emits_source),
      cmocka_unit_test(names_several_outputs),
      cmocka_unit_test(environment_lacks),
      cmocka_unit_test(runs_on_files),
      cmocka_unit_test(runs_a_step_on_files),
      cmocka_unit_test(runs_a_step_at_positions),
      cmocka_unit_test(runs_on_random_arrays),
      cmocka_unit_test(checks_addresses),
      cmocka_unit_test(checks_races),
      cmocka_unit_test(missing_arrays),
      cmocka_unit_test(wrong_arrays),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
