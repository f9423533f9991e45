/* SPDX-License-Identifier: MIT
 * pack_write.h - builds a pack in memory: specs, ops and their codes in, the bytes of the file out.
 *
 * The same ops give the same bytes, in whichever order they are added. What several codes share, as
 * a source text, is stored once.
 *
 *   struct pack_writer *w = pack_writer_create();
 *   int spec = pack_writer_spec(w, "simple_gla", digest, NULL, 0);
 *   pack_writer_code(w, &op, PACK_CUBIN, &source, cubin, len);
 *   pack_writer_write(w, 13000, &out, err);
 *   pack_writer_destroy(w);
 */
#ifndef MKC_PACK_WRITE_H
#define MKC_PACK_WRITE_H

#include "pack.h"

struct pack_writer;

struct pack_writer *pack_writer_create(void); /* NULL: out of memory */
void pack_writer_destroy(struct pack_writer *w);

/* The spec's index; the same name, digest and options give the same one. -1: out of memory. */
int pack_writer_spec(struct pack_writer *w, const char *name, const unsigned char *digest,
                     const struct pack_option *options, int noptions);

/* One code of an op: op->entry is not used, op->align 0 stands for 16. The text of the source is
 * stored without its #line directives, so that no path of the builder's is in the pack. All is
 * copied. A code of the same op, architecture and kind as one before is ignored. Errors:
 * MKC_E_OUT_OF_MEMORY. */
mkc_status pack_writer_code(struct pack_writer *w, const struct pack_op *op, enum pack_kind kind,
                            const struct op_source *source, const void *code, size_t code_bytes,
                            struct error *err);

/* Once a writer. nvrtc: 1000 * major + 10 * minor of what compiled, 0 if nothing was. Appends to
 * out. */
mkc_status pack_writer_write(struct pack_writer *w, int nvrtc, struct buf *out, struct error *err);

#endif
