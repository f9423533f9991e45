/* SPDX-License-Identifier: MIT
 * error.c - struct error: set, append, free; and the fixed text of each status.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char out_of_memory[] = "out of memory while writing an error message";

static char *format(const char *prefix, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  const int n = vsnprintf(NULL, 0, fmt, ap);
  const size_t head = strlen(prefix);
  char *text = n < 0 ? NULL : malloc(head + (size_t)n + 1);
  if (text) {
    memcpy(text, prefix, head);
    vsnprintf(text + head, (size_t)n + 1, fmt, again);
  }
  va_end(again);
  return text;
}

static void replace(struct error *err, char *text) {
  char *old = err->text;
  err->text = text ? text : out_of_memory;
  if (old != out_of_memory) free(old);
}

static void forget_place(struct error *err) {
  free(err->file);
  err->file = NULL;
  err->line = err->col = 0;
}

mkc_status error_set(struct error *err, mkc_status status, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  replace(err, format("", fmt, ap));
  va_end(ap);
  forget_place(err);
  err->status = status;
  return status;
}

void error_append(struct error *err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  replace(err, format(error_text(err), fmt, ap));
  va_end(ap);
}

void error_place(struct error *err, const char *file, int line, int col) {
  const size_t size = strlen(file) + 1;
  forget_place(err);
  err->file = malloc(size);
  if (!err->file) return;
  memcpy(err->file, file, size);
  err->line = line;
  err->col = col;
}

const char *error_text(const struct error *err) {
  return err->text ? err->text : "";
}

void error_finish(struct error *err) {
  if (err->text != out_of_memory) free(err->text);
  err->text = NULL;
  forget_place(err);
  err->status = MKC_OK;
}

const char *mkc_status_string(mkc_status status) {
  switch (status) {
  case MKC_OK: return "ok";
  case MKC_E_SPEC: return "the spec is wrong";
  case MKC_E_ARGUMENT: return "an argument is wrong";
  case MKC_E_FILE: return "a file cannot be used";
  case MKC_E_USAGE: return "wrong use of the API";
  case MKC_E_NOT_PREPARED: return "the op is not prepared";
  case MKC_E_NO_SCHEDULE: return "no schedule for this variant yet";
  case MKC_E_NO_NVRTC: return "no NVRTC";
  case MKC_E_NO_DEVICE: return "no such device";
  case MKC_E_NO_COMPILER: return "no C compiler";
  case MKC_E_ARCHITECTURE: return "unknown GPU architecture";
  case MKC_E_OUT_OF_MEMORY: return "out of memory";
  case MKC_E_CUDA: return "a CUDA call failed";
  case MKC_E_SYSTEM: return "a system call failed";
  case MKC_E_NO_GENERATOR: return "built without the generator";
  case MKC_E_INTERNAL: return "internal error";
  case MKC_E_COMPILE: return "the emitted source does not compile";
  case MKC_E_CHECK: return "the CPU device caught an error in the kernel";
  case MKC_E_TOLERANCE: return "the result is out of tolerance";
  }
  return "unknown status";
}

mkc_category mkc_status_category(mkc_status status) {
  const int category = (int)status / 1000;
  if (status == MKC_OK) return MKC_CATEGORY_OK;
  return category >= MKC_CATEGORY_INPUT && category <= MKC_CATEGORY_TOLERANCE
             ? (mkc_category)category
             : MKC_CATEGORY_INTERNAL;
}
