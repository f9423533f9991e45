/* SPDX-License-Identifier: MIT
 * machine.h - one running launch on the CPU device: some of its blocks resident at once, each
 * thread of a block a fiber.
 *
 *   launch.c  the struct's life; blocks come and go
 *   block.c   a resident block; the threads' main
 *   sched.c   the run queue, the rendezvous of warps and blocks, reports
 *   smem.c    shared memory
 *   sm80.c    shuffles, ldmatrix, mma, asynchronous copies
 *   watch.c   stops a thread that never waits
 *
 * A machine belongs to the OS thread that launched it and to nothing else, so that launches run
 * concurrently; the functions that a kernel calls find theirs by machine_current. Fibers never
 * move between OS threads.
 *
 * There are as many `struct block` as blocks are resident, which the launch's blocks use in turn.
 * All of their threads share the run queue; what they meet at and what they keep is their block's.
 * The main fiber runs when a block has ended, and gives its place to another, and when nobody else
 * can run: the blocks that are left, if any, have deadlocked.
 *
 * A failure writes one report, switches to the main fiber and leaves the other fibers where they
 * are: their stacks go with the machine.
 *
 * A kernel that was built to report its accesses to memory has a race checker: race.h.
 */
#ifndef MKC_CPU_MACHINE_H
#define MKC_CPU_MACHINE_H

#include "../base/buf.h"
#include "../base/error.h"
#include "asan.h"
#include "fiber.h"
#include "launch.h"
#include "smem.h"

/* Virtual memory; a thread touches a page or two of it (more under AddressSanitizer). */
enum { STACK_BYTES = 256 * 1024 };

enum { WARP = 32, MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / WARP, MAX_BARRIERS = 16 };

/* A cp.async in flight. */
struct copy {
  void *dst;
  const void *src;
  int bytes, src_bytes;
  long long group;
  bool landed; /* already done, only to be waited for */
  const struct tile_site *site;
  const void *pc; /* of the race checker */
};

struct thread {
  struct fiber fiber;
  struct block *block;
  int tid;
  bool done;
  const struct tile_site *site; /* where it waits; NULL: nowhere */
  void *post;                   /* what it brings to its warp's operation, on its own stack */
  struct copy *copies;          /* in flight, oldest first; owned */
  int ncopies, copies_cap;
  long long group; /* of the next copy */
};

struct warp {
  int arrived;
  const struct tile_site *site; /* of the operation that gathers */
};

struct barrier {
  int arrived, need; /* threads */
  unsigned warps;    /* that have arrived, a bit each */
};

/* A place for a block, and the block that is there. */
struct block {
  long long index;        /* of the block in the launch */
  struct thread *threads; /* the machine's nthreads of them */
  int done;               /* of them */
  struct warp warps[MAX_WARPS];
  struct barrier barriers[MAX_BARRIERS];
  struct smem smem;
  struct race_block *race; /* NULL: the kernel does not report its accesses */
};

struct machine {
  const struct tile_kernel *kernel;
  const void *args;
  struct launch_options options;
  unsigned long long random; /* state of the schedule's and the copies' dice */
  struct asan asan;

  struct fiber main;
  char *stacks; /* of all threads, as those lie in threads */
  size_t stacks_bytes;
  size_t stack_guard;     /* bytes below each that cannot be touched */
  struct thread *threads; /* of the first place, of the second, and so on */
  int nthreads;           /* of a block */
  struct block *blocks;   /* the places; nblocks of them */
  int nblocks;

  struct thread *self;   /* who runs */
  struct block *block;   /* of self */
  struct thread **queue; /* a ring of those who could, with room for all: a power of 2 */
  unsigned queue_mask, queue_first, queued;
  struct race *race; /* NULL: the kernel does not report its accesses */

  bool failed;
  bool running;                      /* fibers; not the launch's own code */
  volatile unsigned long long waits; /* so far, of all threads, ends included */

  /* watch.c, in a signal handler */
  unsigned long long waits_at_tick;
  bool stopped;
  const void *stopped_at;

  struct buf report;
};

struct machine *machine_current(void);

/* ---- block.c ---- */

/* The place's threads and the machine's nthreads are set. False: out of memory. */
bool block_init(struct machine *m, struct block *b, size_t smem_bytes);
void block_finish(struct machine *m, struct block *b);

void block_begin(struct machine *m, struct block *b, long long index); /* its threads could run */
bool block_ended(const struct machine *m, const struct block *b);
void block_check(struct machine *m, const struct block *b); /* at its end; may fail the machine */

/* ---- sched.c ---- */

void thread_wake(struct machine *m, struct thread *t);
void thread_wait(struct machine *m, const struct tile_site *site); /* until another wakes it */
struct fiber *next_fiber(struct machine *m); /* of the queue; NULL: it is empty */

/* Gathers a warp: the first 31 lanes wait and return false once the last has done the work and
 * called warp_release; the last returns true at once. post is the lane's operand or NULL. */
bool warp_gather(struct machine *m, void *post, const struct tile_site *site);
void warp_release(struct machine *m);
struct thread *warp_lane(const struct machine *m, int lane);

/* Report and leave the kernel for good. site may be NULL. */
_Noreturn void machine_fail(struct machine *m, const struct tile_site *site, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void machine_leave(struct machine *m); /* without a report */
void machine_report_deadlock(struct machine *m); /* for the main fiber; it goes on */

unsigned machine_dice(struct machine *m, unsigned sides);

/* The vocabulary's functions. */
int host_tid(void);
long long host_block(void);
void host_barrier(int id, int threads, const struct tile_site *at);
void host_warp_sync(const struct tile_site *at);
void host_misaligned(const void *p, int align, const struct tile_site *at);

/* ---- sm80.c ---- */

float host_shuffle(float x, int kind, int arg, const struct tile_site *at);
struct tile_matrices host_ldmatrix(const void *row, int trans, const struct tile_site *at);
struct tile_accumulator host_mma_bf16(struct tile_mma fragments, const struct tile_site *at);
struct tile_accumulator host_mma_f16(struct tile_mma fragments, const struct tile_site *at);
struct tile_accumulator host_mma_f32(struct tile_mma_f32 fragments, const struct tile_site *at);
void host_cp_async(void *dst, const void *src, int bytes, int src_bytes,
                   const struct tile_site *at);
void host_cp_async_commit(void);
void host_cp_async_wait(int groups, const struct tile_site *at);

/* ---- smem.c ---- */

void *host_smem_array(unsigned long long offset, unsigned long long count,
                      unsigned long long element_bytes, const char *name,
                      const struct tile_site *at);
void host_smem_begin(unsigned long long bytes, const struct tile_site *at);

/* ---- race.c ---- */

void host_access(const void *p, unsigned long long bytes, int write, const void *pc);

#endif
