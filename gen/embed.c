/* SPDX-License-Identifier: MIT
 * embed.c - a program of the build: turns files into a C table, so that the library carries them.
 *
 *   embed OUT.c ../specs/retnet.lua ../templates/tile.h
 *
 * writes OUT.c, which defines embedded_files[] and embedded_find() of gen.h. A file is named by its
 * folder and its own name, "specs/retnet.lua", wherever the build runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_A_LINE = 24 };

static void die(const char *what) {
  fprintf(stderr, "embed: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* embed_name("../a/specs/retnet.lua") is "specs/retnet.lua". */
static const char *embed_name(const char *path) {
  const char *name = path, *slash = NULL;
  for (const char *p = path; *p; p++) {
    if (*p != '/') continue;
    if (slash) name = slash + 1;
    slash = p;
  }
  return name;
}

/* One file's bytes as an array with a NUL at the end; returns how many without it. */
static size_t write_bytes(FILE *out, const char *path, int index) {
  FILE *in = fopen(path, "rb");
  if (!in) die(path);
  fprintf(out, "static const unsigned char file_%d[] = {", index);
  size_t n = 0;
  for (int c; (c = getc(in)) != EOF; n++) {
    fprintf(out, "%s%d,", n % BYTES_A_LINE ? "" : "\n", c);
  }
  if (ferror(in)) die(path);
  fclose(in);
  fputs("0};\n\n", out);
  return n;
}

static void write_table(FILE *out, char **paths, const size_t *sizes, int n) {
  fputs("const struct embedded_file embedded_files[] = {\n", out);
  for (int i = 0; i < n; i++) {
    fprintf(out, "    {\"%s\", (const char *)file_%d, %zu},\n", embed_name(paths[i]), i, sizes[i]);
  }
  fputs("    {NULL, NULL, 0},\n};\n\n"
        "const struct embedded_file *embedded_find(const char *name) {\n"
        "  for (const struct embedded_file *f = embedded_files; f->name; f++) {\n"
        "    if (strcmp(f->name, name) == 0) return f;\n"
        "  }\n"
        "  return NULL;\n"
        "}\n",
        out);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fputs("usage: embed OUT.c FILE...\n", stderr);
    return 2;
  }
  const int n = argc - 2;
  size_t *sizes = calloc((size_t)n + 1, sizeof *sizes);
  FILE *out = fopen(argv[1], "w");
  if (!out || !sizes) die(argv[1]);
  fputs("/* Written by gen/embed.c during the build. */\n#include \"gen.h\"\n\n#include "
        "<string.h>\n\n",
        out);
  for (int i = 0; i < n; i++) sizes[i] = write_bytes(out, argv[i + 2], i);
  write_table(out, argv + 2, sizes, n);
  if (ferror(out) || fclose(out)) die(argv[1]);
  free(sizes);
  return 0;
}
