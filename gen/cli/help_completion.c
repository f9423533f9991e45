/* SPDX-License-Identifier: MIT
 * help_completion.c - scripts that complete maskc's command lines, from the tables of options.c.
 *
 * Each completes the command, then options of that command, values where there is a list of them,
 * and operands: the names of shipped specs, a command's choices, files.
 */
#include "options.h"

#include <string.h>

/* ---- what there is to complete ---- */

static bool takes_spec(const struct command *c) {
  return strncmp(c->operands, "SPEC", 4) == 0;
}

static bool takes(const struct option *o, int command) {
  return o->commands & 1u << command;
}

/* "a|b" -> "a b" */
static void put_choices(struct buf *out, const char *choices) {
  for (const char *c = choices; *c; c++) buf_write(out, *c == '|' ? " " : c, 1);
}

static void put_commands(struct buf *out) {
  for (int i = 0; i < COMMAND_COUNT; i++)
    buf_printf(out, "%s%s", i ? " " : "", command_table[i].name);
}

static void put_specs(struct buf *out, const char *const *specs) {
  for (int i = 0; specs[i]; i++) buf_printf(out, "%s%s", i ? " " : "", specs[i]);
}

/* The words that an operand of the command may be; files apart. */
static void put_operands(struct buf *out, int command, const char *const *specs) {
  const struct command *c = &command_table[command];
  if (takes_spec(c))
    put_specs(out, specs);
  else if (c->choices)
    put_choices(out, c->choices);
  else if (command == COMMAND_HELP)
    put_commands(out);
}

/* ---- bash ---- */

static void bash_values(struct buf *out) {
  buf_puts(out, "  case $prev in\n");
  for (int i = 0; i < OPTION_COUNT; i++) {
    const struct option *o = &option_table[i];
    if (o->kind == KIND_FLAG) continue;
    buf_printf(out, "  --%s", o->name);
    if (o->letter) buf_printf(out, " | -%c", o->letter);
    buf_puts(out, ") ");
    if (o->kind == KIND_CHOICE) {
      buf_puts(out, "COMPREPLY=($(compgen -W '");
      put_choices(out, o->value);
      buf_puts(out, "' -- \"$cur\")); ");
    }
    buf_puts(out, "return ;;\n");
  }
  buf_puts(out, "  esac\n");
}

static void bash_command(struct buf *out, int command, const char *const *specs) {
  buf_printf(out, "  %s)\n    options='", command_table[command].name);
  const char *blank = "";
  for (int i = 0; i < OPTION_COUNT; i++)
    if (takes(&option_table[i], command)) {
      buf_printf(out, "%s--%s", blank, option_table[i].name);
      blank = " ";
    }
  buf_puts(out, "'\n    operands='");
  put_operands(out, command, specs);
  buf_puts(out, "' ;;\n");
}

static void bash(struct buf *out, const char *const *specs) {
  buf_puts(out, "# bash completion of maskc, made by 'maskc help --completion=bash'\n"
                "_maskc() {\n"
                "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                "  local options='' operands=''\n"
                "  COMPREPLY=()\n"
                "  if ((COMP_CWORD == 1)); then\n"
                "    COMPREPLY=($(compgen -W '");
  put_commands(out);
  buf_puts(out, "' -- \"$cur\"))\n"
                "    return\n"
                "  fi\n"
                "  # --name=value comes as three words\n"
                "  if [[ $cur == = ]]; then\n"
                "    cur=''\n"
                "  elif [[ $prev == = ]]; then\n"
                "    prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
                "  fi\n");
  bash_values(out);
  buf_puts(out, "  case ${COMP_WORDS[1]} in\n");
  for (int i = 0; i < COMMAND_COUNT; i++) bash_command(out, i, specs);
  buf_puts(out, "  esac\n"
                "  [[ $cur == -* ]] && operands=$options\n"
                "  COMPREPLY=($(compgen -W \"$operands\" -- \"$cur\"))\n"
                "}\n"
                "# what has no list completes as a file\n"
                "complete -o bashdefault -o default -F _maskc maskc\n");
}

/* ---- zsh ---- */

/* Inside '...', in the text of _arguments and _describe. */
static void zsh_text(struct buf *out, const char *text) {
  for (; *text; text++) {
    if (*text == '\'')
      buf_puts(out, "'\\''");
    else
      buf_printf(out, strchr("[]:\\", *text) ? "\\%c" : "%c", *text);
  }
}

