/* SPDX-License-Identifier: MIT
 * random_spec.c - the grammar as a table of productions, and the writer that expands them.
 *
 * `<unit>` in a production stands for one of the productions of `unit`. The first ones of a symbol
 * need no further depth. A symbol that is shared may come out as a local that other places use too.
 */
#include "random_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(struct random *r) { /* splitmix64 */
  uint64_t x = r->state += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

int random_below(struct random *r, int n) {
  const uint64_t x = random_next(r);
  return n > 0 ? (int)(x % (uint64_t)n) : 0;
}

bool random_chance(struct random *r, int in_hundred) {
  return random_below(r, 100) < in_hundred;
}

/* ---- the grammar ---- */

enum { MAX_RULES = 16, MAX_LOCALS = 24, MAX_LEAVES = 40, MANY_LEAVES = 10 };

struct symbol {
  const char *name;
  bool shared; /* may become a local */
  int flat;    /* the first so many productions are the ones for no depth */
  const char *rules[MAX_RULES];
};

static const char wide_roles[] = "  k = concat(input { \"ka\", dk }, input { \"kb\", dk }),\n"
                                 "  q = concat(input { \"qa\", dk }, input { \"qb\", dk }),\n";

static const struct symbol grammar[] = {
    /* scalars of a token: proved in [0,1], proved <= 0, any, a weight of about 1 */
    {"unit",
     true,
     4,
     {"exp(<gate>)", "sigmoid(<scalar>)", "(1 - 2^(-<small> - head))", "exp(-exp(<param>) * <dt>)",
      "exp(<nonpos>)", "sigmoid(<any>)", "<unit> * <unit>", "(1 - <unit> * <fraction>)",
      "max(0, min(1, <scalar> + 1))", "<unit>^2", "max(<unit>, <fraction>)", "sqrt(<unit>)",
      "(<unit> + <unit>) / 2", "min(<unit>, <unit>)"}},
    {"nonpos",
     true,
     2,
     {"<gate>", "-<dt>", "-softplus(<any>)", "-abs(<any>)", "(<nonpos> + <nonpos>)",
      "min(0, <any>)", "<nonpos> * <fraction>", "-exp(<param>) * <dt>", "log(<unit>)"}},
    {"any",
     true,
     4,
     {"<scalar>", "<param>", "<number>", "head / heads", "(<any> + <any>)", "(<any> - <any>)",
      "<any> * <number>", "tanh(<any>)", "silu(<any>)", "sin(<any>)", "cos(<any>)", "elu(<any>)",
      "<any> / (1 + abs(<any>))", "max(<any>, <any>)", "-(<any>)", "(<unit> - <fraction>)"}},
    {"weight",
     true,
     2,
     {"<fraction>", "<dt>", "(1 + tanh(<any>))", "(<unit> + <fraction>)", "softplus(<any>)",
      "(2 - <unit>)", "-(<weight>)", "<weight> / (1 + <unit>)"}},
    {"dt", true, 2, {"softplus(<scalar>)", "softplus(<scalar> + <param>)"}},
    /* of a token and a channel of dk, in [0,1] */
    {"channels",
     true,
     3,
     {"exp(<channel_gate>)", "sigmoid(<y>)", "exp(-exp(<wk>) * <dt>)",
      "exp(-exp(<param>) * softplus(<y> + <wk>))", "<channels> * <unit>", "<channels> * <channels>",
      "exp(-softplus(<y>) * <unit>)", "(1 - <channels> * <fraction>)",
      "max(<channels>, <fraction>)", "sigmoid(<y> * <scalar> + <any>)"}},
    /* scalars of a head */
    {"slope",
     false,
     3,
     {"<fraction>", "(1 - 2^(-<small> - head))", "sigmoid(<param>)", "(1 - <slope> * <fraction>)",
      "exp(-abs(<param>) * <fraction>)", "2^(-8 * (head + 1) / heads)"}},
    {"scale",
     false,
     6,
     {"dk^-0.5", "<fraction>", "1 / dk", "2^(-head / heads)", "(dk * dv)^-0.25",
      "<option> / 8 * dk^-0.5"}},
    /* roles, of their input <x>; a third of them scalars times it */
    {"plain_key", /* as it was given, times a scalar: see write_spec */
     false,
     4,
     {"<x>", "<weight> * <x>", "<x> * (<weight>)", "-(<x> / (1 + <unit>))"}},
    {"key",
     false,
     4,
     {"<x>", "<weight> * <x>", "<x> * (<weight>)", "-(<x> / (1 + <unit>))", "l2norm(<x>)",
      "l2norm(elu(<x>) + 1) * <weight>", "softmax(<x>)", "relu(<x>)", "rmsnorm(<x>) * <wk>",
      "<x> * <wk>", "<x> / (1 + sum(<x> * <x>))", "tanh(<x> + <any>)", "l2norm(<x>, 0.01)",
      "rmsnorm(softmax(<x>))"}},
    {"unit_key", /* of norm 1 at most, as what erases wants it */
     false,
     2,
     {"l2norm(<x>)", "<unit> * l2norm(<x>)", "l2norm(<x>, 0.01)", "l2norm(elu(<x>) + 1)",
      "-(l2norm(<x>) / (1 + <unit>))", "softmax(<x>)"}},
    {"feature", /* not negative, so that row sums do not cancel */
     false,
     3,
     {"relu(<x>)", "(elu(<x>) + 1)", "<unit> * relu(<x>)", "(elu(<x>) + 1) / (1 + <unit>)",
      "softmax(<x>)", "abs(<x>) * <fraction>", "sigmoid(<x>) * <dt>", "<x> * <x>",
      "(elu(<x> * <wk>) + 1)"}},
    {"value",
     false,
     4,
     {"<x>", "<weight> * <x>", "<x> * (<weight>)", "-(<x> / (1 + <unit>))", "silu(<x>)",
      "silu(<x> * <z> + <wv>)", "<x> * <z>", "l2norm(<x>)", "(<x> - sum(<x>) / dv)",
      "rmsnorm(<x>) * <wv> * <weight>", "(<x> + <any> * <z>)"}},
    /* over dv */
    {"out",
     false,
     4,
     {"o * silu(<z>)", "o * <slope>", "(o + <param> * <z>)", "o * sigmoid(<z>)",
      "<out> * <fraction>", "(<out> + <fraction> * <z>)", "(<out>) * silu(<z>)", "max(<out>, <z>)",
      "tanh(<out>)", "<out> / (1 + abs(<z>))", "rmsnorm(<out>)", "rmsnorm(<out>) * <wv>",
      "<out> * <unit>", "l2norm(<out>)", "(<out> + <wv>)", "(<out> - sum(<out>) / dv)"}},
    /* fields */
    {"decays",
     false,
     2,
     {"{ decay(<unit>) }", "decay(<slope>)", "{ decay(<unit>), decay(<slope>), }",
      "{ decay(<unit>); decay(<unit>) }", "{ decay(<slope>), decay(<unit>), decay(<unit>) }",
      "{ decay(<channels>) }", "{ decay(<unit>), decay(<channels>) }",
      "{ decay(<channels>), decay(<slope>), decay(<channels>) }"}},
    {"scalar_decays",
     false,
     2,
     {"{ decay(<unit>) }", "decay(<slope>)", "{ decay(<unit>), decay(<slope>), }"}},
    {"divisor",
     false,
     3,
     {"rowsum + <fraction>", "max(abs(rowsum), 1)", "rowsum + exp(<param>)", "rowsum + 1e-6",
      "sqrt(rowsum) + <unit> + <fraction>", "max(rowsum, <fraction>) * (1 + head / heads)",
      "(rowsum + <dt>) * <fraction> + 0.1"}},
    {"erasing", /* <k>: the role */
     false,
     2,
     {"{ delta(<unit>) }", "{ decay(<unit>), delta(<unit>) }", "{ decay(<slope>), delta(<unit>) }",
      "{ delta(2 * <unit>), decay(<unit>) }", "{ decay(<unit>) - outer(<k>, <unit> * <k>) }",
      "{ decay(<unit>), identity - outer(<unit> * <k>, <k> / (1 + <unit>)) }",
      "{ identity - outer(<k>, sigmoid(<wk>) * <k>), decay(<unit>) }",
      "{ decay(<channels>), delta(<unit>) }",
      "{ decay(<channels>), identity - outer(<unit> * <k>, <k> / (1 + <unit>)), decay(<unit>) }",
      "{ decay(<slope>), decay(<channels>), identity - outer(<k>, sigmoid(<wk>) * <k>) }"}},
    {"mask", false, 2, {"decay(<unit>)", "ones * decay(<slope>)"}},
    {"wild",
     false,
     9,
     {"  normaliser = max(abs(rowsum), 1), k = exp(input \"i\") * input { \"k\", dk },\n",
      "  q = input { \"qa\", dk } + input { \"qb\", dk },\n", wide_roles,
      "  transition = { decay(sigmoid(input { \"f\", dk })), delta(sigmoid(input \"rate\")) },\n",
      "  transition = { decay(sigmoid(input { \"f\", dk })) },\n",
      "  transition = { decay(sigmoid(sum(input { \"f\", dk }))) },\n",
      "  mask = window(<option>),\n", "  score = 1 + qk + qk^2 / 2,\n", "  read = \"before\",\n"}},
};

