/* SPDX-License-Identifier: MIT
 * file.c - see file.h.
 */
#define _XOPEN_SOURCE 700
#include "file.h"

#include "../../runtime/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mkc_status read_all(FILE *f, const char *path, size_t limit, struct buf *out,
                           struct error *err) {
  static const size_t step = 1 << 16;
  char *chunk = malloc(step);
  if (!chunk) return error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path);
  mkc_status status = MKC_OK;
  size_t n;
  while (!status && (n = fread(chunk, 1, step, f)) > 0) {
    buf_write(out, chunk, n);
    if (out->failed) status = error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path);
    if (limit && out->len > limit)
      status = error_set(err, MKC_E_FILE, "%s: larger than %zu bytes", path, limit);
  }
  if (!status && ferror(f)) status = error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  free(chunk);
  return status;
}

mkc_status file_load(const char *path, size_t limit, char **ret, size_t *ret_len,
                     struct error *err) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  if (!f) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  if (fstat(fileno(f), &st) == 0 && S_ISCHR(st.st_mode)) { /* it may never end */
    fclose(f);
    return error_set(err, MKC_E_FILE, "%s: is a device, not a file", path);
  }
  struct buf out = {0};
  mkc_status status = read_all(f, path, limit, &out, err);
  fclose(f);
  if (!status) {
    *ret_len = out.len;
    *ret = buf_steal(&out);
    if (!*ret) status = error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path);
  }
  buf_finish(&out);
  return status;
}

static mkc_status write_all(int fd, const char *path, const char *data, size_t len,
                            struct error *err) {
  while (len > 0) {
    const ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_set(err, MKC_E_SYSTEM, "%s: cannot write: %s", path, strerror(errno));
    data += n;
    len -= (size_t)n;
  }
  return MKC_OK;
}

static mkc_status write_direct(const char *path, const void *data, size_t len, struct error *err) {
  const int fd = open(path, O_WRONLY);
  if (fd < 0) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  const mkc_status status = write_all(fd, path, data, len, err);
  if (close(fd) != 0 && !status)
    return error_set(err, MKC_E_SYSTEM, "%s: cannot write: %s", path, strerror(errno));
  return status;
}

static mkc_status write_and_rename(const char *temp, const char *path, const void *data, size_t len,
                                   struct error *err) {
  const int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return error_set(err, MKC_E_FILE, "%s: cannot create: %s", path, strerror(errno));
  mkc_status status = write_all(fd, path, data, len, err);
  if (close(fd) != 0 && !status)
    status = error_set(err, MKC_E_SYSTEM, "%s: cannot write: %s", path, strerror(errno));
  if (!status && rename(temp, path) != 0)
    status = error_set(err, MKC_E_FILE, "%s: cannot create: %s", path, strerror(errno));
  if (status) unlink(temp);
  return status;
}

static mkc_status write_stdout(const void *data, size_t len, struct error *err) {
  if (fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0) return MKC_OK;
  return error_set(err, MKC_E_SYSTEM, "standard output: %s", strerror(errno));
}

mkc_status file_save(const char *path, const void *data, size_t len, struct error *err) {
  if (strcmp(path, "-") == 0) return write_stdout(data, len, err);
  struct stat st;
  const int exists = stat(path, &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return error_set(err, MKC_E_FILE, "%s: is a directory", path);
  if (exists && !S_ISREG(st.st_mode)) return write_direct(path, data, len, err);

  /* through a symbolic link, as any compiler's -o does */
  char *real = exists ? realpath(path, NULL) : NULL;
  const char *target = real ? real : path;
  struct buf temp = {0};
  buf_printf(&temp, "%s.%ld.tmp", target, (long)getpid());
  const mkc_status status = temp.failed
                                ? error_set(err, MKC_E_OUT_OF_MEMORY, "%s: out of memory", path)
                                : write_and_rename(buf_text(&temp), target, data, len, err);
  buf_finish(&temp);
  free(real);
  return status;
}

mkc_status file_check_writable(const char *path, struct error *err) {
  if (strcmp(path, "-") == 0) return MKC_OK;
  struct stat st;
  if (stat(path, &st) == 0) {
    if (S_ISDIR(st.st_mode)) return error_set(err, MKC_E_FILE, "%s: is a directory", path);
    if (!S_ISREG(st.st_mode)) return MKC_OK;
  }
  const char *slash = strrchr(path, '/');
  struct buf dir = {0};
  if (slash)
    buf_write(&dir, path, slash == path ? 1 : (size_t)(slash - path));
  else
    buf_puts(&dir, ".");
  mkc_status status = MKC_OK;
  if (access(buf_text(&dir), W_OK | X_OK) != 0)
    status = error_set(err, MKC_E_FILE, "%s: cannot create: %s", path, strerror(errno));
  buf_finish(&dir);
  return status;
}
