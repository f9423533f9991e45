/* SPDX-License-Identifier: MIT
 * test_help.c - tests gen/cli/help_man.c and help_completion.c: every command and option is there,
 * and where bash and fish are they complete what they should.
 */
#include "support.h"

#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const specs[] = {"gla", "retnet", NULL};

/* ---- the man page ---- */

static void the_page_has_every_command_and_option(void **state) {
  (void)state;
  struct buf out = {0};
  char line[100];
  help_man(&out);
  for (int i = 0; i < COMMAND_COUNT; i++) {
    snprintf(line, sizeof line, "\n.SS maskc %s", command_table[i].name);
    assert_contains(buf_text(&out), line);
  }
  assert_contains(buf_text(&out), "\n\\fB\\-o\\fR, \\fB\\-\\-output\\fR=\\fIFILE\\fR\n");
  assert_contains(buf_text(&out), "\n(build, run)\n");
  for (int i = 0; exit_status_table[i]; i++) assert_contains(buf_text(&out), exit_status_table[i]);
  buf_finish(&out);
}

/* Of the tables' text nothing is read as an instruction, and no line is long. */
static void the_page_is_good_roff(void **state) {
  (void)state;
  static const char *const macros[] = {".TH ", ".SH ", ".SS ", ".TP", ".PP",  ".B ",  ".I ",
                                       ".RI ", ".br",  ".nf",  ".fi", ".ad ", ".\\\""};
  struct buf out = {0};
  help_man(&out);
  for (const char *line = buf_text(&out); *line; line += strcspn(line, "\n") + 1) {
    bool known = *line != '.' && *line != '\'';
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
      known |= strncmp(line, macros[i], strlen(macros[i])) == 0;
    if (!known || strcspn(line, "\n") > 80) fail_msg("%.*s", (int)strcspn(line, "\n"), line);
  }
  buf_finish(&out);
}

/* ---- completion ---- */

static void every_shell_knows_every_option(void **state) {
  (void)state;
  static const char *const shells[] = {"bash", "zsh", "fish"};
  static const char *const prefixes[] = {"--", "--", "-l "};
  for (int s = 0; s < 3; s++) {
    struct buf out = {0};
    char flag[64];
    help_completion(&out, shells[s], specs);
    assert_contains(buf_text(&out), "gla retnet");
    assert_contains(buf_text(&out), "stat prune clear path");
    for (int i = 0; i < COMMAND_COUNT; i++) assert_contains(buf_text(&out), command_table[i].name);
    for (int i = 0; i < OPTION_COUNT; i++) {
      snprintf(flag, sizeof flag, "%s%s", prefixes[s], option_table[i].name);
      assert_contains(buf_text(&out), flag);
    }
    buf_finish(&out);
  }
}

/* The words of a command line, the last being completed -> what is offered. */
static const struct completion {
  const char *line, *expected;
} completions[] = {
    {"maskc che", "check\n"},
    {"maskc show re", "retnet\n"},
    {"maskc build --emit ", "cu ptx cubin pack asm\n"},
    {"maskc build --emit = p", "ptx pack\n"},
    {"maskc build --emit =", "cu ptx cubin pack asm\n"},
    {"maskc build --dty", "--dtype\n"},
    {"maskc doctor --dty", "\n"},
    {"maskc cache p", "prune path\n"},
    {"maskc help doc", "doctor\n"},
    {"maskc build -o ", "\n"},
};

static void bash_completes(void **state) {
  (void)state;
  struct buf script = {0};
  help_completion(&script, "bash", specs);
  buf_puts(&script, "\nIFS=' '\nCOMP_WORDS=($1)\n[[ $1 == *' ' ]] && COMP_WORDS+=('')\n"
                    "unset IFS\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_maskc\n"
                    "echo \"${COMPREPLY[*]}\"\n");
  for (size_t i = 0; i < sizeof completions / sizeof *completions; i++) {
    const char *const argv[] = {"bash", "-c", buf_text(&script), "-", completions[i].line, NULL};
    struct command_result r;
    command_run(argv, NULL, &r);
    if (r.status == -1 || r.status == 127) skip();
    if (strcmp(r.out, completions[i].expected) != 0)
      fail_msg("%s: %s%s", completions[i].line, r.out, r.err);
    assert_string_equal(r.err, "");
    command_result_finish(&r);
  }
  buf_finish(&script);
}

/* Where the shell is installed. */
static void parses(const char *shell) {
  struct buf script = {0};
  help_completion(&script, shell, specs);
  char *dir = temp_dir(), path[4200];
  snprintf(path, sizeof path, "%s/script", dir);
  assert_true(write_file(path, buf_text(&script), script.len));
  const char *const argv[] = {shell, "-n", path, NULL};
  struct command_result r;
  command_run(argv, NULL, &r);
  if (r.status != -1 && r.status != 127) {
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
  }
  command_result_finish(&r);
  remove_dir(dir);
  free(dir);
  buf_finish(&script);
}

static void the_shells_read_their_scripts(void **state) {
  (void)state;
  parses("bash");
  parses("zsh");
  parses("fish");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_page_has_every_command_and_option),
      cmocka_unit_test(the_page_is_good_roff),
      cmocka_unit_test(every_shell_knows_every_option),
      cmocka_unit_test(bash_completes),
      cmocka_unit_test(the_shells_read_their_scripts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
