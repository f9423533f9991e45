/* SPDX-License-Identifier: MIT
 * run_arrays.c - which arrays maskc run has: named by the spec, read from .npy files, their shapes
 * checked against each other and against --shape.
 */
#include "file.h"
#include "npy.h"
#include "run.h"

#include "../ref.h"

#include <stdint.h>
#include <string.h>

/* ---- which there are ---- */

static void set_axes(struct run_array *x) {
  static const char letters[] = {
      [AXIS_NONE] = 0, [AXIS_DK] = 'k', [AXIS_DV] = 'v', [AXIS_LEVELS] = 'L', [AXIS_TAPS] = 'N'};
  char *p = x->axes;
  if (!x->leaf->param) *p++ = 'B', *p++ = 'T';
  if (x->leaf->step) *p++ = 'n';
  *p++ = 'H';
  *p++ = letters[x->leaf->axis];
}

/* What a normaliser adds to the state. */
static void list_column(struct run *r, struct run_array *at) {
  r->n0 = at;
  r->nt = at + 1;
  *r->n0 = (struct run_array){.name = "n0", .axes = "BHk", .optional = true};
  *r->nt = (struct run_array){.name = "nt", .axes = "BHk", .output = true, .optional = true};
  if (r->pass != MKC_STEP) return;
  *r->n0 = (struct run_array){.name = "state_n", .axes = "NHk", .present = true, .before = true};
  *r->nt = (struct run_array){.name = "state_n", .axes = "NHk", .output = true, .present = true};
}

static void list_arrays(struct run *r) {
  const struct variant *v = r->variant;
  const bool fenwick = v->branches[0].fenwick, column = v->normaliser != NULL;
  r->narrays = v->nleaves + (r->pass == MKC_STEP ? 3 : 4) + 2 * column + fenwick;
  r->arrays = arena_array(&r->cli->arena, struct run_array, r->narrays);
  for (int i = 0; i < v->nleaves; i++) {
    r->arrays[i] =
        (struct run_array){.name = v->leaves[i]->name, .leaf = v->leaves[i], .present = true};
    set_axes(&r->arrays[i]);
  }
  r->h0 = &r->arrays[v->nleaves];
  r->o = r->h0 + 1;
  r->ht = r->h0 + 2;
  if (fenwick) {
    r->position = &r->arrays[r->narrays - 1];
    const bool given = args_text(&r->cli->args, OPTION_POSITIONS, NULL);
    *r->position = (struct run_array){
        .name = "position", .axes = "B", .optional = given || r->pass != MKC_STEP};
  }
  *r->h0 = (struct run_array){.name = "h0", .optional = true};
  *r->o = (struct run_array){.name = "o", .axes = "BTHv", .output = true, .present = true};
  *r->ht = (struct run_array){.name = "ht", .output = true, .optional = true};
  strcpy(r->h0->axes, fenwick ? "BSHkv" : "BHkv");
  strcpy(r->ht->axes, r->h0->axes);
  if (r->pass != MKC_STEP) {
    r->cu = r->h0 + 3;
    *r->cu = (struct run_array){.name = "cu_seqlens", .axes = "C", .optional = true};
    if (column) list_column(r, r->cu + 1);
    return;
  }
  *r->h0 = (struct run_array){.name = "state", .present = true, .before = true};
  *r->ht = (struct run_array){.name = "state", .output = true, .present = true};
  strcpy(r->h0->axes, fenwick ? "NSHkv" : "NHkv");
  strcpy(r->ht->axes, r->h0->axes);
  if (column) list_column(r, r->h0 + 3);
}

static mkc_status unknown_array(const struct run *r, const char *option, const char *name,
                                bool output, struct error *err) {
  const char **names = arena_array(&r->cli->arena, const char *, r->narrays + 1);
  int n = 0;
  error_set(err, MKC_E_USAGE, "--%s %s: %s has no %s of that name; it has", option, name,
            r->variant->name, output ? "output" : "input");
  for (int i = 0; i < r->narrays; i++) {
    if (r->arrays[i].output != output) continue;
    error_append(err, "%s %s", n ? "," : "", r->arrays[i].name);
    names[n++] = r->arrays[i].name;
  }
  const char *near = nearest_name(name, names);
  if (near) error_append(err, "; did you mean '%s'?", near);
  return err->status;
}