static const struct symbol *find_symbol(const char *name, size_t len) {
  for (size_t i = 0; i < sizeof grammar / sizeof *grammar; i++)
    if (strlen(grammar[i].name) == len && !memcmp(grammar[i].name, name, len)) return &grammar[i];
  return NULL;
}

/* ---- names and leaves ---- */

/* Names that kernels, templates and the specs' own words have, too. */
static const char *const near_words[] = {
    "B",     "T",    "H",    "chunk", "lane",  "warp",   "row",    "col",  "smem", "stage",
    "acc",   "gate", "o_",   "args",  "param", "input",  "decay",  "exp",  "head", "bf16",
    "u32",   "tid",  "dk",   "dv",    "qk",    "scale",  "state_", "P",    "S",    "M_LOG2E",
    "in_g",  "e1",   "text", "value", "log2",  "expf",   "tile",   "y0",   "j1",   "index",
    "frags", "v_",   "k_",   "q_",    "N",     "inputs", "heads",  "step", "beta", "D"};
enum { NWORDS = sizeof near_words / sizeof *near_words };

struct declared {
  const char *name, *text;
  char what; /* which kind of leaf */
};

struct writer {
  struct random *random;
  struct arena *arena;
  struct buf locals; /* "local e1 = ...\n" */
  struct {
    const struct symbol *symbol;
    const char *name;
  } local[MAX_LOCALS];
  int nlocals;
  struct declared leaves[MAX_LEAVES];
  int nleaves;
  const char *role; /* the input of the role being written */
  const char *key;  /* the role k */
  struct random_spec *spec;
};

