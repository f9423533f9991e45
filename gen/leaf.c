/* SPDX-License-Identifier: MIT
 * leaf.c - what a spec names: inputs, params and options.
 *
 * Names reach the emitted source, so they are checked here, once: [A-Za-z][A-Za-z0-9_]{0,47}, no
 * word that means something to C, C++ or CUDA.
 */
#include "front.h"

#include <math.h>
#include <string.h>

enum { MAX_NAME = 48 };

static const char *const keywords[] = {
    /* C and C++ */
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break",
    "case", "catch", "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return",
    "co_yield", "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit",
    "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum",
    "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if", "inline",
    "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
    "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast",
    "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
    "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try",
    "typedef", "typeid", "typename", "typeof", "union", "unsigned", "using", "virtual", "void",
    "volatile", "wchar_t", "while", "xor", "xor_eq",
    /* words of their runtimes that are, or may be, macros */
    "NULL", "NAN", "INFINITY", "assert", "errno", "main", "unix", "linux",
    /* CUDA */
    "threadIdx", "blockIdx", "blockDim", "gridDim", "warpSize", "dim3", NULL};

static const char *const reserved[] = {
    "h0",          "ht",     "n0",       "nt",      "o",        "cu_seqlens", "state",
    "state_index", "states", "accepted", "state_n", "states_n", NULL};

static bool in_list(const char *s, const char *const *list) {
  for (; *list; list++)
    if (strcmp(s, *list) == 0) return true;
  return false;
}

/* The name as it stands in the source, for diag->word. */
static const char *as_string(struct front *f, const char *name) {
  return arena_printf(f->arena, "\"%s\"", name);
}

