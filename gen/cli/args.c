/* SPDX-License-Identifier: MIT
 * args.c - parses a command line by the tables of options.c.
 */
#include "options.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 40 };

static size_t min3(size_t a, size_t b, size_t c) {
  const size_t m = a < b ? a : b;
  return m < c ? m : c;
}

/* Edits (insert, delete, replace a letter) between two names; long words count as far. */
static size_t edit_distance(const char *a, const char *b) {
  const size_t na = strlen(a), nb = strlen(b);
  if (na > NAME_MAX_BYTES || nb > NAME_MAX_BYTES) return NAME_MAX_BYTES;
  size_t row[NAME_MAX_BYTES + 1];
  for (size_t j = 0; j <= nb; j++) row[j] = j;
  for (size_t i = 1; i <= na; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      const size_t above = row[j];
      row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[nb];
}

const char *nearest_name(const char *word, const char *const *names) {
  const char *best = NULL;
  size_t best_distance = 1 + strlen(word) / 3;
  if (best_distance > 3) best_distance = 3;
  for (; *names; names++) {
    const size_t n = strlen(word);
    const size_t d = n >= 3 && strncmp(word, *names, n) == 0 ? 1 : edit_distance(word, *names);
    if (d < best_distance || (d == best_distance && !best)) {
      best = *names;
      best_distance = d;
    }
  }
  return best;
}

bool parse_number(const char *text, int64_t min, int64_t max, int64_t *ret) {
  const bool negative = *text == '-';
  const char *p = text + negative;
  int64_t n = 0;
  if (!*p) return false;
  for (; *p; p++) {
    if (*p < '0' || *p > '9' || n > (INT64_MAX - 9) / 10) return false;
    n = 10 * n + (*p - '0');
  }
  *ret = negative ? -n : n;
  return *ret >= min && *ret <= max;
}

int command_find(const char *name) {
  for (int i = 0; i < COMMAND_COUNT; i++)
    if (strcmp(command_table[i].name, name) == 0) return i;
  return -1;
}

/* ---- usage errors ---- */

mkc_status command_unknown(const char *word, struct error *err) {
  const char *names[COMMAND_COUNT + 1] = {NULL};
  for (int i = 0; i < COMMAND_COUNT; i++) names[i] = command_table[i].name;
  const char *near = nearest_name(word, names);
  error_set(err, MKC_E_USAGE, "unknown command '%s'", word);
  if (near)
    error_append(err, "; did you mean '%s'?", near);
  else
    error_append(err, "; 'maskc help' lists them");
  return err->status;
}

static mkc_status unknown_option(enum command_id id, const char *word, struct error *err) {
  const char *names[OPTION_COUNT + 1] = {NULL};
  int n = 0;
  for (int i = 0; i < OPTION_COUNT; i++)
    if (option_table[i].commands & 1u << id) names[n++] = option_table[i].name;
  const char *dashes = strncmp(word, "--", 2) == 0 ? "--" : "-";
  const char *name = word + strlen(dashes);
  const size_t len = strcspn(name, "=");
  char bare[NAME_MAX_BYTES + 1] = "";
  if (len < sizeof bare) memcpy(bare, name, len);
  const char *near = *bare ? nearest_name(bare, names) : NULL;
  error_set(err, MKC_E_USAGE, "'maskc %s' has no option '%s%.*s'", command_table[id].name, dashes,
            (int)len, name);
  if (near)
    error_append(err, "; did you mean '--%s'?", near);
  else
    error_append(err, "; 'maskc help %s' lists its options", command_table[id].name);
  return err->status;
}

/* ---- values ---- */

static bool is_choice(const char *choices, const char *text) {
  const size_t n = strlen(text);
  for (const char *c = choices; *c;) {
    const size_t len = strcspn(c, "|");
    if (len == n && memcmp(c, text, n) == 0) return true;
    c += len + (c[len] == '|');
  }
  return false;
}

static mkc_status check_item(const struct option *o, const char *text, struct error *err) {
  int64_t n;
  if (o->kind == KIND_CHOICE && !is_choice(o->value, text))
    return error_set(err, MKC_E_USAGE, "--%s=%s: expected %s%s", o->name, text,
                     strchr(o->value, '|') ? "one of " : "", o->value);
  if (o->kind == KIND_NUMBER && !parse_number(text, o->min, o->max, &n))
    return error_set(err, MKC_E_USAGE, "--%s=%s: expected a whole number from %lld to %lld",
                     o->name, text, (long long)o->min, (long long)o->max);
  if (o->kind == KIND_TEXT && !*text)
    return error_set(err, MKC_E_USAGE, "--%s needs a value: --%s=%s", o->name, o->name, o->value);
  return MKC_OK;
}

/* The item at the head of a list, into ret; where the next one is, or NULL. Too long for ret is
 * none that could be right, and stays so when it is cut. */
static const char *next_item(const char *list, char *ret, size_t size) {
  const size_t len = strcspn(list, ",");
  const size_t kept = len < size ? len : size - 1;
  memcpy(ret, list, kept);
  ret[kept] = 0;
  return list[len] ? list + len + 1 : NULL;
}

static mkc_status check_value(const struct option *o, enum command_id command, const char *text,
                              struct error *err) {
  char item[NAME_MAX_BYTES + 1];
  mkc_status status = MKC_OK;
  if (!(o->lists & 1u << command)) return check_item(o, text, err);
  for (const char *list = text; list && !status;) {
    list = next_item(list, item, sizeof item);
    status = check_item(o, item, err);
  }
  return status;
}

static mkc_status add_value(struct args *args, enum option_id id, const char *text,
                            struct error *err) {
  const struct option *o = &option_table[id];
  const mkc_status status = check_value(o, args->command, text, err);
  if (status) return status;
  if (!o->repeat && o->kind != KIND_FLAG && args_text(args, id, NULL))
    return error_set(err, MKC_E_USAGE, "--%s is given twice", o->name);
  args->values[args->nvalues++] = (struct arg_value){id, text};
  return MKC_OK;
}

/* ---- one word of the command line ---- */

/* The option that `word` names, or -1; *ret_value is what is attached to it, or NULL. */
static int find_option(enum command_id command, const char *word, const char **ret_value) {
  *ret_value = NULL;
  for (int i = 0; i < OPTION_COUNT; i++) {
    const struct option *o = &option_table[i];
    if (!(o->commands & 1u << command)) continue;
    if (word[1] != '-') {
      if (!o->letter || word[1] != o->letter) continue;
      if (word[2]) *ret_value = word + 2;
      return i;
    }
    const size_t n = strlen(o->name);
    if (strncmp(word + 2, o->name, n) != 0) continue;
    if (word[2 + n] != '=' && word[2 + n]) continue;
    if (word[2 + n]) *ret_value = word + 3 + n;
    return i;
  }
  return -1;
}

/* Takes argv[*i], and its value where that is the next word. */
static mkc_status parse_option(int argc, char *const *argv, int *i, struct args *args,
                               struct error *err) {
  const char *value;
  const int id = find_option(args->command, argv[*i], &value);
  if (id < 0) return unknown_option(args->command, argv[*i], err);
  const struct option *o = &option_table[id];
  if (o->kind == KIND_FLAG) {
    if (value) return error_set(err, MKC_E_USAGE, "--%s takes no value", o->name);
    return add_value(args, (enum option_id)id, "", err);
  }
  if (!value) {
    if (*i + 1 >= argc)
      return error_set(err, MKC_E_USAGE, "--%s needs a value: --%s=%s", o->name, o->name, o->value);
    value = argv[++*i];
  }
  return add_value(args, (enum option_id)id, value, err);
}

/* An operand that is none of the command's choices. */
static mkc_status unknown_operand(const struct command *c, const char *word, struct error *err) {
  enum { MAX_CHOICES = 8 };
  char texts[MAX_CHOICES][NAME_MAX_BYTES + 1] = {{0}};
  const char *names[MAX_CHOICES + 1] = {NULL};
  const char *p = c->choices;
  for (int n = 0; *p && n < MAX_CHOICES; n++) {
    const size_t len = strcspn(p, "|");
    if (len <= NAME_MAX_BYTES) memcpy(texts[n], p, len);
    names[n] = texts[n];
    p += len + (p[len] == '|');
  }
  const char *near = nearest_name(word, names);
  error_set(err, MKC_E_USAGE, "'maskc %s %s': expected one of %s", c->name, word, c->choices);
  if (near) error_append(err, "; did you mean '%s'?", near);
  return err->status;
}

static mkc_status check_operands(const struct args *args, struct error *err) {
  const struct command *c = &command_table[args->command];
  if (args_flag(args, OPTION_HELP)) return MKC_OK;
  if (args->noperands < c->min_operands)
    return error_set(err, MKC_E_USAGE, "'maskc %s' needs %s: 'maskc %s %s'", c->name, c->operands,
                     c->name, c->operands);
  if (args->noperands > c->max_operands)
    return error_set(err, MKC_E_USAGE, "'maskc %s' does not know what to do with '%s'", c->name,
                     args->operands[c->max_operands]);
  for (int i = 0; i < args->noperands && c->choices; i++)
    if (!is_choice(c->choices, args->operands[i]))
      return unknown_operand(c, args->operands[i], err);
  return MKC_OK;
}

/* The command: the first word, or --help and --version in its place. */
static mkc_status parse_command(const char *word, struct args *args, struct error *err) {
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) word = "help";
  if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) word = "version";
  const int id = command_find(word);
  if (id < 0 && word[0] == '-')
    return error_set(err, MKC_E_USAGE, "expected a command before '%s'", word);
  if (id < 0) return command_unknown(word, err);
  args->command = (enum command_id)id;
  return MKC_OK;
}

