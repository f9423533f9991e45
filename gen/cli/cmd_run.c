/* SPDX-License-Identifier: MIT
 * cmd_run.c - maskc run: an op on arrays, and whether the result is right.
 */
#include "npy.h"
#include "run.h"

#include "../../runtime/cpu/worker.h"
#include "../../runtime/device_info.h"
#include "../../runtime/op.h"

#include <stdlib.h>
#include <string.h>

/* ---- the op ---- */

static mkc_status create_op(struct run *r, int gpu, struct error *err) {
  const struct args *args = &r->cli->args;
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  options.no_cache = args_flag(args, OPTION_NO_CACHE);
  options.log = cli_log;
  options.log_user = r->cli;
  mkc_op_options op = MKC_OP_OPTIONS_INIT;
  op.spec_path = r->file.path;
  op.spec_text = r->file.text;
  op.device = r->device;
  op.pass = r->pass;
  op.dtype = r->dtype;
  op.dk = (int)r->n.dk;
  op.dv = (int)r->n.dv;
  op.arch = args_text(args, OPTION_ARCH, NULL);
  op.chunk = (int)args_number(args, OPTION_CHUNK, 0);
  op.align = atoi(args_text(args, OPTION_ALIGN, "0"));
  op.settings = r->cli->settings;
  op.nsettings = r->cli->nsettings;
  op.heads = (int)args_number(args, OPTION_HEADS, 0);
  op.check = r->check;
  mkc_status status = gpu >= 0 ? run_cuda_start(r, gpu, err) : MKC_OK;
  if (status) return status;
  const double start = clock_ms();
  const char *pack = args_text(args, OPTION_PACK, NULL);
  status = mkc_context_create(&options, &r->ctx);
  if (!status && pack) status = mkc_context_add_pack(r->ctx, pack);
  if (!status) status = mkc_op_create(r->ctx, &op, &r->op);
  if (!status && pack && !op_source_of(r->op)->pack)
    return error_set(err, MKC_E_FILE, "%s does not hold this op ('maskc list --pack %s')", pack,
                     pack);
  progress_show("compiling %s", r->variant->name);
  if (!status) status = mkc_op_prepare(r->op);
  progress_clear();
  r->ready_ms = clock_ms() - start;
  return status ? error_set(err, status, "%s", mkc_last_error()) : MKC_OK;
}

/* Gives every array the type that the op has for it. */
static mkc_status match_arrays(struct run *r, struct error *err) {
  for (int i = 0; i < mkc_op_arg_count(r->op); i++) {
    mkc_arg_info info = MKC_ARG_INFO_INIT;
    struct run_array *found = NULL;
    mkc_op_arg_info(r->op, i, &info);
    for (int j = 0; j < r->narrays; j++)
      if (strcmp(r->arrays[j].name, info.name) == 0) found = &r->arrays[j];
    if (!found && info.optional) continue; /* of a step, for engines */
    if (!found || strcmp(found->axes, info.axes) != 0)
      return error_set(err, MKC_E_INTERNAL, "the op takes '%s' [%s], which the spec has not",
                       info.name, info.axes);
    if (found != r->cu && found != r->position) found->dtype = info.dtype;
  }
  r->ht->present = mkc_op_arg_index(r->op, r->ht->name) >= 0;
  if (r->nt) r->nt->present = mkc_op_arg_index(r->op, r->nt->name) >= 0;
  return MKC_OK;
}

/* Of the slots of a fenwick state those that are live; of ht all, the others as zeros. */
static double moved_of(const struct run *r, const struct run_array *x) {
  if (r->position && x == r->h0) return run_live_slots(r, false) * (double)x->bytes;
  if (r->position && x == r->ht && r->pass == MKC_STEP)
    return run_live_slots(r, true) * (double)x->bytes;
  return (double)x->bytes;
}

static void count_moved(struct run *r) {
  for (int i = 0; i < r->narrays; i++)
    if (r->arrays[i].present) r->moved_bytes += moved_of(r, &r->arrays[i]);
}

/* ---- results ---- */

static mkc_status write_outputs(const struct run *r, struct error *err) {
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (!x->out) continue;
    const mkc_status status = npy_write_floats(x->out, x->ndim, x->shape, x->values, err);
    if (status) return status;
  }
  return MKC_OK;
}

