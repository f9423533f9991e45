/* SPDX-License-Identifier: MIT
 * op.c - the life of an op: create (find, from a pack, or generate), prepare (compile and load,
 * once), launch, destroy.
 */
#include "op.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "context.h"
#include "device_info.h"
#include "options.h"

struct mkc_op {
  struct op_entry entry; /* first: the table of the context gives entries */
  mkc_context *ctx;
  const struct backend *backend;
  int device;
  mkc_check check;
  struct op_source source;
  pthread_mutex_t mutex;           /* one thread prepares */
  _Atomic(struct loaded *) loaded; /* NULL until prepared */
};

/* ---- create ---- */

static bool known_axes(const char *axes) {
  static const char *const known[] = {"C",     "BTHk", "BTHv", "BTHL",  "BTH",   "B",
                                      "H",     "Hk",   "Hv",   "HL",    "BHkv",  "BHk",
                                      "BSHkv", "NHkv", "NHk",  "NSHkv", "BTHkv", NULL};
  for (int i = 0; known[i]; i++)
    if (!strcmp(axes, known[i])) return true;
  return false;
}

/* What a generator or a pack must have got right; the rest of the runtime relies on it. */
static mkc_status check_source(const struct op_source *s, struct error *err) {
  const char *wrong = NULL;
  if (!s->text) wrong = "no text";
  if (s->narrays < 0 || s->narrays > OP_MAX_ARRAYS) wrong = "a wrong number of arrays";
  if (s->threads < 1 || s->threads > 1024 || s->smem_bytes < 0 || s->blocks_a_head < 1)
    wrong = "a wrong launch shape";
  for (int i = 0; !wrong && i < s->narrays; i++)
    if (!known_axes(s->arrays[i].axes) || (unsigned)s->arrays[i].dtype > MKC_I64)
      wrong = "an array of unknown axes or type";
  if (!wrong) return MKC_OK;
  return error_set(err, MKC_E_INTERNAL, "the op's source has %s", wrong);
}

static void free_op(mkc_op *op) {
  mkc_context *ctx = op->ctx;
  const struct allocator *a = context_allocator(ctx);
  pthread_mutex_destroy(&op->mutex);
  op_key_finish(a, &op->entry.key);
  alloc_free(a, op->source.text);
  alloc_free(a, op->source.plan);
  alloc_free(a, op);
  context_release(ctx);
}

/* With a copy of the source, in memory of the context. NULL: out of memory. */
static mkc_op *new_op(mkc_context *ctx, const struct op_source *source) {
  const struct allocator *a = context_allocator(ctx);
  mkc_op *op = alloc_zeroed(a, sizeof *op);
  if (!op) return NULL;
  op->ctx = context_retain(ctx);
  op->entry.references = 1;
  op->source = *source;
  op->source.text = alloc_strdup(a, source->text);
  op->source.plan = alloc_strdup(a, source->plan ? source->plan : "");
  pthread_mutex_init(&op->mutex, NULL);
  atomic_init(&op->loaded, NULL);
  if (op->source.text && op->source.plan) return op;
  free_op(op);
  return NULL;
}

mkc_status op_create_from_source(mkc_context *ctx, struct op_source *source,
                                 const struct backend *backend, int device, mkc_check check,
                                 mkc_op **ret, struct error *err) {
  *ret = NULL;
  const mkc_status st = check_source(source, err);
  mkc_op *op = st ? NULL : new_op(ctx, source);
  op_source_finish(source);
  if (!op) return st ? st : error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  op->backend = backend;
  op->device = device;
  op->check = check;
  *ret = op;
  return MKC_OK;
}

static mkc_status check_options(const mkc_op_options *o, int gpu, struct error *err) {
  if (o->dk < 1 || o->dv < 1)
    return error_set(err, MKC_E_ARGUMENT,
                     "dk = %d and dv = %d: both must be given (the channels of a head)", o->dk,
                     o->dv);
  if ((unsigned)o->dtype > MKC_F16)
    return error_set(err, MKC_E_ARGUMENT, "dtype %d is none of MKC_F32, MKC_BF16, MKC_F16",
                     (int)o->dtype);
  if (o->align && o->align != 16 && o->align != 8 && o->align != 4 && o->align != 2)
    return error_set(err, MKC_E_ARGUMENT, "align = %d is none of 16, 8, 4, 2 (bytes) and 0",
                     o->align);
  if (o->nsettings < 0 || (o->nsettings > 0 && !o->settings))
    return error_set(err, MKC_E_ARGUMENT, "nsettings = %d, and settings is %s", o->nsettings,
                     o->settings ? "given" : "NULL");
  if (o->heads < 0)
    return error_set(err, MKC_E_ARGUMENT, "heads = %d: B * H of a launch, or 0", o->heads);
  if (o->pass != MKC_FORWARD && o->pass != MKC_STEP)
    return error_set(err, MKC_E_ARGUMENT, "pass %d is none of MKC_FORWARD, MKC_STEP", (int)o->pass);
  if ((unsigned)o->check > MKC_CHECK_RACE)
    return error_set(err, MKC_E_ARGUMENT, "unknown check %d", (int)o->check);
  if (o->check != MKC_CHECK_NONE && gpu >= 0)
    return error_set(err, MKC_E_ARGUMENT, "checks are for the CPU device, not for %s", o->device);
  return MKC_OK;
}

