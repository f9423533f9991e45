/* SPDX-License-Identifier: MIT
 * nvrtc.c - opens NVRTC, compiles with it. Where it was found is nvrtc_find.c's business.
 *
 * Two traps, both answered here: libnvrtc does not look beside itself for its builtins library, so
 * that is opened first, by its path; and from 12.9 on a compile starts the CUDA driver for a cache
 * of its own (after which forked children cannot use CUDA) unless --no-cache is given.
 */
#include "nvrtc.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

typedef int nvrtcResult;
typedef struct _nvrtcProgram *nvrtcProgram;

enum {
  NVRTC_SUCCESS = 0,
  NVRTC_ERROR_OUT_OF_MEMORY = 1,
  NVRTC_ERROR_INVALID_OPTION = 5,
  NVRTC_ERROR_COMPILATION = 6,
  NVRTC_ERROR_BUILTIN_OPERATION_FAILURE = 7
};

#define NVRTC_FUNCTIONS(X)                                                       \
  X(const char *, nvrtcGetErrorString, (nvrtcResult r))                          \
  X(nvrtcResult, nvrtcVersion, (int *major, int *minor))                         \
  X(nvrtcResult, nvrtcGetNumSupportedArchs, (int *count))                        \
  X(nvrtcResult, nvrtcGetSupportedArchs, (int *archs))                           \
  X(nvrtcResult, nvrtcCreateProgram,                                             \
    (nvrtcProgram * program, const char *source, const char *name, int nheaders, \
     const char *const *headers, const char *const *header_names))               \
  X(nvrtcResult, nvrtcDestroyProgram, (nvrtcProgram * program))                  \
  X(nvrtcResult, nvrtcCompileProgram,                                            \
    (nvrtcProgram program, int noptions, const char *const *options))            \
  X(nvrtcResult, nvrtcGetPTXSize, (nvrtcProgram program, size_t * bytes))        \
  X(nvrtcResult, nvrtcGetPTX, (nvrtcProgram program, char *text))                \
  X(nvrtcResult, nvrtcGetCUBINSize, (nvrtcProgram program, size_t * bytes))      \
  X(nvrtcResult, nvrtcGetCUBIN, (nvrtcProgram program, char *code))              \
  X(nvrtcResult, nvrtcGetProgramLogSize, (nvrtcProgram program, size_t * bytes)) \
  X(nvrtcResult, nvrtcGetProgramLog, (nvrtcProgram program, char *text))

enum { MAX_ARCHS = 64 };

struct nvrtc {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): they are a declaration */
#define X(type, function, parameters) type(*function) parameters;
  NVRTC_FUNCTIONS(X)
#undef X
  void *library;
  char path[4096];
  int major, minor;
  int archs[MAX_ARCHS], narchs;
  char *arch_list; /* "sm_75 sm_80 ..." */
};

/* Errors name lines of this "file" only before the first #line. Fixed: names reach the code. */
static const char program_name[] = "maskc.cu";

/* ---- opening ---- */

static void *symbol_into(void *library, const char *symbol, void *slot) {
  void *address = dlsym(library, symbol);
  memcpy(slot, &address, sizeof address);
  return address;
}

