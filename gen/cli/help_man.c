/* SPDX-License-Identifier: MIT
 * help_man.c - the man page, from the tables of options.c, in the man(7) macros.
 */
#include "options.h"

#include <string.h>

static const char page_date[] = "2026-11-22"; /* of the last change of this file */

/* What the user may set; docs/HACKING.md has the variables for developers too. */
static const struct variable {
  const char *name, *help;
} variables[] = {
    {"MASKC_CACHE_DIR", "where compiled kernels are kept, instead of $XDG_CACHE_HOME/maskc or "
                        "$HOME/.cache/maskc"},
    {"MASKC_CACHE_MAX_SIZE", "how much may be kept there (1G); 0: no limit"},
    {"MASKC_CACHE_DISABLE", "1: keep nothing on disk"},
    {"MASKC_NVRTC_PATH", "the file or the directory of libnvrtc; nothing else is tried"},
    {"CUDA_HOME, CUDA_PATH", "a CUDA toolkit to look for NVRTC in, before /usr/local/cuda"},
    {"MASKC_LIBCUDA", "the file of the CUDA driver, instead of libcuda.so.1"},
    {"MASKC_CC", "the C compiler of the CPU device, instead of cc"},
    {"NO_COLOR", "no colours"},
};

/* Text of which nothing is an instruction to roff. */
static void put(struct buf *out, const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    switch (text[i]) {
    case '\\': buf_puts(out, "\\(rs"); break;
    case '\'': buf_puts(out, "\\(aq"); break;
    case '`': buf_puts(out, "\\(ga"); break;
    case '^': buf_puts(out, "\\(ha"); break;
    case '~': buf_puts(out, "\\(ti"); break;
    case '"': buf_puts(out, "\\(dq"); break;
    case '-': buf_puts(out, "\\-"); break;
    default: buf_write(out, &text[i], 1);
    }
  }
}

static void puts_escaped(struct buf *out, const char *text) {
  put(out, text, strlen(text));
}

/* One line, broken at blanks: roff fills it again, and its linters want short ones. */
static void put_line(struct buf *out, const char *text, size_t len) {
  enum { WIDTH = 60 };
  while (len > 0) {
    size_t n = len;
    while (n > WIDTH) {
      size_t blank = n - 1;
      while (blank > 0 && text[blank] != ' ') blank--;
      if (blank == 0) break;
      n = blank;
    }
    if (*text == '.') buf_puts(out, "\\&"); /* no instruction */
    put(out, text, n);
    buf_puts(out, "\n");
    n += n < len; /* its blank */
    text += n;
    len -= n;
  }
}

/* Lines that begin with a blank stay as they are, others are filled. */
static void put_block(struct buf *out, const char *text) {
  bool kept = false;
  while (*text) {
    const size_t n = strcspn(text, "\n");
    const bool keep = *text == ' ';
    if (keep != kept) buf_puts(out, keep ? ".nf\n" : ".fi\n");
    kept = keep;
    if (keep) {
      put(out, text, n);
      buf_puts(out, "\n");
    } else {
      put_line(out, text, n);
    }
    text += n + (text[n] == '\n');
  }
  if (kept) buf_puts(out, ".fi\n");
}

static void put_command(struct buf *out, const struct command *c) {
  buf_puts(out, ".SS maskc ");
  puts_escaped(out, c->name);
  if (*c->operands) buf_puts(out, " ");
  puts_escaped(out, c->operands);
  buf_puts(out, "\n");
  put_block(out, c->summary);
  if (!*c->details) return;
  buf_puts(out, ".PP\n");
  put_block(out, c->details);
}

static void put_option(struct buf *out, const struct option *o) {
  buf_puts(out, ".TP\n");
  if (o->letter) buf_printf(out, "\\fB\\-%c\\fR, ", o->letter);
  buf_puts(out, "\\fB\\-\\-");
  puts_escaped(out, o->name);
  buf_puts(out, "\\fR");
  if (o->kind != KIND_FLAG) {
    buf_puts(out, "=\\fI");
    puts_escaped(out, o->value);
    buf_puts(out, "\\fR");
  }
  buf_puts(out, "\n");
  put_block(out, o->help);
  buf_puts(out, ".br\n(");
  const char *comma = "";
  for (int i = 0; i < COMMAND_COUNT; i++)
    if (o->commands & 1u << i) {
      buf_printf(out, "%s%s", comma, command_table[i].name);
      comma = ", ";
    }
  buf_puts(out, o->repeat ? "; may be repeated)\n" : ")\n");
}

static void put_environment(struct buf *out) {
  buf_puts(out, ".SH ENVIRONMENT\n");
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    buf_puts(out, ".TP\n.B ");
    puts_escaped(out, variables[i].name);
    buf_puts(out, "\n");
    put_block(out, variables[i].help);
  }
}

void help_man(struct buf *out) {
  buf_printf(out,
             ".\\\" Made by 'maskc help --man'.\n"
             ".TH MASKC 1 \"%s\" \"maskc %s\" \"User Commands\"\n.ad l\n"
             ".SH NAME\nmaskc \\- compile mask specs of sub\\-quadratic attention to CUDA kernels\n"
             ".SH SYNOPSIS\n.B maskc\n.I command\n.RI [ option \\&.\\|.\\|.]\n.RI [ operand "
             "\\&.\\|.\\|.]\n"
             ".SH DESCRIPTION\n",
             page_date, MKC_VERSION_STRING);
  put_block(out,
            "maskc reads mask specs, small declarative Lua files, and emits CUDA kernels for one "
            "head dimension, chunk size, data type and GPU architecture.\n");
  buf_puts(out, ".PP\n");
  put_block(out,
            "SPEC is a file when it has a '/' or ends in .lua, else the name of a shipped spec. "
            "Options may stand before and after operands; -- ends them.\n");
  buf_puts(out, ".SH COMMANDS\n");
  for (int i = 0; i < COMMAND_COUNT; i++) put_command(out, &command_table[i]);
  buf_puts(out, ".SH OPTIONS\nIn parentheses: the commands that take an option.\n");
  for (int i = 0; i < OPTION_COUNT; i++) put_option(out, &option_table[i]);
  buf_puts(out, ".SH EXIT STATUS\n");
  for (int i = 0; exit_status_table[i]; i++) {
    buf_printf(out, ".TP\n%d\n", i);
    put_block(out, exit_status_table[i]);
  }
  put_environment(out);
  buf_puts(out, ".SH EXAMPLES\n.nf\n");
  for (int i = 0; example_table[i]; i++) {
    puts_escaped(out, example_table[i]);
    buf_puts(out, "\n");
  }
  buf_puts(out, ".fi\n");
}