/* The CPU device runs sm_80's code unless told otherwise. */
static mkc_status choose_target(const mkc_op_options *o, int gpu, struct pack_target *ret,
                                struct error *err) {
  if (o->arch && strlen(o->arch) > 15)
    return error_set(err, MKC_E_ARCHITECTURE, "unknown architecture \"%s\"", o->arch);
  *ret = (struct pack_target){.host = gpu < 0, .any = !o->arch};
  strcpy(ret->arch, o->arch ? o->arch : "sm_80");
  if (o->arch || gpu < 0) return MKC_OK;
  struct gpu_info info;
  const mkc_status st = gpu_info_get(gpu, &info, err);
  if (st) return st;
  memcpy(ret->arch, info.arch, sizeof info.arch);
  ret->smem_bytes = info.smem_bytes;
  return MKC_OK;
}

/* From a pack, else from the generator. */
static mkc_status find_source(mkc_context *ctx, const mkc_op_options *o,
                              const struct spec_text *spec, const struct pack_target *target,
                              struct op_source *ret, struct error *err) {
  bool found = false;
  mkc_status st = op_from_packs(ctx, o, spec, target, &found, ret, err);
  if (!st && !found) st = op_generate(o, spec, target->arch, context_allocator(ctx), ret, err);
  if (!found && (st == MKC_E_NO_GENERATOR || st == MKC_E_FILE))
    op_nearest_in_packs(ctx, o, spec, err);
  return st;
}

static mkc_status create_new(mkc_context *ctx, const mkc_op_options *o,
                             const struct spec_text *spec, mkc_op **ret, struct error *err) {
  struct op_source source = {0};
  struct pack_target target;
  int gpu = -1;
  mkc_status st = device_parse(o->device, &gpu, err);
  if (!st) st = check_options(o, gpu, err);
  if (!st) st = choose_target(o, gpu, &target, err);
  if (!st) st = find_source(ctx, o, spec, &target, &source, err);
  if (st) return st;
  return op_create_from_source(ctx, &source, gpu < 0 ? &cpu_backend : &cuda_backend,
                               gpu < 0 ? 0 : gpu, o->check, ret, err);
}

/* Generated without a lock; if another thread was faster, its op is the one. */
static mkc_status create_listed(mkc_context *ctx, const mkc_op_options *o,
                                const struct spec_text *spec, const struct op_key *key,
                                mkc_op **ret, struct error *err) {
  mkc_op *op;
  const mkc_status st = create_new(ctx, o, spec, &op, err);
  if (st) return st;
  if (!op_key_copy(context_allocator(ctx), key, &op->entry.key)) {
    free_op(op);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  }
  *ret = (mkc_op *)op_table_add(context_ops(ctx), &op->entry);
  if (*ret != op) free_op(op);
  return MKC_OK;
}

static mkc_status create(mkc_context *ctx, const mkc_op_options *given, mkc_op **ret,
                         struct error *err) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  struct spec_text spec = {0};
  struct op_key key;
  mkc_status st = options_read(&o, sizeof o, given, given->struct_size, err);
  if (!st) st = spec_text_read(&o, &spec, err);
  if (st) return st;
  op_key_of(&o, spec.text, spec.len, &key);
  *ret = (mkc_op *)op_table_find(context_ops(ctx), &key);
  if (!*ret) st = create_listed(ctx, &o, &spec, &key, ret, err);
  spec_text_finish(&spec);
  return st;
}

mkc_status mkc_op_create(mkc_context *ctx, const mkc_op_options *options, mkc_op **ret) {
  struct error err = {0};
  if (!ctx || !options || !ret) {
    error_set(&err, MKC_E_USAGE, "mkc_op_create: context, options or result is NULL");
    return last_error_take(&err);
  }
  *ret = NULL;
  return create(ctx, options, ret, &err) ? last_error_take(&err) : MKC_OK;
}

