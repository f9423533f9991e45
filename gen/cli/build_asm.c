/* SPDX-License-Identifier: MIT
 * build_asm.c - a pack as assembler source, so that any project links it in without a step of its
 * own: assemblers take megabytes of numbers in a second, C compilers do not. The bytes are in the
 * text, not in a file that it names, so that it can be moved. ELF, little-endian.
 */
#include "build.h"

#include "../../runtime/pack_format.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { NUMBERS_A_LINE = 6 };

const char *build_asm_name(struct cli *cli, const char *path) {
  const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
  char *name = arena_printf(&cli->arena, "%s%s", isdigit((unsigned char)*base) ? "_" : "", base);
  char *end = strrchr(name, '.');
  if (end && end > name) *end = 0;
  for (char *p = name; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  return name;
}

/* Eight bytes a number, and the last ones by themselves. */
static void put_bytes(struct buf *out, const unsigned char *data, size_t len) {
  size_t i = 0;
  for (int n = 0; i + 8 <= len; i += 8, n++)
    buf_printf(out, "%s0x%" PRIx64, n % NUMBERS_A_LINE ? "," : "\n.quad ", pack_get(data + i, 8));
  for (; i < len; i++) buf_printf(out, "\n.byte %d", data[i]);
  buf_puts(out, "\n");
}

void build_asm(const struct buf *pack, const char *name, struct buf *out, struct buf *header) {
  buf_printf(out,
             "/* A pack of maskc " MKC_VERSION_STRING ", by `maskc build --emit=asm`. */\n"
             ".section .rodata\n.balign %d\n.globl %s\n.type %s, %%object\n.size %s, %zu\n%s:",
             PACK_ALIGN, name, name, name, pack->len, name);
  put_bytes(out, (const unsigned char *)pack->data, pack->len);
  buf_puts(out, ".section .note.GNU-stack,\"\",%progbits\n");
  buf_printf(header,
             "/* A pack of maskc " MKC_VERSION_STRING ", by `maskc build --emit=asm`:\n"
             " *   mkc_context_add_pack_memory(context, %s, sizeof %s);\n */\n"
             "#ifdef __cplusplus\nextern \"C\"\n#else\nextern\n#endif\n"
             "const unsigned char %s[%zu];\n",
             name, name, name, pack->len);
}
