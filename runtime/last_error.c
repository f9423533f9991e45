/* SPDX-License-Identifier: MIT
 * last_error.c - what the last failing call of each thread had to say, and the version.
 *
 * A thread's text lives in a key with a destructor, so that it goes when the thread does.
 */
#include <pthread.h>
#include <stdlib.h>

#include "context.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;

static void destroy_slot(void *slot) {
  error_finish(slot);
  free(slot);
}

static void make_key(void) {
  have_key = pthread_key_create(&key, destroy_slot) == 0;
}

/* This thread's; NULL where there is none (yet). */
static struct error *slot_of_thread(bool make) {
  pthread_once(&once, make_key);
  if (!have_key) return NULL;
  struct error *slot = pthread_getspecific(key);
  if (slot || !make) return slot;
  slot = calloc(1, sizeof *slot);
  if (slot && pthread_setspecific(key, slot) != 0) {
    free(slot);
    slot = NULL;
  }
  return slot;
}

mkc_status last_error_take(struct error *err) {
  const mkc_status status = err->status;
  struct error *slot = slot_of_thread(true);
  if (!slot) {
    error_finish(err);
    return status;
  }
  error_finish(slot);
  *slot = *err;
  *err = (struct error){0};
  return status;
}

const char *mkc_last_error(void) {
  const struct error *slot = slot_of_thread(false);
  return slot ? error_text(slot) : "";
}

const char *mkc_version(void) {
  return MKC_VERSION_STRING;
}

int mkc_version_number(void) {
  return MKC_VERSION_NUMBER;
}
