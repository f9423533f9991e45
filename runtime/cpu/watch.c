/* SPDX-License-Identifier: MIT
 * watch.c - see watch.h.
 *
 * The signal comes while the kernel runs on a fiber's stack; the handler leaves the kernel from
 * there and never returns, so the signal stays blocked until watch_start is called again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "watch.h"

#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <ucontext.h>

#include "symbol.h"

static const void *interrupted_at(const ucontext_t *context) {
#if defined(__x86_64__)
  return (const void *)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  return (const void *)context->uc_mcontext.pc;
#else
  (void)context;
  return NULL;
#endif
}

/* Nothing has waited since the last tick. */
static void tick(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  struct machine *m = machine_current();
  if (!m || !m->running) return;
  if (m->waits != m->waits_at_tick) {
    m->waits_at_tick = m->waits;
    return;
  }
  m->stopped_at = interrupted_at(context);
  m->stopped = true;
  machine_leave(m);
}

static void set_timer(int seconds) {
  const struct itimerval timer = {.it_interval = {.tv_sec = seconds},
                                  .it_value = {.tv_sec = seconds}};
  setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

void watch_start(int seconds) {
  struct sigaction action = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigset_t set;
  sigemptyset(&action.sa_mask);
  sigaction(SIGVTALRM, &action, NULL);
  sigemptyset(&set);
  sigaddset(&set, SIGVTALRM);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  set_timer(seconds);
}

void watch_stop(void) {
  set_timer(0);
}

void watch_report(const struct machine *m, struct buf *out) {
  symbol_print((const char *)m->stopped_at + 1, out); /* the instruction's own line */
  buf_printf(out, ": endless loop: thread %d computes and does not wait (block %lld)", m->self->tid,
             m->block->index);
}