static bool is_taken(const struct writer *w, const char *name) {
  for (int i = 0; i < w->nleaves; i++)
    if (!strcmp(w->leaves[i].name, name)) return true;
  return false;
}

/* A name that nothing has yet; the number makes it so. */
static const char *new_name(struct writer *w) {
  const char *word = near_words[random_below(w->random, NWORDS)];
  if (!is_taken(w, word)) return word;
  return arena_printf(w->arena, "%s%d", word, 100 + w->nleaves);
}

static const char *leaf_form(struct writer *w, char what) {
  switch (what) {
  case 'g': return "input { \"%s\", max = 0 }";
  case 's':
    return random_chance(w->random, 70) ? "input \"%s\"" : "input { \"%s\", min = -2, max = 2 }";
  case 'p':
    return random_chance(w->random, 50) ? "param \"%s\"" : "param { \"%s\", min = -1, max = 1 }";
  case 'c': return "input { \"%s\", dk, max = 0 }";
  case 'y': return "input { \"%s\", dk }";
  case 'k': return "param { \"%s\", dk }";
  case 'v': return "param { \"%s\", dv }";
  default: return "input { \"%s\", dv }";
  }
}

/* An old leaf of this kind, or a new one; many make a call too wide for an op. */
static const char *leaf(struct writer *w, char what) {
  const bool reuse = random_chance(w->random, w->nleaves < MANY_LEAVES ? 40 : 95);
  const int start = random_below(w->random, MAX_LEAVES);
  for (int i = 0; i < w->nleaves && reuse; i++) {
    const struct declared *d = &w->leaves[(start + i) % w->nleaves];
    if (d->what == what) return d->text;
  }
  if (w->nleaves == MAX_LEAVES) return "input \"last\"";
  const char *name = new_name(w);
  struct buf text = {0};
  const char *form = leaf_form(w, what), *hole = strstr(form, "%s");
  buf_write(&text, form, (size_t)(hole - form));
  buf_printf(&text, "%s%s", name, hole + 2);
  const char *kept = arena_strdup(w->arena, buf_text(&text));
  buf_finish(&text);
  w->leaves[w->nleaves++] = (struct declared){name, kept, what};
  return kept;
}

