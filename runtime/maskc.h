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
 * Errors. Every function that can fail returns a status, 0 (MKC_OK) for success; what went wrong,
 * with file:line and the compiler's log where there is one, is in mkc_last_error() of the same
 * thread. Results are NULL or 0 after a failure. A NULL where an object or a result belongs is
 * MKC_E_USAGE, never a crash. The library never exits or aborts, and prints nothing, unless
 * MASKC_VERBOSE=1 is set and the host gave no log hook.
 *
 * Threads. Every function may be called from several threads at once, also on the same object; only
 * the last mkc_op_destroy or mkc_context_destroy of an object must come when no other thread uses
 * it.
 *
 * Ownership. Objects are counted: ops hold their context, and all may be destroyed in any order.
 * Strings that come out belong to the object they were asked of, strings and structs that go in are
 * the caller's and are copied where they are kept.
 *
 * Form. Structs that may grow begin with their size and have a macro to initialise them; they grow
 * at their end, so a program built against an older header keeps working. mkc_tensor and
 * mkc_setting come in arrays and stay as they are, as do the numbers of all constants.
 *
 * No CUDA header is needed: streams are void pointers.
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
/* To compare: 0.1.0 is 1000, 1.2.3 is 1002003. */
#define MKC_VERSION_NUMBER \
  (MKC_VERSION_MAJOR * 1000000 + MKC_VERSION_MINOR * 1000 + MKC_VERSION_PATCH)

#if defined(__GNUC__)
#define MKC_API __attribute__((visibility("default")))
#else
#define MKC_API
#endif

/* A status is a category (the thousands: mkc_status_category) and a detail. New ones may come. */
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

/* Whose fault it is; also the exit status of the command line. */
typedef enum mkc_category {
  MKC_CATEGORY_OK = 0,
  MKC_CATEGORY_INPUT = 1,       /* a spec, an array, an option, a file: show the message */
  MKC_CATEGORY_USAGE = 2,       /* the calling program's */
  MKC_CATEGORY_ENVIRONMENT = 3, /* something is missing here, or not served: fall back */
  MKC_CATEGORY_INTERNAL = 4,    /* ours: please report it with the message */
  MKC_CATEGORY_TOLERANCE = 5    /* of the command line only */
} mkc_category;

/* Of an element. bf16 is the upper half of an f32. */
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

typedef struct mkc_context mkc_context; /* what ops share: cache, NVRTC, hooks */
typedef struct mkc_op mkc_op;           /* one pass of one variant at one configuration */

/* ---- version and errors: runtime/last_error.c, runtime/base/error.c ---- */

/* Of the library that is running: "0.1.0", and its MKC_VERSION_NUMBER. */
MKC_API const char *mkc_version(void);
MKC_API int mkc_version_number(void);

/* A short fixed text, "no NVRTC"; for a number that is no status "unknown status". Never NULL. */
MKC_API const char *mkc_status_string(mkc_status status);

/* status / 1000, and MKC_CATEGORY_INTERNAL for a number that is no status of any version. */
MKC_API mkc_category mkc_status_category(mkc_status status);

/* What the last failing call of this thread had to say, or "": one line, or several with a place,
 * the text there, and the whole log of a compiler. A success does not clear it. Owned by the
 * library; valid until the thread's next call of it, or its end. */
MKC_API const char *mkc_last_error(void);

/* ---- context: runtime/context.c ---- */

/* The levels of mkc_context_options.log. */
typedef enum mkc_log_level {
  MKC_LOG_WARNING = 0, /* something does not work as it should, and there is a way round it */
  MKC_LOG_INFO = 1     /* what happens inside: "compiled in 512 ms" */
} mkc_log_level;

typedef struct mkc_context_options {
  size_t struct_size;    /* sizeof(mkc_context_options); set by MKC_CONTEXT_OPTIONS_INIT */
  const char *cache_dir; /* NULL: $MASKC_CACHE_DIR, else $XDG_CACHE_HOME/maskc, else
                            ~/.cache/maskc */
  int no_cache;          /* 1: keep nothing on disk */
  /* Called with one line of text, without its end, and log_user, on the thread that called the
   * library, perhaps on several at once. It must not call the library. NULL: no log. */
  void (*log)(void *user, int level, const char *line);
  void *log_user;
  /* Host memory: block NULL gives `bytes` new bytes, aligned for any type; bytes 0 frees block;
   * else block is resized as by realloc. NULL means there is no more, and the call that wanted it
   * is MKC_E_OUT_OF_MEMORY. Called on any thread that uses the context, until the last of the
   * context and its ops is gone. NULL: malloc.
   *
   * It serves contexts, ops and their sources, what a spec's compilation works in, Lua's memory
   * too, and code that is kept in memory. Not: error texts, which are a thread's; buffers that live
   * for a call (text being written, files, code on its way to the driver); the CPU device's
   * compiles and runs; what a pack is known by; what NVRTC, the driver and the C library take for
   * themselves. Device memory is never allocated. */
  void *(*alloc)(void *user, void *block, size_t bytes);
  void *alloc_user;
} mkc_context_options;
#define MKC_CONTEXT_OPTIONS_INIT \
  { sizeof(mkc_context_options), NULL, 0, NULL, NULL, NULL, NULL }