static const char *fill_table(struct nvrtc *n) {
#define X(type, function, parameters) \
  if (!symbol_into(n->library, #function, &n->function)) return #function;
  NVRTC_FUNCTIONS(X)
#undef X
  return NULL;
}

/* Its absence is not an error yet: the loader may find it in its own places. */
static void preload_builtins(const struct nvrtc *n) {
  char path[sizeof n->path + 64];
  const char *slash = strrchr(n->path, '/');
  const int dir = slash ? (int)(slash - n->path) : 0;
  snprintf(path, sizeof path, "%.*s/libnvrtc-builtins.so.%d.%d", dir, n->path, n->major, n->minor);
  dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static void read_archs(struct nvrtc *n) {
  int count = 0;
  if (n->nvrtcGetNumSupportedArchs(&count) != NVRTC_SUCCESS || count < 1 || count > MAX_ARCHS)
    return;
  if (n->nvrtcGetSupportedArchs(n->archs) != NVRTC_SUCCESS) return;
  n->narchs = count;
  struct buf list = {0};
  for (int i = 0; i < count; i++) buf_printf(&list, "%ssm_%d", i ? " " : "", n->archs[i]);
  n->arch_list = buf_steal(&list);
}

static mkc_status load(struct nvrtc *n, struct error *err) {
  n->library = dlopen(n->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!n->library) return error_set(err, MKC_E_NO_NVRTC, "NVRTC does not open: %s", dlerror());
  const char *missing = fill_table(n);
  if (missing)
    return error_set(err, MKC_E_NO_NVRTC, "%s is no NVRTC that maskc can use: it has no %s",
                     n->path, missing);
  if (n->nvrtcVersion(&n->major, &n->minor) != NVRTC_SUCCESS)
    return error_set(err, MKC_E_NO_NVRTC, "%s does not tell its version", n->path);
  if (n->major < 12)
    return error_set(err, MKC_E_NO_NVRTC, "%s is NVRTC %d.%d: maskc needs 12.0 or later. %s",
                     n->path, n->major, n->minor, nvrtc_how_to_get_it);
  preload_builtins(n);
  read_archs(n);
  return MKC_OK;
}

mkc_status nvrtc_open(const struct nvrtc_location *location, struct nvrtc **ret,
                      struct error *err) {
  *ret = NULL;
  struct nvrtc *n = calloc(1, sizeof *n);
  if (!n) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  snprintf(n->path, sizeof n->path, "%s", location->path);
  const mkc_status st = load(n, err);
  if (st) {
    nvrtc_close(n);
    return st;
  }
  *ret = n;
  return MKC_OK;
}

/* The library stays mapped (RTLD_NODELETE): its threads leave destructors behind. */
void nvrtc_close(struct nvrtc *n) {
  if (!n) return;
  if (n->library) dlclose(n->library);
  free(n->arch_list);
  free(n);
}

void nvrtc_version(const struct nvrtc *n, int *ret_major, int *ret_minor) {
  *ret_major = n->major;
  *ret_minor = n->minor;
}

const char *nvrtc_archs(const struct nvrtc *n) {
  return n->arch_list ? n->arch_list : "";
}

/* ---- compiling ---- */

void nvrtc_options(const struct nvrtc_job *job, struct nvrtc_options *ret) {
  const char *number = strncmp(job->arch, "sm_", 3) ? job->arch : job->arch + 3;
  *ret = (struct nvrtc_options){0};
  snprintf(ret->arch, sizeof ret->arch, "--gpu-architecture=%s_%s",
           job->kind == NVRTC_PTX ? "compute" : "sm", number);
  ret->list[ret->count++] = ret->arch;
  ret->list[ret->count++] = "--std=c++17";
  if (job->lineinfo) ret->list[ret->count++] = "--generate-line-info";
  if (job->verbose && job->kind == NVRTC_CUBIN) ret->list[ret->count++] = "--ptxas-options=-v";
}

static mkc_status unknown_arch(const struct nvrtc *n, const char *arch, struct error *err) {
  return error_set(err, MKC_E_ARCHITECTURE,
                   "NVRTC %d.%d does not know the architecture \"%s\"; it knows %s (from sm_90 on "
                   "also with the suffix a, as in sm_90a)",
                   n->major, n->minor, arch, nvrtc_archs(n));
}

/* sm_N or sm_Na, where NVRTC knows N. Which suffixes N has, only a compile tells. */
static mkc_status check_arch(const struct nvrtc *n, const char *arch, struct error *err) {
  int number = 0, end = 0;
  if (sscanf(arch, "sm_%3d%n", &number, &end) != 1 || number < 0) return unknown_arch(n, arch, err);
  if (arch[end] && (!islower((unsigned char)arch[end]) || arch[end + 1]))
    return unknown_arch(n, arch, err);
  for (int i = 0; i < n->narchs; i++)
    if (n->archs[i] == number) return MKC_OK;
  return n->narchs ? unknown_arch(n, arch, err) : MKC_OK;
}

/* "" when there is none; NULL when memory runs out. */
static char *read_log(const struct nvrtc *n, nvrtcProgram program) {
  size_t bytes = 0;
  if (n->nvrtcGetProgramLogSize(program, &bytes) != NVRTC_SUCCESS) bytes = 0;
  char *log = calloc(1, bytes + 1);
  if (log && bytes > 1 && n->nvrtcGetProgramLog(program, log) != NVRTC_SUCCESS) log[0] = 0;
  return log;
}

static mkc_status compile_failed(const struct nvrtc *n, const struct nvrtc_job *job, nvrtcResult r,
                                 const char *log, struct error *err) {
  /* A suffix that this number does not have, "sm_80a"; each version words it in its own way. */
  if (strstr(log, "--nv_arch flag") ||
      (r == NVRTC_ERROR_INVALID_OPTION && strstr(log, "gpu-architecture")))
    return unknown_arch(n, job->arch, err);
  if (r == NVRTC_ERROR_OUT_OF_MEMORY)
    return error_set(err, MKC_E_OUT_OF_MEMORY, "NVRTC %d.%d ran out of memory", n->major, n->minor);
  if (r == NVRTC_ERROR_BUILTIN_OPERATION_FAILURE)
    return error_set(err, MKC_E_NO_NVRTC,
                     "NVRTC %d.%d (%s) does not work: it found no libnvrtc-builtins.so.%d.%d, "
                     "which belongs in the same directory: install NVRTC again, or another. %s\n%s",
                     n->major, n->minor, n->path, n->major, n->minor, nvrtc_how_to_get_it, log);
  return error_set(err, MKC_E_COMPILE, "NVRTC %d.%d refuses the source for %s (%s):\n%s", n->major,
                   n->minor, job->arch, n->nvrtcGetErrorString(r), log);
}

static mkc_status read_code(const struct nvrtc *n, nvrtcProgram program, enum nvrtc_kind kind,
                            struct nvrtc_result *ret, struct error *err) {
  const bool ptx = kind == NVRTC_PTX;
  nvrtcResult r =
      ptx ? n->nvrtcGetPTXSize(program, &ret->len) : n->nvrtcGetCUBINSize(program, &ret->len);
  if (r == NVRTC_SUCCESS && ret->len) {
    ret->code = malloc(ret->len);
    if (!ret->code) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
    r = ptx ? n->nvrtcGetPTX(program, (char *)ret->code)
            : n->nvrtcGetCUBIN(program, (char *)ret->code);
  }
  if (r == NVRTC_SUCCESS && ret->len) return MKC_OK;
  return error_set(err, MKC_E_COMPILE, "NVRTC %d.%d gives no code: %s", n->major, n->minor,
                   n->nvrtcGetErrorString(r));
}

static mkc_status compile_program(const struct nvrtc *n, const struct nvrtc_job *job,
                                  nvrtcProgram program, struct nvrtc_result *ret,
                                  struct error *err) {
  struct nvrtc_options options;
  nvrtc_options(job, &options);
  if (n->major > 12 || (n->major == 12 && n->minor >= 9))
    options.list[options.count++] = "--no-cache";
  const nvrtcResult r = n->nvrtcCompileProgram(program, options.count, options.list);
  ret->log = read_log(n, program);
  if (!ret->log) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  if (r != NVRTC_SUCCESS) return compile_failed(n, job, r, ret->log, err);
  return read_code(n, program, job->kind, ret, err);
}

mkc_status nvrtc_compile(const struct nvrtc *n, const struct nvrtc_job *job,
                         struct nvrtc_result *ret, struct error *err) {
  *ret = (struct nvrtc_result){0};
  mkc_status st = check_arch(n, job->arch, err);
  if (st) return st;
  nvrtcProgram program = NULL;
  const nvrtcResult r = n->nvrtcCreateProgram(&program, job->source, program_name, 0, NULL, NULL);
  if (r != NVRTC_SUCCESS)
    return error_set(err, MKC_E_COMPILE, "NVRTC %d.%d takes no program: %s", n->major, n->minor,
                     n->nvrtcGetErrorString(r));
  st = compile_program(n, job, program, ret, err);
  n->nvrtcDestroyProgram(&program);
  if (st) nvrtc_result_finish(ret);
  return st;
}

void nvrtc_result_finish(struct nvrtc_result *r) {
  free(r->code);
  free(r->log);
  *r = (struct nvrtc_result){0};
}
