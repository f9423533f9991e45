/* SPDX-License-Identifier: MIT
 * device_info.c - asks the driver, NVRTC and the cache what they are, see device_info.h.
 */
#include "device_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "driver.h"

/* On Hopper and data-centre Blackwell the tensor cores' own instructions need the suffix. */
void gpu_arch(int major, int minor, char ret[16]) {
  const bool own_instructions = major == 9 || major == 10;
  snprintf(ret, 16, "sm_%d%d%s", major % 1000, minor % 10, own_instructions ? "a" : "");
}

/* "cuda:N", N of at most 4 digits; -1 for anything else. */
static int parse_gpu(const char *device) {
  if (strncmp(device, "cuda:", 5) != 0) return -1;
  const char *digits = device + 5;
  const size_t n = strspn(digits, "0123456789");
  return n >= 1 && n <= 4 && !digits[n] ? atoi(digits) : -1;
}

mkc_status device_parse(const char *device, int *ret_gpu, struct error *err) {
  if (!device || !*device)
    return error_set(err, MKC_E_ARGUMENT, "no device is named: write cpu or cuda:N");
  const bool cpu = !strcmp(device, "cpu");
  *ret_gpu = cpu ? -1 : !strcmp(device, "cuda") ? 0 : parse_gpu(device);
  if (cpu || *ret_gpu >= 0) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "unknown device \"%s\": write cpu or cuda:N", device);
}

mkc_status gpu_count(int *ret, struct error *err) {
  const struct driver *cu;
  *ret = 0;
  const mkc_status st = driver_open(&cu, err);
  if (st) return st;
  CU_TRY(cu, err, cuDeviceGetCount, ret);
  return MKC_OK;
}

mkc_status gpu_info_get(int device, struct gpu_info *ret, struct error *err) {
  const struct driver *cu;
  int count;
  *ret = (struct gpu_info){0};
  mkc_status st = gpu_count(&count, err);
  if (!st) st = driver_open(&cu, err);
  if (st) return st;
  if (device < 0 || device >= count)
    return error_set(err, MKC_E_NO_DEVICE, "no such device: cuda:%d (there %s %d)", device,
                     count == 1 ? "is" : "are", count);
  CUdevice handle;
  CU_TRY(cu, err, cuDeviceGet, &handle, device);
  CU_TRY(cu, err, cuDeviceGetName, ret->name, (int)sizeof ret->name, handle);
  CU_TRY(cu, err, cuDeviceTotalMem, &ret->memory_bytes, handle);
  const struct {
    int attribute, *value;
  } wanted[] = {
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &ret->major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &ret->minor},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &ret->sms},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &ret->smem_bytes},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &ret->l2_bytes},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    CU_TRY(cu, err, cuDeviceGetAttribute, wanted[i].value, wanted[i].attribute, handle);
  gpu_arch(ret->major, ret->minor, ret->arch);
  return MKC_OK;
}

static void read_driver(struct environment *e) {
  struct error err = {0};
  int count = 0;
  mkc_status st = gpu_count(&count, &err);
  for (int i = 0; !st && i < count && i < ENVIRONMENT_MAX_GPUS; i++) {
    st = gpu_info_get(i, &e->gpus[i], &err);
    if (!st) e->ngpus++;
  }
  e->driver_ok = !st;
  e->driver_version = driver_version();
  snprintf(e->driver_note, sizeof e->driver_note, "%s", st ? error_text(&err) : driver_path());
  error_finish(&err);
}

static void read_nvrtc(mkc_context *ctx, struct environment *e) {
  struct error err = {0};
  const struct nvrtc_location *location;
  const struct nvrtc *nvrtc;
  if (context_nvrtc_location(ctx, &location, &err) == MKC_OK) e->nvrtc_location = *location;
  if (err.status == MKC_OK && context_nvrtc(ctx, &nvrtc, &err) == MKC_OK) {
    e->nvrtc_ok = true;
    nvrtc_version(nvrtc, &e->nvrtc_major, &e->nvrtc_minor);
    snprintf(e->nvrtc_archs, sizeof e->nvrtc_archs, "%s", nvrtc_archs(nvrtc));
  }
  snprintf(e->nvrtc_note, sizeof e->nvrtc_note, "%s", error_text(&err));
  error_finish(&err);
}

static void read_cache(mkc_context *ctx, struct environment *e) {
  const char *why = "";
  struct cache *cache = context_cache(ctx);
  e->cache_ok = cache_usable(cache, &why);
  snprintf(e->cache_dir, sizeof e->cache_dir, "%s", cache_dir(cache));
  snprintf(e->cache_note, sizeof e->cache_note, "%s", why);
}

void environment_read(mkc_context *ctx, struct environment *ret) {
  *ret = (struct environment){0};
  read_driver(ret);
  read_nvrtc(ctx, ret);
  read_cache(ctx, ret);
}
