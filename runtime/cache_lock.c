/* SPDX-License-Identifier: MIT
 * cache_lock.c - see cache_lock.h. There is no lock with a deadline, so it is asked for again and
 * again, at first soon and then every POLL_MAX_MS: little beside a compile.
 */
#define _GNU_SOURCE /* F_OFD_SETLK */
#include "cache_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MIN_MS = 1, POLL_MAX_MS = 32 };

/* 62 bits of the key; two keys that share them wait for each other, and no more. */
static off_t byte_of(const struct cache_key *key) {
  uint64_t n = 0;
  for (int i = 0; i < 8; i++) n = n << 8 | key->bytes[i];
  return (off_t)(n >> 2);
}

static int set(int fd, short type, off_t byte) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(fd, F_OFD_SETLK, &lock);
}

static bool is_taken(int error) {
  return error == EAGAIN || error == EACCES;
}

static int64_t now_ms(void) {
  struct timespec t = {0};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_ms(int ms) {
  const struct timespec t = {.tv_nsec = ms * 1000000L};
  nanosleep(&t, NULL);
}

/* 0, or errno. */
static int wait_for(int fd, off_t byte, int wait_ms) {
  const int64_t deadline = now_ms() + wait_ms;
  for (int pause = POLL_MIN_MS; set(fd, F_WRLCK, byte) != 0;) {
    if (!is_taken(errno)) return errno;
    if (now_ms() >= deadline) return ETIMEDOUT;
    sleep_ms(pause);
    pause = pause < POLL_MAX_MS ? 2 * pause : POLL_MAX_MS;
  }
  return 0;
}

int cache_lock_take(int v1, const struct cache_key *key, int wait_ms) {
  /* O_NONBLOCK: a FIFO put there must not hang us. */
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const int fd = openat(v1, "lock", flags, 0600);
  if (fd < 0) return -1;
  const int error = wait_for(fd, byte_of(key), wait_ms);
  if (!error) return fd;
  close(fd);
  errno = error;
  return -1;
}

/* Said, not left to close: a child that was forked meanwhile has the descriptor too, and would keep
 * the lock. */
void cache_lock_drop(int lock) {
  if (lock < 0) return;
  const struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  fcntl(lock, F_OFD_SETLK, &all);
  close(lock);
}
