/* SPDX-License-Identifier: MIT
 * pack_write.c - see pack_write.h.
 *
 * Blobs are collected as they come, each once (by digest). Writing sorts specs and codes, so that
 * neither the order of work nor the number of threads shows, lays out tables and records, and puts
 * the blobs behind them in the order in which records name them.
 */
#define _POSIX_C_SOURCE 200809L /* strdup */
#include "pack_write.h"

#include <stdlib.h>

struct blob {
  unsigned char digest[SHA256_BYTES];
  void *data;
  size_t bytes;
  uint64_t offset; /* 0: not placed yet */
};

struct spec {
  char name[PACK_NAME];
  unsigned char digest[SHA256_BYTES];
  struct pack_option *options; /* their names are owned */
  int noptions, index;         /* index: as given to the caller */
};

struct code {
  unsigned char entry[PACK_OP]; /* the op; OP_SPEC is final when written */
  int spec;                     /* as given to the caller */
  struct pack_code code;        /* its source owns a plan, and has no text */
  int text, compiled;           /* blobs; compiled -1: none */
};

struct pack_writer {
  struct buf blobs, specs, codes; /* of the structs above, one after the other */
  int nblobs, nspecs, ncodes;
};

static struct blob *blobs(const struct pack_writer *w) {
  return (void *)w->blobs.data;
}

static struct spec *specs(const struct pack_writer *w) {
  return (void *)w->specs.data;
}

static struct code *codes(const struct pack_writer *w) {
  return (void *)w->codes.data;
}

struct pack_writer *pack_writer_create(void) {
  return calloc(1, sizeof(struct pack_writer));
}

static void spec_finish(struct spec *s) {
  for (int i = 0; i < s->noptions; i++) free((void *)(uintptr_t)s->options[i].name);
  free(s->options);
}

void pack_writer_destroy(struct pack_writer *w) {
  if (!w) return;
  for (int i = 0; i < w->nblobs; i++) free(blobs(w)[i].data);
  for (int i = 0; i < w->nspecs; i++) spec_finish(&specs(w)[i]);
  for (int i = 0; i < w->ncodes; i++) op_source_finish(&codes(w)[i].code.source);
  buf_finish(&w->blobs);
  buf_finish(&w->specs);
  buf_finish(&w->codes);
  free(w);
}

static mkc_status no_memory(struct error *err) {
  return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while writing a pack");
}

/* ---- specs ---- */

static int compare_options(const struct spec *a, const struct spec *b) {
  if (a->noptions != b->noptions) return a->noptions < b->noptions ? -1 : 1;
  for (int i = 0; i < a->noptions; i++) {
    const int order = strcmp(a->options[i].name, b->options[i].name);
    if (order) return order;
    if (a->options[i].value != b->options[i].value)
      return a->options[i].value < b->options[i].value ? -1 : 1;
  }
  return 0;
}

static int compare_specs(const void *x, const void *y) {
  const struct spec *a = x, *b = y;
  int order = strcmp(a->name, b->name);
  if (!order) order = compare_options(a, b);
  return order ? order : memcmp(a->digest, b->digest, sizeof a->digest);
}

static bool copy_options(struct spec *s, const struct pack_option *options, int n) {
  s->options = calloc((size_t)n + 1, sizeof *s->options);
  for (int i = 0; i < n && s->options; i++) {
    char *name = calloc(1, PACK_NAME);
    if (!name) return false;
    strncpy(name, options[i].name, PACK_NAME - 1);
    s->options[s->noptions++] =
        (struct pack_option){name, options[i].value, options[i].default_value};
  }
  return s->options != NULL;
}

int pack_writer_spec(struct pack_writer *w, const char *name, const unsigned char *digest,
                     const struct pack_option *options, int noptions) {
  struct spec s = {.index = w->nspecs};
  strncpy(s.name, name, sizeof s.name - 1);
  memcpy(s.digest, digest, sizeof s.digest);
  const bool whole = copy_options(&s, options, noptions);
  int same = 0;
  while (whole && same < w->nspecs && compare_specs(&s, &specs(w)[same]) != 0) same++;
  if (whole && same == w->nspecs) buf_write(&w->specs, &s, sizeof s);
  if (!whole || w->specs.failed || same < w->nspecs) {
    spec_finish(&s);
    return whole && !w->specs.failed ? same : -1;
  }
  return w->nspecs++; /* NOLINT(clang-analyzer-unix.Malloc): w->specs has s.options now */
}

