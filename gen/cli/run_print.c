/* SPDX-License-Identifier: MIT
 * run_print.c - what came of maskc run, as text and as JSON.
 */
#include "run.h"

#include "../plan.h"

static double gbs(const struct run *r) {
  return r->moved_bytes / (1e6 * r->time_ms);
}

static bool on_cpu(const struct run *r) {
  return r->device[0] == 'c' && r->device[1] == 'p';
}

/* Four digits, and no exponent where there is room for the number. */
static void put_number(struct buf *out, double x) {
  if (x >= 1000 && x < 1e9)
    buf_printf(out, "%.0f", x);
  else
    buf_number(out, x, 4);
}

static void print_error_line(struct buf *out, const char *name, const struct run_error *e) {
  if (e->wrong) {
    buf_printf(out, "  %-6s %zu elements are NaN or infinite in one of result and reference\n",
               name, e->wrong);
    return;
  }
  buf_printf(out, "  %-6s relative L2 error %.2e, tolerance %.0e: %s\n", name,
             run_error_relative(e), e->tolerance, run_error_ok(e) ? "ok" : "OUT OF TOLERANCE");
}

static void print_errors(struct buf *out, const struct run *r) {
  if (!r->compared) {
    buf_printf(out, "  o      not compared with the reference (%s)\n", r->scope);
  } else {
    print_error_line(out, "o", &r->error_o);
    if (r->ht->present) print_error_line(out, r->ht->name, &r->error_ht);
    if (r->nt && r->nt->present) print_error_line(out, r->nt->name, &r->error_nt);
    buf_printf(out, "         against the float64 recurrence on the same rounded inputs: %s\n",
               r->scope);
  }
  if (r->check == MKC_CHECK_ADDRESS) buf_puts(out, "  check  AddressSanitizer found nothing\n");
  if (r->check == MKC_CHECK_RACE)
    buf_puts(out, "  check  no race, nothing read before it is written\n");
  if (r->nan_count) buf_printf(out, "  NaN    %zu elements of the outputs\n", r->nan_count);
}

static void print_text(struct buf *out, const struct run *r) {
  const struct run_sizes *n = &r->n;
  buf_printf(out, "%s on %s\n", r->variant->name, r->device);
  buf_printf(out, "  shape  B=%lld T=%lld H=%lld dk=%lld dv=%lld, %s", (long long)n->B,
             (long long)n->T, (long long)n->H, (long long)n->dk, (long long)n->dv,
             dtype_name(r->dtype));
  if (r->sequences) buf_printf(out, ", %lld sequences packed", (long long)r->sequences);
  if (r->random)
    buf_printf(out, ", random (seed %llu)\n", (unsigned long long)r->seed);
  else
    buf_puts(out, ", from files\n");
  for (int i = 0; i < r->variant->noptions; i++)
    buf_printf(out, "%s%s=%d", i ? " " : "  option ", r->variant->options[i].name,
               r->variant->options[i].value);
  buf_puts(out, r->variant->noptions ? "\n" : "");
  buf_printf(out, "  plan   %s\n", mkc_op_plan(r->op));
  buf_puts(out, "  ready  spec to loaded op in ");
  put_number(out, r->ready_ms);
  buf_puts(out, " ms");
  if (r->cuda_started) {
    buf_puts(out, ", after the driver's start in ");
    put_number(out, r->driver_ms);
    buf_puts(out, " ms");
  }
  buf_puts(out, "\n");
  print_errors(out, r);
  buf_puts(out, "  time   ");
  put_number(out, r->time_ms);
  buf_printf(out, " ms, %s%d launch%s%s\n", r->launches > 1 ? "median of " : "", r->launches,
             r->launches > 1 ? "es" : "",
             on_cpu(r) ? " (the CPU device is for correctness, not for speed)"
                       : ", by the device's clock");
  buf_puts(out, "  moved  ");
  put_number(out, r->moved_bytes * 1e-6);
  buf_printf(out, " MB (each input read once, each output written once%s): ",
             r->position ? ", live slots" : "");
  put_number(out, gbs(r));
  buf_puts(out, " GB/s\n");
  if (r->copy_gbs > 0) {
    buf_puts(out, "  copy   ");
    put_number(out, r->copy_gbs);
    buf_printf(out, " GB/s by a device-to-device copy in the same run; the op reaches %.0f %%\n",
               100 * gbs(r) / r->copy_gbs);
  }
}

static void json_error(struct json *j, const char *name, const struct run_error *e) {
  json_object(j, name);
  json_number(j, "error", run_error_relative(e));
  json_number(j, "tolerance", e->tolerance);
  json_bool(j, "ok", run_error_ok(e));
  json_end(j);
}

static void print_sizes_json(struct json *j, const struct run *r) {
  json_object(j, "shape");
  json_integer(j, "B", r->n.B);
  json_integer(j, "T", r->n.T);
  json_integer(j, "H", r->n.H);
  json_integer(j, "dk", r->n.dk);
  json_integer(j, "dv", r->n.dv);
  if (r->sequences) json_integer(j, "sequences", r->sequences);
  json_end(j);
  json_string(j, "dtype", dtype_name(r->dtype));
  json_bool(j, "random", r->random);
  if (r->random) json_integer(j, "seed", (int64_t)r->seed);
}

static void print_json(struct buf *out, const struct run *r) {
  struct json j = {.out = out};
  json_object(&j, NULL);
  json_string(&j, "spec", r->file.path);
  json_string(&j, "name", r->variant->name);
  json_options(&j, r->variant);
  json_string(&j, "pass", pass_name(r->pass));
  json_string(&j, "device", r->device);
  print_sizes_json(&j, r);
  json_string(&j, "plan", mkc_op_plan(r->op));
  json_number(&j, "ready_ms", r->ready_ms);
  if (r->cuda_started) json_number(&j, "driver_ms", r->driver_ms);
  json_bool(&j, "compared", r->compared);
  json_string(&j, "scope", r->scope);
  if (r->compared) json_error(&j, "o", &r->error_o);
  if (r->compared && r->ht->present) json_error(&j, r->ht->name, &r->error_ht);
  if (r->compared && r->nt && r->nt->present) json_error(&j, r->nt->name, &r->error_nt);
  json_string(&j, "check", args_text(&r->cli->args, OPTION_CHECK, NULL));
  json_integer(&j, "nan", (int64_t)r->nan_count);
  json_number(&j, "time_ms", r->time_ms);
  json_integer(&j, "launches", r->launches);
  json_number(&j, "bytes", r->moved_bytes);
  json_number(&j, "gbs", gbs(r));
  if (r->copy_gbs > 0) {
    json_number(&j, "copy_gbs", r->copy_gbs);
    json_number(&j, "copy_fraction", gbs(r) / r->copy_gbs);
  }
  json_end(&j);
}

void run_print(const struct run *r) {
  if (r->cli->json)
    print_json(&r->cli->out, r);
  else
    print_text(&r->cli->out, r);
}