/* options: NULL for the defaults. Opens and reads nothing yet. *ret is the caller's to destroy; one
 * a process is enough. Errors: MKC_E_USAGE, MKC_E_OUT_OF_MEMORY. */
MKC_API mkc_status mkc_context_create(const mkc_context_options *options, mkc_context **ret);
/* Gives up the caller's share; the context goes with the last of its ops. NULL is fine. */
MKC_API void mkc_context_destroy(mkc_context *ctx);

/* Adds a pack, a file of ops that `maskc build --emit=pack` compiled ahead of time: mkc_op_create
 * takes an op from the packs of its context, in the order in which they were added, and generates
 * only what none of them has; add them before the first op. Opening is quick (the file is mapped);
 * an op's bytes are checked when it is created. A pack runs as code of the process: add only what
 * you would load as a library. The file must not be written to while it is in use (replace it by
 * renaming another over it). Errors: MKC_E_FILE: no such file, no pack, another format, damaged. */
MKC_API mkc_status mkc_context_add_pack(mkc_context *ctx, const char *path);
/* The same for a pack in memory, as `--emit=asm` puts it into a program. The bytes stay the
 * caller's, and must be there until the context and all ops made from it are destroyed. */
MKC_API mkc_status mkc_context_add_pack_memory(mkc_context *ctx, const void *data, size_t bytes);

/* ---- op: runtime/op.c ---- */

/* A value for an option of the spec, `option { "window", 512 }`, in place of its default. */
typedef struct mkc_setting {
  const char *name;
  int value;
} mkc_setting;