static mkc_status verdict(const struct run *r, struct error *err) {
  const bool o_ok = run_error_ok(&r->error_o);
  const bool ht_ok = !r->ht->present || run_error_ok(&r->error_ht);
  const bool nt_ok = !r->nt || !r->nt->present || run_error_ok(&r->error_nt);
  if (r->compared && !(o_ok && ht_ok && nt_ok))
    return error_set(err, MKC_E_TOLERANCE, "%s of %s is out of tolerance%s",
                     !o_ok    ? "o"
                     : !ht_ok ? r->ht->name
                              : r->nt->name,
                     r->variant->name,
                     r->finite_inputs ? "" : " (the inputs hold NaN or infinity)");
  if (r->nan_count && r->finite_inputs)
    return error_set(err, MKC_E_TOLERANCE, "the outputs of %s hold %zu NaN, the inputs none",
                     r->variant->name, r->nan_count);
  return MKC_OK;
}

/* ---- the sequence ---- */

static mkc_status launch(struct run *r, int gpu, struct error *err) {
  struct gpu_info info = {.memory_bytes = 0};
  mkc_status status = create_op(r, gpu, err);
  if (!status) status = match_arrays(r, err);
  if (!status && gpu >= 0) status = gpu_info_get(gpu, &info, err);
  if (!status) status = run_arrays_fill(r, info.memory_bytes, err);
  if (status) return status;
  if (!r->finite_inputs) cli_warn("the inputs hold NaN or infinity");
  count_moved(r);
  status = gpu < 0 ? run_on_cpu(r, err) : run_on_cuda(r, gpu, err);
  if (!status) status = run_array_unpack(r->o, err);
  if (!status && r->ht->present) status = run_array_unpack(r->ht, err);
  if (!status && r->nt && r->nt->present) status = run_array_unpack(r->nt, err);
  return status;
}

static mkc_status run_steps(struct run *r, int gpu, struct error *err) {
  mkc_status status = spec_file_load(r->cli, r->cli->args.operands[0], &r->file, &r->variant, err);
  if (!status) status = run_arrays_open(r, err);
  if (!status) status = launch(r, gpu, err);
  if (!status) status = run_compare(r, err);
  if (!status) status = write_outputs(r, err);
  if (status) return status;
  run_print(r);
  return verdict(r, err);
}

static mkc_check read_check(const struct args *args) {
  const char *check = args_text(args, OPTION_CHECK, NULL);
  if (!check) return MKC_CHECK_NONE;
  return strcmp(check, "race") == 0 ? MKC_CHECK_RACE : MKC_CHECK_ADDRESS;
}

/* The same command line again, in a process that the check may end. */
static mkc_status run_in_worker(struct cli *cli, mkc_check check, struct error *err) {
  const mkc_status status = cpu_worker_run(cli->argv, check, &cli->worker_exit, err);
  if (!status && cli->worker_exit >= 128)
    return error_set(err, MKC_E_CHECK, "the checked run was ended by signal %d",
                     cli->worker_exit - 128);
  return status;
}

mkc_status cmd_run(struct cli *cli, struct error *err) {
  struct run *r = arena_new(&cli->arena, struct run);
  int gpu;
  r->cli = cli;
  r->seed = (uint64_t)args_number(&cli->args, OPTION_SEED, 1);
  r->device = args_text(&cli->args, OPTION_DEVICE, "cpu");
  r->pass = cli_config(cli).pass;
  r->dtype = cli_config(cli).dtype;
  int cursor = 0, archs = 0;
  while (args_each(&cli->args, OPTION_ARCH, &cursor)) archs++;
  if (archs > 1) return error_set(err, MKC_E_USAGE, "a run is of one kernel: give one --arch");
  mkc_status status = device_parse(r->device, &gpu, err);
  if (status) return error_set(err, MKC_E_USAGE, "--device=%s: expected cpu or cuda:N", r->device);
  r->check = read_check(&cli->args);
  if (r->check && gpu >= 0)
    return error_set(err, MKC_E_USAGE,
                     "--check is for --device cpu; for a GPU use compute-sanitizer");
  if (r->check && !cpu_is_worker(r->check)) return run_in_worker(cli, r->check, err);
  if (r->check) cpu_worker_watch();
  status = run_steps(r, gpu, err);
  run_arrays_close(r);
  mkc_op_destroy(r->op);
  mkc_context_destroy(r->ctx);
  if (r->cuda_started) run_cuda_stop(gpu);
  return status;
}
