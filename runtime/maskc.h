/* SPDX-License-Identifier: MIT
 * maskc.h - the public C API: from a mask spec to a launched attention op.
 *
 *   mkc_context *ctx; mkc_op *op;
 *   mkc_context_create(NULL, &ctx);
 *   mkc_op_options o = MKC_OP_OPTIONS_INIT;
 *   o.spec_path = "specs/simple_gla.lua"; o.device = "cuda:0"; o.dk = o.dv = 128;
 *   mkc_op_create(ctx, &o, &op);       // spec -> variant -> plan -> source
 *   mkc_op_prepare(op);                // source -> cubin (cached) -> loaded; everything slow
 *   mkc_op_launch(op, args, n, NULL, 0, stream);
 *
 * Every function that can fail returns a status, 0 (MKC_OK) for success; what went wrong, with
 * file:line and the compiler's log where there is one, is in mkc_last_error() of the same thread.
 * The library never exits or aborts, and prints nothing, unless MASKC_VERBOSE=1 is set and the host
 * gave no log hook. No CUDA header is needed: streams are void pointers.
 */
#ifndef MASKC_H
#define MASKC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MKC_VERSION_MAJOR 0
#define MKC_VERSION_MINOR 1
#define MKC_VERSION_PATCH 0
#define MKC_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define MKC_API __attribute__((visibility("default")))
#else
#define MKC_API
#endif

/* A status is a category (the thousands, and the exit status of the command line) and a detail. */
typedef enum mkc_status {
  MKC_OK = 0,
  /* 1xxx: the input is wrong; the message says where */
  MKC_E_SPEC = 1001,     /* the spec does not load, or means nothing */
  MKC_E_ARGUMENT = 1002, /* an array or an option has the wrong shape, type, stride or value */
  MKC_E_FILE = 1003,     /* a file is missing, unreadable or malformed */
  /* 2xxx: the call itself is wrong */
  MKC_E_USAGE = 2001,
  MKC_E_NOT_PREPARED = 2002, /* launch before prepare */
  /* 3xxx: the environment lacks something; the message says what and how to get it */
  MKC_E_NO_SCHEDULE = 3001, /* the spec is right, but no schedule serves it yet */
  MKC_E_NO_NVRTC = 3002,
  MKC_E_NO_DEVICE = 3003,     /* no driver, no such GPU */
  MKC_E_NO_COMPILER = 3004,   /* the CPU device found no C compiler */
  MKC_E_ARCHITECTURE = 3005,  /* NVRTC or maskc does not know this architecture */
  MKC_E_OUT_OF_MEMORY = 3006, /* host or device */
  MKC_E_CUDA = 3007,          /* a CUDA driver call failed */
  MKC_E_SYSTEM = 3008,        /* a system call failed */
  MKC_E_NO_GENERATOR = 3009,  /* this build of the library runs packs only */
  /* 4xxx: a bug of ours */
  MKC_E_INTERNAL = 4001,
  MKC_E_COMPILE = 4002, /* a compiler refused the source we emitted; its log is in the message */
  MKC_E_CHECK = 4003,   /* the CPU device caught a race, a stray access or a deadlock */
  /* 5xxx: the result is out of tolerance */
  MKC_E_TOLERANCE = 5001
} mkc_status;

typedef enum mkc_dtype {
  MKC_F32 = 0,
  MKC_BF16 = 1,
  MKC_F16 = 2,
  MKC_I32 = 3,
  MKC_I64 = 4
} mkc_dtype;

typedef enum mkc_pass {
  MKC_FORWARD = 0, /* a sequence at once */
  MKC_STEP = 1     /* decode: one token, or a few draft tokens, the state updated in place */
} mkc_pass;

/* What the CPU device looks for besides deadlocks and divergence, at the cost of some speed. */
typedef enum mkc_check {
  MKC_CHECK_NONE = 0,
  MKC_CHECK_ADDRESS = 1, /* stray accesses; the process must have AddressSanitizer loaded */
  MKC_CHECK_RACE = 2     /* accesses to memory that no barrier orders */
} mkc_check;

typedef struct mkc_context mkc_context; /* caches and libraries; safe to share between threads */
typedef struct mkc_op mkc_op;           /* one pass of one variant at one configuration */

/* Version of the library that is running, "0.1.0". */
MKC_API const char *mkc_version(void);

/* A short fixed text for a status, "no NVRTC". Never NULL. */
MKC_API const char *mkc_status_string(mkc_status status);

/* What the last failing call of this thread had to say, or "". Owned by the library; valid until
 * the next call of the same thread. */
MKC_API const char *mkc_last_error(void);

/* ---- context ---- */

typedef struct mkc_context_options {
  size_t struct_size; /* sizeof(mkc_context_options); set by MKC_CONTEXT_OPTIONS_INIT */
  const char
      *cache_dir; /* NULL: $MASKC_CACHE_DIR, else $XDG_CACHE_HOME/maskc, else ~/.cache/maskc */
  int no_cache;   /* 1: keep nothing on disk */
  /* Called with a line of what happens inside ("compiled in 512 ms"); level 0 = warning, 1 = info.
   * May be NULL. Called on the thread that called the library. */
  void (*log)(void *user, int level, const char *line);
  void *log_user;
} mkc_context_options;
#define MKC_CONTEXT_OPTIONS_INIT \
  { sizeof(mkc_context_options), NULL, 0, NULL, NULL }

