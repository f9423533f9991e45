/* SPDX-License-Identifier: MIT
 * nvrtc.h - NVIDIA's runtime compiler, opened at run time: CUDA source in, PTX or a cubin out.
 *
 * Finding the library and opening it are two steps, because the identity of the file (its build id)
 * is part of a cache key, and a hit should not pay for opening 100 MB.
 */
#ifndef MKC_NVRTC_H
#define MKC_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct nvrtc;

struct nvrtc_location {
  char path[4096];
  char identity[65]; /* hex: the ELF build id, or the SHA-256 of the file where it has none */
};

/* Where it looks, in this order: $MASKC_NVRTC_PATH (a file or a directory; nothing else is tried
 * when it is set), the directory of the build option nvrtc_dir, $CUDA_HOME and $CUDA_PATH,
 * /usr/local/cuda, $LD_LIBRARY_PATH and the system's library directories, and at last whatever the
 * dynamic loader finds. Errors: MKC_E_NO_NVRTC. */
mkc_status nvrtc_locate(struct nvrtc_location *ret, struct error *err);

/* Where NVRTC comes from and how to name it, for messages. */
extern const char nvrtc_how_to_get_it[];

mkc_status nvrtc_open(const struct nvrtc_location *location, struct nvrtc **ret, struct error *err);
void nvrtc_close(struct nvrtc *n); /* NULL is fine */

void nvrtc_version(const struct nvrtc *n, int *ret_major, int *ret_minor);

/* "sm_75 sm_80 ... sm_121", for messages. Owned by n. */
const char *nvrtc_archs(const struct nvrtc *n);

enum nvrtc_kind { NVRTC_PTX, NVRTC_CUBIN };

struct nvrtc_job {
  const char *source;
  const char *arch; /* "sm_90a", also for PTX, which becomes that of compute_90a */
  enum nvrtc_kind kind;
  bool lineinfo; /* line numbers for profilers; makes the code depend on paths */
  bool verbose;  /* the log holds ptxas' registers, spills and warnings */
};

struct nvrtc_result {
  unsigned char *code; /* len bytes; a PTX text is NUL-terminated, and the NUL counts */
  size_t len;
  char *log; /* warnings, and what verbose asks for; "" if none */
};
void nvrtc_result_finish(struct nvrtc_result *r);

/* The options that decide the code, in order, NULL-terminated; they are part of a cache key. */
enum { NVRTC_MAX_OPTIONS = 8 };
struct nvrtc_options {
  const char *list[NVRTC_MAX_OPTIONS + 1];
  int count;
  char arch[48];
};
void nvrtc_options(const struct nvrtc_job *job, struct nvrtc_options *ret);

/* Errors: MKC_E_ARCHITECTURE (the message lists what is supported), MKC_E_COMPILE (the message ends
 * in the full log), MKC_E_NO_NVRTC (it lacks its builtins library). Safe from many threads. */
mkc_status nvrtc_compile(const struct nvrtc *n, const struct nvrtc_job *job,
                         struct nvrtc_result *ret, struct error *err);

#endif
