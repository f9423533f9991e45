/* SPDX-License-Identifier: MIT
 * build_pack.c - the jobs of a build, done, as a pack.
 */
#include "build.h"

#include "../../runtime/context.h"

#include <string.h>

/* The spec's index in the pack; -1: out of memory. */
static int add_spec(struct pack_writer *w, const struct build *b, const struct build_spec *spec) {
  const struct variant *v = spec->variant;
  unsigned char digest[SHA256_BYTES];
  struct pack_option *options = arena_array(&b->cli->arena, struct pack_option, v->noptions + 1);
  for (int i = 0; i < v->noptions; i++)
    options[i] =
        (struct pack_option){v->options[i].name, v->options[i].value, v->options[i].default_value};
  sha256(spec->file.text, spec->file.len, digest);
  return pack_writer_spec(w, v->name, digest, options, v->noptions);
}

static mkc_status add_job(struct pack_writer *w, const struct build *b, const struct build_job *job,
                          struct error *err) {
  if (!job->source.text) return MKC_OK; /* no schedule */
  const struct pack_op op = {.spec = add_spec(w, b, job->spec),
                             .pass = job->config.pass,
                             .dtype = job->config.dtype,
                             .align = job->config.align,
                             .dk = job->config.dk,
                             .dv = job->config.dv,
                             .chunk = job->config.chunk};
  if (op.spec < 0) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  return pack_writer_code(w, &op, job->kind, &job->source, job->code, job->code_bytes, err);
}

/* 13000 for 13.0; 0 where nothing was compiled. */
static mkc_status nvrtc_of(const struct build *b, int *ret, struct error *err) {
  const struct nvrtc *nvrtc;
  int compiled = 0, major, minor;
  *ret = 0;
  for (int i = 0; i < b->njobs; i++) compiled += b->jobs[i].code != NULL;
  if (!compiled) return MKC_OK;
  const mkc_status status = context_nvrtc(b->ctx, &nvrtc, err);
  if (status) return status;
  nvrtc_version(nvrtc, &major, &minor);
  *ret = 1000 * major + 10 * minor;
  return MKC_OK;
}

mkc_status build_pack(struct build *b, struct buf *out, struct error *err) {
  int nvrtc;
  mkc_status status = nvrtc_of(b, &nvrtc, err);
  if (status) return status;
  struct pack_writer *w = pack_writer_create();
  if (!w) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  for (int i = 0; i < b->njobs && !status; i++) status = add_job(w, b, &b->jobs[i], err);
  if (!status) status = pack_writer_write(w, nvrtc, out, err);
  pack_writer_destroy(w);
  return status;
}