typedef struct mkc_op_options {
  size_t struct_size; /* sizeof(mkc_op_options); set by MKC_OP_OPTIONS_INIT */
  const char
      *spec_path; /* a spec file, or a name: of a spec in a pack, else of a shipped one ... */
  const char *spec_text; /* ... or the spec's text (spec_path then only names it in messages) */
  const char *device;    /* "cuda:N", or "cpu" */
  const char *arch;      /* NULL: the device's own ("sm_90a"); sm_80's for the CPU device. With one,
                            mkc_op_create needs no GPU */
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

/* Takes the op from a pack of the context, else loads, checks, plans and emits. A name is looked up
 * in packs by name, a text or a file by its very bytes. Fast (milliseconds), compiles nothing.
 * Where the context has an op of the same options already, *ret is that op, prepared if it is
 * prepared, within a tenth of a microsecond (a spec file is read again first: it is its text that
 * counts). Each create wants its destroy. Errors: MKC_E_SPEC, MKC_E_FILE, MKC_E_ARGUMENT,
 * MKC_E_USAGE, MKC_E_NO_SCHEDULE, MKC_E_NO_DEVICE, MKC_E_ARCHITECTURE, MKC_E_OUT_OF_MEMORY, and
 * MKC_E_NO_GENERATOR from a library that runs packs only. */
MKC_API mkc_status mkc_op_create(mkc_context *ctx, const mkc_op_options *options, mkc_op **ret);
/* Gives up one share. With the last one the op's code is unloaded: its launches, and graphs that
 * hold them, must have finished for good. NULL is fine; so is an exit at which the CUDA driver has
 * gone first. */
MKC_API void mkc_op_destroy(mkc_op *op);

/* Everything slow: cache look-up, compile, load, the kernel's attributes. Does nothing when it was
 * done before, may be tried again after a failure; of several threads one does it and the others
 * wait. For "cuda:N" it works in the device's primary context, which it retains until the op is
 * destroyed, and leaves the thread's current context as it was. Not during the capture of a graph.
 * Errors: MKC_E_NO_NVRTC, MKC_E_COMPILE, MKC_E_NO_DEVICE, MKC_E_ARCHITECTURE, MKC_E_CUDA,
 * MKC_E_OUT_OF_MEMORY, MKC_E_NO_SCHEDULE, MKC_E_NO_COMPILER, MKC_E_SYSTEM. */
MKC_API mkc_status mkc_op_prepare(mkc_op *op);

/* An array of the op, in the order in which mkc_op_launch takes them. The strings are the op's. */
typedef struct mkc_arg_info {
  size_t struct_size; /* sizeof(mkc_arg_info); set by MKC_ARG_INFO_INIT, before the call */
  const char *name;   /* the spec's name ("q", "g"), or h0, ht, o; state, ... of a step */
  const char *axes;   /* one letter a dimension: B batch, N slots of a pool, C one more than the
                         sequences of a packed batch, T token, H head, L levels and S = L - 1 slots
                         of a fenwick mask, k dk, v dv. "BTHk", "H" */
  mkc_dtype dtype;
  int output;   /* 1: written by the op */
  int optional; /* 1: data may be NULL */
  int in_place; /* 1: an output that is read, too */
} mkc_arg_info;
#define MKC_ARG_INFO_INIT \
  { sizeof(mkc_arg_info), NULL, NULL, MKC_F32, 0, 0, 0 }

MKC_API int mkc_op_arg_count(const mkc_op *op); /* NULL: 0 */
/* index: from 0. Fills *ret as far as its struct_size reaches. Errors: MKC_E_USAGE. */
MKC_API mkc_status mkc_op_arg_info(const mkc_op *op, int index, mkc_arg_info *ret);
/* The place of an array by its name; -1: no such array. */
MKC_API int mkc_op_arg_index(const mkc_op *op, const char *name);

/* The emitted source and the plan, as text; owned by the op. NULL: "". */
MKC_API const char *mkc_op_source(const mkc_op *op);
MKC_API const char *mkc_op_plan(const mkc_op *op);

/* ---- arrays and launches: runtime/op.c, runtime/op_args.c ---- */

/* A strided array of the caller's. Dimensions come in the order of mkc_arg_info.axes, shape in
 * elements, strides in elements, too: 0 broadcasts an input, negative ones are fine. The stride of
 * the last dimension of "...k" and "...v" is 1. q, k, v, o and inputs over channels begin at
 * multiples of 16 bytes, as do their strides, unless the op was made with another `align`; others
 * at multiples of their element. Elements of an output do not overlap.
 *
 * The heads of each input divide H, those of the output: head h of the output reads head
 * h * heads / H of the input. States are [B,H,dk,dv], a matrix a head, k the row.
 *
 * Packed sequences of different lengths: cu_seqlens, optional, is [N+1], int32 or int64 (its
 * mkc_arg_info says int64): sequence n is the tokens cu_seqlens[n] up to cu_seqlens[n + 1] of
 * arrays whose B is 1, and states have N for B. It is read on the device, where a wrong number is
 * moved between 0 and T, so that no access leaves an array. */
typedef struct mkc_tensor {
  void *data; /* on the op's device; NULL leaves an optional array out */
  mkc_dtype dtype;
  int ndim;
  int64_t shape[5];
  int64_t stride[5];
} mkc_tensor;

/* Bytes of scratch memory on the op's device that mkc_op_launch wants for these arrays, which are
 * checked as a launch checks them and not read. Errors: MKC_E_ARGUMENT, MKC_E_USAGE. */
MKC_API mkc_status mkc_op_workspace(const mkc_op *op, const mkc_tensor *args, int nargs,
                                    size_t *ret_bytes);

/* Launches on `stream` (a CUstream or cudaStream_t of the device's primary context; NULL is the
 * default stream; ignored by the CPU device, which runs to the end before it returns). args: all
 * arrays of the op, nargs = mkc_op_arg_count, in its order; they are not needed after the call,
 * what they point at until the stream has passed it. workspace: at least as many bytes as
 * mkc_op_workspace asks for, at a multiple of 16, of this launch alone until the stream has passed
 * it; NULL where it asks for none.
 *
 * Checks count, types, shapes, strides and alignment, then makes two driver calls: it asks for the
 * current context, which must be the device's primary one, and launches. It allocates nothing,
 * locks nothing, reads no environment, does not synchronise, and may be captured into a graph. A
 * launch that fails has launched nothing. Errors: MKC_E_NOT_PREPARED (before anything else is
 * looked at), MKC_E_ARGUMENT (names the array), MKC_E_USAGE (another context, or a stream of
 * another), MKC_E_NO_DEVICE (a forked child), MKC_E_CUDA, MKC_E_OUT_OF_MEMORY; MKC_E_CHECK of the
 * CPU device. */
MKC_API mkc_status mkc_op_launch(const mkc_op *op, const mkc_tensor *args, int nargs,
                                 void *workspace, size_t workspace_bytes, void *stream);

#ifdef __cplusplus
}
#endif
#endif