/* "h0, ht, o" */
static const char *listed(struct front *f, const char *const *list) {
  const char *text = *list;
  while (*++list) text = arena_printf(f->arena, "%s, %s", text, *list);
  return text;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_identifier(const char *s, size_t len) {
  if (len == 0 || len > MAX_NAME || !is_letter(s[0])) return false;
  for (size_t i = 0; i < len; i++)
    if (!is_letter(s[i]) && !(s[i] >= '0' && s[i] <= '9') && s[i] != '_') return false;
  return true;
}

const char *front_identifier(struct front *f, const char *what, const char *s, size_t len) {
  char *name = arena_alloc(f->arena, len + 1);
  memcpy(name, s, len);
  const char *quoted = diag_quote(f->arena, s, len);
  if (!is_identifier(s, len)) {
    diag_error(&f->diag, as_string(f, name), "%s %s: not an identifier", what, quoted);
    diag_note(&f->diag, "a letter, then letters, digits and _, at most %d of them", MAX_NAME);
    return NULL;
  }
  if (in_list(name, keywords)) {
    diag_error(&f->diag, as_string(f, name), "%s %s is a word of C, C++ or CUDA", what, quoted);
    diag_note(&f->diag, "names appear in the emitted source; choose another");
    return NULL;
  }
  return name;
}

/* ---- leaves ---- */

const char *leaf_text(struct arena *a, const struct leaf *l, const char *contract) {
  const char *kind = l->param ? "param" : "input", *step = l->step ? ", step" : "";
  if (!l->axis && !l->step && !contract) return arena_printf(a, "%s \"%s\"", kind, l->name);
  return arena_printf(a, "%s { \"%s\"%s%s%s%s }", kind, l->name, step, l->axis ? ", " : "",
                      l->axis ? axis_name(l->axis) : "", contract ? contract : "");
}

static const char *number_text(struct front *f, double x) {
  f->exprs.scratch.len = 0;
  buf_number(&f->exprs.scratch, x, 6);
  return arena_strdup(f->arena, buf_text(&f->exprs.scratch));
}

static const char *declared(struct front *f, const struct leaf *l) {
  const char *lo = l->min > -INFINITY ? number_text(f, l->min) : NULL;
  const char *hi = l->max < INFINITY ? number_text(f, l->max) : NULL;
  if (!lo && !hi) return leaf_text(f->arena, l, NULL);
  const char *contract = arena_printf(f->arena, "%s%s%s%s", lo ? ", min = " : "", lo ? lo : "",
                                      hi ? ", max = " : "", hi ? hi : "");
  return leaf_text(f->arena, l, contract);
}

static const struct spec_option *find_option(const struct front *f, const char *name) {
  for (int i = 0; i < f->noptions; i++)
    if (strcmp(f->options[i].name, name) == 0) return &f->options[i];
  return NULL;
}

static const struct leaf *find_leaf(const struct front *f, const char *name) {
  for (int i = 0; i < f->nleaves; i++)
    if (strcmp(f->leaves[i]->name, name) == 0) return f->leaves[i];
  return NULL;
}

static bool same(const struct leaf *a, const struct leaf *b) {
  return a->param == b->param && a->axis == b->axis && a->step == b->step && a->min == b->min &&
         a->max == b->max;
}

/* The same name declared twice, in two ways. */
static const struct expr *clash(struct front *f, const struct leaf *l, const struct leaf *old) {
  diag_error(&f->diag, as_string(f, l->name), "%s here, %s in line %d", declared(f, l),
             declared(f, old), old->line);
  diag_note(&f->diag, "one name is one array: declare it once, in a local");
  f->diag.last = true;
  return NULL;
}

static bool leaf_is_valid(struct front *f, const struct leaf *l) {
  const char *kind = l->param ? "param" : "input";
  if (in_list(l->name, reserved)) {
    diag_error(&f->diag, as_string(f, l->name),
               "%s \"%s\": the op has an array of this name itself", kind, l->name);
    diag_note(&f->diag, "%s are taken", listed(f, reserved));
  } else if (!(l->min <= l->max)) {
    diag_error(&f->diag, as_string(f, l->name), "%s: its contract admits no value", declared(f, l));
    diag_note(&f->diag, "min and max are numbers, and min is at most max");
  } else if (l->step && l->param) {
    diag_error(&f->diag, as_string(f, l->name), "param \"%s\": a param does not vary over step",
               l->name);
  } else if (find_option(f, l->name)) {
    diag_error(&f->diag, as_string(f, l->name), "%s \"%s\": line %d has an option of this name",
               kind, l->name, find_option(f, l->name)->line);
  } else if (!find_leaf(f, l->name) && f->nleaves == MAX_LEAVES) {
    diag_error(&f->diag, as_string(f, l->name), "a spec with more than %d inputs and params",
               MAX_LEAVES);
  }
  f->diag.last = true; /* what came before it was right */
  return !f->diag.message;
}

const struct expr *front_leaf(struct front *f, const struct leaf *l) {
  if (!leaf_is_valid(f, l)) return NULL;
  const struct leaf *old = find_leaf(f, l->name);
  if (old) return same(l, old) ? expr_leaf(&f->exprs, old) : clash(f, l, old);
  struct leaf *leaf = arena_new(f->arena, struct leaf);
  *leaf = *l;
  leaf->line = f->exprs.line;
  leaf->fp32 = l->param;
  leaf->index = f->nleaves;
  f->leaves[f->nleaves++] = leaf;
  return expr_leaf(&f->exprs, leaf);
}

/* ---- options ---- */

const struct expr *front_option(struct front *f, const char *name, double default_value) {
  const struct spec_option *old = find_option(f, name);
  if (!(default_value >= 1 && default_value <= MAX_SIZE && default_value == floor(default_value))) {
    diag_error(&f->diag, as_string(f, name),
               "option \"%s\": its default is a whole number from 1 to %d", name, (int)MAX_SIZE);
    return NULL;
  }
  if (find_leaf(f, name) || (old && old->default_value != (int)default_value)) {
    diag_error(&f->diag, as_string(f, name),
               "option \"%s\": line %d gives the name another meaning", name,
               old ? old->line : find_leaf(f, name)->line);
    f->diag.last = true;
    return NULL;
  }
  if (!old && f->noptions == MAX_OPTIONS) {
    diag_error(&f->diag, name, "a spec with more than %d options", MAX_OPTIONS);
    return NULL;
  }
  const int value = settings_value(f, name, (int)default_value);
  if (!old)
    f->options[f->noptions++] =
        (struct spec_option){name, value, (int)default_value, f->exprs.line};
  return expr_option(&f->exprs, name, value);
}

const struct expr *front_size(struct front *f, const char *what, const struct expr *e) {
  if (!e) return NULL;
  const bool number = e->op == OP_CONST || e->op == OP_OPTION;
  if (number && e->value >= 1 && e->value <= MAX_SIZE && e->value == floor(e->value)) return e;
  diag_error(&f->diag, what, "%s takes a whole number from 1 to %d; got %s", what, (int)MAX_SIZE,
             expr_text(&f->exprs, e));
  diag_note(&f->diag, "a number that the build chooses is option { \"name\", default }");
  return NULL;
}
