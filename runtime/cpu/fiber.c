/* SPDX-License-Identifier: MIT
 * fiber.c - switches stacks, see fiber.h.
 */
#include "fiber.h"

#include <stdint.h>

#ifdef MKC_FIBER_UCONTEXT

static void prepare(struct fiber *f, char *stack, size_t bytes, void (*entry)(void)) {
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = stack;
  f->context.uc_stack.ss_size = bytes;
  f->context.uc_link = NULL;
  makecontext(&f->context, entry, 0);
}

static void switch_stacks(struct fiber *from, struct fiber *to) {
  swapcontext(&from->context, &to->context);
}

#else

/* Saves what a call preserves on the old stack and its pointer in *ret_from, takes the new stack,
 * restores. Returns there. */
void mkc_fiber_switch(void **ret_from, void *to) __attribute__((visibility("hidden")));

#if defined(__x86_64__)

enum { FRAME_WORDS = 8, RETURN_WORD = 6 }; /* r15 r14 r13 r12 rbx rbp, return address, 0 */

__asm__(".text\n"
        ".p2align 4\n"
        ".globl mkc_fiber_switch\n"
        ".hidden mkc_fiber_switch\n"
        ".type mkc_fiber_switch,@function\n"
        "mkc_fiber_switch:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size mkc_fiber_switch,.-mkc_fiber_switch\n");

#else /* aarch64 */

enum { FRAME_WORDS = 20, RETURN_WORD = 11 }; /* x19 ... x28, x29, x30, d8 ... d15 */

__asm__(".text\n"
        ".p2align 4\n"
        ".globl mkc_fiber_switch\n"
        ".hidden mkc_fiber_switch\n"
        ".type mkc_fiber_switch,%function\n"
        "mkc_fiber_switch:\n"
        "  stp x19, x20, [sp, #-160]!\n"
        "  stp x21, x22, [sp, #16]\n"
        "  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n"
        "  stp x27, x28, [sp, #64]\n"
        "  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n"
        "  stp d10, d11, [sp, #112]\n"
        "  stp d12, d13, [sp, #128]\n"
        "  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n"
        "  str x9, [x0]\n"
        "  mov sp, x1\n"
        "  ldp x21, x22, [sp, #16]\n"
        "  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n"
        "  ldp x27, x28, [sp, #64]\n"
        "  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n"
        "  ldp d10, d11, [sp, #112]\n"
        "  ldp d12, d13, [sp, #128]\n"
        "  ldp d14, d15, [sp, #144]\n"
        "  ldp x19, x20, [sp], #160\n"
        "  ret\n"
        ".size mkc_fiber_switch,.-mkc_fiber_switch\n");

#endif

/* A frame as mkc_fiber_switch leaves it, which returns to entry. */
static void prepare(struct fiber *f, char *stack, size_t bytes, void (*entry)(void)) {
  uintptr_t *frame = (uintptr_t *)((uintptr_t)(stack + bytes) & ~(uintptr_t)15) - FRAME_WORDS;
  for (int i = 0; i < FRAME_WORDS; i++) frame[i] = 0;
  frame[RETURN_WORD] = (uintptr_t)entry;
  f->sp = frame;
}

static void switch_stacks(struct fiber *from, struct fiber *to) {
  mkc_fiber_switch(&from->sp, to->sp);
}

#endif

void fiber_init(struct fiber *f, char *stack, size_t bytes, void (*entry)(void),
                const struct asan *asan) {
  /* What ran here before may have ended in a failure, with its red zones in place. */
  if (asan->unpoison) asan->unpoison(stack, bytes);
  f->stack = stack;
  f->stack_bytes = bytes;
  f->fake_stack = NULL;
  prepare(f, stack, bytes, entry);
}

void fiber_switch(struct fiber *from, struct fiber *to, bool ends, const struct asan *asan) {
  if (asan->start_switch)
    asan->start_switch(ends ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
  switch_stacks(from, to);
  if (asan->finish_switch) asan->finish_switch(from->fake_stack, NULL, NULL);
}

void fiber_arrive(struct fiber *from, const struct asan *asan) {
  if (!asan->finish_switch) return;
  const void *bottom;
  size_t bytes;
  asan->finish_switch(NULL, &bottom, &bytes);
  if (!from) return;
  from->stack = bottom;
  from->stack_bytes = bytes;
}
