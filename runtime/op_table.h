/* SPDX-License-Identifier: MIT
 * op_table.h - the ops of a context that somebody holds, found again by their options.
 *
 * An entry is a part of its op and counts who holds it; the table itself holds none, so an op goes
 * with the last mkc_op_destroy. What a look-up costs is a hash of the options and an uncontended
 * lock; nothing slow happens under that lock.
 */
#ifndef MKC_OP_TABLE_H
#define MKC_OP_TABLE_H

#include <pthread.h>
#include <stdbool.h>

#include "op_key.h"

struct op_entry {
  struct op_entry *next;
  struct op_key key;
  int references;
  bool listed;
};

enum { OP_TABLE_BUCKETS = 256 };

struct op_table {
  pthread_mutex_t mutex; /* guards the lists, and the references of what is listed */
  struct op_entry *buckets[OP_TABLE_BUCKETS];
};

void op_table_init(struct op_table *t);
void op_table_finish(struct op_table *t); /* it must be empty */

/* With a reference more; NULL: none is equal. */
struct op_entry *op_table_find(struct op_table *t, const struct op_key *key);

/* Lists an entry that has one reference and a key. If an equal one came first, that one, with a
 * reference more; e is then as it was. */
struct op_entry *op_table_add(struct op_table *t, struct op_entry *e);

/* True: it was the last reference, and the entry is listed no more. */
bool op_table_release(struct op_table *t, struct op_entry *e);

#endif