/* ---- blobs and codes ---- */

/* Its index, or -1: out of memory. */
static int add_blob(struct pack_writer *w, const void *data, size_t bytes) {
  struct blob b = {.bytes = bytes};
  sha256(data, bytes, b.digest);
  for (int i = 0; i < w->nblobs; i++)
    if (memcmp(blobs(w)[i].digest, b.digest, sizeof b.digest) == 0) return i;
  b.data = malloc(bytes + 1);
  if (!b.data) return -1;
  memcpy(b.data, data, bytes);
  buf_write(&w->blobs, &b, sizeof b);
  if (!w->blobs.failed) return w->nblobs++;
  free(b.data);
  return -1;
}

static void make_entry(const struct pack_op *op, unsigned char *ret) {
  memset(ret, 0, PACK_OP);
  pack_put(ret + OP_PASS, (uint64_t)op->pass, 1);
  pack_put(ret + OP_DTYPE, (uint64_t)op->dtype, 1);
  pack_put(ret + OP_ALIGN, (uint64_t)(op->align ? op->align : 16), 1);
  pack_put(ret + OP_DK, (uint64_t)op->dk, 4);
  pack_put(ret + OP_DV, (uint64_t)op->dv, 4);
  pack_put(ret + OP_CHUNK, (uint64_t)op->chunk, 4);
}

static bool same_code(const struct code *a, const struct code *b) {
  return a->spec == b->spec && memcmp(a->entry, b->entry, PACK_OP) == 0 &&
         a->code.kind == b->code.kind && !strcmp(a->code.source.arch, b->code.source.arch);
}

static mkc_status add_blobs(struct pack_writer *w, struct code *c, const struct op_source *source,
                            const void *code, size_t code_bytes, struct error *err) {
  char *text = op_source_plain(source);
  c->text = text ? add_blob(w, text, strlen(text)) : -1;
  free(text);
  c->compiled = code ? add_blob(w, code, code_bytes) : -1;
  return c->text < 0 || (code && c->compiled < 0) ? no_memory(err) : MKC_OK;
}

mkc_status pack_writer_code(struct pack_writer *w, const struct pack_op *op, enum pack_kind kind,
                            const struct op_source *source, const void *code, size_t code_bytes,
                            struct error *err) {
  struct code c = {.spec = op->spec, .code = {.kind = kind, .source = *source}};
  make_entry(op, c.entry);
  for (int i = 0; i < w->ncodes; i++)
    if (same_code(&c, &codes(w)[i])) return MKC_OK;
  const mkc_status st = add_blobs(w, &c, source, code, code_bytes, err);
  if (st) return st;
  c.code.source.text = NULL;
  c.code.source.plan = strdup(source->plan ? source->plan : "");
  if (c.code.source.plan) buf_write(&w->codes, &c, sizeof c);
  if (c.code.source.plan && !w->codes.failed) {
    w->ncodes++;
    return MKC_OK;
  }
  free(c.code.source.plan);
  return no_memory(err);
}

/* ---- writing ---- */

static int compare_codes(const void *x, const void *y) {
  const struct code *a = x, *b = y;
  int order = pack_op_compare(a->entry, b->entry);
  if (!order) order = strcmp(a->code.source.arch, b->code.source.arch);
  return order ? order : (int)a->code.kind - (int)b->code.kind;
}

