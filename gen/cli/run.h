/* SPDX-License-Identifier: MIT
 * run.h - the parts of maskc run.
 *
 *   run_arrays.c   which arrays there are, their files and shapes
 *   run_packed.c   cu_seqlens and the sequences that it packs
 *   run_position.c where each begins under a fenwick mask
 *   run_values.c   their values: drawn or read, rounded to the op's types
 *   run_device.c   the op on a device: memory, launches, times
 *   run_compare.c  the result against the float64 reference
 *   run_print.c    what came of it
 *   cmd_run.c      the sequence
 */
#ifndef MKC_CLI_RUN_H
#define MKC_CLI_RUN_H

#include "cli.h"

enum { RUN_MAX_DIMS = 5 };

struct run_array {
  const char *name;
  char axes[8];            /* a letter a dimension: B, T, H, k, v; others have no size here */
  const struct leaf *leaf; /* NULL: a state, o */
  bool output, optional;
  bool present;         /* takes part in the run */
  bool before;          /* the state of a step before the launch: the op's is the one after */
  const char *in, *out; /* files, or NULL */
  int ndim;
  int64_t shape[RUN_MAX_DIMS];
  int64_t heads; /* 1 where it has no such dimension */
  size_t count;
  float *values; /* [count], inputs as rounded to dtype; on the heap */
  mkc_dtype dtype;
  void *packed; /* [count] in dtype, aligned to 64 bytes; on the heap */
  size_t bytes; /* of packed */
};

struct run_sizes {
  int64_t B, T, H, dk, dv; /* 0: not known yet */
  int64_t L, S;            /* levels of a fenwick mask, slots of its state: one less */
  int64_t Hqk;             /* heads of random inputs over dk; 0: H */
};

/* One result against the reference. */
struct run_error {
  double numerator, denominator; /* sums of squares */
  size_t wrong;                  /* elements that are NaN or infinite on one side only */
  double tolerance;
};

struct run {
  struct cli *cli;
  struct spec_file file;
  const struct variant *variant;
  struct run_array *arrays; /* the leaves, then h0, o, ht */
  int narrays;
  struct run_array *h0, *o, *ht; /* of a step h0 and ht are state, before and after */
  struct run_array *n0, *nt;     /* likewise; NULL: there is no normaliser */
  struct run_sizes n;
  struct run_array *cu;       /* cu_seqlens; NULL: the pass has none */
  struct run_array *position; /* NULL: there is no fenwick mask */
  int64_t sequences;          /* that are packed; 0: none are */
  int64_t *starts;            /* [sequences + 1], cu_seqlens */
  bool random;                /* no array was given */
  uint64_t seed;
  mkc_context *ctx;
  mkc_op *op;
  mkc_pass pass;
  mkc_dtype dtype;
  const char *device;
  /* what came of it */
  bool cuda_started;
  double driver_ms;   /* the CUDA driver's start */
  double ready_ms;    /* from spec to loaded op, the driver's start not counted */
  double time_ms;     /* the median launch */
  int launches;       /* that were timed */
  double copy_gbs;    /* of the device, in the same run; 0: not measured */
  double moved_bytes; /* each input read once, each output written once */
  struct run_error error_o, error_ht, error_nt;
  bool compared;
  bool finite_inputs;
  mkc_check check;  /* of the CPU device */
  char scope[128];  /* what was compared, or why nothing was */
  size_t nan_count; /* in the outputs */
};

/* ---- run_arrays.c ---- */

/* Lists the arrays, reads the files of --in, settles all sizes. */
mkc_status run_arrays_open(struct run *r, struct error *err);
void run_append_shape(struct error *err, const int64_t *shape, int ndim); /* "[2,200,4,64]" */

/* ---- run_packed.c ---- */

/* Reads cu_seqlens, if there are any, and settles B and T by them. Errors: MKC_E_ARGUMENT for
 * numbers that do not begin at 0, decrease or overrun. */
mkc_status run_packed_open(struct run *r, struct error *err);

/* ---- run_position.c ---- */

/* Reads the positions, if there are any, once B and T are settled; then settles the levels.
 * Errors: MKC_E_ARGUMENT, MKC_E_USAGE for a wrong number or count of them. */
mkc_status run_position_open(struct run *r, struct error *err);
/* The part of all slots that is live at the positions, or after the T tokens of a step. */
double run_live_slots(const struct run *r, bool after);

/* ---- run_values.c ---- */

/* With the types that the op gives them: draws what is random, rounds, packs. device_bytes: memory
 * of the device, 0 where it is the host's. Errors: MKC_E_OUT_OF_MEMORY before anything is drawn;
 * MKC_E_ARGUMENT for a value outside its leaf's contract. */
mkc_status run_arrays_fill(struct run *r, size_t device_bytes, struct error *err);
/* The state of a step as it is before the launch; nothing for other passes. */
void run_reset_state(struct run *r);
/* values of an output from packed. */
mkc_status run_array_unpack(struct run_array *x, struct error *err);
void run_arrays_close(struct run *r);

/* ---- run_device.c ---- */

mkc_status run_on_cpu(struct run *r, struct error *err);
mkc_status run_on_cuda(struct run *r, int gpu, struct error *err);
/* The driver and the GPU's primary context; run_cuda_stop when r->cuda_started says so. */
mkc_status run_cuda_start(struct run *r, int gpu, struct error *err);
void run_cuda_stop(int gpu);
double clock_ms(void);

/* ---- run_compare.c ---- */

mkc_status run_compare(struct run *r, struct error *err);
double run_error_relative(const struct run_error *e); /* infinity where something is wrong */
bool run_error_ok(const struct run_error *e);

/* ---- run_print.c ---- */

void run_print(const struct run *r);

#endif
