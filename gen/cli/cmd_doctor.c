/* SPDX-License-Identifier: MIT
 * cmd_doctor.c - maskc doctor: what this machine has, and what to do about what it lacks.
 */
#include "cli.h"

#include "../../runtime/context.h"
#include "../../runtime/cpu/compile.h"
#include "../../runtime/device_info.h"

struct doctor {
  struct environment env;
  bool compiler_ok;
  char compiler[4096]; /* its path, or why there is none */
};

static void print_gpus(struct buf *out, const struct environment *e) {
  for (int i = 0; i < e->ngpus; i++) {
    const struct gpu_info *g = &e->gpus[i];
    buf_printf(out, "  cuda:%-8d %s, %s, %d SMs, %zu MiB, L2 %d MiB\n", i, g->name, g->arch, g->sms,
               g->memory_bytes >> 20, g->l2_bytes >> 20);
  }
}

static void print_version(struct buf *out, int version) {
  buf_printf(out, "CUDA %d.%d", version / 1000, version % 1000 / 10);
}

static void print_text(struct buf *out, const struct doctor *d) {
  const struct environment *e = &d->env;
  buf_printf(out, "maskc          %s\n", mkc_version());
  buf_puts(out, e->driver_ok ? "driver         " : "driver         none: ");
  if (e->driver_ok && e->driver_version) {
    print_version(out, e->driver_version);
    buf_puts(out, ", ");
  }
  buf_printf(out, "%s\n", e->driver_note);
  print_gpus(out, e);
  if (e->nvrtc_ok)
    buf_printf(out, "NVRTC          %d.%d, %s\n  compiles for  %s\n", e->nvrtc_major,
               e->nvrtc_minor, e->nvrtc_location.path, e->nvrtc_archs);
  else
    buf_printf(out, "NVRTC          none: %s\n", e->nvrtc_note);
  buf_printf(out, "C compiler     %s%s\n", d->compiler_ok ? "" : "none: ", d->compiler);
  buf_printf(out, "cache          %s%s%s\n", *e->cache_dir ? e->cache_dir : "in memory only",
             *e->cache_note ? ": " : "", e->cache_note);
  buf_printf(out, "\n--device cpu   %s\n", d->compiler_ok ? "ready" : "not available");
  buf_printf(out, "--device cuda  %s\n", e->ngpus > 0 && e->nvrtc_ok ? "ready" : "not available");
  buf_printf(out, "build          %s\n", e->nvrtc_ok ? "cu, ptx, cubin" : "cu");
}

static void gpus_json(struct json *j, const struct environment *e) {
  json_array(j, "gpus");
  for (int i = 0; i < e->ngpus; i++) {
    const struct gpu_info *g = &e->gpus[i];
    json_object(j, NULL);
    json_string(j, "name", g->name);
    json_string(j, "arch", g->arch);
    json_integer(j, "sms", g->sms);
    json_integer(j, "smem_bytes", g->smem_bytes);
    json_integer(j, "l2_bytes", g->l2_bytes);
    json_integer(j, "memory_bytes", (int64_t)g->memory_bytes);
    json_end(j);
  }
  json_end(j);
}

static void print_json(struct buf *out, const struct doctor *d) {
  const struct environment *e = &d->env;
  struct json j = {.out = out};
  json_object(&j, NULL);
  json_string(&j, "version", mkc_version());
  json_object(&j, "driver");
  json_bool(&j, "ok", e->driver_ok);
  json_integer(&j, "version", e->driver_version);
  json_string(&j, "note", e->driver_note);
  json_end(&j);
  gpus_json(&j, e);
  json_object(&j, "nvrtc");
  json_bool(&j, "ok", e->nvrtc_ok);
  json_integer(&j, "major", e->nvrtc_major);
  json_integer(&j, "minor", e->nvrtc_minor);
  json_string(&j, "path", e->nvrtc_ok ? e->nvrtc_location.path : NULL);
  json_string(&j, "archs", e->nvrtc_ok ? e->nvrtc_archs : NULL);
  json_string(&j, "note", e->nvrtc_note);
  json_end(&j);
  json_object(&j, "compiler");
  json_bool(&j, "ok", d->compiler_ok);
  json_string(&j, d->compiler_ok ? "path" : "note", d->compiler);
  json_end(&j);
  json_object(&j, "cache");
  json_bool(&j, "ok", e->cache_ok);
  json_string(&j, "dir", e->cache_dir);
  json_string(&j, "note", e->cache_note);
  json_end(&j);
  json_end(&j);
}

mkc_status cmd_doctor(struct cli *cli, struct error *err) {
  struct doctor *d = arena_new(&cli->arena, struct doctor);
  struct error none = {0};
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  if (mkc_context_create(&options, &ctx))
    return error_set(err, MKC_E_OUT_OF_MEMORY, "%s", mkc_last_error());
  environment_read(ctx, &d->env);
  mkc_context_destroy(ctx);
  d->compiler_ok = host_compiler_find(d->compiler, &none) == MKC_OK;
  if (!d->compiler_ok) snprintf(d->compiler, sizeof d->compiler, "%s", error_text(&none));
  error_finish(&none);
  if (cli->json)
    print_json(&cli->out, d);
  else
    print_text(&cli->out, d);
  if (d->compiler_ok || (d->env.ngpus > 0 && d->env.nvrtc_ok)) return MKC_OK;
  return error_set(err, MKC_E_NO_DEVICE,
                   "no op can run here: '--device cpu' wants a C compiler (Debian: apt-get install "
                   "gcc), '--device cuda:0' a GPU and NVRTC");
}
