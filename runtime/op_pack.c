/* SPDX-License-Identifier: MIT
 * op_pack.c - an op from the packs of a context, in place of the generator.
 *
 * A name stands for the spec of that name in the pack, whatever its text: who added the pack named
 * it. A text, or the text of a file, stands for the spec with the same bytes, whatever its name.
 */
#include "context.h"
#include "op.h"

static void make_request(const mkc_op_options *o, const struct spec_text *spec,
                         unsigned char digest[SHA256_BYTES], struct pack_request *ret) {
  *ret = (struct pack_request){.settings = o->settings,
                               .nsettings = o->nsettings,
                               .pass = o->pass,
                               .dtype = o->dtype,
                               .dk = o->dk,
                               .dv = o->dv,
                               .chunk = o->chunk,
                               .align = o->align};
  if (spec->text) {
    sha256(spec->text, spec->len, digest);
    ret->digest = digest;
  } else {
    ret->name = spec->path;
  }
}

static mkc_status take(mkc_context *ctx, const struct pack *pack, const struct pack_match *match,
                       struct op_source *ret, struct error *err) {
  const mkc_status st = pack_take(pack, &match->op, &match->code, ret, err);
  if (!st)
    context_log(ctx, LOG_INFO, "%s: %s from %s", ret->name,
                match->code.kind == PACK_PTX ? "PTX" : ret->arch, pack_name(pack));
  return st;
}

mkc_status op_from_packs(mkc_context *ctx, const mkc_op_options *options,
                         const struct spec_text *spec, const struct pack_target *target,
                         bool *ret_found, struct op_source *ret, struct error *err) {
  unsigned char digest[SHA256_BYTES];
  struct pack_request request = {0};
  struct pack_match match;
  const struct pack *pack = context_pack(ctx, 0);
  mkc_status st = MKC_OK;
  *ret_found = false;
  if (pack) make_request(options, spec, digest, &request);
  request.target = *target;
  for (int i = 0; !st && !*ret_found && (pack = context_pack(ctx, i)); i++) {
    st = pack_find(pack, &request, ret_found, &match, err);
    if (!st && *ret_found) st = take(ctx, pack, &match, ret, err);
  }
  if (!st && !*ret_found && context_pack(ctx, 0))
    context_log(ctx, LOG_INFO, "%s for %s: in none of the packs", spec->path, target->arch);
  return st;
}

void op_nearest_in_packs(mkc_context *ctx, const mkc_op_options *options,
                         const struct spec_text *spec, struct error *err) {
  unsigned char digest[SHA256_BYTES];
  struct pack_request request;
  struct buf nearest = {0};
  const struct pack *pack;
  make_request(options, spec, digest, &request);
  for (int i = 0, most = 0; (pack = context_pack(ctx, i)); i++) {
    struct buf here = {0};
    const int common = pack_nearest(pack, &request, &here);
    if (common > most) {
      most = common;
      buf_finish(&nearest);
      buf_printf(&nearest, "%s has %s", pack_name(pack), buf_text(&here));
    }
    buf_finish(&here);
  }
  if (nearest.len) error_append(err, "; nearest: %s", buf_text(&nearest));
  buf_finish(&nearest);
}
