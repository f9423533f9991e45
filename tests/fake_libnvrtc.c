/* SPDX-License-Identifier: MIT
 * fake_libnvrtc.c - an NVRTC that tests can load: of any version, failing when told to, and leaving
 * a byte in a file for each compile. What it "compiles" is an ELF head and the source.
 *
 *   MASKC_NVRTC_PATH=.../libfake_nvrtc.so   FAKE_NVRTC_VERSION=11.8   FAKE_NVRTC_FAIL=7
 *   FAKE_NVRTC_COMPILES=FILE   FAKE_NVRTC_MS=200 (a compile takes as long)
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 1, BUILTIN_OPERATION_FAILURE = 7 };

struct program {
  char *code;
};

#define CALL(name, parameters)                                \
  __attribute__((visibility("default"))) int name parameters; \
  int name parameters

__attribute__((visibility("default"))) const char *nvrtcGetErrorString(int r);
const char *nvrtcGetErrorString(int r) {
  return r == SUCCESS ? "NVRTC_SUCCESS" : "NVRTC_ERROR_OF_THE_FAKE";
}

static int number(const char *variable, int otherwise) {
  const char *value = getenv(variable);
  return value ? atoi(value) : otherwise;
}

CALL(nvrtcVersion, (int *major, int *minor)) {
  const char *version = getenv("FAKE_NVRTC_VERSION");
  if (!version) version = "13.0";
  return sscanf(version, "%d.%d", major, minor) == 2 ? SUCCESS : 2;
}

CALL(nvrtcGetNumSupportedArchs, (int *count)) {
  *count = 2;
  return SUCCESS;
}

CALL(nvrtcGetSupportedArchs, (int *archs)) {
  archs[0] = 80;
  archs[1] = 90;
  return SUCCESS;
}

CALL(nvrtcCreateProgram, (struct program * *ret, const char *source, const char *name, int nheaders,
                          const char *const *headers, const char *const *header_names)) {
  (void)name, (void)nheaders, (void)headers, (void)header_names;
  struct program *p = malloc(sizeof *p);
  if (!p) return OUT_OF_MEMORY;
  p->code = malloc(strlen(source) + 8);
  if (p->code) sprintf(p->code, "\177ELF%s", source);
  *ret = p;
  return p->code ? SUCCESS : OUT_OF_MEMORY;
}

CALL(nvrtcDestroyProgram, (struct program * *p)) {
  free((*p)->code);
  free(*p);
  *p = NULL;
  return SUCCESS;
}

CALL(nvrtcCompileProgram, (struct program * p, int noptions, const char *const *options)) {
  (void)p, (void)noptions, (void)options;
  const char *path = getenv("FAKE_NVRTC_COMPILES");
  FILE *f = path ? fopen(path, "a") : NULL;
  if (f) {
    fputc('x', f);
    fclose(f);
  }
  const struct timespec t = {.tv_nsec = number("FAKE_NVRTC_MS", 0) * 1000000L};
  nanosleep(&t, NULL);
  return number("FAKE_NVRTC_FAIL", SUCCESS);
}

CALL(nvrtcGetCUBINSize, (struct program * p, size_t *bytes)) {
  *bytes = strlen(p->code) + 1;
  return SUCCESS;
}

CALL(nvrtcGetCUBIN, (struct program * p, char *code)) {
  strcpy(code, p->code);
  return SUCCESS;
}

CALL(nvrtcGetPTXSize, (struct program * p, size_t *bytes)) {
  return nvrtcGetCUBINSize(p, bytes);
}

CALL(nvrtcGetPTX, (struct program * p, char *text)) {
  return nvrtcGetCUBIN(p, text);
}

static const char failure_log[] = "a line of NVRTC's log\n";

CALL(nvrtcGetProgramLogSize, (struct program * p, size_t *bytes)) {
  (void)p;
  *bytes = number("FAKE_NVRTC_FAIL", SUCCESS) ? sizeof failure_log : 1;
  return SUCCESS;
}

CALL(nvrtcGetProgramLog, (struct program * p, char *text)) {
  (void)p;
  strcpy(text, failure_log);
  return SUCCESS;
}