static const char *option(struct writer *w) {
  struct random_spec *s = w->spec;
  const int n = s->nsettings, value = 1 + random_below(w->random, 9);
  if (n == SPEC_MAX_SETTINGS) return "option { \"fixed\", 3 }";
  const char *name = arena_printf(w->arena, "option_%d", n);
  s->settings[s->nsettings++] = (mkc_setting){name, 1 + random_below(w->random, 9)};
  return arena_printf(w->arena, "option { \"%s\", %d }", name, value);
}

/* ---- expanding ---- */

static const char *expand(struct writer *w, const struct symbol *s, int depth);

/* What stands between < and >. */
static const char *expand_name(struct writer *w, const char *name, size_t len, int depth) {
  static const char *const fractions[] = {"0.5", "0.25", "0.875", "0.9", "1/3", "0.99"};
  static const char *const numbers[] = {"0.5", "-1", "2", "0.1", "1.5", "-0.3", "1e-3", "3"};
  struct random *r = w->random;
  const char *text = NULL;
  if (!strncmp(name, "gate>", 5)) text = leaf(w, 'g');
  if (!strncmp(name, "channel_gate>", 13)) text = leaf(w, 'c');
  if (!strncmp(name, "y>", 2)) text = leaf(w, 'y');
  if (!strncmp(name, "scalar>", 7)) text = leaf(w, 's');
  if (!strncmp(name, "param>", 6)) text = leaf(w, 'p');
  if (!strncmp(name, "z>", 2)) text = leaf(w, 'z');
  if (!strncmp(name, "wk>", 3)) text = leaf(w, 'k');
  if (!strncmp(name, "wv>", 3)) text = leaf(w, 'v');
  if (!strncmp(name, "x>", 2)) text = w->role;
  if (!strncmp(name, "k>", 2)) text = w->key;
  if (!strncmp(name, "option>", 7)) text = option(w);
  if (!strncmp(name, "fraction>", 9)) text = fractions[random_below(r, 6)];
  if (!strncmp(name, "number>", 7)) text = numbers[random_below(r, 8)];
  if (!strncmp(name, "small>", 6)) text = arena_printf(w->arena, "%d", 1 + random_below(r, 6));
  return text ? text : expand(w, find_symbol(name, len), depth);
}

static const char *expand_rule(struct writer *w, const char *rule, int depth) {
  struct buf out = {0};
  for (const char *p = rule; *p;) {
    const char *close = *p == '<' ? strchr(p, '>') : NULL;
    if (close)
      buf_puts(&out, expand_name(w, p + 1, (size_t)(close - p - 1), depth - 1));
    else
      buf_write(&out, p, 1);
    p = close ? close + 1 : p + 1;
  }
  const char *text = arena_strdup(w->arena, buf_text(&out));
  buf_finish(&out);
  return text;
}

static const char *old_local(struct writer *w, const struct symbol *s) {
  const int start = random_below(w->random, MAX_LOCALS);
  for (int i = 0; i < w->nlocals; i++) {
    const int at = (start + i) % w->nlocals;
    if (w->local[at].symbol == s) return w->local[at].name;
  }
  return NULL;
}

static const char *make_local(struct writer *w, const struct symbol *s, const char *text) {
  const char *name = arena_printf(w->arena, "e%d", w->nlocals + 1);
  buf_printf(&w->locals, "local %s = %s\n", name, text);
  w->local[w->nlocals].symbol = s;
  w->local[w->nlocals++].name = name;
  return name;
}

static const char *expand(struct writer *w, const struct symbol *s, int depth) {
  const char *old = s->shared && random_chance(w->random, 25) ? old_local(w, s) : NULL;
  if (old) return old;
  int n = 0;
  while (n < MAX_RULES && s->rules[n]) n++;
  const char *text =
      expand_rule(w, s->rules[random_below(w->random, depth > 0 ? n : s->flat)], depth);
  if (!s->shared || w->nlocals == MAX_LOCALS || !random_chance(w->random, 20)) return text;
  return make_local(w, s, text);
}

static const char *one(struct writer *w, const char *name, int depth) {
  return expand(w, find_symbol(name, strlen(name)), depth);
}

/* ---- a spec ---- */