/* --in and --out: NAME=FILE. */
static mkc_status attach_file(struct run *r, const char *option, const char *text, bool output,
                              struct error *err) {
  char *name = arena_strdup(&r->cli->arena, text);
  char *path = strchr(name, '=');
  if (!path || path == name || !path[1])
    return error_set(err, MKC_E_USAGE, "--%s %s: expected NAME=FILE.npy", option, text);
  *path++ = 0;
  for (int i = 0; i < r->narrays; i++) {
    struct run_array *x = &r->arrays[i];
    if (x->output != output || strcmp(x->name, name) != 0) continue;
    if (x->in || x->out) return error_set(err, MKC_E_USAGE, "--%s %s is given twice", option, name);
    if (output)
      x->out = path;
    else
      x->in = path;
    x->present = true;
    return output ? file_check_writable(path, err) : MKC_OK;
  }
  return unknown_array(r, option, name, output, err);
}

static mkc_status attach_files(struct run *r, struct error *err) {
  const struct args *args = &r->cli->args;
  int cursor = 0;
  for (const char *text; (text = args_each(args, OPTION_IN, &cursor));) {
    const mkc_status status = attach_file(r, "in", text, false, err);
    if (status) return status;
    r->random = false;
  }
  cursor = 0;
  for (const char *text; (text = args_each(args, OPTION_OUT, &cursor));) {
    const mkc_status status = attach_file(r, "out", text, true, err);
    if (status) return status;
  }
  return MKC_OK;
}

/* Every past key, say, is more than h0 and ht. */
static mkc_status check_states(const struct run *r, struct error *err) {
  const bool column = r->n0 && (r->n0->in || r->nt->out);
  const bool asked = column || r->h0->in || r->ht->out || args_flag(&r->cli->args, OPTION_H0);
  if (!asked || r->pass == MKC_STEP || ref_has_state(r->variant)) return MKC_OK;
  return error_set(err, MKC_E_USAGE,
                   "%s has no h0 and no ht: its state is not just one matrix of [dk,dv]",
                   r->variant->name);
}

/* Arrays that a run from files lacks: never drawn in silence. */
static mkc_status check_missing(const struct run *r, struct error *err) {
  int missing = 0;
  for (int i = 0; i < r->narrays && !r->random; i++) {
    const struct run_array *x = &r->arrays[i];
    if (x->output || x->optional || x->in) continue;
    if (missing++ == 0)
      error_set(err, MKC_E_ARGUMENT,
                "some arrays of %s are given and others are not; missing:", r->variant->name);
    error_append(err, "%s --in %s=FILE.npy (%s)", missing > 1 ? "," : "", x->name,
                 x->leaf && x->leaf->param ? "param" : "input");
  }
  return missing ? MKC_E_ARGUMENT : MKC_OK;
}

/* ---- sizes ---- */

/* A state belongs to a sequence, of a batch or packed. */
static bool is_packed_state(const struct run *r, const struct run_array *x) {
  return r->sequences && (x == r->h0 || x == r->ht || x == r->n0 || x == r->nt);
}

static bool is_integers(const struct run *r, const struct run_array *x) {
  return x == r->cu || x == r->position;
}

static int64_t *size_of(struct run_sizes *n, char letter) {
  switch (letter) {
  case 'B':
  case 'N': return &n->B; /* a slot a sequence */
  case 'T': return &n->T;
  case 'H': return &n->H;
  case 'L': return &n->L;
  case 'S': return &n->S;
  case 'k': return &n->dk;
  case 'v': return &n->dv;
  default: return NULL;
  }
}

static mkc_status set_size(struct run *r, const char *name, const char *value, const char *text,
                           struct error *err) {
  static const char *const names[] = {"B", "T", "H", "Hqk", "L", "dk", "dv", NULL};
  int64_t *const sizes[] = {&r->n.B, &r->n.T, &r->n.H, &r->n.Hqk, &r->n.L, &r->n.dk, &r->n.dv};
  for (int i = 0; names[i]; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    if (*sizes[i]) return error_set(err, MKC_E_USAGE, "--shape %s: %s is given twice", text, name);
    if (parse_number(value, 1, i < 5 ? INT32_MAX : 65536, sizes[i])) return MKC_OK;
    return error_set(err, MKC_E_USAGE, "--shape %s: %s=%s is no whole number from 1 to %d", text,
                     name, value, i < 5 ? INT32_MAX : 65536);
  }
  return error_set(err, MKC_E_USAGE, "--shape %s: '%s' is not one of B, T, H, Hqk, L, dk, dv", text,
                   name);
}

