/* SPDX-License-Identifier: MIT
 * nvrtc_find.c - which libnvrtc this machine has, without opening it where that can be helped.
 *
 * The identity is the ELF build id, which changes with every build of the library; a copy without
 * one is hashed whole.
 */
#define _GNU_SOURCE /* secure_getenv, dlinfo */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "nvrtc.h"

#ifndef MKC_NVRTC_DIR
#define MKC_NVRTC_DIR ""
#endif

static const char *const file_names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};

const char nvrtc_how_to_get_it[] =
    "NVRTC comes with the CUDA toolkit, or alone: pip install nvidia-cuda-nvrtc, apt install "
    "libnvrtc12. Name its file or directory in MASKC_NVRTC_PATH if it is in an unusual place";

static bool is_file(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool join(char *ret, size_t size, const char *dir, const char *name) {
  const int n = snprintf(ret, size, "%s/%s", dir, name);
  return n > 0 && (size_t)n < size;
}

static bool find_in(const char *dir, struct nvrtc_location *ret) {
  if (!dir || !*dir) return false;
  for (int i = 0; file_names[i]; i++)
    if (join(ret->path, sizeof ret->path, dir, file_names[i]) && is_file(ret->path)) return true;
  return false;
}

/* A toolkit's root, in the layouts that toolkits have. */
static bool find_in_toolkit(const char *root, struct nvrtc_location *ret) {
  static const char *const subdirs[] = {
      "lib64", "lib/x86_64-linux-gnu", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "lib",
      NULL};
  if (!root || !*root) return false;
  for (int i = 0; subdirs[i]; i++) {
    char dir[sizeof ret->path];
    if (join(dir, sizeof dir, root, subdirs[i]) && find_in(dir, ret)) return true;
  }
  return false;
}

/* A list of directories with colons between. */
static bool find_in_list(const char *list, struct nvrtc_location *ret) {
  while (list && *list) {
    const size_t n = strcspn(list, ":");
    char dir[sizeof ret->path];
    if (n > 0 && n < sizeof dir) {
      memcpy(dir, list, n);
      dir[n] = 0;
      if (find_in(dir, ret)) return true;
    }
    list += n + (list[n] == ':');
  }
  return false;
}

/* Only the loader knows its own cache, so here, at last, the library is opened to be found. */
static bool find_by_loader(struct nvrtc_location *ret) {
  for (int i = 0; file_names[i]; i++) {
    void *library = dlopen(file_names[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) continue;
    struct link_map *map = NULL;
    const bool found = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name[0] == '/';
    if (found) snprintf(ret->path, sizeof ret->path, "%s", map->l_name);
    dlclose(library);
    if (found) return true;
  }
  return false;
}

static mkc_status find_named(const char *named, struct nvrtc_location *ret, struct error *err) {
  if (is_directory(named)) {
    if (find_in(named, ret)) return MKC_OK;
    return error_set(err, MKC_E_NO_NVRTC,
                     "no NVRTC: MASKC_NVRTC_PATH=%s holds no libnvrtc.so.13, libnvrtc.so.12 or "
                     "libnvrtc.so. %s",
                     named, nvrtc_how_to_get_it);
  }
  if (!is_file(named))
    return error_set(err, MKC_E_NO_NVRTC, "no NVRTC: MASKC_NVRTC_PATH=%s: %s. %s", named,
                     errno ? strerror(errno) : "not a file", nvrtc_how_to_get_it);
  snprintf(ret->path, sizeof ret->path, "%s", named);
  return MKC_OK;
}

static mkc_status find_anywhere(struct nvrtc_location *ret, struct error *err) {
  if (find_in(MKC_NVRTC_DIR, ret) || find_in_toolkit(secure_getenv("CUDA_HOME"), ret) ||
      find_in_toolkit(secure_getenv("CUDA_PATH"), ret) || find_in_toolkit("/usr/local/cuda", ret) ||
      find_in_list(secure_getenv("LD_LIBRARY_PATH"), ret) ||
      find_in_list("/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu:/usr/lib64", ret) ||
      find_by_loader(ret))
    return MKC_OK;
  return error_set(err, MKC_E_NO_NVRTC,
                   "no NVRTC: libnvrtc.so (13 or 12) is in none of CUDA_HOME, CUDA_PATH, "
                   "/usr/local/cuda, LD_LIBRARY_PATH and the system's library directories. %s",
                   nvrtc_how_to_get_it);
}

/* ---- identity ---- */

enum { MAX_NOTES_BYTES = 1 << 16 };

/* The build id among the notes of one segment: name size, desc size, type, name, desc, each padded
 * to 4 bytes. */
static bool build_id_in_notes(const unsigned char *p, size_t len, char ret[65]) {
  while (len >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    memcpy(&note, p, sizeof note);
    const size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3;
    const size_t desc = ((size_t)note.n_descsz + 3) & ~(size_t)3;
    if (name + desc > len - sizeof note) return false;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        !memcmp(p + sizeof note, "GNU", 4) && note.n_descsz >= 8 && note.n_descsz <= 32) {
      for (size_t i = 0; i < note.n_descsz; i++)
        snprintf(ret + 2 * i, 3, "%02x", p[sizeof note + name + i]);
      return true;
    }
    p += sizeof note + name + desc;
    len -= sizeof note + name + desc;
  }
  return false;
}

static bool build_id_in_segment(int fd, const ElfW(Phdr) * segment, char ret[65]) {
  if (segment->p_type != PT_NOTE || segment->p_filesz > MAX_NOTES_BYTES) return false;
  unsigned char *notes = malloc(segment->p_filesz + 1);
  if (!notes) return false;
  const ssize_t n = pread(fd, notes, segment->p_filesz, (off_t)segment->p_offset);
  const bool found = n > 0 && build_id_in_notes(notes, (size_t)n, ret);
  free(notes);
  return found;
}

static bool build_id(int fd, char ret[65]) {
  ElfW(Ehdr) head;
  if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head) return false;
  if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_phentsize != sizeof(ElfW(Phdr)))
    return false;
  for (unsigned i = 0; i < head.e_phnum; i++) {
    ElfW(Phdr) segment;
    const off_t at = (off_t)(head.e_phoff + i * sizeof segment);
    if (pread(fd, &segment, sizeof segment, at) != (ssize_t)sizeof segment) return false;
    if (build_id_in_segment(fd, &segment, ret)) return true;
  }
  return false;
}

