/* SPDX-License-Identifier: MIT
 * fiber.h - a stack that can be left and returned to. Nothing else: who runs next is sched.c's.
 *
 * x86-64 and aarch64 switch in a dozen instructions; anything else, or -DMKC_FIBER_UCONTEXT, uses
 * ucontext (some 70 times slower: two system calls a switch).
 */
#ifndef MKC_CPU_FIBER_H
#define MKC_CPU_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include "asan.h"

#if !defined(MKC_FIBER_UCONTEXT) && \
    !(defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)))
#define MKC_FIBER_UCONTEXT
#endif
#ifdef MKC_FIBER_UCONTEXT
#include <ucontext.h>
#endif

struct fiber {
#ifdef MKC_FIBER_UCONTEXT
  ucontext_t context;
#else
  void *sp; /* while it is not running */
#endif
  const char *stack; /* its lowest byte; NULL for the thread's own stack until it is known */
  size_t stack_bytes;
  void *fake_stack; /* AddressSanitizer's */
};

/* f will run entry() on this stack when it is first switched to. entry must not return, and must
 * begin with fiber_arrive. */
void fiber_init(struct fiber *f, char *stack, size_t bytes, void (*entry)(void),
                const struct asan *asan);

/* ends: `from` will never run again. */
void fiber_switch(struct fiber *from, struct fiber *to, bool ends, const struct asan *asan);

/* The first thing on a new fiber. from: the fiber that switched to it, whose stack it learns; NULL
 * when that is known. */
void fiber_arrive(struct fiber *from, const struct asan *asan);

#endif
