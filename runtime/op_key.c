/* SPDX-License-Identifier: MIT
 * op_key.c - see op_key.h.
 */
#include "op_key.h"

#include <string.h>

/* A field that is added to the options decides what an op is: it belongs into op_key_of. */
_Static_assert(offsetof(mkc_op_options, heads) + sizeof(int) == sizeof(mkc_op_options),
               "the options have a field that is not in their key");

/* FNV-1a */
static uint64_t mix(uint64_t hash, const char *s) {
  if (!s) return hash + 1;
  for (; *s; s++) hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
  return hash;
}

void op_key_of(const mkc_op_options *o, const char *text, size_t text_len, struct op_key *ret) {
  *ret = (struct op_key){.numbers = {o->pass, o->dtype, o->dk, o->dv, o->chunk, o->check, o->align,
                                     o->nsettings, o->heads},
                         .path = o->spec_path,
                         .device = o->device,
                         .arch = o->arch,
                         .text = text,
                         .text_len = text_len,
                         .settings = o->settings,
                         .nsettings = o->settings ? o->nsettings : 0};
  uint64_t hash = mix(mix(mix(0xcbf29ce484222325u, o->spec_path), o->device), o->arch);
  for (int i = 0; i < OP_KEY_NUMBERS; i++) hash = hash * 31 + (unsigned)ret->numbers[i];
  ret->hash = (hash ^ hash >> 29) * 0x9e3779b97f4a7c15u ^ text_len;
}

static bool same_string(const char *a, const char *b) {
  return a && b ? !strcmp(a, b) : a == b;
}

static bool same_settings(const struct op_key *a, const struct op_key *b) {
  if (a->nsettings != b->nsettings) return false;
  for (int i = 0; i < a->nsettings; i++)
    if (a->settings[i].value != b->settings[i].value ||
        !same_string(a->settings[i].name, b->settings[i].name))
      return false;
  return true;
}

bool op_key_equal(const struct op_key *a, const struct op_key *b) {
  return a->hash == b->hash && !memcmp(a->numbers, b->numbers, sizeof a->numbers) &&
         same_string(a->path, b->path) && same_string(a->device, b->device) &&
         same_string(a->arch, b->arch) && !a->text == !b->text && a->text_len == b->text_len &&
         (!a->text || !memcmp(a->text, b->text, a->text_len)) && same_settings(a, b);
}

static bool copy_settings(const struct allocator *a, const struct op_key *key, struct op_key *ret) {
  if (key->nsettings < 1) return true;
  mkc_setting *list = alloc_zeroed(a, (size_t)key->nsettings * sizeof *list);
  ret->settings = list;
  if (!list) return false;
  for (int i = 0; i < key->nsettings; i++) {
    ret->nsettings = i + 1;
    list[i].value = key->settings[i].value;
    if (!key->settings[i].name) continue;
    list[i].name = alloc_strdup(a, key->settings[i].name);
    if (!list[i].name) return false;
  }
  return true;
}

static bool copy_string(const struct allocator *a, const char *s, const char **ret) {
  *ret = s ? alloc_strdup(a, s) : NULL;
  return !s || *ret;
}

bool op_key_copy(const struct allocator *a, const struct op_key *key, struct op_key *ret) {
  *ret = *key;
  ret->path = ret->device = ret->arch = ret->text = NULL;
  ret->settings = NULL;
  ret->nsettings = 0;
  bool copied = copy_string(a, key->path, &ret->path) &&
                copy_string(a, key->device, &ret->device) &&
                copy_string(a, key->arch, &ret->arch) && copy_settings(a, key, ret);
  if (copied && key->text) {
    ret->text = alloc_copy(a, key->text, key->text_len + 1);
    copied = ret->text != NULL;
  }
  if (!copied) op_key_finish(a, ret);
  return copied;
}

/* The types of the API lack what is owned here. */
static void free_const(const struct allocator *a, const void *block) {
  void *p;
  memcpy(&p, &block, sizeof p);
  alloc_free(a, p);
}

void op_key_finish(const struct allocator *a, struct op_key *key) {
  for (int i = 0; i < key->nsettings; i++) free_const(a, key->settings[i].name);
  free_const(a, key->settings);
  free_const(a, key->path);
  free_const(a, key->device);
  free_const(a, key->arch);
  free_const(a, key->text);
  *key = (struct op_key){0};
}
