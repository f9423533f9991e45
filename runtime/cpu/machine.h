/* SPDX-License-Identifier: MIT
 * machine.h - one running launch on the CPU device: its blocks one after another, each thread of a
 * block a fiber.
 *
 *   launch.c  the struct's life; a block at a time; the threads' main
 *   sched.c   the run queue, the rendezvous of warps and blocks, reports
 *   smem.c    shared memory
 *   sm80.c    shuffles, ldmatrix, mma, asynchronous copies
 *   watch.c   stops a thread that never waits
 *
 * A machine belongs to the OS thread that launched it and to nothing else, so that launches run
 * concurrently; the functions that a kernel calls find theirs by machine_current. Fibers never
 * move between OS threads.
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

struct machine {
  const struct tile_kernel *kernel;
  const void *args;
  struct launch_options options;
  unsigned long long random; /* state of the schedule's and the copies' dice */
  struct asan asan;

  struct fiber main;
  char *stacks;
  size_t stacks_bytes;
  struct thread *threads; /* nthreads of them */
  int nthreads, done;
  long long block;

  struct thread *self;               /* who runs */
  struct thread *queue[MAX_THREADS]; /* a ring of those who could */
  int queue_first, queued;
  struct warp warps[MAX_WARPS];
  struct barrier barriers[MAX_BARRIERS];
  struct smem smem;
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

/* ---- sched.c ---- */

void thread_wake(struct machine *m, struct thread *t);
void thread_wait(struct machine *m, const struct tile_site *site); /* until another wakes it */
struct fiber *next_fiber(struct machine *m); /* of the queue; NULL: it is empty */

/* Gathers a warp: the first 31 lanes wait and return false once the last has done the work and
 * called warp_release; the last returns true at once. post is the lane's operand or NULL. */
bool warp_gather(struct machine *m, void *post, const struct tile_site *site);
void warp_release(struct machine *m);
struct thread *warp_lane(const struct machine *m, int lane);

void machine_reset_sync(struct machine *m); /* before a block */

/* Report and leave the kernel for good. site may be NULL. */
_Noreturn void machine_fail(struct machine *m, const struct tile_site *site, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void machine_fail_deadlock(struct machine *m);
_Noreturn void machine_leave(struct machine *m); /* without a report */

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