void mkc_op_destroy(mkc_op *op) {
  if (!op || !op_table_release(context_ops(op->ctx), &op->entry)) return;
  op->backend->unload(atomic_load(&op->loaded));
  free_op(op);
}

/* ---- prepare ---- */

static mkc_status prepare_locked(mkc_op *op, struct error *err) {
  if (atomic_load(&op->loaded)) return MKC_OK;
  struct loaded *loaded = NULL;
  const mkc_status st =
      op->backend->load(op->ctx, &op->source, op->device, op->check, &loaded, err);
  if (!st) atomic_store(&op->loaded, loaded);
  return st;
}

mkc_status mkc_op_prepare(mkc_op *op) {
  struct error err = {0};
  if (!op) {
    error_set(&err, MKC_E_USAGE, "mkc_op_prepare: the op is NULL");
    return last_error_take(&err);
  }
  pthread_mutex_lock(&op->mutex);
  const mkc_status st = prepare_locked(op, &err);
  pthread_mutex_unlock(&op->mutex);
  return st ? last_error_take(&err) : MKC_OK;
}

/* ---- ask ---- */

const struct op_source *op_source_of(const mkc_op *op) {
  return &op->source;
}

int mkc_op_arg_count(const mkc_op *op) {
  return op ? op->source.narrays : 0;
}

mkc_status mkc_op_arg_info(const mkc_op *op, int index, mkc_arg_info *ret) {
  struct error err = {0};
  if (!op || !ret) {
    error_set(&err, MKC_E_USAGE, "mkc_op_arg_info: op or result is NULL");
    return last_error_take(&err);
  }
  if (index < 0 || index >= op->source.narrays) {
    error_set(&err, MKC_E_USAGE, "mkc_op_arg_info: %s has no array %d: it has 0 to %d",
              op->source.name, index, op->source.narrays - 1);
    return last_error_take(&err);
  }
  const struct op_array *a = &op->source.arrays[index];
  const mkc_arg_info info = {sizeof info, a->name,     a->axes,    a->dtype,
                             a->output,   a->optional, a->in_place};
  return options_write(ret, ret->struct_size, &info, sizeof info, "MKC_ARG_INFO_INIT", &err)
             ? last_error_take(&err)
             : MKC_OK;
}

int mkc_op_arg_index(const mkc_op *op, const char *name) {
  for (int i = 0; op && name && i < op->source.narrays; i++)
    if (!strcmp(op->source.arrays[i].name, name)) return i;
  return -1;
}

const char *mkc_op_source(const mkc_op *op) {
  return op ? op->source.text : "";
}

const char *mkc_op_plan(const mkc_op *op) {
  return op && op->source.plan ? op->source.plan : "";
}

/* ---- launch ---- */

mkc_status mkc_op_workspace(const mkc_op *op, const mkc_tensor *args, int nargs,
                            size_t *ret_bytes) {
  struct error err = {0};
  _Alignas(8) unsigned char block[OP_ARGS_MAX_BYTES];
  long long blocks;
  if (!op || !ret_bytes || (nargs > 0 && !args)) {
    error_set(&err, MKC_E_USAGE, "mkc_op_workspace: op, arrays or result is NULL");
    return last_error_take(&err);
  }
  *ret_bytes = 0;
  if (op_args_pack(&op->source, args, nargs, block, &blocks, &err)) return last_error_take(&err);
  *ret_bytes = op_args_workspace(&op->source, block, blocks);
  return MKC_OK;
}

mkc_status mkc_op_launch(const mkc_op *op, const mkc_tensor *args, int nargs, void *workspace,
                         size_t workspace_bytes, void *stream) {
  struct error err = {0};
  _Alignas(8) unsigned char block[OP_ARGS_MAX_BYTES];
  long long blocks;
  if (!op || (nargs > 0 && !args)) {
    error_set(&err, MKC_E_USAGE, "mkc_op_launch: op or arrays is NULL");
    return last_error_take(&err);
  }
  const struct loaded *loaded = atomic_load_explicit(&op->loaded, memory_order_acquire);
  if (!loaded) {
    error_set(&err, MKC_E_NOT_PREPARED, "%s: call mkc_op_prepare before mkc_op_launch",
              op->source.name);
    return last_error_take(&err);
  }
  if (op_args_pack(&op->source, args, nargs, block, &blocks, &err) ||
      op_args_set_workspace(&op->source, block, blocks, workspace, workspace_bytes, &err) ||
      op->backend->launch(loaded, block, blocks, stream, &err))
    return last_error_take(&err);
  return MKC_OK;
}
