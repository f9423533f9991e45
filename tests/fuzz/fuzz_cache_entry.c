/* SPDX-License-Identifier: MIT
 * fuzz_cache_entry.c - any bytes as the file of a cache entry.
 *
 * No fuzzer finds a SHA-256, and behind it lies half of the reader. So the first byte of an input
 * says what is put right before the rest is read as a file: 1 the digest, 2 the key, 4 the key that
 * is asked for. What is accepted must be the end of the file.
 */
#define _GNU_SOURCE /* memfd_create */
#include "fuzz.h"

#include "cache_entry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 96, AT_KEY = 32, AT_DIGEST = 64 }; /* cache_entry.h */
enum { FIX_DIGEST = 1, FIX_KEY = 2, OTHER_KEY = 4 };

static void put_right(uint8_t *file, size_t size, int what, const struct cache_key *key) {
  if (size < HEAD) return;
  if (what & FIX_KEY) memcpy(file + AT_KEY, key->bytes, sizeof key->bytes);
  if (what & FIX_DIGEST) sha256(file + HEAD, size - HEAD, file + AT_DIGEST);
}

static void read_entry(const uint8_t *file, size_t size, const struct cache_key *key) {
  void *payload = NULL;
  size_t len = 0;
  const int fd = memfd_create("entry", MFD_CLOEXEC);
  if (fd < 0 || fchmod(fd, 0600) != 0) abort(); /* others may not write to an entry */
  if (write(fd, file, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0) abort();
  const enum entry_verdict verdict = cache_entry_read(fd, key, &payload, &len);
  close(fd);
  if (verdict == ENTRY_GOOD) {
    if (len > size - HEAD || memcmp(payload, file + size - len, len) != 0) abort();
    if (memcmp(file + AT_KEY, key->bytes, sizeof key->bytes) != 0) abort();
    free(payload);
  } else if (verdict != ENTRY_BAD || payload) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct cache_key key;
  if (size == 0) return 0;
  const int what = data[0];
  memset(key.bytes, what & OTHER_KEY ? 0x5a : 0xa5, sizeof key.bytes);
  uint8_t *file = malloc(size);
  if (!file) return 0;
  memcpy(file, data + 1, size - 1);
  put_right(file, size - 1, what, &key);
  read_entry(file, size - 1, &key);
  free(file);
  return 0;
}
