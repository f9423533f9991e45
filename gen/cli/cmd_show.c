/* SPDX-License-Identifier: MIT
 * cmd_show.c - maskc show: the mask as a picture, the equations, the plan and the floor it is
 * measured against; with --plan every plan there is.
 */
#include "draw.h"
#include "file.h"
#include "show.h"

#include <math.h>
#include <string.h>

enum { HEADS = 4 };

/* One of each architecture; the first has the mask, too. */
struct pages {
  struct show *at;
  int n;
};

static mkc_status choose_plan(struct cli *cli, struct show *s, struct error *err) {
  struct error why = {0};
  const mkc_status status =
      plan_op(s->variant, &s->config, &cli->arena, &s->plans, &s->nplans, &why);
  mkc_status result = MKC_OK;
  if (status == MKC_E_NO_SCHEDULE)
    s->no_schedule = arena_strdup(&cli->arena, error_text(&why));
  else if (status)
    result = error_set(err, status, "%s", error_text(&why));
  if (status) s->plans = NULL;
  error_finish(&why);
  return result;
}

/* Loads the spec and plans it for each architecture. */
static mkc_status make_pages(struct cli *cli, struct pages *ret, struct error *err) {
  const char **archs;
  struct show first = {.config = cli_config(cli)};
  mkc_status status = cli_archs(cli, &archs, err);
  if (!status)
    status = spec_file_load(cli, cli->args.operands[0], &first.file, &first.variant, err);
  if (status) return status;
  while (archs[ret->n]) ret->n++;
  ret->at = arena_array(&cli->arena, struct show, ret->n);
  for (int i = 0; i < ret->n && !status; i++) {
    ret->at[i] = first;
    ret->at[i].config.arch = archs[i];
    status = choose_plan(cli, &ret->at[i], err);
  }
  return status;
}

/* ---- the mask, the equations and the plan ---- */

static void print_text(const struct cli *cli, struct buf *out, const struct pages *p) {
  const struct show *s = &p->at[0];
  struct term term = cli->term;
  if (args_flag(&cli->args, OPTION_ASCII)) term.utf8 = false;
  buf_printf(out, "%s: the mask of head %d of %d, random gates (seed %llu)%s%s\n\n",
             s->variant->name, s->mask.head, s->mask.heads, (unsigned long long)s->mask.seed,
             s->note ? "; " : "", s->note ? s->note : "");
  draw_mask(out, &(struct drawing){s->mask.tokens, s->weights, s->variant->branches[0].fenwick},
            &term);
  buf_puts(out, "\n");
  variant_describe(out, s->variant);
  for (int i = 0; i < p->n; i++) show_plan(out, &p->at[i]);
}

/* What a program needs to know of either form. */
static void print_head_json(struct json *j, const struct pages *p, bool candidates) {
  const struct show *s = &p->at[0];
  json_string(j, "spec", s->file.path);
  json_string(j, "name", s->variant->name);
  json_options(j, s->variant);
  json_string(j, "pass", pass_name(s->config.pass));
  json_string(j, "dtype", dtype_name(s->config.dtype));
  json_integer(j, "dk", s->config.dk);
  json_integer(j, "dv", s->config.dv);
  json_number(j, "launch_heads", s->config.heads ? s->config.heads : HUGE_VAL);
  json_array(j, "plans");
  for (int i = 0; i < p->n; i++) show_plan_json(j, &p->at[i], candidates);
  json_end(j);
}

static void print_mask_json(struct json *j, const struct show *s) {
  const int T = s->mask.tokens;
  json_integer(j, "head", s->mask.head);
  json_integer(j, "heads", s->mask.heads);
  json_integer(j, "seed", (int64_t)s->mask.seed);
  json_array(j, "mask");
  for (int t = 0; t < T; t++) {
    json_array(j, NULL);
    for (int i = 0; i < T; i++) json_number(j, NULL, s->weights[t * T + i]);
    json_end(j);
  }
  json_end(j);
}

static void print_json(struct buf *out, const struct pages *p, const char *svg) {
  struct json j = {.out = out};
  struct buf equations = {0};
  const struct show *s = &p->at[0];
  variant_describe(&equations, s->variant);
  json_object(&j, NULL);
  print_head_json(&j, p, false);
  json_string(&j, "about", s->variant->about);
  json_string(&j, "description", buf_text(&equations));
  if (svg) json_string(&j, "svg", svg);
  print_mask_json(&j, s);
  json_end(&j);
  buf_finish(&equations);
}

/* ---- --plan ---- */

static void print_plans(struct cli *cli, const struct pages *p) {
  for (int i = 0; i < p->n && !cli->json; i++) {
    if (i > 0) buf_puts(&cli->out, "\n");
    show_all_plans(&cli->out, &p->at[i]);
  }
  if (!cli->json) return;
  struct json j = {.out = &cli->out};
  json_object(&j, NULL);
  print_head_json(&j, p, true);
  json_end(&j);
}

/* ---- the command ---- */

static mkc_status check_svg(const struct cli *cli, const char *svg, struct error *err) {
  if (!svg) return MKC_OK;
  if (cli->json && strcmp(svg, "-") == 0)
    return error_set(err, MKC_E_USAGE, "--svg - and --json both want standard output");
  return file_check_writable(svg, err);
}

static mkc_status write_svg(struct cli *cli, const struct show *s, const char *path,
                            struct error *err) {
  if (strcmp(path, "-") == 0) {
    show_svg(&cli->out, s);
    return MKC_OK;
  }
  struct buf svg = {0};
  show_svg(&svg, s);
  mkc_status status = svg.failed ? error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory")
                                 : file_save(path, buf_text(&svg), svg.len, err);
  if (!status) fprintf(stderr, "maskc: wrote %s (%zu bytes)\n", path, svg.len);
  buf_finish(&svg);
  return status;
}

static mkc_status draw_weights(struct cli *cli, struct show *s, struct error *err) {
  s->mask = (struct mask_request){.tokens = (int)args_number(&cli->args, OPTION_TOKENS, 32),
                                  .heads = HEADS,
                                  .seed = (uint64_t)args_number(&cli->args, OPTION_SEED, 1)};
  s->weights = arena_array(&cli->arena, double, (size_t)s->mask.tokens *(size_t)s->mask.tokens);
  return mask_weights(&cli->arena, s->variant, &s->mask, s->weights, &s->note, err);
}

static mkc_status show_mask(struct cli *cli, struct pages *p, const char *svg, struct error *err) {
  mkc_status status = draw_weights(cli, &p->at[0], err);
  if (!status && svg) status = write_svg(cli, &p->at[0], svg, err);
  if (status) return status;
  if (cli->json)
    print_json(&cli->out, p, svg);
  else if (!svg)
    print_text(cli, &cli->out, p);
  return MKC_OK;
}

mkc_status cmd_show(struct cli *cli, struct error *err) {
  struct pages p = {.n = 0};
  const char *svg = args_text(&cli->args, OPTION_SVG, NULL);
  const bool plans = args_flag(&cli->args, OPTION_PLAN);
  mkc_status status = check_svg(cli, svg, err);
  if (!status && svg && plans)
    status = error_set(err, MKC_E_USAGE, "--plan prints text or JSON, --svg a picture: choose one");
  if (!status) status = make_pages(cli, &p, err);
  if (!status && svg && p.n > 1)
    status = error_set(err, MKC_E_USAGE, "--svg draws the roofline of one card: give one --arch");
  if (!status && !plans) return show_mask(cli, &p, svg, err);
  if (!status) print_plans(cli, &p);
  return status;
}