/* Everything into its final order. */
static mkc_status sort(struct pack_writer *w, struct error *err) {
  int *place = calloc((size_t)w->nspecs + 1, sizeof *place);
  if (!place) return no_memory(err);
  if (w->nspecs) qsort(specs(w), (size_t)w->nspecs, sizeof *specs(w), compare_specs);
  for (int i = 0; i < w->nspecs; i++) place[specs(w)[i].index] = i;
  for (int i = 0; i < w->ncodes; i++)
    pack_put(codes(w)[i].entry + OP_SPEC, (uint64_t)place[codes(w)[i].spec], 4);
  free(place);
  if (w->ncodes) qsort(codes(w), (size_t)w->ncodes, sizeof *codes(w), compare_codes);
  return MKC_OK;
}

/* How many codes from this one on belong to its op. */
static int codes_of_op(const struct pack_writer *w, int first) {
  int n = 1;
  while (first + n < w->ncodes &&
         pack_op_compare(codes(w)[first].entry, codes(w)[first + n].entry) == 0)
    n++;
  return n;
}

struct layout {
  struct pack_writer *writer;
  struct buf *out;
  size_t start; /* of the pack in out */
  int nops, noptions;
};

static uint64_t here(const struct layout *l) {
  return l->out->len - l->start;
}

static void fill(struct layout *l, uint64_t to) {
  static const char zeros[PACK_ALIGN];
  while (here(l) < to && !l->out->failed) {
    const uint64_t left = to - here(l);
    buf_write(l->out, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros);
  }
}

