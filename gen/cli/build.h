/* SPDX-License-Identifier: MIT
 * build.h - the parts of maskc build.
 *
 *   cmd_build.c      the sequence; where files go
 *   build_jobs.c     specs times configurations times architectures, generated and compiled by
 *                    several threads
 *   build_pack.c     all of them as a pack
 *   build_asm.c      a pack as assembler source and a header
 *   build_depfile.c  which files the outputs depend on
 */
#ifndef MKC_CLI_BUILD_H
#define MKC_CLI_BUILD_H

#include "cli.h"

#include "../../runtime/nvrtc.h"
#include "../../runtime/pack_write.h"

struct build_spec {
  struct spec_file file;
  const struct variant *variant;
};

/* One kernel to generate and to compile. */
struct build_job {
  const struct build_spec *spec;
  struct gen_config config;
  enum pack_kind kind; /* what becomes of it: its source, a cubin, PTX */
  bool portable;       /* the PTX of a pack that every GPU takes */
  struct op_source source;
  void *code; /* on the heap */
  size_t code_bytes;
  struct error err;
};

struct build {
  struct cli *cli;
  mkc_context *ctx;
  const char *emit;   /* "cu", "ptx", "cubin", "pack", "asm" */
  bool packs;         /* the last two */
  const char **archs; /* NULL-terminated, each once */
  struct build_spec *specs;
  int nspecs;
  struct build_job *jobs; /* in the order of specs, configurations, architectures */
  int njobs;
};

/* Reads the specs and lists the jobs. */
mkc_status build_jobs_list(struct build *b, struct error *err);
/* Generates all, then compiles all, -j at a time. What no schedule serves is an error that lists
 * it; under --skip-unserved a warning, and the job stays without a source. */
mkc_status build_jobs_run(struct build *b, struct error *err);
void build_jobs_finish(struct build *b);
/* "simple_gla forward bf16 dk=128 dv=128 for sm_90a" */
void build_job_print(const struct build_job *job, struct buf *out);

/* Appends the pack of all jobs. */
mkc_status build_pack(struct build *b, struct buf *out, struct error *err);
/* The same as assembler source, and its header; `name` is the array's. */
void build_asm(const struct buf *pack, const char *name, struct buf *out, struct buf *header);
/* The name of the array: the file's, "out/all-ops.S" -> all_ops; in the arena. */
const char *build_asm_name(struct cli *cli, const char *path);

/* --depfile, if it is given: the outputs depend on the spec files. */
mkc_status build_depfile(const struct build *b, const char *const *outputs, struct error *err);

#endif
