/* SPDX-License-Identifier: MIT
 * op_case.h - one op on one shape, run on a device and compared with the float64 reference: what
 * op_sweep and test_property share.
 *
 * Every array lies in a buffer whose gaps and ends are poisoned with NaN: a stray read spoils the
 * result, a stray write is seen. Outputs start poisoned. The op runs twice and must give the same
 * bits.
 */
#ifndef MKC_TESTS_OP_CASE_H
#define MKC_TESTS_OP_CASE_H

#include "base/buf.h"
#include "base/error.h"
#include "driver.h"

#include <stdbool.h>

enum layout { CONTIGUOUS, HEAD_FIRST, PADDED, NLAYOUTS };

struct op_case {
  const char *path, *text; /* the spec */
  const mkc_setting *settings;
  int nsettings;
  mkc_pass pass;
  int64_t B, T, H;                         /* T of a step: a few */
  int64_t qk_heads, v_heads, scalar_heads; /* of inputs over dk, over dv, of gates and params; 0: H.
                                              H is the largest of the three */
  int dk, dv;
  enum layout layout;
  const char *arch; /* NULL: the device's own */
  bool state;       /* h0 and ht; a step has one in any case */
  int64_t position; /* under fenwick, of the first sequence; each further one has 7 tokens more */
  mkc_dtype dtype;
  int chunk, align; /* 0: the planner's choice, what the sizes allow */
  int heads;        /* the planner's hint; 0: a filled card */
  mkc_check check;  /* for the CPU device */
  int gates;        /* 0: as drawn; 1: with resets: -inf, -1e4 and 0 */
  uint64_t seed;    /* of the values */
  /* NULL, or changes the n values of an array over what was drawn */
  void (*set)(const struct op_case *c, const char *name, double *x, size_t n);
};

struct op_outcome {
  double o, ht; /* relative L2; ht: of the state afterwards, column or matrix; 0 without one */
  bool same;    /* bits, both times */
  bool intact;  /* the poison */
  bool erases;  /* the transition has a delta or an outer */
  bool fenwick; /* the mask is one */
};

/* Where cases run. */
struct op_device {
  mkc_context *ctx;
  const char *name;        /* "cpu", "cuda:0" */
  const struct driver *cu; /* NULL: the CPU device */
};
mkc_status op_device_open(struct op_device *d, const char *name, struct error *err);
/* For a group of tests: the GPU that MASKC_TEST_DEVICE names ("cuda:0"), else the CPU device. 0, or
 * -1 with the reason printed. */
int op_device_setup(struct op_device *d);
void op_device_close(struct op_device *d);

/* Memory that the device sees, aligned to 64 bytes; the host's for the CPU device. Ends the program
 * when there is none. */
void *op_device_alloc(const struct op_device *d, size_t bytes);
void op_device_free(const struct op_device *d, void *p);
void op_device_upload(const struct op_device *d, void *to, const void *from, size_t bytes);
/* What the device has done so far is waited for. */
void op_device_download(const struct op_device *d, void *to, const void *from, size_t bytes);

/* A shipped spec: "retnet". False: there is none. */
bool op_case_shipped(struct op_case *c, const char *name);

/* Errors: those of mkc_op_create, and of what comes after it. Ends the program when memory runs
 * out. */
mkc_status op_case_run(const struct op_device *d, const struct op_case *c, struct op_outcome *ret,
                       struct error *err);
/* Tolerances: bf16 5e-3 for o and 3e-3 for ht, fp16 1e-3, fp32 1e-5; under fenwick, which rounds a
 * state once a level, 6e-3 and 5e-3, 3e-3; 1e-2 and 4e-3 where the
 * transition erases, because an error of the state comes back with every key that is like it. A
 * step computes in fp32: its state is right to 1e-5, and o to the rounding of an element, 2^-8 and
 * 2^-11.
 */
bool op_outcome_ok(const struct op_case *c, const struct op_outcome *r);
/* "bf16 B=1 T=63 H=1/2 64/64 chunk 0 align 4 padded state" */
void op_case_print(struct buf *out, const struct op_case *c);
void op_outcome_print(struct buf *out, const struct op_outcome *r);

#endif