static void align(struct layout *l) {
  fill(l, (here(l) + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN);
}

static unsigned char *at(const struct layout *l, uint64_t offset) {
  return (unsigned char *)l->out->data + l->start + offset;
}

/* A place for the blob, after those that have one. */
static void place_blob(const struct pack_writer *w, int index, uint64_t *next,
                       struct pack_blob *ret) {
  *ret = (struct pack_blob){0};
  if (index < 0) return;
  struct blob *b = &blobs(w)[index];
  if (!b->offset) {
    b->offset = *next;
    *next = (*next + b->bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
  }
  ret->offset = b->offset;
  ret->bytes = b->bytes;
  memcpy(ret->digest, b->digest, sizeof ret->digest);
}

/* The record of the op whose codes these are, at the end of out, and in the op's entry. */
static void write_record(struct layout *l, int first, int n, unsigned char *entry) {
  const uint64_t offset = here(l);
  pack_record_begin(l->out, n);
  for (int i = first; i < first + n; i++) pack_record_add(l->out, &codes(l->writer)[i].code);
  pack_put(entry + OP_RECORD, offset, 8);
  pack_put(entry + OP_RECORD_BYTES, here(l) - offset, 8);
  if (!l->out->failed) sha256(at(l, offset), (size_t)(here(l) - offset), entry + OP_RECORD_DIGEST);
  align(l);
}

static void write_specs(struct layout *l) {
  const struct pack_writer *w = l->writer;
  for (int i = 0; i < w->nspecs; i++) {
    const struct spec *s = &specs(w)[i];
    unsigned char entry[PACK_SPEC] = {0};
    memcpy(entry + SPEC_NAME, s->name, sizeof s->name);
    memcpy(entry + SPEC_DIGEST, s->digest, sizeof s->digest);
    pack_put(entry + SPEC_OPTIONS, (uint64_t)l->noptions, 4);
    pack_put(entry + SPEC_NOPTIONS, (uint64_t)s->noptions, 4);
    buf_write(l->out, entry, sizeof entry);
    l->noptions += s->noptions;
  }
}

static void write_options(struct layout *l) {
  const struct pack_writer *w = l->writer;
  for (int i = 0; i < w->nspecs; i++)
    for (int j = 0; j < specs(w)[i].noptions; j++) {
      const struct pack_option *o = &specs(w)[i].options[j];
      unsigned char entry[PACK_OPTION] = {0};
      strncpy((char *)entry + OPTION_NAME, o->name, PACK_NAME - 1);
      pack_put(entry + OPTION_VALUE, (uint32_t)o->value, 4);
      pack_put(entry + OPTION_DEFAULT, (uint32_t)o->default_value, 4);
      buf_write(l->out, entry, sizeof entry);
    }
}

/* Records say where blobs lie, and the blobs lie behind the records: so the size of the records has
 * to be known first. It does not depend on what is in them. */
static uint64_t measure_records(const struct pack_writer *w, uint64_t at) {
  for (int i = 0, n; i < w->ncodes; i += n) {
    struct buf record = {0};
    n = codes_of_op(w, i);
    pack_record_begin(&record, n);
    for (int j = i; j < i + n; j++) pack_record_add(&record, &codes(w)[j].code);
    at = (at + record.len + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
    buf_finish(&record);
  }
  return at;
}

static void place_blobs(const struct pack_writer *w, uint64_t next) {
  for (int i = 0; i < w->nblobs; i++) blobs(w)[i].offset = 0;
  for (int i = 0; i < w->ncodes; i++) {
    place_blob(w, codes(w)[i].text, &next, &codes(w)[i].code.text);
    place_blob(w, codes(w)[i].compiled, &next, &codes(w)[i].code.code);
  }
}

/* The ops' entries, which are `table` bytes into the pack, and their records. */
static void write_records(struct layout *l, uint64_t table) {
  const struct pack_writer *w = l->writer;
  for (int i = 0, op = 0, n; i < w->ncodes; i += n, op++) {
    unsigned char entry[PACK_OP];
    n = codes_of_op(w, i);
    memcpy(entry, codes(w)[i].entry, sizeof entry);
    write_record(l, i, n, entry);
    if (!l->out->failed) memcpy(at(l, table + PACK_OP * (uint64_t)op), entry, sizeof entry);
  }
}

static int compare_offsets(const void *x, const void *y) {
  const struct blob *a = x, *b = y;
  return pack_compare(a->offset, b->offset);
}

/* The writer's codes name blobs by index no more. */
static void write_blobs(struct layout *l) {
  struct pack_writer *w = l->writer;
  if (w->nblobs) qsort(blobs(w), (size_t)w->nblobs, sizeof *blobs(w), compare_offsets);
  for (int i = 0; i < w->nblobs; i++) {
    fill(l, blobs(w)[i].offset);
    buf_write(l->out, blobs(w)[i].data, blobs(w)[i].bytes);
  }
}

static void write_head(struct layout *l, int nvrtc, uint64_t tables) {
  unsigned char *head = at(l, 0);
  struct sha256 hash;
  memcpy(head + HEAD_MAGIC, PACK_MAGIC, PACK_MAGIC_BYTES);
  pack_put(head + HEAD_VERSION, PACK_VERSION, 4);
  pack_put(head + HEAD_FILE_BYTES, here(l), 8);
  pack_put(head + HEAD_SPECS, (uint64_t)l->writer->nspecs, 4);
  pack_put(head + HEAD_OPS, (uint64_t)l->nops, 4);
  pack_put(head + HEAD_OPTIONS, (uint64_t)l->noptions, 4);
  pack_put(head + HEAD_NVRTC, (uint64_t)nvrtc, 4);
  memcpy(head + HEAD_MASKC, MKC_VERSION_STRING, sizeof MKC_VERSION_STRING);
  sha256_init(&hash);
  sha256_update(&hash, head, HEAD_DIGEST);
  sha256_update(&hash, head + PACK_HEAD, (size_t)tables);
  sha256_finish(&hash, head + HEAD_DIGEST);
}

mkc_status pack_writer_write(struct pack_writer *w, int nvrtc, struct buf *out, struct error *err) {
  struct layout l = {.writer = w, .out = out, .start = out->len};
  const mkc_status st = sort(w, err);
  if (st) return st;
  for (int i = 0; i < w->ncodes; i += codes_of_op(w, i)) l.nops++;
  fill(&l, PACK_HEAD);
  write_specs(&l);
  const uint64_t ops = here(&l);
  fill(&l, ops + PACK_OP * (uint64_t)l.nops);
  write_options(&l);
  const uint64_t tables = here(&l) - PACK_HEAD;
  align(&l);
  place_blobs(w, measure_records(w, here(&l)));
  write_records(&l, ops);
  write_blobs(&l);
  if (out->failed) return no_memory(err);
  write_head(&l, nvrtc, tables);
  return MKC_OK;
}
