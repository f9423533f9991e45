/* SPDX-License-Identifier: MIT
 * random_spec.h - random specs from a grammar, each a function of its seed.
 *
 *   local e1 = softplus(input "lane" + 0.25)
 *   return variant {
 *     name = "chunk",
 *     k = e1 * input { "k", dk },
 *     transition = { decay(exp(-exp(param "A") * e1)), },
 *   }
 */
#ifndef MKC_TESTS_RANDOM_SPEC_H
#define MKC_TESTS_RANDOM_SPEC_H

#include "base/arena.h"
#include "base/buf.h"
#include "maskc.h"

#include <stdbool.h>

struct random {
  uint64_t state;
};
uint64_t random_next(struct random *r);
int random_below(struct random *r, int n); /* 0 .. n-1; 0 for n = 0 */
bool random_chance(struct random *r, int in_hundred);

enum spec_kind {
  SPEC_PLAIN,  /* of the plain family: it loads */
  SPEC_WILD,   /* with a part of another family: it loads */
  SPEC_BROKEN, /* with characters lost, doubled or changed */
};

enum { SPEC_MAX_SETTINGS = 4 };

struct random_spec {
  enum spec_kind kind;
  const char *text; /* in the arena */
  mkc_setting settings[SPEC_MAX_SETTINGS];
  int nsettings;
};
void random_spec(struct random *r, struct arena *a, struct random_spec *ret);

#endif
