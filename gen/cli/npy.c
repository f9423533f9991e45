/* SPDX-License-Identifier: MIT
 * npy.c - see npy.h. A file is
 *
 *   "\x93NUMPY" major minor, header length (2 bytes in version 1, 4 after), header, data
 *
 * and the header is the text of a Python dictionary with three keys:
 *
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 200, 4, 64), }
 */
#include "npy.h"

#include "../../runtime/base/buf.h"
#include "file.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 6, MAX_HEADER = 1 << 16 };
static const char magic[MAGIC_BYTES] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

/* The header being read. */
struct scan {
  const char *name; /* the file */
  const char *p, *end;
  struct error *err;
};

static mkc_status bad(struct scan *s, const char *what) {
  return error_set(s->err, MKC_E_FILE, "%s: the header of the .npy file is malformed: %s", s->name,
                   what);
}

static void skip_space(struct scan *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) s->p++;
}

/* Takes `c`, and the space before it, if it comes next. */
static bool accept(struct scan *s, char c) {
  skip_space(s);
  if (s->p == s->end || *s->p != c) return false;
  s->p++;
  return true;
}

static bool accept_word(struct scan *s, const char *word) {
  skip_space(s);
  const size_t n = strlen(word);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
  s->p += n;
  return true;
}

/* A string in quotes without escapes, copied into text[size]. */
static mkc_status scan_string(struct scan *s, char *text, size_t size) {
  skip_space(s);
  const char quote = s->p < s->end ? *s->p : 0;
  if (quote != '\'' && quote != '"') return bad(s, "expected a string");
  const char *start = ++s->p;
  while (s->p < s->end && *s->p != quote && *s->p != '\\') s->p++;
  if (s->p == s->end || *s->p != quote) return bad(s, "a string does not end");
  const size_t n = (size_t)(s->p++ - start);
  if (n >= size) return bad(s, "a string is too long");
  memcpy(text, start, n);
  text[n] = 0;
  for (size_t i = 0; i < n; i++)
    if (text[i] < ' ' || text[i] > '~') return bad(s, "a string holds an unprintable byte");
  return MKC_OK;
}

static mkc_status scan_dimension(struct scan *s, int64_t *ret) {
  skip_space(s);
  if (s->p == s->end || *s->p < '0' || *s->p > '9') return bad(s, "expected a dimension");
  int64_t n = 0;
  for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
    if (n > (INT64_MAX - 9) / 10) return bad(s, "a dimension is too large");
    n = 10 * n + (*s->p - '0');
  }
  if (s->p < s->end && *s->p == 'L') s->p++; /* as Python 2 wrote it */
  *ret = n;
  return MKC_OK;
}

/* (), (3,) or (2, 200, 4, 64) */
static mkc_status scan_shape(struct scan *s, struct npy *ret) {
  if (!accept(s, '(')) return bad(s, "expected the shape as a tuple");
  ret->ndim = 0;
  while (!accept(s, ')')) {
    if (ret->ndim == NPY_MAX_DIMS) return bad(s, "the array has more than 8 dimensions");
    const mkc_status status = scan_dimension(s, &ret->shape[ret->ndim]);
    if (status) return status;
    ret->ndim++;
    if (accept(s, ',')) continue;
    if (!accept(s, ')')) return bad(s, "the shape does not end");
    break;
  }
  return MKC_OK;
}

