/* SPDX-License-Identifier: MIT
 * replay.c - main() where there is no libFuzzer: runs a target on files, so that any compiler's
 * build tests what fuzzing has found.
 *
 *   fuzz_npy FILE|FOLDER...      a folder stands for the files in it
 */
#define _XOPEN_SOURCE 700
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int inputs;

/* A copy of the exact size, so that a sanitizer sees the first byte beyond. */
static int replay_file(const char *path) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  if (!f || fstat(fileno(f), &st) != 0) {
    perror(path);
    return 1;
  }
  const size_t size = (size_t)st.st_size;
  uint8_t *data = malloc(size ? size : 1);
  const int whole = data && fread(data, 1, size, f) == size;
  fclose(f);
  if (whole) LLVMFuzzerTestOneInput(data, size);
  free(data);
  inputs += whole;
  if (!whole) fprintf(stderr, "%s: cannot be read\n", path);
  return !whole;
}

static int replay_folder(const char *path, DIR *folder) {
  int failed = 0;
  for (struct dirent *e; (e = readdir(folder));) {
    char file[4096];
    if (e->d_name[0] == '.') continue;
    const int n = snprintf(file, sizeof file, "%s/%s", path, e->d_name);
    failed += n < 0 || (size_t)n >= sizeof file || replay_file(file);
  }
  return failed;
}

int main(int argc, char **argv) {
  int failed = 0;
  for (int i = 1; i < argc; i++) {
    DIR *folder = opendir(argv[i]);
    failed += folder ? replay_folder(argv[i], folder) : replay_file(argv[i]);
    if (folder) closedir(folder);
  }
  printf("%d inputs\n", inputs);
  return failed || !inputs;
}