/* --shape B=2,T=200,H=4,dk=64,dv=64, and --dk, --dv. */
static mkc_status read_shape(struct run *r, struct error *err) {
  const struct args *args = &r->cli->args;
  int cursor = 0;
  for (const char *text; (text = args_each(args, OPTION_SHAPE, &cursor));) {
    for (char *p = arena_strdup(&r->cli->arena, text); p;) {
      char *comma = strchr(p, ','), *equals;
      if (comma) *comma = 0;
      equals = strchr(p, '=');
      if (!equals)
        return error_set(err, MKC_E_USAGE, "--shape %s: expected B=2,T=200,H=4,dk=64,dv=64", text);
      *equals = 0;
      const mkc_status status = set_size(r, p, equals + 1, text, err);
      if (status) return status;
      p = comma ? comma + 1 : NULL;
    }
  }
  const int64_t dk = args_number(args, OPTION_DK, 0), dv = args_number(args, OPTION_DV, 0);
  if ((dk && r->n.dk && dk != r->n.dk) || (dv && r->n.dv && dv != r->n.dv))
    return error_set(err, MKC_E_USAGE, "--shape and --dk or --dv disagree");
  if (dk) r->n.dk = dk;
  if (dv) r->n.dv = dv;
  return MKC_OK;
}

void run_append_shape(struct error *err, const int64_t *shape, int ndim) {
  error_append(err, "[");
  for (int i = 0; i < ndim; i++) error_append(err, "%s%lld", i ? "," : "", (long long)shape[i]);
  error_append(err, "]");
}

/* "[B=2,T=200,heads,dk=64]" */
static void append_expected(struct error *err, const struct run *r, const struct run_array *x) {
  error_append(err, "[");
  for (int i = 0; x->axes[i]; i++) {
    struct run_sizes known = r->n;
    const int64_t *n = x->axes[i] == 'H' && x->leaf ? NULL : size_of(&known, x->axes[i]);
    const char letter = x->axes[i];
    const char *name = letter == 'k' ? "dk" : letter == 'v' ? "dv" : NULL;
    error_append(err, "%s", i ? "," : "");
    if (letter == 'H')
      error_append(err, "heads");
    else if (name)
      error_append(err, "%s", name);
    else
      error_append(err, "%c", letter);
    if (n && *n) error_append(err, "=%lld", (long long)*n);
  }
  error_append(err, "]");
}

static mkc_status wrong_shape(const struct run *r, const struct run_array *x, const char *why,
                              struct error *err) {
  error_set(err, MKC_E_ARGUMENT, "%s: %s has shape ", x->in, x->name);
  run_append_shape(err, x->shape, x->ndim);
  error_append(err, ", expected ");
  append_expected(err, r, x);
  error_append(err, "%s", why);
  return err->status;
}

static mkc_status read_array(struct run *r, struct run_array *x, struct error *err) {
  struct npy_floats file;
  const mkc_status status = npy_read_floats(x->in, &file, err);
  if (status) return status;
  x->values = file.values;
  x->count = file.count;
  x->ndim = file.ndim;
  if (file.ndim > RUN_MAX_DIMS) x->ndim = RUN_MAX_DIMS + 1;
  for (int i = 0; i < file.ndim && i < RUN_MAX_DIMS; i++) x->shape[i] = file.shape[i];
  if (file.ndim > RUN_MAX_DIMS)
    return error_set(err, MKC_E_ARGUMENT, "%s: %s has %d dimensions, expected %zu", x->in, x->name,
                     file.ndim, strlen(x->axes));
  if ((size_t)x->ndim != strlen(x->axes)) return wrong_shape(r, x, "", err);
  if (x->count == 0) return wrong_shape(r, x, "; it has no elements", err);
  return MKC_OK;
}

/* Takes the sizes that an array shows; those that are known must be the same. */
static mkc_status agree(struct run *r, struct run_array *x, struct error *err) {
  for (int i = 0; i < x->ndim; i++) {
    int64_t *n = is_packed_state(r, x) && i == 0 ? &r->sequences : size_of(&r->n, x->axes[i]);
    if (!n || x->axes[i] == 'H') continue;
    if (*n && *n != x->shape[i]) return wrong_shape(r, x, "", err);
    *n = x->shape[i];
  }
  return MKC_OK;
}

static int64_t head_count(const struct run_array *x) {
  const char *h = strchr(x->axes, 'H');
  return h ? x->shape[h - x->axes] : 1;
}

