/* SPDX-License-Identifier: MIT
 * cache_entry.c - writes and verifies one entry's file, see cache_entry.h.
 */
#define _POSIX_C_SOURCE 200809L
#include "cache_entry.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 96, AT_SCHEMA = 8, AT_HEAD = 12, AT_META = 16, AT_PAYLOAD = 24, AT_KEY = 32 };
enum { AT_DIGEST = 64, MAX_ENTRY_BYTES = 1 << 30 };

static const char magic[8] = {'m', 'k', 'c', 'a', 'c', 'h', 'e', '\n'};

static void put_le(unsigned char *p, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_le(const unsigned char *p, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
  return value;
}

/* All of it, or 0 (the file ends early, or cannot be read: errno). */
static bool read_all(int fd, unsigned char *p, size_t len) {
  errno = 0;
  while (len) {
    const ssize_t n = read(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    len -= (size_t)n;
  }
  return true;
}

static int write_all(int fd, const void *data, size_t len) {
  const unsigned char *p = data;
  while (len) {
    const ssize_t n = write(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    p += n;
    len -= (size_t)n;
  }
  return 0;
}

/* Written by this user (or root), and by nobody else since. */
static bool ours(const struct stat *st) {
  return S_ISREG(st->st_mode) && (st->st_uid == geteuid() || st->st_uid == 0) &&
         !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static bool good(const unsigned char *file, size_t bytes, const struct cache_key *key) {
  if (memcmp(file, magic, sizeof magic) != 0 || get_le(file + AT_SCHEMA, 4) != CACHE_SCHEMA ||
      get_le(file + AT_HEAD, 4) != HEAD_BYTES)
    return false;
  const uint64_t meta = get_le(file + AT_META, 8), payload = get_le(file + AT_PAYLOAD, 8);
  if (meta > bytes || payload > bytes || HEAD_BYTES + meta + payload != bytes) return false;
  if (memcmp(file + AT_KEY, key->bytes, sizeof key->bytes) != 0) return false;
  unsigned char digest[SHA256_BYTES];
  sha256(file + HEAD_BYTES, bytes - HEAD_BYTES, digest);
  return !memcmp(file + AT_DIGEST, digest, sizeof digest);
}

enum entry_verdict cache_entry_read(int fd, const struct cache_key *key, void **ret,
                                    size_t *ret_len) {
  struct stat st;
  if (fstat(fd, &st) != 0) return ENTRY_UNREADABLE;
  if (!ours(&st) || st.st_size < HEAD_BYTES || st.st_size > MAX_ENTRY_BYTES) return ENTRY_BAD;
  const size_t bytes = (size_t)st.st_size;
  unsigned char *file = malloc(bytes);
  if (!file) return ENTRY_UNREADABLE;
  if (!read_all(fd, file, bytes)) {
    free(file);
    return errno ? ENTRY_UNREADABLE : ENTRY_BAD;
  }
  if (!good(file, bytes, key)) {
    free(file);
    return ENTRY_BAD;
  }
  *ret_len = (size_t)get_le(file + AT_PAYLOAD, 8);
  memmove(file, file + bytes - *ret_len, *ret_len);
  *ret = file;
  return ENTRY_GOOD;
}

uint64_t cache_entry_bytes(size_t len, const char *meta) {
  return HEAD_BYTES + strlen(meta) + (uint64_t)len;
}

int cache_entry_write(int fd, const struct cache_key *key, const void *data, size_t len,
                      const char *meta) {
  unsigned char head[HEAD_BYTES] = {0};
  const size_t meta_len = strlen(meta);
  memcpy(head, magic, sizeof magic);
  put_le(head + AT_SCHEMA, CACHE_SCHEMA, 4);
  put_le(head + AT_HEAD, HEAD_BYTES, 4);
  put_le(head + AT_META, meta_len, 8);
  put_le(head + AT_PAYLOAD, len, 8);
  memcpy(head + AT_KEY, key->bytes, sizeof key->bytes);
  struct sha256 hash;
  sha256_init(&hash);
  sha256_update(&hash, meta, meta_len);
  sha256_update(&hash, data, len);
  sha256_finish(&hash, head + AT_DIGEST);
  int error = write_all(fd, head, sizeof head);
  if (!error) error = write_all(fd, meta, meta_len);
  if (!error) error = write_all(fd, data, len);
  return error;
}