static mkc_status set_type(struct scan *s, const char *descr, struct npy *ret) {
  static const struct {
    const char *descr;
    enum npy_type type;
  } types[] = {{"<f4", NPY_FLOAT32}, {"<f8", NPY_FLOAT64}, {"<i4", NPY_INT32}, {"<i8", NPY_INT64}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (strcmp(descr, types[i].descr) == 0) {
      ret->type = types[i].type;
      return MKC_OK;
    }
  const char *hint = descr[0] == '>' ? "; it is big-endian: convert it with .astype('<f4')"
                     : strcmp(descr, "<f2") == 0 ? "; convert it with .astype('float32')"
                                                 : "";
  return error_set(s->err, MKC_E_FILE,
                   "%s: dtype '%s' is not one that maskc reads: float32 or float64 "
                   "(int32 or int64 for integers)%s",
                   s->name, descr, hint);
}

enum { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4 };

static mkc_status scan_field(struct scan *s, struct npy *ret, char *descr, size_t size, int *seen) {
  char key[32];
  mkc_status status = scan_string(s, key, sizeof key);
  if (status) return status;
  if (!accept(s, ':')) return bad(s, "expected ':' after a key");
  const int bit = strcmp(key, "descr") == 0           ? KEY_DESCR
                  : strcmp(key, "fortran_order") == 0 ? KEY_ORDER
                  : strcmp(key, "shape") == 0         ? KEY_SHAPE
                                                      : 0;
  if (!bit) return bad(s, "a key is not one of descr, fortran_order, shape");
  if (*seen & bit) return bad(s, "a key is there twice");
  *seen |= bit;
  if (bit == KEY_SHAPE) return scan_shape(s, ret);
  if (bit == KEY_ORDER) {
    if (accept_word(s, "False")) return MKC_OK;
    if (!accept_word(s, "True")) return bad(s, "fortran_order is neither True nor False");
    return error_set(s->err, MKC_E_FILE,
                     "%s: the array is in Fortran order; save numpy.ascontiguousarray(x)", s->name);
  }
  skip_space(s);
  if (s->p < s->end && *s->p == '[')
    return error_set(s->err, MKC_E_FILE, "%s: the array is structured; maskc reads plain numbers",
                     s->name);
  return scan_string(s, descr, size);
}

static mkc_status scan_header(struct scan *s, struct npy *ret) {
  char descr[24] = "";
  int seen = 0;
  if (!accept(s, '{')) return bad(s, "expected a dictionary");
  while (!accept(s, '}')) {
    const mkc_status status = scan_field(s, ret, descr, sizeof descr, &seen);
    if (status) return status;
    if (accept(s, ',')) continue;
    if (!accept(s, '}')) return bad(s, "the dictionary does not end");
    break;
  }
  skip_space(s);
  if (s->p != s->end) return bad(s, "something follows the dictionary");
  if (seen != (KEY_DESCR | KEY_ORDER | KEY_SHAPE))
    return bad(s, "one of descr, fortran_order, shape is missing");
  return set_type(s, descr, ret);
}

static size_t type_bytes(enum npy_type type) {
  return type == NPY_FLOAT32 || type == NPY_INT32 ? 4 : 8;
}

/* The product of the shape, if that many elements can be counted in bytes. */
static bool count_elements(struct npy *a) {
  const size_t limit = PTRDIFF_MAX / type_bytes(a->type);
  bool empty = false;
  a->count = 1;
  for (int i = 0; i < a->ndim; i++) empty |= a->shape[i] == 0;
  for (int i = 0; i < a->ndim && !empty; i++) {
    if ((uint64_t)a->shape[i] > limit / a->count) return false;
    a->count *= (size_t)a->shape[i];
  }
  if (empty) a->count = 0;
  return true;
}

/* Points *ret_header at the header and returns its length through *ret_len. */
static mkc_status find_header(const char *name, const unsigned char *bytes, size_t size,
                              const unsigned char **ret_header, size_t *ret_len,
                              struct error *err) {
  if (size < MAGIC_BYTES + 2 || memcmp(bytes, magic, MAGIC_BYTES) != 0)
    return error_set(err, MKC_E_FILE, "%s: is not a .npy file", name);
  const int major = bytes[6];
  if (major < 1 || major > 3)
    return error_set(err, MKC_E_FILE, "%s: .npy version %d is not one that maskc reads (1 to 3)",
                     name, major);
  const size_t width = major == 1 ? 2 : 4;
  const size_t start = MAGIC_BYTES + 2 + width;
  size_t len = 0;
  if (size >= start)
    for (size_t i = 0; i < width; i++) len |= (size_t)bytes[MAGIC_BYTES + 2 + i] << (8 * i);
  if (size < start || len > size - start)
    return error_set(err, MKC_E_FILE, "%s: the file ends inside its header", name);
  if (len > MAX_HEADER)
    return error_set(err, MKC_E_FILE, "%s: the header of the .npy file is longer than %d bytes",
                     name, (int)MAX_HEADER);
  *ret_header = bytes + start;
  *ret_len = len;
  return MKC_OK;
}

mkc_status npy_parse(const char *name, const void *bytes, size_t size, struct npy *ret,
                     struct error *err) {
  const unsigned char *header = NULL;
  size_t len = 0;
  *ret = (struct npy){0};
  mkc_status status = find_header(name, bytes, size, &header, &len, err);
  if (status) return status;
  struct scan s = {name, (const char *)header, (const char *)header + len, err};
  if ((status = scan_header(&s, ret))) return status;
  if (!count_elements(ret)) return bad(&s, "the array is too large");

  const size_t have = size - (size_t)(header + len - (const unsigned char *)bytes);
  const size_t want = ret->count * type_bytes(ret->type);
  if (have < want)
    return error_set(err, MKC_E_FILE,
                     "%s: truncated: its header promises %zu bytes of data, %zu are there", name,
                     want, have);
  if (have > want)
    return error_set(err, MKC_E_FILE, "%s: %zu bytes follow the array", name, have - want);
  ret->data = header + len;
  return MKC_OK;
}

static float load_float(const struct npy *a, size_t i, bool *ret_fits) {
  if (a->type == NPY_FLOAT32) {
    float x;
    memcpy(&x, (const char *)a->data + 4 * i, sizeof x);
    return x;
  }
  double x;
  memcpy(&x, (const char *)a->data + 8 * i, sizeof x);
  if (isfinite(x) && !isfinite((float)x)) *ret_fits = false;
  return (float)x;
}

static mkc_status to_floats(const char *path, const struct npy *a, struct npy_floats *ret,
                            struct error *err) {
  if (a->type != NPY_FLOAT32 && a->type != NPY_FLOAT64)
    return error_set(err, MKC_E_FILE, "%s: holds integers; float32 or float64 is wanted", path);
  *ret = (struct npy_floats){.ndim = a->ndim, .count = a->count};
  memcpy(ret->shape, a->shape, sizeof ret->shape);
  ret->values = malloc(sizeof(float) * (a->count ? a->count : 1));
  if (!ret->values) return error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path);
  bool fits = true;
  for (size_t i = 0; i < a->count && fits; i++) {
    ret->values[i] = load_float(a, i, &fits);
    if (!fits) error_set(err, MKC_E_FILE, "%s: element %zu does not fit a float32", path, i);
  }
  if (fits) return MKC_OK;
  free(ret->values);
  ret->values = NULL;
  return MKC_E_FILE;
}

