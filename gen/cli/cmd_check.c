/* SPDX-License-Identifier: MIT
 * cmd_check.c - maskc check: what a spec means, and the proof that its forms agree.
 */
#include "cli.h"

#include "../ref.h"

struct check {
  const struct variant *variant;
  struct spec_file file;
  struct ref_report reports[REF_MAX_REPORTS];
  int n;
  const char *no_schedule; /* what is missing; NULL where a schedule serves the variant */
  bool has_step;           /* a schedule serves its decode step */
};

static void print_reports(struct buf *out, const struct check *c) {
  buf_printf(out, "\n%-32s %12s %12s\n", "compared in float64", "error", "tolerance");
  for (int i = 0; i < c->n; i++) {
    const struct ref_report *r = &c->reports[i];
    buf_printf(out, "%-32s %12.2e %12.0e  %s\n", r->what, r->error, r->tolerance,
               r->ok ? "ok" : "DIFFERS");
  }
}

static void print_text(struct buf *out, const struct check *c) {
  variant_describe(out, c->variant);
  print_reports(out, c);
  if (c->no_schedule)
    buf_printf(out, "\n%s\n('check' and the reference cover it; 'build' and 'run' do not yet%s)\n",
               c->no_schedule, c->has_step ? ", but for --pass step" : "");
}

static void print_json(struct buf *out, const struct check *c, bool ok) {
  struct json j = {.out = out};
  struct buf equations = {0};
  variant_describe(&equations, c->variant);
  json_object(&j, NULL);
  json_string(&j, "spec", c->file.path);
  json_string(&j, "name", c->variant->name);
  json_string(&j, "about", c->variant->about);
  json_string(&j, "description", buf_text(&equations));
  json_options(&j, c->variant);
  json_array(&j, "checks");
  for (int i = 0; i < c->n; i++) {
    json_object(&j, NULL);
    json_string(&j, "what", c->reports[i].what);
    json_number(&j, "error", c->reports[i].error);
    json_number(&j, "tolerance", c->reports[i].tolerance);
    json_bool(&j, "ok", c->reports[i].ok);
    json_end(&j);
  }
  json_end(&j);
  json_array(&j, "warnings");
  for (int i = 0; i < c->variant->nwarnings; i++) json_string(&j, NULL, c->variant->warnings[i]);
  json_end(&j);
  json_bool(&j, "has_schedule", !c->no_schedule);
  json_string(&j, "no_schedule", c->no_schedule);
  json_bool(&j, "has_step", c->has_step);
  json_bool(&j, "ok", ok);
  json_end(&j);
  buf_finish(&equations);
}

mkc_status cmd_check(struct cli *cli, struct error *err) {
  struct check c = {0};
  mkc_status status = spec_file_load(cli, cli->args.operands[0], &c.file, &c.variant, err);
  if (status) return status;
  const uint64_t seed = (uint64_t)args_number(&cli->args, OPTION_SEED, 1);
  progress_show("comparing the forms of %s", c.variant->name);
  status = ref_check(c.variant, seed, c.reports, &c.n, err);
  progress_clear();
  if (status && status != MKC_E_TOLERANCE) return status;
  struct gen_config config = cli_config(cli);
  const char *no_step;
  cli_has_schedule(cli, c.variant, &config, &c.no_schedule);
  config.pass = MKC_STEP;
  c.has_step = cli_has_schedule(cli, c.variant, &config, &no_step);
  if (cli->json) {
    print_json(&cli->out, &c, status == MKC_OK);
  } else {
    for (int i = 0; i < c.variant->nwarnings; i++) fprintf(stderr, "%s\n", c.variant->warnings[i]);
    print_text(&cli->out, &c);
  }
  return status;
}
