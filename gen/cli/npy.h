/* SPDX-License-Identifier: MIT
 * npy.h - NumPy's .npy files, versions 1 to 3: little-endian numbers in C order.
 *
 * The parser takes a memory buffer that nobody vouches for: every length is checked before it is
 * used, and what it returns points into that buffer.
 */
#ifndef MKC_CLI_NPY_H
#define MKC_CLI_NPY_H

#include "../../runtime/base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { NPY_MAX_DIMS = 8 };

enum npy_type { NPY_FLOAT32, NPY_FLOAT64, NPY_INT32, NPY_INT64 };

struct npy {
  enum npy_type type;
  int ndim;
  int64_t shape[NPY_MAX_DIMS];
  size_t count;     /* elements: the product of the shape, 1 for a scalar */
  const void *data; /* into the buffer; not aligned */
};

/* `name` is the file's, for messages. Errors: MKC_E_FILE, "q.npy: ..." */
mkc_status npy_parse(const char *name, const void *bytes, size_t size, struct npy *ret,
                     struct error *err);

/* An array of floating-point numbers as float32; values is the caller's to free. */
struct npy_floats {
  int ndim;
  int64_t shape[NPY_MAX_DIMS];
  size_t count;
  float *values;
};
/* Takes float32, and float64 where every value fits a float32. Errors: MKC_E_FILE. */
mkc_status npy_read_floats(const char *path, struct npy_floats *ret, struct error *err);

/* Writes float32, version 1, as numpy.save would. See file_save for what `path` may be. */
mkc_status npy_write_floats(const char *path, int ndim, const int64_t *shape, const float *values,
                            struct error *err);

#endif