/* H is the largest count of heads, and every other divides it; h0 has all of them. */
static mkc_status settle_heads(struct run *r, struct error *err) {
  int64_t most = 0;
  for (int i = 0; i < r->narrays; i++)
    if (r->arrays[i].in && !is_integers(r, &r->arrays[i]) && head_count(&r->arrays[i]) > most)
      most = head_count(&r->arrays[i]);
  if (!r->n.H) r->n.H = most;
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (!x->in || x == r->cu || x == r->position) continue;
    if (r->n.H % head_count(x) != 0 || (!x->leaf && head_count(x) != r->n.H)) {
      wrong_shape(r, x, "; its heads must ", err);
      error_append(err, x->leaf ? "divide" : "be");
      error_append(err, " H=%lld", (long long)r->n.H);
      return err->status;
    }
  }
  return MKC_OK;
}

/* Heads of q and k that many heads of the output share. */
static mkc_status settle_shared_heads(struct run *r, struct error *err) {
  if (!r->n.Hqk) return MKC_OK;
  if (!r->random)
    return error_set(err, MKC_E_USAGE, "--shape: Hqk is for random arrays; files have their own");
  if (r->n.H % r->n.Hqk == 0) return MKC_OK;
  return error_set(err, MKC_E_USAGE, "--shape: Hqk=%lld does not divide H=%lld",
                   (long long)r->n.Hqk, (long long)r->n.H);
}

/* What nothing has said yet. */
static void settle_sizes(struct run *r) {
  static const struct run_sizes usual = {.B = 2, .T = 200, .H = 4, .dk = 64, .dv = 64};
  if (!r->n.B) r->n.B = usual.B;
  if (!r->n.T) r->n.T = r->pass == MKC_STEP ? 1 : usual.T;
  if (!r->n.H) r->n.H = usual.H;
  if (!r->n.dk) r->n.dk = usual.dk;
  if (!r->n.dv) r->n.dv = usual.dv;
}

/* The shapes of everything that was not read. */
static void settle_shapes(struct run *r) {
  for (int i = 0; i < r->narrays; i++) {
    struct run_array *x = &r->arrays[i];
    x->ndim = (int)strlen(x->axes);
    for (int d = 0; d < x->ndim && !x->in && !is_integers(r, x); d++) {
      const int64_t *n = size_of(&r->n, x->axes[d]);
      x->shape[d] = is_packed_state(r, x) && d == 0 ? r->sequences : n ? *n : 1;
      if (r->n.Hqk && x->axes[d] == 'H' && x->leaf && x->leaf->axis == AXIS_DK)
        x->shape[d] = r->n.Hqk;
    }
    x->heads = head_count(x);
  }
}

/* Elements of each array, where their bytes can be counted. */
static mkc_status count_elements(struct run *r, struct error *err) {
  for (int i = 0; i < r->narrays; i++) {
    struct run_array *x = &r->arrays[i];
    if (is_integers(r, x)) continue;
    x->count = 1;
    for (int d = 0; d < x->ndim; d++) {
      if ((size_t)x->shape[d] > PTRDIFF_MAX / 16 / x->count)
        return error_set(err, MKC_E_USAGE, "--shape: %s would be larger than memory", x->name);
      x->count *= (size_t)x->shape[d];
    }
  }
  return MKC_OK;
}

mkc_status run_arrays_open(struct run *r, struct error *err) {
  r->random = true;
  list_arrays(r);
  mkc_status status = attach_files(r, err);
  if (!status) status = check_states(r, err);
  if (!status) status = read_shape(r, err);
  if (!status) status = check_missing(r, err);
  for (int i = 0; i < r->narrays && !status; i++)
    if (r->arrays[i].in && !is_integers(r, &r->arrays[i]))
      status = read_array(r, &r->arrays[i], err);
  for (int i = 0; i < r->narrays && !status; i++) /* h0 after it is known what its B is */
    if (r->arrays[i].in && r->arrays[i].leaf) status = agree(r, &r->arrays[i], err);
  if (!status) status = run_packed_open(r, err);
  if (!status) status = settle_heads(r, err);
  if (status) return status;
  if (r->random && args_flag(&r->cli->args, OPTION_H0)) {
    r->h0->present = true;
    if (r->n0) r->n0->present = true;
  }
  settle_sizes(r);
  status = run_position_open(r, err);
  if (r->n.L) r->n.S = r->n.L - 1;
  if (!status && r->h0->in) status = agree(r, r->h0, err);
  if (!status && r->n0 && r->n0->in) status = agree(r, r->n0, err);
  if (status) return status;
  settle_shapes(r);
  status = settle_shared_heads(r, err);
  return status ? status : count_elements(r, err);
}