mkc_status args_parse(int argc, char *const *argv, struct args *ret, struct error *err) {
  *ret = (struct args){0};
  if (argc < 1) return error_set(err, MKC_E_USAGE, "no command");
  mkc_status status = parse_command(argv[0], ret, err);
  if (status) return status;
  ret->operands = calloc((size_t)argc, sizeof *ret->operands);
  ret->values = calloc((size_t)argc, sizeof *ret->values);
  if (!ret->operands || !ret->values) status = error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  bool ended = false;
  for (int i = 1; i < argc && !status; i++) {
    if (!ended && strcmp(argv[i], "--") == 0)
      ended = true;
    else if (ended || argv[i][0] != '-' || !argv[i][1])
      ret->operands[ret->noperands++] = argv[i];
    else
      status = parse_option(argc, argv, &i, ret, err);
  }
  if (!status) status = check_operands(ret, err);
  if (status) args_finish(ret);
  return status;
}

void args_finish(struct args *args) {
  free(args->operands);
  free(args->values);
  *args = (struct args){0};
}

bool args_want_json(int argc, char *const *argv) {
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--json") == 0) return true;
  return false;
}

/* ---- what was given ---- */

const char *args_text(const struct args *args, enum option_id id, const char *absent) {
  for (int i = args->nvalues - 1; i >= 0; i--)
    if (args->values[i].id == id) return args->values[i].text;
  return absent;
}

bool args_flag(const struct args *args, enum option_id id) {
  return args_text(args, id, NULL) != NULL;
}

int64_t args_number(const struct args *args, enum option_id id, int64_t absent) {
  int64_t n = absent;
  const char *text = args_text(args, id, NULL);
  if (text) parse_number(text, option_table[id].min, option_table[id].max, &n);
  return n;
}

bool args_item(const struct args *args, enum option_id id, const char **cursor, char *ret,
               size_t size) {
  static const char end[] = "";
  if (!*cursor) *cursor = args_text(args, id, end);
  if (!**cursor) return false;
  const char *next = next_item(*cursor, ret, size);
  *cursor = next ? next : end;
  return true;
}

const char *args_each(const struct args *args, enum option_id id, int *cursor) {
  while (*cursor < args->nvalues) {
    const struct arg_value *v = &args->values[(*cursor)++];
    if (v->id == id) return v->text;
  }
  return NULL;
}