/* options may be NULL. The caller destroys *ret after the ops made from it (any order is safe). */
MKC_API mkc_status mkc_context_create(const mkc_context_options *options, mkc_context **ret);
MKC_API void mkc_context_destroy(mkc_context *ctx); /* NULL is fine */

/* ---- op ---- */

/* A value for an option of the spec, `option { "window", 512 }`, in place of its default. */
typedef struct mkc_setting {
  const char *name;
  int value;
} mkc_setting;

typedef struct mkc_op_options {
  size_t struct_size;    /* sizeof(mkc_op_options); set by MKC_OP_OPTIONS_INIT */
  const char *spec_path; /* a spec file, or the name of a shipped spec ("simple_gla") ... */
  const char *spec_text; /* ... or the spec's text (spec_path then only names it in messages) */
  const char *device;    /* "cuda:N", or "cpu" */
  const char *arch;      /* NULL: the device's own ("sm_90a"); sm_80's for the CPU device */
  mkc_pass pass;
  mkc_dtype dtype; /* of q, k, v and o */
  int dk, dv;      /* channels of a head */
  int chunk;       /* tokens a chunk; 0: the planner's choice */
  mkc_check check; /* for the CPU device */
  int align; /* bytes that arrays over channels and their strides are multiples of: 16, 8, 4 or
                2; 0: as many as rows of dk and dv channels are */
  const mkc_setting *settings; /* values for options of the spec; may be NULL */
  int nsettings;
  int heads; /* B * H of the launches that the plan is for; 0: enough to fill the card. It chooses
                among plans; every op takes every B and H. */
} mkc_op_options;
#define MKC_OP_OPTIONS_INIT                                                             \
  {                                                                                     \
    sizeof(mkc_op_options), NULL, NULL, "cuda:0", NULL, MKC_FORWARD, MKC_BF16, 0, 0, 0, \
        MKC_CHECK_NONE, 0, NULL, 0, 0                                                   \
  }

/* Loads, checks, plans and emits. Fast (milliseconds), compiles nothing.
 * Errors: MKC_E_SPEC, MKC_E_FILE, MKC_E_NO_SCHEDULE, MKC_E_NO_DEVICE, MKC_E_ARCHITECTURE. */
MKC_API mkc_status mkc_op_create(mkc_context *ctx, const mkc_op_options *options, mkc_op **ret);
/* Its launches must have finished. NULL is fine. */
MKC_API void mkc_op_destroy(mkc_op *op);

/* Everything slow: cache look-up, compile, load. Idempotent and thread-safe. For "cuda:N" it works
 * in the device's primary context, which it retains until mkc_op_destroy.
 * Errors: MKC_E_NO_NVRTC, MKC_E_COMPILE, MKC_E_CUDA, MKC_E_NO_COMPILER. */
MKC_API mkc_status mkc_op_prepare(mkc_op *op);

/* An array of the op, in the order in which mkc_op_launch takes them. */
typedef struct mkc_arg_info {
  const char *name; /* the spec's name ("q", "g"), or h0, ht, o; state, ... of a step */
  const char *axes; /* one letter a dimension: B batch, N slots of a pool, C one more than the
                       sequences of a packed batch, T token, H head, k dk, v dv. "BTHk", "H" */
  mkc_dtype dtype;
  int output;   /* 1: written by the op */
  int optional; /* 1: data may be NULL */
  int in_place; /* 1: an output that is read, too */
} mkc_arg_info;
MKC_API int mkc_op_arg_count(const mkc_op *op);
MKC_API mkc_status mkc_op_arg_info(const mkc_op *op, int index, mkc_arg_info *ret);
MKC_API int mkc_op_arg_index(const mkc_op *op, const char *name); /* -1: no such array */

/* The emitted source and the plan, as text; owned by the op. */
MKC_API const char *mkc_op_source(const mkc_op *op);
MKC_API const char *mkc_op_plan(const mkc_op *op);

/* Packed sequences of different lengths: cu_seqlens, optional, is [N+1], int32 or int64 (its
 * mkc_arg_info says int64): sequence n is the tokens cu_seqlens[n] up to cu_seqlens[n + 1] of
 * arrays whose B is 1, and states have N for B. It is read on the device, where a wrong number is
 * moved between 0 and T, so that no access leaves an array.
 *
 * A strided array. Strides are in elements; the last dimension's must be 1 for arrays that end in
 * k or v. The number of heads of each input must divide H, that of the output; head h of the
 * output reads head h * heads / H of the input. The caller keeps the memory. */
typedef struct mkc_tensor {
  void *data;
  mkc_dtype dtype;
  int ndim;
  int64_t shape[5];
  int64_t stride[5];
} mkc_tensor;

/* Device scratch memory that mkc_op_launch will want for these arrays. */
MKC_API mkc_status mkc_op_workspace(const mkc_op *op, const mkc_tensor *args, int nargs,
                                    size_t *ret_bytes);

/* Launches on `stream` (a CUstream or cudaStream_t; NULL is the default stream; ignored by the CPU
 * device, which runs to the end before it returns). Checks shapes, strides and alignment; allocates
 * nothing, locks nothing, and does not synchronise. The device's primary context must be current
 * on a "cuda:N" op. An absent optional array is one whose data is NULL. */
MKC_API mkc_status mkc_op_launch(const mkc_op *op, const mkc_tensor *args, int nargs,
                                 void *workspace, size_t workspace_bytes, void *stream);

#ifdef __cplusplus
}
#endif
#endif