static bool digest_of(int fd, char ret[65]) {
  struct sha256 hash;
  unsigned char block[1 << 14], digest[SHA256_BYTES];
  ssize_t n;
  sha256_init(&hash);
  for (off_t at = 0; (n = pread(fd, block, sizeof block, at)) > 0; at += n)
    sha256_update(&hash, block, (size_t)n);
  sha256_finish(&hash, digest);
  sha256_hex(digest, ret);
  return n == 0;
}

static mkc_status identify(struct nvrtc_location *ret, struct error *err) {
  const int fd = open(ret->path, O_RDONLY | O_CLOEXEC);
  const bool ok = fd >= 0 && (build_id(fd, ret->identity) || digest_of(fd, ret->identity));
  if (!ok)
    error_set(err, MKC_E_NO_NVRTC, "NVRTC cannot be read: %s: %s", ret->path, strerror(errno));
  if (fd >= 0) close(fd);
  return ok ? MKC_OK : MKC_E_NO_NVRTC;
}

mkc_status nvrtc_locate(struct nvrtc_location *ret, struct error *err) {
  *ret = (struct nvrtc_location){0};
  const char *named = secure_getenv("MASKC_NVRTC_PATH");
  errno = 0;
  const mkc_status st = named && *named ? find_named(named, ret, err) : find_anywhere(ret, err);
  return st ? st : identify(ret, err);
}
