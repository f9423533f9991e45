/* SPDX-License-Identifier: MIT
 * list_pack.c - maskc list --pack FILE: what a pack holds, after a check of every byte that an op
 * of it has.
 */
#include "cli.h"

#include "../../runtime/pack.h"

/* ---- the check ---- */

static mkc_status check_op(const struct pack *p, const struct pack_op *op, struct error *err) {
  struct pack_codes codes;
  struct pack_code code;
  mkc_status status = pack_codes_open(p, op, &codes, err);
  while (!status && pack_code_next(&codes, &code)) {
    struct op_source source;
    status = pack_take(p, op, &code, &source, err);
    op_source_finish(&source);
  }
  return status;
}

static mkc_status check(const struct pack *p, struct error *err) {
  mkc_status status = MKC_OK;
  for (int i = 0; i < pack_op_count(p) && !status; i++) {
    struct pack_op op;
    pack_op_at(p, i, &op);
    status = check_op(p, &op, err);
  }
  return status;
}

/* ---- text ---- */

static void print_options(const struct pack *p, const struct pack_spec *s, struct buf *out) {
  for (int i = 0; i < s->noptions; i++) {
    struct pack_option o;
    pack_option_at(p, s->first_option + i, &o);
    buf_printf(out, " %s=%d", o.name, o.value);
  }
}

static void print_text(const struct pack *p, struct buf *out) {
  const int nvrtc = pack_nvrtc(p);
  int spec = -1;
  buf_printf(out, "%s: ops: %d, specs: %d, made by maskc %s", pack_name(p), pack_op_count(p),
             pack_spec_count(p), pack_maskc(p));
  if (nvrtc) buf_printf(out, " with NVRTC %d.%d", nvrtc / 1000, nvrtc % 1000 / 10);
  buf_puts(out, "\n");
  for (int i = 0; i < pack_op_count(p); i++) {
    struct pack_op op;
    struct pack_spec s;
    pack_op_at(p, i, &op);
    pack_spec_at(p, op.spec, &s);
    if (op.spec != spec) {
      buf_puts(out, s.name);
      print_options(p, &s, out);
      buf_puts(out, "\n");
    }
    spec = op.spec;
    buf_puts(out, "  ");
    pack_op_print(p, &op, out);
    buf_puts(out, "\n");
  }
}

/* ---- JSON ---- */

static const char *kind_name(enum pack_kind kind) {
  return kind == PACK_CUBIN ? "cubin" : kind == PACK_PTX ? "ptx" : "source";
}

static void code_json(struct json *j, const struct pack_code *code) {
  const struct op_source *s = &code->source;
  json_object(j, NULL);
  json_string(j, "kind", kind_name(code->kind));
  json_string(j, "arch", s->arch);
  json_integer(j, "chunk", s->chunk);
  json_integer(j, "threads", s->threads);
  json_integer(j, "smem_bytes", s->smem_bytes);
  json_integer(j, "blocks_a_head", s->blocks_a_head);
  json_integer(j, "code_bytes", (int64_t)code->code.bytes);
  json_integer(j, "source_bytes", (int64_t)code->text.bytes);
  json_end(j);
}

static void options_json(struct json *j, const struct pack *p, const struct pack_spec *s) {
  json_array(j, "options");
  for (int i = 0; i < s->noptions; i++) {
    struct pack_option o;
    pack_option_at(p, s->first_option + i, &o);
    json_object(j, NULL);
    json_string(j, "name", o.name);
    json_integer(j, "value", o.value);
    json_integer(j, "default", o.default_value);
    json_end(j);
  }
  json_end(j);
}

static void op_json(struct json *j, const struct pack *p, const struct pack_op *op) {
  struct pack_spec s;
  struct pack_codes codes;
  struct pack_code code;
  struct error ignored = {0};
  char digest[2 * SHA256_BYTES + 1];
  pack_spec_at(p, op->spec, &s);
  sha256_hex(s.digest, digest);
  json_object(j, NULL);
  json_string(j, "name", s.name);
  json_string(j, "spec_sha256", digest);
  options_json(j, p, &s);
  json_string(j, "pass", op->pass == MKC_STEP ? "step" : "forward");
  json_string(j, "dtype", dtype_name(op->dtype));
  json_integer(j, "dk", op->dk);
  json_integer(j, "dv", op->dv);
  json_integer(j, "chunk", op->chunk);
  json_integer(j, "align", op->align);
  json_array(j, "codes");
  if (!pack_codes_open(p, op, &codes, &ignored))
    while (pack_code_next(&codes, &code)) code_json(j, &code);
  error_finish(&ignored);
  json_end(j);
  json_end(j);
}

static void print_json(const struct pack *p, struct buf *out) {
  struct json j = {.out = out};
  json_object(&j, NULL);
  json_string(&j, "pack", pack_name(p));
  json_string(&j, "maskc", pack_maskc(p));
  json_integer(&j, "nvrtc", pack_nvrtc(p));
  json_array(&j, "ops");
  for (int i = 0; i < pack_op_count(p); i++) {
    struct pack_op op;
    pack_op_at(p, i, &op);
    op_json(&j, p, &op);
  }
  json_end(&j);
  json_end(&j);
}

mkc_status list_pack(struct cli *cli, const char *path, struct error *err) {
  struct pack *p;
  mkc_status status = pack_open(path, &p, err);
  if (status) return status;
  status = check(p, err);
  if (!status && cli->json)
    print_json(p, &cli->out);
  else if (!status)
    print_text(p, &cli->out);
  pack_close(p);
  return status;
}
