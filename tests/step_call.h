/* SPDX-License-Identifier: MIT
 * step_call.h - a decode op with its arrays, for test_step.c: on the CPU device, or on the GPU that
 * MASKC_TEST_DEVICE names ("cuda:0").
 *
 * Every array is strided and lies in a buffer whose gaps and ends are poisoned with NaN: a stray
 * read spoils the result, a stray write is seen.
 */
#ifndef MKC_TESTS_STEP_CALL_H
#define MKC_TESTS_STEP_CALL_H

#include "gen_support.h"

#include "maskc.h"
#include "ref.h"

struct step_sizes {
  int64_t B, T, H, qk_heads, N; /* N: slots of the pool */
  int dk, dv;
  mkc_dtype dtype;
  int align;  /* of states, 4 or 8, which then are aligned no better; 0: 16 */
  int levels; /* of a fenwick mask */
};

struct side {
  mkc_arg_info info;
  const struct leaf *leaf;
  int64_t shape[5], stride[5];
  int ndim;
  size_t count, bytes; /* of elements; of the buffer */
  size_t first;        /* the element that is the array's first */
  char *buffer;        /* on the host */
  void *device;        /* what the op sees: the same, or memory of the GPU */
  double *values;      /* inputs as rounded, states as they were drawn; in logical order */
  bool present;
};

struct step_call {
  struct loaded_spec spec;
  struct step_sizes n;
  mkc_op *op;
  int nsides;
  struct side sides[24];
  int64_t position[16]; /* of each sequence, under fenwick */
};

/* Inputs and states drawn, outputs poisoned, optional arrays absent. */
void step_open(struct step_call *c, mkc_context *ctx, const char *text, const struct step_sizes *n);
void step_close(struct step_call *c);

struct side *step_side(struct step_call *c, const char *name);
/* An optional int32 array [B]. */
void step_set_ints(struct step_call *c, const char *name, const int32_t *values);
/* Under fenwick: where sequences are; slots that hold nothing there are poisoned. state_index NULL:
 * each has the entry of its number. */
void step_set_positions(struct step_call *c, const int64_t *positions, const int32_t *state_index);
/* Only where they are: the states are what a launch left. */
void step_put_positions(struct step_call *c, const int64_t *positions);
void step_poison_output(struct step_call *c, const char *name);

/* `tokens` tokens from `first` on. */
void step_launch(const struct step_call *c, int64_t first, int64_t tokens);
mkc_status step_try_launch(const struct step_call *c, int64_t first, int64_t tokens);

/* What an array holds now, in logical order; on the heap. */
double *side_read(const struct side *s);
void side_write(struct side *s, const double *values);
/* Whether every byte that belongs to no element still has the poison. */
bool step_gaps_intact(const struct step_call *c);

/* The reference over the first `tokens` tokens, from the state in slot[b] (NULL: b) of the pool as
 * drawn: o [B,tokens,H,dv] and the states after them [B,(slots,)H,dk,dv]; on the heap. */
void step_reference(struct step_call *c, int64_t tokens, const int32_t *slot, double **ret_o,
                    double **ret_states);

#endif