static void zsh_option(struct buf *out, const struct option *o) {
  buf_printf(out, " \\\n      '%s", o->repeat ? "*" : "");
  buf_printf(out, "--%s%s[", o->name, o->kind == KIND_FLAG ? "" : "=");
  zsh_text(out, o->help);
  buf_puts(out, "]");
  if (o->kind != KIND_FLAG) {
    buf_puts(out, ":");
    zsh_text(out, o->kind == KIND_CHOICE ? o->name : o->value);
    buf_puts(out, ":");
  }
  if (o->kind == KIND_CHOICE) {
    buf_puts(out, "(");
    put_choices(out, o->value);
    buf_puts(out, ")");
  } else if (o->kind == KIND_TEXT) {
    buf_puts(out, "_files");
  }
  buf_puts(out, "'");
}

static void zsh_command(struct buf *out, int command, const char *const *specs) {
  const struct command *c = &command_table[command];
  buf_printf(out, "  %s)\n    _arguments", c->name);
  for (int i = 0; i < OPTION_COUNT; i++)
    if (takes(&option_table[i], command)) zsh_option(out, &option_table[i]);
  if (takes_spec(c)) {
    buf_puts(out, " \\\n      '*:spec:_maskc_specs'");
  } else if (c->max_operands > 0) {
    buf_puts(out, " \\\n      '1:");
    zsh_text(out, c->name);
    buf_puts(out, ":(");
    put_operands(out, command, specs);
    buf_puts(out, ")'");
  }
  buf_puts(out, " ;;\n");
}

static void zsh(struct buf *out, const char *const *specs) {
  buf_puts(out, "#compdef maskc\n"
                "# zsh completion of maskc, made by 'maskc help --completion=zsh'\n"
                "_maskc_specs() {\n  compadd -- ");
  put_specs(out, specs);
  buf_puts(out, "\n  _files -g '*.lua'\n}\n"
                "_maskc() {\n"
                "  local -a commands=(\n");
  for (int i = 0; i < COMMAND_COUNT; i++) {
    buf_printf(out, "    '%s:", command_table[i].name);
    zsh_text(out, command_table[i].summary);
    buf_puts(out, "'\n");
  }
  buf_puts(out, "  )\n"
                "  if ((CURRENT == 2)); then\n"
                "    _describe command commands\n"
                "    return\n"
                "  fi\n"
                "  shift words\n"
                "  ((CURRENT--))\n"
                "  case $words[1] in\n");
  for (int i = 0; i < COMMAND_COUNT; i++) zsh_command(out, i, specs);
  buf_puts(out,
           "  esac\n"
           "}\n"
           "if [[ $funcstack[1] == _maskc ]]; then _maskc \"$@\"; else compdef _maskc maskc; fi\n");
}

/* ---- fish ---- */

/* As one word in '...'. */
static void fish_text(struct buf *out, const char *text) {
  buf_puts(out, "'");
  for (; *text; text++) buf_printf(out, strchr("'\\", *text) ? "\\%c" : "%c", *text);
  buf_puts(out, "'");
}

static void fish_option(struct buf *out, const struct option *o) {
  buf_puts(out, "complete -c maskc -n '__fish_seen_subcommand_from");
  for (int i = 0; i < COMMAND_COUNT; i++)
    if (takes(o, i)) buf_printf(out, " %s", command_table[i].name);
  buf_printf(out, "' -l %s", o->name);
  if (o->letter) buf_printf(out, " -s %c", o->letter);
  if (o->kind == KIND_TEXT) buf_puts(out, " -r -F");
  if (o->kind == KIND_NUMBER) buf_puts(out, " -x");
  if (o->kind == KIND_CHOICE) {
    buf_puts(out, " -x -a '");
    put_choices(out, o->value);
    buf_puts(out, "'");
  }
  buf_puts(out, " -d ");
  fish_text(out, o->help);
  buf_puts(out, "\n");
}

static void fish_command(struct buf *out, int command, const char *const *specs) {
  const struct command *c = &command_table[command];
  buf_printf(out, "complete -c maskc -n __fish_use_subcommand -f -a %s -d ", c->name);
  fish_text(out, c->summary);
  buf_puts(out, "\n");
  if (c->max_operands == 0) return;
  buf_printf(out, "complete -c maskc -n '__fish_seen_subcommand_from %s'%s -a '", c->name,
             takes_spec(c) ? "" : " -f");
  put_operands(out, command, specs);
  buf_puts(out, "'\n");
}

static void fish(struct buf *out, const char *const *specs) {
  buf_puts(out, "# fish completion of maskc, made by 'maskc help --completion=fish'\n");
  for (int i = 0; i < COMMAND_COUNT; i++) fish_command(out, i, specs);
  for (int i = 0; i < OPTION_COUNT; i++) fish_option(out, &option_table[i]);
}

void help_completion(struct buf *out, const char *shell, const char *const *specs) {
  if (strcmp(shell, "bash") == 0)
    bash(out, specs);
  else if (strcmp(shell, "zsh") == 0)
    zsh(out, specs);
  else
    fish(out, specs);
}
