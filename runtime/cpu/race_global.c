/* SPDX-License-Identifier: MIT
 * race_global.c - the race checker's memory of what a launch has written to global memory; see
 * race.h.
 *
 * A page remembers 4 KiB, in a hash table by address: about eight times the launch's outputs.
 */
#include <stdint.h>
#include <stdlib.h>

#include "guard.h"
#include "race.h"

enum { PAGE_BYTES = 4096, WORD_BYTES = 2, PAGE_WORDS = PAGE_BYTES / WORD_BYTES, FIRST_PAGES = 64 };

struct word {
  struct access write;
  unsigned block; /* that wrote, its number */
};

struct race_page {
  uintptr_t number; /* address / PAGE_BYTES */
  struct word words[PAGE_WORDS];
};

void race_global_destroy(struct race *r) {
  for (size_t i = 0; i < r->pages_cap; i++) free(r->pages[i]);
  free(r->pages);
}

/* ---- the table ---- */

/* Where the page is, or would be. */
static struct race_page **slot(const struct race *r, uintptr_t number) {
  size_t i = (size_t)((uint64_t)number * 0x9E3779B97F4A7C15u >> 32) & (r->pages_cap - 1);
  while (r->pages[i] && r->pages[i]->number != number) i = (i + 1) & (r->pages_cap - 1);
  return &r->pages[i];
}

static bool grow(struct race *r) {
  const struct race old = *r;
  r->pages_cap = old.pages_cap ? 2 * old.pages_cap : FIRST_PAGES;
  r->pages = calloc(r->pages_cap, sizeof *r->pages);
  if (!r->pages) {
    *r = old;
    return false;
  }
  for (size_t i = 0; i < old.pages_cap; i++)
    if (old.pages[i]) *slot(r, old.pages[i]->number) = old.pages[i];
  free(old.pages);
  return true;
}

static struct race_page *find_page(const struct race *r, uintptr_t number) {
  return r->pages_cap ? *slot(r, number) : NULL;
}

/* NULL: out of memory. */
static struct race_page *make_page(struct race *r, uintptr_t number) {
  struct race_page *page = find_page(r, number);
  if (page) return page;
  if (4 * r->npages >= 3 * r->pages_cap && !grow(r)) return NULL;
  page = calloc(1, sizeof *page);
  if (!page) return NULL;
  page->number = number;
  *slot(r, number) = page;
  r->npages++;
  return page;
}

/* ---- accesses ---- */

static void check(struct machine *m, const struct word *w, const void *address, bool write,
                  const struct access *now) {
  const struct race_block *block = m->block->race;
  if (!w->block) return;
  if (w->block != block->number) {
    struct conflict *c = race_found(m, CONFLICT_BLOCK, address, now, write, &w->write);
    if (c) c->block_before = w->block - 1;
  } else if (!race_ordered(block, &w->write, now->thread)) {
    race_found(m, CONFLICT_WRITE, address, now, write, &w->write);
  }
}

void race_global_access(struct machine *m, const char *p, size_t bytes, bool write,
                        const struct access *now) {
  if (m->options.guard) {
    const enum guard_place place = guard_look(m->options.guard, p, bytes);
    if (place == GUARD_ELSEWHERE && !write) return; /* the kernel's arguments, a constant */
    if (place != GUARD_ARRAY) race_fail(m, CONFLICT_STRAY, p, now, write);
  }
  const uintptr_t end = (uintptr_t)p + bytes;
  struct race_page *page = NULL;
  for (uintptr_t at = (uintptr_t)p; at < end; at += WORD_BYTES) {
    const uintptr_t number = at / PAGE_BYTES;
    if (!page || page->number != number)
      page = write ? make_page(m->race, number) : find_page(m->race, number);
    if (!page && write) machine_fail(m, NULL, "out of memory for the race checker");
    if (!page) continue;
    struct word *w = &page->words[at % PAGE_BYTES / WORD_BYTES];
    check(m, w, (const void *)at, write, now);
    if (write) *w = (struct word){*now, m->block->race->number};
  }
}