/* q = l2norm(input { "q", dk }) and so on; left out where it is the input of that name. Returns the
 * role's text. */
static const char *put_role(struct writer *w, struct buf *out, const char *role, const char *axis,
                            const char *symbol) {
  const char *name = random_chance(w->random, 60) ? role : new_name(w);
  w->role = arena_printf(w->arena, "input { \"%s\", %s }", name, axis);
  w->leaves[w->nleaves++] = (struct declared){name, w->role, 'r'};
  const char *text = one(w, symbol, random_below(w->random, 3));
  if (strcmp(text, w->role) != 0 || strcmp(name, role) != 0)
    buf_printf(out, "  %s = %s,\n", role, text);
  return text;
}

static void put_field(struct writer *w, struct buf *out, const char *field, const char *symbol,
                      int in_hundred) {
  if (random_chance(w->random, in_hundred))
    buf_printf(out, "  %s = %s,\n", field, one(w, symbol, 3));
}

/* An output that normalises makes all rows count alike, also one that is small because its q and k
 * happen to be nearly orthogonal: of such a product rounding leaves little. Its q and k are not
 * computed, so that nothing is rounded before they are multiplied. */
static const char *write_spec(struct writer *w, bool wild) {
  static const char about[] = "  about = \"*/ #line 1 \\\"x\\\" ?"
                              "?/ \\\\ $(x) //%% }\",\n";
  struct buf fields = {0}, text = {0};
  put_field(w, &fields, "output", "out", 40);
  const bool divides = !wild && random_chance(w->random, 15);
  const char *key = divides ? "feature" : strstr(buf_text(&fields), "norm(") ? "plain_key" : "key";
  put_role(w, &fields, "q", "dk", key);
  const bool erases = !divides && random_chance(w->random, 30);
  w->key = put_role(w, &fields, "k", "dk", erases ? "unit_key" : key);
  put_role(w, &fields, "v", "dv", "value");
  put_field(w, &fields, "scale", "scale", 70);
  put_field(w, &fields, "transition",
            erases    ? "erasing"
            : divides ? "scalar_decays"
                      : "decays",
            erases ? 100 : 75);
  put_field(w, &fields, "mask", "mask", 25);
  put_field(w, &fields, "normaliser", "divisor", divides ? 100 : 0);
  if (random_chance(w->random, 20)) buf_puts(&fields, about);
  const char *other = wild ? one(w, "wild", 1) : "";
  buf_printf(&text, "%sreturn variant {\n  name = \"%s\",\n%s%s}\n", buf_text(&w->locals),
             near_words[random_below(w->random, NWORDS)], buf_text(&fields), other);
  const char *kept = arena_strdup(w->arena, buf_text(&text));
  buf_finish(&fields);
  buf_finish(&text);
  return kept;
}

/* One to three characters lost, doubled or replaced. */
static const char *broken(struct random *r, struct arena *a, const char *text) {
  static const char others[] = "{}()\"=,.*+-^01xq\n %$\\";
  const int times = 1 + random_below(r, 3);
  struct buf out = {0};
  buf_puts(&out, text);
  for (int i = 0; i < times; i++) {
    struct buf next = {0};
    const size_t at = (size_t)random_below(r, (int)out.len);
    const int how = random_below(r, 3);
    buf_write(&next, out.data, at);
    if (how == 1) buf_write(&next, out.data + at, 1);
    if (how == 2) buf_write(&next, &others[random_below(r, (int)sizeof others - 1)], 1);
    buf_puts(&next, out.data + at + (how != 1));
    buf_finish(&out);
    out = next;
  }
  const char *kept = arena_strdup(a, buf_text(&out));
  buf_finish(&out);
  return kept;
}

void random_spec(struct random *r, struct arena *a, struct random_spec *ret) {
  *ret = (struct random_spec){0};
  struct writer w = {.random = r, .arena = a, .spec = ret};
  const int kind = random_below(r, 100);
  ret->kind = kind < 70 ? SPEC_PLAIN : kind < 82 ? SPEC_WILD : SPEC_BROKEN;
  ret->text = write_spec(&w, ret->kind == SPEC_WILD);
  if (ret->kind == SPEC_BROKEN) ret->text = broken(r, a, ret->text);
  if (random_chance(r, 50)) ret->nsettings = 0; /* the defaults */
  buf_finish(&w.locals);
}