mkc_status npy_read_floats(const char *path, struct npy_floats *ret, struct error *err) {
  char *bytes;
  size_t size;
  struct npy a;
  mkc_status status = file_load(path, 0, &bytes, &size, err);
  if (status) return status;
  status = npy_parse(path, bytes, size, &a, err);
  if (!status) status = to_floats(path, &a, ret, err);
  free(bytes);
  return status;
}

/* The preamble is padded with spaces so that the data starts at a multiple of 64 bytes. */
static void write_preamble(struct buf *out, int ndim, const int64_t *shape) {
  struct buf header = {0};
  buf_puts(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
  for (int i = 0; i < ndim; i++)
    buf_printf(&header, "%lld%s", (long long)shape[i], i + 1 < ndim ? ", " : ndim == 1 ? "," : "");
  buf_puts(&header, "), }");
  while ((MAGIC_BYTES + 4 + header.len + 1) % 64 != 0 && !header.failed) buf_puts(&header, " ");
  buf_puts(&header, "\n");
  const unsigned char length[4] = {1, 0, (unsigned char)(header.len & 255),
                                   (unsigned char)(header.len >> 8)};
  buf_write(out, magic, sizeof magic);
  buf_write(out, length, sizeof length);
  buf_write(out, buf_text(&header), header.len);
  out->failed |= header.failed;
  buf_finish(&header);
}

mkc_status npy_write_floats(const char *path, int ndim, const int64_t *shape, const float *values,
                            struct error *err) {
  size_t count = 1;
  for (int i = 0; i < ndim; i++) count *= (size_t)shape[i];
  struct buf out = {0};
  write_preamble(&out, ndim, shape);
  buf_write(&out, values, sizeof(float) * count);
  const mkc_status status = out.failed
                                ? error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path)
                                : file_save(path, out.data, out.len, err);
  buf_finish(&out);
  return status;
}
