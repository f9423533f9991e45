/* SPDX-License-Identifier: MIT
 * options.h - the commands and options of maskc, as one table, and the parser that reads it.
 *
 * Everything that knows an option comes from the table: parsing, --help, messages, the man page,
 * the completions of the shells. `--name VALUE`, `--name=VALUE`, `-n VALUE` and `-nVALUE` are the
 * same; `--` ends the options; options may stand before and after operands.
 */
#ifndef MKC_CLI_OPTIONS_H
#define MKC_CLI_OPTIONS_H

#include "../../runtime/base/buf.h"
#include "../../runtime/base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum command_id {
  COMMAND_CHECK,
  COMMAND_SHOW,
  COMMAND_BUILD,
  COMMAND_RUN,
  COMMAND_LIST,
  COMMAND_CACHE,
  COMMAND_DOCTOR,
  COMMAND_HELP,
  COMMAND_VERSION,
  COMMAND_COUNT
};

struct command {
  const char *name;
  const char *operands; /* for the usage line: "SPEC" */
  int min_operands, max_operands;
  const char *choices; /* what an operand may be: "stat|prune"; NULL: anything */
  const char *summary; /* one line */
  const char *details; /* of its own help page */
};
extern const struct command command_table[COMMAND_COUNT];

enum option_id {
  OPTION_ALIGN,
  OPTION_ARCH,
  OPTION_ASCII,
  OPTION_CHECK,
  OPTION_CHUNK,
  OPTION_COLOR,
  OPTION_COMPLETION,
  OPTION_DEPFILE,
  OPTION_DEVICE,
  OPTION_DK,
  OPTION_DTYPE,
  OPTION_DV,
  OPTION_EMIT,
  OPTION_H0,
  OPTION_HEADER,
  OPTION_HEADS,
  OPTION_HELP,
  OPTION_IN,
  OPTION_JOBS,
  OPTION_JSON,
  OPTION_LENGTHS,
  OPTION_LINES,
  OPTION_MAN,
  OPTION_MAX_BYTES,
  OPTION_NO_CACHE,
  OPTION_NO_PTX,
  OPTION_NO_REFERENCE,
  OPTION_OUT,
  OPTION_OUTPUT,
  OPTION_PACK,
  OPTION_PASS,
  OPTION_PLAN,
  OPTION_POSITIONS,
  OPTION_REFERENCE,
  OPTION_REPEAT,
  OPTION_SEED,
  OPTION_SET,
  OPTION_SHAPE,
  OPTION_SKIP_UNSERVED,
  OPTION_SVG,
  OPTION_TOKENS,
  OPTION_VERBOSE,
  OPTION_COUNT
};

enum option_kind { KIND_FLAG, KIND_NUMBER, KIND_CHOICE, KIND_TEXT };

struct option {
  const char *name; /* without its dashes */
  char letter;      /* 0: none */
  enum option_kind kind;
  const char *value; /* what help calls it: "FILE"; of a choice all there are: "cu|ptx|cubin" */
  int64_t min, max;  /* of a number */
  bool repeat;       /* may be given more than once */
  unsigned commands; /* 1 << command_id of each that takes it */
  unsigned lists;    /* the same of each that takes several values, with commas between them */
  const char *help;
};
extern const struct option option_table[OPTION_COUNT];

/* The exit statuses, from 0 on, and first steps: both end with NULL. */
extern const char *const exit_status_table[];
extern const char *const example_table[];

/* A parsed command line; texts point into argv. */
struct args {
  enum command_id command;
  const char **operands;
  int noperands;
  struct arg_value {
    enum option_id id;
    const char *text; /* "" for a flag */
  } * values;
  int nvalues;
};

/* argv without the program's name. Errors: MKC_E_USAGE, with the nearest valid name. With --help
 * operands are not counted. */
mkc_status args_parse(int argc, char *const *argv, struct args *ret, struct error *err);
void args_finish(struct args *args);
/* Whether --json stands there, also on a line that does not parse: its error is JSON then. */
bool args_want_json(int argc, char *const *argv);

bool args_flag(const struct args *args, enum option_id id);
const char *args_text(const struct args *args, enum option_id id, const char *absent);
int64_t args_number(const struct args *args, enum option_id id, int64_t absent);
/* The values of a repeated option, one a call; *cursor starts at 0. NULL: no more. */
const char *args_each(const struct args *args, enum option_id id, int *cursor);

/* The values of an option that takes lists, one a call, in the caller's buffer; *cursor starts at
 * NULL. False: no more. */
bool args_item(const struct args *args, enum option_id id, const char **cursor, char *ret,
               size_t size);

/* A whole decimal number from min to max. */
bool parse_number(const char *text, int64_t min, int64_t max, int64_t *ret);

/* Help: all commands, or the options of one. */
void help_overview(struct buf *out);
void help_command(struct buf *out, enum command_id command);
/* maskc.1, in the man macros (help_man.c). */
void help_man(struct buf *out);
/* The script that completes command lines, of "bash", "zsh" or "fish"; specs: the shipped ones,
 * NULL at the end (help_completion.c). */
void help_completion(struct buf *out, const char *shell, const char *const *specs);
int command_find(const char *name); /* -1: none */
/* MKC_E_USAGE, with the nearest command. */
mkc_status command_unknown(const char *word, struct error *err);

/* Of names (NULL-terminated), the one that `word` is most likely a slip of; NULL if none is near.
 */
const char *nearest_name(const char *word, const char *const *names);

#endif
