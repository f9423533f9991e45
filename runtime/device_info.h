/* SPDX-License-Identifier: MIT
 * device_info.h - what this machine has: GPUs, driver, NVRTC, a cache directory that can be
 * trusted. For `maskc doctor` and for planning.
 */
#ifndef MKC_DEVICE_INFO_H
#define MKC_DEVICE_INFO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "nvrtc.h"

struct gpu_info {
  char name[96];
  int major, minor; /* compute capability */
  char arch[16];    /* what to compile for: "sm_90a" */
  int sms;          /* multiprocessors */
  int smem_bytes;   /* shared memory that a block may opt in to */
  int l2_bytes;
  size_t memory_bytes;
};

/* Errors: MKC_E_NO_DEVICE. */
mkc_status gpu_count(int *ret, struct error *err);
mkc_status gpu_info_get(int device, struct gpu_info *ret, struct error *err);

/* The architecture to compile for at a compute capability: 8.6 "sm_86", 9.0 "sm_90a". */
void gpu_arch(int major, int minor, char ret[16]);

/* "cpu": *ret_gpu is -1. "cuda" or "cuda:N": N. Errors: MKC_E_ARGUMENT. */
mkc_status device_parse(const char *device, int *ret_gpu, struct error *err);

enum { ENVIRONMENT_MAX_GPUS = 16 };

struct environment {
  bool driver_ok;
  int driver_version;    /* the CUDA version that the driver serves, 13000 for 13.0; 0 unknown */
  char driver_note[512]; /* the library's name, or why there is none */
  int ngpus;
  struct gpu_info gpus[ENVIRONMENT_MAX_GPUS];
  bool nvrtc_ok;
  int nvrtc_major, nvrtc_minor;
  struct nvrtc_location nvrtc_location; /* path "" if there is none */
  char nvrtc_archs[512];
  char nvrtc_note[1024]; /* why there is none */
  bool cache_ok;         /* entries are kept on disk */
  char cache_dir[4096];
  char cache_note[512];
};

/* Looks at everything; what is missing is said in the notes. */
void environment_read(mkc_context *ctx, struct environment *ret);

#endif
