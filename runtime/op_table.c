/* SPDX-License-Identifier: MIT
 * op_table.c - see op_table.h.
 */
#include "op_table.h"

#include <string.h>

void op_table_init(struct op_table *t) {
  memset(t->buckets, 0, sizeof t->buckets);
  pthread_mutex_init(&t->mutex, NULL);
}

void op_table_finish(struct op_table *t) {
  pthread_mutex_destroy(&t->mutex);
}

static struct op_entry **bucket_of(struct op_table *t, const struct op_key *key) {
  return &t->buckets[key->hash % OP_TABLE_BUCKETS];
}

static struct op_entry *find_locked(struct op_table *t, const struct op_key *key) {
  for (struct op_entry *e = *bucket_of(t, key); e; e = e->next) {
    if (!op_key_equal(&e->key, key)) continue;
    e->references++;
    return e;
  }
  return NULL;
}

struct op_entry *op_table_find(struct op_table *t, const struct op_key *key) {
  pthread_mutex_lock(&t->mutex);
  struct op_entry *e = find_locked(t, key);
  pthread_mutex_unlock(&t->mutex);
  return e;
}

struct op_entry *op_table_add(struct op_table *t, struct op_entry *e) {
  pthread_mutex_lock(&t->mutex);
  struct op_entry *first = find_locked(t, &e->key), **bucket = bucket_of(t, &e->key);
  if (!first) {
    e->next = *bucket;
    e->listed = true;
    *bucket = e;
  }
  pthread_mutex_unlock(&t->mutex);
  return first ? first : e;
}

static void take_out_locked(struct op_table *t, struct op_entry *e) {
  struct op_entry **link = bucket_of(t, &e->key);
  while (*link != e) link = &(*link)->next;
  *link = e->next;
  e->listed = false;
}

bool op_table_release(struct op_table *t, struct op_entry *e) {
  pthread_mutex_lock(&t->mutex);
  const bool last = --e->references == 0;
  if (last && e->listed) take_out_locked(t, e);
  pthread_mutex_unlock(&t->mutex);
  return last;
}
